/* SPDX-License-Identifier: MIT */
/*
 * Inverted shadow: gva → machine entries in a hashed cache that may forget.
 *
 *   hash(space, page, order)            a group: one line, one reference
 *        │         groups          ┌──────────┬──────────┬──────────┬──────────┐
 *        └──────▶ ┌──────┐         │ tag leaf │ tag leaf │ tag leaf │ tag leaf │
 *                 │  ●───┼───────▶ └──────────┴──────────┴──────────┴──────────┘
 *                 └──────┘           newest                              oldest
 *
 * The size is fixed when the VM gets the scheme: half as many groups as the
 * VM, or the machine if it has fewer, has frames, at most 2^20 (two entries a
 * frame: what the PowerPC architecture recommends for its hashed table); fewer
 * where no such run of frames is free; or +groups=N. The bytes do not follow
 * the number of spaces nor of mappings.
 *
 * A full group forgets its oldest entry (mmu_recycled), whose name leaves the
 * reverse map of its frame. Nothing else follows: TLBs may go on holding what
 * they know, and the page is entered again at its next miss.
 *
 * A lookup probes each order in use, largest first; where the space has
 * nothing, the same of global pages, which stand once, under the number that
 * the VM's global TLB entries have. Which orders are in use, for spaces and
 * for globals, hardware has in two registers. So: 1 reference when nothing but
 * small pages is in use and the page is not global, 2 when it is.
 *
 * The tag is the name that the entry has in the reverse map; the order stands
 * in the leaf. What becomes of guest tables is as for any keyed table
 * (shadow_keyed.c), and the mode is one of shadow.c.
 */
#include "mmu/shadow.h"
#include "pt/leaf.h"

enum { WAYS = 4, CACHE_GROUPS_MAX = 1 << 20, GROUPS_PER_FRAME = PAGE_SIZE / LINE_SIZE };

struct cache_entry {
	uint64_t tag, leaf; /* leaf as pt/leaf.h has it; 0: free */
};
static_assert(sizeof(struct cache_entry) * WAYS == LINE_SIZE, "a group is a line");

enum { GLOBALS = 1 }; /* index of .count; 0: all other spaces */

static struct shadow_cache *cache_of(const struct mmu *mmu)
{
	return &mmu->shadow->cache;
}

static uint32_t *count_of(const struct mmu *mmu, uint32_t space, unsigned order)
{
	return &cache_of(mmu)->count[space == mmu->gspace ? GLOBALS : 0][order];
}

static uint64_t orders_in_use(const struct mmu *mmu, uint32_t space)
{
	uint64_t in_use = 0;

	for (uint64_t left = cache_of(mmu)->orders; left; left &= left - 1)
		if (*count_of(mmu, space, log2_floor(left & -left)))
			in_use |= left & -left;
	return in_use;
}

static uint32_t group_of(const struct mmu *mmu, uint64_t tag, unsigned order)
{
	/* The upper half of the hash, scaled: any number of groups will do. */
	return (uint32_t)((hash_2u64(tag, order) >> 32) * cache_of(mmu)->groups >> 32);
}

static uint64_t group_addr(const struct mmu *mmu, uint32_t group)
{
	return cache_of(mmu)->base + (uint64_t)group * LINE_SIZE;
}

static uint64_t tag_of(uint32_t space, uint64_t page, unsigned order)
{
	return rmap_key(space, align_down(page, BIT(order)));
}

static void to_entry(const struct cache_entry *c, struct pt_entry *e)
{
	leaf_to_entry((struct pt_key){ rmap_key_space(c->tag), rmap_key_page(c->tag) }, c->leaf, e);
}

/* The way of a group that holds this key; WAYS: none does. */
static unsigned way_of(const struct cache_entry group[WAYS], uint64_t tag, unsigned order)
{
	unsigned w = 0;

	while (w < WAYS && !(group[w].tag == tag && is_valid_leaf(group[w].leaf) && leaf_order(group[w].leaf) == order))
		w++;
	return w;
}

/* ---- hardware's probes ---- */

static bool cache_lookup(struct mmu *mmu, uint32_t space, struct mmu_fault *f)
{
	struct pt_mem *m = &mmu->ptm.m;
	uint64_t refs = m->counts.refs, depth = m->counts.depth, page = f->va >> PAGE_SHIFT;
	unsigned w = WAYS;

	walk_begin(&f->walk);
	f->walk.status = WALK_FAULT;
	for (uint64_t orders = orders_in_use(mmu, space); orders && w == WAYS;) {
		unsigned order = log2_floor(orders);
		uint64_t tag = tag_of(space, page, order);
		uint32_t group = group_of(mmu, tag, order);
		struct cache_entry line[WAYS];
		struct pt_entry e;

		orders &= ~BIT(order);
		ptm_note(m, space == mmu->gspace ? "global cache" : "cache", 0, group, 0, 1);
		if (ptm_load(m, group_addr(mmu, group), LINE_SIZE, line))
			break;
		w = way_of(line, tag, order);
		if (w < WAYS) {
			to_entry(&line[w], &e);
			keyed_found(f, &e);
			f->walk.leaf_addr = group_addr(mmu, group) + w * sizeof(line[w]);
			f->walk.leaf = line[w].leaf;
		}
	}
	f->refs += m->counts.refs - refs;
	f->depth += m->counts.depth - depth;
	return w < WAYS;
}

