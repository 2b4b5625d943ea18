/* SPDX-License-Identifier: MIT */
/*
 * Shadow tables of any other organisation (shadow/inverted): gva → machine
 * entries keyed by (space, page). An organisation that tells spaces apart
 * (inverted) has them all in one table, any other has a table a space, made at
 * the first entry. There is no tree to share, so the pages here are "tableless": they stand for one guest table as one space uses it,
 * carry its write protection, and are zapped by their stretch of addresses.
 *
 * A leaf is in .sptes of its first machine frame under its key. An entry
 * dropped by coherence (lazy) stays, with no rights, until a fence.
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

static int make_table(struct mmu *mmu, uint32_t space, struct pt **out)
{
	struct machine *m = mmu->vm->hv->m;
	const struct scheme *s = &mmu->scheme;
	const struct pt_params params = {
		.fmt = mmu->shadow->fmt,
		.nframes = m->nframes,
		.role = "shadow",
	};
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
	*out = &t->pt;
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

static uint64_t guest_span(const struct mmu *mmu, unsigned level)
{
	const struct gpt_level *l = &mmu->config.guest_fmt->level[level];

	return BIT(l->shift + l->bits);
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

static void name_leaf(struct mmu *mmu, const struct pt_entry *e, bool on)
{
	struct machine *m = mmu->vm->hv->m;
	struct frame *f = machine_frame(m, MFN(e->frame));
	uint64_t name = rmap_key(e->key.space, e->key.page);

	if (on)
		BUG_ON(rmap_add(m, &f->sptes, name)); /* reserved by the fault handler */
	else if (!MUTATE(STALE_RMAP))
		rmap_remove(m, &f->sptes, name);
	shadow_count_leaf(mmu, e->order, on ? 1 : -1);
}

static bool find_page(struct mmu *mmu, uint32_t space, uint64_t page, struct pt_entry *e)
{
	struct pt *pt = table(mmu, space);

	return pt && !pt_find(pt, (struct pt_key){ space, page }, e);
}

static void drop_entry(struct mmu *mmu, const struct pt_entry *e, enum drop_how how)
{
	struct pt *pt = table(mmu, e->key.space);

	if (how == DROP_MARK) {
		BUG_ON(pt->org->protect(pt, e->key, e->order, 0));
		return;
	}
	BUG_ON(pt->org->unmap(pt, e->key, e->order, NULL));
	name_leaf(mmu, e, false);
}

/* The few pages of a leaf table one by one; more than that by going through the space's entries. */
static void drop_pages(struct mmu *mmu, uint32_t space, uint64_t page, uint64_t n, enum drop_how how)
{
	struct pt *pt = table(mmu, space);
	struct pt_entry e;

	if (!pt)
		return;
	if (n <= 8) {
		for (uint64_t i = 0; i < n; i++)
			if (find_page(mmu, space, page + i, &e))
				drop_entry(mmu, &e, how);
		return;
	}
	while (!pt->org->next(pt, (struct pt_key){ space, page }, &e)) {
		if (e.key.page - page >= n && e.key.page + BIT(e.order) <= page)
			break;
		if (e.key.page >= page + n)
			break;
		uint64_t done = e.key.page + BIT(e.order) - page;

		drop_entry(mmu, &e, how);
		if (done >= n)
			break;
		page += done;
		n -= done;
	}
}

static bool org_walk(struct vcpu *v, struct mmu_fault *f)
{
	struct mmu *mmu = v->mmu;
	struct pt *pt = table(mmu, f->space->number);

	if (!pt)
		return false;
	uint64_t refs = pt->mem->counts.refs, depth = pt->mem->counts.depth;
	struct walk_req req = {
		.va = f->va,
		.space = f->space->number,
		.kind = ACC_READ,
		.ctl = CTL_MXR | CTL_NXE | CTL_PSE | CTL_PGE,
		.ad = WALK_AD_PEEK,
		.start_level = -1,
	};
	struct pt_entry e;

	pt->org->lookup(pt, &req, &f->walk);
	f->refs = pt->mem->counts.refs - refs;
	f->depth = pt->mem->counts.depth - depth;
	if (f->walk.status == WALK_OK)
		return true;
	/* An entry without rights is one that coherence dropped; execute-only ones fail as reads, too. */
	if (!find_page(mmu, f->space->number, f->va >> PAGE_SHIFT, &e))
		return false;
	f->dropped = !(e.rights & RIGHT_RWX);
	if (f->dropped)
		return false;
	f->walk.status = WALK_OK;
	f->walk.frame = e.frame + ((f->va >> PAGE_SHIFT) & low_bits(e.order));
	f->walk.order = e.order;
	f->walk.rights = e.rights;
	return true;
}

