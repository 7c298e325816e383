// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * Counts every packet that crosses a pod's edge, exactly once. Reads headers,
 * writes maps, answers "next": neither packet nor verdict is ever touched.
 */
#include "flow_table.bpf.h"

#define PACKET_LOOPBACK 5 /* linux/if_packet.h */
#define VERDICT_NEXT (-1) /* TCX_NEXT for a link, TC_ACT_UNSPEC for a filter */

struct edge {
	u32 slot;
	u32 flags;
};

static __always_inline bool find_edge(struct __sk_buff *skb, struct edge *edge)
{
	u32 cell = skb->ifindex & (FLOW_SLOT_CELLS - 1);
	struct flow_slot_cell *found;

	if (cfg.single) {
		edge->slot = cfg.own_slot;
		edge->flags = cfg.own_flags;
		return true;
	}
	found = bpf_map_lookup_elem(&slots, &cell);
	if (!found || found->ifindex != skb->ifindex)
		return false;
	edge->slot = found->slot;
	edge->flags = found->flags;
	return true;
}

SUBPROGRAM int parse_rest(struct __sk_buff *skb, u32 flags, struct parsed *out)
{
	struct parse_packet p = {
		.skb = skb,
		.len = skb->len,
		.veil = veil_of(skb->len),
	};

	if (flags & FLOW_SLOT_OPAQUE)
		return PARSE_LINK_TYPE;
	return parse_frame(&p, !(flags & FLOW_SLOT_L3), skb->protocol, out);
}

static __always_inline enum parse_verdict parse(struct __sk_buff *skb, u32 flags,
						struct parsed *out)
{
	const void *data = (const void *)(long)skb->data;
	const void *end = (const void *)(long)skb->data_end;

	if (!flags && parse_hot(data, end, out))
		return PARSE_OK;
	return parse_rest(skb, flags, out) ^ veil_of(skb->len);
}

static __always_inline bool has_ports(u8 protocol)
{
	return protocol == PROTO_TCP || protocol == PROTO_UDP || protocol == PROTO_SCTP ||
	       protocol == PROTO_ICMP || protocol == PROTO_ICMPV6;
}

static __always_inline void fragment_key(const struct observation *seen, const struct parsed *out,
					 struct flow_fragment_key *key)
{
	__builtin_memcpy(key->src, out->src, sizeof(key->src));
	__builtin_memcpy(key->dst, out->dst, sizeof(key->dst));
	key->id = out->fragment_id;
	key->protocol = out->fragment_protocol;
	key->direction = seen->direction;
	key->slot = seen->slot;
}

static __always_inline void remember_fragment(const struct observation *seen,
					      const struct parsed *out)
{
	struct flow_fragment ports = {
		.src_port = out->src_port,
		.dst_port = out->dst_port,
		.protocol = out->protocol,
	};
	struct flow_fragment_key key;

	fragment_key(seen, out, &key);
	bpf_map_update_elem(&fragments, &key, &ports, BPF_ANY);
}

/* The key flag for a fragment whose first part we have not seen. */
static __always_inline u8 recall_fragment(const struct observation *seen, struct parsed *out)
{
	struct flow_fragment_key key;
	struct flow_fragment *ports;

	fragment_key(seen, out, &key);
	ports = bpf_map_lookup_elem(&fragments, &key);
	if (ports) {
		out->src_port = ports->src_port;
		out->dst_port = ports->dst_port;
		out->protocol = ports->protocol;
		return 0;
	}
	return has_ports(out->protocol) || parse_is_extension(out->protocol) ? FLOW_KEY_FRAGMENT :
									       0;
}

SUBPROGRAM int resolve_fragment(const struct observation *seen, struct parsed *out)
{
	if (out->fragment == PARSE_FIRST_FRAGMENT && has_ports(out->protocol))
		remember_fragment(seen, out);
	else if (out->fragment == PARSE_LATER_FRAGMENT)
		return recall_fragment(seen, out);
	return 0;
}

static __always_inline bool is_service(u8 protocol, u16 port)
{
	u32 word = (protocol == PROTO_UDP ? 1024 : 0) + (port >> 6);
	u64 *bits = bpf_map_lookup_elem(&service_ports, &word);

	return bits && (*bits >> (port & 63)) & 1;
}

/* User space writes down who serves; until it has, the same port may be told again. */
SUBPROGRAM int tell_server(u32 port)
{
	struct flow_notice notice = {.kind = FLOW_NOTICE_SERVER, .port = port};

	if (bpf_ringbuf_output(&events, &notice, sizeof(notice), 0))
		count_event(FLOW_EVENT(lost_notice));
	return 0;
}

/* Drops the client's port: the side not known to serve, else the higher one. */
static __always_inline void keep_service_port(struct parsed *out)
{
	u16 src = bpf_ntohs(out->src_port), dst = bpf_ntohs(out->dst_port);
	bool known = out->protocol == PROTO_TCP || out->protocol == PROTO_UDP;
	bool src_serves = known && is_service(out->protocol, src);
	bool dst_serves = known && is_service(out->protocol, dst);

	if (!src_serves && out->protocol == PROTO_TCP &&
	    (out->tcp_flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK)) {
		tell_server(src);
		src_serves = true;
	}
	if (src_serves == dst_serves)
		src_serves = src < dst;
	if (src_serves)
		out->dst_port = 0;
	else
		out->src_port = 0;
}

