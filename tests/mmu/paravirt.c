/* SPDX-License-Identifier: MIT */
/* Paravirtualised tables: what hardware reads of them, what is refused, and that the guest sees them as it made them. */
#include "probe.h"

static const uint64_t va0 = UINT64_C(0x40201000);
enum { PAGES = 16, DATA = 2000 };

/* Tables are built as memory, and become tables then. */
static void pin_all(struct rig_vm *g)
{
	for (uint64_t gfn = g->c.guest_base + 1; gfn < g->next_gfn; gfn++)
		assert_int_equal(vcpu_pv_pin(&g->v, GFN(gfn)), ACCESS_OK);
}

static struct rig_vm *open_pinned(struct rig *r, struct rig_space *s, const struct rig_config *base)
{
	struct rig_config c = *base;

	c.scheme = "paravirt";
	c.paravirt = PARAVIRT_KNOWN;
	rig_open(r, &c);
	struct rig_vm *g = &r->g[0];

	rig_space_init(s, g);
	for (unsigned i = 0; i < PAGES; i++)
		rig_map(s, va0 + i * PAGE_SIZE, DATA + i, 0, RIG_RIGHTS);
	pin_all(g);
	rig_enter(s);
	return g;
}

/* What the guest reads of an entry. */
static uint64_t seen(struct rig_space *s, uint64_t addr)
{
	uint64_t pte = rig_peek(s->g, addr, s->p.params.fmt->entry_size);

	mmu_guest_view(s->g->mmu, GPA(addr), &pte, s->p.params.fmt->entry_size);
	return pte;
}

/* The leaf entry's address: the way down, as the guest sees it. */
static uint64_t leaf_addr(struct rig_space *s, uint64_t va)
{
	const struct gpt_format *f = s->p.params.fmt;
	uint64_t table = s->p.root;

	for (unsigned l = f->levels - 1u; l > 0; l--)
		table = gpt_frame(f, seen(s, table + gpt_index(f, l, va, false) * f->entry_size)) << PAGE_SHIFT;
	return table + gpt_index(f, 0, va, false) * f->entry_size;
}

static enum access_status set(struct rig_vm *g, uint64_t addr, uint64_t pte)
{
	unsigned done;

	return vcpu_pv_update(&g->v, &(struct pv_update){ addr, pte }, 1, &done);
}

/* ---- counts ---- */

static void test_native_references(void **state)
{
	for (unsigned i = 0; rig_format_at(i); i++) {
		const struct gpt_format *f = rig_format_at(i);
		struct rig_config c = { .guest = f->name, .scheme = "paravirt", .paravirt = PARAVIRT_KNOWN,
					.guest_pages = f->va_bits == 16 ? 16 : 4096 };
		uint64_t va = rig_va(f), gfn = c.guest_pages - 1;
		struct rig_space s;
		struct rig_log l;
		struct rig r;

		rig_open(&r, &c);
		struct rig_vm *g = &r.g[0];

		rig_space_init(&s, g);
		rig_map(&s, va, gfn, 0, RIG_RIGHTS);
		pin_all(g);
		rig_enter(&s);
		rig_leads_to(g, va, ACC_WRITE, gfn);
		rig_explain(g, va, ACC_READ, RIG_COLD, &l);
		assert_int_equal(l.refs, rig_levels(f));
		assert_int_equal(l.e.references, rig_levels(f));
		assert_int_equal(l.e.depth, rig_levels(f));
		probe_each_load(g, va, ACC_READ, &l);
		uint64_t tables, metadata;

		mmu_bytes(g->mmu, &tables, &metadata);
		assert_int_equal(tables, 0);
		rig_close(&r);
	}
}

/* ---- the bytes ---- */

