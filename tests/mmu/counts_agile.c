/* SPDX-License-Identifier: MIT */
/*
 * References of agile paging: with the k lowest of g levels nested and a
 * shadow of s levels, (s − k) + (h + 1) k; all of them nested but the root's
 * frame known, (h + 1) g; wholly nested, (g + 1)(h + 1) − 1. Measured from
 * logged loads; every load must be one that the translation needs.
 */
#include "mmu/agile.h"
#include "probe.h"

static uint64_t table_gfn(struct rig_space *s, uint64_t va, unsigned level)
{
	return rig_pte_addr(s, va, level) >> PAGE_SHIFT;
}

/* The k lowest levels of the tables for va become nested, those above them shadow. */
static void nest(struct rig_space *s, uint64_t va, unsigned k)
{
	struct mmu *mmu = s->g->mmu;
	unsigned levels = s->g->guest_fmt->levels;

	mmu->agile->frozen = true;
	agile_set_whole(mmu, false);
	for (unsigned l = levels; l-- > 0;) {
		if (l >= k)
			assert_true(agile_make_shadow(mmu, table_gfn(s, va, l)));
		else
			agile_make_nested(mmu, table_gfn(s, va, l));
	}
}

static void expect(struct rig_space *s, uint64_t va, uint64_t gfn, unsigned want)
{
	struct rig_log l;

	for (int kind = ACC_READ; kind < ACC_KINDS; kind++) {
		rig_leads_to(s->g, va, (enum acc_kind)kind, gfn);
		rig_explain(s->g, va, (enum acc_kind)kind, RIG_COLD, &l);
		assert_int_equal(l.e.status, ACCESS_OK);
		if (l.refs != want)
			fail_msg("%s on %s: %u references, not %u", s->g->guest_fmt->name, s->g->host_fmt->name,
				 (unsigned)l.refs, want);
		assert_int_equal(l.e.references, want);
		assert_int_equal(l.e.depth, want);
		assert_int_equal(l.start, 0);
		probe_each_load(s->g, va, (enum acc_kind)kind, &l);
	}
}

static void measure(const char *guest, const char *host, unsigned g, unsigned h, unsigned shadow)
{
	struct rig_config c = { .scheme = "agile", .guest = guest, .host = host };
	struct rig r;
	struct rig_space s;

	rig_open(&r, &c);
	struct rig_vm *vm = &r.g[0];
	uint64_t va = rig_va(vm->guest_fmt), gfn = vm->slot->npages - 1;

	rig_space_init(&s, vm);
	rig_map(&s, va, gfn, 0, RIG_RIGHTS);
	rig_enter(&s);
	expect(&s, va, gfn, (g + 1) * (h + 1) - 1);
	for (unsigned k = 0; k <= g; k++) {
		nest(&s, va, k);
		expect(&s, va, gfn, k == g ? (h + 1) * g : shadow - k + (h + 1) * k);
		rig_audit(&r);
	}
	/* And back: the walks find out by themselves that more is shadowed. */
	for (unsigned k = g; k-- > 0;) {
		nest(&s, va, k);
		expect(&s, va, gfn, shadow - k + (h + 1) * k);
	}
	rig_close(&r);
}

/* 4, 8, 12, 16, 20; wholly nested 24. */
static void test_four_on_four(void **state)
{
	measure("x86-64", "x86-64", 4, 4, 4);
	measure("sv48", "sv48", 4, 4, 4);
	measure("sv48", "x86-64", 4, 4, 4);
	measure("x86-64", "sv48", 4, 4, 4);
}

static void test_other_levels(void **state)
{
	measure("x86-32", "x86-32", 2, 2, 2);
	measure("sv39", "sv39", 3, 3, 3);
	measure("sv57", "sv57", 5, 5, 5);
	measure("x86-64-5l", "x86-64-5l", 5, 5, 5);
	measure("x86-pae+pdpte=memory", "x86-pae+pdpte=memory", 3, 3, 3);
}

/* The shadow has the format of the one that reaches further. */
static void test_formats_that_differ(void **state)
{
	measure("x86-64", "x86-64-5l", 4, 5, 5);
	measure("x86-64-5l", "x86-64", 5, 4, 5);
	measure("sv39", "x86-64", 3, 4, 4);
	measure("sv57", "sv48", 5, 4, 5);
}

