/* SPDX-License-Identifier: MIT */
/*
 * Cycles of a result: each counter times its price, nothing else. Four sums:
 *
 *   translation  L1 TLB misses that hit L2, loads of walks (those that must
 *                follow one another at full price, those beside others at the
 *                overlapped one; loads of walks that failed at full price), A/D updates;
 *                tlb=software: the guest's handler, its loads and those of the p2m, at full price.
 *                With --caches the full price is that of where the line was
 *   exits        what the hypervisor does: leaving and entering the guest, and
 *                on top of that the work of each kind of exit
 *   io           pages to and from the guest's disk
 *   total        the three, the references themselves (the program's and its
 *                kernel's), and the guest's own handling of its true faults.
 *                With --caches the program's loads and stores cost what the
 *                place of each line they touch costs
 */
#include "exp/exp.h"

static uint64_t price(const struct cost_table *t, enum cost_event e, uint64_t n)
{
	return t->of[e].cycles * n;
}

static uint64_t reflections(const struct vm_stats *s)
{
	return s->exit_by[EXIT_TLB_MISS] + s->exit_by[EXIT_TLB_MODIFY] + s->exit_by[EXIT_TLB_RETURN] +
	       s->exit_by[EXIT_SYSCALL] + s->exit_by[EXIT_SYSRET] + s->exit_by[EXIT_EXCEPTION] + s->exit_by[EXIT_IRET];
}

static uint64_t by_place(const struct cost_table *t, const uint64_t lines[VM_CACHE_PLACES])
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < VM_CACHE_PLACES; i++)
		sum += price(t, COST_CACHE_L1 + i, lines[i]);
	return sum;
}

static uint64_t count(const uint64_t lines[VM_CACHE_PLACES])
{
	return lines[0] + lines[1] + lines[2] + lines[3];
}

/*
 * Loads that follow one another. Which of them were beside others is not
 * known by place: they are taken to be spread evenly.
 */
static uint64_t dependent_loads(const struct cost_table *t, const struct vm_stats *s)
{
	uint64_t n = s->walk_depth + s->fault_walk_refs, all = count(s->cache_table);

	if (!all)
		return price(t, COST_WALK_REF, n);
	return (uint64_t)((unsigned __int128)by_place(t, s->cache_table) * n / all);
}

/* handler_refs: loads of tables by a TLB-miss handler of the guest's: they depend on one another as a walker's do. */
static uint64_t translation(const struct cost_table *t, const struct vm_stats *s, uint64_t handler_refs)
{
	return price(t, COST_L2_TLB_HIT, s->l2_hits) + dependent_loads(t, s) +
	       price(t, COST_WALK_REF_OVERLAP, s->walk_refs - s->walk_depth) +
	       price(t, COST_AD_UPDATE, s->ad_updates) +
	       price(t, COST_TLB_REFILL, s->soft_misses) +
	       price(t, COST_WALK_REF, handler_refs + s->soft_p2m_refs);
}

static uint64_t exits(const struct cost_table *t, const struct vm_stats *s)
{
	return price(t, COST_EXIT, s->exits) +
	       price(t, COST_HIDDEN_FAULT, s->hidden_total) +
	       price(t, COST_SHADOW_FILL, s->shadow_fill) +
	       price(t, COST_TABLE_WRITE, s->shadow_table_write) +
	       price(t, COST_RESYNC_ENTRY, s->mmu_resync_entries) +
	       price(t, COST_ROOT_SWITCH, s->exit_by[EXIT_ROOT_SWITCH]) +
	       price(t, COST_FENCE, s->exit_by[EXIT_FENCE] + s->exit_by[EXIT_FENCE_ALL]) +
	       price(t, COST_PV_UPDATE, s->pv_updates) +
	       price(t, COST_TLB_FLUSH, s->tlb_flush) +
	       price(t, COST_TLB_WRITE, s->exit_by[EXIT_TLB_WRITE]) +
	       price(t, COST_REFLECT, reflections(s)) +
	       price(t, COST_PRIV_INSTR, s->exit_by[EXIT_PRIV_INSTR]);
}

/* The program's own: fetches and the kernel's references have one price always. */
static uint64_t references(const struct cost_table *t, const struct run_result *r)
{
	const struct vm_stats *s = &r->sum.stats;

	return by_place(t, s->cache_data) + price(t, COST_REF, s->refs - s->cache_refs + s->kernel_refs);
}

void cost_sum(const struct cost_table *t, struct run_result *r)
{
	const struct vm_stats *s = &r->sum.stats;

	r->cycles.translation = translation(t, s, r->sum.guest.tlb_refill_refs);
	r->cycles.exits = exits(t, s);
	r->cycles.io = price(t, COST_DISK_PAGE, r->sum.guest.disk_reads + r->sum.guest.disk_writes);
	r->cycles.total = r->cycles.translation + r->cycles.exits + r->cycles.io +
			  references(t, r) +
			  price(t, COST_GUEST_FAULT, s->true_faults);
}
