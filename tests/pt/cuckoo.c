/* SPDX-License-Identifier: MIT */
/* What the cuckoo table alone promises: parallel probes, bounded steps, answers at every moment of a resize. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rng.h"
#include "conform/test_mem.h"
#include "pt/cuckoo.h"

enum { RIGHTS = RIGHT_RWX | RIGHT_U | RIGHT_A | RIGHT_D, KEYS_MAX = 100000 };

static uint64_t seed = 11;

/* Mapping i is of page[i], to frame i + 1. */
struct table {
	struct test_mem mem;
	struct pt_params params;
	struct pt pt;
	unsigned n;
	uint64_t page[KEYS_MAX];
};

static struct table *table_make(const char *spec, uint64_t frames)
{
	struct table *t = calloc(1, sizeof(*t));
	const struct pt_org *org;
	uint32_t flags;

	assert_non_null(t);
	t->params.fmt = gpt_find("x86-64");
	test_mem_init(&t->mem, frames);
	assert_int_equal(pt_org_parse(spec, &org, &flags), 0);
	assert_int_equal(pt_create(&t->pt, org, flags, &t->params, &t->mem.m), 0);
	return t;
}

static void table_free(struct table *t)
{
	const char *why;

	assert_int_equal(t->pt.org->audit(&t->pt, &why), 0);
	pt_destroy(&t->pt);
	assert_int_equal(t->mem.frames_used, 0);
	assert_int_equal(t->mem.bad, 0);
	test_mem_fini(&t->mem);
	free(t);
}

static int map_at(struct table *t, uint64_t page, unsigned order, uint64_t frame)
{
	struct pt_entry e = { { 0, page }, (uint8_t)order, RIGHTS, frame };

	return t->pt.org->map(&t->pt, &e);
}

static int map_next(struct table *t, uint64_t page)
{
	int rc = map_at(t, page, 0, t->n + 1);

	if (!rc)
		t->page[t->n++] = page;
	return rc;
}

static int unmap_last(struct table *t)
{
	int rc = t->pt.org->unmap(&t->pt, (struct pt_key){ 0, t->page[t->n - 1] }, 0, NULL);

	t->n -= !rc;
	return rc;
}

static uint64_t frame_of(struct pt *pt, uint64_t page)
{
	struct pt_entry e;
	int rc = pt_find(pt, (struct pt_key){ 0, page }, &e);

	return rc == -ENOENT ? INVALID_FRAME : rc ? 0 : e.frame + (page - e.key.page);
}

/* Each of the first n mappings is there, to its frame. */
static bool all_there(struct table *t, struct pt *pt, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (frame_of(pt, t->page[i]) != i + 1)
			return false;
	return true;
}

/* A page not used before: 2^27 of them, spread. */
static uint64_t new_page(const struct table *t)
{
	return (t->n * UINT64_C(0x9e3779b1) + seed) & low_bits(27);
}

static struct walk look(struct pt *pt, uint64_t page)
{
	struct walk_req req = { .va = page << PAGE_SHIFT, .kind = ACC_READ, .user = true, .ctl = CTL_DEFAULT, .start_level = -1 };
	struct walk w;

	pt->org->lookup(pt, &req, &w);
	return w;
}

static void expect_cost(struct table *t, uint64_t page, uint64_t refs, uint64_t depth, enum walk_status status)
{
	struct pt_mem_counts before = t->mem.m.counts;

	assert_int_equal(look(&t->pt, page).status, status);
	assert_int_equal(t->mem.m.counts.refs - before.refs, refs);
	assert_int_equal(t->mem.m.counts.depth - before.depth, depth);
}

/* Each bucket loaded decides: an entry moved into it is what the walk then finds. */
static void each_load_counts(struct table *t, uint64_t page, unsigned order, unsigned ways)
{
	static struct test_log log;
	struct cuckoo_spot s;
	uint64_t old;

	test_log_init(&log);
	t->mem.m.log = &log.log;
	assert_int_equal(look(&t->pt, page).status, WALK_OK);
	t->mem.m.log = NULL;
	assert_int_equal(log.n, ways);
	assert_int_equal(cuckoo_find(&t->pt, page, order, &s), 0);
	for (unsigned i = 0; i < ways; i++) {
		struct cuckoo_slot moved = { make_leaf(BIT(order) * (i + 5), order, RIGHTS), cuckoo_tag(page, order) };
		struct cuckoo_bucket bucket;

		assert_true(is_aligned(log.ref[i].addr, LINE_SIZE));
		assert_int_equal(ptm_load(&t->mem.m, log.ref[i].addr, LINE_SIZE, &bucket), 0);
		assert_int_equal(ptm_load64(&t->mem.m, s.addr + CUCKOO_TAG, &old), 0);
		assert_int_equal(ptm_store64(&t->mem.m, s.addr + CUCKOO_TAG, 0), 0);
		assert_int_equal(look(&t->pt, page).status, WALK_FAULT);
		assert_int_equal(ptm_store(&t->mem.m, log.ref[i].addr, sizeof(moved), &moved), 0);
		assert_int_equal(look(&t->pt, page).frame, BIT(order) * (i + 5));
		assert_int_equal(ptm_store(&t->mem.m, log.ref[i].addr, LINE_SIZE, &bucket), 0);
		assert_int_equal(ptm_store64(&t->mem.m, s.addr + CUCKOO_TAG, old), 0);
	}
}

