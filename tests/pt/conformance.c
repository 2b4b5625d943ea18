/* SPDX-License-Identifier: MIT */
/*
 * Every registered organisation, with each of its options, under every format
 * and at both stages, through every conformance case (src/conform/). A new
 * organisation is tested by existing.
 *
 *     test-pt-conformance [SEED [CASE]]
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "conform/conform.h"

static uint64_t seed = 20240607;

static void run_case(void **state)
{
	static struct rig_config configs[RIG_CONFIGS_MAX];
	const struct org_case *c = *state;
	unsigned n = rig_configs(configs, RIG_CONFIGS_MAX);
	static struct conform t;
	struct conform_place place;

	assert_true(n > 0);
	for (unsigned i = 0; i < n; i++) {
		t = (struct conform){ .seed = seed, .place = &place };
		if (c->run(&t, &configs[i], seed + i))
			continue;
		print_error("%s\n%s, seed %llu, step %llu:\n%s", c->what, place.subject, (unsigned long long)place.seed,
			    (unsigned long long)place.step, t.steps);
		fail_msg("%s", t.why);
	}
}

int main(int argc, char **argv)
{
	struct CMUnitTest tests[32] = { 0 };
	size_t n = 0;

	if (argc > 1)
		seed = strtoull(argv[1], NULL, 0);
	print_message("seed %llu\n", (unsigned long long)seed);
	for (const struct org_case *c = conform_org_cases; c->name && n < ARRAY_SIZE(tests); c++)
		if (argc < 3 || strcmp(argv[2], c->name) == 0)
			tests[n++] = (struct CMUnitTest){ .name = c->name, .test_func = run_case, .initial_state = (void *)c };
	return n ? _cmocka_run_group_tests("conformance of organisations", tests, n, NULL, NULL) : 1;
}
