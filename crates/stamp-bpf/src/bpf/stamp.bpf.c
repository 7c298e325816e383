// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * Test packets of RFC 8762, answered and timed at the edge of a device. What is not
 * ours goes on untouched, and so does everything once user space has been gone for
 * longer than its lease.
 */
#include "stamp_sender.bpf.h"

#define PACKET_OTHERHOST 3 /* linux/if_packet.h */

/* At a port that only requests of ours come from, other packets are the socket's. */
static __always_inline int give_up(u32 port, enum stamp_refusal why)
{
	return port & STAMP_PORT_REFLECTOR ? refuse(why) : NEXT;
}

/* Whatever arrives at a port of ours. */
static __always_inline int receive(context *ctx, u32 link_len)
{
	const struct stamp_local *local;
	struct sight sight = {};
	struct reading at;
	struct visit *v;
	struct work *w;
	int verdict;
	u32 port;
	s32 there;

	port = find(ctx, link_len, ARRIVING, &sight);
	/* Nobody answers what a promiscuous device hears of others. */
	if (!port || (link_len && ctx->pkt_type == PACKET_OTHERHOST))
		return NEXT;
	/* T2 or T4: a foreign packet does not pay for clocks, and ours waits for 10 ns. */
	read_clocks(&at);
	w = own_work();
	if (!w)
		return NEXT; /* an array of one has its element 0 */
	v = &w->visit;
	v->at = at;
	if (!read_published(at.mono_ns, &v->known)) {
		count_event(STAMP_INERT);
		return NEXT;
	}
	there = read_network(ctx, link_len, &sight, &v->d);
	local = find_local(device_of(ctx), &v->d.dst);
	if (!local) {
		refuse(STAMP_NOT_LOCAL); /* on its way through this host, perhaps */
		return NEXT;
	}
	if (sight.fragment != PARSE_WHOLE)
		return give_up(port, STAMP_FRAGMENT);
	if (ctx->gso_size)
		return give_up(port, STAMP_GSO);
	if (!read_length(ctx, there, &v->d))
		return give_up(port, STAMP_TRUNCATED);
	if (port & STAMP_PORT_SENDER) {
		verdict = receive_reply(ctx, port);
		if (verdict != NOT_OURS)
			return verdict;
	}
	if (!(port & STAMP_PORT_REFLECTOR))
		return NEXT;
	count_event(STAMP_REQUEST);
	verdict = reflect(ctx, local->member, local->flags & STAMP_LOCAL_LOOPBACK);
	return verdict == ANSWER ? send_reply(ctx, link_len) : verdict;
}

/* Whatever leaves by a port of ours. */
static __always_inline int transmit(context *ctx, u32 link_len)
{
	struct sight sight = {};
	struct visit *v;
	struct work *w;
	int verdict;
	u32 port;
	s32 there;

	port = find(ctx, link_len, LEAVING, &sight);
	if (!port || !sight.plain || sight.fragment != PARSE_WHOLE || ctx->gso_size)
		return NEXT;
	w = own_work();
	if (!w)
		return NEXT;
	v = &w->visit;
	if (!read_published(bpf_ktime_get_ns(), &v->known)) {
		count_event(STAMP_INERT);
		return NEXT;
	}
	there = read_network(ctx, link_len, &sight, &v->d);
	if (!read_length(ctx, there, &v->d))
		return NEXT;
	if (port & STAMP_PORT_SENDER) {
		verdict = send_request(ctx);
		if (verdict != NOT_OURS)
			return verdict;
	}
	return port & STAMP_PORT_REFLECTOR ? restamp_reply(ctx) : NEXT;
}

SEC("tc")
int stamp_ingress(context *ctx)
{
	return receive(ctx, ETH_LEN);
}

SEC("tc")
int stamp_ingress_l3(context *ctx)
{
	return receive(ctx, 0);
}

SEC("tc")
int stamp_egress(context *ctx)
{
	return transmit(ctx, ETH_LEN);
}

SEC("tc")
int stamp_egress_l3(context *ctx)
{
	return transmit(ctx, 0);
}

/*
 * For user space alone, by a test run: the sessions are in one place, and what is
 * counted there is counted in one step. Uses nothing that a packet would use as well.
 */
SEC("tc")
int stamp_enter(context *ctx)
{
	struct work *w = own_work();

	if (!w || !load_octets(ctx, 0, &w->entry, sizeof(w->entry)))
		return DROP;
	w->entry.verdict = enter_for_user(&w->entry);
	return !store_octets(ctx, 0, &w->entry, sizeof(w->entry)) ? DROP : NEXT;
}

char LICENSE[] SEC("license") = "GPL";
