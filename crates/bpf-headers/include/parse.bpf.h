/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * From the first octet of a frame to its ports. Two readings of the same rules:
 * parse_hot() looks at the frames that fill a link, in place, and declines the rest;
 * parse_frame() copies every header and understands all we know. Copies cost a few
 * nanoseconds, and having one kind of pointer instead of two keeps the number of
 * states small that the verifier has to walk.
 *
 * Compiles for user space as well, where the caller supplies bpf_skb_load_bytes():
 * that is how the parser is compared with another one.
 *
 * Nothing behind the transport header's fixed part is read, and payload is never
 * taken for ports. Length fields of IP are not believed and not needed.
 */
#ifndef PARSE_BPF_H
#define PARSE_BPF_H

#include "wire.bpf.h"

#define PARSE_MAX_TAGS 2
#define PARSE_MAX_EXTENSIONS 6

enum parse_verdict {
	PARSE_OK = 0,
	PARSE_NOT_IP,
	PARSE_SHORT,
	PARSE_BAD_HEADER,
	PARSE_EXT_CHAIN,
	PARSE_NON_LINEAR,
	PARSE_LINK_TYPE, /* never given here: for callers that know the device */
};

enum parse_fragment {
	PARSE_WHOLE = 0,
	PARSE_FIRST_FRAGMENT,
	PARSE_LATER_FRAGMENT, /* no transport header in this frame */
};

/* What a parser found. The first 40 octets can serve as the key of a flow. */
struct parsed {
	u32 src[4]; /* network order; IPv4 in the first word, the others 0 */
	u32 dst[4];
	u16 src_port;	/* network order; ICMP: the type as a number */
	u16 dst_port;	/* likewise; ICMP: the code */
	u8 protocol;	/* behind all extension headers */
	u8 owner_flags; /* the caller's */
	u16 owner;	/* likewise */

	u32 transport; /* offset of the transport header */
	u32 fragment_id;
	u8 family;	      /* 4, 6 or 0 */
	u8 fragment_protocol; /* what the IP or fragment header names */
	u8 fragment;	      /* enum parse_fragment */
	u8 tcp_flags;
	u32 transport_len; /* 0 where the protocol is not known to us */
};

_Static_assert(offsetof(struct parsed, transport) == 40, "the key comes first");
_Static_assert(sizeof(struct parsed) % sizeof(u64) == 0, "veiled in words");

struct parse_packet {
	void *skb;
	u32 len;   /* of the whole frame */
	u32 veil;  /* see veil_of() */
	u32 reach; /* end of what was last asked for */
};

static __always_inline bool parse_hot_ports(const void *transport, const void *end,
					    struct parsed *out)
{
	const struct udp_header *udp = transport;
	const struct tcp_header *tcp = transport;

	if ((const void *)(udp + 1) > end)
		return false;
	out->src_port = udp->src_port;
	out->dst_port = udp->dst_port;
	out->transport_len = UDP_LEN;
	out->tcp_flags = 0;
	if (out->protocol == PROTO_UDP)
		return true;
	if (out->protocol != PROTO_TCP || (const void *)(tcp + 1) > end || tcp->offset < 5 << 4)
		return false;
	out->transport_len = (tcp->offset >> 4) * 4;
	out->tcp_flags = tcp->flags;
	return true;
}

static __always_inline bool parse_hot_ipv4(const void *data, const void *end, struct parsed *out)
{
	const struct ipv4_header *ip = data + ETH_LEN;

	if (ip->version_ihl != 0x45 || ip->fragment & bpf_htons(0x3fff))
		return false;
	/* Before 6.3 the verifier wants to see all of a key written, on this path too. */
	__builtin_memset(out->src, 0, sizeof(out->src));
	__builtin_memset(out->dst, 0, sizeof(out->dst));
	out->src[0] = ip->src;
	out->dst[0] = ip->dst;
	out->protocol = ip->protocol;
	out->transport = ETH_LEN + sizeof(*ip);
	out->family = 4;
	return parse_hot_ports(ip + 1, end, out);
}

static __always_inline bool parse_hot_ipv6(const void *data, const void *end, struct parsed *out)
{
	const struct ipv6_header *ip = data + ETH_LEN;

	if ((const void *)(ip + 1) > end || ip->version_class >> 4 != 6)
		return false;
	__builtin_memcpy(out->src, ip->src, sizeof(out->src));
	__builtin_memcpy(out->dst, ip->dst, sizeof(out->dst));
	out->protocol = ip->next;
	out->transport = ETH_LEN + sizeof(*ip);
	out->family = 6;
	return parse_hot_ports(ip + 1, end, out);
}

/*
 * The frames that fill a link: Ethernet without tags, IP without options, extension
 * headers or fragments, TCP or UDP, headers in the linear part. False leaves the frame
 * to parse_frame(); it never means that the frame is wrong.
 */
