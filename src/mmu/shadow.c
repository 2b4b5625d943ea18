/* SPDX-License-Identifier: MIT */
/*
 * The shadow modes. What each event does:
 *
 *   no entry, or one too weak  walk the guest's table in software, set its A and D,
 *                              find the frame, enter gva → machine          (exit)
 *   the guest's own fault      handed to the guest                          (exit)
 *   store to a shadowed table  emulated, entries made from it zapped        (exit)
 *        +lazy, leaf table     the table is let out of step: one exit, then none
 *   fence of a page            +lazy: that page's entry is compared         (exit)
 *   fence of more, new root    +lazy: every table out of step is resynced   (exit)
 */
#include "mmu/shadow.h"

static bool is_lazy(const struct mmu *mmu)
{
	return mmu->scheme.flags & SCHEME_LAZY;
}

/* The second stage's format if it covers the guest's addresses, else the guest's. */
static const struct gpt_format *shadow_format(const struct mmu_config *c)
{
	const struct gpt_format *g = c->guest_fmt, *h = c->host_fmt;
	bool covers = gpt_va_limit(h, false) >= gpt_va_limit(g, false) &&
		      (!g->sign_extended || (h->sign_extended && h->va_bits >= g->va_bits));

	return covers ? h : g;
}

static bool table_fits_frame(const struct gpt_format *f)
{
	for (unsigned l = 0; l < f->levels; l++)
		if (gpt_table_bytes(f, l, false) > PAGE_SIZE)
			return false;
	return true;
}

static int no(const char **why, const char *what)
{
	*why = what;
	return -ENOTSUP;
}

static int possible(const struct vm *vm, const struct scheme *s, const struct mmu_config *c, const char **why)
{
	const struct gpt_format *f = shadow_format(c);

	if (s->org && !s->org->sparse_keys)
		return no(why, "a flat table of all guest-virtual pages would not fit any memory");
	if (!table_fits_frame(c->guest_fmt) || !table_fits_frame(f))
		return no(why, "tables of this format are larger than a frame, by which shadow pages are found");
	/* A cache's entries are of no format. */
	if (!s->org)
		return 0;
	if (vm->hv->m->nframes << PAGE_SHIFT > BIT(f->pa_bits))
		return no(why, "the machine's RAM is larger than entries of the shadow format reach");
	if (vm_end_gfn(vm).v << PAGE_SHIFT > gpt_va_limit(f, false))
		return no(why, "guest memory is larger than the shadow format can address");
	return 0;
}

static int attach(struct mmu *mmu)
{
	struct machine *m = mmu->vm->hv->m;
	struct shadow *sh = kmem_alloc(m, sizeof(*sh));

	if (!sh)
		return -ENOMEM;
	sh->fmt = shadow_format(&mmu->config);
	sh->be = mmu->scheme.org && mmu->scheme.org->hierarchical ? &shadow_radix : &shadow_keyed;
	sh->keyed = mmu->scheme.org ? &keyed_org : &keyed_cache;
	sh->budget = mmu->config.shadow_budget ? mmu->config.shadow_budget : (unsigned)MAX(m->nframes / 4, 16);
	sh->flood_limit = mmu->config.flood_limit ? mmu->config.flood_limit : 3;
	list_init(&sh->pages);
	list_init(&sh->unsynced);
	mmu->shadow = sh;
	int err = sh->be->attach(mmu);
	if (err) {
		mmu->shadow = NULL;
		kmem_free(m, sh, sizeof(*sh));
		return err;
	}
	walk_shape(mmu->guest_shape, sh->be == &shadow_radix ? sh->fmt : NULL);
	return 0;
}

/* Entries outside shadow pages (other organisations) are found by their space. */
static void drop_entries(struct mmu *mmu, struct space *s)
{
	if (mmu->shadow->be == &shadow_keyed)
		mmu->shadow->be->drop_range(mmu, s, 0, UINT64_MAX);
}

static void zap_all(struct mmu *mmu)
{
	sp_zap_all(mmu);
	drop_entries(mmu, &mmu->bare);
	list_for_each(l, &mmu->spaces)
		drop_entries(mmu, list_entry(l, struct space, lru));
}