/* w references, depth 1; each further page size in use costs those that look for a smaller one as much again. */
static void test_counts(void **state)
{
	static const char *const spec[] = { "cuckoo", "cuckoo+2way" };

	for (unsigned i = 0; i < 2; i++) {
		unsigned w = 3 - i;
		struct table *t = table_make(spec[i], 64);

		expect_cost(t, 5, 0, 0, WALK_FAULT); /* nothing in use */
		assert_int_equal(map_at(t, 5, 0, 77), 0);
		expect_cost(t, 5, w, 1, WALK_OK);
		expect_cost(t, 6, w, 1, WALK_FAULT);
		each_load_counts(t, 5, 0, w);
		assert_int_equal(map_at(t, 1024, 9, 512), 0);
		expect_cost(t, 1025, w, 1, WALK_OK);
		expect_cost(t, 5, 2 * w, 2, WALK_OK);
		each_load_counts(t, 1024, 9, w);
		assert_int_equal(map_at(t, BIT(18), 18, BIT(18)), 0);
		expect_cost(t, 5, 3 * w, 3, WALK_OK);
		expect_cost(t, BIT(18) + 99, w, 1, WALK_OK);
		/* The tables of an order go with its last mapping. */
		uint64_t bytes = t->mem.m.table_bytes;
		assert_int_equal(t->pt.org->unmap(&t->pt, (struct pt_key){ 0, BIT(18) }, 18, NULL), 0);
		assert_int_equal(t->pt.org->unmap(&t->pt, (struct pt_key){ 0, 1024 }, 9, NULL), 0);
		assert_int_equal(bytes - t->mem.m.table_bytes, 2 * w * PAGE_SIZE);
		expect_cost(t, 5, w, 1, WALK_OK);
		test_mem_set_direct(&t->mem, true);
		expect_cost(t, 5, w, 1, WALK_OK);
		test_mem_set_direct(&t->mem, false);
		table_free(t);
	}
}

/* A memory whose loads are translated by a table of another: nested paging in small. */
struct nested_mem {
	struct pt_mem m;
	struct table *guest, *host;
};

static int nested_load(struct pt_mem *m, uint64_t addr, unsigned size, void *out)
{
	struct nested_mem *n = container_of(m, struct nested_mem, m);
	struct walk w = look(&n->host->pt, addr >> PAGE_SHIFT);

	if (w.status != WALK_OK)
		return -EAGAIN;
	assert_int_equal(w.frame, (addr >> PAGE_SHIFT) + 1);
	m->counts.refs++;
	m->counts.depth++;
	return ptm_load(&n->guest->mem.m, addr, size, out);
}

/* w guest and v host ways: wv + w + v, depth 3: the guest's probes at once, their translations too, then the result's. */
static void test_nested_counts(void **state)
{
	static const struct pt_mem_ops ops = { .load = nested_load };
	static const char *const spec[] = { "cuckoo+2way", "cuckoo" };

	for (unsigned w = 2; w <= 3; w++) {
		for (unsigned v = 2; v <= 3; v++) {
			struct table *g = table_make(spec[w - 2], 64), *h = table_make(spec[v - 2], 64);
			struct nested_mem n = { .m.ops = &ops, .guest = g, .host = h };
			struct pt view;
			struct pt_mem_counts before;

			assert_int_equal(map_at(g, 99, 0, 5), 0);
			for (uint64_t f = 0; f < 64; f++)
				assert_int_equal(map_at(h, (TEST_MEM_BASE >> PAGE_SHIFT) + f, 0,
							(TEST_MEM_BASE >> PAGE_SHIFT) + f + 1), 0);
			assert_int_equal(map_at(h, 5, 0, 6), 0);
			n.m.behind = &h->mem.m;
			assert_int_equal(pt_open(&view, g->pt.org, g->pt.flags, &g->params, &n.m, g->pt.root), 0);
			n.m.counts = (struct pt_mem_counts){ 0 };
			before = h->mem.m.counts;
			assert_int_equal(look(&view, 99).frame, 5);
			assert_int_equal(look(&h->pt, 5).frame, 6);
			assert_int_equal(n.m.counts.refs + h->mem.m.counts.refs - before.refs, w * v + w + v);
			assert_int_equal(n.m.counts.depth + h->mem.m.counts.depth - before.depth, 3);
			table_free(g);
			table_free(h);
		}
	}
}

