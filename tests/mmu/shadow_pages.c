/* SPDX-License-Identifier: MIT */
/*
 * Shadow pages: found again, linked, protected, recycled, flooded; what counts
 * an exit and what does not; shadow formats other than the guest's.
 */
#include <unistd.h>

#include "mmu/shadow.h"
#include "rig.h"

static const uint64_t va0 = 0x40000000;

static struct vm_stats *stats(struct rig *r)
{
	return &r->g[0].vm->stats;
}

/* A space with n pages from va on; the first page's frame is gfn. */
static void make_space(struct rig_space *s, struct rig *r, uint64_t va, unsigned n, uint64_t gfn)
{
	rig_space_init(s, &r->g[0]);
	for (unsigned i = 0; i < n; i++)
		rig_map(s, va + i * 4096ull, gfn + i, 0, RIG_RIGHTS);
}

static void touch_pages(struct rig *r, uint64_t va, unsigned n, uint64_t gfn)
{
	for (unsigned i = 0; i < n; i++) {
		mfn_t got = rig_mfn(&r->g[0], va + i * 4096ull, ACC_WRITE);

		assert_int_equal(got.v, rig_truth(&r->g[0], gfn + i).v);
	}
}

/* Pages made when three spaces are entered in turn for the second time. */
static uint64_t made_again(const char *scheme)
{
	struct rig_space s[3];
	struct rig r;

	rig_open(&r, &(struct rig_config){ .scheme = scheme });
	for (unsigned i = 0; i < 3; i++) {
		make_space(&s[i], &r, va0, 4, 1000 + 10 * i);
		rig_enter(&s[i]);
		touch_pages(&r, va0, 4, 1000 + 10 * i);
	}
	uint64_t before = stats(&r)->mmu_cache_miss;

	for (unsigned i = 0; i < 3; i++) {
		rig_enter(&s[i]);
		mmu_zap_gfns(r.g[0].mmu, GFN(1000), 30); /* leaves go, pages stay */
		touch_pages(&r, va0, 4, 1000 + 10 * i);
		rig_audit(&r);
	}
	uint64_t made = stats(&r)->mmu_cache_miss - before;

	rig_close(&r);
	return made;
}

static void test_found_again(void **state)
{
	assert_int_equal(made_again("shadow"), 0);
	assert_int_equal(made_again("shadow+lazy"), 0);
	assert_int_equal(made_again("shadow+roots=3"), 0);
	/* Four levels of each space's tree. */
	assert_int_equal(made_again("shadow+discard"), 12);
	/* Only roots go: what they pointed to is found again. */
	assert_int_equal(made_again("shadow+roots=2"), 3);
	assert_int_equal(made_again("shadow+roots=1"), 3);
}

/* The protected level-0 table of va in s. */
static uint64_t leaf_table(struct rig_space *s, uint64_t va)
{
	return rig_pte_addr(s, va, 0) >> PAGE_SHIFT;
}

static bool is_protected(struct rig *r, uint64_t gfn)
{
	return gfn_flags(gfn_get(r->g[0].vm, GFN(gfn))) & GFN_WPROT;
}

