/* SPDX-License-Identifier: MIT */
/*
 * A scheme as a guest meets it: synthetic work under it and under native, on
 * machines alike, must leave the guest in the same state, whatever the format,
 * whatever the hypervisor zaps meanwhile.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/bug.h"
#include "conform/conform.h"
#include "exp/error.h"
#include "exp/exp.h"

static const char *const works[] = {
	"zipf,refs=6K,footprint=512K", "stackheap,refs=6K", "forkstorm,refs=6K", "tablestorm,refs=4K",
	"switchstorm,refs=4K", "gups,refs=4K,footprint=512K",
};
static const struct { const char *guest, *host; } formats[] = {
	{ "x86-64", "x86-64" }, { "sv39", "sv39" }, { "x86-32", "x86-64" }, { "sv48", "x86-64-5l" }, { "x86-pae", "x86-64" },
};
static const char *const machines[] = { "none", "generic", "rocket", "skylake" };

struct trial {
	struct run_config c;
	struct vm_spec vm;
	struct workload work;
	struct machine_file machine;
	struct format_file guest, host;
	struct rng zaps;
	struct exp *exp; /* while it runs */
	char name[160];
};

struct outcome {
	int code;
	const char *not_possible;
	uint64_t digest, work_digest;
	char error[256];
};

/* Everything but the scheme follows from the seed. */
static int trial_make(struct trial *x, uint64_t seed, unsigned n)
{
	const char *work = works[n % ARRAY_SIZE(works)];
	struct trace_error err = { 0 };
	struct rng r;

	memset(x, 0, sizeof(*x));
	rng_init(&r, seed);
	const char *machine = machines[rng_below(&r, ARRAY_SIZE(machines))];
	const char *guest = formats[n % ARRAY_SIZE(formats)].guest, *host = formats[n % ARRAY_SIZE(formats)].host;
	x->work = (struct workload){ .kind = WORK_SYNTH, .spec = (char *)work, .shown = (char *)work };
	x->vm = (struct vm_spec){ .name = "vm1", .work = &x->work };
	if (machine_load(machine, &x->machine, &err) || format_load(guest, &x->guest, &err) ||
	    format_load(host, &x->host, &err) || workload_scan(&x->work, seed, 0, &err))
		return -EINVAL;
	x->c = (struct run_config){
		.guest_fmt = &x->guest.fmt, .host_fmt = &x->host.fmt, .guest_org = pt_org_find("radix", 5),
		.tlb = &x->machine.tlb, .cost = &x->machine.cost, .machine_name = x->machine.name, .seed = seed,
		.thp = rng_below(&r, 2), .host_thp = rng_below(&r, 2), .p2m_eager = rng_below(&r, 4) == 0,
		.asids = x->guest.fmt.asid_bits != 0, .check = CHECK_WALK, .nvms = 1, .vm = &x->vm,
	};
	snprintf(x->name, sizeof(x->name), "synth:%s, formats %s:%s, machine %s%s%s%s", work, guest, host, machine,
		 x->c.thp ? ", thp" : "", x->c.host_thp ? ", host-thp" : "", x->c.p2m_eager ? ", p2m eager" : "");
	return 0;
}

static void run_trial(struct trial *x, const char *scheme, struct outcome *o)
{
	struct run_result *r = calloc(1, sizeof(*r));
	struct trace_error err = { 0 };
	const char *why = "no reason given";

	BUG_ON(!r);
	memset(o, 0, sizeof(*o));
	snprintf(x->c.scheme, sizeof(x->c.scheme), "%s", scheme);
	o->code = exp_create(&x->c, &x->exp, r, &err);
	o->not_possible = r->not_possible;
	if (x->exp) {
		o->code = exp_run(x->exp, r);
		err = r->error;
		if (!o->code && mmu_audit(exp_mmu(x->exp, 0), &why)) {
			o->code = EXIT_WRONG;
			snprintf(err.what, sizeof(err.what), "its tables fail their audit: %.200s", why);
		}
		o->digest = r->sum.digest;
		o->work_digest = r->sum.work_digest;
		exp_destroy(x->exp);
		x->exp = NULL;
	}
	snprintf(o->error, sizeof(o->error), "%s", err.what);
	run_result_fini(r);
	free(r);
}

