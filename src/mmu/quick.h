/* SPDX-License-Identifier: MIT */
/*
 * The short way of a TLB miss: a 4 KiB page of the guest's, by tables of eight-byte
 * entries that hold nothing unusual: native, nested on a radix p2m, or a radix shadow table.
 *
 *   look     finds all that the long way (access.c, walk.c, the mode) would find,
 *            and changes nothing
 *   settle   does to TLBs, walk caches and counters what it would have done
 *
 * Whatever is unusual (a fault, A or D to set, a pointer with less than all
 * rights, a superpage of the guest's, a table that nobody tracks yet, a frame
 * that may not be written) ends the look, and the long way begins anew. In two
 * dimensions the guest's half is settled before the second half is looked
 * at; then the long way goes on from there. So which way is taken shows in
 * nothing but time (tests/guestos/quick.c).
 *
 * Inlined into run.c and run_wide.c. What does not change during a run of
 * references is worked out once for it (quick_prepare).
 */
#ifndef QUIRE_MMU_QUICK_H
#define QUIRE_MMU_QUICK_H

#include "mmu/shadow.h"
#include "tlb/hot.h"
#include "vm/slot.h"

enum { QUICK_KINDS = 2, QUICK_KNOWN = 8, QUICK_FIRST_LEVELS = 2, QUICK_ALL = RIGHT_RWX | RIGHT_U };
static_assert(ACC_READ == 0 && ACC_WRITE == 1, "kinds of data accesses index arrays");

/*
 * What the code is compiled for. QUICK_FIT_X64: tables of 512 entries above
 * 4 KiB pages in the levels where short walks begin (0 and 1), as x86-64's and
 * sv39's to sv57's; their walk caches, and the nested TLB, of four ways.
 */
enum quick_fit { QUICK_FIT_ANY, QUICK_FIT_X64 };

/* One dimension's tables. An entry is usual if (entry & mask) == want. */
struct quick_dim {
	struct { uint64_t mask, want; } table[GPT_LEVELS_MAX], leaf[QUICK_KINDS][GPT_LEVELS_MAX];
	uint64_t pfn_mask;
	uint64_t write;          /* all of these set: the leaf allows W */
	uint64_t exec_mask, exec_want;
	uint32_t index[GPT_LEVELS_MAX]; /* mask of a level's index */
	uint8_t shift[GPT_LEVELS_MAX];
	uint8_t pfn_shift, top;
	uint8_t cached;          /* bit k: the walk cache of level k is in use */
	uint8_t va_bits;         /* an address of more is not this format's */
	bool usable;
};

/* Tables found before, for looking ahead: a guess. */
struct quick_known {
	uint64_t key[QUICK_KNOWN]; /* 1 + address above the reach of a level-1 table */
	const uint64_t *at[QUICK_KNOWN];
};

struct quick {
	enum quick_kind open; /* QUICK_NONE: every miss goes the long way */
	bool prepared, sign_extended;
	bool host_by_gva; /* .host is a shadow table */
	struct quick_dim guest, host;
	enum quick_fit fit;
	struct mmu *mmu;
	struct vm *vm;
	struct mmu_cpu *cpu;
	uint8_t *ram;            /* machine address 0 */
	const uint8_t *direct;   /* QUICK_DIRECT: guest-physical address 0 */
	uint64_t direct_pages;
	uint32_t space;
	uint64_t host_root;      /* hpa of the p2m's or the shadow table's root */
	uint64_t guest_hits[QUICK_FIRST_LEVELS];  /* short ways settled, by the level of the guest's walk cache: counted at the end */
	struct quick_known guest_known, host_known;
};

void quick_prepare(struct quick *q, struct vcpu *v);
/* At the end of a run: brings the counters up to date. */
void quick_finish(struct quick *q);
/* For gva's level-1 table, which is not among the known. */
const uint64_t *quick_find_guest(struct quick *q, const struct vcpu *v, uint64_t gva);
const uint64_t *quick_find_host(struct quick *q, uint64_t va);
/*
 * The long way, once: a walk and what must be done about it. half: what is
 * known of the guest's half; NULL: nothing. True: done, *s says how it ended.
 * False: something was mended, walk again (whichever way).
 */