static void detach(struct mmu *mmu)
{
	zap_all(mmu);
	mmu->shadow->be->detach(mmu);
	/* What was promised to a fault that will not come. */
	kmem_reserve(mmu->vm->hv->m, sizeof(struct shadow_page), 0);
	rmap_reserve(mmu->vm->hv->m, 0);
	kmem_free(mmu->vm->hv->m, mmu->shadow, sizeof(*mmu->shadow));
	mmu->shadow = NULL;
}

/* The gfn behind a frame of this VM: any of them, when several share it. */
static gfn_t gfn_of(const struct mmu *mmu, uint64_t mfn)
{
	const struct frame *f = machine_frame(mmu->vm->hv->m, MFN(mfn));
	struct rmap_iter it;

	for_each_rmap(f->owners, it)
		if (rmap_owner_vmid(it.name) == mmu->vm->vmid)
			return rmap_owner_gfn(it.name);
	BUG_ON("a shadow entry leads outside its VM");
	return INVALID_GFN;
}

enum walked shadow_found(struct mmu *mmu, struct mmu_fault *f)
{
	const struct walk *w = &f->walk;

	/* Without CR0.WP a supervisor may store where the guest says no W; here it is the hypervisor's no. */
	if (f->kind == ACC_WRITE && !(w->rights & RIGHT_W))
		return WALKED_HELP;
	if (f->space->bare ? !(w->rights & BIT(f->kind)) :
	    walk_check(w->rights & (RIGHT_RWX | RIGHT_U), f->kind, f->user, f->ctl, is_riscv(f->space->p.params.fmt)))
		return WALKED_HELP;
	gfn_t gfn = gfn_of(mmu, w->frame);

	f->gpa = GPA(gfn.v << PAGE_SHIFT | (f->va & PAGE_MASK));
	make_entry(mmu, f, gfn.v, w->order, w->rights | RIGHT_D, w->frame, w->order, w->rights & RIGHT_RWX);
	return WALKED_OK;
}

static enum walked walk(struct vcpu *v, struct mmu_fault *f)
{
	return v->mmu->shadow->be->walk(v, f) ? shadow_found(v->mmu, f) : WALKED_HELP;
}

static void say(struct mmu *mmu, const struct mmu_fault *f, const char *step, const char *action,
		gfn_t gfn, uint64_t hva, mfn_t mfn)
{
	if (likely(!mmu->vm->log))
		return;
	struct vm_fault_step s = { step, action, f->error_code, GVA(f->va), gfn, hva, mfn };

	mmu->vm->log->step(mmu->vm->log, &s);
}

/*
 * Hardware's walk ended in a leaf page: since the guest's tables above were
 * walked for it, nobody stored to them, or neither the shadow tables nor the
 * walk caches would lead there. So the guest's leaf entry is all there is to read.
 */
static bool starts_below(struct mmu *mmu, const struct mmu_fault *f, struct shadow_fill *fill,
			 struct guest_start *from)
{
	if (!mmu->shadow->be->walked_page || mmu->shadow->hooks || mmu->vm->log || f->half)
		return false;
	struct shadow_page *sp = mmu->shadow->be->walked_page(mmu, f);

	if (!sp || sp->role.kind != SP_PLACED || sp->role.guest_level)
		return false;
	*from = (struct guest_start){ 0, sp->guest_table, sp->role.rights, INVALID_MFN };
	fill->leaf = sp;
	fill->zapped = mmu->vm->stats.mmu_shadow_zapped;
	return true;
}

/* From the gva to where the memslot has it. */
static uint64_t say_way_there(struct mmu *mmu, const struct mmu_fault *f, gfn_t gfn)
{
	uint64_t hva = 0;

	memslot_gfn_to_hva(memslot_find(mmu->vm, gfn), gfn, &hva);
	say(mmu, f, "exit", "no usable shadow entry: the guest is left", INVALID_GFN, 0, INVALID_MFN);
	say(mmu, f, "error code", "what kind of access met it", INVALID_GFN, 0, INVALID_MFN);
	say(mmu, f, "gva", "the address the guest used", INVALID_GFN, 0, INVALID_MFN);
	say(mmu, f, "gva to gfn", "from the guest's own table entry", gfn, 0, INVALID_MFN);
	say(mmu, f, "gfn to hva", "by the memslot's arithmetic", gfn, hva, INVALID_MFN);
	return hva;
}

