/* SPDX-License-Identifier: MIT */
/*
 * Every allocation fails once, at each place where one is made: the operation
 * says so, nothing was lost, audits hold, no frame leaks, and with memory back
 * the same operation succeeds.
 */
#include "rig.h"
#include "vm/gfn.h"

enum { TRIES = 48, FIRST_GFN = 1024, SITES = 3, SITE_TRIES = 16 };
static const enum faultinj_site sites[SITES] = { FAULT_FRAME_ALLOC, FAULT_META_ALLOC, FAULT_TABLE_ALLOC };

/* Page n of a guest whose pages all stand in 2 MiB of their own, on either side. */
static uint64_t va_of(unsigned n) { return (n + UINT64_C(1)) << 30; }
static uint64_t gfn_of_page(unsigned n) { return FIRST_GFN + (uint64_t)n * GFN_BLOCK; }

static void set_faults(struct rig_vm *g, struct faultinj *inj)
{
	ptm_machine_set_faults(&g->mmu->ptm, inj);
	ptm_machine_set_faults(&g->rig->hv.ptm, inj);
}

static void open_with_pages(struct rig *r, struct rig_space *s, const char *scheme)
{
	struct rig_config c = {
		.scheme = scheme, .preset = "generic", .ram = 256 << 20,
		.guest_pages = FIRST_GFN + (uint64_t)SITES * SITE_TRIES * GFN_BLOCK,
	};

	rig_open(r, &c);
	rig_space_init(s, &r->g[0]);
	for (unsigned n = 0; n < SITES * SITE_TRIES; n++)
		rig_map(s, va_of(n), gfn_of_page(n), 0, RIG_RIGHTS);
	rig_enter(s);
	set_faults(&r->g[0], &r->inj);
}

static void disarm(struct rig *r)
{
	faultinj_init(&r->inj);
}

/* Accesses of each kind of door: ACCESS_NOMEM, or done in spite of it. */
static unsigned accesses_at_site(struct rig *r, struct rig_space *s, unsigned site, bool sticky)
{
	struct rig_vm *g = s->g;
	unsigned failed = 0;

	for (unsigned nth = 0; nth < SITE_TRIES; nth++) {
		unsigned page = site * SITE_TRIES + nth;
		uint64_t value = 0;

		faultinj_arm(&r->inj, sites[site], nth, sticky);
		enum access_status st = vcpu_store(&g->v, SEG_PAGED, va_of(page) + 64, 8, page + 1);
		bool hit = r->inj.site[sites[site]].failed;

		disarm(r);
		if (st && (st != ACCESS_NOMEM || !hit))
			fail_msg("%s, site %u, failure %u: %d, %s", mmu_scheme(g->mmu)->name, site, nth, st,
				 g->vm->crashed ? g->vm->crashed : "");
		failed += st != ACCESS_OK;
		assert_null(g->vm->crashed);
		rig_audit(r);
		if (st)
			assert_int_equal(vcpu_store(&g->v, SEG_PAGED, va_of(page) + 64, 8, page + 1), ACCESS_OK);
		assert_int_equal(vcpu_load(&g->v, SEG_PAGED, va_of(page) + 64, 8, &value), ACCESS_OK);
		assert_int_equal(value, page + 1);
		assert_int_equal(rig_peek(g, (gfn_of_page(page) << PAGE_SHIFT) + 64, 8), page + 1);
		rig_audit(r);
		if (!hit)
			return failed;
	}
	return failed;
}

static void test_accesses_when_allocations_fail(void **state)
{
	for (unsigned i = 0; rig_scheme_at(i); i++)
		for (unsigned sticky = 0; sticky < 2; sticky++) {
			struct rig r;
			struct rig_space s;
			unsigned failed = 0;

			open_with_pages(&r, &s, rig_scheme_at(i));
			for (unsigned site = 0; site < SITES; site++)
				failed += accesses_at_site(&r, &s, site, sticky);
			/* Where memory is found as it is touched, some access must have met the lack of it. */
			assert_int_equal(failed > 0, strcmp(rig_scheme_at(i), "native") != 0);
			set_faults(&r.g[0], NULL);
			rig_close(&r);
		}
}

