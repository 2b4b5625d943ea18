/* SPDX-License-Identifier: MIT */
/*
 * The first door. A TLB hit with the right asked for ends here; all else goes
 * through the mode's walk and, if that finds nothing, its fault handler, until
 * the access is done, is the guest's own fault, or must be emulated.
 */
#include "mmu/access.h"
#include "mmu/privilege.h"
#include "mmu/quick.h"
#include "mmu/soft_tlb.h"

/* Retries that one access can need are a few (each page of each table once); more is a bug. */
enum { TRIES_MAX = 4096 };

static uint32_t ctl_of(const struct vcpu *v, enum segment seg)
{
	return seg == SEG_BARE ? CTL_DEFAULT : v->paging.ctl;
}

/* May an access use this TLB entry as it stands? W was withheld while D was clear. */
bool entry_allows_paged(const struct vcpu *v, uint64_t data, enum acc_kind kind)
{
	if (kind == ACC_WRITE && !(data & TLB_W))
		return false;
	return walk_check(tlb_data_flags(data) & (RIGHT_RWX | RIGHT_U), kind, v->user, v->paging.ctl,
			  is_riscv(v->paging.params.fmt)) == WALK_WHY_NONE;
}

static bool entry_allows(const struct vcpu *v, enum segment seg, uint64_t data, enum acc_kind kind)
{
	return seg == SEG_BARE ? data & BIT(kind) : entry_allows_paged(v, data, kind);
}

static void found(struct vcpu *v, uint64_t data, uint64_t va, struct xlat *x)
{
	x->hpa = HPA(tlb_data_frame(data, va >> PAGE_SHIFT) << PAGE_SHIFT | (va & PAGE_MASK));
	x->slow = data & TLB_SLOW_W;
	x->emulate = false;
}

static void count_walk(struct vcpu *v, enum segment seg, const struct mmu_fault *f, bool ok)
{
	struct vm_stats *s = &v->mmu->vm->stats;

	if (seg == SEG_BARE) {
		s->kernel_walks++;
		s->kernel_walk_refs += f->refs;
	} else if (ok) {
		s->walks++;
		s->walk_refs += f->refs;
		s->walk_depth += f->depth;
		hist_add(&s->walk_refs_hist, f->refs);
	} else {
		s->fault_walks++;
		s->fault_walk_refs += f->refs;
	}
}

static enum access_status inject(struct vcpu *v, const struct mmu_fault *f)
{
	v->fault = (struct guest_fault){ GVA(f->va), f->kind, f->why, f->error_code };
	v->mmu->vm->stats.true_faults++;
	v->kernel = true;
	return ACCESS_FAULT;
}

enum access_status give_up(struct vcpu *v, int err)
{
	if (err == -ENOMEM)
		return ACCESS_NOMEM;
	vm_crash(v->mmu->vm, err == -EACCES ? "the guest stored to read-only memory" :
					     "an access could not be served");
	return ACCESS_CRASH;
}

/* What the walk found goes into the TLB and is the answer. */
static void finish(struct vcpu *v, struct mmu_fault *f, struct xlat *x)
{
	struct tlb_entry *e = &f->entry;

	check_entry(v, f);
	if (f->cacheable)
		tlb_fill(&v->cpu->tlb, f->kind, e);
	found(v, tlb_data(e->mfn, e->vmid, e->order, e->flags), f->va, x);
}

void fault_init(struct mmu_fault *f, struct vcpu *v, enum segment seg, uint64_t va, enum acc_kind kind)
{
	if (unlikely(v->mmu->cpu->shaped_for != v->mmu))
		cpu_shape(v->mmu);
	f->space = seg == SEG_BARE ? &v->mmu->bare : v->space;
	f->va = va;
	f->kind = kind;
	f->user = seg == SEG_PAGED && v->user;
	f->ctl = ctl_of(v, seg);
}

static void succeed(struct vcpu *v, struct mmu_fault *f, struct xlat *x)
{
	if (unlikely(v->mmu->explain != NULL))
		explain_found(v, f);
	finish(v, f, x);
}

void walk_begin(struct mmu_fault *f, const struct guest_half *half)
{
	/* The walk's own part is written by the walk. */
	f->walk.ntables = 0;
	f->error_code = 0;
	f->why = WALK_WHY_NONE;
	f->violation = GPA(INVALID_FRAME);
	f->violation_kind = f->kind;
	f->gpa = GPA(INVALID_FRAME);
	f->cacheable = true;
	f->dropped = false;
	f->from_truth = false;
	f->refs = f->depth = 0;
	f->half = half;
}

/*
 * One walk, and what must be done about it. half: the guest's half of it, if
 * it was done before. True: the access is decided, *s and x say how. False:
 * something was mended or moved, walk again.
 */
