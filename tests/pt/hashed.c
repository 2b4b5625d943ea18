/* SPDX-License-Identifier: MIT */
/* The hashed table: references proved by destroying what was loaded, collisions, growth, PowerPC's groups. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rng.h"
#include "conform/test_mem.h"
#include "pt/hashed.h"

enum { RIGHTS = RIGHT_RWX | RIGHT_U | RIGHT_A | RIGHT_D };

static const uint64_t seed = 11;

struct table {
	struct test_mem mem;
	struct pt_params params;
	struct pt pt;
};

static void table_init(struct table *t, const char *spec, const char *fmt, bool second_stage, uint64_t nframes,
		       uint64_t mem_frames)
{
	const struct pt_org *org;
	uint32_t flags;

	t->params = (struct pt_params){ .fmt = gpt_find(fmt), .second_stage = second_stage, .nframes = nframes };
	test_mem_init(&t->mem, mem_frames);
	assert_int_equal(pt_org_parse(spec, &org, &flags), 0);
	assert_int_equal(pt_create(&t->pt, org, flags, &t->params, &t->mem.m), 0);
}

static void check_audit(struct pt *pt)
{
	const char *why = "";

	if (pt->org->audit(pt, &why))
		fail_msg("audit: %s", why);
}

static void table_fini(struct table *t)
{
	check_audit(&t->pt);
	pt_destroy(&t->pt);
	assert_int_equal(t->mem.frames_used, 0);
	assert_int_equal(t->mem.bad, 0);
	test_mem_fini(&t->mem);
}

static int try_map(struct table *t, uint64_t page, unsigned order, uint64_t frame)
{
	struct pt_entry e = { { 0, page }, (uint8_t)order, RIGHTS, frame };

	return t->pt.org->map(&t->pt, &e);
}

static void map(struct table *t, uint64_t page, unsigned order, uint64_t frame)
{
	assert_int_equal(try_map(t, page, order, frame), 0);
}

static void unmap(struct table *t, uint64_t page, unsigned order)
{
	assert_int_equal(t->pt.org->unmap(&t->pt, (struct pt_key){ 0, page }, order, NULL), 0);
}

static uint64_t frame_of(struct pt *pt, uint64_t page)
{
	struct walk_req req = { .va = page << PAGE_SHIFT, .kind = ACC_READ, .user = true, .ctl = CTL_DEFAULT,
				.second_stage = pt->params.second_stage, .start_level = -1 };
	struct walk w;

	pt->org->lookup(pt, &req, &w);
	return w.status == WALK_OK ? w.frame : INVALID_FRAME;
}

/* References of one lookup that must find this frame. */
static uint64_t refs(struct table *t, uint64_t page, uint64_t frame)
{
	uint64_t before = t->mem.m.counts.refs;

	assert_int_equal(frame_of(&t->pt, page), frame);
	return t->mem.m.counts.refs - before;
}

/* Each line that was loaded, destroyed, changes the answer: none was loaded for nothing. */
static void check_each_load_matters(struct test_log *log, uint64_t (*ask)(void *), void *ctx, uint64_t answer)
{
	for (size_t i = 0; i < log->n; i++) {
		struct pt_mem *m = (struct pt_mem *)(uintptr_t)log->ref[i].mem;
		uint64_t line = align_down(log->ref[i].addr, LINE_SIZE), none[LINE_WORDS] = { 0 }, saved[LINE_WORDS];

		assert_int_equal(ptm_load(m, line, LINE_SIZE, saved), 0);
		assert_int_equal(ptm_store(m, line, LINE_SIZE, none), 0);
		assert_true(ask(ctx) != answer);
		assert_int_equal(ptm_store(m, line, LINE_SIZE, saved), 0);
		assert_int_equal(ask(ctx), answer);
	}
}

static uint64_t ask_page_9(void *ctx)
{
	return frame_of(ctx, 9);
}

