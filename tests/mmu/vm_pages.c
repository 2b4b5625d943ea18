/* SPDX-License-Identifier: MIT */
/* Frames shared, pinned, moved, collapsed and split under running guests, which must not notice. */
#include "rig.h"
#include "vm/gfn.h"

/* Two guests with equal pages: one frame; each store goes to its own; the last owner keeps the frame. */
static void test_sharing_and_breaking_away(void **state)
{
	for (unsigned i = 0; rig_scheme_at(i); i++) {
		struct rig_config c = { .scheme = rig_scheme_at(i), .preset = "generic" };
		static const uint64_t va = 0x400000;
		struct rig r;
		struct rig_space s[2];

		if (!strcmp(c.scheme, "native"))
			continue;
		rig_open_machine(&r, &c);
		for (unsigned v = 0; v < 2; v++) {
			struct rig_vm *g = rig_vm_add(&r, &c);

			rig_space_init(&s[v], g);
			rig_map(&s[v], va, 1000, 0, RIG_RIGHTS);
			rig_map(&s[v], va + PAGE_SIZE, 1001, 0, RIG_RIGHTS);
			rig_enter(&s[v]);
			assert_int_equal(vcpu_store(&g->v, SEG_PAGED, va + 8, 8, 42), ACCESS_OK);
			assert_int_equal(vcpu_store(&g->v, SEG_PAGED, va + PAGE_SIZE + 8, 8, 43 + v), ACCESS_OK);
		}
		struct rig_vm *a = &r.g[0], *b = &r.g[1];
		struct gfn_change share = { .op = GFN_OP_SHARE, .mfn = rig_truth(a, 1000) };
		uint64_t nfree = r.m.nfree, value, kept = share.mfn.v;

		assert_int_equal(gfn_update(b->vm, GFN(1000), 1, &share), 0);
		assert_true(r.m.nfree > nfree);
		rig_leads_to(a, va, ACC_READ, 1000);
		rig_leads_to(b, va, ACC_READ, 1000);
		assert_int_equal(rig_truth(b, 1000).v, kept);
		/* Unlike pages stay apart. */
		share.mfn = rig_truth(a, 1001);
		assert_int_equal(gfn_update(b->vm, GFN(1001), 1, &share), -EEXIST);
		rig_audit(&r);
		uint64_t hidden = b->vm->stats.hidden_unshare;

		assert_int_equal(vcpu_store(&b->v, SEG_PAGED, va + 8, 8, 7), ACCESS_OK);
		assert_int_equal(b->vm->stats.hidden_unshare, hidden + 1);
		assert_int_not_equal(rig_truth(b, 1000).v, kept);
		assert_int_equal(vcpu_load(&a->v, SEG_PAGED, va + 8, 8, &value), ACCESS_OK);
		assert_int_equal(value, 42);
		assert_int_equal(vcpu_store(&a->v, SEG_PAGED, va + 8, 8, 8), ACCESS_OK);
		assert_int_equal(rig_truth(a, 1000).v, kept);
		assert_int_equal(vcpu_load(&b->v, SEG_PAGED, va + 8, 8, &value), ACCESS_OK);
		assert_int_equal(value, 7);
		rig_audit(&r);
		/* A shared frame outlives the VM that brought it. */
		assert_int_equal(vcpu_store(&b->v, SEG_PAGED, va + 8, 8, 8), ACCESS_OK);
		share.mfn = rig_truth(a, 1000);
		assert_int_equal(gfn_update(b->vm, GFN(1000), 1, &share), 0);
		rig_vm_remove(a);
		assert_int_equal(vcpu_load(&b->v, SEG_PAGED, va + 8, 8, &value), ACCESS_OK);
		assert_int_equal(value, 8);
		assert_int_equal(vcpu_store(&b->v, SEG_PAGED, va + 8, 8, 9), ACCESS_OK);
		rig_close(&r);
	}
}

