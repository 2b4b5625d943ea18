/* SPDX-License-Identifier: MIT */
/* A histogram of small counts: exact below 64, then by powers of two. */
#ifndef QUIRE_BASE_STATS_H
#define QUIRE_BASE_STATS_H

#include <stdint.h>

#include "base/bits.h"

enum { HIST_EXACT = 64, HIST_LOG = 58, HIST_BUCKETS = HIST_EXACT + HIST_LOG };

struct histogram {
	uint64_t bucket[HIST_BUCKETS];
};

static inline unsigned hist_bucket(uint64_t x)
{
	return x < HIST_EXACT ? (unsigned)x : HIST_EXACT + log2_floor(x) - 6;
}

static inline void hist_add(struct histogram *h, uint64_t x) { h->bucket[hist_bucket(x)]++; }

/* The smallest value that falls into bucket b. */
static inline uint64_t hist_bucket_low(unsigned b)
{
	return b < HIST_EXACT ? b : BIT(b - HIST_EXACT + 6);
}

#endif
