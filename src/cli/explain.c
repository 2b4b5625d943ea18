/* SPDX-License-Identifier: MIT */
/*
 * explain: the work runs, then one translation is done with every table
 * memory logged. What is shown is what was loaded, never a formula.
 */
#include <stdlib.h>

#include "base/bits.h"
#include "cli/explain.h"

static void on_ref(struct pt_log *log, const struct pt_ref *ref)
{
	struct explanation *x = container_of(log, struct explanation, log);
	struct vm *vm = mmu_vm(x->vcpu->mmu);
	struct explain_step *s;
	gfn_t gfn = GFN(ref->addr >> PAGE_SHIFT);

	if (x->walk_ended) {
		x->nsteps = 0;
		x->left_out = 0;
		x->walk_ended = false;
	}
	if (x->nsteps == REPORT_EXPLAIN_MAX) {
		x->left_out += ref->repeat;
		return;
	}
	s = &x->step[x->nsteps++];
	s->ref = *ref;
	/* No frame is both a guest's and a table of the hypervisor's. */
	s->guest_memory = memslot_find(vm, gfn) && gfn_kind(gfn_get(vm, gfn)) == GFN_BACKED &&
			  gfn_mfn(gfn_get(vm, gfn)).v == ref->hpa.v >> PAGE_SHIFT;
}

static void on_walk_end(struct mmu_explain *e, enum walk_status status)
{
	struct explanation *x = container_of(e, struct explanation, mmu);

	/* A walk without a reference (the address cannot be) leaves nothing of the one before. */
	if (x->walk_ended)
		x->nsteps = 0;
	x->walk_ended = true;
	x->walks++;
}

static void on_fault_step(struct vm_log *log, const struct vm_fault_step *s)
{
	struct explanation *x = container_of(log, struct explanation, fault_log);

	if (x->nfaults < EXPLAIN_FAULTS_MAX)
		x->fault[x->nfaults++] = *s;
}

/* A walk that ended in the guest's fault: what it read is what it cost. */
static void count_fault(struct explanation *x)
{
	x->mmu.references = x->left_out;
	for (unsigned i = 0; i < x->nsteps; i++)
		x->mmu.references += x->step[i].ref.repeat;
	x->mmu.depth = x->mmu.references;
}

static int look(struct explanation *x)
{
	const struct options *o = x->options;
	int rc = guest_enter(exp_guest(x->exp, 0), o->pid);

	if (rc)
		return complain_usage("the work has no living process %u; leave out --pid for the one that ran last, or stop the work earlier with --limit",
				      o->pid);
	x->vcpu = exp_vcpu(x->exp, 0);
	x->log.ref = on_ref;
	x->fault_log.step = on_fault_step;
	x->mmu = (struct mmu_explain){
		.gva = GVA(o->gva), .kind = o->access, .warm = o->warm,
		.refs = &x->log, .steps = &x->fault_log, .walk_end = on_walk_end,
	};
	mmu_explain(x->vcpu, &x->mmu);
	if (x->mmu.status == ACCESS_FAULT)
		count_fault(x);
	return 0;
}

static int write_out(const struct explanation *x, const struct options *o)
{
	struct outputs out;
	int code = outputs_open(&out, o), closed;

	if (code)
		return code;
	if (out.text)
		explain_text(x, stdout);
	if (out.json)
		code = outputs_json(&out, explain_json(x), o);
	closed = outputs_close(&out, o);
	return code ? code : closed;
}

static bool poll_interrupt(void *ctx, uint64_t refs_done)
{
	return interrupted();
}

/* The run's own end matters little: what it came to is there to be looked at. */
static int explain_after(struct explanation *x, struct run_result *r)
{
	int ended = exp_run(x->exp, r), code;

	if (r->end == GUEST_CRASHED || r->end == GUEST_NOMEM || r->end == GUEST_OOM)
		return complain(&r->error);
	code = look(x);
	if (!code)
		code = write_out(x, x->options);
	if (ended && r->error.what[0])
		complain(&r->error);
	return code ? code : ended;
}

static int explain(struct options *o)
{
	static const struct guest_hooks hooks = { .poll = poll_interrupt };
	struct explanation *x = calloc(1, sizeof(*x));
	struct run_result *r = calloc(1, sizeof(*r));
	struct trace_error err = { 0 };
	int code;

	if (!x || !r) {
		free(x);
		free(r);
		return complain_usage("no memory on this host");
	}
	x->options = o;
	o->config.hooks = &hooks;
	code = exp_create(&o->config, &x->exp, r, &err);
	if (code)
		complain(&err);
	else if (r->not_possible)
		code = complain_usage("%s is not possible here: %s", r->scheme, r->not_possible);
	else
		code = explain_after(x, r);
	if (x->exp)
		exp_destroy(x->exp);
	run_result_fini(r);
	free(r);
	free(x);
	return code;
}

int command_explain(int argc, char **argv)
{
	return command_on_work(argc, argv, CMD_EXPLAIN, explain);
}
