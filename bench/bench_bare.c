/* SPDX-License-Identifier: MIT */
/* bench-bare [REFS]: absolute rates of the bare loop, every stream under every mode, best of a few passes. */
#include <stdio.h>
#include <stdlib.h>

#include "bare_tlb.h"

enum { PASSES = 4, SEED = 42 };

static bool print_stream(enum stream_kind kind, size_t n)
{
	struct stream s;
	struct bare *b;

	if (!stream_init(&s, kind, n, SEED))
		return false;
	b = bare_create(s.base, s.bytes);
	if (!b)
		return false;
	for (int mode = 0; mode < BARE_MODES; mode++) {
		struct bare_counts c;
		double best = 0;

		for (int pass = 0; pass < PASSES; pass++) {
			double rate = bare_run(b, &s, (enum bare_mode)mode, &c);

			best = rate > best ? rate : best;
		}
		printf("%-8s %-14s %10.1f %12.4f %12.4f %12.3f\n", s.name, bare_mode_name((enum bare_mode)mode),
		       best * 1e-6, 100.0 * (double)c.l1_misses / (double)n, 100.0 * (double)c.l2_misses / (double)n,
		       c.l2_misses ? (double)c.walk_loads / (double)c.l2_misses : 0);
	}
	bare_destroy(b);
	stream_fini(&s);
	return true;
}

int main(int argc, char **argv)
{
	size_t n = argc > 1 ? strtoul(argv[1], NULL, 0) : 4000000;

	printf("%s\n", bare_has_avx2() ? "AVX2" : "no AVX2");
	printf("%-8s %-14s %10s %12s %12s %12s\n", "stream", "mode", "M refs/s", "L1 miss %", "L2 miss %", "loads/walk");
	for (int k = 0; k < STREAMS; k++)
		if (!print_stream((enum stream_kind)k, n))
			return 4;
	return 0;
}