/*
 * One page a guest table read, so that its frame is protected and its stretch
 * can be zapped. Busy until the entry is in: a small budget must not recycle
 * one for the sake of another. (Tables without positions are watched line by
 * line: track.c.)
 */
static int note_tables(struct mmu *mmu, const struct shadow_fill *fill, struct shadow_page *noted[WALK_TABLES_MAX],
		       unsigned *n)
{
	const struct walk *w = fill->walk;

	for (unsigned i = 0; w && i < w->ntables; i++) {
		const struct walk_table *t = &w->table[i];
		struct shadow_role role = {
			.kind = SP_TABLELESS,
			.level = t->level,
			.guest_level = t->level,
			.rights = t->rights,
			.space = fill->space->number,
			.base = align_down(fill->va, guest_span(mmu, t->level)),
		};

		if (!t->positional)
			continue;
		struct shadow_page *sp = sp_get(mmu, t->addr >> PAGE_SHIFT, &role, t->addr);

		if (!sp)
			return -ENOMEM;
		if (!sp->busy)
			noted[(*n)++] = sp;
		sp->busy = true;
	}
	return 0;
}

/* The entry itself; what it was read from is noted. */
static int enter_leaf(struct mmu *mmu, const struct shadow_fill *fill)
{
	struct pt *pt = table(mmu, fill->space->number);
	struct shadow_fill now = *fill;
	int err = gfn_peek(mmu->vm, fill->gfn, &now.map);

	if (!err && !pt)
		err = make_table(mmu, fill->space->number, &pt);
	if (err)
		return err;
	unsigned order = MIN(now.guest_order, now.map.order);

	while (order && !(pt->orders & BIT(order)))
		order--;
	uint64_t vpn = now.va >> PAGE_SHIFT;
	struct pt_entry e = {
		.key = { now.space->number, align_down(vpn, BIT(order)) },
		.order = (uint8_t)order,
		.rights = shadow_leaf_rights(&now),
		.frame = align_down(now.map.mfn.v, BIT(order)) + MUTATE(MFN_OFF_BY_ONE),
	};
	/* Whatever else stands there, of whatever size, goes first. */
	drop_pages(mmu, e.key.space, e.key.page, BIT(order), DROP_CLEAR);
	err = pt->org->map(pt, &e);
	if (err)
		return err;
	name_leaf(mmu, &e, true);
	return 0;
}

static int org_enter(struct mmu *mmu, const struct shadow_fill *fill)
{
	struct shadow_page *noted[WALK_TABLES_MAX];
	unsigned n = 0;
	int err = note_tables(mmu, fill, noted, &n);

	if (!err)
		err = enter_leaf(mmu, fill);
	while (n)
		noted[--n]->busy = false;
	return err;
}

static void org_drop_bytes(struct shadow_page *sp, uint64_t first, uint64_t last, enum drop_how how)
{
	struct mmu *mmu = sp->mmu;
	const struct gpt_format *gf = mmu->config.guest_fmt;
	unsigned shift = gf->level[sp->role.guest_level].shift;
	uint64_t from = first / gf->entry_size, n = last / gf->entry_size - from + 1;

	drop_pages(mmu, sp->role.space, (sp->role.base + (from << shift)) >> PAGE_SHIFT,
		   n << (shift - PAGE_SHIFT), how);
}

static void org_drop_range(struct mmu *mmu, struct space *s, uint64_t va, uint64_t bytes)
{
	bool all = bytes == UINT64_MAX;

	drop_pages(mmu, s->number, va >> PAGE_SHIFT, all ? BIT(64 - PAGE_SHIFT) : bytes >> PAGE_SHIFT, DROP_CLEAR);
	if (all)
		free_if_empty(mmu, s->number);
}

