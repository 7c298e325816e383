/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The Session-Reflector: what is asked of a packet before it is answered, in the order
 * of user space's reading of it.
 */
#ifndef STAMP_REFLECT_BPF_H
#define STAMP_REFLECT_BPF_H

#include "stamp_fill.bpf.h"
#include "stamp_guard.bpf.h"
#include "stamp_slow.bpf.h"

/* The base packet; what a short one lacks is zero. */
static __always_inline bool read_base(context *ctx, const struct visit *v, struct work *w)
{
	u32 offset = v->d.transport + UDP_LEN;
	u32 len = v->d.len;

	if (len >= base_len())
		return load_octets(ctx, offset, w->request.octets, base_len());
	if (!v->light || len < LIGHT_LEN || !is_length(&len, OPEN_LEN))
		return false;
	__builtin_memset(w->request.octets, 0, OPEN_LEN);
	return load_octets(ctx, offset, w->request.octets, len);
}

/* Whether a source may ask, and how: STAMP_REFUSALS where nothing is against it. */
static __always_inline enum stamp_refusal check_source(context *ctx, struct visit *v)
{
	u32 bits;

	if (is_invalid_source(ctx, &v->d, v->on_loopback))
		return STAMP_SOURCE_INVALID;
	bits = prefix_bits(&v->d.src);
	if (!(bits & STAMP_ALLOW) || bits & STAMP_DENY)
		return STAMP_DENIED;
	v->light = !cfg.authenticated && bits & STAMP_LIGHT;
	return STAMP_REFUSALS;
}

static __always_inline enum stamp_refusal check_request(context *ctx, const struct visit *v,
							struct work *w)
{
	if (!read_base(ctx, v, w))
		return STAMP_SHORT;
	if (v->d.ttl < cfg.min_ttl)
		return STAMP_MIN_TTL;
	if (v->wall_ns <= 0)
		return STAMP_CLOCK_UNSET;
	if (!may_be_answered(&w->request, &v->d, v->light, v->wall_ns))
		return STAMP_LOOP_GUARD;
	if (!take_of_source(&v->d, v->light, v->at.mono_ns))
		return STAMP_RATE_SOURCE;
	if (!take_of_all(v->at.mono_ns))
		return STAMP_RATE_GLOBAL;
	return STAMP_REFUSALS;
}

static __always_inline void build_reply(const struct visit *v, const struct request *request,
					u32 sequence, struct work *w)
{
	struct wire_time received = wire_time(v->wall_ns, &v->known, cfg.ptp);
	u16 error = wire_error(&v->known, cfg.ptp);

	if (cfg.authenticated) {
		__builtin_memset(&w->reply.sealed, 0, SIGNED_LEN);
		w->reply.sealed.sequence = sequence;
		w->reply.sealed.error = error;
		w->reply.sealed.ssid = request->ssid;
		w->reply.sealed.received = received;
		w->reply.sealed.sender_sequence = request->sequence;
		w->reply.sealed.sender_sent = request->sent;
		w->reply.sealed.sender_error = request->error;
		w->reply.sealed.ttl = v->d.ttl;
		KEEP_APART(1);
	} else {
		__builtin_memset(&w->reply.open, 0, OPEN_LEN);
		w->reply.open.sequence = sequence;
		w->reply.open.error = error;
		w->reply.open.ssid = request->ssid;
		w->reply.open.received = received;
		w->reply.open.sender_sequence = request->sequence;
		w->reply.open.sender_sent = request->sent;
		w->reply.open.sender_error = request->error;
		w->reply.open.ttl = v->d.ttl;
		KEEP_APART(2);
	}
}

/* T3, and what signs it: the last that is written. */
static __always_inline struct wire_time stamp_reply(const struct visit *v, struct work *w)
{
	struct wire_time sent;
	struct reading now;

	read_clocks(&now);
	sent = wire_time(wall_time(&now, &v->known), &v->known, cfg.ptp);
	if (cfg.authenticated) {
		w->reply.sealed.sent = sent;
		sign(w);
	} else {
		w->reply.open.sent = sent;
	}
	return sent;
}

/* Whether the packet was signed by whom it should be. */
static __always_inline enum stamp_refusal verify(const struct request *request, struct work *w)
{
	const struct stamp_keys *pair;
	u32 which;

	if (!cfg.authenticated)
		return STAMP_REFUSALS;
	pair = find_keys_of(request->ssid);
	if (!pair)
		return STAMP_NO_KEY;
	which = signed_by(w, pair);
	if (which == STAMP_KEY_PREVIOUS)
		count_event(STAMP_OLD_KEY);
	return which ? STAMP_REFUSALS : STAMP_HMAC;
}

/*
 * The session of a request, where it has one that numbers its replies. False for a
 * request that was here before.
 */
static __always_inline bool enter(const struct visit *v, const struct request *request,
				  struct work *w, struct stamp_session **out)
{
	bool numbered = is_numbered(w->session.ssid);
	struct stamp_session *session;

	w->place.numbered = 0;
	if (!numbered && !cfg.authenticated)
		return true;
	session = find_session(&w->session, v->at.mono_ns);
	if (!session)
		return true;
	if (numbered)
		*out = session;
	w->place.numbered = numbered;
	return count_request(session, bpf_ntohl(request->sequence), wire_bits(request->sent),
			     numbered && w->area.refusal == STAMP_REFUSALS, v->at.mono_ns,
			     &w->place);
}

