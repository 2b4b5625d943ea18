/* SPDX-License-Identifier: MIT */
/*
 * tlb=software against guests that write what they like: whatever goes in
 * leads to the guest's own memory, and what cannot be is the guest's own
 * fault. Handlers are the test's, below those of the model kernel.
 */
#include "harness.h"

#include "mmu/internal.h"
#include "mmu/guest_entry.h"

enum { PAGES = 4096 };
static const uint64_t base = 0x200000;
enum { ALL = RIGHT_RWX | RIGHT_U | RIGHT_A | RIGHT_D };

/* A handler that writes what it was told to, and says what it was told to. */
struct puppet {
	struct guest_entry_points points;
	struct vcpu *v;
	struct guest_tlb_entry e;
	bool silent;              /* writes nothing */
	bool recursive;           /* uses a paged address itself */
	enum access_status wrote; /* what the write gave */
	unsigned calls;
};

static enum access_status puppet_miss(void *ctx, struct guest_fault *miss)
{
	struct puppet *p = ctx;
	uint64_t value;

	p->calls++;
	if (p->recursive)
		return vcpu_load(p->v, SEG_PAGED, base + (64 << PAGE_SHIFT), 8, &value);
	if (p->silent)
		return ACCESS_OK;
	p->wrote = vcpu_tlb_write(p->v, &p->e);
	if (p->wrote == ACCESS_FAULT)
		*miss = p->v->fault;
	return p->wrote;
}

/* A rig whose model kernel has set up a space, and then is pushed aside. */
static void take_over(struct rig *r, struct puppet *p, const char *scheme, const char *fmt)
{
	struct rig_config c = { .scheme = scheme, .guest_fmt = fmt, .tlb_software = true,
				.guest = { .asids = true, .mem_pages = PAGES } };
	struct script s;

	script_init(&s);
	script_write(&s, base);
	open_and_run(r, &c, &s);
	script_fini(&s);
	*p = (struct puppet){ .points = { puppet_miss, NULL, p }, .v = &r->vcpu };
	vcpu_fence(&r->vcpu, FENCE_ALL, 0, GVA(0));
	vcpu_set_entry_points(&r->vcpu, &p->points);
}

static void sum_entry(void *ctx, int level, const struct tlb_entry *e)
{
	*(uint64_t *)ctx += e->mfn + e->vpn + (uint64_t)level;
}

static uint64_t entries_sum(const struct rig *r)
{
	uint64_t n = 0;

	tlb_for_each(&r->cpu->tlb, sum_entry, &n);
	return n;
}

static void what_cannot_be_is_the_guests_fault(void **state)
{
	static const struct { struct guest_tlb_entry e; enum walk_why why; } cases[] = {
		{ { base, (uint64_t)PAGES << PAGE_SHIFT, 0, ALL }, WALK_WHY_BUS },
		{ { base, (uint64_t)(PAGES + 1) << PAGE_SHIFT, 0, ALL }, WALK_WHY_BUS },
		{ { base, UINT64_C(1) << 45, 0, ALL }, WALK_WHY_BUS },
		{ { base, UINT64_C(1) << 51, 0, ALL }, WALK_WHY_BUS },
		{ { base, UINT64_C(1) << 52, 0, ALL }, WALK_WHY_BUS },
		{ { base, ~PAGE_MASK, 0, ALL }, WALK_WHY_BUS },
		{ { base, 0x3001, 0, ALL }, WALK_WHY_RESERVED },           /* not the same place of the page */
		{ { base, 0x3000, ORDER_2M, ALL }, WALK_WHY_RESERVED },    /* nor of the superpage */
		{ { base, 0, 31, ALL }, WALK_WHY_RESERVED },
		{ { base, 0, 255, ALL }, WALK_WHY_RESERVED },
	};
	static const char *const schemes[] = { "native", "nested/radix", "nested/flat", "nested/inverted" };

	for (unsigned s = 0; s < ARRAY_SIZE(schemes); s++)
		for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
			struct puppet p;
			struct rig r;
			hpa_t hpa;

			take_over(&r, &p, schemes[s], "x86-64");
			p.e = cases[i].e;
			uint64_t before = entries_sum(&r), faults = r.vm->stats.true_faults;
			uint64_t resident = r.vm->resident;

			assert_int_equal(vcpu_touch(&r.vcpu, SEG_PAGED, base, ACC_WRITE, &hpa), ACCESS_FAULT);
			assert_int_equal(p.wrote, ACCESS_FAULT);
			assert_int_equal(r.vcpu.fault.why, cases[i].why);
			assert_int_equal(r.vcpu.fault.gva.v, base);
			assert_int_equal(r.vm->stats.true_faults, faults + 1);
			vcpu_return(&r.vcpu);
			assert_int_equal(entries_sum(&r), before);
			assert_int_equal(r.vm->resident, resident);
			assert_null(r.vm->crashed);
			/* The kernel's own first miss was one, this is another: the miss, the refused write, the return. */
			for (unsigned reason = EXIT_TLB_MISS; reason <= EXIT_TLB_RETURN; reason++)
				if (reason != EXIT_TLB_MODIFY)
					assert_int_equal(r.vm->stats.exit_by[reason], s ? 2 : 0);
			rig_audit(&r);
			rig_close(&r);
		}
	(void)state;
}

