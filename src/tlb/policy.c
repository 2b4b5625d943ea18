/* SPDX-License-Identifier: MIT */
/* Names of replacement policies, and those that came while the program ran. */
#include "tlb/policy.h"

#include <errno.h>
#include <string.h>

#include "base/bug.h"

static const char *const built_in[TLB_POLICIES] = {
	[TLB_LRU] = "lru",
	[TLB_PLRU] = "plru",
	[TLB_FIFO] = "fifo",
	[TLB_RANDOM] = "random",
};
static const struct tlb_policy_ops *added[TLB_POLICIES_ADDED_MAX];
static unsigned nadded;

const struct tlb_policy_ops *tlb_policy_ops(unsigned policy)
{
	return policy >= TLB_POLICIES && policy - TLB_POLICIES < nadded ? added[policy - TLB_POLICIES] : NULL;
}

const char *tlb_policy_name(enum tlb_policy p)
{
	const struct tlb_policy_ops *ops = tlb_policy_ops(p);

	if (ops)
		return ops->name;
	return (unsigned)p < TLB_POLICIES ? built_in[p] : "?";
}

unsigned tlb_policy_words(unsigned policy)
{
	const struct tlb_policy_ops *ops = tlb_policy_ops(policy);

	return ops ? ops->words : 1;
}

static bool is_same_name(const char *a, const char *b)
{
	for (; *a && *a == *b; a++)
		b++;
	return *a == *b;
}

int tlb_policy_add(const struct tlb_policy_ops *ops)
{
	for (unsigned p = 0; tlb_policy_is_known(p); p++)
		if (is_same_name(tlb_policy_name((enum tlb_policy)p), ops->name))
			return -EEXIST;
	if (nadded == TLB_POLICIES_ADDED_MAX)
		return -ENOSPC;
	added[nadded++] = ops;
	return (int)(TLB_POLICIES + nadded - 1);
}

static uint64_t *state_of(struct tlb_array *a, const struct tlb_policy_ops *ops, size_t set)
{
	return a->state + set * ops->words;
}

void array_added_reset(struct tlb_array *a)
{
	const struct tlb_policy_ops *ops = tlb_policy_ops(a->policy);

	memset(a->state, 0, ((size_t)a->set_mask + 1) * ops->words * sizeof(*a->state));
	for (size_t set = 0; ops->init && set <= a->set_mask; set++)
		ops->init(state_of(a, ops, set), a->ways);
}

void array_added_hit(struct tlb_array *a, size_t set, unsigned way)
{
	const struct tlb_policy_ops *ops = tlb_policy_ops(a->policy);

	ops->hit(state_of(a, ops, set), a->ways, way);
}

unsigned array_added_take(struct tlb_array *a, size_t set, int empty, struct rng *rng)
{
	const struct tlb_policy_ops *ops = tlb_policy_ops(a->policy);
	uint64_t *state = state_of(a, ops, set);
	unsigned way = empty >= 0 ? (unsigned)empty : ops->victim(state, a->ways, rng);

	BUG_ON(way >= a->ways);
	ops->fill(state, a->ways, way);
	return way;
}

void array_added_drop(struct tlb_array *a, size_t set, unsigned way)
{
	const struct tlb_policy_ops *ops = tlb_policy_ops(a->policy);

	if (ops->drop)
		ops->drop(state_of(a, ops, set), a->ways, way);
}
