/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Records shared with user space. The skeleton's Rust types are generated from
 * these; sizes are asserted on both sides. Any change of layout or meaning is a
 * new ABI number.
 */
#ifndef STAMP_ABI_H
#define STAMP_ABI_H

/* Why a packet is not answered, in the order of the reasons of user space. */
enum stamp_refusal {
	STAMP_NOT_LOCAL = 0,
	STAMP_SOURCE_INVALID = 1,
	STAMP_DENIED = 2,
	STAMP_NOT_PROVISIONED = 3,
	STAMP_TRUNCATED = 4,
	STAMP_SHORT = 5,
	STAMP_FRAGMENT = 6,
	STAMP_GSO = 7,
	STAMP_CHECKSUM = 8,
	STAMP_MIN_TTL = 9,
	STAMP_LOOP_GUARD = 10,
	STAMP_RATE_SOURCE = 11,
	STAMP_RATE_GLOBAL = 12,
	STAMP_HMAC = 13,
	STAMP_NO_KEY = 14,
	STAMP_REPLAY = 15,
	STAMP_MICRO_SESSION = 16,
	STAMP_NO_REPLY_REQUESTED = 17,
	STAMP_NO_ROUTE = 18,
	STAMP_CLOCK_UNSET = 19,
	STAMP_SLOW_FULL = 20,
	STAMP_INTERNAL = 21,
	STAMP_REFUSALS = 22,
};

/* Whatever else happened to packets. */
enum stamp_event {
	STAMP_REQUEST = 0,	   /* a request reached an address and port of ours */
	STAMP_REPLIED = 1,	   /* a reply was handed to a device */
	STAMP_SLOW = 2,		   /* a request was left to user space */
	STAMP_RESTAMPED = 3,	   /* a reply of user space got its T3 */
	STAMP_SESSION_REFUSED = 4, /* answered without a session: the table is full */
	STAMP_OLD_KEY = 5,	   /* accepted with the previous key */
	STAMP_INERT = 6,	   /* passed on because the lease is over */
	STAMP_SENT = 7,		   /* a request of ours got its T1 */
	STAMP_RECEIVED = 8,	   /* a reply was written to its slot */
	STAMP_UNSOLICITED = 9,	   /* a reply to no session of ours */
	STAMP_LOST_EVENT = 10,	   /* no room in the ring for what is nowhere else */
	STAMP_UNSTAMPED = 11,	   /* a packet of user space kept its time */
	STAMP_XDP_REQUEST = 12,	   /* a request was answered or dropped in front of tc */
	STAMP_XDP_REPLIED = 13,	   /* a reply was handed back in front of tc */
	STAMP_EVENTS = 14,
};

/* Why a reply to one of our sessions does not count, in the order of user space. */
enum stamp_discard {
	STAMP_BAD_T1 = 0,
	STAMP_BAD_SSID = 1,
	STAMP_ZERO_SSID = 2,
	STAMP_BAD_HMAC = 3,
	STAMP_SHORT_REPLY = 4,
	STAMP_LOW_TTL = 5,
	STAMP_BAD_CHECKSUM = 6,
	STAMP_BAD_MICRO_SESSION = 7,
	STAMP_BAD_MODE = 8,
	STAMP_NO_REQUEST = 9,
	STAMP_DISCARDS = 10,
};

enum stamp_numbering {
	STAMP_NUMBER_AUTO = 0,
	STAMP_NUMBER_STATEFUL = 1,
	STAMP_NUMBER_STATELESS = 2,
};

/* Addresses are 16 octets everywhere; IPv4 is mapped into IPv6 (::ffff:a.b.c.d). */
struct stamp_address {
	__u32 words[4]; /* network order */
};

/* An address by which a device of ours is called. */
struct stamp_local_key {
	struct stamp_address address;
	__u32 ifindex;
};

#define STAMP_LOCAL_LOOPBACK 0x01 /* the loopback device */
#define STAMP_LOCAL_MAC 0x02	  /* its hardware address is known */

struct stamp_local {
	__u16 member; /* number of the member link, 0: none (RFC 9534) */
	__u16 flags;
	__u8 mac[6];
	__u8 pad[2];
};

/* What a prefix says of a source. The longest one decides. */
#define STAMP_ALLOW 0x01
#define STAMP_DENY 0x02
#define STAMP_LIGHT 0x04 /* a TWAMP-Light peer */

struct stamp_prefix {
	__u32 len;
	struct stamp_address address;
};

/* What a UDP port is; four bits each, 16 ports to a word. */
#define STAMP_PORT_REFLECTOR 0x1 /* requests to it are answered */
#define STAMP_PORT_SENDER 0x2	 /* requests of ours come from it */
#define STAMP_PORT_KNOWN 0x4	 /* reflectors are known to be behind it */
#define STAMP_PORT_BITS 4
#define STAMP_PORT_WORDS (65536 * STAMP_PORT_BITS / 64)

