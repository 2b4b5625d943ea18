/* SPDX-License-Identifier: MIT */
/*
 * gfn_update: the one way in which a gfn's frame or rights change.
 *
 *   prepare_…  checks everything and takes all memory it will need
 *   zap        caches forget (the notifier flushes before it returns)
 *   commit_…   compares or copies content, sets the words, releases frames
 *
 * The second half cannot fail, but for SHARE whose comparison may say no.
 */
#include "base/bug.h"
#include "machine/rmap.h"
#include "vm/gfn.h"
#include "vm/memslot.h"

struct funnel {
	struct vm *vm;
	struct memslot *slot;
	gfn_t gfn;
	uint64_t n;
	const struct gfn_change *change;
	mfn_t fresh;      /* frames taken by prepare; INVALID_MFN: none */
	unsigned fresh_order;
};

static void zap(struct funnel *f, gfn_t gfn, uint64_t n, uint8_t keep)
{
	struct vm_notifier *nf = f->vm->notifier;

	f->vm->mmu_seq++;
	if (nf)
		nf->zap(nf, gfn, n, keep);
}

static struct gfn_state state_at(const struct funnel *f, uint64_t i)
{
	return slot_state(f->slot, GFN(f->gfn.v + i));
}

static void set_at(struct funnel *f, uint64_t i, enum gfn_kind kind, uint64_t mfn, unsigned flags)
{
	slot_set(f->vm, f->slot, GFN(f->gfn.v + i), (struct gfn_state){ gfn_state_make(kind, mfn, flags) });
}

static int take_fresh(struct funnel *f, unsigned order)
{
	f->fresh_order = order;
	return buddy_alloc(f->vm->hv->m, order, FRAME_GUEST, &f->fresh);
}

/* Content, and what is known of it, goes along. */
static void copy_frame(struct machine *m, mfn_t to, mfn_t from)
{
	struct frame *ff = machine_frame(m, from), *ft = machine_frame(m, to);

	if (ff->flags & FRAME_TOUCHED) {
		memcpy(machine_ptr(m, mfn_to_hpa(to)), machine_ptr(m, mfn_to_hpa(from)), PAGE_SIZE);
		ft->flags |= FRAME_TOUCHED;
	} else {
		machine_zero(m, to, 0);
	}
}

static bool is_pinned(const struct funnel *f)
{
	for (uint64_t i = 0; i < f->n; i++)
		if (gfn_flags(state_at(f, i)) & GFN_PIN)
			return true;
	return false;
}

static void note_run(struct funnel *f, unsigned order)
{
	if (order >= ORDER_2M)
		for (uint64_t i = 0; i < BIT(order); i += GFN_BLOCK)
			slot_block(f->slot, GFN(f->gfn.v + i))->run = 1 + gfn_mfn(state_at(f, i)).v;
	if (order >= ORDER_1G)
		slot_giga(f->slot, f->gfn)->run = 1;
}

/* Nothing cached can lead to a frame that did not exist: no zap. */
static int do_back(struct funnel *f)
{
	unsigned order = f->change->order;

	for (uint64_t i = 0; i < f->n; i++)
		if (gfn_kind(state_at(f, i)) != GFN_NONE)
			return -EEXIST;
	int err = take_fresh(f, order);
	if (err)
		return err;
	machine_zero(f->vm->hv->m, f->fresh, order);
	f->vm->mmu_seq++;
	for (uint64_t i = 0; i < f->n; i++) {
		frame_own(f->vm, GFN(f->gfn.v + i), MFN(f->fresh.v + i));
		set_at(f, i, GFN_BACKED, f->fresh.v + i, gfn_flags(state_at(f, i)));
	}
	note_run(f, order);
	return 0;
}

static int do_flags(struct funnel *f, unsigned set, unsigned clear, bool weaker)
{
	if (weaker)
		zap(f, f->gfn, f->n, RIGHT_R | RIGHT_X);
	else
		f->vm->mmu_seq++;
	for (uint64_t i = 0; i < f->n; i++) {
		struct gfn_state s = state_at(f, i);

		set_at(f, i, gfn_kind(s), gfn_mfn(s).v, (gfn_flags(s) & ~clear) | set);
	}
	return 0;
}

