/* SPDX-License-Identifier: MIT */
/* The loop over references for processors with AVX2: one compare looks at four ways. */
#include "mmu/run_loop.h"

#if defined(__AVX2__)
#include <cpuid.h>

enum { CPUID_OSXSAVE = 1 << 27, CPUID_AVX2 = 1 << 5, XCR0_SSE_AVX = 6 };

bool run_can_be_wide(void)
{
	unsigned a, b, c, d, low, high;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & CPUID_OSXSAVE))
		return false;
	/* The system must keep the wide registers, too. */
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	if ((low & XCR0_SSE_AVX) != XCR0_SSE_AVX)
		return false;
	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & CPUID_AVX2);
}
#else
bool run_can_be_wide(void)
{
	return false;
}
#endif

enum access_status run_4ways_wide(struct run *r, const ref_t *refs, size_t n, size_t *done)
{
	return run_hot(r, refs, n, done, HOT_4WAYS);
}
