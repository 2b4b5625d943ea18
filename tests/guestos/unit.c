/* SPDX-License-Identifier: MIT */
/* The kernel's own structures, each against a model that is slow and plain. */
#include "harness.h"

#include <stdlib.h>
#include <string.h>

#include "guestos/guest_internal.h"
#include "guestos/mem_events.h"

/* ---- pmap: against a small array spread over the key range ---- */

enum { KEYS = 3000 };

static uint64_t key_at(unsigned i)
{
	/* Dense runs, runs across node boundaries, and the top of the sign-extended half. */
	if (i < 1000)
		return i;
	if (i < 2000)
		return (UINT64_C(1) << 36) - 500 + (i - 1000);
	return BIT(52) - 1000 + (i - 2000);
}

static void pmap_is_an_ordered_map(void **state)
{
	uint64_t model[KEYS] = { 0 }, count = 0;
	struct pmap m;
	struct rng rng;

	rng_init(&rng, 7);
	pmap_init(&m);
	for (unsigned step = 0; step < 60000; step++) {
		unsigned i = (unsigned)rng_below(&rng, KEYS);
		uint64_t v = rng_below(&rng, 3) ? step + 1 : 0;

		count += (v != 0) - (model[i] != 0);
		model[i] = v;
		pmap_set(&m, key_at(i), v);
		assert_int_equal(m.count, count);
		i = (unsigned)rng_below(&rng, KEYS);
		assert_int_equal(pmap_get(&m, key_at(i)), model[i]);
		if (step % 100)
			continue;

		uint64_t key = key_at(i), value = 0;
		bool found = pmap_next(&m, &key, &value);

		while (i < KEYS && !model[i])
			i++;
		assert_int_equal(found, i < KEYS);
		if (found) {
			assert_int_equal(key, key_at(i));
			assert_int_equal(value, model[i]);
		}
	}

	unsigned i = 0;

	pmap_for_range(&m, key, value, 0, UINT64_MAX) {
		while (!model[i])
			i++;
		assert_int_equal(key, key_at(i));
		assert_int_equal(value, model[i]);
		pmap_set(&m, key, 0);
		i++;
	}
	assert_int_equal(m.count, 0);
	assert_null(m.root);
	pmap_fini(&m);
	(void)state;
}

static void heap_gives_the_least_first(void **state)
{
	struct heap h = { 0 };
	struct heap_item a, last = { 0, 0 };
	struct rng rng;

	rng_init(&rng, 3);
	for (unsigned i = 0; i < 2000; i++)
		heap_push(&h, rng_below(&rng, 100), rng_below(&rng, 1000));
	for (unsigned i = 0; i < 2000; i++) {
		assert_true(heap_pop(&h, &a));
		assert_true(a.key > last.key || (a.key == last.key && a.gfn >= last.gfn));
		last = a;
	}
	assert_false(heap_pop(&h, &a));
	heap_fini(&h);
	(void)state;
}

/* ---- VMAs: against one record a page ---- */

enum { VMA_PAGES = 200 };

struct page_model {
	bool there;
	uint8_t rights;
	struct shm *shm;
	uint64_t offset;
};

static unsigned shm_refs[4];

static void count_ref(void *ctx, struct shm *s)
{
	(void)ctx;
	shm_refs[(uintptr_t)s]++;
}

static void count_put(void *ctx, struct shm *s)
{
	(void)ctx;
	assert_true(shm_refs[(uintptr_t)s] > 0);
	shm_refs[(uintptr_t)s]--;
}

static void check_vmas(const struct vmas *s, const struct page_model *m)
{
	unsigned refs[4] = { 0 };
	const char *why = "";

	if (vmas_audit(s, &why))
		fail_msg("%s", why);
	for (uint64_t page = 0; page < VMA_PAGES; page++) {
		const struct vma *v = vma_find(s, page);

		assert_int_equal(v != NULL, m[page].there);
		if (!v)
			continue;
		assert_int_equal(v->rights, m[page].rights);
		assert_ptr_equal(v->shm, m[page].shm);
		if (v->shm)
			assert_int_equal(v->offset + page - v->start, m[page].offset);
	}
	for (unsigned i = 0; i < s->n; i++)
		refs[(uintptr_t)s->v[i].shm]++;
	for (unsigned i = 1; i < 4; i++)
		assert_int_equal(refs[i], shm_refs[i]);
}

static void vmas_are_one_record_a_page(void **state)
{
	const struct vma_ops ops = { count_ref, count_put, NULL };
	struct page_model m[VMA_PAGES] = { 0 };
	struct vmas s = { 0 };
	struct rng rng;

	rng_init(&rng, 11);
	for (unsigned step = 0; step < 20000; step++) {
		uint64_t start = rng_below(&rng, VMA_PAGES - 1), end = start + 1 + rng_below(&rng, VMA_PAGES - start - 1);
		uint8_t rights = (uint8_t)rng_below(&rng, 4);
		uintptr_t shm = rng_below(&rng, 4);

		switch (rng_below(&rng, 3)) {
		case 0:
			shm_refs[shm] += shm != 0;
			vma_insert(&s, &ops, &(struct vma){ start, end, rights, (struct shm *)shm, start * 2 });
			for (uint64_t p = start; p < end; p++)
				m[p] = (struct page_model){ true, rights, (struct shm *)shm, start * 2 + p - start };
			break;
		case 1:
			vma_remove(&s, &ops, start, end);
			memset(&m[start], 0, (end - start) * sizeof(*m));
			break;
		default:
			vma_protect(&s, &ops, start, end, rights);
			for (uint64_t p = start; p < end; p++) {
				m[p].there = true;
				m[p].rights = rights;
			}
		}
		check_vmas(&s, m);
	}
	vmas_fini(&s, &ops);
	for (unsigned i = 1; i < 4; i++)
		assert_int_equal(shm_refs[i], 0);
	(void)state;
}

