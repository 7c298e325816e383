/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Maps of the counting program and what it is loaded with. Sizes of 1 are placeholders that user
 * space sets before load, where the configured limits are known.
 */
#ifndef FLOW_MAPS_BPF_H
#define FLOW_MAPS_BPF_H

#include "bpf_base.bpf.h"

#include "flow_abi.h"

const volatile struct flow_config cfg = {};

/* Not .bss: a replaced program would get a new one and forget the epoch. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct flow_control);
} control SEC(".maps");

/*
 * Preallocated hashes, one per parity and shard. Rejected: LRU evicts silently;
 * NO_PREALLOC doubles the cost of an insertion and may fail in softirq; a per-CPU
 * hash costs 32 octets per CPU and flow and multiplies the drain; a spin lock in
 * the value costs 54 ns a packet.
 */
struct flows4 {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct flow4_key);
	__type(value, struct flow_value);
};

struct flows6 {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct flow6_key);
	__type(value, struct flow_value);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, u32);
	__array(values, struct flows4);
} connection_flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, u32);
	__array(values, struct flows6);
} connection_flows6 SEC(".maps");

/* Updating a map of maps makes the kernel wait for all running programs (since 4.20). */
struct flow_grace {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, u32);
	__array(values, struct flow_grace);
} grace SEC(".maps");

/* By ifindex & (cells - 1): 128 KiB, and a collision gets its own program instance. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FLOW_SLOT_CELLS);
	__type(key, u32);
	__type(value, struct flow_slot_cell);
} slots SEC(".maps");

/* [(parity * slot_count + slot) * 2 + direction], never cleared while the slot lives */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct flow_totals);
} totals SEC(".maps");

/* [((parity * shards + shard) * slot_count + slot) * 2 + direction]; an array can't refuse */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct flow_folded);
} folded SEC(".maps");

/* [parity * shards + shard] */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct flow_fill);
} fill SEC(".maps");

/* [(parity * shards + shard) * slot_count + slot] */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct flow_fill);
} edge_fill SEC(".maps");

/* Ports of first fragments. Detail only: an evicted entry costs the ports, no count. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct flow_fragment_key);
	__type(value, struct flow_fragment);
} fragments SEC(".maps");

/* Notices, never counts; user space looks at `fill` each second anyway. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct flow_events);
} events_seen SEC(".maps");

/* Bit per port and protocol (TCP, UDP): 1 where a server is known to listen. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__uint(max_entries, 2 * 65536 / 64);
	__type(key, u32);
	__type(value, u64);
} service_ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct flow_clock);
} clock SEC(".maps");

/* Written by user space alone; here so that one loader makes and pins them all. */
struct edge_record {
	u8 bytes[FLOW_EDGE_RECORD_BYTES];
};

struct pair_record {
	u8 bytes[FLOW_PAIR_RECORD_BYTES];
};

struct redo_record {
	u8 bytes[FLOW_REDO_RECORD_BYTES];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct edge_record);
} edge_book SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct pair_record);
} pairs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct redo_record);
} redo SEC(".maps");

#endif
