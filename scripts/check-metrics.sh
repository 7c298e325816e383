#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Lets promtool judge what the agent FATHOM really shows, in a network namespace of its own.
set -eu
fathom=$1
[ -n "${APART-}" ] || APART=1 exec unshare --net "$0" "$fathom"
ip link set lo up
folder=$(mktemp -d)
"$fathom" flows --no-pin --discover on --netns-dir "$folder" --listen 127.0.0.1:9090 \
	--ready-file "$folder/ready" 2>"$folder/log" &
agent=$!
trap 'kill $agent 2>/dev/null; rm -rf "$folder"' EXIT
turns=100
until [ -e "$folder/ready" ]; do
	turns=$((turns - 1))
	[ $turns -gt 0 ] || { cat "$folder/log" >&2; exit 70; }
	sleep 0.1
done
curl -fsS http://127.0.0.1:9090/metrics >"$folder/metrics"
promtool check metrics <"$folder/metrics"
echo "promtool accepts $(grep -vc '^#' "$folder/metrics") samples"
