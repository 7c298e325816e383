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
	u32 received;

	if (sealed) {
		received = payload->sealed.received.seconds | payload->sealed.received.fraction;
		KEEP_APART(1);
	} else {
		received = payload->open.received.seconds | payload->open.received.fraction;
		KEEP_APART(2);
	}
	return received;
}

static __always_inline bool is_within_an_hour(const struct wire_time *time, bool ptp, u64 wall_ns)
{
	s64 hour_ns = 3600 * (s64)NS_PER_S;
	s64 ago_ns;

	return since(time, ptp, wall_ns, 0, &ago_ns) && ago_ns >= -hour_ns && ago_ns <= hour_ns;
}

/* TWAMP-Light peers may pad with anything, but for a time of today in either format. */
static __always_inline bool holds_a_time(const union payload *payload, u32 len, u64 wall_ns)
{
	const struct wire_time *time = &payload->open.received;

	if (len < OPEN_MUST_BE_ZERO + sizeof(*time))
		return false;
	return is_within_an_hour(time, true, wall_ns) || is_within_an_hour(time, false, wall_ns);
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