/* ---- the hypervisor's own look ---- */

static const struct cache_entry *group_at(const struct mmu *mmu, uint32_t group)
{
	return (const void *)machine_ptr(mmu->vm->hv->m, HPA(group_addr(mmu, group)));
}

static void put(struct mmu *mmu, uint32_t group, unsigned way, const struct cache_entry *c)
{
	uint64_t addr = group_addr(mmu, group) + way * sizeof(*c);

	/* Never a leaf under another's tag. */
	BUG_ON(ptm_store64(&mmu->ptm.m, addr + offsetof(struct cache_entry, leaf), 0));
	BUG_ON(ptm_store64(&mmu->ptm.m, addr + offsetof(struct cache_entry, tag), c->tag));
	BUG_ON(ptm_store64(&mmu->ptm.m, addr + offsetof(struct cache_entry, leaf), c->leaf));
}

static bool cache_find(struct mmu *mmu, uint32_t space, uint64_t page, struct pt_entry *e)
{
	for (uint64_t orders = orders_in_use(mmu, space); orders; orders &= orders - 1) {
		unsigned order = log2_floor(orders & -orders);
		uint64_t tag = tag_of(space, page, order);
		const struct cache_entry *g = group_at(mmu, group_of(mmu, tag, order));
		unsigned w = way_of(g, tag, order);

		if (w < WAYS) {
			to_entry(&g[w], e);
			return true;
		}
	}
	return false;
}

static unsigned free_way(const struct cache_entry group[WAYS])
{
	unsigned w = 0;

	while (w < WAYS && is_valid_leaf(group[w].leaf))
		w++;
	return w;
}

static int cache_make(struct mmu *mmu, uint32_t space, uint64_t *orders)
{
	*orders = cache_of(mmu)->orders;
	return 0;
}

static bool cache_victim(struct mmu *mmu, const struct pt_entry *e, struct pt_entry *victim)
{
	const struct cache_entry *g = group_at(mmu, group_of(mmu, tag_of(e->key.space, e->key.page, e->order), e->order));

	if (free_way(g) < WAYS)
		return false;
	to_entry(&g[WAYS - 1], victim);
	return true;
}

/* In front; those before the free way move up to it, oldest first. */
static int cache_map(struct mmu *mmu, const struct pt_entry *e)
{
	uint64_t tag = tag_of(e->key.space, e->key.page, e->order);
	uint32_t group = group_of(mmu, tag, e->order);
	const struct cache_entry *g = group_at(mmu, group);
	unsigned w = free_way(g);

	BUG_ON(w == WAYS);
	for (; w; w--)
		put(mmu, group, w, &g[w - 1]);
	put(mmu, group, 0, &(struct cache_entry){ tag, make_leaf(e->frame, e->order, e->rights) });
	++*count_of(mmu, e->key.space, e->order);
	cache_of(mmu)->entries++;
	return 0;
}

/* The place of an entry that is there. */
static struct cache_entry spot_of(struct mmu *mmu, const struct pt_entry *e, uint32_t *group, unsigned *way)
{
	uint64_t tag = tag_of(e->key.space, e->key.page, e->order);

	*group = group_of(mmu, tag, e->order);
	*way = way_of(group_at(mmu, *group), tag, e->order);
	BUG_ON(*way == WAYS);
	return group_at(mmu, *group)[*way];
}

static void cache_unmap(struct mmu *mmu, const struct pt_entry *e)
{
	uint32_t group;
	unsigned way;

	spot_of(mmu, e, &group, &way);
	put(mmu, group, way, &(struct cache_entry){ 0, 0 });
	--*count_of(mmu, e->key.space, e->order);
	cache_of(mmu)->entries--;
}

static void cache_protect(struct mmu *mmu, const struct pt_entry *e, uint8_t rights)
{
	uint32_t group;
	unsigned way;
	struct cache_entry c = spot_of(mmu, e, &group, &way);

	c.leaf = leaf_with_rights(c.leaf, rights);
	put(mmu, group, way, &c);
}

/* Does this entry have a page of the range? */
static bool is_in(const struct keyed_range *r, const struct pt_entry *e)
{
	return e->key.space == r->space && e->key.page < r->page + r->n && e->key.page + BIT(e->order) > r->page;
}

