/* SPDX-License-Identifier: MIT */
/*
 * The .qtr format: what is written is read, from the start and from any
 * reference on; whatever is cut off or changed is told with its place, and
 * what came before it is kept.
 */
#define _GNU_SOURCE
#include "helper.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/rng.h"
#include "trace/qtr.h"
#include "trace/qtr_format.h"
#include "trace/source.h"

static struct trace_block block;

/* A program of a few loops over a few arrays, with calls, switches and now and then an address from nowhere. */
static void fill(struct trace_block *b, struct rng *rng, uint32_t n)
{
	static const unsigned sizes[] = {1, 2, 4, 8, 16, 32, 64, 128};

	b->nrefs = b->nevents = 0;
	while (b->nrefs + 12 < n) {
		uint64_t place = rng_below(rng, 40), stack = UINT64_C(0x7ffc0000) - rng_below(rng, 8) * 64;

		if (rng_below(rng, 97) == 0 && b->nevents + 2 < TRACE_BLOCK_EVENTS) {
			struct trace_event ev = {.kind = (uint8_t)rng_below(rng, EV_KINDS), .prot = (uint8_t)rng_below(rng, 8),
						 .flags = (uint16_t)rng_next(rng), .pid = 1 + (uint32_t)rng_below(rng, 5),
						 .tid = (uint32_t)rng_below(rng, 9), .child = (uint32_t)rng_next(rng),
						 .addr = rng_next(rng), .len = rng_below(rng, 1 << 20), .addr2 = rng_next(rng),
						 .len2 = rng_next(rng) >> rng_below(rng, 64)};
			block_put_event(b, &ev);
			continue;
		}
		if (rng_below(rng, 50) == 0) {
			uint64_t gva = (uint64_t)((int64_t)(rng_next(rng) << 6) >> 6);

			block_put_ref(b, gva, (enum acc_kind)rng_below(rng, 3), sizes[rng_below(rng, 8)]);
			continue;
		}
		block_put_ref(b, 0x400000 + place * 24, ACC_EXEC, 1);
		for (uint64_t i = 0; i < place % 9; i++)
			block_put_ref(b, place & 1 ? stack + 8 * i : 0x10000000 + place * 4096 + rng_below(rng, 1 << 14),
				      i & 1 ? ACC_WRITE : ACC_READ, sizes[(place + i) % 8]);
	}
}

static void append(struct items *all, const struct trace_block *b)
{
	all->v = realloc(all->v, (all->n + b->nrefs) * sizeof(*all->v));
	assert_non_null(all->v);
	for (uint32_t i = 0; i < b->nrefs; i++) {
		struct item *it = &all->v[all->n++];

		memset(it, 0, sizeof(*it));
		it->ref = b->refs[i];
		if (ref_is_event(b->refs[i])) {
			it->ref = REF_EVENT;
			it->ev = b->events[ref_event(b->refs[i])];
		} else {
			all->refs++;
		}
	}
}

static uint64_t seed(void)
{
	const char *s = getenv("QUIRE_TEST_SEED");
	uint64_t value = s ? strtoull(s, NULL, 0) : 7;

	print_message("seed %llu\n", (unsigned long long)value);
	return value;
}

/* Writes nblocks blocks of n items; what they hold. */
static struct items write_some(const char *path, unsigned nblocks, uint32_t n, uint32_t block_refs)
{
	struct qtr_options o = {.facts = "command: made up\n", .tells_calls = true, .counts_insns = true,
				.block_refs = block_refs};
	struct items all = {0};
	struct trace_error err;
	struct qtr_writer *w = qtr_create(path, &o, &err);
	struct rng rng;

	rng_init(&rng, seed());
	assert_non_null(w);
	for (unsigned i = 0; i < nblocks; i++) {
		fill(&block, &rng, n);
		qtr_at_insn(w, 1000 * i);
		assert_int_equal(qtr_write(w, &block, &err), 0);
		append(&all, &block);
	}
	assert_int_equal(qtr_written(w).refs, all.refs);
	assert_int_equal(qtr_close(w, &err), 0);
	return all;
}

static struct items read_file(const char *path)
{
	struct trace_error err;
	struct trace *t = trace_open(path, &err);
	struct items got = {.end = -1, .err = err};

	if (!t)
		return got;
	assert_string_equal(t->format, "qtr");
	got = read_all(t);
	trace_close(t);
	return got;
}

