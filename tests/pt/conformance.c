/* SPDX-License-Identifier: MIT */
/*
 * Every registered organisation, with each of its options, under every format
 * and at both stages, against the model and pt_flat. A new organisation is
 * tested by existing. A failing sequence is cut down to what still fails.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "rig.h"

enum { OPS = 320, CHECK_ALL_EVERY = 40 };

static uint64_t seed = 20240607;

/* How many operations went well; OPS (n) if all and the end did. */
static unsigned run(const struct rig_config *c, const struct op *ops, unsigned n, char *why, size_t size)
{
	struct rig *r = malloc(sizeof(*r));
	unsigned i;
	bool ok = true;

	assert_non_null(r);
	rig_init(r, c);
	for (i = 0; i < n && ok; i++) {
		ok = rig_apply(r, &ops[i]);
		if (ok && (i + 1 == n || i % CHECK_ALL_EVERY == 0))
			ok = rig_check_all(r);
	}
	ok = rig_fini(r) && ok;
	snprintf(why, size, "%s", r->why);
	free(r);
	return ok ? n : i - 1;
}

/* Drops operations, many at a time and then single ones, while the rest still fails. */
static unsigned shrink(const struct rig_config *c, struct op *ops, unsigned n)
{
	struct op *fewer = malloc(n * sizeof(*fewer));
	char why[256];

	assert_non_null(fewer);
	for (unsigned chunk = n / 2; chunk > 0; chunk /= 2) {
		for (unsigned at = 0; at + chunk <= n;) {
			memcpy(fewer, ops, at * sizeof(*ops));
			memcpy(fewer + at, ops + at + chunk, (n - at - chunk) * sizeof(*ops));
			if (run(c, fewer, n - chunk, why, sizeof(why)) == n - chunk) {
				at += chunk;
				continue;
			}
			n -= chunk;
			memcpy(ops, fewer, n * sizeof(*ops));
		}
	}
	free(fewer);
	return n;
}

static void report(const struct rig_config *c, struct op *ops, unsigned n, uint64_t s)
{
	char text[320];

	rig_config_name(c, text, sizeof(text));
	print_error("%s, seed %llu\n", text, (unsigned long long)s);
	n = shrink(c, ops, n);
	for (unsigned i = 0; i < n; i++) {
		op_print(&ops[i], text, sizeof(text));
		print_error("  %s\n", text);
	}
	run(c, ops, n, text, sizeof(text));
	print_error("  -> %s\n", text);
}

static void check_config(const struct rig_config *c, uint64_t s)
{
	static struct op ops[OPS];
	struct rng rng;
	char why[256];

	rng_init(&rng, s);
	for (unsigned i = 0; i < OPS; i++) {
		uint64_t bits = rng_next(&rng);

		ops[i] = op_make(c, (const uint8_t *)&bits);
	}
	unsigned good = run(c, ops, OPS, why, sizeof(why));
	if (good == OPS)
		return;
	report(c, ops, good + 1, s);
	fail_msg("%s", why);
}

static void test_random_operations(void **state)
{
	static struct rig_config configs[RIG_CONFIGS_MAX];
	unsigned n = rig_configs(configs, RIG_CONFIGS_MAX);

	assert_true(n > 0);
	for (unsigned i = 0; i < n; i++)
		check_config(&configs[i], seed + i);
}

