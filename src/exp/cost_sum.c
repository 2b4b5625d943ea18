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

static uint64_t by_place(const struct cost_table *t, const uint64_t lines[VM_CACHE_PLACES])
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < VM_CACHE_PLACES; i++)
		sum += cost_price(t, COST_CACHE_L1 + i, lines[i]);
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
		return cost_price(t, COST_WALK_REF, n);
	return (uint64_t)((unsigned __int128)by_place(t, s->cache_table) * n / all);
}

/* handler_refs: loads of tables by a TLB-miss handler of the guest's: they depend on one another as a walker's do. */
static uint64_t translation(const struct cost_table *t, const struct vm_stats *s, uint64_t handler_refs)
{
	return cost_price(t, COST_L2_TLB_HIT, s->l2_hits) + dependent_loads(t, s) +
	       cost_price(t, COST_WALK_REF_OVERLAP, s->walk_refs - s->walk_depth) +
	       cost_price(t, COST_AD_UPDATE, s->ad_updates) +
	       cost_price(t, COST_TLB_REFILL, s->soft_misses) +
	       cost_price(t, COST_WALK_REF, handler_refs + s->soft_p2m_refs);
}

/* The program's own: fetches and the kernel's references have one price always. */
static uint64_t references(const struct cost_table *t, const struct run_result *r)
{
	const struct vm_stats *s = &r->sum.stats;

	return by_place(t, s->cache_data) + cost_price(t, COST_REF, s->refs - s->cache_refs + s->kernel_refs);
}

void cost_sum(const struct cost_table *t, struct run_result *r)
{
	const struct vm_stats *s = &r->sum.stats;

	r->cycles.translation = translation(t, s, r->sum.guest.tlb_refill_refs);
	r->cycles.exits = vm_stats_exit_cycles(s, t);
	r->cycles.io = cost_price(t, COST_DISK_PAGE, r->sum.guest.disk_reads + r->sum.guest.disk_writes);
	r->cycles.total = r->cycles.translation + r->cycles.exits + r->cycles.io +
			  references(t, r) +
			  cost_price(t, COST_GUEST_FAULT, s->true_faults);
}
