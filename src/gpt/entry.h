/* SPDX-License-Identifier: MIT */
/*
 * What a single entry says, for the walker and the pure helpers alike. `riscv`
 * is a constant at every call, so that each family gets code of its own.
 */
#ifndef QUIRE_GPT_ENTRY_H
#define QUIRE_GPT_ENTRY_H

#include "base/bits.h"
#include "gpt/format.h"

/* page_size: fmt->page_size, or 0 where the bit is ignored. Level 0 of RISC-V may hold pointers: they are reserved. */
static ALWAYS_INLINE bool entry_is_leaf(const struct gpt_format *fmt, unsigned level, uint64_t pte,
					uint64_t page_size, const bool riscv)
{
	if (riscv)
		return pte & (fmt->read | fmt->exec);
	return level == 0 || ((pte & page_size) && fmt->level[level].leaf_ok);
}

/* gated: bits that are reserved because of the CPU's control state. */
static ALWAYS_INLINE bool entry_is_reserved(const struct gpt_format *fmt, unsigned level, uint64_t pte,
					    bool leaf, uint64_t gated, const bool riscv)
{
	const struct gpt_level *l = &fmt->level[level];

	if (!riscv)
		return pte & (gated | (leaf ? l->reserved_leaf : l->reserved_table));
	/* RISC-V Priv. 4.3.2 step 3, and step 4 at the last level. */
	if (leaf)
		return (pte & l->reserved_leaf) || !l->leaf_ok || ((pte & fmt->write) && !(pte & fmt->read));
	return (pte & (l->reserved_table | fmt->write)) || level == 0;
}

static ALWAYS_INLINE uint64_t gated_bits(const struct gpt_format *fmt, uint32_t ctl)
{
	return ctl & CTL_NXE ? 0 : fmt->nx_gate;
}

/* R W X U of an entry that carries rights (not a PAE pointer, not a RISC-V pointer). */
static ALWAYS_INLINE uint8_t entry_rwxu(const struct gpt_format *fmt, uint64_t pte, const bool riscv)
{
	uint8_t rights = (pte & fmt->write ? RIGHT_W : 0) | (pte & fmt->user ? RIGHT_U : 0);

	if (riscv)
		return rights | (pte & fmt->read ? RIGHT_R : 0) | (pte & fmt->exec ? RIGHT_X : 0);
	/* A format has exec or no_exec or neither; what it has not denies nothing. */
	return rights | RIGHT_R | ((pte & fmt->no_exec) | (~pte & fmt->exec) ? 0 : RIGHT_X);
}

/* A D of a leaf; a bit that the format lacks counts as set. */
static ALWAYS_INLINE uint8_t entry_ad(const struct gpt_format *fmt, uint64_t pte)
{
	return (~pte & fmt->accessed ? 0 : RIGHT_A) | (~pte & fmt->dirty ? 0 : RIGHT_D);
}

static ALWAYS_INLINE uint64_t entry_frame(const struct gpt_format *fmt, uint64_t pte)
{
	return (pte & fmt->pfn_mask) >> fmt->pfn_shift;
}

/* Bits of va that index a level; the root of a second stage is wider. */
static ALWAYS_INLINE unsigned index_bits(const struct gpt_format *fmt, unsigned level, bool second_stage)
{
	return fmt->level[level].bits + (second_stage && level == fmt->levels - 1u ? fmt->x4_bits : 0);
}

static ALWAYS_INLINE bool va_is_ok(const struct gpt_format *fmt, uint64_t va, bool second_stage)
{
	unsigned bits = fmt->va_bits;

	if (second_stage)
		return va >> (bits + fmt->x4_bits) == 0;
	if (fmt->sign_extended) {
		uint64_t high = va >> (bits - 1); /* the sign bit and all above it */

		return high == 0 || high == UINT64_MAX >> (bits - 1);
	}
	return va >> bits == 0;
}

#endif