bool quick_long_way(struct vcpu *v, uint64_t gva, enum acc_kind kind, const struct guest_half *half,
		    enum access_status *s);
/* The guest's half, of its usual leaf entry and the references so far. */
struct guest_half quick_half(const struct vcpu *v, uint64_t gva, uint64_t pte, uint64_t refs);

static ALWAYS_INLINE uint64_t quick_frame(const struct quick_dim *d, uint64_t pte)
{
	return (pte & d->pfn_mask) >> d->pfn_shift;
}

static ALWAYS_INLINE unsigned quick_shift(const struct quick_dim *d, unsigned level, const enum quick_fit fit)
{
	return fit == QUICK_FIT_X64 && level < 3 ? PAGE_SHIFT + 9 * level : d->shift[level];
}

static ALWAYS_INLINE unsigned quick_index(const struct quick_dim *d, unsigned level, uint64_t va,
					  const enum quick_fit fit)
{
	return (va >> quick_shift(d, level, fit)) & (fit == QUICK_FIT_X64 && level < 2 ? 511 : d->index[level]);
}

static ALWAYS_INLINE uint64_t quick_entry(const uint8_t *table, const struct quick_dim *d, unsigned level, uint64_t va,
					  const enum quick_fit fit)
{
	return ((const uint64_t *)(const void *)table)[quick_index(d, level, va, fit)];
}

static ALWAYS_INLINE bool quick_is_table(const struct quick_dim *d, unsigned level, uint64_t pte)
{
	return (pte & d->table[level].mask) == d->table[level].want;
}

static ALWAYS_INLINE bool quick_is_leaf(const struct quick_dim *d, unsigned kind, unsigned level, uint64_t pte)
{
	return (pte & d->leaf[kind][level].mask) == d->leaf[kind][level].want;
}

/* Of a usual leaf: R is sure. */
static ALWAYS_INLINE unsigned quick_rights(const struct quick_dim *d, uint64_t pte)
{
	return RIGHT_R | ((pte & d->write) == d->write ? RIGHT_W : 0) |
	       ((pte & d->exec_mask) == d->exec_want ? RIGHT_X : 0);
}

/* ---- walk caches: their order stands in words (quick_prepare sees to it) ---- */

struct quick_hit {
	unsigned level, way;
	size_t base;
};

static ALWAYS_INLINE struct array_shape quick_shape(const struct tlb_array *a, const enum quick_fit fit)
{
	return (struct array_shape){ .ways = fit == QUICK_FIT_X64 ? 4 : a->ways, .policy = TLB_LRU,
				     .order = TLB_ORDER_WORD };
}

/* Of a walk cache of tables at this level. */
static ALWAYS_INLINE enum quick_fit quick_wc_fit(unsigned level, const enum quick_fit fit)
{
	return level < QUICK_FIRST_LEVELS ? fit : QUICK_FIT_ANY;
}

static ALWAYS_INLINE uint64_t quick_wc_tag(const struct walk_cache *wc, unsigned level, uint32_t space, uint64_t va,
					   const enum quick_fit fit)
{
	unsigned shift = quick_wc_fit(level, fit) == QUICK_FIT_X64 ? PAGE_SHIFT + 9 * (level + 1) : wc->shift[level];

	return tlb_tag(space, 0, va >> shift, 0);
}

/* In the cache of one level. */
static ALWAYS_INLINE bool quick_wc_find_at(const struct walk_cache *wc, unsigned level, uint32_t space, uint64_t va,
					   const enum quick_fit fit, struct quick_hit *hit)
{
	const struct tlb_array *a = &wc->level[level];
	struct array_shape s = quick_shape(a, quick_wc_fit(level, fit));
	uint64_t tag = quick_wc_tag(wc, level, space, va, fit);
	size_t base = array_base(a, s, tag);
	int way = array_find(a, s, base, tag);

	*hit = (struct quick_hit){ level, (unsigned)way, base };
	return way >= 0;
}

static ALWAYS_INLINE const struct wc_value *quick_wc_value(const struct walk_cache *wc, const struct quick_hit *hit)
{
	return &wc->val[hit->level][wc->level[hit->level].data[hit->base + hit->way]];
}

