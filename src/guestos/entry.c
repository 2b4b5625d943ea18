/* SPDX-License-Identifier: MIT */
/*
 * Where the kernel is entered from below: system calls, TLB misses (a
 * processor whose TLB is managed by software), and the way back.
 *
 * The handler for TLB misses is the walk that hardware would have made, of
 * the same tables, by the kernel's own loads through the unmapped segment;
 * accessed and dirty bits are set by its own stores.
 */
#include "guestos/guest_internal.h"

/* ---- TLB misses ---- */

/* What the tables say about an access of the running space. */
static void walk_tables(struct guest *g, const struct guest_fault *miss, struct walk *w)
{
	const struct guest_paging *p = &g->vcpu->paging;
	uint64_t refs = g->ptm.counts.refs;
	struct walk_req req = {
		.va = miss->gva.v,
		.space = p->key_space,
		.kind = miss->kind,
		.user = g->vcpu->user,
		.ctl = p->ctl,
		.ad = p->ad,
		.start_level = -1,
	};

	g->current->pt->org->lookup(g->current->pt, &req, w);
	g->stats.tlb_refills++;
	g->stats.tlb_refill_refs += g->ptm.counts.refs - refs;
}

static enum access_status write_tlb(struct guest *g, const struct guest_fault *miss, const struct walk *w)
{
	struct guest_tlb_entry e = {
		.gva = miss->gva.v,
		.gpa = w->frame << PAGE_SHIFT | (miss->gva.v & PAGE_MASK),
		.order = w->order,
		.rights = w->rights,
	};

	return vcpu_tlb_write(g->vcpu, &e);
}

static enum access_status tlb_miss(void *ctx, struct guest_fault *miss)
{
	struct guest *g = ctx;
	enum access_status s;
	struct walk w;

	walk_tables(g, miss, &w);
	if (g->fatal)
		return g->fatal == GUEST_NOMEM ? ACCESS_NOMEM : ACCESS_CRASH;
	if (w.status != WALK_OK) {
		miss->why = w.why;
		miss->error_code = w.error_code;
		return ACCESS_FAULT;
	}
	s = write_tlb(g, miss, &w);
	if (s == ACCESS_FAULT)
		*miss = g->vcpu->fault;
	return s;
}

/* The end of a page fault that began as a TLB miss: what was mended goes in, else the access would miss again. */
static void refill(struct guest *g, const struct guest_fault *f)
{
	struct guest_fault miss = { f->gva, f->kind, WALK_WHY_NONE, 0 };
	enum access_status s;
	struct walk w;

	walk_tables(g, &miss, &w);
	if (g->fatal || w.status != WALK_OK)
		return;
	s = write_tlb(g, &miss, &w);
	if (s != ACCESS_OK && s != ACCESS_FAULT)
		(void)guest_access(g, s);
}

void entry_return(struct guest *g, struct proc *p, const struct guest_fault *f, bool mended)
{
	if (mended && g->vcpu->refill.open && p->mm == g->current)
		refill(g, f);
	vcpu_return(g->vcpu);
}

/* ---- system calls ---- */

struct call {
	struct source *src;
	const struct trace_event *ev;
	int err;
};

static int do_event(struct guest *g, struct source *src, const struct trace_event *ev)
{
	int err = proc_event(g, src, ev);

	fence_pay(g);
	return err;
}

static void system_call(void *ctx, void *arg)
{
	struct call *c = arg;

	c->err = do_event(ctx, c->src, c->ev);
}

static bool is_system_call(const struct source *src, const struct trace_event *ev)
{
	if (src->trace->tells_calls)
		return ev->kind == EV_SYSCALL;
	return ev->kind != EV_SWITCH && ev->kind != EV_RAM && ev->kind != EV_PHYS;
}

int entry_event(struct guest *g, struct source *src, const struct trace_event *ev)
{
	struct call c = { src, ev, 0 };

	if (!is_system_call(src, ev)) {
		vcpu_enter_kernel(g->vcpu);
		return do_event(g, src, ev);
	}
	g->stats.syscalls++;
	vcpu_system_call(g->vcpu, &c);
	return c.err;
}

void entry_boot(struct guest *g)
{
	g->entry = (struct guest_entry_points){ tlb_miss, system_call, g };
	vcpu_set_entry_points(g->vcpu, &g->entry);
}
