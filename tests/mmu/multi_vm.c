/* SPDX-License-Identifier: MIT */
/*
 * Several VMs on one machine with one processor: one TLB told apart by tags,
 * walk caches used in turn by tables of different shape, organisations that
 * have one table for the whole machine.
 *
 * Each VM has a few pages whose contents the test knows; what another VM or
 * the host does must not change what it reads.
 */
#include <stdlib.h>

#include "rig.h"

enum { PAGES = 24, DATA_GFN = 2048 };

static const struct rig_config kinds[] = {
	{ .scheme = "nested/radix", .guest = "x86-64" },
	{ .scheme = "shadow", .guest = "x86-32", .host = "x86-64" },
	{ .scheme = "nested/inverted", .guest = "sv39" },
	{ .scheme = "nested/radix", .guest = "x86-32", .host = "sv39" },
	{ .scheme = "shadow+lazy", .guest = "sv48" },
	{ .scheme = "shadow/inverted", .guest = "x86-64" },
	{ .scheme = "nested/flat", .guest = "x86-pae", .host = "x86-64" },
	{ .scheme = "nested/inverted+linear", .guest = "sv57", .host = "x86-64-5l" },
	{ .scheme = "shadow+discard", .guest = "x86-64-5l" },
	{ .scheme = "inverted-shadow+groups=5", .guest = "x86-64" },
	{ .scheme = "inverted-shadow+lazy", .guest = "sv39", .host = "x86-64" },
};

struct tenant {
	struct rig_vm *g;
	struct rig_space space;
	uint64_t gfn[PAGES];   /* behind each page of its space; 0: none */
	uint64_t value[4096];  /* of the first word of each gfn */
};

static uint64_t va_of(unsigned page)
{
	/* The same addresses in each VM: only tags tell them apart. Leaf tables end in the midst of each run. */
	static const uint64_t base[] = { 0x1fd000, 0x3fd000, 0x3fffd000, 0x10000000 };

	return base[page % 4] + (uint64_t)(page / 4) * 0x1000;
}

static void settle(struct rig *r, struct tenant *t, unsigned kind)
{
	struct rig_config c = kinds[kind % ARRAY_SIZE(kinds)];

	memset(t, 0, sizeof(*t));
	c.guest_pages = 4096;
	t->g = rig_vm_add(r, &c);
	rig_space_init(&t->space, t->g);
	rig_enter(&t->space);
}

static void leave(struct tenant *t)
{
	rig_vm_remove(t->g);
	t->g = NULL;
}

static void map_page(struct tenant *t, struct rng *rng, unsigned page)
{
	t->gfn[page] = DATA_GFN + rng_below(rng, 40);
	rig_map(&t->space, va_of(page), t->gfn[page], 0, RIG_RIGHTS);
}

static void check_page(struct tenant *t, unsigned page)
{
	uint64_t got;
	enum access_status st = vcpu_load(&t->g->v, SEG_PAGED, va_of(page), 8, &got);

	if (!t->gfn[page]) {
		assert_int_equal(st, ACCESS_FAULT);
		return;
	}
	assert_int_equal(st, ACCESS_OK);
	assert_int_equal(got, t->value[t->gfn[page]]);
}

static void write_page(struct tenant *t, struct rng *rng, unsigned page)
{
	uint64_t value = rng_next(rng) & 3; /* few values: pages become equal, and are shared */

	if (!t->gfn[page])
		return;
	assert_int_equal(vcpu_store(&t->g->v, SEG_PAGED, va_of(page), 8, value), ACCESS_OK);
	t->value[t->gfn[page]] = value;
}

/* A page of one VM joins the frame of an equal one of another. */
static void share_pages(struct tenant *a, struct tenant *b, struct rng *rng)
{
	uint64_t ga = DATA_GFN + rng_below(rng, 40), gb = DATA_GFN + rng_below(rng, 40);
	struct gfn_change c = { .op = GFN_OP_SHARE };
	struct gfn_mapping map;

	if (gfn_peek(a->g->vm, GFN(ga), &map) || gfn_peek(b->g->vm, GFN(gb), &map))
		return;
	c.mfn = map.mfn;
	gfn_update(a->g->vm, GFN(ga), 1, &c);
}

