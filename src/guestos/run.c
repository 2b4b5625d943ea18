/* SPDX-License-Identifier: MIT */
/*
 * The run: what the feed brings, in order. References go to the vcpu in whole
 * runs straight from the trace's block; between them stand events, faults,
 * and the moments somebody asked for (steps, warm-up, slices).
 */
#include <stdarg.h>
#include <stdio.h>

#include "base/bug.h"
#include "guestos/guest_internal.h"

/* One reference cannot need more: two pages, each brought, copied, marked. More is thrashing. */
enum { FAULTS_A_REFERENCE = 32 };
enum { BAD_INPUT_EXIT = 3 };

int guest_fatal(struct guest *g, enum guest_end why)
{
	if (!g->fatal)
		g->fatal = why;
	if (why == GUEST_CRASHED)
		vm_crash(g->vm, "the guest's kernel could not use its own memory");
	return -EFAULT;
}

int guest_bad_input(struct guest *g, const char *fmt, ...)
{
	struct trace_error *err = &g->feed.err;
	va_list ap;

	if (!g->fatal) {
		g->fatal = GUEST_BAD_INPUT;
		err->exit_code = BAD_INPUT_EXIT;
		va_start(ap, fmt);
		vsnprintf(err->what, sizeof(err->what), fmt, ap);
		va_end(ap);
	}
	return -EFAULT;
}

int guest_access(struct guest *g, enum access_status st)
{
	return guest_fatal(g, st == ACCESS_NOMEM ? GUEST_NOMEM : GUEST_CRASHED);
}

static void fail(struct guest *g, int err)
{
	if (err)
		(void)guest_fatal(g, err == -ENOMEM ? GUEST_OOM : GUEST_CRASHED);
}

/* n references of it are done. */
static void account(struct guest *g, struct proc *p, const struct feed_item *it, size_t n)
{
	if (!n)
		return;
	digest_refs(p, it->refs, n);
	if (g->replace->touch)
		g->replace->touch(g, p->mm, it->refs, n, g->feed.refs);
	feed_advance(&g->feed, it, n);
	g->step_left -= MIN(g->step_left, n);
	g->stuck = 0;
	tally_refs(g, it->refs, n);
}

static void take_fault(struct guest *g, struct proc *p, const struct feed_item *it)
{
	struct guest_fault fault = g->vcpu->fault;
	bool segv = false;

	fail(g, ++g->stuck > FAULTS_A_REFERENCE ? -ENOMEM : fault_handle(g, p, &fault, &segv));
	if (!g->fatal)
		entry_return(g, p, &fault, !segv);
	if (!segv)
		return;
	/* A signal handler would go on behind it; so do we. It was done, as far as the work is concerned. */
	p->work.position++;
	g->vm->stats.refs++;
	account(g, p, it, 1);
}

static void run_refs(struct guest *g, const struct feed_item *it)
{
	struct proc *p = it->src->current;
	struct feed_item rest = *it;
	enum access_status st;
	size_t done = 0;
	int err;

	if (!p)
		p = it->src->current = proc_get(g, it->src, 0);
	err = sched_switch(g, p->mm);
	if (!err)
		err = kmem_pt_flush(g);
	if (err) {
		fail(g, err);
		return;
	}
	g->last = p;
	g->vcpu->work = &p->work;
	g->vcpu->user = true;
	st = vcpu_run(g->vcpu, it->refs, it->n, &done);
	account(g, p, it, done);
	rest.refs += done;
	switch (st) {
	case ACCESS_OK:
		BUG_ON(!done);
		break;
	case ACCESS_FAULT:
		take_fault(g, p, &rest);
		break;
	default:
		(void)guest_access(g, st);
	}
}

static uint64_t chunk(const struct guest *g, uint64_t end)
{
	uint64_t n = end - g->feed.refs;

	if (g->step_left)
		n = MIN(n, g->step_left);
	if (g->feed.refs < g->config.warmup)
		n = MIN(n, g->config.warmup - g->feed.refs);
	return n;
}

/* true: stop. */
static bool look_up(struct guest *g, const struct guest_hooks *h)
{
	bool block_end = g->feed.at_block_end;

	if (!h)
		return false;
	(void)kmem_pt_flush(g);
	if (h->step && (h->step_refs ? !g->step_left : block_end)) {
		h->step(h->ctx, g->feed.refs);
		g->step_left = h->step_refs;
	}
	return block_end && h->poll && h->poll(h->ctx, g->feed.refs);
}

static enum guest_end end_of_work(struct guest *g, struct trace_error *err)
{
	if (!g->feed.err.exit_code)
		return GUEST_DONE;
	*err = g->feed.err;
	return GUEST_BAD_INPUT;
}

static int start(struct guest *g, struct trace_error *err)
{
	if (g->started)
		return 0;
	g->started = true;
	return g->replace->init ? g->replace->init(g, err) : 0;
}

enum guest_end guest_run_slice(struct guest *g, uint64_t n, const struct guest_hooks *hooks,
			       struct trace_error *err, bool *finished)
{
	uint64_t end = n > UINT64_MAX - g->feed.refs ? UINT64_MAX : g->feed.refs + n;

	*finished = false;
	if (start(g, err)) {
		g->fatal = GUEST_BAD_INPUT;
		g->feed.err = *err;
	}
	g->step_left = hooks ? hooks->step_refs : 0;
	while (!g->fatal && g->feed.refs < end) {
		struct feed_item it;
		enum feed_kind kind = feed_next(&g->feed, chunk(g, end), &it);

		if (look_up(g, hooks))
			return GUEST_STOPPED;
		if (kind != FEED_END)
			tally_set(g, !it.outside && g->feed.refs >= g->config.warmup);
		if (kind == FEED_REFS) {
			/* Never past the next step, though this one began as the reference came. */
			it.n = g->step_left ? MIN(it.n, g->step_left) : it.n;
			run_refs(g, &it);
		} else if (kind == FEED_EVENT) {
			fail(g, entry_event(g, it.src, it.event));
			feed_advance(&g->feed, &it, 0);
		} else {
			*finished = true;
			vcpu_enter_kernel(g->vcpu);
			fence_pay(g);
			return end_of_work(g, err);
		}
	}
	(void)kmem_pt_flush(g);
	if (g->fatal == GUEST_BAD_INPUT)
		*err = g->feed.err;
	*finished = g->fatal;
	return g->fatal;
}

enum guest_end guest_run(struct guest *g, const struct guest_hooks *hooks, struct trace_error *err)
{
	bool finished;

	return guest_run_slice(g, UINT64_MAX, hooks, err, &finished);
}
