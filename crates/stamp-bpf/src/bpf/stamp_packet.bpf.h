/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Test packets as they stand on the wire, in network order, and the memory in which
 * one is read and answered. RFC 8762 section 4, RFC 8972 section 3.
 */
#ifndef STAMP_PACKET_BPF_H
#define STAMP_PACKET_BPF_H

#include "wire.bpf.h"

#include "stamp_maps.bpf.h"

struct wire_time {
	u32 seconds, fraction;
};

struct open_packet {
	u32 sequence;
	struct wire_time sent;
	u16 error, ssid;
	struct wire_time received; /* zero in a request, as all that follows */
	u32 sender_sequence;
	struct wire_time sender_sent;
	u16 sender_error, zero;
	u8 ttl, rest[3];
};

struct signed_packet {
	u32 sequence, zero0[3];
	struct wire_time sent;
	u16 error, ssid;
	u32 zero1; /* a request is zero from here to the HMAC */
	struct wire_time received;
	u32 zero2[2];
	u32 sender_sequence, zero3[3];
	struct wire_time sender_sent;
	u16 sender_error, zero4[3];
	u8 ttl, rest[15];
	u32 hmac[4];
};

#define OPEN_LEN 44
#define OPEN_MUST_BE_ZERO 16
#define SIGNED_LEN 112
#define SIGNED_MUST_BE_ZERO 28
#define SIGNED_COVERED 96
#define LIGHT_LEN 14 /* to the end of the Error Estimate: RFC 5357 section 4.1.2 */

_Static_assert(sizeof(struct open_packet) == OPEN_LEN, "RFC 8762 section 4.2.1");
_Static_assert(offsetof(struct open_packet, received) == OPEN_MUST_BE_ZERO, "behind the SSID");
_Static_assert(sizeof(struct signed_packet) == SIGNED_LEN, "RFC 8762 section 4.2.2");
_Static_assert(offsetof(struct signed_packet, zero1) == SIGNED_MUST_BE_ZERO, "behind the SSID");
_Static_assert(offsetof(struct signed_packet, hmac) == SIGNED_COVERED, "the HMAC ends it");
_Static_assert(offsetof(struct signed_packet, sender_sent) == 64, "RFC 8762 section 4.3.2");
_Static_assert(offsetof(struct signed_packet, ttl) == 80, "RFC 8762 section 4.3.2");

/* Octets of extensions that are answered here, and that are read: all that Ethernet has. */
#define AREA_MOST 1400
#define AREA_ROOM 1500
#define PAYLOAD_MOST (SIGNED_LEN + AREA_ROOM)

/* bpf_csum_diff() takes no more than this of two buffers before 6.13. */
#define SUM_STEP 256

/* Where a payload is read: a power of two, so that a mask bounds every place in it. */
#define ROOM 2048
#define OF_REQUEST 0
#define OF_REPLY ROOM

union payload {
	struct open_packet open;
	struct signed_packet sealed;
	u8 octets[ROOM];
	u32 words[ROOM / 4];
};

/* Both clocks of a moment, read one behind the other. */
struct reading {
	u64 wall_ns; /* TAI, or nothing where only the monotonic clock can be read */
	u64 mono_ns;
};

/* What was published, copied: the slot may be written again a second later. */
struct published {
	s64 offset_ns;
	s32 tai_offset_s;
	u32 epoch;
	u16 error; /* host order, without bit Z */
	u8 source;
};

struct datagram {
	struct stamp_address src, dst;
	u32 transport;
	u32 len; /* of the payload, as the UDP header has it */
	union {
		struct udp_header udp;
		u32 udp_words[2];
	};
	u16 src_port, dst_port;
	u8 family, plain;
	u8 ttl, tos;
};

/* A packet on its way through a program. */
struct visit {
	struct datagram d;
	struct reading at;
	struct published known;
	s64 wall_ns; /* T2 */
	bool light;  /* of a TWAMP-Light peer */
	bool on_loopback;
};

/* A request's place in its session, as it was when the request was counted. */
struct place {
	u32 numbered; /* 0: replies have their requests' numbers, and there is no more */
	u32 sequence; /* of the reply, host order */
	u32 answered_sequence;
	u32 is_ahead; /* the request's number is above those of all before */
	u64 received;
	u64 transmitted; /* this reply included */
	u64 answered;	 /* T3 of the reply before, 0: there was none */
};

/* By which device a reply leaves. */
struct way {
	u32 ifindex; /* 0: there is none */
	u32 back;    /* by the device and to the neighbour that the request came from */
};

/* The fields of a request that a reply repeats. */
struct request {
	u32 sequence;
	struct wire_time sent;
	u16 error, ssid;
};

