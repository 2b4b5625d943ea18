/* SPDX-License-Identifier: MIT */
/* Formats that no CPU has, so that the walker cannot lean on the built-in shapes. */
#include "testmem.h"

/* 3 levels of 5 + 3 + 7 bits, 4-byte entries, every bit somewhere else. */
static const struct gpt_format odd = {
	.name = "odd", .source = "nowhere", .family = GPT_X86, .levels = 3, .entry_size = 4, .va_bits = 27,
	.pa_bits = 28, .pfn_shift = 3, .pfn_mask = 0xffffull << 3, .valid = 1u << 31, .write = 1 << 0,
	.exec = 1 << 2, .user = 1 << 30, .global = 1 << 1, .accessed = 1 << 29, .dirty = 1 << 19,
	.page_size = 1 << 28, .top_no_rights = true, .x4_bits = 1,
	.level = {
		{ .shift = 12, .bits = 7, .leaf_ok = true, .reserved_leaf = 1 << 20 },
		{ .shift = 19, .bits = 3, .leaf_ok = true, .reserved_leaf = 0x7f << 3, .reserved_table = 1 << 21 },
		{ .shift = 22, .bits = 5, .reserved_table = 1 << 28 },
	},
};

static void test_odd_format(void **state)
{
	const char *why;
	struct walk_req q = make_req(0x5a5b123, ACC_WRITE, true, CTL_DEFAULT);
	const unsigned top = 0x5a5b123 >> 22, mid = 0x5a5b123 >> 19 & 7, low = 0x5a5b123 >> 12 & 127;
	struct walk w;

	assert_int_equal(gpt_validate(&odd, &why), 0);
	tm_reset();
	tm_put(ROOT + top * 4, 4, 1u << 31 | 9 << 3);
	tm_put(9 * 4096 + mid * 4, 4, 0xc0000005u | 10 << 3);
	tm_put(10 * 4096 + low * 4, 4, 0xc0000005u | 0x7777 << 3);
	w = walk_from(&odd, &q);
	assert_int_equal(w.status, WALK_OK);
	assert_int_equal(w.frame, 0x7777);
	assert_int_equal(w.rights, RIGHT_RWX | RIGHT_U | RIGHT_A | RIGHT_D);
	assert_int_equal(tm_get(ROOT + top * 4, 4), 1u << 31 | 9 << 3); /* bare: no accessed bit */
	assert_int_equal(tm_get(9 * 4096 + mid * 4, 4), 0xe0000005u | 10 << 3);
	assert_int_equal(tm_get(10 * 4096 + low * 4, 4), 0xe0080005u | 0x7777 << 3);
	/* A superpage of 2^7 frames. */
	tm_put(9 * 4096 + mid * 4, 4, 0xf0080005u | 0x1200 << 3);
	w = walk_from(&odd, &q);
	assert_int_equal(w.frame, 0x1200 + low);
	assert_int_equal(w.order, 7);
	tm_put(9 * 4096 + mid * 4, 4, 0xf0080005u | 0x1201 << 3);
	assert_int_equal(walk_from(&odd, &q).why, WALK_WHY_RESERVED);
	tm_put(ROOT + top * 4, 4, 1u << 31 | 1 << 28 | 9 << 3);
	assert_int_equal(walk_from(&odd, &q).why, WALK_WHY_RESERVED);
	/* One root bit more as a second stage. */
	q.second_stage = true;
	q.va |= 1 << 27;
	tm_put(ROOT + (top + 32) * 4, 4, 1u << 31 | 9 << 3);
	tm_put(9 * 4096 + mid * 4, 4, 0xc0000005u | 10 << 3);
	w = walk_from(&odd, &q);
	assert_int_equal(w.frame, 0x7777);
	q.va = 1 << 28;
	assert_int_equal(walk_from(&odd, &q).why, WALK_WHY_CANONICAL);
	assert_int_equal(gpt_leaf_orders(&odd), BIT(0) | BIT(7));
}

/* Sv32 as a user would define it, but without superpages: a leaf above level 0 is reserved. */
static void test_odd_riscv_format(void **state)
{
	struct gpt_format fmt = {
		.name = "sv32-small", .family = GPT_RISCV, .levels = 2, .entry_size = 4, .va_bits = 32, .pa_bits = 34,
		.pfn_shift = 10, .pfn_mask = 0xfffffc00, .valid = 1, .read = 2, .write = 4, .exec = 8, .user = 16,
		.global = 32, .accessed = 64, .dirty = 128, .x4_bits = 2,
		.level = { { .shift = 12, .bits = 10, .leaf_ok = true },
			   { .shift = 22, .bits = 10, .reserved_table = 0xd0 } },
	};
	struct walk_req q = make_req(0x00802123, ACC_WRITE, true, CTL_DEFAULT);
	const char *why;

	assert_int_equal(gpt_validate(&fmt, &why), 0);
	tm_reset();
	tm_put(ROOT + 2 * 4, 4, 8 << 10 | 1 | 32);
	tm_put(8 * 4096 + 2 * 4, 4, 0x3fffffu << 10 | 0x17);
	struct walk w = walk_from(&fmt, &q);
	assert_int_equal(w.status, WALK_OK);
	assert_int_equal(w.frame, 0x3fffff);
	assert_int_equal(w.rights, RIGHT_R | RIGHT_W | RIGHT_U | RIGHT_G | RIGHT_A | RIGHT_D);
	assert_int_equal(tm_get(8 * 4096 + 2 * 4, 4), 0x3fffffu << 10 | 0xd7);
	assert_int_equal(tm_get(8 * 4096 + 3 * 4, 4), 0); /* the neighbour of a 4-byte entry */
	tm_put(ROOT + 2 * 4, 4, 0x400 << 10 | 0xd7);
	assert_int_equal(walk_from(&fmt, &q).why, WALK_WHY_RESERVED);
	assert_true(gpt_is_reserved(&fmt, 1, 0x400 << 10 | 0xd7, CTL_DEFAULT));
	fmt.level[1].leaf_ok = true;
	w = walk_from(&fmt, &q);
	assert_int_equal(w.frame, 0x402);
	assert_int_equal(w.order, 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_odd_format),
		cmocka_unit_test(test_odd_riscv_format),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
