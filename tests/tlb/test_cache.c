/* SPDX-License-Identifier: MIT */
/*
 * Data caches against lists: each set a list of lines, newest first, and the
 * bonds between levels said once more in the plainest way. And the few
 * sequences that show each bond by hand.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tlb/cache.h"

enum { REF_WAYS = 64, SEED = 20, STEPS = 200000 };

struct ref_level {
	unsigned sets, ways, holds;
	uint64_t (*line)[REF_WAYS]; /* [set][age]; 0: none */
};

struct ref_cache {
	struct ref_level level[CACHE_LEVELS];
};

static void ref_init(struct ref_cache *r, const struct cache_config *c)
{
	for (unsigned k = 0; k < CACHE_LEVELS; k++) {
		const struct tlb_array_config *a = &c->level[k].array;

		r->level[k] = (struct ref_level){ a->sets, a->ways, k ? c->level[k].holds : CACHE_FREE, NULL };
		if (a->sets)
			r->level[k].line = calloc(a->sets, sizeof(*r->level[k].line));
	}
}

static void ref_fini(struct ref_cache *r)
{
	for (unsigned k = 0; k < CACHE_LEVELS; k++)
		free(r->level[k].line);
}

/* Takes a line out; false: it was not there. */
static bool ref_remove(struct ref_level *l, uint64_t line)
{
	uint64_t *set = l->sets ? l->line[line % l->sets] : NULL;

	for (unsigned i = 0; set && i < l->ways; i++) {
		if (set[i] != line)
			continue;
		memmove(&set[i], &set[i + 1], (l->ways - i - 1) * sizeof(*set));
		set[l->ways - 1] = 0;
		return true;
	}
	return false;
}

/* Puts it in as the newest; what falls out. */
static uint64_t ref_put(struct ref_level *l, uint64_t line)
{
	uint64_t *set = l->line[line % l->sets], out = set[l->ways - 1];

	memmove(&set[1], &set[0], (l->ways - 1) * sizeof(*set));
	set[0] = line;
	return out;
}

static void ref_fill(struct ref_cache *r, unsigned k, uint64_t line)
{
	uint64_t out = ref_put(&r->level[k], line);
	unsigned next = k + 1;

	while (next < CACHE_LEVELS && !r->level[next].sets)
		next++;
	if (out && r->level[k].holds == CACHE_INCLUSIVE)
		for (unsigned i = 0; i < k; i++)
			ref_remove(&r->level[i], out);
	if (out && next < CACHE_LEVELS && r->level[next].holds == CACHE_VICTIM) {
		/* It moves there from where it was, so it cannot have been there. */
		assert_false(ref_remove(&r->level[next], out));
		ref_put(&r->level[next], out);
	}
}

static unsigned ref_access(struct ref_cache *r, uint64_t line)
{
	unsigned k = 0;

	for (; k < CACHE_LEVELS; k++) {
		if (!r->level[k].sets || !ref_remove(&r->level[k], line))
			continue;
		if (r->level[k].holds != CACHE_VICTIM)
			ref_put(&r->level[k], line);
		break;
	}
	for (unsigned i = k; i-- > 0;)
		if (r->level[i].sets && r->level[i].holds != CACHE_VICTIM)
			ref_fill(r, i, line);
	return k;
}

static struct cache *make(const struct cache_config *c)
{
	struct cache *cache = calloc(1, sizeof(*cache));
	size_t bytes = align_up(cache_bytes(c), LINE_SIZE);
	const char *why = NULL;
	void *memory = aligned_alloc(LINE_SIZE, bytes);

	assert_int_equal(cache_config_validate(c, &why), 0);
	memset(memory, 0, bytes);
	cache_init(cache, c, SEED, memory);
	return cache;
}

static void drop(struct cache *c)
{
	free(c->level[0].tags);
	free(c);
}

#define L(s, w, h) {.array = {.sets = (s), .ways = (w), .policy = TLB_LRU}, .holds = (h)}
static const struct cache_config small[] = {
	{ .name = "free", .level = { L(2, 2, 0), L(4, 2, 0), L(8, 4, 0) } },
	{ .name = "inclusive", .level = { L(2, 2, 0), L(4, 2, 0), L(4, 4, CACHE_INCLUSIVE) } },
	{ .name = "both", .level = { L(2, 2, 0), L(2, 4, CACHE_INCLUSIVE), L(4, 4, CACHE_INCLUSIVE) } },
	{ .name = "victim", .level = { L(2, 2, 0), L(4, 2, 0), L(4, 3, CACHE_VICTIM) } },
	{ .name = "zen", .level = { L(2, 2, 0), L(4, 2, CACHE_INCLUSIVE), L(4, 5, CACHE_VICTIM) } },
	{ .name = "two", .level = { L(1, 20, 0), { { 0 } }, L(8, 4, CACHE_INCLUSIVE) } },
	{ .name = "one", .level = { L(4, 4, 0) } },
};

