/* SPDX-License-Identifier: MIT */
#include "base/wide.h"

#if defined(__x86_64__)
/* Intel SDM vol. 2, CPUID; vol. 1, 14.3: how software finds AVX2. All of WIDE is asked for by the build (meson.build). */
enum { CPUID_OSXSAVE = 1 << 27, CPUID_BMI1 = 1 << 3, CPUID_AVX2 = 1 << 5, CPUID_BMI2 = 1 << 8, XCR0_SSE_AVX = 6,
       WIDE = CPUID_BMI1 | CPUID_AVX2 | CPUID_BMI2 };

struct cpuid {
	unsigned a, b, c, d;
};

static struct cpuid cpuid(unsigned leaf)
{
	struct cpuid r;

	__asm__ volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(0));
	return r;
}

static bool ask(void)
{
	unsigned low, high;

	if (cpuid(0).a < 7 || !(cpuid(1).c & CPUID_OSXSAVE))
		return false;
	/* The system must keep the wide registers, too. */
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (low & XCR0_SSE_AVX) == XCR0_SSE_AVX && (cpuid(7).b & WIDE) == WIDE;
}
#else
static bool ask(void)
{
	return false;
}
#endif

bool host_is_wide(void)
{
	/* Under a hypervisor cpuid is an exit. */
	static enum { UNKNOWN, NO, YES } known;

	if (known == UNKNOWN)
		known = ask() ? YES : NO;
	return known == YES;
}
