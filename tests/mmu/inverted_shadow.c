/* SPDX-License-Identifier: MIT */
/* The hashed shadow cache: what a probe costs, global pages, and that forgetting changes nothing but counts. */
#include "probe.h"

static const uint64_t va0 = UINT64_C(0x40000000);

static struct vm_stats *stats(struct rig *r)
{
	return &r->g[0].vm->stats;
}

static void enter_space(struct rig_space *s, struct rig *r, uint64_t va, unsigned n, uint64_t gfn, uint8_t rights)
{
	rig_space_init(s, &r->g[0]);
	for (unsigned i = 0; i < n; i++)
		rig_map(s, va + i * PAGE_SIZE, gfn + i, 0, rights);
	rig_enter(s);
}

/* ---- counts ---- */

/* Whatever the formats: one line, and it is needed. */
static void test_one_reference(void **state)
{
	unsigned pairs = 0;

	for (unsigned i = 0; rig_format_at(i); i++)
		for (unsigned j = 0; rig_format_at(j); j++) {
			const struct gpt_format *gf = rig_format_at(i), *hf = rig_format_at(j);
			struct rig_config c = { .scheme = "inverted-shadow", .guest = gf->name, .host = hf->name,
						.guest_pages = gf->va_bits == 16 ? 16 : 4096 };
			struct rig_space s;
			struct rig_log l;
			struct rig r;

			rig_open(&r, &c);
			rig_space_init(&s, &r.g[0]);
			rig_map(&s, rig_va(gf), c.guest_pages - 1, 0, RIG_RIGHTS);
			rig_enter(&s);
			rig_leads_to(&r.g[0], rig_va(gf), ACC_WRITE, c.guest_pages - 1);
			for (int k = ACC_READ; k < ACC_KINDS; k++) {
				rig_explain(&r.g[0], rig_va(gf), (enum acc_kind)k, RIG_COLD, &l);
				assert_int_equal(l.refs, 1);
				assert_int_equal(l.e.references, 1);
				assert_int_equal(l.e.depth, 1);
				assert_string_equal(l.ref[l.start].note.table, "cache");
				probe_each_load(&r.g[0], rig_va(gf), (enum acc_kind)k, &l);
			}
			pairs++;
			rig_close(&r);
		}
	assert_int_equal(pairs, 81);
}

/* Each order in use is probed, largest first. */
static void test_orders(void **state)
{
	enum { HUGE_GFN = 1024, SMALL_GFN = 3000 };
	struct rig_config c = { .scheme = "inverted-shadow", .host_thp = true };
	uint64_t small = va0 + (UINT64_C(1) << 30);
	struct rig_space s;
	struct rig_log l;
	struct rig r;

	rig_open(&r, &c);
	struct rig_vm *g = &r.g[0];

	rig_space_init(&s, g);
	rig_map(&s, va0, HUGE_GFN, ORDER_2M, RIG_RIGHTS);
	rig_map(&s, small, SMALL_GFN, 0, RIG_RIGHTS);
	rig_enter(&s);
	/* The kernel's own pages are entries, too. */
	mmu_zap_all(g->mmu);
	rig_leads_to(g, va0 + 5 * PAGE_SIZE, ACC_WRITE, HUGE_GFN + 5);
	rig_explain(g, va0 + 77 * PAGE_SIZE, ACC_READ, RIG_COLD, &l);
	assert_int_equal(l.refs, 1);
	assert_int_equal(l.e.order, ORDER_2M);
	rig_leads_to(g, small, ACC_WRITE, SMALL_GFN);
	rig_explain(g, small, ACC_READ, RIG_COLD, &l);
	assert_int_equal(l.refs, 2);
	assert_int_equal(l.e.depth, 2);
	rig_explain(g, va0, ACC_READ, RIG_COLD, &l);
	assert_int_equal(l.refs, 1);
	rig_audit(&r);
	rig_close(&r);
}

