/* SPDX-License-Identifier: MIT */
/*
 * Faults that other simulators and hypervisors have had in translation, each
 * as a test of its own: whoever brings one in here hears of it.
 */
#include "rig.h"

static const uint64_t va = UINT64_C(0x40000000);

/* ---- page tables that are host maps instead of tables in memory ---- */

static void test_peer_tables_are_real_memory(void **state)
{
	for (unsigned f = 0; rig_format_at(f); f++)
		for (unsigned i = 0; rig_scheme_at(i); i++) {
			const struct gpt_format *fmt = rig_format_at(f);
			struct rig_config c = {
				.scheme = rig_scheme_at(i), .guest = fmt->name, .preset = "generic",
				.host = fmt->levels == 1 ? "x86-64" : NULL,
			};
			struct rig r;
			struct rig_space s;
			uint64_t at = rig_va(fmt);

			rig_open(&r, &c);
			struct rig_vm *g = &r.g[0];

			rig_space_init(&s, g);
			rig_map(&s, at, 0x300, 0, RIG_RIGHTS);
			rig_enter(&s);
			rig_leads_to(g, at, ACC_READ, 0x300);
			/* One byte of the entry, by each door: bit 0 of the frame number is bit 4 or 2 of byte 1. */
			uint64_t pte = rig_pte_addr(&s, at, 0);
			uint8_t byte = (uint8_t)rig_peek(g, pte + 1, 1), bit = fmt->pfn_shift == 10 ? 4 : 0x10;

			rig_poke(g, pte + 1, 1, byte | bit);
			rig_leads_to(g, at, ACC_READ, 0x301);
			assert_int_equal(vm_write(g->vm, GPA(pte + 1), &byte, 1), 0);
			rig_leads_to(g, at, ACC_READ, 0x300);
			rig_set_pte(&s, at, 0, 0);
			assert_int_equal(vcpu_touch(&g->v, SEG_PAGED, at, ACC_READ, NULL), ACCESS_FAULT);
			rig_close(&r);
		}
}

/* ---- a walk cache off by one level ---- */

/* Which presets keep tables of a level. */
static bool keeps(const char *preset, unsigned level)
{
	return tlb_preset_find(preset)->walk[level].sets != 0;
}

static const char *const presets[] = { "generic", "haswell", "skylake", "zen2", "zen4", "u74", "rocket", "none" };

/* A second address that shares the tables of the first down to `level` starts there: level + 1 loads, one hit at it. */
static void test_peer_walk_cache_starts_at_the_right_level(void **state)
{
	for (unsigned p = 0; p < ARRAY_SIZE(presets); p++)
		for (unsigned level = 0; level < 3; level++) {
			struct rig_config c = { .scheme = "native", .preset = presets[p] };
			struct rig r;
			struct rig_space s;
			struct rig_log l;

			rig_open(&r, &c);
			struct rig_vm *g = &r.g[0];
			/* Differs from va in the index at `level`, and in none above it. */
			uint64_t other = va + (UINT64_C(3) << g->guest_fmt->level[level].shift);

			rig_space_init(&s, g);
			rig_map(&s, va, 1000, 0, RIG_RIGHTS);
			rig_map(&s, other, 1001, 0, RIG_RIGHTS);
			rig_enter(&s);
			flush_vm(g->mmu);
			rig_leads_to(g, va, ACC_READ, 1000);
			struct wc_counts before = r.cpu.guest_wc.counts;

			rig_explain(g, other, ACC_READ, RIG_WARM, &l);
			assert_int_equal(l.e.hpa.v >> PAGE_SHIFT, rig_truth(g, 1001).v);
			/* The lowest level that is both shared and kept; none: the root. */
			unsigned at = level;

			while (at < 3 && !keeps(presets[p], at))
				at++;
			if (l.refs != at + 1)
				fail_msg("%s: sharing level %u took %u loads, not %u", presets[p], level,
					 (unsigned)l.refs, at + 1);
			for (unsigned k = 0; k < WC_LEVELS; k++)
				assert_int_equal(r.cpu.guest_wc.counts.hits[k] - before.hits[k], k == at && at < 3);
			rig_close(&r);
		}
}