/* Hardware's entry has the machine's frame; a zap takes it out, the guest sees the same throughout. */
static void test_entered_and_held(void **state)
{
	static const char *const formats[] = { "x86-64", "sv39", "x86-32", "x86-pae" };

	for (unsigned i = 0; i < ARRAY_SIZE(formats); i++) {
		struct rig_space s;
		struct rig r;
		struct rig_vm *g = open_pinned(&r, &s, &(struct rig_config){ .guest = formats[i], .preset = "generic" });
		const struct gpt_format *f = g->guest_fmt;
		uint64_t addr = leaf_addr(&s, va0), want = seen(&s, addr);

		assert_int_equal(gpt_frame(f, want), DATA);
		assert_true(gpt_is_present(f, want));
		for (unsigned n = 0; n < 3; n++) {
			rig_leads_to(g, va0, ACC_WRITE, DATA);
			assert_int_equal(gpt_frame(f, rig_peek(g, addr, f->entry_size)), rig_truth(g, DATA).v);
			assert_int_equal(seen(&s, addr), want);
			rig_audit(&r);
			if (n == 0)
				assert_int_equal(gfn_update(g->vm, GFN(DATA), 1, &(struct gfn_change){ .op = GFN_OP_MOVE }), 0);
			else
				mmu_zap_all(g->mmu);
			assert_false(gpt_is_present(f, rig_peek(g, addr, f->entry_size)));
			assert_int_equal(seen(&s, addr), want);
			rig_audit(&r);
		}
		/* Tables stay where they are; a zap of one is mended on the way. */
		assert_int_equal(gfn_update(g->vm, GFN(addr >> PAGE_SHIFT), 1, &(struct gfn_change){ .op = GFN_OP_MOVE }), -EBUSY);
		mmu_zap_gfns(g->mmu, GFN(0), 64);
		rig_leads_to(g, va0 + PAGE_SIZE, ACC_READ, DATA + 1);
		rig_audit(&r);
		rig_close(&r);
	}
}

static void test_shared_frames(void **state)
{
	struct rig_space s;
	struct rig r;
	struct rig_vm *g = open_pinned(&r, &s, &(struct rig_config){ .preset = "generic" });
	uint64_t value, want[2] = { seen(&s, leaf_addr(&s, va0)), seen(&s, leaf_addr(&s, va0 + PAGE_SIZE)) };

	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(vcpu_load(&g->v, SEG_PAGED, va0 + i * PAGE_SIZE, 8, &value), ACCESS_OK);
	assert_int_equal(gfn_update(g->vm, GFN(DATA), 1,
				    &(struct gfn_change){ .op = GFN_OP_SHARE, .mfn = rig_truth(g, DATA + 1) }), 0);
	for (unsigned n = 0; n < 2; n++)
		for (unsigned i = 0; i < 2; i++) {
			rig_leads_to(g, va0 + i * PAGE_SIZE, ACC_READ, DATA + i);
			assert_int_equal(seen(&s, leaf_addr(&s, va0 + i * PAGE_SIZE)), want[i]);
			rig_audit(&r);
		}
	assert_int_equal(vcpu_store(&g->v, SEG_PAGED, va0, 8, 77), ACCESS_OK);
	assert_int_equal(vcpu_load(&g->v, SEG_PAGED, va0 + PAGE_SIZE, 8, &value), ACCESS_OK);
	assert_int_equal(value, 0);
	assert_int_not_equal(rig_truth(g, DATA).v, rig_truth(g, DATA + 1).v);
	rig_audit(&r);
	rig_close(&r);
}

static void test_dirty_log(void **state)
{
	struct rig_space s;
	struct rig r;
	struct rig_vm *g = open_pinned(&r, &s, &(struct rig_config){ .preset = "generic" });
	uint64_t addr = leaf_addr(&s, va0 + PAGE_SIZE), bitmap[4096 / 64], value;

	rig_leads_to(g, va0, ACC_WRITE, DATA);
	vm_dirty_start(g->vm);
	assert_int_equal(vcpu_load(&g->v, SEG_PAGED, va0, 8, &value), ACCESS_OK);
	assert_int_equal(vm_dirty_read(g->vm, GFN(0), 4096, bitmap), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(bitmap); i++)
		assert_int_equal(bitmap[i], 0);
	assert_int_equal(vcpu_store(&g->v, SEG_PAGED, va0, 8, 1), ACCESS_OK);
	assert_int_equal(set(g, addr, 0), ACCESS_OK);
	assert_int_equal(vm_dirty_read(g->vm, GFN(0), 4096, bitmap), 0);
	uint64_t table = addr >> PAGE_SHIFT;

	for (uint64_t gfn = 0; gfn < 4096; gfn++)
		assert_int_equal(bitmap[gfn / 64] >> gfn % 64 & 1, gfn == DATA || gfn == table);
	rig_audit(&r);
	rig_close(&r);
}

