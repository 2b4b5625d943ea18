/* SPDX-License-Identifier: MIT */
/* Data caches: arrays of TLBs, whose tag is the line's number and whose data word means nothing. */
#include <errno.h>

#include "tlb/array.h"
#include "tlb/cache.h"

static const char *const place_names[CACHE_PLACES] = { "l1", "l2", "llc", "memory" };
static const char *const holds_names[CACHE_HOLDS] = { "free", "inclusive", "victim" };

const char *cache_place_name(enum cache_level place)
{
	return (unsigned)place < CACHE_PLACES ? place_names[place] : "?";
}

const char *cache_holds_name(enum cache_holds h)
{
	return (unsigned)h < CACHE_HOLDS ? holds_names[h] : "?";
}

static uint64_t line_of(hpa_t hpa)
{
	return hpa.v >> LINE_SHIFT;
}

static uint64_t lines_in(const struct tlb_array_config *a)
{
	return (uint64_t)a->sets * a->ways;
}

static const char *level_fault(const struct cache_config *c, unsigned k)
{
	const struct cache_level_config *l = &c->level[k];

	if (!l->array.sets)
		return k == CACHE_L1D ? "a data cache needs a first level" : NULL;
	if (!is_pow2(l->array.sets))
		return "the number of a cache's sets must be a power of two";
	if (!l->array.ways || l->array.ways > TLB_WAYS_MAX)
		return "a cache has 1 to 64 ways";
	if (!tlb_policy_is_known(l->array.policy))
		return "the replacement policy is unknown";
	if (l->holds >= CACHE_HOLDS)
		return "a level is free, inclusive or victim";
	if (k && l->holds == CACHE_INCLUSIVE)
		for (unsigned i = 0; i < k; i++)
			if (lines_in(&c->level[i].array) > lines_in(&l->array))
				return "an inclusive level must be as large as those it includes";
	if (l->holds == CACHE_VICTIM && k + 1u < CACHE_LEVELS && c->level[k + 1].array.sets)
		return "only the last level may be a victim cache";
	return NULL;
}

int cache_config_validate(const struct cache_config *c, const char **why)
{
	*why = c->name[0] ? NULL : "a model of caches needs a name";
	for (unsigned k = 0; k < CACHE_LEVELS && !*why; k++)
		*why = level_fault(c, k);
	return *why ? -EINVAL : 0;
}

size_t cache_bytes(const struct cache_config *c)
{
	size_t bytes = 0;

	for (unsigned k = 0; k < CACHE_LEVELS; k++)
		bytes += tlb_array_bytes(&c->level[k].array);
	return bytes;
}

void cache_init(struct cache *c, const struct cache_config *config, uint64_t seed, void *memory)
{
	char *p = memory;

	*c = (struct cache){ .config = config };
	rng_init(&c->rng, seed ^ UINT64_C(0x6361636865));
	for (unsigned k = 0; k < CACHE_LEVELS; k++) {
		tlb_array_init(&c->level[k], &config->level[k].array, &p);
		c->holds[k] = k == CACHE_L1D ? CACHE_FREE : config->level[k].holds;
	}
}

/* The level after k that exists, or CACHE_MEMORY. */
static unsigned level_after(const struct cache *c, unsigned k)
{
	do
		k++;
	while (k < CACHE_LEVELS && !c->level[k].present);
	return k;
}

/* Puts a line that is not there into level k, and does with the one it displaces what the levels' bonds ask for. */
static void fill(struct cache *c, unsigned k, uint64_t line)
{
	struct tlb_array *a = &c->level[k];
	unsigned next = level_after(c, k);
	uint64_t displaced;

	array_take(a, array_shape(a), line, &c->rng, &displaced);
	if (!displaced)
		return;
	if (c->holds[k] == CACHE_INCLUSIVE)
		for (unsigned i = 0; i < k; i++)
			tlb_array_remove(&c->level[i], displaced);
	/* It came here by leaving the victim cache, or without ever being there. */
	if (next < CACHE_LEVELS && c->holds[next] == CACHE_VICTIM)
		fill(c, next, displaced);
}

/* A hit of level k: true, and the line stays the newest there, or leaves a victim cache. */
static bool hit(struct cache *c, unsigned k, uint64_t line)
{
	struct tlb_array *a = &c->level[k];
	struct array_shape s = array_shape(a);
	size_t base = array_base(a, s, line);
	int way = array_find(a, s, base, line);

	if (way < 0)
		return false;
	if (c->holds[k] == CACHE_VICTIM)
		array_drop(a, array_set(a, line), (unsigned)way);
	else
		array_touch(a, s, base, line, (unsigned)way);
	return true;
}

enum cache_level cache_access(struct cache *c, hpa_t hpa)
{
	uint64_t line = line_of(hpa);
	unsigned place = CACHE_L1D;

	ASSERT(line >> (PAGE_SHIFT - LINE_SHIFT));
	while (place < CACHE_LEVELS && !hit(c, place, line))
		place = level_after(c, place);
	/* From the outermost inwards: what an inclusive level evicts is gone before the smaller ones are filled. */
	for (unsigned k = place; k-- > CACHE_L1D;)
		if (c->level[k].present && c->holds[k] != CACHE_VICTIM)
			fill(c, k, line);
	return (enum cache_level)place;
}

bool cache_has(const struct cache *c, enum cache_level level, hpa_t hpa)
{
	return array_slot(&c->level[level], line_of(hpa)) >= 0;
}

static const char *audit_line(const struct cache *c, unsigned k, uint64_t line)
{
	unsigned last = level_after(c, k);

	for (; last < CACHE_LEVELS; last = level_after(c, last)) {
		bool there = array_slot(&c->level[last], line) >= 0;

		if (c->holds[last] == CACHE_INCLUSIVE && !there)
			return "a level lacks a line that it must include";
		if (c->holds[last] == CACHE_VICTIM && level_after(c, k) == last && there)
			return "a line is in a victim cache and in the level before it";
	}
	return NULL;
}

int cache_audit(const struct cache *c, const char **why)
{
	*why = NULL;
	for (unsigned k = 0; k < CACHE_LEVELS; k++) {
		const struct tlb_array *a = &c->level[k];
		size_t slots = a->present ? ((size_t)a->set_mask + 1) * a->ways : 0;

		for (size_t i = 0; i < slots && !*why; i++)
			if (a->tags[i])
				*why = audit_line(c, k, a->tags[i]);
	}
	return *why ? -EINVAL : 0;
}
