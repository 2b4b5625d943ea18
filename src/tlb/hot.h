/* SPDX-License-Identifier: MIT */
/*
 * The first-level lookup, inlined into loops over references. Shapes that
 * published processors have get code of their own.
 */
#ifndef QUIRE_TLB_HOT_H
#define QUIRE_TLB_HOT_H

#include "tlb/array.h"

/* Is the first-level 4 KiB data array of four ways that stand newest first? Then tlb_hot4 serves. */
static inline bool tlb_is_hot4(const struct tlb *t)
{
	const struct tlb_array *d = &t->l1[0][0];

	return d->ways == 4 && d->policy == TLB_LRU && d->order == TLB_ORDER_PLACE;
}

/*
 * A whole lookup of the first level for data under LRU: the data word, its way
 * now the newest, or 0 with nothing changed. The way is not branched on:
 * programs make it hard to guess, and a rotation by 0 costs less than a wrong
 * guess.
 */
static ALWAYS_INLINE uint64_t tlb_hot4(struct tlb *t, uint64_t tag0)
{
	struct tlb_array *a = &t->l1[0][0];
	size_t base = (size_t)((uint32_t)tag0 & a->set_mask) * 4;
	unsigned match = array_match4(a->tags + base, tag0);

	if (unlikely(!match))
		return 0;
	unsigned way = (unsigned)__builtin_ctz(match);
	uint64_t data = a->data[base + way];

	array_rotate4(a->tags + base, way);
	array_rotate4(a->data + base, way);
	return data;
}

#endif
