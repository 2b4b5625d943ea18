/* SPDX-License-Identifier: MIT */
/* Parts of a trace, and several as one, against what lists of their items say. */
#define _GNU_SOURCE
#include "helper.h"

#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "trace/qtr.h"
#include "trace/sink.h"
#include "trace/source.h"
#include "trace/view.h"

enum { SEED = 17, ITEMS = 4000, PROCESSES = 3 };

/* A trace of references with all kinds of events between, in a file. pids are base + 1 and those after it. */
static struct trace *make_trace(const char *name, uint64_t seed, unsigned items, uint32_t base)
{
	static struct trace_block b;
	const char *path = scratch_path(name);
	struct trace_error err = {0};
	struct qtr_writer *w = qtr_create(path, NULL, &err);
	struct rng r;

	assert_non_null(w);
	rng_init(&r, seed);
	b.nrefs = b.nevents = 0;
	for (unsigned i = 0; i < items; i++) {
		uint32_t pid = base + 1 + (uint32_t)rng_below(&r, PROCESSES);
		static const uint8_t kinds[] = {EV_SWITCH, EV_SWITCH, EV_SWITCH, EV_MMAP, EV_MUNMAP, EV_FORK, EV_SYSCALL, EV_THREAD};

		if (rng_below(&r, 4) && i) {
			block_put_ref(&b, rng_below(&r, 1 << 20) << 3, (enum acc_kind)rng_below(&r, 3), 8);
			continue;
		}
		struct trace_event ev = {.kind = i ? kinds[rng_below(&r, 8)] : EV_SWITCH, .pid = pid, .tid = pid};

		if (ev.kind == EV_FORK)
			ev.child = base + 1 + (uint32_t)rng_below(&r, PROCESSES);
		if (ev.kind == EV_MMAP || ev.kind == EV_MUNMAP || ev.kind == EV_SYSCALL)
			ev.len = 4096;
		block_put_event(&b, &ev);
	}
	assert_int_equal(qtr_write(w, &b, &err), 0);
	assert_int_equal(qtr_close(w, &err), 0);
	struct trace *t = trace_open(path, &err);

	assert_non_null(t);
	return t;
}

/* References with their processes, in order; events left out. */
struct owned {
	uint32_t pid;
	ref_t ref;
};

static struct owned *owned_refs(const struct items *all, size_t *n)
{
	struct owned *v = calloc(all->n + 1, sizeof(*v));
	uint32_t pid = 1;

	*n = 0;
	for (size_t i = 0; i < all->n; i++) {
		if (all->v[i].ref != REF_EVENT)
			v[(*n)++] = (struct owned){pid, all->v[i].ref};
		else if (all->v[i].ev.kind == EV_SWITCH)
			pid = all->v[i].ev.pid;
	}
	return v;
}

static void check_cut(uint64_t from, uint64_t to, uint32_t pid)
{
	struct cut_range range = {.from = from, .to = to, .pid = pid};
	struct trace_error err = {0};
	struct trace *whole = make_trace("whole.qtr", SEED, ITEMS, 100);
	struct items all = read_all(whole);
	size_t n, m, k = 0, kept = 0, maps = 0, calls = 0;

	assert_int_equal(trace_rewind(whole, &err), 0);
	struct trace *t = trace_cut(whole, &range, &err);
	struct items part = read_all(t);
	struct owned *want = owned_refs(&all, &n), *got = owned_refs(&part, &m);

	assert_int_equal(part.end, 0);
	for (size_t i = from; i < n && i < to; i++)
		if (!pid || want[i].pid == pid) {
			assert_true(k < m && got[k].ref == want[i].ref && got[k].pid == want[i].pid);
			k++;
		}
	assert_int_equal(k, m);
	/* Whatever was done to memory before the range's end is there; system calls of the range alone. */
	for (size_t i = 0, ref = 0; i < all.n; i++) {
		const struct trace_event *ev = &all.v[i].ev;

		if (all.v[i].ref != REF_EVENT && ref++ >= to)
			break;
		if (all.v[i].ref == REF_EVENT && (!pid || ev->pid == pid)) {
			maps += ev->kind == EV_MMAP || ev->kind == EV_MUNMAP;
			kept += (ev->kind == EV_FORK && !pid) || ev->kind == EV_THREAD;
			calls += ev->kind == EV_SYSCALL && ref >= from;
		}
	}
	assert_int_equal(maps, items_count_events(&part, EV_MMAP) + items_count_events(&part, EV_MUNMAP));
	assert_int_equal(kept, items_count_events(&part, EV_FORK) + items_count_events(&part, EV_THREAD));
	assert_int_equal(calls, items_count_events(&part, EV_SYSCALL));
	/* The same again. */
	assert_int_equal(trace_rewind(t, &err), 0);
	struct items again = read_all(t);

	assert_true(again.n == part.n && items_equal(&again, &part, part.n));
	free(want);
	free(got);
	items_free(&again);
	items_free(&part);
	items_free(&all);
	trace_close(t);
}

