/* SPDX-License-Identifier: MIT */
/*
 * The limit the engine is compared with: a TLB loop that knows one geometry
 * (that of preset "generic": L1D 64 x 4, L2 1536 x 12, exact LRU, the same
 * walk caches and nested TLB), one page size and one address space, with the
 * walk over real tables in the loop. It counts and does nothing else: no
 * rights, no events, no digest.
 */
#ifndef QUIRE_BENCH_BARE_TLB_H
#define QUIRE_BENCH_BARE_TLB_H

#include "streams.h"

enum bare_mode {
	BARE_READ,          /* only reads the records */
	BARE_TLB,           /* a miss is filled without a walk */
	BARE_NATIVE,        /* 4-level walk, no walk caches */
	BARE_NATIVE_CACHED,
	BARE_NESTED,        /* 24 references */
	BARE_NESTED_CACHED, /* walk caches of both dimensions, combined, and the nested TLB */
	BARE_MODES
};

struct bare_counts {
	uint64_t refs, l1_misses, l2_misses, walk_loads;
	uint64_t sum; /* of the frames found: equal in all modes but BARE_READ */
};

/* Tables for the pages [base, base + bytes). NULL: no memory. */
struct bare *bare_create(uint64_t base, uint64_t bytes);
void bare_destroy(struct bare *b);
/* From cold TLBs. Returns references per second. */
double bare_run(struct bare *b, const struct stream *s, enum bare_mode mode, struct bare_counts *counts);
const char *bare_mode_name(enum bare_mode mode);
bool bare_has_avx2(void);

#endif
