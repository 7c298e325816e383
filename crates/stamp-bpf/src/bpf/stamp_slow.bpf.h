/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What user space answers, and how its replies get a time that is not user space's.
 */
#ifndef STAMP_SLOW_BPF_H
#define STAMP_SLOW_BPF_H

#include "stamp_reply.bpf.h"

/* Leaves T2 where user space finds it, and the packet to the socket. */
static __always_inline int leave_to_user(const struct datagram *d, u32 sequence, s64 wall_ns,
					 u64 mono_ns)
{
	struct stamp_slow_key key = {
		.source = d->src,
		.destination = d->dst,
		.source_port = d->src_port,
		.destination_port = d->dst_port,
		.sequence = sequence,
	};
	struct stamp_slow arrival = {.wall_ns = wall_ns, .mono_ns = mono_ns};

	if (bpf_map_update_elem(&slow, &key, &arrival, BPF_ANY))
		return refuse(STAMP_SLOW_FULL);
	count_event(STAMP_SLOW);
	return NEXT;
}

#endif
