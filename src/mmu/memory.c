/* SPDX-License-Identifier: MIT */
/*
 * Guest memory as tables see it. Addresses are gpas; how a load finds its
 * bytes is the mode's matter (native.c, nested.c) or, for the hypervisor's own
 * look, the per-gfn truth (here). Tables of guests are changed by guests only,
 * so stores and allocations are refused; A and D updates are not.
 */
#include "mmu/internal.h"
#include "vm/slot.h"

static struct guest_mem *to_gm(struct pt_mem *m)
{
	return container_of(m, struct guest_mem, m);
}

void guest_mem_init(struct guest_mem *g, struct mmu *mmu, const struct pt_mem_ops *ops)
{
	memset(g, 0, sizeof(*g));
	g->m.ops = ops;
	g->mmu = mmu;
	g->hint_gfn = INVALID_GFN;
}

void guest_mem_begin(struct guest_mem *g)
{
	g->nseen = 0;
	g->hint_gfn = INVALID_GFN;
}

void guest_mem_saw(struct guest_mem *g, gfn_t gfn, mfn_t mfn)
{
	if (g->nseen < ARRAY_SIZE(g->seen)) {
		g->seen[g->nseen].gfn = gfn;
		g->seen[g->nseen++].mfn = mfn;
	}
}

mfn_t guest_mem_where(const struct guest_mem *g, gfn_t gfn)
{
	for (unsigned i = 0; i < g->nseen; i++)
		if (g->seen[i].gfn.v == gfn.v)
			return g->seen[i].mfn;
	return INVALID_MFN;
}

/* Where gfn stands; it gets a frame if it had none. */
static int sw_find(struct vm *vm, gfn_t gfn, mfn_t *mfn)
{
	const struct memslot *s = slot_find(vm, gfn);
	struct gfn_mapping map;
	unsigned flags;

	if (likely(s && slot_where(s, gfn, mfn, &flags)))
		return 0;
	int err = gfn_fault(vm, gfn, false, &map);

	*mfn = map.mfn;
	return err;
}

static int sw_load(struct pt_mem *m, uint64_t addr, unsigned size, void *out)
{
	struct guest_mem *g = to_gm(m);
	struct vm *vm = g->mmu->vm;
	gfn_t gfn = gpa_to_gfn(GPA(addr));
	mfn_t mfn;
	int err = sw_find(vm, gfn, &mfn);

	if (err)
		return err;
	const uint8_t *from = machine_ptr(vm->hv->m, mfn_to_hpa(mfn)) + (addr & PAGE_MASK);

	/* Nearly all entries are of this size; a copy of known length is a load. */
	if (likely(size == 8))
		memcpy(out, from, 8);
	else
		memcpy(out, from, size);
	guest_mem_saw(g, gfn, mfn);
	m->counts.refs++;
	m->counts.depth++;
	if (m->log) {
		uint64_t value = 0;

		memcpy(&value, out, MIN(size, 8u));
		ptm_log_ref(m, addr, HPA(mfn_to_hpa(mfn).v | (addr & PAGE_MASK)), value, 1);
	}
	return 0;
}

static int sw_scan(struct pt_mem *m, uint64_t first, uint64_t n, uint64_t stride)
{
	m->counts.refs += n;
	m->counts.depth += n;
	return 0;
}

int guest_mem_cas(struct pt_mem *m, uint64_t addr, unsigned size, uint64_t expect, uint64_t value)
{
	struct guest_mem *g = to_gm(m);
	struct vm *vm = g->mmu->vm;
	struct gfn_mapping map;
	int err = gfn_fault(vm, gpa_to_gfn(GPA(addr)), true, &map);

	if (err)
		return err;
	if (MUTATE(DROP_DIRTY) && g->mmu->config.guest_fmt)
		value &= ~g->mmu->config.guest_fmt->dirty;
	uint8_t *p = machine_ptr(vm->hv->m, mfn_to_hpa(map.mfn)) + (addr & PAGE_MASK);
	uint64_t seen = 0;

	/* Other processors' walkers and the guest itself may be at the same entry. */
	machine_frame(vm->hv->m, map.mfn)->flags |= FRAME_TOUCHED;
	vm->stats.ad_updates++;
	switch (size) {
	case 8:
		return __atomic_compare_exchange_n((uint64_t *)p, &expect, value, false, __ATOMIC_SEQ_CST,
						   __ATOMIC_SEQ_CST);
	case 4: {
		uint32_t e = (uint32_t)expect;

		return __atomic_compare_exchange_n((uint32_t *)p, &e, (uint32_t)value, false, __ATOMIC_SEQ_CST,
						   __ATOMIC_SEQ_CST);
	}
	default:
		memcpy(&seen, p, size);
		if (seen != expect)
			return 0;
		memcpy(p, &value, size);
		return 1;
	}
}

int guest_mem_no_store(struct pt_mem *m, uint64_t addr, unsigned size, const void *in)
{
	return -EFAULT;
}

int guest_mem_no_alloc(struct pt_mem *m, unsigned order, uint64_t *addr)
{
	return -ENOMEM;
}

void guest_mem_no_free(struct pt_mem *m, uint64_t addr, unsigned order)
{
	BUG_ON(true);
}

hpa_t guest_mem_hpa(struct pt_mem *m, uint64_t addr)
{
	struct gfn_mapping map;

	if (gfn_peek(to_gm(m)->mmu->vm, gpa_to_gfn(GPA(addr)), &map))
		return HPA(INVALID_FRAME);
	return HPA(mfn_to_hpa(map.mfn).v | (addr & PAGE_MASK));
}

const struct pt_mem_ops guest_mem_sw_ops = {
	.load = sw_load,
	.store = guest_mem_no_store,
	.cas = guest_mem_cas,
	.alloc = guest_mem_no_alloc,
	.free = guest_mem_no_free,
	.scan = sw_scan,
	.hpa = guest_mem_hpa,
};
