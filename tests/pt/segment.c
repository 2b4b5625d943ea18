/* SPDX-License-Identifier: MIT */
/* What the segment table alone promises: runs found from mappings, their cost, and what moves in and out of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rng.h"
#include "conform/pt_rig.h"
#include "pt/segment.h"

enum { RIGHTS = RIGHT_RWX | RIGHT_U | RIGHT_A | RIGHT_D, OFFSET = 4096 };

static uint64_t seed = 3;

struct table {
	struct test_mem mem;
	struct pt_params params;
	struct pt pt;
};

static void table_init(struct table *t, const char *fmt)
{
	t->params = (struct pt_params){ .fmt = gpt_find(fmt) };
	test_mem_init(&t->mem, 512);
	assert_int_equal(pt_create(&t->pt, pt_org_find("segment", 7), 0, &t->params, &t->mem.m), 0);
}

static void table_fini(struct table *t)
{
	const char *why = "";

	assert_int_equal(t->pt.org->audit(&t->pt, &why), 0);
	pt_destroy(&t->pt);
	assert_int_equal(t->mem.frames_used, 0);
	assert_int_equal(t->mem.bad, 0);
	test_mem_fini(&t->mem);
}

static void map(struct table *t, uint64_t page, unsigned order, uint64_t frame, uint8_t rights)
{
	struct pt_entry e = { { 0, page }, (uint8_t)order, rights, frame };

	assert_int_equal(t->pt.org->map(&t->pt, &e), 0);
}

static void map_row(struct table *t, uint64_t page, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		map(t, page + i, 0, page + i + OFFSET, RIGHTS);
}

static void unmap(struct table *t, uint64_t page)
{
	assert_int_equal(t->pt.org->unmap(&t->pt, (struct pt_key){ 0, page }, 0, NULL), 0);
}

static struct walk look(struct table *t, uint64_t page)
{
	struct walk_req req = { .va = page << PAGE_SHIFT, .kind = ACC_READ, .user = true, .ctl = CTL_DEFAULT, .start_level = -1 };
	struct walk w;

	t->pt.org->lookup(&t->pt, &req, &w);
	return w;
}

static unsigned runs(struct table *t) { return seg_regs_of(&t->pt)->n; }

/* Probes of a search by halves among n, for what is in run i, or (in_gap) before it. */
static unsigned probes_of(unsigned n, unsigned i, bool in_gap)
{
	unsigned lo = 0, hi = n, probes = 0;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		probes++;
		if (mid == i && !in_gap)
			break;
		if (mid < i)
			lo = mid + 1;
		else
			hi = mid;
	}
	return probes;
}

/* Each load decides: a probed run that covers the page is what the walk finds; the tree's entries lead to the leaf. */
static void each_load_counts(struct table *t, uint64_t page, unsigned want)
{
	static struct test_log log;
	struct walk before = look(t, page);

	test_log_init(&log);
	t->mem.m.log = &log.log;
	assert_int_equal(look(t, page).status, before.status);
	t->mem.m.log = NULL;
	assert_int_equal(log.n, want);
	for (unsigned i = 0; i < log.n; i++) {
		bool is_run = !strcmp(log.ref[i].note.table, "run");
		struct seg_run cover = { page, page + 1, 99999 - page, make_leaf(0, 0, RIGHTS) }, old;
		unsigned size = is_run ? RUN_BYTES : 8;

		assert_int_equal(ptm_load(&t->mem.m, log.ref[i].addr, size, &old), 0);
		if (!is_run)
			cover.base = 0;
		assert_int_equal(ptm_store(&t->mem.m, log.ref[i].addr, size, &cover), 0);
		if (is_run)
			assert_int_equal(look(t, page).frame, 99999);
		else
			assert_int_equal(look(t, page).status, WALK_FAULT);
		assert_int_equal(ptm_store(&t->mem.m, log.ref[i].addr, size, &old), 0);
	}
	assert_int_equal(look(t, page).frame, before.frame);
}

static uint64_t cost(struct table *t, uint64_t page)
{
	struct pt_mem_counts before = t->mem.m.counts;

	(void)look(t, page);
	assert_int_equal(t->mem.m.counts.refs - before.refs, t->mem.m.counts.depth - before.depth);
	return t->mem.m.counts.refs - before.refs;
}

