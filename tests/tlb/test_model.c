/* SPDX-License-Identifier: MIT */
/*
 * Random operations on the TLBs and on the reference (ref_tlb.h): the same
 * answers, the same counts, and after every few steps the same contents, so
 * the same victims. QUIRE_SEED replays a seed.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ref_tlb.h"

enum { STEPS = 12000, CHECK_EVERY = 16, SPACES = 4, VMS = 2 };
static const uint64_t orders = BIT(0) | BIT(9) | BIT(18);

#define A(s, w) {.sets = (s), .ways = (w)}
static const struct tlb_config shapes[] = {
	{.name = "common", .l1i = {A(2, 4), A(1, 2), A(1, 1)}, .l1d = {A(2, 4), A(1, 4), A(1, 2)},
	 .l2 = {A(4, 12), {0}, A(1, 4)}, .l2_shared_large = true},
	{.name = "all-shared", .l1i = {A(1, 8)}, .l1d = {A(1, 12)}, .l1_shared = true, .l2 = {A(2, 16)},
	 .l2_shared_large = true, .l2_shared_huge = true},
	{.name = "wide", .l1i = {A(1, 7), A(1, 3)}, .l1d = {A(1, 20), A(2, 5)}, .l2 = {A(1, 64), A(2, 24), A(1, 17)}},
	{.name = "direct", .l1i = {A(2, 1)}, .l1d = {A(4, 1), A(1, 1), A(1, 1)}, .l2 = {A(16, 1), A(4, 1)}},
	{.name = "odd", .l1i = {A(1, 3)}, .l1d = {A(4, 3), A(2, 3), A(1, 6)}, .l2 = {A(4, 5), A(1, 9), A(1, 13)}},
	{.name = "no-l2", .l1i = {A(2, 2)}, .l1d = {A(2, 6), A(1, 4)}},
	{.name = "no-l1", .l2 = {A(4, 4)}, .l2_shared_large = true},
	{.name = "none"},
};

struct world {
	struct tlb t;
	struct ref_tlb r;
	struct tlb_config config;
	struct rng rng;
	void *memory;
	bool hot_allowed;
	unsigned seen;
};

static void set_policy(struct tlb_config *c, enum tlb_policy p)
{
	for (int i = 0; i < TLB_CLASSES; i++)
		c->l1i[i].policy = c->l1d[i].policy = c->l2[i].policy = (uint8_t)p;
}

static void begin(struct world *w, const struct tlb_config *shape, enum tlb_policy p, uint64_t seed)
{
	memset(w, 0, sizeof(*w));
	w->config = *shape;
	set_policy(&w->config, p);
	w->memory = aligned_alloc(64, tlb_bytes(&w->config));
	memset(w->memory, 0, tlb_bytes(&w->config));
	assert_int_equal(tlb_init(&w->t, &w->config, orders, seed, w->memory), 0);
	ref_init(&w->r, &w->config, orders, seed);
	rng_init(&w->rng, seed ^ 0x5eed);
	w->hot_allowed = p != TLB_PLRU;
}

static uint64_t below(struct world *w, uint64_t n) { return rng_below(&w->rng, n); }

/* A few pages in a few superpages, in both halves of the address space. */
static uint64_t any_vpn(struct world *w)
{
	uint64_t vpn = below(w, 2) << 18 | below(w, 3) << 9 | below(w, 24);

	return below(w, 4) ? vpn : vpn | (low_bits(52) & ~low_bits(35));
}

static uint32_t any_space(struct world *w) { return 1 + (uint32_t)below(w, SPACES); }
static uint16_t vm_of(uint32_t space) { return (uint16_t)(space % VMS); }
static uint32_t globals_of(uint32_t space) { return 100 + vm_of(space); }