/* A pointer at each level is turned to another subtree: the next access must see it. */
static void test_peer_walk_cache_sees_a_changed_pointer(void **state)
{
	enum { BY_STORE, BY_DMA, WAYS };

	for (unsigned i = 0; rig_scheme_at(i); i++)
		for (unsigned p = 0; p < ARRAY_SIZE(presets); p++)
			for (unsigned level = 1; level < 4; level++)
				for (unsigned how = 0; how < WAYS; how++) {
					struct rig_config c = { .scheme = rig_scheme_at(i), .preset = presets[p] };
					struct rig r;
					struct rig_space s;

					rig_open(&r, &c);
					struct rig_vm *g = &r.g[0];
					unsigned shift = g->guest_fmt->level[level].shift;
					/* Another subtree of the same shape beside it. */
					uint64_t twin = va ^ (UINT64_C(1) << shift);

					rig_space_init(&s, g);
					for (unsigned k = 0; k < 4; k++) {
						rig_map(&s, va + (k << PAGE_SHIFT), 1000 + k, 0, RIG_RIGHTS);
						rig_map(&s, twin + (k << PAGE_SHIFT), 2000 + k, 0, RIG_RIGHTS);
					}
					rig_enter(&s);
					for (unsigned k = 0; k < 3; k++) {
						rig_leads_to(g, va + (k << PAGE_SHIFT), ACC_WRITE, 1000 + k);
						rig_leads_to(g, twin + (k << PAGE_SHIFT), ACC_WRITE, 2000 + k);
					}
					uint64_t ptr = rig_pte(&s, twin, level), at = rig_pte_addr(&s, va, level);

					if (how == BY_STORE)
						rig_poke(g, at, 8, ptr);
					else
						assert_int_equal(vm_write(g->vm, GPA(at), &ptr, 8), 0);
					/* Pages that were in the TLB, and one that only walk caches could know. */
					for (unsigned k = 0; k < 4; k++)
						rig_leads_to(g, va + (k << PAGE_SHIFT), ACC_WRITE, 2000 + k);
					rig_poke(g, at, 8, 0);
					for (unsigned k = 0; k < 4; k++)
						assert_int_equal(vcpu_touch(&g->v, SEG_PAGED, va + (k << PAGE_SHIFT), ACC_READ, NULL),
								 ACCESS_FAULT);
					rig_close(&r);
				}
}

/* Second-stage tables that a zap freed, and that hold something else now, are not walked from a walk cache. */
static void test_peer_walk_cache_of_freed_tables(void **state)
{
	enum { LONE = 3 * GFN_BLOCK, LATER = 5 * GFN_BLOCK };

	for (unsigned p = 0; p < ARRAY_SIZE(presets); p++) {
		struct rig_config c = { .scheme = "nested/radix", .preset = presets[p] };
		struct rig r;
		struct rig_space s;

		rig_open(&r, &c);
		struct rig_vm *g = &r.g[0];

		rig_space_init(&s, g);
		rig_map(&s, va, LONE, 0, RIG_RIGHTS);
		rig_map(&s, va + PAGE_SIZE, LONE + 1, 0, RIG_RIGHTS);
		rig_enter(&s);
		/* The only page of its 2 MiB: its p2m table goes with it. */
		rig_leads_to(g, va, ACC_READ, LONE);
		mmu_zap_gfns(g->mmu, GFN(LONE), 1);
		/* Frames given out next are filled with what looks like entries. */
		uint64_t lie[512];

		for (unsigned k = 0; k < ARRAY_SIZE(lie); k++)
			lie[k] = gpt_make_leaf(g->host_fmt, 0, rig_truth(g, LONE).v, RIG_RIGHTS);
		for (unsigned k = 0; k < 8; k++)
			assert_int_equal(vm_write(g->vm, GPA((LATER + k) << PAGE_SHIFT), lie, sizeof(lie)), 0);
		rig_leads_to(g, va + PAGE_SIZE, ACC_READ, LONE + 1);
		rig_leads_to(g, va, ACC_READ, LONE);
		rig_close(&r);
	}
}

