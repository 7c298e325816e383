#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs the system packages that building or testing needs. Asks for nothing and
# touches nothing when all are there, so a second run is quick and works offline.
set -eu
PATH=$PATH:/usr/local/go/bin:/usr/sbin:/sbin

# package, and the command, file or Python module by which it is found
build='clang clang
llvm llvm-strip
libelf-dev /usr/include/libelf.h
zlib1g-dev /usr/include/zlib.h
pkg-config pkg-config
make make
gcc gcc'
tests='iproute2 ip
iperf3 iperf3
tcpdump tcpdump
tshark tshark
ethtool ethtool
nftables nft
conntrack conntrack
bpftool bpftool
python3-scapy python:scapy
prometheus promtool
golang-go go
containernetworking-plugins /usr/lib/cni/bridge
curl curl
jq jq
chrony chronyd
linuxptp ptp4l
clang-format clang-format
procps ps'

case ${1-} in
build) wanted=$build ;;
test) wanted="$build
$tests" ;;
*)
	echo "usage: $0 build|test" >&2
	exit 64
	;;
esac

there() {
	case $1 in
	/*) [ -e "$1" ] ;;
	python:*) /usr/bin/python3 -c "import importlib.util as i; exit(not i.find_spec('${1#*:}'))" ;;
	*) command -v "$1" ;;
	esac >/dev/null 2>&1
}

missing=$(echo "$wanted" | while read -r package probe; do
	there "$probe" || printf '%s ' "$package"
done)
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
	echo "missing: $missing(Debian names); install them with your package manager" >&2
	exit 69
fi
echo "installing: $missing"
exec "$(dirname "$0")/as-root.sh" "$(dirname "$0")/apt-install.sh" $missing
