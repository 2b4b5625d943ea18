/* SPDX-License-Identifier: MIT */
/* The pure helpers, the built-in formats' geometry, and what gpt_validate refuses. */
#include "testmem.h"

/* Levels, va bits, pa bits, leaf orders: from the manuals' tables. */
static const struct {
	const char *name;
	unsigned levels, va_bits, pa_bits, root_bytes;
	uint64_t orders;
} facts[] = {
	{ "x86-32", 2, 32, 32, 4096, 1 | 1 << 10 },
	{ "x86-pae", 3, 32, 52, 32, 1 | 1 << 9 },
	{ "x86-64", 4, 48, 52, 4096, 1 | 1 << 9 | 1 << 18 },
	{ "x86-64-5l", 5, 57, 52, 4096, 1 | 1 << 9 | 1 << 18 },
	{ "sv39", 3, 39, 56, 4096, 1 | 1 << 9 | 1 << 18 },
	{ "sv48", 4, 48, 56, 4096, 1 | 1 << 9 | 1 << 18 | 1 << 27 },
	{ "sv57", 5, 57, 56, 4096, 1 | 1 << 9 | 1 << 18 | 1 << 27 | 1ull << 36 },
	{ "classroom", 1, 16, 52, 128, 1 },
};

static void test_builtin(void **state)
{
	unsigned n = 0;

	for (; gpt_builtin[n]; n++) {
		const struct gpt_format *fmt = gpt_builtin[n];
		const char *why;

		assert_true(n < ARRAY_SIZE(facts));
		assert_string_equal(fmt->name, facts[n].name);
		assert_ptr_equal(gpt_find(fmt->name), fmt);
		if (gpt_validate(fmt, &why))
			fail_msg("%s: %s", fmt->name, why);
		assert_non_null(fmt->source);
		assert_int_equal(fmt->levels, facts[n].levels);
		assert_int_equal(fmt->va_bits, facts[n].va_bits);
		assert_int_equal(fmt->pa_bits, facts[n].pa_bits);
		assert_int_equal(gpt_table_bytes(fmt, fmt->levels - 1, false), facts[n].root_bytes);
		assert_int_equal(gpt_leaf_orders(fmt), facts[n].orders);
		for (unsigned order = 0; order < 40; order++) {
			int level = gpt_level_of_order(fmt, order);

			assert_int_equal(level >= 0, facts[n].orders >> order & 1);
			if (level >= 0)
				assert_int_equal(gpt_level_order(fmt, level), order);
		}
	}
	assert_int_equal(n, 8);
	for (unsigned i = 0; gpt_variant[i]; i++) {
		const char *why;

		assert_int_equal(gpt_validate(gpt_variant[i], &why), 0);
		assert_ptr_equal(gpt_find(gpt_variant[i]->name), gpt_variant[i]);
	}
	assert_non_null(gpt_find("x86-pae+pdpte=memory"));
	assert_null(gpt_find("x86"));
	assert_null(gpt_find("x86-64-"));
	assert_null(gpt_find(""));
}

