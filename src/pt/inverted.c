/* SPDX-License-Identifier: MIT */
/*
 * inverted: one table for the whole machine, one entry per machine frame,
 * every space in it.
 *
 *   hash(space, page, order)
 *        │         anchors            table: entry i is frame frame_base + i
 *        ▼        ┌───────┐         ┌─────┬───────┬──────┬──────┐
 *        └──────▶ │   ●───┼───────▶ │ tag │ space │ leaf │ next ●──▶ another entry
 *                 │   ∅   │         ├─────┴───────┴──────┴──────┤    of this chain
 *                 └───────┘         │  ∅ : a frame nobody maps  │
 *                 8 bytes each      └───────────────────────────┘ 32 bytes each
 *
 * Its size follows the machine's memory, not the address spaces'. Frames are
 * 2^params.page_order * 4 KiB; anchors are as many as entries, rounded up to a
 * power of two, or params.anchors. α = mappings / anchors.
 *
 * Lookup: one reference for the anchor, one for each entry of the chain
 * visited: 1 + (1 + α/2) in the mean over the keys mapped, 1 + α for one absent.
 *
 * +linear, the textbook's search: entries are read in the order of frames
 * until one matches; (F+1)/2 references in the mean, F for an absent key. The
 * entry is found through the anchors, the loads of the search are charged with
 * ptm_scan, and a test holds it to a real search.
 *
 * One entry per frame, but several owners: the first mapping of a frame takes the
 * frame's entry, each further one an alias, an entry in a chunk beside the
 * table (inverted_alias.c). Chains hold both alike. An alias stays one when the
 * frame's entry becomes free: the next mapping of that frame gets it.
 *
 * Superpages: one entry, at the first of its frames; the others' entries stay
 * free for mappings of their own. Since the hash takes the order in, a lookup
 * probes each order in use, largest first. Mappings of each order are counted in
 * the header, and walkers have the orders in use in a register. A second view of
 * the table (through another memory) may have an old register: nothing is
 * "not present" before the header agrees. A failing walk reads it, uncharged.
 *
 * Stores: an entry is filled before it is linked and cleared after it is
 * unlinked; a mapping moves to another frame by the one store that swaps the
 * entries in their chain. A and D are set by cas on the leaf word.
 *
 * The leaf repeats the frame: chains lead to addresses, and to turn one back
 * into a frame number would need the table's geometry. audit compares them.
 *
 * next reads the whole table, unless a page soon after is mapped: there is no
 * order by page here. That is the organisation's price for what it saves.
 */
#include "pt/inverted.h"

#define INV_MAGIC UINT64_C(0x7472766e692f7571) /* "qu/invrt" */
uint64_t inv_slot_addr(struct pt *pt, uint64_t frame)
{
	uint64_t i = (frame - pt->params.frame_base) >> pt->params.page_order;

	return pt_array_at(&inv_regs_of(pt)->table, i * INV_BYTES);
}

static uint64_t count_addr(const struct pt *pt, unsigned order)
{
	return pt->root + HDR_COUNTS + 8u * (unsigned)popcount64(pt->orders & low_bits(order));
}

int inv_read_in_use(struct pt *pt)
{
	uint64_t count[INV_ORDERS], in_use = 0, orders = pt->orders;
	int rc = pt_peek(pt->mem, pt->root + HDR_COUNTS, sizeof(count), count);

	for (unsigned i = 0; !rc && orders; i++, orders &= orders - 1)
		if (count[i])
			in_use |= orders & -orders;
	if (!rc)
		inv_regs_of(pt)->in_use = in_use;
	return rc;
}

int inv_find(struct pt *pt, struct pt_key key, unsigned order, struct inv_spot *s)
{
	uint64_t tag = inv_tag(key.page, order);
	int rc;

	s->anchor = s->linkp = inv_anchor_addr(pt, inv_anchor_index(pt, key.space, tag));
	rc = ptm_load64(pt->mem, s->anchor, &s->addr);
	for (unsigned n = 0; !rc && s->addr; n++) {
		if (!is_entry_addr(s->addr) || n == CHAIN_MAX)
			return -EFAULT;
		rc = ptm_load(pt->mem, s->addr, INV_BYTES, &s->e);
		if (rc || (s->e.tag == tag && s->e.space == key.space))
			return rc;
		s->linkp = s->addr + INV_NEXT;
		s->addr = s->e.next;
	}
	return rc ? rc : -ENOENT;
}