static void test_counts(void **state)
{
	enum { STRIDE = 1000, LEVELS = 4 };
	struct table t;

	table_init(&t, "x86-64");
	map(&t, 7, 0, 3, RIGHTS);
	each_load_counts(&t, 7, LEVELS); /* no runs yet */
	for (unsigned n = 1; n <= SEG_RUNS_MAX; n++) {
		map_row(&t, n * STRIDE, SEG_RUN_MIN);
		assert_int_equal(runs(&t), n);
		for (unsigned i = 0; i < n; i++) {
			assert_int_equal(cost(&t, (i + 1) * STRIDE + 5), probes_of(n, i, false));
			assert_true(cost(&t, (i + 1) * STRIDE + 500) >= probes_of(n, i + 1, true) + 1);
		}
		assert_int_equal(cost(&t, 7), probes_of(n, 0, true) + LEVELS);
		assert_true(cost(&t, 7) <= 7 + LEVELS);
	}
	each_load_counts(&t, 7, probes_of(SEG_RUNS_MAX, 0, true) + LEVELS);
	for (unsigned i = 0; i < SEG_RUNS_MAX; i += 5)
		each_load_counts(&t, (i + 1) * STRIDE + 3, probes_of(SEG_RUNS_MAX, i, false));
	/* One more stays in the tree… */
	map_row(&t, 100 * STRIDE, SEG_RUN_MIN);
	assert_int_equal(runs(&t), SEG_RUNS_MAX);
	/* … until a run has become short. */
	for (unsigned i = 0; i < 3; i++)
		unmap(&t, 9 * STRIDE + i);
	map_row(&t, 100 * STRIDE + SEG_RUN_MIN, 1);
	assert_int_equal(runs(&t), SEG_RUNS_MAX);
	assert_int_equal(cost(&t, 100 * STRIDE + 1), probes_of(SEG_RUNS_MAX, SEG_RUNS_MAX - 1, false));
	assert_int_equal(look(&t, 9 * STRIDE + 5).frame, 9 * STRIDE + 5 + OFFSET);
	table_fini(&t);
}

/* A row of any length is one run, whichever way it came; one store lengthens it. */
static void test_one_run(void **state)
{
	enum { N = 3000, BASE = 10000 };

	for (int way = 0; way < 3; way++) {
		struct table t;

		table_init(&t, "sv48");
		uint64_t empty = t.mem.m.table_bytes;
		for (uint64_t i = 0; i < N; i++) {
			/* Upwards; downwards; odd pages after even ones. */
			uint64_t page = way == 0 ? i : way == 1 ? N - 1 - i : i < N / 2 ? 2 * i : 2 * (i - N / 2) + 1;

			map(&t, BASE + page, 0, BASE + page + OFFSET, RIGHTS);
		}
		assert_int_equal(runs(&t), 1);
		assert_int_equal(t.pt.entries, N);
		assert_int_equal(t.mem.m.table_bytes, empty); /* the tree is empty */
		assert_int_equal(cost(&t, BASE + 77), 1);
		uint64_t stores = t.mem.m.counts.stores;
		map(&t, BASE + N, 0, BASE + N + OFFSET, RIGHTS);
		assert_int_equal(t.mem.m.counts.stores - stores, 2); /* the limit, and the count */
		/* A hole splits it, and mended they are one again. */
		unmap(&t, BASE + 100);
		assert_int_equal(runs(&t), 2);
		assert_int_equal(look(&t, BASE + 100).status, WALK_FAULT);
		assert_int_equal(look(&t, BASE + 101).frame, BASE + 101 + OFFSET);
		map(&t, BASE + 100, 0, BASE + 100 + OFFSET, RIGHTS);
		assert_int_equal(runs(&t), 1);
		/* Another frame in the middle is the tree's. */
		map(&t, BASE + 100, 0, 5, RIGHTS);
		assert_int_equal(runs(&t), 2);
		assert_int_equal(look(&t, BASE + 100).frame, 5);
		map(&t, BASE + 100, 0, BASE + 100 + OFFSET, RIGHTS);
		assert_int_equal(runs(&t), 1);
		assert_int_equal(pt_unmap_range(&t.pt, 0, BASE, BASE + N + 1), N + 1);
		assert_int_equal(runs(&t), 0);
		assert_int_equal(t.mem.m.table_bytes, empty);
		table_fini(&t);
	}
}

