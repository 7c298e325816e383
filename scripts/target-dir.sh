#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Prints a build folder in the user's cache that fits this compiler and this lock file,
# and removes all others but the one used last.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/fathom
rustc=$(rustc --version | cut -d ' ' -f 2)
lock=$(sha256sum "$root/Cargo.lock" | cut -c 1-12)
folder=$cache/target-$rustc-$lock

mkdir -p "$folder"
touch "$folder"
ls -1dt "$cache"/target-*/ | tail -n +3 | while read -r old; do
	rm -rf -- "$old"
done

# Cargo goes by time, and the files of this clone may be older than what another one built.
if [ "$(cat "$folder/clone" 2>/dev/null)" != "$root" ]; then
	find "$root" \( -name .git -o -name target \) -prune -o -type f -exec touch {} +
	echo "$root" >"$folder/clone"
fi
echo "$folder"
