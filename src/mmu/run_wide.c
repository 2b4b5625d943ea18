/* SPDX-License-Identifier: MIT */
/* The loop over references for processors with AVX2: one compare looks at four ways. */
#include "mmu/run_loop.h"

#if defined(__AVX2__)
enum { CPUID_OSXSAVE = 1 << 27, CPUID_AVX2 = 1 << 5, XCR0_SSE_AVX = 6 };

struct cpuid {
	unsigned a, b, c, d;
};

static struct cpuid cpuid(unsigned leaf)
{
	struct cpuid r;

	__asm__ volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(0));
	return r;
}

bool run_can_be_wide(void)
{
	unsigned low, high;

	if (cpuid(0).a < 7 || !(cpuid(1).c & CPUID_OSXSAVE))
		return false;
	/* The system must keep the wide registers, too. */
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (low & XCR0_SSE_AVX) == XCR0_SSE_AVX && (cpuid(7).b & CPUID_AVX2);
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