static void step_lookup(struct world *w)
{
	uint32_t space = any_space(w), gspace = below(w, 2) ? globals_of(space) : 0;
	uint64_t vpn = any_vpn(w), data = 0;
	enum acc_kind kind = (enum acc_kind)below(w, 3);
	const struct tlb_entry *e;

	if (w->hot_allowed && below(w, 2)) {
		data = tlb_hot(&w->t, kind == ACC_EXEC, tlb_tag(space, 0, vpn, 0));
		if (!data)
			data = tlb_lookup_rest(&w->t, kind, space, gspace, vpn);
	} else {
		*(kind == ACC_EXEC ? &w->r.counts.l1i_accesses : &w->r.counts.l1d_accesses) += 1;
		data = tlb_lookup(&w->t, kind, space, gspace, vpn);
	}
	e = ref_lookup(&w->r, kind == ACC_EXEC, space, gspace, vpn);
	if (!e) {
		assert_int_equal(data, 0);
		return;
	}
	assert_int_equal(data, tlb_data(e->mfn, e->vmid, e->order, e->flags));
	assert_int_equal(tlb_data_frame(data, vpn), e->mfn + (vpn - e->vpn));
}

static void step_fill(struct world *w)
{
	static const unsigned some_orders[] = {0, 0, 0, 0, 0, 9, 9, 18};
	unsigned order = some_orders[below(w, ARRAY_SIZE(some_orders))];
	uint32_t space = any_space(w);
	enum acc_kind kind = (enum acc_kind)below(w, 3);
	struct tlb_entry e = {
		.vpn = any_vpn(w) & ~low_bits(order),
		.space = below(w, 5) ? space : globals_of(space),
		.vmid = vm_of(space),
		.order = (uint8_t)order,
		.flags = (uint16_t)(TLB_R | below(w, 64)),
		.mfn = below(w, 1 << 10) << order,
	};

	tlb_fill(&w->t, kind, &e);
	ref_fill(&w->r, kind == ACC_EXEC, &e);
}

/* As the machine does: look up, and on a miss fill what was missed. */
static void step_miss_fill(struct world *w)
{
	uint32_t space = any_space(w);
	uint64_t vpn = any_vpn(w);
	enum acc_kind kind = below(w, 4) ? ACC_READ : ACC_EXEC;
	struct tlb_entry e = {.vpn = vpn, .space = space, .vmid = vm_of(space), .flags = TLB_R, .mfn = below(w, 1 << 12)};
	uint64_t data = tlb_lookup_rest(&w->t, kind, space, 0, vpn);
	const struct tlb_entry *found = ref_lookup(&w->r, kind == ACC_EXEC, space, 0, vpn);

	assert_int_equal(data != 0, found != NULL);
	if (found)
		return;
	tlb_fill(&w->t, kind, &e);
	ref_fill(&w->r, kind == ACC_EXEC, &e);
}

static void step_inval(struct world *w)
{
	uint32_t space = any_space(w), gspace = globals_of(space);
	uint64_t vpn = any_vpn(w), n = below(w, 2) ? below(w, 40) : below(w, 2000), mfn = below(w, 1 << 12);
	struct ref_drop d = {.by_space = true, .space = space, .by_vpn = true, .vpn = vpn, .vpns = 1};

	switch (below(w, 12)) {
	case 0 ... 4:
		if (below(w, 2)) {
			unsigned dropped = tlb_inval_page(&w->t, space, gspace, vpn), expected = ref_drop(&w->r, &d);

			d.space = gspace;
			assert_int_equal(dropped, expected + ref_drop(&w->r, &d));
		} else {
			assert_int_equal(tlb_inval_page(&w->t, space, 0, vpn), ref_drop(&w->r, &d));
		}
		w->r.counts.inval_page++;
		break;
	case 5 ... 6:
		d.vpns = n;
		assert_int_equal(tlb_inval_range(&w->t, space, vpn, n), n ? ref_drop(&w->r, &d) : 0);
		w->r.counts.inval_range++;
		break;
	case 7 ... 8:
		d = (struct ref_drop){.by_mfn = true, .mfn = mfn, .mfns = 1 + below(w, 8)};
		assert_int_equal(tlb_inval_frames(&w->t, d.mfn, d.mfns), ref_drop(&w->r, &d));
		w->r.counts.inval_frames++;
		break;
	case 9:
		d.by_vpn = false;
		assert_int_equal(tlb_inval_space(&w->t, space), ref_drop(&w->r, &d));
		w->r.counts.inval_space++;
		break;
	case 10:
		d = (struct ref_drop){.by_vm = true, .vmid = vm_of(space)};
		assert_int_equal(tlb_inval_vm(&w->t, d.vmid), ref_drop(&w->r, &d));
		w->r.counts.inval_vm++;
		break;
	default:
		if (below(w, 3))
			break;
		/* Forgets PLRU's trees too. */
		d = (struct ref_drop){.by_space = false};
		assert_int_equal(tlb_inval_all(&w->t), ref_drop(&w->r, &d));
		for (unsigned c = 0; c < TLB_CLASSES; c++) {
			memset(w->r.l1[0][c].right, 0, sizeof(w->r.l1[0][c].right));
			memset(w->r.l1[1][c].right, 0, sizeof(w->r.l1[1][c].right));
			memset(w->r.l2[c].right, 0, sizeof(w->r.l2[c].right));
		}
		w->r.counts.inval_all++;
	}
}

