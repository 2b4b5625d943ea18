/* SPDX-License-Identifier: MIT */
/*
 * --caches: it measures and changes nothing. Under each scheme, format and kind
 * of digest, a run with caches has the digests and counts of one without, and
 * each reference of its walks was found in exactly one place.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "exp/exp.h"
#include "exp/names.h"

static struct machine_file machine;
static struct vm_spec vm_specs[2];

static struct run_config config_of(struct workload *w, const char *scheme, const char *format, const char *preset)
{
	struct trace_error err = { 0 };
	struct run_config c = {
		.guest_fmt = gpt_find(format), .host_fmt = gpt_find(format), .cost = &machine.cost, .tlb = &machine.tlb,
		.machine_name = preset, .seed = 3, .asids = true, .nvms = 1,
	};

	assert_int_equal(machine_load(preset, &machine, &err), 0);
	assert_int_equal(pt_org_parse("radix", &c.guest_org, &c.guest_org_flags), 0);
	strcpy(c.scheme, scheme);
	vm_specs[0] = (struct vm_spec){ .name = "vm1", .work = w };
	c.vm = vm_specs;
	return c;
}

static void run(const struct run_config *c, struct run_result *r)
{
	struct trace_error err = { 0 };

	run_result_fini(r);
	assert_int_equal(run_one(c, r, &err), 0);
}

static uint64_t total(const uint64_t lines[VM_CACHE_PLACES])
{
	return lines[0] + lines[1] + lines[2] + lines[3];
}

static struct run_result with, again, without;

static void compare_runs(struct run_config *c, const char *model)
{
	struct trace_error err = { 0 };
	struct vm_stats *s = &with.sum.stats;

	c->caches = NULL;
	run(c, &without);
	assert_int_equal(caches_choose(model, &machine, &c->caches, &err), 0);
	run(c, &with);
	run(c, &again);
	assert_int_equal(!with.not_possible, !without.not_possible);
	if (with.not_possible)
		return;
	assert_int_equal(with.sum.digest, without.sum.digest);
	assert_int_equal(with.sum.work_digest, without.sum.work_digest);
	assert_memory_equal(&with.sum, &again.sum, sizeof(with.sum));
	assert_memory_equal(&with.cycles, &again.cycles, sizeof(with.cycles));
	assert_int_equal(total(s->cache_table), s->walk_refs + s->fault_walk_refs);
	assert_true(s->cache_refs <= s->refs && total(s->cache_data) >= s->cache_refs && s->cache_refs);
	assert_int_equal(with.cycles.exits, without.cycles.exits);
	assert_int_equal(total(without.sum.stats.cache_data) + total(without.sum.stats.cache_table), 0);
	/* All else is equal, word by word. */
	memset(s->cache_data, 0, sizeof(s->cache_data));
	memset(s->cache_table, 0, sizeof(s->cache_table));
	s->cache_refs = 0;
	assert_memory_equal(s, &without.sum.stats, sizeof(*s));
}

static const char *const specs[] = {
	"zipf,refs=2K,footprint=2M", "forkstorm,refs=3K,procs=4", "tablestorm,refs=2K", "stackheap,refs=2K,footprint=4M",
};

static void measures_and_changes_nothing(void **state)
{
	static const char *const formats[] = { "x86-64", "sv39" };
	static const char *const presets[] = { "generic", "none", "zen2", "rocket" };
	const char *scheme;
	unsigned turn = 0;

	for (unsigned w = 0; w < ARRAY_SIZE(specs); w++) {
		struct workload work = { .kind = WORK_SYNTH, .spec = (char *)specs[w], .shown = (char *)specs[w] };
		struct trace_error err = { 0 };

		assert_int_equal(workload_scan(&work, 3, 0, &err), 0);
		for (unsigned i = 0; (scheme = names_scheme(i)) != NULL; i++, turn++) {
			struct run_config c = config_of(&work, scheme, formats[turn % ARRAY_SIZE(formats)],
							presets[turn / 2 % ARRAY_SIZE(presets)]);

			c.data = turn % 3 == 0;
			compare_runs(&c, cache_presets[turn % CACHE_PRESETS]->name);
		}
	}
}

/* A guest whose own table is no tree: loads of scans and chains, each of them translated. */
static void other_guest_tables_are_shown_too(void **state)
{
	static const char *const orgs[] = { "inverted", "inverted+linear" };
	struct workload work = { .kind = WORK_SYNTH, .spec = (char *)"zipf,refs=400,footprint=1M", .shown = (char *)"zipf" };
	struct trace_error err = { 0 };

	assert_int_equal(workload_scan(&work, 3, 0, &err), 0);
	for (unsigned i = 0; i < 4; i++) {
		struct run_config c = config_of(&work, i / 2 ? "nested/radix" : "native", "x86-64", i / 2 ? "none" : "generic");

		assert_int_equal(pt_org_parse(orgs[i % 2], &c.guest_org, &c.guest_org_flags), 0);
		compare_runs(&c, "generic");
	}
}

/* One VM's lines stand in the other's way, and each has its own counts. */
static void several_vms_share_them(void **state)
{
	struct workload work = { .kind = WORK_SYNTH, .spec = (char *)"zipf,refs=20K,footprint=1M", .shown = (char *)"zipf" };
	struct trace_error err = { 0 };

	assert_int_equal(workload_scan(&work, 3, 0, &err), 0);
	struct run_config c = config_of(&work, "nested/radix", "x86-64", "generic");

	c.quantum = 500;
	assert_int_equal(caches_choose("generic", &machine, &c.caches, &err), 0);
	run(&c, &without);
	c.vm[1] = (struct vm_spec){ .name = "vm2", .work = &work, .scheme = "nested/inverted" };
	c.nvms = 2;
	run(&c, &with);
	for (unsigned i = 0; i < 2; i++) {
		const struct vm_stats *s = &with.vm[i].stats;

		assert_int_equal(total(s->cache_table), s->walk_refs + s->fault_walk_refs);
		assert_true(s->cache_data[CACHE_L1D] < without.vm[0].stats.cache_data[CACHE_L1D]);
	}
}

