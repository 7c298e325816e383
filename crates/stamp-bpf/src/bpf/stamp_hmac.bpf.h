/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * SHA-256 (FIPS 180-4) and the HMAC of RFC 8762 section 4.4 on top of it. A key is the
 * two states behind its padding, so that a base packet costs two blocks and one.
 */
#ifndef STAMP_HMAC_BPF_H
#define STAMP_HMAC_BPF_H

#include "stamp_packet.bpf.h"

#define BLOCK_WORDS 16
#define ROUNDS 64
#define GROUP 8
#define HMAC_WORDS 4
#define END_OF_MESSAGE 0x80000000

static const u32 round_constants[ROUNDS] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
	0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
	0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
	0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
	0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
	0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
	0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
	0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
	0xc67178f2,
};

/*
 * There is no instruction that rotates. In a word that stands twice in a row, a shift is
 * one, and three of them share the doubling.
 */
static __always_inline u64 twice(u32 x)
{
	return (u64)x << 32 | x;
}

static __always_inline u32 rotations(u32 x, u32 a, u32 b, u32 c)
{
	u64 xx = twice(x);

	return xx >> a ^ xx >> b ^ xx >> c;
}

static __always_inline u32 rotations_and_shift(u32 x, u32 a, u32 b, u32 shift)
{
	u64 xx = twice(x);

	return (u32)(xx >> a ^ xx >> b) ^ x >> shift;
}

static __always_inline void expand(u32 *w)
{
#pragma clang loop unroll(full)
	for (u32 i = BLOCK_WORDS; i < ROUNDS; i++)
		w[i] = w[i - 16] + w[i - 7] + rotations_and_shift(w[i - 2], 17, 19, 10) +
		       rotations_and_shift(w[i - 15], 7, 18, 3);
}

/* Names take the turns that values would. */
#define ROUND(a, b, c, d, e, f, g, h, i)                                                           \
	do {                                                                                       \
		u32 t = h + rotations(e, 6, 11, 25) + (g ^ (e & (f ^ g))) + round_constants[i] +   \
			w[i];                                                                      \
		d += t;                                                                            \
		h = t + rotations(a, 2, 13, 22) + ((a & b) | (c & (a | b)));                       \
	} while (0)

/* Hashes the block that stands at the start of the schedule. */
STAGE int hash_block(void)
{
	struct work *work = own_work();
	struct sha *sha;
	u32 a, b, c, d, e, f, g, h, *w;

	if (!work)
		return 0;
	sha = &work->sha;
	w = sha->schedule;
	expand(w);
	a = sha->state[0];
	b = sha->state[1];
	c = sha->state[2];
	d = sha->state[3];
	e = sha->state[4];
	f = sha->state[5];
	g = sha->state[6];
	h = sha->state[7];
#pragma clang loop unroll(full)
	for (u32 i = 0; i < ROUNDS; i += GROUP) {
		ROUND(a, b, c, d, e, f, g, h, i);
		ROUND(h, a, b, c, d, e, f, g, i + 1);
		ROUND(g, h, a, b, c, d, e, f, i + 2);
		ROUND(f, g, h, a, b, c, d, e, i + 3);
		ROUND(e, f, g, h, a, b, c, d, i + 4);
		ROUND(d, e, f, g, h, a, b, c, i + 5);
		ROUND(c, d, e, f, g, h, a, b, i + 6);
		ROUND(b, c, d, e, f, g, h, a, i + 7);
		/* No more than eight at a time on the stack. */
		asm volatile("" ::: "memory");
	}
	sha->state[0] += a;
	sha->state[1] += b;
	sha->state[2] += c;
	sha->state[3] += d;
	sha->state[4] += e;
	sha->state[5] += f;
	sha->state[6] += g;
	sha->state[7] += h;
	return 0;
}

/* The end of a message of `octets`, behind `filled` words of its last block. */
static __always_inline void pad_block(u32 *block, u32 filled, u32 octets)
{
	block[filled] = END_OF_MESSAGE;
	for (u32 i = filled + 1; i < BLOCK_WORDS - 1; i++)
		block[i] = 0;
	block[BLOCK_WORDS - 1] = octets * 8;
}

static __always_inline void start_hash(struct sha *sha, const u32 *state)
{
	for (u32 i = 0; i < 8; i++)
		sha->state[i] = state[i];
}

/* The outer pass: the digest becomes the message. */
static __always_inline void finish_hmac(struct work *w)
{
	for (u32 i = 0; i < 8; i++)
		w->sha.schedule[i] = w->sha.state[i];
	pad_block(w->sha.schedule, 8, 64 + 32);
	start_hash(&w->sha, w->key.outer);
	hash_block();
}

/* Leaves the HMAC of a base packet in the first words of the state. */
STAGE int hash_base(u32 of)
{
	struct work *w = own_work();
	const u32 *words;

	if (!w)
		return 0;
	words = (u32 *)place_of(w, of);
	start_hash(&w->sha, w->key.inner);
	for (u32 i = 0; i < BLOCK_WORDS; i++)
		w->sha.schedule[i] = bpf_ntohl(words[i]);
	hash_block();
	for (u32 i = 0; i < SIGNED_COVERED / 4 - BLOCK_WORDS; i++)
		w->sha.schedule[i] = bpf_ntohl(words[BLOCK_WORDS + i]);
	pad_block(w->sha.schedule, SIGNED_COVERED / 4 - BLOCK_WORDS, 64 + SIGNED_COVERED);
	hash_block();
	finish_hmac(w);
	return 0;
}

