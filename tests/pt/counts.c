/* SPDX-License-Identifier: MIT */
/* References per lookup: the table of docs/architecture.md's counts, for one organisation alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>

#include <cmocka.h>

#include "base/rng.h"
#include "conform/test_mem.h"
#include "pt/inverted.h"

enum { RIGHTS = RIGHT_RWX | RIGHT_U | RIGHT_A | RIGHT_D, FRAME_BASE = 0x2000 };

static uint64_t seed = 5;

struct table {
	struct test_mem mem;
	struct pt_params params;
	struct pt pt;
};

static void table_init(struct table *t, const char *spec, const struct gpt_format *fmt, bool second_stage,
		       uint64_t nframes, uint64_t anchors)
{
	const struct pt_org *org;
	uint32_t flags;

	t->params = (struct pt_params){ .fmt = fmt, .second_stage = second_stage, .nframes = nframes,
					.frame_base = FRAME_BASE, .anchors = anchors, .npages = 16 };
	test_mem_init(&t->mem, 1024);
	assert_int_equal(pt_org_parse(spec, &org, &flags), 0);
	assert_int_equal(pt_create(&t->pt, org, flags, &t->params, &t->mem.m), 0);
}

static void table_fini(struct table *t)
{
	const char *why;

	assert_int_equal(t->pt.org->audit(&t->pt, &why), 0);
	pt_destroy(&t->pt);
	assert_int_equal(t->mem.frames_used, 0);
	assert_int_equal(t->mem.bad, 0);
	test_mem_fini(&t->mem);
}

static void map(struct table *t, uint32_t space, uint64_t page, unsigned order, uint64_t frame)
{
	struct pt_entry e = { { space, page }, (uint8_t)order, RIGHTS, frame };

	assert_int_equal(t->pt.org->map(&t->pt, &e), 0);
}

/* References of one lookup of pt; INVALID_FRAME if the page has none. */
static uint64_t lookup(struct pt *pt, uint32_t space, uint64_t page, uint64_t *frame, struct walk *w)
{
	struct walk_req req = { .va = page << PAGE_SHIFT, .space = space, .kind = ACC_READ, .user = true,
				.ctl = CTL_DEFAULT, .second_stage = pt->params.second_stage, .start_level = -1 };
	uint64_t before = pt->mem->counts.refs;

	pt->org->lookup(pt, &req, w);
	*frame = w->status == WALK_OK ? w->frame : INVALID_FRAME;
	return pt->mem->counts.refs - before;
}

/* g for every format and stage; what is logged is what is counted. */
static void test_radix(void **state)
{
	for (const struct gpt_format *const *f = gpt_builtin; *f; f++) {
		for (int stage = 0; stage < 2; stage++) {
			unsigned g = (*f)->levels - (*f)->root_in_registers;
			static struct test_log log;
			struct table t;
			struct walk w;
			uint64_t frame;

			table_init(&t, "radix", *f, stage, 64, 0);
			map(&t, 0, 9, 0, FRAME_BASE + 3);
			assert_int_equal(lookup(&t.pt, 0, 9, &frame, &w), g);
			assert_int_equal(frame, FRAME_BASE + 3);
			test_log_init(&log);
			t.mem.m.log = &log.log;
			lookup(&t.pt, 0, 9, &frame, &w);
			t.mem.m.log = NULL;
			assert_int_equal(log.n, g);
			assert_int_equal(log.ref[g - 1].note.level, 0);
			table_fini(&t);
		}
	}
}

static void test_flat(void **state)
{
	for (const struct gpt_format *const *f = gpt_builtin; *f; f++) {
		struct table t;
		struct walk w;
		uint64_t frame;

		table_init(&t, "flat", *f, false, 64, 0);
		map(&t, 0, 9, 0, 5);
		assert_int_equal(lookup(&t.pt, 0, 9, &frame, &w), 1);
		assert_int_equal(frame, 5);
		assert_int_equal(lookup(&t.pt, 0, 8, &frame, &w), 1); /* absent */
		assert_int_equal(w.ntables, 1);
		assert_int_equal(lookup(&t.pt, 0, 16, &frame, &w), 0); /* beyond its end */
		table_fini(&t);
	}
}

static uint64_t random_page(struct rng *rng)
{
	return rng_below(rng, BIT(30));
}

