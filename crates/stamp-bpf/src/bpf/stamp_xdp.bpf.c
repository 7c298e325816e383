// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * The reflector in front of tc, for plain requests whose reply goes back where they came
 * from. Whatever else arrives is passed on before anything is counted or taken of a
 * rate: the programs at tc see it as if this one were not there. Only extensions that
 * are not what was signed are told late, and cost their source twice.
 */
#define STAMP_XDP

#include "stamp_peer.bpf.h"
#include "stamp_reflect.bpf.h"

/* tc knows from the packet's type what a promiscuous device hears of others. */
static __always_inline bool is_for_device(context *ctx, const struct stamp_local *local)
{
	u8 differ = 0, mac[6];

	if (!(local->flags & STAMP_LOCAL_MAC) || !load_octets(ctx, 0, mac, sizeof(mac)))
		return false;
	for (u32 i = 0; i < sizeof(mac); i++)
		differ |= mac[i] ^ local->mac[i];
	return !differ;
}

static __always_inline bool is_reply(context *ctx, const struct datagram *d, struct work *w)
{
	const struct stamp_peer *peer = find_peer_behind(d);

	return peer && is_reply_of(ctx, d, peer, w);
}

/* Whether it can be decided here, and the way back of its reply. */
STAGE int suits(context *ctx, u32 port, u32 member, u32 on_loopback)
{
	struct work *w = own_work();
	struct visit *v;

	if (!w)
		return false;
	v = &w->visit;
	v->light = false;
	if (!read_extensions(ctx, v, w) || (port & STAMP_PORT_SENDER && is_reply(ctx, &v->d, w)) ||
	    !read_base(ctx, v, w))
		return false;
	survey(v, w, member);
	if (w->area.slow)
		return false;
	find_way(ctx, &v->d, on_loopback || w->area.same_link, &w->way);
	return w->way.back;
}

static __always_inline int decide(context *ctx, u32 port, const struct stamp_local *local)
{
	u32 on_loopback = local->flags & STAMP_LOCAL_LOOPBACK;
	u32 member = local->member;
	int verdict;

	if (!suits(ctx, port, member, on_loopback))
		return NEXT;
	verdict = reflect(ctx, member, on_loopback);
	if (verdict == NEXT)
		return NEXT;
	count_event(STAMP_XDP_REQUEST);
	return verdict == ANSWER ? send_reply(ctx, ETH_LEN) : verdict;
}

SEC("xdp")
int stamp_xdp(context *ctx)
{
	const struct stamp_local *local;
	struct sight sight = {};
	struct reading at;
	struct visit *v;
	struct work *w;
	u32 port;
	s32 there;

	port = find(ctx, ETH_LEN, ARRIVING, &sight);
	if (!(port & STAMP_PORT_REFLECTOR))
		return NEXT;
	read_clocks(&at);
	w = own_work();
	if (!w)
		return NEXT;
	v = &w->visit;
	v->at = at;
	if (!read_published(at.mono_ns, &v->known))
		return NEXT;
	there = read_network(ctx, ETH_LEN, &sight, &v->d);
	local = find_local(device_of(ctx), &v->d.dst);
	if (!local || !is_for_device(ctx, local) || !read_length(ctx, there, &v->d))
		return NEXT;
	return decide(ctx, port, local);
}

char LICENSE[] SEC("license") = "GPL";