static ALWAYS_INLINE void quick_wc_touch(struct walk_cache *wc, uint32_t space, uint64_t va, const enum quick_fit fit,
					 const struct quick_hit *hit)
{
	struct tlb_array *a = &wc->level[hit->level];

	array_touch(a, quick_shape(a, quick_wc_fit(hit->level, fit)), hit->base,
		    quick_wc_tag(wc, hit->level, space, va, fit), hit->way);
}

/* A key known not to be there. */
static ALWAYS_INLINE void quick_wc_fill(struct walk_cache *wc, unsigned level, uint32_t space, uint64_t va,
					const enum quick_fit fit, uint64_t table, uint64_t mfn)
{
	struct tlb_array *a = &wc->level[level];
	uint64_t displaced;
	size_t slot = array_take(a, quick_shape(a, quick_wc_fit(level, fit)), quick_wc_tag(wc, level, space, va, fit),
				 &wc->rng, &displaced);

	wc->counts.fills++;
	wc->val[level][a->data[slot]] = (struct wc_value){ table, mfn, QUICK_ALL };
}

/* ---- the second stage ---- */

struct quick_second {
	uint64_t mfn;             /* of the gpa's own frame */
	uint64_t tag;             /* nested TLB hit: the tag */
	uint64_t table[GPT_LEVELS_MAX]; /* that the walk went through, by level */
	struct quick_hit hit;     /* in the nested TLB, or in a walk cache */
	uint8_t from, leaf;       /* levels of the first table and of the leaf */
	uint8_t rights, order;
	bool in_tlb, in_cache;
};

static ALWAYS_INLINE bool quick_nested_find(const struct quick *q, uint64_t gfn, const enum quick_fit fit,
					    struct quick_second *s)
{
	const struct tlb_array *a = &q->cpu->nested;
	const struct tlb *t = &q->cpu->tlb;

	for (unsigned code = 0, codes = q->cpu->nested_codes; codes >> code; code++) {
		uint64_t tag = tlb_tag(q->mmu->gpa_space, code, gfn, t->order_of_code[code]);
		size_t base = array_base(a, quick_shape(a, fit), tag);
		int way = codes >> code & 1 ? array_find(a, quick_shape(a, fit), base, tag) : -1;

		if (way < 0)
			continue;
		uint64_t data = a->data[base + (unsigned)way];

		s->tag = tag;
		s->hit = (struct quick_hit){ 0, (unsigned)way, base };
		s->mfn = tlb_data_frame(data, gfn);
		s->rights = tlb_data_flags(data) & RIGHT_RWX;
		return true;
	}
	return false;
}

static ALWAYS_INLINE bool quick_host_find(const struct quick *q, uint64_t gpa, const enum quick_fit fit,
					  struct quick_hit *hit)
{
	for (unsigned k = 0; k < WC_LEVELS; k++)
		if ((q->host.cached >> k & 1) &&
		    quick_wc_find_at(&q->cpu->host_wc, k, q->mmu->gpa_space, gpa, fit, hit))
			return true;
	return false;
}

/* False: something is unusual. */
static ALWAYS_INLINE bool quick_second_look(const struct quick *q, uint64_t gfn, unsigned kind,
					    const enum quick_fit fit, struct quick_second *s)
{
	const struct quick_dim *d = &q->host;
	uint64_t gpa = gfn << PAGE_SHIFT, table = q->mmu->p2m->root, pte;
	unsigned level = d->top;

	s->hit = (struct quick_hit){ 0, 0, 0 };
	s->tag = 0;
	s->from = s->leaf = s->order = 0;
	s->in_cache = false;
	s->in_tlb = quick_nested_find(q, gfn, fit, s);
	if (s->in_tlb)
		return s->rights & (1u << kind);
	if (gpa >> d->va_bits)
		return false;
	s->in_cache = quick_host_find(q, gpa, fit, &s->hit);
	if (s->in_cache) {
		const struct wc_value *v = quick_wc_value(&q->cpu->host_wc, &s->hit);

		if (v->rights != QUICK_ALL)
			return false;
		level = s->hit.level;
		table = v->table;
	}
	s->from = (uint8_t)level;
	for (;; level--) {
		s->table[level] = table;
		pte = quick_entry(q->ram + table, d, level, gpa, QUICK_FIT_ANY);
		if (!level || !quick_is_table(d, level, pte))
			break;
		table = quick_frame(d, pte) << PAGE_SHIFT;
	}
	if (!quick_is_leaf(d, kind, level, pte))
		return false;
	s->leaf = (uint8_t)level;
	s->order = (uint8_t)(d->shift[level] - PAGE_SHIFT);
	s->mfn = quick_frame(d, pte) | (gfn & low_bits(s->order));
	s->rights = (uint8_t)quick_rights(d, pte);
	return true;
}

