/* SPDX-License-Identifier: MIT */
/* Reference counts where a table is inverted: under nested paging, as the guest's own, and in the mean. */
#include "probe.h"

static const uint64_t va = UINT64_C(0x40201000);

/* Loads of one second-stage lookup alone. */
static uint64_t cost_of(struct rig_vm *g, uint64_t gfn, uint32_t space, enum walk_status want)
{
	struct pt *pt = g->mmu->p2m;
	struct walk_req req = {
		.va = gfn << PAGE_SHIFT, .space = space, .kind = ACC_READ, .user = true, .ctl = CTL_DEFAULT,
		.ad = WALK_AD_PEEK, .second_stage = true, .start_level = -1,
	};
	uint64_t refs = pt->mem->counts.refs;
	struct walk w;

	pt->org->lookup(pt, &req, &w);
	assert_int_equal(w.status, want);
	return pt->mem->counts.refs - refs;
}

static void open_with_path(struct rig *r, struct rig_space *s, const char *scheme, const char *preset)
{
	struct rig_config c = { .scheme = scheme, .preset = preset, .ram = 8 << 20, .guest_pages = 512 };

	rig_open(r, &c);
	rig_space_init(s, &r->g[0]);
	rig_map(s, va, 300, 0, RIG_RIGHTS);
	rig_enter(s);
	rig_leads_to(&r->g[0], va, ACC_WRITE, 300);
}

/* The gpas that a walk of the guest's tree translates: four tables and the data. */
static unsigned path_gfns(struct rig_space *s, uint64_t gfn[5])
{
	for (unsigned l = 0; l < 4; l++)
		gfn[l] = rig_pte_addr(s, va, l) >> PAGE_SHIFT;
	gfn[4] = 300;
	return 5;
}

/* g + Σ c over g + 1 gpas; with as many anchors as frames, most c are the least: anchor and entry. */
static void test_nested_on_chained(void **state)
{
	struct rig r;
	struct rig_space s;
	struct rig_log l;
	uint64_t gfn[5], want = 4;

	open_with_path(&r, &s, "nested/inverted", "none");
	struct rig_vm *g = &r.g[0];
	for (unsigned i = 0, n = path_gfns(&s, gfn); i < n; i++) {
		uint64_t c = cost_of(g, gfn[i], g->mmu->gpa_space, WALK_OK);

		assert_in_range(c, 2, 5);
		want += c;
	}
	rig_explain(g, va, ACC_READ, RIG_COLD, &l);
	assert_int_equal(l.refs, want);
	assert_int_equal(l.e.references, want);
	unsigned anchors = 0, guest = 0;

	for (unsigned i = l.start; i < l.n; i++) {
		anchors += !strcmp(l.ref[i].note.table, "anchor");
		guest += !strcmp(l.ref[i].note.table, "guest");
	}
	assert_int_equal(anchors, 5);
	assert_int_equal(guest, 4);
	probe_each_load(g, va, ACC_READ, &l);
	rig_close(&r);
}

/* The search in the order of frames meets frame n's entry at its (n + 1)th load. */
static void test_nested_on_linear(void **state)
{
	struct rig r;
	struct rig_space s;
	struct rig_log l;
	uint64_t gfn[5], want = 4;

	open_with_path(&r, &s, "nested/inverted+linear", "none");
	struct rig_vm *g = &r.g[0];
	for (unsigned i = 0, n = path_gfns(&s, gfn); i < n; i++)
		want += rig_truth(g, gfn[i]).v + 1;
	rig_explain(g, va, ACC_READ, RIG_COLD, &l);
	assert_int_equal(l.refs, want);
	assert_int_equal(l.e.references, want);
	rig_close(&r);
}

