/* SPDX-License-Identifier: MIT */
/*
 * Paravirtualisation: hardware walks the guest's own table, whose entries hold
 * machine frames. The guest, which knows of it, pins the frames of its tables
 * and asks for each change of them by hypercall; there is no second table.
 *
 *   guest ── pin, update, unpin ──▶ checked, gfn turned into mfn ──▶ entry in the guest's frame
 *   guest ◀── load: mfn turned back into gfn (machine to physical) ──┘  ▲
 *   hardware ── g loads ────────────────────────────────────────────────┘
 *
 * An entry in a pinned frame is one of
 *
 *   0       not present (the interface knows no other)
 *   entered valid, with the frame's mfn; its address is a name in .sptes of that
 *           frame, which has one owner: so the gfn is known
 *   held    not valid, and not 0: the guest's own entry, gfn and all, with the
 *           valid bit off. The guest sees it as present; hardware faults, and
 *           the handler enters it
 *
 * Entries are held while their gfn has no frame, shares it, or may not be
 * written though the entry says so (dirty log). A zap holds whatever it finds.
 * So tables lose nothing when frames come and go, and what the guest sees of
 * them never changes.
 *
 * Checks: a target that is pinned makes an entry a pointer to a table, any
 * other one makes it a leaf; what is wrong is refused. A pinned frame gets its
 * level when it is linked below one that has a level, or is walked as a root,
 * and all it holds is checked against that level. So hardware never reads a
 * frame as a table that is not one, nor maps a table for the guest to write.
 * There are no superpages: frames come one by one.
 */
#include "mmu/paravirt.h"

/* ---- memory, as the two walkers read it ---- */

static int hw_load(struct pt_mem *m, uint64_t addr, unsigned size, void *out)
{
	struct guest_mem *g = container_of(m, struct guest_mem, m);
	struct machine *mc = g->mmu->vm->hv->m;
	uint64_t value = 0;

	if (addr >= mc->bytes)
		return -EFAULT;
	memcpy(out, machine_ptr(mc, HPA(addr)), size);
	m->counts.refs++;
	m->counts.depth++;
	memcpy(&value, out, MIN(size, 8u));
	/* It is the guest's memory: the log hears the address that the guest has for it. */
	if (m->log)
		ptm_log_ref(m, gfn_to_gpa(pv_gfn_of(g->mmu, addr >> PAGE_SHIFT)).v | (addr & PAGE_MASK), HPA(addr),
			    value, 1);
	return 0;
}

/* A and D: by gpa, for the dirty log. Pinned frames stay where they are. */
static int hw_cas(struct pt_mem *m, uint64_t addr, unsigned size, uint64_t expect, uint64_t value)
{
	struct guest_mem *g = container_of(m, struct guest_mem, m);

	return guest_mem_cas(m, gfn_to_gpa(pv_gfn_of(g->mmu, addr >> PAGE_SHIFT)).v | (addr & PAGE_MASK), size, expect,
			     value);
}

/* Trees are not searched. */
static int no_scan(struct pt_mem *m, uint64_t first, uint64_t n, uint64_t stride)
{
	return -EFAULT;
}

static hpa_t hw_hpa(struct pt_mem *m, uint64_t addr) { return HPA(addr); }

static const struct pt_mem_ops hw_ops = {
	.load = hw_load,
	.store = guest_mem_no_store,
	.cas = hw_cas,
	.alloc = guest_mem_no_alloc,
	.free = guest_mem_no_free,
	.scan = no_scan,
	.hpa = hw_hpa,
};

static int seen_load(struct pt_mem *m, uint64_t addr, unsigned size, void *out)
{
	int err = guest_mem_sw_ops.load(m, addr, size, out);

	if (!err)
		mmu_guest_view(container_of(m, struct guest_mem, m)->mmu, GPA(addr), out, size);
	return err;
}

