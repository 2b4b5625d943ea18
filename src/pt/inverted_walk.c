/* SPDX-License-Identifier: MIT */
/* The walker's side of the inverted table: hashed chains, or the linear search. See inverted.c. */
#include "pt/inverted.h"

/* For the log: the entry's number in the table; an alias has none. */
static void note_entry(struct pt *pt, uint64_t addr)
{
	uint64_t offset;

	if (likely(!pt->mem->log))
		return;
	if (pt_array_offset(&inv_regs_of(pt)->table, addr, &offset))
		ptm_note(pt->mem, "chain", 0, offset / INV_BYTES, 0, 1);
	else
		ptm_note(pt->mem, "alias", 0, addr % PAGE_SIZE / INV_BYTES, 0, 1);
}

/* One anchor and its chain, every load charged. */
static ALWAYS_INLINE int probe(struct pt *pt, const struct walk_req *req, unsigned order,
			       struct walk *w, uint64_t *addr, struct inv_entry *e)
{
	uint64_t tag = inv_tag(req->va >> PAGE_SHIFT, order);
	uint64_t index = inv_anchor_index(pt, req->space, tag);
	uint64_t anchor = inv_anchor_addr(pt, index);
	int rc;

	ptm_note(pt->mem, "anchor", 0, index, pt->params.fmt->va_bits - 1, PAGE_SHIFT + order);
	walk_add_line(w, anchor);
	rc = ptm_load64(pt->mem, anchor, addr);
	for (unsigned n = 0; !rc && *addr; n++) {
		if (unlikely(!is_entry_addr(*addr) || n == CHAIN_MAX))
			return -EFAULT;
		note_entry(pt, *addr);
		walk_add_line(w, *addr);
		rc = ptm_load(pt->mem, *addr, INV_BYTES, e);
		if (rc || (e->tag == tag && e->space == req->space))
			return rc;
		*addr = e->next;
	}
	return rc ? rc : -ENOENT;
}

static int probe_orders(struct pt *pt, const struct walk_req *req, uint64_t orders,
			struct walk *w, uint64_t *addr, struct inv_entry *e)
{
	int rc = -ENOENT;

	while (orders && rc == -ENOENT) {
		unsigned order = log2_floor(orders);

		rc = probe(pt, req, order, w, addr, e);
		orders &= ~BIT(order);
	}
	return rc;
}

/* An order not in this view's register may have come into use: the header knows. */
static int chained_search(struct pt *pt, const struct walk_req *req, struct walk *w,
			  uint64_t *addr, struct inv_entry *e)
{
	struct inv_regs *r = inv_regs_of(pt);
	uint64_t known = r->in_use;
	int rc = probe_orders(pt, req, known, w, addr, e);

	if (likely(rc != -ENOENT))
		return rc;
	rc = inv_read_in_use(pt);
	return rc ? rc : probe_orders(pt, req, r->in_use & ~known, w, addr, e);
}

/* Charges entries [0, n) of the table. */
static int scan_table(struct pt *pt, uint64_t n)
{
	const struct pt_array *a = &inv_regs_of(pt)->table;
	uint64_t per_segment = BIT(a->seg_shift) / INV_BYTES;
	int rc = 0;

	for (uint64_t i = 0; i < n && !rc; i += per_segment) {
		ptm_note(pt->mem, "frames", 0, i, 0, 1);
		rc = ptm_scan(pt->mem, pt_array_at(a, i * INV_BYTES), MIN(n - i, per_segment), INV_BYTES);
	}
	return rc;
}

/*
 * The textbook's search, its loads charged without being made: the entries in
 * the order of frames, then the aliases, until one matches; without a match all.
 */
static int linear_search(struct pt *pt, const struct walk_req *req, struct walk *w,
			 uint64_t *addr, struct inv_entry *e)
{
	struct inv_regs *r = inv_regs_of(pt);
	struct pt_key key = { req->space, req->va >> PAGE_SHIFT };
	struct pt_quiet q = pt_quiet_begin(pt->mem);
	struct inv_spot s = { 0 };
	uint64_t offset = 0;
	int found, rc;

	found = inv_read_in_use(pt);
	if (!found)
		found = inv_find_covering(pt, key, r->in_use, &s);
	pt_quiet_end(pt->mem, &q);
	if (found && found != -ENOENT)
		return found;
	bool in_table = !found && pt_array_offset(&r->table, s.addr, &offset);
	rc = scan_table(pt, in_table ? offset / INV_BYTES + 1 : r->slots);
	if (!rc && !in_table)
		rc = inv_alias_scan(pt, found ? 0 : s.addr);
	if (rc || found)
		return rc ? rc : found;
	/* Of all the lines read the one that counts is the entry's. */
	walk_add_line(w, s.addr);
	w->overflow = offset >= LINE_SIZE || !in_table;
	*addr = s.addr;
	*e = s.e;
	return 0;
}

static int search(struct pt *pt, const struct walk_req *req, struct walk *w, uint64_t *addr, uint64_t *leaf)
{
	struct inv_entry e;
	int rc = pt->flags & INV_LINEAR ? linear_search(pt, req, w, addr, &e) : chained_search(pt, req, w, addr, &e);

	if (rc)
		return rc;
	*addr += INV_LEAF;
	*leaf = e.leaf;
	return 0;
}

void inv_lookup(struct pt *pt, const struct walk_req *req, struct walk *w)
{
	leaf_lookup(pt, req, w, search);
}