/* The guest's table, walked by the hypervisor; a bare access has none. */
static int find_gfn(struct mmu *mmu, struct mmu_fault *f, struct shadow_fill *fill)
{
	struct guest_start from;

	if (f->space->bare) {
		fill->gfn = GFN(f->va >> PAGE_SHIFT);
		fill->guest_order = ORDER_1G;
		fill->guest_rights = RIGHT_ALL & ~RIGHT_G;
		fill->walk = NULL;
		f->gpa = GPA(f->va);
	} else {
		if (starts_below(mmu, f, fill, &from))
			guest_walk_from(&mmu->sw, f, &from);
		else
			guest_walk(&mmu->sw, f, WALK_COLD);
		if (f->walk.status == WALK_VIOLATION)
			return -ENOMEM; /* the hypervisor's own look finds every frame there is */
		if (f->walk.status != WALK_OK) {
			f->why = f->walk.why;
			f->error_code = f->walk.error_code;
			return MMU_INJECT;
		}
		fill->gfn = GFN(f->walk.frame);
		fill->guest_order = f->walk.order;
		fill->guest_rights = f->walk.rights;
		fill->walk = &f->walk;
	}
	if (!memslot_find(mmu->vm, fill->gfn)) {
		no_memory_there(mmu, f);
		return MMU_INJECT;
	}
	return 0;
}

static bool may_unsync(struct mmu *mmu, gfn_t gfn)
{
	if (!is_lazy(mmu))
		return false;
	for_each_sp_of(mmu->shadow, gfn.v, sp)
		if (sp->role.guest_level || sp->busy)
			return false;
	return true;
}

/* A store to a protected table: let it out of step, or emulate; a flooded one is dropped. */
int shadow_table_write(struct mmu *mmu, gpa_t gpa)
{
	struct vm_stats *st = &mmu->vm->stats;
	gfn_t gfn = gpa_to_gfn(gpa);

	st->mmu_pte_write++;
	st->shadow_total++;
	st->shadow_table_write++;
	vm_stats_exit(st, EXIT_TABLE_WRITE);
	if (may_unsync(mmu, gfn)) {
		for_each_sp_of(mmu->shadow, gfn.v, sp)
			sp_unsync(sp);
		return MMU_FIXED;
	}
	if (mmu->shadow->hooks) {
		mmu->shadow->hooks->trapped(mmu, gfn);
		return MMU_EMULATE;
	}
	for_each_sp_of(mmu->shadow, gfn.v, sp) {
		sp->writes++;
		if (mmu->shadow->be->ahead)
			mmu->shadow->be->ahead(sp, gpa.v & PAGE_MASK);
	}
	/* This store is done here even so: entering it could protect the table anew (one that maps itself). */
	sp_flood(mmu, gfn);
	return MMU_EMULATE;
}

static int reserve(struct mmu *mmu, const struct shadow_fill *fill)
{
	/* One entry, in a page that is there. */
	if (fill->leaf)
		return rmap_reserve(mmu->vm->hv->m, 1);

	int err = ptm_machine_reserve(&mmu->ptm, GPT_LEVELS_MAX);

	if (!err)
		err = kmem_reserve(mmu->vm->hv->m, sizeof(struct shadow_page), GPT_LEVELS_MAX);
	if (!err)
		err = rmap_reserve(mmu->vm->hv->m, 2 * GPT_LEVELS_MAX);
	return err;
}

static int inject_guest(struct mmu *mmu, struct mmu_fault *f)
{
	mmu->vm->stats.pf_guest++;
	vm_stats_exit(&mmu->vm->stats, EXIT_GUEST_FAULT);
	say(mmu, f, "exit", "the guest's own table says no: handed to the guest", INVALID_GFN, 0, INVALID_MFN);
	return MMU_INJECT;
}

