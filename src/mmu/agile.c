/* SPDX-License-Identifier: MIT */
/*
 * Agile paging (Gandhi, Hill, Swift: Agile Paging: Exceeding the Best of
 * Nested and Shadow Paging, ISCA 2016): shadow for the upper levels, nested
 * below, switching in mid-walk.
 *
 *   shadow root ─▶ spte ─▶ … ─▶ switch entry        one load a level
 *                                 │ machine frame of a guest table
 *                                 ▼
 *                               gpte ─▶ … ─▶ gpte ─▶ gpa
 *                                  p2m          p2m    p2m     as in nested paging
 *
 * Nested or shadow is a property of a guest table page (agile_policy.c has
 * the rule): all its parents agree; below nested is nested; a page used at two
 * levels is nested. References with the k lowest of g levels nested:
 * (g − k) + (h + 1) k; the first nested table's frame is in the switch entry,
 * or (k = g) in the root register. Wholly nested, the root is a gpa too: 24.
 *
 * No table is ever out of step, so that fences need no exit; the guest's own
 * faults exit only where a shadow page was met. The unmapped segment goes
 * through the p2m. Tables without positions are always nested.
 *
 * Walk caches: one serves both parts. An entry that leads to a guest table
 * says so, as the paper's walk caches do, and is kept where both formats cut
 * the address alike.
 */
#include "mmu/agile.h"
#include "mmu/nested.h"
#include "mmu/shadow_radix.h"

/* In wc_value.rights, beside rights: .table is a guest table of this level; its frame came from a switch entry. */
enum { WC_GUEST = 1 << 16, WC_SWITCHED = 1 << 17, WC_LEVEL_SHIFT = 8 };

enum step { STEP_NOTHING, STEP_LEAF, STEP_GUEST };

static int possible(const struct vm *vm, const struct scheme *s, const struct mmu_config *c, const char **why)
{
	int err = nested_mode.possible(vm, s, c, why);

	if (!err)
		err = shadow_mode.possible(vm, s, c, why);
	if (!err && (!switch_bit(c->guest_fmt) || !switch_bit(c->host_fmt))) {
		*why = "entries of this format have no bit left for the switch";
		err = -ENOTSUP;
	}
	return err;
}

void agile_shape(struct mmu *mmu)
{
	walk_shape(mmu->guest_shape, mmu->agile->whole ? mmu->config.guest_fmt : mmu->shadow->fmt);
	if (mmu->cpu->shaped_for == mmu)
		cpu_shape(mmu);
}

static bool is_nested(struct mmu *mmu, gfn_t gfn)
{
	return !agile_is_shadow(mmu, gfn.v);
}

/* Is this table met at another level too, on this walk or by a shadow page? */
static bool has_two_levels(struct mmu *mmu, const struct walk *w, unsigned i)
{
	uint64_t gfn = w->table[i].addr >> PAGE_SHIFT;

	for (unsigned j = 0; j < w->ntables; j++)
		if (j != i && w->table[j].addr >> PAGE_SHIFT == gfn)
			return true;
	for_each_sp_of(mmu->shadow, gfn, sp)
		if (sp->role.guest_level != w->table[i].level)
			return true;
	return false;
}

static bool prepare(struct mmu *mmu, const struct shadow_fill *fill)
{
	const struct walk *w = fill->walk;
	bool below = false;

	if (!w || !w->ntables || !w->table[0].positional)
		return false;
	for (unsigned i = 0; i < w->ntables; i++) {
		uint64_t gfn = w->table[i].addr >> PAGE_SHIFT;

		below |= has_two_levels(mmu, w, i) || !agile_is_shadow(mmu, gfn);
		if (below)
			agile_make_nested(mmu, gfn);
	}
	return agile_is_shadow(mmu, w->table[0].addr >> PAGE_SHIFT);
}

static void trapped(struct mmu *mmu, gfn_t gfn)
{
	agile_trapped(mmu, gfn.v);
}

static const struct shadow_hooks hooks = {
	.is_nested = is_nested,
	.prepare = prepare,
	.trapped = trapped,
};

