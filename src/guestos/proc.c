/* SPDX-License-Identifier: MIT */
/* Processes: a trace's pids as the guest's own numbers, and their events. */
#include <stdlib.h>

#include "base/bug.h"
#include "guestos/mem_events.h"

static uint32_t pid_index(const struct source *s, uint32_t pid)
{
	uint32_t lo = 0, hi = s->npids;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (s->pids[mid].pid >= pid)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

static void pid_add(struct source *s, struct proc *p)
{
	uint32_t i = pid_index(s, p->pid);

	if (s->npids == s->cap_pids) {
		s->cap_pids = s->cap_pids ? s->cap_pids * 2 : 8;
		s->pids = realloc(s->pids, s->cap_pids * sizeof(*s->pids));
		BUG_ON(!s->pids);
	}
	memmove(&s->pids[i + 1], &s->pids[i], (s->npids - i) * sizeof(*s->pids));
	s->pids[i] = (struct source_pid){ p->pid, p };
	s->npids++;
}

static void pid_remove(struct source *s, uint32_t pid)
{
	uint32_t i = pid_index(s, pid);

	s->npids--;
	memmove(&s->pids[i], &s->pids[i + 1], (s->npids - i) * sizeof(*s->pids));
}

struct proc *proc_find(struct source *src, uint32_t pid)
{
	uint32_t i = pid_index(src, pid);

	return i < src->npids && src->pids[i].pid == pid ? src->pids[i].proc : NULL;
}

/* Takes over a use of mm. */
static struct proc *proc_create(struct guest *g, struct source *src, uint32_t pid, struct mm *mm)
{
	struct proc *p = calloc(1, sizeof(*p));

	BUG_ON(!p);
	if (g->zombie)
		mm_put(g, g->zombie);
	g->zombie = NULL;
	g->alive++;
	if (g->nprocs == g->cap_procs) {
		g->cap_procs = g->cap_procs ? g->cap_procs * 2 : 16;
		g->procs = realloc(g->procs, g->cap_procs * sizeof(*g->procs));
		BUG_ON(!g->procs);
	}
	g->procs[g->nprocs++] = p;
	p->number = g->nprocs;
	p->pid = pid;
	p->src = src;
	p->mm = mm;
	p->work.id = (uint64_t)g->vm->vmid << 32 | p->number;
	g->stats.processes++;
	pid_add(src, p);
	return p;
}

struct proc *proc_get(struct guest *g, struct source *src, uint32_t pid)
{
	struct proc *p;

	if (pid == 0 && src->current)
		return src->current;
	/* Who has not been named yet is 1. */
	pid = pid ? pid : 1;
	p = proc_find(src, pid);
	return p ? p : proc_create(g, src, pid, mm_create(g, src));
}

void proc_exit(struct guest *g, struct proc *p)
{
	struct mm *mm = p->mm;

	pid_remove(p->src, p->pid);
	if (p->src->current == p)
		p->src->current = NULL;
	p->mm = NULL;
	digest_end(p);
	g->stats.exits++;
	if (--g->alive)
		mm_put(g, mm);
	else
		g->zombie = mm;
}

static int become_child(struct guest *g, struct source *src, const struct trace_event *ev, struct mm *mm)
{
	struct proc *old = proc_find(src, ev->child);

	/* A child that already ran (its first block came before its birth) goes on with what it is given. */
	if (old) {
		struct mm *was = old->mm;

		old->mm = mm;
		mm_put(g, was);
	} else {
		proc_create(g, src, ev->child, mm);
	}
	g->stats.forks++;
	return 0;
}

static int event_fork(struct guest *g, struct source *src, const struct trace_event *ev)
{
	struct proc *parent = proc_get(g, src, ev->pid);
	int err;
	struct mm *mm = mm_fork(g, src, parent->mm, &err);

	return mm ? become_child(g, src, ev, mm) : err;
}

static int event_share(struct guest *g, struct source *src, const struct trace_event *ev)
{
	struct proc *parent = proc_get(g, src, ev->pid);

	parent->mm->users++;
	return become_child(g, src, ev, parent->mm);
}

static int event_exec(struct guest *g, struct source *src, const struct trace_event *ev)
{
	struct proc *p = proc_get(g, src, ev->pid);
	struct mm *old = p->mm;

	p->mm = mm_create(g, src);
	mm_put(g, old);
	g->stats.execs++;
	return 0;
}

int proc_event(struct guest *g, struct source *src, const struct trace_event *ev)
{
	struct proc *p;

	if (!src->current && ev->pid && ev->kind != EV_EXIT)
		src->current = proc_get(g, src, ev->pid);
	switch (ev->kind) {
	case EV_SWITCH:
		src->current = proc_get(g, src, ev->pid);
		return 0;
	case EV_FORK:
		return event_fork(g, src, ev);
	case EV_VFORK_SHARED:
		return event_share(g, src, ev);
	case EV_EXEC:
		return event_exec(g, src, ev);
	case EV_EXIT:
		p = ev->pid == 0 && src->current ? src->current : proc_find(src, ev->pid);
		if (p)
			proc_exit(g, p);
		return 0;
	case EV_THREAD:
		g->stats.threads++;
		return 0;
	case EV_SYSCALL:
		return 0;
	default:
		return mem_event(g, proc_get(g, src, ev->pid)->mm, ev);
	}
}

void procs_fini(struct guest *g)
{
	for (uint32_t i = 0; i < g->nprocs; i++) {
		free(g->procs[i]->hash);
		free(g->procs[i]);
	}
	free(g->procs);
	g->procs = NULL;
	g->nprocs = 0;
}
