/* SPDX-License-Identifier: MIT */
/*
 * Walks, with what makes them short: walk caches before, and what they found
 * remembered after.
 *
 * A guest walk's tables are gpas. A walk-cache entry knows the table's gpa
 * and, where the processor caches combined translations, its machine frame
 * too, so that the first load needs no second stage.
 */
#include "mmu/internal.h"
#include "pt/leaf.h"

static uint64_t table_page(uint64_t addr)
{
	return addr >> PAGE_SHIFT;
}

static void guest_req(const struct mmu_fault *f, struct walk_req *req)
{
	const struct guest_paging *p = &f->space->p;

	*req = (struct walk_req){
		.va = f->va,
		.space = p->key_space,
		.kind = f->kind,
		.user = f->user,
		.ctl = f->ctl,
		.ad = p->ad,
		.start_level = -1,
	};
}

static void start_from_cache(struct guest_mem *g, const struct mmu_fault *f, struct walk_req *req)
{
	struct mmu_cpu *cpu = g->mmu->cpu;
	struct wc_value v;
	int level = wc_lookup(&cpu->guest_wc, f->space->number, f->va, &v);

	if (level < 0)
		return;
	req->start_level = level;
	req->start_table = v.table;
	req->start_rights = (uint8_t)v.rights;
	if (cpu->config->walk_combined && v.mfn != INVALID_FRAME) {
		g->hint_gfn = GFN(table_page(v.table));
		g->hint_mfn = MFN(v.mfn);
	}
	g->mmu->vm->stats.walk_cache_hits++;
}

static void fill_guest_cache(struct guest_mem *g, const struct mmu_fault *f)
{
	struct walk_cache *wc = &g->mmu->cpu->guest_wc;
	const struct walk *w = &f->walk;

	/* table[0] is the root, or the one a cache hit gave. */
	for (unsigned i = 1; i < w->ntables; i++) {
		const struct walk_table *t = &w->table[i];

		if (t->level >= WC_LEVELS)
			continue;
		struct wc_value v = {
			.table = t->addr,
			.mfn = guest_mem_where(g, GFN(table_page(t->addr))).v,
			.rights = t->rights,
		};

		wc_fill(wc, f->space->number, f->va, t->level, &v);
	}
}

/*
 * The topmost pointers of x86-pae are registers: the CPU read them when the
 * root was set, so no walk is charged for them, not even at the second stage.
 * False: the pointer is no good; an ordinary walk will say why.
 */
static bool start_from_register(struct guest_mem *g, const struct mmu_fault *f, struct walk_req *req)
{
	const struct guest_paging *p = &f->space->p;
	const struct gpt_format *fmt = p->params.fmt;
	unsigned top = fmt->levels - 1u;
	uint64_t addr = p->root + gpt_index(fmt, top, f->va, false) * fmt->entry_size, pte = 0;

	if (!gpt_va_ok(fmt, f->va, false) || pt_peek(&g->mmu->sw.m, addr, fmt->entry_size, &pte))
		return false;
	if (!gpt_is_present(fmt, pte) || gpt_is_reserved(fmt, top, pte, f->ctl))
		return false;
	req->start_level = (int)top - 1;
	req->start_table = gpt_frame(fmt, pte) << PAGE_SHIFT;
	req->start_rights = RIGHT_RWX | RIGHT_U;
	return true;
}

/* The register's table is among those the translation was read from. */
static void note_register(const struct mmu_fault *f, struct walk *w)
{
	memmove(&w->table[1], &w->table[0], w->ntables * sizeof(w->table[0]));
	w->table[0] = (struct walk_table){
		.addr = f->space->p.root,
		.level = f->space->p.params.fmt->levels - 1u,
		.rights = RIGHT_RWX | RIGHT_U,
		.positional = true,
	};
	w->ntables++;
}

/* The walker's view of the table is of its header as it is; else f->walk says that there is no table. */
static bool is_open(struct space *s, struct mmu_fault *f)
{
	if (likely(!s->stale) || !space_open_table(s))
		return true;
	f->walk = (struct walk){ .status = WALK_FAULT, .why = WALK_WHY_BUS };
	return false;
}

static void guest_begin(struct guest_mem *g, struct space *s, const struct mmu_fault *f, struct walk_req *req)
{
	s->pt.mem = &g->m;
	guest_req(f, req);
	guest_mem_begin(g);
}

static void guest_lookup(struct guest_mem *g, struct space *s, struct mmu_fault *f, struct walk_req *req)
{
	bool in_register = s->p.org->hierarchical && s->p.params.fmt->root_in_registers &&
			   req->start_level < 0 && start_from_register(g, f, req);

	s->p.org->lookup(&s->pt, req, &f->walk);
	if (in_register)
		note_register(f, &f->walk);
	if (f->walk.status == WALK_OK)
		f->gpa = GPA(f->walk.frame << PAGE_SHIFT | (f->va & PAGE_MASK));
}

