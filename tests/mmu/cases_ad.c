/* SPDX-License-Identifier: MIT */
/*
 * Case 7 through the whole of a mmu: accessed and dirty bits by update or by
 * fault, the same in guest memory under every scheme, with and without a dirty
 * log; and what else a guest must not be able to tell: privilege, the corners
 * of its address space.
 */
#include "rig.h"

enum { DATA = 700, PAGES = 1024 };
static const uint64_t va = 0x400000;

static const char *const formats[] = { "x86-32", "x86-pae", "x86-64", "sv39", "sv48", "classroom" };

enum { LOGGED = 1 << 0, FENCED = 1 << 1, BY_FAULT = 1 << 2, WARM = 1 << 3, CASES = 1 << 4 };

static uint64_t address(const struct gpt_format *f)
{
	return f->va_bits < 24 ? 0x4000 : va;
}

/* A and D of the leaf as memory has them. */
static uint8_t ad_of(struct rig_space *s)
{
	const struct gpt_format *f = s->g->guest_fmt;

	return gpt_rights(f, 0, rig_pte(s, address(f), 0)) & (RIGHT_A | RIGHT_D);
}

/* The guest changes A and D of its leaf, with a fence after it or none. */
static void set_ad(struct rig_space *s, uint8_t ad, unsigned how)
{
	const struct gpt_format *f = s->g->guest_fmt;

	rig_set_pte(s, address(f), 0, gpt_make_leaf(f, 0, DATA, (RIG_RIGHTS & ~(RIGHT_A | RIGHT_D)) | ad));
	if (how & FENCED)
		vcpu_fence(&s->g->v, FENCE_PAGE, s->p.asid, GVA(address(f)));
}

static void expect_ad(struct rig_space *s, uint8_t want, const char *when)
{
	uint8_t have = ad_of(s);

	if (have != want)
		fail_msg("%s, %s, %s: A %d D %d, not A %d D %d", mmu_scheme(s->g->mmu)->name, s->g->guest_fmt->name, when,
			 !!(have & RIGHT_A), !!(have & RIGHT_D), !!(want & RIGHT_A), !!(want & RIGHT_D));
}

static void touch(struct rig_space *s, enum acc_kind kind)
{
	rig_leads_to(s->g, address(s->g->guest_fmt), kind, DATA);
}

/* The hardware sets what an access needs; D by stores only. */
static void by_update(struct rig_space *s, unsigned how)
{
	static const enum acc_kind kinds[] = { ACC_READ, ACC_EXEC };

	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		set_ad(s, 0, how);
		expect_ad(s, 0, "as the guest wrote it");
		touch(s, kinds[i]);
		expect_ad(s, RIGHT_A, "after a load or fetch");
		touch(s, kinds[i]);
		touch(s, ACC_READ);
		expect_ad(s, RIGHT_A, "after more of them");
		touch(s, ACC_WRITE);
		expect_ad(s, RIGHT_A | RIGHT_D, "after a store");
	}
	/* A cleared D is set again by the next store, not by loads. */
	set_ad(s, RIGHT_A, how);
	touch(s, ACC_READ);
	expect_ad(s, RIGHT_A, "D cleared, then a load");
	touch(s, ACC_WRITE);
	expect_ad(s, RIGHT_A | RIGHT_D, "D cleared, then a store");
	/* A cleared A by the next access. */
	set_ad(s, RIGHT_D, how);
	touch(s, ACC_READ);
	expect_ad(s, RIGHT_A | RIGHT_D, "A cleared, then a load");
	set_ad(s, 0, how);
	touch(s, ACC_WRITE);
	expect_ad(s, RIGHT_A | RIGHT_D, "both cleared, then a store");
}

static void must_fault(struct rig_space *s, enum acc_kind kind)
{
	struct vcpu *v = &s->g->v;
	enum access_status st = vcpu_touch(v, SEG_PAGED, address(s->g->guest_fmt), kind, NULL);

	if (st != ACCESS_FAULT || v->fault.why != WALK_WHY_ACCESSED || v->fault.kind != kind)
		fail_msg("%s: no fault for want of A or D: %d, %s", mmu_scheme(s->g->mmu)->name, st,
			 walk_why_name(v->fault.why));
}

/* Svade: nothing is set but by the guest. */
static void by_fault(struct rig_space *s, unsigned how)
{
	set_ad(s, 0, how);
	must_fault(s, ACC_READ);
	must_fault(s, ACC_EXEC);
	must_fault(s, ACC_WRITE);
	expect_ad(s, 0, "after faults");
	set_ad(s, RIGHT_A, how);
	touch(s, ACC_READ);
	must_fault(s, ACC_WRITE);
	expect_ad(s, RIGHT_A, "after a load and a faulting store");
	set_ad(s, RIGHT_A | RIGHT_D, how);
	touch(s, ACC_WRITE);
	set_ad(s, RIGHT_A, how);
	touch(s, ACC_READ);
	must_fault(s, ACC_WRITE);
	set_ad(s, RIGHT_D, how);
	must_fault(s, ACC_READ);
	must_fault(s, ACC_WRITE);
	expect_ad(s, RIGHT_D, "at the end");
}

