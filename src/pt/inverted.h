/* SPDX-License-Identifier: MIT */
/*
 * What the files of the inverted table share, and what reports ask of it.
 * The picture is in inverted.c.
 */
#ifndef QUIRE_PT_INVERTED_H
#define QUIRE_PT_INVERTED_H

#include "base/hash.h"
#include "pt/array.h"
#include "pt/leaf.h"
#include "pt/txn.h"

struct inverted_stats {
	uint64_t slots;   /* entries of the table: frames */
	uint64_t anchors;
	uint64_t aliases; /* mappings beyond the first of their frame; α = pt->entries / anchors */
	uint64_t table_bytes, anchor_bytes, alias_bytes; /* rounded up to frames, as allocated */
};

/* pt is an inverted table. 0 or what a load returned. */
int pt_inverted_stats(struct pt *pt, struct inverted_stats *s);

/* An entry, in the table or in a chunk of aliases. */
struct inv_entry {
	uint64_t tag;   /* page << 12 | order << 1 | 1; 0: free */
	uint64_t space;
	uint64_t leaf;  /* pt/leaf.h */
	uint64_t next;  /* address of the next in the chain, or 0 */
};
_Static_assert(sizeof(struct inv_entry) == 32, "two entries a line");

enum { INV_LINEAR = 1 << 0 }; /* pt->flags: options[0] */

enum {
	INV_BYTES = sizeof(struct inv_entry),
	INV_TAG = 0, INV_SPACE = 8, INV_LEAF = 16, INV_NEXT = 24, /* offsets of its words */
	INV_VALID = 1,
	INV_ORDER_SHIFT = 1,
	INV_ORDERS = 8, /* page sizes one table can have */
	ANCHOR_BYTES = 8,
	CHAIN_MAX = 1 << 16, /* a longer chain is damage: the walker gives up */
};
_Static_assert(GPT_LEVELS_MAX + 1 <= INV_ORDERS, "each order has its count");

/* The header frame. */
enum {
	HDR_MAGIC = 0, HDR_SLOTS = 8, HDR_ANCHORS = 16,
	HDR_PARTIAL = 24, HDR_FULL = 32, /* lists of alias chunks: with room, without */
	HDR_ALIASES = 40,
	HDR_COUNTS = 64, /* mappings of each order in use: one line */
	HDR_TABLE = 128, HDR_HEADS = 256, /* bases of the two arrays */
};

/* struct pt's copy of it: what a walker has in registers. */
struct inv_regs {
	uint64_t slots;
	uint64_t anchor_mask;
	uint64_t in_use; /* orders with mappings; read anew when a lookup finds nothing */
	struct pt_array table, heads;
};
_Static_assert(sizeof(struct inv_regs) <= PT_PRIV_WORDS * 8, "registers fit struct pt");

static inline struct inv_regs *inv_regs_of(struct pt *pt)
{
	return (struct inv_regs *)pt->priv;
}

static inline bool is_valid_entry(const struct inv_entry *e) { return e->tag & INV_VALID; }
static inline uint64_t entry_page(const struct inv_entry *e) { return e->tag >> PAGE_SHIFT; }
static inline unsigned entry_order(const struct inv_entry *e) { return (e->tag >> INV_ORDER_SHIFT) & LEAF_ORDER_MAX; }

static ALWAYS_INLINE uint64_t inv_tag(uint64_t page, unsigned order)
{
	return align_down(page, BIT(order)) << PAGE_SHIFT | (uint64_t)order << INV_ORDER_SHIFT | INV_VALID;
}

static ALWAYS_INLINE uint64_t inv_anchor_index(struct pt *pt, uint32_t space, uint64_t tag)
{
	return hash_2u64(tag, space) & inv_regs_of(pt)->anchor_mask;
}

static ALWAYS_INLINE uint64_t inv_anchor_addr(struct pt *pt, uint64_t index)
{
	return pt_array_at(&inv_regs_of(pt)->heads, index * ANCHOR_BYTES);
}

/* May a chain lead here? (A guest may have written anything.) */
static ALWAYS_INLINE bool is_entry_addr(uint64_t addr)
{
	return is_aligned(addr, INV_BYTES);
}

/* Where a search ended. */
struct inv_spot {
	uint64_t anchor; /* address of the chain's anchor */
	uint64_t linkp;  /* of the word that leads to the entry: anchor or a next */
	uint64_t addr;
	struct inv_entry e;
};

/* Follows the chain of one key. 0, -ENOENT, or what a load returned. */
int inv_find(struct pt *pt, struct pt_key key, unsigned order, struct inv_spot *s);
/* The mapping that covers a page, among those of these orders. */
int inv_find_covering(struct pt *pt, struct pt_key key, uint64_t orders, struct inv_spot *s);
/* Orders that have mappings, from the header into the register. */
int inv_read_in_use(struct pt *pt);
/* A frame's own entry. */
uint64_t inv_slot_addr(struct pt *pt, uint64_t frame);

/* inverted_walk.c and inverted_audit.c */
void inv_lookup(struct pt *pt, const struct walk_req *req, struct walk *w);
int inv_audit(struct pt *pt, const char **why);

/* The stores of one operation, and the chunk that comes or goes with it. */
struct inv_op {
	struct txn t;
	uint64_t fresh; /* allocated for it: freed if it fails */
	uint64_t dead;  /* empty after it: freed if it succeeds */
};

/* Calls f for each valid entry, the table's first; stops at the first non-zero result. f may unmap its entry. */
typedef int inv_visit(struct pt *pt, uint64_t addr, const struct inv_entry *e, void *ctx);
int inv_for_each(struct pt *pt, inv_visit *f, void *ctx);

/* Aliases, inverted_alias.c. An entry of a chunk for this operation: 0 and *addr, or -errno. */
int inv_alias_take(struct pt *pt, struct inv_op *op, uint64_t *addr);
void inv_alias_give(struct pt *pt, struct inv_op *op, uint64_t addr);
int inv_alias_for_each(struct pt *pt, inv_visit *f, void *ctx);
/* Charges a search through the chunks up to the entry at `until`; 0: through all of them. */
int inv_alias_scan(struct pt *pt, uint64_t until);
void inv_alias_destroy(struct pt *pt);
int inv_alias_audit(struct pt *pt, const char **why);
int inv_alias_chunks(struct pt *pt, uint64_t *n);

#endif
