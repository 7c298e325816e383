// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * The kernel's parser in user space: the same headers, with a buffer for a packet.
 */
#define BPF_BASE_BPF_H
#define FLOW_MAPS_BPF_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <arpa/inet.h>
#include <linux/bpf.h>
#include <linux/types.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;

#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#define bpf_htons(x) htons(x)
#define bpf_ntohs(x) ntohs(x)

static inline u32 veil_of(u32 anything)
{
	return anything ^ anything;
}

#include "flow_abi.h"

struct host_packet {
	struct __sk_buff skb; /* first: the parser holds a pointer to it */
	const u8 *octets;
	/* What the kernel's own structure has, and how it says it will cut the buffer. */
	const u32 *head;
	u32 end;
	u32 gso_type;
};

static const struct flow_config cfg = {
	.skb =
		{
			.head = offsetof(struct host_packet, head),
			.end = offsetof(struct host_packet, end),
			.gso_type = 0,
			.known = 1,
		},
};

static long bpf_probe_read_kernel(void *to, u32 len, const void *from)
{
	memcpy(to, from, len);
	return 0;
}

static long bpf_skb_load_bytes(const void *skb, u32 off, void *to, u32 len)
{
	const struct host_packet *packet = skb;

	if (off > packet->skb.len || len > packet->skb.len - off)
		return -1;
	memcpy(to, packet->octets + off, len);
	return 0;
}

#include "flow_gso.bpf.h"

static struct host_packet packet_of(const u8 *octets, u32 len)
{
	struct host_packet packet = {.skb.len = len, .octets = octets};

	return packet;
}

/* How a buffer will be cut. */
struct host_cut {
	u32 size;
	u32 segs;
	u32 type;
};

bool host_parse_hot(const u8 *octets, u32 linear, struct parsed *out);
u32 host_parse_frame(const u8 *octets, u32 len, bool link_header, u16 ethertype,
		     struct parsed *out);
bool host_segment(const u8 *octets, u32 len, const struct host_cut *cut, const struct parsed *out,
		  struct amount *amount);

bool host_parse_hot(const u8 *octets, u32 linear, struct parsed *out)
{
	return parse_hot(octets, octets + linear, out);
}

u32 host_parse_frame(const u8 *octets, u32 len, bool link_header, u16 ethertype, struct parsed *out)
{
	struct host_packet packet = packet_of(octets, len);
	struct parse_packet p = {.skb = &packet, .len = len};

	return parse_frame(&p, link_header, htons(ethertype), out);
}

/* `out` NULL: the frame was not parsed. */
bool host_segment(const u8 *octets, u32 len, const struct host_cut *cut, const struct parsed *out,
		  struct amount *amount)
{
	struct host_packet packet = packet_of(octets, len);
	struct repeated repeated = {};

	packet.head = &packet.gso_type;
	packet.gso_type = cut->type;
	packet.skb.gso_size = cut->size;
	packet.skb.gso_segs = cut->segs;
	if (out)
		repeated = repeated_headers(&packet.skb, out);
	return segment(&packet.skb, repeated, amount);
}