/* What is made is what is read back; what cannot be said is never more than was asked. */
static void test_round_trip(void **state)
{
	for (unsigned n = 0; gpt_builtin[n]; n++) {
		const struct gpt_format *fmt = gpt_builtin[n];
		unsigned expressible = 0;

		for (unsigned level = 0; level < fmt->levels; level++) {
			uint64_t frame = (0x5ull << gpt_level_order(fmt, level)) & (fmt->pfn_mask >> fmt->pfn_shift);

			if (level > 0) {
				uint64_t pte = gpt_make_table(fmt, level, 0x321);

				assert_true(gpt_is_present(fmt, pte));
				assert_false(gpt_is_leaf(fmt, level, pte));
				assert_false(gpt_is_reserved(fmt, level, pte, CTL_DEFAULT));
				assert_int_equal(gpt_frame(fmt, pte), 0x321);
				assert_int_equal(gpt_rights(fmt, level, pte), RIGHT_RWX | RIGHT_U);
			}
			if (!fmt->level[level].leaf_ok)
				continue;
			for (unsigned rights = 0; rights <= RIGHT_ALL; rights++) {
				uint64_t pte = gpt_make_leaf(fmt, level, frame, rights);
				uint8_t got = gpt_rights(fmt, level, pte);

				if (!(rights & RIGHT_RWX))
					assert_int_equal(pte, 0);
				if (!pte) {
					assert_false(gpt_can_express(fmt, rights));
					continue;
				}
				assert_true(gpt_is_present(fmt, pte));
				assert_true(gpt_is_leaf(fmt, level, pte));
				assert_false(gpt_is_reserved(fmt, level, pte, CTL_DEFAULT));
				assert_int_equal(gpt_frame(fmt, pte), frame);
				assert_int_equal(gpt_can_express(fmt, rights), got == rights);
				if (fmt->family == GPT_RISCV) {
					assert_int_equal(got & ~rights, 0);
					assert_int_equal(rights & ~got, (rights & 3) == RIGHT_W ? RIGHT_W : 0);
				} else {
					/* Readable always; x86-32 executable always. */
					unsigned forced = RIGHT_R | (fmt->exec | fmt->no_exec ? 0 : RIGHT_X);

					assert_int_equal(got, rights | forced);
					assert_int_equal(!(pte & fmt->no_read), !!(rights & RIGHT_R));
				}
				expressible += level == 0 && got == rights;
			}
		}
		/* R, RW, RX, RWX (x86-32: RX, RWX; RISC-V: X too), each with U G A D or not. */
		assert_int_equal(expressible, 16 * (fmt->family == GPT_RISCV ? 5 : fmt->exec | fmt->no_exec ? 4 : 2));
	}
}

static void test_reserved_needs_control_state(void **state)
{
	const struct gpt_format *x64 = gpt_find("x86-64"), *x32 = gpt_find("x86-32");
	uint64_t nx = gpt_make_leaf(x64, 0, 1, RIGHT_R);

	assert_false(gpt_is_reserved(x64, 0, nx, CTL_DEFAULT));
	assert_true(gpt_is_reserved(x64, 0, nx, CTL_DEFAULT & ~CTL_NXE));
	assert_true(gpt_is_reserved(x32, 1, 0x2087, CTL_DEFAULT));
	assert_false(gpt_is_reserved(x32, 1, 0x2087, CTL_DEFAULT & ~CTL_PSE));
	assert_true(gpt_is_reserved(gpt_find("sv39"), 0, 1, CTL_DEFAULT)); /* a pointer at the last level */
}

/* Each way to spoil a good format, and a word of the sentence that must come of it. */
struct spoil {
	const char *base;
	void (*change)(struct gpt_format *fmt);
	const char *word;
};

#define SPOIL(n, code) static void spoil_##n(struct gpt_format *f) { code; }
SPOIL(name, f->name[0] = 0)
SPOIL(long_name, memset(f->name, 'x', GPT_NAME_MAX))
SPOIL(family, f->family = 7)
SPOIL(levels0, f->levels = 0)
SPOIL(levels6, f->levels = 6)
SPOIL(entry3, f->entry_size = 3)
SPOIL(entry16, f->entry_size = 16)
SPOIL(bits0, f->level[1].bits = 0)
SPOIL(bits15, f->level[1].bits = 15)
SPOIL(gap, f->level[1].shift++)
SPOIL(shift0, f->level[0].shift = 13)
SPOIL(va_bits, f->va_bits++)
SPOIL(x4, f->x4_bits = 3)
SPOIL(too_wide, f->level[3].bits = 14; f->level[4] = f->level[3]; f->levels = 5;
      f->level[4].shift = 53; f->va_bits = 67)
