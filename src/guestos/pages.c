/* SPDX-License-Identifier: MIT */
/*
 * The pages of address spaces and shared objects: which frame or disk slot
 * each has, and whether the table says so too.
 *
 * A superpage is HUGE and MAPPED in the words of all its pages; each of its
 * frames has an owner and is freed by itself, so splitting one changes the
 * table and these bits alone.
 */
#include <stdlib.h>

#include "base/bug.h"
#include "guestos/guest_internal.h"

struct shm *shm_create(void)
{
	struct shm *s = calloc(1, sizeof(*s));

	BUG_ON(!s);
	pmap_init(&s->pages.map);
	s->refs = 1;
	return s;
}

void shm_ref(struct shm *s)
{
	s->refs++;
}

static void forget(struct guest *g, struct pages *p, uint64_t vpn, uint64_t word)
{
	pmap_set(&p->map, vpn, 0);
	if (word & PAGE_FRAME)
		gframe_drop_owner(g, page_value(word), p, vpn);
	else if (word & PAGE_DISK)
		disk_slot_put(&g->disk, (uint32_t)page_value(word));
}

void shm_put(struct guest *g, struct shm *s)
{
	if (--s->refs)
		return;
	pmap_for_range(&s->pages.map, off, word, 0, UINT64_MAX)
		forget(g, &s->pages, off, word);
	pmap_fini(&s->pages.map);
	free(s);
}

void page_harvest(struct guest *g, uint64_t gfn, uint64_t nframes, uint8_t rights)
{
	/* Where the format has no dirty bit, writable counts as written. */
	bool dirty = (rights & RIGHT_D) && (g->config.fmt->dirty || (rights & RIGHT_W));

	for (uint64_t i = gfn; dirty && i < gfn + nframes; i++)
		g->frames.f[i].flags |= GFRAME_DIRTY;
}

uint8_t page_rights(struct guest *g, struct mm *mm, uint64_t vpn, uint64_t gfn)
{
	const struct vma *v = vma_find(&mm->vmas, vpn);
	uint8_t rights = v ? v->rights : RIGHT_RWX;

	if (!(v && v->shm) && g->frames.f[gfn].refs > 1)
		rights &= (uint8_t)~RIGHT_W;
	return rights ? rights | RIGHT_U : 0;
}

static uint64_t huge_base(const struct guest *g, uint64_t vpn)
{
	return align_down(vpn, BIT(g->huge_order));
}

static uint8_t huge_rights(struct guest *g, struct mm *mm, uint64_t base, uint64_t gfn)
{
	uint8_t rights = page_rights(g, mm, base, gfn);

	for (uint64_t i = 0; i < BIT(g->huge_order); i++)
		if (g->frames.f[gfn + i].refs > 1)
			rights &= (uint8_t)~RIGHT_W;
	return rights;
}

static int huge_unmap(struct guest *g, struct mm *mm, uint64_t base, uint8_t *rights)
{
	uint64_t n = BIT(g->huge_order);
	int err = table_unmap(g, mm, base, g->huge_order, rights);

	if (err)
		return err;
	for (uint64_t i = 0; i < n; i++) {
		uint64_t word = pmap_get(&mm->pages.map, base + i);

		page_harvest(g, page_value(word), 1, *rights);
		pmap_set(&mm->pages.map, base + i, word & ~(uint64_t)(PAGE_MAPPED | PAGE_HUGE));
	}
	return 0;
}

int page_unmap(struct guest *g, struct mm *mm, uint64_t vpn)
{
	uint64_t word = pmap_get(&mm->pages.map, vpn);
	uint8_t rights;
	int err;

	if (!(word & PAGE_MAPPED))
		return 0;
	BUG_ON(word & PAGE_HUGE);
	err = table_unmap(g, mm, vpn, 0, &rights);
	if (err)
		return err;
	page_harvest(g, page_value(word), 1, rights);
	pmap_set(&mm->pages.map, vpn, word & ~(uint64_t)PAGE_MAPPED);
	return 0;
}

int page_drop(struct guest *g, struct mm *mm, uint64_t vpn)
{
	uint64_t word = pmap_get(&mm->pages.map, vpn);
	int err = page_unmap(g, mm, vpn);

	if (!err && word)
		forget(g, &mm->pages, vpn, word);
	return err;
}

