/* SPDX-License-Identifier: MIT */
#include "machine/rmap.h"
#include "testram.h"

jmp_buf testram_bug;

enum { NAMES = 100000, FEW = 3000 };

/* Name i of the tests. */
static uint64_t name_of(uint64_t i)
{
	return rmap_owner((uint16_t)(1 + i % 7), GFN(i));
}

static uint64_t index_of(uint64_t name)
{
	return rmap_owner_gfn(name).v;
}

/* Each name of the list once, and exactly those of `in`. */
static void check(uint64_t head, const uint8_t *in, uint64_t n)
{
	static uint8_t seen[NAMES];
	uint64_t expect = 0, count = 0;
	struct rmap_iter it;

	memset(seen, 0, n);
	for_each_rmap(head, it) {
		uint64_t i = index_of(it.name);

		assert_true(i < n && in[i]);
		assert_int_equal(it.name, name_of(i));
		assert_int_equal(seen[i]++, 0);
		count++;
	}
	for (uint64_t i = 0; i < n; i++)
		expect += in[i];
	assert_int_equal(count, expect);
	assert_int_equal(rmap_count(head), expect);
}

static void test_zero_one_two(void **state)
{
	struct testram t;
	uint64_t head = 0;
	struct rmap_iter it;

	testram_open(&t, 1 << 20);
	assert_false(rmap_first(head, &it));
	assert_int_equal(rmap_count(head), 0);
	assert_false(rmap_has(head, 0));
	assert_int_equal(rmap_add(&t.m, &head, 64), 0);
	assert_int_equal(head, 64); /* one name stands in place: no memory */
	assert_int_equal(t.m.ntype[FRAME_META], 0);
	assert_true(rmap_has(head, 64) && !rmap_has(head, 62));
	assert_int_equal(rmap_add(&t.m, &head, 62), 0);
	assert_int_equal(rmap_count(head), 2);
	assert_true(rmap_has(head, 64) && rmap_has(head, 62) && !rmap_has(head, 60));
	rmap_remove(&t.m, &head, 64);
	assert_int_equal(head, 62);
	assert_int_equal(t.m.ntype[FRAME_META], 0);
	assert_bug(rmap_remove(&t.m, &head, 64));
	rmap_remove(&t.m, &head, 62);
	assert_int_equal(head, 0);
	testram_close(&t);
}

static void test_random_against_set(void **state)
{
	static uint8_t in[FEW];
	struct testram t;
	struct rng rng;

	testram_open(&t, 1 << 20);
	for (uint64_t limit = 2; limit <= FEW; limit *= 3) {
		uint64_t head = 0;

		print_message("seed %u\n", (unsigned)limit);
		rng_init(&rng, limit);
		memset(in, 0, sizeof(in));
		for (unsigned step = 0; step < 6000; step++) {
			uint64_t i = rng_below(&rng, limit);

			assert_int_equal(rmap_has(head, name_of(i)), in[i]);
			if (in[i])
				rmap_remove(&t.m, &head, name_of(i));
			else
				assert_int_equal(rmap_add(&t.m, &head, name_of(i)), 0);
			in[i] ^= 1;
			if (step % 64 == 0)
				check(head, in, limit);
		}
		for (uint64_t i = 0; i < limit; i++)
			if (in[i])
				rmap_remove(&t.m, &head, name_of(i));
		assert_int_equal(head, 0);
		assert_int_equal(t.m.kmem[1].used, 0);
	}
	testram_audit(&t);
	testram_close(&t);
}

static void test_hundred_thousand(void **state)
{
	static uint8_t in[NAMES];
	struct testram t;
	struct rng rng;
	struct rmap_iter it;
	uint64_t head = 0;

	rng_init(&rng, 42);
	testram_open(&t, 16 << 20);
	for (uint64_t i = 0; i < NAMES; i++) {
		assert_int_equal(rmap_add(&t.m, &head, name_of(i)), 0);
		in[i] = 1;
	}
	check(head, in, NAMES);
	for (int k = 0; k < 1000; k++) {
		uint64_t i = rng_below(&rng, NAMES);

		if (in[i])
			rmap_remove(&t.m, &head, name_of(i));
		in[i] = 0;
	}
	check(head, in, NAMES);
	/* As a zap does: the first, again and again. */
	while (rmap_first(head, &it)) {
		uint64_t i = index_of(it.name);

		assert_int_equal(in[i], 1);
		in[i] = 0;
		rmap_remove(&t.m, &head, it.name);
	}
	check(head, in, NAMES);
	assert_int_equal(t.m.ntype[FRAME_META], 0);
	testram_close(&t);
}

/* An addition that finds no memory changes nothing; a reserved one finds it. */
static void test_failure_at_every_addition(void **state)
{
	static uint8_t in[64];
	struct testram t;

	testram_open(&t, 1 << 20);
	for (uint64_t nth = 0; nth < 16; nth++) {
		uint64_t head = 0, n = 0, before;

		memset(in, 0, sizeof(in));
		faultinj_arm(&t.inj, FAULT_META_ALLOC, nth, false);
		do {
			before = head;
			in[n] = 1;
		} while (n < 63 && !rmap_add(&t.m, &head, name_of(n)) && ++n);
		assert_int_equal(t.inj.site[FAULT_META_ALLOC].failed, nth < 11);
		in[n] = 0;
		if (nth < 11)
			assert_int_equal(head, before);
		check(head, in, 64);

		faultinj_init(&t.inj);
		assert_int_equal(rmap_reserve(&t.m, 1), 0);
		faultinj_arm(&t.inj, FAULT_META_ALLOC, 0, true);
		assert_int_equal(rmap_add(&t.m, &head, name_of(n)), 0);
		in[n] = 1;
		check(head, in, 64);
		for (uint64_t i = 0; i <= n; i++)
			rmap_remove(&t.m, &head, name_of(i));
		faultinj_init(&t.inj);
		testram_audit(&t);
		assert_int_equal(t.m.kmem[1].used, 0);
		assert_int_equal(rmap_reserve(&t.m, 0), 0);
		assert_int_equal(t.m.ntype[FRAME_META], 0);
	}
	testram_close(&t);
}

static void test_names(void **state)
{
	const uint64_t pages[] = { 0, 1, low_bits(44), low_bits(52), low_bits(52) - 5 };

	for (unsigned i = 0; i < ARRAY_SIZE(pages); i++) {
		uint64_t key = rmap_key(0x1ffff, pages[i]);

		assert_true(rmap_is_key(key) && !(key & 1));
		assert_int_equal(rmap_key_space(key), 0x1ffff);
		assert_int_equal(rmap_key_page(key), pages[i]);
	}
	assert_int_equal(rmap_owner_vmid(rmap_owner(0xffff, GFN(low_bits(40)))), 0xffff);
	assert_int_equal(rmap_owner_gfn(rmap_owner(0xffff, GFN(low_bits(40)))).v, low_bits(40));
	assert_false(rmap_is_key(rmap_sptep(HPA(0x1000))));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_zero_one_two),	 cmocka_unit_test(test_random_against_set),
		cmocka_unit_test(test_hundred_thousand), cmocka_unit_test(test_failure_at_every_addition),
		cmocka_unit_test(test_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