/* A walk that could not be watched, for want of memory, must leave nothing in walk caches either. */
static void test_peer_walk_cache_of_unwatched_walks(void **state)
{
	static const char *const schemes[] = { "native", "nested/radix", "nested/flat" };

	for (unsigned i = 0; i < ARRAY_SIZE(schemes); i++) {
		struct rig_config c = { .scheme = schemes[i], .preset = "generic" };
		struct rig r;
		struct rig_space s;

		rig_open(&r, &c);
		struct rig_vm *g = &r.g[0];

		rig_space_init(&s, g);
		rig_map(&s, va, 1000, 0, RIG_RIGHTS);
		rig_map(&s, va + (UINT64_C(1) << 21), 2000, 0, RIG_RIGHTS);
		rig_enter(&s);
		/* Second-stage entries are there; watching starts anew. */
		rig_leads_to(g, va, ACC_READ, 1000);
		rig_leads_to(g, va + (UINT64_C(1) << 21), ACC_READ, 2000);
		vcpu_set_paging(&g->v, &s.p, ROOT_KEEP);
		for (unsigned k = 0; k < 8; k++)
			track_drop_gfn(g->mmu, GFN(k + 1));
		flush_vm(g->mmu);
		faultinj_arm(&r.inj, FAULT_META_ALLOC, 0, true);
		rig_leads_to(g, va, ACC_READ, 1000);
		assert_true(r.inj.site[FAULT_META_ALLOC].failed > 0);
		faultinj_init(&r.inj);
		rig_set_pte(&s, va, 1, rig_pte(&s, va + (UINT64_C(1) << 21), 1));
		rig_leads_to(g, va, ACC_READ, 2000);
		rig_close(&r);
	}
}

/*
 * The same where the walk is of a shadow that another address space built:
 * no fault brings the hypervisor in, the walk alone must be watched.
 */
static void test_peer_walk_cache_of_unwatched_shadow_walks(void **state)
{
	static const char *const schemes[] = { "shadow", "shadow+lazy" };
	const uint64_t far = va + (UINT64_C(1) << 30), beside = va + (UINT64_C(1) << 21);

	for (unsigned i = 0; i < ARRAY_SIZE(schemes); i++) {
		struct rig_config c = { .scheme = schemes[i], .preset = "generic" };
		struct rig r;
		struct rig_space a, b;

		rig_open(&r, &c);
		struct rig_vm *g = &r.g[0];

		rig_space_init(&a, g);
		rig_space_init(&b, g);
		rig_map(&a, va, 1000, 0, RIG_RIGHTS);
		rig_map(&a, beside, 2000, 0, RIG_RIGHTS);
		rig_map(&a, far, 3000, 0, RIG_RIGHTS);
		/* b shares all below the root. */
		rig_set_pte(&b, va, 3, rig_pte(&a, va, 3));
		rig_enter(&a);
		rig_leads_to(g, va, ACC_READ, 1000);
		rig_leads_to(g, beside, ACC_READ, 2000);
		rig_leads_to(g, far, ACC_READ, 3000);
		rig_enter(&b);
		rig_leads_to(g, far, ACC_READ, 3000);
		faultinj_arm(&r.inj, FAULT_META_ALLOC, 0, true);
		rig_leads_to(g, va, ACC_READ, 1000);
		assert_true(r.inj.site[FAULT_META_ALLOC].failed > 0);
		faultinj_init(&r.inj);
		rig_set_pte(&a, va, 1, rig_pte(&a, beside, 1));
		rig_leads_to(g, va, ACC_READ, 2000);
		rig_close(&r);
	}
}

/* ---- double-counted misses ---- */