/* A page with a frame gets its entry if a table can be had for it; else a fault brings it. */
static int map_if_room(struct guest *g, struct mm *mm, uint64_t vpn, uint8_t ad)
{
	uint64_t word = pmap_get(&mm->pages.map, vpn);
	uint8_t rights = page_rights(g, mm, vpn, page_value(word));
	int err = rights ? table_map(g, mm, vpn, 0, page_value(word), rights | ad) : -ENOMEM;

	if (!err)
		pmap_set(&mm->pages.map, vpn, word | PAGE_MAPPED);
	return err == -ENOMEM ? 0 : err;
}

int page_split(struct guest *g, struct mm *mm, uint64_t vpn)
{
	uint64_t base = huge_base(g, vpn);
	uint8_t rights;
	int err = huge_unmap(g, mm, base, &rights);

	for (uint64_t i = 0; !err && i < BIT(g->huge_order); i++)
		err = map_if_room(g, mm, base + i, rights & (RIGHT_A | RIGHT_D));
	return err;
}

int pages_split_ends(struct guest *g, struct mm *mm, uint64_t vpn, uint64_t n)
{
	uint64_t ends[2] = { vpn, vpn + n };

	for (int i = 0; i < 2 && g->huge_order; i++) {
		if (is_aligned(ends[i], BIT(g->huge_order)) ||
		    !(pmap_get(&mm->pages.map, ends[i]) & PAGE_HUGE))
			continue;

		int err = page_split(g, mm, ends[i]);

		if (err)
			return err;
	}
	return 0;
}

int pages_drop_range(struct guest *g, struct mm *mm, uint64_t vpn, uint64_t n)
{
	int err = pages_split_ends(g, mm, vpn, n);

	if (err)
		return err;
	pmap_for_range(&mm->pages.map, at, word, vpn, vpn + n) {
		uint8_t rights;

		err = word & PAGE_HUGE ? huge_unmap(g, mm, huge_base(g, at), &rights) : 0;
		if (!err)
			err = page_drop(g, mm, at);
		if (err)
			return err;
	}
	return 0;
}

/* The entry of one page or superpage, from `base`, as its rights are now. */
static int protect_one(struct guest *g, struct mm *mm, uint64_t base, uint64_t word)
{
	bool huge = word & PAGE_HUGE;
	uint64_t gfn = page_value(word);
	uint8_t rights = huge ? huge_rights(g, mm, base, gfn) : page_rights(g, mm, base, gfn);
	uint8_t old;
	int err = table_rights(g, mm, base, &old);

	if (err)
		return err;
	page_harvest(g, gfn, huge ? BIT(g->huge_order) : 1, old);
	if ((old & (RIGHT_RWX | RIGHT_U)) == rights)
		return 0;
	if (rights)
		err = table_protect(g, mm, base, huge ? g->huge_order : 0,
				    rights | (old & (RIGHT_A | RIGHT_D)));
	if (!rights || err == -ENOMEM)
		err = huge ? huge_unmap(g, mm, base, &old) : page_unmap(g, mm, base);
	return err;
}

int pages_protect(struct guest *g, struct mm *mm, uint64_t vpn, uint64_t n)
{
	int err = pages_split_ends(g, mm, vpn, n);

	if (err)
		return err;
	pmap_for_range(&mm->pages.map, at, word, vpn, vpn + n) {
		if (!(word & PAGE_MAPPED))
			continue;
		err = protect_one(g, mm, at, word);
		if (err)
			return err;
		if (word & PAGE_HUGE)
			at = huge_base(g, at) + BIT(g->huge_order) - 1;
	}
	return 0;
}

int pages_move(struct guest *g, struct mm *mm, uint64_t from, uint64_t to, uint64_t n)
{
	int err = pages_split_ends(g, mm, from, n);

	if (err)
		return err;
	pmap_for_range(&mm->pages.map, at, word, from, from + n) {
		uint64_t there = to + (at - from);
		uint8_t rights;

		err = word & PAGE_HUGE ? huge_unmap(g, mm, huge_base(g, at), &rights) : page_unmap(g, mm, at);
		if (err)
			return err;
		word &= ~(uint64_t)(PAGE_MAPPED | PAGE_HUGE);
		pmap_set(&mm->pages.map, at, 0);
		pmap_set(&mm->pages.map, there, word);
		if (word & PAGE_DISK)
			continue;
		gframe_add_owner(g, page_value(word), &mm->pages, there);
		gframe_drop_owner(g, page_value(word), &mm->pages, at);
		err = map_if_room(g, mm, there, 0);
		if (err)
			return err;
	}
	return 0;
}