static void test_each_store_exits(void **state)
{
	struct rig_space s;
	struct rig r;
	bool swapped;

	rig_open(&r, &(struct rig_config){ .scheme = "shadow", .flood_limit = 1000 });
	make_space(&s, &r, va0, 4, 1000);
	rig_enter(&s);
	touch_pages(&r, va0, 4, 1000);
	struct vcpu *v = &r.g[0].v;
	uint64_t table = leaf_table(&s, va0), addr = table << PAGE_SHIFT;
	uint64_t n = stats(&r)->mmu_pte_write;

	assert_true(is_protected(&r, table));
	for (unsigned i = 0; i < 5; i++)
		rig_poke(&r.g[0], addr + 0x800 + 8 * i, 8, 0);
	assert_int_equal(stats(&r)->mmu_pte_write, n + 5);
	rig_poke(&r.g[0], addr + 0x900, 1, 0);
	assert_int_equal(stats(&r)->mmu_pte_write, n + 6);
	/* Atomics, whether they swap or not: the processor asks for a right to write. */
	assert_int_equal(vcpu_cas(v, SEG_BARE, addr + 0x800, 8, 0, 0, &swapped), ACCESS_OK);
	assert_true(swapped);
	assert_int_equal(vcpu_cas(v, SEG_BARE, addr + 0x800, 8, 5, 6, &swapped), ACCESS_OK);
	assert_false(swapped);
	assert_int_equal(stats(&r)->mmu_pte_write, n + 8);
	/* Across the end of the table, which was made last, into an ordinary page. */
	rig_poke(&r.g[0], addr + PAGE_SIZE - 4, 8, 0);
	assert_int_equal(stats(&r)->mmu_pte_write, n + 9);
	/* From one table into another, with what stands there: an exit each. */
	uint64_t both;

	assert_true(is_protected(&r, table - 1));
	assert_int_equal(vcpu_load(v, SEG_BARE, addr - 4, 8, &both), ACCESS_OK);
	rig_poke(&r.g[0], addr - 4, 8, both);
	assert_int_equal(stats(&r)->mmu_pte_write, n + 11);
	assert_int_equal(stats(&r)->exit_by[EXIT_TABLE_WRITE], stats(&r)->mmu_pte_write);
	assert_int_equal(stats(&r)->shadow_table_write, stats(&r)->mmu_pte_write);
	/* The second door needs no exit. */
	assert_int_equal(vm_write(r.g[0].vm, GPA(addr + 0x800), &n, 8), 0);
	assert_int_equal(stats(&r)->mmu_pte_write, n + 11);
	touch_pages(&r, va0, 4, 1000);
	rig_close(&r);
}

static void test_flood(void **state)
{
	struct rig_space s;
	struct rig r;

	rig_open(&r, &(struct rig_config){ .scheme = "shadow", .flood_limit = 3 });
	make_space(&s, &r, va0, 4, 1000);
	rig_enter(&s);
	touch_pages(&r, va0, 4, 1000);
	uint64_t table = leaf_table(&s, va0), n = stats(&r)->mmu_pte_write;

	for (unsigned i = 0; i < 20; i++)
		rig_poke(&r.g[0], (table << PAGE_SHIFT) + 0x800 + 8 * i, 8, 0);
	assert_int_equal(stats(&r)->mmu_flooded, 1);
	assert_int_equal(stats(&r)->mmu_pte_write, n + 3);
	assert_false(is_protected(&r, table));
	touch_pages(&r, va0, 4, 1000);
	assert_true(is_protected(&r, table));
	/* A use between stores shows that it is still a table. */
	for (unsigned i = 0; i < 20; i++) {
		rig_set_pte(&s, va0 + 0x8000, 0, gpt_make_leaf(s.p.params.fmt, 0, 1000 + (i & 3), RIG_RIGHTS));
		touch_pages(&r, va0 + 0x8000, 1, 1000 + (i & 3));
	}
	assert_int_equal(stats(&r)->mmu_flooded, 1);
	rig_close(&r);
}

static void test_small_budget(void **state)
{
	static const char *const schemes[] = { "shadow", "shadow+lazy", "shadow/inverted", "shadow/inverted+lazy",
						"shadow/hashed", "shadow/cuckoo+lazy", "shadow/segment" };

	for (unsigned k = 0; k < ARRAY_SIZE(schemes); k++)
		for (unsigned budget = 1; budget < 9; budget++) {
			struct rig_space s;
			struct rig r;

			rig_open(&r, &(struct rig_config){ .scheme = schemes[k], .shadow_budget = budget,
							   .preset = budget & 1 ? "generic" : "none" });
			rig_space_init(&s, &r.g[0]);
			for (unsigned i = 0; i < 12; i++)
				rig_map(&s, va0 + i * UINT64_C(0x8200000), 1000 + i, 0, RIG_RIGHTS);
			rig_enter(&s);
			for (unsigned round = 0; round < 3; round++)
				for (unsigned i = 0; i < 12; i++)
					touch_pages(&r, va0 + i * UINT64_C(0x8200000), 1, 1000 + i);
			assert_true(stats(&r)->mmu_recycled > 0);
			/* A path is as long as it is; beyond that the budget holds. */
			assert_in_range(r.g[0].mmu->shadow->npages, 1, MAX(budget, 8u));
			rig_audit(&r);
			rig_close(&r);
		}
}