/* A guest's store to its tables, and what a shadow must do at it. */
static void test_table_stores_when_allocations_fail(void **state)
{
	for (unsigned i = 0; rig_scheme_at(i); i++) {
		struct rig r;
		struct rig_space s;

		open_with_pages(&r, &s, rig_scheme_at(i));
		struct rig_vm *g = &r.g[0];

		for (unsigned site = 0; site < SITES; site++)
			for (unsigned nth = 0; nth < SITE_TRIES; nth++) {
				uint64_t to = gfn_of_page(nth % 4) + 1, addr = rig_pte_addr(&s, va_of(0), 0);

				rig_mfn(g, va_of(0), ACC_READ);
				faultinj_arm(&r.inj, sites[site], nth, false);
				uint64_t pte = gpt_make_leaf(g->guest_fmt, 0, to, RIG_RIGHTS);
				enum access_status st = vcpu_store(&g->v, SEG_BARE, addr, 8, pte);

				if (st) {
					assert_int_equal(st, ACCESS_NOMEM);
					disarm(&r);
					rig_poke(g, addr, 8, pte);
				}
				st = vcpu_touch(&g->v, SEG_PAGED, va_of(0), ACC_WRITE, NULL);
				if (st)
					assert_int_equal(st, ACCESS_NOMEM);
				disarm(&r);
				rig_leads_to(g, va_of(0), ACC_WRITE, to);
				rig_audit(&r);
			}
		set_faults(g, NULL);
		rig_close(&r);
	}
}

/* One change of the funnel: done or not at all. */
static int funnel_op(struct rig_vm *g, unsigned which, unsigned round)
{
	struct gfn_change c = { 0 };
	uint64_t gfn = gfn_of_page(round), value;

	switch (which) {
	case 0:
		c.op = GFN_OP_BACK;
		return gfn_update(g->vm, GFN(gfn), 1, &c);
	case 1:
		c.op = GFN_OP_BACK;
		c.order = ORDER_2M;
		return gfn_update(g->vm, GFN(gfn), GFN_BLOCK, &c);
	case 2:
		return vm_write(g->vm, GPA((gfn << PAGE_SHIFT) + PAGE_SIZE - 4), "12345678", 8);
	case 3:
		return vm_read(g->vm, GPA(gfn << PAGE_SHIFT), &value, 8);
	case 4:
		c.op = GFN_OP_MOVE;
		return gfn_update(g->vm, GFN(gfn), 1, &c);
	case 5:
		c.op = GFN_OP_COLLAPSE;
		return gfn_update(g->vm, GFN(gfn), GFN_BLOCK, &c);
	case 6:
		c.op = GFN_OP_SHARE;
		c.mfn = rig_truth(g, gfn + 1);
		return gfn_update(g->vm, GFN(gfn), 1, &c);
	case 7:
		c.op = GFN_OP_UNCOW;
		return gfn_update(g->vm, GFN(gfn), 1, &c);
	default:
		return vm_cas(g->vm, GPA(gfn << PAGE_SHIFT), 8, 0, 1) == -ENOMEM ? -ENOMEM : 0;
	}
}

enum { FUNNEL_OPS = 9 };

/* What the operation needs to be there. */
static void funnel_prepare(struct rig_vm *g, unsigned which, unsigned round)
{
	uint64_t gfn = gfn_of_page(round);

	if (which >= 4 && which <= 7) {
		rig_poke(g, gfn << PAGE_SHIFT, 8, 0);
		rig_poke(g, (gfn + 1) << PAGE_SHIFT, 8, 0);
	}
	if (which == 7)
		assert_int_equal(gfn_update(g->vm, GFN(gfn), 1, &(struct gfn_change){
			.op = GFN_OP_SHARE, .mfn = rig_truth(g, gfn + 1) }), 0);
}

static void test_funnel_when_allocations_fail(void **state)
{
	static const char *const schemes[] = { "nested/radix", "nested/inverted", "nested/hashed", "nested/cuckoo", "nested/segment", "shadow",
						"shadow/hashed", "shadow/cuckoo" };

	for (unsigned i = 0; i < ARRAY_SIZE(schemes); i++)
		for (unsigned which = 0; which < FUNNEL_OPS; which++)
			for (unsigned site = 0; site < 2; site++) {
				struct rig r;
				struct rig_space s;
				bool hit = true;

				open_with_pages(&r, &s, schemes[i]);
				struct rig_vm *g = &r.g[0];

				for (unsigned nth = 0; hit; nth++) {
					assert_true(nth < TRIES);
					funnel_prepare(g, which, nth);
					uint64_t resident = g->vm->resident;

					faultinj_arm(&r.inj, sites[site], nth, false);
					int err = funnel_op(g, which, nth);

					hit = r.inj.site[sites[site]].failed;
					disarm(&r);
					if (err && (err != -ENOMEM || !hit))
						fail_msg("operation %u, site %u, failure %u: %d", which, site, nth, err);
					rig_audit(&r);
					/* A write across two pages may have backed the first. */
					if (err && which != 2)
						assert_int_equal(g->vm->resident, resident);
					if (err)
						assert_int_equal(funnel_op(g, which, nth), 0);
					rig_audit(&r);
				}
				set_faults(g, NULL);
				rig_close(&r);
			}
}