int inv_find_covering(struct pt *pt, struct pt_key key, uint64_t orders, struct inv_spot *s)
{
	int rc = -ENOENT;

	while (orders && rc == -ENOENT) {
		unsigned order = log2_floor(orders);

		rc = inv_find(pt, key, order, s);
		orders &= ~BIT(order);
	}
	return rc;
}

static void entry_to_pt(const struct inv_entry *e, struct pt_entry *out)
{
	*out = (struct pt_entry){ { (uint32_t)e->space, entry_page(e) }, (uint8_t)entry_order(e),
				  leaf_rights(e->leaf), leaf_frame(e->leaf) };
}

static int put_geometry(struct pt *pt)
{
	struct inv_regs *r = inv_regs_of(pt);
	int rc = ptm_store64(pt->mem, pt->root + HDR_SLOTS, r->slots);

	if (!rc)
		rc = ptm_store64(pt->mem, pt->root + HDR_ANCHORS, r->anchor_mask + 1);
	for (unsigned i = 0; i < r->table.nsegs && !rc; i++)
		rc = ptm_store64(pt->mem, pt->root + HDR_TABLE + 8 * i, r->table.base[i]);
	for (unsigned i = 0; i < r->heads.nsegs && !rc; i++)
		rc = ptm_store64(pt->mem, pt->root + HDR_HEADS + 8 * i, r->heads.base[i]);
	return rc ? rc : ptm_store64(pt->mem, pt->root + HDR_MAGIC, INV_MAGIC);
}

/* What params say; the bases come from the allocator or the header. */
static int init_regs(struct pt *pt)
{
	struct inv_regs *r = inv_regs_of(pt);
	const struct pt_params *p = &pt->params;
	uint64_t frame = BIT(p->page_order);

	r->slots = p->nframes >> p->page_order;
	if (!r->slots || !is_aligned(p->nframes | p->frame_base, frame) ||
	    p->frame_base + p->nframes > LEAF_FRAME_MAX)
		return -EINVAL;
	pt->orders = frame | (pt->orders & ~low_bits(p->page_order));
	r->anchor_mask = low_bits(log2_ceil(p->anchors ? p->anchors : r->slots));
	pt_array_init(&r->table, r->slots * INV_BYTES);
	pt_array_init(&r->heads, (r->anchor_mask + 1) * ANCHOR_BYTES);
	return 0;
}

static int inverted_create(struct pt *pt)
{
	struct inv_regs *r = inv_regs_of(pt);
	int rc = init_regs(pt);

	if (!rc)
		rc = ptm_alloc(pt->mem, 0, &pt->root);
	if (rc)
		return rc;
	rc = pt_array_alloc(&r->table, pt->mem);
	if (rc)
		goto free_header;
	rc = pt_array_alloc(&r->heads, pt->mem);
	if (rc)
		goto free_table;
	rc = put_geometry(pt);
	if (!rc)
		return 0;
	pt_array_free(&r->heads, pt->mem);
free_table:
	pt_array_free(&r->table, pt->mem);
free_header:
	ptm_free(pt->mem, pt->root, 0);
	return rc;
}

static void inverted_destroy(struct pt *pt)
{
	struct inv_regs *r = inv_regs_of(pt);

	inv_alias_destroy(pt);
	pt_array_free(&r->heads, pt->mem);
	pt_array_free(&r->table, pt->mem);
	ptm_free(pt->mem, pt->root, 0);
}

static int load_bases(struct pt *pt, uint64_t at, struct pt_array *a)
{
	int rc = 0;

	for (unsigned i = 0; i < a->nsegs && !rc; i++)
		rc = ptm_load64(pt->mem, at + 8 * i, &a->base[i]);
	return rc ? rc : pt_array_ok(a) ? 0 : -EINVAL;
}

