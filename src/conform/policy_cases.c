/* SPDX-License-Identifier: MIT */
/*
 * What a replacement policy of a TLB array keeps. The array is Quire's own;
 * the cases see what it holds by its tags, before and after each operation.
 * Its number may be a built-in policy's, too: these are right by definition.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/bug.h"
#include "conform/conform.h"
#include "tlb/array.h"

static const struct tlb_array_config shapes[] = {
	{ 1, 1 }, { 1, 2 }, { 4, 3 }, { 16, 4 }, { 8, 6 }, { 64, 8 }, { 128, 12 }, { 2, 16 }, { 4, 33 }, { 1, 64 },
};

struct policy_rig {
	struct tlb_array a;
	void *memory;
	struct rng rng;    /* the policy's */
	struct rng choice; /* of the operations */
	unsigned space;    /* tags are drawn from so many */
};

static void rig_open(struct policy_rig *r, const struct tlb_array_config *shape, unsigned policy, uint64_t seed)
{
	struct tlb_array_config c = *shape;
	char *at;
	size_t bytes;

	c.policy = (uint8_t)policy;
	bytes = align_up(tlb_array_bytes(&c), LINE_SIZE);
	r->memory = aligned_alloc(LINE_SIZE, bytes);
	BUG_ON(!r->memory);
	memset(r->memory, 0, bytes);
	at = r->memory;
	tlb_array_init(&r->a, &c, &at);
	rng_init(&r->rng, seed);
	rng_init(&r->choice, seed + 1);
	r->space = 2u * c.sets * c.ways + 1;
}

static void begin(struct conform *t, const struct tlb_array_config *s, unsigned policy, uint64_t seed)
{
	char name[120];

	snprintf(name, sizeof(name), "%s, %u sets of %u ways", tlb_policy_name((enum tlb_policy)policy), s->sets, s->ways);
	conform_begin(t, name, seed);
}

static uint64_t data_of(uint64_t tag)
{
	return tag * 3 + 1;
}

/* Some tags are asked for far more often than others. */
static uint64_t draw(struct policy_rig *r)
{
	uint64_t n = rng_below(&r->choice, r->space);

	return 1 + (rng_below(&r->choice, 2) ? n : n / 4);
}

/* The tags of one set. */
static unsigned members(const struct policy_rig *r, size_t set, uint64_t out[TLB_WAYS_MAX])
{
	unsigned n = 0;

	for (unsigned w = 0; w < r->a.ways; w++)
		if (r->a.tags[set * r->a.ways + w])
			out[n++] = r->a.tags[set * r->a.ways + w];
	return n;
}

static bool is_member(const uint64_t *tags, unsigned n, uint64_t tag)
{
	for (unsigned i = 0; i < n; i++)
		if (tags[i] == tag)
			return true;
	return false;
}

static bool lookup_step(struct conform *t, struct policy_rig *r, uint64_t tag)
{
	uint64_t before[TLB_WAYS_MAX], after[TLB_WAYS_MAX];
	size_t set = array_set(&r->a, tag);
	unsigned n = members(r, set, before), m;
	uint64_t data = tlb_array_lookup(&r->a, tag);

	if (data != (is_member(before, n, tag) ? data_of(tag) : 0))
		return conform_fails(t, "looking up tag %llu gives %#llx, and it is %sin the set", (unsigned long long)tag,
				     (unsigned long long)data, is_member(before, n, tag) ? "" : "not ");
	m = members(r, set, after);
	for (unsigned i = 0; i < n; i++)
		if (m != n || !is_member(after, m, before[i]))
			return conform_fails(t, "looking up tag %llu changed what the set holds", (unsigned long long)tag);
	return true;
}

static bool insert_step(struct conform *t, struct policy_rig *r, uint64_t tag)
{
	uint64_t before[TLB_WAYS_MAX], after[TLB_WAYS_MAX];
	size_t set = array_set(&r->a, tag);
	unsigned n = members(r, set, before), gone = 0, m;
	bool was_there = is_member(before, n, tag), was_full = n == r->a.ways;

	tlb_array_insert(&r->a, tag, data_of(tag), &r->rng);
	m = members(r, set, after);
	if (!is_member(after, m, tag))
		return conform_fails(t, "tag %llu was just filled and is not there", (unsigned long long)tag);
	for (unsigned i = 0; i < n; i++)
		gone += !is_member(after, m, before[i]);
	if (gone != (was_full && !was_there))
		return conform_fails(t, "filling tag %llu into a set with %u of %u ways taken evicted %u entries",
				     (unsigned long long)tag, n, r->a.ways, gone);
	return true;
}

static bool remove_step(struct conform *t, struct policy_rig *r, uint64_t tag)
{
	uint64_t before[TLB_WAYS_MAX];
	bool was_there = is_member(before, members(r, array_set(&r->a, tag), before), tag);

	if (tlb_array_remove(&r->a, tag) != was_there || tlb_array_lookup(&r->a, tag))
		return conform_fails(t, "dropping tag %llu does not drop it", (unsigned long long)tag);
	return true;
}

