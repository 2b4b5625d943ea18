/* SPDX-License-Identifier: MIT */
#include "pt/array.h"

void pt_array_init(struct pt_array *a, uint64_t bytes)
{
	uint64_t frames = align_up(bytes, PAGE_SIZE) >> PAGE_SHIFT;
	unsigned whole = log2_ceil(frames);
	unsigned order = whole > 4 ? whole - 4 : 0;

	*a = (struct pt_array){ .bytes = bytes, .seg_shift = PAGE_SHIFT + order };
	a->nsegs = (uint32_t)((frames + BIT(order) - 1) >> order);
}

static unsigned segment_order(const struct pt_array *a, uint32_t i)
{
	uint64_t rest = a->bytes - ((uint64_t)i << a->seg_shift);

	if (i + 1 < a->nsegs)
		return a->seg_shift - PAGE_SHIFT;
	return log2_ceil(align_up(rest, PAGE_SIZE) >> PAGE_SHIFT);
}

static void free_segments(struct pt_array *a, struct pt_mem *m, uint32_t n)
{
	while (n-- > 0) {
		ptm_free(m, a->base[n], segment_order(a, n));
		a->base[n] = 0;
	}
}

int pt_array_alloc(struct pt_array *a, struct pt_mem *m)
{
	for (uint32_t i = 0; i < a->nsegs; i++) {
		int rc = ptm_alloc(m, segment_order(a, i), &a->base[i]);

		if (rc) {
			free_segments(a, m, i);
			return rc;
		}
	}
	return 0;
}

void pt_array_free(struct pt_array *a, struct pt_mem *m)
{
	free_segments(a, m, a->nsegs);
}

uint64_t pt_array_allocated(const struct pt_array *a)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < a->nsegs; i++)
		sum += PAGE_SIZE << segment_order(a, i);
	return sum;
}

bool pt_array_ok(const struct pt_array *a)
{
	for (uint32_t i = 0; i < a->nsegs; i++)
		if (!a->base[i] || !is_aligned(a->base[i], PAGE_SIZE))
			return false;
	return true;
}

bool pt_array_offset(const struct pt_array *a, uint64_t addr, uint64_t *offset)
{
	for (uint32_t i = 0; i < a->nsegs; i++) {
		uint64_t within = addr - a->base[i];

		*offset = ((uint64_t)i << a->seg_shift) + within;
		if (within < BIT(a->seg_shift) && *offset < a->bytes)
			return true;
	}
	return false;
}
