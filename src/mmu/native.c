/* SPDX-License-Identifier: MIT */
/*
 * Native: the baseline. The machine's RAM for the one guest is a contiguous
 * run, backed at start; machine address = gpa + constant, free of charge. The
 * walker reads the guest's table where it stands.
 *
 *     gva ──guest table (loads at gpa + constant)──▶ gpa ──+ constant──▶ hpa
 */
#include "mmu/internal.h"

/* Backing a page writes its frame-table entry and its state, 40 bytes of the host's memory. */
enum { PAGES_MAX = 1 << 25 };

static int possible(const struct vm *vm, const struct scheme *s, const struct mmu_config *c, const char **why)
{
	if (vm->contiguous_base != INVALID_FRAME)
		return 0;
	if (vm->hv->nvms > 1) {
		*why = "native is one VM alone on its machine";
		return -ENOTSUP;
	}
	if (vm->nslots != 1 || vm->slot[0].base.v || (vm->slot[0].flags & SLOT_READONLY)) {
		*why = "native needs guest memory in one writable run from address 0";
		return -ENOTSUP;
	}
	if (vm->slot[0].npages > PAGES_MAX) {
		*why = "native has all guest memory backed at the start, and 128 GiB is as much as it takes on";
		return -ENOTSUP;
	}
	if (vm->resident) {
		*why = "native's memory is one contiguous run made at start; this VM's is scattered already";
		return -ENOTSUP;
	}
	return 0;
}

/* Loads beyond the direct run, or watched by a log. */
static int native_load(struct pt_mem *m, uint64_t addr, unsigned size, void *out)
{
	struct guest_mem *g = container_of(m, struct guest_mem, m);
	struct vm *vm = g->mmu->vm;
	uint64_t value = 0;

	if (addr >= vm->contiguous_pages << PAGE_SHIFT)
		return -EFAULT;
	hpa_t hpa = HPA((vm->contiguous_base << PAGE_SHIFT) + addr);
	memcpy(out, machine_ptr(vm->hv->m, hpa), size);
	m->counts.refs++;
	m->counts.depth++;
	memcpy(&value, out, MIN(size, 8u));
	ptm_log_ref(m, addr, hpa, value, 1);
	return 0;
}

static int native_scan(struct pt_mem *m, uint64_t first, uint64_t n, uint64_t stride)
{
	m->counts.refs += n;
	m->counts.depth += n;
	ptm_log_scan(m, first, guest_mem_hpa(m, first), n, stride);
	return 0;
}

static const struct pt_mem_ops native_mem_ops = {
	.load = native_load,
	.store = guest_mem_no_store,
	.cas = guest_mem_cas,
	.alloc = guest_mem_no_alloc,
	.free = guest_mem_no_free,
	.scan = native_scan,
	.hpa = guest_mem_hpa,
};

static int attach(struct mmu *mmu)
{
	struct vm *vm = mmu->vm;

	if (vm->contiguous_base == INVALID_FRAME) {
		int err = vm_back_contiguous(vm);

		if (err)
			return err;
	}
	guest_mem_init(&mmu->hw, mmu, &native_mem_ops);
	mmu->hw.m.direct = machine_ptr(vm->hv->m, mfn_to_hpa(MFN(vm->contiguous_base)));
	mmu->hw.m.direct_bytes = vm->contiguous_pages << PAGE_SHIFT;
	return 0;
}

/* No translation at all; only the per-gfn rights (a dirty log) can be in the way. */
static enum walked walk_bare(struct vcpu *v, struct mmu_fault *f)
{
	f->gpa = GPA(f->va);
	return WALKED_OK;
}

static bool in_memory(const struct vm *vm, gpa_t gpa)
{
	return gpa.v >> PAGE_SHIFT < vm->contiguous_pages;
}

static enum walked native_walk(struct vcpu *v, struct mmu_fault *f)
{
	struct mmu *mmu = v->mmu;
	struct guest_mem *g = &mmu->hw;
	uint64_t refs = g->m.counts.refs, depth = g->m.counts.depth;
	uint8_t order = ORDER_1G, rights = RIGHT_ALL;

	if (unlikely((g->m.log != NULL) == (g->m.direct != NULL)))
		g->m.direct = g->m.log ? NULL : machine_ptr(mmu->vm->hv->m, HPA(mmu->vm->contiguous_base << PAGE_SHIFT));
	if (f->half) {
		f->gpa = f->half->gpa;
		order = f->half->order;
		rights = f->half->rights;
	} else if (f->space->bare) {
		walk_bare(v, f);
	} else {
		guest_walk(g, f, WALK_CACHED);
		f->refs = g->m.counts.refs - refs;
		f->depth = g->m.counts.depth - depth;
		if (f->walk.status != WALK_OK) {
			f->why = f->walk.why;
			f->error_code = f->walk.error_code;
			return WALKED_INJECT;
		}
		order = f->walk.order;
		rights = f->walk.rights;
	}
	struct gfn_mapping map;
	gfn_t gfn = gpa_to_gfn(f->gpa);

	if (!in_memory(mmu->vm, f->gpa) || gfn_peek(mmu->vm, gfn, &map)) {
		no_memory_there(mmu, f);
		return WALKED_INJECT;
	}
	if (f->kind == ACC_WRITE && !(map.rights & RIGHT_W))
		return WALKED_HELP;
	f->cacheable &= !f->space->bare;
	f->from_truth = true;
	make_entry(mmu, f, gfn.v, order, rights, map.mfn.v, map.order, map.rights);
	return WALKED_OK;
}

/* Only the dirty log can say no. */
static int native_fault(struct vcpu *v, struct mmu_fault *f)
{
	struct gfn_mapping map;

	vm_stats_exit(&v->mmu->vm->stats, EXIT_DIRTY);
	return gfn_fault(v->mmu->vm, gpa_to_gfn(f->gpa), true, &map);
}

static const struct mode_ops native_mode = {
	.name = "native",
	.summary = "the guest's table alone: what the work costs without a hypervisor",
	.quick = QUICK_DIRECT,
	.bare_untranslated = true,
	.no_hypervisor = true,
	.software_tlb = true,
	.possible = possible,
	.attach = attach,
	.walk = native_walk,
	.fault = native_fault,
};
QUIRE_MODE(native_mode);
