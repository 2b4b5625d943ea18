/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "trace/source.h"
#include "trace/view.h"

struct part {
	struct trace *trace;
	struct trace_block *block;
	uint32_t next;             /* of block->refs[] */
	bool ended, has_run;
	struct trace_event owner;  /* who runs in it, by its own numbers; pid 0: not named yet */
};

/* A number of one part, and what it is called in the whole. */
struct number {
	uint32_t part, own, shown;
	bool has_run; /* as a process */
};

/* Open addressing over (part, own number), and over the numbers shown. */
struct numbers {
	struct number *slot;
	uint32_t *taken; /* 0: free */
	uint32_t nslots, used, last;
};

struct merge {
	struct trace t;
	struct merge_options o;
	struct part *part;
	unsigned nparts, current, running;
	uint64_t left;        /* references of the current turn */
	bool is_new_turn;     /* say who runs before the next item */
	struct numbers numbers;
	uint32_t *ended;      /* one machine: processes whose end is still to be told */
	uint32_t nended, ended_told;
	struct trace_error damage;
};

enum { NUMBERS_FIRST = 256, PART_TAKES = 3 /* events one item may become */ };

static bool is_taken(const struct numbers *s, uint32_t n)
{
	for (uint32_t i = (uint32_t)hash_u64(n);; i++) {
		uint32_t v = s->taken[i & (s->nslots - 1)];

		if (v == n)
			return true;
		if (!v)
			return false;
	}
}

static void put_taken(struct numbers *s, uint32_t n)
{
	uint32_t i = (uint32_t)hash_u64(n);

	while (s->taken[i & (s->nslots - 1)])
		i++;
	s->taken[i & (s->nslots - 1)] = n;
}

static struct number *find(const struct numbers *s, uint32_t part, uint32_t own)
{
	struct number *n;

	for (uint32_t i = (uint32_t)hash_u64((uint64_t)part << 32 | own);; i++) {
		n = &s->slot[i & (s->nslots - 1)];
		if (!n->shown || (n->part == part && n->own == own))
			return n;
	}
}

static bool numbers_init(struct numbers *s, uint32_t nslots)
{
	*s = (struct numbers){ .nslots = nslots };
	s->slot = calloc(nslots, sizeof(*s->slot));
	s->taken = calloc(nslots, sizeof(*s->taken));
	return s->slot && s->taken;
}

static void numbers_fini(struct numbers *s)
{
	free(s->slot);
	free(s->taken);
	memset(s, 0, sizeof(*s));
}

/* Twice the room. */
static bool grow(struct numbers *s)
{
	struct numbers more;

	if (!numbers_init(&more, s->nslots * 2)) {
		numbers_fini(&more);
		return false;
	}
	for (uint32_t i = 0; i < s->nslots; i++) {
		if (s->slot[i].shown)
			*find(&more, s->slot[i].part, s->slot[i].own) = s->slot[i];
		if (s->taken[i])
			put_taken(&more, s->taken[i]);
	}
	more.used = s->used;
	more.last = s->last;
	numbers_fini(s);
	*s = more;
	return true;
}

/* What number own of a part is called; 0 (nobody) stays 0. NULL without memory. */
static struct number *look_up(struct merge *m, unsigned part, uint32_t own)
{
	struct numbers *s = &m->numbers;
	struct number *n;

	if (s->used * 2 >= s->nslots && !grow(s))
		return NULL;
	part = m->o.one_machine ? 0 : part;
	n = find(s, part, own);
	if (n->shown)
		return n;
	*n = (struct number){ .part = part, .own = own, .shown = own };
	if (!m->o.one_machine) {
		while (is_taken(s, n->shown) || !n->shown)
			n->shown = ++s->last;
		put_taken(s, n->shown);
	}
	s->used++;
	return n;
}

static uint32_t shown(struct merge *m, unsigned part, uint32_t own)
{
	struct number *n = own ? look_up(m, part, own) : NULL;

	if (own && !n)
		trace_fail(&m->damage, TRACE_EXIT_INPUT, "%s: out of memory", m->t.name);
	return n ? n->shown : 0;
}

/* Who runs in the current part: said at the beginning of its turn. */
static void put_owner(struct merge *m, struct part *p, struct trace_block *b)
{
	/* Who has not been named is process 1 (see proc_get). */
	uint32_t pid = p->owner.pid ? p->owner.pid : 1, tid = p->owner.tid ? p->owner.tid : pid;
	struct number *n = look_up(m, m->current, pid);
	bool is_known = n && n->has_run;

	if (n)
		n->has_run = true;
	struct trace_event ev = { .kind = EV_SWITCH, .pid = shown(m, m->current, pid), .tid = shown(m, m->current, tid) };

	/* A part that begins with a process another has run: one thread a file. */
	if (!p->has_run && is_known)
		block_put_event(b, &(struct trace_event){ .kind = EV_THREAD, .pid = ev.pid, .tid = ev.tid });
	p->has_run = true;
	block_put_event(b, &ev);
	m->is_new_turn = false;
}

static void keep_end(struct merge *m, uint32_t pid)
{
	uint32_t *more;

	for (uint32_t i = 0; i < m->nended; i++)
		if (m->ended[i] == pid)
			return;
	more = realloc(m->ended, (m->nended + 1) * sizeof(*more));
	if (!more) {
		trace_fail(&m->damage, TRACE_EXIT_INPUT, "%s: out of memory", m->t.name);
		return;
	}
	m->ended = more;
	m->ended[m->nended++] = pid;
}