static void is_in_reference(void *ctx, int level, const struct tlb_entry *e)
{
	struct world *w = ctx;

	w->seen++;
	assert_non_null(ref_find(&w->r, level, e));
}

static void check(struct world *w)
{
	uint32_t space = any_space(w);
	uint64_t vpn = any_vpn(w), data;
	int level = 0, ref_level;
	const struct tlb_entry *e = ref_peek(&w->r, false, space, globals_of(space), vpn, &ref_level);

	data = tlb_peek(&w->t, ACC_WRITE, space, globals_of(space), vpn, &level);
	assert_int_equal(data, e ? tlb_data(e->mfn, e->vmid, e->order, e->flags) : 0);
	if (e)
		assert_int_equal(level, ref_level);
	assert_memory_equal(&w->t.counts, &w->r.counts, sizeof(w->r.counts));
	w->seen = 0;
	tlb_for_each(&w->t, is_in_reference, w);
	assert_int_equal(w->seen, ref_size(&w->r));
}

static void run(const struct tlb_config *shape, enum tlb_policy p, uint64_t seed, unsigned small_steps)
{
	static struct world w;

	begin(&w, shape, p, seed);
	for (unsigned i = 0; i < STEPS; i++) {
		uint64_t x = below(&w, 100);

		/* At first only what the compiled-in path takes. */
		if (i < small_steps || x < 30)
			step_miss_fill(&w);
		else if (x < 70)
			step_lookup(&w);
		else if (x < 94)
			step_fill(&w);
		else
			step_inval(&w);
		if (i % CHECK_EVERY == 0)
			check(&w);
	}
	check(&w);
	free(w.memory);
}

static uint64_t seed_of_run(void)
{
	const char *s = getenv("QUIRE_SEED");

	return s ? strtoull(s, NULL, 0) : 20240611;
}

static void test_policy(void **state)
{
	enum tlb_policy p = *(enum tlb_policy *)*state;
	uint64_t seed = seed_of_run();

	for (unsigned i = 0; i < ARRAY_SIZE(shapes); i++) {
		print_message("%s, %s, seed %llu\n", tlb_policy_name(p), shapes[i].name, (unsigned long long)(seed + i));
		run(&shapes[i], p, seed + i, STEPS / 4);
	}
}

int main(void)
{
	static enum tlb_policy policies[] = {TLB_LRU, TLB_PLRU, TLB_FIFO, TLB_RANDOM};
	const struct CMUnitTest tests[] = {
		{"test_model_lru", test_policy, NULL, NULL, &policies[0]},
		{"test_model_plru", test_policy, NULL, NULL, &policies[1]},
		{"test_model_fifo", test_policy, NULL, NULL, &policies[2]},
		{"test_model_random", test_policy, NULL, NULL, &policies[3]},
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
