/* SPDX-License-Identifier: MIT */
/*
 * The leaf of organisations that have no format of their own: one 8-byte word,
 *
 *   63           24 23   14 13    8 7      1  0
 *   │    frame     │   0   │ order │ rights │ V │
 *
 * and all of a lookup but the search for it: the address checked, permissions,
 * accessed and dirty bits, the answer. Here, because it must be the same in all.
 * A and D are kept when the format of the keys knows them (fmt->accessed).
 */
#ifndef QUIRE_PT_LEAF_H
#define QUIRE_PT_LEAF_H

#include "pt/pt.h"

enum {
	LEAF_VALID = 1,
	LEAF_RIGHTS_SHIFT = 1,
	LEAF_ORDER_SHIFT = 8,
	LEAF_FRAME_SHIFT = 24,
	LEAF_ORDER_MAX = 63,
};

#define LEAF_FRAME_MAX low_bits(64 - LEAF_FRAME_SHIFT)
#define LEAF_UNUSED bit_range(LEAF_FRAME_SHIFT - 1, LEAF_ORDER_SHIFT + 6)

_Static_assert(RIGHT_ALL < 1 << (LEAF_ORDER_SHIFT - LEAF_RIGHTS_SHIFT), "rights fit below the order");

static ALWAYS_INLINE uint64_t make_leaf(uint64_t frame, unsigned order, uint8_t rights)
{
	return frame << LEAF_FRAME_SHIFT | (uint64_t)order << LEAF_ORDER_SHIFT |
	       (uint64_t)rights << LEAF_RIGHTS_SHIFT | LEAF_VALID;
}

static ALWAYS_INLINE uint64_t leaf_frame(uint64_t leaf) { return leaf >> LEAF_FRAME_SHIFT; }
static ALWAYS_INLINE unsigned leaf_order(uint64_t leaf) { return (leaf >> LEAF_ORDER_SHIFT) & LEAF_ORDER_MAX; }
static ALWAYS_INLINE uint8_t leaf_rights(uint64_t leaf) { return (leaf >> LEAF_RIGHTS_SHIFT) & RIGHT_ALL; }
static ALWAYS_INLINE bool is_valid_leaf(uint64_t leaf) { return leaf & LEAF_VALID; }

static inline uint64_t leaf_with_rights(uint64_t leaf, uint8_t rights)
{
	return make_leaf(leaf_frame(leaf), leaf_order(leaf), rights);
}

/* The rights that pt keeps for a mapping asked for with these. */
static inline uint8_t pt_rights(const struct pt *pt, uint8_t rights)
{
	return (rights & RIGHT_ALL) | (pt->params.second_stage ? RIGHT_U : 0);
}

static inline void leaf_to_entry(struct pt_key key, uint64_t leaf, struct pt_entry *e)
{
	*e = (struct pt_entry){ key, (uint8_t)leaf_order(leaf), leaf_rights(leaf), leaf_frame(leaf) };
	e->key.page = align_down(key.page, BIT(e->order));
}

/* Can this key have a mapping of this order at all: order, alignment, range of va? */
static inline bool pt_page_ok(const struct pt *pt, uint64_t page, unsigned order)
{
	const struct pt_params *p = &pt->params;
	uint64_t last = page + low_bits(order);

	return order < 52 && (pt->orders & BIT(order)) && is_aligned(page, BIT(order)) &&
	       page < BIT(64 - PAGE_SHIFT) &&
	       gpt_va_ok(p->fmt, page << PAGE_SHIFT, p->second_stage) &&
	       gpt_va_ok(p->fmt, last << PAGE_SHIFT, p->second_stage);
}

/* May this mapping be asked for, and can a leaf hold it? */
static inline bool pt_entry_ok(const struct pt *pt, const struct pt_entry *e)
{
	return pt_page_ok(pt, e->key.page, e->order) && is_aligned(e->frame, BIT(e->order)) &&
	       e->frame <= LEAF_FRAME_MAX;
}

static ALWAYS_INLINE void walk_begin(struct walk *w)
{
	w->status = WALK_OK;
	w->why = WALK_WHY_NONE;
	w->error_code = 0;
	w->level = 0;
	w->ad_updated = false;
	w->ntables = 0;
	w->overflow = false;
}

/* Notes a line read; the last one read always stands last, whatever had to be left out. */
static ALWAYS_INLINE void walk_add_line(struct walk *w, uint64_t addr)
{
	struct walk_table t = { align_down(addr, LINE_SIZE), 0, RIGHT_ALL, false };

	if (w->ntables && w->table[w->ntables - 1].addr == t.addr)
		return;
	if (w->ntables == WALK_TABLES_MAX) {
		w->overflow = true;
		w->ntables--;
	}
	w->table[w->ntables++] = t;
}

static inline void walk_fail(const struct walk_req *req, struct walk *w, enum walk_why why, bool present)
{
	w->status = WALK_FAULT;
	w->why = why;
	w->error_code = walk_error_code(req, why, present);
}

/* A load or a cas gave rc < 0. */
static inline void walk_mem_error(const struct walk_req *req, struct walk *w, int rc)
{
	if (rc == -EAGAIN)
		w->status = WALK_VIOLATION;
	else
		walk_fail(req, w, WALK_WHY_BUS, false);
}

/*
 * Between these two, loads are not the walker's: it has the value in a
 * register, or is only charged for another way to it. Nothing is counted,
 * nobody listens.
 */
struct pt_quiet {
	struct pt_mem_counts counts;
	struct pt_log *log;
	bool quiet; /* before: these nest */
};