/* One miss a page, though the same reference walked again after each fault that was handled on its way. */
static void test_peer_misses_are_counted_once(void **state)
{
	enum { PAGES = 64, ROUNDS = 4, REFS = PAGES * 3 };

	for (unsigned i = 0; rig_scheme_at(i); i++) {
		struct rig_config c = { .scheme = rig_scheme_at(i), .preset = "generic" };
		struct rig r;
		struct rig_space s;
		ref_t refs[REFS];
		size_t done;

		rig_open(&r, &c);
		struct rig_vm *g = &r.g[0];
		struct vm_stats *st = &g->vm->stats;

		rig_space_init(&s, g);
		for (unsigned k = 0; k < PAGES; k++)
			rig_map(&s, va + (k << PAGE_SHIFT), 1000 + k, 0, RIG_RIGHTS);
		rig_enter(&s);
		for (unsigned k = 0; k < REFS; k++)
			refs[k] = make_ref(va + (k / 3 << PAGE_SHIFT) + k % 3 * 8, k % 3 == 1 ? ACC_WRITE : ACC_READ, 8);
		assert_int_equal(vcpu_run(&g->v, refs, REFS, &done), ACCESS_OK);
		assert_int_equal(done, REFS);
		assert_int_equal(st->refs, REFS);
		/* Compulsory misses, 64 pages into an L1 of 64 and an L2 of 1536: no others. */
		assert_int_equal(st->l1d_misses, PAGES);
		assert_int_equal(st->l2_misses, PAGES);
		assert_int_equal(st->l2_hits, 0);
		assert_int_equal(st->l1i_misses, 0);
		assert_int_equal(st->walks, PAGES);
		uint64_t in_hist = 0;

		for (unsigned b = 0; b < HIST_BUCKETS; b++)
			in_hist += st->walk_refs_hist.bucket[b];
		assert_int_equal(in_hist, PAGES);
		for (unsigned round = 0; round < ROUNDS; round++) {
			assert_int_equal(vcpu_run(&g->v, refs, REFS, &done), ACCESS_OK);
			assert_int_equal(st->l2_misses, PAGES);
			assert_int_equal(st->l1d_misses, st->l2_misses + st->l2_hits);
		}
		assert_int_equal(st->refs, REFS * (ROUNDS + 1));
		/* A reference across two pages is one reference and two lookups. */
		refs[0] = make_ref(va + PAGE_SIZE - 4, ACC_READ, 8);
		flush_vm(g->mmu);
		assert_int_equal(vcpu_run(&g->v, refs, 1, &done), ACCESS_OK);
		assert_int_equal(st->refs, REFS * (ROUNDS + 1) + 1);
		assert_int_equal(st->l2_misses, PAGES + 2);
		rig_close(&r);
	}
}

/* A faulting reference is neither done nor counted as one; its walk is among the failed. */
static void test_peer_faulting_references_are_not_done(void **state)
{
	for (unsigned i = 0; rig_scheme_at(i); i++) {
		struct rig_config c = { .scheme = rig_scheme_at(i), .preset = "generic" };
		struct rig r;
		struct rig_space s;
		size_t done;

		rig_open(&r, &c);
		struct rig_vm *g = &r.g[0];
		struct vm_stats *st = &g->vm->stats;

		rig_space_init(&s, g);
		rig_map(&s, va, 1000, 0, RIG_RIGHTS);
		rig_enter(&s);
		ref_t refs[] = {
			make_ref(va, ACC_READ, 8), make_ref(va + PAGE_SIZE, ACC_READ, 8), make_ref(va, ACC_READ, 8),
		};

		assert_int_equal(vcpu_run(&g->v, refs, 3, &done), ACCESS_FAULT);
		assert_int_equal(done, 1);
		assert_int_equal(st->refs, 1);
		assert_int_equal(st->true_faults, 1);
		uint64_t walks = st->walks;

		rig_map(&s, va + PAGE_SIZE, 1001, 0, RIG_RIGHTS);
		assert_int_equal(vcpu_run(&g->v, refs + 1, 2, &done), ACCESS_OK);
		assert_int_equal(st->refs, 3);
		assert_int_equal(st->walks, walks + 1);
		assert_int_equal(st->true_faults, 1);
		rig_close(&r);
	}
}

/* ---- stale small entries after a superpage is flushed ---- */

