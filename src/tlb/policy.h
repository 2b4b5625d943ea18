/* SPDX-License-Identifier: MIT */
/*
 * Replacement policies of one's own, beside the four of enum tlb_policy.
 *
 * A policy sees one set at a time: some words of state, which are its only
 * memory, and the numbers of ways. Which tags stand there is not its affair,
 * nor are empty ways: those are filled before a victim is asked for, and ways
 * never move.
 *
 *     lookup, found in way w   hit(state, ways, w)
 *     fill of a full set       w = victim(state, ways, rng); then fill(state, ways, w)
 *     fill with a way empty    fill(state, ways, w)
 *     entry of way w dropped   drop(state, ways, w)
 *
 * The built-in policies are compiled into the lookup (tlb/array.h); these are
 * called, which costs a run some of its speed and nothing to the others.
 */
#ifndef QUIRE_TLB_POLICY_H
#define QUIRE_TLB_POLICY_H

#include "base/rng.h"
#include "tlb/tlb.h"

enum { TLB_POLICY_WORDS_MAX = 8, TLB_POLICIES_ADDED_MAX = 16 };

struct tlb_policy_ops {
	const char *name;    /* as machine files say it */
	const char *summary; /* one line for `quire list` */
	unsigned words;      /* of state a set, 1..TLB_POLICY_WORDS_MAX */
	/* Of an empty set; state is zeroed. NULL: zeroes are right. */
	void (*init)(uint64_t *state, unsigned ways);
	void (*hit)(uint64_t *state, unsigned ways, unsigned way);
	/* A way below `ways`, all of them taken. Randomness comes from rng alone. */
	unsigned (*victim)(uint64_t *state, unsigned ways, struct rng *rng);
	void (*fill)(uint64_t *state, unsigned ways, unsigned way);
	/* NULL: a dropped entry's state may stay. */
	void (*drop)(uint64_t *state, unsigned ways, unsigned way);
};

/*
 * One more policy while the program runs, before any TLB is made; ops stays.
 * Its number from now on (TLB_POLICIES or more), or -EEXIST: the name is taken; -ENOSPC.
 */
int tlb_policy_add(const struct tlb_policy_ops *ops);
/* NULL for the built-in ones and for numbers nobody has. */
const struct tlb_policy_ops *tlb_policy_ops(unsigned policy);
static inline bool tlb_policy_is_known(unsigned policy)
{
	return policy < TLB_POLICIES || tlb_policy_ops(policy) != NULL;
}
/* Words of state a set. */
unsigned tlb_policy_words(unsigned policy);

/* What an array does for a policy that was added: calls of the above. */
void array_added_reset(struct tlb_array *a);
void array_added_hit(struct tlb_array *a, size_t set, unsigned way);
unsigned array_added_take(struct tlb_array *a, size_t set, int empty, struct rng *rng);
void array_added_drop(struct tlb_array *a, size_t set, unsigned way);

#endif
