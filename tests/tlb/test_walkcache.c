/* SPDX-License-Identifier: MIT */
/* Walk caches against a list of all that was ever filled: a hit must be true, and what was dropped must be gone. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tlb/walkcache.h"

static const uint8_t x86_64[WC_LEVELS] = {21, 30, 39, 64};
static const uint8_t x86_32[WC_LEVELS] = {22, 64, 64, 64};

static struct walk_cache wc;
static void *memory;

static void begin(const struct tlb_array_config config[WC_LEVELS], const uint8_t shift[WC_LEVELS])
{
	free(memory);
	memory = aligned_alloc(64, wc_bytes(config));
	memset(memory, 0, wc_bytes(config));
	wc_init(&wc, config, shift, 1, memory);
}

static int end(void **state)
{
	free(memory);
	memory = NULL;
	return 0;
}

static void fill(uint32_t space, uint64_t va, unsigned level, uint64_t table)
{
	struct wc_value v = {.table = table, .mfn = table >> PAGE_SHIFT, .rights = RIGHT_RWX};

	wc_fill(&wc, space, va, level, &v);
}

/* A peer's walk cache was off by one level: each level's reach is exactly one table's. */
static void test_peer_walk_cache_levels(void **state)
{
	struct wc_value v;

	begin(tlb_preset_find("generic")->walk, x86_64);
	for (unsigned level = 0; level < 3; level++) {
		uint64_t reach = BIT(x86_64[level]), va = 5 * reach;

		wc_inval_all(&wc);
		fill(1, va, level, 0x1000);
		assert_int_equal(wc_lookup(&wc, 1, va, &v), level);
		assert_int_equal(v.table, 0x1000);
		assert_int_equal(v.rights, RIGHT_RWX);
		assert_int_equal(wc_lookup(&wc, 1, va + reach - 1, &v), level);
		assert_int_equal(wc_lookup(&wc, 1, va + reach, &v), -1);
		assert_int_equal(wc_lookup(&wc, 1, va - 1, &v), -1);
		assert_int_equal(wc_lookup(&wc, 2, va, &v), -1);
	}
	/* The lowest level answers. */
	fill(1, 0, 2, 0x3000);
	fill(1, 0, 0, 0x1000);
	assert_int_equal(wc_lookup(&wc, 1, 0, &v), 0);
	assert_int_equal(wc_peek(&wc, 1, 0, &v), 0);
	assert_int_equal(wc_lookup(&wc, 1, BIT(21), &v), 2);
	assert_int_equal(v.table, 0x3000);
	assert_int_equal(wc.counts.hits[0], 3);
}

static void test_unused_levels_hold_nothing(void **state)
{
	struct wc_value v;

	begin(tlb_preset_find("generic")->walk, x86_32);
	fill(1, 0, 1, 0x1000);
	assert_int_equal(wc.counts.fills, 0);
	assert_int_equal(wc_lookup(&wc, 1, 0, &v), -1);
	fill(1, 0xffffffff, 0, 0x1000);
	assert_int_equal(wc_lookup(&wc, 1, 0xffc00000, &v), 0);
	wc_set_shifts(&wc, x86_64);
	assert_int_equal(wc_lookup(&wc, 1, 0xffc00000, &v), -1);
	begin(tlb_preset_find("none")->walk, x86_64);
	assert_false(wc.any);
	assert_int_equal(wc_lookup(&wc, 1, 0, &v), -1);
}

enum { KEYS = 40, SPACES = 3, LEVELS = 3 };

/* Each (space, level, key) has at most one live value; 0: dropped or never filled. */
struct model {
	uint64_t table[SPACES][LEVELS][KEYS];
};

static uint64_t va_of(unsigned level, unsigned key)
{
	/* Half of the keys in the upper half of the address space. */
	return (key < KEYS / 2 ? 0 : UINT64_C(0xffff800000000000)) + ((uint64_t)key << x86_64[level]);
}