static int inverted_open(struct pt *pt)
{
	struct inv_regs *r = inv_regs_of(pt);
	uint64_t head[3], count[INV_ORDERS]; /* magic, slots, anchors */
	int rc = init_regs(pt);

	if (!rc)
		rc = ptm_load(pt->mem, pt->root + HDR_MAGIC, sizeof(head), head);
	if (!rc && (head[0] != INV_MAGIC || head[1] != r->slots || head[2] != r->anchor_mask + 1))
		rc = -EINVAL;
	if (!rc)
		rc = load_bases(pt, pt->root + HDR_TABLE, &r->table);
	if (!rc)
		rc = load_bases(pt, pt->root + HDR_HEADS, &r->heads);
	if (!rc)
		rc = ptm_load(pt->mem, pt->root + HDR_COUNTS, sizeof(count), count);
	for (unsigned i = 0; i < INV_ORDERS && !rc; i++)
		pt->entries += count[i];
	return rc ? rc : inv_read_in_use(pt);
}

int inv_for_each(struct pt *pt, inv_visit *f, void *ctx)
{
	struct inv_regs *r = inv_regs_of(pt);
	struct inv_entry pair[2];

	for (uint64_t i = 0; i < r->slots; i += 2) {
		unsigned n = (unsigned)MIN(UINT64_C(2), r->slots - i);
		uint64_t addr = pt_array_at(&r->table, i * INV_BYTES);
		int rc = ptm_load(pt->mem, addr, n * INV_BYTES, pair);

		for (unsigned k = 0; k < n && !rc; k++)
			if (is_valid_entry(&pair[k]))
				rc = f(pt, addr + k * INV_BYTES, &pair[k], ctx);
		if (rc)
			return rc;
	}
	return inv_alias_for_each(pt, f, ctx);
}

/* The lowest mapping of a space that ends after a page. */
struct lowest {
	struct pt_key from;
	struct pt_entry e;
	bool found;
};

static int keep_lowest(struct pt *pt, uint64_t addr, const struct inv_entry *e, void *ctx)
{
	struct lowest *l = ctx;
	uint64_t page = entry_page(e);

	if (e->space == l->from.space && page + low_bits(entry_order(e)) >= l->from.page &&
	    (!l->found || page < l->e.key.page)) {
		l->found = true;
		entry_to_pt(e, &l->e);
	}
	return 0;
}

static int next_by_reading_all(struct pt *pt, struct pt_key from, struct pt_entry *e)
{
	struct lowest l = { .from = from };
	int rc = inv_for_each(pt, keep_lowest, &l);

	if (rc)
		return rc;
	*e = l.e;
	return l.found ? 0 : -ENOENT;
}

enum { NEXT_PROBES = 16 }; /* neighbours asked for before the whole table is read */

static int inverted_next(struct pt *pt, struct pt_key from, struct pt_entry *e)
{
	struct pt_key key = from;
	struct inv_spot s;
	int rc = inv_read_in_use(pt);

	for (int i = 0; i < NEXT_PROBES && !rc && key.page < BIT(64 - PAGE_SHIFT); i++, key.page++) {
		rc = inv_find_covering(pt, key, inv_regs_of(pt)->in_use, &s);
		if (rc == 0) {
			entry_to_pt(&s.e, e);
			return 0;
		}
		if (rc == -ENOENT)
			rc = 0;
	}
	return rc ? rc : next_by_reading_all(pt, from, e);
}

/* Is a mapping of a smaller order inside? Asks page by page, or reads the table, whichever is less. */
static int find_smaller(struct pt *pt, struct pt_key key, unsigned order)
{
	uint64_t smaller = inv_regs_of(pt)->in_use & low_bits(order);
	uint64_t end = key.page + BIT(order), step;
	struct pt_entry e;
	struct inv_spot s;
	int rc = -ENOENT;

	if (!smaller)
		return -ENOENT;
	step = smaller & -smaller;
	if (BIT(order) / step > inv_regs_of(pt)->slots) {
		rc = next_by_reading_all(pt, key, &e);
		return rc == 0 && e.key.page >= end ? -ENOENT : rc;
	}
	for (; key.page < end && rc == -ENOENT; key.page += step)
		rc = inv_find_covering(pt, key, smaller, &s);
	return rc;
}

