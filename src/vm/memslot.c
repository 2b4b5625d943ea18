/* SPDX-License-Identifier: MIT */
#include "vm/memslot.h"
#include "base/bug.h"
#include "base/mutation.h"
#include "machine/rmap.h"

enum { HVA_GAP_SHIFT = 30 };

int memslot_add(struct vm *vm, gfn_t base, uint64_t npages, unsigned flags, struct memslot **out)
{
	struct machine *m = vm->hv->m;

	if (!npages || base.v >= BIT(40) || npages > BIT(40) - base.v)
		return -EINVAL;
	if (vm->nslots == VM_SLOTS_MAX)
		return -ENOSPC;
	for (unsigned i = 0; i < vm->nslots; i++) {
		const struct memslot *o = &vm->slot[i];

		if (base.v < o->base.v + o->npages && o->base.v < base.v + npages)
			return -EEXIST;
	}
	uint64_t last = base.v + npages - 1;
	struct memslot s = {
		.base = base,
		.npages = npages,
		.flags = flags,
		.nblocks = (last >> ORDER_2M) - (base.v >> ORDER_2M) + 1,
		.ngigas = (last >> ORDER_1G) - (base.v >> ORDER_1G) + 1,
	};
	s.blocks = kmem_alloc(m, s.nblocks * sizeof(*s.blocks));
	s.gigas = kmem_alloc(m, s.ngigas * sizeof(*s.gigas));
	if (!s.blocks || !s.gigas) {
		if (s.blocks)
			kmem_free(m, s.blocks, s.nblocks * sizeof(*s.blocks));
		if (s.gigas)
			kmem_free(m, s.gigas, s.ngigas * sizeof(*s.gigas));
		return -ENOMEM;
	}
	s.userspace_addr = vm->hv->next_hva;
	vm->hv->next_hva += align_up(npages << PAGE_SHIFT, BIT(HVA_GAP_SHIFT)) + BIT(HVA_GAP_SHIFT);
	vm->slot[vm->nslots] = s;
	*out = &vm->slot[vm->nslots++];
	return 0;
}

struct memslot *memslot_find(struct vm *vm, gfn_t gfn)
{
	for (unsigned i = 0; i < vm->nslots; i++) {
		struct memslot *s = &vm->slot[i];

		if (gfn.v - s->base.v < s->npages)
			return s;
	}
	return NULL;
}

bool memslot_gfn_to_hva(const struct memslot *s, gfn_t gfn, uint64_t *hva)
{
	if (gfn.v < s->base.v || gfn.v >= s->base.v + s->npages)
		return false;
	*hva = s->userspace_addr + ((gfn.v - s->base.v) << PAGE_SHIFT);
	return true;
}

gfn_t vm_end_gfn(const struct vm *vm)
{
	uint64_t end = 0;

	for (unsigned i = 0; i < vm->nslots; i++)
		end = MAX(end, vm->slot[i].base.v + vm->slot[i].npages);
	return GFN(end);
}

uint64_t vm_pages(const struct vm *vm)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < vm->nslots; i++)
		n += vm->slot[i].npages;
	return n;
}

int slot_populate(struct vm *vm, struct memslot *s, gfn_t gfn, uint64_t n)
{
	uint64_t last = (gfn.v + n - 1) >> ORDER_2M;

	for (uint64_t b = gfn.v >> ORDER_2M; b <= last; b++) {
		struct gfn_block *block = &s->blocks[b - (s->base.v >> ORDER_2M)];

		if (!block->states)
			block->states = kmem_alloc(vm->hv->m, PAGE_SIZE);
		if (!block->states)
			return -ENOMEM;
	}
	return 0;
}

static bool splits(struct gfn_state s)
{
	return gfn_flags(s) & GFN_SPLIT_FLAGS;
}

