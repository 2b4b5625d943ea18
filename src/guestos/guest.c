/* SPDX-License-Identifier: MIT */
/* The guest as a whole: made, asked, ended. */
#include <stdlib.h>

#include "base/bug.h"
#include "guestos/guest_internal.h"

static const struct replace_ops *const policies[] = {
	[REPLACE_FIFO] = &replace_fifo,
	[REPLACE_LRU] = &replace_lru,
	[REPLACE_CLOCK] = &replace_clock,
	[REPLACE_OPT] = &replace_opt,
};

/* A table of one entry a page must have an end. */
enum { FLAT_VA_BITS_MAX = 32 };

static int check(const struct guest_config *c, const char **why)
{
	const struct gpt_format *fmt = c->fmt;

	if (c->mem_pages < 2 || c->mem_pages >= NO_GFRAME)
		*why = "the guest's memory must be of 2 to 2^32 - 2 pages";
	else if (fmt->pa_bits < 64 && (c->mem_pages - 1) >> (fmt->pa_bits - PAGE_SHIFT))
		*why = "the guest's memory is larger than its table entries can reach";
	else if (!c->org->sparse_keys && (fmt->sign_extended || fmt->va_bits > FLAT_VA_BITS_MAX))
		*why = "the guest's addresses are too wide for a table with one entry for each page";
	else if (c->phys_pages && c->phys_pages >= c->mem_pages - 1)
		*why = "the guest's memory has no room above the recorded machine's RAM for the tables";
	else if ((unsigned)c->replace >= ARRAY_SIZE(policies))
		*why = "no such replacement policy";
	else
		return 0;
	return -EINVAL;
}

int guest_create(struct vcpu *vcpu, const struct guest_config *config, struct guest **out, const char **why)
{
	struct guest *g;
	int err = check(config, why);

	if (err)
		return err;
	*why = "out of the host's memory";
	g = calloc(1, sizeof(*g));
	if (!g)
		return -ENOMEM;
	g->config = *config;
	g->vcpu = vcpu;
	g->vm = mmu_vm(vcpu->mmu);
	err = frames_init(&g->frames, config->mem_pages, config->phys_pages);
	if (err) {
		free(g);
		return err;
	}
	g->asids = config->asids && config->fmt->asid_bits > 0;
	g->asid_end = 1u << MIN(config->fmt->asid_bits, 16u);
	g->asid_next = 1;
	g->asid_generation = 1;
	g->feed.quantum = config->quantum;
	g->feed.limit = config->limit;
	g->replace = policies[config->replace];
	g->replace_head = g->replace_tail = NO_GFRAME;
	g->stats.frames_used = g->stats.frames_peak = g->frames.n - g->frames.nfree;
	pmap_init(&g->phys_upper);
	kmem_pt_init(g);
	vcpu->data = config->data;
	entry_boot(g);
	*out = g;
	return 0;
}

void guest_destroy(struct guest *g)
{
	if (!g)
		return;
	g->vcpu->work = NULL;
	if (g->vcpu->mmu)
		vcpu_know_paravirt(g->vcpu, NULL);
	mms_fini(g);
	procs_fini(g);
	if (g->replace->fini)
		g->replace->fini(g);
	feed_fini(&g->feed);
	disk_fini(&g->disk);
	frames_fini(&g->frames);
	pmap_fini(&g->phys_upper);
	free(g->free_keys);
	free(g);
}

int guest_add_work(struct guest *g, struct trace *t)
{
	return guest_add_work_roi(g, t, NULL);
}

int guest_add_work_roi(struct guest *g, struct trace *t, const struct guest_roi *roi)
{
	g->tally.gated |= g->config.warmup || (roi && (roi->from || roi->to));
	feed_add(&g->feed, t, roi);
	return 0;
}

enum mmu_paravirt guest_paravirt(const struct guest_config *c)
{
	if (!c->org->hierarchical)
		return PARAVIRT_NO_TREE;
	return c->thp ? PARAVIRT_SUPERPAGES : PARAVIRT_KNOWN;
}

const struct guest_stats *guest_stats(const struct guest *g)
{
	return &g->stats;
}

uint64_t guest_refs(const struct guest *g)
{
	return g->feed.refs;
}

uint64_t guest_table_bytes(const struct guest *g)
{
	return g->stats.table_frames << PAGE_SHIFT;
}

/*
 * Nothing is known of where the pages lie, so each may need a leaf table of
 * its own; tables above are shared by then. Organisations without levels need
 * far less than that, even while they grow.
 */
uint64_t guest_pages_needed(const struct guest_config *config, uint64_t distinct, uint64_t spaces)
{
	uint64_t data = distinct, tables = distinct + distinct / 16 + spaces * 8 * GPT_LEVELS_MAX;
	enum { MARGIN = 1024, HUGE_PAGES = 512, BLOAT = 65536 };

	/* Superpages bring pages that nobody touches: scattered ones up to a point. */
	if (config->thp)
		data += MIN(distinct * (HUGE_PAGES - 1), distinct * 3 + BLOAT);
	if (!config->org->sparse_keys)
		tables += spaces * ((gpt_va_limit(config->fmt, false) >> PAGE_SHIFT) * 8 / PAGE_SIZE + 1);
	return config->phys_pages + data + tables + (data + tables) / 16 + MARGIN;
}

int guest_enter(struct guest *g, uint32_t pid)
{
	struct mm *mm = NULL;
	int err;

	if (pid == 0) {
		mm = g->last && g->last->mm ? g->last->mm : g->zombie ? g->zombie : g->mms;
	} else {
		for (uint32_t i = 0; i < g->nprocs && !mm; i++)
			if (g->procs[i]->pid == pid)
				mm = g->procs[i]->mm;
		if (!mm && pid <= g->nprocs)
			mm = g->procs[pid - 1]->mm;
		if (!mm && g->nprocs && g->zombie && g->last && (g->last->pid == pid || g->last->number == pid))
			mm = g->zombie;
	}
	if (!mm)
		return -ENOENT;
	err = sched_switch(g, mm);
	g->vcpu->user = true;
	return err;
}
