/* SPDX-License-Identifier: MIT */
/*
 * The guest cannot tell: one work, one digest, under every scheme, with
 * random zaps and changes of scheme. The programs cannot tell: one work
 * digest, whatever the tables, page sizes and memory of their kernel.
 */
#include "harness.h"

#include <stdio.h>

enum { ROUNDS = 4 };

static void make_work(struct script *s, uint64_t seed)
{
	script_init(s);
	script_random(s, &(struct random_work){ .seed = seed, .refs = 2500, .base = 0x200000, .pages = 600,
						.processes = 4, .events = true, .segv = true });
}

static struct rig_config config_of(uint64_t seed, bool data)
{
	return (struct rig_config){
		.scheme = "native", .guest_fmt = seed % 2 ? "sv39" : "x86-64", .truth_only = seed > ROUNDS / 2,
		.guest = { .asids = seed % 3 != 0, .data = data, .thp = seed % 4 == 1, .mem_pages = 3000,
			   .ad = seed % 4 == 3 ? WALK_AD_FAULT : WALK_AD_SET },
	};
}

static void the_guest_cannot_tell_the_scheme(void **state)
{
	for (uint64_t seed = 1; seed <= ROUNDS; seed++)
		for (int data = 0; data < 2; data++) {
			struct rig_config c = config_of(seed, data);
			struct outcome first, o;
			struct script s;
			unsigned i = 0;

			make_work(&s, seed);
			/* Short of memory too: what goes to the disk must not depend on the scheme. */
			c.guest.mem_pages = seed == 2 ? 300 : 3000;
			c.guest.replace = data ? REPLACE_CLOCK : REPLACE_LRU;
			first = run_script(&c, &s, NULL);
			assert_int_equal(first.end, GUEST_DONE);
			for_each_scheme(name, i) {
				c.scheme = name;
				o = run_script(&c, &s, NULL);
				if (!o.possible)
					continue;
				assert_int_equal(o.end, GUEST_DONE);
				if (o.digest != first.digest || o.work_digest != first.work_digest)
					fail_msg("%s: seed %d, data %d: digests differ", name, (int)seed, data);
				assert_memory_equal(&o.stats, &first.stats, sizeof(o.stats));
			}
			script_fini(&s);
		}
	(void)state;
}

/* ---- zaps and changes of scheme at random moments ---- */

struct chaos {
	struct rig r;
	struct rng rng;
	uint64_t zaps, changes;
};

static unsigned schemes(void)
{
	unsigned n = 0;

	while (scheme_name_at(n))
		n++;
	return n;
}

static void disturb(void *ctx, uint64_t refs)
{
	struct chaos *k = ctx;
	uint64_t pages = vm_pages(k->r.vm), gfn = rng_below(&k->rng, pages);
	struct scheme scheme;
	const char *why, *name;

	(void)refs;
	switch (rng_below(&k->rng, 4)) {
	case 0:
		mmu_zap_all(k->r.mmu);
		k->zaps++;
		break;
	case 1:
		name = scheme_name_at((unsigned)rng_below(&k->rng, schemes()));
		if (!name || scheme_parse(name, &scheme, &why))
			break;
		k->changes += mmu_change_scheme(k->r.mmu, &scheme, &why) == 0;
		break;
	default:
		mmu_zap_gfns(k->r.mmu, GFN(gfn), 1 + rng_below(&k->rng, MIN(pages - gfn, 64)));
		k->zaps++;
	}
}

static void nor_that_tables_are_dropped_or_changed(void **state)
{
	static struct chaos k;

	for (uint64_t seed = 1; seed <= ROUNDS; seed++)
		for (int data = 0; data < 2; data++) {
			struct guest_hooks h = { .step = disturb, .step_refs = 41, .ctx = &k };
			struct rig_config c = config_of(seed, data);
			struct trace_error err;
			struct outcome first;
			struct script s;
			struct trace *t;

			make_work(&s, seed + 100);
			first = run_script(&c, &s, NULL);
			assert_int_equal(first.end, GUEST_DONE);
			rng_init(&k.rng, seed);
			k.zaps = k.changes = 0;
			c.scheme = "nested/radix";
			assert_true(rig_open(&k.r, &c));
			t = script_trace(&s);
			guest_add_work(k.r.guest, t);
			assert_int_equal(guest_run(k.r.guest, &h, &err), GUEST_DONE);
			assert_true(k.zaps > 10 && k.changes > 3);
			if (guest_digest(k.r.guest) != first.digest)
				fail_msg("seed %d, data %d: digests differ", (int)seed, data);
			assert_int_equal(guest_work_digest(k.r.guest), first.work_digest);
			rig_audit(&k.r);
			rig_close(&k.r);
			trace_close(t);
			script_fini(&s);
		}
	(void)state;
}

/* ---- the work: formats, organisations, page sizes, memory, tags ---- */