/* Superpages in a row are a run of theirs; one alone is one leaf of the tree. */
static void test_superpages(void **state)
{
	struct table t;

	table_init(&t, "x86-64");
	uint64_t empty = t.mem.m.table_bytes;
	map(&t, 512, 9, 1024, RIGHTS);
	assert_int_equal(t.mem.m.table_bytes - empty, 2 * PAGE_SIZE); /* two tables above it */
	assert_int_equal(cost(&t, 700), 3);
	for (uint64_t i = 2; i <= 40; i++)
		map(&t, 512 * i, 9, 512 * (i + 1), RIGHTS);
	assert_int_equal(runs(&t), 1);
	assert_int_equal(t.mem.m.table_bytes, empty);
	assert_int_equal(cost(&t, 700), 1);
	struct walk w = look(&t, 512 * 20 + 33);
	assert_int_equal(w.order, 9);
	assert_int_equal(w.frame, 512 * 21 + 33);
	struct pt_entry small = { { 0, 512 * 7 + 1 }, 0, RIGHTS, 5 }, huge = { { 0, 0 }, 18, RIGHTS, 0 };
	assert_int_equal(t.pt.org->map(&t.pt, &small), -EEXIST);
	assert_int_equal(t.pt.org->map(&t.pt, &huge), -EEXIST);
	assert_int_equal(t.pt.org->unmap(&t.pt, (struct pt_key){ 0, 512 * 7 }, 0, NULL), -ENOENT);
	assert_int_equal(t.pt.org->unmap(&t.pt, (struct pt_key){ 0, 512 * 7 }, 9, NULL), 0);
	assert_int_equal(t.pt.org->map(&t.pt, &small), 0);
	assert_int_equal(runs(&t), 2);
	table_fini(&t);
}

/* With all runs in use a split sends the shorter side to the tree, and nothing else changes. */
static void test_split_when_full(void **state)
{
	enum { STRIDE = 1000, LEN = 100 };
	struct table t;

	table_init(&t, "sv39");
	for (unsigned i = 0; i < SEG_RUNS_MAX; i++)
		map_row(&t, i * STRIDE, LEN);
	assert_int_equal(runs(&t), SEG_RUNS_MAX);
	unmap(&t, 5 * STRIDE + 90);
	unmap(&t, 6 * STRIDE + 10);
	assert_int_equal(runs(&t), SEG_RUNS_MAX);
	for (unsigned i = 0; i < LEN; i++) {
		assert_int_equal(look(&t, 5 * STRIDE + i).status, i == 90 ? WALK_FAULT : WALK_OK);
		assert_int_equal(look(&t, 6 * STRIDE + i).status, i == 10 ? WALK_FAULT : WALK_OK);
	}
	assert_true(cost(&t, 5 * STRIDE + 95) > 7);
	assert_true(cost(&t, 6 * STRIDE + 5) > 7);
	assert_true(cost(&t, 6 * STRIDE + 50) <= 7);
	/* Mended, they are whole runs again. */
	map_row(&t, 5 * STRIDE + 90, 1);
	map_row(&t, 6 * STRIDE + 10, 1);
	assert_true(cost(&t, 5 * STRIDE + 95) <= 7);
	assert_true(cost(&t, 6 * STRIDE + 5) <= 7);
	table_fini(&t);
}

/* Only what a walk need not write to is in a run: A and D come one by one, in the tree. */
static void test_accessed_and_dirty(void **state)
{
	struct walk_req write = { .kind = ACC_WRITE, .user = true, .ctl = CTL_DEFAULT, .start_level = -1 };
	struct table t;
	struct walk w;

	table_init(&t, "x86-64");
	for (uint64_t i = 0; i < 100; i++) {
		map(&t, i, 0, i + OFFSET, RIGHTS & ~(RIGHT_A | RIGHT_D));
		assert_int_equal(runs(&t), i >= SEG_RUN_MIN); /* those before it, written since */
		write.va = i << PAGE_SHIFT;
		t.pt.org->lookup(&t.pt, &write, &w);
		assert_int_equal(w.status, WALK_OK);
		assert_true(w.ad_updated);
	}
	/* Asked for without D, a page leaves the run; written, it comes back with its neighbour. */
	assert_int_equal(t.pt.org->protect(&t.pt, (struct pt_key){ 0, 50 }, 0, RIGHTS & ~RIGHT_D), 0);
	assert_int_equal(runs(&t), 2);
	write.va = 50 << PAGE_SHIFT;
	t.pt.org->lookup(&t.pt, &write, &w);
	assert_true(w.ad_updated);
	assert_int_equal(t.pt.org->protect(&t.pt, (struct pt_key){ 0, 51 }, 0, RIGHTS), 0);
	assert_int_equal(runs(&t), 1);
	/* Any rights at all can be held, none included. */
	for (unsigned rights = 0; rights <= RIGHT_ALL; rights++) {
		struct pt_entry e;

		assert_int_equal(t.pt.org->protect(&t.pt, (struct pt_key){ 0, 50 }, 0, (uint8_t)rights), 0);
		assert_int_equal(t.pt.org->next(&t.pt, (struct pt_key){ 0, 50 }, &e), 0);
		assert_int_equal(e.rights, rights);
		assert_int_equal(e.frame, 50 + OFFSET);
		assert_int_equal(look(&t, 50).status, (rights & RIGHT_R) && (rights & RIGHT_U) ? WALK_OK : WALK_FAULT);
		assert_int_equal(t.pt.org->protect(&t.pt, (struct pt_key){ 0, 50 }, 0, RIGHTS), 0);
	}
	table_fini(&t);
}