/* What a mapping cannot be is refused, and nothing changes. */
static void test_refusals(void **state)
{
	static struct rig_config configs[RIG_CONFIGS_MAX];
	unsigned n = rig_configs(configs, RIG_CONFIGS_MAX);

	for (unsigned i = 0; i < n; i++) {
		const struct rig_config *c = &configs[i];
		uint8_t rights = c->rights[c->nrights - 1];
		struct pt_entry bad[] = {
			{ { 0, 0 }, 50, rights, c->params.frame_base },
			{ { 0, 1 }, 5, rights, c->params.frame_base }, /* no format has 128 KiB */
			{ { 0, BIT(51) }, 0, rights, c->params.frame_base }, /* in nobody's range, or in the gap */
		};
		struct rig r;

		if (c->params.fmt->va_bits - c->params.fmt->sign_extended == 63)
			bad[2].order = 63;
		if (c->params.fmt->sign_extended && !c->params.second_stage)
			bad[2].key.page = gpt_va_limit(c->params.fmt, false) >> PAGE_SHIFT;
		rig_init(&r, c);
		for (unsigned k = 0; k < ARRAY_SIZE(bad); k++) {
			assert_int_equal(r.pt.org->map(&r.pt, &bad[k]), -EINVAL);
			assert_int_equal(r.pt.org->unmap(&r.pt, bad[k].key, bad[k].order, NULL), -ENOENT);
			assert_int_equal(r.pt.org->protect(&r.pt, bad[k].key, bad[k].order, rights), -ENOENT);
		}
		if (c->orders != 1) {
			struct pt_entry skew = { { 0, 1 }, (uint8_t)log2_floor(c->orders), rights, c->params.frame_base };

			assert_int_equal(r.pt.org->map(&r.pt, &skew), -EINVAL);
			skew.key.page = 0;
			skew.frame++;
			assert_int_equal(r.pt.org->map(&r.pt, &skew), -EINVAL);
		}
		assert_true(rig_check_all(&r));
		assert_true(rig_fini(&r));
	}
}

/* Gigabyte pages, where the format has them: beyond what the random sequences' ranges hold. */
static void test_largest_superpage(void **state)
{
	enum { HUGE = 18 };
	const struct pt_org *org;

	for (unsigned i = 0; (org = pt_org_at(i)) != NULL; i++) {
		for (const struct gpt_format *const *f = gpt_builtin; *f; f++) {
			struct pt_params p = { .fmt = *f, .nframes = BIT(HUGE) * 2, .npages = BIT(HUGE) * 2 };
			uint8_t rights = RIGHT_RWX | RIGHT_U | RIGHT_A | RIGHT_D;
			struct pt_entry huge = { { 1, BIT(HUGE) }, HUGE, rights, BIT(HUGE) };
			struct pt_entry small = { { 1, BIT(HUGE) + 513 }, 0, rights, 77 }, e;
			struct test_mem mem;
			struct pt pt;

			if (!(gpt_leaf_orders(*f) & BIT(HUGE)))
				continue;
			test_mem_init(&mem, 8192);
			assert_int_equal(pt_create(&pt, org, 0, &p, &mem.m), 0);
			assert_int_equal(org->map(&pt, &small), 0);
			assert_int_equal(org->map(&pt, &huge), -EEXIST);
			assert_int_equal(org->unmap(&pt, small.key, 0, NULL), 0);
			assert_int_equal(org->map(&pt, &huge), 0);
			assert_int_equal(org->map(&pt, &small), -EEXIST);
			assert_int_equal(pt_find(&pt, (struct pt_key){ 1, BIT(HUGE) * 2 - 1 }, &e), 0);
			assert_int_equal(e.order, HUGE);
			assert_int_equal(e.frame, BIT(HUGE));
			assert_int_equal(pt_find(&pt, (struct pt_key){ 1, BIT(HUGE) - 1 }, &e), -ENOENT);
			assert_int_equal(pt_unmap_range(&pt, 1, BIT(HUGE) + 5, BIT(HUGE) + 6), 1);
			assert_int_equal(pt.entries, 0);
			pt_destroy(&pt);
			assert_int_equal(mem.frames_used, 0);
			assert_int_equal(mem.bad, 0);
			test_mem_fini(&mem);
		}
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_operations),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_largest_superpage),
	};

	if (argc > 1)
		seed = strtoull(argv[1], NULL, 0);
	print_message("seed %llu\n", (unsigned long long)seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
