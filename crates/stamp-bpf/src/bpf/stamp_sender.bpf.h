/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The Session-Sender: T1 into requests of ours as they leave, T4 of the replies as they
 * arrive, both into the slot of the request. Nothing here ever sends a packet.
 */
#ifndef STAMP_SENDER_BPF_H
#define STAMP_SENDER_BPF_H

#include "stamp_peer.bpf.h"
#include "stamp_reflect.bpf.h"

/* Of no session: left to the reflector, if there is one behind the port as well. */
#define NOT_OURS (-2)

#define SHORTEST_REPLY 38 /* to the end of the sender's Error Estimate */

static __always_inline void *slots_of(const struct stamp_peer *peer)
{
	u32 index = peer->index;

	return bpf_map_lookup_elem(&slots, &index);
}

/* Puts T1 into a request, and gives back what was put there. */
static __always_inline struct wire_time put_sent(struct work *w, const struct stamp_peer *peer,
						 const struct published *known, s64 wall_ns)
{
	bool ptp = peer->flags & STAMP_PEER_PTP;
	struct wire_time sent = wire_time(wall_ns, known, ptp);
	u16 error = wire_error(known, ptp);

	if (peer->flags & STAMP_PEER_SIGNED) {
		w->reply.sealed.sent = sent;
		w->reply.sealed.error = error;
		KEEP_APART(1);
	} else {
		w->reply.open.sent = sent;
		w->reply.open.error = error;
		KEEP_APART(2);
	}
	return sent;
}

static __always_inline bool sign_request(struct work *w, const struct stamp_peer *peer)
{
	const struct stamp_keys *pair;

	if (!(peer->flags & STAMP_PEER_SIGNED))
		return true;
	pair = find_keys(peer->key_slot);
	if (!pair)
		return false;
	w->key = pair->current;
	sign(w);
	return true;
}

static __always_inline bool write_slot(struct work *w, const struct stamp_peer *peer,
				       const struct visit *v, s64 wall_ns, struct wire_time sent)
{
	void *window = slots_of(peer);
	u32 sequence = bpf_ntohl(w->reply.open.sequence); /* first in either mode */
	u32 index = sequence & peer->mask;

	if (!window)
		return false;
	__builtin_memset(&w->slot, 0, sizeof(w->slot));
	w->slot.t1 = wire_bits(sent);
	w->slot.t1_mono_ns = v->at.mono_ns;
	w->slot.t1_wall_ns = wall_ns;
	w->slot.t1_epoch = v->known.epoch;
	w->slot.sequence = sequence;
	w->slot.state = STAMP_SLOT_SENT;
	return !bpf_map_update_elem(window, &index, &w->slot, BPF_ANY);
}

/*
 * A request of ours gets its T1. Whatever stands in the way leaves it as user space
 * made it, which is a valid packet too; the slot is then not the request's.
 */
STAGE int send_request(context *ctx)
{
	const struct stamp_peer *peer;
	struct work *w = own_work();
	struct wire_time sent;
	struct visit *v;
	bool sealed;
	s64 wall_ns;
	u32 len;

	if (!w)
		return NEXT;
	v = &w->visit;
	peer = find_peer(&v->d.src, &v->d.dst, v->d.src_port, v->d.dst_port);
	if (!peer)
		return NOT_OURS;
	sealed = peer->flags & STAMP_PEER_SIGNED;
	len = sealed ? SIGNED_LEN : OPEN_LEN;
	if (v->d.len < len || !read_peer_base(ctx, &v->d, sealed, &w->request) ||
	    !has_request_shape(&w->request, sealed))
		return NEXT;
	__builtin_memcpy(&w->reply, &w->request, SIGNED_LEN);
	read_clocks(&v->at);
	wall_ns = wall_time(&v->at, &v->known);
	sent = put_sent(w, peer, &v->known, wall_ns);
	if (wall_ns <= 0 || !sign_request(w, peer) || !write_slot(w, peer, v, wall_ns, sent)) {
		count_event(STAMP_UNSTAMPED);
		return NEXT;
	}
	if (!replace_payload(ctx, len))
		return refuse(STAMP_INTERNAL);
	count_event(STAMP_SENT);
	return NEXT;
}

