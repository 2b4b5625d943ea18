/* SPDX-License-Identifier: MIT */
/* Does the bookkeeping add up? Used by tests after every step, and by --check. */
#include "machine/rmap.h"
#include "vm/gfn.h"

static int bad(const char **why, const char *what)
{
	*why = what;
	return -EINVAL;
}

static int audit_gfn(struct vm *vm, gfn_t gfn, struct gfn_state st, const char **why)
{
	const struct machine *m = vm->hv->m;

	if (gfn_kind(st) == GFN_NONE)
		return gfn_mfn(st).v ? bad(why, "a gfn without backing names a frame") : 0;
	if (gfn_kind(st) != GFN_BACKED)
		return bad(why, "a gfn is of no known kind");
	if (gfn_mfn(st).v >= m->nframes)
		return bad(why, "a gfn names a frame outside the machine");
	const struct frame *f = machine_frame(m, gfn_mfn(st));

	if (f->type != FRAME_GUEST)
		return bad(why, "a gfn names a frame that is not a guest's");
	if (!rmap_has(f->owners, rmap_owner(vm->vmid, gfn)))
		return bad(why, "a frame does not know its owner");
	if (rmap_count(f->owners) != f->refs)
		return bad(why, "a frame's references differ from its owners");
	if (f->refs > 1 && !(gfn_flags(st) & GFN_COW))
		return bad(why, "a shared frame may be written by one of its owners");
	return 0;
}

static int audit_block(struct vm *vm, const struct memslot *s, uint64_t b, uint64_t *resident, const char **why)
{
	const struct gfn_block *block = &s->blocks[b];
	uint64_t first = ((s->base.v >> ORDER_2M) + b) << ORDER_2M;
	unsigned split = 0, backed = 0;

	if (!block->states)
		return block->split || block->backed || block->run ? bad(why, "a block without states has counts") : 0;
	for (unsigned i = 0; i < GFN_BLOCK; i++) {
		struct gfn_state st = block->states[i];
		int err = audit_gfn(vm, GFN(first + i), st, why);

		if (err)
			return err;
		split += (gfn_flags(st) & GFN_SPLIT_FLAGS) != 0;
		backed += gfn_kind(st) == GFN_BACKED;
		if (block->run && gfn_mfn(st).v != block->run - 1 + i)
			return bad(why, "a block said to be one run is not");
	}
	if (block->run && !is_aligned(block->run - 1, GFN_BLOCK))
		return bad(why, "a run of a block is not aligned");
	if (split != block->split || backed != block->backed)
		return bad(why, "a block's counts are wrong");
	*resident += backed;
	return 0;
}

int vm_audit(struct vm *vm, const char **why)
{
	uint64_t resident = 0;

	for (unsigned i = 0; i < vm->nslots; i++)
		for (uint64_t b = 0; b < vm->slot[i].nblocks; b++) {
			int err = audit_block(vm, &vm->slot[i], b, &resident, why);

			if (err)
				return err;
		}
	return resident == vm->resident ? 0 : bad(why, "the VM's count of backed frames is wrong");
}
