/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The sessions of the reflector: numbers of replies, and which requests were here.
 */
#ifndef STAMP_SESSION_BPF_H
#define STAMP_SESSION_BPF_H

#include <linux/errno.h>

#include "stamp_frame.bpf.h"

/* In either format the upper half of a timestamp counts seconds. */
#define TWO_SECONDS (2LL << 32)

static __always_inline bool is_numbered(u16 ssid)
{
	if (cfg.numbering == STAMP_NUMBER_AUTO)
		return ssid;
	return cfg.numbering == STAMP_NUMBER_STATEFUL;
}

static __always_inline u64 wire_bits(struct wire_time time)
{
	return (u64)bpf_ntohl(time.seconds) << 32 | bpf_ntohl(time.fraction);
}

static __always_inline bool is_provisioned(const struct datagram *d, u16 ssid, u16 micro)
{
	struct stamp_provisioned key = {
		.source = d->src, .destination = d->dst, .ssid = ssid, .micro = micro};

	if (!cfg.provisioned || bpf_map_lookup_elem(&provisioned, &key))
		return true;
	key.micro = 0;
	key.any_micro = 1;
	return bpf_map_lookup_elem(&provisioned, &key);
}

SUBPROGRAM int begin(const struct stamp_session_key *key, u64 now_ns)
{
	struct stamp_session fresh = {.first_ns = now_ns};

	/* Before 6.4 the upper half of what maps answer is not to be looked at (d7ba4cc900bf). */
	if ((int)bpf_map_update_elem(&sessions, key, &fresh, BPF_NOEXIST) == -E2BIG)
		count_event(STAMP_SESSION_REFUSED);
	return 0;
}

static __always_inline struct stamp_session *find_session(const struct stamp_session_key *key,
							  u64 now_ns)
{
	struct stamp_session *session = bpf_map_lookup_elem(&sessions, key);

	if (session)
		return session;
	begin(key, now_ns);
	return bpf_map_lookup_elem(&sessions, key);
}

/*
 * Tells a packet that was recorded and sent again from a new one: numbers count from
 * the newest time on, since a sender that starts over has a newer T1.
 */
static __always_inline bool admits(struct stamp_session *s, u32 sequence, u64 sent)
{
	s64 newer = sent - s->newest;
	u32 ahead = sequence - s->top;
	u32 behind = s->top - sequence;
	u64 bit = behind < 64 ? 1ULL << behind : 0;

	if (newer > 0 || !s->seen) {
		s->newest = sent;
		s->top = sequence;
		s->seen = (s32)ahead <= 0 ? 1 : ahead < 64 ? s->seen << ahead | 1 : 1;
		return true;
	}
	if (newer < -TWO_SECONDS || !bit || s->seen & bit)
		return false;
	s->seen |= bit;
	return true;
}

/*
 * Counts a request, and gives its reply a number where `numbered`. One lock for all of
 * it: counters and window move together, also on kernels before 5.12 whose programs
 * can't add and fetch. False for a packet that has been here before.
 */
static __always_inline bool count_request(struct stamp_session *s, u32 sequence, u64 sent,
					  bool numbered, u64 now_ns, struct place *out)
{
	bool fresh;

	bpf_spin_lock(&s->lock);
	s->last_ns = now_ns;
	fresh = !cfg.authenticated || admits(s, sequence, sent);
	if (fresh) {
		if (!s->received)
			s->lowest = sequence;
		out->is_ahead = !s->received || (s32)(sequence - s->highest) > 0;
		if (out->is_ahead)
			s->highest = sequence;
		s->received += 1;
		if (numbered)
			out->sequence = s->transmitted++;
		out->received = s->received;
		out->transmitted = s->transmitted;
		out->answered = s->answered;
		out->answered_sequence = s->answered_sequence;
	}
	bpf_spin_unlock(&s->lock);
	return fresh;
}

static __always_inline u32 count_reply(struct stamp_session *s)
{
	u32 sequence;

	bpf_spin_lock(&s->lock);
	sequence = s->transmitted++;
	bpf_spin_unlock(&s->lock);
	return sequence;
}

/* For the Follow-Up of the next reply. */
static __always_inline void remember_reply(struct stamp_session *s, u32 sequence,
					   struct wire_time sent)
{
	bpf_spin_lock(&s->lock);
	s->answered = wire_bits(sent);
	s->answered_sequence = sequence;
	bpf_spin_unlock(&s->lock);
}

#endif
