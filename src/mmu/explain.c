/* SPDX-License-Identifier: MIT */
/*
 * One translation, reference by reference. It is done, not described: the
 * same access through the same code, with logs on every table memory.
 */
#include "mmu/access.h"

/* Logs go on every memory a walk may read. */
void mmu_set_logs(struct mmu *mmu, struct pt_log *log)
{
	mmu->hw.m.log = log;
	ptm_machine_set_log(&mmu->ptm, log);
	ptm_machine_set_log(&mmu->vm->hv->ptm, log);
}

void explain_found(struct vcpu *v, const struct mmu_fault *f)
{
	struct mmu_explain *e = v->mmu->explain;

	e->walk = f->walk;
	e->gpa = f->gpa;
	e->order = f->entry.order;
	e->references = f->refs;
	e->depth = f->depth;
}

/* A TLB that knows the answer leaves nothing to walk. */
static bool explain_warm_hit(struct vcpu *v, struct mmu_explain *e)
{
	int level = 0;
	uint64_t data = tlb_peek(&v->cpu->tlb, e->kind, v->tag_space, v->tag_gspace, e->gva.v >> PAGE_SHIFT, &level);

	if (!data)
		return false;
	e->cached_by = level == 1 ? "L1 TLB" : "L2 TLB";
	return true;
}

/*
 * A cold look costs what it costs without any cache, and one part of it must
 * not leave for the next what that would then find: the walk caches and the
 * nested TLB are away while it is done.
 */
struct caches {
	bool guest_wc, host_wc, nested;
};

static struct caches take_caches_away(struct mmu_cpu *cpu)
{
	struct caches had = { cpu->guest_wc.any, cpu->host_wc.any, cpu->nested.present };

	cpu->guest_wc.any = cpu->host_wc.any = cpu->nested.present = false;
	return had;
}

static void give_caches_back(struct mmu_cpu *cpu, const struct caches *had)
{
	cpu->guest_wc.any = had->guest_wc;
	cpu->host_wc.any = had->host_wc;
	cpu->nested.present = had->nested;
}

void mmu_explain(struct vcpu *v, struct mmu_explain *e)
{
	struct mmu *mmu = v->mmu;
	struct vm *vm = mmu->vm;
	struct xlat x = { .hpa = HPA(INVALID_FRAME) };

	struct caches had = { 0 };

	if (e->warm) {
		explain_warm_hit(v, e);
	} else {
		flush_vm(mmu);
		had = take_caches_away(v->cpu);
	}
	e->gpa = GPA(INVALID_FRAME);
	mmu->explain = e;
	vm->log = e->steps;
	mmu_set_logs(mmu, e->refs);
	e->status = xlate(v, SEG_PAGED, e->gva.v, e->kind, &x);
	mmu_set_logs(mmu, mmu_log(mmu));
	if (!e->warm)
		give_caches_back(v->cpu, &had);
	vm->log = NULL;
	mmu->explain = NULL;
	e->hpa = x.hpa;
	if (e->status == ACCESS_OK && e->gpa.v != INVALID_FRAME) {
		const struct memslot *s = memslot_find(vm, gpa_to_gfn(e->gpa));

		if (s && memslot_gfn_to_hva(s, gpa_to_gfn(e->gpa), &e->hva))
			e->hva |= e->gva.v & PAGE_MASK;
	}
}
