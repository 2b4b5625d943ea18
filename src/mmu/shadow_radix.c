/* SPDX-License-Identifier: MIT */
/*
 * Shadow tables as a radix tree of shadow pages, in the second stage's format
 * if that covers the guest's addresses, else in the guest's.
 *
 * Invariants: an entry that points to a page is among that page's parents; a
 * leaf entry is in .sptes of the first machine frame it maps, a switch in
 * .sptes of the guest table's; sp->present counts entries of all kinds.
 */
#include "mmu/shadow_radix.h"

void radix_zap_spte(struct shadow_page *sp, uint64_t index, enum drop_how how)
{
	struct mmu *mmu = sp->mmu;
	const struct gpt_format *fmt = mmu->shadow->fmt;
	uint64_t sptep = sptep_of(sp, index), spte = spte_at(mmu, sptep);

	if (is_switch(fmt, spte)) {
		switch_drop(sp, index);
		return;
	}
	if (!gpt_is_present(fmt, spte)) {
		/* A mark stays a mark until a fence, unless everything goes. */
		if (spte && how == DROP_CLEAR)
			set_spte(mmu, sptep, 0);
		return;
	}
	bool leaf = gpt_is_leaf(fmt, sp->role.level, spte);

	set_spte(mmu, sptep, leaf && how == DROP_MARK ? dropped_mark(fmt) : 0);
	sp->present--;
	if (leaf) {
		if (!MUTATE(STALE_RMAP))
			rmap_remove(mmu->vm->hv->m, &leaf_frame(mmu, spte)->sptes, rmap_sptep(HPA(sptep)));
		shadow_count_leaf(mmu, leaf_order(fmt, sp->role.level), -1);
	} else {
		struct shadow_page *child = sp_of_table(mmu, gpt_frame(fmt, spte) << PAGE_SHIFT);

		rmap_remove(mmu->vm->hv->m, &child->parents, rmap_sptep(HPA(sptep)));
		/* Found by address only: out of reach it could not be kept right. */
		if (child->role.kind == SP_UNPLACED && !child->parents && !child->busy)
			sp_zap(child);
	}
}

static void radix_empty(struct shadow_page *sp)
{
	struct rmap_iter it;

	for (uint64_t i = 0, n = entries_of(sp); i < n && sp->present; i++)
		radix_zap_spte(sp, i, DROP_CLEAR);
	while (rmap_first(sp->parents, &it)) {
		struct shadow_page *parent = sp_of_table(sp->mmu, it.name);

		radix_zap_spte(parent, index_of(parent, it.name), DROP_CLEAR);
	}
}

/* ---- building ---- */

/* The guest table that decides a shadow page of this level: the lowest with a span no smaller. */
static const struct walk_table *deciding_table(const struct mmu *mmu, const struct walk *w, unsigned level)
{
	const struct gpt_format *gf = mmu->config.guest_fmt;
	uint64_t need = span(mmu->shadow->fmt, level);
	const struct walk_table *best = &w->table[0];

	for (unsigned i = 0; i < w->ntables; i++)
		if (span(gf, w->table[i].level) >= need)
			best = &w->table[i];
	return best;
}

/* First frame of the stretch a direct page covers. */
static uint64_t direct_gfn(const struct mmu *mmu, const struct shadow_fill *fill, unsigned level)
{
	uint64_t pages = span(mmu->shadow->fmt, level) >> PAGE_SHIFT;
	uint64_t into = (fill->va >> PAGE_SHIFT) & (pages - 1);

	return fill->gfn.v - into;
}

static void placed_role(const struct mmu *mmu, const struct shadow_fill *fill, unsigned level,
			struct shadow_role *role, uint64_t *gfn, uint64_t *guest_table)
{
	const struct walk_table *t = deciding_table(mmu, fill->walk, level);
	const struct gpt_format *gf = mmu->config.guest_fmt;
	uint64_t guest_span = span(gf, t->level), own = span(mmu->shadow->fmt, level);
	uint64_t offset = own < guest_span ? align_down(fill->va & (guest_span - 1), own) : 0;

