/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What time it is, by the wall clock that user space has published and by the
 * monotonic one. Nothing is ever guessed: without a publication there is no time.
 */
#ifndef STAMP_CLOCK_BPF_H
#define STAMP_CLOCK_BPF_H

#include <bpf/bpf_core_read.h>

#include "stamp_packet.bpf.h"

#define NS_PER_S 1000000000ULL
#define UNIX_IN_NTP 2208988800ULL /* 1970-01-01 in seconds since 1900-01-01 */
#define STALE_NS (5 * NS_PER_S)
#define SYNCHRONIZED 0x8000 /* bit S of an Error Estimate */
#define PTP_FORMAT 0x4000   /* bit Z */

/* bpf_ktime_get_tai_ns() is there since 6.1 (c8996c98f703). */
static __always_inline bool knows_tai(void)
{
	return !cfg.no_tai &&
	       bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_ktime_get_tai_ns);
}

static __always_inline void read_clocks(struct reading *now)
{
	now->wall_ns = knows_tai() ? bpf_ktime_get_tai_ns() : 0;
	now->mono_ns = bpf_ktime_get_ns();
}

/*
 * UTC since 1970. CLOCK_TAI is exact and moves with every step at once. Before 6.1 the
 * wall clock is the monotonic one plus what was published: both are slewed alike, and a
 * step shows with the next publication.
 */
static __always_inline s64 wall_time(const struct reading *at, const struct published *known)
{
	s64 wall_ns = at->mono_ns + known->offset_ns;

	if (knows_tai())
		wall_ns = at->wall_ns - known->tai_offset_s * (s64)NS_PER_S;
	if (cfg.skew_ns || cfg.skew_rate)
		wall_ns += cfg.skew_ns + (((s64)(at->mono_ns >> 10) * cfg.skew_rate) >> 20);
	return wall_ns;
}

/* False when the lease is over, or nothing was ever published. */
static __always_inline bool read_published(u64 now_ns, struct published *known)
{
	struct stamp_clock_slot *slot;
	struct stamp_clock *page;
	u32 zero = 0;

	page = bpf_map_lookup_elem(&clock, &zero);
	if (!page)
		return false; /* an array of one has its element 0 */
	slot = &page->slots[READ_ONCE(page->turn) & 1];
	if (now_ns >= slot->lease_until_ns)
		return false;
	known->offset_ns = slot->offset_ns;
	known->tai_offset_s = slot->tai_offset_s;
	known->epoch = slot->epoch;
	known->source = slot->source;
	known->error = slot->error_estimate & ~PTP_FORMAT;
	if (now_ns > slot->published_ns + STALE_NS)
		known->error &= ~SYNCHRONIZED;
	return true;
}

/* The Error Estimate as it stands in a packet. */
static __always_inline u16 wire_error(const struct published *known, bool ptp)
{
	return bpf_htons(known->error | (ptp ? PTP_FORMAT : 0));
}

/* A time after 1970 as it stands in a packet; PTP times are TAI where that is known. */
static __always_inline struct wire_time wire_time(s64 wall_ns, const struct published *known,
						  bool ptp)
{
	u64 ns = ptp ? wall_ns + known->tai_offset_s * (s64)NS_PER_S : wall_ns;
	u64 seconds = ns / NS_PER_S;
	u64 rest = ns - seconds * NS_PER_S;
	struct wire_time out = {};

	if (ptp) {
		out.seconds = bpf_htonl(seconds);
		out.fraction = bpf_htonl(rest);
	} else {
		out.seconds = bpf_htonl(seconds + UNIX_IN_NTP);
		out.fraction = bpf_htonl((rest << 32) / NS_PER_S);
	}
	return out;
}

/*
 * From a time of a packet to now, in the era of that time which is nearest. False for
 * what is no time: nanoseconds of a whole second and more.
 */
static __always_inline bool since(const struct wire_time *time, bool ptp, u64 wall_ns,
				  s32 tai_offset_s, s64 *out)
{
	u64 now_s = wall_ns / NS_PER_S;
	u64 now_ns = wall_ns - now_s * NS_PER_S;
	u64 ns = bpf_ntohl(time->fraction);
	s32 ahead_s;

	if (ptp && ns >= NS_PER_S)
		return false;
	if (!ptp)
		ns = (ns * NS_PER_S + (1ULL << 31)) >> 32;
	now_s += ptp ? (u64)tai_offset_s : UNIX_IN_NTP;
	ahead_s = bpf_ntohl(time->seconds) - (u32)now_s;
	*out = (s64)now_ns - (s64)ns - ahead_s * (s64)NS_PER_S;
	return true;
}

#endif
