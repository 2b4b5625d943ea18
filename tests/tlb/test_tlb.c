/* SPDX-License-Identifier: MIT */
/* Named cases: published sequences, faults known from other simulators, limits of the configuration. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tlb/tlb.h"
#include "tlb/walkcache.h"

enum { SPACE = 7, GLOBALS = 8, VM = 3 };
static const uint64_t orders = BIT(0) | BIT(9) | BIT(18);

static struct tlb t;
static void *memory;

static void begin(const struct tlb_config *c)
{
	free(memory);
	memory = aligned_alloc(64, tlb_bytes(c));
	memset(memory, 0, tlb_bytes(c));
	assert_int_equal(tlb_init(&t, c, orders, 1, memory), 0);
}

static int end(void **state)
{
	free(memory);
	memory = NULL;
	return 0;
}

static void fill(enum acc_kind kind, uint32_t space, uint64_t vpn, unsigned order, uint64_t mfn)
{
	struct tlb_entry e = {.vpn = vpn, .space = space, .vmid = VM, .order = (uint8_t)order, .flags = TLB_R, .mfn = mfn};

	tlb_fill(&t, kind, &e);
}

static uint64_t lookup(uint64_t vpn) { return tlb_lookup(&t, ACC_READ, SPACE, 0, vpn); }

/* Misses of a string of pages on one fully associative array. */
static unsigned misses_of(const uint8_t *pages, size_t n, enum tlb_policy p, uint8_t ways)
{
	struct tlb_config c = {.name = "one", .l1d = {{.sets = 1, .ways = ways, .policy = (uint8_t)p}}};

	begin(&c);
	for (size_t i = 0; i < n; i++)
		if (!lookup(pages[i]))
			fill(ACC_READ, SPACE, pages[i], 0, pages[i]);
	return (unsigned)t.counts.l2_misses;
}

/* Published fact 9 (Belady, Nelson and Shedler 1969): more frames, more FIFO misses. Derived for LRU: 10, then 8. */
static void test_case_9_page_replacement(void **state)
{
	static const uint8_t pages[] = {1, 2, 3, 4, 1, 2, 5, 1, 2, 3, 4, 5};

	assert_int_equal(misses_of(pages, sizeof(pages), TLB_FIFO, 3), 9);
	assert_int_equal(misses_of(pages, sizeof(pages), TLB_FIFO, 4), 10);
	assert_int_equal(misses_of(pages, sizeof(pages), TLB_LRU, 3), 10);
	assert_int_equal(misses_of(pages, sizeof(pages), TLB_LRU, 4), 8);
}

/* LRU is a stack algorithm (Mattson et al. 1970): what w ways hold, w + 1 ways hold too, at every moment. */
static void test_lru_inclusion(void **state)
{
	struct tlb_array_config small = {.sets = 1}, large = {.sets = 1};
	uint64_t words[2][256] __attribute__((aligned(64)));
	struct tlb_array a, b;
	struct rng rng;

	for (uint8_t ways = 1; ways < 20; ways++) {
		char *m0 = (char *)words[0], *m1 = (char *)words[1];

		memset(words, 0, sizeof(words));
		small.ways = ways;
		large.ways = ways + 1;
		tlb_array_init(&a, &small, &m0);
		tlb_array_init(&b, &large, &m1);
		rng_init(&rng, ways);
		for (int i = 0; i < 3000; i++) {
			uint64_t tag = tlb_tag(1, 0, rng_below(&rng, 24), 0);
			bool in_small = tlb_array_lookup(&a, tag), in_large = tlb_array_lookup(&b, tag);

			assert_true(in_large || !in_small);
			if (!in_small)
				tlb_array_insert(&a, tag, tag, &rng);
			if (!in_large)
				tlb_array_insert(&b, tag, tag, &rng);
		}
	}
}

/*
 * Tree-PLRU on four ways, the usual textbook example: after A B C D the tree
 * points at A; a hit on A makes it point right and left there: C is next, and
 * then B, though exact LRU would have said B and C.
 */
