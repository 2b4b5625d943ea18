/* SPDX-License-Identifier: MIT */
#include "harness.h"

#include <stdlib.h>
#include <string.h>

void script_init(struct script *s)
{
	memset(s, 0, sizeof(*s));
	s->damaged_at = SIZE_MAX;
}

void script_fini(struct script *s)
{
	free(s->item);
	free(s->event);
	script_init(s);
}

static void add(struct script *s, ref_t item)
{
	if (s->n == s->cap) {
		s->cap = s->cap ? s->cap * 2 : 256;
		s->item = realloc(s->item, s->cap * sizeof(*s->item));
		assert_non_null(s->item);
	}
	s->item[s->n++] = item;
}

void script_ref(struct script *s, uint64_t gva, enum acc_kind kind, unsigned size)
{
	add(s, make_ref(gva, kind, size));
}

void script_read(struct script *s, uint64_t gva) { script_ref(s, gva, ACC_READ, 8); }
void script_write(struct script *s, uint64_t gva) { script_ref(s, gva, ACC_WRITE, 8); }

void script_event(struct script *s, const struct trace_event *ev)
{
	if (s->nevents == s->cap_events) {
		s->cap_events = s->cap_events ? s->cap_events * 2 : 64;
		s->event = realloc(s->event, s->cap_events * sizeof(*s->event));
		assert_non_null(s->event);
	}
	s->event[s->nevents] = *ev;
	add(s, make_event_ref(s->nevents++));
}

void script_switch(struct script *s, uint32_t pid)
{
	script_event(s, &(struct trace_event){ .kind = EV_SWITCH, .pid = pid, .tid = pid });
}

void script_fork(struct script *s, uint32_t pid, uint32_t child)
{
	script_event(s, &(struct trace_event){ .kind = EV_FORK, .pid = pid, .child = child });
}

void script_exit(struct script *s, uint32_t pid)
{
	script_event(s, &(struct trace_event){ .kind = EV_EXIT, .pid = pid });
}

void script_mmap(struct script *s, uint32_t pid, uint64_t addr, uint64_t len, unsigned prot, unsigned flags)
{
	script_event(s, &(struct trace_event){ .kind = EV_MMAP, .pid = pid, .addr = addr, .len = len,
					       .prot = (uint8_t)prot, .flags = (uint16_t)flags });
}

void script_munmap(struct script *s, uint32_t pid, uint64_t addr, uint64_t len)
{
	script_event(s, &(struct trace_event){ .kind = EV_MUNMAP, .pid = pid, .addr = addr, .len = len });
}

void script_mprotect(struct script *s, uint32_t pid, uint64_t addr, uint64_t len, unsigned prot)
{
	script_event(s, &(struct trace_event){ .kind = EV_MPROTECT, .pid = pid, .addr = addr, .len = len,
					       .prot = (uint8_t)prot });
}

/* ---- as a trace ---- */

struct script_trace {
	struct trace t;
	const struct script *s;
	size_t at;
};

static int script_read_block(struct trace *t, struct trace_block *b, struct trace_error *err)
{
	struct script_trace *st = container_of(t, struct script_trace, t);
	const struct script *s = st->s;
	uint32_t max = s->block ? s->block : TRACE_BLOCK_REFS;

	b->nrefs = b->nevents = 0;
	if (st->at == s->damaged_at) {
		strcpy(err->what, "script: damaged");
		err->exit_code = 3;
		return -1;
	}
	while (b->nrefs < max && st->at < s->n && st->at != s->damaged_at && b->nevents < TRACE_BLOCK_EVENTS) {
		ref_t r = s->item[st->at++];

		if (ref_is_event(r)) {
			b->events[b->nevents] = s->event[ref_event(r)];
			r = make_event_ref(b->nevents++);
		}
		b->refs[b->nrefs++] = r;
	}
	return b->nrefs > 0;
}

static int script_rewind(struct trace *t, struct trace_error *err)
{
	struct script_trace *st = container_of(t, struct script_trace, t);

	if (st->s->no_rewind) {
		strcpy(err->what, "script: a pipe");
		return -1;
	}
	st->at = 0;
	return 0;
}

static void script_close(struct trace *t)
{
	free(container_of(t, struct script_trace, t));
}

static const struct trace_ops script_ops = { script_read_block, script_rewind, script_close };

struct trace *script_trace(const struct script *s)
{
	struct script_trace *st = calloc(1, sizeof(*st));

	assert_non_null(st);
	st->t.ops = &script_ops;
	st->t.format = "script";
	st->s = s;
	return &st->t;
}

/* ---- at random ---- */

enum { PIDS_MAX = 8 };

