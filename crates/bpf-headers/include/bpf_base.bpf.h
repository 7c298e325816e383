/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What every program includes first: UAPI types, helpers and byte order. */
#ifndef BPF_BASE_BPF_H
#define BPF_BASE_BPF_H

#include <stdbool.h>
#include <stddef.h>

#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* libbpf's own is no constant expression, so it can't be asserted on. */
#undef offsetof
#define offsetof(type, member) __builtin_offsetof(type, member)

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;

/*
 * A function with a frame of its own, verified at each call. `used` keeps clang from
 * dropping a result that nobody reads: what it leaves in its place may be a pointer to
 * the stack, and the verifier refuses that.
 */
#define SUBPROGRAM static __attribute__((noinline, used))

/* A copy the compiler may not re-read: one load decides for the whole run. */
#define READ_ONCE(x) (*(const volatile typeof(x) *)&(x))

/*
 * Zero, which neither clang nor the verifier can tell. A value XOR-ed with it is unknown
 * to the verifier, so that the many outcomes of a stage become one state, and stages
 * add up instead of multiplying.
 */
static __always_inline u32 veil_of(u32 anything)
{
	u32 same = anything;

	asm volatile("" : "+r"(same));
	return anything ^ same;
}

#endif
