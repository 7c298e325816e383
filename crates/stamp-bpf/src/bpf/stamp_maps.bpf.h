/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Maps of the programs, what they are loaded with, and how they count.
 */
#ifndef STAMP_MAPS_BPF_H
#define STAMP_MAPS_BPF_H

#include "stamp_abi.h"
#include "stamp_hook.bpf.h"

typedef __s32 s32;
typedef __s64 s64;

/* Written to a location that another CPU may read at the same time. */
#define WRITE_ONCE(x, value) (*(volatile typeof(x) *)&(x) = (value))

const volatile struct stamp_config cfg = {};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct stamp_clock);
} clock SEC(".maps");

/* The first thing that a foreign packet meets, and the last. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, STAMP_PORT_WORDS);
	__type(key, u32);
	__type(value, u64);
} ports SEC(".maps");

/* 32 devices with 128 addresses each; one too many is an error of user space. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct stamp_local_key);
	__type(value, struct stamp_local);
} addresses SEC(".maps");

/* 4,096 prefixes and the two that user space adds; replaced as a whole. */
struct stamp_prefixes {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4098);
	__uint(key_size, sizeof(struct stamp_prefix)); /* clang 14 emits the type too late */
	__type(value, u32);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, u32);
	__array(values, struct stamp_prefixes);
} prefixes SEC(".maps");

/*
 * What LRU forgets begins with a full bucket again, and the bucket for all bounds what
 * that amounts to.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct stamp_source);
	__type(value, u64); /* when the next packet would be due, CLOCK_MONOTONIC */
} buckets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} global_bucket SEC(".maps");

/*
 * Not LRU: invented sources must not push out live sessions. A request that finds no
 * room is answered without a session, and counted.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct stamp_session_key);
	__type(value, struct stamp_session);
} sessions SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct stamp_provisioned);
	__type(value, u32);
} provisioned SEC(".maps");

/* Requests that user space has not answered yet; one too many is dropped and counted. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct stamp_slow_key);
	__type(value, struct stamp_slow);
} slow SEC(".maps");

/* Slot 0 has the default key. As good as the keys themselves: never shown. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, STAMP_KEY_SLOTS);
	__type(key, u32);
	__type(value, struct stamp_keys);
} keys SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, STAMP_KEY_SLOTS);
	__type(key, u16); /* network order */
	__type(value, u32);
} key_slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, STAMP_PEERS);
	__type(key, struct stamp_peer_key);
	__type(value, struct stamp_peer);
} peers SEC(".maps");

/* A window of slots per session; one that comes round again was given up by then. */
struct stamp_slots {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_INNER_MAP);
	__uint(max_entries, 1);
	__type(key, u32);
	__uint(value_size, sizeof(struct stamp_slot));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, STAMP_PEERS);
	__type(key, u32);
	__array(values, struct stamp_slots);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, STAMP_PEERS);
	__type(key, u32);
	__type(value, struct stamp_discards);
} discards SEC(".maps");

/* Full, it costs latency: the sample is in its slot. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, STAMP_RING_BYTES);
} doorbell SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STAMP_REFUSALS);
	__type(key, u32); /* enum stamp_refusal */
	__type(value, u64);
} refusals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STAMP_EVENTS);
	__type(key, u32); /* enum stamp_event */
	__type(value, u64);
} events SEC(".maps");

static __always_inline void count_event(enum stamp_event what)
{
	u32 index = what;
	u64 *n = bpf_map_lookup_elem(&events, &index);

	if (n)
		*n += 1; /* per CPU, no atomic */
}

/* Every path that gives a packet up ends here. */
static __always_inline int refuse(enum stamp_refusal why)
{
	u32 index = why;
	u64 *n = bpf_map_lookup_elem(&refusals, &index);

	if (n)
		*n += 1;
	return DROP;
}

#endif
