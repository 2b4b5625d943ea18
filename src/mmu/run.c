/* SPDX-License-Identifier: MIT */
/* Runs of references: the loop's slow ways, real bytes, and the counters. */
#include "mmu/privilege.h"
#include "mmu/run_loop.h"

enum { NEED_IMPOSSIBLE = TLB_FLAGS & ~(TLB_R | TLB_W | TLB_X | TLB_U | TLB_G | TLB_SLOW_W) };

static void run_init(struct run *r, struct vcpu *v)
{
	/*
	 * User accesses need U besides their right. Supervisor ones are bound
	 * by control bits: they leave the fast path.
	 */
	uint64_t user = v->user ? TLB_U : NEED_IMPOSSIBLE;

	r->v = v;
	r->need[ACC_READ] = TLB_R | user;
	r->need[ACC_WRITE] = TLB_W | user;
	r->need[ACC_EXEC] = TLB_X | user;
	r->need[REF_EVENT] = NEED_IMPOSSIBLE;
	r->tag_space = (uint64_t)v->tag_space << 48;
	memset(r->ahead, 0, sizeof(r->ahead));
	r->quick.prepared = false;
}

/* What a store writes: derived from its place in the work, so that every scheme stores the same. */
static uint64_t store_value(const struct work_state *w, uint64_t position)
{
	return hash_2u64(w->id, position);
}

static uint64_t fold_value(uint64_t values, uint64_t value)
{
	return ((values << 5) | (values >> 59)) * UINT64_C(0x9e3779b97f4a7c15) + value;
}

/* Translates the page of a reference and, where it crosses, the one after it. */
static enum access_status both_pages(struct vcpu *v, ref_t ref, struct xlat x[2])
{
	enum access_status s = xlate(v, SEG_PAGED, ref_gva(ref), ref_kind(ref), &x[0]);

	if (s || !(ref & REF_SPECIAL))
		return s;
	return xlate(v, SEG_PAGED, ref_gva(ref) + ref_size(ref) - 1, ref_kind(ref), &x[1]);
}

/*
 * The real bytes of one reference, in pieces where it crosses a page or is
 * wider than a word. Both its pages are translated before any byte moves, so
 * that one that faults has done nothing and can be done anew. What is fetched
 * is code: it is not among the values a program sees.
 */
static enum access_status move_bytes(struct vcpu *v, ref_t ref, uint64_t position, struct xlat pages[2])
{
	uint64_t gva = ref_gva(ref), values = v->work->values;
	unsigned size = ref_size(ref), done = 0;
	struct xlat x;
	enum access_status s = both_pages(v, ref, pages);

	while (!s && done < size && ref_kind(ref) != ACC_EXEC) {
		unsigned n = (unsigned)MIN(MIN(size - done, 8u), PAGE_SIZE - ((gva + done) & PAGE_MASK));
		uint64_t value = store_value(v->work, position + ((uint64_t)done << 56));

		s = xlate(v, SEG_PAGED, gva + done, ref_kind(ref), &x);
		if (s)
			break;
		if (ref_kind(ref) == ACC_WRITE) {
			s = store_piece(v, SEG_PAGED, &x, &value, n);
		} else {
			value = 0;
			memcpy(&value, machine_ptr(v->mmu->vm->hv->m, x.hpa), n);
			values = fold_value(values, value);
		}
		done += n;
	}
	if (!s)
		v->work->values = values;
	return s;
}

NOINLINE enum access_status run_slow(struct run *r, ref_t ref, uint64_t hot)
{
	struct vcpu *v = r->v;
	uint64_t gva = ref_gva(ref), data = hot;
	enum acc_kind kind = ref_kind(ref);
	struct xlat x;

	if (!hot)
		data = tlb_lookup_rest(&v->cpu->tlb, kind, v->tag_space, v->tag_gspace, gva >> PAGE_SHIFT);
	if (data && (data & r->need[kind]) == r->need[kind])
		return ACCESS_OK;
	return xlate_found(v, gva, kind, data, &x);
}

enum access_status run_whole(struct vcpu *v, ref_t ref)
{
	struct xlat x[2];

