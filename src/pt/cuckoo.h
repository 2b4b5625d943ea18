/* SPDX-License-Identifier: MIT */
/* What the files of the cuckoo table share, and what tests ask of it. The picture is in cuckoo.c. */
#ifndef QUIRE_PT_CUCKOO_H
#define QUIRE_PT_CUCKOO_H

#include "base/hash.h"
#include "pt/leaf.h"
#include "pt/txn.h"

enum { CUCKOO_TWO_WAYS = 1 << 0 }; /* pt->flags: options[0] */

/* The bounds of the work one operation may cause. */
enum {
	CUCKOO_CHAIN_MAX = 3,  /* entries moved to make room for a new one */
	CUCKOO_SEARCH_MAX = 40, /* buckets looked at to find such a chain */
	CUCKOO_GROW_STEPS = 1, /* buckets that become two, of each way that grows */
	CUCKOO_SHRINK_STEPS = 2, /* pairs that become one, of the way that shrinks: it must keep up with unmapping */
	CUCKOO_CATCH_UP = 64,  /* steps of a way that grows, once, when there was no chain */
};

enum {
	CUCKOO_WAYS_MAX = 3,
	CUCKOO_SLOTS = 4,
	CUCKOO_SLOT_BYTES = 16,
	CUCKOO_LEAF = 0, CUCKOO_TAG = 8, /* offsets of a slot's words */
	CUCKOO_VALID = 1,
	/* So all entries that one operation moves, but one that found no chain; at most one way shrinks. */
	CUCKOO_MOVES_MAX = CUCKOO_CHAIN_MAX + CUCKOO_SHRINK_STEPS * 2 * CUCKOO_SLOTS +
			   (CUCKOO_WAYS_MAX - 1) * CUCKOO_GROW_STEPS * CUCKOO_SLOTS,
	CUCKOO_ORDERS = GPT_LEVELS_MAX, /* page sizes one format can have */
	CUCKOO_LOG_MIN = PAGE_SHIFT - LINE_SHIFT, /* log2 of buckets: an array is at least a frame… */
	CUCKOO_LOG_MAX = 30 - LINE_SHIFT,         /* … and at most the allocator's largest block */
};
_Static_assert(CUCKOO_SLOTS * CUCKOO_SLOT_BYTES == LINE_SIZE, "a bucket is a line");

/* A way grows above 3/4 of all slots in use, shrinks below 3/16: in between lies a doubling, and as much again. */
enum { CUCKOO_GROW_ABOVE = 12, CUCKOO_SHRINK_BELOW = 3, CUCKOO_LOAD_UNIT = 16 };

struct cuckoo_slot {
	uint64_t leaf; /* pt/leaf.h */
	uint64_t tag;  /* page << 12 | 1; 0: free */
};

struct cuckoo_bucket {
	struct cuckoo_slot slot[CUCKOO_SLOTS];
};

/* The header frame: a magic number, then a block for each order the format has. */
enum {
	HDR_MAGIC = 0,
	HDR_BLOCKS = 128, BLOCK_BYTES = 128,
	BLOCK_WAY = 32, /* bytes a way: */
	WAY_CUR = 0, WAY_NEXT = 8, WAY_POS = 16,
	BLOCK_COUNT = 96, /* mappings of the order */
};
_Static_assert(HDR_BLOCKS + CUCKOO_ORDERS * BLOCK_BYTES <= PAGE_SIZE, "the header is a frame");
_Static_assert(CUCKOO_WAYS_MAX * BLOCK_WAY <= BLOCK_COUNT, "ways end before the count");

/* One way. An array is named by its address | log2 of its buckets. */
struct cuckoo_way {
	uint64_t cur;
	uint64_t next; /* resizing: the array it moves to; else 0 */
	uint64_t pos;  /* rehash pointer: hashes below it, modulo the smaller array, are in next */
};

/* struct pt's copy of the header: registers of the walker. */
struct cuckoo_regs {
	uint64_t in_use; /* orders that have tables */
	struct cuckoo_way way[CUCKOO_ORDERS][CUCKOO_WAYS_MAX];
};
_Static_assert(sizeof(struct cuckoo_regs) <= PT_PRIV_WORDS * 8, "registers fit struct pt");

static ALWAYS_INLINE struct cuckoo_regs *cuckoo_regs_of(struct pt *pt)
{
	return (struct cuckoo_regs *)pt->priv;
}

static ALWAYS_INLINE unsigned cuckoo_ways(const struct pt *pt)
{
	return pt->flags & CUCKOO_TWO_WAYS ? 2 : 3;
}

/* Which of the format's orders is it? */
static ALWAYS_INLINE unsigned cuckoo_rank(const struct pt *pt, unsigned order)
{
	return popcount64(pt->orders & low_bits(order));
}

