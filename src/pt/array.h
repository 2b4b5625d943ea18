/* SPDX-License-Identifier: MIT */
/*
 * An array in pt_mem: up to 16 allocations of one size (the last may be
 * smaller), found by the upper bits of the offset.
 *
 *   offset   │ segment │ within it │      address = base[segment] + within
 *                       seg_shift
 *
 * One allocation would have to be a power of two (up to twice what is needed)
 * and no larger than the allocator's largest block; so many pieces waste a
 * sixteenth at most. Elements are powers of two up to a line, so none straddles.
 */
#ifndef QUIRE_PT_ARRAY_H
#define QUIRE_PT_ARRAY_H

#include "machine/pt_mem.h"

enum { PT_ARRAY_SEGMENTS = 16 };

struct pt_array {
	uint64_t bytes; /* in use; the geometry follows from it alone */
	uint32_t seg_shift;
	uint32_t nsegs;
	uint64_t base[PT_ARRAY_SEGMENTS];
};

/* Fills the geometry, not the bases. bytes > 0. */
void pt_array_init(struct pt_array *a, uint64_t bytes);
/* Allocates zeroed segments. -ENOMEM: nothing allocated. */
int pt_array_alloc(struct pt_array *a, struct pt_mem *m);
void pt_array_free(struct pt_array *a, struct pt_mem *m);
/* Bytes the segments take, rounding included. */
uint64_t pt_array_allocated(const struct pt_array *a);
/* Bases read back from a table's header: frame-aligned and not null? */
bool pt_array_ok(const struct pt_array *a);

static ALWAYS_INLINE uint64_t pt_array_at(const struct pt_array *a, uint64_t offset)
{
	return a->base[offset >> a->seg_shift] + (offset & low_bits(a->seg_shift));
}

/* The other way: is addr within it, and at which offset? */
bool pt_array_offset(const struct pt_array *a, uint64_t addr, uint64_t *offset);

#endif