/* Only A and D change: the same bits in every shape of an entry. */
static int seen_cas(struct pt_mem *m, uint64_t addr, unsigned size, uint64_t expect, uint64_t value)
{
	struct mmu *mmu = container_of(m, struct guest_mem, m)->mmu;
	const struct pv_table *t = pv_table_of(mmu, gpa_to_gfn(GPA(addr)));

	if (!t)
		return guest_mem_cas(m, addr, size, expect, value);
	uint64_t raw = pv_raw_at(mmu, HPA(mfn_to_hpa(t->mfn).v | (addr & PAGE_MASK)));

	return pv_guest_entry(mmu, raw) == expect ? guest_mem_cas(m, addr, size, raw, raw ^ expect ^ value) : 0;
}

static const struct pt_mem_ops seen_ops = {
	.load = seen_load,
	.store = guest_mem_no_store,
	.cas = seen_cas,
	.alloc = guest_mem_no_alloc,
	.free = guest_mem_no_free,
	.scan = no_scan,
	.hpa = guest_mem_hpa,
};

/* ---- the mode ---- */

static int no(const char **why, const char *what)
{
	*why = what;
	return -ENOTSUP;
}

static int possible(const struct vm *vm, const struct scheme *s, const struct mmu_config *c, const char **why)
{
	const struct gpt_format *f = c->guest_fmt;

	if (c->paravirt == PARAVIRT_UNKNOWN)
		return no(why, "this guest knows nothing of the hypervisor: it stores to its tables itself");
	if (c->paravirt == PARAVIRT_NO_TREE)
		return no(why, "entries are checked by their level: a table that is not radix has none");
	if (c->paravirt == PARAVIRT_SUPERPAGES)
		return no(why, "a superpage needs machine frames in a row, and frames come one by one: leave --thp out");
	for (unsigned l = 0; l < f->levels; l++)
		if (gpt_table_bytes(f, l, false) > PAGE_SIZE)
			return no(why, "tables of this format are larger than a frame, by which they are pinned");
	if (vm->hv->m->nframes << PAGE_SHIFT > BIT(f->pa_bits))
		return no(why, "the machine's RAM is larger than the guest's entries reach");
	return 0;
}

static void drop_all_tables(struct mmu *mmu)
{
	while (!list_is_empty(&mmu->paravirt->tables))
		pv_unpin(mmu, list_first(&mmu->paravirt->tables, struct pv_table, link));
}

static void detach(struct mmu *mmu)
{
	drop_all_tables(mmu);
	mmu->sw.m.ops = &guest_mem_sw_ops;
	kmem_free(mmu->vm->hv->m, mmu->paravirt, sizeof(*mmu->paravirt));
	mmu->paravirt = NULL;
}

/* A guest that runs already has tables: they are pinned, all of them, before any entry is looked at. */
static int adopt_all(struct mmu *mmu)
{
	struct pv_tables *g = mmu->pv_guest;

	for (uint64_t gfn = 0; g && (gfn = g->next(g, gfn)) != INVALID_FRAME; gfn++) {
		int err = pv_pin(mmu, GFN(gfn));

		if (err)
			return err;
	}
	list_for_each(l, &mmu->paravirt->tables)
		pv_enter_all(mmu, list_entry(l, struct pv_table, link));
	return 0;
}

static int attach(struct mmu *mmu)
{
	struct paravirt *p = kmem_alloc(mmu->vm->hv->m, sizeof(*p));

	if (!p)
		return -ENOMEM;
	list_init(&p->tables);
	mmu->paravirt = p;
	guest_mem_init(&mmu->hw, mmu, &hw_ops);
	mmu->sw.m.ops = &seen_ops;
	int err = adopt_all(mmu);

	if (err)
		detach(mmu);
	return err;
}

/* The pinned root of a space, all below it checked; NULL: it is no such table. */
static const struct pv_table *root_of(struct mmu *mmu, const struct space *s)
{
	struct pv_table *t = pv_table_of(mmu, GFN(s->p.root >> PAGE_SHIFT));

	return t && !pv_set_level(mmu, t, mmu->config.guest_fmt->levels - 1) ? t : NULL;
}

/* A root is checked when it is first walked: one loaded still, its table given back, does no harm. */
static void set_root(struct vcpu *v, struct space *old)
{
	vm_stats_exit(&v->mmu->vm->stats, EXIT_ROOT_SWITCH);
}

