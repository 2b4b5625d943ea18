/* SPDX-License-Identifier: MIT */
/* Address spaces: made, run out of tags, ended. */
#include <stdlib.h>

#include "base/bug.h"
#include "guestos/guest_internal.h"
#include "guestos/mem_events.h"

static void ops_ref(void *ctx, struct shm *s)
{
	(void)ctx;
	shm_ref(s);
}

static void ops_put(void *ctx, struct shm *s)
{
	shm_put(ctx, s);
}

struct vma_ops mm_vma_ops(struct guest *g)
{
	return (struct vma_ops){ ops_ref, ops_put, g };
}

/* Numbers inside a table that holds many spaces; those given back come first. */
static uint32_t key_get(struct guest *g)
{
	return g->nfree_keys ? g->free_keys[--g->nfree_keys] : ++g->next_key;
}

static void key_put(struct guest *g, uint32_t key)
{
	if (g->nfree_keys == g->cap_free_keys) {
		g->cap_free_keys = g->cap_free_keys ? g->cap_free_keys * 2 : 16;
		g->free_keys = realloc(g->free_keys, g->cap_free_keys * sizeof(*g->free_keys));
		BUG_ON(!g->free_keys);
	}
	g->free_keys[g->nfree_keys++] = key;
}

struct mm *mm_create(struct guest *g, struct source *src)
{
	struct mm *mm = calloc(1, sizeof(*mm));

	BUG_ON(!mm);
	pmap_init(&mm->pages.map);
	pmap_init(&mm->phys);
	mm->pages.mm = mm;
	mm->users = 1;
	mm->key_space = key_get(g);
	/* The prepass met the spaces of a source in the same order. */
	if (src->next_space < src->nspaces)
		opt_space_bind(src->spaces[src->next_space++], mm);
	mm->next = g->mms;
	if (mm->next)
		mm->next->prev = mm;
	g->mms = mm;
	return mm;
}

int mm_table(struct guest *g, struct mm *mm)
{
	while (!mm->has_table) {
		int err = table_create(g, mm);

		if (err == -ENOMEM)
			err = evict_one(g);
		if (err)
			return err;
	}
	return 0;
}

/*
 * D bits that only this table knows: of shared memory. Private frames with
 * other owners were write-protected, and harvested, when they got them.
 */
static void harvest_shared(struct guest *g, struct mm *mm)
{
	for (unsigned i = 0; i < mm->vmas.n; i++) {
		const struct vma *v = &mm->vmas.v[i];

		if (!v->shm)
			continue;
		pmap_for_range(&mm->pages.map, vpn, word, v->start, v->end) {
			uint8_t rights;

			if (!(word & PAGE_MAPPED))
				continue;
			if (table_rights(g, mm, vpn, &rights))
				return;
			page_harvest(g, page_value(word), 1, rights);
		}
	}
}

/* Frees what the space holds on the host alone, asking the guest's memory nothing. */
void mm_free(struct guest *g, struct mm *mm)
{
	struct vma_ops ops = mm_vma_ops(g);

	pmap_for_range(&mm->pages.map, vpn, word, 0, UINT64_MAX) {
		if (word & PAGE_FRAME)
			gframe_drop_owner(g, page_value(word), &mm->pages, vpn);
		else
			disk_slot_put(&g->disk, (uint32_t)page_value(word));
	}
	pmap_fini(&mm->pages.map);
	pmap_fini(&mm->phys);
	vmas_fini(&mm->vmas, &ops);
	if (mm->next)
		mm->next->prev = mm->prev;
	*(mm->prev ? &mm->prev->next : &g->mms) = mm->next;
	if (mm->opt)
		opt_space_bind(mm->opt, NULL);
	key_put(g, mm->key_space);
	free(mm);
}

void mm_put(struct guest *g, struct mm *mm)
{
	if (--mm->users)
		return;
	/*
	 * Tables first, then the fence, and only then may anyone have the
	 * frames: a root that comes back under the same tag must not find
	 * what its last owner left.
	 */
	harvest_shared(g, mm);
	table_destroy(g, mm);
	fence_owe_space(g, mm);
	fence_pay(g);
	if (g->current == mm)
		g->current = NULL;
	mm_free(g, mm);
}

void mms_fini(struct guest *g)
{
	while (g->mms)
		mm_free(g, g->mms);
}
