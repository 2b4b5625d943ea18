/* SPDX-License-Identifier: MIT */
/*
 * The loop over references, inlined into run.c and, for processors with wide
 * vectors, into run_wide.c. A hit in the first-level TLB with the right asked
 * for takes no call; the rest is one call away.
 *
 *   tag:   space | 0 | va >> 12       compared with the ways of its set
 *   need:  the rights of this kind of access, all in one mask
 */
#ifndef QUIRE_MMU_RUN_LOOP_H
#define QUIRE_MMU_RUN_LOOP_H

#include "mmu/access.h"
#include "mmu/quick_ahead.h"

/* How far before its turn a reference is looked at (quick.h). */
enum { AHEAD_TABLE = 10, AHEAD_DATA = 5, AHEAD_FRAME = 2, AHEAD_RING = 16 };

struct run {
	struct vcpu *v;
	uint64_t need[4]; /* flags an entry must have, by kind; [3]: impossible */
	uint64_t tag_space; /* in place */
	struct quick quick;
	/* Entries asked for: [i % AHEAD_RING] for refs[i]. */
	struct ahead {
		ref_t ref;
		const uint64_t *entry;
	} ahead[AHEAD_RING];
};

/* A reference whose page the first look did not find with the right it needs; hot: what it found. */
enum access_status run_slow(struct run *r, ref_t ref, uint64_t hot);
/* A reference looked up from the start; one that crosses needs the page after it too. */
enum access_status run_whole(struct vcpu *v, ref_t ref);

/* What was found for refs[n] when it was AHEAD_TABLE away; NULL: nothing. */
static ALWAYS_INLINE const uint64_t *looked_at(const struct run *r, const ref_t *refs, size_t left, unsigned n)
{
	size_t slot = (left - n) % AHEAD_RING;

	return left > n && r->ahead[slot].ref == refs[n] ? r->ahead[slot].entry : NULL;
}

/* References that follow one that missed: their walks' lines are asked for while this one's are under way. */
static ALWAYS_INLINE void look_ahead(struct run *r, const ref_t *refs, size_t left, const enum quick_fit fit,
				     const enum quick_kind open)
{
	size_t far = (left - AHEAD_TABLE) % AHEAD_RING;
	const uint64_t *entry;

	if (left > AHEAD_TABLE && !ref_is_event(refs[AHEAD_TABLE])) {
		entry = quick_ahead_table(&r->quick, r->v, ref_gva(refs[AHEAD_TABLE]), fit, open);
		if (open != QUICK_DIRECT)
			r->ahead[far] = (struct ahead){ refs[AHEAD_TABLE], entry };
	}
	/* Memory in one run has nothing more to wait for. */
	if (open == QUICK_DIRECT)
		return;
	entry = looked_at(r, refs, left, AHEAD_DATA);
	if (entry)
		quick_ahead_data(&r->quick, entry, ref_gva(refs[AHEAD_DATA]));
	entry = r->quick.host_by_gva ? looked_at(r, refs, left, AHEAD_FRAME) : NULL;
	if (entry)
		quick_ahead_frame(&r->quick, entry);
}

/* What the short way came to, and what it did of the guest's half (QUICK_HALF). */
struct quick_result {
	enum quick_end end;
	unsigned refs;
	uint64_t leaf;
};

static ALWAYS_INLINE struct quick_result walk_quick(struct quick *q, ref_t ref, uint64_t tag, const enum quick_fit fit,
						    const enum quick_kind open)
{
	struct quick_result w = { QUICK_NOT, 0, 0 };

	if (open == QUICK_TWO)
		w.end = quick_two(q, ref_gva(ref), ref_kind(ref), tag, fit, &w.leaf, &w.refs);
	else if (quick_one(q, ref_gva(ref), ref_kind(ref), tag, fit, open))
		w.end = QUICK_DONE;
	return w;
}

