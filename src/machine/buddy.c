/* SPDX-License-Identifier: MIT */
/*
 * The buddy allocator (Knowlton 1965; Knuth, TAOCP vol. 1, 2.5). A free block
 * of order o is 2^o frames aligned to their size; its first frame is
 * FRAME_HEAD, carries the order and the list's links. A block's buddy is its
 * neighbour in the block of the next order, at mfn ^ 2^o.
 *
 * Invariants (buddy_audit checks them):
 *   - a frame is FRAME_FREE if and only if it is in exactly one free block;
 *   - two buddies are never both free blocks of one order below ORDER_MAX;
 *   - a free frame's entry is zero but for a head's order and links, and FRAME_TOUCHED.
 *
 * Which block is handed out depends on the calls before and on nothing else.
 */
#include <errno.h>
#include <string.h>

#include "base/bug.h"
#include "machine/internal.h"
#include "machine/machine.h"

static void push_block(struct machine *m, uint64_t mfn, unsigned order)
{
	struct frame *f = &m->frames[mfn];
	uint32_t old = m->free_head[order];

	f->next = old;
	f->prev = NO_FRAME;
	f->order = (uint8_t)order;
	f->flags |= FRAME_HEAD;
	if (old != NO_FRAME)
		m->frames[old].prev = (uint32_t)mfn;
	m->free_head[order] = (uint32_t)mfn;
	m->free_blocks[order]++;
	m->free_mask |= 1u << order;
}

/* Leaves the entry zero but for FRAME_TOUCHED. */
static void unlink_block(struct machine *m, uint64_t mfn)
{
	struct frame *f = &m->frames[mfn];
	unsigned order = f->order;

	if (f->prev != NO_FRAME)
		m->frames[f->prev].next = f->next;
	else
		m->free_head[order] = f->next;
	if (f->next != NO_FRAME)
		m->frames[f->next].prev = f->prev;
	f->owners = 0;
	f->order = 0;
	f->flags &= (uint16_t)~FRAME_HEAD;
	m->free_blocks[order]--;
	if (m->free_head[order] == NO_FRAME)
		m->free_mask &= ~(1u << order);
}

static bool is_free_block(const struct machine *m, uint64_t mfn, unsigned order)
{
	return mfn < m->first_table && (m->frames[mfn].flags & FRAME_HEAD) &&
	       m->frames[mfn].order == order;
}

/* The largest block that starts at `start` and ends by `end`. */
static unsigned order_from(uint64_t start, uint64_t end)
{
	unsigned fits = log2_floor(end - start);
	unsigned aligned = start ? (unsigned)__builtin_ctzll(start) : ORDER_MAX;

	return MIN(MIN(fits, aligned), (unsigned)ORDER_MAX);
}

/* The largest block that ends at `end` and starts no earlier than `start`. */
static unsigned order_up_to(uint64_t start, uint64_t end)
{
	unsigned fits = log2_floor(end - start);
	unsigned aligned = (unsigned)__builtin_ctzll(end);

	return MIN(MIN(fits, aligned), (unsigned)ORDER_MAX);
}

static void push_range(struct machine *m, uint64_t start, uint64_t end)
{
	while (start < end) {
		unsigned order = order_up_to(start, end);

		end -= BIT(order);
		push_block(m, end, order);
	}
}

void buddy_init(struct machine *m)
{
	for (unsigned o = 0; o < ORDERS; o++)
		m->free_head[o] = NO_FRAME;
}

void buddy_add_range(struct machine *m, uint64_t start, uint64_t end)
{
	push_range(m, start, end);
	m->nfree += end - start;
}

/* Frames leave the free lists for good. */
static void begin_life(struct machine *m, uint64_t mfn, uint64_t n, enum frame_type type)
{
	ASSERT(type > FRAME_BOOT && type < FRAME_TYPES);
	for (uint64_t i = 0; i < n; i++)
		m->frames[mfn + i].type = (uint8_t)type;
	m->nfree -= n;
	m->ntype[type] += n;
}

/* Debug builds: who reads a freed frame shall notice. Large blocks are spared, to keep sparse RAM sparse. */
static void poison(struct machine *m, uint64_t mfn, uint64_t n)
{
#ifdef QUIRE_DEBUG
	for (uint64_t i = 0; n < BIT(ORDER_2M) && i < n; i++)
		if (m->frames[mfn + i].flags & FRAME_TOUCHED)
			memset(m->ram + ((mfn + i) << PAGE_SHIFT), POISON_BYTE, PAGE_SIZE);
#endif
}