static void fence(struct mmu *mmu, enum fence_scope scope, struct space *s, uint64_t va)
{
	struct vm_stats *st = &mmu->vm->stats;

	vm_stats_exit(st, scope == FENCE_PAGE ? EXIT_FENCE : EXIT_FENCE_ALL);
	st->invlpg += scope == FENCE_PAGE;
}

/* ---- accesses ---- */

/* The kernel's unmapped segment: an adder, as under native. */
static enum walked walk_bare(struct mmu *mmu, struct mmu_fault *f)
{
	struct gfn_mapping map;

	f->gpa = GPA(f->va);
	if (!memslot_find(mmu->vm, gpa_to_gfn(f->gpa))) {
		no_memory_there(mmu, f);
		return WALKED_INJECT;
	}
	if (gfn_peek(mmu->vm, gpa_to_gfn(f->gpa), &map) ||
	    (f->kind == ACC_WRITE && (!(map.rights & RIGHT_W) || pv_table_of(mmu, gpa_to_gfn(f->gpa)))))
		return WALKED_HELP;
	f->cacheable = false;
	f->from_truth = true;
	make_entry(mmu, f, gpa_to_gfn(f->gpa).v, 0, RIGHT_ALL, map.mfn.v, 0, map.rights);
	return WALKED_OK;
}

/* Direct loads only while nobody must see them. */
static struct pt_mem *hw_memory(struct mmu *mmu)
{
	struct pt_mem *m = &mmu->hw.m;

	m->direct = m->log ? NULL : mmu->vm->hv->m->ram;
	m->direct_bytes = m->log ? 0 : mmu->vm->hv->m->bytes;
	return m;
}

static enum walked walk(struct vcpu *v, struct mmu_fault *f)
{
	struct mmu *mmu = v->mmu;

	if (f->space->bare)
		return walk_bare(mmu, f);
	const struct pv_table *root = root_of(mmu, f->space);

	if (!root)
		return WALKED_HELP;
	struct pt_mem *m = hw_memory(mmu);
	uint64_t refs = m->counts.refs, depth = m->counts.depth;
	const struct guest_paging *p = &f->space->p;
	struct walk_req req = {
		.va = f->va,
		.space = f->space->number,
		.kind = f->kind,
		.user = f->user,
		.ctl = f->ctl,
		.ad = p->ad,
		.start_level = -1,
	};

	host_walk_radix(mmu, p->params.fmt, m, mfn_to_hpa(root->mfn).v | (p->root & PAGE_MASK), &mmu->cpu->guest_wc,
			&req, &f->walk);
	f->refs = m->counts.refs - refs;
	f->depth = m->counts.depth - depth;
	/* Held, or the guest's own fault: the hypervisor sees which. CR0.WP clear: it sees to the dirty log, too. */
	if (f->walk.status != WALK_OK || (f->kind == ACC_WRITE && !(f->walk.rights & RIGHT_W)))
		return WALKED_HELP;
	gfn_t gfn = pv_gfn_of(mmu, f->walk.frame);

	f->gpa = GPA(gfn.v << PAGE_SHIFT | (f->va & PAGE_MASK));
	make_entry(mmu, f, gfn.v, 0, f->walk.rights, f->walk.frame, 0, RIGHT_RWX);
	return WALKED_OK;
}

static void say(struct mmu *mmu, const struct mmu_fault *f, const char *step, const char *action, gfn_t gfn, mfn_t mfn)
{
	if (likely(!mmu->vm->log))
		return;
	struct vm_fault_step s = { step, action, f->error_code, GVA(f->va), gfn, 0, mfn };

	mmu->vm->log->step(mmu->vm->log, &s);
}

static int inject_guest(struct mmu *mmu, struct mmu_fault *f)
{
	mmu->vm->stats.pf_guest++;
	vm_stats_exit(&mmu->vm->stats, EXIT_GUEST_FAULT);
	say(mmu, f, "exit", "the guest's own table says no: handed to the guest", INVALID_GFN, INVALID_MFN);
	return MMU_INJECT;
}

