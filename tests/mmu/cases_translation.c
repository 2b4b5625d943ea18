/* SPDX-License-Identifier: MIT */
/*
 * Published facts about translation, each as a test named after its case:
 * composition, memslots and the steps of a shadow fault, superpages of two
 * stages, the x4 roots, encodings.
 */
#include "probe.h"
#include "mmu/shadow.h"

/* Gives the VM's gfn this machine frame: moves it until it stands there. */
static void place(struct rig_vm *g, uint64_t gfn, uint64_t mfn)
{
	struct machine *m = &g->rig->m;
	mfn_t held[4096];
	unsigned n = 0;

	/* Everything below and around is taken, so that only one frame is left to be found. */
	while (n < ARRAY_SIZE(held) && !buddy_alloc(m, 0, FRAME_TABLE, &held[n]))
		n++;
	bool freed = false;

	for (unsigned i = 0; i < n && !freed; i++)
		if (held[i].v == mfn) {
			buddy_free(m, held[i], 0);
			held[i] = held[--n];
			freed = true;
		}
	assert_true(freed);
	assert_int_equal(gfn_update(g->vm, GFN(gfn), 1, &(struct gfn_change){ .op = GFN_OP_BACK }), 0);
	while (n)
		buddy_free(m, held[--n], 0);
	assert_int_equal(rig_truth(g, gfn).v, mfn);
}

/* CS 423: guest 0 → 10, 2 → 3, 3 → 8; p2m 3 → 6, 8 → 10, 10 → 5; so shadow 0 → 5, 2 → 6, 3 → 10; 1 is a true fault. */
static void test_case_2_composition(void **state)
{
	for (unsigned i = 0; rig_scheme_at(i); i++) {
		struct rig_config c = { .scheme = rig_scheme_at(i), .ram = 4 << 20, .guest_pages = 256, .table_gfn = 32 };
		struct rig r;
		struct rig_space s;

		if (!strcmp(c.scheme, "native"))
			continue; /* its p2m is an addition */
		/* The VM takes frames at its creation: those of the case must still be free. */
		rig_open_machine(&r, &c);
		mfn_t low[11];

		for (unsigned k = 0; k < 10; k++)
			assert_int_equal(buddy_alloc(&r.m, 0, FRAME_TABLE, &low[k]), 0);
		struct rig_vm *g = rig_vm_add(&r, &c);

		/* The states of the guest's first 2 MiB come to be with its first frame. */
		assert_int_equal(gfn_update(g->vm, GFN(200), 1, &(struct gfn_change){ .op = GFN_OP_BACK }), 0);
		for (unsigned k = 0; k < 10; k++) {
			assert_int_equal(low[k].v, k + 1);
			buddy_free(&r.m, low[k], 0);
		}
		place(g, 3, 6);
		place(g, 8, 10);
		place(g, 10, 5);
		rig_space_init(&s, g);
		rig_map(&s, 0 << PAGE_SHIFT, 10, 0, RIG_RIGHTS);
		rig_map(&s, 2 << PAGE_SHIFT, 3, 0, RIG_RIGHTS);
		rig_map(&s, 3 << PAGE_SHIFT, 8, 0, RIG_RIGHTS);
		rig_enter(&s);
		assert_int_equal(rig_mfn(g, 0 << PAGE_SHIFT, ACC_READ).v, 5);
		assert_int_equal(rig_mfn(g, 2 << PAGE_SHIFT, ACC_WRITE).v, 6);
		assert_int_equal(rig_mfn(g, 3 << PAGE_SHIFT, ACC_EXEC).v, 10);
		uint64_t exits = g->vm->stats.true_faults;

		assert_int_equal(vcpu_touch(&g->v, SEG_PAGED, 1 << PAGE_SHIFT, ACC_READ, NULL), ACCESS_FAULT);
		assert_int_equal(g->v.fault.why, WALK_WHY_NOT_PRESENT);
		assert_int_equal(g->v.fault.gva.v, 1 << PAGE_SHIFT);
		assert_int_equal(g->vm->stats.true_faults, exits + 1);
		rig_close(&r);
	}
}

