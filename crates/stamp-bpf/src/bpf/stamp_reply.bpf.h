/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Turning a packet round: the way back, its headers, and the device it leaves by.
 */
#ifndef STAMP_REPLY_BPF_H
#define STAMP_REPLY_BPF_H

#include "stamp_checksum.bpf.h"
#include "stamp_source.bpf.h"

#define REPLY_TTL 255 /* RFC 8762 section 4.3 */
#define DONT_FRAGMENT 0x4000
#define ECN 0x03

/* The kernel finds out about the neighbour by itself. */
static __always_inline bool is_route(s64 found)
{
	return found == BPF_FIB_LKUP_RET_SUCCESS || found == BPF_FIB_LKUP_RET_NO_NEIGH;
}

/*
 * Not a router: no other device is in question. To a router an address of its own looks
 * like one without a route, and has one by the loopback device alone.
 */
static __always_inline bool is_back(s64 found, const struct bpf_fib_lookup *fib, u32 arrival)
{
	if (found == BPF_FIB_LKUP_RET_FWD_DISABLED)
		return true;
	return is_route(found) && fib->ifindex == arrival;
}

SUBPROGRAM int find_way(context *ctx, const struct datagram *d, bool straight, struct way *out)
{
	struct bpf_fib_lookup fib = {
		.l4_protocol = PROTO_UDP,
		.sport = d->dst_port,
		.dport = d->src_port,
		.ifindex = device_of(ctx),
	};
	s64 found;

	out->back = 1;
	out->ifindex = device_of(ctx);
	if (straight)
		return 0;
	if (d->family == 4) {
		fib.family = 2; /* AF_INET */
		fib.ipv4_src = d->dst.words[3];
		fib.ipv4_dst = d->src.words[3];
	} else {
		fib.family = 10; /* AF_INET6 */
		__builtin_memcpy(fib.ipv6_src, &d->dst, sizeof(d->dst));
		__builtin_memcpy(fib.ipv6_dst, &d->src, sizeof(d->src));
	}
	found = bpf_fib_lookup(ctx, &fib, sizeof(fib), 0);
	if (is_back(found, &fib, device_of(ctx)))
		return 0;
	out->back = 0;
	out->ifindex = 0;
	if (is_route(found))
		out->ifindex = fib.ifindex;
	return 0;
}

static __always_inline bool turn_link(context *ctx, u32 link_len)
{
	struct {
		u16 dst[3], src[3];
	} was, is;

	if (!link_len)
		return true;
	if (!load_octets(ctx, 0, &was, sizeof(was)))
		return false;
	__builtin_memcpy(is.dst, was.src, sizeof(is.dst));
	__builtin_memcpy(is.src, was.dst, sizeof(is.src));
	return store_octets(ctx, 0, &is, sizeof(is));
}

struct ipv4_head {
	struct ipv4_header ip;
	u16 src_port, dst_port;
};

struct ipv6_head {
	struct ipv6_header ip;
	u16 src_port, dst_port;
};

/* The sum of the header keeps being wrong where it was: RFC 1624. */
static __always_inline bool turn_ipv4(context *ctx, u32 link_len, u8 tos)
{
	struct ipv4_head was, is;
	s64 sum;

	if (!load_octets(ctx, link_len, &was, sizeof(was)))
		return false;
	is = was;
	is.ip.tos = tos;
	is.ip.ttl = REPLY_TTL;
	is.ip.fragment = bpf_htons(DONT_FRAGMENT);
	is.ip.src = was.ip.dst;
	is.ip.dst = was.ip.src;
	is.src_port = was.dst_port;
	is.dst_port = was.src_port;
	sum = bpf_csum_diff((u32 *)&was.ip, sizeof(was.ip), (u32 *)&is.ip, sizeof(is.ip),
			    (u16)~was.ip.checksum);
	is.ip.checksum = ~fold(sum);
	return store_octets(ctx, link_len, &is, sizeof(is));
}

static __always_inline bool turn_ipv6(context *ctx, u32 link_len, u8 tos)
{
	struct ipv6_head was, is;

	if (!load_octets(ctx, link_len, &was, sizeof(was)))
		return false;
	is = was;
	is.ip.version_class = 6 << 4 | tos >> 4;
	is.ip.class_label = tos << 4 | (was.ip.class_label & 0xf);
	is.ip.hops = REPLY_TTL;
	__builtin_memcpy(is.ip.src, was.ip.dst, sizeof(is.ip.src));
	__builtin_memcpy(is.ip.dst, was.ip.src, sizeof(is.ip.dst));
	is.src_port = was.dst_port;
	is.dst_port = was.src_port;
	return store_octets(ctx, link_len, &is, sizeof(is));
}

/* Swapping addresses and ports leaves the UDP checksum as it is. */
SUBPROGRAM bool turn_headers(context *ctx, u32 link_len, const struct datagram *d,
			     const struct way *way, u8 tos)
{
	if (way->back && !turn_link(ctx, link_len))
		return false;
	return d->family == 4 ? turn_ipv4(ctx, link_len, tos) : turn_ipv6(ctx, link_len, tos);
}

/* Puts the first `len` octets of the reply into the place of those of the request. */
STAGE int replace_payload(context *ctx, u32 len)
{
	struct work *w = own_work();

	if (!w || !is_length(&len, PAYLOAD_MOST))
		return false;
	return store_octets(ctx, w->visit.d.transport + UDP_LEN, w->reply.octets, len) &&
	       renew_sum(ctx, w, len);
}

#endif
