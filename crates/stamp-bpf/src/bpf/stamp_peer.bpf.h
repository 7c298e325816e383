/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Sessions of ours with reflectors: which one a packet is of, and its base packet in the
 * mode of the session.
 */
#ifndef STAMP_PEER_BPF_H
#define STAMP_PEER_BPF_H

#include "stamp_guard.bpf.h"

static __always_inline const struct stamp_peer *find_peer(const struct stamp_address *local,
							  const struct stamp_address *remote,
							  u16 local_port, u16 remote_port)
{
	struct stamp_peer_key key = {
		.local = *local,
		.remote = *remote,
		.local_port = local_port,
		.remote_port = remote_port,
	};

	return bpf_map_lookup_elem(&peers, &key);
}

/* The session that an arriving packet would be a reply of. */
static __always_inline const struct stamp_peer *find_peer_behind(const struct datagram *d)
{
	return find_peer(&d->dst, &d->src, d->dst_port, d->src_port);
}

/* The base packet of a session; what a short one lacks is zero. */
static __always_inline bool read_peer_base(context *ctx, const struct datagram *d, bool sealed,
					   union payload *into)
{
	u32 offset = d->transport + UDP_LEN;
	u32 len = d->len;

	if (sealed)
		return len >= SIGNED_LEN && load_octets(ctx, offset, into->octets, SIGNED_LEN);
	if (len >= OPEN_LEN)
		return load_octets(ctx, offset, into->octets, OPEN_LEN);
	if (!is_length(&len, OPEN_LEN))
		return false;
	__builtin_memset(into->octets, 0, OPEN_LEN);
	return load_octets(ctx, offset, into->octets, len);
}

/*
 * Leaves the base packet where requests are read. To a signed session a reply may come
 * that is not: it is no request either, and user space is to hear of it.
 */
static __always_inline bool is_reply_of(context *ctx, const struct datagram *d,
					const struct stamp_peer *peer, struct work *w)
{
	bool sealed = peer->flags & STAMP_PEER_SIGNED && d->len >= SIGNED_LEN;

	return read_peer_base(ctx, d, sealed, &w->request) && has_reply_shape(&w->request, sealed);
}

#endif
