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
 * Where it stands: a copy for a loop's registers, as stores to it could else
 * be stores to the array's head. data stands a constant way behind tags.
 */
struct tlb_hot4 {
	char *tags;
	ptrdiff_t data;
	uint32_t set_mask;
};

static inline struct tlb_hot4 tlb_hot4_of(const struct tlb *t)
{
	const struct tlb_array *d = &t->l1[0][0];

	return (struct tlb_hot4){ (char *)d->tags, (char *)d->data - (char *)d->tags, d->set_mask };
}

/*
 * A whole lookup of the first level for data under LRU: the data word, its way
 * now the newest, or 0 with nothing changed. The way is not branched on:
 * programs make it hard to guess, and a rotation by 0 costs less than a wrong
 * guess.
 */
static ALWAYS_INLINE uint64_t tlb_hot4(const struct tlb_hot4 *h, uint64_t tag0)
{
	char *at = h->tags + (size_t)((uint32_t)tag0 & h->set_mask) * (4 * sizeof(uint64_t));
	uint64_t *tags = (uint64_t *)(void *)at, *data = (uint64_t *)(void *)(at + h->data);
	unsigned match = array_match4(tags, tag0);

	if (unlikely(!match))
		return 0;
	unsigned way = (unsigned)__builtin_ctz(match);
	uint64_t word = data[way];

	array_rotate4(tags, way);
	array_rotate4(data, way);
	return word;
}

/* Most x86 servers of a decade have these; lookups there are compiled for them. */
static const struct array_shape tlb_common_l1 = {.ways = 4, .policy = TLB_LRU, .order = TLB_ORDER_PLACE};
static const struct array_shape tlb_common_l2 = {.ways = 12, .policy = TLB_LRU, .order = TLB_ORDER_WORD};

/* Data L1 and L2 are of the common shapes, and only 4 KiB pages, none of gspace (0: any), can be in them. */
static ALWAYS_INLINE bool tlb_is_common(const struct tlb *t, uint32_t gspace)
{
	return t->is_common_path && !(gspace && (t->spaces_seen >> (gspace & 63) & 1));
}

/* For a tag known not to be in the array, which is present. */
static ALWAYS_INLINE void tlb_put_new(struct tlb *t, struct tlb_array *a, struct array_shape s, uint64_t tag,
				      uint64_t data)
{
	t->counts.evictions += array_insert_new(a, s, tag, data, &t->rng) != 0;
}

/*
 * What is left of a lookup of data when the first level has not got it, where
 * tlb_is_common: the data word out of the second level, which refills the
 * first, or 0. Counts.
 */
static ALWAYS_INLINE uint64_t tlb_common_l2_lookup(struct tlb *t, uint64_t tag)
{
	struct tlb_array *l2 = &t->l2[0];
	size_t base = array_base(l2, tlb_common_l2, tag);
	int way = array_find(l2, tlb_common_l2, base, tag);
	uint64_t data;

	t->counts.l1d_misses++;
	if (way < 0) {
		t->counts.l2_misses++;
		t->missed = tag;
		return 0;
	}
	t->counts.l2_hits++;
	data = l2->data[array_touch(l2, tlb_common_l2, base, tag, (unsigned)way)];
	tlb_put_new(t, &t->l1[0][0], tlb_common_l1, tag, data);
	return data;
}

/* The fill after it: tag is t->missed. True: instruction L1 may hold a copy, which must follow. */
static ALWAYS_INLINE bool tlb_common_fill(struct tlb *t, uint64_t tag, uint64_t data)
{
	t->counts.fills++;
	t->live[0] = true;
	t->spaces_seen |= BIT(tag >> 48 & 63);
	tlb_put_new(t, &t->l1[0][0], tlb_common_l1, tag, data);
	tlb_put_new(t, &t->l2[0], tlb_common_l2, tag, data);
	t->missed = 0;
	return t->instr_filled;
}

#endif