	role->kind = SP_PLACED;
	role->guest_level = t->level;
	role->rights = t->rights;
	role->base = offset;
	*guest_table = t->addr;
	/* A table of several frames: the one in which this stretch begins. */
	*gfn = (t->addr + (offset >> gf->level[t->level].shift) * gf->entry_size) >> PAGE_SHIFT;
}

/* What a page is found by. */
struct page_key {
	struct shadow_role role;
	uint64_t gfn, guest_table;
};

static void key_for(struct mmu *mmu, const struct shadow_fill *fill, unsigned level, struct page_key *k)
{
	uint64_t own = span(mmu->shadow->fmt, level);
	bool bare = !fill->walk;
	bool positional = !bare && fill->walk->ntables && fill->walk->table[0].positional;

	*k = (struct page_key){ .role.level = (uint8_t)level };
	if (bare || own <= BIT(fill->guest_order + PAGE_SHIFT)) {
		k->role.kind = SP_DIRECT;
		/* D too: entries made while it was set must not come back after the guest cleared it. */
		k->role.rights = fill->guest_rights & (RIGHT_RWX | RIGHT_U | RIGHT_G | RIGHT_D);
		k->gfn = direct_gfn(mmu, fill, level);
	} else if (positional) {
		placed_role(mmu, fill, level, &k->role, &k->gfn, &k->guest_table);
	} else {
		k->role.kind = SP_UNPLACED;
		k->role.space = fill->space->number;
		/* The root is one for both halves of the addresses. */
		k->role.base = level == mmu->shadow->fmt->levels - 1u ? 0 : align_down(fill->va, own);
	}
}

/* Does the guest table that decides this page stay the guest's own (agile)? */
static bool is_nested(struct mmu *mmu, const struct page_key *k)
{
	const struct shadow_hooks *h = mmu->shadow->hooks;

	return unlikely(h != NULL) && k->role.kind == SP_PLACED && h->is_nested(mmu, GFN(k->gfn));
}

static struct shadow_page *page_for(struct mmu *mmu, const struct shadow_fill *fill, unsigned level)
{
	struct page_key k;

	key_for(mmu, fill, level, &k);
	return sp_get(mmu, k.gfn, &k.role, k.guest_table);
}

/*
 * An entry gives way to another of the same guest entry (a superpage split or
 * collapsed, D set in it). No store of the guest's says so: the walk caches of
 * every space must forget what they know below it.
 */
static void replace_spte(struct shadow_page *sp, uint64_t index)
{
	struct mmu *mmu = sp->mmu;
	bool table = !gpt_is_leaf(mmu->shadow->fmt, sp->role.level, spte_at(mmu, sptep_of(sp, index)));

	radix_zap_spte(sp, index, DROP_CLEAR);
	if (table)
		flush_walks(mmu);
}

static int link_child(struct shadow_page *sp, uint64_t index, struct shadow_page *child)
{
	struct mmu *mmu = sp->mmu;
	const struct gpt_format *fmt = mmu->shadow->fmt;
	uint64_t sptep = sptep_of(sp, index);
	uint64_t want = gpt_make_table(fmt, sp->role.level, child->table >> PAGE_SHIFT);
	uint64_t have = spte_at(mmu, sptep);

	if (gpt_is_present(fmt, have) && !gpt_is_leaf(fmt, sp->role.level, have) &&
	    gpt_frame(fmt, have) == gpt_frame(fmt, want))
		return 0;
	if (gpt_is_present(fmt, have) || is_switch(fmt, have))
		replace_spte(sp, index);
	int err = rmap_add(mmu->vm->hv->m, &child->parents, rmap_sptep(HPA(sptep)));
	if (err)
		return err;
	set_spte(mmu, sptep, want);
	sp->present++;
	return 0;
}

