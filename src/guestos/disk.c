/* SPDX-License-Identifier: MIT */
/*
 * The guest's disk: slots of a page. A frame that came from a slot, or went
 * to one, keeps it until it differs, so that a clean page is not written
 * again. Contents are kept where there are any (data mode), and travel as a
 * device moves them: through the second door.
 */
#include <stdlib.h>

#include "base/bug.h"
#include "guestos/guest_internal.h"

void disk_fini(struct disk *d)
{
	for (uint32_t i = 0; i < d->nslots; i++)
		free(d->bytes[i]);
	free(d->refs);
	free(d->bytes);
	free(d->free);
	*d = (struct disk){ 0 };
}

static void grow(struct disk *d)
{
	uint32_t cap = d->cap ? d->cap * 2 : 256;

	d->refs = realloc(d->refs, cap * sizeof(*d->refs));
	d->bytes = realloc(d->bytes, cap * sizeof(*d->bytes));
	d->free = realloc(d->free, cap * sizeof(*d->free));
	BUG_ON(!d->refs || !d->bytes || !d->free);
	if (!d->nslots) {
		/* Slot 0 says "no slot". */
		d->refs[0] = 1;
		d->bytes[0] = NULL;
		d->nslots = 1;
	}
	d->cap = cap;
}

uint32_t disk_slot_get(struct disk *d)
{
	uint32_t slot;

	if (d->nfree) {
		slot = d->free[--d->nfree];
	} else {
		if (d->nslots == d->cap)
			grow(d);
		slot = d->nslots++;
		d->bytes[slot] = NULL;
	}
	d->refs[slot] = 1;
	return slot;
}

void disk_slot_ref(struct disk *d, uint32_t slot)
{
	BUG_ON(!d->refs[slot]);
	d->refs[slot]++;
}

void disk_slot_put(struct disk *d, uint32_t slot)
{
	BUG_ON(!slot || !d->refs[slot]);
	if (--d->refs[slot])
		return;
	free(d->bytes[slot]);
	d->bytes[slot] = NULL;
	d->free[d->nfree++] = slot;
}

static int second_door(struct guest *g, int err)
{
	return err == -ENOMEM ? guest_fatal(g, GUEST_NOMEM) : err ? guest_fatal(g, GUEST_CRASHED) : 0;
}

int disk_write(struct guest *g, uint32_t slot, uint64_t gfn)
{
	uint8_t **bytes = &g->disk.bytes[slot];

	g->stats.disk_writes++;
	if (!g->config.data)
		return 0;
	if (!*bytes)
		*bytes = malloc(PAGE_SIZE);
	BUG_ON(!*bytes);
	return second_door(g, vm_read(g->vm, gfn_to_gpa(GFN(gfn)), *bytes, PAGE_SIZE));
}

int disk_read(struct guest *g, uint32_t slot, uint64_t gfn)
{
	g->stats.disk_reads++;
	if (!g->config.data || !g->disk.bytes[slot])
		return frames_zero(g, gfn, 0);
	g->frames.f[gfn].flags |= GFRAME_BYTES;
	return second_door(g, vm_write(g->vm, gfn_to_gpa(GFN(gfn)), g->disk.bytes[slot], PAGE_SIZE));
}
