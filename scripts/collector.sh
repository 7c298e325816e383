#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Prints the path of an OpenTelemetry Collector for the tests. It is built once, from the
# Go module proxy into the user's cache, and built anew when its source or a version changes.
set -eu
PATH=$PATH:/usr/local/go/bin
source=$(cd "$(dirname "$0")/collector" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/fathom
version=$(sed -n 's|^.*go.opentelemetry.io/collector/otelcol ||p' "$source/go.mod")
content=$(cat "$source/main.go" "$source/go.mod" "$source/go.sum" | sha256sum | cut -c 1-12)
program=$cache/otelcol-$version-$content

build() {
	wanted=$(sed -n 's/^go //p' "$source/go.mod")
	found=$(go env GOVERSION 2>/dev/null | sed 's/^go//')
	if [ "$(printf '%s\n' "$wanted" "${found:-0}" | sort -V | head -n 1)" != "$wanted" ]; then
		echo "the collector needs Go $wanted or newer, found ${found:-none}; install golang-go" \
			"(new enough from Debian 13 on) or what https://go.dev/dl has" >&2
		exit 69
	fi
	rm -f "$cache"/otelcol-v*
	CGO_ENABLED=0 go build -C "$source" -mod=readonly -buildvcs=false -trimpath \
		-ldflags '-s -w' -o "$program.new" .
	mv "$program.new" "$program"
}

if [ ! -x "$program" ]; then
	mkdir -p "$cache"
	# Whoever comes second waits for the first and finds it built.
	exec 8>"$cache/otelcol.lock"
	flock 8
	[ -x "$program" ] || build
fi
echo "$program"
