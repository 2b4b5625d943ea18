/* SPDX-License-Identifier: MIT */
/* What the files of the segment table share, and what tests ask of it. The picture is in segment.c. */
#ifndef QUIRE_PT_SEGMENT_H
#define QUIRE_PT_SEGMENT_H

#include "pt/leaf.h"

enum {
	SEG_RUNS_MAX = 64,   /* two arrays of them are a frame */
	SEG_RUN_MIN = 16,    /* mappings in a row that become a run */
	SEG_ABSORB_MAX = 64, /* mappings that come from the tree into runs after one change */
};

/* Pages [base, limit) stand at frames page + offset, each in a mapping of the leaf's order and rights. */
struct seg_run {
	uint64_t base, limit;
	uint64_t offset; /* modulo 2^64 */
	uint64_t leaf;   /* pt/leaf.h, without the frame */
};

enum {
	RUN_BYTES = sizeof(struct seg_run),
	RUN_BASE = 0, RUN_LIMIT = 8,
	RUNS_BYTES = SEG_RUNS_MAX * RUN_BYTES,
};
_Static_assert(2 * RUNS_BYTES == PAGE_SIZE, "two arrays are a frame");

/* The header frame. */
enum {
	SEG_MAGIC_AT = 0,
	SEG_ARRAYS_AT = 8, /* address of the frame of runs */
	SEG_TREE_AT = 16,  /* the radix tree's root */
	SEG_RUNS_AT = 24,  /* runs << 1 | which array */
	SEG_COUNT_AT = 32, /* mappings */
};

/* struct pt's copy of it: registers of the walker. */
struct seg_regs {
	uint64_t arrays, tree;
	uint32_t n, which;
	struct gpt_format fmt; /* the tree's */
};
_Static_assert(sizeof(struct seg_regs) <= PT_PRIV_WORDS * 8, "registers fit struct pt");

static ALWAYS_INLINE struct seg_regs *seg_regs_of(struct pt *pt)
{
	return (struct seg_regs *)pt->priv;
}

static ALWAYS_INLINE uint64_t seg_run_addr(struct pt *pt, unsigned i)
{
	const struct seg_regs *r = seg_regs_of(pt);

	return r->arrays + r->which * RUNS_BYTES + i * RUN_BYTES;
}

/* The leaf of one page's mapping in a run. */
static ALWAYS_INLINE uint64_t run_leaf(const struct seg_run *r, uint64_t page)
{
	return (align_down(page, BIT(leaf_order(r->leaf))) + r->offset) << LEAF_FRAME_SHIFT | r->leaf;
}

static inline uint64_t run_unit(const struct seg_run *r) { return BIT(leaf_order(r->leaf)); }

/* Would this mapping be one more of the run? */
static inline bool run_takes(const struct seg_run *r, uint64_t page, uint64_t leaf)
{
	return run_leaf(r, page) == leaf && is_aligned(page, run_unit(r));
}

/* The run that covers a page, or (-ENOENT) the index of the first one after it. */
struct seg_spot {
	unsigned index;
	struct seg_run run;
};

/* ---- the tree: segment_tree.c ---- */

void seg_tree_format(struct gpt_format *f, const struct gpt_format *keys);
/* A view of it; entries is what it says pt has outside of runs, and not needed but by audit. */
struct pt seg_tree(struct pt *pt);
/* The mapping that covers a page: its leaf. 0, -ENOENT, or what a load returned. */
int seg_tree_find(struct pt *pt, uint64_t page, uint64_t *leaf);
int seg_tree_next(struct pt *pt, struct pt_key from, struct pt_entry *e);
/* As org->map and org->unmap; pt->entries is the caller's. */
int seg_tree_map(struct pt *pt, uint64_t page, uint64_t leaf);
int seg_tree_unmap(struct pt *pt, uint64_t page, unsigned order);
/* The walker's way through it. False: look up again. */
bool seg_tree_walk(struct pt *pt, const struct walk_req *req, struct walk *w);

/* ---- the runs: segment_runs.c ---- */

/* May mappings with this leaf be in runs? */
bool seg_may_run(const struct pt *pt, uint64_t leaf);
/* w: notes each line read; may be NULL. */
int seg_search(struct pt *pt, uint64_t page, struct walk *w, struct seg_spot *s);
int seg_load_run(struct pt *pt, unsigned i, struct seg_run *r);
/* A mapping beside a run, not in the tree, becomes part of it. 0, -ENOENT: no run takes it, or -errno. */
int seg_extend(struct pt *pt, const struct seg_spot *after, uint64_t page, uint64_t leaf);
/* Takes one mapping out of the run that s found. */
int seg_cut(struct pt *pt, const struct seg_spot *s, uint64_t page);
/* After a change near page: what belongs into runs goes there. Never fails the change. */
void seg_tidy(struct pt *pt, uint64_t page, unsigned order);

#endif