static void test_peer_pieces_of_a_superpage(void **state)
{
	for (unsigned i = 0; rig_scheme_at(i); i++)
		for (unsigned huge = 0; huge < 2; huge++)
			for (unsigned fence = 0; fence < 2; fence++) {
				struct rig_config c = {
					.scheme = rig_scheme_at(i), .preset = "generic", .ram = 128 << 20,
					.host_thp = huge, .guest_pages = 8192,
				};
				struct rig r;
				struct rig_space s;

				rig_open(&r, &c);
				struct rig_vm *g = &r.g[0];

				rig_space_init(&s, g);
				rig_map(&s, va, 4 * GFN_BLOCK, ORDER_2M, RIG_RIGHTS);
				rig_enter(&s);
				for (unsigned k = 0; k < GFN_BLOCK; k += 7)
					rig_leads_to(g, va + (k << PAGE_SHIFT), ACC_WRITE, 4 * GFN_BLOCK + k);
				/* One store replaces the page that is in the TLB in pieces. */
				rig_set_pte(&s, va, 1, gpt_make_leaf(g->guest_fmt, 1, 6 * GFN_BLOCK, RIG_RIGHTS & ~RIGHT_W));
				if (fence)
					vcpu_fence(&g->v, FENCE_PAGE, s.p.asid, GVA(va + (9 << PAGE_SHIFT)));
				for (unsigned k = 0; k < GFN_BLOCK; k += 7) {
					rig_leads_to(g, va + (k << PAGE_SHIFT), ACC_READ, 6 * GFN_BLOCK + k);
					assert_int_equal(vcpu_touch(&g->v, SEG_PAGED, va + (k << PAGE_SHIFT), ACC_WRITE, NULL),
							 ACCESS_FAULT);
				}
				/* Split into small pages, all but one elsewhere. */
				uint64_t table = rig_frames(g, 0);

				for (unsigned k = 0; k < GFN_BLOCK; k += 7)
					rig_poke(g, table + k * 8, 8, gpt_make_leaf(g->guest_fmt, 0, 3000 + k, RIG_RIGHTS));
				rig_set_pte(&s, va, 1, gpt_make_table(g->guest_fmt, 1, table >> PAGE_SHIFT));
				for (unsigned k = 0; k < GFN_BLOCK; k += 7)
					rig_leads_to(g, va + (k << PAGE_SHIFT), ACC_WRITE, 3000 + k);
				assert_int_equal(vcpu_touch(&g->v, SEG_PAGED, va + (1 << PAGE_SHIFT), ACC_READ, NULL), ACCESS_FAULT);
				/* And back into one. */
				rig_set_pte(&s, va, 1, gpt_make_leaf(g->guest_fmt, 1, 4 * GFN_BLOCK, RIG_RIGHTS));
				for (unsigned k = 0; k < GFN_BLOCK; k += 7)
					rig_leads_to(g, va + (k << PAGE_SHIFT), ACC_WRITE, 4 * GFN_BLOCK + k);
				rig_close(&r);
			}
}

/* ---- a two-stage walk that breaks when a stage is bare ---- */

static void test_peer_a_bare_stage(void **state)
{
	for (unsigned i = 0; rig_scheme_at(i); i++)
		for (unsigned p = 0; p < ARRAY_SIZE(presets); p++) {
			struct rig_config c = { .scheme = rig_scheme_at(i), .preset = presets[p], .guest = "sv39" };
			struct rig r;
			struct rig_space s;
			uint64_t value;

			rig_open(&r, &c);
			struct rig_vm *g = &r.g[0];

			/* Stage 1 bare: gva = gpa, whether paging was ever set or not. */
			rig_poke(g, 0x123000, 8, 77);
			assert_int_equal(rig_peek(g, 0x123000, 8), 77);
			assert_int_equal(vcpu_load(&g->v, SEG_BARE, UINT64_C(4096) << PAGE_SHIFT, 8, &value), ACCESS_FAULT);
			assert_int_equal(g->v.fault.why, WALK_WHY_BUS);
			rig_space_init(&s, g);
			rig_map(&s, va, 0x123, 0, RIG_RIGHTS);
			rig_map(&s, 0x123000, 0x124, 0, RIG_RIGHTS);
			rig_enter(&s);
			assert_int_equal(vcpu_load(&g->v, SEG_PAGED, va, 8, &value), ACCESS_OK);
			assert_int_equal(value, 77);
			/* The same number through both segments, one after the other, in the same TLB. */
			for (unsigned round = 0; round < 3; round++) {
				rig_poke(g, 0x123000, 8, 78 + round);
				assert_int_equal(vcpu_store(&g->v, SEG_PAGED, 0x123000, 8, 99 + round), ACCESS_OK);
				assert_int_equal(rig_peek(g, 0x123000, 8), 78 + round);
				assert_int_equal(rig_peek(g, 0x124000, 8), 99 + round);
			}
			rig_close(&r);
		}
}

