/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "trace/source.h"
#include "trace/view.h"

struct cut {
	struct trace t;
	struct trace *inner;
	struct cut_range range;
	uint64_t at;               /* number of the reference that comes next */
	uint32_t next;             /* of block.refs[] */
	bool ended, names_process; /* inner has named one so far */
	bool owes_switch;          /* the processor changed hands since the last item that was kept */
	struct trace_event owner;
	struct trace_error damage;
	struct trace_block block;
};

static bool is_ours(const struct cut *c, uint32_t pid)
{
	return !c->range.pid || pid == c->range.pid;
}

/* Who has not been named is process 1 (see proc_get). */
static uint32_t owner_pid(const struct cut *c)
{
	return c->names_process ? c->owner.pid : 1;
}

static bool is_kept(const struct cut *c, const struct trace_event *ev)
{
	if (!is_ours(c, ev->pid ? ev->pid : owner_pid(c)))
		return false;
	if (ev->kind == EV_SYSCALL)
		return c->at >= c->range.from;
	return !c->range.pid || (ev->kind != EV_FORK && ev->kind != EV_VFORK_SHARED);
}

static void pay_switch(struct cut *c, struct trace_block *b)
{
	if (c->owes_switch)
		block_put_event(b, &c->owner);
	c->owes_switch = false;
}

static void take_event(struct cut *c, struct trace_block *b, const struct trace_event *ev)
{
	if (ev->kind == EV_SWITCH) {
		c->owner = *ev;
		c->names_process = true;
		c->owes_switch = is_ours(c, ev->pid);
		return;
	}
	if (!is_kept(c, ev))
		return;
	pay_switch(c, b);
	block_put_event(b, ev);
}

/* The next item of inner; false at its end. */
static bool take(struct cut *c, struct trace_block *b)
{
	ref_t r;
	int rc;

	if (c->next == c->block.nrefs) {
		c->next = 0;
		rc = trace_read(c->inner, &c->block, &c->damage);
		if (rc != 1)
			return false;
	}
	r = c->block.refs[c->next];
	if (ref_is_event(r)) {
		take_event(c, b, &c->block.events[ref_event(r)]);
	} else {
		if (c->at >= c->range.to)
			return false;
		if (c->at >= c->range.from && is_ours(c, owner_pid(c))) {
			pay_switch(c, b);
			b->refs[b->nrefs++] = r;
		}
		c->at++;
	}
	c->next++;
	return true;
}

static int cut_read(struct trace *t, struct trace_block *b, struct trace_error *err)
{
	struct cut *c = container_of(t, struct cut, t);

	b->nrefs = b->nevents = 0;
	while (!c->ended && b->nrefs < TRACE_BLOCK_REFS - 1 && b->nevents < TRACE_BLOCK_EVENTS - 1)
		c->ended = !take(c, b);
	if (b->nrefs)
		return 1;
	if (!c->damage.exit_code)
		return 0;
	*err = c->damage;
	return -1;
}

static int cut_rewind(struct trace *t, struct trace_error *err)
{
	struct cut *c = container_of(t, struct cut, t);

	c->at = 0;
	c->next = c->block.nrefs = 0;
	c->ended = c->names_process = c->owes_switch = false;
	memset(&c->damage, 0, sizeof(c->damage));
	return trace_rewind(c->inner, err);
}

static void cut_close(struct trace *t)
{
	struct cut *c = container_of(t, struct cut, t);

	trace_close(c->inner);
	free(c);
}

static const struct trace_ops cut_ops = { .read = cut_read, .rewind = cut_rewind, .close = cut_close };

struct trace *trace_cut(struct trace *inner, const struct cut_range *range, struct trace_error *err)
{
	struct cut *c = calloc(1, sizeof(*c));

	if (!c) {
		trace_fail(err, TRACE_EXIT_INPUT, "%s: out of memory", inner->name);
		trace_close(inner);
		return NULL;
	}
	c->t = *inner;
	c->t.ops = &cut_ops;
	c->inner = inner;
	c->range = *range;
	return &c->t;
}
