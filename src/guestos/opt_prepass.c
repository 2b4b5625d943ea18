/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>

#include "base/bug.h"
#include "guestos/mem_events.h"
#include "guestos/opt.h"

void opt_space_bind(struct opt_space *s, struct mm *mm)
{
	s->mm = mm;
	if (mm)
		mm->opt = s;
}

/* Makes room for one more element of any array. */
static void *grown(void *array, size_t n, size_t cap, size_t size)
{
	if (n < cap)
		return array;
	array = realloc(array, cap * 2 * size);
	BUG_ON(!array);
	return array;
}

/* ---- whose address space is whose: the same rules as proc.c, of spaces alone ---- */

struct dry_pid {
	struct dry_source *src;
	uint32_t pid;
	struct opt_space *space;
};

struct dry_source {
	struct source *src;
	struct dry_pid *pids;
	size_t n;
	uint32_t current; /* pid; 0: none */
};

static struct opt_space *make_space(struct opt *o, struct source *src)
{
	struct opt_space *s = calloc(1, sizeof(*s));

	BUG_ON(!s);
	pmap_init(&s->ids);
	o->spaces = realloc(o->spaces, (o->nspaces + 1) * sizeof(*o->spaces));
	src->spaces = realloc(src->spaces, (src->nspaces + 1) * sizeof(*src->spaces));
	BUG_ON(!o->spaces || !src->spaces);
	o->spaces[o->nspaces++] = s;
	src->spaces[src->nspaces++] = s;
	return s;
}

static struct dry_pid *dry_find(struct dry_source *d, uint32_t pid)
{
	for (size_t i = 0; i < d->n; i++)
		if (d->pids[i].pid == pid)
			return &d->pids[i];
	return NULL;
}

static void dry_set(struct dry_source *d, uint32_t pid, struct opt_space *space)
{
	struct dry_pid *p = dry_find(d, pid);

	if (!p) {
		d->pids = realloc(d->pids, (d->n + 1) * sizeof(*d->pids));
		BUG_ON(!d->pids);
		p = &d->pids[d->n++];
		p->pid = pid;
	}
	p->space = space;
}

static struct opt_space *dry_get(struct opt *o, struct dry_source *d, uint32_t pid)
{
	struct dry_pid *p;

	pid = pid ? pid : d->current ? d->current : 1;
	p = dry_find(d, pid);
	if (!p) {
		dry_set(d, pid, make_space(o, d->src));
		p = dry_find(d, pid);
	}
	return p->space;
}

static void dry_exit(struct dry_source *d, uint32_t pid)
{
	struct dry_pid *p = dry_find(d, pid ? pid : d->current);

	if (!p)
		return;
	if (d->current == p->pid)
		d->current = 0;
	*p = d->pids[--d->n];
}

static void dry_event(struct opt *o, struct dry_source *d, const struct trace_event *ev)
{
	if (!d->current && ev->pid && ev->kind != EV_EXIT) {
		(void)dry_get(o, d, ev->pid);
		d->current = ev->pid;
	}
	switch (ev->kind) {
	case EV_SWITCH:
		(void)dry_get(o, d, ev->pid);
		d->current = ev->pid ? ev->pid : d->current ? d->current : 1;
		break;
	case EV_FORK:
		(void)dry_get(o, d, ev->pid);
		dry_set(d, ev->child, make_space(o, d->src));
		break;
	case EV_VFORK_SHARED:
		dry_set(d, ev->child, dry_get(o, d, ev->pid));
		break;
	case EV_EXEC:
		(void)dry_get(o, d, ev->pid);
		dry_set(d, ev->pid ? ev->pid : d->current ? d->current : 1, make_space(o, d->src));
		break;
	case EV_EXIT:
		dry_exit(d, ev->pid);
		break;
	case EV_THREAD:
	case EV_SYSCALL:
		break;
	default:
		(void)dry_get(o, d, ev->pid);
	}
}

/* ---- uses ---- */

static uint32_t page_id(struct opt *o, struct opt_space *space, uint64_t vpn)
{
	uint64_t id = pmap_get(&space->ids, vpn);

	if (id)
		return (uint32_t)(id - 1);
	o->pages = grown(o->pages, o->npages, o->cap_pages, sizeof(*o->pages));
	o->cap_pages *= o->npages == o->cap_pages ? 2 : 1;
	o->pages[o->npages] = (struct opt_page){ space, vpn, UINT64_MAX, NO_USE };
	pmap_set(&space->ids, vpn, ++o->npages);
	return (uint32_t)(o->npages - 1);
}

