/* SPDX-License-Identifier: MIT */
/*
 * Regions of interest. Counts of regions that follow each other add up to the
 * counts of the whole, word by word, whatever the scheme and the work; and
 * what is skipped is as if it had never stood there.
 */
#include "harness.h"

#include "guestos/guest_internal.h"

static struct outcome run_region(const struct rig_config *c, const struct script *const s[], unsigned n,
				 const struct guest_roi *roi)
{
	struct outcome o = { .possible = true };
	struct trace *t[2];
	static struct rig r;

	assert_true(rig_open(&r, c));
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(guest_add_work_roi(r.guest, t[i] = script_trace(s[i]), roi), 0);
	o.end = guest_run(r.guest, NULL, &o.err);
	assert_int_equal(o.end, GUEST_DONE);
	o.refs = guest_refs(r.guest);
	o.digest = guest_digest(r.guest);
	guest_counted(r.guest, &o.vm, &o.stats);
	o.work_digest = guest_work_digest(r.guest);
	rig_audit(&r);
	rig_close(&r);
	for (unsigned i = 0; i < n; i++)
		trace_close(t[i]);
	return o;
}

static void add_words(void *to, const void *from, size_t bytes)
{
	for (size_t i = 0; i < bytes / sizeof(uint64_t); i++)
		((uint64_t *)to)[i] += ((const uint64_t *)from)[i];
}

/* Those that say how things stand, not what happened; and fetches, which are counted where a region is. */
static void forget_gauges(struct outcome *o)
{
	o->vm.pages_4k = o->vm.pages_2m = o->vm.pages_1g = o->vm.instructions = 0;
	o->stats.frames_used = o->stats.frames_peak = o->stats.table_frames = o->stats.processes = 0;
}

static void assert_same_words(const void *a, const void *b, size_t bytes, const char *what, const char *scheme)
{
	for (size_t i = 0; i < bytes / sizeof(uint64_t); i++)
		if (((const uint64_t *)a)[i] != ((const uint64_t *)b)[i])
			fail_msg("%s: word %zu of %s: parts %llu, whole %llu", scheme, i, what,
				 (unsigned long long)((const uint64_t *)a)[i], (unsigned long long)((const uint64_t *)b)[i]);
}

static void check_parts(const struct rig_config *c, const struct script *const s[], unsigned n)
{
	static const uint64_t cut[] = { 0, 1, 333, 700, 1500, 0 };
	struct outcome whole = run_scripts(c, s, n, NULL), sum = { .possible = true };

	if (!whole.possible)
		return;
	assert_int_equal(whole.end, GUEST_DONE);
	for (unsigned i = 0; i + 1 < sizeof(cut) / sizeof(*cut); i++) {
		struct guest_roi roi = { cut[i], cut[i + 1], false };
		struct outcome part = run_region(c, s, n, &roi);

		/* Digests cover all that is run. */
		assert_int_equal(part.digest, whole.digest);
		assert_int_equal(part.work_digest, whole.work_digest);
		if (roi.to)
			assert_int_equal(part.vm.refs, n * (roi.to - roi.from));
		add_words(&sum.vm, &part.vm, sizeof(sum.vm));
		add_words(&sum.stats, &part.stats, sizeof(sum.stats));
	}
	forget_gauges(&sum);
	forget_gauges(&whole);
	assert_same_words(&sum.vm, &whole.vm, sizeof(sum.vm), "struct vm_stats", c->scheme);
	assert_same_words(&sum.stats, &whole.stats, sizeof(sum.stats), "struct guest_stats", c->scheme);
}

static void regions_add_up_to_the_whole(void **state)
{
	struct rig_config c = rig_plain();
	struct script s[2];
	const struct script *both[] = { &s[0], &s[1] };
	unsigned i = 0;

	c.interval = 20;
	c.guest.quantum = 70;
	for (unsigned k = 0; k < 2; k++) {
		script_init(&s[k]);
		script_random(&s[k], &(struct random_work){ .seed = 7 + k, .refs = 2000, .base = 0x200000, .pages = 100,
							    .processes = 4, .events = true, .segv = true });
	}
	for_each_scheme(name, i) {
		c.scheme = name;
		check_parts(&c, both, 1);
		check_parts(&c, both, 2);
	}
	assert_true(i > 5);
	script_fini(&s[0]);
	script_fini(&s[1]);
	(void)state;
}