/* Entries that the operation just recorded copied from slot to slot; slots are stored in whole lines' parts. */
static unsigned slots_stored(const struct test_mem *m)
{
	unsigned n = 0;

	for (size_t i = 0; i < m->nhistory; i++)
		if (m->history[i].kind == EVENT_STORE && m->history[i].size >= CUCKOO_SLOT_BYTES)
			n += m->history[i].size / CUCKOO_SLOT_BYTES;
	return n;
}

struct worst {
	unsigned moved, stores;
};

static void note_worst(struct worst *w, const struct test_mem *m, unsigned own)
{
	unsigned slots = slots_stored(m);

	assert_true(slots <= CUCKOO_MOVES_MAX + own);
	w->moved = MAX(w->moved, slots > own ? slots - own : 0);
	w->stores = MAX(w->stores, (unsigned)m->nhistory);
}

static uint64_t slots_in_use(struct pt *pt)
{
	const struct cuckoo_way *y = cuckoo_table(pt, 0);
	uint64_t n = 0;

	for (unsigned w = 0; w < cuckoo_ways(pt); w++)
		n += CUCKOO_SLOTS << array_log(y[w].next ? y[w].next : y[w].cur);
	return n;
}

/* To 10^5 pages and back: no operation moves more than its bound, however large the table is. */
static void check_bounded(const char *spec, unsigned keys)
{
	struct table *t = table_make(spec, 8192);
	struct worst up = { 0, 0 }, down = { 0, 0 };
	const char *why;

	while (t->n < keys) {
		history_begin(&t->mem);
		assert_int_equal(map_next(t, new_page(t)), 0);
		history_end(&t->mem);
		note_worst(&up, &t->mem, 1);
		assert_true(t->n <= slots_in_use(&t->pt) * 3 / 4 + 1);
	}
	assert_true(all_there(t, &t->pt, t->n));
	assert_int_equal(t->pt.org->audit(&t->pt, &why), 0);
	print_message("%s: %u pages in %u KiB; a mapping moves at most %u entries in %u stores, ", spec, keys,
		      (unsigned)(t->mem.m.table_bytes >> 10), up.moved, up.stores);
	assert_true(t->mem.m.table_bytes < keys * UINT64_C(48));
	while (t->n > 1) {
		history_begin(&t->mem);
		assert_int_equal(unmap_last(t), 0);
		history_end(&t->mem);
		note_worst(&down, &t->mem, 0);
		if (t->n % 20000 == 0)
			assert_true(all_there(t, &t->pt, t->n));
	}
	print_message("an unmapping %u in %u\n", down.moved, down.stores);
	/* A doubling ends within so many operations as there are buckets: the last of them may still be on. */
	assert_true(slots_in_use(&t->pt) <= 2 * cuckoo_ways(&t->pt) * CUCKOO_SLOTS << CUCKOO_LOG_MIN);
	assert_int_equal(unmap_last(t), 0);
	assert_int_equal(t->mem.m.table_bytes, PAGE_SIZE);
	table_free(t);
}

static void test_bounded_steps(void **state)
{
	check_bounded("cuckoo", 100000);
	check_bounded("cuckoo+2way", 30000);
}

/* Pages whose hashes all fall into the first 16 of 64 buckets of each way: room runs out long before the load says so. */
static uint64_t colliding_page(uint64_t *from)
{
	for (;; ++*from) {
		bool all = true;

		for (unsigned w = 0; w < CUCKOO_WAYS_MAX; w++)
			all = all && (cuckoo_hash(w, *from, 0) & 63) < 16;
		if (all)
			return (*from)++;
	}
}