static __always_inline bool parse_hot(const void *data, const void *end, struct parsed *out)
{
	u16 ethertype;

	if (data + ETH_LEN + sizeof(struct ipv4_header) > end)
		return false;
	ethertype = *(const u16 *)(data + ETH_LEN - 2);
	out->fragment = PARSE_WHOLE;
	if (ethertype == bpf_htons(ETHERTYPE_IPV4))
		return parse_hot_ipv4(data, end, out);
	if (ethertype == bpf_htons(ETHERTYPE_IPV6))
		return parse_hot_ipv6(data, end, out);
	return false;
}

/* Copies octets [off, off + len), linear or not. */
static __always_inline bool parse_load(struct parse_packet *p, u32 off, void *copy, u32 len)
{
	p->reach = off + len;
	return !bpf_skb_load_bytes(p->skb, off, copy, len);
}

static __always_inline enum parse_verdict parse_tcp(struct parse_packet *p, struct parsed *out)
{
	struct tcp_header tcp;

	if (!parse_load(p, out->transport, &tcp, sizeof(tcp)))
		return PARSE_SHORT;
	if (tcp.offset < 5 << 4)
		return PARSE_BAD_HEADER;
	out->src_port = tcp.src_port;
	out->dst_port = tcp.dst_port;
	out->tcp_flags = tcp.flags;
	out->transport_len = (tcp.offset >> 4) * 4;
	return PARSE_OK;
}

/* UDP and SCTP: ports in front, a header of fixed length. */
static __always_inline enum parse_verdict parse_ports(struct parse_packet *p, struct parsed *out,
						      u32 len)
{
	struct {
		u16 src_port, dst_port;
		u32 rest[2];
	} copy;

	if (!parse_load(p, out->transport, &copy, len))
		return PARSE_SHORT;
	out->src_port = copy.src_port;
	out->dst_port = copy.dst_port;
	out->transport_len = len;
	return PARSE_OK;
}

/* Type, code and checksum are common to RFC 792 and RFC 4443. */
static __always_inline enum parse_verdict parse_icmp(struct parse_packet *p, struct parsed *out)
{
	struct {
		u8 type, code;
		u16 checksum;
	} icmp;

	if (!parse_load(p, out->transport, &icmp, sizeof(icmp)))
		return PARSE_SHORT;
	out->src_port = bpf_htons(icmp.type);
	out->dst_port = bpf_htons(icmp.code);
	out->transport_len = ICMP_LEN;
	return PARSE_OK;
}

static __always_inline enum parse_verdict parse_transport(struct parse_packet *p,
							  struct parsed *out)
{
	if (out->fragment == PARSE_LATER_FRAGMENT)
		return PARSE_OK;
	switch (out->protocol) {
	case PROTO_TCP:
		return parse_tcp(p, out);
	case PROTO_UDP:
		return parse_ports(p, out, UDP_LEN);
	case PROTO_SCTP:
		return parse_ports(p, out, SCTP_LEN);
	case PROTO_ICMP:
	case PROTO_ICMPV6:
		return parse_icmp(p, out);
	default:
		return PARSE_OK;
	}
}

static __always_inline u8 parse_fragment(u16 offset, u16 more)
{
	if (offset)
		return PARSE_LATER_FRAGMENT;
	return more ? PARSE_FIRST_FRAGMENT : PARSE_WHOLE;
}

/* Whether a header that claims to end at `end` can. */
static __always_inline enum parse_verdict parse_reach(struct parse_packet *p, u32 end)
{
	p->reach = end;
	return end > p->len ? PARSE_SHORT : PARSE_OK;
}

static __always_inline enum parse_verdict parse_ipv4(struct parse_packet *p, u32 off,
						     struct parsed *out)
{
	struct ipv4_header ip;

	if (!parse_load(p, off, &ip, sizeof(ip)))
		return PARSE_SHORT;
	if (ip.version_ihl >> 4 != 4 || (ip.version_ihl & 0xf) < 5)
		return PARSE_BAD_HEADER;
	out->src[0] = ip.src;
	out->dst[0] = ip.dst;
	out->protocol = ip.protocol;
	out->fragment_protocol = ip.protocol;
	out->fragment_id = ip.id;
	out->transport = off + (ip.version_ihl & 0xf) * 4;
	out->fragment =
		parse_fragment(bpf_ntohs(ip.fragment) & 0x1fff, bpf_ntohs(ip.fragment) & 0x2000) ^
		p->veil;
	return parse_reach(p, out->transport);
}

#define PARSE_EXTENSIONS                                                                           \
	(1ULL << PROTO_HOPOPTS | 1ULL << PROTO_ROUTING | 1ULL << PROTO_FRAGMENT |                  \
	 1ULL << PROTO_AH | 1ULL << PROTO_DSTOPTS)

/* One test instead of five: each comparison would double the verifier's states. */
static __always_inline bool parse_is_extension(u8 protocol)
{
	return protocol < 64 && (PARSE_EXTENSIONS >> protocol) & 1;
}

#define PARSE_IS(what, protocol) ((1ULL << (what) >> (protocol)) & 1)

/*
 * RFC 8200 section 4 counts words of eight octets behind the first, RFC 4302 section 2.2
 * words of four behind the first two, and a fragment header has no length. Without
 * branches, for the verifier's sake; `kind` is an extension, so below 64.
 */