static void drop_range(struct model *m, uint32_t space, uint64_t va, uint64_t bytes)
{
	for (unsigned level = 0; level < LEVELS; level++) {
		for (unsigned key = 0; key < KEYS; key++) {
			uint64_t first = va_of(level, key), last = first + BIT(x86_64[level]) - 1;

			if (!bytes || (first <= va + bytes - 1 && va <= last))
				m->table[space][level][key] = 0;
		}
	}
}

static void drop_frames(struct model *m, uint64_t mfn, uint64_t n)
{
	uint64_t *table = &m->table[0][0][0];

	for (unsigned i = 0; i < SPACES * LEVELS * KEYS; i++)
		if (table[i] && table[i] >> PAGE_SHIFT >= mfn && table[i] >> PAGE_SHIFT < mfn + n)
			table[i] = 0;
}

static void test_model(void **state)
{
	static struct model m;
	enum tlb_policy policy = *(enum tlb_policy *)*state;
	struct tlb_array_config config[WC_LEVELS] = {{.sets = 4, .ways = 4}, {.sets = 1, .ways = 20}, {.sets = 1, .ways = 3}};
	const uint64_t seed = 4711 + policy;
	struct rng rng;
	unsigned hits = 0;

	print_message("%s, seed %llu\n", tlb_policy_name(policy), (unsigned long long)seed);
	for (unsigned k = 0; k < WC_LEVELS; k++)
		config[k].policy = (uint8_t)policy;
	begin(config, x86_64);
	memset(&m, 0, sizeof(m));
	rng_init(&rng, seed);
	for (unsigned i = 0; i < 40000; i++) {
		uint32_t space = (uint32_t)rng_below(&rng, SPACES);
		unsigned level = (unsigned)rng_below(&rng, LEVELS), key = (unsigned)rng_below(&rng, KEYS), what = (unsigned)rng_below(&rng, 100);
		uint64_t va = va_of(level, key), n = 1 + rng_below(&rng, 64);
		struct wc_value v = {.mfn = rng_below(&rng, 4096)};

		v.table = v.mfn << PAGE_SHIFT | (i & 0xff0) | 8;
		if (what < 45) {
			int hit = wc_lookup(&wc, space + 1, va, &v);

			hits += hit >= 0;
			if (hit < 0)
				continue;
			/* Of that level, the entry that covers va. */
			for (key = 0; key < KEYS && va_of((unsigned)hit, key) >> x86_64[hit] != va >> x86_64[hit]; key++)
				;
			assert_in_range(key, 0, KEYS - 1);
			assert_int_equal(v.table, m.table[space][hit][key]);
		} else if (what < 95) {
			wc_fill(&wc, space + 1, va, level, &v);
			m.table[space][level][key] = v.table;
			assert_true(wc_peek(&wc, space + 1, va, &v) >= 0);
		} else if (what < 97) {
			wc_inval_range(&wc, space + 1, va, n << PAGE_SHIFT);
			drop_range(&m, space, va, n << PAGE_SHIFT);
		} else if (what < 99) {
			wc_inval_frames(&wc, v.mfn, n);
			drop_frames(&m, v.mfn, n);
		} else if (rng_below(&rng, 4)) {
			wc_inval_range(&wc, space + 1, 0, 0);
			drop_range(&m, space, 0, 0);
		} else {
			wc_inval_all(&wc);
			memset(&m, 0, sizeof(m));
		}
	}
	assert_true(hits > 1000);
}

int main(void)
{
	static enum tlb_policy policies[] = {TLB_LRU, TLB_PLRU, TLB_FIFO, TLB_RANDOM};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_peer_walk_cache_levels),
		cmocka_unit_test(test_unused_levels_hold_nothing),
		{"test_model_lru", test_model, NULL, NULL, &policies[0]},
		{"test_model_plru", test_model, NULL, NULL, &policies[1]},
		{"test_model_fifo", test_model, NULL, NULL, &policies[2]},
		{"test_model_random", test_model, NULL, NULL, &policies[3]},
	};

	return cmocka_run_group_tests(tests, NULL, end);
}