static void test_keys_chosen_to_collide(void **state)
{
	enum { KEYS = 550, TRIES = 8 };
	struct table *t = table_make("cuckoo", 512);
	uint64_t from = 0;
	unsigned most = 0;

	while (t->n < KEYS) {
		uint64_t page = colliding_page(&from);
		int rc = -ENOMEM;

		for (unsigned i = 0; i < TRIES && rc == -ENOMEM; i++) {
			history_begin(&t->mem);
			rc = map_next(t, page);
			history_end(&t->mem);
			most = MAX(most, slots_stored(&t->mem));
			assert_true(slots_stored(&t->mem) <= CUCKOO_MOVES_MAX + 1 + CUCKOO_CATCH_UP * CUCKOO_SLOTS);
		}
		assert_int_equal(rc, 0);
	}
	assert_true(most > CUCKOO_MOVES_MAX + 1); /* it did come to that */
	assert_true(all_there(t, &t->pt, t->n));
	print_message("%u colliding pages in %u KiB\n", KEYS, (unsigned)(t->mem.m.table_bytes >> 10));
	table_free(t);
}

/* At every prefix of what was just done, each page has its frame; one page comes or goes. */
static void check_prefixes(struct table *t, struct test_mem *replica, unsigned settled)
{
	for (size_t i = 0; i < t->mem.nhistory; i++) {
		struct pt view;

		history_replay(replica, &t->mem, i);
		assert_int_equal(pt_open(&view, t->pt.org, t->pt.flags, &t->params, &replica->m, t->pt.root), 0);
		assert_true(all_there(t, &view, settled));
		uint64_t last = frame_of(&view, t->page[settled]);
		assert_true(last == INVALID_FRAME || last == settled + 1);
		assert_int_equal(replica->bad, 0);
	}
}

/* Growth, shrinking, and (without memory to grow) chains. */
static void check_history(struct table *t, unsigned ops, int (*op)(struct table *t))
{
	for (unsigned i = 0; i < ops; i++) {
		struct test_mem replica;
		unsigned before = t->n;

		test_mem_copy(&replica, &t->mem);
		history_begin(&t->mem);
		assert_int_equal(op(t), 0);
		history_end(&t->mem);
		check_prefixes(t, &replica, MIN(before, t->n));
		test_mem_fini(&replica);
	}
}

static int map_new(struct table *t)
{
	return map_next(t, new_page(t));
}

static void test_every_prefix(void **state)
{
	struct table *t = table_make("cuckoo", 32);

	while (t->n < 570)
		assert_int_equal(map_new(t), 0);
	t->mem.limit = t->mem.frames_used; /* no growth: chains */
	check_history(t, 130, map_new);
	t->mem.limit = t->mem.nframes; /* growth, of all ways in the end */
	check_history(t, 150, map_new);
	while (t->n > 220)
		assert_int_equal(unmap_last(t), 0);
	check_history(t, 160, unmap_last);
	table_free(t);
}

/* Without memory it fills up until no chain is found: -ENOMEM, and nothing is lost; with memory it goes on. */
static void test_no_memory_to_grow(void **state)
{
	struct table *t = table_make("cuckoo", 64);
	const char *why;
	int rc = 0;

	assert_int_equal(map_new(t), 0);
	t->mem.limit = t->mem.frames_used;
	while (!rc)
		rc = map_new(t);
	assert_int_equal(rc, -ENOMEM);
	print_message("full at %u of %u\n", t->n, (unsigned)slots_in_use(&t->pt));
	assert_true(t->n > slots_in_use(&t->pt) * 9 / 10);
	assert_true(all_there(t, &t->pt, t->n));
	assert_int_equal(t->pt.org->audit(&t->pt, &why), 0);
	t->mem.limit = t->mem.nframes;
	for (unsigned i = 0; i < 400; i++)
		assert_int_equal(map_new(t), 0);
	assert_true(all_there(t, &t->pt, t->n));
	table_free(t);
}

static void disarm(struct table *t)
{
	faultinj_init(&t->mem.inj);
	t->mem.fail_store_at = UINT64_MAX;
}

/* Whatever fails in the middle of a resize, each mapping stays; an operation that fails did nothing. */
static void check_failures(struct table *t, int (*op)(struct table *t), int what)
{
	for (uint64_t nth = 0;; nth++) {
		unsigned n = t->n;
		uint64_t used = t->mem.frames_used;
		const char *why;

		if (what == 2)
			t->mem.fail_store_at = t->mem.stores_seen + nth;
		else
			faultinj_arm(&t->mem.inj, what ? FAULT_TABLE_LOAD : FAULT_TABLE_ALLOC, nth, false);
		int rc = op(t);
		disarm(t);
		assert_int_equal(t->pt.org->audit(&t->pt, &why), 0);
		assert_true(all_there(t, &t->pt, t->n));
		if (rc == 0)
			return;
		assert_int_equal(rc, what ? -EAGAIN : -ENOMEM);
		assert_int_equal(t->n, n);
		assert_int_equal(t->mem.frames_used, used);
	}
}