/* One, for every format and stage; the neighbours share the line. */
static void test_one_reference(void **state)
{
	static const char *const specs[] = { "hashed", "hashed+ppc" };
	static struct test_log log;

	for (const struct gpt_format *const *f = gpt_builtin; *f; f++)
		for (unsigned i = 0; i < 2 * ARRAY_SIZE(specs); i++) {
			struct table t;

			table_init(&t, specs[i / 2], (*f)->name, i & 1, 64, 64);
			map(&t, 9, 0, 3);
			test_log_init(&log);
			t.mem.m.log = &log.log;
			assert_int_equal(refs(&t, 9, 3), 1);
			t.mem.m.log = NULL;
			assert_int_equal(log.n, 1);
			check_each_load_matters(&log, ask_page_9, &t.pt, 3);
			table_fini(&t);
		}
}

/* A memory whose addresses another table translates: the guest's frames, seen by a walker. */
struct translated {
	struct pt_mem m;
	struct pt_mem *back;
	struct pt *p2m;
};

static int translated_load(struct pt_mem *m, uint64_t addr, unsigned size, void *out)
{
	struct translated *t = container_of(m, struct translated, m);
	uint64_t frame = frame_of(t->p2m, addr >> PAGE_SHIFT);

	return frame == INVALID_FRAME ? -EFAULT : ptm_load(t->back, frame << PAGE_SHIFT | (addr & PAGE_MASK), size, out);
}

static const struct pt_mem_ops translated_ops = { .load = translated_load };

struct nested {
	struct pt guest;
	struct pt *p2m;
};

static uint64_t ask_nested(void *ctx)
{
	struct nested *n = ctx;
	uint64_t gfn = frame_of(&n->guest, 9);

	return gfn == INVALID_FRAME ? gfn : frame_of(n->p2m, gfn);
}

/* design: hashed on hashed, g + (g + 1)c with g = c = 1. */
static void test_hashed_on_hashed_is_three(void **state)
{
	static struct test_log log;
	struct table guest, host;
	struct translated seen = { .m.ops = &translated_ops };
	struct nested n = { .p2m = &host.pt };

	table_init(&guest, "hashed", "x86-64", false, 64, 64);
	table_init(&host, "hashed", "x86-64", true, 4096, 64);
	map(&guest, 9, 0, 77);
	for (uint64_t f = 0; f < 64; f++)
		map(&host, (TEST_MEM_BASE >> PAGE_SHIFT) + f, 0, (TEST_MEM_BASE >> PAGE_SHIFT) + f);
	map(&host, 77, 0, 1234);
	seen.back = &guest.mem.m;
	seen.p2m = &host.pt;
	assert_int_equal(pt_open(&n.guest, guest.pt.org, 0, &guest.params, &seen.m, guest.pt.root), 0);
	test_log_init(&log);
	guest.mem.m.log = host.mem.m.log = &log.log;
	assert_int_equal(ask_nested(&n), 1234);
	guest.mem.m.log = host.mem.m.log = NULL;
	assert_int_equal(log.n, 3);
	assert_ptr_equal(log.ref[0].mem, &host.mem.m);
	assert_ptr_equal(log.ref[1].mem, &guest.mem.m);
	assert_ptr_equal(log.ref[2].mem, &host.mem.m);
	check_each_load_matters(&log, ask_nested, &n, 1234);
	table_fini(&host);
	table_fini(&guest);
}

/* The largest page size in use is probed first; a page size no longer in use costs nothing. */
static void test_each_page_size_costs_a_probe(void **state)
{
	struct table t;
	uint64_t bytes;

	table_init(&t, "hashed", "x86-64", false, 4096, 64);
	map(&t, 5, 0, 1);
	bytes = t.mem.m.table_bytes;
	map(&t, 1024, 9, 512);
	assert_int_equal(t.mem.m.table_bytes, bytes + PAGE_SIZE);
	assert_int_equal(refs(&t, 1025, 513), 1);
	assert_int_equal(refs(&t, 5, 1), 2);
	map(&t, BIT(18), 18, 0);
	assert_int_equal(refs(&t, BIT(18) + 7, 7), 1);
	assert_int_equal(refs(&t, 1025, 513), 2);
	assert_int_equal(refs(&t, 5, 1), 3);
	assert_int_equal(refs(&t, 6, INVALID_FRAME), 3);
	unmap(&t, 1024, 9);
	unmap(&t, BIT(18), 18);
	assert_int_equal(refs(&t, 5, 1), 1);
	assert_int_equal(t.mem.m.table_bytes, bytes);
	table_fini(&t);
}