/* hva = userspace_addr + ((gfn - base) << 12), only inside the slot. */
static void test_case_3_memslot_boundaries(void **state)
{
	struct rig_config c = { .guest_base = 0x100, .guest_pages = 0x80 };
	struct rig r;
	uint64_t hva = 1;

	rig_open(&r, &c);
	struct rig_vm *g = &r.g[0];
	struct memslot *s = g->slot, *next;

	assert_false(memslot_gfn_to_hva(s, GFN(0xff), &hva));
	assert_int_equal(hva, 1);
	assert_true(memslot_gfn_to_hva(s, GFN(0x100), &hva));
	assert_int_equal(hva, s->userspace_addr);
	assert_true(memslot_gfn_to_hva(s, GFN(0x101), &hva));
	assert_int_equal(hva, s->userspace_addr + 0x1000);
	assert_true(memslot_gfn_to_hva(s, GFN(0x17f), &hva));
	assert_int_equal(hva, s->userspace_addr + 0x7f000);
	assert_false(memslot_gfn_to_hva(s, GFN(0x180), &hva));
	assert_null(memslot_find(g->vm, GFN(0xff)));
	assert_ptr_equal(memslot_find(g->vm, GFN(0x100)), s);
	assert_ptr_equal(memslot_find(g->vm, GFN(0x17f)), s);
	assert_null(memslot_find(g->vm, GFN(0x180)));
	/* One that begins where the other ends; no hva of it is in the other. */
	assert_int_equal(memslot_add(g->vm, GFN(0x180), 2, 0, &next), 0);
	assert_ptr_equal(memslot_find(g->vm, GFN(0x180)), next);
	assert_true(memslot_gfn_to_hva(next, GFN(0x180), &hva));
	assert_true(hva >= s->userspace_addr + 0x80000 || hva + 0x2000 <= s->userspace_addr);
	rig_close(&r);
}

struct steps {
	struct vm_log log;
	unsigned n;
	struct vm_fault_step step[16];
};

static void note_step(struct vm_log *log, const struct vm_fault_step *s)
{
	struct steps *st = container_of(log, struct steps, log);

	assert_true(st->n < ARRAY_SIZE(st->step));
	st->step[st->n++] = *s;
}

/* exit; error code; gva; gva → gfn; gfn → hva; hva → frame; entry set. */
static void test_case_3_seven_steps_of_a_shadow_fault(void **state)
{
	static const char *const want[] = {
		"exit", "error code", "gva", "gva to gfn", "gfn to hva", "hva to frame", "entry",
	};
	static const char *const schemes[] = { "shadow", "shadow+lazy", "shadow/inverted", "nested/radix" };

	for (unsigned i = 0; i < ARRAY_SIZE(schemes); i++) {
		struct rig_config c = { .scheme = schemes[i] };
		struct steps st = { .log.step = note_step };
		struct rig r;
		struct rig_space s;
		struct rig_log l;
		uint64_t hva;

		rig_open(&r, &c);
		struct rig_vm *g = &r.g[0];

		rig_space_init(&s, g);
		rig_map(&s, 0x400000, 100, 0, RIG_RIGHTS);
		rig_map(&s, 0x401000, 101, 0, RIG_RIGHTS);
		rig_enter(&s);
		/* The tables' own second-stage entries are made first: only the data's fault is looked at. */
		rig_mfn(g, 0x401000, ACC_READ);
		g->vm->log = &st.log;
		assert_int_equal(vcpu_touch(&g->v, SEG_PAGED, 0x400123, ACC_WRITE, NULL), ACCESS_OK);
		g->vm->log = NULL;
		assert_int_equal(st.n, ARRAY_SIZE(want));
		assert_true(memslot_gfn_to_hva(g->slot, GFN(100), &hva));
		for (unsigned k = 0; k < st.n; k++) {
			const struct vm_fault_step *f = &st.step[k];

			assert_string_equal(f->step, want[k]);
			assert_true(f->action && f->action[0]);
			assert_int_equal(f->gva.v, 0x400123);
			assert_true(f->error_code & PF_WRITE);
			assert_int_equal(f->gfn.v, k >= 3 ? 100 : INVALID_FRAME);
			assert_int_equal(f->hva, k >= 4 ? hva : 0);
			assert_int_equal(f->mfn.v, k >= 5 ? rig_truth(g, 100).v : INVALID_FRAME);
		}
		/* And an explanation hears the same, in the same order. */
		mmu_zap_gfns(g->mmu, GFN(100), 1);
		st.n = 0;
		rig_explain_steps(g, 0x400123, ACC_READ, &st.log, &l);
		assert_int_equal(st.n, ARRAY_SIZE(want));
		for (unsigned k = 0; k < st.n; k++)
			assert_string_equal(st.step[k].step, want[k]);
		assert_int_equal(l.e.hva, hva | 0x123);
		rig_close(&r);
	}
}

