/* SPDX-License-Identifier: MIT */
/*
 * fork: the child gets the parent's VMAs, pages and entries. Private pages
 * have two owners from then on and are written by neither; the first write of
 * either makes a copy, the last owner writes in place.
 */
#include "base/bug.h"
#include "guestos/mem_events.h"

/* The child's entry; where no table can be had for it, a fault brings it later. */
static int copy_entry(struct guest *g, struct mm *child, uint64_t vpn, unsigned order, uint64_t gfn)
{
	uint8_t rights = page_rights(g, child, vpn, gfn);
	unsigned flags = PAGE_FRAME | PAGE_MAPPED | (order ? PAGE_HUGE : 0);
	int err = table_map(g, child, vpn, order, gfn, rights);

	if (err == -ENOMEM)
		return 0;
	for (uint64_t i = 0; !err && i < BIT(order); i++)
		pmap_set(&child->pages.map, vpn + i, make_page(gfn + i, flags));
	return err;
}

static void copy_page(struct guest *g, struct mm *child, uint64_t vpn, uint64_t word)
{
	if (word & PAGE_FRAME)
		gframe_add_owner(g, page_value(word), &child->pages, vpn);
	else
		disk_slot_ref(&g->disk, (uint32_t)page_value(word));
	pmap_set(&child->pages.map, vpn, word & ~(uint64_t)(PAGE_MAPPED | PAGE_HUGE));
}

static int copy_entries(struct guest *g, struct mm *child, struct mm *parent)
{
	pmap_for_range(&parent->pages.map, vpn, word, 0, UINT64_MAX) {
		unsigned order = word & PAGE_HUGE ? g->huge_order : 0;

		if (!(word & PAGE_MAPPED))
			continue;

		int err = copy_entry(g, child, vpn, order, page_value(word));

		if (err)
			return err;
		vpn += BIT(order) - 1;
	}
	return 0;
}

/* NULL with *err. The child's table is made first: room for it may cost pages of the parent. */
struct mm *mm_fork(struct guest *g, struct source *src, struct mm *parent, int *err)
{
	struct mm *child = mm_create(g, src);
	struct vma_ops ops = mm_vma_ops(g);

	*err = mm_table(g, child);
	if (!*err)
		*err = mm_table(g, parent);
	if (*err) {
		mm_put(g, child);
		return NULL;
	}
	vmas_copy(&child->vmas, &parent->vmas, &ops);
	child->brk_start = parent->brk_start;
	child->brk = parent->brk;
	pmap_for_range(&parent->pages.map, vpn, word, 0, UINT64_MAX)
		copy_page(g, child, vpn, word);
	phys_fork(child, parent);
	fence_owe_space(g, parent);
	/* Every page has a second owner now, so this takes the right to write from all private ones. */
	*err = pages_protect(g, parent, 0, BIT(64 - PAGE_SHIFT));
	if (!*err)
		*err = copy_entries(g, child, parent);
	fence_pay(g);
	if (*err) {
		mm_put(g, child);
		return NULL;
	}
	return child;
}