/* Moves one gfn to the fresh frame with its content. */
static void move_to_fresh(struct funnel *f, uint64_t i, mfn_t to, unsigned clear)
{
	struct gfn_state s = state_at(f, i);
	gfn_t gfn = GFN(f->gfn.v + i);

	if (gfn_kind(s) == GFN_BACKED) {
		copy_frame(f->vm->hv->m, to, gfn_mfn(s));
		frame_disown(f->vm, gfn, gfn_mfn(s));
	} else {
		machine_zero(f->vm->hv->m, to, 0);
	}
	frame_own(f->vm, gfn, to);
	set_at(f, i, GFN_BACKED, to.v, gfn_flags(s) & ~clear);
}

/* The one page to a frame of its own. */
static int move_page(struct funnel *f)
{
	int err = take_fresh(f, 0);

	if (err)
		return err;
	zap(f, f->gfn, 1, 0);
	move_to_fresh(f, 0, f->fresh, GFN_COW);
	return 0;
}

static int do_uncow(struct funnel *f)
{
	struct gfn_state s = state_at(f, 0);

	if (gfn_kind(s) != GFN_BACKED)
		return -EFAULT;
	/* The last owner keeps the frame. */
	if (machine_frame(f->vm->hv->m, gfn_mfn(s))->refs == 1)
		return do_flags(f, 0, GFN_COW, false);
	return move_page(f);
}

static int do_move(struct funnel *f)
{
	if (gfn_kind(state_at(f, 0)) != GFN_BACKED)
		return -EFAULT;
	return is_pinned(f) ? -EBUSY : move_page(f);
}

static int do_collapse(struct funnel *f)
{
	if (is_pinned(f) || slot_block(f->slot, f->gfn)->split)
		return -EBUSY;
	int err = take_fresh(f, ORDER_2M);
	if (err)
		return err;
	zap(f, f->gfn, f->n, 0);
	for (uint64_t i = 0; i < f->n; i++)
		move_to_fresh(f, i, MFN(f->fresh.v + i), 0);
	note_run(f, ORDER_2M);
	return 0;
}

static int do_release(struct funnel *f)
{
	if (is_pinned(f))
		return -EBUSY;
	zap(f, f->gfn, f->n, 0);
	for (uint64_t i = 0; i < f->n; i++) {
		struct gfn_state s = state_at(f, i);

		if (gfn_kind(s) != GFN_BACKED)
			continue;
		set_at(f, i, GFN_NONE, 0, 0);
		frame_disown(f->vm, GFN(f->gfn.v + i), gfn_mfn(s));
	}
	return 0;
}

/* All owners of a frame that is about to be shared must meet a fault at their next write. */
static void protect_owners(struct funnel *f, struct frame *frame)
{
	struct rmap_iter it;

	for_each_rmap(frame->owners, it) {
		struct vm *vm = f->vm->hv->vm[rmap_owner_vmid(it.name)];
		gfn_t gfn = rmap_owner_gfn(it.name);
		struct memslot *s = memslot_find(vm, gfn);
		struct gfn_state st = slot_state(s, gfn);

		/* One whose fellows left may still have the mark; it is told all the same that it gets new ones. */
		if ((gfn_flags(st) & GFN_COW) && frame->refs > 1)
			continue;
		vm->mmu_seq++;
		if (vm->notifier)
			vm->notifier->zap(vm->notifier, gfn, 1, RIGHT_R | RIGHT_X);
		slot_set(vm, s, gfn, (struct gfn_state){ gfn_state_make(GFN_BACKED, gfn_mfn(st).v,
								 gfn_flags(st) | GFN_COW) });
	}
}

/* A device writes to a pinned frame without asking: nobody may join it. */
static bool has_pinned_owner(struct funnel *f, const struct frame *frame)
{
	struct rmap_iter it;

	for_each_rmap(frame->owners, it) {
		struct vm *vm = f->vm->hv->vm[rmap_owner_vmid(it.name)];

		if (gfn_flags(gfn_get(vm, rmap_owner_gfn(it.name))) & GFN_PIN)
			return true;
	}
	return false;
}

