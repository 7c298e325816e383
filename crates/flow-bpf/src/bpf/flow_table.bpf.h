/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * One packet into the tables of its epoch. A run reads the epoch once and writes
 * only to that epoch's maps, from which nothing is deleted while it is open: an
 * element once found stays the only one for its key, and an atomic add to it
 * can't be lost.
 */
#ifndef FLOW_TABLE_BPF_H
#define FLOW_TABLE_BPF_H

#include "flow_gso.bpf.h"

struct observation {
	struct amount amount;
	u32 parity;
	u32 row; /* of this CPU's shard in arrays of [parity][shard] */
	u32 tick;
	u32 slot;
	u8 direction;
	u8 protocol;
	u8 tcp_flags;
};

enum placed {
	PLACED,
	PLACED_QUOTA, /* the edge has had its share */
	PLACED_FULL,
};

/* Out of line, as all that is rare: the hot path stays short. */
SUBPROGRAM int count_event(u32 event)
{
	u32 zero = 0;
	u64 *seen = bpf_map_lookup_elem(&events_seen, &zero);

	if (seen && event < FLOW_EVENTS)
		seen[event] += 1; /* per CPU */
	return 0;
}

static __always_inline void add(u64 *cell, u64 n)
{
	__sync_fetch_and_add(cell, n);
}

static __always_inline void add_total(u64 *cell, u64 n)
{
	if (cfg.atomic_totals)
		add(cell, n);
	else
		*cell += n; /* bottom halves are off: nothing nests on this CPU */
}

static __always_inline void count_totals(struct __sk_buff *skb, const struct observation *seen)
{
	u32 index = (seen->parity * cfg.slot_count + seen->slot) * 2 + seen->direction;
	struct flow_totals *totals_cell = bpf_map_lookup_elem(&totals, &index);

	if (!totals_cell)
		return; /* the index is below max_entries by construction */
	add_total(&totals_cell->packets, seen->amount.packets);
	add_total(&totals_cell->bytes, seen->amount.bytes);
	add_total(&totals_cell->skbs, 1);
	add_total(&totals_cell->skb_bytes, skb->len);
}

SUBPROGRAM int fold(const struct observation *seen, enum flow_class class)
{
	u32 index = (seen->row * cfg.slot_count + seen->slot) * 2 + seen->direction;
	struct flow_folded *cell = bpf_map_lookup_elem(&folded, &index);

	if (!cell)
		return 0;	       /* as above */
	class &= FLOW_CLASS_CELLS - 1; /* for the verifier */
	add(&cell->classes[class].packets, seen->amount.packets);
	add(&cell->classes[class].bytes, seen->amount.bytes);
	return 0;
}

/* Once per kind, shard and epoch; two CPUs at the same instant may both send. */
SUBPROGRAM int notify_once(struct flow_fill *filled, enum flow_notice_kind kind, u32 row,
			   u32 family)
{
	struct flow_notice notice = {
		.kind = kind,
		.parity = row > cfg.shard_mask,
		.shard = row & cfg.shard_mask,
		.family = family,
	};

	if (filled->noticed & (1 << kind))
		return 0;
	filled->noticed |= 1 << kind;
	if (bpf_ringbuf_output(&events, &notice, sizeof(notice), 0))
		count_event(FLOW_EVENT(lost_notice));
	return 0;
}

static __always_inline u32 *fill_of(struct flow_fill *filled, u8 family)
{
	return family == 4 ? &filled->v4 : &filled->v6;
}

static __always_inline void count_insertion(struct flow_fill *edge, u32 row, u8 family)
{
	struct flow_fill *filled = bpf_map_lookup_elem(&fill, &row);
	u32 *n;

	__sync_fetch_and_add(fill_of(edge, family), 1);
	if (!filled)
		return; /* as above */
	n = fill_of(filled, family);
	__sync_fetch_and_add(n, 1);
	if (READ_ONCE(*n) >= (family == 4 ? cfg.early4 : cfg.early6))
		notify_once(filled, FLOW_NOTICE_FILLING, row, family);
}

/*
 * Volatile since other CPUs write it too, and for clang's sake: where a record is only
 * met as a map's value, its description is left out of BTF.
 */
SUBPROGRAM int count_flags(volatile struct flow_value *flow, u32 tcp_flags)
{
	if (tcp_flags & TCP_SYN)
		__sync_fetch_and_add(&flow->syn, 1);
	if (tcp_flags & TCP_FIN)
		__sync_fetch_and_add(&flow->fin, 1);
	if (tcp_flags & TCP_RST)
		__sync_fetch_and_add(&flow->rst, 1);
	return 0;
}

/* A CPU with a shard of its own is the only writer of what it finds there. */
static __always_inline void add_flow(u64 *cell, u64 n)
{
	if (cfg.own_shard)
		*cell += n;
	else
		add(cell, n);
}

static __always_inline void hit(struct flow_value *flow, const struct observation *seen)
{
	add_flow(&flow->bytes, seen->amount.bytes);
	add_flow(&flow->packets, seen->amount.packets);
	flow->last = seen->tick;
	if (seen->tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST))
		count_flags(flow, seen->tcp_flags);
}

