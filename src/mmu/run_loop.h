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
#include "mmu/quick.h"

/* How far before its turn a reference is looked at (quick.h). */
enum { AHEAD_TABLE = 10, AHEAD_DATA = 5, AHEAD_FRAME = 2, AHEAD_RING = 16 };

struct run {
	struct vcpu *v;
	uint64_t need[4]; /* flags an entry must have, by kind; [3]: impossible */
	uint64_t tag_space; /* in place */
	struct quick quick;
	/* Entries asked for: [i % AHEAD_RING] for refs[i]. */
	struct {
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
static ALWAYS_INLINE void look_ahead(struct run *r, const ref_t *refs, size_t left)
{
	size_t far = (left - AHEAD_TABLE) % AHEAD_RING;
	const uint64_t *entry;

	if (left > AHEAD_TABLE && !ref_is_event(refs[AHEAD_TABLE])) {
		r->ahead[far].ref = refs[AHEAD_TABLE];
		r->ahead[far].entry = quick_ahead_table(&r->quick, r->v, ref_gva(refs[AHEAD_TABLE]));
	}
	/* Memory in one run has nothing more to wait for. */
	if (r->quick.direct)
		return;
	entry = looked_at(r, refs, left, AHEAD_DATA);
	if (entry)
		quick_ahead_data(&r->quick, entry, ref_gva(refs[AHEAD_DATA]));
	entry = r->quick.host_by_gva ? looked_at(r, refs, left, AHEAD_FRAME) : NULL;
	if (entry)
		quick_ahead_frame(&r->quick, entry);
}

/* A walk the short way. QUICK_HALF: *half is what was done of it. */
static ALWAYS_INLINE enum quick_end walk_quick(struct run *r, uint64_t gva, unsigned kind, uint64_t tag,
					       struct guest_half *half)
{
	enum quick_end end = QUICK_NOT;
	uint64_t leaf;
	unsigned refs;

	if (r->quick.open == QUICK_DIRECT) {
		end = quick_direct(&r->quick, gva, kind, tag) ? QUICK_DONE : QUICK_NOT;
	} else if (r->quick.open == QUICK_TWO) {
		end = quick_two(&r->quick, gva, kind, tag, &leaf, &refs);
		if (unlikely(end == QUICK_HALF))
			*half = quick_half(r->v, gva, leaf, refs);
	}
	return end;
}

/* Walks that one reference may take by turns; then the long way has it to itself. */
enum { TURNS_MAX = 4 };

/* A data reference that the first level has not got. left: refs from here on. */
static NOINLINE enum access_status run_miss(struct run *r, const ref_t *refs, size_t left, uint64_t tag)
{
	struct vcpu *v = r->v;
	struct tlb *t = &v->cpu->tlb;
	uint64_t gva = ref_gva(*refs), data;
	unsigned kind = ref_kind(*refs);
	struct guest_half half;
	enum access_status s;
	struct xlat x;

	if (!tlb_is_common(t, v->tag_gspace))
		return run_slow(r, *refs, 0);
	data = tlb_common_l2_lookup(t, tag);
	if (likely((data & r->need[kind]) == r->need[kind]))
		return ACCESS_OK;
	if (unlikely(data))
		return xlate_found(v, gva, kind, data, &x);
	if (unlikely(!r->quick.prepared))
		quick_prepare(&r->quick, v);
	if (r->quick.guest.usable)
		look_ahead(r, refs, left);
	/* What was filled meanwhile is no longer known to be missing. */
	for (unsigned turn = 0; r->quick.open && turn < TURNS_MAX && t->missed == tag && t->is_common_path; turn++) {
		enum quick_end end = walk_quick(r, gva, kind, tag, &half);

		if (likely(end == QUICK_DONE))
			return ACCESS_OK;
		if (quick_long_way(v, gva, kind, end == QUICK_HALF ? &half : NULL, &s))
			return s;
	}
	return xlate_found(v, gva, kind, 0, &x);
}

/* The loop, compiled for each way of looking at the first level. */
enum hot { HOT_WAY0, HOT_4WAYS };

static ALWAYS_INLINE enum access_status run_hot(struct run *r, const ref_t *refs, size_t n, size_t *done,
						const enum hot hot)
{
	const struct tlb *t = &r->v->cpu->tlb;
	const struct tlb_hot4 hot4 = tlb_hot4_of(t);
	const uint64_t tag_space = r->tag_space;
	size_t i = 0;
	enum access_status s = ACCESS_OK;

	for (; i < n; i++) {
		ref_t ref = refs[i];
		unsigned kind = ref & REF_KIND;
		uint64_t vpn = (uint64_t)((int64_t)ref >> (REF_GVA_SHIFT + PAGE_SHIFT)) & low_bits(45);
		uint64_t need = r->need[kind], tag = tag_space | vpn, data;

		/* Events and crossing references are looked at before anything moves. */
		if (unlikely(ref & REF_SPECIAL)) {
			if (ref_is_event(ref))
				break;
			s = run_whole(r->v, ref);
		} else {
			data = hot == HOT_4WAYS && kind != ACC_EXEC ? tlb_hot4(&hot4, tag) :
								      tlb_hot(t, kind == ACC_EXEC, tag);
			if (likely((data & need) == need))
				continue;
			s = !data && kind != ACC_EXEC ? run_miss(r, refs + i, n - i, tag) : run_slow(r, ref, data);
		}
		if (unlikely(s))
			break;
	}
	*done = i;
	return s;
}

/* run_hot for four ways, compiled for AVX2 (run_wide.c). */
enum access_status run_4ways_wide(struct run *r, const ref_t *refs, size_t n, size_t *done);

#endif
