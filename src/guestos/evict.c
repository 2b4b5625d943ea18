/* SPDX-License-Identifier: MIT */
/*
 * Memory pressure: a page goes to the guest's disk. The policy names the
 * frame; every owner loses its entry, and finds the disk slot in its place
 * (of shared memory, the object does, and the spaces ask it again).
 */
#include "base/bug.h"
#include "guestos/guest_internal.h"

/* Takes the frame out of all tables. Its owners stay. */
static int unmap_all(struct guest *g, uint64_t gfn)
{
	gframe_for_each_owner(&g->frames.f[gfn], o) {
		struct mm *mm = o->of->mm;
		int err = 0;

		if (!mm)
			continue;
		if (pmap_get(&mm->pages.map, o->vpn) & PAGE_HUGE)
			err = page_split(g, mm, o->vpn);
		if (!err)
			err = page_unmap(g, mm, o->vpn);
		if (err)
			return err;
	}
	return 0;
}

/* The slot that holds what the frame holds; 0: the frame was never written, it is zero. */
static int save(struct guest *g, uint64_t gfn)
{
	struct gframe *f = &g->frames.f[gfn];

	if (!(f->flags & GFRAME_DIRTY))
		return 0;
	/* Others may still need what the old slot holds. */
	if (!f->slot || g->disk.refs[f->slot] > 1) {
		if (f->slot)
			disk_slot_put(&g->disk, f->slot);
		f->slot = disk_slot_get(&g->disk);
	}
	f->flags &= (uint8_t)~GFRAME_DIRTY;
	return disk_write(g, f->slot, gfn);
}

static bool is_shared_memory(struct gframe *f)
{
	gframe_for_each_owner(f, o)
		if (!o->of->mm)
			return true;
	return false;
}

int evict_one(struct guest *g)
{
	uint64_t gfn;
	int err = g->fatal ? -EFAULT : g->replace->victim(g, &gfn);

	if (err)
		return err == -ENOENT ? -ENOMEM : err;

	struct gframe *f = &g->frames.f[gfn];

	err = unmap_all(g, gfn);
	if (!err)
		err = save(g, gfn);
	if (err)
		return err;
	g->stats.evictions++;

	uint32_t slot = f->slot;
	bool shared = is_shared_memory(f);

	/* The slot outlives the frame's own hold on it. */
	if (slot)
		disk_slot_ref(&g->disk, slot);
	for (uint32_t refs = f->refs; refs > 0; refs--) {
		struct owner o = f->first;
		bool keeps = slot && !(shared && o.of->mm);

		if (keeps)
			disk_slot_ref(&g->disk, slot);
		pmap_set(&o.of->map, o.vpn, keeps ? make_page(slot, PAGE_DISK) : 0);
		gframe_drop_owner(g, gfn, o.of, o.vpn);
	}
	if (slot)
		disk_slot_put(&g->disk, slot);
	return 0;
}

int frames_alloc_evicting(struct guest *g, unsigned order, enum gframe_type type, uint64_t *gfn)
{
	int err;

	while ((err = frames_alloc(g, order, type, gfn)) == -ENOMEM) {
		err = evict_one(g);
		if (err)
			return err;
	}
	return err;
}

/* ---- the list of user frames, oldest first: FIFO and CLOCK ---- */

void replace_list_add(struct guest *g, uint64_t gfn)
{
	struct gframe *f = &g->frames.f[gfn];

	f->next = NO_GFRAME;
	f->prev = g->replace_tail;
	*(f->prev == NO_GFRAME ? &g->replace_head : &g->frames.f[f->prev].next) = (uint32_t)gfn;
	g->replace_tail = (uint32_t)gfn;
	f->flags |= GFRAME_LISTED;
}

void replace_list_remove(struct guest *g, uint64_t gfn)
{
	struct gframe *f = &g->frames.f[gfn];

	BUG_ON(!(f->flags & GFRAME_LISTED));
	*(f->prev == NO_GFRAME ? &g->replace_head : &g->frames.f[f->prev].next) = f->next;
	*(f->next == NO_GFRAME ? &g->replace_tail : &g->frames.f[f->next].prev) = f->prev;
	f->flags &= (uint8_t)~GFRAME_LISTED;
}
