/* SPDX-License-Identifier: MIT */
/*
 * The guest's frames: a buddy allocator over [0, mem_pages), and who uses
 * each. Frame 0 is the kernel's, so that gpa 0 is never a table or a page.
 *
 * Tables do not lie among pages: a 2 MiB block is kept for one or the other
 * while any of it is in use, as Linux groups pages by mobility, so that huge
 * pages stay to be had. Where one use has no block left, it takes single
 * frames out of the other's.
 *
 * A frame that was never written (GFRAME_BYTES clear) is zero as the machine
 * gave it and is not zeroed again: only its user's own touch backs it.
 */
#include <stdlib.h>
#include <sys/mman.h>

#include "base/bug.h"
#include "guestos/guest_internal.h"

static enum gframe_use use_of(const struct frames *fr, uint64_t gfn, unsigned order)
{
	bool tables = order < ORDER_2M && fr->f[align_down(gfn, BIT(ORDER_2M))].flags & GFRAME_TABLES;

	return tables ? FOR_TABLES : FOR_PAGES;
}

static void list_push(struct frames *fr, uint64_t gfn, unsigned order)
{
	uint32_t *head = &fr->free_head[use_of(fr, gfn, order)][order];
	struct gframe *f = &fr->f[gfn];

	f->type = GFRAME_FREE;
	f->order = (uint8_t)order;
	f->flags |= GFRAME_HEAD;
	f->prev = NO_GFRAME;
	f->next = *head;
	if (f->next != NO_GFRAME)
		fr->f[f->next].prev = (uint32_t)gfn;
	*head = (uint32_t)gfn;
}

static void list_remove(struct frames *fr, uint64_t gfn)
{
	struct gframe *f = &fr->f[gfn];

	f->flags &= (uint8_t)~GFRAME_HEAD;
	if (f->prev != NO_GFRAME)
		fr->f[f->prev].next = f->next;
	else
		fr->free_head[use_of(fr, gfn, f->order)][f->order] = f->next;
	if (f->next != NO_GFRAME)
		fr->f[f->next].prev = f->prev;
}

/* Frames [gfn, n) in the largest aligned blocks, the lowest ending up first on its list. */
static void add_free_range(struct frames *fr, uint64_t gfn, uint64_t end)
{
	while (end > gfn) {
		unsigned order = MIN((unsigned)GUEST_ORDER_MAX, log2_floor(end - gfn));

		/* The block that ends at `end`: its alignment bounds it. */
		order = MIN(order, (unsigned)__builtin_ctzll(end));
		end -= BIT(order);
		list_push(fr, end, order);
		fr->nfree += BIT(order);
	}
}

