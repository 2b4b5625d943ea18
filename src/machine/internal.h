/* SPDX-License-Identifier: MIT */
/* Between the files of this folder; nobody else's. */
#ifndef QUIRE_MACHINE_INTERNAL_H
#define QUIRE_MACHINE_INTERNAL_H

#include "machine/machine.h"

enum { POISON_BYTE = 0xa5 };

/* Empties the free lists. */
void buddy_init(struct machine *m);
/* Puts [start, end) on the free lists, highest first; the neighbours are not free. */
void buddy_add_range(struct machine *m, uint64_t start, uint64_t end);

/* As buddy_alloc and buddy_alloc_run, but no injected failure: the caller has a site of its own. */
int buddy_take(struct machine *m, unsigned order, enum frame_type type, mfn_t *mfn);
int buddy_take_run(struct machine *m, uint64_t n, unsigned align_order, enum frame_type type,
		   mfn_t *mfn);

/* machine_zero of a run of any length. */
void machine_zero_run(struct machine *m, mfn_t mfn, uint64_t n);
/* Marks frames as about to be written. */
void machine_touch(struct machine *m, mfn_t mfn, uint64_t n);

#endif