/* All frames owned by random keys: 1 for the anchor and 1 + (n-1)/2m for the chain, in the mean. */
static void check_chained(uint64_t nframes, uint64_t anchors)
{
	const struct gpt_format *fmt = gpt_find("x86-64");
	double alpha = (double)nframes / (double)anchors, sum = 0, absent = 0;
	struct inverted_stats stats;
	struct table t;
	struct rng rng;
	struct walk w;
	uint64_t frame;

	table_init(&t, "inverted", fmt, false, nframes, anchors);
	rng_init(&rng, seed);
	for (uint64_t i = 0; i < nframes; i++)
		map(&t, (uint32_t)(i & 7), random_page(&rng), 0, FRAME_BASE + i);
	rng_init(&rng, seed);
	for (uint64_t i = 0; i < nframes; i++) {
		sum += (double)lookup(&t.pt, (uint32_t)(i & 7), random_page(&rng), &frame, &w);
		assert_int_equal(frame, FRAME_BASE + i);
	}
	for (uint64_t i = 0; i < nframes; i++) {
		absent += (double)lookup(&t.pt, 9, random_page(&rng), &frame, &w);
		assert_int_equal(frame, INVALID_FRAME);
	}
	assert_int_equal(pt_inverted_stats(&t.pt, &stats), 0);
	assert_int_equal(stats.anchors, anchors);
	print_message("alpha %.2f: %.3f references, absent %.3f\n", alpha, sum / (double)nframes, absent / (double)nframes);
	/* The standard deviation of these means is below (1 + α) / √n. */
	double tolerance = 4 * (1 + alpha) / sqrt((double)nframes);
	assert_true(fabs(sum / (double)nframes - (2 + alpha / 2)) < tolerance);
	assert_true(fabs(absent / (double)nframes - (1 + alpha)) < tolerance);
	table_fini(&t);
}

static void test_chained(void **state)
{
	check_chained(8192, 32768);
	check_chained(8192, 16384);
	check_chained(8192, 8192);
	check_chained(8192, 4096);
	check_chained(8192, 2048);
}

/*
 * The search the option stands for, done: each entry in the order of frames,
 * then the chunks of aliases, one load each.
 */
struct search {
	uint64_t loads;
	uint64_t frame;
};

static bool search_entry(struct pt *pt, uint64_t addr, uint32_t space, uint64_t page, struct search *s)
{
	struct inv_entry e;

	assert_int_equal(ptm_load(pt->mem, addr, sizeof(e), &e), 0);
	s->loads++;
	if (!is_valid_entry(&e) || e.space != space || entry_page(&e) != align_down(page, BIT(entry_order(&e))))
		return false;
	s->frame = leaf_frame(e.leaf) + (page - entry_page(&e));
	return true;
}

static struct search real_search(struct pt *pt, uint32_t space, uint64_t page)
{
	struct search s = { 0, INVALID_FRAME };
	uint64_t lists[2] = { HDR_FULL, HDR_PARTIAL }, chunk;

	for (uint64_t i = 0; i < pt->params.nframes; i++)
		if (search_entry(pt, inv_slot_addr(pt, pt->params.frame_base + i), space, page, &s))
			return s;
	for (int l = 0; l < 2; l++) {
		assert_int_equal(ptm_load64(pt->mem, pt->root + lists[l], &chunk), 0);
		while (chunk) {
			s.loads++; /* the chunk's head */
			for (unsigned i = 1; i < PAGE_SIZE / INV_BYTES; i++)
				if (search_entry(pt, chunk + i * INV_BYTES, space, page, &s))
					return s;
			assert_int_equal(ptm_load64(pt->mem, chunk, &chunk), 0);
		}
	}
	return s;
}

/* (F+1)/2 over all frames, exactly: each position once. F when absent. */
static void test_linear_mean(void **state)
{
	enum { F = 1000 };
	struct table t;
	struct walk w;
	uint64_t frame, sum = 0;

	table_init(&t, "inverted+linear", gpt_find("sv39"), false, F, 0);
	for (uint64_t i = 0; i < F; i++)
		map(&t, 1, i * 7, 0, FRAME_BASE + i);
	for (uint64_t i = 0; i < F; i++) {
		sum += lookup(&t.pt, 1, i * 7, &frame, &w);
		assert_int_equal(frame, FRAME_BASE + i);
	}
	assert_int_equal(2 * sum, (uint64_t)F * (F + 1));
	assert_int_equal(lookup(&t.pt, 1, 3, &frame, &w), F);
	assert_int_equal(lookup(&t.pt, 2, 7, &frame, &w), F);
	table_fini(&t);
}

