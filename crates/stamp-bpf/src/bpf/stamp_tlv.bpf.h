/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The extensions behind a base packet (RFC 8972 section 4): read, before anything is
 * done. What is well formed, known and simple is answered here; all else is user
 * space's.
 */
#ifndef STAMP_TLV_BPF_H
#define STAMP_TLV_BPF_H

#include "stamp_hmac.bpf.h"
#include "stamp_reply.bpf.h"
#include "stamp_session.bpf.h"

#define TLV_MOST 16
#define TLV_HEADER 4
#define TLV_UNRECOGNIZED 0x80
#define INNER_MOST 3

enum tlv_type {
	TLV_EXTRA_PADDING = 1,
	TLV_LOCATION = 2,
	TLV_TIMESTAMP_INFORMATION = 3,
	TLV_CLASS_OF_SERVICE = 4,
	TLV_DIRECT_MEASUREMENT = 5,
	TLV_ACCESS_REPORT = 6,
	TLV_FOLLOW_UP = 7,
	TLV_HMAC = 8,
	TLV_DESTINATION_NODE = 9,
	TLV_RETURN_PATH = 10,
	TLV_MICRO_SESSION = 11,
};

/* Within a Location, asked and answered: RFC 8972 section 4.2.1. */
enum location_type {
	LOCATION_SOURCE_MAC = 1,
	LOCATION_EUI_48 = 2,
	LOCATION_EUI_64 = 3,
	LOCATION_DESTINATION = 4,
	LOCATION_SOURCE = 7,
};

#define RETURN_CONTROL 1 /* RFC 9503 section 4.1 */
#define RETURN_SAME_LINK 1

static __always_inline u8 *octets_at(struct work *w, u32 at)
{
	return place_of(w, hidden(w, at));
}

static __always_inline u16 length_at(struct work *w, u32 at)
{
	const u8 *header = octets_at(w, at);

	return header[2] << 8 | header[3];
}

static __always_inline u32 word_at(const u8 *octets)
{
	return (u32)octets[0] << 24 | octets[1] << 16 | octets[2] << 8 | octets[3];
}

/* The address that the request came to: any other of ours would need another sum. */
static __always_inline bool is_arrival_address(const struct datagram *d, const u8 *value, u32 len)
{
	u32 differ = 0;

	if (len == 4) {
		differ = word_at(value) ^ bpf_ntohl(d->dst.words[3]);
		KEEP_APART(1);
		return d->family == 4 && !differ;
	}
	for (u32 i = 0; i < 4; i++)
		differ |= word_at(value + 4 * i) ^ bpf_ntohl(d->dst.words[i]);
	KEEP_APART(2);
	return len == 16 && d->family == 6 && !differ;
}

/* Up to three inner extensions of the kinds that can be asked for. */
static __always_inline bool is_location_simple(struct work *w, u32 len)
{
	if (len < 4)
		return false;
	w->area.inner = w->area.at + TLV_HEADER + 4;
	w->area.inner_end = w->area.at + TLV_HEADER + len;
#pragma clang loop unroll(full)
	for (u32 i = 0; i < INNER_MOST; i++) {
		const u8 *header = octets_at(w, OF_REQUEST + w->area.inner);
		u32 inner_len = length_at(w, OF_REQUEST + w->area.inner);
		u32 expected = header[1] == LOCATION_SOURCE_MAC ? 8 : 16;

		if (w->area.inner + TLV_HEADER > w->area.inner_end)
			return true;
		if ((header[1] != LOCATION_SOURCE_MAC && header[1] != LOCATION_DESTINATION &&
		     header[1] != LOCATION_SOURCE) ||
		    inner_len != expected)
			return false;
		w->area.inner += TLV_HEADER + expected;
		if (w->area.inner > w->area.inner_end)
			return false;
	}
	return w->area.inner + TLV_HEADER > w->area.inner_end;
}

static __always_inline void refuse_later(struct work *w, enum stamp_refusal why)
{
	if (w->area.refusal == STAMP_REFUSALS)
		w->area.refusal = why;
}

/* One control code and nothing else. */
static __always_inline bool is_return_simple(struct work *w, u32 len)
{
	const u8 *value = octets_at(w, OF_REQUEST + w->area.at + TLV_HEADER);

	if (len != 8 || value[1] != RETURN_CONTROL || value[2] || value[3] != 4 || w->area.returned)
		return false;
	w->area.returned = 1;
	if (value[7] & RETURN_SAME_LINK)
		w->area.same_link = 1;
	else
		refuse_later(w, STAMP_NO_REPLY_REQUESTED);
	return true;
}

