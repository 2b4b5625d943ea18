/* SPDX-License-Identifier: MIT */
/*
 * The bare loop's tables and clock.
 *
 * Frames: page i of the footprint is native frame i, so that the sum of the
 * frames found checks every walk. The guest has page i at gfn i and its tables
 * behind; the host maps gfn g to machine frame g. Table 0 is a root.
 */
#include "bare_tlb.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "bare_loop.h"

enum { HUGE_BYTES = 2 << 20 };

/* Under construction: a 4-level tree over pages [first_key, first_key + n). */
struct tree {
	uint64_t *words;
	uint64_t tables, first_frame;
};

/* Upper bound of the tables for n pages, wherever they begin. */
static uint64_t tables_for(uint64_t n)
{
	uint64_t tables = 1;

	for (unsigned level = 1; level < BARE_LEVELS; level++)
		tables += (n >> (BARE_LEVEL_BITS * level)) + 2;
	return tables;
}

static bool tree_init(struct tree *t, uint64_t first_frame, uint64_t pages)
{
	uint64_t bytes = align_up(tables_for(pages) * BARE_ENTRIES * sizeof(uint64_t), HUGE_BYTES);

	*t = (struct tree){.words = aligned_alloc(HUGE_BYTES, bytes), .tables = 1, .first_frame = first_frame};
	if (!t->words)
		return false;
	/* The host's own TLB must not be what is measured. A refusal costs time only. */
	(void)madvise(t->words, bytes, MADV_HUGEPAGE);
	memset(t->words, 0, bytes);
	return true;
}

/* An entry of 0 is empty: frame 0 is mapped at the leaf only, tables never stand there. */
static void tree_map(struct tree *t, uint64_t key, uint64_t frame)
{
	uint64_t table = 0;

	for (unsigned level = BARE_LEVELS - 1; level > 0; level--) {
		uint64_t *e = &t->words[table * BARE_ENTRIES +
					((key >> (BARE_LEVEL_BITS * level)) & (BARE_ENTRIES - 1))];

		if (!*e)
			*e = t->first_frame + t->tables++;
		table = *e - t->first_frame;
	}
	t->words[table * BARE_ENTRIES + (key & (BARE_ENTRIES - 1))] = frame;
}

struct bare *bare_create(uint64_t base, uint64_t bytes)
{
	uint64_t first = base >> PAGE_SHIFT, pages = (bytes + PAGE_MASK) >> PAGE_SHIFT;
	uint64_t gfns = pages + tables_for(pages);
	struct bare *b = aligned_alloc(64, align_up(sizeof(*b), 64));
	struct tree native, guest, host;

	if (!b)
		return NULL;
	memset(b, 0, sizeof(*b));
	if (!tree_init(&native, 1, pages) || !tree_init(&guest, pages, pages) || !tree_init(&host, 1, gfns))
		abort();
	for (uint64_t i = 0; i < pages; i++) {
		tree_map(&native, first + i, first + i);
		tree_map(&guest, first + i, i);
	}
	/* Data frames are the pages themselves again, so that all sums are equal. */
	for (uint64_t g = 0; g < gfns; g++)
		tree_map(&host, g, first + g);
	b->native_tables = native.words;
	b->native_first = native.first_frame;
	b->guest_tables = guest.words;
	b->guest_first = guest.first_frame;
	b->guest_machine = first + guest.first_frame;
	b->host_tables = host.words;
	b->host_first = host.first_frame;
	return b;
}

void bare_destroy(struct bare *b)
{
	free(b->native_tables);
	free(b->guest_tables);
	free(b->host_tables);
	free(b);
}

bool bare_has_avx2(void)
{
#if defined(__x86_64__)
	return __builtin_cpu_supports("avx2");
#else
	return false;
#endif
}

static void make_cold(struct bare *b)
{
	memset(b->l1, 0, sizeof(b->l1));
	memset(b->l2, 0, sizeof(b->l2));
	memset(b->nested, 0, sizeof(b->nested));
	memset(&b->guest, 0, sizeof(b->guest));
	memset(&b->host, 0, sizeof(b->host));
	for (unsigned i = 0; i < BARE_L2_SETS; i++)
		b->l2_order[i] = UINT64_C(0xfedcba9876543210);
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

double bare_run(struct bare *b, const struct stream *s, enum bare_mode mode, struct bare_counts *counts)
{
	double start;

	make_cold(b);
	start = seconds();
#if defined(__x86_64__)
	if (bare_has_avx2())
		bare_loop_avx2(b, s->refs, s->n, mode, counts);
	else
#endif
		bare_loop_plain(b, s->refs, s->n, mode, counts);
	return (double)s->n / (seconds() - start);
}

static const char *const mode_names[BARE_MODES] = {
	[BARE_READ] = "read only",
	[BARE_TLB] = "tlb, no walk",
	[BARE_NATIVE] = "native",
	[BARE_NATIVE_CACHED] = "native+caches",
	[BARE_NESTED] = "nested",
	[BARE_NESTED_CACHED] = "nested+caches",
};

const char *bare_mode_name(enum bare_mode mode)
{
	return mode_names[mode];
}