/* A publication of the clock, by user space. */
struct stamp_clock_slot {
	__s64 offset_ns;      /* CLOCK_REALTIME - CLOCK_MONOTONIC */
	__u64 published_ns;   /* CLOCK_MONOTONIC */
	__u64 lease_until_ns; /* CLOCK_MONOTONIC; the programs are inert from then on */
	__s32 tai_offset_s;   /* TAI - UTC as the kernel knows it, 0: not known */
	__u32 epoch;	      /* changes with each step of the wall clock */
	__u16 error_estimate; /* without bit Z, host order */
	__u8 source;	      /* RFC 8972 section 4.3 */
	__u8 pad[5];
};

/* Two slots in turn, so that none is written while it is read. */
struct stamp_clock {
	__u64 abi;  /* number of this layout, of user space alone */
	__u64 turn; /* slots[turn & 1] counts */
	struct stamp_clock_slot slots[2];
};

struct stamp_session_key {
	struct stamp_address source;
	struct stamp_address destination;
	__u16 source_port; /* network order, as all of the key */
	__u16 destination_port;
	__u16 ssid;
	__u16 micro; /* the sender's member link, 0: none */
};

/* One session of the reflector. */
struct stamp_session {
	struct bpf_spin_lock lock;
	__u32 top;    /* number of the newest request, for the replay window */
	__u64 newest; /* its T1 */
	__u64 seen;   /* bit n: number top - n was here */
	__u64 received;
	__u64 transmitted;
	__u64 first_ns; /* CLOCK_MONOTONIC */
	__u64 last_ns;
	__u64 answered; /* T3 of the last reply as on the wire, host order; 0: none */
	__u32 answered_sequence;
	__u32 lowest; /* numbers of the first and of the furthest request */
	__u32 highest;
	__u32 pad;
};

/* A session that may be answered where not all may. */
struct stamp_provisioned {
	struct stamp_address source;
	struct stamp_address destination;
	__u16 ssid;
	__u16 micro; /* network order, as the number of the session */
	__u8 any_micro;
	__u8 pad[3];
};

/* A source as the rate counts it: an IPv4 address, or an IPv6 /64. */
struct stamp_source {
	__u64 network;
	__u64 host; /* 0 for IPv6 */
};

/* One packet in `interval_ns`, and as many early as fit into `ahead_ns`. */
struct stamp_limit {
	__u64 interval_ns; /* 0: no limit */
	__u64 ahead_ns;
};

/* A request that user space answers. */
struct stamp_slow_key {
	struct stamp_address source;
	struct stamp_address destination;
	__u16 source_port; /* network order */
	__u16 destination_port;
	__u32 sequence; /* likewise */
};

struct stamp_slow {
	__s64 wall_ns;	/* T2 */
	__u64 mono_ns;	/* CLOCK_MONOTONIC */
	__u16 ssid;	/* of the session that numbers the reply, network order */
	__u16 micro;	/* likewise */
	__u32 numbered; /* 0: there is no such session */
};

enum stamp_entered {
	STAMP_ENTERED_REPLAY = 0,
	STAMP_ENTERED_STATELESS = 1, /* the reply has its request's number */
	STAMP_ENTERED_NUMBERED = 2,
};

enum stamp_numbered {
	STAMP_COUNT_ONLY = 0,
	STAMP_COUNT_AND_NUMBER = 1,
	STAMP_NUMBER_ONLY = 2, /* one more reply to a request that was counted */
};

/* A request that user space is about to answer, and its place in its session. */
struct stamp_entry {
	__u8 header[16]; /* zero: what the kernel takes for that of a frame, and more */
	struct stamp_session_key key;
	__u32 asked_sequence; /* host order, as all that follows */
	__u32 numbered;	      /* enum stamp_numbered */
	__u64 asked;	      /* T1 as on the wire */
	__u64 now_ns;	      /* CLOCK_MONOTONIC */
	__u32 verdict;	      /* enum stamp_entered, as all behind it an answer */
	__u32 sequence;
	__u64 received;
	__u64 answered; /* T3 of the reply before, 0: there was none */
	__u32 answered_sequence;
	__u32 is_ahead; /* 1: its number is above those of all requests before */
};

/* The two states of SHA-256 behind the padded key. */
struct stamp_key {
	__u32 inner[8];
	__u32 outer[8];
};

#define STAMP_KEY_CURRENT 0x1
#define STAMP_KEY_PREVIOUS 0x2

struct stamp_keys {
	__u32 held; /* which of the two there are */
	struct stamp_key current;
	struct stamp_key previous;
};

#define STAMP_KEY_SLOTS 128

/* A session of ours with a reflector, seen from here. */
struct stamp_peer_key {
	struct stamp_address local;
	struct stamp_address remote;
	__u16 local_port; /* network order */
	__u16 remote_port;
};

#define STAMP_PEER_SIGNED 0x1
#define STAMP_PEER_PTP 0x2
#define STAMP_PEER_ZERO_SSID_FATAL 0x4

