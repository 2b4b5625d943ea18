/* SPDX-License-Identifier: MIT */
/*
 * TLB policies: the built-in ones keep what the conformance suite asks of any,
 * and a policy that is added does, as LRU, exactly what the built-in LRU does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "conform/conform.h"
#include "tlb/array.h"

enum { SEED = 99 };

/* Byte i of the state: when way i was used last, as a rank; 0 is the newest. */
static void rank_init(uint64_t *state, unsigned ways)
{
	uint8_t *rank = (uint8_t *)state;

	for (unsigned i = 0; i < ways; i++)
		rank[i] = (uint8_t)i;
}

static void rank_use(uint64_t *state, unsigned ways, unsigned way)
{
	uint8_t *rank = (uint8_t *)state, was = rank[way];

	for (unsigned i = 0; i < ways; i++)
		rank[i] += rank[i] < was;
	rank[way] = 0;
}

static unsigned rank_victim(uint64_t *state, unsigned ways, struct rng *rng)
{
	const uint8_t *rank = (const uint8_t *)state;
	unsigned way = 0;

	while (rank[way] != ways - 1)
		way++;
	return way;
}

static const struct tlb_policy_ops ranks = {
	.name = "ranks", .summary = "LRU by ranks", .words = 8,
	.init = rank_init, .hit = rank_use, .victim = rank_victim, .fill = rank_use,
};
static unsigned added;

static void test_registry(void **state)
{
	struct tlb_policy_ops taken = ranks;

	assert_int_equal(tlb_policy_is_known(TLB_POLICIES), false);
	assert_string_equal(tlb_policy_name(TLB_POLICIES), "?");
	added = (unsigned)tlb_policy_add(&ranks);
	assert_int_equal(added, TLB_POLICIES);
	assert_string_equal(tlb_policy_name(added), "ranks");
	assert_ptr_equal(tlb_policy_ops(added), &ranks);
	assert_null(tlb_policy_ops(TLB_LRU));
	assert_int_equal(tlb_policy_add(&ranks), -EEXIST);
	taken.name = "plru";
	assert_int_equal(tlb_policy_add(&taken), -EEXIST);
	assert_true(tlb_policy_hears_hits(added) && tlb_policy_hears_hits(TLB_PLRU) && !tlb_policy_hears_hits(TLB_LRU));
}

static void test_conformance(void **state)
{
	for (unsigned policy = 0; policy <= added; policy++)
		for (const struct policy_case *c = conform_policy_cases; c->name; c++) {
			struct conform_place place;
			struct conform t = { .seed = SEED, .place = &place };

			if (!c->run(&t, policy, SEED))
				fail_msg("%s, %s, step %llu: %s", c->name, place.subject, (unsigned long long)place.step, t.why);
		}
}

static void make(struct tlb_array *a, unsigned policy, uint8_t ways, char *memory)
{
	struct tlb_array_config c = { .sets = 16, .ways = ways, .policy = (uint8_t)policy };

	memset(memory, 0, 65536);
	assert_true(tlb_array_bytes(&c) <= 65536);
	tlb_array_init(a, &c, &memory);
}

/* Hit for hit, whatever the number of ways; no entry is dropped, after which LRU may take ways in another order. */
static void test_as_the_built_in_lru(void **state)
{
	static _Alignas(LINE_SIZE) char one[65536], two[65536];
	struct rng rng;

	rng_init(&rng, SEED);
	for (uint8_t ways = 1; ways <= 20; ways++) {
		struct tlb_array a, b;
		unsigned hits = 0;

		make(&a, TLB_LRU, ways, one);
		make(&b, added, ways, two);
		for (unsigned i = 0; i < 20000; i++) {
			uint64_t tag = 1 + rng_below(&rng, 24u * ways);
			uint64_t data = tlb_array_lookup(&a, tag);

			assert_int_equal(tlb_array_lookup(&b, tag), data);
			hits += data != 0;
			if (data)
				continue;
			tlb_array_insert(&a, tag, tag, &rng);
			tlb_array_insert(&b, tag, tag, &rng);
		}
		assert_in_range(hits, 1000, 19000);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_registry),
		cmocka_unit_test(test_conformance),
		cmocka_unit_test(test_as_the_built_in_lru),
	};

	return cmocka_run_group_tests_name("TLB policies", tests, NULL, NULL);
}