static void test_global_is_the_second_probe(void **state)
{
	struct rig_config c = { .scheme = "inverted-shadow" };
	struct rig_space s[2];
	struct rig_log l;
	struct rig r;

	rig_open(&r, &c);
	struct rig_vm *g = &r.g[0];

	for (unsigned i = 0; i < 2; i++) {
		enter_space(&s[i], &r, va0, 1, 1000, RIG_RIGHTS | RIGHT_G);
		rig_map(&s[i], va0 + PAGE_SIZE, 2000 + i, 0, RIG_RIGHTS);
		rig_leads_to(g, va0 + PAGE_SIZE, ACC_WRITE, 2000 + i);
	}
	rig_leads_to(g, va0, ACC_WRITE, 1000);
	rig_explain(g, va0, ACC_READ, RIG_COLD, &l);
	assert_int_equal(l.refs, 2);
	assert_int_equal(l.e.depth, 2);
	assert_string_equal(l.ref[l.start + 1].note.table, "global cache");
	rig_explain(g, va0 + PAGE_SIZE, ACC_READ, RIG_COLD, &l);
	assert_int_equal(l.refs, 1);
	/* The other space finds what this one entered, until a fence that reaches globals. */
	uint64_t fills = stats(&r)->shadow_fill;

	rig_enter(&s[0]);
	flush_vm(g->mmu);
	rig_leads_to(g, va0, ACC_WRITE, 1000);
	assert_int_equal(stats(&r)->shadow_fill, fills);
	vcpu_fence(&g->v, FENCE_SPACE, s[0].p.asid, GVA(0));
	rig_leads_to(g, va0, ACC_WRITE, 1000);
	assert_int_equal(stats(&r)->shadow_fill, fills);
	vcpu_fence(&g->v, FENCE_PAGE, s[0].p.asid, GVA(va0));
	rig_leads_to(g, va0, ACC_WRITE, 1000);
	assert_int_equal(stats(&r)->shadow_fill, fills + 1);
	vcpu_fence(&g->v, FENCE_ALL, 0, GVA(0));
	rig_leads_to(g, va0, ACC_WRITE, 1000);
	assert_int_equal(stats(&r)->shadow_fill, fills + 2);
	/* A store to either space's table takes it away. */
	rig_set_pte(&s[1], va0, 0, gpt_make_leaf(g->guest_fmt, 0, 1001, RIG_RIGHTS | RIGHT_G));
	rig_enter(&s[1]);
	vcpu_fence(&g->v, FENCE_PAGE, s[1].p.asid, GVA(va0));
	rig_leads_to(g, va0, ACC_WRITE, 1001);
	rig_close(&r);
}

/* A global page where the kernel's unmapped segment has an address of the same number. */
static void test_global_is_not_for_the_unmapped(void **state)
{
	struct rig_config c = { .scheme = "inverted-shadow" };
	struct rig_space s;
	struct rig r;

	rig_open(&r, &c);
	enter_space(&s, &r, 3000 * PAGE_SIZE, 1, 1000, RIG_RIGHTS | RIGHT_G);
	rig_leads_to(&r.g[0], 3000 * PAGE_SIZE, ACC_WRITE, 1000);
	rig_poke(&r.g[0], 3000 * PAGE_SIZE, 8, 7);
	assert_int_equal(rig_peek(&r.g[0], 1000 * PAGE_SIZE, 8), 0);
	assert_int_equal(rig_peek(&r.g[0], 3000 * PAGE_SIZE, 8), 7);
	rig_close(&r);
}

/* ---- forgetting ---- */

/* Of far more pages than there is room for, each is forgotten in turn and comes back the same. */
static void forget(const char *scheme, unsigned pages, unsigned room, const char *preset)
{
	enum { ROUNDS = 40 };
	struct rig_config c = { .scheme = scheme, .preset = preset };
	struct rig_space s[2];
	uint64_t value;
	struct rig r;

	rig_open(&r, &c);
	struct rig_vm *g = &r.g[0];

	for (unsigned i = 0; i < 2; i++)
		enter_space(&s[i], &r, va0, pages, 1000 + 1000 * i, RIG_RIGHTS);
	for (unsigned n = 0; n < ROUNDS; n++) {
		rig_enter(&s[n & 1]);
		/* What the TLB knows is not asked for. */
		flush_vm(g->mmu);
		for (unsigned i = 0; i < pages; i++) {
			uint64_t at = va0 + i * PAGE_SIZE + 8;

			assert_int_equal(vcpu_load(&g->v, SEG_PAGED, at, 8, &value), ACCESS_OK);
			assert_int_equal(value, n < 2 ? 0 : n - 2 + i);
			assert_int_equal(vcpu_store(&g->v, SEG_PAGED, at, 8, n + i), ACCESS_OK);
		}
		assert_true(g->mmu->shadow->cache.entries <= room);
		rig_audit(&r);
	}
	/* At least one eviction a page and round, less what stayed. */
	assert_true(stats(&r)->mmu_recycled >= (uint64_t)(pages - room) * (ROUNDS - 1));
	assert_true(stats(&r)->shadow_fill >= stats(&r)->mmu_recycled);
	rig_close(&r);
}

