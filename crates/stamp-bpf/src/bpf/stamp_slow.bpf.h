/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What user space answers, and how its replies get a time that is not user space's.
 */
#ifndef STAMP_SLOW_BPF_H
#define STAMP_SLOW_BPF_H

#include "stamp_reply.bpf.h"
#include "stamp_session.bpf.h"

/* Leaves T2 where user space finds it, and the packet to the socket. */
static __always_inline int leave_to_user(const struct datagram *d, u32 sequence, s64 wall_ns,
					 u64 mono_ns)
{
	struct stamp_slow_key key = {
		.source = d->src,
		.destination = d->dst,
		.source_port = d->src_port,
		.destination_port = d->dst_port,
		.sequence = sequence,
	};
	struct stamp_slow arrival = {.wall_ns = wall_ns, .mono_ns = mono_ns};

	if (ON_XDP)
		return NEXT; /* tc sees it as well, and decides */
	if (bpf_map_update_elem(&slow, &key, &arrival, BPF_ANY))
		return refuse(STAMP_SLOW_FULL);
	count_event(STAMP_SLOW);
	return NEXT;
}

/* The reply that is about to leave is the session's: so that its T3 is remembered. */
static __always_inline void expect_reply(const struct stamp_entry *entry)
{
	struct stamp_slow_key key = {
		.source = entry->key.source,
		.destination = entry->key.destination,
		.source_port = entry->key.source_port,
		.destination_port = entry->key.destination_port,
		.sequence = bpf_htonl(entry->asked_sequence),
	};
	struct stamp_slow *arrival = bpf_map_lookup_elem(&slow, &key);

	if (!arrival)
		return; /* it came before the programs did */
	arrival->ssid = entry->key.ssid;
	arrival->micro = entry->key.micro;
	arrival->numbered = 1;
}

/* Counts a request that user space answers, and gives its reply a number if it is to have one. */
static __always_inline enum stamp_entered enter_for_user(struct stamp_entry *entry)
{
	struct stamp_session *session = find_session(&entry->key, entry->now_ns);
	struct place place = {};

	if (!session)
		return STAMP_ENTERED_STATELESS;
	if (entry->numbered == STAMP_NUMBER_ONLY) {
		entry->sequence = count_reply(session);
		return STAMP_ENTERED_NUMBERED;
	}
	if (!count_request(session, entry->asked_sequence, entry->asked,
			   entry->numbered == STAMP_COUNT_AND_NUMBER, entry->now_ns, &place))
		return STAMP_ENTERED_REPLAY;
	if (entry->numbered == STAMP_COUNT_ONLY)
		return STAMP_ENTERED_STATELESS;
	entry->sequence = place.sequence;
	entry->received = place.received;
	entry->answered = place.answered;
	entry->answered_sequence = place.answered_sequence;
	entry->is_ahead = place.is_ahead;
	expect_reply(entry);
	return STAMP_ENTERED_NUMBERED;
}

/* The session of a reply of user space has been answered. */
static __always_inline void remember_slow(const struct stamp_slow_key *of,
					  const struct stamp_slow *arrival, u32 sequence,
					  struct wire_time sent)
{
	struct stamp_session_key key = {
		.source = of->source,
		.destination = of->destination,
		.source_port = of->source_port,
		.destination_port = of->destination_port,
		.ssid = arrival->ssid,
		.micro = arrival->micro,
	};
	struct stamp_session *session;

	if (!arrival->numbered)
		return;
	session = bpf_map_lookup_elem(&sessions, &key);
	if (session)
		remember_reply(session, sequence, sent);
}

#endif
