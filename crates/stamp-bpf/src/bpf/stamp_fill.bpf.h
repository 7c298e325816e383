/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The extensions of a reply: in place, of the same length, with flags anew. Only for
 * what survey() found simple.
 */
#ifndef STAMP_FILL_BPF_H
#define STAMP_FILL_BPF_H

#include "stamp_tlv.bpf.h"

#define SOFTWARE_LOCAL 2 /* what takes our times: RFC 8972 section 4.3 */
#define EC1_AS_ASKED 3

static __always_inline void put_word(u8 *octets, u32 word)
{
	octets[0] = word >> 24;
	octets[1] = word >> 16;
	octets[2] = word >> 8;
	octets[3] = word;
}

static __always_inline void fill_timestamp_information(const struct work *w, u8 *value)
{
	value[0] = w->area.source;
	value[1] = SOFTWARE_LOCAL;
	value[2] = w->area.source;
	value[3] = SOFTWARE_LOCAL;
}

/* The marks with which the request came, and those that the reply will carry. */
static __always_inline void fill_class_of_service(const struct visit *v, struct work *w, u8 *value)
{
	u8 asked = value[0] >> 2;
	u8 ecn = value[2] >> 6;
	bool allowed = cfg.allowed_dscp >> asked & 1;

	w->area.tos = (allowed ? asked : v->d.tos >> 2) << 2 | ecn;
	put_word(value, (u32)asked << 26 | (v->d.tos >> 2) << 20 | (v->d.tos & ECN) << 18 |
				(u32)!allowed << 16 | ecn << 14 | EC1_AS_ASKED << 12);
}

static __always_inline u8 fill_direct_measurement(const struct place *place, u8 *value)
{
	if (!place->numbered)
		return TLV_UNRECOGNIZED;
	put_word(value + 4, place->received);
	put_word(value + 8, place->transmitted);
	return 0;
}

static __always_inline void fill_follow_up(const struct place *place, u8 *value)
{
	bool told = place->numbered && place->answered;

	put_word(value, told ? place->answered_sequence : 0);
	put_word(value + 4, told ? place->answered >> 32 : 0);
	put_word(value + 8, told ? place->answered : 0);
	put_word(value + 12, told ? SOFTWARE_LOCAL << 24 : 0);
}

static __always_inline u8 fill_micro_session(const struct work *w, u8 *value)
{
	if (!w->area.member)
		return TLV_UNRECOGNIZED;
	value[2] = w->area.member >> 8;
	value[3] = w->area.member;
	return 0;
}

/* An address by the type of its family: `type` for a question, above it the answers. */
static __always_inline void fill_address(const struct datagram *d, const struct stamp_address *is,
					 u8 *inner)
{
	bool tell = cfg.disclose & STAMP_DISCLOSE_ADDRESSES;

	inner[1] += d->family == 4 ? 1 : 2;
	__builtin_memset(inner + TLV_HEADER, 0, 16);
	if (tell && d->family == 4)
		__builtin_memcpy(inner + TLV_HEADER, &is->words[3], 4);
	else if (tell)
		__builtin_memcpy(inner + TLV_HEADER, is->words, 16);
}

static __always_inline void fill_mac(const struct work *w, u8 *inner)
{
	inner[1] = w->area.has_mac ? LOCATION_EUI_48 : LOCATION_EUI_64;
	__builtin_memset(inner + TLV_HEADER, 0, 8);
	if (w->area.has_mac && cfg.disclose & STAMP_DISCLOSE_MAC)
		__builtin_memcpy(inner + TLV_HEADER, w->area.mac, 6);
}

/* As large as it was said to be: nothing here changes a length. */
static __always_inline void fill_location(const struct visit *v, struct work *w, u32 len)
{
	u8 *value = octets_at(w, OF_REPLY + w->area.at + TLV_HEADER);

	__builtin_memset(value, 0, 4);
	if (cfg.disclose & STAMP_DISCLOSE_PORTS) {
		__builtin_memcpy(value, &v->d.dst_port, 2);
		__builtin_memcpy(value + 2, &v->d.src_port, 2);
	}
	w->area.inner = w->area.at + TLV_HEADER + 4;
	w->area.inner_end = w->area.at + TLV_HEADER + len;
#pragma clang loop unroll(full)
	for (u32 i = 0; i < INNER_MOST; i++) {
		u8 *inner = octets_at(w, OF_REPLY + w->area.inner);

		if (w->area.inner + TLV_HEADER > w->area.inner_end)
			break;
		w->area.inner += TLV_HEADER + length_at(w, OF_REPLY + w->area.inner);
		if (inner[1] == LOCATION_SOURCE_MAC)
			fill_mac(w, inner);
		else if (inner[1] == LOCATION_DESTINATION)
			fill_address(&v->d, &v->d.dst, inner);
		else
			fill_address(&v->d, &v->d.src, inner);
	}
}

/* Fills in one value; the flags with which it goes back. */
static __always_inline u8 fill(const struct visit *v, const struct place *place, struct work *w,
			       u32 type, u32 len)
{
	u8 *value = octets_at(w, OF_REPLY + w->area.at + TLV_HEADER);

	switch (type) {
	case TLV_LOCATION:
		fill_location(v, w, len);
		return 0;
	case TLV_TIMESTAMP_INFORMATION:
		fill_timestamp_information(w, value);
		return 0;
	case TLV_CLASS_OF_SERVICE:
		fill_class_of_service(v, w, value);
		return 0;
	case TLV_DIRECT_MEASUREMENT:
		return fill_direct_measurement(place, value);
	case TLV_ACCESS_REPORT:
		return value[0] >> 4 == 1 || value[0] >> 4 == 2 ? 0 : TLV_UNRECOGNIZED;
	case TLV_FOLLOW_UP:
		fill_follow_up(place, value);
		return 0;
	case TLV_MICRO_SESSION:
		return fill_micro_session(w, value);
	default:
		return 0;
	}
}

STAGE int fill_one(void)
{
	struct work *w = own_work();
	u32 type, len;

	if (!w || w->area.at + TLV_HEADER > w->area.end)
		return false;
	type = octets_at(w, OF_REPLY + w->area.at)[1];
	len = length_at(w, OF_REPLY + w->area.at);
	octets_at(w, OF_REPLY + w->area.at)[0] = fill(&w->visit, &w->place, w, type, len);
	w->area.at += TLV_HEADER + len;
	return true;
}

/* The signature covers the reply's number, which stands in the base packet by now. */
static __always_inline void sign_area(struct work *w)
{
	u32 len = w->area.hmac_at - SIGNED_LEN;
	u8 *told = octets_at(w, OF_REPLY + w->area.hmac_at + TLV_HEADER);

	if (!cfg.authenticated || !w->area.hmac_at || len > SIGNED_AREA_MOST)
		return;
	hash_area(OF_REPLY, len);
	for (u32 i = 0; i < HMAC_WORDS; i++)
		put_word(told + 4 * i, w->sha.state[i]);
}

/* Answers the extensions of a reply whose base packet is there but for T3. */
static __always_inline void fill_area(struct work *w)
{
	w->area.at = base_len();
#pragma clang loop unroll(full)
	for (u32 i = 0; i < TLV_MOST; i++)
		if (!fill_one())
			break;
	sign_area(w);
}

#endif