void guest_walk_from(struct guest_mem *g, struct mmu_fault *f, const struct guest_start *from)
{
	struct space *s = g->mmu->cpu->space_of[f->space->number];
	struct walk_req req;

	if (!is_open(s, f))
		return;
	guest_begin(g, s, f, &req);
	req.start_level = from->level;
	req.start_table = from->table;
	req.start_rights = from->rights;
	if (from->mfn.v != INVALID_FRAME) {
		g->hint_gfn = GFN(table_page(from->table));
		g->hint_mfn = from->mfn;
	}
	guest_lookup(g, s, f, &req);
}

void guest_walk(struct guest_mem *g, struct mmu_fault *f, enum walk_caches caches)
{
	/* The space is const to everyone but its table view, which follows the guest's header. */
	struct space *s = g->mmu->cpu->space_of[f->space->number];
	struct walk_req req;

	if (!is_open(s, f))
		return;
	guest_begin(g, s, f, &req);
	bool cached = caches == WALK_CACHED && s->p.org->hierarchical && g->mmu->cpu->guest_wc.any;
	if (cached)
		start_from_cache(g, f, &req);
	guest_lookup(g, s, f, &req);
	if (f->walk.status == WALK_OK) {
		/* Whatever comes of the access: walk caches too hold only what is tracked. */
		if (caches == WALK_CACHED)
			f->cacheable = track_walk(g->mmu, s, &f->walk, f->va);
		if (cached && f->cacheable)
			fill_guest_cache(g, f);
	}
}

static void host_start(struct mmu *mmu, struct walk_cache *wc, struct walk_req *req)
{
	struct wc_value v;
	int level = wc_lookup(wc, req->space, req->va, &v);

	if (level < 0)
		return;
	req->start_level = level;
	req->start_table = v.table;
	req->start_rights = (uint8_t)v.rights;
	if (wc == &mmu->cpu->host_wc)
		mmu->vm->stats.host_walk_cache_hits++;
	else
		mmu->vm->stats.walk_cache_hits++;
}

static void host_fill(struct walk_cache *wc, const struct walk_req *req, const struct walk *w)
{
	if (w->status != WALK_OK)
		return;
	for (unsigned i = 1; i < w->ntables; i++)
		if (w->table[i].level < WC_LEVELS)
			wc_fill(wc, req->space, req->va, w->table[i].level,
				&(struct wc_value){ w->table[i].addr, table_page(w->table[i].addr), w->table[i].rights });
}

void host_walk(struct mmu *mmu, struct pt *pt, struct walk_cache *wc, const struct walk_req *req, struct walk *w)
{
	struct walk_req r = *req;
	bool cached = pt->org->hierarchical && wc->any && !mmu->by_software;

	if (cached)
		host_start(mmu, wc, &r);
	/* Tables that serve the whole machine know VMs by their gpa space. */
	pt->org->lookup(pt, &r, w);
	if (cached)
		host_fill(wc, req, w);
}

void host_walk_radix(struct mmu *mmu, const struct gpt_format *fmt, struct pt_mem *m, uint64_t root,
		     struct walk_cache *wc, const struct walk_req *req, struct walk *w)
{
	struct walk_req r = *req;

	if (wc->any)
		host_start(mmu, wc, &r);
	gpt_walk(fmt, m, root, &r, w);
	if (wc->any)
		host_fill(wc, req, w);
}

/* Is any frame of guest block [gfn, gfn + 2^order) tracked? */
static bool block_tracked(struct mmu *mmu, uint64_t gfn, unsigned order)
{
	const struct memslot *s = memslot_find(mmu->vm, GFN(gfn));

	if (!s)
		return true;
	if (order > ORDER_2M) {
		uint64_t first = align_down(gfn, BIT(order));

		for (uint64_t g = first; g < first + BIT(order); g += BIT(ORDER_1G)) {
			uint64_t i = (g >> ORDER_1G) - (s->base.v >> ORDER_1G);

			if (i >= s->ngigas || s->gigas[i].tracked_blocks)
				return true;
		}
		return false;
	}
	uint64_t i = (gfn >> ORDER_2M) - (s->base.v >> ORDER_2M);
	return i >= s->nblocks || s->blocks[i].tracked;
}