static __always_inline bool is_micro_simple(struct work *w, u32 len)
{
	const u8 *value = octets_at(w, OF_REQUEST + w->area.at + TLV_HEADER);
	u16 asked = value[2] << 8 | value[3];

	if (len != 4)
		return false;
	if (!w->area.found_micro)
		w->area.micro = bpf_htons(value[0] << 8 | value[1]);
	w->area.found_micro = 1;
	if (w->area.member && asked && asked != w->area.member)
		refuse_later(w, STAMP_MICRO_SESSION);
	return true;
}

static __always_inline bool is_signature_simple(struct work *w, u32 len)
{
	if (!cfg.authenticated || len != 16 || w->area.hmac_at)
		return false;
	w->area.hmac_at = w->area.at;
	return true;
}

static __always_inline bool is_simple(const struct visit *v, struct work *w, u32 type, u32 len)
{
	/* Behind a signature there may only be padding. */
	if (w->area.hmac_at && type != TLV_EXTRA_PADDING)
		return false;
	switch (type) {
	case TLV_EXTRA_PADDING:
		return true;
	case TLV_LOCATION:
		return is_location_simple(w, len);
	case TLV_TIMESTAMP_INFORMATION:
	case TLV_CLASS_OF_SERVICE:
	case TLV_ACCESS_REPORT:
		return len == 4;
	case TLV_DIRECT_MEASUREMENT:
		return len == 12;
	case TLV_FOLLOW_UP:
		return len == 16;
	case TLV_HMAC:
		return is_signature_simple(w, len);
	case TLV_DESTINATION_NODE:
		return is_arrival_address(&v->d, octets_at(w, OF_REQUEST + w->area.at + TLV_HEADER),
					  len);
	case TLV_RETURN_PATH:
		return is_return_simple(w, len);
	case TLV_MICRO_SESSION:
		return is_micro_simple(w, len);
	default:
		return false;
	}
}

/* One extension. False where the walk ends. */
STAGE int survey_one(void)
{
	struct work *w = own_work();
	u32 type, len;

	if (!w || w->area.at + TLV_HEADER > w->area.end)
		return false;
	type = octets_at(w, OF_REQUEST + w->area.at)[1];
	len = length_at(w, OF_REQUEST + w->area.at);
	if (w->area.at + TLV_HEADER + len > w->area.end || !is_simple(&w->visit, w, type, len)) {
		w->area.slow = 1;
		return false;
	}
	if (type != TLV_EXTRA_PADDING && type != TLV_HMAC)
		w->area.needs_hmac = 1;
	w->area.at += TLV_HEADER + len;
	return true;
}

/* Whether the extensions are what the sender signed, where they need to be. */
static __always_inline bool is_area_signed(struct work *w)
{
	u32 len = w->area.hmac_at - SIGNED_LEN;
	u32 told[HMAC_WORDS];

	if (!cfg.authenticated)
		return true;
	if (!w->area.hmac_at)
		return !w->area.needs_hmac;
	if (len > SIGNED_AREA_MOST)
		return false;
	hash_area(OF_REQUEST, len);
	__builtin_memcpy(told, octets_at(w, OF_REQUEST + w->area.hmac_at + TLV_HEADER),
			 sizeof(told));
	return is_hmac(&w->sha, told);
}

/* Looks at all extensions, and leaves in the area what is to be known of them. */
static __always_inline void survey(const struct visit *v, struct work *w, u16 member)
{
	__builtin_memset(&w->area, 0, sizeof(w->area));
	w->area.at = base_len();
	w->area.end = base_len();
	w->area.refusal = STAMP_REFUSALS;
	w->area.member = member;
	w->area.source = v->known.source;
	w->area.tos = v->d.tos & ~ECN;
	if (v->d.len <= base_len() || v->light)
		return;
	/* Nothing but zeros is padding and no extension; only then their sum is zero. */
	if (!sum_octets(w, OF_REQUEST, base_len(), v->d.len, false))
		return;
	w->area.end = v->d.len;
#pragma clang loop unroll(full)
	for (u32 i = 0; i < TLV_MOST; i++)
		if (!survey_one())
			break;
	if (w->area.at + TLV_HEADER <= w->area.end)
		w->area.slow = 1;
}

#endif
