/* SPDX-License-Identifier: MIT */
/*
 * A table that grows to thousands of mappings and back. Operations that
 * allocate are the ones that resize: each is first made to fail, then done with
 * its stores kept, and looked at after some of them.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/bug.h"
#include "conform/pt_cases.h"

enum { PAGES_MAX = 2048, SAMPLE = 24, PREFIXES = 40 };

struct growth {
	struct conform *t;
	struct rig *r;
	struct test_mem replica; /* of the table's memory, always an operation behind */
	struct rng rng;
	unsigned n;
	uint64_t page[PAGES_MAX]; /* in the order they come */
	bool mapped[PAGES_MAX];
};

static uint64_t frame_of(const struct growth *g, unsigned i)
{
	const struct pt_params *p = &g->r->c->params;

	return p->frame_base + (g->page[i] * 7 + i) % p->nframes;
}

static struct pt_key key_of(const struct growth *g, unsigned i)
{
	return (struct pt_key){ 0, g->page[i] };
}

/* Every page of the ranges: upwards, downwards or in no order. */
static void choose_pages(struct growth *g)
{
	const struct rig_config *c = g->r->c;
	uint64_t each = MIN(c->region_pages, (uint64_t)PAGES_MAX / c->nregions);
	unsigned order = (unsigned)rng_below(&g->rng, 3);

	for (unsigned k = 0; k < c->nregions; k++)
		for (uint64_t i = 0; i < each; i++)
			g->page[g->n++] = c->region[k] + (order == 1 ? each - 1 - i : i);
	for (unsigned i = g->n; order == 2 && i > 1; i--) {
		unsigned k = (unsigned)rng_below(&g->rng, i);
		uint64_t page = g->page[k];

		g->page[k] = g->page[i - 1];
		g->page[i - 1] = page;
	}
}

/* Is page i as it should be? `changing` may be either. */
static bool is_right(const struct growth *g, struct pt *pt, unsigned i, bool changing)
{
	struct pt_entry e;
	int rc = pt_find(pt, key_of(g, i), &e);

	if (rc == -ENOENT)
		return !g->mapped[i] || changing;
	return !rc && (g->mapped[i] || changing) && e.frame == frame_of(g, i) && e.order == 0 && e.key.page == g->page[i];
}

/* A few of those that came so far, the first and the changing one among them; all: every one. */
static bool looks_right(struct growth *g, struct pt *pt, unsigned i, unsigned came, bool all, const char *when)
{
	for (unsigned k = 0; k < (all ? came : SAMPLE); k++) {
		unsigned which = all ? k : k == 0 ? i : k == 1 ? 0 : (unsigned)rng_below(&g->rng, came);

		if (!is_right(g, pt, which, which == i && !all))
			return conform_fails(g->t, "%s page %#llx, which is %smapped, is not found so", when,
					     (unsigned long long)g->page[which], g->mapped[which] ? "" : "not ");
	}
	return true;
}

static int change(struct growth *g, unsigned i, bool map)
{
	struct rig *r = g->r;
	struct pt_entry e = { key_of(g, i), 0, r->c->rights[r->c->nrights - 1], frame_of(g, i) };

	return map ? r->pt.org->map(&r->pt, &e) : r->pt.org->unmap(&r->pt, e.key, 0, NULL);
}

/*
 * Its nth allocation fails, for each there is: nothing changed. A resize that
 * has begun may stay begun; what leaks, destroy does not give back.
 */
static bool fail_allocations(struct growth *g, unsigned i, unsigned came, bool map, bool *done)
{
	struct rig *r = g->r;

	for (uint64_t nth = 0; !*done; nth++) {
		faultinj_arm(&r->mem.inj, FAULT_TABLE_ALLOC, nth, false);
		int rc = change(g, i, map);
		faultinj_init(&r->mem.inj);
		*done = rc == 0;
		if (rc && rc != -ENOMEM)
			return conform_fails(g->t, "%s of page %#llx gives %d when its allocation number %llu fails",
					     map ? "map" : "unmap", (unsigned long long)g->page[i], rc, (unsigned long long)nth);
		if (rc && !looks_right(g, &r->pt, i, came, false, "after a failed allocation"))
			return false;
	}
	return true;
}

static bool resized(const struct test_mem *m)
{
	for (size_t k = 0; k < m->nhistory; k++)
		if (m->history[k].kind == EVENT_ALLOC)
			return true;
	return false;
}

/* Follows the operation store by store in the replica; one that resized is looked at on the way. */
static bool follow(struct growth *g, unsigned i, unsigned came)
{
	struct rig *r = g->r;
	size_t n = r->mem.nhistory, step = resized(&r->mem) ? 1 + n / PREFIXES : n + 1;
	struct pt view;

	for (size_t k = 0; k < n; k++) {
		history_replay(&g->replica, &r->mem, k);
		if ((k + 1) % step)
			continue;
		if (pt_open(&view, r->c->org, r->c->flags, &r->c->params, &g->replica.m, r->pt.root))
			return conform_fails(g->t, "after some stores of a resize the table cannot be opened");
		if (!looks_right(g, &view, i, came, false, "after some stores of a resize"))
			return false;
	}
	return true;
}

static bool one_change(struct growth *g, unsigned i, unsigned came, bool map)
{
	bool ok, done = false;

	history_begin(&g->r->mem);
	ok = fail_allocations(g, i, came, map, &done);
	history_end(&g->r->mem);
	ok = ok && follow(g, i, came);
	g->mapped[i] = map;
	return ok;
}

static bool all_changes(struct growth *g, bool map)
{
	const char *why = "no reason given";

	for (unsigned i = 0; i < g->n; i++) {
		unsigned came = map ? i + 1 : g->n;

		conform_step(g->t, map ? i : g->n + i);
		if (!one_change(g, i, came, map))
			return false;
		if (!is_pow2(i + 1) && i + 1 < g->n)
			continue;
		int rc = g->r->pt.org->audit(&g->r->pt, &why);
		if (rc)
			return conform_fails(g->t, "audit: %d, %s", rc, why);
		if (g->r->pt.entries != (map ? i + 1 : g->n - i - 1))
			return conform_fails(g->t, "entries is %llu", (unsigned long long)g->r->pt.entries);
		if (!looks_right(g, &g->r->pt, i, came, true, map ? "while it grows" : "while it shrinks"))
			return false;
	}
	return true;
}

bool pt_case_growth(struct conform *t, const struct rig_config *config, uint64_t seed)
{
	struct growth *g = calloc(1, sizeof(*g));
	struct rig_config c = *config;
	bool ok;

	BUG_ON(!g);
	c.mem_frames = 2048;
	g->t = t;
	g->r = pt_case_begin(t, &c, seed);
	rng_init(&g->rng, seed);
	ok = g->r != NULL;
	if (ok) {
		choose_pages(g);
		test_mem_copy(&g->replica, &g->r->mem);
		ok = all_changes(g, true) && all_changes(g, false);
		test_mem_fini(&g->replica);
		ok = pt_case_end(t, g->r, ok);
	}
	free(g);
	return ok;
}
