/* SPDX-License-Identifier: MIT */
/* Every family: the counts asked for, within the footprint, the same from the same seed. */
#include "helper.h"

#include <string.h>

static struct items make(const char *spec, uint64_t seed)
{
	struct trace_error err;
	struct trace *t = synth_open(spec, seed, &err);

	assert_non_null(t);
	struct items all = read_all(t);

	assert_int_equal(all.end, 0);
	trace_close(t);
	return all;
}

static void test_counts_and_bounds(void **state)
{
	const char *name;

	for (unsigned i = 0; (name = synth_name(i, NULL)); i++) {
		char spec[100];

		/* Small enough for the 16-bit classroom format. */
		snprintf(spec, sizeof(spec), "%s,refs=70001,base=0x1000,footprint=32K", name);
		struct items all = make(spec, 3);
		uint64_t pages = 0;

		assert_int_equal(all.refs, 70001);
		for (size_t k = 0; k < all.n; k++) {
			if (all.v[k].ref == REF_EVENT)
				continue;
			assert_in_range(ref_gva(all.v[k].ref), 0x1000, 0x1000 + 32768 - 8);
			assert_false(all.v[k].ref & REF_SPECIAL);
			pages |= BIT(ref_gva(all.v[k].ref) >> PAGE_SHIFT);
		}
		assert_int_equal(pages, 0x1fe); /* all eight */
		items_free(&all);
	}
}

static void test_determinism(void **state)
{
	const char *name;

	for (unsigned i = 0; (name = synth_name(i, NULL)); i++) {
		char spec[100];
		struct trace_error err;

		snprintf(spec, sizeof(spec), "%s,refs=100K,footprint=16M", name);
		struct items a = make(spec, 5), b = make(spec, 5), c = make(spec, 6);

		assert_int_equal(a.n, b.n);
		assert_true(items_equal(&a, &b, a.n));
		/* An order without chance has no seed to follow. */
		if (strcmp(name, "tablestorm"))
			assert_false(a.n == c.n && items_equal(&a, &c, a.n));
		struct trace *t = synth_open(spec, 5, &err);
		struct items once = read_all(t);

		assert_int_equal(trace_rewind(t, &err), 0);
		struct items twice = read_all(t);

		assert_true(items_equal(&once, &twice, a.n) && items_equal(&once, &a, a.n));
		trace_close(t);
		items_free(&a);
		items_free(&b);
		items_free(&c);
		items_free(&once);
		items_free(&twice);
	}
}

/* Every event is by a process that lives, every reference follows a switch to one. */
static void test_processes_live(void **state)
{
	static const char *const specs[] = {"forkstorm,refs=50K,procs=3,pages=5", "switchstorm,refs=50K,procs=20,quantum=10",
					    "tablestorm,refs=50K,pages=3", "stackheap,refs=1K", "churn,refs=50K,protect=0.5"};

	for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) {
		static uint8_t alive[100000];
		struct items all = make(specs[i], 1);
		uint32_t running = 0;

		memset(alive, 0, sizeof(alive));
		alive[1] = 1;
		for (size_t k = 0; k < all.n; k++) {
			const struct trace_event *ev = &all.v[k].ev;

			if (all.v[k].ref != REF_EVENT) {
				assert_true(alive[running]);
				continue;
			}
			assert_in_range(ev->pid, 1, 99999);
			assert_true(alive[ev->pid]);
			if (ev->kind == EV_SWITCH)
				running = ev->pid;
			else
				assert_int_equal(running, ev->pid);
			if (ev->kind == EV_FORK) {
				assert_false(alive[ev->child]);
				alive[ev->child] = 1;
			}
			if (ev->kind == EV_EXIT)
				alive[ev->pid] = 0;
		}
		items_free(&all);
	}
}

/* The most popular of 1000 pages at theta = 1 has 1/H(1000) = 13.36 % of references, the second half of that. */
static void test_zipf_shares(void **state)
{
	struct items all = make("zipf,theta=1,refs=1M,footprint=4000K,base=0", 9);
	uint64_t count[1000] = {0}, first = 0, second = 0;

	for (size_t k = 0; k < all.n; k++)
		if (all.v[k].ref != REF_EVENT)
			count[ref_gva(all.v[k].ref) >> PAGE_SHIFT]++;
	for (int i = 0; i < 1000; i++) {
		if (count[i] > first) {
			second = first;
			first = count[i];
		} else if (count[i] > second) {
			second = count[i];
		}
	}
	assert_in_range(first, 132300, 134900);
	assert_in_range(second, 65900, 67700);
	items_free(&all);
}