/* Each kind and fit compiled apart: together they would need more registers than there are. */
static NOINLINE struct quick_result quick_any(struct quick *q, ref_t ref, uint64_t tag)
{
	return q->open == QUICK_TWO ? walk_quick(q, ref, tag, QUICK_FIT_ANY, QUICK_TWO) :
	       q->open == QUICK_SHADOW ? walk_quick(q, ref, tag, QUICK_FIT_ANY, QUICK_SHADOW) :
					 walk_quick(q, ref, tag, QUICK_FIT_ANY, QUICK_DIRECT);
}

static NOINLINE struct quick_result quick_again_two(struct quick *q, ref_t ref, uint64_t tag)
{
	return walk_quick(q, ref, tag, QUICK_FIT_X64, QUICK_TWO);
}

static NOINLINE struct quick_result quick_again_shadow(struct quick *q, ref_t ref, uint64_t tag)
{
	return walk_quick(q, ref, tag, QUICK_FIT_X64, QUICK_SHADOW);
}

/* After the long way mended something. */
static ALWAYS_INLINE struct quick_result quick_again(struct quick *q, ref_t ref, uint64_t tag)
{
	return q->fit != QUICK_FIT_X64 || q->open == QUICK_DIRECT ? quick_any(q, ref, tag) :
	       q->open == QUICK_TWO ? quick_again_two(q, ref, tag) : quick_again_shadow(q, ref, tag);
}

/* Walks that one reference may take by turns; then the long way has it to itself. */
enum { TURNS_MAX = 4 };

/* What a short way did not finish. */
static NOINLINE enum access_status walk_on(struct run *r, ref_t ref, uint64_t tag, struct quick_result w)
{
	struct vcpu *v = r->v;
	struct tlb *t = &v->cpu->tlb;
	uint64_t gva = ref_gva(ref);
	enum acc_kind kind = ref_kind(ref);
	enum access_status s;
	struct xlat x;

	for (unsigned turn = 0; turn < TURNS_MAX; turn++) {
		struct guest_half half;

		if (w.end == QUICK_HALF)
			half = quick_half(v, gva, w.leaf, w.refs);
		if (quick_long_way(v, gva, kind, w.end == QUICK_HALF ? &half : NULL, &s))
			return s;
		/* What was filled meanwhile is no longer known to be missing. */
		if (t->missed != tag || !t->is_common_path)
			break;
		w = quick_again(&r->quick, ref, tag);
		if (w.end == QUICK_DONE)
			return ACCESS_OK;
	}
	return xlate_found(v, gva, kind, 0, &x);
}

static NOINLINE enum access_status walk_any(struct run *r, const ref_t *refs, size_t left, uint64_t tag)
{
	struct xlat x;

	if (r->quick.guest.usable)
		look_ahead(r, refs, left, QUICK_FIT_ANY, r->quick.open);
	if (r->quick.open == QUICK_NONE)
		return xlate_found(r->v, ref_gva(*refs), ref_kind(*refs), 0, &x);

	struct quick_result w = quick_any(&r->quick, *refs, tag);

	return w.end == QUICK_DONE ? ACCESS_OK : walk_on(r, *refs, tag, w);
}

/* What most processors and guests fit: each kind compiled apart. */
static ALWAYS_INLINE enum access_status walk_one(struct run *r, const ref_t *refs, size_t left, uint64_t tag,
						 const enum quick_kind open)
{
	look_ahead(r, refs, left, QUICK_FIT_X64, open);
	if (likely(quick_one(&r->quick, ref_gva(*refs), ref_kind(*refs), tag, QUICK_FIT_X64, open)))
		return ACCESS_OK;
	return walk_on(r, *refs, tag, (struct quick_result){ QUICK_NOT, 0, 0 });
}

static NOINLINE enum access_status walk_direct(struct run *r, const ref_t *refs, size_t left, uint64_t tag)
{
	return walk_one(r, refs, left, tag, QUICK_DIRECT);
}

static NOINLINE enum access_status walk_shadow(struct run *r, const ref_t *refs, size_t left, uint64_t tag)
{
	return walk_one(r, refs, left, tag, QUICK_SHADOW);
}