/* Returns the references it took. */
static ALWAYS_INLINE unsigned quick_second_settle(struct quick *q, uint64_t gfn, const enum quick_fit fit,
						  const struct quick_second *s)
{
	struct mmu_cpu *cpu = q->cpu;
	struct walk_cache *wc = &cpu->host_wc;
	struct vm_stats *stats = &q->mmu->vm->stats;
	struct tlb_array *a = &cpu->nested;
	uint32_t space = q->mmu->gpa_space;
	uint64_t displaced;

	if (s->in_tlb) {
		stats->nested_tlb_hits++;
		array_touch(a, quick_shape(a, fit), s->hit.base, s->tag, s->hit.way);
		return 0;
	}
	unsigned refs = s->from - s->leaf + 1u;
	struct pt_mem_counts *c = &q->mmu->p2m->mem->counts;

	stats->nested_tlb_misses++;
	wc->counts.lookups++;
	if (s->in_cache) {
		stats->host_walk_cache_hits++;
		wc->counts.hits[s->hit.level]++;
		quick_wc_touch(wc, space, gfn << PAGE_SHIFT, fit, &s->hit);
	}
	c->refs += refs;
	c->depth += refs;
	for (unsigned level = s->leaf; level < s->from; level++)
		if (q->host.cached >> level & 1)
			quick_wc_fill(wc, level, space, gfn << PAGE_SHIFT, fit, s->table[level],
				      s->table[level] >> PAGE_SHIFT);

	unsigned code = nested_tlb_code(cpu, s->order), order = cpu->tlb.order_of_code[code];
	uint64_t tag = tlb_tag(space, code, gfn, order);
	size_t slot = array_take(a, quick_shape(a, fit), tag, &cpu->rng, &displaced);

	cpu->nested_codes |= (uint8_t)BIT(code);
	a->data[slot] = tlb_data(s->mfn - (gfn & low_bits(order)), q->mmu->vm->vmid, order, s->rights);
	return refs;
}

/* ---- the per-gfn truth ---- */

/* Where gfn stands, if it may be read and written without further ado. */
static ALWAYS_INLINE bool quick_truth(const struct quick *q, uint64_t gfn, uint64_t *mfn, bool *tracked)
{
	struct vm *vm = q->vm;
	const struct memslot *s = slot_find(vm, GFN(gfn));
	unsigned flags;
	mfn_t at;

	if (!s || (s->flags & SLOT_READONLY) || vm->dirty_logging || !slot_where(s, GFN(gfn), &at, &flags))
		return false;
	*mfn = at.v;
	*tracked = slot_block(s, GFN(gfn))->tracked && (machine_frame(vm->hv->m, at)->flags & FRAME_TRACKED);
	return !(flags & (GFN_COW | GFN_WPROT));
}

/* ---- the whole ---- */

static ALWAYS_INLINE void quick_fill(struct quick *q, unsigned kind, uint64_t tag, uint64_t mfn, unsigned rights,
				     bool tracked)
{
	unsigned slow = tracked && (kind == ACC_WRITE || (rights & RIGHT_W)) ? TLB_SLOW_W : 0;
	uint64_t data = tlb_data(mfn, q->vm->vmid, 0, rights | RIGHT_U | slow);

	if (unlikely(tlb_common_fill(&q->cpu->tlb, tag, data)))
		tlb_follow_instr(&q->cpu->tlb, tag, data);
}

/*
 * Is gva one that the guest's format can say? Where the walk caches' keys hold
 * all bits of an address, being found there says so.
 */