static void test_failures_while_resizing(void **state)
{
	struct table *t = table_make("cuckoo", 64);

	while (t->n < 572)
		assert_int_equal(map_new(t), 0);
	for (int i = 0; i < 90; i++)
		check_failures(t, map_new, i % 3);
	while (t->n > 185)
		assert_int_equal(unmap_last(t), 0);
	for (int i = 0; i < 120; i++)
		check_failures(t, unmap_last, i % 3);
	table_free(t);
}

/* Reopened in the middle of a resize: answers alike, and goes on from there. */
static void test_reopened_while_resizing(void **state)
{
	struct table *t = table_make("cuckoo", 512);
	unsigned reopened = 0;

	while (t->n < 5000) {
		assert_int_equal(map_new(t), 0);
		bool resizing = false;

		for (unsigned w = 0; w < CUCKOO_WAYS_MAX; w++)
			resizing = resizing || cuckoo_table(&t->pt, 0)[w].next;
		if (!resizing || t->n % 37)
			continue;
		struct pt again;

		assert_int_equal(pt_open(&again, t->pt.org, 0, &t->params, &t->mem.m, t->pt.root), 0);
		assert_int_equal(again.entries, t->n);
		t->pt = again;
		assert_true(all_there(t, &t->pt, t->n));
		reopened++;
	}
	assert_true(reopened > 20);
	table_free(t);
}

/* A header that a hostile guest wrote: refused, or lookups end, in memory or in a bus error. */
static void test_hostile_header(void **state)
{
	struct table *t = table_make("cuckoo", 64);
	struct pt_params p = t->params;
	unsigned opened = 0;
	struct rng rng;
	struct pt pt;

	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(map_new(t), 0);
	assert_int_equal(pt_open(&pt, t->pt.org, CUCKOO_TWO_WAYS, &p, &t->mem.m, t->pt.root), -EINVAL);
	rng_init(&rng, seed);
	for (unsigned i = 0; i < 20000; i++) {
		struct test_mem copy;
		uint64_t at = t->pt.root + 8 * rng_below(&rng, 40), word = rng_next(&rng) >> rng_below(&rng, 64);

		/* Often something like an array: an address and a size. */
		if (rng_below(&rng, 2))
			word = (word & low_bits(30) & ~PAGE_MASK) | rng_below(&rng, 28);
		test_mem_copy(&copy, &t->mem);
		assert_int_equal(ptm_store64(&copy.m, at, word), 0);
		if (!pt_open(&pt, t->pt.org, 0, &p, &copy.m, t->pt.root)) {
			opened++;
			for (unsigned k = 0; k < 20; k++)
				(void)look(&pt, t->page[k]);
			(void)look(&pt, word);
		}
		test_mem_fini(&copy);
	}
	assert_true(opened > 100);
	table_free(t);
}

/* A leaf of another size or out of line is no leaf. */
static void test_damaged_leaf(void **state)
{
	struct table *t = table_make("cuckoo", 64);
	struct cuckoo_spot s;

	assert_int_equal(map_at(t, 512, 9, 1024), 0);
	assert_int_equal(cuckoo_find(&t->pt, 512, 9, &s), 0);
	uint64_t bad[] = { 0, make_leaf(1024, 0, RIGHTS), make_leaf(1025, 9, RIGHTS), make_leaf(0, 63, RIGHTS), s.leaf | BIT(20) };

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(ptm_store64(&t->mem.m, s.addr, bad[i]), 0);
		assert_int_equal(look(&t->pt, 512).why, WALK_WHY_RESERVED);
	}
	assert_int_equal(ptm_store64(&t->mem.m, s.addr, s.leaf), 0);
	table_free(t);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_nested_counts),
		cmocka_unit_test(test_bounded_steps),
		cmocka_unit_test(test_keys_chosen_to_collide),
		cmocka_unit_test(test_every_prefix),
		cmocka_unit_test(test_no_memory_to_grow),
		cmocka_unit_test(test_failures_while_resizing),
		cmocka_unit_test(test_reopened_while_resizing),
		cmocka_unit_test(test_hostile_header),
		cmocka_unit_test(test_damaged_leaf),
	};

	if (argc > 1)
		seed = strtoull(argv[1], NULL, 0);
	print_message("seed %llu\n", (unsigned long long)seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
