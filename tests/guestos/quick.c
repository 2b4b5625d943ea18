/* SPDX-License-Identifier: MIT */
/*
 * The short way of a TLB miss (mmu/quick.h) against the long one: the same
 * random work, disturbed alike, must leave every counter, TLB, walk cache and
 * nested TLB the same at each disturbance.
 */
#include "harness.h"

#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "mmu/quick.h"

enum { STEPS_MAX = 4096, STEP_REFS = 997, BLOCK_PAGES = 512 };

struct watch {
	struct rig r;
	struct rng rng;
	uint64_t state[STEPS_MAX];
	unsigned steps, opened;
};

static uint64_t of_array(uint64_t d, const struct tlb_array *a)
{
	size_t sets = (size_t)a->set_mask + 1, slots = sets * a->ways;

	d = digest_fold(d, digest_bytes(a->tags, slots * sizeof(*a->tags)));
	d = digest_fold(d, digest_bytes(a->data, slots * sizeof(*a->data)));
	return digest_fold(d, digest_bytes(a->state, sets * sizeof(*a->state)));
}

static uint64_t of_walk_cache(uint64_t d, const struct walk_cache *wc)
{
	for (unsigned k = 0; k < WC_LEVELS; k++) {
		d = of_array(d, &wc->level[k]);
		d = digest_fold(d, digest_bytes(wc->val[k], ((size_t)wc->level[k].set_mask + 1) * wc->level[k].ways *
								    sizeof(*wc->val[k])));
	}
	return digest_fold(d, digest_bytes(&wc->counts, sizeof(wc->counts)));
}

/* All that a miss may change. */
static uint64_t state_of(const struct rig *r)
{
	const struct mmu_cpu *cpu = r->cpu;
	uint64_t d = digest_bytes(&r->vm->stats, sizeof(r->vm->stats));

	for (unsigned class = 0; class < TLB_CLASSES; class++) {
		d = of_array(d, &cpu->tlb.l1[0][class]);
		d = of_array(d, &cpu->tlb.l1[1][class]);
		d = of_array(d, &cpu->tlb.l2[class]);
	}
	d = digest_fold(d, digest_bytes(&cpu->tlb.counts, sizeof(cpu->tlb.counts)));
	d = digest_fold(d, digest_bytes(cpu->tlb.live, sizeof(cpu->tlb.live)));
	d = digest_fold(d, cpu->tlb.spaces_seen);
	d = of_array(d, &cpu->nested);
	d = of_walk_cache(d, &cpu->guest_wc);
	d = of_walk_cache(d, &cpu->host_wc);
	d = digest_fold(d, digest_bytes(&r->mmu->hw.m.counts, sizeof(r->mmu->hw.m.counts)));
	if (r->mmu->p2m)
		d = digest_fold(d, digest_bytes(&r->mmu->p2m->mem->counts, sizeof(r->mmu->p2m->mem->counts)));
	return digest_fold(d, r->mmu->track_pages);
}

/* Pages that nobody wrote to are all equal. */
static void share(struct watch *w, gfn_t gfn, gfn_t with)
{
	struct gfn_mapping map;

	if (w->r.vm->contiguous_base == INVALID_FRAME && !gfn_peek(w->r.vm, with, &map))
		gfn_update(w->r.vm, gfn, 1, &(struct gfn_change){ .op = GFN_OP_SHARE, .mfn = map.mfn });
}

static void disturb(struct watch *w)
{
	uint64_t pages = vm_pages(w->r.vm), gfn = rng_below(&w->rng, pages);
	struct gfn_change collapse = { .op = GFN_OP_COLLAPSE, .order = ORDER_2M };
	bool contiguous = w->r.vm->contiguous_base != INVALID_FRAME;

	switch (rng_below(&w->rng, 10)) {
	case 0:
		mmu_zap_all(w->r.mmu);
		break;
	case 1:
	case 2:
		mmu_zap_gfns(w->r.mmu, GFN(gfn), 1 + rng_below(&w->rng, MIN(pages - gfn, 64)));
		break;
	case 3:
		vm_dirty_start(w->r.vm);
		break;
	case 4:
	case 5:
		vm_dirty_stop(w->r.vm);
		break;
	case 6:
		for (unsigned i = 0; i < 64; i++)
			share(w, GFN(rng_below(&w->rng, pages)), GFN(rng_below(&w->rng, pages)));
		break;
	case 7:
		gfn = align_down(gfn, BLOCK_PAGES);
		if (!contiguous && gfn + BLOCK_PAGES <= pages)
			gfn_update(w->r.vm, GFN(gfn), BLOCK_PAGES, &collapse);
		break;
	default:
		break;
	}
}