/* Every frame of the machine mapped once: (F + 1) / 2 in the mean, F for a key that is absent. */
static void test_linear_over_all_frames(void **state)
{
	enum { FILL_SPACE = 0x7000 };
	struct rig r;
	struct rig_space s;
	uint64_t sum = 0;

	open_with_path(&r, &s, "nested/inverted+linear", "none");
	struct rig_vm *g = &r.g[0];
	struct pt *pt = g->mmu->p2m;
	const uint64_t frames = r.m.nframes;

	assert_int_equal(cost_of(g, 511, g->mmu->gpa_space, WALK_FAULT), frames);
	for (uint64_t i = 0; i < frames; i++) {
		struct pt_entry e = {
			.key = { FILL_SPACE, i }, .rights = RIGHT_ALL & ~RIGHT_G, .frame = i,
		};
		struct gfn_mapping map;
		bool mapped = false;

		for (uint64_t n = 0; n < 512 && !mapped; n++)
			mapped = !gfn_peek(g->vm, GFN(n), &map) && map.mfn.v == i &&
				 !pt_find(pt, (struct pt_key){ g->mmu->gpa_space, n }, &e);
		if (!mapped)
			assert_int_equal(pt->org->map(pt, &e), 0);
		sum += cost_of(g, e.key.page, e.key.space, WALK_OK);
	}
	assert_int_equal(pt->entries, frames);
	assert_int_equal(2 * sum, frames * (frames + 1));
	assert_int_equal(cost_of(g, 511, g->mmu->gpa_space, WALK_FAULT), frames);
	assert_int_equal(pt->org->drop_space(pt, FILL_SPACE), 0);
	rig_close(&r);
}

/* Over the keys of a VM: the anchor, and 1 + α/2 entries of its chain. */
static void test_chained_in_the_mean(void **state)
{
	static const uint64_t fill[] = { 2048, 4096, 8192, 14000 };

	for (unsigned i = 0; i < ARRAY_SIZE(fill); i++) {
		struct rig_config c = { .scheme = "nested/inverted", .guest_pages = fill[i], .eager = true };
		struct rig r;
		double sum = 0;

		rig_open(&r, &c);
		struct rig_vm *g = &r.g[0];

		for (uint64_t gfn = 0; gfn < fill[i]; gfn++)
			sum += (double)cost_of(g, gfn, g->mmu->gpa_space, WALK_OK);
		/* As many anchors as frames, rounded up to a power of two: 16384. */
		double alpha = (double)fill[i] / 16384, mean = sum / (double)fill[i];
		double want = 1 + (1 + alpha / 2);

		assert_int_equal(g->mmu->p2m->entries, fill[i]);
		if (mean < want * 0.98 || mean > want * 1.02)
			fail_msg("%u keys: %f loads in the mean, not %f", (unsigned)fill[i], mean, want);
		rig_close(&r);
	}
}

/* The guest's own table inverted: an anchor and an entry, each through the second stage. */
static void test_inverted_guest(void **state)
{
	static const struct {
		const char *scheme;
		unsigned refs;
	} x[] = { { "native", 2 }, { "nested/radix", 2 * (4 + 1) + 4 }, { "nested/flat", 2 * 2 + 1 }, { "shadow", 4 } };

	for (unsigned i = 0; i < ARRAY_SIZE(x); i++) {
		struct rig_config c = { .scheme = x[i].scheme };
		struct rig r;
		struct rig_space s;
		struct rig_log l;

		rig_open(&r, &c);
		rig_space_init_org(&s, &r.g[0], "inverted");
		rig_map(&s, va, 3000, 0, RIG_RIGHTS);
		rig_enter(&s);
		rig_leads_to(&r.g[0], va, ACC_WRITE, 3000);
		rig_explain(&r.g[0], va, ACC_READ, RIG_COLD, &l);
		assert_int_equal(l.refs, x[i].refs);
		probe_each_load(&r.g[0], va, ACC_READ, &l);
		rig_close(&r);
	}
}

/* The guest's linear search through pages of entries, each load itself translated. */
static void test_linear_guest(void **state)
{
	struct rig_config c = { .scheme = "nested/flat", .guest_pages = 512 };
	struct rig r;
	struct rig_space s;
	struct rig_log l;

	rig_open(&r, &c);
	rig_space_init_org(&s, &r.g[0], "inverted+linear");
	rig_map(&s, va, 300, 0, RIG_RIGHTS);
	rig_enter(&s);
	rig_leads_to(&r.g[0], va, ACC_WRITE, 300);
	rig_explain(&r.g[0], va, ACC_READ, RIG_COLD, &l);
	/* 301 entries, each once and once for its translation, and the translation of the result. */
	assert_int_equal(l.e.references, 301 * 2 + 1);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nested_on_chained),
		cmocka_unit_test(test_nested_on_linear),
		cmocka_unit_test(test_linear_over_all_frames),
		cmocka_unit_test(test_chained_in_the_mean),
		cmocka_unit_test(test_inverted_guest),
		cmocka_unit_test(test_linear_guest),
	};

	return cmocka_run_group_tests_name("mmu counts, inverted", tests, NULL, NULL);
}