static ALWAYS_INLINE struct cuckoo_way *cuckoo_table(struct pt *pt, unsigned order)
{
	return cuckoo_regs_of(pt)->way[cuckoo_rank(pt, order)];
}

static ALWAYS_INLINE uint64_t array_base(uint64_t array) { return array & ~PAGE_MASK; }
static ALWAYS_INLINE unsigned array_log(uint64_t array) { return (unsigned)(array & PAGE_MASK); }
static inline unsigned array_order(uint64_t array) { return array_log(array) - CUCKOO_LOG_MIN; }

static ALWAYS_INLINE uint64_t bucket_in(uint64_t array, uint64_t hash)
{
	return array_base(array) + ((hash & low_bits(array_log(array))) << LINE_SHIFT);
}

/* Buckets of the smaller array: what the rehash pointer counts. */
static ALWAYS_INLINE unsigned resize_log(const struct cuckoo_way *y)
{
	return MIN(array_log(y->cur), array_log(y->next));
}

/* Where a hash is now. */
static ALWAYS_INLINE uint64_t cuckoo_bucket_at(const struct cuckoo_way *y, uint64_t hash)
{
	bool moved = y->next && (hash & low_bits(resize_log(y))) < y->pos;

	return bucket_in(moved ? y->next : y->cur, hash);
}

/* Each way hashes the number of the page among those of its order. */
static ALWAYS_INLINE uint64_t cuckoo_hash(unsigned way, uint64_t page, unsigned order)
{
	static const uint64_t salt[CUCKOO_WAYS_MAX] = {
		UINT64_C(0x9e3779b97f4a7c15), UINT64_C(0xc2b2ae3d27d4eb4f), UINT64_C(0x165667b19e3779f9),
	};

	return hash_u64((page >> order) + salt[way]);
}

static ALWAYS_INLINE uint64_t cuckoo_tag(uint64_t page, unsigned order)
{
	return align_down(page, BIT(order)) << PAGE_SHIFT | CUCKOO_VALID;
}

static ALWAYS_INLINE bool is_valid_slot(const struct cuckoo_slot *s) { return s->tag & CUCKOO_VALID; }
static inline uint64_t slot_page(const struct cuckoo_slot *s) { return s->tag >> PAGE_SHIFT; }
static inline uint64_t slot_at(uint64_t bucket, unsigned i) { return bucket + i * CUCKOO_SLOT_BYTES; }

static inline uint64_t cuckoo_block(const struct pt *pt, unsigned order)
{
	return pt->root + HDR_BLOCKS + BLOCK_BYTES * cuckoo_rank(pt, order);
}

static inline uint64_t cuckoo_way_addr(const struct pt *pt, unsigned order, unsigned way)
{
	return cuckoo_block(pt, order) + BLOCK_WAY * way;
}

/* The slot that i is free in, or CUCKOO_SLOTS. */
static inline unsigned free_slot(const struct cuckoo_bucket *b)
{
	unsigned i = 0;

	while (i < CUCKOO_SLOTS && is_valid_slot(&b->slot[i]))
		i++;
	return i;
}

/* Where a page of one order is, or could be. */
struct cuckoo_spot {
	uint64_t page;
	unsigned order;
	uint64_t addr; /* of the slot, if it was found */
	uint64_t leaf;
	uint64_t bucket_at[CUCKOO_WAYS_MAX]; /* 0: this order has no table */
	struct cuckoo_bucket bucket[CUCKOO_WAYS_MAX];
};

/* 0, -ENOENT, or what a load returned. */
int cuckoo_find(struct pt *pt, uint64_t page, unsigned order, struct cuckoo_spot *s);

/* cuckoo_insert.c: a mapping that is not there yet, s as cuckoo_find left it. 0 or -errno. */
int cuckoo_insert(struct pt *pt, struct cuckoo_spot *s, uint64_t leaf);
/* A slot's words; its tag comes last. */
void cuckoo_put_slot(struct txn *t, uint64_t addr, uint64_t leaf, uint64_t tag);

/* cuckoo_resize.c. A table of an order: its arrays, in registers only, or -ENOMEM. */
int cuckoo_alloc_table(struct pt *pt, unsigned order);
/* Puts the words that make it or unmake it. */
void cuckoo_put_table(struct pt *pt, struct txn *t, unsigned order);
void cuckoo_put_no_table(struct pt *pt, struct txn *t, unsigned order);
/* Its arrays go, and the registers. */
void cuckoo_free_table(struct pt *pt, unsigned order);
/* After each change: starts a resize that is due, and takes those under way one step on. */
void cuckoo_step(struct pt *pt, unsigned order);
/* There was no chain: CUCKOO_CATCH_UP steps of a way that grows. */
void cuckoo_make_room(struct pt *pt, unsigned order);

#endif
