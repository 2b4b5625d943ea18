/* SPDX-License-Identifier: MIT */
/*
 * Which address space is loaded, and under which tag. Tags are handed out in
 * turn; when they run out, one fence of everything begins a new generation,
 * and each space gets a new tag when it next runs.
 */
#include "guestos/guest_internal.h"

static void give_asid(struct guest *g, struct mm *mm)
{
	if (mm->asid_generation == g->asid_generation)
		return;
	if (g->asid_next == g->asid_end) {
		g->asid_generation++;
		g->asid_next = 1;
		g->stats.fences++;
		vcpu_fence(g->vcpu, FENCE_ALL, 0, GVA(0));
	}
	mm->asid = g->asid_next++;
	mm->asid_generation = g->asid_generation;
}

int sched_switch(struct guest *g, struct mm *mm)
{
	int err;

	if (g->current == mm)
		return 0;
	vcpu_enter_kernel(g->vcpu);
	err = mm_table(g, mm);
	if (err)
		return err;
	fence_pay(g);
	if (g->fatal)
		return -EFAULT;
	if (g->asids)
		give_asid(g, mm);

	struct guest_paging paging = {
		.org = g->config.org,
		.org_flags = g->config.org_flags,
		.params = mm->pt->params,
		.root = mm->pt->root,
		.asid = mm->asid,
		.key_space = mm->key_space,
		.ctl = CTL_DEFAULT,
		.ad = g->config.ad,
	};

	err = vcpu_set_paging(g->vcpu, &paging, g->asids ? ROOT_KEEP : ROOT_FLUSH);
	if (err)
		return guest_fatal(g, err == -ENOMEM ? GUEST_NOMEM : GUEST_CRASHED);
	g->current = mm;
	g->stats.switches++;
	return 0;
}
