/* SPDX-License-Identifier: MIT */
/*
 * ideal: nested paging whose second stage costs nothing. Each guest-physical
 * address is looked up in the per-gfn truth itself, free of charge; only the
 * loads of the guest's own table count. No hypervisor can do this; it is the
 * floor that any p2m can be compared with, and unlike native it has no need of
 * contiguous memory.
 *
 *     gva ──guest's table──▶ gpa ──the truth──▶ hpa
 *
 * A mode with no table of its own has nothing to zap: TLBs follow by frame.
 */
#include "plug/plugin.h"

static int ideal_possible(const struct vm *vm, const struct scheme *s, const struct mmu_config *c, const char **why)
{
	return 0;
}

/* Notes what lacks a frame. Memory that is not there at all is the guest's fault. */
static int violation(struct guest_mem *g, gpa_t gpa, enum acc_kind kind)
{
	g->violation = gpa;
	g->violation_kind = kind;
	return memslot_find(g->mmu->vm, gpa_to_gfn(gpa)) ? -EAGAIN : -EFAULT;
}

static int ideal_load(struct pt_mem *m, uint64_t addr, unsigned size, void *out)
{
	struct guest_mem *g = container_of(m, struct guest_mem, m);
	gfn_t gfn = gpa_to_gfn(GPA(addr));
	struct gfn_mapping map;
	uint64_t value = 0;
	hpa_t hpa;

	if (gfn_peek(g->mmu->vm, gfn, &map))
		return violation(g, GPA(addr), ACC_READ);
	guest_mem_saw(g, gfn, map.mfn);
	hpa = HPA(map.mfn.v << PAGE_SHIFT | (addr & PAGE_MASK));
	memcpy(out, machine_ptr(g->mmu->vm->hv->m, hpa), size);
	if (m->quiet)
		return 0;
	m->counts.refs++;
	m->counts.depth++;
	memcpy(&value, out, MIN(size, 8u));
	ptm_log_ref(m, addr, hpa, value, 1);
	return 0;
}

static int ideal_scan(struct pt_mem *m, uint64_t first, uint64_t n, uint64_t stride)
{
	if (m->quiet)
		return 0;
	m->counts.refs += n;
	m->counts.depth += n;
	ptm_log_ref(m, first, guest_mem_hpa(m, first), 0, n);
	return 0;
}

static const struct pt_mem_ops ideal_mem_ops = {
	.load = ideal_load,
	.store = guest_mem_no_store,
	.cas = guest_mem_cas,
	.alloc = guest_mem_no_alloc,
	.free = guest_mem_no_free,
	.scan = ideal_scan,
	.hpa = guest_mem_hpa,
};

static int ideal_attach(struct mmu *mmu)
{
	guest_mem_init(&mmu->hw, mmu, &ideal_mem_ops);
	return 0;
}

/* The guest's half. WALKED_OK: f->gpa is known, with these rights and order. */
static enum walked walk_guest(struct mmu *mmu, struct mmu_fault *f, uint8_t *order, uint8_t *rights)
{
	struct guest_mem *g = &mmu->hw;
	uint64_t refs = g->m.counts.refs, depth = g->m.counts.depth;

	*order = ORDER_1G;
	*rights = RIGHT_ALL;
	if (f->space->bare) {
		f->gpa = GPA(f->va);
		return WALKED_OK;
	}
	guest_walk(g, f, WALK_CACHED);
	f->refs = g->m.counts.refs - refs;
	f->depth = g->m.counts.depth - depth;
	if (f->walk.status == WALK_VIOLATION) {
		f->violation = g->violation;
		f->violation_kind = g->violation_kind;
		return WALKED_HELP;
	}
	if (f->walk.status != WALK_OK) {
		f->why = f->walk.why;
		f->error_code = f->walk.error_code;
		return WALKED_INJECT;
	}
	*order = f->walk.order;
	*rights = f->walk.rights;
	return WALKED_OK;
}

static enum walked ideal_walk(struct vcpu *v, struct mmu_fault *f)
{
	struct vm *vm = v->mmu->vm;
	uint8_t order, rights;
	enum walked walked = walk_guest(v->mmu, f, &order, &rights);
	gfn_t gfn = gpa_to_gfn(f->gpa);
	struct gfn_mapping map;

	if (walked != WALKED_OK)
		return walked;
	if (!memslot_find(vm, gfn)) {
		no_memory_there(v->mmu, f);
		return WALKED_INJECT;
	}
	if (gfn_peek(vm, gfn, &map) || (f->kind == ACC_WRITE && !(map.rights & RIGHT_W))) {
		f->violation = f->gpa;
		f->violation_kind = f->kind;
		return WALKED_HELP;
	}
	f->from_truth = true;
	make_entry(v->mmu, f, gfn.v, order, rights, map.mfn.v, map.order, map.rights);
	return WALKED_OK;
}

/* No frame yet, or one that may not be written: the hypervisor sees to it. */
static int ideal_fault(struct vcpu *v, struct mmu_fault *f)
{
	struct gfn_mapping map;

	vm_stats_exit(&v->mmu->vm->stats, EXIT_HIDDEN_FAULT);
	return gfn_fault(v->mmu->vm, gpa_to_gfn(f->violation), f->violation_kind == ACC_WRITE, &map);
}

static const struct mode_ops ideal_mode = {
	.name = "ideal",
	.summary = "the guest's table, and a second stage that costs nothing: the floor for any p2m",
	.possible = ideal_possible,
	.attach = ideal_attach,
	.walk = ideal_walk,
	.fault = ideal_fault,
};
QUIRE_PLUGIN("ideal", QUIRE_PLUGIN_MODES(&ideal_mode));
