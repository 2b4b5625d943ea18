/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <unistd.h>

#include "machine/cost.h"
#include "testram.h"

jmp_buf testram_bug;

static uint64_t resident_bytes(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	unsigned long size, resident = 0;

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%lu %lu", &size, &resident), 2);
	fclose(f);
	return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void test_bad_ram_is_refused(void **state)
{
	static _Alignas(4096) uint8_t ram[2 << 16];
	const struct machine_config bad = { .frag_percent = 101 };
	struct machine m;

	assert_int_equal(machine_init(&m, NULL, 1 << 16, NULL), -EINVAL);
	assert_int_equal(machine_init(&m, ram + 8, 1 << 16, NULL), -EINVAL);
	assert_int_equal(machine_init(&m, ram, (1 << 16) + 1, NULL), -EINVAL);
	assert_int_equal(machine_init(&m, ram, 15 << 12, NULL), -EINVAL);
	assert_int_equal(machine_init(&m, ram, UINT64_C(1) << 44, NULL), -EINVAL);
	assert_int_equal(machine_init(&m, ram, 1 << 16, &bad), -EINVAL);
	assert_int_equal(machine_init(&m, ram, 1 << 16, NULL), 0);
	assert_int_equal(m.nfree, 14); /* of 16: frame 0 and the frame table */
	assert_int_equal(m.ntype[FRAME_BOOT], 2);
}

/*
 * A TiB and a little: the odd end leaves small blocks at the top, so that two
 * single frames come from either end. Only what is used may become resident.
 */
static void test_sparse_tib(void **state)
{
	struct testram t;
	uint64_t before = resident_bytes();
	mfn_t low, high, big;

	testram_open(&t, (UINT64_C(1) << 40) + (64 << 10));
	assert_true(resident_bytes() - before < 32 << 20);
	assert_int_equal(t.m.free_blocks[ORDER_MAX], 1015);
	assert_int_equal(buddy_alloc(&t.m, 0, FRAME_GUEST, &low), 0);
	assert_int_equal(buddy_alloc(&t.m, 0, FRAME_GUEST, &high), 0);
	assert_int_equal(low.v, 1);
	assert_int_equal(high.v, t.m.first_table - 1);
	memset(machine_ptr(&t.m, mfn_to_hpa(high)), 1, PAGE_SIZE);
	machine_frame(&t.m, high)->flags |= FRAME_TOUCHED;
	machine_zero(&t.m, high, 0);
	assert_int_equal(*machine_ptr(&t.m, mfn_to_hpa(high)), 0);

	/* A GiB of zeroes costs its 8 MiB of frame table and no more. */
	before = resident_bytes();
	assert_int_equal(buddy_alloc(&t.m, ORDER_1G, FRAME_GUEST, &big), 0);
	machine_zero(&t.m, big, ORDER_1G);
	assert_true(resident_bytes() - before < 32 << 20);
	buddy_free(&t.m, big, ORDER_1G);
	buddy_free(&t.m, low, 0);
	buddy_free(&t.m, high, 0);
	assert_int_equal(t.m.free_blocks[ORDER_MAX], 1015);
	testram_close(&t);
}

static void test_fragmentation(void **state)
{
	const uint64_t bytes = 256 << 20;
	struct testram a, b;
	uint64_t blocks = ((bytes >> 12) - (bytes >> 19)) / 512;

	for (unsigned percent = 0; percent <= 100; percent += 25) {
		struct machine_config c = { .frag_percent = (uint8_t)percent, .seed = 7 };
		uint64_t pinned = blocks * percent / 100, whole = 0;

		testram_open_with(&a, bytes, &c);
		testram_open_with(&b, bytes, &c);
		testram_audit(&a);
		assert_int_equal(a.m.ntype[FRAME_BOOT], (bytes >> 19) + 1 + pinned);
		assert_int_equal(memcmp(a.m.frames, b.m.frames, a.m.first_table * sizeof(struct frame)), 0);
		for (unsigned o = ORDER_2M; o < ORDERS; o++)
			whole += a.m.free_blocks[o] << (o - ORDER_2M);
		/* Block 0 is never whole: frame 0 is kept back. */
		assert_in_range(whole, blocks - pinned - (pinned < blocks), blocks - pinned);
		assert_int_equal(buddy_has(&a.m, ORDER_2M), percent < 100);
		testram_close(&a);
		testram_close(&b);
	}

	struct machine_config c1 = { 50, 1 }, c2 = { 50, 2 };

	testram_open_with(&a, bytes, &c1);
	testram_open_with(&b, bytes, &c2);
	assert_int_not_equal(memcmp(a.m.frames, b.m.frames, a.m.first_table * sizeof(struct frame)), 0);
	testram_close(&a);
	testram_close(&b);
}

/* The one 2 MiB block there is begins with frame 0, kept back already: one of 512 seeds meets it. */
static void test_fragment_meets_frame_0(void **state)
{
	for (uint64_t seed = 0; seed < 3000; seed++) {
		struct machine_config c = { .frag_percent = 100, .seed = seed };
		struct testram t;

		testram_open_with(&t, 4 << 20, &c);
		assert_int_equal(t.m.ntype[FRAME_BOOT], 8 + 1 + 1);
		assert_int_equal(t.m.nfree, 1024 - 10);
		testram_audit(&t);
		testram_close(&t);
	}
}

static void test_zero_and_poison(void **state)
{
	struct testram t;
	mfn_t mfn;

	testram_open(&t, 1 << 20);
	assert_int_equal(buddy_alloc(&t.m, 1, FRAME_GUEST, &mfn), 0);
	uint8_t *p = machine_ptr(&t.m, mfn_to_hpa(mfn));

	machine_frame(&t.m, mfn)->flags |= FRAME_TOUCHED;
	memset(p, 0x11, PAGE_SIZE);
	buddy_free(&t.m, mfn, 1);
#ifdef QUIRE_DEBUG
	assert_int_equal(p[100], 0xa5);
#endif
	assert_int_equal(p[PAGE_SIZE], 0); /* never touched: not poisoned either */
	assert_int_equal(buddy_alloc(&t.m, 1, FRAME_GUEST, &mfn), 0);
	assert_ptr_equal(machine_ptr(&t.m, mfn_to_hpa(mfn)), p);
	assert_true(machine_frame(&t.m, mfn)->flags & FRAME_TOUCHED);
	machine_zero(&t.m, mfn, 1);
	assert_int_equal(machine_frame(&t.m, mfn)->flags, 0);
	for (uint64_t i = 0; i < 2 * PAGE_SIZE; i++)
		assert_int_equal(p[i], 0);
	testram_close(&t);
}

/* Each event is named once, priced, and says where the price is from. */
static void test_costs_are_complete(void **state)
{
	for (int i = 0; i < COST_EVENTS; i++) {
		const struct cost *c = &cost_default.of[i];

		assert_non_null(c->name);
		assert_non_null(c->source);
		assert_true(strlen(c->source) > 20);
		assert_true(c->cycles > 0);
		for (int j = 0; j < i; j++)
			assert_string_not_equal(c->name, cost_default.of[j].name);
	}
	assert_true(cost_default.of[COST_WALK_REF_OVERLAP].cycles < cost_default.of[COST_WALK_REF].cycles);
	assert_true(cost_default.of[COST_L2_TLB_HIT].cycles < cost_default.of[COST_WALK_REF].cycles);
	assert_true(cost_default.of[COST_EXIT].cycles < cost_default.of[COST_DISK_PAGE].cycles);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_ram_is_refused), cmocka_unit_test(test_sparse_tib),
		cmocka_unit_test(test_fragmentation),	   cmocka_unit_test(test_zero_and_poison),
		cmocka_unit_test(test_costs_are_complete), cmocka_unit_test(test_fragment_meets_frame_0),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