/* ---- case 5: VS 4 KiB leaves over one 2 MiB G-stage leaf at PPN 0x80200 ---- */

enum { CASE5_GFN = 0x80000, CASE5_MFN = 0x80200 };

/* Backs the guest's 2 MiB at CASE5_GFN by the machine's 2 MiB at CASE5_MFN. */
static void back_case5(struct rig_vm *g)
{
	struct machine *m = &g->rig->m;
	enum { HELD_MAX = 2048 };
	static mfn_t held[HELD_MAX];
	unsigned n = 0;
	struct gfn_change back = { .op = GFN_OP_BACK, .order = ORDER_2M };

	while (n < HELD_MAX && !buddy_alloc(m, ORDER_2M, FRAME_TABLE, &held[n])) {
		if (held[n].v == CASE5_MFN) {
			/* It alone is free while the guest's block is backed. */
			mfn_t it = held[n];

			while (n < HELD_MAX && !buddy_alloc(m, ORDER_2M, FRAME_TABLE, &held[n]))
				n++;
			buddy_free(m, it, ORDER_2M);
			assert_int_equal(gfn_update(g->vm, GFN(CASE5_GFN), GFN_BLOCK, &back), 0);
			break;
		}
		n++;
	}
	while (n)
		buddy_free(m, held[--n], ORDER_2M);
	assert_int_equal(rig_truth(g, CASE5_GFN).v, CASE5_MFN);
}

static void case5(const char *preset, bool tables_under_the_leaf, unsigned cold_refs)
{
	struct rig_config c = {
		.guest = "sv39", .preset = preset, .ram = (CASE5_MFN + UINT64_C(8192)) << PAGE_SHIFT,
		.guest_base = CASE5_GFN, .guest_pages = 1024,
		.table_gfn = CASE5_GFN + (tables_under_the_leaf ? 0x100 : 0x240),
	};
	struct rig r;
	struct rig_space s;
	struct rig_log l;
	const uint64_t va = UINT64_C(0x12345000);

	rig_open(&r, &c);
	struct rig_vm *g = &r.g[0];

	back_case5(g);
	rig_space_init(&s, g);
	rig_map(&s, va, 0x80010, 0, RIG_RIGHTS);
	rig_map(&s, va + 0x1000, 0x80020, 0, RIG_RIGHTS);
	rig_enter(&s);
	/* Cold, each. */
	rig_explain(g, va, ACC_READ, RIG_COLD, &l);
	assert_int_equal(l.e.hpa.v, UINT64_C(0x80210) << PAGE_SHIFT);
	rig_explain(g, va + 0x1000, ACC_READ, RIG_COLD, &l);
	assert_int_equal(l.e.hpa.v, UINT64_C(0x80220) << PAGE_SHIFT);
	/* Warm: whatever the first left in TLBs and walk caches must not be taken for the second's. */
	flush_vm(g->mmu);
	assert_int_equal(rig_mfn(g, va, ACC_READ).v, 0x80210);
	assert_int_equal(rig_mfn(g, va + 0x1000, ACC_READ).v, 0x80220);
	assert_int_equal(rig_mfn(g, va, ACC_WRITE).v, 0x80210);
	assert_int_equal(rig_mfn(g, va + 0x1000, ACC_WRITE).v, 0x80220);
	if (!strcmp(preset, "none")) {
		rig_explain(g, va, ACC_READ, RIG_COLD, &l);
		assert_int_equal(l.refs, cold_refs);
		probe_each_load(g, va, ACC_READ, &l);
	}
	/* The guest's pages stay pages of 4 KiB. */
	assert_int_equal(l.e.order, 0);
	rig_close(&r);
}

static void test_case_5_two_stage_superpages(void **state)
{
	static const char *const presets[] = { "none", "rocket", "u74", "generic", "zen2" };

	for (unsigned i = 0; i < ARRAY_SIZE(presets); i++) {
		case5(presets[i], true, 11);
		case5(presets[i], false, 14);
	}
}

