/* SPDX-License-Identifier: MIT */
/*
 * What the files of the hashed table share. The picture and the rules are in
 * hashed.c.
 */
#ifndef QUIRE_PT_HASHED_H
#define QUIRE_PT_HASHED_H

#include "base/hash.h"
#include "pt/leaf.h"
#include "pt/txn.h"

enum { HASHED_PPC = 1 << 0 }; /* pt->flags: options[0] */

enum {
	HASHED_ORDERS = 8,   /* page sizes one table can have */
	HASHED_SEGMENTS = 4, /* pieces a page size's lines stand in */
	LINE_WORDS = LINE_SIZE / 8,
	FRAME_LINES_LOG2 = PAGE_SHIFT - LINE_SHIFT,
	/* Lines of one page size's table, as a power of two: a frame at least, four of the largest blocks at most. */
	HASHED_LOG2_MIN = FRAME_LINES_LOG2,
	HASHED_LOG2_MAX = FRAME_LINES_LOG2 + ORDER_1G + 2,
	CLUSTER_SHIFT = 3, /* 8 neighbouring pages a tag */
	CLUSTER_PROBES = 64, /* a cluster stands less than so many lines after its home */
	PPC_GROUP_SLOTS = 8, /* 16 bytes each: two lines a group */
	PPC_PROBES = 4,      /* lines of the primary and the secondary group: 16 slots */
	PPC_SEGMENT_SHIFT = 16, /* pages of a segment: 256 MiB of 4 KiB pages */
};
_Static_assert(GPT_LEVELS_MAX + 1 <= HASHED_ORDERS, "each order has its table");

/* Bits of a cluster's leaf word that hold a piece of the tag: some that leaf.h leaves free. */
enum { PIECE_SHIFT = 14, PIECE_BITS = 7 };
#define PIECE_MASK bit_range(PIECE_SHIFT + PIECE_BITS - 1, PIECE_SHIFT)
_Static_assert(PIECE_SHIFT >= LEAF_ORDER_SHIFT + 6 && PIECE_SHIFT + PIECE_BITS <= LEAF_FRAME_SHIFT,
	       "pieces lie in unused bits");
_Static_assert(PIECE_BITS * LINE_WORDS >= 64 - PAGE_SHIFT - CLUSTER_SHIFT + 1, "a tag fits its pieces");

/*
 * The header frame. By the rank of the order, a word each: the shape (0: no
 * such table), the mappings, the units in use; and two places for the bases,
 * of which the shape says the one in force.
 */
enum {
	HDR_MAGIC = 0, HDR_FLAGS = 8,
	HDR_SHAPE = 64, HDR_COUNT = 128, HDR_USED = 192, HDR_BASES = 256,
	BASES_BYTES = 8 * HASHED_SEGMENTS,
};

enum { SHAPE_LOG2 = 0xff, SHAPE_SIDE = 0x100 };

/* The lines of one page size. */
struct hashed_table {
	uint64_t shape; /* log2 of the lines, and the side of the header that its bases are on; 0: none */
	uint64_t base[HASHED_SEGMENTS];
};

/* struct pt's copy of the header: what a walker has in registers. */
struct hashed_regs {
	struct hashed_table table[HASHED_ORDERS]; /* by rank */
	uint64_t in_use; /* orders that have one */
};
_Static_assert(sizeof(struct hashed_regs) <= PT_PRIV_WORDS * 8, "registers fit struct pt");

static ALWAYS_INLINE struct hashed_regs *hashed_regs_of(struct pt *pt)
{
	return (struct hashed_regs *)pt->priv;
}

static ALWAYS_INLINE unsigned hashed_rank(const struct pt *pt, unsigned order)
{
	return popcount64(pt->orders & low_bits(order));
}

static ALWAYS_INLINE struct hashed_table *hashed_table_of(struct pt *pt, unsigned order)
{
	return &hashed_regs_of(pt)->table[hashed_rank(pt, order)];
}

static ALWAYS_INLINE bool hashed_in_use(struct pt *pt, unsigned order)
{
	return hashed_regs_of(pt)->in_use & BIT(order);
}

static ALWAYS_INLINE bool is_ppc(const struct pt *pt) { return pt->flags & HASHED_PPC; }

/* A unit is what has one tag: a cluster (a whole line), or one slot of a group (two words). */
static ALWAYS_INLINE unsigned unit_words(const struct pt *pt) { return is_ppc(pt) ? 2 : LINE_WORDS; }
static ALWAYS_INLINE unsigned unit_shift(const struct pt *pt) { return is_ppc(pt) ? 0 : CLUSTER_SHIFT; }

static inline uint64_t header_word(const struct pt *pt, unsigned at, unsigned order)
{
	return pt->root + at + 8u * hashed_rank(pt, order);
}

