/* SPDX-License-Identifier: MIT */
/*
 * hashed: open addressing; neighbouring pages share one line and one tag.
 *
 *   page >> order ─┬▶ number >> 3 ── hash ──▶ home line, the next, … (64 at most)
 *                  └▶ number & 7: the leaf in it        │
 *                                                       ▼
 *   │ leaf 0 │ leaf 1 │ leaf 2 │ leaf 3 │ leaf 4 │ leaf 5 │ leaf 6 │ leaf 7 │   64 bytes
 *     7 bits of the tag in each, where pt/leaf.h leaves some free
 *
 * A line is a cluster: one load brings its tag and all its leaves, so a lookup
 * is one reference when nothing collides. (The layout follows Talluri, Hill
 * and Khalidi, "A New Page Table for 64-bit Address Spaces", SOSP 1995, with
 * the spread tag of Yaniv and Tsafrir, "Hash, Don't Cache (the Page Table)",
 * SIGMETRICS 2016.) A walker stops at the cluster, at an empty line, or after
 * 64 lines. A line is stored as a whole, so that no tag is ever half there.
 *
 * One table per page size in use, from its first mapping to its last; the
 * largest size is probed first, so with one size in use a lookup costs one,
 * and a mapping of the smallest of n sizes n. A superpage is one leaf.
 *
 * Deletion: a leaf is cleared; with the cluster's last, the lines after it
 * move back on their ways (no marks of the dead are left to be passed by). A
 * line that moves is stored at its new place before its old one is overwritten:
 * in between it stands twice, alike. Should that take more than 16 moves, the
 * empty cluster stays, counted as used, until the table is built anew.
 *
 * Growth: when over half of the lines are used, or a way is full, all clusters
 * go to a table of twice the size, the new one included, that nobody sees
 * until the store of its shape in the header. Without memory for that the old
 * one is filled up to 7/8. A table used to less than 1/16 shrinks to a quarter.
 * Lines given up are stored to before they are freed, since what a CPU or a
 * shadow table keeps from them must be dropped. Keys that are made to collide
 * cannot make it grow for ever: a large table that is nearly empty does not.
 *
 * Header: a frame. Shapes, counts and bases by page size are the walker's
 * registers. Another view of the table must be opened again when that frame
 * was stored to: a table that moved is not found through the old registers.
 * Bytes of a header may be a hostile guest's: open bounds each shape and wants
 * frames as bases; what a base leads to is the memory's to say.
 *
 * next asks for the clusters that follow, then reads the whole table: no
 * order by page here.
 *
 * +ppc, PowerPC's hashed table: a group of 8 slots of 16 bytes (tag, leaf), no
 * clusters; a slot is in the primary group, hash = VSID xor page of its
 * segment, or in the secondary, of the hash's complement: at most 16 slots are
 * probed, in 4 lines. (PowerPC OEA, hashed page tables; 64-bit entries.) An
 * operating system chooses VSIDs; here a segment's is its number, mixed.
 * Made with one group for two frames (params.nframes), as the manual recommends
 * for its smallest table: 256 MiB in 4 KiB frames, 32768 groups, 4 MiB. Three
 * departures: there is one such table a space, not one for all; superpages
 * have a table of their own here, too, made when first needed; and when both
 * groups are full, where real systems evict an entry and keep the truth
 * elsewhere, the table is built anew with twice the groups (as PAPR's resizing
 * of hashed tables does), because map must not lose another key's mapping.
 */
#include "pt/hashed.h"

#define HASHED_MAGIC UINT64_C(0x68736168652f7571) /* "qu/ehash" */

static int hashed_create(struct pt *pt)
{
	int rc = ptm_alloc(pt->mem, 0, &pt->root);

	if (rc)
		return rc;
	rc = ptm_store64(pt->mem, pt->root + HDR_MAGIC, HASHED_MAGIC);
	if (!rc)
		rc = ptm_store64(pt->mem, pt->root + HDR_FLAGS, pt->flags);
	if (!rc && is_ppc(pt))
		rc = hashed_make_table(pt, log2_floor(pt->orders & -pt->orders));
	if (rc)
		ptm_free(pt->mem, pt->root, 0);
	return rc;
}

static void hashed_destroy(struct pt *pt)
{
	for (unsigned i = 0; i < HASHED_ORDERS; i++)
		hashed_free_table(pt, &hashed_regs_of(pt)->table[i]);
	ptm_free(pt->mem, pt->root, 0);
}

static bool shape_ok(uint64_t shape)
{
	return !(shape & ~(uint64_t)(SHAPE_LOG2 | SHAPE_SIDE)) && (shape & SHAPE_LOG2) >= HASHED_LOG2_MIN &&
	       (shape & SHAPE_LOG2) <= HASHED_LOG2_MAX;
}