/* Two pages side by side, of tables so far apart that a small budget has room for one path only. */
static void test_crossing_under_small_budget(void **state)
{
	static const char *const schemes[] = { "shadow", "shadow+lazy", "shadow/inverted", "shadow/cuckoo" };

	for (unsigned k = 0; k < ARRAY_SIZE(schemes); k++)
		for (unsigned budget = 1; budget < 10; budget++) {
			struct rig_space s;
			struct rig r;
			uint64_t end = UINT64_C(1) << 39, got;

			rig_open(&r, &(struct rig_config){ .scheme = schemes[k], .shadow_budget = budget, .flood_limit = 1 });
			rig_space_init(&s, &r.g[0]);
			rig_map(&s, end - 4096, 1000, 0, RIG_RIGHTS);
			rig_map(&s, end, 1001, 0, RIG_RIGHTS);
			rig_enter(&s);
			assert_int_equal(vcpu_store(&r.g[0].v, SEG_PAGED, end - 3, 8, 0x1122334455667788), ACCESS_OK);
			assert_int_equal(vcpu_load(&r.g[0].v, SEG_PAGED, end - 3, 8, &got), ACCESS_OK);
			assert_int_equal(got, 0x1122334455667788);
			rig_audit(&r);
			rig_close(&r);
		}
}

/* ---- lazy ---- */

static void remap(struct rig_space *s, unsigned page, uint64_t gfn)
{
	rig_set_pte(s, va0 + page * 4096ull, 0, gpt_make_leaf(s->p.params.fmt, 0, gfn, RIG_RIGHTS));
}

static void test_one_exit_then_none(void **state)
{
	struct rig_space s, other;
	struct rig r;

	rig_open(&r, &(struct rig_config){ .scheme = "shadow+lazy", .preset = "generic" });
	make_space(&other, &r, va0, 1, 900);
	make_space(&s, &r, va0, 8, 1000);
	rig_enter(&s);
	touch_pages(&r, va0, 8, 1000);
	struct vm_stats *st = stats(&r);
	uint64_t table = leaf_table(&s, va0), writes = st->mmu_pte_write, compared = st->mmu_resync_entries;

	remap(&s, 0, 1100);
	assert_int_equal(st->mmu_pte_write, writes + 1);
	assert_int_equal(st->mmu_unsync, 1);
	assert_false(is_protected(&r, table));
	for (unsigned i = 1; i < 6; i++)
		remap(&s, i, 1100 + i);
	assert_int_equal(st->mmu_pte_write, writes + 1);

	/* Seen at once, and no exit is counted for it. */
	uint64_t exits = st->exits, refills = st->coherent_refills;

	touch_pages(&r, va0, 6, 1100);
	assert_int_equal(st->exits, exits);
	assert_int_equal(st->coherent_refills, refills + 6);
	touch_pages(&r, va0 + 6 * 4096, 2, 1006);
	assert_int_equal(st->exits, exits);

	/* The fence of a page: that page only; the table stays out of step. */
	vcpu_fence(&r.g[0].v, FENCE_PAGE, s.p.asid, GVA(va0));
	assert_int_equal(st->mmu_resync_entries, compared + 1);
	assert_int_equal(st->mmu_resync_pages, 0);
	assert_false(is_protected(&r, table));
	remap(&s, 1, 1200);
	assert_int_equal(st->mmu_pte_write, writes + 1);
	/* A page of another table, in step: nothing to compare. */
	vcpu_fence(&r.g[0].v, FENCE_PAGE, s.p.asid, GVA(va0 + 0x10000000));
	assert_int_equal(st->mmu_resync_entries, compared + 1);

	vcpu_fence(&r.g[0].v, FENCE_ALL, 0, GVA(0));
	assert_int_equal(st->mmu_resync_pages, 1);
	assert_int_equal(st->mmu_resync_entries, compared + 1 + 512);
	assert_true(is_protected(&r, table));
	touch_pages(&r, va0 + 4096, 1, 1200);
	remap(&s, 2, 1201);
	assert_int_equal(st->mmu_pte_write, writes + 2);
	assert_int_equal(st->mmu_unsync, 2);

	rig_enter(&other);
	assert_int_equal(st->mmu_resync_pages, 2);
	assert_true(is_protected(&r, table));
	rig_enter(&s);
	touch_pages(&r, va0 + 2 * 4096, 1, 1201);
	vcpu_fence(&r.g[0].v, FENCE_SPACE, s.p.asid, GVA(0));
	assert_int_equal(st->mmu_resync_pages, 2); /* none was out of step */
	rig_audit(&r);
	rig_close(&r);
}