static void warm_up_and_region_both_must_be_over(void **state)
{
	struct rig_config c = rig_plain();
	struct guest_roi roi = { 100, 300, false };
	struct outcome o;
	struct script s;
	const struct script *one[] = { &s };

	script_init(&s);
	for (unsigned i = 0; i < 400; i++)
		script_read(&s, (uint64_t)i << PAGE_SHIFT);
	c.guest.warmup = 150;
	o = run_region(&c, one, 1, &roi);
	assert_int_equal(o.vm.refs, 150);
	assert_int_equal(o.stats.minor, 150);
	c.guest.warmup = 350;
	o = run_region(&c, one, 1, &roi);
	assert_int_equal(o.vm.refs, 0);
	assert_int_equal(o.stats.minor, 0);
	assert_int_equal(o.stats.processes, 0);
	/* Of those that are run, not of those passed over. */
	c.guest.warmup = 20;
	roi.skip = true;
	o = run_region(&c, one, 1, &roi);
	assert_int_equal(o.refs, 200);
	assert_int_equal(o.vm.refs, 180);
	assert_int_equal(o.stats.frames_used, 1 + 4 + 200);
	script_fini(&s);
	(void)state;
}

/* Two processes and their memory calls; references [from, to) only, or all. */
static void make_events(struct script *s, unsigned from, unsigned to, bool syscalls)
{
	script_init(s);
	for (unsigned i = 0; i < 300; i++) {
		bool is_in = i >= from && i < to;

		/* What stands behind the region never comes. */
		if (i == 50)
			script_switch(s, 1);
		if (i == 60)
			script_mmap(s, 1, 0x100000, 0x100000, PROT_BIT_R | PROT_BIT_W, 0);
		if (i == 80)
			script_fork(s, 1, 2);
		if (i == 90)
			script_switch(s, 2);
		if (i == 95 && syscalls)
			script_event(s, &(struct trace_event){ .kind = EV_SYSCALL, .len = 39 });
		if (i == 150)
			script_munmap(s, 2, 0x100000, 0x10000);
		if (i == 250 && to > 250)
			script_exit(s, 2);
		if (is_in)
			script_write(s, 0x100000 + ((uint64_t)i << PAGE_SHIFT) % 0x100000);
	}
}

static void what_is_skipped_never_was(void **state)
{
	struct rig_config c = rig_plain();
	struct guest_roi roi = { 120, 200, true };
	struct script all, part;
	const struct script *one[] = { &all };
	struct outcome o, want;

	make_events(&all, 0, 300, true);
	make_events(&part, 120, 200, false);
	for (unsigned block = 0; block < 3; block++) {
		all.block = (uint32_t[]){ 0, 1, 7 }[block];
		c.guest.data = block == 1;
		want = must_run(&c, &part);
		o = run_region(&c, one, 1, &roi);
		assert_int_equal(want.refs, 80);
		assert_int_equal(o.refs, 80);
		assert_int_equal(o.vm.refs, 80);
		assert_int_equal(o.digest, want.digest);
		assert_int_equal(o.work_digest, want.work_digest);
		assert_int_equal(o.vm.walks, want.vm.walks);
		assert_int_equal(o.stats.minor, want.stats.minor);
		assert_int_equal(o.stats.cow, want.stats.cow);
		/* The fork stood before it, and does not count. */
		assert_int_equal(want.stats.forks, 1);
		assert_int_equal(o.stats.forks, 0);
		assert_int_equal(o.stats.processes, 2);
	}
	script_fini(&all);
	script_fini(&part);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(regions_add_up_to_the_whole),
		cmocka_unit_test(warm_up_and_region_both_must_be_over),
		cmocka_unit_test(what_is_skipped_never_was),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
