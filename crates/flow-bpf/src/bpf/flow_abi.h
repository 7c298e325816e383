/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Records shared with user space. The skeleton's Rust types are generated from
 * these; sizes are asserted on both sides. Any change of layout or meaning is a
 * new FLOW_ABI.
 */
#ifndef FLOW_ABI_H
#define FLOW_ABI_H

enum flow_direction {
	FLOW_TX = 0,
	FLOW_RX = 1,
};

/* Amounts without flow detail; cells FLOW_CLASSES..FLOW_CLASS_CELLS are room to grow. */
enum flow_class {
	FLOW_CLASS_OVERFLOW_TCP = 0,
	FLOW_CLASS_OVERFLOW_UDP = 1,
	FLOW_CLASS_OVERFLOW_OTHER = 2,
	FLOW_CLASS_QUOTA = 3,
	FLOW_CLASS_NON_IP = 4,
	FLOW_CLASS_UNPARSED = 5,
	FLOW_CLASSES = 6,
};

#define FLOW_CLASS_CELLS 8

/* How often something happened to packets besides their being counted. */
struct flow_events {
	__u64 too_short;   /* a header is cut off */
	__u64 bad_header;  /* a header contradicts itself */
	__u64 ext_chain;   /* more IPv6 extension headers than we follow */
	__u64 non_linear;  /* the kernel would not hand out the octets */
	__u64 link_type;   /* neither Ethernet nor bare IP */
	__u64 gso_headers; /* segmented, headers unknown: bytes under-count */
	__u64 unslotted;   /* a hook without a slot: a bug */
	__u64 overflow;	   /* no room for a new flow, folded */
	__u64 lost_notice; /* the ring had no room for a notice */
};

/* One of them, as a number. */
#define FLOW_EVENT(name) (offsetof(struct flow_events, name) / sizeof(__u64))
#define FLOW_EVENTS (sizeof(struct flow_events) / sizeof(__u64))

enum flow_notice_kind {
	FLOW_NOTICE_FILLING = 1,  /* a table passed the early-drain mark */
	FLOW_NOTICE_OVERFLOW = 2, /* a table turned the first flow away */
	FLOW_NOTICE_SERVER = 3,	  /* a TCP port answers that was not known to */
};

enum flow_key_mode {
	FLOW_KEY_5TUPLE = 0,
	FLOW_KEY_PAIR_SERVICE_PORT = 1,
	FLOW_KEY_PAIR = 2,
};

/* `dirflags` of a key */
#define FLOW_KEY_RX 0x01
#define FLOW_KEY_FRAGMENT 0x02 /* a later fragment whose ports are unknown */
#define FLOW_KEY_SPILLED 0x04  /* in the neighbour's shard, beside what the neighbour counts */

struct flow4_key {
	__u32 src; /* network order, as are ports */
	__u32 dst;
	__u16 src_port;
	__u16 dst_port;
	__u8 protocol;
	__u8 dirflags;
	__u16 slot;
};

struct flow6_key {
	__u8 src[16];
	__u8 dst[16];
	__u16 src_port;
	__u16 dst_port;
	__u8 protocol;
	__u8 dirflags;
	__u16 slot;
};

struct flow_value {
	__u64 bytes;
	__u64 packets;
	__u32 first; /* low 32 bits of jiffies */
	__u32 last;
	__u32 syn; /* packets with the flag */
	__u32 fin;
	__u32 rst;
	__u32 pad;
};

/* Ground truth per edge and direction; this layout never changes. */
struct flow_totals {
	__u64 packets; /* on the wire, after segmentation */
	__u64 bytes;
	__u64 skbs; /* as the kernel hands them over */
	__u64 skb_bytes;
};

struct flow_counts {
	__u64 packets;
	__u64 bytes;
};

struct flow_folded {
	struct flow_counts classes[FLOW_CLASS_CELLS];
};

/* Which slot a device of the shared programs has; the cell is ifindex & mask. */
struct flow_slot_cell {
	__u32 ifindex;
	__u16 slot;
	__u16 flags;
};

#define FLOW_SLOT_CELLS 16384

/* `flags` of a slot */
#define FLOW_SLOT_L3 0x01     /* frames start with the IP header */
#define FLOW_SLOT_OPAQUE 0x02 /* a link type that we do not parse */

/* Insertions of the open epoch, for early drain and quota; never for counts. */
struct flow_fill {
	__u32 v4;
	__u32 v6;
	__u32 noticed; /* 1 << flow_notice_kind already sent */
	__u32 pad;
};

struct flow_fragment_key {
	__u8 src[16]; /* IPv4 in the first four octets, the rest 0 */
	__u8 dst[16];
	__u32 id;
	__u8 protocol;
	__u8 direction;
	__u16 slot;
};

/* What the first fragment knew and later ones lack. */
struct flow_fragment {
	__u16 src_port;
	__u16 dst_port;
	__u8 protocol;
	__u8 pad[3];
};

struct flow_notice {
	__u32 kind;
	__u16 parity;
	__u16 port; /* of FLOW_NOTICE_SERVER */
	__u32 shard;
	__u32 family;
};

/*
 * The page that user space maps. The program reads `epoch` and nothing else;
 * the rest is named here so that a debugger shows it.
 */
struct flow_control {
	__u64 magic;
	__u64 abi;
	__u64 epoch;
	__u64 journal;
	__u64 commit;
	__u64 cleared;
	__u64 next_edge_id;
	__u64 rest[505];
};

/* jiffies and CLOCK_MONOTONIC read together */
struct flow_clock {
	__u64 jiffies;
	__u64 monotonic_ns;
};

/* Where the kernel keeps what a program is not shown of a buffer; `known` 0: it can't say. */
struct flow_skb_layout {
	__u16 known;
	__u16 head; /* offsets in struct sk_buff */
	__u16 end;
	__u16 gso_type; /* offset in struct skb_shared_info */
};

/* Fixed at load. Branches on these vanish from the loaded program. */
struct flow_config {
	__u32 shard_mask;
	__u32 slot_count; /* arrays by slot: edges and the unused slot 0 */
	__u32 early4;	  /* insertions per shard that call for a drain */
	__u32 early6;
	__u32 quota4; /* insertions that one edge may do per epoch and shard */
	__u32 quota6;
	__u32 key_mode; /* enum flow_key_mode */
	struct flow_skb_layout skb;
	__u16 own_slot; /* of an instance for one device */
	__u16 own_flags;
	__u8 single;	    /* 1: own_slot counts, 0: look the device up */
	__u8 atomic_totals; /* 1 where a run can be interrupted by another */
	__u8 own_shard;	    /* 1 where each CPU has a shard, and nothing interrupts a run */
	__u8 pad;
};

_Static_assert(sizeof(struct flow4_key) == 16, "ABI");
_Static_assert(sizeof(struct flow6_key) == 40, "ABI");
_Static_assert(sizeof(struct flow_value) == 40, "ABI");
_Static_assert(sizeof(struct flow_totals) == 32, "ABI");
_Static_assert(sizeof(struct flow_folded) == 128, "ABI");
_Static_assert(sizeof(struct flow_slot_cell) == 8, "ABI");
_Static_assert(sizeof(struct flow_fragment_key) == 40, "ABI");
_Static_assert(sizeof(struct flow_control) == 4096, "ABI");
_Static_assert(__builtin_offsetof(struct flow_notice, port) == 6, "ABI");

#define FLOW_EDGE_RECORD_BYTES 512
#define FLOW_PAIR_RECORD_BYTES 64
#define FLOW_REDO_RECORD_BYTES 48

#endif