static void note_use(struct opt *o, struct opt_space *space, uint64_t vpn, uint64_t time)
{
	uint32_t id = page_id(o, space, vpn);
	struct opt_page *p = &o->pages[id];
	uint32_t u = (uint32_t)o->nuses;

	BUG_ON(o->nuses >= NO_USE);
	o->page = grown(o->page, o->nuses, o->cap_uses, sizeof(*o->page));
	o->next = grown(o->next, o->nuses, o->cap_uses, sizeof(*o->next));
	o->time = grown(o->time, o->nuses, o->cap_uses, sizeof(*o->time));
	o->cap_uses *= o->nuses == o->cap_uses ? 2 : 1;
	o->page[u] = id;
	o->next[u] = NO_USE;
	o->time[u] = time;
	o->nuses++;
	if (p->last == NO_USE)
		p->next = time;
	else
		o->next[p->last] = u;
	p->last = u;
}

/* Runs of one page are one use, with the time of the first: it is needed no sooner, and stays until the next. */
static size_t note_refs(struct opt *o, struct opt_space *space, const struct feed_item *it, uint64_t time)
{
	uint64_t last = UINT64_MAX;
	size_t i;

	for (i = 0; i < it->n && !ref_is_event(it->refs[i]); i++) {
		uint64_t gva = ref_gva(it->refs[i]), vpn = gva >> PAGE_SHIFT;

		if (vpn != last)
			note_use(o, space, vpn, time + i);
		last = vpn;
		if (!(it->refs[i] & REF_SPECIAL))
			continue;
		note_use(o, space, (gva + ref_size(it->refs[i]) - 1) >> PAGE_SHIFT, time + i);
		last = UINT64_MAX;
	}
	return i;
}

static int cannot_rewind(struct trace_error *err)
{
	char what[sizeof(err->what)];

	memcpy(what, err->what, sizeof(what));
	snprintf(err->what, sizeof(err->what), "%.*s; replacement policy opt must read the work twice, take another policy",
		 (int)sizeof(what) - 80, what[0] ? what : "the work cannot be read again");
	err->exit_code = 2;
	return -1;
}

static void opt_alloc(struct opt *o)
{
	o->cap_uses = o->cap_pages = 1024;
	o->page = malloc(o->cap_uses * sizeof(*o->page));
	o->next = malloc(o->cap_uses * sizeof(*o->next));
	o->time = malloc(o->cap_uses * sizeof(*o->time));
	o->pages = malloc(o->cap_pages * sizeof(*o->pages));
	BUG_ON(!o->page || !o->next || !o->time || !o->pages);
}

int opt_prepass(struct guest *g, struct opt *o, struct trace_error *err)
{
	struct dry_source *dry = calloc(g->feed.nsrc + 1, sizeof(*dry));
	struct feed_item it;
	enum feed_kind kind;

	BUG_ON(!dry);
	opt_alloc(o);
	/* Before anything is read: what cannot be read twice must not be used up. */
	if (feed_rewind(&g->feed, err)) {
		free(dry);
		return cannot_rewind(err);
	}
	while ((kind = feed_next(&g->feed, UINT64_MAX, &it)) != FEED_END) {
		struct dry_source *d = &dry[g->feed.turn];
		size_t n = 0;

		d->src = it.src;
		if (kind == FEED_EVENT) {
			dry_event(o, d, it.event);
		} else {
			struct opt_space *space = dry_get(o, d, 0);

			d->current = d->current ? d->current : 1;
			n = note_refs(o, space, &it, g->feed.refs);
		}
		feed_advance(&g->feed, &it, n);
	}
	for (unsigned i = 0; i < g->feed.nsrc; i++)
		free(dry[i].pids);
	free(dry);
	return feed_rewind(&g->feed, err) ? cannot_rewind(err) : 0;
}

void opt_free(struct opt *o)
{
	for (size_t i = 0; i < o->nspaces; i++) {
		pmap_fini(&o->spaces[i]->ids);
		free(o->spaces[i]);
	}
	free(o->spaces);
	free(o->pages);
	free(o->page);
	free(o->next);
	free(o->time);
	free(o);
}
