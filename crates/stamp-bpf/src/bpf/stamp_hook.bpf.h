/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What hooks do not have in common: tc, behind the stack's first look at a packet, and
 * XDP in front of it. Everything else is written once and compiled for each.
 */
#ifndef STAMP_HOOK_BPF_H
#define STAMP_HOOK_BPF_H

#include "bpf_base.bpf.h"

#ifdef STAMP_XDP

#define ON_XDP true

typedef struct xdp_md context;

/* What becomes of a packet, as an answer to the hook. */
enum verdict {
	NEXT = XDP_PASS,
	DROP = XDP_DROP,
};

/* Since 5.18 (3f364222d032), as its store; and as the length (0165cc817075). */
static __always_inline bool load_octets(context *ctx, u32 at, void *to, u32 len)
{
	return !bpf_xdp_load_bytes(ctx, at, to, len);
}

static __always_inline bool store_octets(context *ctx, u32 at, void *from, u32 len)
{
	return !bpf_xdp_store_bytes(ctx, at, from, len);
}

static __always_inline u32 frame_len(context *ctx)
{
	return bpf_xdp_get_buff_len(ctx);
}

static __always_inline u32 device_of(const context *ctx)
{
	return ctx->ingress_ifindex;
}

/* What a device or a sender on this host has to say of a sum is not told here. */
static __always_inline bool is_vouched(context *ctx)
{
	return false;
}

static __always_inline int leave_by(u32 ifindex, bool back)
{
	return XDP_TX;
}

#else

#define ON_XDP false

typedef struct __sk_buff context;

enum verdict {
	NEXT = -1, /* TCX_NEXT for a link, TC_ACT_UNSPEC for a filter */
	DROP = 2,  /* TC_ACT_SHOT */
};

static __always_inline bool load_octets(context *ctx, u32 at, void *to, u32 len)
{
	return !bpf_skb_load_bytes(ctx, at, to, len);
}

static __always_inline bool store_octets(context *ctx, u32 at, void *from, u32 len)
{
	return !bpf_skb_store_bytes(ctx, at, from, len, 0);
}

static __always_inline u32 frame_len(context *ctx)
{
	return ctx->len;
}

static __always_inline u32 device_of(const context *ctx)
{
	return ctx->ifindex;
}

static __always_inline bool is_vouched(context *ctx)
{
	return bpf_csum_level(ctx, BPF_CSUM_LEVEL_QUERY) >= 0;
}

static __always_inline int leave_by(u32 ifindex, bool back)
{
	if (back)
		return bpf_redirect(ifindex, 0);
	return bpf_redirect_neigh(ifindex, NULL, 0, 0);
}

#endif

#endif
