#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Mounts a BPF file system where maps and links outlive the agent, if none is there.
set -eu
grep -q '^[^ ]* /sys/fs/bpf bpf ' /proc/mounts || mount -t bpf -o mode=0700 bpf /sys/fs/bpf