static int attach(struct mmu *mmu)
{
	struct machine *m = mmu->vm->hv->m;
	struct agile *a = kmem_alloc(m, sizeof(*a));
	int err;

	if (!a)
		return -ENOMEM;
	mmu->agile = a;
	a->whole = true;
	a->roots = mmu->vm->stats.root_switches;
	err = nested_mode.attach(mmu);
	if (!err) {
		err = shadow_mode.attach(mmu);
		if (err)
			nested_mode.detach(mmu);
	}
	if (err) {
		mmu->agile = NULL;
		kmem_free(m, a, sizeof(*a));
		return err;
	}
	mmu->shadow->hooks = &hooks;
	mmu->shadow->fills_pages = true;
	agile_shape(mmu);
	return 0;
}

static void detach(struct mmu *mmu)
{
	shadow_mode.detach(mmu);
	nested_mode.detach(mmu);
	agile_forget_all(mmu);
	kmem_free(mmu->vm->hv->m, mmu->agile, sizeof(*mmu->agile));
	mmu->agile = NULL;
}

/* ---- walks ---- */

/* The guest's level whose tables stand behind shadow pages of this level. */
static unsigned guest_level(const struct mmu *mmu, unsigned level)
{
	const struct gpt_format *gf = mmu->config.guest_fmt;
	unsigned l = 0;

	while (l < gf->levels - 1u && span(gf, l) < span(mmu->shadow->fmt, level))
		l++;
	return l;
}

/*
 * gpa of the guest's table of this level for va, read beside all counting:
 * hardware has the frame, this names it. The tables above it are in step.
 */
static uint64_t table_gpa(struct mmu *mmu, const struct space *s, uint64_t va, unsigned level, mfn_t mfn)
{
	const struct gpt_format *gf = mmu->config.guest_fmt;
	uint64_t table = s->p.root;
	struct gfn_mapping map;
	struct rmap_iter it;

	for (unsigned l = gf->levels - 1u; l > level; l--) {
		uint64_t addr = table + gpt_index(gf, l, va, false) * gf->entry_size, gpte = 0;

		if (gfn_peek(mmu->vm, GFN(addr >> PAGE_SHIFT), &map))
			break;
		memcpy(&gpte, machine_ptr(mmu->vm->hv->m, mfn_to_hpa(map.mfn)) + (addr & PAGE_MASK), gf->entry_size);
		table = gpt_frame(gf, gpte) << PAGE_SHIFT;
	}
	if (!gfn_peek(mmu->vm, GFN(table >> PAGE_SHIFT), &map) && map.mfn.v == mfn.v)
		return table;
	/* A walk cache may be allowed to be stale (architectural visibility). */
	for_each_rmap(machine_frame(mmu->vm->hv->m, mfn)->owners, it)
		if (rmap_owner_vmid(it.name) == mmu->vm->vmid)
			return rmap_owner_gfn(it.name).v << PAGE_SHIFT;
	BUG_ON("a switch entry leads outside its VM");
	return 0;
}

static struct guest_start start_of(const struct mmu *mmu, const struct wc_value *c)
{
	bool known = (c->rights & WC_SWITCHED) || mmu->cpu->config->walk_combined;

	return (struct guest_start){
		.level = (int)(c->rights >> WC_LEVEL_SHIFT & 0xff),
		.table = c->table,
		.rights = (uint8_t)c->rights,
		.mfn = known ? MFN(c->mfn) : INVALID_MFN,
	};
}

static void fill_shadow_cache(struct mmu *mmu, const struct space *s, const struct mmu_fault *f)
{
	const struct walk *w = &f->walk;

	for (unsigned i = 1; i < w->ntables && f->cacheable; i++)
		if (w->table[i].level < WC_LEVELS)
			wc_fill(&mmu->cpu->guest_wc, s->number, f->va, w->table[i].level,
				&(struct wc_value){ w->table[i].addr, w->table[i].addr >> PAGE_SHIFT, w->table[i].rights });
}

/* One walk of the shadow table, to a leaf, to nothing, or to where the guest's tables take over. */
static enum step walk_shadow(struct mmu *mmu, struct space *s, struct mmu_fault *f, struct guest_start *from)
{
	const struct gpt_format *fmt = mmu->shadow->fmt;
	struct walk_cache *wc = &mmu->cpu->guest_wc;
	struct walk *w = &f->walk;
	struct wc_value c = { 0 };
	int level = wc->any ? wc_lookup(wc, s->number, f->va, &c) : -1;

