/* SPDX-License-Identifier: MIT */
/*
 * Invariants of the inverted table's bytes:
 *  - an entry's tag, leaf and place agree, and its orders and pages can be;
 *  - chains hold exactly the valid entries, each in the chain of its hash, no key twice;
 *  - no mapping lies inside another of the same space;
 *  - counts in the header are what they count; aliases: inverted_alias.c.
 */
#include "pt/inverted.h"

struct inv_tally {
	uint64_t count[INV_ORDERS]; /* by order's rank, as in the header */
	uint64_t entries;
	const char *why;
};

static int damaged(struct inv_tally *t, const char *why)
{
	t->why = why;
	return -EINVAL;
}

static int audit_entry(struct pt *pt, uint64_t addr, const struct inv_entry *e, void *ctx)
{
	struct inv_tally *t = ctx;
	struct pt_key key = { (uint32_t)e->space, entry_page(e) };
	unsigned order = entry_order(e);
	uint64_t frame = leaf_frame(e->leaf), offset;
	const struct pt_params *p = &pt->params;
	struct inv_spot s;
	int rc;

	if (!is_valid_leaf(e->leaf) || leaf_order(e->leaf) != order || (e->leaf & LEAF_UNUSED) || e->space >> 32 ||
	    !pt_page_ok(pt, key.page, order) || e->tag != inv_tag(key.page, order))
		return damaged(t, "an entry's tag and leaf do not agree, or cannot be");
	if (frame < p->frame_base || frame + BIT(order) > p->frame_base + p->nframes || !is_aligned(frame, BIT(order)))
		return damaged(t, "an entry's frame is out of range or not aligned");
	if (pt_array_offset(&inv_regs_of(pt)->table, addr, &offset) && inv_slot_addr(pt, frame) != addr)
		return damaged(t, "a frame's entry names another frame");
	rc = inv_find(pt, key, order, &s);
	if (rc == -ENOENT || (rc == 0 && s.addr != addr))
		return damaged(t, "an entry is not in its chain, or its key is there twice");
	if (rc)
		return rc;
	rc = inv_find_covering(pt, key, pt->orders & ~low_bits(order + 1), &s);
	if (rc == 0)
		return damaged(t, "a mapping lies inside another");
	t->entries++;
	t->count[popcount64(pt->orders & low_bits(order))]++;
	return rc == -ENOENT ? 0 : rc;
}

/* Entries on all chains. With all valid ones found in theirs, as many means the same. */
static int audit_chains(struct pt *pt, struct inv_tally *t)
{
	uint64_t linked = 0, addr;
	struct inv_entry e;

	for (uint64_t i = 0; i <= inv_regs_of(pt)->anchor_mask; i++) {
		int rc = ptm_load64(pt->mem, inv_anchor_addr(pt, i), &addr);

		for (; !rc && addr; addr = e.next) {
			if (!is_entry_addr(addr) || ++linked > t->entries)
				return damaged(t, "a chain holds what is no valid entry");
			rc = ptm_load(pt->mem, addr, INV_BYTES, &e);
		}
		if (rc)
			return rc;
	}
	return linked == t->entries ? 0 : damaged(t, "a valid entry is on no chain");
}

int inv_audit(struct pt *pt, const char **why)
{
	struct inv_tally t = { .why = NULL };
	uint64_t count[INV_ORDERS];
	int rc = inv_for_each(pt, audit_entry, &t);

	if (!rc)
		rc = audit_chains(pt, &t);
	if (!rc)
		rc = ptm_load(pt->mem, pt->root + HDR_COUNTS, sizeof(count), count);
	if (!rc && memcmp(count, t.count, sizeof(count)))
		rc = damaged(&t, "the header's counts of mappings by order are wrong");
	if (!rc && t.entries != pt->entries)
		rc = damaged(&t, "the number of mappings is not pt->entries");
	*why = t.why;
	return rc ? rc : inv_alias_audit(pt, why);
}