/* The first page of the k-th cluster whose home is this line of a table of 64. */
static uint64_t colliding(uint64_t home, unsigned k)
{
	for (uint64_t n = 0;; n++)
		if ((hash_u64(n) & 63) == home && k-- == 0)
			return n << CLUSTER_SHIFT;
}

/* The k-th to come costs k; when one goes, those after it move up, at every store findable. */
static void test_collisions_and_deletion(void **state)
{
	enum { N = 10, GONE = 3, HOME = 60 /* around the end of the table */ };
	struct test_mem replica;
	struct table t;
	struct pt view;

	table_init(&t, "hashed", "x86-64", false, 64, 64);
	for (unsigned k = 0; k < N; k++) {
		map(&t, colliding(HOME, k), 0, 100 + k);
		assert_int_equal(refs(&t, colliding(HOME, k), 100 + k), k + 1);
	}
	assert_int_equal(refs(&t, colliding(HOME, N), INVALID_FRAME), N + 1);
	test_mem_copy(&replica, &t.mem);
	history_begin(&t.mem);
	unmap(&t, colliding(HOME, GONE), 0);
	history_end(&t.mem);
	assert_true(t.mem.nhistory >= N - GONE);
	for (size_t i = 0; i < t.mem.nhistory; i++) {
		history_replay(&replica, &t.mem, i);
		assert_int_equal(pt_open(&view, t.pt.org, 0, &t.params, &replica.m, t.pt.root), 0);
		for (unsigned k = 0; k < N; k++)
			if (k != GONE)
				assert_int_equal(frame_of(&view, colliding(HOME, k)), 100 + k);
	}
	test_mem_fini(&replica);
	for (unsigned k = 0; k < N; k++)
		assert_int_equal(refs(&t, colliding(HOME, k), k == GONE ? INVALID_FRAME : 100 + k),
				 k < GONE ? k + 1 : k == GONE ? N : k);
	table_fini(&t);
}

/* Whichever store of a deletion fails, all is as before. */
static void test_deletion_undone(void **state)
{
	enum { N = 8 };
	struct table t;
	int rc = -1;

	table_init(&t, "hashed", "x86-64", false, 64, 64);
	for (unsigned k = 0; k < N; k++)
		map(&t, colliding(5, k), 0, 100 + k);
	for (uint64_t nth = 0; rc; nth++) {
		t.mem.fail_store_at = t.mem.stores_seen + nth;
		rc = t.pt.org->unmap(&t.pt, (struct pt_key){ 0, colliding(5, 0) }, 0, NULL);
		t.mem.fail_store_at = UINT64_MAX;
		check_audit(&t.pt);
		for (unsigned k = 0; k < N; k++)
			assert_int_equal(frame_of(&t.pt, colliding(5, k)), rc || k ? 100 + k : INVALID_FRAME);
		assert_true(!rc || nth < N + 2);
	}
	table_fini(&t);
}

/* More moves than one deletion makes: the empty cluster stays until the table is built anew. */
static void test_long_runs(void **state)
{
	enum { N = 28 };
	uint64_t used, at;
	struct table t;

	table_init(&t, "hashed", "x86-64", false, 64, 64);
	at = t.pt.root + HDR_USED;
	for (unsigned k = 0; k < N; k++)
		map(&t, colliding(5, k), 0, 100 + k);
	unmap(&t, colliding(5, 0), 0);
	check_audit(&t.pt);
	assert_int_equal(ptm_load64(&t.mem.m, at, &used), 0);
	assert_int_equal(used, N);
	assert_int_equal(refs(&t, colliding(5, 0), INVALID_FRAME), 1);
	map(&t, colliding(5, 0) + 3, 0, 99);
	assert_int_equal(refs(&t, colliding(5, 0) + 3, 99), 1);
	unmap(&t, colliding(5, 0) + 3, 0);
	for (unsigned k = 0; k < 64 - N; k++)
		map(&t, colliding(6, k), 0, 500 + k);
	assert_int_equal(ptm_load64(&t.mem.m, at, &used), 0);
	assert_int_equal(used, 63);
	for (unsigned k = 1; k < N; k++)
		assert_int_equal(frame_of(&t.pt, colliding(5, k)), 100 + k);
	table_fini(&t);
}

