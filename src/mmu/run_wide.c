/* SPDX-License-Identifier: MIT */
/* The loop over references for processors with AVX2: one compare looks at four ways. */
#include "mmu/run_loop.h"

enum access_status run_4ways_wide(struct run *r, const ref_t *refs, size_t n, size_t *done)
{
	return run_hot(r, refs, n, done, HOT_4WAYS);
}
