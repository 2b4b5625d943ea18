/* SPDX-License-Identifier: MIT */
/* What the two builds of bare_loop.c (with AVX2 and without) share with bare_tlb.c. */
#ifndef QUIRE_BENCH_BARE_LOOP_H
#define QUIRE_BENCH_BARE_LOOP_H

#include "bare_tlb.h"

enum {
	BARE_L1_SETS = 16, BARE_L1_WAYS = 4,
	BARE_L2_SETS = 128, BARE_L2_WAYS = 12,
	BARE_NESTED_SETS = 16,
	BARE_PDE_SETS = 8,
	BARE_LEVELS = 4,
	BARE_ENTRIES = 512, BARE_LEVEL_BITS = 9,
};

/* A set of four, newest first: one cache line. Tags are never 0. */
struct bare_set4 {
	uint64_t tag[4], data[4];
} __attribute__((aligned(64)));

struct bare_set12 {
	uint64_t tag[12], data[12];
} __attribute__((aligned(64)));

/* Walk caches of one dimension, by level of the table they lead to. */
struct bare_walk_caches {
	struct bare_set4 pde[BARE_PDE_SETS], pdpte, pml4;
};

struct bare {
	struct bare_set4 l1[BARE_L1_SETS];
	struct bare_set12 l2[BARE_L2_SETS];
	uint64_t l2_order[BARE_L2_SETS]; /* nibble p: the way used p-th last */
	struct bare_set4 nested[BARE_NESTED_SETS];
	struct bare_walk_caches guest, host;
	/*
	 * Tables are arrays of words. Native: guest_tables, entries hold the
	 * frame of the next table or page. Nested: those frames are guest
	 * frames, host_tables map them. A frame's table is frame - first_*.
	 */
	uint64_t *native_tables, *guest_tables, *host_tables;
	uint64_t native_first, guest_first, host_first; /* frame of table 0, the root */
	uint64_t guest_machine;                         /* machine frame of guest_tables' table 0 */
};

void bare_loop_plain(struct bare *b, const ref_t *refs, size_t n, enum bare_mode mode, struct bare_counts *c);
void bare_loop_avx2(struct bare *b, const ref_t *refs, size_t n, enum bare_mode mode, struct bare_counts *c);

#endif