/* Grows and shrinks by random keys far apart; references stay what open addressing gives at its load. */
static void test_growth(void **state)
{
	enum { N = 6000 };
	static uint64_t page[N];
	uint64_t sum = 0, used;
	struct table t;
	struct rng rng;

	table_init(&t, "hashed", "x86-64", false, 64, 2048);
	rng_init(&rng, seed);
	for (unsigned i = 0; i < N; i++) {
		page[i] = (rng_below(&rng, BIT(18)) * N + i) << CLUSTER_SHIFT | (i & 7); /* none twice */
		map(&t, page[i], 0, i);
	}
	check_audit(&t.pt);
	for (unsigned i = 0; i < N; i++)
		sum += refs(&t, page[i], i);
	used = N;
	double load = (double)used / (double)table_lines(hashed_table_of(&t.pt, 0)), mean = (double)sum / N;
	print_message("load %.3f: %.3f references\n", load, mean);
	assert_true(load <= .5 && load > .25);
	assert_true(fabs(mean - (1 + 1 / (1 - load)) / 2) < .05); /* Knuth vol. 3, 6.4: linear probing */
	for (unsigned i = 0; i < N; i++) {
		unmap(&t, page[i], 0);
		if (i % 500 == 0)
			check_audit(&t.pt);
		assert_int_equal(frame_of(&t.pt, page[N - 1]), i < N - 1 ? N - 1 : INVALID_FRAME);
		uint64_t left = N - 1 - i;
		assert_true(t.mem.m.table_bytes <= PAGE_SIZE * 2 + left * 16 * LINE_SIZE);
	}
	assert_int_equal(t.mem.m.table_bytes, PAGE_SIZE);
	table_fini(&t);
}

/* The mapping that makes it grow: each prefix of its stores, and each load, store and allocation that fails. */
static void test_growth_step_by_step(void **state)
{
	enum { FULL = 32 };
	struct test_mem replica;
	struct table t;
	struct pt view;
	int rc = -1;

	table_init(&t, "hashed", "sv39", true, 64, 64);
	for (unsigned i = 0; i < FULL; i++)
		map(&t, i * 8, 0, i);
	uint64_t used = t.mem.frames_used;
	for (int what = 0; what < 2; what++, rc = -1)
		for (uint64_t nth = 0; nth < 200 && rc; nth++) {
			if (what == 0)
				faultinj_arm(&t.mem.inj, FAULT_TABLE_LOAD, nth, false);
			else
				t.mem.fail_store_at = t.mem.stores_seen + nth;
			rc = try_map(&t, FULL * 8, 0, FULL);
			faultinj_init(&t.mem.inj);
			t.mem.fail_store_at = UINT64_MAX;
			check_audit(&t.pt);
			for (unsigned i = 0; i <= FULL; i++)
				assert_int_equal(frame_of(&t.pt, i * 8), rc && i == FULL ? INVALID_FRAME : i);
			assert_true(!rc == (t.mem.frames_used > used));
			if (!rc)
				break;
			assert_int_equal(rc, -EAGAIN);
			if (nth == 60 && what == 0)
				break; /* from there on it is the copying, alike */
		}
	if (t.pt.entries == FULL + 1)
		unmap(&t, FULL * 8, 0);
	table_fini(&t);

	table_init(&t, "hashed", "sv39", true, 64, 64);
	for (unsigned i = 0; i < FULL; i++)
		map(&t, i * 8, 0, i);
	test_mem_copy(&replica, &t.mem);
	history_begin(&t.mem);
	map(&t, FULL * 8, 0, FULL);
	history_end(&t.mem);
	for (size_t k = 0; k < t.mem.nhistory; k++) {
		history_replay(&replica, &t.mem, k);
		assert_int_equal(pt_open(&view, t.pt.org, 0, &t.params, &replica.m, t.pt.root), 0);
		for (unsigned i = 0; i < FULL; i++)
			assert_int_equal(frame_of(&view, i * 8), i);
	}
	assert_int_equal(frame_of(&view, FULL * 8), FULL);
	test_mem_fini(&replica);
	table_fini(&t);
}