/* Every entry on the way, root first. 1; 0: the last is held still; -EFAULT: the way is not one of tables. */
static int enter_path(struct mmu *mmu, const struct mmu_fault *f)
{
	const struct gpt_format *fmt = mmu->config.guest_fmt;
	int entered = 1;

	for (unsigned i = 0; i < f->walk.ntables; i++) {
		const struct walk_table *w = &f->walk.table[i];
		const struct pv_table *t = pv_table_of(mmu, GFN(w->addr >> PAGE_SHIFT));

		if (!t)
			return -EFAULT;
		uint64_t at = (w->addr & PAGE_MASK) + gpt_index(fmt, w->level, f->va, false) * fmt->entry_size;

		entered = pv_enter(mmu, HPA(mfn_to_hpa(t->mfn).v | at));
	}
	return entered;
}

static void count_exit(struct mmu *mmu, const struct gfn_mapping *map, bool write)
{
	struct vm_stats *st = &mmu->vm->stats;

	vm_stats_exit(st, write && mmu->vm->dirty_logging && !map->hidden ? EXIT_DIRTY : EXIT_HIDDEN_FAULT);
	st->pf_fixed++;
}

static int fault(struct vcpu *v, struct mmu_fault *f)
{
	struct mmu *mmu = v->mmu;
	bool write = f->kind == ACC_WRITE;
	struct gfn_mapping map;
	int err;

	mmu->vm->stats.pf_taken++;
	f->error_code = (write ? PF_WRITE : 0) | (f->user ? PF_USER : 0) | (f->kind == ACC_EXEC ? PF_INSTR : 0);
	if (!f->space->bare) {
		if (!root_of(mmu, f->space)) {
			vm_crash(mmu->vm, "the guest used a root that is no table of its own");
			return -EFAULT;
		}
		guest_walk(&mmu->sw, f, WALK_COLD);
		if (f->walk.status == WALK_VIOLATION)
			return -ENOMEM;
		if (f->walk.status != WALK_OK) {
			f->why = f->walk.why;
			f->error_code = f->walk.error_code;
			return inject_guest(mmu, f);
		}
	}
	gfn_t gfn = gpa_to_gfn(f->gpa);

	if (!memslot_find(mmu->vm, gfn)) {
		no_memory_there(mmu, f);
		return inject_guest(mmu, f);
	}
	/* Tables are for hypercalls: the kernel may read them, nobody may store, programs have no business there. */
	if (pv_table_of(mmu, gfn) && (write || !f->space->bare))
		return -EACCES;
	say(mmu, f, "exit", "an entry is held, or its frame is not there", gfn, INVALID_MFN);
	err = gfn_fault(mmu->vm, gfn, write, &map);
	if (err)
		return err;
	count_exit(mmu, &map, write);
	say(mmu, f, "hva to frame", map.hidden ? "a frame is found and given" : "the frame is there already", gfn, map.mfn);
	if (f->space->bare)
		return MMU_FIXED;
	bool by_wp = write && !(f->walk.rights & RIGHT_W);
	int entered = enter_path(mmu, f);

	if (entered < 0)
		return entered;
	if (entered && !by_wp) {
		say(mmu, f, "entry", "its machine frame is entered", gfn, map.mfn);
		return MMU_FIXED;
	}
	/* Shared, or logged and not written yet: the entry stays held, the TLB alone may know where. */
	f->cacheable = !by_wp;
	make_entry(mmu, f, gfn.v, 0, f->walk.rights, map.mfn.v, 0, map.rights);
	return MMU_ONCE;
}

/* ---- what memory tells us ---- */

static void zap(struct mmu *mmu, gfn_t gfn, uint64_t n, uint8_t keep)
{
	struct rmap_iter it;

	if (MUTATE(SKIP_ZAP))
		return;
	for (uint64_t i = 0; i < n; i++) {
		struct gfn_state st = gfn_get(mmu->vm, GFN(gfn.v + i));

		/* A frame with other owners has no entry that names it. */
		if (gfn_kind(st) != GFN_BACKED || pv_frame(mmu, gfn_mfn(st))->refs != 1)
			continue;
		while (rmap_first(pv_frame(mmu, gfn_mfn(st))->sptes, &it))
			pv_hold(mmu, HPA(it.name));
	}
}