static void a_useless_handler_stops_its_vm(void **state)
{
	for (unsigned i = 0; i < 4; i++) {
		struct puppet p;
		struct rig r;
		hpa_t hpa;

		take_over(&r, &p, "nested/radix", "sv39");
		p.silent = i == 0;
		p.recursive = i == 1;
		/* No right to store; another page. */
		p.e = (struct guest_tlb_entry){ i == 3 ? base + PAGE_SIZE : base, 0x5000, 0, i == 2 ? ALL & ~RIGHT_W : ALL };
		assert_int_equal(vcpu_touch(&r.vcpu, SEG_PAGED, base, ACC_WRITE, &hpa), ACCESS_CRASH);
		assert_non_null(r.vm->crashed);
		/* Looking at it goes through the first door, which is shut to it now. */
		r.vm->crashed = NULL;
		rig_audit(&r);
		rig_close(&r);
	}
	(void)state;
}

static void so_does_none(void **state)
{
	struct puppet p;
	struct rig r;

	take_over(&r, &p, "nested/radix", "sv39");
	vcpu_set_entry_points(&r.vcpu, NULL);
	assert_int_equal(vcpu_touch(&r.vcpu, SEG_PAGED, base, ACC_READ, NULL), ACCESS_CRASH);
	assert_non_null(r.vm->crashed);
	rig_close(&r);
	(void)state;
}

/* A program's own write to the TLB is refused. */
static void programs_do_not_write_the_tlb(void **state)
{
	struct guest_tlb_entry e = { base, 0x5000, 0, ALL };
	struct puppet p;
	struct rig r;
	size_t done;

	take_over(&r, &p, "nested/radix", "x86-64");
	assert_int_equal(vcpu_run(&r.vcpu, NULL, 0, &done), ACCESS_OK);
	uint64_t before = entries_sum(&r), exits = r.vm->stats.exit_by[EXIT_TLB_WRITE];

	assert_int_equal(vcpu_tlb_write(&r.vcpu, &e), ACCESS_FAULT);
	assert_int_equal(r.vcpu.fault.why, WALK_WHY_PRIVILEGE);
	assert_int_equal(entries_sum(&r), before);
	assert_int_equal(r.vm->stats.exit_by[EXIT_TLB_WRITE], exits);
	vcpu_enter_kernel(&r.vcpu);
	assert_int_equal(vcpu_tlb_write(&r.vcpu, &e), ACCESS_OK);
	assert_true(entries_sum(&r) != before);
	rig_close(&r);
	(void)state;
}

