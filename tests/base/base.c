/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/bits.h"
#include "base/bug.h"
#include "base/digest.h"
#include "base/faultinj.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mutation.h"
#include "base/ref.h"
#include "base/rng.h"
#include "base/stats.h"
#include "base/types.h"

static void test_bits(void **state)
{
	assert_int_equal(low_bits(0), 0);
	assert_int_equal(low_bits(12), 0xfff);
	assert_int_equal(low_bits(64), UINT64_MAX);
	assert_int_equal(bit_range(63, 0), UINT64_MAX);
	assert_int_equal(bit_range(20, 12), 0x1ff000);
	for (unsigned n = 0; n < 64; n++) {
		assert_int_equal(log2_floor(BIT(n)), n);
		assert_int_equal(log2_ceil(BIT(n)), n);
		assert_true(is_pow2(BIT(n)));
		if (n < 2)
			continue;
		assert_int_equal(log2_floor(BIT(n) - 1), n - 1);
		assert_int_equal(log2_ceil(BIT(n) - 1), n);
		assert_false(is_pow2(BIT(n) - 1));
	}
	assert_false(is_pow2(0));
	assert_int_equal(align_up(4097, 4096), 8192);
	assert_int_equal(align_up(4096, 4096), 4096);
	assert_int_equal(align_down(8191, 4096), 4096);
}

/* Each bucket begins where the one before it ends. */
static void test_histogram(void **state)
{
	struct histogram h = { { 0 } };

	for (unsigned b = 1; b < HIST_BUCKETS; b++) {
		assert_int_equal(hist_bucket(hist_bucket_low(b)), b);
		assert_int_equal(hist_bucket(hist_bucket_low(b) - 1), b - 1);
	}
	assert_int_equal(hist_bucket(UINT64_MAX), HIST_BUCKETS - 1);
	hist_add(&h, 24);
	hist_add(&h, 24);
	assert_int_equal(h.bucket[24], 2);
}

/* The published generator: first outputs for state {1, 2, 3, 4}. */
static void test_rng(void **state)
{
	struct rng r = { { 1, 2, 3, 4 } }, a, b;
	const uint64_t expect[] = { 11520, 0, 1509978240, 1215971899390074240 };
	uint64_t sum = 0, seen = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(expect); i++)
		assert_int_equal(rng_next(&r), expect[i]);
	rng_init(&a, 5);
	rng_init(&b, 5);
	for (int i = 0; i < 10000; i++) {
		uint64_t x = rng_below(&a, 10);
		double u = rng_unit(&r);

		assert_int_equal(x, rng_below(&b, 10));
		assert_true(x < 10);
		assert_true(u >= 0 && u < 1);
		sum += x;
		seen |= BIT(x);
	}
	assert_int_equal(seen, 0x3ff);
	assert_in_range(sum, 44000, 46000);
	rng_init(&b, 6);
	assert_true(rng_next(&a) != rng_next(&b));
}

struct item {
	int v;
	struct list link;
};

static void test_list(void **state)
{
	struct list head;
	struct item item[5];
	int expect = 4;

	list_init(&head);
	assert_true(list_is_empty(&head));
	for (int i = 0; i < 5; i++) {
		item[i].v = i;
		if (i < 3)
			list_add_tail(&head, &item[i].link);
	}
	list_add(&head, &item[3].link);
	list_add(&head, &item[4].link);
	/* 4 3 0 1 2 */
	assert_int_equal(list_first(&head, struct item, link)->v, 4);
	assert_int_equal(list_last(&head, struct item, link)->v, 2);
	list_del(&item[0].link);
	list_del(&item[0].link);
	list_for_each_safe(it, &head) {
		assert_int_equal(list_entry(it, struct item, link)->v, expect);
		expect = expect == 3 ? 1 : expect == 1 ? 2 : expect - 1;
		list_del(it);
	}
	assert_true(list_is_empty(&head));
}

