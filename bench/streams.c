/* SPDX-License-Identifier: MIT */
#include "streams.h"

#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

enum {
	HOT_PAGES = 48,
	L2_PAGES = 1000,
	STREAM_BASE_SHIFT = 36, /* all streams begin at 64 GiB */
	ACCESS_BYTES = 8,
};

/*
 * The mixed stream draws a position in a stack of recently used pages, so
 * that each figure of the target is one threshold: in thousandths of all
 * references, those on the page before, on the three before that, and on the
 * rest of a hot set; what remains goes to a warm set that fits L2, one in
 * MIXED_COLD of it anywhere.
 */
enum {
	MIXED_SAME = 560,
	MIXED_NEAR = 830,
	MIXED_HOT = 963,
	MIXED_NEAR_DEPTH = 4,
	MIXED_STACK = 32,
	MIXED_WARM_PAGES = 1000,
	MIXED_PAGES = 16384,
	MIXED_COLD = 64,
};

static const struct {
	const char *name;
	uint64_t pages;
} kinds[STREAMS] = {
	[STREAM_HOT] = {"hot", HOT_PAGES},
	[STREAM_MIXED] = {"mixed", MIXED_PAGES},
	[STREAM_L2] = {"l2", L2_PAGES},
	[STREAM_RANDOM] = {"random", UINT64_C(1) << 20},
};

struct recent {
	uint32_t page[MIXED_STACK]; /* distinct, most recent first */
};

/* Position of page in the stack; the last one's if it is not there. */
static unsigned recent_find(const struct recent *r, uint32_t page)
{
	unsigned i = 0;

	while (i < MIXED_STACK - 1 && r->page[i] != page)
		i++;
	return i;
}

static uint32_t recent_use(struct recent *r, unsigned i, uint32_t page)
{
	memmove(r->page + 1, r->page, i * sizeof(r->page[0]));
	r->page[0] = page;
	return page;
}

static uint32_t mixed_page(struct recent *r, struct rng *rng)
{
	uint64_t x = rng_below(rng, 1000);
	uint32_t page;
	unsigned i;

	if (x < MIXED_SAME)
		return r->page[0];
	if (x < MIXED_HOT) {
		i = x < MIXED_NEAR ? 1 + (unsigned)rng_below(rng, MIXED_NEAR_DEPTH - 1)
				   : MIXED_NEAR_DEPTH + (unsigned)rng_below(rng, MIXED_STACK - MIXED_NEAR_DEPTH);
		return recent_use(r, i, r->page[i]);
	}
	page = (uint32_t)rng_below(rng, rng_below(rng, MIXED_COLD) ? MIXED_WARM_PAGES : MIXED_PAGES);
	return recent_use(r, recent_find(r, page), page);
}

static void fill(struct stream *s, struct rng *rng)
{
	uint64_t pages = s->bytes >> PAGE_SHIFT;
	struct recent recent;

	for (uint32_t i = 0; i < MIXED_STACK; i++)
		recent.page[i] = i;
	for (size_t i = 0; i < s->n; i++) {
		uint64_t page = s->kind == STREAM_MIXED ? mixed_page(&recent, rng) : rng_below(rng, pages);
		uint64_t word = rng_below(rng, PAGE_SIZE / ACCESS_BYTES);
		/* A quarter of the data references of programs are stores, give or take. */
		enum acc_kind kind = rng_below(rng, 4) ? ACC_READ : ACC_WRITE;

		s->refs[i] = make_ref(s->base + (page << PAGE_SHIFT) + word * ACCESS_BYTES, kind, ACCESS_BYTES);
	}
}

bool stream_init(struct stream *s, enum stream_kind kind, size_t n, uint64_t seed)
{
	struct rng rng;

	*s = (struct stream){
		.kind = kind,
		.name = kinds[kind].name,
		.base = UINT64_C(1) << STREAM_BASE_SHIFT,
		.bytes = kinds[kind].pages << PAGE_SHIFT,
		.n = n,
		.refs = malloc(n * sizeof(ref_t)),
	};
	if (!s->refs)
		return false;
	rng_init(&rng, seed);
	fill(s, &rng);
	return true;
}

void stream_fini(struct stream *s)
{
	free(s->refs);
	s->refs = NULL;
}

int stream_kind_find(const char *name)
{
	for (int k = 0; k < STREAMS; k++)
		if (!strcmp(kinds[k].name, name))
			return k;
	return -1;
}