static void run(const char *scheme, const char *format, unsigned how, uint64_t bitmap[PAGES / 64])
{
	struct rig_config c = {
		.scheme = scheme, .guest = format, .host = gpt_find(format)->levels == 1 ? "x86-64" : NULL,
		.guest_pages = PAGES, .preset = how & WARM ? "generic" : "none",
	};
	struct rig r;
	struct rig_space s;

	rig_open(&r, &c);
	struct rig_vm *g = &r.g[0];

	rig_space_init(&s, g);
	s.p.ad = how & BY_FAULT ? WALK_AD_FAULT : WALK_AD_SET;
	rig_map(&s, address(g->guest_fmt), DATA, 0, RIG_RIGHTS);
	rig_enter(&s);
	if (how & LOGGED)
		vm_dirty_start(g->vm);
	if (how & BY_FAULT)
		by_fault(&s, how);
	else
		by_update(&s, how);
	rig_audit(&r);
	if (how & LOGGED)
		assert_int_equal(vm_dirty_read(g->vm, GFN(0), PAGES, bitmap), 0);
	rig_close(&r);
}

static void test_case_7_accessed_and_dirty(void **state)
{
	for (unsigned f = 0; f < ARRAY_SIZE(formats); f++)
		for (unsigned how = 0; how < CASES; how++) {
			uint64_t first[PAGES / 64] = { 0 }, now[PAGES / 64] = { 0 };

			for (unsigned i = 0; rig_scheme_at(i); i++) {
				run(rig_scheme_at(i), formats[f], how, i ? now : first);
				/* The dirty log is equal under every scheme. */
				if (i && (how & LOGGED) && memcmp(first, now, sizeof(now)))
					fail_msg("%s, %s, case %u: another dirty log than under %s", rig_scheme_at(i),
						 formats[f], how, rig_scheme_at(0));
			}
		}
}

/* What was dirtied is in the log: the data by stores, the table by updates, each page once until it is read. */
static void test_dirty_log(void **state)
{
	for (unsigned i = 0; rig_scheme_at(i); i++) {
		struct rig_config c = { .scheme = rig_scheme_at(i), .guest_pages = PAGES, .preset = "generic" };
		uint64_t map[PAGES / 64];
		struct rig r;
		struct rig_space s;

		rig_open(&r, &c);
		struct rig_vm *g = &r.g[0];

		rig_space_init(&s, g);
		for (unsigned k = 0; k < 64; k++)
			rig_map(&s, va + (k << PAGE_SHIFT), DATA + k, 0, RIG_RIGHTS);
		rig_enter(&s);
		for (unsigned k = 0; k < 64; k++)
			rig_mfn(g, va + (k << PAGE_SHIFT), ACC_WRITE);
		vm_dirty_start(g->vm);
		for (unsigned round = 0; round < 3; round++) {
			for (unsigned k = round; k < 64; k += 5) {
				assert_int_equal(vcpu_store(&g->v, SEG_PAGED, va + (k << PAGE_SHIFT) + 8, 8, k), ACCESS_OK);
				rig_mfn(g, va + ((k + 1) % 64 << PAGE_SHIFT), ACC_READ);
			}
			/* The second door counts too. */
			assert_int_equal(vm_write(g->vm, GPA((DATA + 100 + round) << PAGE_SHIFT), "x", 1), 0);
			assert_int_equal(vm_dirty_read(g->vm, GFN(0), PAGES, map), 0);
			for (unsigned p = 0; p < PAGES; p++) {
				bool want = p == DATA + 100 + round ||
					    (p >= DATA && p < DATA + 64 && (p - DATA) % 5 == round && p - DATA >= round);

				if (want != (bool)(map[p / 64] & BIT(p % 64)))
					fail_msg("%s, round %u: page %u", rig_scheme_at(i), round, p);
			}
			rig_audit(&r);
		}
		vm_dirty_stop(g->vm);
		rig_close(&r);
	}
}

