/* SPDX-License-Identifier: MIT */
/* The spool: what is written is read, and damage anywhere keeps what stands before it. */
#include "helper.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/rng.h"
#include "trace/spool.h"

enum { SEED = 11 };

static uint64_t random_gva(struct rng *r)
{
	uint64_t v = rng_next(r) >> rng_below(r, 64);

	return (uint64_t)((int64_t)(v << 6) >> 6);
}

static struct trace_event random_event(struct rng *r)
{
	return (struct trace_event){
		.kind = (uint8_t)(1 + rng_below(r, EV_SYSCALL)), .prot = (uint8_t)rng_below(r, 8), .flags = (uint16_t)rng_next(r),
		.pid = (uint32_t)rng_next(r), .child = (uint32_t)rng_next(r), .tid = (uint32_t)rng_below(r, 100),
		.addr = rng_next(r), .len = rng_next(r) >> rng_below(r, 64), .addr2 = rng_below(r, 5), .len2 = rng_next(r)};
}

static void add_item(struct items *all, ref_t ref, const struct trace_event *ev)
{
	/* Room doubles whenever the count is a power of two. */
	if ((all->n & (all->n - 1)) == 0)
		all->v = realloc(all->v, (all->n ? 2 * all->n : 1) * sizeof(*all->v));
	memset(&all->v[all->n], 0, sizeof(*all->v));
	all->v[all->n].ref = ref;
	if (ev)
		all->v[all->n].ev = *ev;
	else
		all->refs++;
	all->n++;
}

/* Two threads in turn, blocks of random length; what must be read comes back. */
static struct items write_random(const char *path, unsigned blocks, unsigned block_max, uint64_t limit)
{
	struct items expected = {0};
	char ctl[SPOOL_PATH_MAX];
	struct spool_control *c = spool_create(path, limit, ctl);
	struct spool_slot *slot[2];
	struct rng rng;

	rng_init(&rng, SEED);
	assert_non_null(c);
	slot[0] = spool_slot_take(c, 100, 100, 0);
	slot[1] = spool_slot_take(c, 100, 101, SPOOL_THREAD);
	for (unsigned i = 0, last = 2; i < blocks; i++) {
		unsigned who = (unsigned)rng_below(&rng, 2), n = 1 + (unsigned)rng_below(&rng, block_max);
		struct spool_slot *s = slot[who];
		struct trace_event owner = {.pid = 100, .tid = 100 + who};

		if (s->flags & SPOOL_THREAD) {
			owner.kind = EV_THREAD;
			add_item(&expected, REF_EVENT, &owner);
		}
		owner.kind = EV_SWITCH;
		if (who != last)
			add_item(&expected, REF_EVENT, &owner);
		last = who;
		while (n-- && spool_has_room(s)) {
			struct trace_event ev = random_event(&rng);
			uint64_t gva = random_gva(&rng);
			unsigned kind = (unsigned)rng_below(&rng, 3), shift = (unsigned)rng_below(&rng, 8);

			if (rng_below(&rng, 10)) {
				spool_put_ref(s, gva, kind, shift);
				add_item(&expected, make_ref(gva, (enum acc_kind)kind, 1u << shift), NULL);
			} else {
				spool_put_event(s, &ev);
				add_item(&expected, REF_EVENT, &ev);
			}
		}
		spool_flush(c, s);
	}
	assert_int_equal(spool_finish(c), 0);
	unlink(ctl);
	return expected;
}

static struct items read_spool(const char *path)
{
	struct trace_error err;
	struct trace *t = spool_open(path, &err);
	struct items all = {.end = -1, .err = err};

	if (!t)
		return all;
	all = read_all(t);
	trace_close(t);
	return all;
}

static void test_roundtrip(void **state)
{
	const char *path = scratch_path("roundtrip.qspool");
	struct items expected = write_random(path, 60, 60000, 0), got = read_spool(path);

	assert_int_equal(got.end, 0);
	assert_int_equal(got.n, expected.n);
	assert_true(items_equal(&got, &expected, got.n));
	items_free(&got);
	items_free(&expected);
}

static void test_limit_is_exact(void **state)
{
	const char *path = scratch_path("limit.qspool");

	for (uint64_t limit = 1; limit < 400; limit += 7) {
		unlink(path);
		struct items expected = write_random(path, 20, 50, limit), got = read_spool(path);

		assert_int_equal(got.end, 0);
		assert_int_equal(got.refs, expected.refs < limit ? expected.refs : limit);
		assert_true(items_equal(&got, &expected, got.n));
		items_free(&got);
		items_free(&expected);
	}
}