static void zap_all(struct mmu *mmu)
{
	list_for_each(l, &mmu->paravirt->tables) {
		const struct pv_table *t = list_entry(l, struct pv_table, link);

		for (unsigned i = 0; i < pv_entries(mmu); i++)
			pv_hold(mmu, pv_entry_at(t, mmu, i));
	}
}

/* What an entry led to before its bytes were lost: its name is looked for everywhere. */
static void forget_name(struct mmu *mmu, hpa_t at)
{
	struct machine *m = mmu->vm->hv->m;

	for (uint64_t mfn = 0; mfn < m->nframes; mfn++) {
		struct frame *f = machine_frame(m, MFN(mfn));

		if (f->type == FRAME_GUEST && rmap_has(f->sptes, rmap_sptep(at)))
			rmap_remove(m, &f->sptes, rmap_sptep(at));
	}
}

/* Device stores do not go by way of the checks: the VM ends, its machine must not suffer. */
static void table_store(struct mmu *mmu, gpa_t gpa, uint64_t len, bool emulated)
{
	const struct pv_table *t = pv_table_of(mmu, gpa_to_gfn(gpa));
	unsigned size = pv_format(mmu)->entry_size;

	if (!t)
		return;
	vm_crash(mmu->vm, "a pinned table was written by other means than a hypercall");
	for (uint64_t i = (gpa.v & PAGE_MASK) / size; i <= ((gpa.v & PAGE_MASK) + len - 1) / size; i++) {
		hpa_t at = pv_entry_at(t, mmu, (unsigned)i);

		forget_name(mmu, at);
		memset(machine_ptr(mmu->vm->hv->m, at), 0, size);
	}
	flush_vm(mmu);
}

static int bad(const char **why, const char *what)
{
	*why = what;
	return -EINVAL;
}

static int audit_entry(struct mmu *mmu, const struct pv_table *t, hpa_t at, const char **why)
{
	const struct gpt_format *fmt = mmu->config.guest_fmt;
	uint64_t raw = pv_raw_at(mmu, at), mfn = gpt_frame(fmt, raw);
	struct gfn_mapping truth;

	if (!(raw & fmt->valid))
		return 0;
	const struct frame *f = pv_frame(mmu, MFN(mfn));

	if (f->type != FRAME_GUEST || f->refs != 1 || !rmap_has(f->sptes, rmap_sptep(at)))
		return bad(why, "an entry of a pinned table is not in its frame's reverse map");
	const struct pv_table *target = pv_table_of(mmu, pv_gfn_of(mmu, mfn));

	if (t->level == 0 && target)
		return bad(why, "a pinned table is mapped");
	if (t->level > 0 && (!target || target->level != t->level - 1))
		return bad(why, "an entry points to a table of the wrong level");
	if (!target && (raw & fmt->write) &&
	    (gfn_peek(mmu->vm, pv_gfn_of(mmu, mfn), &truth) || !(truth.rights & RIGHT_W)))
		return bad(why, "an entry of a pinned table allows more than the per-gfn truth");
	return 0;
}

static int audit(struct mmu *mmu, const char **why)
{
	int err = 0;

	list_for_each(l, &mmu->paravirt->tables) {
		const struct pv_table *t = list_entry(l, struct pv_table, link);

		if (pv_table_of(mmu, t->gfn) != t || gfn_mfn(gfn_get(mmu->vm, t->gfn)).v != t->mfn.v)
			return bad(why, "a pinned table is not where it was");
		for (unsigned i = 0; i < pv_entries(mmu) && !err; i++)
			err = audit_entry(mmu, t, pv_entry_at(t, mmu, i), why);
	}
	return err;
}

static const struct mode_ops paravirt_mode = {
	.name = "paravirt",
	.summary = "the guest's table holds machine addresses; the guest asks for each change by hypercall",
	.bare_untranslated = true,
	.possible = possible,
	.attach = attach,
	.walk = walk,
	.fault = fault,
	.detach = detach,
	.set_root = set_root,
	.fence = fence,
	.zap = zap,
	.table_store = table_store,
	.zap_all = zap_all,
	.audit = audit,
};
QUIRE_MODE(paravirt_mode);