struct gen {
	struct script *s;
	const struct random_work *w;
	struct rng rng;
	bool alive[PIDS_MAX + 1]; /* by pid */
	uint32_t pid;
	uint64_t hot;
};

static uint64_t random_page(struct gen *g)
{
	/* Mostly near the last one: superpages and tables get neighbours. */
	if (rng_below(&g->rng, 4))
		g->hot = (g->hot + rng_below(&g->rng, 5)) % g->w->pages;
	else
		g->hot = rng_below(&g->rng, g->w->pages);
	return g->hot;
}

static unsigned random_prot(struct gen *g)
{
	static const unsigned prots[] = { PROT_BIT_R | PROT_BIT_W, PROT_BIT_R, PROT_BIT_R | PROT_BIT_W | PROT_BIT_X, 0 };

	return g->w->segv ? prots[rng_below(&g->rng, 4)] : PROT_BIT_R | PROT_BIT_W | PROT_BIT_X;
}

static uint32_t random_pid(struct gen *g, bool alive)
{
	uint32_t max = g->w->processes ? MIN(g->w->processes, (unsigned)PIDS_MAX) : 1;

	for (int tries = 0; tries < 32; tries++) {
		uint32_t pid = 1 + (uint32_t)rng_below(&g->rng, max);

		if (g->alive[pid] == alive)
			return pid;
	}
	return 0;
}

static void random_switch(struct gen *g)
{
	uint32_t pid = random_pid(g, true);

	if (pid) {
		g->pid = pid;
		script_switch(g->s, pid);
	}
}

static void random_event(struct gen *g)
{
	uint64_t page = rng_below(&g->rng, g->w->pages), n = 1 + rng_below(&g->rng, g->w->pages / 4 + 1);
	uint64_t addr = g->w->base + (page << PAGE_SHIFT), len = MIN(n, g->w->pages - page) << PAGE_SHIFT;
	uint64_t far = g->w->base + (2 * g->w->pages << PAGE_SHIFT);
	uint32_t pid;

	switch (rng_below(&g->rng, 12)) {
	case 0:
		script_mmap(g->s, g->pid, addr, len, random_prot(g), rng_below(&g->rng, 4) ? 0 : EVF_SHARED);
		break;
	case 1:
		script_munmap(g->s, g->pid, addr, len);
		break;
	case 2:
	case 3:
		script_mprotect(g->s, g->pid, addr, len, random_prot(g));
		break;
	case 4:
		script_event(g->s, &(struct trace_event){ .kind = EV_MADVISE_FREE, .pid = g->pid, .addr = addr, .len = len });
		break;
	case 5:
		script_event(g->s, &(struct trace_event){ .kind = EV_MREMAP, .pid = g->pid, .addr = addr, .len = len,
							  .addr2 = far, .len2 = len });
		break;
	case 6:
		script_event(g->s, &(struct trace_event){ .kind = EV_MREMAP, .pid = g->pid, .addr = far, .len = len,
							  .addr2 = addr, .len2 = len });
		break;
	case 7:
	case 8:
		pid = random_pid(g, false);
		if (pid) {
			script_event(g->s, &(struct trace_event){ .kind = rng_below(&g->rng, 4) ? EV_FORK : EV_VFORK_SHARED,
								  .pid = g->pid, .child = pid });
			g->alive[pid] = true;
		}
		break;
	case 9:
		if (rng_below(&g->rng, 3) == 0)
			script_event(g->s, &(struct trace_event){ .kind = EV_EXEC, .pid = g->pid });
		break;
	case 10:
		pid = random_pid(g, true);
		if (pid && pid != g->pid) {
			script_exit(g->s, pid);
			g->alive[pid] = false;
		}
		break;
	default:
		random_switch(g);
	}
}

void script_random(struct script *s, const struct random_work *w)
{
	struct gen g = { .s = s, .w = w, .pid = 1 };

	rng_init(&g.rng, w->seed);
	g.alive[1] = true;
	script_switch(s, 1);
	for (uint64_t i = 0; i < w->refs; i++) {
		static const enum acc_kind kinds[] = { ACC_READ, ACC_READ, ACC_READ, ACC_WRITE, ACC_WRITE, ACC_EXEC };
		enum acc_kind kind = kinds[rng_below(&g.rng, w->segv ? 5 : 6)];
		unsigned size = 1u << rng_below(&g.rng, 5);
		uint64_t page = random_page(&g), offset = rng_below(&g.rng, PAGE_SIZE);

		if (w->events && rng_below(&g.rng, 100) == 0)
			random_event(&g);
		/* The last page must not reach over the end of small formats. */
		if (page + 1 == w->pages)
			offset &= PAGE_MASK & ~(uint64_t)31;
		script_ref(s, w->base + (page << PAGE_SHIFT) + offset, kind, size);
	}
}
