/* SPDX-License-Identifier: MIT */
/*
 * Per-gfn truth and the one funnel through which it changes.
 *
 *   reserve memory ─▶ zap ─▶ flush ─▶ compare or copy ─▶ commit ─▶ release
 *        (may fail)   └──────────────── cannot fail ──────────────────┘
 */
#ifndef QUIRE_VM_GFN_H
#define QUIRE_VM_GFN_H

#include "vm/vm.h"

/* The state word of a gfn inside a slot; a gfn never touched reads as GFN_NONE. */
struct gfn_state gfn_get(struct vm *vm, gfn_t gfn);

/* Asks the host for the line of that word. */
void gfn_prefetch(struct vm *vm, gfn_t gfn);

enum gfn_op {
	GFN_OP_BACK,    /* NONE → BACKED by a fresh zeroed frame (order 9 or 18: a whole block) */
	GFN_OP_DIRTY,   /* a write is about to happen: logged */
	GFN_OP_UNCOW,   /* break away from a shared frame, with a copy */
	GFN_OP_SHARE,   /* give up the own frame for .mfn, equal in content */
	GFN_OP_WPROT,   /* write tracking on */
	GFN_OP_UNWPROT, /* and off */
	GFN_OP_CLEAN,   /* dirty bit off */
	GFN_OP_RELEASE, /* BACKED → NONE: the frame goes back */
	GFN_OP_MOVE,    /* to another frame (compaction, tests), same content */
	GFN_OP_COLLAPSE,/* a whole 2 MiB block into one aligned run */
};

struct gfn_change {
	enum gfn_op op;
	unsigned order; /* BACK, COLLAPSE: 0, 9 or 18 */
	mfn_t mfn;      /* SHARE: the frame to join */
};

/*
 * Applies one change to [gfn, gfn+npages): in one slot. 0, or -ENOMEM / -EFAULT /
 * -EBUSY (pinned, or a contiguous VM's) / -EEXIST (SHARE: contents differ) with nothing changed.
 */
int gfn_update(struct vm *vm, gfn_t gfn, uint64_t npages, const struct gfn_change *change);

/*
 * What a fault needs: gfn backed, and (write) writable as far as it can be:
 * sharing broken, dirty logged. Write tracking stays: that is the mode's matter.
 * Result: the state, the rights, and the largest order of mapping allowed
 * around it (0, 9 or 18) with the block's first mfn behind it contiguous.
 */
struct gfn_mapping {
	mfn_t mfn;     /* of gfn itself */
	uint8_t rights;
	uint8_t order; /* gfn's aligned 2^order block may be one mapping */
	bool hidden;   /* a hidden fault was taken */
};
int gfn_fault(struct vm *vm, gfn_t gfn, bool write, struct gfn_mapping *out);
/* The same without changing anything: -ENOENT if it has no frame. */
int gfn_peek(struct vm *vm, gfn_t gfn, struct gfn_mapping *out);

#endif
