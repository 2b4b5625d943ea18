/* SPDX-License-Identifier: MIT */
/*
 * OPT (Belady's MIN): the page that is needed again last goes first. The heap
 * holds ~(time of next use); an item whose key is not its frame's any more is
 * dropped when it comes up.
 *
 * Where the work itself moves pages (mremap) or shares them anew, the page's
 * future is that of its old address until it is used: then it is a very good
 * policy instead of the best one.
 */
#include <stdlib.h>

#include "base/bug.h"
#include "guestos/opt.h"

/* The soonest any of its owners will use it. */
static uint64_t key_of(struct guest *g, uint64_t gfn)
{
	uint64_t soonest = UINT64_MAX;

	gframe_for_each_owner(&g->frames.f[gfn], o) {
		struct opt_space *s = o->of->mm ? o->of->mm->opt : NULL;
		uint64_t id = s ? pmap_get(&s->ids, o->vpn) : 0;

		if (id)
			soonest = MIN(soonest, g->opt->pages[id - 1].next);
	}
	return ~soonest;
}

/* true: its key was right. */
static bool rekey(struct guest *g, uint64_t gfn)
{
	uint64_t key = key_of(g, gfn);

	if (g->frames.f[gfn].key == key)
		return true;
	g->frames.f[gfn].key = key;
	heap_push(&g->heap, key, gfn);
	return false;
}

static void opt_add(struct guest *g, uint64_t gfn)
{
	g->frames.f[gfn].flags |= GFRAME_LISTED;
	g->frames.f[gfn].key = key_of(g, gfn);
	heap_push(&g->heap, g->frames.f[gfn].key, gfn);
}

static void opt_remove(struct guest *g, uint64_t gfn)
{
	g->frames.f[gfn].flags &= (uint8_t)~GFRAME_LISTED;
}

/* All uses before now are past: their pages look forward to the next. */
static void catch_up(struct guest *g)
{
	struct opt *o = g->opt;

	for (; o->cursor < o->nuses && o->time[o->cursor] < g->feed.refs; o->cursor++) {
		struct opt_page *p = &o->pages[o->page[o->cursor]];
		uint32_t next = o->next[o->cursor];
		uint64_t word;

		p->next = next == NO_USE ? UINT64_MAX : o->time[next];
		if (!p->space->mm)
			continue;
		word = pmap_get(&p->space->mm->pages.map, p->vpn);
		if (word & PAGE_FRAME)
			(void)rekey(g, page_value(word));
	}
}

static int opt_victim(struct guest *g, uint64_t *gfn)
{
	struct heap_item it;

	catch_up(g);
	while (heap_pop(&g->heap, &it)) {
		struct gframe *f = &g->frames.f[it.gfn];

		if (!(f->flags & GFRAME_LISTED) || f->key != it.key || !rekey(g, it.gfn))
			continue;
		/* If it cannot be evicted after all, it is not forgotten. */
		heap_push(&g->heap, it.key, it.gfn);
		*gfn = it.gfn;
		return 0;
	}
	return -ENOENT;
}

static int opt_init(struct guest *g, struct trace_error *err)
{
	g->opt = calloc(1, sizeof(*g->opt));
	BUG_ON(!g->opt);
	return opt_prepass(g, g->opt, err);
}

static void opt_fini(struct guest *g)
{
	if (g->opt)
		opt_free(g->opt);
	g->opt = NULL;
	heap_fini(&g->heap);
}

const struct replace_ops replace_opt = {
	.init = opt_init,
	.fini = opt_fini,
	.add = opt_add,
	.remove = opt_remove,
	.victim = opt_victim,
};