static void one_step(struct rig *r, struct tenant *t, unsigned n, struct rng *rng, unsigned *born)
{
	struct tenant *a = &t[rng_below(rng, n)], *b = &t[rng_below(rng, n)];
	unsigned page = (unsigned)rng_below(rng, PAGES);

	switch (rng_below(rng, 40)) {
	case 0 ... 3:
		map_page(a, rng, page);
		break;
	case 4:
		if (a->gfn[page])
			rig_unmap(&a->space, va_of(page), 0);
		a->gfn[page] = 0;
		break;
	case 5 ... 14:
		write_page(a, rng, page);
		break;
	case 15 ... 17:
		share_pages(a, b, rng);
		break;
	case 18:
		mmu_zap_gfns(a->g->mmu, GFN(DATA_GFN), 1 + rng_below(rng, 60));
		break;
	case 19:
		gfn_update(a->g->vm, GFN(DATA_GFN + rng_below(rng, 40)), 1, &(struct gfn_change){ .op = GFN_OP_MOVE });
		break;
	case 20:
		if (rng_below(rng, 6))
			break;
		leave(a);
		settle(r, a, (*born)++);
		break;
	default:
		check_page(a, page);
	}
}

static void interleaved(const char *preset, uint64_t seed, unsigned steps)
{
	struct rig_config c = { .preset = preset, .ram = 160 << 20 };
	struct tenant *t = calloc(RIG_VMS_MAX, sizeof(*t));
	unsigned born = (unsigned)seed;
	struct rng rng;
	struct rig r;

	rng_init(&rng, seed);
	rig_open_machine(&r, &c);
	for (unsigned i = 0; i < RIG_VMS_MAX; i++)
		settle(&r, &t[i], born++);
	for (unsigned i = 0; i < steps; i++) {
		one_step(&r, t, RIG_VMS_MAX, &rng, &born);
		if (i % 400 == 0)
			rig_audit(&r);
	}
	for (unsigned i = 0; i < RIG_VMS_MAX; i++)
		for (unsigned page = 0; page < PAGES; page++)
			check_page(&t[i], page);
	rig_close(&r);
	free(t);
}

static void test_interleaved(void **state)
{
	static const char *const presets[] = { "none", "generic", "skylake", "zen2", "rocket" };
	uint64_t rounds = getenv("QUIRE_TEST_LONG") ? 50 : 1;

	for (uint64_t seed = 1; seed <= rounds; seed++)
		for (unsigned i = 0; i < ARRAY_SIZE(presets); i++) {
			fprintf(stderr, "%s, seed %llu\n", presets[i], (unsigned long long)seed);
			interleaved(presets[i], seed, 6000);
		}
}

static unsigned tables_in_use(const struct hv *hv, unsigned *users)
{
	unsigned n = 0;

	*users = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(hv->shared); i++) {
		n += hv->shared[i].users != 0;
		*users += hv->shared[i].users;
	}
	return n;
}

/* One inverted table for all; it outlives any of its VMs but not the last. */
static void test_one_table_for_the_machine(void **state)
{
	struct rig_config c = { .preset = "generic" };
	struct tenant *t = calloc(4, sizeof(*t));
	struct rng rng;
	struct rig r;
	unsigned users;

	rng_init(&rng, 7);
	rig_open_machine(&r, &c);
	for (unsigned i = 0; i < 4; i++) {
		memset(&t[i], 0, sizeof(t[i]));
		t[i].g = rig_vm_add(&r, &(struct rig_config){ .scheme = i < 3 ? "nested/inverted" : "shadow/inverted" });
		rig_space_init(&t[i].space, t[i].g);
		rig_enter(&t[i].space);
		for (unsigned page = 0; page < PAGES; page++) {
			map_page(&t[i], &rng, page);
			write_page(&t[i], &rng, page);
		}
	}
	/* Shadow entries are of another kind: a table apart. */
	assert_int_equal(tables_in_use(&r.hv, &users), 2);
	assert_int_equal(users, 4);
	for (unsigned gone = 0; gone < 4; gone++) {
		leave(&t[gone]);
		rig_audit(&r);
		for (unsigned i = gone + 1; i < 4; i++)
			for (unsigned page = 0; page < PAGES; page++)
				check_page(&t[i], page);
	}
	assert_int_equal(tables_in_use(&r.hv, &users), 0);
	rig_close(&r);
	free(t);
}