static void count_fill(struct mmu *mmu, const struct mmu_fault *f)
{
	struct vm_stats *st = &mmu->vm->stats;

	if (f->dropped) {
		st->coherent_refills++;
		return;
	}
	st->pf_fixed++;
	st->shadow_total++;
	st->shadow_fill++;
	vm_stats_exit(st, EXIT_SHADOW_FAULT);
}

static int fault(struct vcpu *v, struct mmu_fault *f)
{
	struct mmu *mmu = v->mmu;
	struct vm *vm = mmu->vm;
	struct shadow_fill fill = { .v = v, .va = f->va };
	bool write = f->kind == ACC_WRITE;
	uint64_t hva = 0;

	fill.space = f->space->bare ? &mmu->bare : mmu->cpu->space_of[f->space->number];
	if (!f->dropped)
		vm->stats.pf_taken++;
	f->error_code = (write ? PF_WRITE : 0) | (f->user ? PF_USER : 0) | (f->kind == ACC_EXEC ? PF_INSTR : 0);
	int r = find_gfn(mmu, f, &fill);

	if (r == MMU_INJECT)
		return inject_guest(mmu, f);
	if (r)
		return r;
	if (unlikely(vm->log != NULL))
		hva = say_way_there(mmu, f, fill.gfn);
	r = gfn_fault(vm, fill.gfn, write, &fill.map);
	if (r)
		return r;
	say(mmu, f, "hva to frame", fill.map.hidden ? "a zeroed frame is found and given" :
	    "the frame is there already", fill.gfn, hva, fill.map.mfn);
	/* No entry can say "supervisor only may write": CR0.WP is clear, the store is done here. */
	if (write && !(fill.guest_rights & RIGHT_W)) {
		count_fill(mmu, f);
		return MMU_EMULATE;
	}
	uint64_t seq = vm->mmu_seq;

	if (write && !(fill.map.rights & RIGHT_W) && (gfn_flags(gfn_get(vm, fill.gfn)) & GFN_WPROT)) {
		r = shadow_table_write(mmu, f->gpa);
		if (r != MMU_FIXED)
			return r;
	} else {
		count_fill(mmu, f);
	}
	if (mmu->shadow->hooks && !mmu->shadow->hooks->prepare(mmu, &fill))
		return MMU_FIXED;
	r = 0;
	if (unlikely(seq != vm->mmu_seq))
		r = gfn_peek(vm, fill.gfn, &fill.map);
	seq = vm->mmu_seq;
	if (!r)
		r = reserve(mmu, &fill);
	if (r)
		return r;
	if (seq != vm->mmu_seq)
		return MMU_RETRY;
	/* What cannot be watched must not be entered (a chain longer than a walk can note): good for this access alone. */
	if (fill.walk && !track_walk(mmu, fill.space, fill.walk, f->va)) {
		f->cacheable = false;
		make_entry(mmu, f, fill.gfn.v, fill.guest_order, fill.guest_rights, fill.map.mfn.v, fill.map.order,
			   fill.map.rights);
		return MMU_ONCE;
	}
	r = mmu->shadow->be->enter(mmu, &fill);
	if (r)
		return r;
	say(mmu, f, "entry", "the shadow entry is set", fill.gfn, hva, fill.map.mfn);
	return MMU_FIXED;
}

/* ---- what the guest tells us ---- */

static void sync_all(struct mmu *mmu)
{
	while (!list_is_empty(&mmu->shadow->unsynced))
		sp_sync(list_first(&mmu->shadow->unsynced, struct shadow_page, unsynced));
}

static void drop_root(struct mmu *mmu, struct space *s, bool whole_tree)
{
	struct shadow_page *root = s->shadow_root;

	if (!root)
		return;
	s->shadow_root = NULL;
	if (--root->roots)
		return;
	if (whole_tree)
		sp_zap_tree(root);
	else
		sp_zap(root);
}

static void drop_space(struct mmu *mmu, struct space *s)
{
	drop_root(mmu, s, false);
	drop_entries(mmu, s);
}

/* Keeps the N roots most recently entered. */
static void trim_roots(struct mmu *mmu, unsigned keep)
{
	list_for_each(l, &mmu->spaces) {
		struct space *s = list_entry(l, struct space, lru);

		if (!s->shadow_root)
			continue;
		if (keep)
			keep--;
		else
			drop_root(mmu, s, false);
	}
}

