/* SPDX-License-Identifier: MIT */
/*
 * A reference, decoded: what the engine reads, eight bytes each.
 *
 *    63                          6  5      4    2  1  0
 *   │ gva, sign-extended 58 bits  │special│ log2 │ kind │
 *                                           size   0 R, 1 W, 2 X
 *
 * special marks what the fast path must not take: a reference that crosses a
 * 4 KiB boundary (kind R, W or X), or, with kind 3, an event: bits 63..6 are
 * then the index of a struct trace_event in the block.
 */
#ifndef QUIRE_BASE_REF_H
#define QUIRE_BASE_REF_H

#include "base/bits.h"
#include "base/types.h"

typedef uint64_t ref_t;

enum { REF_KIND = 3, REF_EVENT = 3, REF_SIZE_SHIFT = 2, REF_SPECIAL = 1 << 5, REF_GVA_SHIFT = 6 };

/* size in bytes, a power of two from 1 to 128. */
static ALWAYS_INLINE ref_t make_ref(uint64_t gva, enum acc_kind kind, unsigned size)
{
	bool crosses = (gva & PAGE_MASK) + size > PAGE_SIZE;

	return gva << REF_GVA_SHIFT | (uint64_t)crosses << 5 |
	       (uint64_t)log2_floor(size) << REF_SIZE_SHIFT | kind;
}

static ALWAYS_INLINE ref_t make_event_ref(uint64_t index)
{
	return index << REF_GVA_SHIFT | REF_SPECIAL | REF_EVENT;
}

static ALWAYS_INLINE bool ref_is_event(ref_t r) { return (r & REF_KIND) == REF_EVENT; }
static ALWAYS_INLINE uint64_t ref_gva(ref_t r) { return (uint64_t)((int64_t)r >> REF_GVA_SHIFT); }
static ALWAYS_INLINE enum acc_kind ref_kind(ref_t r) { return (enum acc_kind)(r & REF_KIND); }
static ALWAYS_INLINE unsigned ref_size(ref_t r) { return 1u << ((r >> REF_SIZE_SHIFT) & 7); }
static ALWAYS_INLINE uint64_t ref_event(ref_t r) { return r >> REF_GVA_SHIFT; }
/* Can a reference say this address? Others are reported as damaged input. */
static inline bool ref_gva_ok(uint64_t gva) { return (uint64_t)((int64_t)(gva << 6) >> 6) == gva; }

#endif
