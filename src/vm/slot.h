/* SPDX-License-Identifier: MIT */
/*
 * Where the state of a gfn stands in its memslot, to be read without a call: for
 * vm/, and for those above it who ask at every load of a walk (all others:
 * vm/gfn.h). What changes it is vm/'s own (memslot.h).
 */
#ifndef QUIRE_VM_SLOT_H
#define QUIRE_VM_SLOT_H

#include "vm/vm.h"

static inline struct gfn_block *slot_block(const struct memslot *s, gfn_t gfn)
{
	return &s->blocks[(gfn.v >> ORDER_2M) - (s->base.v >> ORDER_2M)];
}

static inline struct gfn_giga *slot_giga(const struct memslot *s, gfn_t gfn)
{
	return &s->gigas[(gfn.v >> ORDER_1G) - (s->base.v >> ORDER_1G)];
}

static inline struct gfn_state slot_state(const struct memslot *s, gfn_t gfn)
{
	const struct gfn_block *b = slot_block(s, gfn);

	return b->states ? b->states[gfn.v % GFN_BLOCK] : (struct gfn_state){ 0 };
}

/*
 * Where gfn stands, by its word or, in a whole run, without it. False: no
 * memory there, or nothing behind it yet. *flags: its gfn_flags (in a run
 * without a split: none).
 */
static ALWAYS_INLINE bool slot_where(const struct memslot *s, gfn_t gfn, mfn_t *mfn, unsigned *flags)
{
	const struct gfn_block *b = slot_block(s, gfn);

	if (b->run && !b->split) {
		*mfn = MFN(b->run - 1 + gfn.v % GFN_BLOCK);
		*flags = 0;
		return true;
	}
	struct gfn_state st = b->states ? b->states[gfn.v % GFN_BLOCK] : (struct gfn_state){ 0 };

	*mfn = gfn_mfn(st);
	*flags = gfn_flags(st);
	return gfn_kind(st) == GFN_BACKED;
}

/* memslot_find, the first slot inlined: most VMs have no other. */
static ALWAYS_INLINE struct memslot *slot_find(struct vm *vm, gfn_t gfn)
{
	struct memslot *s = &vm->slot[0];

	return likely(gfn.v - s->base.v < s->npages) ? s : memslot_find(vm, gfn);
}

/* Does the slot hold all of gfn's aligned 2^order block? */
static inline bool slot_covers(const struct memslot *s, gfn_t gfn, unsigned order)
{
	uint64_t first = align_down(gfn.v, BIT(order));

	return first >= s->base.v && first + BIT(order) <= s->base.v + s->npages;
}

#endif