/* A device writes to a pinned frame without asking: nobody may join it. */
static void test_pinned_frames_are_not_shared(void **state)
{
	struct rig_config c = { .preset = "generic" };
	struct rig r;
	mfn_t mfn;

	rig_open(&r, &c);
	struct rig_vm *g = &r.g[0];

	rig_poke(g, 100 << PAGE_SHIFT, 8, 1);
	rig_poke(g, 101 << PAGE_SHIFT, 8, 1);
	assert_int_equal(vm_pin(g->vm, GFN(100), true, &mfn), 0);
	struct gfn_change share = { .op = GFN_OP_SHARE, .mfn = mfn };

	assert_int_equal(gfn_update(g->vm, GFN(101), 1, &share), -EBUSY);
	share.mfn = rig_truth(g, 101);
	assert_int_equal(gfn_update(g->vm, GFN(100), 1, &share), -EBUSY);
	assert_int_equal(gfn_update(g->vm, GFN(100), 1, &(struct gfn_change){ .op = GFN_OP_MOVE }), -EBUSY);
	assert_int_equal(gfn_update(g->vm, GFN(96), 8, &(struct gfn_change){ .op = GFN_OP_RELEASE }), -EBUSY);
	assert_int_equal(gfn_update(g->vm, GFN(0), 512, &(struct gfn_change){ .op = GFN_OP_COLLAPSE }), -EBUSY);
	assert_int_equal(rig_truth(g, 100).v, mfn.v);
	vm_unpin(g->vm, GFN(100));
	assert_int_equal(gfn_update(g->vm, GFN(100), 1, &share), 0);
	/* Pinned for reading while shared: a later store of the guest's must not leave the device behind. */
	assert_int_equal(vm_pin(g->vm, GFN(100), false, &mfn), 0);
	rig_poke(g, 100 << PAGE_SHIFT, 8, 2);
	assert_int_equal(rig_truth(g, 100).v, mfn.v);
	assert_int_equal(rig_peek(g, 101 << PAGE_SHIFT, 8), 1);
	vm_unpin(g->vm, GFN(100));
	rig_close(&r);
}

/* Guest tables with equal bytes share a frame; each is still watched for itself. */
static void test_shared_guest_tables_stay_watched(void **state)
{
	static const char *const schemes[] = { "nested/radix", "nested/flat", "nested/inverted" };
	static const uint64_t va = 0x400000;

	for (unsigned i = 0; i < ARRAY_SIZE(schemes); i++) {
		struct rig_config c = { .scheme = schemes[i], .preset = "generic" };
		struct rig r;
		struct rig_space a, b;

		rig_open(&r, &c);
		struct rig_vm *g = &r.g[0];

		rig_space_init(&a, g);
		rig_space_init(&b, g);
		rig_map(&a, va, 1000, 0, RIG_RIGHTS);
		rig_map(&b, va, 1000, 0, RIG_RIGHTS);
		uint64_t ta = rig_pte_addr(&a, va, 0) >> PAGE_SHIFT, tb = rig_pte_addr(&b, va, 0) >> PAGE_SHIFT;
		struct gfn_change share = { .op = GFN_OP_SHARE, .mfn = rig_truth(g, ta) };

		assert_int_equal(gfn_update(g->vm, GFN(tb), 1, &share), 0);
		rig_enter(&a);
		rig_leads_to(g, va, ACC_READ, 1000);
		rig_enter(&b);
		rig_leads_to(g, va, ACC_READ, 1000);
		rig_audit(&r);
		/* a's table breaks away … */
		rig_set_pte(&a, va, 0, gpt_make_leaf(g->guest_fmt, 0, 1001, RIG_RIGHTS));
		rig_audit(&r);
		rig_leads_to(g, va, ACC_READ, 1000);
		/* … and b's is alone. */
		rig_set_pte(&b, va, 0, gpt_make_leaf(g->guest_fmt, 0, 1002, RIG_RIGHTS));
		rig_leads_to(g, va, ACC_READ, 1002);
		rig_enter(&a);
		rig_leads_to(g, va, ACC_READ, 1001);
		rig_close(&r);
	}
}

/* Frames move, collapse and split under a running guest, whatever TLBs and walk caches hold. */
static void test_moves_and_collapses_go_unseen(void **state)
{
	static const uint64_t va = UINT64_C(1) << 30;

	for (unsigned i = 0; rig_scheme_at(i); i++)
		for (unsigned big = 0; big < 2; big++) {
			struct rig_config c = { .scheme = rig_scheme_at(i), .preset = "generic" };
			struct rig r;
			struct rig_space s;
			uint64_t value;

			if (!strcmp(c.scheme, "native"))
				continue;
			rig_open(&r, &c);
			struct rig_vm *g = &r.g[0];

			rig_space_init(&s, g);
			if (big)
				rig_map(&s, va, 1024, ORDER_2M, RIG_RIGHTS);
			for (unsigned k = 0; k < 64 && !big; k++)
				rig_map(&s, va + (k << PAGE_SHIFT), 1024 + k, 0, RIG_RIGHTS);
			rig_enter(&s);
			for (unsigned round = 0; round < 6; round++) {
				for (unsigned k = 0; k < 64; k += 3) {
					uint64_t at = va + (k << PAGE_SHIFT) + 24;

					assert_int_equal(vcpu_load(&g->v, SEG_PAGED, at, 8, &value), ACCESS_OK);
					assert_int_equal(value, round ? round * 100 + k - 100 : 0);
					assert_int_equal(vcpu_store(&g->v, SEG_PAGED, at, 8, round * 100 + k), ACCESS_OK);
				}
				if (round % 2 == 0) {
					assert_int_equal(gfn_update(g->vm, GFN(1024), GFN_BLOCK,
								    &(struct gfn_change){ .op = GFN_OP_COLLAPSE }), 0);
					struct gfn_mapping map;

					assert_int_equal(gfn_peek(g->vm, GFN(1030), &map), 0);
					assert_int_equal(map.order, ORDER_2M);
				} else {
					/* One page moves away: 2 MiB no more. */
					assert_int_equal(gfn_update(g->vm, GFN(1024 + 3 * round), 1,
								    &(struct gfn_change){ .op = GFN_OP_MOVE }), 0);
					struct gfn_mapping map;

					assert_int_equal(gfn_peek(g->vm, GFN(1030), &map), 0);
					assert_int_equal(map.order, ORDER_4K);
				}
				rig_audit(&r);
			}
			rig_close(&r);
		}
}