static int open_table(struct pt *pt, unsigned rank, uint64_t shape)
{
	struct hashed_table *t = &hashed_regs_of(pt)->table[rank];
	unsigned n = shape_ok(shape) ? (unsigned)BIT(segments_log2(shape & SHAPE_LOG2)) : 0;
	int rc = n ? ptm_load(pt->mem, header_bases(pt, rank, shape), 8 * n, t->base) : -EINVAL;

	for (unsigned i = 0; i < n && !rc; i++)
		if (!t->base[i] || !is_aligned(t->base[i], PAGE_SIZE))
			rc = -EINVAL;
	t->shape = rc ? 0 : shape;
	return rc;
}

static int hashed_open(struct pt *pt)
{
	uint64_t head[2], shape[HASHED_ORDERS], count[HASHED_ORDERS], orders = pt->orders;
	int rc = is_aligned(pt->root, PAGE_SIZE) ? ptm_load(pt->mem, pt->root + HDR_MAGIC, sizeof(head), head) : -EINVAL;

	if (!rc && (head[0] != HASHED_MAGIC || head[1] != pt->flags))
		rc = -EINVAL;
	if (!rc)
		rc = ptm_load(pt->mem, pt->root + HDR_SHAPE, sizeof(shape), shape);
	if (!rc)
		rc = ptm_load(pt->mem, pt->root + HDR_COUNT, sizeof(count), count);
	for (unsigned rank = 0; rank < HASHED_ORDERS && !rc; rank++, orders &= orders - 1) {
		if (!shape[rank])
			continue;
		rc = orders ? open_table(pt, rank, shape[rank]) : -EINVAL;
		hashed_regs_of(pt)->in_use |= orders & -orders;
		pt->entries += count[rank];
	}
	return rc;
}

/* 0: no mapping of another order overlaps; -EEXIST. */
static int check_other_orders(struct pt *pt, struct pt_key key, unsigned order)
{
	uint64_t others = hashed_regs_of(pt)->in_use & ~BIT(order), addr, leaf;
	struct hashed_spot s;
	struct pt_entry e;
	int rc = -ENOENT;

	for (; others && rc == -ENOENT; others &= others - 1) {
		unsigned other = log2_floor(others & -others);

		rc = other > order ? hashed_find_leaf(pt, other, key.page >> other, &s, &addr, &leaf) :
				     hashed_first(pt, other, key.page, key.page + BIT(order), &e);
	}
	return rc == 0 ? -EEXIST : rc == -ENOENT ? 0 : rc;
}

/* Into a unit that is there, or given back from it: the leaf and the count. */
static int put_leaf(struct pt *pt, unsigned order, uint64_t addr, uint64_t leaf, int by)
{
	uint64_t count = header_word(pt, HDR_COUNT, order);
	struct txn t;

	txn_begin(&t, pt->mem);
	txn_put(&t, addr, leaf);
	txn_put(&t, count, txn_get(&t, count) + (uint64_t)(int64_t)by);
	return txn_commit(&t);
}

static int map_new(struct pt *pt, const struct pt_entry *e, uint64_t leaf, const struct hashed_spot *s)
{
	uint64_t number = e->key.page >> e->order;
	unsigned i = leaf_word(pt, number);
	int rc = s->unit ? put_leaf(pt, e->order, s->addr + 8 * i, leaf | (s->unit[i] & PIECE_MASK), 1) :
			   hashed_add_unit(pt, e->order, number, leaf, s->room);

	if (!rc)
		pt->entries++;
	return rc;
}

static int hashed_map(struct pt *pt, const struct pt_entry *e)
{
	struct hashed_spot s = { .unit = NULL };
	uint64_t leaf, old, addr;
	int rc;

	if (!pt_entry_ok(pt, e))
		return -EINVAL;
	leaf = make_leaf(e->frame, e->order, pt_rights(pt, e->rights));
	rc = hashed_find_leaf(pt, e->order, e->key.page >> e->order, &s, &addr, &old);
	if (!rc)
		return ptm_store64(pt->mem, addr, leaf | (old & PIECE_MASK));
	if (rc == -ENOENT)
		rc = check_other_orders(pt, e->key, e->order);
	return rc ? rc : map_new(pt, e, leaf, &s);
}

static int find_exact(struct pt *pt, struct pt_key key, unsigned order, struct hashed_spot *s,
		      uint64_t *addr, uint64_t *leaf)
{
	return pt_page_ok(pt, key.page, order) ?
	       hashed_find_leaf(pt, order, key.page >> order, s, addr, leaf) : -ENOENT;
}

