/* SPDX-License-Identifier: MIT */
/*
 * Shadow tables as a radix tree of shadow pages, in the second stage's format
 * if that covers the guest's addresses, else in the guest's.
 *
 * Invariants: an entry that points to a page is among that page's parents; a
 * leaf entry is in .sptes of the first machine frame it maps; sp->present
 * counts entries of both kinds.
 */
#include "mmu/shadow.h"

static unsigned entry_size(const struct mmu *mmu) { return mmu->shadow->fmt->entry_size; }

static uint64_t spte_at(const struct mmu *mmu, uint64_t sptep)
{
	uint64_t spte = 0;

	memcpy(&spte, machine_ptr(mmu->vm->hv->m, HPA(sptep)), entry_size(mmu));
	return spte;
}

static void set_spte(struct mmu *mmu, uint64_t sptep, uint64_t spte)
{
	BUG_ON(ptm_store(&mmu->ptm.m, sptep, entry_size(mmu), &spte));
}

static uint64_t sptep_of(const struct shadow_page *sp, uint64_t index)
{
	return sp->table + index * entry_size(sp->mmu);
}

/* Not present, and told from an entry never set: the lowest bit that is not the valid one. */
static uint64_t dropped_mark(const struct gpt_format *fmt)
{
	return fmt->valid & 1 ? 2 : 1;
}

static unsigned leaf_order(const struct gpt_format *fmt, unsigned level)
{
	return gpt_level_order(fmt, level);
}

static uint64_t span(const struct gpt_format *fmt, unsigned level)
{
	return BIT(fmt->level[level].shift + fmt->level[level].bits);
}

static struct frame *leaf_frame(const struct mmu *mmu, uint64_t spte)
{
	return machine_frame(mmu->vm->hv->m, MFN(gpt_frame(mmu->shadow->fmt, spte)));
}

static void zap_spte(struct shadow_page *sp, uint64_t index, enum drop_how how)
{
	struct mmu *mmu = sp->mmu;
	const struct gpt_format *fmt = mmu->shadow->fmt;
	uint64_t sptep = sptep_of(sp, index), spte = spte_at(mmu, sptep);

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

static uint64_t index_of(const struct shadow_page *sp, uint64_t sptep)
{
	return (sptep - sp->table) / entry_size(sp->mmu);
}

static uint64_t entries_of(const struct shadow_page *sp)
{
	return BIT(sp->mmu->shadow->fmt->level[sp->role.level].bits);
}

static void radix_empty(struct shadow_page *sp)
{
	struct rmap_iter it;

	for (uint64_t i = 0, n = entries_of(sp); i < n && sp->present; i++)
		zap_spte(sp, i, DROP_CLEAR);
	while (rmap_first(sp->parents, &it)) {
		struct shadow_page *parent = sp_of_table(sp->mmu, it.name);

		zap_spte(parent, index_of(parent, it.name), DROP_CLEAR);
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
		k->role.base = align_down(fill->va, own);
	}
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

	zap_spte(sp, index, DROP_CLEAR);
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
	if (gpt_is_present(fmt, have))
		replace_spte(sp, index);
	int err = rmap_add(mmu->vm->hv->m, &child->parents, rmap_sptep(HPA(sptep)));
	if (err)
		return err;
	set_spte(mmu, sptep, want);
	sp->present++;
	return 0;
}

static int set_leaf(struct shadow_page *sp, const struct shadow_fill *fill)
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

/* Finds, makes and links the pages from the root down, then sets the leaf. */
static int radix_enter(struct mmu *mmu, const struct shadow_fill *fill)
{
	const struct gpt_format *fmt = mmu->shadow->fmt;
	struct shadow_fill now = *fill;
	struct shadow_page *path[GPT_LEVELS_MAX];
	unsigned n = 0;
	int err = 0;
	struct shadow_page *sp = linked_page(mmu, fill, target_level(fmt, MIN(fill->guest_order, fill->map.order)));

	if (sp) {
		sp_used(sp);
		return set_leaf(sp, fill);
	}
	sp = root_for(mmu, fill);
	while (sp) {
		sp->busy = true;
		path[n++] = sp;
		/* Making pages may write-protect the very frame to be mapped, or one of its block; recycling undo it. */
		err = gfn_peek(mmu->vm, fill->gfn, &now.map);
		if (err || sp->role.level <= target_level(fmt, MIN(now.guest_order, now.map.order)))
			break;
		struct shadow_page *child = page_for(mmu, fill, sp->role.level - 1u);

		if (child)
			err = link_child(sp, gpt_index(fmt, sp->role.level, fill->va, false), child);
		sp = err ? NULL : child;
	}
	if (!err)
		err = sp ? set_leaf(sp, &now) : -ENOMEM;
	while (n)
		path[--n]->busy = false;
	return err;
}

/* ---- the hardware's walk ---- */

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
	/* Permission is the guest's rule, checked by the caller: ask for the least. */
	struct walk_req req = {
		.va = f->va,
		.space = s->number,
		.kind = ACC_READ,
		.ctl = CTL_MXR | CTL_NXE | CTL_PSE | CTL_PGE,
		.ad = WALK_AD_PEEK,
		.start_level = -1,
	};
	host_walk_radix(mmu, fmt, m, s->shadow_root->table, &mmu->cpu->guest_wc, &req, &f->walk);
	f->refs = m->counts.refs - refs;
	f->depth = m->counts.depth - depth;
	if (f->walk.status != WALK_OK) {
		f->dropped = f->walk.ntables && spte_at(mmu, f->walk.leaf_addr) == dropped_mark(fmt);
		return false;
	}
	if (f->walk.leaf & fmt->no_read)
		f->walk.rights &= (uint8_t)~RIGHT_R;
	for (unsigned i = 0; i < f->walk.ntables; i++) {
		const struct shadow_page *sp = sp_of_table(mmu, f->walk.table[i].addr);
		struct walk_table t = { .addr = sp->guest_table, .level = sp->role.guest_level, .positional = true };

		if (sp->role.kind == SP_PLACED && !track_table(mmu, s, &t, f->va))
			f->cacheable = false;
	}
	/* Nor may the walk cache keep what nobody watches. */
	if (!f->cacheable && mmu->cpu->guest_wc.any)
		wc_inval_range(&mmu->cpu->guest_wc, s->number, f->va, PAGE_SIZE);
	return true;
}

