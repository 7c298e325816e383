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
 * The sum of octets [at, end) of a payload, or what turning those of the request into
 * those of the reply adds to a sum. The last ones are rounded up: behind a payload there
 * are zeros.
 */
SUBPROGRAM u64 sum_octets(struct work *w, u32 of, u32 at, u32 end, bool difference)
{
	u64 sum = 0;

#pragma clang loop unroll(full)
	for (u32 i = 0; i < (PAYLOAD_MOST + SUM_STEP - 1) / SUM_STEP; i++) {
		u32 n = end - at;
		u32 *words;

		if (at >= end)
			break;
		words = (u32 *)place_of(w, hidden(w, of + at));
		n = n > SUM_STEP ? SUM_STEP : (n + 3) & ~3U;
		if (difference)
			sum = bpf_csum_diff(words, n, words + OF_REPLY / 4, n, sum);
		else
			sum = bpf_csum_diff(0, 0, words, n, sum);
		at += SUM_STEP;
	}
	return sum;
}

/*
 * What is behind a base packet, into the request or the reply, with zeros behind that.
 * False for more than there is room for.
 */
static __always_inline bool read_area(context *ctx, const struct datagram *d, u32 base,
				      struct work *w, u32 into)
{
	u32 from = hidden(w, base);
	u32 len = d->len - base;

	if (d->len <= base)
		return true;
	if (!is_length(&len, AREA_ROOM) ||
	    !load_octets(ctx, d->transport + UDP_LEN + base, place_of(w, into + from), len))
		return false;
	__builtin_memset(place_of(w, into + d->len), 0, 4);
	return true;
}

/*
 * True for a right sum, for none where there may be none, and for the bare sum of the
 * pseudo header, which a sender on this host leaves for its device to complete.
 */
static __always_inline bool is_sum_right(context *ctx, const struct datagram *d, u64 payload_sum)
{
	u64 pseudo = sum_pseudo_header(d);
	u16 told = d->udp.checksum;

	if (!told)
		return d->family == 4;
	if (is_vouched(ctx) || told == fold(pseudo))
		return true;
	return fold(pseudo + d->udp_words[0] + d->udp_words[1] + payload_sum) == 0xffff;
}

/*
 * Makes the sum of the datagram right again, of whose payload the first `len` octets
 * are the reply's. One without a sum keeps none.
 */
static __always_inline bool renew_sum(context *ctx, struct work *w, u32 len)
{
	const struct datagram *d = &w->visit.d;
	u32 at = d->transport + offsetof(struct udp_header, checksum);
#ifdef STAMP_XDP
	u64 sum = sum_pseudo_header(d) + d->udp.src_port + d->udp.dst_port + d->udp.len;
	u16 told;

	if (!d->udp.checksum)
		return true;
	/* Behind them there are zeros, if anything: all else survey() found an extension in. */
	sum += sum_octets(w, OF_REPLY, 0, len, false);
	told = ~fold(sum);
	if (!told)
		told = 0xffff; /* RFC 768: zero says that there is none */
	return store_octets(ctx, at, &told, sizeof(told));
#else
	/*
	 * Whether it is complete or left to a device is known to the kernel alone, so it
	 * gets the difference.
	 */
	return !bpf_l4_csum_replace(ctx, at, 0, sum_octets(w, OF_REQUEST, 0, len, true),
				    BPF_F_MARK_MANGLED_0);
#endif
}

#endif