/* ---- case 6 ---- */

static const struct {
	const char *name;
	unsigned bits;
} x4[] = { { "sv39", 41 }, { "sv48", 50 }, { "sv57", 59 } };

static void second_stage_req(struct rig_vm *g, uint64_t gpa, enum acc_kind kind, struct walk_req *req)
{
	*req = (struct walk_req){
		.va = gpa, .space = g->mmu->gpa_space, .kind = kind, .user = true, .ctl = CTL_DEFAULT,
		.ad = WALK_AD_PEEK, .second_stage = true, .start_level = -1,
	};
}

/* Roots of 16 KiB, so aligned; the two topmost bits of a gpa are told apart; any above them is refused. */
static void test_case_6_x4_roots(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(x4); i++) {
		/* Guest memory as high as gfns go (40 bits) or the second stage reaches. */
		unsigned bits = MIN(x4[i].bits, 52u);
		struct rig_config c = {
			.guest = x4[i].name, .guest_base = (UINT64_C(1) << (bits - PAGE_SHIFT)) - 64, .guest_pages = 64,
		};
		struct rig r;
		struct rig_space s;
		struct memslot *low;
		struct walk_req req;
		struct walk w;
		uint64_t top = c.guest_base + 63;

		rig_open(&r, &c);
		struct rig_vm *g = &r.g[0];
		struct pt *pt = g->mmu->p2m;

		assert_true(is_aligned(pt->root, 16384));
		assert_int_equal(pt->mem->table_bytes, 16384);
		/* The same address but for one of the two bits that x4 adds. */
		uint64_t twin = top & ~BIT(bits - 1 - PAGE_SHIFT);

		assert_int_equal(memslot_add(g->vm, GFN(twin), 1, 0, &low), 0);
		rig_space_init(&s, g);
		rig_map(&s, 0x400000, top, 0, RIG_RIGHTS);
		rig_map(&s, 0x401000, twin, 0, RIG_RIGHTS);
		rig_enter(&s);
		rig_leads_to(g, 0x400000, ACC_WRITE, top);
		rig_leads_to(g, 0x401000, ACC_WRITE, twin);
		assert_int_not_equal(rig_truth(g, top).v, rig_truth(g, twin).v);
		/* A violation of the width, at each bit above. */
		for (unsigned b = x4[i].bits; b < 64; b++) {
			second_stage_req(g, (top << PAGE_SHIFT) | BIT(b), ACC_READ, &req);
			pt->org->lookup(pt, &req, &w);
			assert_int_equal(w.status, WALK_FAULT);
			assert_int_equal(w.why, WALK_WHY_CANONICAL);
		}
		second_stage_req(g, top << PAGE_SHIFT, ACC_READ, &req);
		pt->org->lookup(pt, &req, &w);
		assert_int_equal(w.status, WALK_OK);
		rig_close(&r);
	}
}

/* The guest's entry leads to a gpa that is too wide: its fault, of the original access's kind. */
static void test_case_6_a_gpa_too_wide(void **state)
{
	struct rig_config c = { .guest = "sv39" };

	for (unsigned at_level = 0; at_level < 3; at_level++)
		for (int kind = ACC_READ; kind < ACC_KINDS; kind++) {
			struct rig r;
			struct rig_space s;

			rig_open(&r, &c);
			struct rig_vm *g = &r.g[0];

			rig_space_init(&s, g);
			rig_map(&s, 0x400000, 77, 0, RIG_RIGHTS);
			uint64_t wide = BIT(41 - PAGE_SHIFT);

			rig_set_pte(&s, 0x400000, at_level,
				    at_level ? gpt_make_table(g->guest_fmt, at_level, wide) :
				    gpt_make_leaf(g->guest_fmt, 0, wide, RIG_RIGHTS));
			rig_enter(&s);
			assert_int_equal(vcpu_touch(&g->v, SEG_PAGED, 0x400000, (enum acc_kind)kind, NULL), ACCESS_FAULT);
			assert_int_equal(g->v.fault.kind, kind);
			assert_int_equal(g->v.fault.gva.v, 0x400000);
			assert_int_equal(g->v.fault.why, WALK_WHY_BUS);
			rig_close(&r);
		}
}