static void set_root(struct vcpu *v, struct space *old)
{
	struct mmu *mmu = v->mmu;

	vm_stats_exit(&mmu->vm->stats, EXIT_ROOT_SWITCH);
	sync_all(mmu);
	if ((mmu->scheme.flags & SCHEME_DISCARD) && old && old != v->space) {
		drop_root(mmu, old, true);
		drop_entries(mmu, old);
	}
	if (mmu->scheme.roots)
		trim_roots(mmu, mmu->scheme.roots - !v->space->shadow_root);
}

/* A fence that reaches them must: another space may mean another page there. */
static void drop_globals(struct mmu *mmu, uint64_t va, uint64_t bytes)
{
	if (mmu->shadow->be->drop_globals)
		mmu->shadow->be->drop_globals(mmu, va, bytes);
}

static void fence(struct mmu *mmu, enum fence_scope scope, struct space *s, uint64_t va)
{
	struct vm_stats *st = &mmu->vm->stats;

	if (scope != FENCE_PAGE) {
		vm_stats_exit(st, EXIT_FENCE_ALL);
		sync_all(mmu);
		if (scope == FENCE_ALL)
			drop_globals(mmu, 0, UINT64_MAX);
		return;
	}
	vm_stats_exit(st, EXIT_FENCE);
	st->invlpg++;
	drop_globals(mmu, va & ~PAGE_MASK, PAGE_SIZE);
	if (!s || !is_lazy(mmu))
		return;
	unsigned n = mmu->shadow->be->resync_va(mmu, s, va);

	st->mmu_resync_entries += n;
	st->shadow_resync += n;
}

/* ---- what memory tells us ---- */

static void weaken_frame(struct mmu *mmu, struct frame *f, uint8_t keep)
{
	struct rmap_iter it;

	if (keep) {
		for_each_rmap(f->sptes, it)
			if (mmu->shadow->be->is_ours(mmu, it.name))
				mmu->shadow->be->weaken(mmu, f, it.name, keep);
		return;
	}
	for (bool again = true; again;) {
		again = false;
		for_each_rmap(f->sptes, it) {
			if (!mmu->shadow->be->is_ours(mmu, it.name))
				continue;
			mmu->shadow->be->weaken(mmu, f, it.name, 0);
			again = true;
			break;
		}
	}
}

/* A superpage is named at its first frame: look there too. */
static void zap_gfn(struct mmu *mmu, mfn_t mfn, uint8_t keep)
{
	uint64_t orders = gpt_leaf_orders(mmu->shadow->fmt);

	for (unsigned o = 0; o <= ORDER_1G; o++)
		if (orders & BIT(o))
			weaken_frame(mmu, machine_frame(mmu->vm->hv->m, MFN(align_down(mfn.v, BIT(o)))), keep);
}

static void zap(struct mmu *mmu, gfn_t gfn, uint64_t n, uint8_t keep)
{
	if (MUTATE(SKIP_ZAP))
		return;
	for (uint64_t i = 0; i < n; i++) {
		struct gfn_state st = gfn_get(mmu->vm, GFN(gfn.v + i));

		if (gfn_kind(st) != GFN_BACKED)
			continue;
		/* A table whose frame goes takes its shadow along. */
		if (!keep)
			for (struct shadow_page *sp = *sp_bucket(mmu->shadow, gfn.v + i), *next; sp; sp = next) {
				next = sp->next;
				if (sp->gfn == gfn.v + i && sp->role.kind != SP_DIRECT && sp->role.kind != SP_UNPLACED &&
				    !sp->busy) {
					sp_zap(sp);
					next = *sp_bucket(mmu->shadow, gfn.v + i);
				}
			}
		zap_gfn(mmu, gfn_mfn(st), keep);
	}
}

