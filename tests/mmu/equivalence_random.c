/* SPDX-License-Identifier: MIT */
/* Random guests: the same step by step whatever translates them (equivalence.h). */
#include "equivalence.h"

#include <stdlib.h>

static const char *const presets[] = { "none", "generic", "zen2", "rocket", "skylake" };

/* Guest and second-stage formats that go together. */
static const struct { const char *guest, *host; } formats[] = {
	{ "x86-64", "x86-64" }, { "sv39", "sv39" }, { "x86-32", "x86-64" }, { "sv39", "x86-64" },
	{ "x86-64", "sv48" }, { "x86-pae", "x86-64" }, { "x86-64-5l", "x86-64" }, { "x86-32", "x86-32" },
	{ "sv48", "x86-64-5l" }, { "x86-64", "x86-64-5l" }, { "x86-pae", "sv39" }, { "sv57", "sv57" },
};

static uint64_t first_seed(void)
{
	const char *s = getenv("QUIRE_TEST_SEED");

	return s ? strtoull(s, NULL, 0) : 1;
}

/* Everything but the scheme follows from the seed. */
static struct eq_config config_of(uint64_t seed)
{
	struct rng r;
	struct eq_config c = { .audit_every = 64 };

	rng_init(&r, seed ^ 0x5eed);
	c.rig.preset = presets[rng_below(&r, ARRAY_SIZE(presets))];
	c.rig.host = formats[seed % ARRAY_SIZE(formats)].host;
	c.rig.host_thp = rng_below(&r, 3) == 0;
	c.rig.eager = rng_below(&r, 4) == 0;
	c.rig.shadow_budget = rng_below(&r, 4) ? 0 : 1 + (unsigned)rng_below(&r, 12);
	c.rig.flood_limit = rng_below(&r, 3) ? 0 : 1 + (unsigned)rng_below(&r, 40);
	/* Tables change sides, and the VM its scheme, in the midst of it all. */
	c.rig.interval = 1 + (unsigned)rng_below(&r, 16);
	return c;
}

static void make(struct sequence *s, uint64_t seed, unsigned n, unsigned host)
{
	sequence_make(s, seed, eq_format(formats[seed % ARRAY_SIZE(formats)].guest), n, host);
}

static void under_every_scheme(unsigned seeds, unsigned ops, unsigned host, bool fence)
{
	struct sequence *s = malloc(sizeof(*s));
	uint64_t first = first_seed();
	unsigned ran = 0;

	eq_succeeded = eq_faulted = 0;
	for (uint64_t seed = first; seed < first + (uint64_t)seeds * long_times(); seed++) {
		struct eq_config c = config_of(seed);

		make(s, seed, ops, host);
		if (fence) {
			c.also_fence = true;
			c.rig.visibility = VISIBLE_ARCHITECTURAL;
		}
		for (unsigned i = 0; (c.rig.scheme = rig_scheme_at(i)) != NULL; i++)
			ran += equivalent(&c, s);
	}
	free(s);
	fprintf(stderr, "seeds %llu…: %u runs, %llu accesses succeeded, %llu faulted\n", (unsigned long long)first, ran,
		(unsigned long long)eq_succeeded, (unsigned long long)eq_faulted);
	/* Neither is rare, else nothing was tested. */
	assert_true(eq_succeeded > 4 * eq_faulted / 10 && eq_faulted > eq_succeeded / 20);
}

static void test_quiet_host(void **state)
{
	under_every_scheme(96, 260, 0, false);
}

static void test_busy_host(void **state)
{
	under_every_scheme(144, 260, 14, false);
}

static void test_architectural_with_fences(void **state)
{
	under_every_scheme(36, 220, 5, true);
}

/* One VM that is moved from scheme to scheme. */
static void test_changing_scheme(void **state)
{
	struct sequence *s = malloc(sizeof(*s));
	uint64_t first = first_seed() + 100000;

	for (uint64_t seed = first; seed < first + 200ull * long_times(); seed++) {
		struct eq_config c = config_of(seed);

		make(s, seed, 320, 25);
		c.change = true;
		c.change_each_step = seed % 4 == 0;
		c.rig.scheme = seed % 3 ? "nested/radix" : "native";
		equivalent(&c, s);
	}
	free(s);
}

/* Agile, adaptive: any guest table, all of the VM, changes sides at any moment, with or without reason. */
static void test_changing_sides(void **state)
{
	struct sequence *s = malloc(sizeof(*s));
	uint64_t first = first_seed() + 200000;

	for (uint64_t seed = first; seed < first + 100ull * long_times(); seed++) {
		struct eq_config c = config_of(seed);

		make(s, seed, 320, 10);
		c.sides = true;
		c.rig.interval = seed % 2 ? 1 : 100000;
		c.rig.scheme = "agile";
		equivalent(&c, s);
		c.rig.scheme = "adaptive";
		equivalent(&c, s);
	}
	free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_quiet_host),
		cmocka_unit_test(test_busy_host),
		cmocka_unit_test(test_architectural_with_fences),
		cmocka_unit_test(test_changing_scheme),
		cmocka_unit_test(test_changing_sides),
	};

	return cmocka_run_group_tests_name("equivalence of schemes, random guests", tests, NULL, NULL);
}
