/* SPDX-License-Identifier: MIT */
/*
 * Data caches of published processors. One core's share: what other cores
 * would take of a shared level, or hold it up by, is not modelled.
 */
#include <stddef.h>

#include "tlb/cache.h"

#define LRU(s, w) {.array = {.sets = (s), .ways = (w), .policy = TLB_LRU}}
#define INCL(s, w) {.array = {.sets = (s), .ways = (w), .policy = TLB_LRU}, .holds = CACHE_INCLUSIVE}
#define VICT(s, w) {.array = {.sets = (s), .ways = (w), .policy = TLB_LRU}, .holds = CACHE_VICTIM}

static const struct cache_config generic = {
	.name = "generic",
	.source = "none: after Intel Skylake client, as in the Intel 64 and IA-32 Architectures Optimization "
		  "Reference Manual (248966), cache parameters of the Skylake microarchitecture; WikiChip, Skylake (client)",
	.note = "L1D 32K 8-way, L2 256K 4-way, LLC 8M 16-way, inclusive of both.",
	.level = {LRU(64, 8), LRU(1024, 4), INCL(8192, 16)},
	.cycles = {4, 12, 44, 200},
	.cycles_source = "L1, L2, L3: Intel Optimization Reference Manual, cache parameters of Skylake; memory: "
			 "estimate for about 3 GHz from 42 cycles + 51 ns, 7-cpu.com, i7-6700",
};

static const struct cache_config skylake_server = {
	.name = "skylake-server",
	.source = "Intel 64 and IA-32 Architectures Optimization Reference Manual (248966), cache parameters of the "
		  "Skylake Server microarchitecture; WikiChip, Skylake (server); AnandTech on Skylake-X, 2017",
	.note = "L1D 32K 8-way, L2 1M 16-way, LLC 22M (16 slices of 1.375M) 11-way, a victim cache of L2. That a line "
		"hit in the LLC leaves it is an assumption: silicon keeps some that others share.",
	.level = {LRU(64, 8), LRU(1024, 16), VICT(32768, 11)},
	.cycles = {4, 14, 70, 240},
	.cycles_source = "L1, L2: Intel Optimization Reference Manual; L3: 50 to 70 by WikiChip, 77 measured by "
			 "AnandTech (i9-7900X); memory: estimate, some 80 ns at 3 GHz",
};

static const struct cache_config zen2 = {
	.name = "zen2",
	.source = "AMD Software Optimization Guide for Family 17h models 30h and later (56305), section on the "
		  "memory hierarchy; WikiChip, Zen 2; AnandTech on Zen 2, 2019",
	.note = "L1D 32K 8-way, L2 512K 8-way, inclusive of L1D, LLC 16M 16-way (of one complex), a victim cache of L2. "
		"Silicon's walker reads L2, not L1D (Bhargava et al., ASPLOS 2008); here tables go through L1D as "
		"data do.",
	.level = {LRU(64, 8), INCL(1024, 8), VICT(16384, 16)},
	.cycles = {4, 12, 39, 280},
	.cycles_source = "L1, L2, L3: AMD Software Optimization Guide 56305, WikiChip, Zen 2; memory: estimate, some "
			 "95 ns through the I/O die at 3 GHz",
};

static const struct cache_config rocket = {
	.name = "rocket",
	.source = "chipsalliance/rocket-chip, src/main/scala/rocket, DCacheParams; "
		  "chipsalliance/rocket-chip-inclusive-cache, WithInclusiveCache: defaults",
	.note = "L1D 16K 4-way, random; L2 512K 8-way, inclusive, random; no LLC. Its walker reads L1D.",
	.level = {
		{.array = {.sets = 64, .ways = 4, .policy = TLB_RANDOM}},
		{.array = {.sets = 1024, .ways = 8, .policy = TLB_RANDOM}, .holds = CACHE_INCLUSIVE},
	},
	.cycles = {2, 25, 25, 100},
	.cycles_source = "L1: load-to-use, rocket-chip, RocketCore.scala; L2 and memory: estimates for some 1 GHz, from "
			 "the inclusive cache's outer latency of 40 cycles",
};

const struct cache_config *const cache_presets[CACHE_PRESETS + 1] = { &generic, &skylake_server, &zen2, &rocket, NULL };

const struct cache_config *cache_preset_find(const char *name)
{
	for (unsigned i = 0; cache_presets[i]; i++) {
		const char *a = cache_presets[i]->name, *b = name;

		while (*a && *a == *b) {
			a++;
			b++;
		}
		if (*a == *b)
			return cache_presets[i];
	}
	return NULL;
}
