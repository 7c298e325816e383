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
static __always_inline int receive(struct __sk_buff *skb, u32 link_len)
{
	const struct stamp_local *local;
	struct sight sight = {};
	struct reading at;
	struct visit *v;
	struct work *w;
	int verdict;
	u32 port;
	s32 there;

	port = find(skb, link_len, ARRIVING, &sight);
	/* Nobody answers what a promiscuous device hears of others. */
	if (!port || (link_len && skb->pkt_type == PACKET_OTHERHOST))
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
	there = read_network(skb, link_len, &sight, &v->d);
	local = find_local(skb->ifindex, &v->d.dst);
	if (!local) {
		refuse(STAMP_NOT_LOCAL); /* on its way through this host, perhaps */
		return NEXT;
	}
	if (sight.fragment != PARSE_WHOLE)
		return give_up(port, STAMP_FRAGMENT);
	if (skb->gso_size)
		return give_up(port, STAMP_GSO);
	if (!read_length(skb, there, &v->d))
		return give_up(port, STAMP_TRUNCATED);
	if (port & STAMP_PORT_SENDER) {
		verdict = receive_reply(skb, port);
		if (verdict != NOT_OURS)
			return verdict;
	}
	if (!(port & STAMP_PORT_REFLECTOR))
		return NEXT;
	verdict = reflect(skb, local->member, local->flags & STAMP_LOCAL_LOOPBACK);
	return verdict == ANSWER ? send_reply(skb, link_len) : verdict;
}

/* Whatever leaves by a port of ours. */
static __always_inline int transmit(struct __sk_buff *skb, u32 link_len)
{
	struct sight sight = {};
	struct visit *v;
	struct work *w;
	int verdict;
	u32 port;
	s32 there;

	port = find(skb, link_len, LEAVING, &sight);
	if (!port || !sight.plain || sight.fragment != PARSE_WHOLE || skb->gso_size)
		return NEXT;
	w = own_work();
	if (!w)
		return NEXT;
	v = &w->visit;
	if (!read_published(bpf_ktime_get_ns(), &v->known)) {
		count_event(STAMP_INERT);
		return NEXT;
	}
	there = read_network(skb, link_len, &sight, &v->d);
	if (!read_length(skb, there, &v->d))
		return NEXT;
	if (port & STAMP_PORT_SENDER) {
		verdict = send_request(skb);
		if (verdict != NOT_OURS)
			return verdict;
	}
	return port & STAMP_PORT_REFLECTOR ? restamp_reply(skb) : NEXT;
}

SEC("tc")
int stamp_ingress(struct __sk_buff *skb)
{
	return receive(skb, ETH_LEN);
}

SEC("tc")
int stamp_ingress_l3(struct __sk_buff *skb)
{
	return receive(skb, 0);
}

SEC("tc")
int stamp_egress(struct __sk_buff *skb)
{
	return transmit(skb, ETH_LEN);
}

SEC("tc")
int stamp_egress_l3(struct __sk_buff *skb)
{
	return transmit(skb, 0);
}

char LICENSE[] SEC("license") = "GPL";
