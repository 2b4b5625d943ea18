/* SPDX-License-Identifier: MIT */
/*
 * Walk caches (paging-structure caches, SDM vol. 3, 4.10.3; AMD's page-walk
 * cache): remember, for the upper bits of an address, where the next table
 * stands, so that a walk starts there instead of at the root.
 *
 *   level k cache:  (space, va >> shift[k] + bits[k])  ─▶  level-k table, rights so far
 *
 * One struct serves guest tables (keyed by gva) and second-stage tables
 * (keyed by gpa, space = the VM's gpa space).
 */
#ifndef QUIRE_TLB_WALKCACHE_H
#define QUIRE_TLB_WALKCACHE_H

#include "tlb/tlb.h"

enum { WC_LEVELS = 4 };

struct wc_counts {
	uint64_t lookups, hits[WC_LEVELS], fills, dropped;
};

struct walk_cache {
	struct tlb_array level[WC_LEVELS]; /* [k]: where level-k tables stand; data is an index into .val, it stays with its slot */
	struct wc_value {
		uint64_t table; /* its address in the walker's memory (gpa or hpa) */
		uint64_t mfn;   /* machine frame of it, or INVALID_FRAME */
		uint64_t rights; /* accumulated above it */
	} *val[WC_LEVELS];
	uint8_t shift[WC_LEVELS]; /* va >> shift[k] is the key of level k; 64: unused */
	bool any;
	struct rng rng;
	struct wc_counts counts;
};

size_t wc_bytes(const struct tlb_array_config config[WC_LEVELS]);
/*
 * shift[k] for k < levels - 1 is the format's shift[k] + bits[k] (the root is
 * never cached); unused levels 64. memory as for tlb_init.
 */
void wc_init(struct walk_cache *wc, const struct tlb_array_config config[WC_LEVELS],
	     const uint8_t shift[WC_LEVELS], uint64_t seed, void *memory);
/* Another format from now on; drops everything. */
void wc_set_shifts(struct walk_cache *wc, const uint8_t shift[WC_LEVELS]);

/* The lowest level that hits, or -1; *v filled. Probes level 0 first; counts. */
int wc_lookup(struct walk_cache *wc, uint32_t space, uint64_t va, struct wc_value *v);
/* Without counting or moving. */
int wc_peek(const struct walk_cache *wc, uint32_t space, uint64_t va, struct wc_value *v);
void wc_fill(struct walk_cache *wc, uint32_t space, uint64_t va, unsigned level, const struct wc_value *v);

/* Drops entries of this space whose range of va overlaps [va, va + bytes). bytes 0: all of the space. */
unsigned wc_inval_range(struct walk_cache *wc, uint32_t space, uint64_t va, uint64_t bytes);
unsigned wc_inval_space(struct walk_cache *wc, uint32_t space);
/* Drops entries whose table stands in machine frames [mfn, mfn + n). */
unsigned wc_inval_frames(struct walk_cache *wc, uint64_t mfn, uint64_t n);
unsigned wc_inval_all(struct walk_cache *wc);

#endif
