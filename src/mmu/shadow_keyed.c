/* SPDX-License-Identifier: MIT */
/*
 * Shadow entries keyed by (space, page), whatever holds them: tables of any
 * other organisation (shadow_org.c) or a cache (inverted_shadow.c), as struct
 * keyed_table. There is no tree to share, so the pages here are "tableless":
 * they stand for one guest table as one space uses it, carry its write
 * protection, and are zapped by their stretch of addresses.
 *
 * A leaf is in .sptes of its first machine frame under its key. An entry
 * dropped by coherence (lazy) stays, with no rights, until a fence.
 *
 * Where global pages stand in a space of the VM's own (sh->globals), whatever
 * drops a stretch of one space drops the globals there too: which space they
 * were made from is not known. And fences reach them.
 */
#include "mmu/shadow.h"

static const struct keyed_table *keyed(const struct mmu *mmu)
{
	return mmu->shadow->keyed;
}

void keyed_found(struct mmu_fault *f, const struct pt_entry *e)
{
	f->walk.status = WALK_OK;
	f->walk.frame = e->frame + ((f->va >> PAGE_SHIFT) & low_bits(e->order));
	f->walk.order = e->order;
	f->walk.rights = e->rights;
}

static uint64_t guest_span(const struct mmu *mmu, unsigned level)
{
	const struct gpt_level *l = &mmu->config.guest_fmt->level[level];

	return BIT(l->shift + l->bits);
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

/* Of the space, or among the globals. */
static bool find_page(struct mmu *mmu, uint32_t space, uint64_t page, struct pt_entry *e)
{
	return keyed(mmu)->find(mmu, space, page, e) ||
	       (mmu->shadow->globals && keyed(mmu)->find(mmu, mmu->gspace, page, e));
}

static void drop_entry(struct mmu *mmu, const struct pt_entry *e, enum drop_how how)
{
	if (how == DROP_MARK) {
		keyed(mmu)->protect(mmu, e, 0);
		return;
	}
	keyed(mmu)->unmap(mmu, e);
	name_leaf(mmu, e, false);
}

static void drop_pages_of(struct mmu *mmu, uint32_t space, uint64_t page, uint64_t n, enum drop_how how)
{
	struct keyed_range r = { space, page, n, 0 };
	struct pt_entry e;

	while (keyed(mmu)->next(mmu, &r, &e))
		drop_entry(mmu, &e, how);
}

static void drop_pages(struct mmu *mmu, uint32_t space, uint64_t page, uint64_t n, enum drop_how how)
{
	drop_pages_of(mmu, space, page, n, how);
	if (mmu->shadow->globals)
		drop_pages_of(mmu, mmu->gspace, page, n, how);
}

static bool keyed_walk(struct vcpu *v, struct mmu_fault *f)
{
	struct mmu *mmu = v->mmu;
	/* No page of the unmapped segment is global. */
	bool globals = mmu->shadow->globals && !f->space->bare;

	if (!keyed(mmu)->lookup(mmu, f->space->number, f) && !(globals && keyed(mmu)->lookup(mmu, mmu->gspace, f)))
		return false;
	f->dropped = !(f->walk.rights & RIGHT_RWX);
	return !f->dropped;
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
	struct shadow_fill now = *fill;
	bool global = mmu->shadow->globals && (now.guest_rights & RIGHT_G);
	uint64_t orders, vpn = now.va >> PAGE_SHIFT;
	int err = gfn_peek(mmu->vm, fill->gfn, &now.map);

	if (!err)
		err = keyed(mmu)->make(mmu, now.space->number, &orders);
	if (err)
		return err;
	unsigned order = MIN(now.guest_order, now.map.order);

	while (order && !(orders & BIT(order)))
		order--;
	struct pt_entry old, e = {
		.key = { global ? mmu->gspace : now.space->number, align_down(vpn, BIT(order)) },
		.order = (uint8_t)order,
		.rights = shadow_leaf_rights(&now),
		.frame = align_down(now.map.mfn.v, BIT(order)) + MUTATE(MFN_OFF_BY_ONE),
	};
	/* Whatever else stands there, of whatever size, goes first. */
	drop_pages(mmu, now.space->number, e.key.page, BIT(order), DROP_CLEAR);
	/* TLBs may keep what the table forgets: they are kept right by themselves (track.c). */
	if (keyed(mmu)->victim && keyed(mmu)->victim(mmu, &e, &old)) {
		drop_entry(mmu, &old, DROP_CLEAR);
		mmu->vm->stats.mmu_recycled++;
	}
	err = keyed(mmu)->map(mmu, &e);
	if (err)
		return err;
	name_leaf(mmu, &e, true);
	return 0;
}

static int keyed_enter(struct mmu *mmu, const struct shadow_fill *fill)
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

static void keyed_drop_bytes(struct shadow_page *sp, uint64_t first, uint64_t last, enum drop_how how)
{
	struct mmu *mmu = sp->mmu;
	const struct gpt_format *gf = mmu->config.guest_fmt;
	unsigned shift = gf->level[sp->role.guest_level].shift;
	uint64_t from = first / gf->entry_size, n = last / gf->entry_size - from + 1;

	drop_pages(mmu, sp->role.space, (sp->role.base + (from << shift)) >> PAGE_SHIFT,
		   n << (shift - PAGE_SHIFT), how);
}

/* UINT64_MAX bytes are all, the last page too. */
static uint64_t pages_of(uint64_t bytes)
{
	return bytes == UINT64_MAX ? BIT(64 - PAGE_SHIFT) : bytes >> PAGE_SHIFT;
}

static void keyed_drop_range(struct mmu *mmu, struct space *s, uint64_t va, uint64_t bytes)
{
	drop_pages(mmu, s->number, va >> PAGE_SHIFT, pages_of(bytes), DROP_CLEAR);
	if (bytes == UINT64_MAX && keyed(mmu)->emptied)
		keyed(mmu)->emptied(mmu, s->number);
}

static void keyed_drop_globals(struct mmu *mmu, uint64_t va, uint64_t bytes)
{
	if (mmu->shadow->globals)
		drop_pages_of(mmu, mmu->gspace, va >> PAGE_SHIFT, pages_of(bytes), DROP_CLEAR);
}

static void keyed_empty(struct shadow_page *sp)
{
	if (sp->role.kind == SP_TABLELESS)
		drop_pages(sp->mmu, sp->role.space, sp->role.base >> PAGE_SHIFT,
			   guest_span(sp->mmu, sp->role.guest_level) >> PAGE_SHIFT, DROP_CLEAR);
}

static bool keyed_is_ours(struct mmu *mmu, uint64_t name)
{
	uint32_t number = rmap_key_space(name);

	return rmap_is_key(name) && (number == mmu->bare.number || number == mmu->gspace ||
				     space_by_number(mmu, number));
}

static void keyed_weaken(struct mmu *mmu, struct frame *frame, uint64_t name, uint8_t keep)
{
	struct pt_entry e;
	/* Keys are cut to 45 bits in a name: pages are sign-extended from there. */
	struct pt_key key = { rmap_key_space(name), rmap_key_page(name) };

	BUG_ON(!keyed(mmu)->find(mmu, key.space, key.page, &e));
	if (!keep)
		drop_entry(mmu, &e, DROP_CLEAR);
	else
		keyed(mmu)->protect(mmu, &e, e.rights & (uint8_t)~(RIGHT_W | RIGHT_D));
}

/* Marks end at the fence; entries that coherence kept right stay, others are not worth comparing. */
static void resync_entry(struct mmu *mmu, uint32_t space, uint64_t page)
{
	struct pt_entry e;

	if (find_page(mmu, space, page, &e) &&
	    (!(e.rights & RIGHT_RWX) || mmu->config.visibility == VISIBLE_ARCHITECTURAL))
		drop_entry(mmu, &e, DROP_CLEAR);
}

static unsigned keyed_resync_page(struct shadow_page *sp)
{
	const struct gpt_format *gf = sp->mmu->config.guest_fmt;
	uint64_t n = BIT(gf->level[sp->role.guest_level].bits);

	for (uint64_t i = 0; i < n; i++)
		resync_entry(sp->mmu, sp->role.space, (sp->role.base >> PAGE_SHIFT) + i);
	return (unsigned)n;
}

static unsigned keyed_resync_va(struct mmu *mmu, struct space *s, uint64_t va)
{
	struct pt_entry e;

	if (!find_page(mmu, s->number, va >> PAGE_SHIFT, &e))
		return 0;
	resync_entry(mmu, s->number, va >> PAGE_SHIFT);
	return 1;
}

static int audit_space(struct mmu *mmu, uint32_t space, uint64_t *leaves, const char **why)
{
	struct keyed_range r = { space, 0, BIT(64 - PAGE_SHIFT), 0 };
	struct pt_entry e;

	while (keyed(mmu)->next(mmu, &r, &e)) {
		const struct frame *f = machine_frame(mmu->vm->hv->m, MFN(e.frame));

		++*leaves;
		if (f->type != FRAME_GUEST || !rmap_has(f->sptes, rmap_key(space, e.key.page))) {
			*why = "a shadow entry is not in its frame's reverse map";
			return -EINVAL;
		}
	}
	return 0;
}

static int keyed_audit(struct mmu *mmu, uint64_t *leaves, const char **why)
{
	int err = keyed(mmu)->audit(mmu, why);

	if (!err)
		err = audit_space(mmu, mmu->bare.number, leaves, why);
	if (!err && mmu->shadow->globals)
		err = audit_space(mmu, mmu->gspace, leaves, why);
	list_for_each(l, &mmu->spaces) {
		if (err)
			break;
		err = audit_space(mmu, list_entry(l, struct space, lru)->number, leaves, why);
	}
	return err;
}

static int keyed_attach(struct mmu *mmu) { return keyed(mmu)->attach(mmu); }
static void keyed_detach(struct mmu *mmu) { keyed(mmu)->detach(mmu); }
static uint64_t keyed_bytes(const struct mmu *mmu) { return keyed(mmu)->bytes(mmu); }

const struct shadow_backend shadow_keyed = {
	.attach = keyed_attach,
	.detach = keyed_detach,
	.walk = keyed_walk,
	.enter = keyed_enter,
	.drop_bytes = keyed_drop_bytes,
	.drop_range = keyed_drop_range,
	.drop_globals = keyed_drop_globals,
	.empty = keyed_empty,
	.weaken = keyed_weaken,
	.is_ours = keyed_is_ours,
	.resync_page = keyed_resync_page,
	.resync_va = keyed_resync_va,
	.audit = keyed_audit,
	.bytes = keyed_bytes,
};
