/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Who is answered: addresses, prefixes, and how often. Everything here comes before
 * any cryptography.
 */
#ifndef STAMP_SOURCE_BPF_H
#define STAMP_SOURCE_BPF_H

#include "stamp_frame.bpf.h"

/* A hundred packets a second from a peer for which the shape of a packet proves nothing. */
#define LIGHT_INTERVAL_NS (NS_PER_S / 100)

static __always_inline const struct stamp_local *find_local(u32 ifindex,
							    const struct stamp_address *address)
{
	struct stamp_local_key key = {.address = *address, .ifindex = ifindex};

	return bpf_map_lookup_elem(&addresses, &key);
}

static __always_inline bool is_unspecified(const struct stamp_address *address)
{
	u32 front = address->words[0] | address->words[1];

	return !(front | address->words[2] | address->words[3]) ||
	       (is_ipv4(address) && !address->words[3]);
}

/* Reserved is 240.0.0.0/4, with the broadcast address in it. */
static __always_inline bool is_group_or_reserved(const struct stamp_address *address)
{
	if (is_ipv4(address))
		return (address->words[3] & bpf_htonl(0xe0000000)) == bpf_htonl(0xe0000000);
	return (address->words[0] & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000);
}

static __always_inline bool is_loopback(const struct stamp_address *address)
{
	if (is_ipv4(address))
		return (address->words[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
	return !(address->words[0] | address->words[1] | address->words[2]) &&
	       address->words[3] == bpf_htonl(1);
}

/* Nobody can be answered by these, or only ourselves. */
static __always_inline bool is_invalid_source(const context *ctx, const struct datagram *d,
					      bool on_loopback)
{
	if (!d->src_port || is_unspecified(&d->src) || is_group_or_reserved(&d->src))
		return true;
	if (is_loopback(&d->src))
		return !on_loopback || !is_loopback(&d->dst);
	return !on_loopback && find_local(device_of(ctx), &d->src);
}

/* What the longest prefix says of a source; nothing allows one that none has. */
static __always_inline u32 prefix_bits(const struct stamp_address *source)
{
	struct stamp_prefix key = {.len = 128, .address = *source};
	u32 zero = 0, *bits;
	void *trie;

	trie = bpf_map_lookup_elem(&prefixes, &zero);
	if (!trie)
		return 0; /* not filled yet */
	bits = bpf_map_lookup_elem(trie, &key);
	return bits ? *bits : 0;
}

/*
 * Takes one packet, where `due` is when the next would come if all had kept the
 * interval. Two CPUs may take the same place: the rate is a bound on abuse, no count.
 */
static __always_inline bool take(u64 *due_ns, u64 interval_ns, u64 ahead_ns, u64 now_ns)
{
	u64 due = READ_ONCE(*due_ns);

	if (due < now_ns)
		due = now_ns;
	due += interval_ns;
	if (ahead_ns < interval_ns)
		ahead_ns = interval_ns;
	if (due - now_ns > ahead_ns)
		return false;
	WRITE_ONCE(*due_ns, due);
	return true;
}

static __always_inline bool take_of_source(const struct datagram *d, bool light, u64 now_ns)
{
	u64 interval_ns = light ? LIGHT_INTERVAL_NS : cfg.source.interval_ns;
	u64 ahead_ns = light ? NS_PER_S : cfg.source.ahead_ns;
	struct stamp_source key;
	u64 *due, fresh;

	if (!interval_ns)
		return true;
	key.network = (u64)d->src.words[1] << 32 | d->src.words[0];
	key.host = is_ipv4(&d->src) ? (u64)d->src.words[3] << 32 | d->src.words[2] : 0;
	due = bpf_map_lookup_elem(&buckets, &key);
	if (due)
		return take(due, interval_ns, ahead_ns, now_ns);
	fresh = now_ns + interval_ns;
	bpf_map_update_elem(&buckets, &key, &fresh, BPF_ANY);
	return true;
}

static __always_inline bool take_of_all(u64 now_ns)
{
	u32 zero = 0;
	u64 *due;

	if (!cfg.global.interval_ns)
		return true;
	due = bpf_map_lookup_elem(&global_bucket, &zero);
	return due && take(due, cfg.global.interval_ns, cfg.global.ahead_ns, now_ns);
}

#endif