static void table_store(struct mmu *mmu, gpa_t gpa, uint64_t len, bool emulated)
{
	gfn_t gfn = gpa_to_gfn(gpa);

	for_each_sp_of(mmu->shadow, gfn.v, sp) {
		bool lazy = sp->unsync && !emulated;

		/* Stale until a fence, if the user wants to see that. */
		if (lazy && mmu->config.visibility == VISIBLE_ARCHITECTURAL)
			continue;
		mmu->shadow->be->drop_bytes(sp, gpa.v - sp->guest_table, gpa.v + len - 1 - sp->guest_table,
					    lazy ? DROP_MARK : DROP_CLEAR);
	}
}

/* A table out of step is not protected: only its tracked frame tells of stores, even while no root leads to it. */
static bool watches(const struct mmu *mmu, gfn_t gfn)
{
	if (!mmu->shadow)
		return false;
	for_each_sp_of(mmu->shadow, gfn.v, sp)
		if (sp->unsync)
			return true;
	return false;
}

static void drop_range(struct mmu *mmu, struct space *s, uint64_t va, uint64_t bytes)
{
	mmu->shadow->be->drop_range(mmu, s, va, bytes);
}

static uint64_t count_names(struct mmu *mmu)
{
	struct machine *m = mmu->vm->hv->m;
	uint64_t n = 0;

	for (uint64_t i = 0; i < m->nframes; i++) {
		const struct frame *f = machine_frame(m, MFN(i));
		struct rmap_iter it;

		if (f->type != FRAME_GUEST)
			continue;
		for_each_rmap(f->sptes, it)
			n += mmu->shadow->be->is_ours(mmu, it.name);
	}
	return n;
}

static int audit(struct mmu *mmu, const char **why)
{
	uint64_t leaves = 0;
	int err = mmu->shadow->be->audit(mmu, &leaves, why);

	if (err)
		return err;
	if (leaves != count_names(mmu)) {
		*why = "the reverse map names shadow entries that are not there";
		return -EINVAL;
	}
	list_for_each(l, &mmu->shadow->pages) {
		const struct shadow_page *sp = list_entry(l, struct shadow_page, lru);
		bool table = sp->role.kind == SP_PLACED || sp->role.kind == SP_TABLELESS;

		if (table && !sp->unsync && !(gfn_flags(gfn_get(mmu->vm, GFN(sp->gfn))) & GFN_WPROT)) {
			*why = "a shadowed guest table is not write-protected";
			return -EINVAL;
		}
	}
	return 0;
}

static uint64_t table_bytes(const struct mmu *mmu)
{
	return mmu->shadow->be->bytes(mmu);
}

static uint64_t root_by_gva(const struct mmu *mmu, const struct space *s, const struct gpt_format **fmt)
{
	*fmt = mmu->shadow->fmt;
	return s->shadow_root ? s->shadow_root->table : 0;
}

#define SHADOW_OPS                                                             \
	.options = SCHEME_LAZY | SCHEME_DISCARD,                                   \
	.possible = possible,                                                      \
	.attach = attach,                                                          \
	.walk = walk,                                                              \
	.fault = fault,                                                            \
	.detach = detach,                                                          \
	.set_root = set_root,                                                      \
	.fence = fence,                                                            \
	.zap = zap,                                                                \
	.table_store = table_store,                                                \
	.watches = watches,                                                        \
	.drop_range = drop_range,                                                  \
	.drop_space = drop_space,                                                  \
	.zap_all = zap_all,                                                        \
	.audit = audit,                                                            \
	.table_bytes = table_bytes,                                                \
	.quick = QUICK_SHADOW,                                                     \
	.root_by_gva = root_by_gva

const struct mode_ops shadow_mode = {
	.name = "shadow",
	.summary = "one gva table built by the hypervisor; guest tables write-protected, or lazy",
	.takes_org = true,
	.default_org = "radix",
	.hides_default = true,
	.takes_roots = true,
	SHADOW_OPS,
};
QUIRE_MODE(shadow_mode);

/* Its table is in inverted_shadow.c. */
static const struct mode_ops inverted_shadow_mode = {
	.name = "inverted-shadow",
	.summary = "as shadow, in one hashed cache of gva entries that forgets when a group is full",
	.takes_groups = true,
	SHADOW_OPS,
};
QUIRE_MODE(inverted_shadow_mode);