static bool walk_once(struct vcpu *v, struct mmu_fault *f, enum segment seg, const struct guest_half *half,
		      struct xlat *x, enum access_status *s)
{
	struct mmu *mmu = v->mmu;
	struct cache_feed *caches = seg == SEG_PAGED ? mmu->cpu->caches : NULL;

	walk_begin(f, half);
	if (unlikely(caches != NULL))
		cache_feed_walk_begin(caches);
	enum walked w = mmu->ops->walk(v, f);

	if (unlikely(caches != NULL))
		cache_feed_walk_end(caches, &mmu->vm->stats);
	count_walk(v, seg, f, w == WALKED_OK);
	if (unlikely(mmu->explain != NULL))
		mmu->explain->walk_end(mmu->explain, w == WALKED_OK ? WALK_OK :
				       w == WALKED_HELP ? WALK_VIOLATION : WALK_FAULT);
	*s = ACCESS_OK;
	if (w == WALKED_OK) {
		succeed(v, f, x);
		return true;
	}
	int r = w == WALKED_INJECT ? reflect_fault(v) : mmu->ops->fault(v, f);

	world_switched(v);
	switch (r) {
	case MMU_FIXED:
	case MMU_RETRY:
		return false;
	case MMU_INJECT:
		*s = inject(v, f);
		return true;
	case MMU_ONCE:
		succeed(v, f, x);
		return true;
	case MMU_EMULATE:
		x->emulate = true;
		x->gpa = f->gpa;
		return true;
	default:
		*s = give_up(v, r);
		return true;
	}
}

static enum access_status walk_until_done(struct vcpu *v, enum segment seg, uint64_t va, enum acc_kind kind,
					  struct xlat *x)
{
	struct mmu_fault f;
	enum access_status s;

	fault_init(&f, v, seg, va, kind);
	for (int tries = 0; tries < TRIES_MAX; tries++)
		if (walk_once(v, &f, seg, NULL, x, &s))
			return s;
	BUG_ON("an access made no progress");
	return ACCESS_CRASH;
}

bool quick_long_way(struct vcpu *v, uint64_t gva, enum acc_kind kind, const struct guest_half *half,
		    enum access_status *s)
{
	struct mmu_fault f;
	struct xlat x;

	fault_init(&f, v, SEG_PAGED, gva, kind);
	return walk_once(v, &f, SEG_PAGED, half, &x, s);
}

struct guest_half quick_half(const struct vcpu *v, uint64_t gva, uint64_t pte, uint64_t refs)
{
	const struct gpt_format *fmt = v->space->p.params.fmt;

	return (struct guest_half){
		.gpa = GPA(gpt_frame(fmt, pte) << PAGE_SHIFT | (gva & PAGE_MASK)),
		.rights = gpt_rights(fmt, 0, pte) & (uint8_t)~RIGHT_G,
		.order = ORDER_4K,
		.refs = refs,
	};
}

static NOINLINE enum access_status xlate_miss(struct vcpu *v, enum segment seg, uint64_t va, enum acc_kind kind,
					      struct xlat *x)
{
	if (seg == SEG_PAGED && !v->space) {
		if (!v->paging.org) {
			vm_crash(v->mmu->vm, "the guest used an address space before it set one");
			return ACCESS_CRASH;
		}
		/* A change of scheme found no memory for it. */
		vcpu_reload(v);
		if (!v->space)
			return ACCESS_NOMEM;
	}
	if (unlikely(v->mmu->config.tlb_software) && seg == SEG_PAGED)
		return soft_tlb_miss(v, va, kind, x);
	return walk_until_done(v, seg, va, kind, x);
}

static enum access_status xlate_bare(struct vcpu *v, uint64_t va, enum acc_kind kind, struct xlat *x)
{
	struct mmu *mmu = v->mmu;
	struct tlb_counts *c = &v->cpu->tlb.counts;
	uint64_t misses = c->l2_misses;

	x->gpa = GPA(va);
	if (unlikely(!privileged(v)))
		return refuse_segment(v, va, kind);
	if (mmu->ops->bare_untranslated) {
		mmu->vm->stats.kernel_refs++;
		return xlate_miss(v, SEG_BARE, va, kind, x);
	}
	uint64_t data = tlb_lookup(&v->cpu->tlb, kind, mmu->bare.number, 0, va >> PAGE_SHIFT);

	mmu->vm->stats.kernel_refs++;
	mmu->vm->stats.kernel_tlb_misses += c->l2_misses - misses;
	if (data && entry_allows(v, SEG_BARE, data, kind)) {
		found(v, data, va, x);
		return ACCESS_OK;
	}
	return xlate_miss(v, SEG_BARE, va, kind, x);
}