/*
 * A table out of step is cut off from its root, changed, and hung in again,
 * without any fence: what was made from it before must not come back.
 */
static void test_cut_off_while_out_of_step(void **state)
{
	static const char *const schemes[] = { "shadow+lazy", "shadow/inverted+lazy", "shadow", "nested/radix" };

	for (unsigned k = 0; k < ARRAY_SIZE(schemes); k++) {
		struct rig_space s;
		struct rig r;

		rig_open(&r, &(struct rig_config){ .scheme = schemes[k], .preset = "generic" });
		make_space(&s, &r, va0, 4, 1000);
		rig_enter(&s);
		touch_pages(&r, va0, 4, 1000);
		uint64_t table = leaf_table(&s, va0) << PAGE_SHIFT, above = rig_pte(&s, va0, 1);
		uint64_t at = table + gpt_index(s.p.params.fmt, 0, va0, false) * 8;

		remap(&s, 0, 1100); /* out of step */
		rig_set_pte(&s, va0, 1, 0);
		for (unsigned i = 0; i < 4; i++)
			rig_poke(&r.g[0], at + 8 * i, 8, gpt_make_leaf(s.p.params.fmt, 0, 1200 + i, RIG_RIGHTS));
		rig_set_pte(&s, va0, 1, above);
		touch_pages(&r, va0, 4, 1200);
		rig_audit(&r);
		rig_close(&r);
	}
}

/* ---- what the guest sees in its entries ---- */

static void test_accessed_and_dirty(void **state)
{
	static const char *const schemes[] = { "shadow", "shadow+lazy", "shadow+discard", "shadow/inverted", "shadow/hashed" };

	for (unsigned k = 0; k < ARRAY_SIZE(schemes); k++) {
		struct rig_space s;
		struct rig r;
		const struct gpt_format *f;
		uint64_t pte;

		rig_open(&r, &(struct rig_config){ .scheme = schemes[k], .preset = "generic" });
		make_space(&s, &r, va0, 0, 0);
		f = s.p.params.fmt;
		rig_map(&s, va0, 1000, 0, RIGHT_RWX | RIGHT_U);
		rig_enter(&s);
		rig_mfn(&r.g[0], va0, ACC_READ);
		pte = rig_pte(&s, va0, 0);
		assert_true((pte & f->accessed) && !(pte & f->dirty));
		assert_true(rig_pte(&s, va0, 3) & f->accessed);
		rig_mfn(&r.g[0], va0, ACC_WRITE);
		pte = rig_pte(&s, va0, 0);
		assert_true(pte & f->dirty);
		/* Cleared by the guest, they come again: nothing cached stands in between. */
		rig_set_pte(&s, va0, 0, pte & ~f->dirty);
		rig_mfn(&r.g[0], va0, ACC_WRITE);
		assert_true(rig_pte(&s, va0, 0) & f->dirty);
		rig_set_pte(&s, va0, 0, pte & ~(f->dirty | f->accessed));
		rig_mfn(&r.g[0], va0, ACC_READ);
		pte = rig_pte(&s, va0, 0);
		assert_true((pte & f->accessed) && !(pte & f->dirty));
		rig_close(&r);
	}
}

/* ---- formats ---- */