	if (level >= 0 && (c.rights & WC_GUEST)) {
		mmu->vm->stats.walk_cache_hits++;
		*from = start_of(mmu, &c);
		return STEP_GUEST;
	}
	if (!s->shadow_root)
		return STEP_NOTHING;
	mmu->vm->stats.walk_cache_hits += level >= 0;
	struct walk_req req = shadow_req(s->number, f->va);

	req.start_level = level;
	req.start_table = c.table;
	req.start_rights = (uint8_t)c.rights;
	gpt_walk(fmt, &mmu->ptm.m, s->shadow_root->table, &req, w);
	uint64_t spte = w->ntables ? spte_at(mmu, w->leaf_addr) : 0;
	bool is_leaf = w->status == WALK_OK;

	if (!is_leaf && !is_switch(fmt, spte))
		return STEP_NOTHING;
	if (is_leaf && (w->leaf & fmt->no_read))
		w->rights &= (uint8_t)~RIGHT_R;
	if (wc->any)
		fill_shadow_cache(mmu, s, f);
	shadow_track_path(mmu, s, f);
	if (is_leaf)
		return STEP_LEAF;
	mfn_t mfn = MFN(gpt_frame(fmt, spte));
	unsigned l = guest_level(mmu, w->level - 1u);

	*from = (struct guest_start){ (int)l, table_gpa(mmu, s, f->va, l, mfn), switch_rights(fmt, spte), mfn };
	return STEP_GUEST;
}

/* Where the walk caches keep guest tables of this level; -1: the formats cut the address differently. */
static int cache_level(const struct mmu *mmu, unsigned level)
{
	const struct gpt_format *gf = mmu->config.guest_fmt;

	for (unsigned k = 0; k < WC_LEVELS; k++)
		if (mmu->cpu->guest_wc.shift[k] == gf->level[level].shift + gf->level[level].bits)
			return (int)k;
	return -1;
}

/* first: of the tables read, the first that was not known from a cache or a register. */
static void fill_guest_cache(struct mmu *mmu, const struct space *s, const struct mmu_fault *f, unsigned first)
{
	const struct walk *w = &f->walk;

	for (unsigned i = first; i < w->ntables; i++) {
		const struct walk_table *t = &w->table[i];
		int k = cache_level(mmu, t->level);
		struct wc_value c = {
			.table = t->addr,
			.mfn = guest_mem_where(&mmu->hw, GFN(t->addr >> PAGE_SHIFT)).v,
			.rights = t->rights | WC_GUEST | (i ? 0 : WC_SWITCHED) | (uint64_t)t->level << WC_LEVEL_SHIFT,
		};

		if (k >= 0)
			wc_fill(&mmu->cpu->guest_wc, s->number, f->va, (unsigned)k, &c);
	}
}

/* The root is nested, but the register knows its frame: the hypervisor set it. */
static struct guest_start start_at_root(struct mmu *mmu, const struct space *s)
{
	struct gfn_mapping map;

	return (struct guest_start){
		.level = -1,
		.table = s->p.root,
		.mfn = gfn_peek(mmu->vm, GFN(s->p.root >> PAGE_SHIFT), &map) ? INVALID_MFN : map.mfn,
	};
}

/*
 * What the guest's tables told is noted even if the p2m then lacks the data:
 * the next walk may start from a cache and not see them all.
 */
static void note(struct mmu *mmu, const struct mmu_fault *f, uint64_t loads)
{
	if (f->walk.status == WALK_OK)
		agile_walked(mmu, f, loads);
}

static enum walked walk_partly(struct mmu *mmu, struct space *s, struct mmu_fault *f)
{
	const struct pt_mem_counts *host = &mmu->ptm.m.counts;
	struct guest_start from;
	enum step step = walk_shadow(mmu, s, f, &from);
	bool cached = step == STEP_GUEST && !f->walk.ntables;

	if (step == STEP_LEAF)
		return shadow_found(mmu, f);
	if (step == STEP_NOTHING) {
		if (agile_is_shadow(mmu, s->p.root >> PAGE_SHIFT))
			return WALKED_HELP;
		from = start_at_root(mmu, s);
	}
	uint64_t loads = host->refs;