/* Any words at all: what goes in leads where the guest's gpa leads, with no more rights than it said. */
static void anything_written_leads_into_its_own_memory(void **state)
{
	static const char *const formats[] = { "x86-64", "sv39", "x86-32", "sv57" };

	for (unsigned f = 0; f < ARRAY_SIZE(formats); f++) {
		unsigned in = 0, out = 0;
		struct rng rng;
		struct puppet p;
		struct rig r;

		take_over(&r, &p, f % 2 ? "nested/radix" : "nested/inverted", formats[f]);
		rng_init(&rng, 1000 + f);
		for (unsigned n = 0; n < 4000 && !r.vm->crashed; n++) {
			unsigned order = rng_below(&rng, 4) ? 0 : (unsigned)rng_below(&rng, 20);
			uint64_t page = base + (rng_below(&rng, 1 << 12) << PAGE_SHIFT), offset = page & ((PAGE_SIZE << order) - 1);
			enum acc_kind kind = (enum acc_kind)rng_below(&rng, 3);
			hpa_t hpa;

			p.e = (struct guest_tlb_entry){
				.gva = page, .order = (uint8_t)order, .rights = (uint8_t)(rng_next(&rng) | RIGHT_U | BIT(kind) | RIGHT_D),
				.gpa = (rng_below(&rng, 2 * PAGES) << PAGE_SHIFT & ~((PAGE_SIZE << order) - 1)) + offset,
			};
			if (!rng_below(&rng, 8))
				p.e.gpa = rng_next(&rng);
			if (!rng_below(&rng, 8))
				p.e.gva = rng_next(&rng);
			vcpu_fence(&r.vcpu, FENCE_ALL, 0, GVA(0));
			p.wrote = ACCESS_CRASH;
			enum access_status s = vcpu_touch(&r.vcpu, SEG_PAGED, page, kind, &hpa);

			if (s == ACCESS_FAULT) {
				vcpu_return(&r.vcpu);
				out++;
				continue;
			}
			if (s == ACCESS_CRASH) {
				/* It wrote another page than was missed, or one that x86 cannot use so: its own livelock. */
				assert_true(p.e.gva >> PAGE_SHIFT != page >> PAGE_SHIFT || !(p.e.rights & RIGHT_R));
				r.vm->crashed = NULL;
				continue;
			}
			struct gfn_mapping map;

			assert_int_equal(s, ACCESS_OK);
			assert_int_equal(gfn_peek(r.vm, GFN(p.e.gpa >> PAGE_SHIFT), &map), 0);
			assert_int_equal(hpa.v >> PAGE_SHIFT, map.mfn.v);
			in++;
			if (!rng_below(&rng, 16))
				mmu_zap_gfns(r.mmu, GFN(rng_below(&rng, PAGES)), 1);
		}
		print_message("%s: %u in, %u refused\n", formats[f], in, out);
		assert_true(in > 500 && out > 500);
		rig_audit(&r);
		rig_close(&r);
	}
	(void)state;
}

/* The guest's stores to its tables are not looked at: what went in stays until it fences. */
static void an_entry_stays_until_a_fence(void **state)
{
	struct puppet p;
	struct rig r;
	hpa_t a, b;

	take_over(&r, &p, "nested/radix", "x86-64");
	p.e = (struct guest_tlb_entry){ base, 0x5000, 0, ALL };
	assert_int_equal(vcpu_touch(&r.vcpu, SEG_PAGED, base, ACC_WRITE, &a), ACCESS_OK);
	p.e.gpa = 0x6000;
	assert_int_equal(vcpu_touch(&r.vcpu, SEG_PAGED, base, ACC_WRITE, &b), ACCESS_OK);
	assert_int_equal(a.v, b.v);
	assert_int_equal(p.calls, 1);
	/* The hypervisor's own change is seen at once: the frame is looked up anew. */
	mmu_zap_gfns(r.mmu, GFN(5), 1);
	assert_int_equal(vcpu_touch(&r.vcpu, SEG_PAGED, base, ACC_WRITE, &b), ACCESS_OK);
	assert_int_equal(p.calls, 2);
	assert_true(a.v != b.v);
	vcpu_fence(&r.vcpu, FENCE_PAGE, r.vcpu.paging.asid, GVA(base));
	p.e.gpa = 0x5000;
	assert_int_equal(vcpu_touch(&r.vcpu, SEG_PAGED, base, ACC_WRITE, &b), ACCESS_OK);
	assert_int_equal(a.v, b.v);
	assert_int_equal(p.calls, 3);
	rig_close(&r);
	(void)state;
}

/* Only modes in which hardware was the one to read the guest's tables. */
static void which_schemes_can(void **state)
{
	unsigned i = 0, yes = 0;

	for_each_scheme(name, i) {
		struct rig_config c = { .scheme = name, .tlb_software = true, .guest = { .asids = true } };
		bool expected = !strcmp(name, "native") || !strncmp(name, "nested/", 7);
		struct rig r;

		if (rig_open(&r, &c)) {
			assert_true(expected);
			yes++;
			rig_close(&r);
		} else if (!expected) {
			assert_non_null(r.why);
		}
	}
	assert_true(yes >= 5);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_cannot_be_is_the_guests_fault),
		cmocka_unit_test(a_useless_handler_stops_its_vm),
		cmocka_unit_test(so_does_none),
		cmocka_unit_test(programs_do_not_write_the_tlb),
		cmocka_unit_test(anything_written_leads_into_its_own_memory),
		cmocka_unit_test(an_entry_stays_until_a_fence),
		cmocka_unit_test(which_schemes_can),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