int radix_set_leaf(struct shadow_page *sp, const struct shadow_fill *fill)
{
	struct mmu *mmu = sp->mmu;
	const struct gpt_format *fmt = mmu->shadow->fmt;
	unsigned level = sp->role.level, order = leaf_order(fmt, level);
	uint64_t index = gpt_index(fmt, level, fill->va, false), sptep = sptep_of(sp, index);
	uint64_t mfn = align_down(fill->map.mfn.v, BIT(order)) + MUTATE(MFN_OFF_BY_ONE);
	uint64_t want = gpt_make_leaf(fmt, level, mfn, shadow_leaf_rights(fill));
	uint64_t have = spte_at(mmu, sptep);

	/* What an x86 entry cannot say by itself. */
	if (!(fill->guest_rights & RIGHT_R))
		want |= fmt->no_read;
	if (gpt_is_present(fmt, have)) {
		if (gpt_is_leaf(fmt, level, have) && gpt_frame(fmt, have) == mfn) {
			mmu->vm->stats.pf_spurious += have == want;
			set_spte(mmu, sptep, want);
			return 0;
		}
		replace_spte(sp, index);
	} else if (is_switch(fmt, have)) {
		replace_spte(sp, index);
	}
	int err = rmap_add(mmu->vm->hv->m, &machine_frame(mmu->vm->hv->m, MFN(mfn))->sptes, rmap_sptep(HPA(sptep)));
	if (err)
		return err;
	set_spte(mmu, sptep, want);
	sp->present++;
	shadow_count_leaf(mmu, order, 1);
	return 0;
}

static unsigned target_level(const struct gpt_format *fmt, unsigned order)
{
	unsigned level = 0;

	for (unsigned l = 1; l < fmt->levels; l++)
		if (fmt->level[l].leaf_ok && leaf_order(fmt, l) <= order)
			level = l;
	return level;
}

static struct shadow_page *root_for(struct mmu *mmu, const struct shadow_fill *fill)
{
	struct space *s = fill->space;
	struct shadow_page *root = page_for(mmu, fill, mmu->shadow->fmt->levels - 1u);

	if (!root || s->shadow_root == root)
		return root;
	if (s->shadow_root)
		s->shadow_root->roots--;
	s->shadow_root = root;
	root->roots++;
	return root;
}

/*
 * The page of the target level that is linked in already, if it is the one
 * that this fill needs: then the path above it is right, too, because stores
 * to the tables it was made from would have taken it away.
 */
static struct shadow_page *linked_page(struct mmu *mmu, const struct shadow_fill *fill, unsigned target)
{
	const struct gpt_format *fmt = mmu->shadow->fmt;
	struct shadow_page *sp = fill->space->shadow_root;
	struct page_key k;

	while (sp && sp->role.level > target) {
		uint64_t spte = spte_at(mmu, sptep_of(sp, gpt_index(fmt, sp->role.level, fill->va, false)));

		if (!gpt_is_present(fmt, spte) || gpt_is_leaf(fmt, sp->role.level, spte))
			return NULL;
		sp = sp_of_table(mmu, gpt_frame(fmt, spte) << PAGE_SHIFT);
	}
	if (!sp)
		return NULL;
	key_for(mmu, fill, target, &k);
	return sp_is(sp, k.gfn, &k.role, k.guest_table) ? sp : NULL;
}

/* A leaf was set: a page that was empty before may be filled whole. */
static void made_leaf(struct shadow_page *sp, const struct shadow_fill *fill)
{
	if (unlikely(sp->mmu->shadow->fills_pages) && sp->present == 1 && sp->role.kind != SP_UNPLACED && !sp->role.level)
		switch_fill_page(sp, fill);
}

