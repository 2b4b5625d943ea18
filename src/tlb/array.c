/* SPDX-License-Identifier: MIT */
/* Set-associative arrays: storage and the operations that need no speed. The rest is tlb/array.h. */
#include "tlb/array.h"

/* Each set's order word at the start: position p holds way p. */
static const uint64_t word_identity = UINT64_C(0xfedcba9876543210);

/* An absent array is one empty way, so that lookups need not ask. */
static struct tlb_array_config storage_of(const struct tlb_array_config *c)
{
	return c->sets ? *c : (struct tlb_array_config){.sets = 1, .ways = 1, .policy = TLB_LRU};
}

static size_t words_bytes(size_t words)
{
	return align_up(words * sizeof(uint64_t), LINE_SIZE);
}

size_t tlb_array_bytes(const struct tlb_array_config *c)
{
	struct tlb_array_config s = storage_of(c);
	size_t slots = (size_t)s.sets * s.ways;

	return words_bytes(slots + ARRAY_SLACK) + words_bytes(slots) +
	       words_bytes((size_t)s.sets * tlb_policy_words(s.policy));
}

static enum tlb_order order_of(const struct tlb_array_config *c, enum array_layout layout)
{
	if (c->policy >= TLB_POLICIES)
		return TLB_ORDER_ADDED;
	switch (c->policy) {
	case TLB_PLRU:
		return TLB_ORDER_TREE;
	case TLB_RANDOM:
		return TLB_ORDER_NONE;
	default:
		return layout == ARRAY_BY_PLACE || c->ways > ARRAY_WORD_WAYS ? TLB_ORDER_PLACE : TLB_ORDER_WORD;
	}
}

static uint64_t *take_words(char **memory, size_t words)
{
	uint64_t *p = (uint64_t *)(void *)*memory;

	*memory += words_bytes(words);
	return p;
}

static void reset_order(struct tlb_array *a)
{
	if (a->order == TLB_ORDER_ADDED) {
		array_added_reset(a);
		return;
	}
	for (size_t set = 0; set <= a->set_mask; set++)
		a->state[set] = a->order == TLB_ORDER_WORD ? word_identity : 0;
}

void array_init(struct tlb_array *a, const struct tlb_array_config *c, enum array_layout layout, char **memory)
{
	struct tlb_array_config s = storage_of(c);
	size_t slots = (size_t)s.sets * s.ways;

	BUG_ON(!is_pow2(s.sets) || !s.ways || s.ways > TLB_WAYS_MAX || !tlb_policy_is_known(s.policy));
	*a = (struct tlb_array){
		.tags = take_words(memory, slots + ARRAY_SLACK),
		.data = take_words(memory, slots),
		.state = take_words(memory, (size_t)s.sets * tlb_policy_words(s.policy)),
		.set_mask = s.sets - 1u,
		.ways = s.ways,
		.policy = s.policy,
		.order = (uint8_t)order_of(&s, layout),
		.present = c->sets != 0,
	};
	reset_order(a);
}

void tlb_array_init(struct tlb_array *a, const struct tlb_array_config *c, char **memory)
{
	array_init(a, c, ARRAY_ANY_LAYOUT, memory);
}

unsigned array_clear(struct tlb_array *a)
{
	size_t slots = ((size_t)a->set_mask + 1) * a->ways;
	unsigned dropped = 0;

	for (size_t i = 0; i < slots; i++)
		dropped += a->tags[i] != 0;
	memset(a->tags, 0, slots * sizeof(*a->tags));
	reset_order(a);
	return dropped;
}

uint64_t tlb_array_lookup(struct tlb_array *a, uint64_t tag)
{
	return array_lookup(a, array_shape(a), tag);
}

void tlb_array_insert(struct tlb_array *a, uint64_t tag, uint64_t data, struct rng *rng)
{
	ptrdiff_t slot = array_slot(a, tag);

	if (slot >= 0)
		a->data[slot] = data;
	else if (a->present)
		array_insert_new(a, array_shape(a), tag, data, rng);
}

bool tlb_array_remove(struct tlb_array *a, uint64_t tag)
{
	ptrdiff_t slot = array_slot(a, tag);

	if (slot < 0)
		return false;
	array_drop(a, array_set(a, tag), (unsigned)slot - (unsigned)array_base(a, array_shape(a), tag));
	return true;
}

unsigned tlb_array_remove_if(struct tlb_array *a, bool (*f)(const void *ctx, uint64_t tag, uint64_t data),
			     const void *ctx)
{
	return array_sweep(a, f, ctx);
}
