/* SPDX-License-Identifier: MIT */
/* The second door, pins, and the dirty log. */
#include "base/bug.h"
#include "base/mutation.h"
#include "vm/gfn.h"
#include "vm/memslot.h"

/* Tells whoever caches translations (or code) read from this frame. */
static void tell_written(struct vm *vm, gpa_t gpa, uint64_t len)
{
	if (vm->notifier && !MUTATE(SECOND_DOOR_FORGETS_SHADOW))
		vm->notifier->written(vm->notifier, gpa, len);
}

static uint64_t piece(gpa_t gpa, uint64_t len)
{
	return MIN(len, PAGE_SIZE - (gpa.v & PAGE_MASK));
}

static uint8_t *fault_in(struct vm *vm, gpa_t gpa, bool write, int *err)
{
	struct gfn_mapping map;

	*err = gfn_fault(vm, gpa_to_gfn(gpa), write, &map);
	if (*err)
		return NULL;
	if (write)
		machine_frame(vm->hv->m, map.mfn)->flags |= FRAME_TOUCHED;
	return machine_ptr(vm->hv->m, HPA(mfn_to_hpa(map.mfn).v | (gpa.v & PAGE_MASK)));
}

int vm_read(struct vm *vm, gpa_t gpa, void *buf, uint64_t len)
{
	for (uint8_t *out = buf; len;) {
		uint64_t n = piece(gpa, len);
		int err;
		const uint8_t *p = fault_in(vm, gpa, false, &err);

		if (!p)
			return err;
		memcpy(out, p, n);
		out += n;
		gpa.v += n;
		len -= n;
	}
	return 0;
}

int vm_write(struct vm *vm, gpa_t gpa, const void *buf, uint64_t len)
{
	for (const uint8_t *in = buf; len;) {
		uint64_t n = piece(gpa, len);
		int err;
		uint8_t *p = fault_in(vm, gpa, true, &err);

		if (!p)
			return err;
		memcpy(p, in, n);
		tell_written(vm, gpa, n);
		in += n;
		gpa.v += n;
		len -= n;
	}
	return 0;
}

int vm_cas(struct vm *vm, gpa_t gpa, unsigned size, uint64_t expect, uint64_t value)
{
	int err;
	uint8_t *p;

	if ((size != 4 && size != 8) || !is_aligned(gpa.v, size))
		return -EFAULT;
	p = fault_in(vm, gpa, true, &err);
	if (!p)
		return err;
	bool swapped;
	if (size == 8) {
		swapped = __atomic_compare_exchange_n((uint64_t *)p, &expect, value, false,
						      __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	} else {
		uint32_t e = (uint32_t)expect;

		swapped = __atomic_compare_exchange_n((uint32_t *)p, &e, (uint32_t)value, false,
						      __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	}
	if (swapped)
		tell_written(vm, gpa, size);
	return swapped;
}

static void set_flag(struct vm *vm, struct memslot *s, gfn_t gfn, unsigned flag, bool on)
{
	struct gfn_state st = slot_state(s, gfn);
	unsigned flags = on ? gfn_flags(st) | flag : gfn_flags(st) & ~flag;

	slot_set(vm, s, gfn, (struct gfn_state){ gfn_state_make(gfn_kind(st), gfn_mfn(st).v, flags) });
}

int vm_pin(struct vm *vm, gfn_t gfn, bool write, mfn_t *mfn)
{
	struct gfn_mapping map;
	int err = gfn_fault(vm, gfn, write, &map);

	if (err)
		return err;
	unsigned flags = gfn_flags(gfn_get(vm, gfn));

	/* A frame is pinned once; a second device must wait. */
	if (flags & GFN_PIN)
		return -EBUSY;
	/* The guest's next store would break away and leave the device, a reader too, with the old frame. */
	if (flags & GFN_COW) {
		err = gfn_update(vm, gfn, 1, &(struct gfn_change){ .op = GFN_OP_UNCOW });
		if (err)
			return err;
		map.mfn = gfn_mfn(gfn_get(vm, gfn));
	}
	set_flag(vm, memslot_find(vm, gfn), gfn, GFN_PIN, true);
	*mfn = map.mfn;
	return 0;
}

void vm_unpin(struct vm *vm, gfn_t gfn)
{
	struct memslot *s = memslot_find(vm, gfn);

	BUG_ON(!s || !(gfn_flags(slot_state(s, gfn)) & GFN_PIN));
	set_flag(vm, s, gfn, GFN_PIN, false);
}

/* Takes the write right off [first, first+n) of one slot, where the log has it. */
static void clean(struct vm *vm, struct memslot *s, gfn_t first, uint64_t n)
{
	for (uint64_t g = first.v; g < first.v + n;) {
		uint64_t end = MIN(align_down(g, GFN_BLOCK) + GFN_BLOCK, first.v + n);

		if (slot_block(s, GFN(g))->states)
			BUG_ON(gfn_update(vm, GFN(g), end - g, &(struct gfn_change){ .op = GFN_OP_CLEAN }));
		g = end;
	}
}

void vm_dirty_start(struct vm *vm)
{
	vm->dirty_logging = true;
	for (unsigned i = 0; i < vm->nslots; i++)
		clean(vm, &vm->slot[i], vm->slot[i].base, vm->slot[i].npages);
}

void vm_dirty_stop(struct vm *vm)
{
	vm->dirty_logging = false;
}

int vm_dirty_read(struct vm *vm, gfn_t first, uint64_t n, uint64_t *bitmap)
{
	struct memslot *s = memslot_find(vm, first);

	if (!s || !n || first.v - s->base.v + n > s->npages)
		return -EFAULT;
	memset(bitmap, 0, (n + 63) / 64 * 8);
	for (uint64_t i = 0; i < n; i++)
		if (gfn_flags(slot_state(s, GFN(first.v + i))) & GFN_DIRTY)
			bitmap[i / 64] |= BIT(i % 64);
	if (vm->dirty_logging)
		clean(vm, s, first, n);
	return 0;
}