struct stamp_peer {
	__u32 index; /* of its slots, and of its counters */
	__u32 mask;  /* slots - 1, a power of two */
	__u32 key_slot;
	__u16 ssid; /* network order */
	__u8 flags;
	__u8 min_ttl;
};

enum stamp_slot_state {
	STAMP_SLOT_EMPTY = 0,
	STAMP_SLOT_SENT = 1,
	STAMP_SLOT_ANSWERED = 2,
};

/* A request of ours and its first reply; the state is written last. */
struct stamp_slot {
	__u64 t1; /* as on the wire, host order, as T2 and T3 */
	__u64 t1_mono_ns;
	__s64 t1_wall_ns;
	__u64 t2;
	__u64 t3;
	__u64 t4_mono_ns;
	__s64 t4_wall_ns;
	__u32 sequence;
	__u32 state; /* enum stamp_slot_state */
	__u32 reflector_sequence;
	__u32 len; /* of the reply */
	__u32 t1_epoch;
	__u32 t4_epoch;
	__u16 error_estimate; /* of the reply, host order, as the SSID */
	__u16 ssid;	      /* means nothing in a reply below full length, as the TTL */
	__u8 ttl_forward;
	__u8 ttl_reverse;
	__u8 tos;
	__u8 pad;
};

#define STAMP_PEERS 1024

/* Why replies to a session of ours did not count. */
struct stamp_discards {
	__u64 counts[16]; /* by enum stamp_discard; a power of two */
};

/* What the ring carries; its first octet tells which of the two it is. */
#define STAMP_NOTICE_REPLY 0
#define STAMP_NOTICE_ANSWERED 1

/* A reply to a request of ours. Its extensions follow, which no slot has room for. */
struct stamp_reply_notice {
	__u8 kind;
	__u8 duplicate; /* 1: the slot had its reply already */
	__u16 len;	/* of the extensions */
	__u32 index;
	__u32 sequence;
	__u32 reflector_sequence;
};

/* A request that was answered. */
struct stamp_answered_notice {
	__u8 kind;
	__u8 pad[7];
	__s64 near_end_ns; /* T2 - T1 */
	struct stamp_session_key key;
};

#define STAMP_RING_BYTES (1024 * 1024)
#define STAMP_DISCLOSE_PORTS 0x1
#define STAMP_DISCLOSE_ADDRESSES 0x2
#define STAMP_DISCLOSE_MAC 0x4

/* Fixed at load. Branches on these vanish from the loaded program. */
struct stamp_config {
	struct stamp_limit source;
	struct stamp_limit global;
	__u64 allowed_dscp; /* bit per DSCP */
	__s64 skew_ns;	    /* of the wall clock; for tests only, like the next two */
	__s64 skew_rate;    /* in 2^-30, about ppb */
	__u8 no_tai;	    /* 1: as on a kernel without the helper */
	__u8 authenticated; /* 1: only signed requests are answered */
	__u8 numbering;	    /* enum stamp_numbering */
	__u8 ptp;	    /* 1: T2 and T3 are PTP times */
	__u8 min_ttl;
	__u8 disclose;
	__u8 provisioned;  /* 1: only sessions of the map are answered */
	__u8 keys_by_ssid; /* 1: some sessions have keys of their own */
	__u8 watched;	   /* 1: each request that is answered rings */
	__u8 pad[7];
};

_Static_assert(sizeof(struct stamp_address) == 16, "ABI");
_Static_assert(sizeof(struct stamp_local_key) == 20, "ABI");
_Static_assert(sizeof(struct stamp_local) == 12, "ABI");
_Static_assert(sizeof(struct stamp_prefix) == 20, "ABI");
_Static_assert(sizeof(struct stamp_clock_slot) == 40, "ABI");
_Static_assert(sizeof(struct stamp_clock) == 96, "ABI");
_Static_assert(sizeof(struct stamp_session_key) == 40, "ABI");
_Static_assert(sizeof(struct stamp_session) == 80, "ABI");
_Static_assert(sizeof(struct stamp_provisioned) == 40, "ABI");
_Static_assert(sizeof(struct stamp_source) == 16, "ABI");
_Static_assert(sizeof(struct stamp_slow_key) == 40, "ABI");
_Static_assert(sizeof(struct stamp_slow) == 24, "ABI");
_Static_assert(sizeof(struct stamp_entry) == 112, "ABI");
_Static_assert(sizeof(struct stamp_keys) == 132, "ABI");
_Static_assert(sizeof(struct stamp_peer_key) == 36, "ABI");
_Static_assert(sizeof(struct stamp_peer) == 16, "ABI");
_Static_assert(sizeof(struct stamp_slot) == 88, "ABI");
_Static_assert(sizeof(struct stamp_discards) == 128, "ABI");
_Static_assert(sizeof(struct stamp_reply_notice) == 16, "ABI");
_Static_assert(sizeof(struct stamp_answered_notice) == 56, "ABI");
_Static_assert(sizeof(struct stamp_config) == 72, "ABI");

#endif