static __always_inline void read_echo(const union payload *from, bool sealed, struct echo *out)
{
	if (sealed) {
		out->sequence = bpf_ntohl(from->sealed.sender_sequence);
		out->t1 = wire_bits(from->sealed.sender_sent);
		out->t2 = wire_bits(from->sealed.received);
		out->t3 = wire_bits(from->sealed.sent);
		out->error = bpf_ntohs(from->sealed.error);
		out->ssid = bpf_ntohs(from->sealed.ssid);
		out->ttl = from->sealed.ttl;
		KEEP_APART(1);
	} else {
		out->sequence = bpf_ntohl(from->open.sender_sequence);
		out->t1 = wire_bits(from->open.sender_sent);
		out->t2 = wire_bits(from->open.received);
		out->t3 = wire_bits(from->open.sent);
		out->error = bpf_ntohs(from->open.error);
		out->ssid = bpf_ntohs(from->open.ssid);
		out->ttl = from->open.ttl;
		KEEP_APART(2);
	}
	out->reflector_sequence = bpf_ntohl(from->open.sequence);
}

/* Reflectors of before RFC 8972 have zeros in the place of the session's number. */
static __always_inline enum stamp_discard check_ssid(const struct stamp_peer *peer, u16 told)
{
	if (told == bpf_ntohs(peer->ssid))
		return STAMP_DISCARDS;
	if (told)
		return STAMP_BAD_SSID;
	return peer->flags & STAMP_PEER_ZERO_SSID_FATAL ? STAMP_ZERO_SSID : STAMP_DISCARDS;
}

static __always_inline bool is_signed(struct work *w, const struct stamp_peer *peer)
{
	const struct stamp_keys *pair;

	if (!(peer->flags & STAMP_PEER_SIGNED))
		return true;
	pair = find_keys(peer->key_slot);
	return pair && signed_by(w, pair);
}

/* STAMP_DISCARDS where the reply counts. The order is that of user space. */
static __always_inline enum stamp_discard check_reply(const struct visit *v,
						      const struct stamp_peer *peer,
						      const struct stamp_slot *slot, struct work *w)
{
	const struct echo *echo = &w->echo;
	u32 base = peer->flags & STAMP_PEER_SIGNED ? SIGNED_LEN : OPEN_LEN;
	enum stamp_discard why;

	if (v->d.len < SHORTEST_REPLY)
		return STAMP_SHORT_REPLY;
	if (slot->state == STAMP_SLOT_EMPTY || slot->sequence != echo->sequence)
		return STAMP_NO_REQUEST;
	if (slot->t1 != echo->t1)
		return STAMP_BAD_T1;
	why = v->d.len >= base ? check_ssid(peer, echo->ssid) : STAMP_DISCARDS;
	if (why != STAMP_DISCARDS)
		return why;
	if (!is_signed(w, peer))
		return STAMP_BAD_HMAC;
	return v->d.ttl < peer->min_ttl ? STAMP_LOW_TTL : STAMP_DISCARDS;
}

static __always_inline void fill_slot(struct stamp_slot *slot, const struct visit *v,
				      const struct echo *echo)
{
	slot->t2 = echo->t2;
	slot->t3 = echo->t3;
	slot->t4_mono_ns = v->at.mono_ns;
	slot->t4_wall_ns = wall_time(&v->at, &v->known);
	slot->t4_epoch = v->known.epoch;
	slot->reflector_sequence = echo->reflector_sequence;
	slot->len = v->d.len;
	slot->error_estimate = echo->error;
	slot->ssid = echo->ssid;
	slot->ttl_forward = echo->ttl;
	slot->ttl_reverse = v->d.ttl;
	slot->tos = v->d.tos;
	WRITE_ONCE(slot->state, STAMP_SLOT_ANSWERED);
}

/* Extensions travel with the bell: they are extra. */
SUBPROGRAM int ring(context *ctx, const struct visit *v, const struct stamp_peer *peer,
		    struct work *w, bool duplicate)
{
	u32 base = peer->flags & STAMP_PEER_SIGNED ? SIGNED_LEN : OPEN_LEN;
	u32 len = v->d.len > base ? v->d.len - base : 0;

	if (!is_length(&len, AREA_ROOM) ||
	    !load_octets(ctx, v->d.transport + UDP_LEN + base, w->notice.area, len))
		len = 0;
	w->notice.head.kind = STAMP_NOTICE_REPLY;
	w->notice.head.index = peer->index;
	w->notice.head.sequence = w->echo.sequence;
	w->notice.head.reflector_sequence = w->echo.reflector_sequence;
	w->notice.head.duplicate = duplicate;
	w->notice.head.len = len;
	/* A first reply is in its slot; a duplicate is nowhere else. */
	if (bpf_ringbuf_output(&doorbell, &w->notice, sizeof(w->notice.head) + len, 0) && duplicate)
		count_event(STAMP_LOST_EVENT);
	return 0;
}

static __always_inline void discard(const struct work *w, const struct stamp_peer *peer,
				    enum stamp_discard why)
{
	u32 index = peer->index;
	struct stamp_discards *of = bpf_map_lookup_elem(&discards, &index);