/* Finds, makes and links the pages from the root down, then sets the leaf. */
static int radix_enter(struct mmu *mmu, const struct shadow_fill *fill)
{
	const struct gpt_format *fmt = mmu->shadow->fmt;
	struct shadow_fill now = *fill;
	struct shadow_page *path[GPT_LEVELS_MAX];
	unsigned n = 0;
	bool switched = false;
	int err = 0;
	struct shadow_page *sp = fill->leaf;

	if (!sp)
		sp = linked_page(mmu, fill, target_level(fmt, MIN(fill->guest_order, fill->map.order)));
	else if (fill->zapped != mmu->vm->stats.mmu_shadow_zapped)
		return MMU_RETRY;
	if (sp) {
		sp_used(sp);
		return radix_set_leaf(sp, fill);
	}
	sp = root_for(mmu, fill);
	while (sp) {
		sp->busy = true;
		path[n++] = sp;
		/* Making pages may write-protect the very frame to be mapped, or one of its block; recycling undo it. */
		err = gfn_peek(mmu->vm, fill->gfn, &now.map);
		if (err || sp->role.level <= target_level(fmt, MIN(now.guest_order, now.map.order)))
			break;
		struct page_key k;

		key_for(mmu, fill, sp->role.level - 1u, &k);
		if (is_nested(mmu, &k)) {
			err = switch_set(sp, fill->va, k.gfn, k.role.rights);
			switched = true;
			break;
		}
		struct shadow_page *child = sp_get(mmu, k.gfn, &k.role, k.guest_table);

		if (child)
			err = link_child(sp, gpt_index(fmt, sp->role.level, fill->va, false), child);
		sp = err ? NULL : child;
	}
	if (!err && !switched)
		err = sp ? radix_set_leaf(sp, &now) : -ENOMEM;
	if (!err && !switched)
		made_leaf(sp, &now);
	while (n)
		path[--n]->busy = false;
	return err;
}

/* ---- the hardware's walk ---- */

void shadow_track_path(struct mmu *mmu, struct space *s, struct mmu_fault *f)
{
	for (unsigned i = 0; i < f->walk.ntables; i++) {
		const struct shadow_page *sp = sp_of_table(mmu, f->walk.table[i].addr);
		struct walk_table t = { .addr = sp->guest_table, .level = sp->role.guest_level, .positional = true };

		if (sp->role.kind == SP_PLACED && !track_table(mmu, s, &t, f->va))
			f->cacheable = false;
	}
	/* Nor may the walk cache keep what nobody watches. */
	if (!f->cacheable && mmu->cpu->guest_wc.any)
		wc_inval_range(&mmu->cpu->guest_wc, s->number, f->va, PAGE_SIZE);
}

static bool radix_walk(struct vcpu *v, struct mmu_fault *f)
{
	struct mmu *mmu = v->mmu;
	const struct gpt_format *fmt = mmu->shadow->fmt;
	struct space *s = mmu->cpu->space_of[f->space->number];
	struct pt_mem *m = &mmu->ptm.m;
	uint64_t refs = m->counts.refs, depth = m->counts.depth;

	if (f->space->bare)
		s = &mmu->bare;
	if (!s->shadow_root)
		return false;
	struct walk_req req = shadow_req(s->number, f->va);

	host_walk_radix(mmu, fmt, m, s->shadow_root->table, &mmu->cpu->guest_wc, &req, &f->walk);
	f->refs = m->counts.refs - refs;
	f->depth = m->counts.depth - depth;
	if (f->walk.status != WALK_OK) {
		f->dropped = f->walk.ntables && spte_at(mmu, f->walk.leaf_addr) == dropped_mark(fmt);
		return false;
	}
	if (f->walk.leaf & fmt->no_read)
		f->walk.rights &= (uint8_t)~RIGHT_R;
	shadow_track_path(mmu, s, f);
	return true;
}

static struct shadow_page *radix_walked_page(struct mmu *mmu, const struct mmu_fault *f)
{
	const struct walk *w = &f->walk;

	return w->ntables && !w->table[w->ntables - 1].level ? sp_of_table(mmu, w->table[w->ntables - 1].addr) : NULL;
}

/* ---- dropping ---- */

/* Entries [first, last] of this page, in offsets of its own stretch. */
static void drop_offsets(struct shadow_page *sp, uint64_t first, uint64_t last, enum drop_how how)
{
	unsigned shift = sp->mmu->shadow->fmt->level[sp->role.level].shift;

	for (uint64_t i = first >> shift; i <= last >> shift; i++)
		radix_zap_spte(sp, i, how);
}