static ALWAYS_INLINE bool quick_va_ok(const struct quick *q, uint64_t gva, const enum quick_fit fit)
{
	unsigned unused = 64u - q->guest.va_bits;

	if (fit == QUICK_FIT_X64)
		return true;
	return (q->sign_extended ? (uint64_t)((int64_t)(gva << unused) >> unused) : gva << unused >> unused) == gva;
}

/* The table of a level-1 entry's is among those noted of late, for this space and place. */
static ALWAYS_INLINE bool quick_is_tracked(const struct quick *q, uint64_t table, uint64_t gva,
					   const enum quick_fit fit)
{
	return track_is_recent(track_recent_slot(q->mmu, table), table,
			       align_down(gva, BIT(quick_shift(&q->guest, 1, fit))), q->space);
}

/* The guest's walk cache of tables at this level has gva's. */
static ALWAYS_INLINE bool quick_guest_find(const struct quick *q, uint64_t gva, const unsigned level,
					   const enum quick_fit fit, struct quick_hit *hit)
{
	return (fit == QUICK_FIT_X64 || (q->guest.cached >> level & 1)) &&
	       quick_wc_find_at(&q->cpu->guest_wc, level, q->space, gva, fit, hit);
}

static ALWAYS_INLINE void quick_settle_guest(struct quick *q, uint64_t gva, const struct quick_hit *hit,
					     const enum quick_fit fit, uint64_t table, uint64_t mfn)
{
	struct walk_cache *wc = &q->cpu->guest_wc;

	q->guest_hits[hit->level]++;
	quick_wc_touch(wc, q->space, gva, fit, hit);
	if (hit->level && (fit == QUICK_FIT_X64 || (q->guest.cached & 1)))
		quick_wc_fill(wc, 0, q->space, gva, fit, table, mfn);
}

/* ---- one dimension: the guest's table at gpa + constant, or a shadow table ---- */

/* The guest's leaf table that a shadow page was made from is watched. */
static ALWAYS_INLINE bool quick_shadow_is_tracked(const struct quick *q, uint64_t table, uint64_t gva,
						  const enum quick_fit fit)
{
	const struct frame *f = machine_frame(q->vm->hv->m, MFN(table >> PAGE_SHIFT));
	const struct shadow_page *sp = (const struct shadow_page *)(uintptr_t)f->priv;

	return sp->role.kind == SP_DIRECT ||
	       (sp->role.kind == SP_PLACED && !sp->role.guest_level && quick_is_tracked(q, sp->guest_table, gva, fit));
}

/* The gfn behind a frame that has no other owner. */
static ALWAYS_INLINE bool quick_owner(const struct quick *q, uint64_t mfn, uint64_t *gfn)
{
	const struct frame *f = machine_frame(q->vm->hv->m, MFN(mfn));
	struct rmap_iter it;

	if (f->refs != 1 || !rmap_first(f->owners, &it) || rmap_owner_vmid(it.name) != q->vm->vmid)
		return false;
	*gfn = rmap_owner_gfn(it.name).v;
	return true;
}

/* From what the walk cache knows. */
static ALWAYS_INLINE bool quick_one_from(struct quick *q, uint64_t gva, unsigned kind, uint64_t tag,
					 const enum quick_fit fit, const enum quick_kind open,
					 const struct quick_hit *hit)
{
	const bool shadow = open == QUICK_SHADOW;
	const struct quick_dim *d = shadow ? &q->host : &q->guest;
	const struct wc_value *v = quick_wc_value(&q->cpu->guest_wc, hit);
	const uint8_t *tables = shadow ? q->ram : q->direct;
	uint64_t pte, frame, gfn, mfn, table = v->table;
	bool tracked;

	if (v->rights != QUICK_ALL || (!shadow && table >> PAGE_SHIFT >= q->direct_pages))
		return false;
	if (hit->level) {
		pte = quick_entry(tables + table, d, 1, gva, fit);
		frame = quick_frame(d, pte);
		table = frame << PAGE_SHIFT;
		if (!quick_is_table(d, 1, pte) || (!shadow && frame >= q->direct_pages) ||
		    !(shadow ? quick_shadow_is_tracked(q, table, gva, fit) : quick_is_tracked(q, table, gva, fit)))
			return false;
	}
	pte = quick_entry(tables + table, d, 0, gva, fit);
	gfn = frame = quick_frame(d, pte);
	if (!quick_is_leaf(d, kind, 0, pte) || (shadow ? !quick_owner(q, frame, &gfn) : frame >= q->direct_pages) ||
	    !quick_truth(q, gfn, &mfn, &tracked) || (shadow && mfn != frame))
		return false;
	quick_settle_guest(q, gva, hit, fit, table, shadow ? table >> PAGE_SHIFT : INVALID_FRAME);
	quick_fill(q, kind, tag, mfn, quick_rights(d, pte), tracked);
	return true;
}

