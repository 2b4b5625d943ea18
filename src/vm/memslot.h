/* SPDX-License-Identifier: MIT */
/* Inside vm/: how the state word of a gfn is set, and who owns a frame. */
#ifndef QUIRE_VM_MEMSLOT_H
#define QUIRE_VM_MEMSLOT_H

#include "vm/slot.h"

/* Makes the state words of [gfn, gfn+n) exist. -ENOMEM: some may, all are unchanged. */
int slot_populate(struct vm *vm, struct memslot *s, gfn_t gfn, uint64_t n);

/* Sets one word whose block exists; keeps the counts of the block and the VM. */
void slot_set(struct vm *vm, struct memslot *s, gfn_t gfn, struct gfn_state st);

/* Gives back frames and directory. */
void memslot_release(struct vm *vm, struct memslot *s);

/* Takes (vm, gfn) off a frame and frees it when that was the last owner. */
void frame_disown(struct vm *vm, gfn_t gfn, mfn_t mfn);
/* Makes (vm, gfn) an owner; cannot fail for a frame without one, or after rmap_reserve. */
void frame_own(struct vm *vm, gfn_t gfn, mfn_t mfn);

#endif