static bool is_last_leaf(const struct pt *pt, const uint64_t *unit)
{
	unsigned n = 0;

	for (unsigned i = is_ppc(pt); i < unit_words(pt); i++)
		n += is_valid_leaf(unit[i]);
	return n == 1;
}

/* PowerPC's table is there from the start, and stays when its last mapping goes. */
static bool is_permanent(const struct pt *pt, unsigned order)
{
	return is_ppc(pt) && !(pt->orders & low_bits(order));
}

static int hashed_unmap(struct pt *pt, struct pt_key key, unsigned order, struct pt_entry *old)
{
	struct hashed_spot s;
	uint64_t addr, leaf, count;
	int rc = find_exact(pt, key, order, &s, &addr, &leaf);

	if (!rc)
		rc = ptm_load64(pt->mem, header_word(pt, HDR_COUNT, order), &count);
	if (rc)
		return rc;
	if (count == 1 && !is_permanent(pt, order))
		rc = hashed_drop_table(pt, order);
	else if (is_last_leaf(pt, s.unit))
		rc = hashed_remove_unit(pt, order, key.page >> order, &s);
	else
		rc = put_leaf(pt, order, addr, leaf & PIECE_MASK, -1);
	if (rc)
		return rc;
	pt->entries--;
	if (old)
		leaf_to_entry(key, leaf, old);
	return 0;
}

static int hashed_protect(struct pt *pt, struct pt_key key, unsigned order, uint8_t rights)
{
	struct hashed_spot s;
	uint64_t addr, leaf;
	int rc = find_exact(pt, key, order, &s, &addr, &leaf);

	return rc ? rc : ptm_store64(pt->mem, addr, leaf_with_rights(leaf, pt_rights(pt, rights)) |
						    (leaf & PIECE_MASK));
}

/* The largest page size first. */
static int search(struct pt *pt, const struct walk_req *req, struct walk *w, uint64_t *addr, uint64_t *leaf)
{
	uint64_t orders = hashed_regs_of(pt)->in_use, page = req->va >> PAGE_SHIFT;
	struct hashed_spot s;

	while (orders) {
		unsigned order = log2_floor(orders);
		uint64_t number = page >> order;
		int rc = hashed_find(pt, order, hashed_table_of(pt, order), number, w, &s);

		if (rc == 0 && is_valid_leaf(s.unit[leaf_word(pt, number)])) {
			*addr = s.addr + 8 * leaf_word(pt, number);
			*leaf = s.unit[leaf_word(pt, number)];
			return 0;
		}
		if (rc != 0 && rc != -ENOENT)
			return rc;
		orders &= ~BIT(order);
	}
	return -ENOENT;
}

static void hashed_lookup(struct pt *pt, const struct walk_req *req, struct walk *w)
{
	leaf_lookup(pt, req, w, search);
}

static int hashed_next(struct pt *pt, struct pt_key from, struct pt_entry *e)
{
	uint64_t orders = hashed_regs_of(pt)->in_use, end = BIT(64 - PAGE_SHIFT);
	struct pt_entry found;

	for (; orders && from.page < end; orders &= orders - 1) {
		int rc = hashed_first(pt, log2_floor(orders & -orders), from.page, end, &found);

		if (rc == -ENOENT)
			continue;
		if (rc)
			return rc;
		*e = found;
		e->key.space = from.space;
		/* Of other sizes only what starts before. */
		end = found.key.page;
	}
	return end < BIT(64 - PAGE_SHIFT) ? 0 : -ENOENT;
}

static int hashed_drop_space(struct pt *pt, uint32_t space)
{
	uint64_t count;
	int rc = 0;

	for (unsigned order = 0; order < 64 && !rc; order++) {
		if (!hashed_in_use(pt, order))
			continue;
		rc = ptm_load64(pt->mem, header_word(pt, HDR_COUNT, order), &count);
		if (!rc)
			rc = hashed_drop_table(pt, order);
		if (!rc)
			pt->entries -= count;
	}
	return rc;
}

static const struct pt_org hashed_org = {
	.name = "hashed",
	.summary = "open addressing, 8 neighbouring pages a line: one reference when nothing collides; +ppc: PowerPC's groups",
	.options = { "ppc" },
	.sparse_keys = true,
	.create = hashed_create,
	.destroy = hashed_destroy,
	.open = hashed_open,
	.map = hashed_map,
	.unmap = hashed_unmap,
	.protect = hashed_protect,
	.lookup = hashed_lookup,
	.next = hashed_next,
	.audit = hashed_audit,
	.drop_space = hashed_drop_space,
};
QUIRE_PT_ORG(hashed_org);
