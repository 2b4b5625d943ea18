/* SPDX-License-Identifier: MIT */
/*
 * bench-tlb [PRESET] [REFS]: the modelled TLBs alone. Each stream goes through
 * tlb_hot, tlb_lookup_rest and tlb_fill with a translation that costs nothing,
 * so the time is that of lookup, move-to-front, refill and fill.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "streams.h"
#include "tlb/tlb.h"

enum { SPACE = 1, PASSES = 4, SEED = 42 };

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Folds each data word into the result, so that none can be left out. */
static uint64_t run(struct tlb *t, const struct stream *s, bool hot)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < s->n; i++) {
		uint64_t vpn = ref_gva(s->refs[i]) >> PAGE_SHIFT;
		uint64_t data = hot ? tlb_hot(t, false, tlb_tag(SPACE, 0, vpn, 0)) : 0;

		if (!data)
			data = tlb_lookup_rest(t, ACC_READ, SPACE, 0, vpn);
		if (!data) {
			struct tlb_entry e = {.vpn = vpn, .space = SPACE, .vmid = 1, .flags = TLB_R | TLB_W, .mfn = vpn};

			tlb_fill(t, ACC_READ, &e);
			data = tlb_data(vpn, 1, 0, 0);
		}
		sum += tlb_data_mfn(data);
	}
	return sum;
}

static void bench(const struct tlb_config *config, const struct stream *s)
{
	size_t bytes = (tlb_bytes(config) + 63) & ~(size_t)63;
	void *memory = aligned_alloc(64, bytes);
	bool hot = config->l1d[0].sets && config->l1d[0].policy != TLB_PLRU;
	double best = 1e9;
	uint64_t sum = 0;
	struct tlb t;

	if (!memory)
		abort();
	for (int pass = 0; pass < PASSES; pass++) {
		double start;

		memset(memory, 0, bytes);
		if (tlb_init(&t, config, 1, SEED, memory))
			abort();
		start = now();
		sum += run(&t, s, hot);
		if (now() - start < best)
			best = now() - start;
	}
	printf("%-8s %-10s %10.1f %12.4f %12.4f   %016llx\n", s->name, config->name, (double)s->n / best * 1e-6,
	       100.0 * (double)t.counts.l1d_misses / (double)s->n, 100.0 * (double)t.counts.l2_misses / (double)s->n,
	       (unsigned long long)sum);
	free(memory);
}

int main(int argc, char **argv)
{
	const struct tlb_config *only = argc > 1 ? tlb_preset_find(argv[1]) : NULL;
	size_t n = argc > 2 ? strtoul(argv[2], NULL, 0) : 4000000;

	if (argc > 1 && !only) {
		fprintf(stderr, "usage: bench-tlb [PRESET] [REFS]\n");
		return 2;
	}
	printf("%-8s %-10s %10s %12s %12s   %s\n", "stream", "preset", "M refs/s", "L1 miss %", "L2 miss %", "sum");
	for (int k = 0; k < STREAMS; k++) {
		struct stream s;

		if (!stream_init(&s, (enum stream_kind)k, n, SEED))
			return 4;
		for (const struct tlb_config *const *p = tlb_presets; *p; p++)
			if (!only || only == *p)
				bench(*p, &s);
		stream_fini(&s);
	}
	return 0;
}