static ALWAYS_INLINE bool quick_one(struct quick *q, uint64_t gva, unsigned kind, uint64_t tag,
				    const enum quick_fit fit, const enum quick_kind open)
{
	struct quick_hit hit;

	if (!quick_va_ok(q, gva, fit))
		return false;
	/* Two calls, as each is compiled for its level. */
	if (quick_guest_find(q, gva, 0, fit, &hit))
		return quick_one_from(q, gva, kind, tag, fit, open, &hit);
	return quick_guest_find(q, gva, 1, fit, &hit) && quick_one_from(q, gva, kind, tag, fit, open, &hit);
}

/* ---- two ---- */

enum quick_end { QUICK_DONE, QUICK_NOT, QUICK_HALF };

/* In two; QUICK_HALF: *leaf and *refs are the guest's half. */
static ALWAYS_INLINE enum quick_end quick_two(struct quick *q, uint64_t gva, unsigned kind, uint64_t tag,
					      const enum quick_fit fit, uint64_t *leaf, unsigned *refs)
{
	const struct quick_dim *d = &q->guest;
	struct vm_stats *stats = &q->vm->stats;
	struct quick_second s;
	struct quick_hit hit;
	uint64_t pte, gfn, truth;
	bool tracked;

	if (!quick_va_ok(q, gva, fit) ||
	    (!quick_guest_find(q, gva, 0, fit, &hit) && !quick_guest_find(q, gva, 1, fit, &hit)))
		return QUICK_NOT;
	const struct wc_value *v = quick_wc_value(&q->cpu->guest_wc, &hit);
	uint64_t table = v->table, mfn = v->mfn;

	if (v->rights != QUICK_ALL || mfn == INVALID_FRAME)
		return QUICK_NOT;
	*refs = hit.level + 1;
	if (hit.level) {
		pte = quick_entry(q->ram + (mfn << PAGE_SHIFT), d, 1, gva, fit);
		gfn = quick_frame(d, pte);
		/* A table that leads to itself stands where the walk cache said, without a second stage. */
		if (!quick_is_table(d, 1, pte) || gfn == table >> PAGE_SHIFT)
			return QUICK_NOT;
		table = gfn << PAGE_SHIFT;
		if (!quick_is_tracked(q, table, gva, fit) || !quick_second_look(q, gfn, ACC_READ, fit, &s))
			return QUICK_NOT;
		mfn = s.mfn;
		pte = quick_entry(q->ram + (mfn << PAGE_SHIFT), d, 0, gva, fit);
		if (!quick_is_leaf(d, kind, 0, pte))
			return QUICK_NOT;
		*refs += quick_second_settle(q, gfn, fit, &s);
	} else {
		pte = quick_entry(q->ram + (mfn << PAGE_SHIFT), d, 0, gva, fit);
		if (!quick_is_leaf(d, kind, 0, pte))
			return QUICK_NOT;
	}
	quick_settle_guest(q, gva, &hit, fit, table, mfn);
	*leaf = pte;
	gfn = quick_frame(d, pte);
	if (!quick_second_look(q, gfn, kind, fit, &s) || !quick_truth(q, gfn, &truth, &tracked) || truth != s.mfn)
		return QUICK_HALF;
	*refs += quick_second_settle(q, gfn, fit, &s);
	stats->walks++;
	stats->walk_refs += *refs;
	stats->walk_depth += *refs;
	hist_add(&stats->walk_refs_hist, *refs);
	quick_fill(q, kind, tag, s.mfn, quick_rights(d, pte) & s.rights, tracked);
	return QUICK_DONE;
}

#endif