/* ---- the frame allocator, inside a guest that runs nothing ---- */

/* "Frames handed out twice when memory runs out": a peer's fault. */
static void no_frame_is_handed_out_twice(void **state)
{
	enum { PAGES = 1000 };
	struct rig_config c = { .scheme = "native", .guest = { .mem_pages = PAGES } };
	struct { uint64_t gfn; unsigned order; } held[PAGES];
	bool used[PAGES] = { [0] = true };
	unsigned n = 0;
	const char *why = "";
	struct rng rng;
	struct rig r;

	rng_init(&rng, 5);
	assert_true(rig_open(&r, &c));
	for (unsigned step = 0; step < 20000; step++) {
		unsigned order = (unsigned)rng_below(&rng, 5);
		uint64_t gfn;

		if (rng_below(&rng, 5) < 3) {
			if (frames_alloc(r.guest, order, GFRAME_TABLE, &gfn))
				continue;
			assert_true(is_aligned(gfn, BIT(order)) && gfn + BIT(order) <= PAGES);
			for (uint64_t i = gfn; i < gfn + BIT(order); i++) {
				assert_false(used[i]);
				used[i] = true;
			}
			held[n].gfn = gfn;
			held[n++].order = order;
		} else if (n) {
			unsigned k = (unsigned)rng_below(&rng, n);

			for (uint64_t i = held[k].gfn; i < held[k].gfn + BIT(held[k].order); i++)
				used[i] = false;
			frames_free(r.guest, held[k].gfn, held[k].order);
			held[k] = held[--n];
		}
	}
	assert_int_equal(frames_audit(&r.guest->frames, &why), 0);
	while (n--)
		frames_free(r.guest, held[n].gfn, held[n].order);
	assert_int_equal(r.guest->frames.nfree, PAGES - 1);
	assert_int_equal(frames_audit(&r.guest->frames, &why), 0);
	/* All merged again: as many blocks as PAGES - 1 has aligned parts. */
	unsigned blocks = 0;
	for (uint64_t i = 1; i < PAGES; i += BIT(r.guest->frames.f[i].order), blocks++)
		assert_true(r.guest->frames.f[i].flags & GFRAME_HEAD);
	assert_int_equal(blocks, 14);
	rig_close(&r);
	(void)state;
}

/* ---- owners of a frame: the first stays first, behind it the newest comes first ---- */

static void check_owners(struct gframe *f, const uint64_t *model, unsigned n)
{
	unsigned i = 0;

	assert_int_equal(f->refs, n);
	gframe_for_each_owner(f, o) {
		assert_true(i < n);
		assert_int_equal(o->vpn, model[i++]);
	}
	assert_int_equal(i, n);
}

static void owners_keep_their_order(void **state)
{
	enum { OWNERS = 300 };
	struct rig_config c = { .scheme = "native", .guest = { .mem_pages = 100 } };
	uint64_t model[OWNERS], gfn, next = 0;
	struct pages of = { 0 };
	unsigned n = 0;
	struct rng rng;
	struct rig r;

	rng_init(&rng, 13);
	assert_true(rig_open(&r, &c));
	assert_int_equal(frames_alloc(r.guest, 0, GFRAME_USER, &gfn), 0);
	for (unsigned step = 0; step < 20000; step++) {
		bool add = n < 2 || (n < OWNERS && rng_below(&rng, 100) < (step / 1000 % 2 ? 40u : 60u));

		if (add) {
			unsigned at = n ? 1 : 0;

			memmove(&model[at + 1], &model[at], (n - at) * sizeof(*model));
			model[at] = next++;
			gframe_add_owner(r.guest, gfn, &of, model[at]);
			n++;
		} else {
			/* From either end most of the time, as children end. */
			unsigned at = (unsigned)(rng_below(&rng, 3) ? rng_below(&rng, n) : rng_below(&rng, 2) ? n - 1 : 0);

			gframe_drop_owner(r.guest, gfn, &of, model[at]);
			n--;
			memmove(&model[at], &model[at + 1], (n - at) * sizeof(*model));
		}
		check_owners(&r.guest->frames.f[gfn], model, n);
	}
	while (n)
		gframe_drop_owner(r.guest, gfn, &of, model[--n]);
	assert_int_equal(r.guest->frames.f[gfn].type, GFRAME_FREE);
	rig_close(&r);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pmap_is_an_ordered_map),
		cmocka_unit_test(owners_keep_their_order),
		cmocka_unit_test(heap_gives_the_least_first),
		cmocka_unit_test(vmas_are_one_record_a_page),
		cmocka_unit_test(no_frame_is_handed_out_twice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