static void test_formats(void **state)
{
	static const struct { const char *guest, *host, *shadow; } pairs[] = {
		{ "x86-32", "x86-64", "x86-64" }, { "x86-pae", "x86-64", "x86-64" }, { "sv39", "x86-64", "x86-64" },
		{ "x86-64", "sv48", "sv48" },     { "x86-64-5l", "x86-64", "x86-64-5l" }, { "sv48", "sv39", "sv48" },
		{ "x86-32", "sv39", "sv39" },     { "sv39", "x86-64-5l", "x86-64-5l" },
	};

	for (unsigned k = 0; k < ARRAY_SIZE(pairs); k++) {
		struct rig_config c = { .scheme = "shadow", .guest = pairs[k].guest, .host = pairs[k].host,
					.preset = "generic", .host_thp = k & 1 };
		struct rig_space s;
		struct rig r;

		rig_open(&r, &c);
		assert_string_equal(r.g[0].mmu->shadow->fmt->name, pairs[k].shadow);
		make_space(&s, &r, 0x10000000, 1024, 2048);
		rig_map(&s, 0x20000000, 1024, gpt_level_order(s.p.params.fmt, 1), RIG_RIGHTS);
		rig_enter(&s);
		for (unsigned i = 0; i < 1024; i += 31) {
			touch_pages(&r, 0x10000000 + i * 4096ull, 1, 2048 + i);
			touch_pages(&r, 0x20000000 + (i & 511) * 4096ull, 1, 1024 + (i & 511));
		}
		rig_audit(&r);
		rig_close(&r);
	}
}

/* One table of 1024 entries has two shadows of 512: its halves. */
static void test_quadrants(void **state)
{
	struct rig_space s;
	struct rig r;
	unsigned halves = 0;

	rig_open(&r, &(struct rig_config){ .scheme = "shadow", .guest = "x86-32", .host = "x86-64" });
	make_space(&s, &r, 0x10000000, 1024, 2048);
	rig_enter(&s);
	touch_pages(&r, 0x10000000, 1, 2048);
	touch_pages(&r, 0x10000000 + 1023 * 4096, 1, 2048 + 1023);
	for_each_sp_of(r.g[0].mmu->shadow, leaf_table(&s, 0x10000000), sp) {
		assert_int_equal(sp->role.level, 0);
		assert_true(sp->role.base == 0 || sp->role.base == 0x200000);
		halves |= sp->role.base ? 2 : 1;
	}
	assert_int_equal(halves, 3);
	/* A store to one half leaves the other's entries. */
	uint64_t fills = stats(&r)->shadow_fill;

	rig_set_pte(&s, 0x10000000, 0, 0);
	touch_pages(&r, 0x10000000 + 1023 * 4096, 1, 2048 + 1023);
	assert_int_equal(stats(&r)->shadow_fill, fills);
	rig_close(&r);
}

/* ---- many spaces ---- */

/* More spaces than are kept: what the oldest left in the VM's common space goes with it. */
static void test_more_spaces_than_numbers(void **state)
{
	static const char *const schemes[] = { "nested/radix", "shadow" };

	for (unsigned k = 0; k < ARRAY_SIZE(schemes); k++) {
		struct rig_space s;
		struct rig r;

		rig_open(&r, &(struct rig_config){ .scheme = schemes[k], .preset = "generic", .guest_pages = 4096 });
		make_space(&s, &r, va0, 0, 0);
		rig_map(&s, va0, 1000, 0, RIG_RIGHTS | RIGHT_G);
		rig_enter(&s);
		touch_pages(&r, va0, 1, 1000);
		for (unsigned i = 0; i < SPACES_MAX + 10; i++) {
			s.p.asid++; /* the same table: the global page is the same everywhere */
			rig_enter(&s);
		}
		rig_map(&s, va0, 1001, 0, RIG_RIGHTS | RIGHT_G);
		touch_pages(&r, va0, 1, 1001);
		rig_close(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_found_again),
		cmocka_unit_test(test_each_store_exits),
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_small_budget),
		cmocka_unit_test(test_crossing_under_small_budget),
		cmocka_unit_test(test_one_exit_then_none),
		cmocka_unit_test(test_cut_off_while_out_of_step),
		cmocka_unit_test(test_accessed_and_dirty),
		cmocka_unit_test(test_formats),
		cmocka_unit_test(test_quadrants),
		cmocka_unit_test(test_more_spaces_than_numbers),
	};

	/* Some bugs show as a loop without end. */
	alarm(300);
	return cmocka_run_group_tests_name("shadow pages", tests, NULL, NULL);
}
