/* SPDX-License-Identifier: MIT */
/*
 * Looking ahead of TLB misses. A reference that missed the TLB tells that those after it may miss too, so
 * the host lines that their walks and faults will want are asked for now.
 * Nothing is decided, counted or moved here; every look is a guess that may
 * be wrong for free.
 *
 *   refs[i + AHEAD_TABLE]   its leaf guest entry
 *   refs[i + AHEAD_DATA]    what that entry leads to: the gfn's state word, the
 *                           leaf entry of the p2m or of the shadow table
 *   refs[i + AHEAD_FRAME]   the frame's own data, where a fault may write to it
 */

#ifndef QUIRE_MMU_QUICK_AHEAD_H
#define QUIRE_MMU_QUICK_AHEAD_H

#include "mmu/quick.h"

/* The word of gfn where it has one of its own; NULL: no memory, or part of a run. */
static ALWAYS_INLINE const uint64_t *quick_word(const struct quick *q, uint64_t gfn, uint64_t *mfn)
{
	const struct memslot *s = &q->mmu->vm->slot[0];
	const struct gfn_block *b = gfn - s->base.v < s->npages ? slot_block(s, GFN(gfn)) : NULL;

	*mfn = b && b->run ? b->run - 1 + gfn % GFN_BLOCK : 0;
	return b && b->states && !b->run ? &b->states[gfn % GFN_BLOCK].w : NULL;
}

/* Where the table stands that gva's level-1 entry leads to: NULL: nowhere. */
static ALWAYS_INLINE const uint8_t *quick_ahead_at(const struct quick *q, uint64_t pte, const enum quick_kind open)
{
	uint64_t gfn = quick_frame(&q->guest, pte), mfn;

	if (open == QUICK_DIRECT)
		return gfn < q->direct_pages ? q->direct + (gfn << PAGE_SHIFT) : NULL;
	if (!quick_is_table(&q->guest, 1, pte))
		return NULL;
	const uint64_t *word = quick_word(q, gfn, &mfn);

	if (word)
		mfn = gfn_mfn((struct gfn_state){ *word }).v;
	return mfn ? q->ram + (mfn << PAGE_SHIFT) : NULL;
}

/* Asks for the line of gva's leaf entry; returns where that is, or NULL. */
static ALWAYS_INLINE const uint64_t *quick_ahead_table(struct quick *q, const struct vcpu *v, uint64_t gva,
						       const enum quick_fit fit, const enum quick_kind open)
{
	const struct quick_dim *d = &q->guest;
	uint64_t key = 1 + (gva >> quick_shift(d, 2, fit));
	unsigned slot = key % QUICK_KNOWN;
	const uint64_t *table = q->guest_known.key[slot] == key ? q->guest_known.at[slot] : quick_find_guest(q, v, gva);

	if (!table)
		return NULL;
	uint64_t pte = table[quick_index(d, 1, gva, fit)];
	const uint8_t *at = quick_ahead_at(q, pte, open);

	if (!at)
		return NULL;
	const uint64_t *p = (const uint64_t *)(const void *)at + quick_index(d, 0, gva, fit);

	if (open != QUICK_NONE)
		__builtin_prefetch(track_recent_slot(q->mmu, quick_frame(d, pte) << PAGE_SHIFT));
	__builtin_prefetch(p);
	return p;
}

/* And for what the entry there leads to. */
static ALWAYS_INLINE void quick_ahead_data(struct quick *q, const uint64_t *entry, uint64_t gva)
{
	const struct quick_dim *d = &q->host;
	uint64_t pte = *entry, gfn = quick_frame(&q->guest, pte), mfn;
	uint64_t va = q->host_by_gva ? gva : gfn << PAGE_SHIFT;
	const uint64_t *word = quick_word(q, gfn, &mfn);

	if (!quick_is_leaf(&q->guest, ACC_READ, 0, pte))
		return;
	if (word)
		__builtin_prefetch(word);
	if (!d->usable)
		return;
	uint64_t key = 1 + (va >> d->shift[2]);
	unsigned slot = key % QUICK_KNOWN;
	const uint64_t *table = q->host_known.key[slot] == key ? q->host_known.at[slot] : quick_find_host(q, va);

	if (!table)
		return;
	pte = table[(va >> d->shift[1]) & d->index[1]];
	if (quick_is_table(d, 1, pte))
		__builtin_prefetch((const uint64_t *)(const void *)(q->ram + (quick_frame(d, pte) << PAGE_SHIFT)) +
				   ((va >> d->shift[0]) & d->index[0]));
}

/* A shadow entry is in its frame's reverse map. */
static ALWAYS_INLINE void quick_ahead_frame(const struct quick *q, const uint64_t *entry)
{
	uint64_t mfn;
	const uint64_t *word = quick_word(q, quick_frame(&q->guest, *entry), &mfn);

	if (word)
		mfn = gfn_mfn((struct gfn_state){ *word }).v;
	__builtin_prefetch(machine_frame(q->mmu->vm->hv->m, MFN(mfn)));
}

#endif