/* 0: no mapping of another order overlaps; -EEXIST. */
static int check_other_orders(struct pt *pt, struct pt_key key, unsigned order)
{
	struct inv_spot s;
	int rc = inv_find_covering(pt, key, inv_regs_of(pt)->in_use & ~low_bits(order + 1), &s);

	if (rc == -ENOENT)
		rc = find_smaller(pt, key, order);
	return rc == 0 ? -EEXIST : rc == -ENOENT ? 0 : rc;
}

static void op_begin(struct pt *pt, struct inv_op *op)
{
	txn_begin(&op->t, pt->mem);
	op->fresh = op->dead = 0;
}

static int op_commit(struct pt *pt, struct inv_op *op)
{
	int rc = txn_commit(&op->t);

	if (rc && op->fresh)
		ptm_free(pt->mem, op->fresh, 0);
	if (!rc && op->dead)
		ptm_free(pt->mem, op->dead, 0);
	return rc;
}

/* Mappings of this order become more (+1) or fewer (-1). */
static uint64_t add_count(struct pt *pt, struct inv_op *op, unsigned order, int by)
{
	uint64_t n = txn_get(&op->t, count_addr(pt, order)) + (uint64_t)(int64_t)by;

	txn_put(&op->t, count_addr(pt, order), n);
	return n;
}

/* The frame's own entry, or an alias if that is taken. */
static int take_entry(struct pt *pt, struct inv_op *op, uint64_t frame, uint64_t *addr)
{
	*addr = inv_slot_addr(pt, frame);
	if (txn_get(&op->t, *addr + INV_TAG) & INV_VALID)
		return inv_alias_take(pt, op, addr);
	return op->t.err;
}

static void put_entry(struct inv_op *op, uint64_t addr, const struct inv_entry *e)
{
	txn_put(&op->t, addr + INV_TAG, e->tag);
	txn_put(&op->t, addr + INV_SPACE, e->space);
	txn_put(&op->t, addr + INV_LEAF, e->leaf);
	txn_put(&op->t, addr + INV_NEXT, e->next);
}

/* An unlinked entry goes back to its frame or chunk. */
static void give_entry(struct pt *pt, struct inv_op *op, uint64_t addr)
{
	uint64_t offset;

	put_entry(op, addr, &(struct inv_entry){ 0 });
	if (!pt_array_offset(&inv_regs_of(pt)->table, addr, &offset))
		inv_alias_give(pt, op, addr);
}

static int map_new(struct pt *pt, const struct pt_entry *e, uint64_t leaf, const struct inv_spot *s)
{
	struct inv_op op;
	uint64_t addr;
	int rc;

	op_begin(pt, &op);
	rc = take_entry(pt, &op, e->frame, &addr);
	if (rc)
		op.t.err = rc;
	add_count(pt, &op, e->order, 1);
	put_entry(&op, addr, &(struct inv_entry){ inv_tag(e->key.page, e->order), e->key.space, leaf,
						  txn_get(&op.t, s->anchor) });
	txn_put(&op.t, s->anchor, addr);
	rc = op_commit(pt, &op);
	if (!rc) {
		pt->entries++;
		inv_regs_of(pt)->in_use |= BIT(e->order);
	}
	return rc;
}

/* The same key to another frame: the new entry takes the old one's place in its chain. */
static int map_again(struct pt *pt, const struct pt_entry *e, uint64_t leaf, const struct inv_spot *s)
{
	struct inv_op op;
	uint64_t addr;
	int rc;

	op_begin(pt, &op);
	if (leaf_frame(s->e.leaf) == e->frame) {
		txn_put(&op.t, s->addr + INV_LEAF, leaf);
		return op_commit(pt, &op);
	}
	rc = take_entry(pt, &op, e->frame, &addr);
	if (rc)
		op.t.err = rc;
	put_entry(&op, addr, &(struct inv_entry){ s->e.tag, s->e.space, leaf, s->e.next });
	txn_put(&op.t, s->linkp, addr);
	give_entry(pt, &op, s->addr);
	return op_commit(pt, &op);
}

