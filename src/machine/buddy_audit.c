/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "machine/machine.h"

struct tally {
	uint64_t blocks[ORDERS];
	uint64_t ntype[FRAME_TYPES];
};

static const char *audit_block(const struct machine *m, uint64_t mfn, struct tally *t)
{
	unsigned order = m->frames[mfn].order;

	if (order > ORDER_MAX || !is_aligned(mfn, BIT(order)) || mfn + BIT(order) > m->first_table)
		return "a free block's order does not fit its place";
	for (uint64_t i = mfn; i < mfn + BIT(order); i++) {
		const struct frame *f = &m->frames[i];

		if (f->type != FRAME_FREE)
			return "a frame in use lies inside a free block";
		if (f->refs || f->sptes || f->priv)
			return "a free frame is named by somebody";
		if (i > mfn && ((f->flags & FRAME_HEAD) || f->owners || f->order))
			return "a free block has a second head";
		if (f->flags & (FRAME_TRACKED | FRAME_PINNED))
			return "a free frame has flags of a frame in use";
	}
	if (order < ORDER_MAX) {
		uint64_t buddy = mfn ^ BIT(order);

		if (buddy < m->first_table && (m->frames[buddy].flags & FRAME_HEAD) &&
		    m->frames[buddy].order == order)
			return "two free buddies are not one block";
	}
	t->blocks[order]++;
	t->ntype[FRAME_FREE] += BIT(order);
	return NULL;
}

static const char *audit_frames(const struct machine *m, struct tally *t)
{
	for (uint64_t at = 0; at < m->first_table;) {
		const struct frame *f = &m->frames[at];

		if (f->flags & FRAME_HEAD) {
			const char *why = audit_block(m, at, t);

			if (why)
				return why;
			at += BIT(f->order);
			continue;
		}
		if (f->type == FRAME_FREE)
			return "a free frame is in no free block";
		if (f->type >= FRAME_TYPES)
			return "a frame has no known type";
		t->ntype[f->type]++;
		at++;
	}
	return NULL;
}

static const char *audit_list(const struct machine *m, unsigned order)
{
	uint32_t prev = NO_FRAME;
	uint64_t n = 0;

	if ((m->free_head[order] != NO_FRAME) != (m->free_mask >> order & 1))
		return "free_mask disagrees with the free lists";
	for (uint32_t at = m->free_head[order]; at != NO_FRAME; at = m->frames[at].next) {
		const struct frame *f = &m->frames[at];

		if (at >= m->first_table || !(f->flags & FRAME_HEAD) || f->order != order)
			return "a free list names what is no free block of its order";
		if (f->prev != prev)
			return "a free list's links disagree";
		if (++n > m->free_blocks[order])
			return "a free list is longer than its count";
		prev = at;
	}
	return n == m->free_blocks[order] ? NULL : "a free list is shorter than its count";
}

static const char *audit(const struct machine *m)
{
	struct tally t = { .ntype[FRAME_BOOT] = m->nframes - m->first_table };
	const char *why = audit_frames(m, &t);

	for (unsigned o = 0; !why && o < ORDERS; o++) {
		why = audit_list(m, o);
		if (!why && t.blocks[o] != m->free_blocks[o])
			why = "a free block is in no list";
	}
	if (!why && t.ntype[FRAME_FREE] != m->nfree)
		why = "nfree is not the number of free frames";
	for (unsigned i = FRAME_BOOT; !why && i < FRAME_TYPES; i++)
		if (t.ntype[i] != m->ntype[i])
			why = "ntype is not the number of frames of that type";
	return why;
}

int buddy_audit(const struct machine *m, const char **why)
{
	const char *found = audit(m);

	if (found)
		*why = found;
	return found ? -EINVAL : 0;
}