/* ---- updates ---- */

static void test_updates(void **state)
{
	struct rig_space s;
	struct rig r;
	struct rig_vm *g = open_pinned(&r, &s, &(struct rig_config){ .preset = "generic" });
	struct pv_update u[PAGES];
	uint64_t exits = g->vm->stats.exit_by[EXIT_HYPERCALL];
	unsigned done;

	for (unsigned i = 0; i < PAGES; i++)
		rig_leads_to(g, va0 + i * PAGE_SIZE, ACC_WRITE, DATA + i);
	for (unsigned i = 0; i < PAGES; i++)
		u[i] = (struct pv_update){ leaf_addr(&s, va0 + i * PAGE_SIZE),
					   i % 3 ? gpt_make_leaf(g->guest_fmt, 0, DATA + 100 + i, RIG_RIGHTS) : 0 };
	assert_int_equal(vcpu_pv_update(&g->v, u, PAGES, &done), ACCESS_OK);
	assert_int_equal(done, PAGES);
	assert_int_equal(g->vm->stats.exit_by[EXIT_HYPERCALL], exits + 1);
	assert_int_equal(g->vm->stats.pv_updates, PAGES);
	/* No fence: what TLBs had from them is gone. */
	for (unsigned i = 0; i < PAGES; i++) {
		if (i % 3)
			rig_leads_to(g, va0 + i * PAGE_SIZE, ACC_WRITE, DATA + 100 + i);
		else
			assert_int_equal(vcpu_touch(&g->v, SEG_PAGED, va0 + i * PAGE_SIZE, ACC_READ, NULL), ACCESS_FAULT);
		assert_int_equal(seen(&s, u[i].gpa), u[i].value);
	}
	rig_audit(&r);
	rig_close(&r);
}

/* Given back, a table is memory with the bytes that the guest saw. */
static void test_given_back(void **state)
{
	struct rig_space s;
	struct rig r;
	struct rig_vm *g = open_pinned(&r, &s, &(struct rig_config){ 0 });
	uint8_t before[PAGE_SIZE], after[PAGE_SIZE];

	for (unsigned i = 0; i < PAGES; i += 2)
		rig_leads_to(g, va0 + i * PAGE_SIZE, ACC_WRITE, DATA + i);
	for (uint64_t gfn = 1; gfn < g->next_gfn; gfn++) {
		assert_int_equal(vm_read(g->vm, gfn_to_gpa(GFN(gfn)), before, PAGE_SIZE), 0);
		mmu_guest_view(g->mmu, gfn_to_gpa(GFN(gfn)), before, PAGE_SIZE);
		assert_int_equal(vcpu_pv_unpin(&g->v, GFN(gfn)), ACCESS_OK);
		assert_int_equal(vm_read(g->vm, gfn_to_gpa(GFN(gfn)), after, PAGE_SIZE), 0);
		assert_memory_equal(before, after, PAGE_SIZE);
	}
	rig_close(&r);
}

/* ---- what is refused ---- */

enum crime {
	MAP_A_TABLE, MAP_A_TABLE_ABOVE, SUPERPAGE, POINT_TO_MEMORY, WRONG_LEVEL, NOT_PRESENT_BITS, RESERVED, NOT_PINNED,
	UNALIGNED, PIN_TWICE, PIN_MAPPED, PIN_NOWHERE, UNPIN_MEMORY, ROOT_OF_MEMORY, ROOT_OF_LEVEL, STORE, DEVICE_STORE,
	CRIMES
};

