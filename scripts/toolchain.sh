#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Says what to do when cargo is missing or older than Cargo.toml asks for.
set -eu
wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$(dirname "$0")/../Cargo.toml")
if ! command -v cargo >/dev/null; then
	echo "cargo is missing; install Rust $wanted or newer with rustup (https://rustup.rs)" >&2
	exit 69
fi
found=$(cargo --version | cut -d ' ' -f 2)
if [ "$(printf '%s\n' "$wanted" "${found%%-*}" | sort -V | head -n 1)" != "$wanted" ]; then
	echo "cargo $found is too old; Rust $wanted or newer is needed: rustup update stable" >&2
	exit 69
fi