static bool random_step(struct conform *t, struct policy_rig *r)
{
	uint64_t what = rng_below(&r->choice, 1000), tag = draw(r);

	if (what == 0) {
		array_clear(&r->a);
		return true;
	}
	return what < 500 ? lookup_step(t, r, tag) : what < 900 ? insert_step(t, r, tag) : remove_step(t, r, tag);
}

/* Hits are of what was filled and not displaced; a fill is found; a full set gives up exactly one. */
static bool case_inclusion(struct conform *t, unsigned policy, uint64_t seed)
{
	enum { STEPS = 4000 };
	bool ok = true;

	for (unsigned i = 0; i < ARRAY_SIZE(shapes) && ok; i++) {
		struct policy_rig r;

		begin(t, &shapes[i], policy, seed + i);
		rig_open(&r, &shapes[i], policy, seed + i);
		for (unsigned k = 0; k < STEPS && ok; k++) {
			conform_step(t, k);
			ok = random_step(t, &r);
		}
		free(r.memory);
	}
	return ok;
}

/* The policy alone: its victim is a way of the set, and it stays within its words. */
static bool case_victim(struct conform *t, unsigned policy, uint64_t seed)
{
	enum { STEPS = 4000 };
	const uint64_t canary = UINT64_C(0xfeedfacecafebeef);
	const struct tlb_policy_ops *ops = tlb_policy_ops(policy);
	uint64_t words[TLB_POLICY_WORDS_MAX + 2];
	struct rng choice, rng;

	for (unsigned ways = 1; ops && ways <= TLB_WAYS_MAX; ways++) {
		begin(t, &(struct tlb_array_config){ 1, (uint8_t)ways }, policy, seed);
		rng_init(&rng, seed);
		rng_init(&choice, seed + ways);
		memset(words, 0, sizeof(words));
		words[0] = words[ops->words + 1] = canary;
		if (ops->init)
			ops->init(words + 1, ways);
		for (unsigned k = 0; k < STEPS; k++) {
			unsigned way = (unsigned)rng_below(&choice, ways), what = (unsigned)rng_below(&choice, 8);

			conform_step(t, k);
			if (what < 4) {
				ops->hit(words + 1, ways, way);
			} else if (what < 5 && ops->drop) {
				ops->drop(words + 1, ways, way);
			} else {
				way = k < ways ? k : ops->victim(words + 1, ways, &rng);
				if (way >= ways)
					return conform_fails(t, "its victim is way %u, and there are %u ways", way, ways);
				ops->fill(words + 1, ways, way);
			}
			if (words[0] != canary || words[ops->words + 1] != canary)
				return conform_fails(t, "it writes outside of its %u words of state", ops->words);
		}
	}
	return true;
}

/* Nothing but the words of the set and the generator decides: two arrays by turns do as each would alone. */
static bool case_state(struct conform *t, unsigned policy, uint64_t seed)
{
	enum { STEPS = 3000 };
	bool ok = true;

	for (unsigned i = 0; i < ARRAY_SIZE(shapes) && ok; i++) {
		size_t slots = (size_t)shapes[i].sets * shapes[i].ways;
		struct policy_rig a, b;

		begin(t, &shapes[i], policy, seed + i);
		rig_open(&a, &shapes[i], policy, seed + i);
		rig_open(&b, &shapes[i], policy, seed + i);
		for (unsigned k = 0; k < STEPS && ok; k++) {
			conform_step(t, k);
			ok = random_step(t, &a);
		}
		for (unsigned k = 0; k < STEPS && ok; k++)
			ok = random_step(t, &b);
		if (ok && memcmp(a.a.tags, b.a.tags, slots * sizeof(*a.a.tags)) != 0)
			ok = conform_fails(t, "the same operations on two arrays leave different entries: it keeps state outside of its words");
		free(a.memory);
		free(b.memory);
	}
	return ok;
}

/* Fills of full sets, one after another: a policy that looks at the whole array, or for ever, shows here. */
static bool case_cost(struct conform *t, unsigned policy, uint64_t seed)
{
	enum { FILLS = 1000000 };
	const struct tlb_array_config shape = { 128, 64 };
	struct policy_rig r;

	begin(t, &shape, policy, seed);
	rig_open(&r, &shape, policy, seed);
	for (uint64_t k = 0; k < FILLS; k++) {
		conform_step(t, k);
		tlb_array_insert(&r.a, 1 + k, data_of(1 + k), &r.rng);
		(void)tlb_array_lookup(&r.a, 1 + k / 2);
	}
	free(r.memory);
	return true;
}

const struct policy_case conform_policy_cases[] = {
	{ "inclusion", "what hits was filled; a fill is found; a full set gives up one entry, another none", case_inclusion },
	{ "victim", "the victim is a way of the set, and the policy stays within its words", case_victim },
	{ "state", "nothing but its words and the generator decides", case_state },
	{ "cost", "a million fills of full sets end in good time", case_cost },
	{ NULL },
};