/* Native, then the scheme; hooks only for the latter. *ran counts those that could be. */
static bool is_as_native(struct conform *t, struct trial *x, const char *scheme, const struct guest_hooks *hooks, unsigned *ran)
{
	struct outcome native, o;

	run_trial(x, "native", &native);
	if (native.code || native.not_possible)
		return true; /* nothing to compare with */
	x->c.hooks = hooks;
	run_trial(x, scheme, &o);
	x->c.hooks = NULL;
	if (o.not_possible) {
		snprintf(t->steps, sizeof(t->steps), "not possible: %s\n", o.not_possible);
		return true;
	}
	++*ran;
	if (o.code)
		return conform_fails(t, "the run ends with exit code %d: %s", o.code, o.error);
	if (o.digest != native.digest)
		return conform_fails(t, "digest 0x%016llx, under native 0x%016llx: the guest saw something else",
				     (unsigned long long)o.digest, (unsigned long long)native.digest);
	if (o.work_digest != native.work_digest)
		return conform_fails(t, "work digest 0x%016llx, under native 0x%016llx: a program loaded something else",
				     (unsigned long long)o.work_digest, (unsigned long long)native.work_digest);
	return true;
}

typedef void (*adjust)(struct trial *x);

static bool trials(struct conform *t, const char *scheme, uint64_t seed, adjust f, void (*step)(void *, uint64_t))
{
	enum { TRIALS = 6 }; /* each work and each format once */
	struct trial *x = malloc(sizeof(*x));
	const struct guest_hooks hooks = { .step = step, .step_refs = 500, .ctx = x };
	unsigned ran = 0;
	bool ok = true;

	BUG_ON(!x);
	for (unsigned n = 0; n < TRIALS && ok; n++) {
		char name[160];

		BUG_ON(trial_make(x, seed + n, n));
		if (f)
			f(x);
		snprintf(name, sizeof(name), "%.40s, %.110s", scheme, x->name);
		conform_begin(t, name, seed + n);
		rng_init(&x->zaps, seed + n);
		ok = is_as_native(t, x, scheme, step ? &hooks : NULL, &ran);
	}
	free(x);
	if (ok && !ran)
		return conform_fails(t, "it was not possible in any of %d trials", TRIALS);
	t->steps[0] = '\0';
	return ok;
}

static bool case_digest(struct conform *t, const char *scheme, uint64_t seed)
{
	return trials(t, scheme, seed, NULL, NULL);
}

static void with_data(struct trial *x)
{
	x->c.data = true;
}

static bool case_data(struct conform *t, const char *scheme, uint64_t seed)
{
	return trials(t, scheme, seed, with_data, NULL);
}

/* Tables and TLBs are caches: zapping any part of them at any moment changes nothing. */
static void zap_some(void *ctx, uint64_t refs)
{
	struct trial *x = ctx;
	struct mmu *mmu = exp_mmu(x->exp, 0);
	uint64_t end = vm_end_gfn(mmu_vm(mmu)).v, first = rng_below(&x->zaps, end);

	if (rng_below(&x->zaps, 8) == 0)
		mmu_zap_all(mmu);
	else
		mmu_zap_gfns(mmu, GFN(first), 1 + rng_below(&x->zaps, MIN(end - first, (uint64_t)64)));
}

static bool case_zaps(struct conform *t, const char *scheme, uint64_t seed)
{
	return trials(t, scheme, seed, with_data, zap_some);
}

/* From far too little memory to enough: it ends with exit code 4, or it runs. */
static bool case_memory(struct conform *t, const char *scheme, uint64_t seed)
{
	struct trial *x = malloc(sizeof(*x));
	char name[160];
	bool ok = true;

	BUG_ON(!x || trial_make(x, seed, 0));
	snprintf(name, sizeof(name), "%.40s, %.110s", scheme, x->name);
	conform_begin(t, name, seed);
	for (uint64_t mem = UINT64_C(64) << 10; mem <= UINT64_C(64) << 20 && ok; mem += mem / 4) {
		struct outcome o;

		conform_step(t, mem);
		x->c.mem = align_down(mem, PAGE_SIZE);
		run_trial(x, scheme, &o);
		if (o.code && o.code != EXIT_RESOURCES)
			ok = conform_fails(t, "with %llu KiB of machine memory the run ends with exit code %d, not 4: %s",
					   (unsigned long long)(mem >> 10), o.code, o.error);
	}
	free(x);
	return ok;
}

const struct scheme_case conform_scheme_cases[] = {
	{ "digest", "random work leaves the guest as native leaves it, and the tables pass their audit", case_digest },
	{ "data", "the same, with real bytes loaded and stored", case_data },
	{ "zaps", "and while tables and TLBs are zapped at random moments", case_zaps },
	{ "memory", "a machine too small is said to be, never a crash", case_memory },
	{ NULL },
};
