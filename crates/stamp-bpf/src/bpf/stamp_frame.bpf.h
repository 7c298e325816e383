/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * From a frame to a datagram: is it for one of our ports, and if so, who sent what to
 * whom. A foreign frame is told by a few octets, in place.
 */
#ifndef STAMP_FRAME_BPF_H
#define STAMP_FRAME_BPF_H

#include "parse.bpf.h"

#include "stamp_clock.bpf.h"

enum side {
	ARRIVING,
	LEAVING,
};

/* What is known of a frame before anything is done with it. */
struct sight {
	u32 transport; /* offset of the UDP header */
	u8 family;     /* 4 or 6; 0: not UDP */
	u8 plain;      /* no options, no extension headers */
	u8 fragment;   /* enum parse_fragment */
	u8 pad;
	u16 src_port;
	u16 dst_port;
};

/*
 * The IPv6 header and what extends it, by the steps of the shared parser. Its loop is
 * written out: without CAP_PERFMON the verifier also follows wrong guesses of a
 * processor, and then finds no end of a loop.
 */
static __always_inline enum parse_verdict walk_ipv6(struct parse_packet *p, u32 off,
						    struct parsed *out)
{
	struct ipv6_header ip;

	if (!parse_load(p, off, &ip, sizeof(ip)) || ip.version_class >> 4 != 6)
		return PARSE_BAD_HEADER;
	out->protocol = ip.next;
	out->transport = off + sizeof(ip);
#pragma clang loop unroll(full)
	for (int i = 0; i < PARSE_MAX_EXTENSIONS; i++) {
		if (!parse_more(out))
			break;
		if (parse_extension(p, out) != PARSE_OK)
			return PARSE_SHORT;
	}
	return parse_more(out) ? PARSE_EXT_CHAIN : PARSE_OK;
}

/*
 * Frames that have options, extension headers or fragments, or lie scattered. A tag in
 * the frame is not looked behind: it belongs to a device above this one.
 */
SUBPROGRAM int look_closer(context *ctx, u32 link_len, u32 ethertype, struct sight *out)
{
	u32 len = frame_len(ctx);
	struct parse_packet p = {.skb = ctx, .len = len, .veil = veil_of(len)};
	bool v4 = ethertype == bpf_htons(ETHERTYPE_IPV4);
	enum parse_verdict verdict = PARSE_NOT_IP;
	struct parsed parsed = {};

	if (v4)
		verdict = parse_ipv4(&p, link_len, &parsed);
	else if (ethertype == bpf_htons(ETHERTYPE_IPV6))
		verdict = walk_ipv6(&p, link_len, &parsed);
	if (verdict != PARSE_OK || parsed.protocol != PROTO_UDP ||
	    parsed.fragment == PARSE_LATER_FRAGMENT || parse_transport(&p, &parsed) != PARSE_OK)
		return 0;
	out->plain = parsed.transport ==
		     link_len + (v4 ? sizeof(struct ipv4_header) : sizeof(struct ipv6_header));
	out->transport = parsed.transport;
	out->family = v4 ? 4 : 6;
	out->fragment = parsed.fragment;
	out->src_port = parsed.src_port;
	out->dst_port = parsed.dst_port;
	return 0;
}

static __always_inline void see_ports(const void *transport, u32 offset, u8 family,
				      struct sight *out)
{
	const struct udp_header *udp = transport;

	out->src_port = udp->src_port;
	out->dst_port = udp->dst_port;
	out->transport = offset;
	out->family = family;
	out->plain = 1;
}

/* True where the answer is certain, which it is for nearly all frames. */
static __always_inline bool look(const void *data, const void *end, u32 link_len, u16 ethertype,
				 struct sight *out)
{
	const struct ipv4_header *ip4 = data + link_len;
	const struct ipv6_header *ip6 = data + link_len;

	if (ethertype == bpf_htons(ETHERTYPE_IPV4)) {
		if (data + link_len + sizeof(*ip4) + UDP_LEN > end)
			return false;
		if (ip4->protocol != PROTO_UDP)
			return true;
		if (ip4->version_ihl != 0x45 || ip4->fragment & bpf_htons(0x3fff))
			return false;
		see_ports(ip4 + 1, link_len + sizeof(*ip4), 4, out);
		KEEP_APART(4);
		return true;
	}
	if (ethertype == bpf_htons(ETHERTYPE_IPV6)) {
		if (data + link_len + sizeof(*ip6) + UDP_LEN > end)
			return false;
		if (ip6->version_class >> 4 != 6)
			return true;
		if (ip6->next != PROTO_UDP)
			return !parse_is_extension(ip6->next);
		see_ports(ip6 + 1, link_len + sizeof(*ip6), 6, out);
		KEEP_APART(6);
	}
	return true;
}

