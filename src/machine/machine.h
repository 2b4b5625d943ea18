/* SPDX-License-Identifier: MIT */
/*
 * The machine: RAM as one host mapping, a frame table over it, a buddy
 * allocator of 4 KiB to 1 GiB, and small objects for the hypervisor itself.
 * Nothing is taken from the host but the mapping: the frame table and all
 * metadata stand in the machine's own frames, and are accounted there.
 *
 *   hpa 0                                                     bytes
 *   ├─┬──────────── frames handed out ──────────────┬─ frame table ─┤
 *   │ └ ram[hpa] is the byte                         └ 32 bytes a frame
 *   └ frame 0 is never handed out: 0 names nothing in lists and reverse maps
 *
 * RAM may be a sparse mapping: a frame-table entry is written only when its
 * frame begins or ends a life, or heads a free block. So the entries of the
 * frame table's own frames (from first_table on) are never written; they are
 * FRAME_BOOT by position, and counted as such.
 */
#ifndef QUIRE_MACHINE_MACHINE_H
#define QUIRE_MACHINE_MACHINE_H

#include <assert.h>

#include "base/faultinj.h"
#include "base/rng.h"
#include "base/types.h"

enum { ORDER_MAX = 18, ORDERS = ORDER_MAX + 1 };
#define NO_FRAME UINT32_MAX

enum frame_type {
	FRAME_FREE = 0, /* so that a zeroed frame table is one of free frames */
	FRAME_BOOT,     /* the frame table itself, and pinned fragments */
	FRAME_META,     /* kmem */
	FRAME_TABLE,    /* a translation table of the hypervisor's */
	FRAME_GUEST,    /* backs guest memory */
	FRAME_TYPES
};

enum frame_flag {
	FRAME_TRACKED = 1 << 0, /* a cached translation was read from it: stores leave the fast path */
	FRAME_TOUCHED = 1 << 1, /* may hold bytes other than zero */
	FRAME_HEAD = 1 << 2,    /* first frame of a free block of .order */
	FRAME_PINNED = 1 << 3,  /* a device reads or writes it: must not move */
};

/*
 * One machine frame. The rmap heads (machine/rmap.h) say who names it:
 * .owners each (vm, gfn), .sptes each shadow entry.
 */
struct frame {
	union {
		struct {
			uint32_t next, prev; /* free list, or kmem's lists; frame numbers */
		};
		uint64_t owners;
	};
	uint64_t sptes;
	uint32_t refs; /* owners; 0 while free */
	uint8_t type;  /* enum frame_type */
	uint8_t order; /* of the free block, or of the kmem object */
	uint16_t flags; /* enum frame_flag */
	uint64_t priv; /* kmem: free objects; others: the owner's */
};
static_assert(sizeof(struct frame) == 32, "two frames a line");

struct machine_config {
	uint8_t frag_percent; /* of the 2 MiB blocks, that many hold one pinned frame from the start */
	uint64_t seed;        /* of that choice */
};

struct kmem_class {
	uint32_t partial; /* frames with free objects, linked; 0: none (frame 0 is never kmem's) */
	uint64_t free;    /* free objects in them */
	uint64_t used;
	uint64_t reserved; /* of the free ones, promised by kmem_reserve; never more than .free */
};

enum { KMEM_MIN_SHIFT = 5, KMEM_CLASSES = 7 }; /* 32 … 2048 bytes */

struct machine {
	uint8_t *ram;      /* ram[hpa] */
	uint64_t bytes;
	uint64_t nframes;  /* all of RAM, frame table included */
	struct frame *frames;
	uint64_t first_table; /* frames from here on hold the frame table */
	uint32_t free_mask;   /* bit o: free_head[o] is not empty */
	uint32_t free_head[ORDERS]; /* frame number; NO_FRAME: empty */
	uint64_t free_blocks[ORDERS];
	uint64_t nfree;
	uint64_t ntype[FRAME_TYPES]; /* frames by type, FRAME_FREE excepted */
	struct kmem_class kmem[KMEM_CLASSES];
	uint64_t kmem_large_frames;
	struct faultinj *inj; /* may be NULL */
};

/*
 * ram: `bytes` long (a multiple of 4 KiB, from 64 KiB to below 16 TiB), zeroed, aligned
 * to a page, the caller's. -EINVAL if it is not so.
 */
int machine_init(struct machine *m, void *ram, uint64_t bytes, const struct machine_config *config);

static inline struct frame *machine_frame(const struct machine *m, mfn_t mfn)
{
	return &m->frames[mfn.v];
}

static inline mfn_t frame_mfn(const struct machine *m, const struct frame *f)
{
	return MFN((uint64_t)(f - m->frames));
}

/* Quire's own pointer to a machine address. */
static inline uint8_t *machine_ptr(const struct machine *m, hpa_t hpa)
{
	return m->ram + hpa.v;
}

/*
 * 2^order frames aligned to their size, of unspecified content (machine_zero).
 * Their table entries are zero but for type and FRAME_TOUCHED. -ENOMEM.
 * Whoever writes to a frame sets FRAME_TOUCHED first.
 */
int buddy_alloc(struct machine *m, unsigned order, enum frame_type type, mfn_t *mfn);
/*
 * The frames must be of one type, unreferenced (.refs, .sptes) and not pinned. Parts
 * of a larger block may be freed one by one. A second free is a BUG.
 */
void buddy_free(struct machine *m, mfn_t mfn, unsigned order);
/* A contiguous run of any length, its start aligned to 2^align_order frames. -ENOMEM. */
int buddy_alloc_run(struct machine *m, uint64_t n, unsigned align_order, enum frame_type type, mfn_t *mfn);
void buddy_free_run(struct machine *m, mfn_t mfn, uint64_t n);
/* Can a block of this order be had now? */
bool buddy_has(const struct machine *m, unsigned order);
/* Every invariant of lists and counts: 0, or -EINVAL with *why set. Visits every frame. */
int buddy_audit(const struct machine *m, const char **why);

/* Zeroes those frames that are FRAME_TOUCHED and clears the flag. */
void machine_zero(struct machine *m, mfn_t mfn, unsigned order);

/*
 * Small and large objects of the hypervisor, zeroed, aligned to their size
 * rounded up to a power of two (at most a page). NULL: no memory.
 */
void *kmem_alloc(struct machine *m, size_t size);
void kmem_free(struct machine *m, void *p, size_t size);
/*
 * Makes sure the next n allocations of this size (at most 2 KiB) cannot fail;
 * sizes of one class share what is reserved. n = 0 gives up what is left of
 * earlier reserves. -ENOMEM: nothing changed.
 */
int kmem_reserve(struct machine *m, size_t size, unsigned n);
/* As buddy_audit, for the small objects. */
int kmem_audit(const struct machine *m, const char **why);

#endif
