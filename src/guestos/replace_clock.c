/* SPDX-License-Identifier: MIT */
/*
 * CLOCK: FIFO with a second chance. The hand is the head of the list; a page
 * whose accessed bit is set loses the bit and goes to the tail. All it knows
 * it reads from the tables, as a kernel does.
 */
#include "guestos/guest_internal.h"

/* Reads and clears A of every entry of the frame: 1 if any was set. */
static int test_and_clear(struct guest *g, uint64_t gfn)
{
	int accessed = 0;

	gframe_for_each_owner(&g->frames.f[gfn], o) {
		struct mm *mm = o->of->mm;
		uint64_t word = mm ? pmap_get(&mm->pages.map, o->vpn) : 0;
		unsigned order = word & PAGE_HUGE ? g->huge_order : 0;
		uint8_t rights;
		int err;

		if (!(word & PAGE_MAPPED))
			continue;
		err = table_rights(g, mm, o->vpn, &rights);
		if (err)
			return err;
		if (!(rights & RIGHT_A) || !g->config.fmt->accessed)
			continue;
		accessed = 1;
		err = table_protect(g, mm, align_down(o->vpn, BIT(order)), order, rights & (uint8_t)~RIGHT_A);
		/* An entry that cannot be changed now keeps its bit; the hand comes by again. */
		if (err && err != -ENOMEM)
			return err;
	}
	return accessed;
}

static int clock_victim(struct guest *g, uint64_t *gfn)
{
	/* Twice around at the most: after one turn every bit is clear. */
	for (uint64_t left = 2 * g->frames.n; g->replace_head != NO_GFRAME; left--) {
		int accessed;

		*gfn = g->replace_head;
		accessed = left ? test_and_clear(g, *gfn) : 0;
		if (accessed <= 0) {
			fence_pay(g);
			return accessed;
		}
		replace_list_remove(g, *gfn);
		replace_list_add(g, *gfn);
	}
	return -ENOENT;
}

const struct replace_ops replace_clock = {
	.add = replace_list_add,
	.remove = replace_list_remove,
	.victim = clock_victim,
};