static __always_inline struct flow_value first_of(const struct observation *seen)
{
	struct flow_value flow = {
		.bytes = seen->amount.bytes,
		.packets = seen->amount.packets,
		.first = seen->tick,
		.last = seen->tick,
		.syn = !!(seen->tcp_flags & TCP_SYN),
		.fin = !!(seen->tcp_flags & TCP_FIN),
		.rst = !!(seen->tcp_flags & TCP_RST),
	};

	return flow;
}

static __always_inline bool hit_known(void *table, const void *key, const struct observation *seen)
{
	struct flow_value *flow = bpf_map_lookup_elem(table, key);

	if (!flow)
		return false;
	hit(flow, seen);
	return true;
}

/* Inserts into one shard; true when the packet is counted there. */
static __always_inline bool insert(void *table, const void *key, const struct observation *seen,
				   struct flow_fill *edge, u32 row, u8 family)
{
	struct flow_value first = first_of(seen);

	if (!bpf_map_update_elem(table, key, &first, BPF_NOEXIST)) {
		count_insertion(edge, row, family);
		return true;
	}
	/*
	 * Another CPU may have won the race (-EEXIST); nothing is deleted while the epoch
	 * is open, so the winner's element is there. On any other error it is not.
	 */
	return hit_known(table, key, seen);
}

/*
 * A quota holds in each shard: a CPU reaches two of them, so that a share of the whole
 * table would let one edge fill both.
 */
static __always_inline enum placed place_new(void *tables, const void *key,
					     const struct observation *seen, u32 row, u8 family)
{
	u32 cell = row * cfg.slot_count + seen->slot;
	struct flow_fill *edge = bpf_map_lookup_elem(&edge_fill, &cell);
	void *table = bpf_map_lookup_elem(tables, &row);

	if (!edge || !table)
		return PLACED_FULL; /* as above */
	if (READ_ONCE(*fill_of(edge, family)) >= (family == 4 ? cfg.quota4 : cfg.quota6))
		return PLACED_QUOTA;
	return insert(table, key, seen, edge, row, family) ? PLACED : PLACED_FULL;
}

/* The neighbour of a shard without room may hold the flow already. */
static __always_inline enum placed spill(void *tables, const void *key,
					 const struct observation *seen, enum placed own, u8 family)
{
	u32 row = (seen->row & ~cfg.shard_mask) | ((seen->row + 1) & cfg.shard_mask);
	struct flow_fill *filled = bpf_map_lookup_elem(&fill, &seen->row);
	void *table = bpf_map_lookup_elem(tables, &row);

	if (filled && own == PLACED_FULL)
		notify_once(filled, FLOW_NOTICE_OVERFLOW, seen->row, family);
	if (table && hit_known(table, key, seen))
		return PLACED;
	return place_new(tables, key, seen, row, family);
}

static __always_inline enum flow_class overflow_class(u8 protocol)
{
	switch (protocol) {
	case PROTO_TCP:
		return FLOW_CLASS_OVERFLOW_TCP;
	case PROTO_UDP:
		return FLOW_CLASS_OVERFLOW_UDP;
	default:
		return FLOW_CLASS_OVERFLOW_OTHER;
	}
}

static __always_inline void settle(const struct observation *seen, enum placed placed)
{
	if (placed == PLACED)
		return;
	if (placed == PLACED_FULL)
		count_event(FLOW_EVENT(overflow));
	fold(seen, placed == PLACED_QUOTA ? FLOW_CLASS_QUOTA : overflow_class(seen->protocol));
}

/* Where the neighbour's CPU adds without atomics, its elements and ours stay apart. */
static __always_inline u8 spill_flag(void)
{
	return cfg.own_shard ? FLOW_KEY_SPILLED : 0;
}

SUBPROGRAM int miss4(const struct flow4_key *key, const struct observation *seen)
{
	enum placed placed = place_new(&connection_flows, key, seen, seen->row, 4);

	if (placed != PLACED) {
		struct flow4_key spilled = *key;

		spilled.dirflags |= spill_flag();
		placed = spill(&connection_flows, &spilled, seen, placed, 4);
	}
	settle(seen, placed);
	return 0;
}

SUBPROGRAM int miss6(const struct flow6_key *key, const struct observation *seen)
{
	enum placed placed = place_new(&connection_flows6, key, seen, seen->row, 6);

	if (placed != PLACED) {
		struct flow6_key spilled = *key;

		spilled.dirflags |= spill_flag();
		placed = spill(&connection_flows6, &spilled, seen, placed, 6);
	}
	settle(seen, placed);
	return 0;
}

static __always_inline void place4(const struct flow4_key *key, const struct observation *seen)
{
	void *table = bpf_map_lookup_elem(&connection_flows, &seen->row);

	if (!table || !hit_known(table, key, seen))
		miss4(key, seen);
}

static __always_inline void place6(const struct flow6_key *key, const struct observation *seen)
{
	void *table = bpf_map_lookup_elem(&connection_flows6, &seen->row);

	if (!table || !hit_known(table, key, seen))
		miss6(key, seen);
}

#endif