static void org_empty(struct shadow_page *sp)
{
	if (sp->role.kind == SP_TABLELESS)
		drop_pages(sp->mmu, sp->role.space, sp->role.base >> PAGE_SHIFT,
			   guest_span(sp->mmu, sp->role.guest_level) >> PAGE_SHIFT, DROP_CLEAR);
}

static bool org_is_ours(struct mmu *mmu, uint64_t name)
{
	uint32_t number = rmap_key_space(name);

	return rmap_is_key(name) && (number == mmu->bare.number || space_by_number(mmu, number));
}

static void org_weaken(struct mmu *mmu, struct frame *frame, uint64_t name, uint8_t keep)
{
	struct pt_entry e;
	/* Keys are cut to 45 bits in a name: pages are sign-extended from there. */
	struct pt_key key = { rmap_key_space(name), rmap_key_page(name) };

	BUG_ON(!find_page(mmu, key.space, key.page, &e));
	if (!keep)
		drop_entry(mmu, &e, DROP_CLEAR);
	else
		BUG_ON(mmu->scheme.org->protect(table(mmu, key.space), e.key, e.order,
						e.rights & (uint8_t)~(RIGHT_W | RIGHT_D)));
}

/* Marks end at the fence; entries that coherence kept right stay, others are not worth comparing. */
static void resync_entry(struct mmu *mmu, uint32_t space, uint64_t page)
{
	struct pt_entry e;

	if (find_page(mmu, space, page, &e) &&
	    (!(e.rights & RIGHT_RWX) || mmu->config.visibility == VISIBLE_ARCHITECTURAL))
		drop_entry(mmu, &e, DROP_CLEAR);
}

static unsigned org_resync_page(struct shadow_page *sp)
{
	const struct gpt_format *gf = sp->mmu->config.guest_fmt;
	uint64_t n = BIT(gf->level[sp->role.guest_level].bits);

	for (uint64_t i = 0; i < n; i++)
		resync_entry(sp->mmu, sp->role.space, (sp->role.base >> PAGE_SHIFT) + i);
	return (unsigned)n;
}

static unsigned org_resync_va(struct mmu *mmu, struct space *s, uint64_t va)
{
	struct pt_entry e;

	if (!find_page(mmu, s->number, va >> PAGE_SHIFT, &e))
		return 0;
	resync_entry(mmu, s->number, va >> PAGE_SHIFT);
	return 1;
}

static int audit_space(struct mmu *mmu, uint32_t space, uint64_t *leaves, const char **why)
{
	struct pt *pt = table(mmu, space);
	struct pt_key at = { space, 0 };
	struct pt_entry e;
	int err = pt && !mmu->shadow->shared ? pt->org->audit(pt, why) : 0;

	if (err)
		return err;
	while (pt && !pt->org->next(pt, at, &e)) {
		const struct frame *f = machine_frame(mmu->vm->hv->m, MFN(e.frame));

		++*leaves;
		if (f->type != FRAME_GUEST || !rmap_has(f->sptes, rmap_key(space, e.key.page))) {
			*why = "a shadow entry is not in its frame's reverse map";
			return -EINVAL;
		}
		at.page = e.key.page + BIT(e.order);
		if (!at.page)
			break;
	}
	return 0;
}

static int org_audit(struct mmu *mmu, uint64_t *leaves, const char **why)
{
	struct pt *shared = mmu->shadow->shared;
	int err = shared ? shared->org->audit(shared, why) : 0;

	if (!err)
		err = audit_space(mmu, mmu->bare.number, leaves, why);
	list_for_each(l, &mmu->spaces) {
		if (err)
			break;
		err = audit_space(mmu, list_entry(l, struct space, lru)->number, leaves, why);
	}
	return err;
}

static uint64_t org_bytes(const struct mmu *mmu)
{
	return (mmu->shadow->shared ? mmu->shadow->shared->mem : &mmu->ptm.m)->table_bytes;
}

const struct shadow_backend shadow_org = {
	.attach = org_attach,
	.detach = org_detach,
	.walk = org_walk,
	.enter = org_enter,
	.drop_bytes = org_drop_bytes,
	.drop_range = org_drop_range,
	.empty = org_empty,
	.weaken = org_weaken,
	.is_ours = org_is_ours,
	.resync_page = org_resync_page,
	.resync_va = org_resync_va,
	.audit = org_audit,
	.bytes = org_bytes,
};