	if (of)
		__sync_fetch_and_add(&of->counts[hidden(w, why) & 15], 1);
}

static __always_inline struct stamp_slot *find_slot(const struct stamp_peer *peer, u32 sequence)
{
	void *window = slots_of(peer);
	u32 index = sequence & peer->mask;

	return window ? bpf_map_lookup_elem(window, &index) : NULL;
}

/* True when a reply was to a request of ours, and is written down. */
static __always_inline bool accept_reply(context *ctx, struct visit *v,
					 const struct stamp_peer *peer, struct work *w)
{
	struct stamp_slot *slot;
	enum stamp_discard why;
	bool duplicate;

	read_echo(&w->request, peer->flags & STAMP_PEER_SIGNED, &w->echo);
	slot = find_slot(peer, w->echo.sequence);
	if (!slot)
		return false;
	why = check_reply(v, peer, slot, w);
	if (why != STAMP_DISCARDS) {
		discard(w, peer, why);
		return false;
	}
	duplicate = slot->state == STAMP_SLOT_ANSWERED;
	if (!duplicate)
		fill_slot(slot, v, &w->echo);
	ring(ctx, v, peer, w, duplicate);
	count_event(STAMP_RECEIVED);
	return true;
}

/* What arrived at a port that requests of ours come from. */
STAGE int receive_reply(context *ctx, u32 port)
{
	const struct stamp_peer *peer;
	struct work *w = own_work();
	struct visit *v;
	bool sealed;

	if (!w)
		return NEXT;
	v = &w->visit;
	peer = find_peer_behind(&v->d);
	if (!peer) {
		if (!(port & STAMP_PORT_REFLECTOR))
			count_event(STAMP_UNSOLICITED);
		return NOT_OURS;
	}
	if (!is_reply_of(ctx, &v->d, peer, w))
		return NOT_OURS;
	sealed = peer->flags & STAMP_PEER_SIGNED;
	if (sealed && v->d.len < SIGNED_LEN) {
		discard(w, peer, STAMP_SHORT_REPLY);
		return NEXT;
	}
	/* Longer than Ethernet has it: the socket takes its time. */
	if (!read_area(ctx, &v->d, sealed ? SIGNED_LEN : OPEN_LEN, w, OF_REQUEST))
		return NEXT;
	if (!is_sum_right(ctx, &v->d, sum_octets(w, OF_REQUEST, 0, v->d.len, false)))
		discard(w, peer, STAMP_BAD_CHECKSUM);
	else if (accept_reply(ctx, v, peer, w))
		return DROP;
	/* Perhaps its request left by another device, and had no slot: the socket knows. */
	return NEXT;
}

/* Whichever key user space signed with is the key to sign with again. */
static __always_inline bool is_signed_reply(struct work *w)
{
	const struct stamp_keys *pair;

	if (!cfg.authenticated)
		return true;
	pair = find_keys_of(w->request.sealed.ssid);
	return pair && signed_by(w, pair);
}

/*
 * A reply of user space gets its T3, and the signature of the key that it had. The
 * entry tells it from what others send by that port, and goes with it.
 */
STAGE int restamp_reply(context *ctx)
{
	struct stamp_slow_key key = {};
	struct work *w = own_work();
	struct stamp_slow *found, arrival;
	struct wire_time sent;
	struct visit *v;

	if (!w)
		return NEXT;
	v = &w->visit;
	if (v->d.len < base_len() || !read_peer_base(ctx, &v->d, cfg.authenticated, &w->request) ||
	    !has_reply_shape(&w->request, cfg.authenticated))
		return NEXT;
	key.source = v->d.dst;
	key.destination = v->d.src;
	key.source_port = v->d.dst_port;
	key.destination_port = v->d.src_port;
	key.sequence = cfg.authenticated ? w->request.sealed.sender_sequence :
					   w->request.open.sender_sequence;
	found = bpf_map_lookup_elem(&slow, &key);
	if (!found)
		return NEXT;
	arrival = *found;
	bpf_map_delete_elem(&slow, &key);
	if (!is_signed_reply(w)) {
		count_event(STAMP_UNSTAMPED);
		return NEXT;
	}
	__builtin_memcpy(&w->reply, &w->request, SIGNED_LEN);
	sent = stamp_reply(v, w);
	if (!replace_payload(ctx, base_len()))
		return refuse(STAMP_INTERNAL);
	remember_slow(&key, &arrival, bpf_ntohl(w->reply.open.sequence), sent);
	count_event(STAMP_RESTAMPED);
	return NEXT;
}

#endif