enum access_status xlate(struct vcpu *v, enum segment seg, uint64_t va, enum acc_kind kind, struct xlat *x)
{
	if (v->mmu->vm->crashed)
		return ACCESS_CRASH;
	world_switched(v);
	if (seg == SEG_BARE)
		return xlate_bare(v, va, kind, x);
	return xlate_found(v, va, kind,
			   tlb_lookup(&v->cpu->tlb, kind, v->tag_space, v->tag_gspace, va >> PAGE_SHIFT), x);
}

enum access_status xlate_found(struct vcpu *v, uint64_t va, enum acc_kind kind, uint64_t data, struct xlat *x)
{
	if (data && entry_allows(v, SEG_PAGED, data, kind)) {
		found(v, data, va, x);
		return ACCESS_OK;
	}
	return xlate_miss(v, SEG_PAGED, va, kind, x);
}

void mmu_table_written(struct mmu *mmu, gpa_t gpa, uint64_t len, const void *old, bool emulated)
{
	track_written(mmu, gpa, len, old);
	if (mmu->ops->table_store)
		mmu->ops->table_store(mmu, gpa, len, emulated);
}

/* Which gfn of this VM does a writable machine frame back? It is one only: shared frames are not writable. */
static gpa_t gpa_of(const struct mmu *mmu, hpa_t hpa)
{
	const struct frame *f = machine_frame(mmu->vm->hv->m, hpa_to_mfn(hpa));
	struct rmap_iter it;

	for_each_rmap(f->owners, it)
		if (rmap_owner_vmid(it.name) == mmu->vm->vmid)
			return GPA(gfn_to_gpa(rmap_owner_gfn(it.name)).v | (hpa.v & PAGE_MASK));
	BUG_ON("a frame without an owner was written");
	return GPA(0);
}

/* Stores n bytes within a page, where someone may have read a translation. */
static void store_tracked(struct vcpu *v, gpa_t gpa, hpa_t hpa, const void *in, unsigned n, bool emulated)
{
	struct machine *m = v->mmu->vm->hv->m;
	uint8_t old[PAGE_SIZE];
	uint8_t *p = machine_ptr(m, hpa);

	memcpy(old, p, n);
	if (in)
		memcpy(p, in, n);
	else
		memset(p, 0, n);
	machine_frame(m, hpa_to_mfn(hpa))->flags |= FRAME_TOUCHED;
	mmu_table_written(v->mmu, gpa, n, old, emulated);
}

static enum access_status store_emulated(struct vcpu *v, gpa_t gpa, const void *in, unsigned n)
{
	struct gfn_mapping map;
	int err = gfn_fault(v->mmu->vm, gpa_to_gfn(gpa), true, &map);

	if (err)
		return give_up(v, err);
	v->mmu->vm->stats.pf_emulate++;
	store_tracked(v, gpa, HPA(mfn_to_hpa(map.mfn).v | (gpa.v & PAGE_MASK)), in, n, true);
	return ACCESS_OK;
}

/* in NULL: zeroes. n bytes within one page, x translated for writing. */
enum access_status store_piece(struct vcpu *v, enum segment seg, const struct xlat *x, const void *in, unsigned n)
{
	struct machine *m = v->mmu->vm->hv->m;

	if (x->emulate)
		return store_emulated(v, x->gpa, in, n);
	struct frame *f = machine_frame(m, hpa_to_mfn(x->hpa));

	if (unlikely(x->slow) && (f->flags & FRAME_TRACKED)) {
		store_tracked(v, seg == SEG_BARE ? x->gpa : gpa_of(v->mmu, x->hpa), x->hpa, in, n, false);
		return ACCESS_OK;
	}
	if (in)
		memcpy(machine_ptr(m, x->hpa), in, n);
	else
		memset(machine_ptr(m, x->hpa), 0, n);
	f->flags |= FRAME_TOUCHED;
	return ACCESS_OK;
}

static unsigned first_piece(uint64_t va, unsigned size)
{
	return (unsigned)MIN(size, PAGE_SIZE - (va & PAGE_MASK));
}

/* The piece at a gpa once more, by the per-gfn truth: no table is asked. */
static enum access_status locate(struct vcpu *v, enum acc_kind kind, gpa_t gpa, struct xlat *x)
{
	struct gfn_mapping map;

	x->gpa = gpa;
	x->emulate = kind == ACC_WRITE;
	if (x->emulate)
		return ACCESS_OK;
	int err = gfn_fault(v->mmu->vm, gpa_to_gfn(gpa), false, &map);

	x->hpa = HPA(mfn_to_hpa(map.mfn).v | (gpa.v & PAGE_MASK));
	return err ? give_up(v, err) : ACCESS_OK;
}