/* ---- dropping ---- */

/* Entries [first, last] of this page, in offsets of its own stretch. */
static void drop_offsets(struct shadow_page *sp, uint64_t first, uint64_t last, enum drop_how how)
{
	unsigned shift = sp->mmu->shadow->fmt->level[sp->role.level].shift;

	for (uint64_t i = first >> shift; i <= last >> shift; i++)
		zap_spte(sp, i, how);
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
static struct shadow_page *leaf_page(struct mmu *mmu, struct space *s, uint64_t va)
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

static void radix_drop_range(struct mmu *mmu, struct space *s, uint64_t va, uint64_t bytes)
{
	const struct gpt_format *fmt = mmu->shadow->fmt;

	for (uint64_t at = va; at - va < bytes;) {
		struct shadow_page *sp = leaf_page(mmu, s, at);
		unsigned shift = fmt->level[sp ? sp->role.level : 0].shift;

		if (sp)
			zap_spte(sp, gpt_index(fmt, sp->role.level, at, false), DROP_CLEAR);
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
		zap_spte(sp, index_of(sp, name), DROP_CLEAR);
		return;
	}
	set_spte(mmu, name, spte & ~(fmt->write | fmt->dirty));
}

/* ---- in step again ---- */

/* Are the rights of this entry still among those the guest's entry gives? U and G must be the very same. */
static bool allows_no_more(const struct shadow_page *sp, uint64_t spte, uint8_t guest)
{
	const struct gpt_format *fmt = sp->mmu->shadow->fmt;
	uint8_t have = gpt_rights(fmt, sp->role.level, spte);
	uint8_t above = sp->role.rights;

	if (spte & fmt->no_read)
		have &= (uint8_t)~RIGHT_R;
	guest &= above | RIGHT_A | RIGHT_D | RIGHT_G;
	guest |= above & RIGHT_G;
	if (!(guest & RIGHT_D))
		guest &= (uint8_t)~RIGHT_W;
	return (guest & RIGHT_A) && !(have & ~guest & RIGHT_RWX) && !((have ^ guest) & (RIGHT_U | RIGHT_G));
}

/* Does the guest's table, read anew, still say what this entry says? */
static void resync_entry(struct shadow_page *sp, uint64_t index)
{
	struct mmu *mmu = sp->mmu;
	const struct gpt_format *fmt = mmu->shadow->fmt, *gf = mmu->config.guest_fmt;
	uint64_t spte = spte_at(mmu, sptep_of(sp, index)), gpte = 0;
	uint64_t offset = sp->role.base + (index << fmt->level[sp->role.level].shift);
	uint64_t addr = sp->guest_table + (offset >> gf->level[sp->role.guest_level].shift) * gf->entry_size;
	uint64_t inside = (offset & low_bits(gf->level[sp->role.guest_level].shift)) >> PAGE_SHIFT;
	struct gfn_mapping map;

	if (!spte)
		return;
	bool same = gpt_is_present(fmt, spte) && !gfn_peek(mmu->vm, GFN(addr >> PAGE_SHIFT), &map);

	if (same) {
		memcpy(&gpte, machine_ptr(mmu->vm->hv->m, mfn_to_hpa(map.mfn)) + (addr & PAGE_MASK), gf->entry_size);
		same = gpt_is_present(gf, gpte) && gpt_is_leaf(gf, sp->role.guest_level, gpte) &&
		       !gpt_is_reserved(gf, sp->role.guest_level, gpte, mmu->vcpu->paging.ctl) &&
		       !gfn_peek(mmu->vm, GFN(gpt_frame(gf, gpte) + inside), &map) &&
		       map.mfn.v == gpt_frame(fmt, spte) &&
		       allows_no_more(sp, spte, gpt_rights(gf, sp->role.guest_level, gpte));
	}
	if (!same)
		zap_spte(sp, index, DROP_CLEAR);
}

static unsigned radix_resync_page(struct shadow_page *sp)
{
	uint64_t n = entries_of(sp);

	for (uint64_t i = 0; i < n; i++)
		resync_entry(sp, i);
	return (unsigned)n;
}

static unsigned radix_resync_va(struct mmu *mmu, struct space *s, uint64_t va)
{
	struct shadow_page *sp = leaf_page(mmu, s, va);

	if (!sp || !sp->unsync)
		return 0;
	resync_entry(sp, gpt_index(mmu->shadow->fmt, sp->role.level, va, false));
	return 1;
}

/* ---- checks ---- */

static int bad(const char **why, const char *what)
{
	*why = what;
	return -EINVAL;
}

static int audit_leaf(struct shadow_page *sp, uint64_t index, uint64_t spte, const char **why)
{
	struct mmu *mmu = sp->mmu;
	const struct frame *f = leaf_frame(mmu, spte);
	struct rmap_iter it;
	struct gfn_mapping truth;

	if (f->type != FRAME_GUEST)
		return bad(why, "a shadow entry leads to a frame that is not a guest's");
	if (!rmap_has(f->sptes, rmap_sptep(HPA(sptep_of(sp, index)))))
		return bad(why, "a shadow entry is not in its frame's reverse map");
	for_each_rmap(f->owners, it)
		if (rmap_owner_vmid(it.name) == mmu->vm->vmid) {
			if (gfn_peek(mmu->vm, rmap_owner_gfn(it.name), &truth) ||
			    (gpt_rights(mmu->shadow->fmt, sp->role.level, spte) & RIGHT_RWX & ~truth.rights))
				return bad(why, "a shadow entry allows more than the per-gfn truth");
			return 0;
		}
	return bad(why, "a shadow entry leads to a frame of another VM");
}

static int audit_page(struct shadow_page *sp, uint64_t *leaves, const char **why)
{
	struct mmu *mmu = sp->mmu;
	const struct gpt_format *fmt = mmu->shadow->fmt;
	unsigned present = 0;

	for (uint64_t i = 0, n = entries_of(sp); i < n; i++) {
		uint64_t spte = spte_at(mmu, sptep_of(sp, i));

		if (!gpt_is_present(fmt, spte))
			continue;
		present++;
		if (gpt_is_leaf(fmt, sp->role.level, spte)) {
			int err = audit_leaf(sp, i, spte, why);

			if (err)
				return err;
			++*leaves;
		} else {
			const struct shadow_page *child = sp_of_table(mmu, gpt_frame(fmt, spte) << PAGE_SHIFT);

			if (!child || !rmap_has(child->parents, rmap_sptep(HPA(sptep_of(sp, i)))))
				return bad(why, "a shadow page does not know its parent");
		}
	}
	return present == sp->present ? 0 : bad(why, "a shadow page's count of entries is wrong");
}

static int radix_audit(struct mmu *mmu, uint64_t *leaves, const char **why)
{
	list_for_each(l, &mmu->shadow->pages) {
		int err = audit_page(list_entry(l, struct shadow_page, lru), leaves, why);

		if (err)
			return err;
	}
	return 0;
}

static int radix_attach(struct mmu *mmu) { return 0; }
static void radix_detach(struct mmu *mmu) { }
static uint64_t radix_bytes(const struct mmu *mmu) { return mmu->ptm.m.table_bytes; }

const struct shadow_backend shadow_radix = {
	.attach = radix_attach,
	.detach = radix_detach,
	.walk = radix_walk,
	.enter = radix_enter,
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