static void end_life(struct machine *m, uint64_t mfn, uint64_t n)
{
	uint8_t type = m->frames[mfn].type;

	BUG_ON(type <= FRAME_BOOT); /* freed twice, or never allocated */
	for (uint64_t i = 0; i < n; i++) {
		struct frame *f = &m->frames[mfn + i];

		BUG_ON(f->type != type || f->refs || f->sptes || (f->flags & FRAME_PINNED));
		f->owners = 0;
		f->type = FRAME_FREE;
		f->order = 0;
		f->flags &= FRAME_TOUCHED;
		f->priv = 0;
	}
	poison(m, mfn, n);
	m->ntype[type] -= n;
	m->nfree += n;
}

int buddy_take(struct machine *m, unsigned order, enum frame_type type, mfn_t *mfn)
{
	BUG_ON(order > ORDER_MAX);

	uint32_t fitting = m->free_mask >> order;

	if (!fitting)
		return -ENOMEM;

	unsigned have = order + (unsigned)__builtin_ctz(fitting);
	uint64_t block = m->free_head[have];

	unlink_block(m, block);
	while (have > order) {
		have--;
		push_block(m, block + BIT(have), have);
	}
	begin_life(m, block, BIT(order), type);
	*mfn = MFN(block);
	return 0;
}

int buddy_alloc(struct machine *m, unsigned order, enum frame_type type, mfn_t *mfn)
{
	if (faultinj_hit(m->inj, FAULT_FRAME_ALLOC))
		return -ENOMEM;
	return buddy_take(m, order, type, mfn);
}

void buddy_free(struct machine *m, mfn_t mfn, unsigned order)
{
	uint64_t block = mfn.v;

	BUG_ON(order > ORDER_MAX || !is_aligned(block, BIT(order)));
	BUG_ON(block >= m->first_table || BIT(order) > m->first_table - block);
	end_life(m, block, BIT(order));
	while (order < ORDER_MAX && is_free_block(m, block ^ BIT(order), order)) {
		unlink_block(m, block ^ BIT(order));
		block &= ~BIT(order);
		order++;
	}
	push_block(m, block, order);
}

/* The lowest extent of free frames that holds an aligned run of n; its blocks in [*first, …). */
static int find_run(const struct machine *m, uint64_t n, uint64_t align, uint64_t *first,
		    uint64_t *start)
{
	uint64_t extent = 0;

	for (uint64_t at = 0; at < m->first_table;) {
		const struct frame *f = &m->frames[at];

		if (!(f->flags & FRAME_HEAD)) {
			extent = ++at;
			continue;
		}
		at += BIT(f->order);
		uint64_t aligned = align_up(extent, align);

		if (aligned < at && at - aligned >= n) {
			*first = extent;
			*start = aligned;
			return 0;
		}
	}
	return -ENOMEM;
}

int buddy_take_run(struct machine *m, uint64_t n, unsigned align_order, enum frame_type type,
		   mfn_t *mfn)
{
	uint64_t at, start, end;

	BUG_ON(n == 0 || align_order > 40);
	if (n > m->nfree || find_run(m, n, BIT(align_order), &at, &start))
		return -ENOMEM;
	end = start + n;
	/*
	 * What a block loses at either side of [start, end) keeps no free buddy:
	 * the buddy of each remaining piece lies across that edge.
	 */
	while (at < end) {
		uint64_t next = at + BIT(m->frames[at].order);

		if (next > start) {
			unlink_block(m, at);
			push_range(m, at, MAX(at, start));
			push_range(m, MIN(next, end), next);
		}
		at = next;
	}
	begin_life(m, start, n, type);
	*mfn = MFN(start);
	return 0;
}

int buddy_alloc_run(struct machine *m, uint64_t n, unsigned align_order, enum frame_type type,
		    mfn_t *mfn)
{
	if (faultinj_hit(m->inj, FAULT_FRAME_ALLOC))
		return -ENOMEM;
	return buddy_take_run(m, n, align_order, type, mfn);
}

void buddy_free_run(struct machine *m, mfn_t mfn, uint64_t n)
{
	uint64_t end = mfn.v + n;

	for (uint64_t at = mfn.v; at < end;) {
		unsigned order = order_from(at, end);

		buddy_free(m, MFN(at), order);
		at += BIT(order);
	}
}

bool buddy_has(const struct machine *m, unsigned order)
{
	return order <= ORDER_MAX && m->free_mask >> order;
}