/* ---- a hundred ---- */

struct small {
	struct vm *vm;
	struct mmu *mmu;
	struct vcpu v;
};

enum { HUNDRED = 100, SMALL_PAGES = 16 };

/* Four tables in frames 1 to 4, three pages from va 0x400000 to frames 8 to 10. */
static void open_small(struct rig *r, struct small *s, const char *scheme_name)
{
	const struct gpt_format *f = gpt_find("x86-64");
	struct mmu_config mc = { .guest_fmt = f, .host_fmt = f, .check = CHECK_WALK };
	struct guest_paging p = {
		.org = pt_org_find("radix", 5), .params = { .fmt = f, .role = "guest" }, .root = 0x1000, .asid = 1,
		.ctl = CTL_DEFAULT, .ad = WALK_AD_SET,
	};
	struct memslot *slot;
	struct scheme scheme;
	const char *why;

	assert_int_equal(scheme_parse(scheme_name, &scheme, &why), 0);
	assert_int_equal(vm_create(&r->hv, scheme_name, &s->vm), 0);
	assert_int_equal(memslot_add(s->vm, GFN(0), SMALL_PAGES, 0, &slot), 0);
	assert_int_equal(mmu_create(s->vm, &r->cpu, &scheme, &mc, &s->mmu, &why), 0);
	assert_int_equal(vcpu_init(&s->v, s->mmu), 0);
	vcpu_store(&s->v, SEG_BARE, 0x1000, 8, 0x2067);
	vcpu_store(&s->v, SEG_BARE, 0x2000, 8, 0x3067);
	vcpu_store(&s->v, SEG_BARE, 0x3010, 8, 0x4067);
	for (unsigned i = 0; i < 3; i++)
		vcpu_store(&s->v, SEG_BARE, 0x4000 + 8 * i, 8, ((8 + i) << 12) | 0x67);
	assert_int_equal(vcpu_set_paging(&s->v, &p, ROOT_KEEP), 0);
}

static void close_small(struct small *s)
{
	mmu_destroy(s->mmu);
	vm_destroy(s->vm);
	s->vm = NULL;
}

static void check_small(struct small *s, unsigned i)
{
	uint64_t got;

	for (unsigned p = 0; p < 3; p++) {
		assert_int_equal(vcpu_load(&s->v, SEG_PAGED, 0x400000 + p * 0x1000, 8, &got), ACCESS_OK);
		assert_int_equal(got, i * 10 + p);
	}
}

static void test_hundred(void **state)
{
	static const char *const schemes[] = {
		"nested/radix", "shadow", "nested/inverted", "shadow+lazy", "nested/flat", "shadow/inverted",
		"inverted-shadow",
	};
	struct small *s = calloc(HUNDRED, sizeof(*s));
	struct rng rng;
	struct rig r;

	rng_init(&rng, 1);
	rig_open_machine(&r, &(struct rig_config){ .preset = "zen2" });
	for (unsigned i = 0; i < HUNDRED; i++) {
		open_small(&r, &s[i], schemes[i % ARRAY_SIZE(schemes)]);
		for (unsigned p = 0; p < 3; p++)
			assert_int_equal(vcpu_store(&s[i].v, SEG_PAGED, 0x400000 + p * 0x1000, 8, i * 10 + p), ACCESS_OK);
	}
	for (unsigned left = HUNDRED; left; left--) {
		unsigned i = (unsigned)rng_below(&rng, HUNDRED);
		const char *why;

		while (!s[i].vm)
			i = (i + 1) % HUNDRED;
		assert_int_equal(mmu_audit(s[i].mmu, &why), 0);
		assert_int_equal(vm_audit(s[i].vm, &why), 0);
		close_small(&s[i]);
		for (unsigned j = 0; j < HUNDRED; j++)
			if (s[j].vm)
				check_small(&s[j], j);
	}
	rig_close(&r);
	free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_interleaved),
		cmocka_unit_test(test_one_table_for_the_machine),
		cmocka_unit_test(test_hundred),
	};

	return cmocka_run_group_tests_name("several VMs on one machine", tests, NULL, NULL);
}