/* User code does not reach what only the supervisor may, however often the supervisor was there before. */
static void test_privilege_under_every_scheme(void **state)
{
	static const char *const families[] = { "x86-64", "sv39" };

	for (unsigned f = 0; f < ARRAY_SIZE(families); f++)
		for (unsigned i = 0; rig_scheme_at(i); i++)
			for (unsigned warm = 0; warm < 2; warm++) {
				struct rig_config c = {
					.scheme = rig_scheme_at(i), .guest = families[f], .preset = warm ? "generic" : "none",
				};
				struct rig r;
				struct rig_space s;

				rig_open(&r, &c);
				struct rig_vm *g = &r.g[0];

				rig_space_init(&s, g);
				rig_map(&s, va, DATA, 0, RIG_RIGHTS & ~RIGHT_U);
				rig_map(&s, va + PAGE_SIZE, DATA + 1, 0, RIG_RIGHTS);
				rig_map(&s, va + 2 * PAGE_SIZE, DATA + 2, 0, RIG_RIGHTS & ~(RIGHT_W | RIGHT_X));
				rig_enter(&s);
				for (unsigned round = 0; round < 3; round++) {
					g->v.user = false;
					rig_leads_to(g, va, ACC_READ, DATA);
					rig_leads_to(g, va, ACC_WRITE, DATA);
					rig_leads_to(g, va, ACC_EXEC, DATA);
					rig_leads_to(g, va + PAGE_SIZE, ACC_WRITE, DATA + 1);
					/* SMEP; on RISC-V always so. */
					assert_int_equal(vcpu_touch(&g->v, SEG_PAGED, va + PAGE_SIZE, ACC_EXEC, NULL), ACCESS_FAULT);
					assert_int_equal(g->v.fault.why, WALK_WHY_PRIVILEGE);
					g->v.user = true;
					for (int kind = ACC_READ; kind < ACC_KINDS; kind++) {
						if (vcpu_touch(&g->v, SEG_PAGED, va, (enum acc_kind)kind, NULL) != ACCESS_FAULT)
							fail_msg("%s, %s: user code reached a kernel page", c.scheme, c.guest);
						assert_int_equal(g->v.fault.why, WALK_WHY_PRIVILEGE);
						rig_leads_to(g, va + PAGE_SIZE, (enum acc_kind)kind, DATA + 1);
					}
					rig_leads_to(g, va + 2 * PAGE_SIZE, ACC_READ, DATA + 2);
					assert_int_equal(vcpu_touch(&g->v, SEG_PAGED, va + 2 * PAGE_SIZE, ACC_WRITE, NULL),
							 ACCESS_FAULT);
					assert_int_equal(g->v.fault.why, WALK_WHY_RIGHTS);
					assert_int_equal(vcpu_touch(&g->v, SEG_PAGED, va + 2 * PAGE_SIZE, ACC_EXEC, NULL),
							 ACCESS_FAULT);
				}
				rig_close(&r);
			}
}

/* First and last page of both halves; the very last must go like any other when the space does. */
static void test_corners_of_the_address_space(void **state)
{
	for (unsigned f = 0; rig_format_at(f); f++)
		for (unsigned i = 0; rig_scheme_at(i); i++) {
			const struct gpt_format *fmt = rig_format_at(f);
			struct rig_config c = {
				.scheme = rig_scheme_at(i), .guest = fmt->name, .preset = "generic",
				.host = fmt->levels == 1 || fmt->levels == 2 ? "x86-64" : NULL,
			};
			uint64_t limit = gpt_va_limit(fmt, false);
			uint64_t corner[4] = { 0, limit - PAGE_SIZE, ~(limit - 1), ~PAGE_MASK };
			unsigned n = fmt->sign_extended ? 4 : 2;
			struct rig r;
			struct rig_space s;

			if (!rig_open_if_possible(&r, &c))
				continue;
			struct rig_vm *g = &r.g[0];

			rig_space_init(&s, g);
			for (unsigned k = 0; k < n; k++)
				rig_map(&s, corner[k], DATA + k, 0, RIG_RIGHTS);
			rig_enter(&s);
			for (unsigned k = 0; k < n; k++)
				rig_leads_to(g, corner[k] + 8, ACC_WRITE, DATA + k);
			rig_audit(&r);
			for (unsigned k = 0; k < n; k++) {
				rig_unmap(&s, corner[k], 0);
				assert_int_equal(vcpu_touch(&g->v, SEG_PAGED, corner[k], ACC_READ, NULL), ACCESS_FAULT);
				rig_map(&s, corner[k], DATA + 10 + k, 0, RIG_RIGHTS);
				rig_leads_to(g, corner[k], ACC_READ, DATA + 10 + k);
			}
			rig_audit(&r);
			bool stays = g->vm->contiguous_base != INVALID_FRAME;

			for (unsigned k = 0; k < n; k++)
				assert_int_equal(gfn_update(g->vm, GFN(DATA + 10 + k), 1,
							    &(struct gfn_change){ .op = GFN_OP_RELEASE }),
						 stays ? -EBUSY : 0);
			for (unsigned k = 0; k < n; k++)
				rig_leads_to(g, corner[k], ACC_WRITE, DATA + 10 + k);
			mmu_zap_all(g->mmu);
			rig_audit(&r);
			for (unsigned k = 0; k < n; k++)
				rig_leads_to(g, corner[k], ACC_WRITE, DATA + 10 + k);
			rig_close(&r);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_case_7_accessed_and_dirty),
		cmocka_unit_test(test_dirty_log),
		cmocka_unit_test(test_privilege_under_every_scheme),
		cmocka_unit_test(test_corners_of_the_address_space),
	};

	return cmocka_run_group_tests_name("mmu cases, accessed and dirty", tests, NULL, NULL);
}