static void take_event(struct merge *m, struct part *p, struct trace_block *b, struct trace_event ev)
{
	if (ev.kind == EV_SWITCH) {
		p->owner = ev;
		m->is_new_turn = true;
		return;
	}
	if (m->o.one_machine && ev.kind == EV_EXIT) {
		keep_end(m, ev.pid ? ev.pid : p->owner.pid);
		return;
	}
	if (m->is_new_turn)
		put_owner(m, p, b);
	ev.pid = shown(m, m->current, ev.pid);
	ev.tid = shown(m, m->current, ev.tid);
	ev.child = shown(m, m->current, ev.child);
	block_put_event(b, &ev);
}

static void next_turn(struct merge *m)
{
	if (!m->running)
		return;
	do
		m->current = (m->current + 1) % m->nparts;
	while (m->part[m->current].ended);
	m->left = m->o.quantum;
	m->is_new_turn = true;
}

/* One item of the current part. */
static void take(struct merge *m, struct trace_block *b)
{
	struct part *p = &m->part[m->current];
	struct trace_error err = { 0 };
	ref_t r;

	if (p->next == p->block->nrefs) {
		p->next = 0;
		if (trace_read(p->trace, p->block, &err) != 1) {
			if (err.exit_code && !m->damage.exit_code)
				m->damage = err;
			p->ended = true;
			m->running--;
			next_turn(m);
			return;
		}
	}
	r = p->block->refs[p->next++];
	if (ref_is_event(r)) {
		const struct trace_event *ev = &p->block->events[ref_event(r)];

		take_event(m, p, b, *ev);
		if (m->o.at_marks && (ev->kind == EV_SWITCH || ev->kind == EV_SYSCALL))
			next_turn(m);
		return;
	}
	if (m->is_new_turn)
		put_owner(m, p, b);
	b->refs[b->nrefs++] = r;
	if (!--m->left)
		next_turn(m);
}

static int merge_read(struct trace *t, struct trace_block *b, struct trace_error *err)
{
	struct merge *m = container_of(t, struct merge, t);

	b->nrefs = b->nevents = 0;
	while (m->running && b->nrefs < TRACE_BLOCK_REFS - PART_TAKES && b->nevents < TRACE_BLOCK_EVENTS - PART_TAKES)
		take(m, b);
	for (; !m->running && m->ended_told < m->nended && b->nevents < TRACE_BLOCK_EVENTS; m->ended_told++)
		block_put_event(b, &(struct trace_event){ .kind = EV_EXIT, .pid = m->ended[m->ended_told] });
	if (b->nrefs)
		return 1;
	if (!m->damage.exit_code)
		return 0;
	*err = m->damage;
	return -1;
}

static void start(struct merge *m)
{
	m->current = 0;
	m->running = m->nparts;
	m->left = m->o.quantum;
	m->is_new_turn = true;
	m->nended = m->ended_told = 0;
	memset(&m->damage, 0, sizeof(m->damage));
	for (unsigned i = 0; i < m->nparts; i++) {
		struct part *p = &m->part[i];

		p->next = p->block->nrefs = 0;
		p->ended = p->has_run = false;
		memset(&p->owner, 0, sizeof(p->owner));
	}
}

static int merge_rewind(struct trace *t, struct trace_error *err)
{
	struct merge *m = container_of(t, struct merge, t);

	for (unsigned i = 0; i < m->nparts; i++)
		if (trace_rewind(m->part[i].trace, err))
			return -1;
	numbers_fini(&m->numbers);
	if (!numbers_init(&m->numbers, NUMBERS_FIRST))
		return trace_fail(err, TRACE_EXIT_INPUT, "%s: out of memory", t->name);
	start(m);
	return 0;
}

static void merge_close(struct trace *t)
{
	struct merge *m = container_of(t, struct merge, t);

	for (unsigned i = 0; i < m->nparts; i++) {
		trace_close(m->part[i].trace);
		free(m->part[i].block);
	}
	numbers_fini(&m->numbers);
	free(m->ended);
	free(m->part);
	free(m->t.name);
	free(m);
}

static const struct trace_ops merge_ops = { .read = merge_read, .rewind = merge_rewind, .close = merge_close };

static bool prepare(struct merge *m)
{
	char name[64];

	snprintf(name, sizeof(name), "%u traces", m->nparts);
	m->t.name = strdup(name);
	m->t.tells_calls = true;
	for (unsigned i = 0; i < m->nparts; i++) {
		m->part[i].block = calloc(1, sizeof(*m->part[i].block));
		if (!m->part[i].block)
			return false;
		m->t.tells_calls &= m->part[i].trace->tells_calls;
	}
	return numbers_init(&m->numbers, NUMBERS_FIRST) && m->t.name;
}

struct trace *trace_merge(struct trace **in, unsigned n, const struct merge_options *o, struct trace_error *err)
{
	struct merge *m = calloc(1, sizeof(*m));
	struct part *part = calloc(n, sizeof(*part));

	if (!m || !part) {
		trace_fail(err, TRACE_EXIT_INPUT, "%u traces: out of memory", n);
		for (unsigned i = 0; i < n; i++)
			trace_close(in[i]);
		free(m);
		free(part);
		return NULL;
	}
	*m = (struct merge){ .t = { .ops = &merge_ops, .format = "merged" }, .o = *o, .part = part, .nparts = n };
	for (unsigned i = 0; i < n; i++)
		part[i].trace = in[i];
	if (!prepare(m)) {
		trace_fail(err, TRACE_EXIT_INPUT, "%u traces: out of memory", n);
		merge_close(&m->t);
		return NULL;
	}
	start(m);
	return &m->t;
}