/* host_thp: whole blocks where nothing stands in the way; and split by what forbids one. */
static void test_huge_backing(void **state)
{
	for (unsigned i = 0; rig_scheme_at(i); i++) {
		static const uint64_t va = UINT64_C(1) << 30;
		struct rig_config c = { .scheme = rig_scheme_at(i), .preset = "generic", .guest_pages = 4096 + 100 };
		struct rig r;
		struct rig_space s;
		struct gfn_mapping map;

		if (!strcmp(c.scheme, "native"))
			continue;
		rig_open(&r, &c);
		struct rig_vm *g = &r.g[0];

		rig_space_init(&s, g);
		rig_map(&s, va, 1024, ORDER_2M, RIG_RIGHTS);
		rig_map(&s, va + (4 << 21), 2048, 0, RIG_RIGHTS);
		rig_enter(&s);
		g->vm->host_thp = true;
		rig_leads_to(g, va + 0x7000, ACC_WRITE, 1031);
		assert_int_equal(gfn_peek(g->vm, GFN(1031), &map), 0);
		assert_int_equal(map.order, ORDER_2M);
		assert_true(is_aligned(rig_truth(g, 1024).v, GFN_BLOCK));
		/* A block of which some stands already, and one that is not whole, get small frames. */
		rig_peek(g, 600 << PAGE_SHIFT, 8);
		assert_int_equal(gfn_peek(g->vm, GFN(600), &map), 0);
		assert_int_equal(map.order, ORDER_2M);
		rig_peek(g, 100 << PAGE_SHIFT, 8);
		assert_int_equal(gfn_peek(g->vm, GFN(100), &map), 0);
		assert_int_equal(map.order, ORDER_4K);
		rig_peek(g, 4100 << PAGE_SHIFT, 8);
		assert_int_equal(gfn_peek(g->vm, GFN(4100), &map), 0);
		assert_int_equal(map.order, ORDER_4K);
		/* Write protection of one page splits; its end joins again: the run never went away. */
		assert_int_equal(gfn_update(g->vm, GFN(1040), 1, &(struct gfn_change){ .op = GFN_OP_WPROT }), 0);
		assert_int_equal(gfn_peek(g->vm, GFN(1031), &map), 0);
		assert_int_equal(map.order, ORDER_4K);
		assert_int_equal(map.rights, RIGHT_R | RIGHT_W | RIGHT_X);
		assert_int_equal(gfn_peek(g->vm, GFN(1040), &map), 0);
		assert_int_equal(map.rights, RIGHT_R | RIGHT_X);
		rig_leads_to(g, va + 0x7000, ACC_WRITE, 1031);
		rig_leads_to(g, va + 0x10000, ACC_READ, 1040);
		rig_audit(&r);
		assert_int_equal(gfn_update(g->vm, GFN(1040), 1, &(struct gfn_change){ .op = GFN_OP_UNWPROT }), 0);
		rig_leads_to(g, va + 0x8000, ACC_WRITE, 1032);
		rig_leads_to(g, va + 0x10000, ACC_WRITE, 1040);
		rig_audit(&r);
		/* A release of one ends it. */
		assert_int_equal(gfn_update(g->vm, GFN(1050), 1, &(struct gfn_change){ .op = GFN_OP_RELEASE }), 0);
		assert_int_equal(gfn_peek(g->vm, GFN(1031), &map), 0);
		assert_int_equal(map.order, ORDER_4K);
		rig_leads_to(g, va + 0x1a000, ACC_WRITE, 1050);
		rig_leads_to(g, va + 0x7000, ACC_WRITE, 1031);
		/* Under a dirty log every mapping is of one page. */
		vm_dirty_start(g->vm);
		rig_leads_to(g, va + (4 << 21), ACC_WRITE, 2048);
		assert_int_equal(gfn_peek(g->vm, GFN(2048), &map), 0);
		assert_int_equal(map.order, ORDER_4K);
		vm_dirty_stop(g->vm);
		rig_close(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sharing_and_breaking_away),
		cmocka_unit_test(test_pinned_frames_are_not_shared),
		cmocka_unit_test(test_shared_guest_tables_stay_watched),
		cmocka_unit_test(test_moves_and_collapses_go_unseen),
		cmocka_unit_test(test_huge_backing),
	};

	return cmocka_run_group_tests_name("vm, pages", tests, NULL, NULL);
}