/* Nobody joined: an owner that is alone may write again. */
static void release_sole_owner(struct funnel *f, const struct frame *frame)
{
	struct rmap_iter it;

	if (frame->refs != 1 || !rmap_first(frame->owners, &it))
		return;
	struct vm *vm = f->vm->hv->vm[rmap_owner_vmid(it.name)];
	gfn_t gfn = rmap_owner_gfn(it.name);
	struct memslot *s = memslot_find(vm, gfn);
	struct gfn_state st = slot_state(s, gfn);

	vm->mmu_seq++;
	slot_set(vm, s, gfn, (struct gfn_state){ gfn_state_make(GFN_BACKED, gfn_mfn(st).v,
							 gfn_flags(st) & ~(unsigned)GFN_COW) });
}

static int do_share(struct funnel *f)
{
	struct machine *m = f->vm->hv->m;
	struct gfn_state s = state_at(f, 0);
	mfn_t own = gfn_mfn(s), other = f->change->mfn;

	if (gfn_kind(s) != GFN_BACKED || other.v >= m->nframes || own.v == other.v)
		return -EFAULT;
	struct frame *target = machine_frame(m, other);

	if (target->type != FRAME_GUEST || !target->refs)
		return -EFAULT;
	if (is_pinned(f) || (gfn_flags(s) & GFN_WPROT) || has_pinned_owner(f, target))
		return -EBUSY;
	int err = rmap_reserve(m, 2);
	if (err)
		return err;
	zap(f, f->gfn, 1, 0);
	protect_owners(f, target);
	/* Only now can nobody write to either: compare. */
	if (memcmp(machine_ptr(m, mfn_to_hpa(own)), machine_ptr(m, mfn_to_hpa(other)), PAGE_SIZE)) {
		release_sole_owner(f, target);
		return -EEXIST;
	}
	frame_own(f->vm, f->gfn, other);
	set_at(f, 0, GFN_BACKED, other.v, gfn_flags(s) | GFN_COW);
	frame_disown(f->vm, f->gfn, own);
	return 0;
}

/* A contiguous VM's memory is where its walker adds a constant: it neither moves nor goes. */
static bool changes_place(enum gfn_op op)
{
	return op == GFN_OP_SHARE || op == GFN_OP_RELEASE || op == GFN_OP_MOVE || op == GFN_OP_COLLAPSE;
}

static int dispatch(struct funnel *f)
{
	if (f->vm->contiguous_base != INVALID_FRAME && changes_place(f->change->op))
		return -EBUSY;
	switch (f->change->op) {
	case GFN_OP_BACK:
		return do_back(f);
	case GFN_OP_DIRTY:
		return do_flags(f, GFN_DIRTY, 0, false);
	case GFN_OP_CLEAN:
		return do_flags(f, 0, GFN_DIRTY, true);
	case GFN_OP_WPROT:
		return do_flags(f, GFN_WPROT, 0, true);
	case GFN_OP_UNWPROT:
		return do_flags(f, 0, GFN_WPROT, false);
	case GFN_OP_UNCOW:
		return do_uncow(f);
	case GFN_OP_SHARE:
		return do_share(f);
	case GFN_OP_RELEASE:
		return do_release(f);
	case GFN_OP_MOVE:
		return do_move(f);
	case GFN_OP_COLLAPSE:
		return do_collapse(f);
	}
	return -EINVAL;
}

static bool takes_one_page(enum gfn_op op)
{
	return op == GFN_OP_UNCOW || op == GFN_OP_SHARE || op == GFN_OP_MOVE;
}

int gfn_update(struct vm *vm, gfn_t gfn, uint64_t n, const struct gfn_change *change)
{
	struct funnel f = {
		.vm = vm,
		.slot = memslot_find(vm, gfn),
		.gfn = gfn,
		.n = n,
		.change = change,
		.fresh = INVALID_MFN,
	};

	if (!f.slot || !n || gfn.v - f.slot->base.v + n > f.slot->npages)
		return -EFAULT;
	bool block = change->op == GFN_OP_BACK || change->op == GFN_OP_COLLAPSE;
	unsigned order = change->op == GFN_OP_COLLAPSE ? ORDER_2M : change->order;

	if (block && (n != BIT(order) || !is_aligned(gfn.v, n)))
		return -EINVAL;
	if (takes_one_page(change->op) && n != 1)
		return -EINVAL;
	int err = slot_populate(vm, f.slot, gfn, n);
	return err ? err : dispatch(&f);
}
