/* SPDX-License-Identifier: MIT */
/*
 * What the data caches of a processor are shown (--caches): the lines of the
 * workload's loads and stores, by run.c, and each load that is charged to a
 * walk of the workload's, as a log of the table memories hears it.
 *
 * A log closes every way round struct pt_mem, so that no load is missed; and
 * without caches there is no log, and nothing here costs anything.
 *
 * Not shown: instruction fetches (they have a cache of their own), what the
 * guest's kernel and the hypervisor themselves load and store.
 */
#ifndef QUIRE_MMU_CACHES_H
#define QUIRE_MMU_CACHES_H

#include <assert.h>

#include "machine/pt_mem.h"
#include "tlb/cache.h"
#include "vm/stats.h"

struct cache_feed {
	struct pt_log log;
	struct cache *cache;
	bool walking; /* loads now are charged to a walk of the workload's */
	uint64_t table[CACHE_PLACES]; /* of this walk */
};
static_assert((int)CACHE_PLACES == (int)VM_CACHE_PLACES, "counted by vm_stats");

void cache_feed_init(struct cache_feed *feed, struct cache *cache);
/* The workload touched n bytes at hpa, within a page. */
void cache_feed_data(struct cache_feed *feed, struct vm_stats *s, hpa_t hpa, unsigned n);
void cache_feed_walk_begin(struct cache_feed *feed);
void cache_feed_walk_end(struct cache_feed *feed, struct vm_stats *s);

#endif