void slot_set(struct vm *vm, struct memslot *s, gfn_t gfn, struct gfn_state st)
{
	struct gfn_block *b = slot_block(s, gfn);
	struct gfn_giga *g = slot_giga(s, gfn);
	struct gfn_state old = b->states[gfn.v % GFN_BLOCK];
	int split = splits(st) - splits(old);
	int backed = (gfn_kind(st) == GFN_BACKED) - (gfn_kind(old) == GFN_BACKED);

	b->split = (uint16_t)(b->split + split);
	g->split = (uint32_t)((int64_t)g->split + split);
	b->backed = (uint16_t)(b->backed + backed);
	vm->resident = (uint64_t)((int64_t)vm->resident + backed);
	/* Any change of place ends a run; who makes one says so afterwards. */
	if (gfn_kind(st) != gfn_kind(old) || gfn_mfn(st).v != gfn_mfn(old).v)
		b->run = g->run = 0;
	b->states[gfn.v % GFN_BLOCK] = st;
}

void frame_own(struct vm *vm, gfn_t gfn, mfn_t mfn)
{
	struct frame *f = machine_frame(vm->hv->m, mfn);

	ASSERT(f->type == FRAME_GUEST);
	BUG_ON(rmap_add(vm->hv->m, &f->owners, rmap_owner(vm->vmid, gfn)));
	f->refs++;
}

void frame_disown(struct vm *vm, gfn_t gfn, mfn_t mfn)
{
	struct machine *m = vm->hv->m;
	struct frame *f = machine_frame(m, mfn);

	rmap_remove(m, &f->owners, rmap_owner(vm->vmid, gfn));
	BUG_ON(!f->refs);
	if (--f->refs)
		return;
	BUG_ON(f->sptes && !MUTATE(STALE_RMAP) && !MUTATE(SKIP_ZAP));
	f->flags &= (uint16_t)~FRAME_TRACKED;
	f->priv = 0;
	f->sptes = 0;
	if (!MUTATE(LEAK_FRAME))
		buddy_free(m, mfn, 0);
}

int vm_back_contiguous(struct vm *vm)
{
	struct machine *m = vm->hv->m;
	struct memslot *s = &vm->slot[0];
	mfn_t base;

	if (vm->nslots != 1 || s->base.v || vm->resident)
		return -EINVAL;
	int err = slot_populate(vm, s, s->base, s->npages);
	if (err)
		return err;
	err = buddy_alloc_run(m, s->npages, MIN(log2_ceil(s->npages), ORDER_1G), FRAME_GUEST, &base);
	if (err)
		return err;
	for (uint64_t i = 0; i < s->npages; i++) {
		/* Of frames as yet unused only those that held something need zeroing. */
		if (machine_frame(m, MFN(base.v + i))->flags & FRAME_TOUCHED)
			machine_zero(m, MFN(base.v + i), 0);
		frame_own(vm, GFN(i), MFN(base.v + i));
		slot_set(vm, s, GFN(i), (struct gfn_state){ gfn_state_make(GFN_BACKED, base.v + i, 0) });
	}
	for (uint64_t g = 0; g + GFN_BLOCK <= s->npages; g += GFN_BLOCK)
		slot_block(s, GFN(g))->run = is_aligned(base.v, GFN_BLOCK) ? 1 + base.v + g : 0;
	for (uint64_t g = 0; g + BIT(ORDER_1G) <= s->npages; g += BIT(ORDER_1G))
		slot_giga(s, GFN(g))->run = is_aligned(base.v, BIT(ORDER_1G));
	vm->contiguous_base = base.v;
	vm->contiguous_pages = s->npages;
	return 0;
}

void memslot_release(struct vm *vm, struct memslot *s)
{
	struct machine *m = vm->hv->m;

	for (uint64_t i = 0; i < s->nblocks; i++) {
		struct gfn_block *b = &s->blocks[i];

		if (!b->states)
			continue;
		uint64_t first = ((s->base.v >> ORDER_2M) + i) << ORDER_2M;

		for (unsigned j = 0; j < GFN_BLOCK; j++)
			if (gfn_kind(b->states[j]) == GFN_BACKED)
				frame_disown(vm, GFN(first + j), gfn_mfn(b->states[j]));
		kmem_free(m, b->states, PAGE_SIZE);
	}
	kmem_free(m, s->blocks, s->nblocks * sizeof(*s->blocks));
	kmem_free(m, s->gigas, s->ngigas * sizeof(*s->gigas));
}
