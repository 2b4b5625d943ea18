/* SPDX-License-Identifier: MIT */
/*
 * Agile and adaptive follow what is cheaper. One work of three phases: random
 * references to many pages, where a shadow saves loads; tables that change
 * all the time, where it costs exits; random references again. In each,
 * after a warm-up, neither may cost over 5 % more modelled cycles than the
 * better of nested and shadow. (A phase's cost is that of the work up to its
 * end less that of the work up to its warm-up's: both runs are the same so far.)
 */
#include "exp/exp.h"
#include "harness.h"

enum { PAGES = 3000, MISSES_WARM = 100000, MISSES = 40000, STORMS_WARM = 800, STORMS = 500, STORM_PAGES = 6 };

static const uint64_t base = 0x10000000, storm_base = 0x40000000;

enum phase { GUPS, STORM, PHASES };

static void references(struct script *s, struct rng *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint64_t gva = base + rng_below(r, PAGES) * PAGE_SIZE + 8 * rng_below(r, 512);

		if (rng_below(r, 2))
			script_write(s, gva);
		else
			script_read(s, gva);
	}
}

static void storms(struct script *s, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint64_t at = storm_base + (uint64_t)(i % 8) * STORM_PAGES * PAGE_SIZE;

		script_mmap(s, 1, at, STORM_PAGES * PAGE_SIZE, PROT_BIT_R | PROT_BIT_W, 0);
		for (unsigned p = 0; p < STORM_PAGES; p++)
			script_write(s, at + p * PAGE_SIZE);
		script_munmap(s, 1, at, STORM_PAGES * PAGE_SIZE);
	}
}

/* The first `phases` phases; the last of them up to its warm-up's end, or whole. */
static void make_work(struct script *s, const enum phase *order, unsigned phases, bool whole)
{
	struct rng r;

	rng_init(&r, 7);
	script_init(s);
	script_switch(s, 1);
	script_mmap(s, 1, base, PAGES * PAGE_SIZE, PROT_BIT_R | PROT_BIT_W, 0);
	for (unsigned i = 0; i < phases; i++) {
		bool all = whole || i + 1 < phases;

		if (order[i] == GUPS)
			references(s, &r, MISSES_WARM + (all ? MISSES : 0));
		else
			storms(s, STORMS_WARM + (all ? STORMS : 0));
	}
}

static uint64_t cycles(const char *scheme, const enum phase *order, unsigned phases, bool whole, uint64_t *changes)
{
	struct rig_config c = {
		.scheme = scheme, .truth_only = true, .interval = 4096,
		.guest = { .asids = true, .mem_pages = 6000 },
	};
	struct run_result r = { 0 };
	struct script s;

	make_work(&s, order, phases, whole);
	struct outcome o = run_script(&c, &s, NULL);

	script_fini(&s);
	assert_true(o.possible);
	assert_int_equal(o.end, GUEST_DONE);
	r.sum.stats = o.vm;
	cost_sum(&cost_default, &r);
	*changes = o.vm.scheme_changes;
	return r.cycles.total;
}

static uint64_t cost_of(const char *scheme, const enum phase *order, unsigned phase, uint64_t *changes)
{
	uint64_t before = cycles(scheme, order, phase + 1, false, changes);

	return cycles(scheme, order, phase + 1, true, changes) - before;
}

static void follow(const enum phase *order, unsigned n)
{
	static const char *const policies[] = { "agile", "adaptive" };
	uint64_t changes;

	for (unsigned phase = 0; phase < n; phase++) {
		uint64_t nested = cost_of("nested/radix", order, phase, &changes);
		uint64_t shadow = cost_of("shadow", order, phase, &changes), better = MIN(nested, shadow);

		/* The phases are what they are meant to be. */
		assert_true(order[phase] == GUPS ? shadow < nested * 9 / 10 : nested < shadow * 9 / 10);
		for (unsigned i = 0; i < ARRAY_SIZE(policies); i++) {
			uint64_t cost = cost_of(policies[i], order, phase, &changes);

			print_message("phase %u: nested %llu, shadow %llu, %s %llu, %llu moves\n", phase,
				      (unsigned long long)nested, (unsigned long long)shadow, policies[i],
				      (unsigned long long)cost, (unsigned long long)changes);
			if (cost > better + better / 20)
				fail_msg("%s costs %llu in phase %u, the better of the two %llu", policies[i],
					 (unsigned long long)cost, phase, (unsigned long long)better);
			if (i)
				assert_true(changes <= 2 * n);
		}
	}
}

static void misses_then_storm_then_misses(void **state)
{
	follow((const enum phase[]){ GUPS, STORM, GUPS }, 3);
	(void)state;
}

static void storm_then_misses(void **state)
{
	follow((const enum phase[]){ STORM, GUPS }, 2);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(misses_then_storm_then_misses),//
		cmocka_unit_test(storm_then_misses),
	};

	return cmocka_run_group_tests_name("agile and adaptive follow what is cheaper", tests, NULL, NULL);
}