/* "A load of a VS-stage entry that fails is reported with the original access's type", under every scheme alike. */
static void test_case_6_type_of_the_original_access(void **state)
{
	static const char *const formats[] = { "sv39", "x86-64", "x86-32" };

	for (unsigned n = 0; n < ARRAY_SIZE(formats); n++)
		for (unsigned at_level = 0; at_level < 2; at_level++)
			for (int kind = ACC_READ; kind < ACC_KINDS; kind++) {
				uint32_t first_code = 0;

				for (unsigned i = 0; rig_scheme_at(i); i++) {
					struct rig_config c = { .scheme = rig_scheme_at(i), .guest = formats[n] };
					struct rig r;
					struct rig_space s;

					rig_open(&r, &c);
					struct rig_vm *g = &r.g[0];
					uint64_t nowhere = c.guest_base + 4096 + 5;

					rig_space_init(&s, g);
					rig_map(&s, 0x400000, 77, 0, RIG_RIGHTS);
					rig_set_pte(&s, 0x400000, at_level,
						    at_level ? gpt_make_table(g->guest_fmt, 1, nowhere) :
						    gpt_make_leaf(g->guest_fmt, 0, nowhere, RIG_RIGHTS));
					rig_enter(&s);
					assert_int_equal(vcpu_touch(&g->v, SEG_PAGED, 0x400010, (enum acc_kind)kind, NULL),
							 ACCESS_FAULT);
					assert_int_equal(g->v.fault.kind, kind);
					assert_int_equal(g->v.fault.gva.v, 0x400010);
					assert_int_equal(g->v.fault.why, WALK_WHY_BUS);
					if (!i)
						first_code = g->v.fault.error_code;
					if (g->v.fault.error_code != first_code)
						fail_msg("%s, %s, level %u, kind %d: error code %x, under %s %x", c.scheme,
							 formats[n], at_level, kind, g->v.fault.error_code,
							 rig_scheme_at(0), first_code);
					rig_close(&r);
				}
			}
}

/* All G-stage accesses are user accesses: U = 0 is a violation, for the guest's supervisor too. */
static void test_case_6_u_clear_in_the_second_stage(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(x4); i++)
		for (int user = 0; user < 2; user++) {
			struct rig_config c = { .guest = x4[i].name };
			struct rig r;
			struct rig_space s;
			struct rig_log l;
			struct mmu_fault f;

			rig_open(&r, &c);
			struct rig_vm *g = &r.g[0];

			g->v.user = user;
			rig_space_init(&s, g);
			rig_map(&s, 0x400000, 77, 0, user ? RIG_RIGHTS : RIG_RIGHTS & ~RIGHT_U);
			rig_enter(&s);
			rig_leads_to(g, 0x400000, ACC_WRITE, 77);
			rig_explain(g, 0x400000, ACC_READ, RIG_COLD, &l);
			/* Each leaf of the second stage that the walk read: the guest tables' and the data's. */
			unsigned leaves = 0;

			for (unsigned k = l.start; k < l.n; k++) {
				uint8_t *p = machine_ptr(&r.m, l.ref[k].hpa);
				uint64_t pte = l.ref[k].value, without = pte & ~g->host_fmt->user;

				if (l.ref[k].mem == &g->mmu->hw.m || l.ref[k].note.level)
					continue;
				leaves++;
				assert_true(pte & g->host_fmt->user);
				memcpy(p, &without, 8);
				assert_int_equal(rig_walk(g, 0x400000, ACC_READ, &f), WALKED_HELP);
				memcpy(p, &pte, 8);
			}
			assert_int_equal(leaves, g->guest_fmt->levels + 1u);
			assert_int_equal(rig_walk(g, 0x400000, ACC_READ, &f), WALKED_OK);
			rig_close(&r);
		}
}

/* ---- case 8, through the whole of it ---- */

struct encoding {
	const char *what;
	unsigned level;
	uint64_t (*make)(const struct gpt_format *f, unsigned level);
	enum walk_why why;
};

static uint64_t misaligned(const struct gpt_format *f, unsigned level)
{
	return gpt_make_leaf(f, level, 0, RIG_RIGHTS) | UINT64_C(1) << f->pfn_shift;
}