	return both_pages(v, ref, x);
}

static NOINLINE enum access_status run_way0(struct run *r, const ref_t *refs, size_t n, size_t *done)
{
	return run_hot(r, refs, n, done, HOT_WAY0);
}

static NOINLINE enum access_status run_4ways(struct run *r, const ref_t *refs, size_t n, size_t *done)
{
	return run_hot(r, refs, n, done, HOT_4WAYS);
}

/* A store that is to be emulated goes to where the per-gfn truth says. */
static hpa_t place_of(struct vcpu *v, const struct xlat *x)
{
	struct gfn_mapping map;

	if (!x->emulate)
		return x->hpa;
	BUG_ON(gfn_peek(v->mmu->vm, gpa_to_gfn(x->gpa), &map));
	return HPA(mfn_to_hpa(map.mfn).v | (x->gpa.v & PAGE_MASK));
}

/* The lines of a reference, found at x, pass through the data caches. */
static void show_caches(struct vcpu *v, ref_t ref, const struct xlat x[2])
{
	unsigned size = ref_size(ref), first = (unsigned)MIN(size, PAGE_SIZE - (ref_gva(ref) & PAGE_MASK));
	struct vm_stats *s = &v->mmu->vm->stats;

	if (ref_kind(ref) == ACC_EXEC)
		return;
	s->cache_refs++;
	cache_feed_data(v->cpu->caches, s, place_of(v, &x[0]), first);
	if (first < size) {
		/* x[1] is of the last byte. */
		hpa_t last = place_of(v, &x[1]);

		cache_feed_data(v->cpu->caches, s, HPA(last.v & ~PAGE_MASK), size - first);
	}
}

/* Without a fast path: policies that must hear of every hit, real bytes, data caches. */
static enum access_status run_each(struct run *r, const ref_t *refs, size_t n, size_t *done)
{
	struct vcpu *v = r->v;
	struct xlat x[2];
	size_t i = 0;
	enum access_status s = ACCESS_OK;

	for (; i < n && !ref_is_event(refs[i]); i++) {
		s = v->data ? move_bytes(v, refs[i], v->work->position + i, x) : both_pages(v, refs[i], x);
		if (s)
			break;
		if (v->cpu->caches)
			show_caches(v, refs[i], x);
	}
	*done = i;
	return s;
}

enum access_status vcpu_run(struct vcpu *v, const ref_t *refs, size_t n, size_t *done)
{
	struct vm_stats *st = &v->mmu->vm->stats;
	struct tlb_counts *c = &v->cpu->tlb.counts, before = *c;
	const struct tlb_array *l1d = &v->cpu->tlb.l1[0][0], *l1i = &v->cpu->tlb.l1[1][0];
	bool each = v->data || tlb_policy_hears_hits(l1d->policy) || tlb_policy_hears_hits(l1i->policy) ||
		    !l1d->present || !l1i->present || !v->user || v->cpu->caches;
	struct run r;

	*done = 0;
	if (v->mmu->vm->crashed)
		return ACCESS_CRASH;
	v->kernel = false;
	world_switched(v);
	run_init(&r, v);
	enum access_status s = each ? run_each(&r, refs, n, done) :
			       !tlb_is_hot4(&v->cpu->tlb) ? run_way0(&r, refs, n, done) :
			       v->wide ? run_4ways_wide(&r, refs, n, done) : run_4ways(&r, refs, n, done);

	if (r.quick.prepared)
		quick_finish(&r.quick);
	if (v->work)
		v->work->position += *done;
	st->refs += *done;
	st->l1i_misses += c->l1i_misses - before.l1i_misses;
	st->l1d_misses += c->l1d_misses - before.l1d_misses;
	st->l1_misses += c->l1i_misses + c->l1d_misses - before.l1i_misses - before.l1d_misses;
	st->l2_hits += c->l2_hits - before.l2_hits;
	st->l2_misses += c->l2_misses - before.l2_misses;
	if (v->mmu->ops->tick)
		v->mmu->ops->tick(v);
	return s;
}