/* Without memory for more lines the table is filled further; then no more, and nothing is lost. */
static void test_no_memory_to_grow(void **state)
{
	struct table t;
	unsigned n;
	int rc;

	table_init(&t, "hashed", "x86-64", false, 64, 64);
	map(&t, 0, 0, 0);
	t.mem.limit = t.mem.frames_used;
	for (rc = 0, n = 1; !rc; n += !rc) {
		rc = try_map(&t, n * 8, 0, n);
		assert_true(n < 64);
	}
	assert_int_equal(rc, -ENOMEM);
	assert_int_equal(n, 56);
	check_audit(&t.pt);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(frame_of(&t.pt, i * 8), i);
	t.mem.limit = t.mem.nframes;
	map(&t, n * 8, 0, n);
	assert_int_equal(table_lines(hashed_table_of(&t.pt, 0)), 128);
	table_fini(&t);
}

/* Case 11: groups of 8, two hashes, 16 slots; 256 MiB in 4 KiB frames: at least 2 MiB of table. */
static void test_case_11_ppc_table_size(void **state)
{
	struct table t;

	table_init(&t, "hashed+ppc", "x86-64", false, (256 << 20) / PAGE_SIZE, 4096);
	uint64_t groups = table_lines(hashed_table_of(&t.pt, 0)) / 2;

	assert_int_equal(groups, 32768);
	assert_int_equal(t.mem.m.table_bytes - PAGE_SIZE, groups * PPC_GROUP_SLOTS * 16);
	assert_true(t.mem.m.table_bytes >= 2 << 20);
	map(&t, 5, 0, 1);
	unmap(&t, 5, 0);
	assert_int_equal(table_lines(hashed_table_of(&t.pt, 0)), groups * 2);
	table_fini(&t);
}

/* Gigabyte pages beside small ones, in a table for 2 GiB. */
static void test_ppc_superpages(void **state)
{
	struct table t;

	table_init(&t, "hashed+ppc", "x86-64", false, BIT(19), 16384);
	map(&t, BIT(18) + 513, 0, 77);
	assert_int_equal(try_map(&t, BIT(18), 18, 0), -EEXIST);
	unmap(&t, BIT(18) + 513, 0);
	map(&t, BIT(18), 18, BIT(18));
	assert_int_equal(try_map(&t, BIT(18) + 513, 0, 77), -EEXIST);
	assert_int_equal(refs(&t, 2 * BIT(18) - 1, 2 * BIT(18) - 1), 1);
	unmap(&t, BIT(18), 18);
	table_fini(&t);
}

/* Pages of one segment that share both groups of a table of 1024: each 1024th. */
static void test_ppc_groups(void **state)
{
	enum { SLOTS = 2 * PPC_GROUP_SLOTS, LINE_SLOTS = 4, STEP = 1024 };
	struct table t;

	table_init(&t, "hashed+ppc", "x86-64", false, 2 * STEP, 256);
	assert_int_equal(table_lines(hashed_table_of(&t.pt, 0)), 2 * STEP);
	assert_int_equal(refs(&t, 7, INVALID_FRAME), PPC_PROBES);
	for (unsigned i = 0; i < SLOTS; i++) {
		map(&t, 7 + i * STEP, 0, i);
		assert_int_equal(refs(&t, 7 + i * STEP, i), 1 + i / LINE_SLOTS);
	}
	assert_int_equal(refs(&t, 7 + SLOTS * STEP, INVALID_FRAME), PPC_PROBES); /* 16 slots, no more */
	unmap(&t, 7, 0);
	map(&t, 7 + SLOTS * STEP, 0, SLOTS);
	assert_int_equal(refs(&t, 7 + SLOTS * STEP, SLOTS), 1); /* the slot that came free */
	assert_int_equal(table_lines(hashed_table_of(&t.pt, 0)), 2 * STEP);
	/* Both groups full: nobody is lost, the table has twice the groups. */
	map(&t, 7, 0, 0);
	assert_int_equal(table_lines(hashed_table_of(&t.pt, 0)), 4 * STEP);
	for (unsigned i = 0; i <= SLOTS; i++)
		assert_true(refs(&t, 7 + i * STEP, i) <= PPC_PROBES);
	assert_int_equal(t.pt.org->drop_space(&t.pt, 0), 0);
	assert_int_equal(t.pt.entries, 0);
	map(&t, 7, 0, 3);
	assert_int_equal(table_lines(hashed_table_of(&t.pt, 0)), 2 * STEP);
	table_fini(&t);
}