static uint64_t write_without_read(const struct gpt_format *f, unsigned level)
{
	return (gpt_make_leaf(f, level, 0, RIG_RIGHTS) & ~f->read & ~f->exec);
}

static uint64_t write_exec_without_read(const struct gpt_format *f, unsigned level)
{
	return gpt_make_leaf(f, level, 0, RIG_RIGHTS) & ~f->read;
}

static uint64_t reserved_top_bits(const struct gpt_format *f, unsigned level)
{
	return gpt_make_leaf(f, level, 0, RIG_RIGHTS) | UINT64_C(1) << 54;
}

static uint64_t invalid(const struct gpt_format *f, unsigned level)
{
	return gpt_make_leaf(f, level, 0, RIG_RIGHTS) & ~f->valid;
}

static void test_case_8_encodings(void **state)
{
	static const struct encoding x[] = {
		{ "misaligned 2 MiB", 1, misaligned, WALK_WHY_RESERVED },
		{ "misaligned 1 GiB", 2, misaligned, WALK_WHY_RESERVED },
		{ "R=0 W=1", 0, write_without_read, WALK_WHY_RESERVED },
		{ "R=0 W=1 X=1", 0, write_exec_without_read, WALK_WHY_RESERVED },
		{ "R=0 W=1 at 2 MiB", 1, write_without_read, WALK_WHY_RESERVED },
		{ "bit 54", 0, reserved_top_bits, WALK_WHY_RESERVED },
		{ "V=0", 0, invalid, WALK_WHY_NOT_PRESENT },
	};

	for (unsigned i = 0; rig_scheme_at(i); i++) {
		struct rig_config c = { .scheme = rig_scheme_at(i), .guest = "sv39" };
		struct rig r;
		struct rig_space s;

		rig_open(&r, &c);
		struct rig_vm *g = &r.g[0];

		rig_space_init(&s, g);
		for (unsigned k = 0; k < ARRAY_SIZE(x); k++) {
			uint64_t va = (k + 1) * (UINT64_C(1) << 30);

			rig_map(&s, va, 0, x[k].level * 9, RIG_RIGHTS);
			if (!k)
				rig_enter(&s);
			rig_leads_to(g, va, ACC_READ, 0);
			rig_set_pte(&s, va, x[k].level, x[k].make(g->guest_fmt, x[k].level));
			for (int kind = ACC_READ; kind < ACC_KINDS; kind++) {
				enum access_status st = vcpu_touch(&g->v, SEG_PAGED, va, (enum acc_kind)kind, NULL);

				if (st != ACCESS_FAULT || g->v.fault.why != x[k].why)
					fail_msg("%s: %s, kind %d: %d, %s", c.scheme, x[k].what, kind, st,
						 walk_why_name(g->v.fault.why));
			}
		}
		/* Bits 63:39 must all be as bit 38. */
		static const uint64_t odd[] = {
			UINT64_C(1) << 38, UINT64_C(1) << 39, UINT64_C(1) << 63, UINT64_C(0xffffffbf00000000), UINT64_C(1) << 62,
		};

		for (unsigned k = 0; k < ARRAY_SIZE(odd); k++) {
			assert_int_equal(vcpu_touch(&g->v, SEG_PAGED, odd[k], ACC_READ, NULL), ACCESS_FAULT);
			assert_int_equal(g->v.fault.why, WALK_WHY_CANONICAL);
		}
		/* The upper half's lowest address is one like any other. */
		rig_map(&s, UINT64_C(0xffffffc000000000), 50, 0, RIG_RIGHTS);
		rig_leads_to(g, UINT64_C(0xffffffc000000000), ACC_WRITE, 50);
		rig_close(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_case_2_composition),
		cmocka_unit_test(test_case_3_memslot_boundaries),
		cmocka_unit_test(test_case_3_seven_steps_of_a_shadow_fault),
		cmocka_unit_test(test_case_5_two_stage_superpages),
		cmocka_unit_test(test_case_6_x4_roots),
		cmocka_unit_test(test_case_6_a_gpa_too_wide),
		cmocka_unit_test(test_case_6_type_of_the_original_access),
		cmocka_unit_test(test_case_6_u_clear_in_the_second_stage),
		cmocka_unit_test(test_case_8_encodings),
	};

	return cmocka_run_group_tests_name("mmu cases", tests, NULL, NULL);
}