/* The chain visits every node once before any again. */
static void test_chase_is_one_cycle(void **state)
{
	struct items all = make("chase,stride=64,footprint=100000,refs=1562,base=0", 2);
	uint8_t seen[1562] = {0};

	for (size_t k = 0; k < all.n; k++)
		if (all.v[k].ref != REF_EVENT)
			assert_int_equal(seen[ref_gva(all.v[k].ref) / 64]++, 0);
	items_free(&all);
}

/* What churn does after its sweep: references outside the hot pages, and changes (an event each for taking and giving back). */
static void count_churn(const char *spec, size_t from, size_t to, unsigned *misses, unsigned *changes)
{
	struct items all = make(spec, 4);
	size_t refs = 0;
	const uint64_t pages = 256, hot = 16;

	*misses = *changes = 0;
	for (size_t k = 0; k < all.n; k++) {
		if (all.v[k].ref == REF_EVENT) {
			*changes += all.v[k].ev.kind == EV_MPROTECT && all.v[k].ev.prot == PROT_BIT_R && refs >= pages + from &&
				    refs < pages + to;
			continue;
		}
		if (refs >= pages + from && refs < pages + to)
			*misses += ref_gva(all.v[k].ref) >> PAGE_SHIFT < pages - hot;
		refs++;
	}
	items_free(&all);
}

/* Each rate is what was asked for, whatever the other is; phases take turns. */
static void test_churn_rates(void **state)
{
	unsigned misses, changes;

	count_churn("churn,refs=200K,footprint=1M,base=0,miss=0.1,changes=0", 0, 100000, &misses, &changes);
	assert_in_range(misses, 9000, 9700); /* 240 of 256 pages are not hot */
	assert_int_equal(changes, 0);
	count_churn("churn,refs=200K,footprint=1M,base=0,miss=0,changes=0.01", 0, 100000, &misses, &changes);
	assert_in_range(changes, 999, 1001);
	assert_int_equal(misses, changes); /* the page itself is written */
	count_churn("churn,refs=200K,footprint=1M,base=0,miss=0.1,changes=0.01", 0, 100000, &misses, &changes);
	assert_in_range(changes, 999, 1001);
	assert_in_range(misses - changes, 8900, 9700);
	count_churn("churn,refs=200K,footprint=1M,base=0,miss=0.1,changes=0.01,phase=50K", 0, 50000, &misses, &changes);
	assert_int_equal(changes, 0);
	assert_true(misses > 4000);
	count_churn("churn,refs=200K,footprint=1M,base=0,miss=0.1,changes=0.01,phase=50K", 50000, 100000, &misses, &changes);
	assert_in_range(changes, 499, 501);
	assert_int_equal(misses, changes);
}

static void test_refusals(void **state)
{
	static const char *const wrong[] = {
		"nosuch", "", "gups,refs", "gups,refs=", "gups,refs=0", "gups,refs=-1", "gups,refs=1Q", "gups,theta=1",
		"gups,footprint=1", "gups,footprint=99999T", "gups,base=0x123", "gups,base=0x11112222333344445",
		"zipf,theta=0", "zipf,theta=x", "zipf,writes=1.1", "stream,stride=1G", "gups,refs=1M,,", "forkstorm,procs=0",
		"stackheap,footprint=4K", "churn,footprint=4K", "churn,miss=1.5", "churn,pages=0",
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct trace_error err;

		assert_null(synth_open(wrong[i], 1, &err));
		assert_int_equal(err.exit_code, 2);
		assert_non_null(strstr(err.what, "synth:"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts_and_bounds), cmocka_unit_test(test_determinism),
		cmocka_unit_test(test_processes_live), cmocka_unit_test(test_zipf_shares),
		cmocka_unit_test(test_chase_is_one_cycle), cmocka_unit_test(test_churn_rates),
		cmocka_unit_test(test_refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