/* Headers and lines of anyone's writing: refused, or looked through within bounds. */
static void test_hostile_bytes(void **state)
{
	static const struct { unsigned at; uint64_t value; } bad[] = {
		{ HDR_MAGIC, 7 }, { HDR_FLAGS, 1 }, { HDR_SHAPE, HASHED_LOG2_MIN - 1 }, { HDR_SHAPE, HASHED_LOG2_MAX + 1 },
		{ HDR_SHAPE, HASHED_LOG2_MIN | 0x200 }, { HDR_SHAPE, UINT64_MAX }, { HDR_SHAPE + 8 * 7, HASHED_LOG2_MIN },
		{ HDR_BASES + BASES_BYTES, 0 }, { HDR_BASES + BASES_BYTES, 64 },
	};
	struct table t;
	struct pt view;
	uint64_t was, before;

	table_init(&t, "hashed", "x86-64", false, 64, 64);
	map(&t, 9, 0, 3);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(ptm_load64(&t.mem.m, t.pt.root + bad[i].at, &was), 0);
		assert_int_equal(ptm_store64(&t.mem.m, t.pt.root + bad[i].at, bad[i].value), 0);
		assert_int_equal(pt_open(&view, t.pt.org, 0, &t.params, &t.mem.m, t.pt.root), -EINVAL);
		assert_int_equal(ptm_store64(&t.mem.m, t.pt.root + bad[i].at, was), 0);
	}
	assert_int_equal(pt_open(&view, t.pt.org, 0, &t.params, &t.mem.m, t.pt.root + 64), -EINVAL);
	assert_int_equal(pt_open(&view, t.pt.org, 0, &t.params, &t.mem.m, t.pt.root), 0);
	/* Every line in use by one wrong tag: a search gives up. */
	for (uint64_t line = 0; line < 64; line++)
		for (unsigned i = 0; i < LINE_WORDS; i++)
			assert_int_equal(ptm_store64(&t.mem.m, line_addr(hashed_table_of(&view, 0), line) + 8 * i,
						     UINT64_MAX), 0);
	before = t.mem.m.counts.refs;
	assert_int_equal(frame_of(&view, 1 << 20), INVALID_FRAME);
	assert_int_equal(t.mem.m.counts.refs - before, CLUSTER_PROBES);
	test_mem_fini(&t.mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_reference),
		cmocka_unit_test(test_hashed_on_hashed_is_three),
		cmocka_unit_test(test_each_page_size_costs_a_probe),
		cmocka_unit_test(test_collisions_and_deletion),
		cmocka_unit_test(test_deletion_undone),
		cmocka_unit_test(test_long_runs),
		cmocka_unit_test(test_growth),
		cmocka_unit_test(test_growth_step_by_step),
		cmocka_unit_test(test_no_memory_to_grow),
		cmocka_unit_test(test_case_11_ppc_table_size),
		cmocka_unit_test(test_ppc_superpages),
		cmocka_unit_test(test_ppc_groups),
		cmocka_unit_test(test_hostile_bytes),
	};

	print_message("seed %llu\n", (unsigned long long)seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