static void test_fault_injection(void **state)
{
	struct faultinj f;

	assert_false(faultinj_hit(NULL, FAULT_IO));
	faultinj_init(&f);
	for (int i = 0; i < 100; i++)
		assert_false(faultinj_hit(&f, FAULT_IO));
	faultinj_arm(&f, FAULT_IO, 3, false);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(faultinj_hit(&f, FAULT_IO), i == 3);
		assert_false(faultinj_hit(&f, FAULT_TABLE_LOAD));
	}
	assert_int_equal(f.site[FAULT_IO].failed, 1);
	faultinj_arm(&f, FAULT_IO, 3, true);
	for (int i = 0; i < 10; i++)
		assert_int_equal(faultinj_hit(&f, FAULT_IO), i >= 3);
	assert_int_equal(f.site[FAULT_IO].failed, 7);
}

static void test_reference_word(void **state)
{
	const uint64_t gva[] = { 0, 0xfff, 0x1000, 0x7fffffffffff, 0xffff800000000000, UINT64_MAX - 63 };

	for (unsigned i = 0; i < ARRAY_SIZE(gva); i++)
		for (unsigned kind = 0; kind < ACC_KINDS; kind++)
			for (unsigned size = 1; size <= 128; size *= 2) {
				ref_t r = make_ref(gva[i], (enum acc_kind)kind, size);

				assert_int_equal(ref_gva(r), gva[i]);
				assert_int_equal(ref_kind(r), kind);
				assert_int_equal(ref_size(r), size);
				assert_false(ref_is_event(r));
				assert_int_equal(!!(r & REF_SPECIAL), (gva[i] % 4096) + size > 4096);
			}
	assert_true(ref_is_event(make_event_ref(77)));
	assert_int_equal(ref_event(make_event_ref(77)), 77);
	assert_true(make_event_ref(77) & REF_SPECIAL);
	assert_true(ref_gva_ok(0xffff800000000000) && ref_gva_ok(low_bits(57)));
	assert_false(ref_gva_ok(BIT(57)));
}

/* One is on by hand, whatever is built in; one does not exist. */
#define MUTATION_A_TEST_OF_ITSELF 1
static void test_mutation_constants(void **state)
{
	assert_int_equal(MUTATE(A_TEST_OF_ITSELF), 1);
	assert_int_equal(MUTATE(NO_SUCH_NAME), 0);
}

static void test_digest_minds_order(void **state)
{
	uint64_t ab = digest_fold(digest_fold(0, 1), 2), ba = digest_fold(digest_fold(0, 2), 1);

	assert_true(ab != ba);
	assert_true(digest_bytes("quire", 5) != digest_bytes("quirf", 5));
	/* XXH3, 64 bits, no seed, of nothing: the published value. */
	assert_int_equal(digest_bytes("", 0), 0x2d06800538d394c2);
}

struct heard {
	jmp_buf back;
	char line[80];
	const char *what;
	enum log_level level;
};

static void hear_log(void *ctx, enum log_level level, const char *line)
{
	struct heard *h = ctx;

	h->level = level;
	strncpy(h->line, line, sizeof(h->line) - 1);
}

static void hear_panic(void *ctx, const char *file, int line, const char *what)
{
	struct heard *h = ctx;

	h->what = what;
	longjmp(h->back, 1);
}

static void test_log_and_bug_reach_the_host(void **state)
{
	static struct heard h;
	static const struct host_ops ops = { .log = hear_log, .panic = hear_panic, .ctx = &h };

	log_line(LOG_ERROR, "into silence");
	host_ops_set(&ops);
	log_line(LOG_WARN, "low on memory");
	assert_string_equal(h.line, "low on memory");
	assert_int_equal(h.level, LOG_WARN);
	BUG_ON(h.level == LOG_ERROR);
	if (!setjmp(h.back)) {
		BUG_ON(h.level == LOG_WARN);
		fail();
	}
	assert_string_equal(h.what, "h.level == LOG_WARN");
	host_ops_set(NULL);
	assert_null(host_ops_get()->log);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bits),
		cmocka_unit_test(test_histogram),
		cmocka_unit_test(test_rng),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_fault_injection),
		cmocka_unit_test(test_reference_word),
		cmocka_unit_test(test_mutation_constants),
		cmocka_unit_test(test_digest_minds_order),
		cmocka_unit_test(test_log_and_bug_reach_the_host),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