SPOIL(pfn_zero, f->pfn_mask = 0)
SPOIL(pfn_hole, f->pfn_mask &= ~BIT(20))
SPOIL(pfn_shift, f->pfn_shift++)
SPOIL(pa_bits, f->pa_bits--)
SPOIL(pa_wide, f->pfn_mask = bit_range(63, 12); f->pa_bits = 64)
SPOIL(two_bits, f->valid = 3)
SPOIL(same_bits, f->dirty = f->accessed)
SPOIL(in_pfn, f->dirty = BIT(30))
SPOIL(outside, f->entry_size = 4; f->pfn_mask = bit_range(31, 12); f->pa_bits = 32)
SPOIL(pfn_outside, f->entry_size = 4)
SPOIL(no_valid, f->valid = 0)
SPOIL(no_user, f->user = 0)
SPOIL(no_write, f->write = 0)
SPOIL(gate, f->nx_gate = f->write)
SPOIL(exec_twice, f->exec = BIT(11))
SPOIL(read, f->read = BIT(11))
SPOIL(pse, f->pse_gate = true; f->page_size = 0)
SPOIL(riscv_read, f->read = 0)
SPOIL(riscv_nx, f->no_exec = BIT(8))
SPOIL(riscv_bare, f->top_no_rights = true)
SPOIL(top_leaf, f->top_no_rights = true; f->level[3].leaf_ok = true)
SPOIL(one_level, f->root_in_registers = true)
SPOIL(no_leaf, f->level[0].leaf_ok = false)
SPOIL(no_ps, f->page_size = 0)
SPOIL(rsvd_valid, f->level[0].reserved_leaf |= f->valid)
SPOIL(rsvd_dirty, f->level[1].reserved_leaf |= f->dirty)
SPOIL(rsvd_frame, f->level[1].reserved_leaf |= BIT(21))
SPOIL(rsvd_table, f->level[2].reserved_table |= BIT(12))
SPOIL(rsvd_table_a, f->level[2].reserved_table |= f->accessed)
SPOIL(rsvd_outside, f->level[0].reserved_leaf |= BIT(40))
SPOIL(huge, f->pfn_mask = bit_range(27, 12); f->pa_bits = 28)
SPOIL(two_byte_ad, f->entry_size = 2; f->pfn_mask = 0xf000; f->pa_bits = 16; f->level[0].reserved_leaf = 0)

static const struct spoil spoils[] = {
	{ "x86-64", spoil_name, "name" }, { "x86-64", spoil_long_name, "name" },
	{ "x86-64", spoil_family, "family" }, { "x86-64", spoil_levels0, "levels" },
	{ "x86-64", spoil_levels6, "levels" }, { "x86-64", spoil_entry3, "bytes" },
	{ "x86-64", spoil_entry16, "bytes" }, { "x86-64", spoil_bits0, "index bits" },
	{ "x86-64", spoil_bits15, "index bits" }, { "x86-64", spoil_gap, "gaps" },
	{ "x86-64", spoil_shift0, "gaps" }, { "x86-64", spoil_va_bits, "va_bits" },
	{ "sv39", spoil_x4, "root" }, { "x86-64", spoil_too_wide, "63 bits" },
	{ "x86-64", spoil_pfn_zero, "pfn_mask" }, { "x86-64", spoil_pfn_hole, "pfn_mask" },
	{ "x86-64", spoil_pfn_shift, "pfn_mask" }, { "x86-64", spoil_pa_bits, "pa_bits" },
	{ "x86-64", spoil_pa_wide, "56 bits" }, { "x86-64", spoil_two_bits, "single bit" },
	{ "x86-64", spoil_same_bits, "coincide" }, { "x86-64", spoil_in_pfn, "coincide" },
	{ "x86-64", spoil_outside, "outside" }, { "x86-64", spoil_pfn_outside, "fit" },
	{ "x86-64", spoil_no_valid, "valid" }, { "sv39", spoil_no_user, "user" },
	{ "x86-32", spoil_no_write, "write" }, { "x86-64", spoil_gate, "nx_gate" },
	{ "x86-64", spoil_exec_twice, "not both" }, { "x86-64", spoil_read, "read" },
	{ "x86-32", spoil_pse, "page_size" }, { "sv39", spoil_riscv_read, "read and exec" },
	{ "sv39", spoil_riscv_nx, "no_exec" }, { "sv39", spoil_riscv_bare, "top_no_rights" },
	{ "x86-64", spoil_top_leaf, "leaves" }, { "classroom", spoil_one_level, "below" },
	{ "x86-64", spoil_no_leaf, "level 0" }, { "x86-64", spoil_no_ps, "page_size" },
	{ "x86-64", spoil_rsvd_valid, "reserved" }, { "x86-64", spoil_rsvd_dirty, "reserved" },
	{ "x86-64", spoil_rsvd_frame, "reserved" }, { "x86-64", spoil_rsvd_table, "reserved" },
	{ "x86-64", spoil_rsvd_table_a, "reserved" }, { "x86-32", spoil_rsvd_outside, "outside" },
	{ "x86-64", spoil_huge, "larger" }, { "classroom", spoil_two_byte_ad, "atomically" },
};

