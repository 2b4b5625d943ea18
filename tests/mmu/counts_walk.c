/* SPDX-License-Identifier: MIT */
/*
 * How many references a translation takes (the table of counts in the design):
 * measured from logged loads on a machine without caches, compared with the
 * formula; and every load must be one that the translation needs.
 */
#include "probe.h"

/* Walk lengths, written down apart from what the formats say of themselves. */
static unsigned walk_length(const char *name)
{
	static const struct {
		const char *name;
		unsigned refs;
	} known[] = {
		{ "x86-32", 2 }, { "x86-pae", 2 }, { "x86-pae+pdpte=memory", 3 }, { "x86-64", 4 },
		{ "x86-64-5l", 5 }, { "sv39", 3 }, { "sv48", 4 }, { "sv57", 5 }, { "classroom", 1 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(known); i++)
		if (!strcmp(known[i].name, name))
			return known[i].refs;
	fail_msg("no figure for %s", name);
	return 0;
}

/* Second stages that reach no more than 64 KiB leave room for a small guest only. */
static uint64_t pages_for(const struct gpt_format *host)
{
	return MIN(gpt_va_limit(host, true) >> PAGE_SHIFT, 4096);
}

static void measure(struct rig *r, struct rig_log *l)
{
	struct rig_vm *g = &r->g[0];
	struct rig_space s;
	uint64_t va = rig_va(g->guest_fmt), gfn = g->slot->npages - 1;

	rig_space_init(&s, g);
	rig_map(&s, va, gfn, 0, RIG_RIGHTS);
	rig_enter(&s);
	mfn_t mfn = rig_mfn(g, va, ACC_WRITE);
	assert_int_equal(mfn.v, rig_truth(g, gfn).v);
	rig_explain(g, va, ACC_READ, RIG_COLD, l);
	assert_int_equal(l->e.status, ACCESS_OK);
	assert_int_equal(l->e.hpa.v, mfn.v << PAGE_SHIFT | (va & PAGE_MASK));
	assert_int_equal(l->e.references, l->refs);
	assert_int_equal(l->e.depth, l->refs);
	assert_int_equal(l->start, 0);
	probe_each_load(g, va, ACC_READ, l);
}

static unsigned pairs_under(const char *scheme, unsigned (*expected)(unsigned g, unsigned h))
{
	unsigned pairs = 0;

	for (unsigned i = 0; rig_format_at(i); i++)
		for (unsigned j = 0; rig_format_at(j); j++) {
			const struct gpt_format *gf = rig_format_at(i), *hf = rig_format_at(j);
			struct rig_config c = {
				.scheme = scheme, .guest = gf->name, .host = hf->name, .guest_pages = pages_for(hf),
			};
			struct rig r;
			struct rig_log l;

			if (!rig_open_if_possible(&r, &c))
				continue;
			measure(&r, &l);
			for (int k = ACC_READ; k < ACC_KINDS; k++) {
				unsigned want = expected(walk_length(gf->name), walk_length(hf->name));

				rig_explain(&r.g[0], rig_va(gf), (enum acc_kind)k, RIG_COLD, &l);
				if (l.refs != want)
					fail_msg("%s, %s on %s: %u references, not %u", scheme, gf->name, hf->name,
						 (unsigned)l.refs, want);
			}
			pairs++;
			rig_close(&r);
		}
	return pairs;
}

static unsigned two_dimensions(unsigned g, unsigned h) { return (g + 1) * (h + 1) - 1; }
static unsigned over_flat(unsigned g, unsigned h) { return 2 * g + 1; }
static unsigned guest_alone(unsigned g, unsigned h) { return g; }

static void test_nested_radix_on_radix(void **state)
{
	/* Of nine on nine, all can be. */
	assert_int_equal(pairs_under("nested/radix", two_dimensions), 81);
}

static void test_nested_on_flat(void **state)
{
	assert_int_equal(pairs_under("nested/flat", over_flat), 81);
}

static void test_native(void **state)
{
	assert_int_equal(pairs_under("native", guest_alone), 81);
}

/* The shadow has the second stage's format if that covers the guest's addresses, else the guest's. */
static const char *shadow_format_name(const char *guest, const char *host)
{
	static const struct {
		const char *name;
		unsigned bits;
		bool both_halves;
	} reach[] = {
		{ "classroom", 16, false }, { "x86-32", 32, false }, { "x86-pae", 32, false },
		{ "x86-pae+pdpte=memory", 32, false }, { "sv39", 39, true }, { "x86-64", 48, true },
		{ "sv48", 48, true }, { "x86-64-5l", 57, true }, { "sv57", 57, true },
	};
	unsigned g = 0, h = 0;

	while (strcmp(reach[g].name, guest))
		g++;
	while (strcmp(reach[h].name, host))
		h++;
	bool covers = reach[g].both_halves ? reach[h].both_halves && reach[h].bits >= reach[g].bits :
		      reach[h].bits - reach[h].both_halves >= reach[g].bits;
	return covers ? host : guest;
}

static unsigned shadow_pairs(const char *scheme)
{
	unsigned pairs = 0;

	for (unsigned i = 0; rig_format_at(i); i++)
		for (unsigned j = 0; rig_format_at(j); j++) {
			const char *gf = rig_format_at(i)->name, *hf = rig_format_at(j)->name;
			const char *sf = shadow_format_name(gf, hf);
			struct rig_config c = {
				.scheme = scheme, .guest = gf, .host = hf, .guest_pages = pages_for(gpt_find(sf)),
			};
			struct rig r;
			struct rig_log l;

			if (!rig_open_if_possible(&r, &c))
				continue;
			measure(&r, &l);
			if (l.refs != walk_length(sf))
				fail_msg("%s, %s on %s: %u references, not %u", scheme, gf, hf, (unsigned)l.refs,
					 walk_length(sf));
			pairs++;
			rig_close(&r);
		}
	return pairs;
}

static void test_shadow_entry_there(void **state)
{
	assert_int_equal(shadow_pairs("shadow"), 81);
	assert_int_equal(shadow_pairs("shadow+lazy"), 81);
}

/* The four pointers are registers; in memory (AMD's nested paging), one load more. */
static void test_pae_pointers(void **state)
{
	static const struct {
		const char *format, *scheme;
		unsigned refs;
	} c[] = {
		{ "x86-pae", "native", 2 }, { "x86-pae+pdpte=memory", "native", 3 },
		{ "x86-pae", "nested/radix", 2 * 3 + 2 }, { "x86-pae+pdpte=memory", "nested/radix", 3 * 4 + 3 },
		{ "x86-pae", "nested/flat", 2 * 2 + 1 }, { "x86-pae+pdpte=memory", "nested/flat", 2 * 3 + 1 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(c); i++) {
		struct rig_config rc = { .scheme = c[i].scheme, .guest = c[i].format };
		struct rig r;
		struct rig_log l;

		rig_open(&r, &rc);
		measure(&r, &l);
		assert_int_equal(l.refs, c[i].refs);
		rig_close(&r);
	}
}

/* ---- mixed page sizes: Σ over guest levels (h_i + 1) + h_data ---- */

struct mix {
	const char *format;
	unsigned guest_order;  /* of the data page */
	bool huge_tables, huge_data; /* backed by 2 MiB */
	unsigned refs;
};

static void mixed(const struct mix *x)
{
	enum { DATA_GFN = 2 * GFN_BLOCK };
	struct rig_config c = { .guest = x->format, .host_thp = x->huge_tables };
	struct rig r;
	struct rig_space s;
	struct rig_log l;

	rig_open(&r, &c);
	struct rig_vm *g = &r.g[0];
	uint64_t base = align_down(rig_va(g->guest_fmt), PAGE_SIZE << x->guest_order);
	uint64_t va = base + ((uint64_t)DATA_GFN << PAGE_SHIFT);

	if (x->guest_order < ORDER_1G)
		va = base;
	rig_space_init(&s, g);
	rig_map(&s, va, x->guest_order == ORDER_1G ? 0 : DATA_GFN, x->guest_order, RIG_RIGHTS);
	rig_enter(&s);
	/* The tables have been touched; the data has not. */
	g->vm->host_thp = x->huge_data;
	va += 0x5123;
	uint64_t gfn = x->guest_order ? DATA_GFN + 5 : DATA_GFN;
	if (!x->guest_order)
		va -= 0x5000;
	rig_leads_to(g, va, ACC_WRITE, gfn);
	rig_explain(g, va, ACC_READ, RIG_COLD, &l);
	if (l.refs != x->refs)
		fail_msg("%s, order %u, tables %d data %d: %u references, not %u", x->format, x->guest_order,
			 x->huge_tables, x->huge_data, (unsigned)l.refs, x->refs);
	assert_int_equal(l.e.references, x->refs);
	assert_int_equal(l.e.order, x->huge_data ? MIN(x->guest_order, ORDER_2M) : 0);
	probe_each_load(g, va, ACC_READ, &l);
	rig_close(&r);
}

static void test_nested_mixed_page_sizes(void **state)
{
	static const struct mix x[] = {
		{ "x86-64", ORDER_2M, true, true, 15 },    /* 3 * (3 + 1) + 3 */
		{ "x86-64", ORDER_4K, true, true, 19 },    /* 4 * (3 + 1) + 3 */
		{ "x86-64", ORDER_2M, false, false, 19 },  /* 3 * (4 + 1) + 4 */
		{ "x86-64", ORDER_2M, false, true, 18 },   /* 3 * (4 + 1) + 3 */
		{ "x86-64", ORDER_2M, true, false, 16 },   /* 3 * (3 + 1) + 4 */
		{ "x86-64", ORDER_1G, true, true, 11 },    /* 2 * (3 + 1) + 3 */
		{ "x86-64", ORDER_1G, false, true, 13 },   /* 2 * (4 + 1) + 3 */
		{ "sv39", ORDER_4K, true, true, 11 },      /* 3 * (2 + 1) + 2 */
		{ "sv39", ORDER_4K, false, true, 14 },     /* 3 * (3 + 1) + 2 */
		{ "sv39", ORDER_2M, true, true, 8 },       /* 2 * (2 + 1) + 2 */
		{ "sv39", ORDER_1G, false, false, 7 },     /* 1 * (3 + 1) + 3 */
		{ "sv57", ORDER_2M, true, true, 24 },      /* 4 * (4 + 1) + 4 */
		{ "x86-64-5l", ORDER_1G, false, false, 23 }, /* 3 * (5 + 1) + 5 */
		{ "x86-pae", ORDER_2M, true, true, 3 },    /* 1 * (1 + 1) + 1 */
		{ "x86-pae", ORDER_4K, true, true, 5 },    /* 2 * (1 + 1) + 1 */
		{ "x86-pae+pdpte=memory", ORDER_2M, true, true, 8 }, /* 2 * (2 + 1) + 2 */
	};

	for (unsigned i = 0; i < ARRAY_SIZE(x); i++)
		mixed(&x[i]);
}

/* 1 GiB on 1 GiB, 4 levels: 2 * (2 + 1) + 2. */
static void test_nested_gigabyte_on_gigabyte(void **state)
{
	struct rig_config c = {
		.ram = UINT64_C(3) << 30, .guest_pages = BIT(ORDER_1G), .host_thp_1g = true, .table_gfn = 16,
	};
	struct rig r;
	struct rig_space s;
	struct rig_log l;

	rig_open(&r, &c);
	rig_space_init(&s, &r.g[0]);
	rig_map(&s, UINT64_C(5) << 30, 0, ORDER_1G, RIG_RIGHTS);
	rig_enter(&s);
	uint64_t va = (UINT64_C(5) << 30) + 0x12345678;
	rig_leads_to(&r.g[0], va, ACC_READ, 0x12345);
	rig_explain(&r.g[0], va, ACC_READ, RIG_COLD, &l);
	assert_int_equal(l.refs, 8);
	assert_int_equal(l.e.order, ORDER_1G);
	assert_int_equal(r.g[0].vm->stats.pages_1g, 1);
	rig_close(&r);
}

/* A superpage's shadow entry stands a level higher: one reference fewer. */
static void test_shadow_superpages(void **state)
{
	static const struct {
		unsigned guest_order;
		bool huge;
		unsigned refs, order;
	} x[] = { { ORDER_2M, true, 3, 9 }, { ORDER_2M, false, 4, 0 }, { ORDER_4K, true, 4, 0 }, { ORDER_1G, true, 3, 9 } };

	for (unsigned i = 0; i < ARRAY_SIZE(x); i++) {
		struct rig_config c = { .scheme = "shadow", .host_thp = x[i].huge };
		struct rig r;
		struct rig_space s;
		struct rig_log l;

		rig_open(&r, &c);
		rig_space_init(&s, &r.g[0]);
		uint64_t va = UINT64_C(7) << 30, gfn = 0;

		rig_map(&s, va, x[i].guest_order == ORDER_1G ? 0 : 1024, x[i].guest_order, RIG_RIGHTS);
		rig_enter(&s);
		if (x[i].guest_order == ORDER_1G)
			va += 1024 << PAGE_SHIFT;
		gfn = 1024;
		rig_leads_to(&r.g[0], va, ACC_WRITE, gfn);
		rig_explain(&r.g[0], va, ACC_READ, RIG_COLD, &l);
		assert_int_equal(l.refs, x[i].refs);
		assert_int_equal(l.e.order, x[i].order);
		probe_each_load(&r.g[0], va, ACC_READ, &l);
		rig_close(&r);
	}
}

/* A reference through the first door is counted as the explained one is. */
static void test_statistics_say_the_same(void **state)
{
	for (unsigned i = 0; rig_scheme_at(i); i++) {
		struct rig_config c = { .scheme = rig_scheme_at(i) };
		struct rig r;
		struct rig_space s;
		struct rig_log l;

		rig_open(&r, &c);
		struct rig_vm *g = &r.g[0];
		struct vm_stats *st = &g->vm->stats, before;

		rig_space_init(&s, g);
		rig_map(&s, 0x400000, 700, 0, RIG_RIGHTS);
		rig_enter(&s);
		rig_mfn(g, 0x400000, ACC_READ);
		before = *st;
		for (unsigned n = 0; n < 10; n++)
			rig_mfn(g, 0x400000, ACC_READ);
		assert_int_equal(st->walks - before.walks, 10);
		assert_int_equal(st->fault_walks, before.fault_walks);
		uint64_t refs = st->walk_refs - before.walk_refs;
		rig_explain(g, 0x400000, ACC_READ, RIG_COLD, &l);
		assert_int_equal(refs, 10 * l.refs);
		assert_true(st->walk_refs_hist.bucket[hist_bucket(l.refs)] >= 10);
		rig_close(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_native),
		cmocka_unit_test(test_nested_radix_on_radix),
		cmocka_unit_test(test_nested_on_flat),
		cmocka_unit_test(test_shadow_entry_there),
		cmocka_unit_test(test_pae_pointers),
		cmocka_unit_test(test_nested_mixed_page_sizes),
		cmocka_unit_test(test_nested_gigabyte_on_gigabyte),
		cmocka_unit_test(test_shadow_superpages),
		cmocka_unit_test(test_statistics_say_the_same),
	};

	return cmocka_run_group_tests_name("mmu counts", tests, NULL, NULL);
}