static __always_inline u8 apply_key_mode(struct parsed *out, u8 fragment_flag)
{
	if (cfg.key_mode == FLOW_KEY_PAIR) {
		out->src_port = 0;
		out->dst_port = 0;
		return 0;
	}
	if (cfg.key_mode == FLOW_KEY_PAIR_SERVICE_PORT && !fragment_flag &&
	    (out->protocol == PROTO_TCP || out->protocol == PROTO_UDP ||
	     out->protocol == PROTO_SCTP))
		keep_service_port(out);
	return fragment_flag;
}

static __always_inline void record4(const struct observation *seen, const struct parsed *out,
				    u8 dirflags)
{
	struct flow4_key key = {
		.src = out->src[0],
		.dst = out->dst[0],
		.src_port = out->src_port,
		.dst_port = out->dst_port,
		.protocol = out->protocol,
		.dirflags = dirflags,
		.slot = seen->slot,
	};

	place4(&key, seen);
}

/* What was parsed is a key but for these two fields, and is not copied. */
static __always_inline void record6(const struct observation *seen, struct parsed *out, u8 dirflags)
{
	_Static_assert(offsetof(struct flow6_key, src_port) == offsetof(struct parsed, src_port) &&
			       offsetof(struct flow6_key, dirflags) ==
				       offsetof(struct parsed, owner_flags) &&
			       offsetof(struct flow6_key, slot) == offsetof(struct parsed, owner),
		       "parsed starts with a key");

	out->owner_flags = dirflags;
	out->owner = seen->slot;
	place6((const struct flow6_key *)out, seen);
}

static __always_inline void record_flow(struct observation *seen, struct parsed *out)
{
	u8 dirflags = seen->direction == FLOW_RX ? FLOW_KEY_RX : 0;
	u8 fragment_flag = 0;

	if (out->fragment != PARSE_WHOLE)
		fragment_flag = resolve_fragment(seen, out);
	dirflags |= apply_key_mode(out, fragment_flag);
	seen->protocol = out->protocol;
	seen->tcp_flags = out->tcp_flags;
	if (out->family == 4)
		record4(seen, out, dirflags);
	else
		record6(seen, out, dirflags);
}

static __always_inline u32 reason_of(enum parse_verdict verdict)
{
	switch (verdict) {
	case PARSE_BAD_HEADER:
		return FLOW_EVENT(bad_header);
	case PARSE_EXT_CHAIN:
		return FLOW_EVENT(ext_chain);
	case PARSE_NON_LINEAR:
		return FLOW_EVENT(non_linear);
	case PARSE_LINK_TYPE:
		return FLOW_EVENT(link_type);
	default:
		return FLOW_EVENT(too_short);
	}
}

/* A frame without a flow. */
SUBPROGRAM int record_unparsed(const struct observation *seen, enum parse_verdict verdict)
{
	if (verdict != PARSE_NOT_IP)
		count_event(reason_of(verdict));
	return fold(seen, verdict == PARSE_NOT_IP ? FLOW_CLASS_NON_IP : FLOW_CLASS_UNPARSED);
}

SUBPROGRAM int measure_segments(struct __sk_buff *skb, enum parse_verdict verdict,
				const struct parsed *out, struct amount *amount)
{
	struct repeated repeated = {};

	if (verdict == PARSE_OK)
		repeated = repeated_headers(skb, out);

	/* A link type without a parser is told by its own event. */
	if (!segment(skb, repeated, amount) && verdict != PARSE_LINK_TYPE)
		count_event(FLOW_EVENT(gso_headers));
	return 0;
}

static __always_inline int observe(struct __sk_buff *skb, enum flow_direction direction)
{
	struct observation seen = {.direction = direction};
	struct flow_control *page;
	enum parse_verdict verdict;
	struct parsed out;
	struct edge edge;
	u32 zero = 0;

	/*
	 * A copy that the stack hands back to its own sender: it crosses no edge, and has lost
	 * its link header.
	 */
	if (skb->pkt_type == PACKET_LOOPBACK)
		return VERDICT_NEXT;
	page = bpf_map_lookup_elem(&control, &zero);
	if (!page)
		return VERDICT_NEXT; /* an array of one has its element 0 */
	if (!find_edge(skb, &edge)) {
		count_event(FLOW_EVENT(unslotted));
		return VERDICT_NEXT;
	}
	seen.parity = READ_ONCE(page->epoch) & 1;
	seen.row =
		seen.parity * (cfg.shard_mask + 1) + (bpf_get_smp_processor_id() & cfg.shard_mask);
	seen.slot = edge.slot;
	seen.tick = bpf_jiffies64();

	verdict = parse(skb, edge.flags, &out);
	seen.amount.packets = 1;
	seen.amount.bytes = skb->len;
	if (skb->gso_size)
		measure_segments(skb, verdict, &out, &seen.amount);
	count_totals(skb, &seen);
	if (verdict == PARSE_OK)
		record_flow(&seen, &out);
	else
		record_unparsed(&seen, verdict);
	return VERDICT_NEXT;
}

SEC("tc")
int tc_pod_tx(struct __sk_buff *skb)
{
	return observe(skb, FLOW_TX);
}

SEC("tc")
int tc_pod_rx(struct __sk_buff *skb)
{
	return observe(skb, FLOW_RX);
}

/* Run by user space, never attached: relates flow ticks to CLOCK_MONOTONIC. */
SEC("tc")
int read_clock(struct __sk_buff *skb)
{
	u32 zero = 0;
	struct flow_clock *now = bpf_map_lookup_elem(&clock, &zero);

	if (!now)
		return VERDICT_NEXT; /* an array of one has its element 0 */
	now->jiffies = bpf_jiffies64();
	now->monotonic_ns = bpf_ktime_get_ns();
	return VERDICT_NEXT;
}

char LICENSE[] SEC("license") = "GPL";