/* Page by page, or group by group where that is shorter. */
static bool cache_next(struct mmu *mmu, struct keyed_range *r, struct pt_entry *e)
{
	const struct shadow_cache *c = cache_of(mmu);

	if (!orders_in_use(mmu, r->space))
		return false;
	if (r->n <= c->groups) {
		while (r->at < r->n)
			if (cache_find(mmu, r->space, r->page + r->at++, e)) {
				r->at = e->key.page + BIT(e->order) - r->page;
				return true;
			}
		return false;
	}
	while (r->at < (uint64_t)c->groups * WAYS) {
		const struct cache_entry *at = &group_at(mmu, (uint32_t)(r->at / WAYS))[r->at % WAYS];

		r->at++;
		if (!is_valid_leaf(at->leaf))
			continue;
		to_entry(at, e);
		if (is_in(r, e))
			return true;
	}
	return false;
}

/* ---- life ---- */

static int cache_attach(struct mmu *mmu)
{
	struct shadow *sh = mmu->shadow;
	struct shadow_cache *c = &sh->cache;
	uint64_t want = mmu->scheme.groups;

	if (!want)
		want = MIN(MIN(mmu->vm->hv->m->nframes, vm_pages(mmu->vm)) / 2, CACHE_GROUPS_MAX);
	want = MAX(want, 1);
	sh->globals = true;
	c->orders = gpt_leaf_orders(sh->fmt) & low_bits(ORDERS);
	c->order = (uint8_t)log2_ceil(align_up(want, GROUPS_PER_FRAME) / GROUPS_PER_FRAME);
	while (ptm_alloc(&mmu->ptm.m, c->order, &c->base)) {
		/* A number that was asked for is not another's to change. */
		if (!c->order || mmu->scheme.groups)
			return -ENOMEM;
		c->order--;
	}
	c->groups = (uint32_t)MIN(want, (uint64_t)GROUPS_PER_FRAME << c->order);
	return 0;
}

static void cache_detach(struct mmu *mmu)
{
	BUG_ON(cache_of(mmu)->entries);
	ptm_free(&mmu->ptm.m, cache_of(mmu)->base, cache_of(mmu)->order);
}

static int bad(const char **why, const char *what)
{
	*why = what;
	return -EINVAL;
}

static int audit_entry(struct mmu *mmu, uint32_t group, unsigned way, const char **why)
{
	const struct cache_entry *g = group_at(mmu, group);
	struct gfn_mapping truth;
	struct rmap_iter it;
	struct pt_entry e, other;

	to_entry(&g[way], &e);
	if (group_of(mmu, g[way].tag, e.order) != group || !is_aligned(e.key.page, BIT(e.order)))
		return bad(why, "an entry of the shadow cache is where no probe finds it");
	if (!cache_find(mmu, e.key.space, e.key.page, &other) || other.order != e.order || other.frame != e.frame ||
	    way_of(g, g[way].tag, e.order) != way)
		return bad(why, "two entries of the shadow cache are for one page");
	if (machine_frame(mmu->vm->hv->m, MFN(e.frame))->type != FRAME_GUEST)
		return bad(why, "a shadow entry leads to a frame that is not a guest's");
	for_each_rmap(machine_frame(mmu->vm->hv->m, MFN(e.frame))->owners, it)
		if (rmap_owner_vmid(it.name) == mmu->vm->vmid) {
			if (gfn_peek(mmu->vm, rmap_owner_gfn(it.name), &truth) ||
			    (e.rights & RIGHT_RWX & ~truth.rights))
				return bad(why, "a shadow entry allows more than the per-gfn truth");
			return 0;
		}
	return bad(why, "a shadow entry leads to a frame of another VM");
}

static int keyed_cache_audit(struct mmu *mmu, const char **why)
{
	const struct shadow_cache *c = cache_of(mmu);
	uint64_t n = 0, counted = 0;

	for (uint32_t group = 0; group < c->groups; group++)
		for (unsigned w = 0; w < WAYS; w++) {
			if (!is_valid_leaf(group_at(mmu, group)[w].leaf))
				continue;
			int err = audit_entry(mmu, group, w, why);

			if (err)
				return err;
			n++;
		}
	for (unsigned o = 0; o < ORDERS; o++)
		counted += (uint64_t)c->count[0][o] + c->count[GLOBALS][o];
	return n == c->entries && n == counted ? 0 : bad(why, "the shadow cache's counts of entries are wrong");
}

static uint64_t keyed_cache_bytes(const struct mmu *mmu)
{
	return mmu->ptm.m.table_bytes;
}

const struct keyed_table keyed_cache = {
	.attach = cache_attach,
	.detach = cache_detach,
	.lookup = cache_lookup,
	.find = cache_find,
	.make = cache_make,
	.victim = cache_victim,
	.map = cache_map,
	.unmap = cache_unmap,
	.protect = cache_protect,
	.next = cache_next,
	.audit = keyed_cache_audit,
	.bytes = keyed_cache_bytes,
};