/* The longest signed part of an area: what remains of the blocks behind a number and the end. */
#define SIGNED_AREA_MOST (MESSAGE_OCTETS - 9 - 4)

static __always_inline void copy_block(struct work *w, const u32 *from, u32 len, u32 block)
{
	if (block * 64 < len)
		__builtin_memcpy(w->message.words + 1 + block * BLOCK_WORDS,
				 from + SIGNED_LEN / 4 + block * BLOCK_WORDS, 64);
}

/* The message of an area: the base packet's number, then what is to be signed, padded. */
static __always_inline u32 write_message(struct work *w, u32 of, u32 len)
{
	const u32 *from = (const u32 *)place_of(w, of);
	u32 octets = len + 4;
	u32 blocks = (octets + 9 + 63) / 64;
	u32 *length;
	u8 *end;

	w->message.words[0] = from[0];
	copy_block(w, from, len, 0);
	copy_block(w, from, len, 1);
	copy_block(w, from, len, 2);
	copy_block(w, from, len, 3);
	copy_block(w, from, len, 4);
	copy_block(w, from, len, 5);
	copy_block(w, from, len, 6);
	copy_block(w, from, len, 7);
	/* Behind it were other octets of the packet, and of packets before. */
	end = w->message.octets + (hidden(w, octets) & (MESSAGE_OCTETS - 1));
	__builtin_memset(end, 0, 72);
	*end = 0x80;
	length =
		w->message.words + (hidden(w, blocks * BLOCK_WORDS - 1) & (MESSAGE_OCTETS / 4 - 1));
	*length = bpf_htonl((octets + 64) * 8);
	return blocks;
}

static __always_inline void hash_message(struct work *w, u32 block, u32 blocks)
{
	if (block >= blocks)
		return;
	for (u32 i = 0; i < BLOCK_WORDS; i++)
		w->sha.schedule[i] = bpf_ntohl(w->message.words[block * BLOCK_WORDS + i]);
	hash_block();
}

/*
 * Leaves the HMAC of an area in the first words of the state (RFC 8972 section 4.8).
 * `len` octets behind the base packet are signed, of the request or of the reply. Loops
 * are written out here: the verifier can't follow one without CAP_PERFMON.
 */
STAGE int hash_area(u32 of, u32 len)
{
	struct work *w = own_work();
	u32 blocks;

	if (!w || len > SIGNED_AREA_MOST)
		return 0;
	blocks = write_message(w, of, len);
	start_hash(&w->sha, w->key.inner);
	hash_message(w, 0, blocks);
	hash_message(w, 1, blocks);
	hash_message(w, 2, blocks);
	hash_message(w, 3, blocks);
	hash_message(w, 4, blocks);
	hash_message(w, 5, blocks);
	hash_message(w, 6, blocks);
	hash_message(w, 7, blocks);
	finish_hmac(w);
	return 0;
}

/* In a time that tells nothing of where they differ. */
static __always_inline bool is_hmac(const struct sha *sha, const u32 *told)
{
	u32 differ = 0;

	for (u32 i = 0; i < HMAC_WORDS; i++)
		differ |= sha->state[i] ^ bpf_ntohl(told[i]);
	return !differ;
}

/* Whether that key signed the request; it stays the key to sign with. */
static __always_inline bool is_signed_by(struct work *w, const struct stamp_key *key)
{
	w->key = *key;
	hash_base(OF_REQUEST);
	return is_hmac(&w->sha, w->request.sealed.hmac);
}

/* Which key signed a packet: STAMP_KEY_CURRENT or STAMP_KEY_PREVIOUS, 0 for none. */
static __always_inline u32 signed_by(struct work *w, const struct stamp_keys *pair)
{
	if (pair->held & STAMP_KEY_CURRENT && is_signed_by(w, &pair->current))
		return STAMP_KEY_CURRENT;
	if (pair->held & STAMP_KEY_PREVIOUS && is_signed_by(w, &pair->previous))
		return STAMP_KEY_PREVIOUS;
	return 0;
}

static __always_inline void sign(struct work *w)
{
	hash_base(OF_REPLY);
	for (u32 i = 0; i < HMAC_WORDS; i++)
		w->reply.sealed.hmac[i] = bpf_htonl(w->sha.state[i]);
}

static __always_inline const struct stamp_keys *find_keys(u32 slot)
{
	const struct stamp_keys *pair = bpf_map_lookup_elem(&keys, &slot);

	return pair && pair->held ? pair : NULL;
}

/* The keys of a session of the reflector: its own, or the default. */
static __always_inline const struct stamp_keys *find_keys_of(u16 ssid)
{
	u32 *slot = NULL;

	if (cfg.keys_by_ssid)
		slot = bpf_map_lookup_elem(&key_slots, &ssid);
	return find_keys(slot ? *slot : 0);
}

#endif