static inline uint64_t header_bases(const struct pt *pt, unsigned rank, uint64_t shape)
{
	return pt->root + HDR_BASES + BASES_BYTES * (2 * rank + !!(shape & SHAPE_SIDE));
}

static ALWAYS_INLINE unsigned table_log2(const struct hashed_table *t) { return t->shape & SHAPE_LOG2; }
static ALWAYS_INLINE uint64_t table_lines(const struct hashed_table *t) { return BIT(table_log2(t)); }

static ALWAYS_INLINE unsigned segments_log2(unsigned log2)
{
	return MIN(2u, log2 - HASHED_LOG2_MIN);
}

static ALWAYS_INLINE uint64_t line_addr(const struct hashed_table *t, uint64_t line)
{
	unsigned shift = table_log2(t) - segments_log2(table_log2(t));

	return t->base[line >> shift] + ((line & low_bits(shift)) << LINE_SHIFT);
}

/* number: a page's, counted in pages of its order. The valid bit makes a tag differ from an empty unit's. */
static ALWAYS_INLINE uint64_t make_tag(const struct pt *pt, uint64_t number)
{
	return number >> unit_shift(pt) << 1 | 1;
}

/* The first number that a unit of this tag is for. */
static ALWAYS_INLINE uint64_t tag_number(const struct pt *pt, uint64_t tag)
{
	return tag >> 1 << unit_shift(pt);
}

static ALWAYS_INLINE uint64_t tag_piece(uint64_t tag, unsigned i)
{
	return (tag >> (PIECE_BITS * i) & low_bits(PIECE_BITS)) << PIECE_SHIFT;
}

/* 0: empty. */
static ALWAYS_INLINE uint64_t unit_tag(const struct pt *pt, const uint64_t *unit)
{
	uint64_t tag = 0;

	if (is_ppc(pt))
		return unit[0];
	for (unsigned i = 0; i < LINE_WORDS; i++)
		tag |= (unit[i] >> PIECE_SHIFT & low_bits(PIECE_BITS)) << (PIECE_BITS * i);
	return tag;
}

/* Which word of its unit is a number's leaf? */
static ALWAYS_INLINE unsigned leaf_word(const struct pt *pt, uint64_t number)
{
	return is_ppc(pt) ? 1 : number & low_bits(CLUSTER_SHIFT);
}

/* Where the way of a tag begins. */
static ALWAYS_INLINE uint64_t tag_hash(const struct pt *pt, uint64_t tag)
{
	uint64_t n = tag >> 1;

	return is_ppc(pt) ? hash_u64(n >> PPC_SEGMENT_SHIFT) ^ (n & low_bits(PPC_SEGMENT_SHIFT)) : hash_u64(n);
}

/* The i-th line on it. */
static ALWAYS_INLINE uint64_t way_line(const struct pt *pt, const struct hashed_table *t, uint64_t hash, unsigned i)
{
	uint64_t mask = table_lines(t) - 1;

	return is_ppc(pt) ? ((i < 2 ? hash : ~hash) << 1 | (i & 1)) & mask : (hash + i) & mask;
}

/* Where a search ended. */
struct hashed_spot {
	uint64_t addr; /* of the unit */
	uint64_t line; /* the number of its line */
	uint64_t room; /* address of the first empty unit on the way; 0: none */
	const uint64_t *unit; /* within word */
	uint64_t word[LINE_WORDS]; /* the line */
};

/*
 * Follows the way of a number's tag. 0: its unit is there (the leaf in it may
 * be empty), -ENOENT, or what a load returned. w: notes the lines read; may be NULL.
 */
int hashed_find(struct pt *pt, unsigned order, const struct hashed_table *t, uint64_t number,
		struct walk *w, struct hashed_spot *s);
/* The same, and a valid leaf. */
int hashed_find_leaf(struct pt *pt, unsigned order, uint64_t number, struct hashed_spot *s,
		     uint64_t *addr, uint64_t *leaf);
/* The lowest mapping of this order that ends after a page and starts before end: 0, -ENOENT or -errno. */
int hashed_first(struct pt *pt, unsigned order, uint64_t page, uint64_t end, struct pt_entry *e);

/* hashed_table.c. A mapping that needs a unit of its own. */
int hashed_add_unit(struct pt *pt, unsigned order, uint64_t number, uint64_t leaf, uint64_t room);
/* A unit and the last mapping in it. */
int hashed_remove_unit(struct pt *pt, unsigned order, uint64_t number, const struct hashed_spot *s);
/* The first table of an order, empty. */
int hashed_make_table(struct pt *pt, unsigned order);
/* With all its mappings: out of the header, then given back. */
int hashed_drop_table(struct pt *pt, unsigned order);
/* The lines alone. */
void hashed_free_table(struct pt *pt, struct hashed_table *t);

int hashed_audit(struct pt *pt, const char **why);
#endif
