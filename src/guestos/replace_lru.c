/* SPDX-License-Identifier: MIT */
/*
 * LRU, exact: it reads the very references that were made, which no kernel
 * can. Each frame has the time of its last use; a heap holds the frames by a
 * time that may be old. A frame that comes up with an old time goes back with
 * its true one, so the first that comes up true is the least recently used.
 */
#include "guestos/guest_internal.h"

static void lru_add(struct guest *g, uint64_t gfn)
{
	struct gframe *f = &g->frames.f[gfn];

	f->key = g->feed.refs;
	if (!(f->flags & GFRAME_HEAPED))
		heap_push(&g->heap, f->key, gfn);
	f->flags |= GFRAME_LISTED | GFRAME_HEAPED;
}

/* Its item in the heap stays, for the frame's next use or until it comes up: never two of one frame. */
static void lru_remove(struct guest *g, uint64_t gfn)
{
	g->frames.f[gfn].flags &= (uint8_t)~GFRAME_LISTED;
}

static void use(struct guest *g, struct mm *mm, uint64_t vpn, uint64_t now)
{
	uint64_t word = pmap_get(&mm->pages.map, vpn);

	if (word & PAGE_FRAME)
		g->frames.f[page_value(word)].key = now;
}

static void lru_touch(struct guest *g, struct mm *mm, const ref_t *refs, size_t n, uint64_t first)
{
	uint64_t last = UINT64_MAX;

	for (size_t i = 0; i < n; i++) {
		uint64_t gva = ref_gva(refs[i]), vpn = gva >> PAGE_SHIFT;

		/* Time of the last use matters, not each: only a change of page is looked at. */
		if (vpn != last && i)
			use(g, mm, last, first + i - 1);
		if (refs[i] & REF_SPECIAL)
			use(g, mm, (gva + ref_size(refs[i]) - 1) >> PAGE_SHIFT, first + i);
		last = vpn;
	}
	if (n)
		use(g, mm, last, first + n - 1);
}

static int lru_victim(struct guest *g, uint64_t *gfn)
{
	struct heap_item it;

	while (heap_pop(&g->heap, &it)) {
		struct gframe *f = &g->frames.f[it.gfn];

		if (!(f->flags & GFRAME_LISTED)) {
			f->flags &= (uint8_t)~GFRAME_HEAPED;
			continue;
		}
		heap_push(&g->heap, f->key, it.gfn);
		if (f->key == it.key) {
			*gfn = it.gfn;
			return 0;
		}
	}
	return -ENOENT;
}

static void lru_fini(struct guest *g)
{
	heap_fini(&g->heap);
}

const struct replace_ops replace_lru = {
	.fini = lru_fini,
	.add = lru_add,
	.remove = lru_remove,
	.touch = lru_touch,
	.victim = lru_victim,
};