static void test_cut(void **state)
{
	static const uint64_t ranges[][2] = {{0, UINT64_MAX}, {0, 1}, {1, 2}, {500, 1500}, {2990, 2000000}, {1u << 30, UINT64_MAX}};

	for (unsigned i = 0; i < sizeof(ranges) / sizeof(*ranges); i++)
		for (uint32_t pid = 101; pid <= 104; pid++)
			check_cut(ranges[i][0], ranges[i][1], pid == 104 ? 0 : pid);
}

enum { PARTS = 4, NAMES = 2 + PROCESSES }; /* who is not named is 1, the others 102 and more */

/* Each part's references in order and unchanged; its processes apart from all others'. */
static void check_apart(const struct items *part, const struct items *merged, uint64_t quantum)
{
	struct owned *want[PARTS], *got;
	uint32_t called[PARTS][NAMES] = {{0}};
	size_t n[PARTS], at[PARTS] = {0}, m, in_turn = 0;
	int last = -1;

	got = owned_refs(merged, &m);
	for (unsigned p = 0; p < PARTS; p++)
		want[p] = owned_refs(&part[p], &n[p]);
	for (size_t i = 0; i < m; i++) {
		unsigned p = 0;

		/* Whose it is shows in the address: each part has its own. */
		while (p < PARTS && !(at[p] < n[p] && want[p][at[p]].ref == got[i].ref))
			p++;
		assert_true(p < PARTS);
		uint32_t *name = &called[p][want[p][at[p]].pid % 100];

		if (!*name)
			*name = got[i].pid;
		assert_int_equal(*name, got[i].pid);
		in_turn = (int)p == last ? in_turn + 1 : 1;
		last = (int)p;
		unsigned left = 0;

		for (unsigned q = 0; q < PARTS; q++)
			left += at[q] < n[q];
		if (left > 1)
			assert_true(in_turn <= quantum);
		at[p]++;
	}
	for (unsigned p = 0; p < PARTS; p++) {
		assert_int_equal(at[p], n[p]);
		for (unsigned a = 0; a < NAMES; a++)
			for (unsigned q = 0; q < p; q++)
				for (unsigned b = 0; b < NAMES; b++)
					assert_true(!called[p][a] || called[p][a] != called[q][b]);
		free(want[p]);
	}
	free(got);
}

/* Addresses of a part that no other part has, so that one can tell them apart. */
static struct trace *make_part(const char *name, unsigned p, unsigned items)
{
	static struct trace_block b;
	const char *path = scratch_path(name);
	struct trace_error err = {0};
	struct qtr_writer *w = qtr_create(path, NULL, &err);
	struct rng r;

	rng_init(&r, p);
	b.nrefs = b.nevents = 0;
	for (unsigned i = 0; i < items; i++) {
		/* All parts use the same numbers, and the second names nobody at first. */
		uint32_t pid = 102 + (uint32_t)rng_below(&r, PROCESSES);

		if (rng_below(&r, 10) == 0 || (i == 0 && p != 1))
			block_put_event(&b, &(struct trace_event){.kind = EV_SWITCH, .pid = pid, .tid = pid});
		else
			block_put_ref(&b, (uint64_t)(p + 1) << 40 | (uint64_t)i << 4, ACC_READ, 4);
	}
	assert_int_equal(qtr_write(w, &b, &err), 0);
	assert_int_equal(qtr_close(w, &err), 0);
	return trace_open(path, &err);
}

static void test_merge_apart(void **state)
{
	static const uint64_t quanta[] = {1, 7, 1000, 1u << 30};

	for (unsigned q = 0; q < sizeof(quanta) / sizeof(*quanta); q++)
		for (int at_marks = 0; at_marks < 2; at_marks++) {
			struct merge_options o = {.quantum = quanta[q], .at_marks = at_marks};
			struct trace *in[PARTS], *t;
			struct items part[PARTS], merged;
			struct trace_error err = {0};

			for (unsigned p = 0; p < PARTS; p++) {
				char name[16];

				snprintf(name, sizeof(name), "part%u.qtr", p);
				in[p] = make_part(name, p, 300 * (p + 1));
				part[p] = read_all(in[p]);
				assert_int_equal(trace_rewind(in[p], &err), 0);
			}
			t = trace_merge(in, PARTS, &o, &err);
			merged = read_all(t);
			check_apart(part, &merged, at_marks ? UINT64_MAX : o.quantum); /* a mark may end a turn before its first reference */
			assert_int_equal(trace_rewind(t, &err), 0);
			struct items again = read_all(t);

			assert_true(again.n == merged.n && items_equal(&again, &merged, merged.n));
			items_free(&again);
			items_free(&merged);
			for (unsigned p = 0; p < PARTS; p++)
				items_free(&part[p]);
			trace_close(t);
		}
}

static struct trace *of_text(const char *name, const char *text)
{
	struct trace_error err;
	const char *path = scratch_path(name);
	struct trace *t;

	write_file(path, text, strlen(text));
	t = trace_open(path, &err);
	assert_non_null(t);
	return t;
}