/* Once every line was met and fits, all is found in L1D: and then only. */
static void a_small_loop_hits(void **state)
{
	struct workload work = { .kind = WORK_SYNTH, .spec = (char *)"stream,refs=64K,footprint=8K,stride=64", .shown = (char *)"s" };
	struct trace_error err = { 0 };

	assert_int_equal(workload_scan(&work, 3, 0, &err), 0);
	struct run_config c = config_of(&work, "native", "x86-64", "generic");

	assert_int_equal(caches_choose("generic", &machine, &c.caches, &err), 0);
	run(&c, &with);
	assert_int_equal(with.sum.stats.cache_data[CACHE_MEMORY], 128);
	assert_int_equal(with.sum.stats.cache_data[CACHE_L1D], 64000 - 128);
	assert_int_equal(with.sum.stats.cache_data[CACHE_L2] + with.sum.stats.cache_data[CACHE_LLC], 0);
}

static void prices_are_of_the_place(void **state)
{
	static struct run_result r;
	struct vm_stats *s = &r.sum.stats;
	struct cost_table t = { 0 };

	for (unsigned i = 0; i < VM_CACHE_PLACES; i++) {
		t.of[COST_CACHE_L1 + i].cycles = UINT64_C(1) << (8 * i);
		s->cache_table[i] = 2 + i;
		s->cache_data[i] = 10 + i;
	}
	t.of[COST_WALK_REF].cycles = t.of[COST_WALK_REF_OVERLAP].cycles = UINT64_C(1) << 40;
	t.of[COST_REF].cycles = UINT64_C(1) << 48;
	s->walk_refs = s->walk_depth = 12;
	s->fault_walk_refs = 2;
	s->refs = 40;
	s->cache_refs = 37;
	cost_sum(&t, &r);
	assert_int_equal(r.cycles.translation, 0x05040302);
	assert_int_equal(r.cycles.total, r.cycles.translation + 0x0d0c0b0a + (UINT64_C(3) << 48));
	/* Half of them beside others. */
	s->walk_depth = 5;
	cost_sum(&t, &r);
	assert_int_equal(r.cycles.translation, 0x05040302 / 2 + (UINT64_C(7) << 40));
}

static int parse(const char *text, struct trace_error *err)
{
	memset(err, 0, sizeof(*err));
	return machine_parse("m.yaml", text, strlen(text), &machine, err);
}

static void machine_files_have_them(void **state)
{
	const struct cache_config *c;
	struct trace_error err;

	assert_int_equal(parse("name: a\nbase: skylake\ncaches:\n"
			       "  l1d: {kib: 48, ways: 12, cycles: 5}\n"
			       "  l2: {kib: 2048, ways: 16, policy: plru, holds: inclusive, cycles: 15}\n"
			       "  memory_cycles: 333\n  source: here\n"
			       "cost: {cache_l2: 17}\n", &err), 0);
	assert_int_equal(caches_choose("machine", &machine, &c, &err), 0);
	assert_int_equal(c->level[CACHE_L1D].array.sets, 64);
	assert_int_equal(c->level[CACHE_L2].array.sets, 2048);
	assert_int_equal(c->level[CACHE_L2].holds, CACHE_INCLUSIVE);
	assert_int_equal(c->level[CACHE_L2].array.policy, TLB_PLRU);
	assert_int_equal(c->level[CACHE_LLC].array.sets, 0);
	assert_int_equal(machine.cost.of[COST_CACHE_L1].cycles, 5);
	assert_int_equal(machine.cost.of[COST_CACHE_L2].cycles, 17);
	assert_int_equal(machine.cost.of[COST_CACHE_MEMORY].cycles, 333);
	assert_string_equal(machine.cost.of[COST_CACHE_MEMORY].source, "here");
	assert_int_equal(parse("name: a\ncaches:\n  l1d: {kib: 32, ways: 7, cycles: 4}\n  memory_cycles: 1\n", &err), 2);
	assert_non_null(strstr(err.what, "m.yaml:3:"));
	assert_int_equal(parse("name: a\ncaches:\n  l1d: {kib: 32, ways: 8, cycles: 4}\n", &err), 2);
	assert_non_null(strstr(err.what, "memory_cycles"));
	assert_int_equal(parse("name: a\ncaches: {l1d: {kib: 32, ways: 8, cycles: 4}, l2: {kib: 16, ways: 8, holds: inclusive, "
			       "cycles: 9}, memory_cycles: 1}\n", &err), 2);
	assert_non_null(strstr(err.what, "inclusive"));
	assert_int_equal(parse("name: a\n", &err), 0);
	assert_int_equal(caches_choose("machine", &machine, &c, &err), 2);
	assert_int_equal(caches_choose("zen3", &machine, &c, &err), 2);
	assert_non_null(strstr(err.what, "did you mean 'zen2'"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(measures_and_changes_nothing),
		cmocka_unit_test(other_guest_tables_are_shown_too),
		cmocka_unit_test(several_vms_share_them),
		cmocka_unit_test(a_small_loop_hits),
		cmocka_unit_test(prices_are_of_the_place),
		cmocka_unit_test(machine_files_have_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