static void test_plru_example(void **state)
{
	struct tlb_array_config c = {.sets = 1, .ways = 4, .policy = TLB_PLRU};
	uint64_t words[64] __attribute__((aligned(64))) = {0};
	char *m = (char *)words;
	struct tlb_array a;

	tlb_array_init(&a, &c, &m);
	for (uint64_t tag = 'A'; tag <= 'D'; tag++)
		tlb_array_insert(&a, tag, tag, NULL);
	assert_int_equal(tlb_array_lookup(&a, 'A'), 'A');
	tlb_array_insert(&a, 'E', 'E', NULL);
	assert_int_equal(tlb_array_lookup(&a, 'C'), 0);
	tlb_array_insert(&a, 'F', 'F', NULL);
	assert_int_equal(tlb_array_lookup(&a, 'B'), 0);
	assert_int_equal(tlb_array_lookup(&a, 'A'), 'A');
	assert_int_equal(tlb_array_lookup(&a, 'D'), 'D');
}

static void test_plru_never_takes_an_absent_way(void **state)
{
	for (uint8_t ways = 1; ways <= TLB_WAYS_MAX; ways++) {
		struct tlb_array_config c = {.sets = 1, .ways = ways, .policy = TLB_PLRU};
		uint64_t words[256] __attribute__((aligned(64))) = {0};
		char *m = (char *)words;
		struct tlb_array a;

		tlb_array_init(&a, &c, &m);
		for (uint64_t tag = 1; tag < 400; tag++) {
			tlb_array_insert(&a, tag, tag, NULL);
			assert_int_equal(tlb_array_lookup(&a, tag), tag);
		}
		assert_int_equal(a.tags[ways], 0);
	}
}

/* A peer's default policy misses 42 % where LRU misses 0.02 %: a working set that fits must stay. */
static void test_peer_default_policy_keeps_a_working_set(void **state)
{
	begin(tlb_preset_find("generic"));
	for (unsigned i = 0; i < 100000; i++)
		if (!lookup(i % 48))
			fill(ACC_READ, SPACE, i % 48, 0, i);
	assert_int_equal(t.counts.l1d_accesses, 100000);
	assert_int_equal(t.counts.l1d_misses, 48);
}

/* Stale small entries after a superpage's flush, and the other way round. */
static void test_peer_flush_drops_every_size(void **state)
{
	for (unsigned order = 9; order <= 18; order += 9) {
		uint64_t base = 5ull << 18, inside = base + 3;

		begin(tlb_preset_find("generic"));
		fill(ACC_READ, SPACE, base, order, 0);
		fill(ACC_READ, SPACE, inside, 0, 99);
		fill(ACC_EXEC, SPACE, inside, 0, 99);
		assert_int_equal(tlb_data_order(lookup(base + 1)), order);
		assert_int_equal(tlb_data_order(lookup(inside)), 0);
		tlb_inval_page(&t, SPACE, 0, inside);
		assert_int_equal(lookup(inside), 0);
		assert_int_equal(lookup(base + 1), 0);
		assert_int_equal(tlb_lookup(&t, ACC_EXEC, SPACE, 0, inside), 0);
	}
}

/* A miss is one L1 miss and one L2 miss, however many page sizes and spaces were probed. */
static void test_peer_misses_are_counted_once(void **state)
{
	begin(tlb_preset_find("generic"));
	for (unsigned order = 0; order <= 18; order += 9)
		fill(ACC_READ, GLOBALS, 1ull << 30, order, 0);
	memset(&t.counts, 0, sizeof(t.counts));
	assert_int_equal(tlb_lookup(&t, ACC_READ, SPACE, GLOBALS, 12345), 0);
	assert_int_equal(t.counts.l1d_accesses, 1);
	assert_int_equal(t.counts.l1d_misses, 1);
	assert_int_equal(t.counts.l2_misses, 1);
	assert_int_equal(t.counts.l1i_misses + t.counts.l2_hits, 0);
	fill(ACC_READ, SPACE, 12345, 0, 1);
	assert_int_not_equal(lookup(12345), 0);
	assert_int_equal(t.counts.l1d_misses, 1);
}