/* A hash on its way. */
struct sha {
	u32 state[8];
	u32 schedule[64];
};

/* What of a reply says whose it is, in host order. */
struct echo {
	u64 t1, t2, t3;
	u32 sequence;
	u32 reflector_sequence;
	u16 error, ssid;
	u8 ttl;
};

/*
 * The extensions of a request. In the memory of a map rather than on the stack, for the
 * verifier's sake: it does not follow what is there, so each round of a walk looks the
 * same to it.
 */
struct area {
	u32 at; /* of the extension in turn, from the start of the payload */
	u32 end;
	u32 inner; /* of the one within it in turn */
	u32 inner_end;
	u32 hmac_at;   /* of the signature, 0: there is none */
	u32 refusal;   /* enum stamp_refusal */
	u16 micro;     /* the sender's member link, network order */
	u16 member;    /* ours, host order */
	u8 slow;       /* user space has to look at it */
	u8 needs_hmac; /* an extension other than padding needs a signature */
	u8 returned;   /* a way back was seen */
	u8 same_link;  /* the reply is to leave by the device the request came on */
	u8 found_micro;
	u8 source; /* of the clock */
	u8 tos;	   /* of the reply */
	u8 has_mac;
	u8 mac[6];
	u8 pad[2];
};

#define MESSAGE_BLOCKS 8
#define MESSAGE_OCTETS (MESSAGE_BLOCKS * 64)

/* Of the packet at hand. A run is never interrupted by another of the same CPU. */
struct work {
	union payload request;
	union payload reply;
	u8 slack[SUM_STEP]; /* the widest access starts in the last octet */
	struct visit visit;
	struct place place;
	struct request asked;
	struct stamp_session_key session; /* that the request belongs to */
	struct way way;
	struct sha sha;
	struct stamp_key key; /* that is verified and signed with */
	struct stamp_slot slot;
	struct echo echo;
	struct area area;
	union {
		u8 octets[MESSAGE_OCTETS + 72];
		u32 words[(MESSAGE_OCTETS + 72) / 4];
	} message;
	struct {
		struct stamp_reply_notice head;
		u8 area[ROOM];
	} notice;
	struct stamp_answered_notice answered;
	struct stamp_entry entry;
};

_Static_assert(offsetof(struct work, reply) == OF_REPLY, "one behind the other");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct work);
} work_of_cpu SEC(".maps");

/*
 * A function that is verified once, and not at each call. It is not static, may only be
 * given the context and numbers (kernel 5.6), and has all else from own_work().
 */
#define STAGE __attribute__((noinline))

static __always_inline struct work *own_work(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&work_of_cpu, &zero);
}

/*
 * A number of which the verifier knows nothing. Without CAP_PERFMON it guards each
 * addition to a pointer against speculation, and wants the guard to be the same on every
 * path and in every round of a loop: numbers that it knows would each need another.
 */
static __always_inline u32 hidden(const struct work *w, u32 known)
{
	return known + veil_of(w->request.words[0]);
}

/*
 * At the ends of two branches: keeps clang from making one of what they have in common,
 * with a pointer plus a number for what they have not, which would need a guard per branch.
 */
#define KEEP_APART(branch) asm volatile("" : : "i"(branch))

/* A place in either payload. */
static __always_inline u8 *place_of(struct work *w, u32 at)
{
	return (u8 *)w + (at & (2 * ROOM - 1));
}

/*
 * True for a length of 1 to `most`. The verifier learns from the mask what it does not
 * from comparisons: before 6.8 nothing from one with 0, and without CAP_PERFMON it also
 * follows the path on which a processor has guessed a comparison wrong.
 */
static __always_inline bool is_length(u32 *len, u32 most)
{
	u32 rest = *len - 1;

	asm volatile("" : "+r"(rest));
	if (rest >= most)
		return false;
	asm volatile("" : "+r"(rest));
	*len = (rest & (ROOM - 1)) + 1;
	return true;
}

static __always_inline u32 base_len(void)
{
	return cfg.authenticated ? SIGNED_LEN : OPEN_LEN;
}

static __always_inline void read_request(struct work *w)
{
	const union payload *from = &w->request;
	struct request *out = &w->asked;

	if (cfg.authenticated) {
		out->sequence = from->sealed.sequence;
		out->sent = from->sealed.sent;
		out->error = from->sealed.error;
		out->ssid = from->sealed.ssid;
		KEEP_APART(1);
	} else {
		out->sequence = from->open.sequence;
		out->sent = from->open.sent;
		out->error = from->open.error;
		out->ssid = from->open.ssid;
		KEEP_APART(2);
	}
}

#endif
