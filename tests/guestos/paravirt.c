/* SPDX-License-Identifier: MIT */
/*
 * A paravirtualised guest cannot tell either: its memory moves, is shared and
 * logged, entries are zapped, the VM goes into paravirtualisation and out of it.
 */
#include "harness.h"

#include "vm/gfn.h"

struct upset {
	struct rig r;
	struct rng rng;
	uint64_t moved, shared, changed, zapped;
	bool changes;
};

static gfn_t any_gfn(struct upset *u)
{
	return GFN(rng_below(&u->rng, vm_pages(u->r.vm)));
}

/* One with memory behind it, if it is soon found. */
static gfn_t any_backed(struct upset *u)
{
	gfn_t gfn = any_gfn(u);

	for (unsigned n = 0; n < 32 && gfn_kind(gfn_get(u->r.vm, gfn)) != GFN_BACKED; n++)
		gfn = any_gfn(u);
	return gfn;
}

static void share(struct upset *u)
{
	gfn_t a = any_backed(u), b = any_backed(u);
	struct gfn_mapping map;

	if (a.v != b.v && !gfn_peek(u->r.vm, a, &map) && !gfn_peek(u->r.vm, b, &map))
		u->shared += !gfn_update(u->r.vm, a, 1, &(struct gfn_change){ .op = GFN_OP_SHARE, .mfn = map.mfn });
}

static void change(struct upset *u)
{
	static const char *const to[] = { "paravirt", "nested/radix", "paravirt", "shadow", "inverted-shadow" };
	struct scheme s;
	const char *why;

	if (!u->changes)
		return;
	assert_int_equal(scheme_parse(to[rng_below(&u->rng, 5)], &s, &why), 0);
	u->changed += !mmu_change_scheme(u->r.mmu, &s, &why);
}

static void upset(void *ctx, uint64_t refs)
{
	struct upset *u = ctx;
	struct gfn_state st;

	(void)refs;
	for (unsigned n = 0; n < 8; n++) {
		gfn_t gfn = any_gfn(u);

		st = gfn_get(u->r.vm, gfn);
		switch (rng_below(&u->rng, 6)) {
		case 0:
			share(u);
			break;
		case 1:
			mmu_zap_gfns(u->r.mmu, gfn, 1);
			u->zapped++;
			break;
		case 2:
			if (rng_below(&u->rng, 20) == 0)
				(rng_below(&u->rng, 2) ? vm_dirty_start : vm_dirty_stop)(u->r.vm);
			break;
		default:
			if (gfn_kind(st) == GFN_BACKED)
				u->moved += !gfn_update(u->r.vm, gfn, 1, &(struct gfn_change){ .op = GFN_OP_MOVE });
		}
	}
	change(u);
	if (rng_below(&u->rng, 8) == 0)
		rig_audit(&u->r);
}

static void run(uint64_t seed, const char *fmt, bool data, bool changes)
{
	static struct upset u;
	struct guest_hooks h = { .step = upset, .step_refs = 53, .ctx = &u };
	struct rig_config c = {
		.scheme = "native", .guest_fmt = fmt,
		.guest = { .asids = seed % 2, .data = data, .mem_pages = seed % 3 ? 3000 : 300,
			   .ad = seed % 5 == 4 ? WALK_AD_FAULT : WALK_AD_SET },
	};
	struct trace_error err;
	struct outcome first;
	struct script s;
	struct trace *t;

	script_init(&s);
	script_random(&s, &(struct random_work){ .seed = seed, .refs = 2500, .base = 0x200000, .pages = 600,
						.processes = 4, .events = true, .segv = true });
	first = run_script(&c, &s, NULL);
	assert_int_equal(first.end, GUEST_DONE);
	memset(&u, 0, sizeof(u));
	rng_init(&u.rng, seed);
	u.changes = changes;
	c.scheme = "paravirt";
	assert_true(rig_open(&u.r, &c));
	t = script_trace(&s);
	guest_add_work(u.r.guest, t);
	assert_int_equal(guest_run(u.r.guest, &h, &err), GUEST_DONE);
	if (guest_digest(u.r.guest) != first.digest)
		fail_msg("%s, seed %d, data %d, changes %d: digests differ", fmt, (int)seed, data, changes);
	assert_int_equal(guest_work_digest(u.r.guest), first.work_digest);
	assert_memory_equal(guest_stats(u.r.guest), &first.stats, sizeof(first.stats));
	assert_true(u.moved > 10 && u.zapped > 10);
	assert_true(!changes || u.changed > 10);
	assert_true(data || u.shared > 0);
	rig_audit(&u.r);
	rig_close(&u.r);
	trace_close(t);
	script_fini(&s);
}

static void memory_comes_and_goes(void **state)
{
	static const char *const formats[] = { "x86-64", "sv39", "x86-32", "x86-pae", "x86-64-5l" };

	for (uint64_t seed = 1; seed <= 10; seed++)
		run(seed, formats[seed % 5], seed % 4 == 1, seed > 5);
	(void)state;
}

/* One call for many entries, and none while nothing depends on them. */
static void updates_come_in_batches(void **state)
{
	struct rig_config c = { .scheme = "paravirt", .guest = { .asids = true } };
	struct outcome o;
	struct script s;

	script_init(&s);
	script_mmap(&s, 1, 0x10000000, 512 << 12, PROT_BIT_R | PROT_BIT_W, 0);
	for (unsigned i = 0; i < 512; i++)
		script_write(&s, 0x10000000 + (i << 12));
	script_munmap(&s, 1, 0x10000000, 512 << 12);
	o = run_script(&c, &s, NULL);
	assert_int_equal(o.end, GUEST_DONE);
	/* Each fault's entry is wanted at once; those of munmap go together. */
	assert_true(o.vm.pv_updates >= 1024);
	assert_in_range(o.vm.exit_by[EXIT_HYPERCALL], 512, 512 + 512 / 64 + 32);
	script_fini(&s);
	(void)state;
}

static void only_who_can(void **state)
{
	struct rig r;

	assert_false(rig_open(&r, &(struct rig_config){ .scheme = "paravirt", .guest_org = "inverted" }));
	assert_non_null(r.why);
	assert_false(rig_open(&r, &(struct rig_config){ .scheme = "paravirt", .guest = { .thp = true } }));
	assert_non_null(r.why);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_comes_and_goes),
		cmocka_unit_test(updates_come_in_batches),
		cmocka_unit_test(only_who_can),
	};

	return cmocka_run_group_tests_name("guestos paravirt", tests, NULL, NULL);
}