static void radix_drop_bytes(struct shadow_page *sp, uint64_t first, uint64_t last, enum drop_how how)
{
	const struct gpt_format *gf = sp->mmu->config.guest_fmt, *fmt = sp->mmu->shadow->fmt;
	unsigned gshift = gf->level[sp->role.guest_level].shift;
	uint64_t own = span(fmt, sp->role.level);

	/* Where one entry of ours spans several of the guest's, the page below has them. */
	if (fmt->level[sp->role.level].shift > gshift)
		return;
	uint64_t from = (first / gf->entry_size) << gshift, to = ((last / gf->entry_size + 1) << gshift) - 1;

	if (to < sp->role.base || from >= sp->role.base + own)
		return;
	from = MAX(from, sp->role.base) - sp->role.base;
	to = MIN(to, sp->role.base + own - 1) - sp->role.base;
	drop_offsets(sp, from, to, how);
}

/* Down the tree of one space to the page that holds va at the lowest level; NULL: none. */
struct shadow_page *radix_leaf_page(struct mmu *mmu, struct space *s, uint64_t va)
{
	const struct gpt_format *fmt = mmu->shadow->fmt;
	struct shadow_page *sp = s->shadow_root;

	while (sp && sp->role.level) {
		uint64_t spte = spte_at(mmu, sptep_of(sp, gpt_index(fmt, sp->role.level, va, false)));

		if (!gpt_is_present(fmt, spte))
			return NULL;
		if (gpt_is_leaf(fmt, sp->role.level, spte))
			return sp;
		sp = sp_of_table(mmu, gpt_frame(fmt, spte) << PAGE_SHIFT);
	}
	return sp;
}

static void radix_ahead(struct shadow_page *sp, uint64_t offset)
{
	const struct gpt_format *fmt = sp->mmu->shadow->fmt;

	if (sp->role.level || sp->role.guest_level || fmt != sp->mmu->config.guest_fmt)
		return;
	uint64_t spte = spte_at(sp->mmu, sp->table + align_down(offset, fmt->entry_size));

	if (gpt_is_present(fmt, spte))
		__builtin_prefetch(leaf_frame(sp->mmu, spte));
}

static void radix_drop_range(struct mmu *mmu, struct space *s, uint64_t va, uint64_t bytes)
{
	const struct gpt_format *fmt = mmu->shadow->fmt;

	for (uint64_t at = va; at - va < bytes;) {
		struct shadow_page *sp = radix_leaf_page(mmu, s, at);
		unsigned shift = fmt->level[sp ? sp->role.level : 0].shift;

		if (sp)
			radix_zap_spte(sp, gpt_index(fmt, sp->role.level, at, false), DROP_CLEAR);
		at = align_down(at, BIT(shift)) + BIT(shift);
	}
}

static bool radix_is_ours(struct mmu *mmu, uint64_t name)
{
	if (rmap_is_key(name))
		return false;
	const struct shadow_page *sp = sp_of_table(mmu, name);

	return sp && sp->mmu == mmu;
}

static void radix_weaken(struct mmu *mmu, struct frame *frame, uint64_t name, uint8_t keep)
{
	struct shadow_page *sp = sp_of_table(mmu, name);
	const struct gpt_format *fmt = mmu->shadow->fmt;
	uint64_t spte = spte_at(mmu, name);

	if (!keep) {
		radix_zap_spte(sp, index_of(sp, name), DROP_CLEAR);
		return;
	}
	/* It grants nothing by itself. */
	if (is_switch(fmt, spte))
		return;
	set_spte(mmu, name, spte & ~(fmt->write | fmt->dirty));
}

static int radix_attach(struct mmu *mmu) { return 0; }
static void radix_detach(struct mmu *mmu) { }
static uint64_t radix_bytes(const struct mmu *mmu) { return mmu->ptm.m.table_bytes; }

const struct shadow_backend shadow_radix = {
	.attach = radix_attach,
	.detach = radix_detach,
	.walk = radix_walk,
	.enter = radix_enter,
	.walked_page = radix_walked_page,
	.ahead = radix_ahead,
	.drop_bytes = radix_drop_bytes,
	.drop_range = radix_drop_range,
	.empty = radix_empty,
	.weaken = radix_weaken,
	.is_ours = radix_is_ours,
	.resync_page = radix_resync_page,
	.resync_va = radix_resync_va,
	.audit = radix_audit,
	.bytes = radix_bytes,
};