static bool frame_ok(const struct pt *pt, uint64_t frame, unsigned order)
{
	const struct pt_params *p = &pt->params;

	return is_aligned(frame, BIT(order)) && frame >= p->frame_base &&
	       frame + BIT(order) <= p->frame_base + p->nframes;
}

static int inverted_map(struct pt *pt, const struct pt_entry *e)
{
	uint64_t leaf = make_leaf(e->frame, e->order, pt_rights(pt, e->rights));
	struct inv_spot s;
	int rc;

	if (!pt_page_ok(pt, e->key.page, e->order) || !frame_ok(pt, e->frame, e->order))
		return -EINVAL;
	rc = inv_find(pt, e->key, e->order, &s);
	if (rc == 0)
		return map_again(pt, e, leaf, &s);
	if (rc != -ENOENT)
		return rc;
	uint64_t anchor = s.anchor;
	rc = inv_read_in_use(pt);
	if (!rc)
		rc = check_other_orders(pt, e->key, e->order);
	s.anchor = anchor;
	return rc ? rc : map_new(pt, e, leaf, &s);
}

static int find_exact(struct pt *pt, struct pt_key key, unsigned order, struct inv_spot *s)
{
	return pt_page_ok(pt, key.page, order) ? inv_find(pt, key, order, s) : -ENOENT;
}

static int inverted_unmap(struct pt *pt, struct pt_key key, unsigned order, struct pt_entry *old)
{
	struct inv_op op;
	struct inv_spot s;
	uint64_t left;
	int rc = find_exact(pt, key, order, &s);

	if (rc)
		return rc;
	op_begin(pt, &op);
	txn_put(&op.t, s.linkp, s.e.next);
	give_entry(pt, &op, s.addr);
	left = add_count(pt, &op, order, -1);
	rc = op_commit(pt, &op);
	if (rc)
		return rc;
	pt->entries--;
	if (!left)
		inv_regs_of(pt)->in_use &= ~BIT(order);
	if (old)
		entry_to_pt(&s.e, old);
	return 0;
}

static int inverted_protect(struct pt *pt, struct pt_key key, unsigned order, uint8_t rights)
{
	struct inv_spot s;
	int rc = find_exact(pt, key, order, &s);

	return rc ? rc : ptm_store64(pt->mem, s.addr + INV_LEAF,
				     leaf_with_rights(s.e.leaf, pt_rights(pt, rights)));
}

static int drop_entry(struct pt *pt, uint64_t addr, const struct inv_entry *e, void *ctx)
{
	const uint32_t *space = ctx;

	if (e->space != *space)
		return 0;
	return inverted_unmap(pt, (struct pt_key){ *space, entry_page(e) }, entry_order(e), NULL);
}

static int inverted_drop_space(struct pt *pt, uint32_t space)
{
	return inv_for_each(pt, drop_entry, &space);
}

int pt_inverted_stats(struct pt *pt, struct inverted_stats *s)
{
	struct inv_regs *r = inv_regs_of(pt);
	uint64_t chunks;
	int rc = ptm_load64(pt->mem, pt->root + HDR_ALIASES, &s->aliases);

	if (!rc)
		rc = inv_alias_chunks(pt, &chunks);
	if (rc)
		return rc;
	s->slots = r->slots;
	s->anchors = r->anchor_mask + 1;
	s->table_bytes = pt_array_allocated(&r->table);
	s->anchor_bytes = pt_array_allocated(&r->heads);
	s->alias_bytes = chunks * PAGE_SIZE;
	return 0;
}

static const struct pt_org inverted_org = {
	.name = "inverted",
	.summary = "one entry per machine frame for all spaces: hashed anchors and chains; +linear: searched in frame order",
	.options = { "linear" },
	.per_machine = true,
	.sparse_keys = true,
	.create = inverted_create,
	.destroy = inverted_destroy,
	.open = inverted_open,
	.map = inverted_map,
	.unmap = inverted_unmap,
	.protect = inverted_protect,
	.lookup = inv_lookup,
	.next = inverted_next,
	.audit = inv_audit,
	.drop_space = inverted_drop_space,
};
QUIRE_PT_ORG(inverted_org);