static inline struct pt_quiet pt_quiet_begin(struct pt_mem *m)
{
	struct pt_quiet q = { m->counts, m->log, m->quiet };

	m->log = NULL;
	m->quiet = true;
	return q;
}

static inline void pt_quiet_end(struct pt_mem *m, const struct pt_quiet *q)
{
	m->counts = q->counts;
	m->log = q->log;
	m->quiet = q->quiet;
}

static inline int pt_peek(struct pt_mem *m, uint64_t addr, unsigned size, void *out)
{
	struct pt_quiet q = pt_quiet_begin(m);
	int rc = ptm_load(m, addr, size, out);

	pt_quiet_end(m, &q);
	return rc;
}

/* Permissions; false: w says why not. */
static inline bool leaf_permits(const struct pt *pt, const struct walk_req *req, uint64_t leaf, struct walk *w)
{
	const struct gpt_format *fmt = pt->params.fmt;
	bool user = req->user || pt->params.second_stage;
	enum walk_why why = walk_check(leaf_rights(leaf), req->kind, user, req->ctl, fmt->family == GPT_RISCV);

	if (unlikely(why != WALK_WHY_NONE)) {
		walk_fail(req, w, why, true);
		return false;
	}
	return true;
}

/* The bits of the leaf that this access must set and that are not set yet. */
static ALWAYS_INLINE uint64_t leaf_ad_missing(const struct pt *pt, const struct walk_req *req, uint64_t leaf)
{
	const struct gpt_format *fmt = pt->params.fmt;
	uint64_t want = 0;

	if (req->ad == WALK_AD_PEEK)
		return 0;
	if (fmt->accessed)
		want |= RIGHT_A;
	if (fmt->dirty && req->kind == ACC_WRITE)
		want |= RIGHT_D;
	return (want << LEAF_RIGHTS_SHIFT) & ~leaf;
}

/*
 * The answer of a walk that succeeds, as gpt_walk gives it: A and D that the
 * format lacks count as set, nothing is global at a second stage nor without
 * CR4.PGE.
 */
static ALWAYS_INLINE void walk_finish(const struct pt *pt, const struct walk_req *req, struct walk *w,
				      uint64_t addr, uint64_t leaf)
{
	const struct gpt_format *fmt = pt->params.fmt;
	bool global = !pt->params.second_stage && (fmt->family == GPT_RISCV || (req->ctl & CTL_PGE));

	w->order = (uint8_t)leaf_order(leaf);
	w->frame = leaf_frame(leaf) + ((req->va >> PAGE_SHIFT) & low_bits(w->order));
	w->rights = (leaf_rights(leaf) & (global ? RIGHT_ALL : RIGHT_ALL & ~RIGHT_G)) |
		    (fmt->accessed ? 0 : RIGHT_A) | (fmt->dirty ? 0 : RIGHT_D);
	w->leaf_addr = addr;
	w->leaf = leaf;
}

/*
 * All of the above for an organisation that keeps each mapping in one leaf.
 * False: the leaf changed between its load and the update of A and D; look up
 * again.
 */
static inline bool leaf_access(struct pt *pt, const struct walk_req *req, uint64_t addr,
			       uint64_t leaf, struct walk *w)
{
	uint64_t missing = leaf_ad_missing(pt, req, leaf);

	if (!leaf_permits(pt, req, leaf, w))
		return true;
	if (unlikely(missing)) {
		if (req->ad == WALK_AD_FAULT) {
			walk_fail(req, w, WALK_WHY_ACCESSED, true);
			return true;
		}
		int rc = ptm_cas(pt->mem, addr, 8, leaf, leaf | missing);
		if (rc < 0) {
			walk_mem_error(req, w, rc);
			return true;
		}
		if (rc == 0)
			return false;
		leaf |= missing;
		w->ad_updated = true;
	}
	walk_finish(pt, req, w, addr, leaf);
	return true;
}

/* Lookups that found the leaf changed under them start anew, this often at most. */
enum { LEAF_RETRIES = 16 };

/*
 * The search of one lookup, every load charged. 0: *leaf, which stood at *addr,
 * covers the address; -ENOENT: nothing does; -EINVAL: what does is no sane leaf;
 * or what a load returned.
 */
typedef int leaf_find(struct pt *pt, const struct walk_req *req, struct walk *w, uint64_t *addr, uint64_t *leaf);

/* Or it has answered in w itself; or it met a leaf that changed: look up again. */
enum { LEAF_ANSWERED = 1, LEAF_AGAIN = 2 };

/* A whole lookup of an organisation that has all answers from its search: org->lookup. */
static ALWAYS_INLINE void leaf_lookup(struct pt *pt, const struct walk_req *req, struct walk *w, leaf_find *find)
{
	uint64_t addr = 0, leaf = 0;

	walk_begin(w);
	if (unlikely(!gpt_va_ok(pt->params.fmt, req->va, pt->params.second_stage))) {
		walk_fail(req, w, WALK_WHY_CANONICAL, false);
		return;
	}
	for (int i = 0; i < LEAF_RETRIES; i++) {
		int rc = find(pt, req, w, &addr, &leaf);

		if (rc == LEAF_AGAIN || (rc == 0 && !leaf_access(pt, req, addr, leaf, w)))
			continue;
		if (rc == -ENOENT)
			walk_fail(req, w, WALK_WHY_NOT_PRESENT, false);
		else if (rc == -EINVAL)
			walk_fail(req, w, WALK_WHY_RESERVED, true);
		else if (rc < 0)
			walk_mem_error(req, w, rc);
		return;
	}
	w->status = WALK_VIOLATION;
}

#endif