/* Of a guest with two levels of 10 bits, quadrants of one table: each has its switch. */
static void test_ten_bits_on_nine(void **state)
{
	struct rig_config c = { .scheme = "agile", .guest = "x86-32", .host = "x86-64" };
	struct rig r;
	struct rig_space s;

	rig_open(&r, &c);
	rig_space_init(&s, &r.g[0]);
	uint64_t va = 0x40000000, other = va + (3 << 20);

	rig_map(&s, va, 1000, 0, RIG_RIGHTS);
	rig_map(&s, other, 1001, 0, RIG_RIGHTS);
	rig_enter(&s);
	nest(&s, va, 1);
	/* Three levels of the shadow, the guest's leaf table, and the p2m. */
	expect(&s, va, 1000, 3 + 1 + 4);
	expect(&s, other, 1001, 3 + 1 + 4);
	nest(&s, va, 0);
	expect(&s, va, 1000, 4);
	expect(&s, other, 1001, 4);
	rig_close(&r);
}

/* Stores to a nested table cost no exit; to a shadowed one, one each, until they were too many. */
static void test_writes(void **state)
{
	struct rig_config c = { .scheme = "agile" };
	struct rig r;
	struct rig_space s;

	rig_open(&r, &c);
	struct rig_vm *g = &r.g[0];
	struct vm_stats *st = &g->vm->stats;
	uint64_t va = rig_va(g->guest_fmt);

	rig_space_init(&s, g);
	rig_map(&s, va, 1000, 0, RIG_RIGHTS);
	rig_enter(&s);
	rig_leads_to(g, va, ACC_READ, 1000);
	nest(&s, va, 1);
	rig_leads_to(g, va, ACC_READ, 1000);
	uint64_t exits = st->exits, hidden = st->exit_by[EXIT_HIDDEN_FAULT];

	for (unsigned i = 1; i <= 8; i++) {
		rig_map(&s, va, 1000 + i, 0, RIG_RIGHTS);
		rig_leads_to(g, va, ACC_READ, 1000 + i);
	}
	/* New frames for data alone. */
	assert_int_equal(st->exits - exits, st->exit_by[EXIT_HIDDEN_FAULT] - hidden);
	assert_int_equal(st->mmu_pte_write, 0);
	nest(&s, va, 0);
	rig_leads_to(g, va, ACC_READ, 1008);
	g->mmu->agile->frozen = false;
	for (unsigned i = 1; i <= 8; i++) {
		rig_map(&s, va, 1008 + i, 0, RIG_RIGHTS);
		rig_leads_to(g, va, ACC_READ, 1008 + i);
	}
	assert_int_equal(st->mmu_pte_write, 4);
	assert_false(agile_is_shadow(g->mmu, table_gfn(&s, va, 0)));
	assert_true(agile_is_shadow(g->mmu, table_gfn(&s, va, 1)));
	rig_close(&r);
}

/* The policy by itself: quiet tables become shadow, from the root down. */
static void test_quiet_tables_become_shadow(void **state)
{
	struct rig_config c = { .scheme = "agile", .interval = 64 };
	struct rig r;
	struct rig_space s;
	struct rig_log l;

	rig_open(&r, &c);
	struct rig_vm *g = &r.g[0];
	uint64_t va = rig_va(g->guest_fmt);

	rig_space_init(&s, g);
	rig_map(&s, va, 1000, 0, RIG_RIGHTS);
	rig_enter(&s);
	for (unsigned i = 0; i < 64 * 6; i++)
		rig_leads_to(g, va, ACC_READ, 1000);
	rig_explain(g, va, ACC_READ, RIG_COLD, &l);
	assert_int_equal(l.refs, 4);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_four_on_four),
		cmocka_unit_test(test_other_levels),
		cmocka_unit_test(test_formats_that_differ),
		cmocka_unit_test(test_ten_bits_on_nine),
		cmocka_unit_test(test_writes),
		cmocka_unit_test(test_quiet_tables_become_shadow),
	};

	return cmocka_run_group_tests_name("mmu counts of agile paging", tests, NULL, NULL);
}