/* Frames without a link header say in their first octet what they are. */
static __always_inline u16 ethertype_of(const void *data, u32 link_len)
{
	u8 version;

	if (link_len)
		return *(const u16 *)(data + link_len - 2);
	version = *(const u8 *)data >> 4;
	if (version == 4)
		return bpf_htons(ETHERTYPE_IPV4);
	return version == 6 ? bpf_htons(ETHERTYPE_IPV6) : 0;
}

static __always_inline u32 port_bits(u16 port)
{
	u16 host = bpf_ntohs(port);
	u32 word = host / (64 / STAMP_PORT_BITS);
	u64 *bits = bpf_map_lookup_elem(&ports, &word);

	if (!bits)
		return 0; /* the array has a word for each port */
	return *bits >> (host % (64 / STAMP_PORT_BITS) * STAMP_PORT_BITS) & 0xf;
}

/* What the port of ours is that a frame is for or from; 0: the frame is foreign. */
static __always_inline u32 find(context *ctx, u32 link_len, enum side side, struct sight *out)
{
	const void *data = (const void *)(long)ctx->data;
	const void *end = (const void *)(long)ctx->data_end;
	u16 ethertype;

	if (data + link_len + 1 > end)
		return 0;
	ethertype = ethertype_of(data, link_len);
	/* In front of tc what is not certain is left to it. */
	if (!look(data, end, link_len, ethertype, out) && !ON_XDP)
		look_closer(ctx, link_len, ethertype, out);
	if (!out->family)
		return 0;
	return port_bits(side == ARRIVING ? out->dst_port : out->src_port);
}

static __always_inline void map_ipv4(u32 address, struct stamp_address *out)
{
	out->words[0] = 0;
	out->words[1] = 0;
	out->words[2] = bpf_htonl(0xffff);
	out->words[3] = address;
}

static __always_inline bool is_ipv4(const struct stamp_address *address)
{
	return !address->words[0] && !address->words[1] && address->words[2] == bpf_htonl(0xffff);
}

/* Octets from the transport header to the end of the packet, which may be padded. */
static __always_inline s32 read_ipv4(context *ctx, u32 link_len, struct datagram *out)
{
	struct ipv4_header ip;

	if (!load_octets(ctx, link_len, &ip, sizeof(ip)))
		return 0;
	map_ipv4(ip.src, &out->src);
	map_ipv4(ip.dst, &out->dst);
	out->ttl = ip.ttl;
	out->tos = ip.tos;
	return bpf_ntohs(ip.total) - (s32)(out->transport - link_len);
}

static __always_inline s32 read_ipv6(context *ctx, u32 link_len, struct datagram *out)
{
	struct ipv6_header ip;

	if (!load_octets(ctx, link_len, &ip, sizeof(ip)))
		return 0;
	__builtin_memcpy(&out->src, ip.src, sizeof(out->src));
	__builtin_memcpy(&out->dst, ip.dst, sizeof(out->dst));
	out->ttl = ip.hops;
	out->tos = ip.version_class << 4 | ip.class_label >> 4;
	return bpf_ntohs(ip.payload) + (s32)sizeof(ip) - (s32)(out->transport - link_len);
}

/* Who sent it to whom, and how many octets there are from the UDP header on. */
static __always_inline s32 read_network(context *ctx, u32 link_len, const struct sight *sight,
					struct datagram *out)
{
	out->transport = sight->transport;
	out->family = sight->family;
	out->plain = sight->plain;
	out->src_port = sight->src_port;
	out->dst_port = sight->dst_port;
	return sight->family == 4 ? read_ipv4(ctx, link_len, out) : read_ipv6(ctx, link_len, out);
}

/* False when the datagram ends before its headers say. */
static __always_inline bool read_length(context *ctx, s32 there, struct datagram *out)
{
	s32 len;

	if (!load_octets(ctx, out->transport, &out->udp, sizeof(out->udp)))
		return false;
	len = bpf_ntohs(out->udp.len);
	if (len < UDP_LEN || len > there || out->transport + len > frame_len(ctx))
		return false;
	out->len = len - UDP_LEN;
	return true;
}

#endif