static NOINLINE enum access_status walk_two(struct run *r, const ref_t *refs, size_t left, uint64_t tag)
{
	struct quick_result w = { QUICK_NOT, 0, 0 };

	look_ahead(r, refs, left, QUICK_FIT_X64, QUICK_TWO);
	w.end = quick_two(&r->quick, ref_gva(*refs), ref_kind(*refs), tag, QUICK_FIT_X64, &w.leaf, &w.refs);
	return likely(w.end == QUICK_DONE) ? ACCESS_OK : walk_on(r, *refs, tag, w);
}

/* One that no TLB has. */
static NOINLINE enum access_status run_walk(struct run *r, const ref_t *refs, size_t left, uint64_t tag)
{
	if (unlikely(!r->quick.prepared))
		quick_prepare(&r->quick, r->v);
	return r->quick.fit != QUICK_FIT_X64 ? walk_any(r, refs, left, tag) :
	       r->quick.open == QUICK_DIRECT ? walk_direct(r, refs, left, tag) :
	       r->quick.open == QUICK_SHADOW ? walk_shadow(r, refs, left, tag) : walk_two(r, refs, left, tag);
}

/*
 * A data reference that the first level has not got. left: refs from here on.
 * Every exit but the first is a jump, so that a hit in the second level saves
 * few registers.
 */
static NOINLINE enum access_status run_miss(struct run *r, const ref_t *refs, size_t left, uint64_t tag)
{
	struct vcpu *v = r->v;
	struct tlb *t = &v->cpu->tlb;
	uint64_t data, need = r->need[ref_kind(*refs)];

	if (!tlb_is_common(t, v->tag_gspace))
		return run_slow(r, *refs, 0);
	data = tlb_common_l2_lookup(t, tag);
	if (likely((data & need) == need))
		return ACCESS_OK;
	return data ? run_slow(r, *refs, data) : run_walk(r, refs, left, tag);
}

/* The loop, compiled for each way of looking at the first level. */
enum hot { HOT_WAY0, HOT_4WAYS };

/* An event (all bits of its kind are set) or a fetch. */
enum { REF_NOT_DATA = 2 };
static_assert((ACC_EXEC & REF_EVENT & REF_NOT_DATA) != 0 && ((ACC_READ | ACC_WRITE) & REF_NOT_DATA) == 0,
	      "one bit tells data");

static ALWAYS_INLINE enum access_status run_hot(struct run *r, const ref_t *refs, size_t n, size_t *done,
						const enum hot hot)
{
	const struct tlb *t = &r->v->cpu->tlb;
	const struct tlb_hot4 hot4 = tlb_hot4_of(t);
	const uint64_t tag_space = r->tag_space;
	const ref_t *p = refs, *end = refs + n;
	enum access_status s = ACCESS_OK;

	for (; p != end; p++) {
		ref_t ref = *p;
		uint64_t vpn = (uint64_t)((int64_t)ref >> (REF_GVA_SHIFT + PAGE_SHIFT)) & low_bits(45);
		uint64_t tag = tag_space | vpn, data;

		if (!(ref & (REF_SPECIAL | REF_NOT_DATA))) {
			uint64_t need = r->need[ref & (REF_NOT_DATA - 1)];

			data = hot == HOT_4WAYS ? tlb_hot4(&hot4, tag) : tlb_hot(t, false, tag);
			if (likely((data & need) == need))
				continue;
			s = data ? run_slow(r, ref, data) : run_miss(r, p, (size_t)(end - p), tag);
		} else if (unlikely(ref & REF_SPECIAL)) {
			/* Events and crossing references are looked at before anything moves. */
			if (ref_is_event(ref))
				break;
			s = run_whole(r->v, ref);
		} else {
			data = tlb_hot(t, true, tag);
			if (likely((data & r->need[ACC_EXEC]) == r->need[ACC_EXEC]))
				continue;
			s = run_slow(r, ref, data);
		}
		if (unlikely(s))
			break;
	}
	*done = (size_t)(p - refs);
	return s;
}

/* run_hot for four ways, compiled for AVX2 (run_wide.c). */
enum access_status run_4ways_wide(struct run *r, const ref_t *refs, size_t n, size_t *done);

#endif
