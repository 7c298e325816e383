/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Sums of RFC 1071: whether a datagram's is right, and what changing it makes of it.
 * The hook runs before the stack would have looked at it.
 */
#ifndef STAMP_CHECKSUM_BPF_H
#define STAMP_CHECKSUM_BPF_H

#include "stamp_frame.bpf.h"

static __always_inline u16 fold(u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* What both ends add that is not in the datagram: RFC 768, RFC 8200 section 8.1. */
static __always_inline u64 sum_pseudo_header(const struct datagram *d)
{
	u64 sum = bpf_htonl(PROTO_UDP) + (u64)bpf_htonl(d->len + UDP_LEN);

	if (d->family == 4)
		return sum + d->src.words[3] + d->dst.words[3];
	for (u32 i = 0; i < 4; i++)
		sum += (u64)d->src.words[i] + d->dst.words[i];
	return sum;
}

/*
 * The sum of octets [at, end) of a request, or what turning them into those of the
 * reply adds to a sum. The last ones are rounded up: behind a payload there are zeros.
 */
SUBPROGRAM u64 sum_octets(struct work *w, u32 at, u32 end, bool difference)
{
	u64 sum = 0;

#pragma clang loop unroll(full)
	for (u32 i = 0; i < (PAYLOAD_MOST + SUM_STEP - 1) / SUM_STEP; i++) {
		u32 n = end - at;
		u32 *request;

		if (at >= end)
			break;
		request = (u32 *)place_of(w, hidden(w, at));
		n = n > SUM_STEP ? SUM_STEP : (n + 3) & ~3U;
		if (difference)
			sum = bpf_csum_diff(request, n, request + OF_REPLY / 4, n, sum);
		else
			sum = bpf_csum_diff(0, 0, request, n, sum);
		at += SUM_STEP;
	}
	return sum;
}

/*
 * What is behind a base packet, into the request or the reply, with zeros behind that.
 * False for more than there is room for.
 */
static __always_inline bool read_area(struct __sk_buff *skb, const struct datagram *d, u32 base,
				      struct work *w, u32 into)
{
	u32 from = hidden(w, base);
	u32 len = d->len - base;

	if (d->len <= base)
		return true;
	if (!is_length(&len, AREA_ROOM) ||
	    bpf_skb_load_bytes(skb, d->transport + UDP_LEN + base, place_of(w, into + from), len))
		return false;
	__builtin_memset(place_of(w, into + d->len), 0, 4);
	return true;
}

/*
 * True for a right sum, for none where there may be none, and for the bare sum of the
 * pseudo header, which a sender on this host leaves for its device to complete.
 */
static __always_inline bool is_sum_right(struct __sk_buff *skb, const struct datagram *d,
					 u64 payload_sum)
{
	u64 pseudo = sum_pseudo_header(d);
	u16 told = d->udp.checksum;

	if (!told)
		return d->family == 4;
	if (bpf_csum_level(skb, BPF_CSUM_LEVEL_QUERY) >= 0 || told == fold(pseudo))
		return true;
	return fold(pseudo + d->udp_words[0] + d->udp_words[1] + payload_sum) == 0xffff;
}

#endif
