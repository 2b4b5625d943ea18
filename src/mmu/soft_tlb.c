/* SPDX-License-Identifier: MIT */
/*
 * tlb=software: hardware walks no table of the guest's. A miss:
 *
 *     program ──miss──▶ hypervisor ──calls──▶ guest's handler      1  tlb_miss (tlb_modify: an
 *                                              │ walks its tables      entry was there, too weak)
 *     hypervisor ◀──────── write to the TLB ───┘                   2  tlb_write
 *        │ gpa → machine, by the p2m
 *        └────────────────▶ handler ── return ──▶ hypervisor       3  tlb_return
 *     program ◀──────── gva → machine goes in ─────┘
 *
 * Where the handler finds no entry it is in the kernel's page-fault path
 * already; what that path made goes in by the same write, so such a miss has
 * three entries too. One that ends in a signal writes nothing: two.
 *
 * The entry goes in as the handler is left, not before: a TLB without tags
 * would lose it at that very world switch.
 *
 * What the hypervisor knows of the guest's tables is what the guest writes
 * here. Nothing was read, so nothing is tracked: a store to a table is seen
 * when the guest writes the TLB again or fences (MIPS: the kernel's duty).
 * Changes of gpa → machine drop entries by frame as ever.
 *
 * The unmapped segment, by which the handler reads, is translated as the
 * scheme does it under any setting: it adds no entry to the three.
 */
#include "mmu/soft_tlb.h"
#include "mmu/privilege.h"

enum { GPA_BITS = 52, TRIES_MAX = 4096 };

/* The counters of lookups, as they were: a handler's own are in kernel_tlb_misses. */
static void restore_lookups(struct tlb_counts *c, const struct tlb_counts *was)
{
	c->l1i_accesses = was->l1i_accesses;
	c->l1d_accesses = was->l1d_accesses;
	c->l1i_misses = was->l1i_misses;
	c->l1d_misses = was->l1d_misses;
	c->l2_hits = was->l2_hits;
	c->l2_misses = was->l2_misses;
}

static uint64_t peek(const struct vcpu *v, uint64_t va, enum acc_kind kind)
{
	int level;

	return tlb_peek(&v->cpu->tlb, kind, v->tag_space, v->tag_gspace, va >> PAGE_SHIFT, &level);
}

static void own_fault(struct vcpu *v, const struct guest_tlb_entry *e, enum acc_kind kind, enum walk_why why)
{
	uint32_t present = why == WALK_WHY_RESERVED ? PF_PRESENT | PF_RSVD : 0;

	v->fault = (struct guest_fault){
		GVA(e->gva), kind, why,
		present | (v->user ? PF_USER : 0) | (kind == ACC_WRITE ? PF_WRITE : 0) | (kind == ACC_EXEC ? PF_INSTR : 0),
	};
}

/* An entry that no hardware could hold. */
static bool is_absurd(const struct vcpu *v, const struct guest_tlb_entry *e)
{
	uint64_t apart = e->gva ^ e->gpa;

	return e->order > ORDER_1G || (apart & ((PAGE_SIZE << e->order) - 1)) ||
	       !gpt_va_ok(v->paging.params.fmt, e->gva, false);
}

/* The mode's own look, as often as something must be mended. ACCESS_FAULT: v->fault. */
static enum access_status ask(struct vcpu *v, const struct guest_tlb_entry *e, struct mmu_fault *f)
{
	const struct guest_half half = { .gpa = GPA(e->gpa), .rights = e->rights, .order = e->order };
	const struct mode_ops *ops = v->mmu->ops;

	for (int tries = 0; tries < TRIES_MAX; tries++) {
		walk_begin(f, &half);
		enum walked w = ops->walk(v, f);

		v->mmu->vm->stats.soft_p2m_refs += f->refs;
		if (w == WALKED_OK) {
			check_entry(v, f);
			return ACCESS_OK;
		}
		if (w == WALKED_INJECT) {
			own_fault(v, e, f->kind, f->why);
			v->fault.error_code = f->error_code;
			return ACCESS_FAULT;
		}
		int r = ops->fault(v, f);

		if (r != MMU_FIXED && r != MMU_RETRY)
			return give_up(v, r);
	}
	BUG_ON("a TLB write made no progress");
	return ACCESS_CRASH;
}

/* The entry that goes in: the guest's, with machine addresses. ACCESS_FAULT: v->fault. */
static enum access_status to_machine(struct vcpu *v, const struct guest_tlb_entry *e, enum acc_kind kind,
				     struct tlb_entry *out)
{
	struct mmu_fault f;