/* A VM, its memory, its mmu, an address space, another scheme: made whole or not at all. */
static void test_creation_when_allocations_fail(void **state)
{
	for (unsigned i = 0; rig_scheme_at(i); i++)
		for (unsigned site = 0; site < 2; site++) {
			struct rig_config c = { .scheme = rig_scheme_at(i), .preset = "generic", .guest_pages = 512 };
			struct rig r;
			struct rig_vm *g;
			const char *why;
			int err = -ENOMEM;

			rig_open_machine(&r, &c);
			for (unsigned nth = 0; err; nth++) {
				assert_true(nth < TRIES);
				faultinj_arm(&r.inj, sites[site], nth, false);
				err = rig_vm_try(&r, &c, &g, &why);
				bool hit = r.inj.site[sites[site]].failed;

				disarm(&r);
				if (err && (err != -ENOMEM || !hit))
					fail_msg("%s, site %u, failure %u: %d %s", c.scheme, site, nth, err, why);
				rig_audit(&r);
				if (err)
					assert_int_equal(r.m.nfree + r.hv.ptm.nreserve, r.nfree);
			}
			rig_poke(g, 0x5000, 8, 1);
			rig_close(&r);
		}
}

/* The new scheme's tables find no memory: the VM stays under the old one and goes on. */
static void test_change_of_scheme_when_allocations_fail(void **state)
{
	static const char *const to[] = { "shadow", "shadow/inverted", "nested/inverted", "nested/flat", "shadow/hashed", "nested/cuckoo",
					   "nested/segment", "nested/radix" };

	for (unsigned i = 0; i < ARRAY_SIZE(to); i++)
		for (unsigned site = 0; site < 2; site++) {
			struct scheme s;
			struct rig r;
			struct rig_space sp;
			const char *why, *from = i == 4 ? "nested/flat" : "nested/radix";
			int err = -ENOMEM;

			open_with_pages(&r, &sp, from);
			struct rig_vm *g = &r.g[0];

			assert_int_equal(scheme_parse(to[i], &s, &why), 0);
			assert_int_equal(vcpu_store(&g->v, SEG_PAGED, va_of(0), 8, 99), ACCESS_OK);
			for (unsigned nth = 0; err; nth++) {
				uint64_t value = 0;

				assert_true(nth < TRIES);
				faultinj_arm(&r.inj, sites[site], nth, false);
				err = mmu_change_scheme(g->mmu, &s, &why);
				disarm(&r);
				if (err)
					assert_int_equal(err, -ENOMEM);
				assert_string_equal(mmu_scheme(g->mmu)->name, err ? from : to[i]);
				rig_audit(&r);
				assert_int_equal(vcpu_load(&g->v, SEG_PAGED, va_of(0), 8, &value), ACCESS_OK);
				assert_int_equal(value, 99);
				rig_leads_to(g, va_of(0), ACC_WRITE, gfn_of_page(0));
			}
			set_faults(g, NULL);
			rig_close(&r);
		}
}

/* New address spaces: the register is loaded, or -ENOMEM and the old space goes on. */
static void test_root_loads_when_allocations_fail(void **state)
{
	for (unsigned i = 0; rig_scheme_at(i); i++) {
		struct rig r;
		struct rig_space s;

		open_with_pages(&r, &s, rig_scheme_at(i));
		struct rig_vm *g = &r.g[0];

		for (unsigned site = 0; site < SITES; site++)
			for (unsigned nth = 0; nth < 4; nth++) {
				struct guest_paging p = s.p;

				p.asid = 1000 + site * 10 + nth;
				faultinj_arm(&r.inj, sites[site], nth, true);
				int err = vcpu_set_paging(&g->v, &p, ROOT_KEEP);

				disarm(&r);
				if (err) {
					assert_int_equal(err, -ENOMEM);
					assert_true(g->v.paging.asid != p.asid);
					rig_leads_to(g, va_of(nth), ACC_READ, gfn_of_page(nth));
					assert_int_equal(vcpu_set_paging(&g->v, &p, ROOT_KEEP), 0);
				}
				rig_leads_to(g, va_of(nth), ACC_WRITE, gfn_of_page(nth));
				rig_audit(&r);
			}
		set_faults(g, NULL);
		rig_close(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accesses_when_allocations_fail),
		cmocka_unit_test(test_table_stores_when_allocations_fail),
		cmocka_unit_test(test_funnel_when_allocations_fail),
		cmocka_unit_test(test_creation_when_allocations_fail),
		cmocka_unit_test(test_change_of_scheme_when_allocations_fail),
		cmocka_unit_test(test_root_loads_when_allocations_fail),
	};

	return cmocka_run_group_tests_name("vm, failing allocations", tests, NULL, NULL);
}
