/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What a buffer becomes on the wire. A segmented buffer carries its headers once
 * and each of its frames repeats them, so bytes = len + (n - 1) * headers.
 */
#ifndef FLOW_GSO_BPF_H
#define FLOW_GSO_BPF_H

#include "flow_maps.bpf.h"
#include "parse.bpf.h"

/* SCTP buffers carry one chunk list per packet (GSO_BY_FRAGS, kernel 4.8). */
#define GSO_BY_FRAGS 0xffff

#define PORT_VXLAN 4789
#define PORT_VXLAN_LINUX 8472 /* the kernel's port before IANA assigned one */
#define PORT_GENEVE 6081

/* Bits of skb_shared_info.gso_type. */
#define GSO_UDP_TUNNEL (3 << 10) /* with and without an outer checksum */
#define GSO_FRAGMENTS (1 << 16)	 /* a datagram that becomes IP fragments */
#define GSO_DATAGRAMS (1 << 17)	 /* a payload that becomes datagrams (4.18) */

#define IPV6_FRAGMENT_LEN 8
#define IPV6_JUMBO 0xc2 /* RFC 2675 */
#define IPV6_JUMBO_LEN 8

struct amount {
	u64 packets;
	u64 bytes;
};

/* Where an encapsulated packet starts. `ethertype` 0: it can't be told. */
struct inner {
	u32 off;
	u32 ethertype;
};

/* The end of the transport header that starts at `off`, 0 when it is not known. */
static __always_inline u32 inner_end(struct __sk_buff *skb, u8 protocol, u32 off)
{
	u8 tcp_offset;

	switch (protocol) {
	case PROTO_TCP:
		if (bpf_skb_load_bytes(skb, off + offsetof(struct tcp_header, offset), &tcp_offset,
				       1) ||
		    tcp_offset < 5 << 4)
			return 0;
		return off + (tcp_offset >> 4) * 4;
	case PROTO_UDP:
		return off + UDP_LEN;
	case PROTO_SCTP:
		return off + SCTP_LEN;
	default:
		return 0;
	}
}

static __always_inline u32 inner_ipv4(struct __sk_buff *skb, u32 off)
{
	struct ipv4_header ip;

	if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)) || ip.version_ihl >> 4 != 4 ||
	    (ip.version_ihl & 0xf) < 5 || ip.fragment & bpf_htons(0x3fff))
		return 0;
	return inner_end(skb, ip.protocol, off + (ip.version_ihl & 0xf) * 4);
}

static __always_inline u32 inner_ipv6(struct __sk_buff *skb, u32 off)
{
	struct {
		u8 version_class, rest[5], next, hops;
	} ip;
	u32 veil = veil_of(skb->len);
	u8 protocol;

	if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)) || ip.version_class >> 4 != 6)
		return 0;
	protocol = ip.next;
	off += sizeof(struct ipv6_header);
#pragma clang loop unroll(disable)
	for (int i = 0; i < PARSE_MAX_EXTENSIONS && parse_is_extension(protocol); i++) {
		u8 ext[2];

		/* What is still to be cut into segments is no fragment. */
		if (protocol == PROTO_FRAGMENT || bpf_skb_load_bytes(skb, off, ext, sizeof(ext)))
			return 0;
		off += parse_extension_len(protocol, ext[1]) ^ veil;
		protocol = ext[0];
	}
	return inner_end(skb, protocol, off);
}

/*
 * Offset of the payload behind an encapsulated packet's headers, 0 if they are not
 * understood. Only lengths are needed here, so this is no second run of the parser.
 */
static __always_inline u32 inner_headers(struct __sk_buff *skb, const struct inner *inner)
{
	u32 ethertype = inner->ethertype, off = inner->off;

	if (ethertype == bpf_htons(ETHERTYPE_TEB)) {
		u16 copy;

		if (bpf_skb_load_bytes(skb, off + ETH_LEN - 2, &copy, sizeof(copy)))
			return 0;
		ethertype = copy;
		off += ETH_LEN ^ veil_of(skb->len);
	}
	if (ethertype == bpf_htons(ETHERTYPE_IPV4))
		return inner_ipv4(skb, off);
	if (ethertype == bpf_htons(ETHERTYPE_IPV6))
		return inner_ipv6(skb, off);
	return 0;
}

/* RFC 2784 and RFC 2890: each of checksum, key and sequence adds four octets. */
static __always_inline void enter_gre(struct __sk_buff *skb, struct inner *inner)
{
	struct {
		u16 flags, protocol;
	} gre;
	u16 flags;

	if (bpf_skb_load_bytes(skb, inner->off, &gre, sizeof(gre)))
		return;
	flags = bpf_ntohs(gre.flags);
	inner->ethertype = gre.protocol;
	inner->off += 4 + (flags >> 15 & 1) * 4 + (flags >> 13 & 1) * 4 + (flags >> 12 & 1) * 4;
}

/* RFC 8926: the first octet holds the length of the options in words. */
static __always_inline void enter_geneve(struct __sk_buff *skb, struct inner *inner)
{
	struct {
		u8 options, flags;
		u16 protocol;
	} geneve;

	if (bpf_skb_load_bytes(skb, inner->off + UDP_LEN, &geneve, sizeof(geneve)))
		return;
	inner->ethertype = geneve.protocol;
	inner->off += 16 + (geneve.options & 0x3f) * 4;
}

