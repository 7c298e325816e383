#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Prints the path of stamp-suite, another implementation of STAMP, for the tests. It is built
# once into the user's cache.
set -eu
PATH=$PATH:$HOME/.cargo/bin
version=1.0.0
cache=${XDG_CACHE_HOME:-$HOME/.cache}/fathom
root=$cache/stamp-suite-$version
program=$root/bin/stamp-suite

build() {
	# Its own folder: what it needs is not what the workspace needs.
	CARGO_TARGET_DIR=$root/target cargo install --quiet --locked --root "$root" \
		--features metrics,control --version "$version" stamp-suite >&2
	rm -rf "$root/target"
}

if [ ! -x "$program" ]; then
	mkdir -p "$root"
	# Whoever comes second waits for the first and finds it built.
	exec 8>"$cache/stamp-suite.lock"
	flock 8
	[ -x "$program" ] || build
fi
echo "$program"
