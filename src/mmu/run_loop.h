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
#include "tlb/hot.h"

struct run {
	struct vcpu *v;
	uint64_t need[4]; /* flags an entry must have, by kind; [3]: impossible */
	uint64_t tag_space; /* in place */
	struct ahead_tables known;
	/* Entries asked for: [i % AHEAD_RING] for refs[i]. */
	struct {
		ref_t ref;
		const uint8_t *entry;
	} ahead[AHEAD_RING];
};

/* A reference whose page the first look did not find with the right it needs; hot: what it found. left: refs from here on. */
enum access_status run_slow(struct run *r, const ref_t *refs, size_t left, uint64_t hot);
/* A reference looked up from the start; one that crosses needs the page after it too. */
enum access_status run_whole(struct vcpu *v, ref_t ref);

/* The loop, compiled for each way of looking at the first level. */
enum hot { HOT_WAY0, HOT_4WAYS };

static ALWAYS_INLINE enum access_status run_hot(struct run *r, const ref_t *refs, size_t n, size_t *done,
						const enum hot hot)
{
	struct tlb *t = &r->v->cpu->tlb;
	size_t i = 0;
	enum access_status s = ACCESS_OK;

	for (; i < n; i++) {
		ref_t ref = refs[i];
		unsigned kind = ref & REF_KIND;
		uint64_t vpn = (uint64_t)((int64_t)ref >> (REF_GVA_SHIFT + PAGE_SHIFT)) & low_bits(45);
		uint64_t need = r->need[kind], tag = r->tag_space | vpn, data;

		/* Events and crossing references are looked at before anything moves. */
		if (unlikely(ref & REF_SPECIAL)) {
			if (ref_is_event(ref))
				break;
			s = run_whole(r->v, ref);
		} else {
			data = hot == HOT_4WAYS && kind != ACC_EXEC ? tlb_hot4(t, tag) :
								      tlb_hot(t, kind == ACC_EXEC, tag);
			if (likely((data & need) == need))
				continue;
			s = run_slow(r, refs + i, n - i, data);
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