static void on_step(void *ctx, uint64_t refs)
{
	struct watch *w = ctx;
	struct quick q;

	(void)refs;
	quick_prepare(&q, &w->r.vcpu);
	w->opened += q.open != QUICK_NONE;
	if (w->steps < STEPS_MAX)
		w->state[w->steps++] = state_of(&w->r);
	disturb(w);
}

static void go(struct watch *w, const struct rig_config *c, const struct script *s, uint64_t seed)
{
	struct guest_hooks h = { .step = on_step, .step_refs = STEP_REFS, .ctx = w };
	struct trace_error err;
	struct trace *t = script_trace(s);

	rng_init(&w->rng, seed);
	w->steps = w->opened = 0;
	assert_true(rig_open(&w->r, c));
	guest_add_work(w->r.guest, t);
	assert_int_equal(guest_run(w->r.guest, &h, &err), GUEST_DONE);
	on_step(w, 0);
	rig_audit(&w->r);
	rig_close(&w->r);
	trace_close(t);
}

static void compare(const struct rig_config *config, const struct random_work *work)
{
	struct watch *quick = calloc(1, sizeof(*quick)), *slow = calloc(1, sizeof(*slow));
	struct rig_config c = *config;
	struct script s;

	assert_non_null(quick);
	assert_non_null(slow);
	script_init(&s);
	script_random(&s, work);
	c.truth_only = true;
	go(quick, &c, &s, work->seed);
	c.long_way = true;
	go(slow, &c, &s, work->seed);
	if (!(quick->steps > 10 && quick->opened > quick->steps / 2))
		fail_msg("%s, %s, %s, seed %d: short way open at %u of %u steps", c.scheme, c.guest_fmt, c.tlb, (int)work->seed,
			 quick->opened, quick->steps);
	assert_int_equal(slow->opened, 0);
	assert_int_equal(quick->steps, slow->steps);
	for (unsigned i = 0; i < quick->steps; i++)
		if (quick->state[i] != slow->state[i])
			fail_msg("%s, %s, %s: seed %d: they differ at step %u of %u", c.scheme, c.guest_fmt, c.tlb,
				 (int)work->seed, i, quick->steps);
	script_fini(&s);
	free(quick);
	free(slow);
}

static void the_short_way_shows_in_nothing(void **state)
{
	static const char *const schemes[] = { "native", "nested/radix", "shadow", "shadow+lazy", "shadow+discard" };
	static const char *const formats[] = { "x86-64", "sv39", "sv48", "x86-64-5l" };
	static const char *const presets[] = { "generic", "haswell", "other ways", "skylake" };

	for (uint64_t seed = 1; seed <= 6; seed++)
		for (unsigned i = 0; i < ARRAY_SIZE(schemes); i++) {
			struct rig_config c = {
				.scheme = schemes[i], .guest_fmt = formats[seed % 4], .host_fmt = formats[seed / 2 % 4],
				.tlb = presets[(seed + i) % 4], .host_thp = seed % 2, .machine_mib = 512,
				.guest = { .asids = seed % 3 != 0, .mem_pages = 45000,
					   .ad = seed % 4 == 3 ? WALK_AD_FAULT : WALK_AD_SET },
			};

			/* More pages than the PDE cache reaches; then few, in several processes, short of memory. */
			compare(&c, &(struct random_work){ .seed = seed, .refs = 90000, .base = 0x200000, .pages = 24000,
							   .processes = 1 });
			c.guest.mem_pages = seed == 5 ? 1500 : 6000;
			c.guest.thp = seed == 6;
			compare(&c, &(struct random_work){ .seed = seed + 50, .refs = 30000, .base = 0x200000,
							   .pages = 1800, .processes = 4, .events = true,
							   .segv = seed % 2 });
		}
	(void)state;
}

int main(void)
{
	/* Nothing is compiled for walk caches like these. */
	static struct tlb_config other;

	other = *tlb_preset_find("generic");
	strcpy(other.name, "other ways");
	other.walk[0] = other.host_walk[0] = (struct tlb_array_config){ 8, 3, TLB_LRU };
	other.walk[1] = other.host_walk[1] = (struct tlb_array_config){ 1, 5, TLB_LRU };
	other.nested = (struct tlb_array_config){ 8, 7, TLB_LRU };
	if (tlb_preset_add(&other))
		return 1;
	const struct CMUnitTest tests[] = { cmocka_unit_test(the_short_way_shows_in_nothing) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