static void test_every_page_is_forgotten(void **state)
{
	forget("inverted-shadow+groups=1", 64, 4, "none");
	forget("inverted-shadow+groups=1", 64, 4, "generic");
	forget("inverted-shadow+groups=7", 300, 28, "generic");
	forget("inverted-shadow+lazy+groups=3", 100, 12, "generic");
}

/* An entry forgotten leaves no name behind: its frame can go. */
static void test_forgotten_frames_can_move(void **state)
{
	struct rig_config c = { .scheme = "inverted-shadow+groups=1", .preset = "generic" };
	struct rig_space s;
	struct rig r;

	rig_open(&r, &c);
	enter_space(&s, &r, va0, 32, 1000, RIG_RIGHTS);
	for (unsigned i = 0; i < 32; i++)
		rig_leads_to(&r.g[0], va0 + i * PAGE_SIZE, ACC_WRITE, 1000 + i);
	for (unsigned i = 0; i < 32; i++) {
		assert_int_equal(gfn_update(r.g[0].vm, GFN(1000 + i), 1, &(struct gfn_change){ .op = GFN_OP_MOVE }), 0);
		rig_leads_to(&r.g[0], va0 + i * PAGE_SIZE, ACC_READ, 1000 + i);
		rig_audit(&r);
	}
	rig_close(&r);
}

/* ---- size ---- */

static void test_size(void **state)
{
	static const struct {
		const char *scheme;
		uint64_t pages, groups, bytes;
	} x[] = {
		{ "inverted-shadow", 4096, 2048, 2048 * 64 },
		{ "inverted-shadow", 1000, 500, 8 * 4096 },
		{ "inverted-shadow", 1 << 20, 8192, 8192 * 64 }, /* the machine has 16384 frames */
		{ "inverted-shadow+groups=65", 4096, 65, 2 * 4096 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(x); i++) {
		struct rig_config c = { .scheme = x[i].scheme, .guest_pages = x[i].pages };
		uint64_t tables, metadata;
		struct rig r;

		rig_open(&r, &c);
		mmu_bytes(r.g[0].mmu, &tables, &metadata);
		assert_int_equal(r.g[0].mmu->shadow->cache.groups, x[i].groups);
		assert_int_equal(tables, x[i].bytes);
		rig_close(&r);
	}
}

/* What was asked for and cannot be had is no memory; the size of its own choice shrinks to what there is. */
static void test_no_run_of_frames(void **state)
{
	enum { RUN_ORDER = 2, RUN = 1 << RUN_ORDER };
	struct rig_config c = { .scheme = "inverted-shadow+groups=999999" };
	struct rig_vm *g;
	struct rig r;
	const char *why;
	mfn_t mfn;

	rig_open_machine(&r, &c);
	assert_int_equal(rig_vm_try(&r, &c, &g, &why), -ENOMEM);
	c.scheme = "nested/radix";
	rig_vm_add(&r, &c);
	/* Take all that is whole, give back every second run of RUN frames. */
	uint64_t taken[ORDERS][64], n[ORDERS] = { 0 };

	for (unsigned o = ORDER_MAX; o > 0; o--)
		while (n[o] < 64 && !buddy_alloc(&r.m, o, FRAME_TABLE, &mfn))
			taken[o][n[o]++] = mfn.v;
	unsigned order = ORDER_MAX;

	while (!n[order])
		order--;
	for (uint64_t i = 0; i < BIT(order); i += 2 * RUN)
		buddy_free(&r.m, MFN(taken[order][0] + i), RUN_ORDER);
	struct scheme to;

	assert_int_equal(scheme_parse("inverted-shadow", &to, &why), 0);
	assert_int_equal(mmu_change_scheme(r.g[0].mmu, &to, &why), 0);
	assert_int_equal(r.g[0].mmu->shadow->cache.groups, RUN * PAGE_SIZE / LINE_SIZE);
	for (uint64_t i = RUN; i < BIT(order); i += 2 * RUN)
		buddy_free(&r.m, MFN(taken[order][0] + i), RUN_ORDER);
	taken[order][0] = taken[order][--n[order]];
	for (unsigned o = 0; o < ORDERS; o++)
		while (n[o])
			buddy_free(&r.m, MFN(taken[o][--n[o]]), o);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_reference),
		cmocka_unit_test(test_orders),
		cmocka_unit_test(test_global_is_the_second_probe),
		cmocka_unit_test(test_global_is_not_for_the_unmapped),
		cmocka_unit_test(test_every_page_is_forgotten),
		cmocka_unit_test(test_forgotten_frames_can_move),
		cmocka_unit_test(test_size),
		cmocka_unit_test(test_no_run_of_frames),
	};

	return cmocka_run_group_tests_name("mmu inverted shadow", tests, NULL, NULL);
}