int frames_init(struct frames *fr, uint64_t n, uint64_t phys)
{
	*fr = (struct frames){ .n = n };
	for (unsigned i = 0; i <= GUEST_ORDER_MAX; i++)
		fr->free_head[FOR_PAGES][i] = fr->free_head[FOR_TABLES][i] = NO_GFRAME;
	if (n < 2 || n >= NO_GFRAME || phys >= n)
		return -EINVAL;
	/* Of a large guest's frames most are never used: they take nothing of the host, not even a promise. */
	fr->f = mmap(NULL, n * sizeof(*fr->f), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (fr->f == MAP_FAILED) {
		fr->f = NULL;
		return -ENOMEM;
	}
	fr->f[0].type = GFRAME_KERNEL;
	fr->f[0].flags = GFRAME_TABLES;
	for (uint64_t i = 0; i < phys; i++)
		fr->f[i].type = GFRAME_PHYS;
	add_free_range(fr, MAX(phys, UINT64_C(1)), n);
	return 0;
}

enum { CHUNK_OWNERS = 127 };

struct owner_chunk {
	struct owner_chunk *next;
	struct owner o[CHUNK_OWNERS];
};

static void owner_put(struct frames *fr, struct owner *o)
{
	o->next = fr->spare;
	fr->spare = o;
}

static struct owner *owner_get(struct frames *fr)
{
	struct owner *o = fr->spare;

	if (!o) {
		struct owner_chunk *c = malloc(sizeof(*c));

		BUG_ON(!c);
		c->next = fr->chunks;
		fr->chunks = c;
		for (unsigned i = CHUNK_OWNERS; i-- > 0;)
			owner_put(fr, &c->o[i]);
		o = fr->spare;
	}
	fr->spare = o->next;
	return o;
}

void frames_fini(struct frames *fr)
{
	for (struct owner_chunk *c = fr->chunks, *next; c; c = next) {
		next = c->next;
		free(c);
	}
	if (fr->f)
		munmap(fr->f, fr->n * sizeof(*fr->f));
	*fr = (struct frames){ 0 };
}

/* The order of the smallest free block of `use`, no smaller than order; above GUEST_ORDER_MAX: there is none. */
static unsigned smallest_free(const struct frames *fr, enum gframe_use use, unsigned order)
{
	while (order <= GUEST_ORDER_MAX && fr->free_head[use][order] == NO_GFRAME)
		order++;
	return order;
}

/* Takes a free block of order `have` and gives back all but its first 2^order frames. */
static uint64_t take_first(struct frames *fr, enum gframe_use use, unsigned have, unsigned order)
{
	uint64_t gfn = fr->free_head[use][have];

	list_remove(fr, gfn);
	while (have > order) {
		have--;
		list_push(fr, gfn + BIT(have), have);
	}
	return gfn;
}

/* Makes a free 2 MiB block, if there is one, the tables'. */
static void keep_block(struct frames *fr)
{
	unsigned have = smallest_free(fr, FOR_PAGES, ORDER_2M);

	if (have > GUEST_ORDER_MAX)
		return;
	uint64_t gfn = take_first(fr, FOR_PAGES, have, ORDER_2M);

	fr->f[gfn].flags |= GFRAME_TABLES;
	list_push(fr, gfn + BIT(ORDER_2M - 1), ORDER_2M - 1);
	list_push(fr, gfn, ORDER_2M - 1);
}

int frames_alloc(struct guest *g, unsigned order, enum gframe_type type, uint64_t *gfn)
{
	enum gframe_use use = type == GFRAME_USER ? FOR_PAGES : FOR_TABLES;
	struct frames *fr = &g->frames;
	unsigned have;

	/* No frame goes to another use while a TLB may still lead to it. */
	fence_pay(g);
	have = smallest_free(fr, use, order);
	if (have > GUEST_ORDER_MAX && use == FOR_TABLES && order < ORDER_2M) {
		keep_block(fr);
		have = smallest_free(fr, use, order);
	}
	if (have > GUEST_ORDER_MAX) {
		use = use == FOR_PAGES ? FOR_TABLES : FOR_PAGES;
		have = smallest_free(fr, use, order);
	}
	if (have > GUEST_ORDER_MAX)
		return -ENOMEM;
	*gfn = take_first(fr, use, have, order);
	for (uint64_t i = 0; i < BIT(order); i++)
		fr->f[*gfn + i].type = (uint8_t)type;
	fr->nfree -= BIT(order);
	g->stats.frames_used = fr->n - fr->nfree;
	g->stats.frames_peak = MAX(g->stats.frames_peak, g->stats.frames_used);
	if (type == GFRAME_TABLE)
		g->stats.table_frames += BIT(order);
	return 0;
}

void frames_free(struct guest *g, uint64_t gfn, unsigned order)
{
	struct frames *fr = &g->frames;

	BUG_ON(gfn == 0 || gfn + BIT(order) > fr->n);
	if (fr->f[gfn].type == GFRAME_TABLE)
		g->stats.table_frames -= BIT(order);
	for (uint64_t i = 0; i < BIT(order); i++) {
		BUG_ON(fr->f[gfn + i].type == GFRAME_FREE);
		fr->f[gfn + i].type = GFRAME_FREE;
	}
	fr->nfree += BIT(order);
	for (; order < GUEST_ORDER_MAX; order++) {
		uint64_t buddy = gfn ^ BIT(order);

		if (buddy + BIT(order) > fr->n || !(fr->f[buddy].flags & GFRAME_HEAD) ||
		    fr->f[buddy].order != order)
			break;
		list_remove(fr, buddy);
		gfn &= ~BIT(order);
		/* A whole block that is free is nobody's; the first one is the kernel's and never is. */
		if (order + 1 == ORDER_2M)
			fr->f[gfn].flags &= (uint8_t)~GFRAME_TABLES;
	}
	list_push(fr, gfn, order);
	g->stats.frames_used = fr->n - fr->nfree;
}

int frames_zero(struct guest *g, uint64_t gfn, unsigned order)
{
	for (uint64_t i = gfn; i < gfn + BIT(order); i++) {
		if (!(g->frames.f[i].flags & GFRAME_BYTES))
			continue;

		enum access_status st = vcpu_fill_zero(g->vcpu, SEG_BARE, i << PAGE_SHIFT, PAGE_SIZE);

		if (st)
			return guest_access(g, st);
		g->frames.f[i].flags &= (uint8_t)~GFRAME_BYTES;
	}
	return 0;
}

int frames_audit(const struct frames *fr, const char **why)
{
	uint64_t nfree = 0;

	for (uint64_t i = 0; i < fr->n;) {
		const struct gframe *f = &fr->f[i];
		uint64_t n = f->flags & GFRAME_HEAD ? BIT(f->order) : 1;

		if (f->flags & GFRAME_HEAD) {
			if (i & (n - 1) || i + n > fr->n)
				return *why = "a free block is not aligned", -EINVAL;
			for (uint64_t k = i; k < i + n; k++)
				if (fr->f[k].type != GFRAME_FREE || fr->f[k].refs)
					return *why = "a free frame is in use", -EINVAL;
			nfree += n;
		} else if (f->type == GFRAME_FREE) {
			return *why = "a frame is neither free nor used", -EINVAL;
		} else if ((f->type == GFRAME_USER) != (f->refs > 0)) {
			return *why = "a user frame without an owner", -EINVAL;
		}
		i += n;
	}
	for (unsigned list = 0; list < GFRAME_USES * (GUEST_ORDER_MAX + 1); list++) {
		unsigned use = list % GFRAME_USES, order = list / GFRAME_USES;

		for (uint32_t i = fr->free_head[use][order]; i != NO_GFRAME; i = fr->f[i].next) {
			if (!(fr->f[i].flags & GFRAME_HEAD) || fr->f[i].order != order || use_of(fr, i, order) != use)
				return *why = "a free list holds something else", -EINVAL;
			nfree -= BIT(order);
		}
	}
	if (nfree)
		return *why = "free blocks and free lists disagree", -EINVAL;
	return 0;
}

void gframe_add_owner(struct guest *g, uint64_t gfn, struct pages *of, uint64_t vpn)
{
	struct gframe *f = &g->frames.f[gfn];

	BUG_ON(f->type != GFRAME_USER);
	if (f->refs++ == 0) {
		f->first = (struct owner){ .of = of, .vpn = vpn };
		g->replace->add(g, gfn);
		return;
	}

	struct owner *o = owner_get(&g->frames);

	*o = (struct owner){ .of = of, .vpn = vpn, .next = f->first.next };
	*(o->next ? &o->next->prev : &f->last) = o;
	f->first.next = o;
}

/* Takes one out of those behind the first. */
static void owner_unlink(struct frames *fr, struct gframe *f, struct owner *o)
{
	*(o->prev ? &o->prev->next : &f->first.next) = o->next;
	*(o->next ? &o->next->prev : &f->last) = o->prev;
	owner_put(fr, o);
}

/*
 * Behind the first, the newest owner comes first. Children end in the order
 * of their birth or against it, so the search goes from both ends at once.
 */
static struct owner *owner_find(struct gframe *f, const struct pages *of, uint64_t vpn)
{
	for (struct owner *a = f->first.next, *z = f->last; a; a = a->next, z = z->prev) {
		if (a->of == of && a->vpn == vpn)
			return a;
		if (z->of == of && z->vpn == vpn)
			return z;
		if (a == z || a->next == z)
			break;
	}
	return NULL;
}

void gframe_drop_owner(struct guest *g, uint64_t gfn, struct pages *of, uint64_t vpn)
{
	struct gframe *f = &g->frames.f[gfn];
	struct owner *o = f->first.next;

	BUG_ON(f->type != GFRAME_USER || !f->refs);
	if (f->first.of == of && f->first.vpn == vpn) {
		f->first.of = o ? o->of : NULL;
		f->first.vpn = o ? o->vpn : 0;
	} else {
		o = owner_find(f, of, vpn);
		BUG_ON(!o);
	}
	if (o)
		owner_unlink(&g->frames, f, o);
	if (--f->refs)
		return;
	g->replace->remove(g, gfn);
	if (f->slot)
		disk_slot_put(&g->disk, f->slot);
	f->slot = 0;
	f->flags &= (uint8_t)~GFRAME_DIRTY;
	frames_free(g, gfn, 0);
}