/* After a miss the fill need not search; a second one of the same tag must. */
static void test_second_fill_makes_no_second_copy(void **state)
{
	begin(tlb_preset_find("generic"));
	fill(ACC_READ, SPACE, 1, 0, 1);
	assert_int_equal(lookup(42), 0);
	fill(ACC_READ, SPACE, 42, 0, 1);
	fill(ACC_WRITE, SPACE, 42, 0, 2);
	assert_int_equal(tlb_data_mfn(lookup(42)), 2);
	assert_int_equal(tlb_inval_page(&t, SPACE, 0, 42), 2);
	assert_int_equal(lookup(42), 0);
}

/* A copy that came into the data L1 by refill alone hears of a fill for instructions. */
static void test_refilled_copy_never_disagrees(void **state)
{
	begin(tlb_preset_find("generic"));
	fill(ACC_EXEC, SPACE, 42, 0, 1);
	assert_int_equal(tlb_data_mfn(lookup(42)), 1);
	fill(ACC_EXEC, SPACE, 42, 0, 2);
	assert_int_equal(tlb_data_mfn(lookup(42)), 2);

	begin(tlb_preset_find("generic"));
	fill(ACC_READ, SPACE, 42, 0, 1);
	assert_int_equal(tlb_data_mfn(tlb_lookup(&t, ACC_EXEC, SPACE, 0, 42)), 1);
	fill(ACC_READ, SPACE, 42, 0, 2);
	assert_int_equal(tlb_data_mfn(tlb_lookup(&t, ACC_EXEC, SPACE, 0, 42)), 2);
}

static void test_globals_serve_all_spaces_of_their_vm(void **state)
{
	begin(tlb_preset_find("skylake"));
	fill(ACC_READ, GLOBALS, 77, 0, 5);
	assert_int_equal(tlb_data_mfn(tlb_lookup(&t, ACC_READ, SPACE, GLOBALS, 77)), 5);
	assert_int_equal(tlb_data_mfn(tlb_lookup(&t, ACC_READ, SPACE + 10, GLOBALS, 77)), 5);
	assert_int_equal(tlb_lookup(&t, ACC_READ, SPACE, 0, 77), 0);
	tlb_inval_space(&t, SPACE);
	assert_int_equal(tlb_inval_page(&t, SPACE, 0, 77), 0);
	assert_int_not_equal(tlb_inval_page(&t, SPACE, GLOBALS, 77), 0);
	assert_int_equal(tlb_lookup(&t, ACC_READ, SPACE, GLOBALS, 77), 0);
}

static void see(void *ctx, int level, const struct tlb_entry *e)
{
	*(struct tlb_entry *)ctx = *e;
}

/* Addresses come back as they went in, both halves, every size; data words hold their extremes. */
static void test_entries_round_trip(void **state)
{
	static const uint64_t vpns[] = {0, 0x7ffffffc0000, 0xffff800000000, 0xffffffffc0000, 0xfff0000000000};

	for (unsigned i = 0; i < ARRAY_SIZE(vpns); i++) {
		for (unsigned order = 0; order <= 18; order += 9) {
			uint64_t vpn = vpns[i] & low_bits(45) & ~low_bits(18);
			struct tlb_entry in, out;

			vpn = (uint64_t)((int64_t)(vpn << 19) >> 19) & low_bits(52);
			in = (struct tlb_entry){.vpn = vpn, .space = TLB_SPACE_MAX, .vmid = TLB_VMID_MAX,
				.order = (uint8_t)order, .flags = TLB_FLAGS, .mfn = low_bits(36) & ~low_bits(order)};
			begin(tlb_preset_find("generic"));
			tlb_fill(&t, ACC_EXEC, &in);
			tlb_for_each(&t, see, &out);
			assert_int_equal(out.vpn, in.vpn);
			assert_int_equal(out.space, in.space);
			assert_int_equal(out.vmid, in.vmid);
			assert_int_equal(out.order, in.order);
			assert_int_equal(out.flags, in.flags);
			assert_int_equal(out.mfn, in.mfn);
		}
	}
}