static void test_round_trip(void **state)
{
	const char *path = scratch_path("a.qtr");
	struct items in = write_some(path, 60, TRACE_BLOCK_REFS, 300000), out = read_file(path);
	struct trace_error err;
	struct trace *t = trace_open(path, &err);
	struct qtr_info info;

	assert_int_equal(out.end, 0);
	assert_int_equal(out.n, in.n);
	assert_true(items_equal(&in, &out, in.n));
	assert_true(t->tells_calls && is_qtr(t));
	assert_int_equal(qtr_info(t, &info, &err), 0);
	assert_true(info.closed && info.counts_insns && info.counts.blocks > 3);
	assert_int_equal(info.counts.refs, in.refs);
	assert_int_equal(info.counts.events, in.n - in.refs);
	assert_int_equal(info.counts.insns, 59000);
	assert_string_equal(info.facts, "command: made up\n");
	/* Twice the same, in any way of starting over. */
	assert_int_equal(trace_rewind(t, &err), 0);
	struct items again = read_all(t);

	assert_true(again.n == in.n && items_equal(&in, &again, in.n));
	trace_close(t);
	items_free(&in);
	items_free(&out);
	items_free(&again);
}

/* Where reference number ref stands in the list, and who runs there. */
static size_t find_ref(const struct items *all, uint64_t ref, uint32_t *pid, uint32_t *tid)
{
	uint64_t seen = 0;
	size_t i = 0, after = 0;

	*pid = *tid = 0;
	for (; i < all->n && seen < ref; i++) {
		if (all->v[i].ref != REF_EVENT) {
			seen++;
		} else if (all->v[i].ev.kind == EV_SWITCH) {
			*pid = all->v[i].ev.pid;
			*tid = all->v[i].ev.tid;
		}
		after = i + 1;
	}
	return after;
}

static void check_seek(struct trace *t, const struct items *all, uint64_t ref)
{
	struct trace_error err = {0};
	uint32_t pid, tid;
	size_t at = find_ref(all, ref, &pid, &tid), first = 0;

	assert_int_equal(qtr_seek(t, ref, &err), 0);
	int rc = trace_read(t, &block, &err);

	if (ref >= all->refs) {
		assert_int_equal(rc, 0);
		return;
	}
	assert_int_equal(rc, 1);
	if (pid) {
		assert_true(ref_is_event(block.refs[0]));
		assert_int_equal(block.events[0].kind, EV_SWITCH);
		assert_int_equal(block.events[0].pid, pid);
		assert_int_equal(block.events[0].tid, tid);
		first = 1;
	}
	/* Events between two references may stand on either side of the seam: both end before the reference. */
	size_t i = first;

	while (ref_is_event(block.refs[i]))
		i++;
	while (all->v[at].ref == REF_EVENT)
		at++;
	for (; i < block.nrefs; i++, at++)
		assert_true(ref_is_event(block.refs[i]) ? all->v[at].ref == REF_EVENT : all->v[at].ref == block.refs[i]);
}

static void test_seek(void **state)
{
	const char *path = scratch_path("s.qtr");
	struct items all = write_some(path, 12, 20000, 50000);
	struct trace_error err;
	struct trace *t = trace_open(path, &err);
	struct rng rng;

	rng_init(&rng, 3);
	check_seek(t, &all, 0);
	check_seek(t, &all, all.refs - 1);
	check_seek(t, &all, all.refs);
	for (int i = 0; i < 40; i++)
		check_seek(t, &all, rng_below(&rng, all.refs));
	trace_close(t);
	/* The same without an index: the file as a kill leaves it. */
	size_t n;
	char *bytes = slurp(path, &n);

	write_file(path, bytes, n - QTR_END_BYTES - 64);
	free(bytes);
	t = trace_open(path, &err);
	for (int i = 0; i < 20; i++)
		check_seek(t, &all, rng_below(&rng, all.refs));
	trace_close(t);
	items_free(&all);
}

static void test_cut_anywhere(void **state)
{
	const char *path = scratch_path("whole.qtr"), *cut = scratch_path("cut.qtr");
	struct items all = write_some(path, 6, 300, 500);
	unsigned whole_ends = 0;
	size_t n;
	char *bytes = slurp(path, &n);

	for (size_t len = 0; len < n; len++) {
		write_file(cut, bytes, len);
		struct items got = read_file(cut);

		assert_true(items_equal(&all, &got, got.n));
		/* Between two blocks is where a kill may end a file: it is valid. Elsewhere the place is named. */
		if (got.end == 0)
			whole_ends++;
		else
			assert_true(got.err.exit_code == 3 && got.err.what[0]);
		if (got.end && len > QTR_ALIGN)
			assert_non_null(strstr(got.err.what, "byte "));
		items_free(&got);
	}
	/* After the file's head, its facts, each block of references, and the index. */
	assert_in_range(whole_ends, 5, 10);
	free(bytes);
	items_free(&all);
}