static __always_inline u32 parse_extension_len(u32 kind, u32 len)
{
	u32 authentication = PARSE_IS(PROTO_AH, kind);
	u32 fragment = PARSE_IS(PROTO_FRAGMENT, kind);

	return ((len & (fragment - 1)) + 1 + authentication) << (3 - authentication);
}

static __always_inline enum parse_verdict parse_extension(struct parse_packet *p,
							  struct parsed *out)
{
	struct ipv6_extension ext;
	u8 kind = out->protocol;

	if (!parse_load(p, out->transport, &ext, sizeof(ext)))
		return PARSE_SHORT;
	out->protocol = ext.next;
	out->transport += parse_extension_len(kind, ext.len);
	if (kind == PROTO_FRAGMENT) {
		/* Offset 0 and nothing to follow is a whole packet (RFC 6946). */
		out->fragment = parse_fragment(bpf_ntohs(ext.fragment) & 0xfff8,
					       bpf_ntohs(ext.fragment) & 1) ^
				p->veil;
		out->fragment_id = ext.id;
		out->fragment_protocol = ext.next;
	}
	return parse_reach(p, out->transport);
}

static __always_inline bool parse_more(const struct parsed *out)
{
	return parse_is_extension(out->protocol) && out->fragment != PARSE_LATER_FRAGMENT;
}

static __always_inline enum parse_verdict parse_extensions(struct parse_packet *p,
							   struct parsed *out)
{
#pragma clang loop unroll(disable)
	for (int i = 0; i < PARSE_MAX_EXTENSIONS; i++) {
		if (!parse_more(out))
			return PARSE_OK;
		if (parse_extension(p, out) != PARSE_OK)
			return PARSE_SHORT;
	}
	return parse_more(out) ? PARSE_EXT_CHAIN : PARSE_OK;
}

static __always_inline enum parse_verdict parse_ipv6(struct parse_packet *p, u32 off,
						     struct parsed *out)
{
	struct ipv6_header ip;

	if (!parse_load(p, off, &ip, sizeof(ip)))
		return PARSE_SHORT;
	if (ip.version_class >> 4 != 6)
		return PARSE_BAD_HEADER;
	__builtin_memcpy(out->src, ip.src, sizeof(out->src));
	__builtin_memcpy(out->dst, ip.dst, sizeof(out->dst));
	out->protocol = ip.next;
	out->fragment_protocol = ip.next;
	out->transport = off + sizeof(ip);
	return parse_extensions(p, out);
}

/* From the network header on, which starts at `off`. */
static __always_inline enum parse_verdict parse_network(struct parse_packet *p, u32 off,
							u16 ethertype, struct parsed *out)
{
	enum parse_verdict verdict = PARSE_NOT_IP;

	if (ethertype == bpf_htons(ETHERTYPE_IPV4)) {
		out->family = 4;
		verdict = parse_ipv4(p, off, out);
	} else if (ethertype == bpf_htons(ETHERTYPE_IPV6)) {
		out->family = 6;
		verdict = parse_ipv6(p, off, out);
	}
	out->family ^= p->veil;
	verdict ^= p->veil;
	if (verdict == PARSE_OK)
		verdict = parse_transport(p, out);
	out->transport_len ^= p->veil;
	return verdict;
}

static __always_inline bool parse_is_tag(u16 ethertype)
{
	return ethertype == bpf_htons(ETHERTYPE_8021Q) || ethertype == bpf_htons(ETHERTYPE_8021AD);
}

/* The length of the Ethernet header and up to two tags, 0 when cut off. */
static __always_inline u32 parse_ethernet(struct parse_packet *p, u16 *ethertype)
{
	u32 off = ETH_LEN;

#pragma clang loop unroll(disable)
	for (int i = 0; i <= PARSE_MAX_TAGS; i++) {
		if (!parse_load(p, off - sizeof(*ethertype), ethertype, sizeof(*ethertype)))
			return 0;
		if (i == PARSE_MAX_TAGS || !parse_is_tag(*ethertype))
			break;
		off += 4;
	}
	return off ^ p->veil;
}

/* Whatever was or was not found looks the same to the verifier from here on. */
static __always_inline void parse_veil(struct parsed *out, u64 veil)
{
	for (u32 i = 0; i < sizeof(*out) / sizeof(u64); i++)
		((u64 *)out)[i] ^= veil;
}

/* A whole frame. `ethertype` counts where there is no link header. */
static __always_inline enum parse_verdict parse_frame(struct parse_packet *p, bool link_header,
						      u16 ethertype, struct parsed *out)
{
	enum parse_verdict verdict = PARSE_SHORT;
	u32 off = 0;

	__builtin_memset(out, 0, sizeof(*out));
	if (link_header)
		off = parse_ethernet(p, &ethertype);
	if (off || !link_header)
		verdict = parse_network(p, off, ethertype, out);
	parse_veil(out, p->veil);
	/* Octets that are there, but can't be read: memory of a device (kernel 6.12). */
	return (verdict ^ p->veil) == PARSE_SHORT && p->reach <= p->len ? PARSE_NON_LINEAR :
									  verdict;
}

#endif