	if (e->gpa >> GPA_BITS) {
		own_fault(v, e, kind, WALK_WHY_BUS);
		return ACCESS_FAULT;
	}
	fault_init(&f, v, SEG_PAGED, e->gva, kind);
	v->mmu->by_software = true;
	enum access_status s = ask(v, e, &f);

	v->mmu->by_software = false;
	if (!s)
		*out = f.entry;
	return s;
}

/* The kind of access that an entry written for `kind` can serve. */
static enum acc_kind kind_of(const struct guest_tlb_entry *e, enum acc_kind kind)
{
	bool store = kind == ACC_WRITE && (e->rights & RIGHT_W) && (e->rights & RIGHT_D);

	return kind == ACC_WRITE && !store ? ACC_READ : kind;
}

enum access_status vcpu_tlb_write(struct vcpu *v, const struct guest_tlb_entry *e)
{
	struct tlb_refill *r = &v->refill;
	bool for_miss = r->open && e->gva >> PAGE_SHIFT == r->va >> PAGE_SHIFT;
	enum acc_kind kind = kind_of(e, for_miss ? r->kind : ACC_READ);
	struct tlb_entry entry;

	if (!v->mmu->config.tlb_software || !v->space)
		return give_up(v, -EINVAL);
	if (!v->kernel) {
		own_fault(v, e, kind, WALK_WHY_PRIVILEGE);
		return ACCESS_FAULT;
	}
	leave_guest(v, EXIT_TLB_WRITE);
	if (is_absurd(v, e)) {
		own_fault(v, e, kind, WALK_WHY_RESERVED);
		return ACCESS_FAULT;
	}
	enum access_status s = to_machine(v, e, kind, &entry);

	if (s)
		return s;
	if (for_miss) {
		r->by_guest = *e;
		r->entry = entry;
		r->seq = v->mmu->vm->mmu_seq;
		r->written = true;
	} else {
		tlb_fill(&v->cpu->tlb, kind, &entry);
	}
	return ACCESS_OK;
}

void soft_tlb_return(struct vcpu *v)
{
	struct tlb_refill *r = &v->refill;

	leave_guest(v, EXIT_TLB_RETURN);
	r->open = false;
	if (!r->written)
		return;
	/* What was found at the write may have moved since. */
	if (r->seq != v->mmu->vm->mmu_seq &&
	    to_machine(v, &r->by_guest, kind_of(&r->by_guest, r->kind), &r->entry) != ACCESS_OK)
		return;
	tlb_fill(&v->cpu->tlb, r->kind, &r->entry);
	r->data = tlb_data(r->entry.mfn, r->entry.vmid, r->entry.order, r->entry.flags);
}

static enum access_status stop(struct vcpu *v, const char *why)
{
	vm_crash(v->mmu->vm, why);
	return ACCESS_CRASH;
}

enum access_status soft_tlb_miss(struct vcpu *v, uint64_t va, enum acc_kind kind, struct xlat *x)
{
	struct tlb_counts *c = &v->cpu->tlb.counts, was = *c;
	struct guest_fault miss = { GVA(va), kind, WALK_WHY_NONE, 0 };
	struct vm_stats *st = &v->mmu->vm->stats;

	if (!v->entry)
		return stop(v, "the guest has no handler for TLB misses");
	if (v->refill.open && v->kernel)
		return stop(v, "the guest missed the TLB in its handler for TLB misses");
	st->soft_misses++;
	leave_guest(v, peek(v, va, kind) ? EXIT_TLB_MODIFY : EXIT_TLB_MISS);
	v->refill = (struct tlb_refill){ .open = true, .va = va, .kind = kind };
	v->kernel = true;
	enum access_status s = v->entry->tlb_miss(v->entry->ctx, &miss);

	restore_lookups(c, &was);
	if (s == ACCESS_FAULT) {
		v->fault = miss;
		st->true_faults++;
		return s;
	}
	if (s) {
		v->refill.open = false;
		return s;
	}
	vcpu_return(v);
	uint64_t data = v->refill.data;

	if (!data || !entry_allows_paged(v, data, kind))
		return stop(v, "the guest's handler for TLB misses returned without an entry that helps");
	x->hpa = HPA(tlb_data_frame(data, va >> PAGE_SHIFT) << PAGE_SHIFT | (va & PAGE_MASK));
	x->slow = data & TLB_SLOW_W;
	x->emulate = false;
	return ACCESS_OK;
}