/* Operations that make, join, split and end runs: neighbours in a small range, few offsets and rights. */
static struct op row_op(const struct rig_config *c, struct rng *rng, uint64_t *cursor)
{
	enum { RANGE = 200, PERCENT = 100 };
	uint64_t dice = rng_below(rng, PERCENT);
	struct op op = { .kind = OP_MAP, .pick = -1, .ctl = CTL_DEFAULT, .user = true };

	if (dice >= 92 || *cursor >= RANGE)
		*cursor = rng_below(rng, RANGE);
	op.key.page = dice < 82 ? (*cursor)++ : rng_below(rng, RANGE);
	op.frame = c->params.frame_base + op.key.page + (dice == 1 ? 7 : 0);
	op.rights = RIGHT_R | RIGHT_U | RIGHT_A | RIGHT_D | (dice == 2 || dice == 83 ? 0 : RIGHT_W);
	if (dice == 3 || dice == 84)
		op.rights &= (uint8_t)~RIGHT_D;
	op.kind = dice < 82 ? OP_MAP : dice < 86 ? OP_PROTECT : dice < 91 ? OP_UNMAP : dice < 95 ? OP_LOOKUP :
		  dice < 98 ? OP_NEXT : OP_UNMAP_RANGE;
	op.acc = dice & 1 ? ACC_WRITE : ACC_READ;
	op.end = op.key.page + 1 + rng_below(rng, 12);
	return op;
}

static uint64_t frame_in(struct model *m, struct pt_key key)
{
	const struct pt_entry *e = model_find(m, key);

	return e ? e->frame + (key.page - e->key.page) : INVALID_FRAME;
}

/* At each prefix of the stores, every page has its old or its new frame. */
static void check_prefixes(struct rig *r, struct model *old, struct test_mem *replica)
{
	for (size_t i = 0; i < r->mem.nhistory; i++) {
		struct pt view;

		history_replay(replica, &r->mem, i);
		assert_int_equal(pt_open(&view, r->pt.org, 0, &r->c->params, &replica->m, r->pt.root), 0);
		for (uint64_t page = 0; page < 230; page++) {
			struct pt_key key = { 0, page };
			struct pt_entry e;
			uint64_t frame = pt_find(&view, key, &e) ? INVALID_FRAME : e.frame;

			if (frame != frame_in(old, key) && frame != frame_in(&r->model, key))
				fail_msg("page %u has a third frame after store %u", (unsigned)page, (unsigned)i);
		}
	}
}

static void check_rows(const char *fmt, bool second_stage, uint64_t s)
{
	enum { OPS = 500 };
	struct rig_config c;
	struct rig *r = malloc(sizeof(*r));
	static struct model old;
	unsigned most = 0;
	uint64_t cursor = 0;
	struct rng rng;

	assert_non_null(r);
	assert_true(rig_config_init(&c, pt_org_find("segment", 7), 0, gpt_find(fmt), second_stage));
	rig_init(r, &c);
	rng_init(&rng, s);
	for (unsigned i = 0; i < OPS; i++) {
		struct op op = row_op(&c, &rng, &cursor);
		struct test_mem replica;

		old = r->model;
		if (i % 6 == 0)
			test_mem_copy(&replica, &r->mem);
		history_begin(&r->mem);
		bool ok = rig_apply(r, &op) && rig_check_audit(r);
		history_end(&r->mem);
		if (!ok)
			fail_msg("%s, operation %u: %s", fmt, i, r->why);
		if (i % 6 == 0) {
			check_prefixes(r, &old, &replica);
			test_mem_fini(&replica);
		}
		most = MAX(most, seg_regs_of(&r->pt)->n);
	}
	assert_true(rig_check_all(r));
	print_message("%s: up to %u runs\n", fmt, most);
	assert_true(most >= 2);
	assert_true(rig_fini(r));
	free(r);
}

