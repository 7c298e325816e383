#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs a command as root: directly, else by sudo.
[ "$(id -u)" -ne 0 ] || exec "$@"
if command -v sudo >/dev/null; then
	exec sudo --preserve-env --preserve-env=PATH -- "$@"
fi
echo "root is needed for: $*; become root or install sudo" >&2
exit 77