/* ---- frames never reused ---- */

static void test_peer_frames_are_reused(void **state)
{
	for (unsigned i = 0; rig_scheme_at(i); i++) {
		struct rig_config c = {
			.scheme = rig_scheme_at(i), .preset = "generic", .ram = 8 << 20, .guest_pages = 1 << 14,
		};
		struct gfn_change release = { .op = GFN_OP_RELEASE };
		struct rig r;
		struct rig_space s;

		/* Its memory is there from the start and stays. */
		if (!strcmp(c.scheme, "native"))
			continue;
		rig_open(&r, &c);
		struct rig_vm *g = &r.g[0];

		rig_space_init(&s, g);
		rig_map(&s, va, 100, 0, RIG_RIGHTS);
		rig_enter(&s);
		rig_leads_to(g, va, ACC_WRITE, 100);
		/* Sixteen times what the machine has. */
		for (unsigned n = 0; n < 1 << 15; n += 64) {
			uint64_t gfn = 1024 + n % 8192;

			for (unsigned k = 0; k < 64; k++) {
				rig_set_pte(&s, va, 0, gpt_make_leaf(g->guest_fmt, 0, gfn + k, RIG_RIGHTS));
				uint64_t value = 1;

				assert_int_equal(vcpu_load(&g->v, SEG_PAGED, va + 8, 8, &value), ACCESS_OK);
				/* Zeroed, whatever stood in it before. */
				assert_int_equal(value, 0);
				assert_int_equal(vcpu_store(&g->v, SEG_PAGED, va + 8, 8, n + k + 1), ACCESS_OK);
			}
			assert_int_equal(gfn_update(g->vm, GFN(gfn), 64, &release), 0);
		}
		rig_close(&r);
	}
}

/* ---- a freed root page reused under the same registers ---- */

static void test_peer_root_reused_under_the_same_registers(void **state)
{
	enum { SAYS_NOTHING, LOADS_IT_AGAIN, FENCES, WAYS };

	for (unsigned i = 0; rig_scheme_at(i); i++)
		for (unsigned p = 0; p < 2; p++)
			for (unsigned how = 0; how < WAYS; how++) {
				struct rig_config c = { .scheme = rig_scheme_at(i), .preset = p ? "generic" : "none" };
				struct rig r;
				struct rig_space s, other;

				rig_open(&r, &c);
				struct rig_vm *g = &r.g[0];

				rig_space_init(&s, g);
				rig_space_init(&other, g);
				rig_map(&other, va, 900, 0, RIG_RIGHTS);
				for (unsigned life = 0; life < 4; life++) {
					/* The old process's root is cleared; the same frame is the next one's root. */
					assert_int_equal(vcpu_fill_zero(&g->v, SEG_BARE, s.p.root, PAGE_SIZE), ACCESS_OK);
					if (life && how == SAYS_NOTHING)
						assert_int_equal(vcpu_touch(&g->v, SEG_PAGED, va, ACC_READ, NULL), ACCESS_FAULT);
					rig_map(&s, va, 1000 + life, 0, RIG_RIGHTS);
					rig_map(&s, va + (UINT64_C(1) << 39), 2000 + life, 0, RIG_RIGHTS);
					if (!life || how == LOADS_IT_AGAIN)
						rig_enter(&s);
					if (how == FENCES)
						vcpu_fence(&g->v, FENCE_SPACE, s.p.asid, GVA(0));
					rig_leads_to(g, va, ACC_WRITE, 1000 + life);
					rig_leads_to(g, va + (UINT64_C(1) << 39), ACC_READ, 2000 + life);
					if (how == LOADS_IT_AGAIN) {
						rig_enter(&other);
						rig_leads_to(g, va, ACC_READ, 900);
					}
				}
				rig_close(&r);
			}
}

/* ---- frames handed out twice when memory runs out ---- */

/* Stores until the machine has no more; returns pages stored to. */
static unsigned fill_up(struct rig_vm *g, struct rig_space *s, unsigned from)
{
	for (unsigned k = from;; k++) {
		enum access_status st = vcpu_store(&g->v, SEG_PAGED, va + ((uint64_t)k << PAGE_SHIFT), 8,
						   (uint64_t)g->vm->vmid << 32 | k);

		if (st) {
			assert_int_equal(st, ACCESS_NOMEM);
			return k;
		}
	}
}