static void test_presets(void **state)
{
	static const uint8_t shifts[WC_LEVELS] = {21, 30, 39, 64};
	static const char *const wanted[] = {"generic", "haswell", "skylake", "zen2", "zen4", "u74", "rocket", "none"};
	const char *why;

	for (unsigned i = 0; i < ARRAY_SIZE(wanted); i++)
		assert_non_null(tlb_preset_find(wanted[i]));
	assert_null(tlb_preset_find("generi"));
	assert_null(tlb_preset_find(""));
	for (const struct tlb_config *const *p = tlb_presets; *p; p++) {
		struct walk_cache wc;
		void *m = aligned_alloc(64, wc_bytes((*p)->walk));

		assert_ptr_equal(tlb_preset_find((*p)->name), *p);
		assert_int_equal(tlb_config_validate(*p, &why), 0);
		assert_true((*p)->source && (*p)->note);
		begin(*p);
		assert_int_equal(t.any, strcmp((*p)->name, "none") != 0);
		assert_int_equal(lookup(3), 0);
		fill(ACC_READ, SPACE, 3, 0, 4);
		assert_int_equal(lookup(3) != 0, t.any);
		memset(m, 0, wc_bytes((*p)->walk));
		wc_init(&wc, (*p)->walk, shifts, 1, m);
		assert_int_equal(wc.any, (*p)->walk[0].sets != 0);
		free(m);
	}
}

static unsigned entries_of(const struct tlb_array_config *c)
{
	return c->sets * c->ways;
}

/* The figures that are published, apart from how a preset writes them. */
static void test_published_figures(void **state)
{
	static const struct {
		const char *name;
		unsigned l1i, l1i_ways, l1d, l1d_ways, l2, l2_ways;
	} published[] = {
		{ "haswell", 128, 4, 64, 4, 1024, 8 }, { "skylake", 128, 8, 64, 4, 1536, 12 },
		{ "zen2", 64, 64, 64, 64, 2048, 16 }, { "u74", 40, 40, 40, 40, 512, 1 },
		{ "rocket", 32, 32, 32, 32, 0, 0 },
	};
	static const char *const zen[] = { "zen2", "zen4" };

	for (unsigned i = 0; i < ARRAY_SIZE(published); i++) {
		const struct tlb_config *c = tlb_preset_find(published[i].name);

		assert_int_equal(entries_of(&c->l1i[0]), published[i].l1i);
		assert_int_equal(c->l1i[0].ways, published[i].l1i_ways);
		assert_int_equal(entries_of(&c->l1d[0]), published[i].l1d);
		assert_int_equal(c->l1d[0].ways, published[i].l1d_ways);
		assert_int_equal(entries_of(&c->l2[0]), published[i].l2);
		assert_int_equal(c->l2[0].ways, published[i].l2_ways);
	}
	/* The page-directory cache has 64 entries for the two highest levels together; PDEs are elsewhere. */
	for (unsigned i = 0; i < ARRAY_SIZE(zen); i++) {
		const struct tlb_config *c = tlb_preset_find(zen[i]);

		assert_int_equal(entries_of(&c->walk[1]) + entries_of(&c->walk[2]), 64);
	}
	assert_int_equal(entries_of(&tlb_preset_find("rocket")->walk[0]) +
			 entries_of(&tlb_preset_find("rocket")->walk[1]), 8);
}