	guest_walk_from(&mmu->hw, f, &from);
	if (f->walk.status == WALK_OK)
		f->cacheable &= track_walk(mmu, s, &f->walk, f->va);
	if (f->walk.status == WALK_OK && f->cacheable && mmu->cpu->guest_wc.any)
		fill_guest_cache(mmu, s, f, cached || step == STEP_NOTHING);
	enum walked w = nested_walked(mmu, f);

	note(mmu, f, host->refs - loads);
	return w;
}

/* Wholly nested, or tables that have no levels. */
static enum walked walk_nested(struct vcpu *v, struct mmu_fault *f)
{
	const struct pt_mem_counts *host = &v->mmu->ptm.m.counts;
	uint64_t loads = host->refs;
	enum walked w = nested_mode.walk(v, f);

	if (!f->space->bare)
		note(v->mmu, f, host->refs - loads);
	return w;
}

static enum walked walk(struct vcpu *v, struct mmu_fault *f)
{
	struct mmu *mmu = v->mmu;
	const struct pt_mem_counts *g = &mmu->hw.m.counts, *h = &mmu->ptm.m.counts;
	struct space *s = mmu->cpu->space_of[f->space->number];

	if (!f->space->bare)
		agile_tick(mmu);
	if (mmu->agile->whole || f->space->bare || !s->p.org->hierarchical)
		return walk_nested(v, f);
	uint64_t refs = g->refs + h->refs, depth = g->depth + h->depth;

	f->walk.ntables = 0;
	enum walked w = walk_partly(mmu, s, f);

	f->refs = g->refs + h->refs - refs;
	f->depth = g->depth + h->depth - depth;
	return w;
}

/* ---- faults and events ---- */

static int fault(struct vcpu *v, struct mmu_fault *f)
{
	struct mmu *mmu = v->mmu;
	gfn_t gfn = gpa_to_gfn(f->violation);

	if (f->violation.v == INVALID_FRAME)
		return shadow_mode.fault(v, f);
	if (f->violation_kind == ACC_WRITE && memslot_find(mmu->vm, gfn) &&
	    (gfn_flags(gfn_get(mmu->vm, gfn)) & GFN_WPROT)) {
		if (f->gpa.v == f->violation.v) {
			mmu->vm->stats.pf_taken++;
			return shadow_table_write(mmu, f->gpa);
		}
		/* The walker's own A and D: this table is read as it is, below a nested one. */
		agile_make_nested(mmu, gfn.v);
	}
	return nested_mode.fault(v, f);
}

static void set_root(struct vcpu *v, struct space *old)
{
	if (!v->mmu->agile->whole)
		vm_stats_exit(&v->mmu->vm->stats, EXIT_ROOT_SWITCH);
}

static void zap(struct mmu *mmu, gfn_t gfn, uint64_t n, uint8_t keep)
{
	nested_mode.zap(mmu, gfn, n, keep);
	shadow_mode.zap(mmu, gfn, n, keep);
}

static void zap_all(struct mmu *mmu)
{
	shadow_mode.zap_all(mmu);
	nested_mode.zap_all(mmu);
}

static void table_store(struct mmu *mmu, gpa_t gpa, uint64_t len, bool emulated)
{
	agile_stored(mmu, gpa.v >> PAGE_SHIFT);
	shadow_mode.table_store(mmu, gpa, len, emulated);
}

static int audit(struct mmu *mmu, const char **why)
{
	int err = nested_mode.audit(mmu, why);

	if (!err)
		err = shadow_mode.audit(mmu, why);
	return err ? err : agile_audit(mmu, why);
}

static uint64_t table_bytes(const struct mmu *mmu)
{
	return mmu->ptm.m.table_bytes;
}

static void drop_space(struct mmu *mmu, struct space *s)
{
	shadow_mode.drop_space(mmu, s);
}

static const struct mode_ops agile_mode = {
	.name = "agile",
	.summary = "shadow above, nested below: each guest table by its rate of writes",
	.default_org = "radix",
	.hides_default = true,
	.possible = possible,
	.attach = attach,
	.walk = walk,
	.fault = fault,
	.detach = detach,
	.set_root = set_root,
	.zap = zap,
	.table_store = table_store,
	.drop_space = drop_space,
	.zap_all = zap_all,
	.audit = audit,
	.table_bytes = table_bytes,
};
QUIRE_MODE(agile_mode);