static void commit(enum crime what, struct rig_vm *g, struct rig_space *s)
{
	const struct gpt_format *f = g->guest_fmt;
	uint64_t leaf = leaf_addr(s, va0), table = leaf >> PAGE_SHIFT, root = s->p.root;
	struct rig_space other = *s;
	uint64_t bytes = 1;

	switch (what) {
	case MAP_A_TABLE: set(g, leaf, gpt_make_leaf(f, 0, root >> PAGE_SHIFT, RIG_RIGHTS)); break;
	case MAP_A_TABLE_ABOVE: set(g, root, gpt_make_leaf(f, 0, table, RIG_RIGHTS)); break;
	case SUPERPAGE:
		for (unsigned l = 1; l < 2; l++)
			other.p.root = gpt_frame(f, seen(s, root + gpt_index(f, 3, va0, false) * 8)) << PAGE_SHIFT;
		set(g, (gpt_frame(f, seen(s, other.p.root + gpt_index(f, 2, va0, false) * 8)) << PAGE_SHIFT) + 8 * 500,
		    gpt_make_leaf(f, 1, 1024, RIG_RIGHTS));
		break;
	case POINT_TO_MEMORY: set(g, root + 8, gpt_make_table(f, 3, DATA)); break;
	case WRONG_LEVEL: set(g, root + 8, gpt_make_table(f, 3, table)); break;
	case NOT_PRESENT_BITS: set(g, leaf, 0x7000); break;
	case RESERVED: set(g, root + 8, gpt_make_table(f, 3, table) | f->page_size); break;
	case NOT_PINNED: set(g, gfn_to_gpa(GFN(DATA + 500)).v, 0); break;
	case UNALIGNED: set(g, leaf + 1, 0); break;
	case PIN_TWICE: vcpu_pv_pin(&g->v, GFN(table)); break;
	case PIN_MAPPED: vcpu_pv_pin(&g->v, GFN(DATA)); break;
	case PIN_NOWHERE: vcpu_pv_pin(&g->v, GFN(UINT64_C(1) << 30)); break;
	case UNPIN_MEMORY: vcpu_pv_unpin(&g->v, GFN(DATA)); break;
	case ROOT_OF_MEMORY:
		other.p.root = (DATA + 600) << PAGE_SHIFT;
		vcpu_set_paging(&g->v, &other.p, ROOT_KEEP);
		vcpu_touch(&g->v, SEG_PAGED, va0, ACC_READ, NULL);
		break;
	case ROOT_OF_LEVEL:
		other.p.root = table << PAGE_SHIFT;
		vcpu_set_paging(&g->v, &other.p, ROOT_KEEP);
		vcpu_touch(&g->v, SEG_PAGED, va0, ACC_READ, NULL);
		break;
	case STORE: vcpu_store(&g->v, SEG_BARE, leaf, 8, 0); break;
	default: vm_write(g->vm, GPA(leaf), &bytes, 8);
	}
}

static void test_refused(void **state)
{
	for (unsigned what = 0; what < CRIMES; what++) {
		struct rig_space s;
		struct rig r;
		struct rig_vm *g = open_pinned(&r, &s, &(struct rig_config){ .preset = "generic" });
		uint64_t value;

		rig_leads_to(g, va0, ACC_WRITE, DATA);
		commit((enum crime)what, g, &s);
		if (!g->vm->crashed)
			fail_msg("crime %u was not refused", what);
		assert_int_equal(vcpu_load(&g->v, SEG_PAGED, va0, 8, &value), ACCESS_CRASH);
		rig_audit(&r);
		rig_close(&r);
	}
}

static void test_not_possible(void **state)
{
	static const enum mmu_paravirt no[] = { PARAVIRT_UNKNOWN, PARAVIRT_NO_TREE, PARAVIRT_SUPERPAGES };

	for (unsigned i = 0; i < ARRAY_SIZE(no); i++) {
		struct rig r;

		assert_false(rig_open_if_possible(&r, &(struct rig_config){ .scheme = "paravirt", .paravirt = no[i] }));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_native_references),
		cmocka_unit_test(test_entered_and_held),
		cmocka_unit_test(test_shared_frames),
		cmocka_unit_test(test_dirty_log),
		cmocka_unit_test(test_updates),
		cmocka_unit_test(test_given_back),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_not_possible),
	};

	return cmocka_run_group_tests_name("mmu paravirt", tests, NULL, NULL);
}