/* The default's geometry is a promise: benchmarks name it. */
static void test_generic_geometry(void **state)
{
	const struct tlb_config *c = tlb_preset_find("generic");

	assert_ptr_equal(c, tlb_presets[0]);
	assert_int_equal(c->l1d[0].sets * c->l1d[0].ways, 64);
	assert_int_equal(c->l1d[0].ways, 4);
	assert_int_equal(c->l1d[1].sets * c->l1d[1].ways, 32);
	assert_int_equal(c->l1d[2].sets * c->l1d[2].ways, 4);
	assert_int_equal(c->l2[0].sets * c->l2[0].ways, 1536);
	assert_int_equal(c->l2[0].ways, 12);
	assert_true(c->l2_shared_large);
	assert_int_equal(c->l2[2].sets * c->l2[2].ways, 16);
	assert_int_equal(c->nested.sets * c->nested.ways, 64);
}

static void test_bad_configurations(void **state)
{
	static const struct tlb_config bad[] = {
		{.name = ""},
		{.name = "sets", .l1d = {{.sets = 3, .ways = 4}}},
		{.name = "no ways", .l1i = {{.sets = 4, .ways = 0}}},
		{.name = "ways", .l2 = {{0}, {.sets = 4, .ways = 65}}},
		{.name = "no sets", .walk = {{.sets = 0, .ways = 4}}},
		{.name = "policy", .host_walk = {{.sets = 1, .ways = 4, .policy = TLB_POLICIES}}},
		{.name = "nested", .nested = {.sets = 5, .ways = 4}},
		{.name = "shared nothing", .l2_shared_large = true},
		{.name = "shared twice", .l2 = {{.sets = 4, .ways = 4}, {.sets = 4, .ways = 4}}, .l2_shared_large = true},
		{.name = "huge twice", .l2 = {{.sets = 4, .ways = 4}, {0}, {.sets = 1, .ways = 4}}, .l2_shared_huge = true},
		{.name = "l1 nothing", .l1_shared = true},
		{.name = "l1 twice", .l1i = {{.sets = 1, .ways = 8}}, .l1d = {{.sets = 1, .ways = 8}, {.sets = 1, .ways = 1}},
		 .l1_shared = true},
		{.name = "combined", .walk_combined = true},
	};
	uint64_t words[4096] __attribute__((aligned(64))) = {0};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		const char *why = NULL;

		assert_int_equal(tlb_config_validate(&bad[i], &why), -EINVAL);
		assert_non_null(why);
		assert_int_equal(tlb_init(&t, &bad[i], 1, 1, words), -EINVAL);
	}
	assert_int_equal(tlb_init(&t, tlb_preset_find("none"), BIT(9), 1, words), -EINVAL);
	assert_int_equal(tlb_init(&t, tlb_preset_find("none"), 1 | BIT(36), 1, words), -EINVAL);
	assert_int_equal(tlb_init(&t, tlb_preset_find("none"), 0x1ff, 1, words), -EINVAL);
	assert_int_equal(tlb_init(&t, tlb_preset_find("none"), 0xff, 1, words), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_case_9_page_replacement),
		cmocka_unit_test(test_lru_inclusion),
		cmocka_unit_test(test_plru_example),
		cmocka_unit_test(test_plru_never_takes_an_absent_way),
		cmocka_unit_test(test_peer_default_policy_keeps_a_working_set),
		cmocka_unit_test(test_peer_flush_drops_every_size),
		cmocka_unit_test(test_peer_misses_are_counted_once),
		cmocka_unit_test(test_second_fill_makes_no_second_copy),
		cmocka_unit_test(test_refilled_copy_never_disagrees),
		cmocka_unit_test(test_globals_serve_all_spaces_of_their_vm),
		cmocka_unit_test(test_entries_round_trip),
		cmocka_unit_test(test_presets),
		cmocka_unit_test(test_published_figures),
		cmocka_unit_test(test_generic_geometry),
		cmocka_unit_test(test_bad_configurations),
	};

	return cmocka_run_group_tests(tests, NULL, end);
}