static __always_inline bool enter_udp_tunnel(struct __sk_buff *skb, u16 port, struct inner *inner)
{
	if (port == bpf_htons(PORT_GENEVE)) {
		enter_geneve(skb, inner);
		return true;
	}
	if (port != bpf_htons(PORT_VXLAN) && port != bpf_htons(PORT_VXLAN_LINUX))
		return false;
	inner->ethertype = bpf_htons(ETHERTYPE_TEB);
	inner->off += 16;
	return true;
}

/* Steps over an encapsulation header; false where there is none. */
static __always_inline bool enter_tunnel(struct __sk_buff *skb, u32 protocol, u16 port,
					 struct inner *inner)
{
	switch (protocol) {
	case PROTO_UDP:
		return enter_udp_tunnel(skb, port, inner);
	case PROTO_IPIP:
		inner->ethertype = bpf_htons(ETHERTYPE_IPV4);
		return true;
	case PROTO_IPV6:
		inner->ethertype = bpf_htons(ETHERTYPE_IPV6);
		return true;
	case PROTO_GRE:
		enter_gre(skb, inner);
		return true;
	default:
		return false;
	}
}

/*
 * How the kernel will cut a buffer, 0 when that can't be read. Any socket may send a
 * datagram to a tunnel's port, so headers alone do not tell a tunnel from a lie.
 */
static __always_inline u32 gso_type_of(struct __sk_buff *skb)
{
	const char *buffer = (const char *)skb;
	u32 end = 0, type = 0;
	char *head = NULL;
	long failed;

	if (!cfg.skb.known)
		return 0;
	failed = bpf_probe_read_kernel(&head, sizeof(head), buffer + cfg.skb.head);
	failed |= bpf_probe_read_kernel(&end, sizeof(end), buffer + cfg.skb.end);
	failed |= bpf_probe_read_kernel(&type, sizeof(type), head + end + cfg.skb.gso_type);
	return failed ? 0 : type;
}

/* What the frames of a segmented buffer have in common. */
struct repeated {
	u32 headers;  /* octets in front of each frame's payload; 0: not known */
	u32 inserted; /* octets that each frame has besides */
	u32 removed;  /* octets that the buffer has and no frame */
};

/*
 * Octets of the jumbo option that the kernel puts into IPv6 buffers beyond 64 KiB and takes
 * out again when it cuts them (5.19).
 */
static __always_inline u32 jumbo_option(struct __sk_buff *skb, u32 transport)
{
	struct {
		u16 payload;
		u8 next, rest[33];
		u8 behind, words, option, octets;
	} ip;
	u32 off = transport - IPV6_JUMBO_LEN - sizeof(struct ipv6_header);
	u32 differs;

	if (skb->len <= 0xffff ||
	    bpf_skb_load_bytes(skb, off + offsetof(struct ipv6_header, payload), &ip, sizeof(ip)))
		return 0;
	/* One test instead of five, for the verifier's sake. */
	differs = ip.payload | (ip.next ^ PROTO_HOPOPTS) | (ip.behind ^ PROTO_TCP) | ip.words |
		  (ip.option ^ IPV6_JUMBO);
	return differs ? 0 : IPV6_JUMBO_LEN;
}

/* Octets that each frame of a segmented buffer repeats. */
static __always_inline struct repeated repeated_headers(struct __sk_buff *skb,
							const struct parsed *out)
{
	u32 veil = veil_of(skb->len), type = 0;
	u32 transport = out->transport ^ veil, len = out->transport_len ^ veil;
	u32 protocol = out->protocol ^ veil, family = out->family ^ veil;
	struct inner inner = {.off = transport};
	struct repeated repeated = {};

	if ((out->fragment ^ veil) == PARSE_LATER_FRAGMENT)
		return repeated;
	if (protocol == PROTO_UDP)
		type = gso_type_of(skb) ^ veil;
	if ((type & (GSO_UDP_TUNNEL | GSO_FRAGMENTS)) == GSO_FRAGMENTS) {
		repeated.headers = transport;
		repeated.inserted = family == 6 ? IPV6_FRAGMENT_LEN : 0;
		return repeated;
	}
	if ((type & (GSO_UDP_TUNNEL | GSO_DATAGRAMS)) != GSO_DATAGRAMS && protocol != PROTO_TCP &&
	    enter_tunnel(skb, protocol, out->dst_port, &inner) ^ veil) {
		inner.off ^= veil;
		inner.ethertype ^= veil;
		repeated.headers = inner_headers(skb, &inner);
		return repeated;
	}
	if (!len || type & GSO_UDP_TUNNEL) /* a tunnel's port that we do not know */
		return repeated;
	if (protocol == PROTO_TCP && family == 6)
		repeated.removed = jumbo_option(skb, transport) ^ veil;
	repeated.headers = transport + len - repeated.removed;
	return repeated;
}

/*
 * The wire amount of a buffer that will be segmented. False when the headers are not
 * known: frames are then the kernel's own count, and the repeated octets are missing.
 */
static __always_inline bool segment(struct __sk_buff *skb, struct repeated repeated,
				    struct amount *amount)
{
	u32 veil = veil_of(skb->len), headers = repeated.headers ^ veil;
	u32 size = skb->gso_size, len = skb->len - (repeated.removed ^ veil);
	bool known = headers && headers <= len;
	u32 n = skb->gso_segs;

	if (known && size != GSO_BY_FRAGS)
		n = (len - headers + size - 1) / size;
	if (!n)
		n = 1;
	amount->packets = n;
	amount->bytes = len;
	if (known)
		amount->bytes += (u64)(n - 1) * headers + n * (repeated.inserted ^ veil);
	return known;
}

#endif