static void test_flips(void **state)
{
	const char *path = scratch_path("good.qtr"), *bad = scratch_path("bad.qtr");
	struct items all = write_some(path, 6, 300, 500);
	struct rng rng;
	size_t n;
	char *bytes = slurp(path, &n);

	rng_init(&rng, seed());
	for (unsigned i = 0; i < 3000; i++) {
		size_t at = rng_below(&rng, n);
		char bit = (char)(1 << rng_below(&rng, 8));

		bytes[at] ^= bit;
		write_file(bad, bytes, n);
		struct items got = read_file(scratch_path("bad.qtr"));

		assert_true(items_equal(&all, &got, got.n));
		if (got.end != -1)
			print_error("bit %d of byte %zu was not missed\n", bit, at);
		assert_int_equal(got.end, -1);
		assert_int_equal(got.err.exit_code, 3);
		items_free(&got);
		bytes[at] ^= bit;
	}
	free(bytes);
	items_free(&all);
}

/* As a kill leaves it: no end mark; then the beginning of a block whose head was never written. */
static void test_killed(void **state)
{
	const char *path = scratch_path("killed.qtr");
	struct qtr_options o = {.block_refs = 1000};
	struct trace_error err;
	struct qtr_writer *w = qtr_create(path, &o, &err);
	struct qtr_info info;
	struct items all = {0};
	struct rng rng;
	size_t n;

	rng_init(&rng, seed());
	for (unsigned i = 0; i < 5; i++) {
		fill(&block, &rng, 3000);
		assert_int_equal(qtr_write(w, &block, &err), 0);
		append(&all, &block);
	}
	qtr_abandon(w);
	struct items got = read_file(path);

	assert_int_equal(got.end, 0);
	assert_true(got.n == all.n && items_equal(&all, &got, all.n));
	items_free(&got);
	char *bytes = slurp(path, &n);

	bytes = realloc(bytes, n + 164);
	memset(bytes + n, 0, 64);
	memset(bytes + n + 64, 0x5a, 100);
	write_file(path, bytes, n + 164);
	got = read_file(path);
	assert_int_equal(got.end, 0);
	assert_true(got.n == all.n && items_equal(&all, &got, all.n));
	struct trace *t = trace_open(path, &err);

	assert_int_equal(qtr_info(t, &info, &err), 0);
	assert_false(info.closed);
	assert_int_equal(info.counts.refs, all.refs);
	trace_close(t);
	free(bytes);
	items_free(&got);
	items_free(&all);
}

static void test_pages(void **state)
{
	const char *path = scratch_path("pages.qtr");
	static uint8_t page[PAGE_SIZE];
	struct trace_error err;
	struct qtr_writer *w = qtr_create(path, NULL, &err);
	uint64_t small;

	for (unsigned i = 0; i < 2000; i++) {
		struct rng rng;

		rng_init(&rng, i % 100);
		for (unsigned k = 0; k < PAGE_SIZE; k++)
			page[k] = (uint8_t)rng_next(&rng);
		assert_int_equal(qtr_write_page(w, 1, (uint64_t)i << PAGE_SHIFT, page, &err), 0);
	}
	assert_int_equal(qtr_finish(w, &small, &err), 0);
	/* A hundred of them are different. */
	assert_in_range(small, 100 * PAGE_SIZE, 130 * PAGE_SIZE);
	struct items got = read_file(path);

	assert_int_equal(got.end, 0);
	assert_int_equal(items_count_events(&got, EV_CONTENT), 2000);
	assert_int_equal(got.v[101].ev.addr, 101 << PAGE_SHIFT);
	assert_int_equal(got.v[101].ev.addr2, got.v[1].ev.addr2);
	assert_true(got.v[2].ev.addr2 != got.v[1].ev.addr2);
	items_free(&got);
}

static void test_no_space(void **state)
{
	struct trace_error err;

	if (access("/dev/full", W_OK))
		skip();
	assert_null(qtr_create("/dev/full", NULL, &err));
	assert_int_equal(err.exit_code, 3);
	assert_non_null(strstr(err.what, "/dev/full"));
	assert_null(qtr_create(scratch_path("no/such/folder.qtr"), NULL, &err));
	assert_int_equal(err.exit_code, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip), cmocka_unit_test(test_seek), cmocka_unit_test(test_cut_anywhere),
		cmocka_unit_test(test_flips), cmocka_unit_test(test_killed), cmocka_unit_test(test_pages),
		cmocka_unit_test(test_no_space),
	};

	return cmocka_run_group_tests(tests, NULL, remove_scratch);
}
