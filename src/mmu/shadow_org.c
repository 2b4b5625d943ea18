/* SPDX-License-Identifier: MIT */
/*
 * Shadow tables of any other organisation (shadow/inverted). One that tells
 * spaces apart (inverted) has them all in one table; any other has a table a
 * space, made at the first entry. What becomes of entries: shadow_keyed.c.
 */
#include "mmu/shadow.h"

/* The table of one space, where each has its own. */
struct org_table {
	struct org_table *next; /* of the bucket */
	uint32_t space;
	struct pt pt;
};

static struct org_table **bucket_of(const struct mmu *mmu, uint32_t space)
{
	return &mmu->shadow->table[space % SPACE_BUCKETS];
}

/* Where a space's entries are; NULL: it has none yet. */
static struct pt *table(const struct mmu *mmu, uint32_t space)
{
	if (mmu->shadow->shared)
		return mmu->shadow->shared;
	for (struct org_table *t = *bucket_of(mmu, space); t; t = t->next)
		if (t->space == space)
			return &t->pt;
	return NULL;
}

static int make_table(struct mmu *mmu, uint32_t space, uint64_t *orders)
{
	struct machine *m = mmu->vm->hv->m;
	const struct scheme *s = &mmu->scheme;
	const struct pt_params params = {
		.fmt = mmu->shadow->fmt,
		.nframes = m->nframes,
		.role = "shadow",
	};
	const struct pt *old = table(mmu, space);

	if (old) {
		*orders = old->orders;
		return 0;
	}
	struct org_table *t = kmem_alloc(m, sizeof(*t)), **bucket = bucket_of(mmu, space);
	int err;

	if (!t)
		return -ENOMEM;
	err = pt_create(&t->pt, s->org, s->org_flags, &params, &mmu->ptm.m);
	if (err) {
		kmem_free(m, t, sizeof(*t));
		return err;
	}
	t->space = space;
	t->next = *bucket;
	*bucket = t;
	*orders = t->pt.orders;
	return 0;
}

static void free_table(struct mmu *mmu, struct org_table **link)
{
	struct org_table *t = *link;

	*link = t->next;
	pt_destroy(&t->pt);
	kmem_free(mmu->vm->hv->m, t, sizeof(*t));
}

/* A space that has no entry any more needs no table of its own. */
static void free_if_empty(struct mmu *mmu, uint32_t space)
{
	struct org_table **link = bucket_of(mmu, space);

	while (*link && (*link)->space != space)
		link = &(*link)->next;
	if (*link && !(*link)->pt.entries)
		free_table(mmu, link);
}

static int org_attach(struct mmu *mmu)
{
	struct shadow *sh = mmu->shadow;
	const struct scheme *s = &mmu->scheme;

	if (!s->org->per_machine)
		return 0;
	return hv_shared_table_get(mmu->vm->hv, s->org, s->org_flags, sh->fmt, HV_TABLE_SHADOW, &sh->shared);
}

static void org_detach(struct mmu *mmu)
{
	if (mmu->shadow->shared)
		hv_shared_table_put(mmu->vm->hv, mmu->shadow->shared);
	for (unsigned i = 0; i < SPACE_BUCKETS; i++)
		while (mmu->shadow->table[i])
			free_table(mmu, &mmu->shadow->table[i]);
}

static bool table_find(struct mmu *mmu, uint32_t space, uint64_t page, struct pt_entry *e)
{
	struct pt *pt = table(mmu, space);

	return pt && !pt_find(pt, (struct pt_key){ space, page }, e);
}

static bool table_lookup(struct mmu *mmu, uint32_t space, struct mmu_fault *f)
{
	struct pt *pt = table(mmu, space);

	if (!pt)
		return false;
	uint64_t refs = pt->mem->counts.refs, depth = pt->mem->counts.depth;
	struct walk_req req = shadow_req(space, f->va);
	struct pt_entry e;

	pt->org->lookup(pt, &req, &f->walk);
	f->refs += pt->mem->counts.refs - refs;
	f->depth += pt->mem->counts.depth - depth;
	if (f->walk.status == WALK_OK)
		return true;
	/* An entry without rights is one that coherence dropped; execute-only ones fail as reads, too. */
	if (!table_find(mmu, space, f->va >> PAGE_SHIFT, &e))
		return false;
	keyed_found(f, &e);
	return true;
}

static int table_map(struct mmu *mmu, const struct pt_entry *e)
{
	struct pt *pt = table(mmu, e->key.space);
	int err = pt->org->map(pt, e);

	if (!err)
		mmu->cpu->space_of[e->key.space]->shadow_entries++;
	return err;
}

static void table_unmap(struct mmu *mmu, const struct pt_entry *e)
{
	struct pt *pt = table(mmu, e->key.space);

	BUG_ON(pt->org->unmap(pt, e->key, e->order, NULL));
	mmu->cpu->space_of[e->key.space]->shadow_entries--;
}

/* Of a space that was dropped, whose pages are still here, none are left. */
static bool has_entries(const struct mmu *mmu, uint32_t space)
{
	const struct space *s = mmu->cpu->space_of[space];

	return s && s->mmu == mmu && s->shadow_entries;
}

static void table_protect(struct mmu *mmu, const struct pt_entry *e, uint8_t rights)
{
	struct pt *pt = table(mmu, e->key.space);

	BUG_ON(pt->org->protect(pt, e->key, e->order, rights));
}

enum { FEW_PAGES = 8, FEW_OF_MANY = 1024 };

/*
 * A few pages one by one; more than that by going through the space's entries.
 * `next` of a table for all spaces may read all of it: there a leaf table's
 * pages are few, and nothing is looked for that cannot be.
 */
static bool table_next(struct mmu *mmu, struct keyed_range *r, struct pt_entry *e)
{
	struct pt *pt = table(mmu, r->space);

	if (!pt || !has_entries(mmu, r->space))
		return false;
	if (r->n <= (mmu->shadow->shared ? FEW_OF_MANY : FEW_PAGES)) {
		while (r->at < r->n)
			if (table_find(mmu, r->space, r->page + r->at++, e))
				return true;
		return false;
	}
	if (r->at >= r->n || pt->org->next(pt, (struct pt_key){ r->space, r->page + r->at }, e) ||
	    e->key.page >= r->page + r->n)
		return false;
	r->at = e->key.page + BIT(e->order) - r->page;
	return true;
}

static int table_audit(struct mmu *mmu, const char **why)
{
	struct shadow *sh = mmu->shadow;
	int err = sh->shared ? sh->shared->org->audit(sh->shared, why) : 0;

	for (unsigned i = 0; i < SPACE_BUCKETS; i++)
		for (struct org_table *o = sh->table[i]; o && !err; o = o->next)
			err = o->pt.org->audit(&o->pt, why);
	return err;
}

static uint64_t table_bytes(const struct mmu *mmu)
{
	return (mmu->shadow->shared ? mmu->shadow->shared->mem : &mmu->ptm.m)->table_bytes;
}

const struct keyed_table keyed_org = {
	.attach = org_attach,
	.detach = org_detach,
	.lookup = table_lookup,
	.find = table_find,
	.make = make_table,
	.emptied = free_if_empty,
	.map = table_map,
	.unmap = table_unmap,
	.protect = table_protect,
	.next = table_next,
	.audit = table_audit,
	.bytes = table_bytes,
};