static __always_inline int leave_visit(const struct visit *v, const struct request *request)
{
	return leave_to_user(&v->d, request->sequence, v->wall_ns, v->at.mono_ns);
}

/* The octets of the reply that are the request's, to be changed in place. */
static __always_inline bool copy_area(context *ctx, u32 link_len, const struct visit *v,
				      struct work *w)
{
	w->area.has_mac = link_len != 0;
	if (link_len && !load_octets(ctx, 6, w->area.mac, sizeof(w->area.mac)))
		return false;
	return read_area(ctx, &v->d, base_len(), w, OF_REPLY);
}

/* What a light peer has in the place of a number is padding. */
static __always_inline void name_session(const struct visit *v, struct work *w)
{
	w->session.source = v->d.src;
	w->session.destination = v->d.dst;
	w->session.source_port = v->d.src_port;
	w->session.destination_port = v->d.dst_port;
	w->session.ssid = v->light ? 0 : w->asked.ssid;
	w->session.micro = w->area.micro;
}

/* How long the request was on its way, where its T1 is a time. */
SUBPROGRAM int tell_near_end(struct work *w)
{
	const struct request *request = &w->asked;
	bool ptp = request->error & bpf_htons(PTP_FORMAT);

	if (!(request->sent.seconds | request->sent.fraction) ||
	    !since(&request->sent, ptp, w->visit.wall_ns, w->visit.known.tai_offset_s,
		   &w->answered.near_end_ns))
		return 0;
	w->answered.kind = STAMP_NOTICE_ANSWERED;
	w->answered.key = w->session;
	if (bpf_ringbuf_output(&doorbell, &w->answered, sizeof(w->answered), 0))
		count_event(STAMP_LOST_EVENT);
	return 0;
}

/* From here on the request is counted, and its reply has a number. */
STAGE int send_reply(context *ctx, u32 link_len)
{
	struct work *w = own_work();
	struct stamp_session *session = NULL;
	const struct request *request;
	struct wire_time sent;
	struct visit *v;
	bool has_area;

	if (!w)
		return DROP; /* an array of one has its element 0 */
	v = &w->visit;
	request = &w->asked;
	has_area = w->area.end > base_len();
	if (!ON_XDP)
		find_way(ctx, &v->d, v->on_loopback || w->area.same_link, &w->way);
	if (!w->way.ifindex)
		return refuse(STAMP_NO_ROUTE);
	name_session(v, w);
	if (!enter(v, request, w, &session))
		return refuse(STAMP_REPLAY);
	if (w->area.refusal != STAMP_REFUSALS)
		return refuse(w->area.refusal);
	build_reply(v, request,
		    w->place.numbered ? bpf_htonl(w->place.sequence) : request->sequence, w);
	if (has_area && !copy_area(ctx, link_len, v, w))
		return refuse(STAMP_INTERNAL);
	if (has_area)
		fill_area(w);
	if (!turn_headers(ctx, link_len, &v->d, &w->way, w->area.tos))
		return refuse(STAMP_INTERNAL);
	/* Nothing that can wait comes between T3 and the device. */
	if (cfg.watched)
		tell_near_end(w);
	sent = stamp_reply(v, w);
	if (!replace_payload(ctx, has_area ? v->d.len : base_len()))
		return refuse(STAMP_INTERNAL);
	if (session)
		remember_reply(session, w->place.sequence, sent);
	count_event(ON_XDP ? STAMP_XDP_REPLIED : STAMP_REPLIED);
	return leave_by(w->way.ifindex, w->way.back);
}

/* All of what is behind the base packet, where it is nothing unusual. */
static __always_inline bool read_extensions(context *ctx, const struct visit *v, struct work *w)
{
	return v->d.plain && v->d.len >= base_len() && v->d.len <= base_len() + AREA_MOST &&
	       read_area(ctx, &v->d, base_len(), w, OF_REQUEST);
}

/* Nothing is against an answer; it is sent from a shorter stack. */
#define ANSWER (-3)

static __always_inline int answer(context *ctx, struct visit *v, u32 member, struct work *w)
{
	enum stamp_refusal why;

	read_request(w);
	if (!read_extensions(ctx, v, w))
		return leave_visit(v, &w->asked);
	if (!is_sum_right(ctx, &v->d, sum_octets(w, OF_REQUEST, 0, v->d.len, false)))
		return refuse(STAMP_CHECKSUM);
	why = verify(&w->asked, w);
	if (why != STAMP_REFUSALS)
		return refuse(why);
	survey(v, w, member);
	if (w->area.slow || !is_area_signed(w))
		return leave_visit(v, &w->asked);
	if (!is_provisioned(&v->d, v->light ? 0 : w->asked.ssid, w->area.micro))
		return refuse(STAMP_NOT_PROVISIONED);
	return ANSWER;
}

STAGE int reflect(context *ctx, u32 member, u32 on_loopback)
{
	struct work *w = own_work();
	enum stamp_refusal why;
	struct visit *v;

	if (!w)
		return DROP; /* an array of one has its element 0 */
	v = &w->visit;
	v->wall_ns = wall_time(&v->at, &v->known);
	v->on_loopback = on_loopback;
	why = check_source(ctx, v);
	if (ON_XDP && v->light)
		return NEXT; /* few and slow, and what they pad with looks like anything */
	if (why == STAMP_REFUSALS)
		why = check_request(ctx, v, w);
	if (why != STAMP_REFUSALS)
		return refuse(why);
	return answer(ctx, v, member, w);
}

#endif
