#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Cargo that compiles as the caller and runs what it compiled as root.
set -eu
host=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
export "CARGO_TARGET_${host}_RUNNER=$(cd "$(dirname "$0")" && pwd)/as-root.sh"
# Who is started in the background ignores SIGINT, and so would the processes that tests
# start to see how they end.
exec env --default-signal=HUP,INT "${CARGO:-cargo}" "$@"