/* Cut at every byte: the blocks before are read, and the place is named. */
static void test_cut(void **state)
{
	const char *path = scratch_path("cut.qspool"), *copy = scratch_path("copy.qspool");
	struct items expected = write_random(path, 8, 30, 0);
	size_t n, longest = 0;
	char *bytes = slurp(path, &n);

	for (size_t len = 0; len < n; len++) {
		write_file(copy, bytes, len);
		struct items got = read_spool(copy);

		assert_int_equal(got.end, -1);
		assert_int_equal(got.err.exit_code, 3);
		assert_non_null(strstr(got.err.what, "copy.qspool: "));
		assert_true(items_equal(&got, &expected, got.n));
		assert_true(got.n >= longest);
		longest = got.n;
		items_free(&got);
	}
	assert_int_equal(longest, expected.n); /* only the end mark was missing */
	items_free(&expected);
	free(bytes);
}

/* Any changed byte is found, or changed nothing (padding, reserved bytes). */
static void test_changed(void **state)
{
	const char *path = scratch_path("changed.qspool"), *copy = scratch_path("copy.qspool");
	struct items expected = write_random(path, 8, 30, 0);
	struct rng rng;
	size_t n;
	char *bytes = slurp(path, &n);

	rng_init(&rng, SEED);
	for (size_t at = 0; at < n; at++) {
		char saved = bytes[at];

		bytes[at] ^= (char)(1 + rng_below(&rng, 255));
		write_file(copy, bytes, n);
		struct items got = read_spool(copy);

		assert_true(items_equal(&got, &expected, got.n));
		assert_true(got.end == -1 || got.n == expected.n);
		items_free(&got);
		bytes[at] = saved;
	}
	items_free(&expected);
	free(bytes);
}

/* A thread that dies with a block in its slot: whoever salvages writes it, with the process's end. */
static void test_salvage(void **state)
{
	const char *path = scratch_path("salvage.qspool");
	char ctl[SPOOL_PATH_MAX];
	struct spool_control *c = spool_create(path, 0, ctl), *other = spool_attach(ctl);
	struct spool_slot *s;

	assert_non_null(other);
	s = spool_slot_take(c, 42, 42, 0);
	spool_put_ref(s, 0x1234, ACC_WRITE, 3);
	assert_false(spool_salvage(other, 43, true));
	assert_true(spool_salvage(other, 42, true));
	assert_false(spool_salvage(other, 42, true));
	assert_int_equal(munmap(other, sizeof(*other)), 0);
	assert_int_equal(spool_finish(c), 0);
	unlink(ctl);
	struct items got = read_spool(path);

	assert_int_equal(got.end, 0);
	assert_int_equal(got.n, 3);
	assert_int_equal(got.v[0].ev.kind, EV_SWITCH);
	assert_int_equal(ref_gva(got.v[1].ref), 0x1234);
	assert_int_equal(got.v[2].ev.kind, EV_EXIT);
	assert_int_equal(got.v[2].ev.pid, 42);
	items_free(&got);
}

/* A writer killed between reserving its place and writing the head leaves zeros, perhaps a body after them. */
static void test_hole(void **state)
{
	const char *path = scratch_path("hole.qspool");
	char ctl[SPOOL_PATH_MAX];
	struct spool_control *c = spool_create(path, 0, ctl);
	struct spool_slot *s = spool_slot_take(c, 1, 1, 0);

	spool_put_ref(s, 0x1000, ACC_READ, 0);
	spool_flush(c, s);
	uint64_t place = atomic_fetch_add(&c->next, 640);

	spool_put_ref(s, 0x2000, ACC_READ, 0);
	spool_flush(c, s);
	assert_int_equal(spool_finish(c), 0);
	unlink(ctl);
	FILE *f = fopen(path, "r+");

	fseek(f, (long)place + 64, SEEK_SET);
	for (int i = 0; i < 300; i++)
		fputc(0x5a, f);
	fclose(f);
	struct items got = read_spool(path);

	assert_int_equal(got.end, 0);
	assert_int_equal(got.refs, 2);
	items_free(&got);
}

static void test_no_space(void **state)
{
	char ctl[SPOOL_PATH_MAX];
	struct spool_control *c = spool_create(scratch_path("full.qspool"), 0, ctl);
	struct spool_slot *s = spool_slot_take(c, 1, 1, 0);

	/* A device that is always full. */
	strcpy(c->path, "/dev/full");
	spool_put_ref(s, 0x1000, ACC_READ, 0);
	spool_flush(c, s);
	assert_int_equal(atomic_load(&c->error), ENOSPC);
	assert_int_equal(atomic_load(&c->stop), 1);
	assert_int_equal(spool_finish(c), -ENOSPC);
	unlink(ctl);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_roundtrip), cmocka_unit_test(test_limit_is_exact), cmocka_unit_test(test_cut),
		cmocka_unit_test(test_changed), cmocka_unit_test(test_salvage), cmocka_unit_test(test_hole),
		cmocka_unit_test(test_no_space),
	};

	return cmocka_run_group_tests(tests, NULL, remove_scratch);
}
