/* SPDX-License-Identifier: MIT */
/* What a fault asks of the per-gfn truth. Changes go through funnel.c. */
#include "vm/gfn.h"
#include "vm/slot.h"

struct gfn_state gfn_get(struct vm *vm, gfn_t gfn)
{
	const struct memslot *s = slot_find(vm, gfn);

	return s ? slot_state(s, gfn) : (struct gfn_state){ 0 };
}

void gfn_prefetch(struct vm *vm, gfn_t gfn)
{
	const struct memslot *s = slot_find(vm, gfn);
	const struct gfn_block *b = s ? slot_block(s, gfn) : NULL;

	if (b && b->states && !b->run)
		__builtin_prefetch(&b->states[gfn.v % GFN_BLOCK]);
}

static ALWAYS_INLINE uint8_t rights_of(const struct vm *vm, const struct memslot *slot, unsigned flags)
{
	bool write = !(slot->flags & SLOT_READONLY) && !(flags & (GFN_COW | GFN_WPROT)) &&
		     (!vm->dirty_logging || (flags & GFN_DIRTY));

	return RIGHT_R | RIGHT_X | (write ? RIGHT_W : 0);
}

static unsigned mapping_order(const struct vm *vm, const struct memslot *s, gfn_t gfn)
{
	const struct gfn_block *b = slot_block(s, gfn);

	/* A GiB in one run without a reason against it is blocks that are so. */
	if (!b->run || b->split || vm->dirty_logging)
		return ORDER_4K;
	const struct gfn_giga *g = slot_giga(s, gfn);

	return g->run && !g->split ? ORDER_1G : ORDER_2M;
}

static bool describe(const struct vm *vm, const struct memslot *s, gfn_t gfn, struct gfn_mapping *out)
{
	unsigned flags;

	if (!slot_where(s, gfn, &out->mfn, &flags))
		return false;
	/* A run tells nothing of what was written. */
	if (unlikely(vm->dirty_logging))
		flags = gfn_flags(slot_state(s, gfn));
	out->rights = rights_of(vm, s, flags);
	out->order = (uint8_t)mapping_order(vm, s, gfn);
	return true;
}

int gfn_peek(struct vm *vm, gfn_t gfn, struct gfn_mapping *out)
{
	const struct memslot *s = slot_find(vm, gfn);

	out->hidden = false;
	return !s ? -EFAULT : describe(vm, s, gfn, out) ? 0 : -ENOENT;
}

/* May the whole aligned block be backed at one stroke? Only where nothing stands yet and nothing forbids. */
static bool block_is_untouched(const struct memslot *s, gfn_t gfn, unsigned order)
{
	if (!slot_covers(s, gfn, order))
		return false;
	uint64_t first = align_down(gfn.v, BIT(order));

	for (uint64_t g = first; g < first + BIT(order); g += GFN_BLOCK) {
		const struct gfn_block *b = slot_block(s, GFN(g));

		if (b->backed || b->split)
			return false;
	}
	return true;
}

static unsigned backing_order(const struct vm *vm, const struct memslot *s, gfn_t gfn)
{
	const struct machine *m = vm->hv->m;

	if (vm->host_thp_1g && block_is_untouched(s, gfn, ORDER_1G) && buddy_has(m, ORDER_1G))
		return ORDER_1G;
	if (vm->host_thp && block_is_untouched(s, gfn, ORDER_2M) && buddy_has(m, ORDER_2M))
		return ORDER_2M;
	return ORDER_4K;
}

static int back(struct vm *vm, const struct memslot *s, gfn_t gfn)
{
	unsigned order = backing_order(vm, s, gfn);

	for (;;) {
		struct gfn_change c = { .op = GFN_OP_BACK, .order = order };
		int err = gfn_update(vm, GFN(align_down(gfn.v, BIT(order))), BIT(order), &c);

		/* A large block that cannot be had after all: a small one will do. */
		if (err != -ENOMEM || order == ORDER_4K)
			return err;
		order = ORDER_4K;
	}
}

int gfn_fault(struct vm *vm, gfn_t gfn, bool write, struct gfn_mapping *out)
{
	const struct memslot *s = slot_find(vm, gfn);
	int err;

	if (!s)
		return -EFAULT;
	if (write && (s->flags & SLOT_READONLY))
		return -EACCES;
	out->hidden = false;
	struct gfn_state st = slot_state(s, gfn);

	if (gfn_kind(st) == GFN_NONE) {
		err = back(vm, s, gfn);
		if (err)
			return err;
		vm->stats.hidden_total++;
		vm->stats.hidden_no_backing++;
		out->hidden = true;
		st = slot_state(s, gfn);
	}
	if (write && (gfn_flags(st) & GFN_COW)) {
		err = gfn_update(vm, gfn, 1, &(struct gfn_change){ .op = GFN_OP_UNCOW });
		if (err)
			return err;
		vm->stats.hidden_total++;
		vm->stats.hidden_unshare++;
		out->hidden = true;
	}
	if (write && vm->dirty_logging && !(gfn_flags(st) & GFN_DIRTY))
		gfn_update(vm, gfn, 1, &(struct gfn_change){ .op = GFN_OP_DIRTY });
	describe(vm, s, gfn, out);
	return 0;
}
