/* SPDX-License-Identifier: MIT */
/*
 * Guests whose own table is no tree: organisations that hold entries without
 * positions, several spaces in one table or each with its own. Mapped, changed
 * and used at random through the guest's own table code, under every scheme,
 * against a plain array of what each page should be.
 */
#include <stdlib.h>
#include <unistd.h>

#include "rig.h"

enum { PAGES = 40, DATA = 3000, FRAMES = 64, STEPS = 900 };

struct page {
	bool mapped;
	uint64_t gfn;
	uint8_t rights; /* RWX U A D */
};

struct world {
	struct rig r;
	struct rig_space s[2];
	unsigned now;
	struct page page[2][PAGES];
	uint64_t value[FRAMES]; /* of the first word of each frame */
	bool used[FRAMES];      /* inverted tables hold one entry a frame at their shortest: mostly one page each */
	struct rng rng;
};

static uint64_t below(struct world *w, uint64_t n)
{
	return rng_below(&w->rng, n);
}

static uint64_t va_of(const struct world *w, unsigned page)
{
	return UINT64_C(0x10000000) * (page % 3) + page * UINT64_C(4096);
}

static void map(struct world *w, unsigned page)
{
	struct page *p = &w->page[w->now][page];
	uint8_t rights = RIGHT_R | (below(w, 4) ? RIGHT_W : 0) | (below(w, 4) ? RIGHT_X : 0) |
			 (below(w, 5) ? RIGHT_U : 0) | (below(w, 2) ? RIGHT_A : 0);

	if (!p->mapped) {
		unsigned f = (unsigned)below(w, FRAMES);

		/* Some frames twice: the table must keep both. */
		if (w->used[f] && below(w, 4))
			return;
		w->used[f] = true;
		p->gfn = DATA + f;
	}
	*p = (struct page){ true, p->gfn, rights };
	rig_map(&w->s[w->now], va_of(w, page), p->gfn, 0, rights);
}

static void unmap(struct world *w, unsigned page)
{
	struct page *p = &w->page[w->now][page];

	if (!p->mapped)
		return;
	rig_unmap(&w->s[w->now], va_of(w, page), 0);
	p->mapped = false;
	w->used[p->gfn - DATA] = false;
}

static bool allowed(const struct page *p, enum acc_kind kind, bool user)
{
	if (!p->mapped || (user && !(p->rights & RIGHT_U)))
		return false;
	if (!user && kind == ACC_EXEC && (p->rights & RIGHT_U))
		return false;
	return p->rights & (1u << kind);
}

static void use(struct world *w, unsigned page)
{
	struct rig_vm *g = &w->r.g[0];
	struct page *p = &w->page[w->now][page];
	enum acc_kind kind = (enum acc_kind)below(w, 3);
	uint64_t value = rng_next(&w->rng), va = va_of(w, page);
	enum access_status st;

	g->v.user = below(w, 2);
	if (kind == ACC_WRITE)
		st = vcpu_store(&g->v, SEG_PAGED, va, 8, value);
	else if (kind == ACC_READ)
		st = vcpu_load(&g->v, SEG_PAGED, va, 8, &value);
	else
		st = vcpu_touch(&g->v, SEG_PAGED, va, ACC_EXEC, NULL);
	assert_int_equal(st, allowed(p, kind, g->v.user) ? ACCESS_OK : ACCESS_FAULT);
	if (st)
		return;
	p->rights |= RIGHT_A | (kind == ACC_WRITE ? RIGHT_D : 0);
	if (kind == ACC_WRITE)
		w->value[p->gfn - DATA] = value;
	else if (kind == ACC_READ)
		assert_int_equal(value, w->value[p->gfn - DATA]);
}

/* The guest's own look into its table: A and D included. */
static void check_table(struct world *w)
{
	for (unsigned i = 0; i < PAGES; i++) {
		struct page *p = &w->page[w->now][i];
		struct rig_space *s = &w->s[w->now];
		struct pt_entry e;
		int err = pt_find(&s->pt, (struct pt_key){ s->p.key_space, va_of(w, i) >> PAGE_SHIFT }, &e);

		assert_int_equal(err, p->mapped ? 0 : -ENOENT);
		if (err)
			continue;
		assert_int_equal(e.frame, p->gfn);
		assert_int_equal(e.rights & (RIGHT_RWX | RIGHT_U | RIGHT_A | RIGHT_D), p->rights);
	}
}

static void host(struct world *w)
{
	struct rig_vm *g = &w->r.g[0];
	uint64_t gfn = below(w, 2) ? DATA + below(w, FRAMES) : below(w, g->next_gfn);

	if (below(w, 3))
		mmu_zap_gfns(g->mmu, GFN(gfn), 1 + below(w, 20));
	else
		gfn_update(g->vm, GFN(gfn), 1, &(struct gfn_change){ .op = GFN_OP_MOVE });
}

static void step(struct world *w)
{
	unsigned page = (unsigned)below(w, PAGES);

	switch (below(w, 20)) {
	case 0 ... 4:
		map(w, page);
		break;
	case 5:
		unmap(w, page);
		break;
	case 6:
		host(w);
		break;
	case 7:
		w->now ^= 1;
		rig_enter(&w->s[w->now]);
		break;
	default:
		use(w, page);
	}
}

static bool run(const char *scheme, const char *org, const char *preset, uint64_t seed)
{
	struct rig_config c = { .scheme = scheme, .preset = preset, .shadow_budget = seed & 8 ? 6 : 0 };
	struct world *w = calloc(1, sizeof(*w));

	rng_init(&w->rng, seed);
	if (!rig_open_if_possible(&w->r, &c)) {
		free(w);
		return false;
	}
	for (unsigned i = 0; i < 2; i++)
		rig_space_init_org(&w->s[i], &w->r.g[0], org);
	rig_enter(&w->s[0]);
	for (unsigned i = 0; i < STEPS; i++) {
		step(w);
		if (i % 50 == 0)
			check_table(w);
		if (i % 150 == 0)
			rig_audit(&w->r);
	}
	check_table(w);
	rig_close(&w->r);
	free(w);
	return true;
}

static void test_every_scheme(void **state)
{
	static const char *const orgs[] = { "inverted", "inverted+linear", "radix", "hashed", "hashed+ppc", "cuckoo", "segment" };
	static const char *const presets[] = { "generic", "none", "zen2" };
	uint64_t seeds = getenv("QUIRE_TEST_LONG") ? 50 : 1;
	const char *scheme;
	unsigned ran = 0;

	for (unsigned i = 0; (scheme = rig_scheme_at(i)) != NULL; i++)
		for (uint64_t n = 0; n < seeds * ARRAY_SIZE(orgs) * 3; n++) {
			fprintf(stderr, "%s, guest's table %s, seed %llu\n", scheme, orgs[n % ARRAY_SIZE(orgs)],
				(unsigned long long)n);
			ran += run(scheme, orgs[n % ARRAY_SIZE(orgs)], presets[(i + n) % ARRAY_SIZE(presets)], n);
		}
	assert_true(ran > 40 * seeds);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_every_scheme) };

	alarm(600);
	return cmocka_run_group_tests_name("guests with tables of other organisations", tests, NULL, NULL);
}
