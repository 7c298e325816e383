/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What no reply passes. A reply carries its time of arrival where a request is zero,
 * and so does whatever any reflector makes of it: no packet is ever answered twice.
 */
#ifndef STAMP_GUARD_BPF_H
#define STAMP_GUARD_BPF_H

#include "stamp_source.bpf.h"

static __always_inline bool is_zero(const u32 *words, u32 count)
{
	u32 all = 0;

	for (u32 i = 0; i < count; i++)
		all |= words[i];
	return !all;
}

/* Octets behind the end of a short request were read as zero. */
static __always_inline bool has_request_shape(const union payload *payload, bool sealed)
{
	bool zero;

	if (sealed) {
		zero = is_zero(payload->words + SIGNED_MUST_BE_ZERO / 4,
			       (SIGNED_COVERED - SIGNED_MUST_BE_ZERO) / 4);
		KEEP_APART(1);
	} else {
		zero = is_zero(payload->words + OPEN_MUST_BE_ZERO / 4,
			       (OPEN_LEN - OPEN_MUST_BE_ZERO) / 4);
		KEEP_APART(2);
	}
	return zero;
}

static __always_inline bool has_reply_shape(const union payload *payload, bool sealed)
{
	u32 in_sealed = payload->sealed.received.seconds | payload->sealed.received.fraction;
	u32 in_open = payload->open.received.seconds | payload->open.received.fraction;

	return sealed ? in_sealed : in_open;
}

/* Seconds that wrap, in the era nearest to now, and nanoseconds: within an hour of it? */
static __always_inline bool is_within_an_hour(s32 ahead_s, u64 ns, u64 now_ns)
{
	s64 ahead_ns = ahead_s * (s64)NS_PER_S + (s64)ns - (s64)now_ns;
	s64 hour_ns = 3600 * (s64)NS_PER_S;

	return ahead_ns >= -hour_ns && ahead_ns <= hour_ns;
}

/* TWAMP-Light peers may pad with anything, but for a time of today in either format. */
static __always_inline bool holds_a_time(const union payload *payload, u32 len, u64 wall_ns)
{
	u32 seconds = bpf_ntohl(payload->open.received.seconds);
	u64 fraction = bpf_ntohl(payload->open.received.fraction);
	u64 now_s = wall_ns / NS_PER_S;
	u64 now_ns = wall_ns - now_s * NS_PER_S;

	if (len < OPEN_MUST_BE_ZERO + 8)
		return false;
	if (fraction < NS_PER_S && is_within_an_hour((s32)(seconds - (u32)now_s), fraction, now_ns))
		return true;
	return is_within_an_hour((s32)(seconds - (u32)(now_s + UNIX_IN_NTP)),
				 (fraction * NS_PER_S + (1ULL << 31)) >> 32, now_ns);
}

/* True when answering this can't be answering a reply. */
static __always_inline bool may_be_answered(const union payload *payload, const struct datagram *d,
					    bool light, u64 wall_ns)
{
	if (has_request_shape(payload, cfg.authenticated))
		return true;
	if (!light || d->src_port == d->dst_port || port_bits(d->src_port) & STAMP_PORT_KNOWN)
		return false;
	return !holds_a_time(payload, d->len, wall_ns);
}

#endif