static void test_validate_refuses(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(spoils); i++) {
		struct gpt_format fmt = *gpt_find(spoils[i].base);
		const char *why = NULL;

		spoils[i].change(&fmt);
		if (gpt_validate(&fmt, &why) != -EINVAL || !why || !strstr(why, spoils[i].word))
			fail_msg("spoil %u of %s (%s): %s", i, spoils[i].base, spoils[i].word, why ? why : "taken");
	}
}

/* The widest and the narrowest that pass. */
static void test_validate_takes_extremes(void **state)
{
	struct gpt_format fmt = *gpt_find("classroom");
	const char *why;

	fmt.entry_size = 2;
	fmt.pfn_mask = 0xf000;
	fmt.pa_bits = 16;
	fmt.accessed = fmt.dirty = 0;
	fmt.level[0].reserved_leaf = 0;
	assert_int_equal(gpt_validate(&fmt, &why), 0);
	assert_int_equal(gpt_rights(&fmt, 0, gpt_make_leaf(&fmt, 0, 9, RIGHT_R)), RIGHT_R | RIGHT_A | RIGHT_D);

	struct walk_req q = make_req(0x5123, ACC_WRITE, true, CTL_DEFAULT);
	struct walk w;

	tm_reset();
	tm_put(4096 + 5 * 2, 2, gpt_make_leaf(&fmt, 0, 9, RIGHT_R | RIGHT_W | RIGHT_U));
	gpt_walk(&fmt, &tm.m, 4096, &q, &w);
	assert_int_equal(w.status, WALK_OK);
	assert_int_equal(w.frame, 9);
	assert_false(w.ad_updated);

	fmt = *gpt_find("x86-64");
	for (int i = 0; i < 3; i++) {
		fmt.level[i].bits = 14;
		fmt.level[i].shift = 12 + 14 * i;
	}
	fmt.level[2].leaf_ok = false;
	fmt.level[2].reserved_leaf = 0;
	fmt.level[1].reserved_leaf = low_bits(14) << 12;
	fmt.levels = 3;
	fmt.va_bits = 54;
	fmt.x4_bits = 2;
	assert_int_equal(gpt_validate(&fmt, &why), 0);
	assert_int_equal(gpt_table_bytes(&fmt, 2, true), 8u << 16);
	assert_int_equal(gpt_table_order(&fmt, 2, true), 7);
	assert_int_equal(gpt_va_limit(&fmt, true), BIT(56));
}

static void test_names(void **state)
{
	for (int why = WALK_WHY_NONE; why <= WALK_WHY_BUS; why++)
		for (int other = WALK_WHY_NONE; other < why; other++)
			assert_string_not_equal(walk_why_name(why), walk_why_name(other));
	assert_string_equal(walk_why_name(WALK_WHY_NOT_PRESENT), "not present");
	assert_string_equal(walk_why_name(WALK_WHY_RIGHTS), "rights");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_builtin),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_reserved_needs_control_state),
		cmocka_unit_test(test_validate_refuses),
		cmocka_unit_test(test_validate_takes_extremes),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
