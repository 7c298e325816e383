#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Prints a build folder in the user's cache that fits this compiler and this lock file,
# and removes all others but the one used last.
set -eu
cache=${XDG_CACHE_HOME:-$HOME/.cache}/fathom
rustc=$(rustc --version | cut -d ' ' -f 2)
lock=$(sha256sum "$(dirname "$0")/../Cargo.lock" | cut -c 1-12)
folder=$cache/target-$rustc-$lock

mkdir -p "$folder"
touch "$folder"
ls -1dt "$cache"/target-*/ | tail -n +3 | while read -r old; do
	rm -rf -- "$old"
done
echo "$folder"