/* With holes, superpages, several owners and aliases in several chunks: count and result of the real search. */
static void test_linear_is_the_search(void **state)
{
	enum { F = 2048, KEYS = 700 };
	struct table t;
	struct rng rng;
	struct walk w;
	uint64_t frame;

	table_init(&t, "inverted+linear", gpt_find("x86-64"), true, F, 0);
	rng_init(&rng, seed);
	map(&t, 0, 512 * 9, 9, FRAME_BASE + 512);
	map(&t, 1, 512 * 9, 9, FRAME_BASE + 512);
	for (unsigned i = 0; i < KEYS; i++)
		map(&t, i & 1, rng_below(&rng, 4000), 0, FRAME_BASE + rng_below(&rng, i & 2 ? 8 : F));
	for (unsigned i = 0; i < 200; i++)
		pt_unmap_range(&t.pt, i & 1, rng_below(&rng, 4000), 4000 + rng_below(&rng, 2));
	for (unsigned i = 0; i < KEYS; i++)
		map(&t, i & 1, rng_below(&rng, 4000), 0, FRAME_BASE + rng_below(&rng, i & 2 ? 8 : F));
	for (uint64_t page = 0; page < 512 * 10; page += 3) {
		struct search s = real_search(&t.pt, page & 1, page);

		assert_int_equal(lookup(&t.pt, page & 1, page, &frame, &w), s.loads);
		assert_int_equal(frame, s.frame);
	}
	table_fini(&t);
}

/* Orders in use: one anchor each; a view opened before knows of none, and still finds them. */
static void test_superpages_cost_a_probe(void **state)
{
	struct table t;
	struct pt view;
	struct walk w;
	uint64_t frame;

	table_init(&t, "inverted", gpt_find("x86-64"), false, 4096, 1 << 16);
	map(&t, 1, 5, 0, FRAME_BASE);
	assert_int_equal(lookup(&t.pt, 1, 5, &frame, &w), 2);
	assert_int_equal(lookup(&t.pt, 1, 6, &frame, &w), 1);
	assert_int_equal(pt_open(&view, t.pt.org, 0, &t.params, &t.mem.m, t.pt.root), 0);
	map(&t, 1, 1024, 9, FRAME_BASE + 512);
	assert_int_equal(lookup(&t.pt, 1, 1025, &frame, &w), 2);
	assert_int_equal(lookup(&t.pt, 1, 5, &frame, &w), 3);
	assert_int_equal(lookup(&view, 1, 1025, &frame, &w), 3); /* its old register costs one probe in vain */
	assert_int_equal(frame, FRAME_BASE + 513);
	assert_int_equal(lookup(&view, 1, 1025, &frame, &w), 2);
	assert_int_equal(t.pt.org->unmap(&t.pt, (struct pt_key){ 1, 1024 }, 9, NULL), 0);
	assert_int_equal(lookup(&t.pt, 1, 5, &frame, &w), 2);
	table_fini(&t);
}

/* Loads served without asking are counted alike. */
static void test_direct_memory(void **state)
{
	static const char *const specs[] = { "radix", "flat", "inverted", "inverted+linear", "cuckoo", "segment" };

	for (unsigned i = 0; i < ARRAY_SIZE(specs); i++) {
		struct table t;
		struct walk w;
		uint64_t slow, frame;

		table_init(&t, specs[i], gpt_find("sv48"), false, 64, 0);
		map(&t, 0, 9, 0, FRAME_BASE + 3);
		slow = lookup(&t.pt, 0, 9, &frame, &w);
		test_mem_set_direct(&t.mem, true);
		assert_int_equal(lookup(&t.pt, 0, 9, &frame, &w), slow);
		assert_int_equal(frame, FRAME_BASE + 3);
		test_mem_set_direct(&t.mem, false);
		table_fini(&t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_radix),
		cmocka_unit_test(test_flat),
		cmocka_unit_test(test_chained),
		cmocka_unit_test(test_linear_mean),
		cmocka_unit_test(test_linear_is_the_search),
		cmocka_unit_test(test_superpages_cost_a_probe),
		cmocka_unit_test(test_direct_memory),
	};

	print_message("seed %llu\n", (unsigned long long)seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
