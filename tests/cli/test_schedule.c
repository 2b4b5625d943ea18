/* SPDX-License-Identifier: MIT */
/* Who has the processor at each reference of a run of several VMs; what several runs say of a figure. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "exp/exp.h"
#include "report/figure.h"

enum { VMS = 5, REFS = 400, STEP = 1 };

static struct machine_file machine;

struct watcher {
	struct exp *e;
	uint64_t stagger, quantum;
	uint64_t seen; /* steps */
};

/* References that each VM has had at virtual time `time`, by the rule in words, one reference at a time. */
static void expect(const struct watcher *w, uint64_t refs_done, uint64_t out[VMS], uint64_t ended[VMS])
{
	uint64_t time = 0, left = 0;
	unsigned started = 0, at = VMS - 1;

	memset(out, 0, VMS * sizeof(*out));
	for (uint64_t done = 0; done < refs_done; time++) {
		if (started < VMS && started * w->stagger <= time) {
			at = started++;
			left = w->quantum;
		} else if (!left || out[at] == REFS) {
			unsigned tried = 0;

			do
				at = (at + 1) % VMS;
			while ((at >= started || out[at] == REFS) && ++tried < VMS);
			left = w->quantum;
		}
		if (at >= started || out[at] == REFS)
			continue; /* nobody has anything to do: time passes */
		out[at]++;
		ended[at] = time + 1;
		done++;
		left--;
	}
}

static void look(void *ctx, uint64_t refs_done)
{
	struct watcher *w = ctx;
	uint64_t want[VMS], ended[VMS];

	w->seen++;
	expect(w, refs_done, want, ended);
	for (unsigned i = 0; i < VMS; i++)
		if (guest_refs(exp_guest(w->e, i)) != want[i])
			fail_msg("stagger %llu, quantum %llu, after %llu references: VM %u has had %llu, should %llu",
				 (unsigned long long)w->stagger, (unsigned long long)w->quantum,
				 (unsigned long long)refs_done, i, (unsigned long long)guest_refs(exp_guest(w->e, i)),
				 (unsigned long long)want[i]);
}

static void run_staggered(uint64_t stagger, uint64_t quantum)
{
	struct workload work = { .kind = WORK_SYNTH, .spec = (char *)"zipf,refs=400,footprint=64K", .shown = (char *)"test" };
	struct watcher w = { .stagger = stagger, .quantum = quantum };
	const struct guest_hooks hooks = { .step = look, .step_refs = STEP, .ctx = &w };
	struct vm_spec vms[VMS];
	uint64_t want[VMS], ended[VMS];
	struct trace_error err = { 0 };
	struct run_result *r = calloc(1, sizeof(*r));
	struct run_config c = {
		.guest_fmt = gpt_find("x86-64"), .host_fmt = gpt_find("x86-64"), .cost = &machine.cost, .tlb = &machine.tlb,
		.machine_name = "generic", .scheme = "nested/radix", .seed = 1, .asids = true, .nvms = VMS, .vm = vms,
		.quantum = quantum, .hooks = &hooks,
	};

	assert_non_null(r);
	assert_int_equal(machine_load("generic", &machine, &err), 0);
	assert_int_equal(pt_org_parse("radix", &c.guest_org, &c.guest_org_flags), 0);
	assert_int_equal(workload_scan(&work, 1, 0, &err), 0);
	assert_int_equal(work.refs, REFS);
	for (unsigned i = 0; i < VMS; i++) {
		vms[i] = (struct vm_spec){ .work = &work, .start = i * stagger };
		snprintf(vms[i].name, sizeof(vms[i].name), "vm%u", i);
	}
	assert_int_equal(exp_create(&c, &w.e, r, &err), 0);
	assert_int_equal(exp_run(w.e, r), 0);
	/* A guest tells of the references within its slices, not of where they end. */
	assert_true(w.seen >= VMS * REFS - VMS * REFS / quantum - 2 * VMS || quantum == 1);
	expect(&w, VMS * REFS, want, ended);
	for (unsigned i = 0; i < VMS; i++) {
		assert_int_equal(r->vm[i].started, i * stagger);
		assert_int_equal(r->vm[i].ended, ended[i]);
	}
	exp_destroy(w.e);
	run_result_fini(r);
	free(r);
}

static void each_reference_is_whose_it_should_be(void **state)
{
	static const uint64_t staggers[] = { 1, 3, 50, 64, 100, 399, 400, 401, 1000 }, quanta[] = { 1, 10, 64, 1000 };

	for (unsigned i = 0; i < sizeof(staggers) / sizeof(*staggers); i++)
		for (unsigned k = 0; k < sizeof(quanta) / sizeof(*quanta); k++)
			run_staggered(staggers[i], quanta[k]);
	(void)state;
}

/* ---- statistics ---- */

static void assert_near(double a, double b, double within)
{
	if (!(a - b <= within && b - a <= within))
		fail_msg("%.9g is not %.9g", a, b);
}

/* As printed tables have it, to three decimals. */
static void quantiles_are_those_of_the_tables(void **state)
{
	static const struct { unsigned freedom; double t; } table[] = {
		{ 1, 12.706 }, { 2, 4.303 }, { 3, 3.182 }, { 4, 2.776 }, { 5, 2.571 }, { 6, 2.447 }, { 7, 2.365 },
		{ 8, 2.306 }, { 9, 2.262 }, { 10, 2.228 }, { 12, 2.179 }, { 15, 2.131 }, { 20, 2.086 }, { 25, 2.060 },
		{ 29, 2.045 }, { 30, 2.042 }, { 31, 2.040 }, { 40, 2.021 }, { 60, 2.000 }, { 80, 1.990 }, { 100, 1.984 },
		{ 120, 1.980 }, { 999, 1.962 },
	};

	for (unsigned i = 0; i < sizeof(table) / sizeof(*table); i++)
		assert_near(student_t95(table[i].freedom), table[i].t, 0.0005);
	for (unsigned n = 1; n < 999; n++)
		assert_true(student_t95(n + 1) < student_t95(n));
	(void)state;
}

static void spreads_are_those_worked_out_by_hand(void **state)
{
	static const double ramp[] = { 1, 2, 3, 4, 5 }, same[] = { 1e15 + 1, 1e15 + 1, 1e15 + 1 }, pair[] = { 10, 14 };
	struct spread s = spread_of(ramp, 5);

	/* sqrt(10 / 4) and 2.7764451 sqrt(2.5 / 5) */
	assert_near(s.mean, 3, 0);
	assert_near(s.sd, 1.58113883, 1e-8);
	assert_near(s.half, 1.96324316, 1e-7);
	s = spread_of(same, 3);
	assert_true(s.mean == same[0] && s.sd == 0 && s.half == 0);
	s = spread_of(pair, 2);
	assert_near(s.mean, 12, 0);
	assert_near(s.sd, 2.82842712, 1e-8);
	assert_near(s.half, 25.4124094, 1e-6);
	s = spread_of(ramp, 1);
	assert_true(s.mean == 1 && s.sd == 0 && s.half == 0);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_reference_is_whose_it_should_be),
		cmocka_unit_test(quantiles_are_those_of_the_tables),
		cmocka_unit_test(spreads_are_those_worked_out_by_hand),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
