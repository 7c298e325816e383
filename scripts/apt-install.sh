#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs Debian packages and starts none of their daemons: only promtool, and what the
# tests start themselves, are wanted, and port 9090 is ours. Chrony alone is started, and
# only where its package has removed the daemon that kept the clock.
set -eu
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d

if [ ! -e $policy ]; then
	trap 'rm -f $policy' EXIT
	trap 'exit 1' HUP INT TERM
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod 0755 $policy
fi
kept() { systemctl is-active --quiet systemd-timesyncd.service ntpsec.service 2>/dev/null; }
clock=$(kept && echo kept || true)
if ! { apt-get update -q && apt-get install -q -y --no-install-recommends "$@"; }; then
	echo "could not install: $*; is the network there? install them by hand and repeat" >&2
	exit 69
fi
case " $* " in
*' prometheus '*) systemctl disable prometheus.service 2>/dev/null || true ;;
esac
case "$clock: $* " in
'kept:'*' chrony '*) systemctl start chrony.service ;;
*' chrony '*) systemctl disable chrony.service 2>/dev/null || true ;;
esac