void make_entry(struct mmu *mmu, struct mmu_fault *f, uint64_t gfn, uint8_t guest_order, uint8_t guest_rights,
		uint64_t mfn, uint8_t host_order, uint8_t host_rights)
{
	uint8_t order = MIN(guest_order, host_order);
	uint64_t vpn = f->va >> PAGE_SHIFT;
	uint8_t rights = guest_rights & (host_rights | RIGHT_U | RIGHT_G);

	/* No D yet: the first store must come by and set it. */
	if (!(guest_rights & RIGHT_D))
		rights &= (uint8_t)~RIGHT_W;
	/* A superpage of the tables that no TLB code stands for is cached in smaller pieces. */
	while (order && !(mmu->cpu->tlb.orders & BIT(order)))
		order--;
	unsigned flags = rights & (RIGHT_RWX | RIGHT_U | RIGHT_G);

	/* Without CR0.WP a supervisor stores through an entry without W, which no TLB hit then allows. */
	if ((rights & RIGHT_W) || f->kind == ACC_WRITE) {
		/* Blocks are few and stand in a cache; most have no table in them. */
		bool slow = block_tracked(mmu, gfn, order) &&
			    (order || (machine_frame(mmu->vm->hv->m, MFN(mfn))->flags & FRAME_TRACKED));

		if (slow)
			flags |= TLB_SLOW_W;
	}
	bool global = (rights & RIGHT_G) && !f->space->bare;

	mmu->has_global |= global;
	f->entry = (struct tlb_entry){
		.vpn = align_down(vpn, BIT(order)),
		.space = global ? mmu->gspace : f->space->number,
		.vmid = mmu->vm->vmid,
		.order = order,
		.flags = (uint16_t)flags,
		.mfn = align_down(mfn, BIT(order)),
	};
}

void no_memory_there(const struct mmu *mmu, struct mmu_fault *f)
{
	const struct gpt_format *fmt = mmu->config.guest_fmt;
	struct walk_req req = { .kind = f->kind, .user = f->user, .ctl = f->ctl };

	f->why = WALK_WHY_BUS;
	f->error_code = walk_error_code(&req, WALK_WHY_BUS, false);
	if (f->kind == ACC_EXEC && fmt->exec)
		f->error_code |= PF_INSTR;
	else if (!fmt->no_exec && !(f->ctl & CTL_SMEP))
		f->error_code &= ~(uint32_t)PF_INSTR;
}

/* --check walk: the tables once more, by the hypervisor's own eyes and from the root. */
static void check_guest_walk(struct vcpu *v, const struct mmu_fault *f, uint64_t gfn)
{
	struct mmu_fault again = {
		.space = f->space, .va = f->va, .kind = f->kind, .user = f->user, .ctl = f->ctl,
	};

	guest_walk(&v->mmu->sw, &again, WALK_COLD);
	/*
	 * The walker's own A or D may have come to stand on a directory pointer
	 * of PAE, where it is reserved; the CPU had read the pointer before.
	 */
	if (again.walk.why == WALK_WHY_RESERVED && again.space->p.params.fmt->top_no_rights)
		return;
	BUG_ON(again.walk.status != WALK_OK);
	/* Gfns may share a frame: that they stand in one place is what counts. */
	if (again.walk.frame != gfn) {
		struct gfn_mapping other;

		BUG_ON(gfn_peek(v->mmu->vm, GFN(again.walk.frame), &other));
		BUG_ON(other.mfn.v != f->entry.mfn + ((f->va >> PAGE_SHIFT) - f->entry.vpn));
	}
	BUG_ON((f->entry.flags & RIGHT_W) && !(again.walk.rights & RIGHT_D));
	BUG_ON(f->entry.flags & (RIGHT_RWX | RIGHT_U) & ~again.walk.rights);
}

void check_entry(struct vcpu *v, const struct mmu_fault *f)
{
	struct vm *vm = v->mmu->vm;
	gfn_t gfn = gpa_to_gfn(f->gpa);
	struct gfn_mapping truth;
	uint64_t vpn = f->va >> PAGE_SHIFT;
	uint64_t mfn = f->entry.mfn + (vpn - f->entry.vpn);

	if (!f->from_truth) {
		BUG_ON(gfn_peek(vm, gfn, &truth));
		BUG_ON(truth.mfn.v != mfn);
		BUG_ON(f->entry.flags & RIGHT_RWX & ~truth.rights);
	}
	/*
	 * With stale entries allowed, a walk cache may rightly know an older table; a TLB
	 * that the guest fills holds what the guest likes.
	 */
	if (v->mmu->config.check == CHECK_WALK && v->mmu->config.visibility == VISIBLE_COHERENT && !f->space->bare &&
	    !v->mmu->config.tlb_software)
		check_guest_walk(v, f, gfn.v);
}
