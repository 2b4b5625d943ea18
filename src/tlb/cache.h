/* SPDX-License-Identifier: MIT */
/*
 * A model of the data caches of one core: up to three levels, indexed and
 * tagged by machine address, lines of 64 bytes.
 *
 *     line ─▶ L1D ── miss ─▶ L2 ── miss ─▶ LLC ── miss ─▶ memory
 *              ▲              ▲             ▲
 *              └── filled ────┴── filled ───┘   what lies between the hit and L1D
 *
 * A load and a store are alike (a store fetches its line; what is written
 * back is not modelled), and so are data and tables. Nothing is fetched ahead.
 *
 * How a level stands to the smaller ones (enum cache_holds):
 *
 *   FREE       filled with them, evicts by itself: a line may be in any
 *   INCLUSIVE  holds all they hold: what it evicts goes from them too
 *   VICTIM     holds what the level before it evicts; a hit moves the line out of it
 *
 * Which lines hit depends on machine addresses and their order alone, never
 * on where this process has its memory.
 */
#ifndef QUIRE_TLB_CACHE_H
#define QUIRE_TLB_CACHE_H

#include "tlb/tlb.h"

enum cache_level { CACHE_L1D, CACHE_L2, CACHE_LLC, CACHE_LEVELS, CACHE_MEMORY = CACHE_LEVELS, CACHE_PLACES };
enum cache_holds { CACHE_FREE, CACHE_INCLUSIVE, CACHE_VICTIM, CACHE_HOLDS };

/* "l1", "l2", "llc", "memory". */
const char *cache_place_name(enum cache_level place);
/* "free", "inclusive", "victim". */
const char *cache_holds_name(enum cache_holds h);

struct cache_level_config {
	struct tlb_array_config array; /* sets 0: there is no such level */
	uint8_t holds; /* enum cache_holds; of L1D it says nothing */
};

struct cache_config {
	char name[24];
	const char *source, *note;
	struct cache_level_config level[CACHE_LEVELS];
	uint64_t cycles[CACHE_PLACES]; /* from the load's start to its data, by where the line was */
	const char *cycles_source;
};

struct cache {
	struct tlb_array level[CACHE_LEVELS];
	uint8_t holds[CACHE_LEVELS];
	struct rng rng;
	const struct cache_config *config;
};

/* 0, or -EINVAL with *why. */
int cache_config_validate(const struct cache_config *c, const char **why);
size_t cache_bytes(const struct cache_config *c);
/* memory is cache_bytes() long, zeroed, 64-byte aligned and the caller's. The configuration validates. */
void cache_init(struct cache *c, const struct cache_config *config, uint64_t seed, void *memory);

/* One reference to the line of a machine address (not of frame 0): where it was. It is in L1D now. */
enum cache_level cache_access(struct cache *c, hpa_t hpa);
/* Does a level hold it? Nothing moves. */
bool cache_has(const struct cache *c, enum cache_level level, hpa_t hpa);
/* What INCLUSIVE and VICTIM promise: 0, or -EINVAL with *why. */
int cache_audit(const struct cache *c, const char **why);

/* Presets, NULL-terminated. */
enum { CACHE_PRESETS = 4 };
extern const struct cache_config *const cache_presets[CACHE_PRESETS + 1];
const struct cache_config *cache_preset_find(const char *name);

#endif