static void test_rows_at_random(void **state)
{
	check_rows("x86-64", false, seed);
	check_rows("x86-64", true, seed + 1);
	check_rows("sv39", false, seed + 2);
	check_rows("sv39", true, seed + 3);
	check_rows("x86-pae", false, seed + 4);
	check_rows("x86-32", false, seed + 5);
}

/* Whatever fails on the way into or out of a run: the operation did nothing, or all. */
static void check_failures(struct rig *r, struct op *op, int what)
{
	for (uint64_t nth = 0;; nth++) {
		uint64_t used = r->mem.frames_used;

		if (what == 2)
			r->mem.fail_store_at = r->mem.stores_seen + nth;
		else
			faultinj_arm(&r->mem.inj, what ? FAULT_TABLE_LOAD : FAULT_TABLE_ALLOC, nth, false);
		int rc = rig_apply_table(r, op);
		faultinj_init(&r->mem.inj);
		r->mem.fail_store_at = UINT64_MAX;
		if (rc != (what ? -EAGAIN : -ENOMEM)) {
			assert_int_equal(rig_apply_model(r, op), rc);
			assert_true(rig_check_all(r));
			return;
		}
		assert_true(rig_check_all(r));
		assert_int_equal(r->mem.frames_used, used);
	}
}

static void test_failures(void **state)
{
	enum { OPS = 500 };
	struct rig_config c;
	struct rig *r = malloc(sizeof(*r));
	uint64_t cursor = 0;
	struct rng rng;

	assert_non_null(r);
	assert_true(rig_config_init(&c, pt_org_find("segment", 7), 0, gpt_find("x86-64"), false));
	rig_init(r, &c);
	rng_init(&rng, seed + 9);
	for (unsigned i = 0; i < OPS; i++) {
		struct op op = row_op(&c, &rng, &cursor);

		if (op.kind == OP_MAP || op.kind == OP_UNMAP || op.kind == OP_PROTECT)
			check_failures(r, &op, (int)(i % 3));
	}
	/* rig_fini destroys the flat table beside, which heard of nothing. */
	assert_true(rig_fini(r));
	free(r);
}

/* Header and runs as a hostile guest may have written them: lookups end. */
static void test_hostile_bytes(void **state)
{
	struct table t;
	struct rng rng;
	struct pt pt;
	unsigned opened = 0;

	table_init(&t, "sv39");
	for (unsigned i = 0; i < 20; i++)
		map_row(&t, i * 100, 40);
	rng_init(&rng, seed);
	for (unsigned i = 0; i < 10000; i++) {
		struct test_mem copy;
		uint64_t word = rng_next(&rng) >> rng_below(&rng, 64);
		uint64_t at = i & 1 ? t.pt.root + 8 * rng_below(&rng, 5) : seg_run_addr(&t.pt, 0) + 8 * rng_below(&rng, 80);

		test_mem_copy(&copy, &t.mem);
		assert_int_equal(ptm_store64(&copy.m, at, word), 0);
		if (!pt_open(&pt, t.pt.org, 0, &t.params, &copy.m, t.pt.root)) {
			struct table view = { .pt = pt };

			opened++;
			for (unsigned k = 0; k < 50; k++) {
				struct walk w = look(&view, rng_below(&rng, 2200));

				if (w.status == WALK_OK)
					assert_true((BIT(w.order) & pt.orders) && w.ntables <= WALK_TABLES_MAX);
			}
		}
		test_mem_fini(&copy);
	}
	assert_true(opened > 1000);
	table_fini(&t);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_one_run),
		cmocka_unit_test(test_superpages),
		cmocka_unit_test(test_split_when_full),
		cmocka_unit_test(test_accessed_and_dirty),
		cmocka_unit_test(test_rows_at_random),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_hostile_bytes),
	};

	if (argc > 1)
		seed = strtoull(argv[1], NULL, 0);
	print_message("seed %llu\n", (unsigned long long)seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
