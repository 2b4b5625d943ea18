/* SPDX-License-Identifier: MIT */
/*
 * srrip: static re-reference interval prediction (Jaleel, Theobald, Steely and
 * Emer, ISCA 2010, section 4.1), hit priority, two bits a way. A new entry is
 * guessed to be used again late, one that was hit soon; the victim is the first
 * way that is guessed latest. Pages touched once go before those touched twice,
 * which LRU cannot tell apart.
 *
 *     value of a way:  0 soon   1   2 late (new)   3 latest (victim)
 *
 * And a processor to try it on: `srrip` is `generic` with this policy.
 */
#include "plug/plugin.h"

enum { SOON = 0, LATE = 2, LATEST = 3, BITS = 2, WAYS_A_WORD = 32 };

static unsigned value_of(const uint64_t *state, unsigned way)
{
	return state[way / WAYS_A_WORD] >> (BITS * (way % WAYS_A_WORD)) & LATEST;
}

static void set_value(uint64_t *state, unsigned way, unsigned value)
{
	unsigned at = BITS * (way % WAYS_A_WORD);
	uint64_t *word = &state[way / WAYS_A_WORD];

	*word = (*word & ~((uint64_t)LATEST << at)) | (uint64_t)value << at;
}

static void srrip_hit(uint64_t *state, unsigned ways, unsigned way)
{
	set_value(state, way, SOON);
}

/* Ages all ways until one is at the end: three rounds at most. */
static unsigned srrip_victim(uint64_t *state, unsigned ways, struct rng *rng)
{
	for (;;) {
		for (unsigned way = 0; way < ways; way++)
			if (value_of(state, way) == LATEST)
				return way;
		for (unsigned way = 0; way < ways; way++)
			set_value(state, way, value_of(state, way) + 1);
	}
}

static void srrip_fill(uint64_t *state, unsigned ways, unsigned way)
{
	set_value(state, way, LATE);
}

static const struct tlb_policy_ops srrip_policy = {
	.name = "srrip",
	.summary = "re-reference interval prediction, two bits a way: what is used once goes first",
	.words = 2,
	.hit = srrip_hit,
	.victim = srrip_victim,
	.fill = srrip_fill,
};

#define SRRIP(s, w) { .sets = (s), .ways = (w), .policy = QUIRE_PLUGIN_POLICY(0) }
#define LRU(s, w) { .sets = (s), .ways = (w), .policy = TLB_LRU }

static const struct tlb_config srrip_machine = {
	.name = "srrip",
	.source = "a made-up processor: L1 as most have it, and an L2 of 1536 entries under srrip",
	.note = "walk caches of 4 and 16 entries",
	.l1i = { LRU(16, 8), LRU(1, 8), LRU(1, 4) },
	.l1d = { LRU(16, 4), LRU(8, 4), LRU(1, 4) },
	.l2 = { SRRIP(128, 12), SRRIP(128, 12), SRRIP(4, 4) },
	.walk = { LRU(4, 4), LRU(1, 4), LRU(1, 4) },
	.host_walk = { LRU(4, 4), LRU(1, 4), LRU(1, 4) },
	.nested = LRU(16, 4),
};

QUIRE_PLUGIN("srrip", QUIRE_PLUGIN_POLICIES(&srrip_policy), QUIRE_PLUGIN_PRESETS(&srrip_machine));