static hpa_t at(uint64_t line)
{
	return HPA(PAGE_SIZE + (line << LINE_SHIFT)); /* frame 0 is never used */
}

static void compare(const struct cache_config *c, uint64_t lines, unsigned steps)
{
	struct cache *cache = make(c);
	struct ref_cache ref;
	struct rng rng;
	const char *why = NULL;

	ref_init(&ref, c);
	rng_init(&rng, SEED);
	for (unsigned i = 0; i < steps; i++) {
		/* Runs, so that lines are met again soon, and jumps. */
		uint64_t line = rng_below(&rng, 4) ? rng_below(&rng, lines / 8) : rng_below(&rng, lines);
		hpa_t hpa = at(line);

		assert_int_equal(cache_access(cache, HPA(hpa.v + rng_below(&rng, LINE_SIZE))),
				 ref_access(&ref, hpa.v >> LINE_SHIFT));
		if (i % 1024 == 0)
			assert_int_equal(cache_audit(cache, &why), 0);
	}
	ref_fini(&ref);
	drop(cache);
}

static void small_caches_are_as_lists(void **state)
{
	printf("seed %d\n", SEED);
	for (unsigned i = 0; i < ARRAY_SIZE(small); i++)
		compare(&small[i], 96, STEPS / 4);
}

static void presets_are_as_lists(void **state)
{
	const char *why;

	for (unsigned i = 0; cache_presets[i]; i++) {
		assert_int_equal(cache_config_validate(cache_presets[i], &why), 0);
		assert_ptr_equal(cache_preset_find(cache_presets[i]->name), cache_presets[i]);
		assert_true(cache_presets[i]->source[0] && cache_presets[i]->note[0] && cache_presets[i]->cycles_source[0]);
		for (unsigned k = 1; k < CACHE_PLACES; k++)
			assert_true(cache_presets[i]->cycles[k] >= cache_presets[i]->cycles[k - 1]);
		if (cache_presets[i]->level[0].array.policy == TLB_LRU)
			compare(cache_presets[i], 600000, STEPS);
	}
	assert_null(cache_preset_find("zen"));
}

static void inclusive_evicts_from_the_smaller(void **state)
{
	struct cache *c = make(&small[1]); /* LLC: 4 sets of 4 */

	for (uint64_t i = 0; i < 4; i++)
		assert_int_equal(cache_access(c, at(4 * i)), CACHE_MEMORY);
	/* L1D hits leave the LLC's order as it was: line 0 stays its oldest. */
	assert_int_equal(cache_access(c, at(8)), CACHE_L1D);
	assert_int_equal(cache_access(c, at(0)), CACHE_LLC);
	assert_int_equal(cache_access(c, at(16)), CACHE_MEMORY);
	assert_false(cache_has(c, CACHE_LLC, at(4)));
	assert_false(cache_has(c, CACHE_L2, at(4)) || cache_has(c, CACHE_L1D, at(4)));
	assert_true(cache_has(c, CACHE_LLC, at(0)) && cache_has(c, CACHE_L1D, at(0)));
	drop(c);
}

static void victim_is_filled_by_eviction_and_left_by_a_hit(void **state)
{
	struct cache *c = make(&small[3]); /* L2: 4 sets of 2 */

	for (uint64_t i = 0; i < 3; i++)
		assert_int_equal(cache_access(c, at(4 * i)), CACHE_MEMORY);
	assert_true(cache_has(c, CACHE_LLC, at(0)));
	assert_false(cache_has(c, CACHE_LLC, at(4)) || cache_has(c, CACHE_LLC, at(8)));
	assert_int_equal(cache_access(c, at(0)), CACHE_LLC);
	assert_false(cache_has(c, CACHE_LLC, at(0)));
	assert_true(cache_has(c, CACHE_L2, at(0)) && cache_has(c, CACHE_LLC, at(4)));
	drop(c);
}

static void what_cannot_be_is_refused(void **state)
{
	const struct cache_config bad[] = {
		{ .name = "", .level = { L(2, 2, 0) } },
		{ .name = "a" },
		{ .name = "a", .level = { L(3, 2, 0) } },
		{ .name = "a", .level = { L(2, 65, 0) } },
		{ .name = "a", .level = { { { 2, 2, 200 }, 0 } } },
		{ .name = "a", .level = { L(2, 2, 0), L(2, 2, CACHE_HOLDS) } },
		{ .name = "a", .level = { L(4, 2, 0), L(2, 2, CACHE_INCLUSIVE) } },
		{ .name = "a", .level = { L(2, 2, 0), L(2, 2, CACHE_VICTIM), L(2, 2, 0) } },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		const char *why = NULL;

		assert_true(cache_config_validate(&bad[i], &why) < 0 && why);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(small_caches_are_as_lists),
		cmocka_unit_test(presets_are_as_lists),
		cmocka_unit_test(inclusive_evicts_from_the_smaller),
		cmocka_unit_test(victim_is_filled_by_eviction_and_left_by_a_hit),
		cmocka_unit_test(what_cannot_be_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