static void signatures_stand(struct rig_vm *g, unsigned n)
{
	for (unsigned k = 0; k < n; k++) {
		uint64_t value = 0;

		/* Past the TLB and without memory to spare a shadow may not find room: the bytes are what counts. */
		assert_int_equal(vm_read(g->vm, GPA((uint64_t)(1024 + k) << PAGE_SHIFT), &value, 8), 0);
		assert_int_equal(value, (uint64_t)g->vm->vmid << 32 | k);
	}
}

static void test_peer_no_frame_is_handed_out_twice(void **state)
{
	enum { VMS = 3, MAPPED = 3000 };

	for (unsigned i = 0; rig_scheme_at(i); i++) {
		struct rig_config c = {
			.scheme = rig_scheme_at(i), .preset = "generic", .ram = 16 << 20, .guest_pages = 8192,
		};
		struct rig_space s[VMS];
		unsigned stored[VMS];
		struct rig r;

		if (!strcmp(c.scheme, "native"))
			continue;
		rig_open_machine(&r, &c);
		for (unsigned n = 0; n < VMS; n++) {
			struct rig_vm *g = rig_vm_add(&r, &c);

			rig_space_init(&s[n], g);
			for (unsigned k = 0; k < MAPPED; k++)
				rig_map(&s[n], va + (k << PAGE_SHIFT), 1024 + k, 0, RIG_RIGHTS);
			rig_enter(&s[n]);
			/* A third each, then whatever is left. */
			for (unsigned k = 0; k < 1000; k++)
				assert_int_equal(vcpu_store(&g->v, SEG_PAGED, va + (k << PAGE_SHIFT), 8,
							    (uint64_t)g->vm->vmid << 32 | k), ACCESS_OK);
		}
		for (unsigned n = 0; n < VMS; n++)
			stored[n] = fill_up(&r.g[n], &s[n], 1000);
		assert_true(stored[0] < MAPPED);
		rig_audit(&r);
		/* No machine frame stands behind two guest frames. */
		for (uint64_t f = 1; f < r.m.first_table; f++)
			if (machine_frame(&r.m, MFN(f))->type == FRAME_GUEST)
				assert_int_equal(machine_frame(&r.m, MFN(f))->refs, 1);
		for (unsigned n = 0; n < VMS; n++)
			signatures_stand(&r.g[n], stored[n]);
		/* Nothing was lost: with memory back, the same store succeeds. */
		assert_int_equal(gfn_update(r.g[2].vm, GFN(1024), 256, &(struct gfn_change){ .op = GFN_OP_RELEASE }), 0);
		assert_int_equal(vcpu_store(&r.g[0].v, SEG_PAGED, va + ((uint64_t)stored[0] << PAGE_SHIFT), 8, 5), ACCESS_OK);
		assert_null(r.g[0].vm->crashed);
		signatures_stand(&r.g[0], stored[0]);
		signatures_stand(&r.g[1], stored[1]);
		rig_close(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_peer_tables_are_real_memory),
		cmocka_unit_test(test_peer_walk_cache_starts_at_the_right_level),
		cmocka_unit_test(test_peer_walk_cache_sees_a_changed_pointer),
		cmocka_unit_test(test_peer_walk_cache_of_freed_tables),
		cmocka_unit_test(test_peer_walk_cache_of_unwatched_walks),
		cmocka_unit_test(test_peer_walk_cache_of_unwatched_shadow_walks),
		cmocka_unit_test(test_peer_misses_are_counted_once),
		cmocka_unit_test(test_peer_faulting_references_are_not_done),
		cmocka_unit_test(test_peer_pieces_of_a_superpage),
		cmocka_unit_test(test_peer_a_bare_stage),
		cmocka_unit_test(test_peer_frames_are_reused),
		cmocka_unit_test(test_peer_root_reused_under_the_same_registers),
		cmocka_unit_test(test_peer_no_frame_is_handed_out_twice),
	};

	return cmocka_run_group_tests_name("mmu, faults of peers", tests, NULL, NULL);
}