enum { MOVED_MAX = 4 };

/*
 * Both pages of a crossing access are translated before either is used, and
 * again if handling the second moved the first. (A store to be emulated
 * knows its gpa, which no handling moves: it exits once.) Where each page's
 * tables drive out the other's, the first is at last done by its gpa.
 */
static enum access_status xlate_both(struct vcpu *v, enum segment seg, uint64_t va, unsigned size,
				     enum acc_kind kind, struct xlat x[2])
{
	unsigned n = first_piece(va, size);

	for (unsigned tries = 0;; tries++) {
		enum access_status s = xlate(v, seg, va, kind, &x[0]);
		uint64_t seq = v->mmu->vm->mmu_seq;

		if (s || n == size)
			return s;
		bool by_gpa = tries == MOVED_MAX && !x[0].emulate;
		gpa_t gpa = by_gpa && seg != SEG_BARE ? gpa_of(v->mmu, x[0].hpa) : x[0].gpa;

		s = xlate(v, seg, va + n, kind, &x[1]);
		if (s || seq == v->mmu->vm->mmu_seq || x[0].emulate)
			return s;
		if (by_gpa)
			return locate(v, kind, gpa, &x[0]);
	}
}

enum access_status vcpu_load(struct vcpu *v, enum segment seg, uint64_t addr, unsigned size, uint64_t *out)
{
	struct xlat x[2];
	unsigned n = first_piece(addr, size);
	enum access_status s = xlate_both(v, seg, addr, size, ACC_READ, x);

	if (s)
		return s;
	*out = 0;
	memcpy(out, machine_ptr(v->mmu->vm->hv->m, x[0].hpa), n);
	if (n < size)
		memcpy((uint8_t *)out + n, machine_ptr(v->mmu->vm->hv->m, x[1].hpa), size - n);
	return ACCESS_OK;
}

enum access_status vcpu_store(struct vcpu *v, enum segment seg, uint64_t addr, unsigned size, uint64_t value)
{
	struct xlat x[2];
	unsigned n = first_piece(addr, size);
	enum access_status s = xlate_both(v, seg, addr, size, ACC_WRITE, x);

	if (s)
		return s;
	s = store_piece(v, seg, &x[0], &value, n);
	if (s || n == size)
		return s;
	/* As it was translated before the first piece, which may itself lie in a table, changed anything. */
	return store_piece(v, seg, &x[1], (uint8_t *)&value + n, size - n);
}

enum access_status vcpu_cas(struct vcpu *v, enum segment seg, uint64_t addr, unsigned size,
			    uint64_t expect, uint64_t value, bool *swapped)
{
	struct machine *m = v->mmu->vm->hv->m;
	struct xlat x;
	uint64_t old = 0;
	enum access_status s = xlate(v, seg, addr, ACC_WRITE, &x);

	if (s)
		return s;
	if (x.emulate) {
		struct gfn_mapping map;
		int err = gfn_fault(v->mmu->vm, gpa_to_gfn(x.gpa), true, &map);

		if (err)
			return give_up(v, err);
		memcpy(&old, machine_ptr(m, mfn_to_hpa(map.mfn)) + (x.gpa.v & PAGE_MASK), size);
	} else {
		memcpy(&old, machine_ptr(m, x.hpa), size);
	}
	*swapped = old == expect;
	return *swapped ? store_piece(v, seg, &x, &value, size) : ACCESS_OK;
}

enum access_status vcpu_fill_zero(struct vcpu *v, enum segment seg, uint64_t addr, unsigned len)
{
	struct xlat x;
	enum access_status s = xlate(v, seg, addr, ACC_WRITE, &x);

	return s ? s : store_piece(v, seg, &x, NULL, len);
}

enum access_status vcpu_copy(struct vcpu *v, enum segment seg, uint64_t dst, uint64_t src, unsigned len)
{
	uint8_t buf[PAGE_SIZE];
	struct xlat x;
	enum access_status s = xlate(v, seg, src, ACC_READ, &x);

	if (s)
		return s;
	memcpy(buf, machine_ptr(v->mmu->vm->hv->m, x.hpa), len);
	s = xlate(v, seg, dst, ACC_WRITE, &x);
	return s ? s : store_piece(v, seg, &x, buf, len);
}

enum access_status vcpu_touch(struct vcpu *v, enum segment seg, uint64_t addr, enum acc_kind kind, hpa_t *hpa)
{
	struct xlat x;
	enum access_status s = xlate(v, seg, addr, kind, &x);

	if (!s && hpa)
		*hpa = x.emulate ? HPA(INVALID_FRAME) : x.hpa;
	return s;
}