static void programs_cannot_tell_their_kernel(void **state)
{
	static const struct { const char *fmt, *org; bool thp, asids; uint64_t pages; enum walk_ad ad; } kernel[] = {
		{ "x86-64", "radix", false, true, 4096, WALK_AD_SET },
		{ "x86-64", "radix", true, true, 4096, WALK_AD_SET },
		{ "x86-64", "radix", true, false, 700, WALK_AD_SET },
		{ "x86-64", "radix", false, true, 150, WALK_AD_SET },
		{ "x86-64-5l", "radix", false, false, 4096, WALK_AD_SET },
		{ "x86-pae", "radix", true, true, 4096, WALK_AD_SET },
		{ "x86-32", "radix", false, true, 4096, WALK_AD_SET },
		{ "x86-32", "radix", true, true, 9000, WALK_AD_SET },
		{ "sv39", "radix", true, true, 4096, WALK_AD_FAULT },
		{ "sv48", "radix", false, true, 4096, WALK_AD_SET },
		{ "sv57", "radix", false, true, 200, WALK_AD_FAULT },
		{ "x86-64", "inverted", false, true, 4096, WALK_AD_SET },
		{ "x86-64", "inverted+linear", true, false, 4096, WALK_AD_SET },
		{ "sv39", "inverted", true, true, 300, WALK_AD_SET },
		{ "x86-64", "hashed", true, true, 4096, WALK_AD_SET },
		{ "x86-64", "cuckoo", false, true, 4096, WALK_AD_SET },
		{ "x86-64", "segment", true, true, 4096, WALK_AD_SET },
		{ "x86-32", "flat", false, true, 30000, WALK_AD_SET },
	};

	for (uint64_t seed = 1; seed <= ROUNDS; seed++)
		for (int data = 0; data < 2; data++) {
			struct outcome first = { 0 };
			struct script s;

			make_work(&s, seed + 200);
			for (unsigned i = 0; i < ARRAY_SIZE(kernel); i++) {
				struct rig_config c = {
					.scheme = i % 2 ? "nested/radix" : "native", .host_fmt = "x86-64",
					.guest_fmt = kernel[i].fmt, .guest_org = kernel[i].org,
					.guest = { .thp = kernel[i].thp, .asids = kernel[i].asids, .data = data,
						   .mem_pages = kernel[i].pages, .ad = kernel[i].ad,
						   .replace = (enum guest_replace)((seed + i) % 4) },
				};
				struct outcome o = run_script(&c, &s, NULL);

				if (!o.possible)
					continue;
				if (o.end)
					fail_msg("%s %s: seed %d, data %d: ended with %d", kernel[i].fmt, kernel[i].org,
						 (int)seed, data, (int)o.end);
				assert_int_equal(o.refs, 2500);
				if (i == 0)
					first = o;
				if (o.work_digest != first.work_digest)
					fail_msg("%s %s: seed %d, data %d, %d pages: work digests differ", kernel[i].fmt,
						 kernel[i].org, (int)seed, data, (int)kernel[i].pages);
			}
			script_fini(&s);
		}
	(void)state;
}

static void other_work_has_other_digests(void **state)
{
	struct rig_config c = config_of(1, false);
	struct outcome a, b;
	struct script s;

	make_work(&s, 300);
	a = run_script(&c, &s, NULL);
	script_fini(&s);
	make_work(&s, 301);
	b = run_script(&c, &s, NULL);
	assert_int_not_equal(a.digest, b.digest);
	assert_int_not_equal(a.work_digest, b.work_digest);
	/* The last reference alone. */
	c.guest.limit = 2499;
	a = run_script(&c, &s, NULL);
	assert_int_not_equal(a.work_digest, b.work_digest);
	script_fini(&s);
	(void)state;
}

static void any_tlb_any_backing(void **state)
{
	static const char *const tlbs[] = { "none", "rocket", "zen4", "skylake" };
	struct rig_config c = config_of(1, false);
	struct outcome first, o;
	struct script s;

	make_work(&s, 400);
	first = run_script(&c, &s, NULL);
	assert_int_equal(first.end, GUEST_DONE);
	for (unsigned i = 0; i < 2 * ARRAY_SIZE(tlbs); i++) {
		c.tlb = tlbs[i / 2];
		c.scheme = i % 2 ? "nested/radix" : "shadow";
		c.host_thp = i / 2 % 2;
		c.p2m_eager = i == 3;
		o = run_script(&c, &s, NULL);
		if (!o.possible)
			continue;
		assert_int_equal(o.end, GUEST_DONE);
		if (o.digest != first.digest)
			fail_msg("%s, %s: digests differ", c.tlb, c.scheme);
	}
	script_fini(&s);
	(void)state;
}

/*
 * Architectural visibility keeps what is stale until a fence: a kernel that
 * owes none sees nothing of it. This is what tests the kernel's fences.
 */
static void a_kernel_that_fences_needs_no_coherence(void **state)
{
	static const char *const schemes[] = { "native", "nested/radix", "nested/inverted" };

	for (uint64_t seed = 1; seed <= 2 * ROUNDS; seed++) {
		struct rig_config c = config_of(seed, true);
		struct outcome first, o;
		struct script s;

		make_work(&s, seed + 500);
		c.guest.replace = seed % 2 ? REPLACE_CLOCK : REPLACE_FIFO;
		c.guest.mem_pages = seed % 4 < 2 ? 250 : 3000;
		first = run_script(&c, &s, NULL);
		assert_int_equal(first.end, GUEST_DONE);
		c.visibility = VISIBLE_ARCHITECTURAL;
		c.asids_max = seed % 2 ? 0 : 2;
		for (unsigned i = 0; i < ARRAY_SIZE(schemes); i++) {
			c.scheme = schemes[i];
			o = run_script(&c, &s, NULL);
			if (!o.possible)
				continue;
			assert_int_equal(o.end, GUEST_DONE);
			if (o.digest != first.digest || o.work_digest != first.work_digest)
				fail_msg("%s, seed %d: a fence is missing", schemes[i], (int)seed);
		}
		script_fini(&s);
	}
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_guest_cannot_tell_the_scheme),
		cmocka_unit_test(nor_that_tables_are_dropped_or_changed),
		cmocka_unit_test(programs_cannot_tell_their_kernel),
		cmocka_unit_test(other_work_has_other_digests),
		cmocka_unit_test(any_tlb_any_backing),
		cmocka_unit_test(a_kernel_that_fences_needs_no_coherence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