/* One file a thread, as some recorders write: one process, two threads, and one end at the end of all. */
static void test_merge_one_machine(void **state)
{
	static const char first[] = "pid,tid,kind,addr,size\n7,7,R,0x1000,4\n7,7,R,0x1008,4\n7,7,R,0x1010,4\n";
	static const char second[] = "pid,tid,kind,addr,size\n7,8,W,0x2000,4\n";
	struct trace *in[2] = {of_text("a.csv", first), of_text("b.csv", second)};
	struct merge_options o = {.quantum = 1, .one_machine = true};
	struct trace_error err = {0};
	struct trace *t = trace_merge(in, 2, &o, &err);
	struct items all = read_all(t);
	static const uint64_t order[] = {0x1000, 0x2000, 0x1008, 0x1010};
	unsigned n = 0;

	assert_int_equal(items_count_events(&all, EV_THREAD), 1);
	for (size_t i = 0; i < all.n; i++) {
		if (all.v[i].ref == REF_EVENT) {
			assert_int_equal(all.v[i].ev.pid, 7);
			if (all.v[i].ev.kind == EV_THREAD)
				assert_int_equal(all.v[i].ev.tid, 8);
		} else {
			assert_int_equal(ref_gva(all.v[i].ref), order[n++]);
		}
	}
	assert_int_equal(n, 4);
	items_free(&all);
	trace_close(t);
}

/* A damaged part is left out from there on; the others come to their end, and then it is told. */
static void test_merge_damaged(void **state)
{
	struct trace *in[2] = {of_text("a.arw", "1000 R\n2000 R\nwhat?\n3000 R\n"), of_text("b.arw", "5000 W\n6000 W\n7000 W\n")};
	struct merge_options o = {.quantum = 1};
	struct trace_error err = {0};
	struct trace *t;

	t = trace_merge(in, 2, &o, &err);
	struct items all = read_all(t);

	assert_int_equal(all.refs, 5);
	assert_int_equal(all.end, -1);
	assert_int_equal(all.err.exit_code, 3);
	assert_non_null(strstr(all.err.what, "a.arw:3:"));
	items_free(&all);
	trace_close(t);
}

/* Written in each format that can say it, and read again. */
static void test_sinks(void **state)
{
	static const char *const names[] = {"out.qtr", "out.csv", "out.lackey", "out.rwa", "out.arw"};
	static struct trace_block b;
	struct trace_error err = {0};
	struct rng r;

	rng_init(&r, SEED);
	b.nrefs = b.nevents = 0;
	block_put_event(&b, &(struct trace_event){.kind = EV_SWITCH, .pid = 42, .tid = 43});
	for (unsigned i = 0; i < 3000; i++)
		block_put_ref(&b, (uint64_t)((int64_t)(rng_next(&r) << 6) >> 6 >> rng_below(&r, 57)),
			      (enum acc_kind)rng_below(&r, 3), 1u << rng_below(&r, 8));
	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++) {
		char path[600];
		size_t n;

		snprintf(path, sizeof(path), "%s", scratch_path(names[i]));
		struct trace_sink *s = sink_open(path, NULL, NULL, false, &err);

		assert_non_null(s);
		assert_int_equal(sink_write(s, &b, &err), 0);
		assert_int_equal(sink_close(s, &err), 0);
		struct trace *t = trace_open(path, &err);

		assert_non_null(t);
		struct items all = read_all(t);
		struct owned *got = owned_refs(&all, &n);

		assert_int_equal(all.end, 0);
		assert_int_equal(n, 3000);
		for (size_t k = 0; k < n; k++) {
			assert_int_equal(got[k].ref, b.refs[k + 1]);
			assert_int_equal(got[k].pid, i < 2 ? 42 : 1);
		}
		free(got);
		items_free(&all);
		trace_close(t);
	}
	assert_null(sink_open("x.bin", NULL, NULL, false, &err));
	assert_int_equal(err.exit_code, 2);
	assert_null(sink_open("-", "qtr", NULL, false, &err));
	assert_int_equal(err.exit_code, 2);
}

/* A format without a column for processes refuses a second one. */
static void test_sink_second_process(void **state)
{
	static struct trace_block b;
	struct trace_error err = {0};
	struct trace_sink *s = sink_open(scratch_path("two.lackey"), NULL, NULL, false, &err);

	b.nrefs = b.nevents = 0;
	for (uint32_t pid = 5; pid < 7; pid++) {
		block_put_event(&b, &(struct trace_event){.kind = EV_SWITCH, .pid = pid, .tid = pid});
		block_put_ref(&b, 0x1000, ACC_READ, 4);
	}
	assert_int_equal(sink_write(s, &b, &err), -1);
	assert_int_equal(err.exit_code, 2);
	assert_non_null(strstr(err.what, "second process (6 after 5)"));
	assert_int_equal(sink_close(s, &err), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cut), cmocka_unit_test(test_merge_apart), cmocka_unit_test(test_merge_one_machine),
		cmocka_unit_test(test_merge_damaged), cmocka_unit_test(test_sinks), cmocka_unit_test(test_sink_second_process),
	};

	return cmocka_run_group_tests(tests, NULL, remove_scratch);
}
