/* SPDX-License-Identifier: MIT */
/*
 * cuckoo: elastic cuckoo hashing (Skarlatos, Kokolis, Xu, Torrellas: "Elastic
 * Cuckoo Page Tables: Rethinking Virtual Memory Translation for Parallelism",
 * ASPLOS 2020), one table for each page size in use.
 *
 *   root ─▶ header ─▶ order 0:  way 0  │    │ ▓▓ │    │    │    ◀─ hash 0 of the page ┐
 *                               way 1  │    │    │    │ ▓▓ │    ◀─ hash 1             ├ one load each,
 *                               way 2  │ ▓▓ │    │    │    │    ◀─ hash 2             ┘ all at once
 *                     order 9:  …
 *
 * A bucket is a line of four slots, (leaf, tag) each: leaf as in pt/leaf.h, tag
 * the page | 1. A page is in one of the four slots of its bucket in one of the
 * ways. Three ways, two with +2way. The hash is a mixer of page >> order plus a
 * constant of the way; its low bits are the bucket.
 *
 * A lookup probes all ways at the same time: so many references, depth 1. With
 * several page sizes in use the largest is probed first and each adds a round.
 * A superpage is one entry. An order's table comes with its first mapping and
 * goes with its last.
 *
 * Insertion: cuckoo_insert.c. Into a free slot of any of the buckets, else by a
 * chain of at most CUCKOO_CHAIN_MAX moves. Resizing: cuckoo_resize.c, way by way
 * (above 3/4 of all slots the smallest grows, below 3/16 the largest shrinks), one
 * step or two after each operation. So an operation moves CUCKOO_MOVES_MAX entries
 * at most. When there is no chain, a way grows and goes CUCKOO_CATCH_UP steps on
 * at once; then a chain is looked for once more; if there is still none, or no
 * memory to grow, it is -ENOMEM, and another try goes on from there. With four
 * slots a bucket and at most 3/4 of them in use that takes keys chosen to collide.
 *
 * Stores: a slot's leaf before its tag, its tag cleared before another leaf
 * comes; an entry that moves is there twice, alike, for a moment. A and D are
 * set by cas on the leaf.
 *
 * The arrays' addresses and rehash pointers are registers of the walker. A
 * second view has them as of its opening: it is opened again when the header
 * frame was written (mmu/space.c does so for guests' tables).
 *
 * next asks page by page as long as that is less than to read all buckets.
 */
#include "pt/cuckoo.h"

#define CUCKOO_MAGIC UINT64_C(0x00306b63752f7571) /* "qu/uck0"; the number of ways is added */

static uint64_t magic_of(const struct pt *pt)
{
	return CUCKOO_MAGIC + cuckoo_ways(pt);
}

/* Bytes may be anything a guest wrote. */
static ALWAYS_INLINE bool is_sane_leaf(uint64_t leaf)
{
	return is_valid_leaf(leaf) && !(leaf & LEAF_UNUSED) &&
	       is_aligned(leaf_frame(leaf), BIT(leaf_order(leaf)));
}

static const struct cuckoo_slot *match(const struct cuckoo_bucket *b, uint64_t tag)
{
	for (unsigned i = 0; i < CUCKOO_SLOTS; i++)
		if (b->slot[i].tag == tag)
			return &b->slot[i];
	return NULL;
}

int cuckoo_find(struct pt *pt, uint64_t page, unsigned order, struct cuckoo_spot *s)
{
	const struct cuckoo_way *y = cuckoo_table(pt, order);
	const struct cuckoo_slot *hit;
	int rc;

	s->page = align_down(page, BIT(order));
	s->order = order;
	s->bucket_at[0] = 0;
	if (!(cuckoo_regs_of(pt)->in_use & BIT(order)))
		return -ENOENT;
	for (unsigned w = 0; w < cuckoo_ways(pt); w++) {
		s->bucket_at[w] = cuckoo_bucket_at(&y[w], cuckoo_hash(w, page, order));
		rc = ptm_load(pt->mem, s->bucket_at[w], LINE_SIZE, &s->bucket[w]);
		if (rc)
			return rc;
		hit = match(&s->bucket[w], cuckoo_tag(page, order));
		if (hit) {
			s->addr = slot_at(s->bucket_at[w], (unsigned)(hit - s->bucket[w].slot));
			s->leaf = hit->leaf;
			return 0;
		}
	}
	return -ENOENT;
}

/* The mapping that covers a page, among those of these orders. */
static int find_covering(struct pt *pt, uint64_t page, uint64_t orders, struct cuckoo_spot *s)
{
	int rc = -ENOENT;

	while (orders && rc == -ENOENT) {
		unsigned order = log2_floor(orders);

		rc = cuckoo_find(pt, page, order, s);
		orders &= ~BIT(order);
	}
	return rc;
}

static int cuckoo_create(struct pt *pt)
{
	int rc = ptm_alloc(pt->mem, 0, &pt->root);

	if (rc)
		return rc;
	rc = ptm_store64(pt->mem, pt->root + HDR_MAGIC, magic_of(pt));
	if (rc)
		ptm_free(pt->mem, pt->root, 0);
	return rc;
}

static void cuckoo_destroy(struct pt *pt)
{
	for (uint64_t orders = cuckoo_regs_of(pt)->in_use; orders; orders &= orders - 1)
		cuckoo_free_table(pt, log2_floor(orders & -orders));
	ptm_free(pt->mem, pt->root, 0);
}

static bool is_array(uint64_t array)
{
	return array_log(array) >= CUCKOO_LOG_MIN && array_log(array) <= CUCKOO_LOG_MAX && array_base(array) &&
	       is_aligned(array_base(array), LINE_SIZE << array_log(array));
}

/* The registers of one order, as far as the bytes make sense. */
static int open_order(struct pt *pt, unsigned order)
{
	struct cuckoo_way *y = cuckoo_table(pt, order), read[CUCKOO_WAYS_MAX];
	uint64_t count;
	int rc = ptm_load64(pt->mem, cuckoo_block(pt, order) + BLOCK_COUNT, &count);

	for (unsigned w = 0; w < cuckoo_ways(pt) && !rc; w++)
		rc = ptm_load(pt->mem, cuckoo_way_addr(pt, order, w), sizeof(read[w]), &read[w]);
	if (rc)
		return rc;
	/* Between the stores that make or unmake a table some of its arrays are named. */
	for (unsigned w = 0; w < cuckoo_ways(pt); w++)
		if (!read[w].cur)
			return 0;
	for (unsigned w = 0; w < cuckoo_ways(pt); w++) {
		if (!is_array(read[w].cur) || (read[w].next && !is_array(read[w].next)))
			return -EINVAL;
		if (read[w].next == read[w].cur)
			read[w].next = 0; /* between the last stores of a resize */
		if (read[w].next && read[w].pos > BIT(resize_log(&read[w])))
			return -EINVAL;
		y[w] = read[w];
	}
	cuckoo_regs_of(pt)->in_use |= BIT(order);
	pt->entries += count;
	return 0;
}

static int cuckoo_open(struct pt *pt)
{
	uint64_t magic;
	int rc = ptm_load64(pt->mem, pt->root + HDR_MAGIC, &magic);

	if (!rc && magic != magic_of(pt))
		rc = -EINVAL;
	for (uint64_t orders = pt->orders; orders && !rc; orders &= orders - 1)
		rc = open_order(pt, log2_floor(orders & -orders));
	return rc;
}

/* Calls f for each mapping; stops at the first non-zero result. */
typedef int cuckoo_visit(struct pt *pt, unsigned order, unsigned way, uint64_t addr,
			 const struct cuckoo_slot *s, void *ctx);

/* Buckets of one array that lookups go to: i modulo `small` below pos, or not. */
static int visit_array(struct pt *pt, unsigned order, unsigned way, uint64_t array, bool moved,
		       cuckoo_visit *f, void *ctx)
{
	const struct cuckoo_way y = cuckoo_table(pt, order)[way];
	uint64_t within = y.next ? low_bits(resize_log(&y)) : 0;
	struct cuckoo_bucket b;

	for (uint64_t i = 0; i < BIT(array_log(array)); i++) {
		uint64_t addr = bucket_in(array, i);
		int rc;

		if (y.next && ((i & within) < y.pos) != moved)
			continue;
		rc = ptm_load(pt->mem, addr, LINE_SIZE, &b);
		for (unsigned k = 0; k < CUCKOO_SLOTS && !rc; k++)
			if (is_valid_slot(&b.slot[k]))
				rc = f(pt, order, way, slot_at(addr, k), &b.slot[k], ctx);
		if (rc)
			return rc;
	}
	return 0;
}

static int visit_order(struct pt *pt, unsigned order, cuckoo_visit *f, void *ctx)
{
	const struct cuckoo_way *y = cuckoo_table(pt, order);
	int rc = 0;

	for (unsigned w = 0; w < cuckoo_ways(pt) && !rc; w++) {
		rc = visit_array(pt, order, w, y[w].cur, false, f, ctx);
		if (!rc && y[w].next)
			rc = visit_array(pt, order, w, y[w].next, true, f, ctx);
	}
	return rc;
}

static int visit_all(struct pt *pt, cuckoo_visit *f, void *ctx)
{
	int rc = 0;

	for (uint64_t orders = cuckoo_regs_of(pt)->in_use; orders && !rc; orders &= orders - 1)
		rc = visit_order(pt, log2_floor(orders & -orders), f, ctx);
	return rc;
}

/* The lowest mapping that ends after a page. */
struct lowest {
	uint64_t from;
	struct cuckoo_slot s;
	bool found;
};

static int keep_lowest(struct pt *pt, unsigned order, unsigned way, uint64_t addr,
		       const struct cuckoo_slot *s, void *ctx)
{
	struct lowest *l = ctx;

	if (slot_page(s) + low_bits(order) >= l->from && (!l->found || slot_page(s) < slot_page(&l->s))) {
		l->found = true;
		l->s = *s;
	}
	return 0;
}

static int next_by_reading_all(struct pt *pt, struct pt_key from, struct pt_entry *e)
{
	struct lowest l = { .from = from.page };
	int rc = visit_all(pt, keep_lowest, &l);

	if (rc)
		return rc;
	if (!l.found)
		return -ENOENT;
	leaf_to_entry((struct pt_key){ from.space, slot_page(&l.s) }, l.s.leaf, e);
	return 0;
}

/* Buckets that reading all would load. */
static uint64_t all_buckets(struct pt *pt)
{
	uint64_t n = 0;

	for (uint64_t orders = cuckoo_regs_of(pt)->in_use; orders; orders &= orders - 1) {
		const struct cuckoo_way *y = cuckoo_table(pt, log2_floor(orders & -orders));

		for (unsigned w = 0; w < cuckoo_ways(pt); w++)
			n += BIT(array_log(y[w].cur));
	}
	return n;
}

static int cuckoo_next(struct pt *pt, struct pt_key from, struct pt_entry *e)
{
	uint64_t in_use = cuckoo_regs_of(pt)->in_use;
	uint64_t probes = all_buckets(pt) / (2 * cuckoo_ways(pt));
	struct pt_key key = from;
	struct cuckoo_spot s;

	for (uint64_t i = 0; i < probes && key.page < BIT(64 - PAGE_SHIFT); i++) {
		int rc = find_covering(pt, key.page, in_use, &s);

		if (rc == 0)
			leaf_to_entry(key, s.leaf, e);
		if (rc != -ENOENT)
			return rc;
		/* To the next page that the smallest in use could start at. */
		key.page = align_down(key.page, in_use & -in_use) + (in_use & -in_use);
	}
	return next_by_reading_all(pt, from, e);
}

/* Is a mapping of a smaller order inside? */
static int find_smaller(struct pt *pt, struct pt_key key, unsigned order)
{
	uint64_t smaller = cuckoo_regs_of(pt)->in_use & low_bits(order);
	uint64_t end = key.page + BIT(order), step = smaller & -smaller;
	struct cuckoo_spot s;
	struct pt_entry e;
	int rc = -ENOENT;

	if (!smaller)
		return rc;
	if (BIT(order) / step > all_buckets(pt)) {
		rc = next_by_reading_all(pt, key, &e);
		return rc == 0 && e.key.page >= end ? -ENOENT : rc;
	}
	for (; key.page < end && rc == -ENOENT; key.page += step)
		rc = find_covering(pt, key.page, smaller, &s);
	return rc;
}

/* 0: no mapping of another order overlaps; -EEXIST. */
static int check_other_orders(struct pt *pt, struct pt_key key, unsigned order)
{
	struct cuckoo_spot s;
	int rc = find_covering(pt, key.page, cuckoo_regs_of(pt)->in_use & ~low_bits(order + 1), &s);

	if (rc == -ENOENT)
		rc = find_smaller(pt, key, order);
	return rc == 0 ? -EEXIST : rc == -ENOENT ? 0 : rc;
}

static int cuckoo_map(struct pt *pt, const struct pt_entry *e)
{
	uint64_t leaf = make_leaf(e->frame, e->order, pt_rights(pt, e->rights));
	struct cuckoo_spot s;
	int rc;

	if (!pt_entry_ok(pt, e))
		return -EINVAL;
	rc = cuckoo_find(pt, e->key.page, e->order, &s);
	if (rc == 0)
		return ptm_store64(pt->mem, s.addr + CUCKOO_LEAF, leaf);
	if (rc == -ENOENT)
		rc = check_other_orders(pt, e->key, e->order);
	if (!rc)
		rc = cuckoo_insert(pt, &s, leaf);
	if (rc)
		return rc;
	pt->entries++;
	cuckoo_step(pt, e->order);
	return 0;
}

static int find_exact(struct pt *pt, struct pt_key key, unsigned order, struct cuckoo_spot *s)
{
	return pt_page_ok(pt, key.page, order) ? cuckoo_find(pt, key.page, order, s) : -ENOENT;
}

static int cuckoo_unmap(struct pt *pt, struct pt_key key, unsigned order, struct pt_entry *old)
{
	struct cuckoo_spot s;
	struct txn t;
	uint64_t left, count_at = cuckoo_block(pt, order) + BLOCK_COUNT;
	int rc = find_exact(pt, key, order, &s);

	if (rc)
		return rc;
	txn_begin(&t, pt->mem);
	left = txn_get(&t, count_at) - 1;
	txn_put(&t, s.addr + CUCKOO_TAG, 0);
	txn_put(&t, count_at, left);
	if (!left)
		cuckoo_put_no_table(pt, &t, order);
	rc = txn_commit(&t);
	if (rc)
		return rc;
	pt->entries--;
	if (left)
		cuckoo_step(pt, order);
	else
		cuckoo_free_table(pt, order);
	if (old)
		leaf_to_entry(key, s.leaf, old);
	return 0;
}

static int cuckoo_protect(struct pt *pt, struct pt_key key, unsigned order, uint8_t rights)
{
	struct cuckoo_spot s;
	int rc = find_exact(pt, key, order, &s);

	return rc ? rc : ptm_store64(pt->mem, s.addr + CUCKOO_LEAF, leaf_with_rights(s.leaf, pt_rights(pt, rights)));
}

/* Whole tables at once: no entry is looked at. */
static int cuckoo_drop_space(struct pt *pt, uint32_t space)
{
	for (uint64_t orders = cuckoo_regs_of(pt)->in_use; orders; orders &= orders - 1) {
		unsigned order = log2_floor(orders & -orders);
		uint64_t count_at = cuckoo_block(pt, order) + BLOCK_COUNT, count;
		struct txn t;
		int rc;

		txn_begin(&t, pt->mem);
		count = txn_get(&t, count_at);
		cuckoo_put_no_table(pt, &t, order);
		txn_put(&t, count_at, 0);
		rc = txn_commit(&t);
		if (rc)
			return rc;
		cuckoo_free_table(pt, order);
		pt->entries -= count;
	}
	return 0;
}

/* All ways of one order, at the same time, every load charged. */
static ALWAYS_INLINE int probe(struct pt *pt, const struct walk_req *req, unsigned order, struct walk *w,
			       uint64_t *addr, uint64_t *leaf)
{
	static const char *const name[CUCKOO_WAYS_MAX] = { "way 0", "way 1", "way 2" };
	const struct cuckoo_way *y = cuckoo_table(pt, order);
	uint64_t page = req->va >> PAGE_SHIFT, tag = cuckoo_tag(page, order);
	struct ptm_parallel p = ptm_parallel_begin(pt->mem);
	struct cuckoo_bucket b;
	int found = -ENOENT, rc = 0;

	for (unsigned i = 0; i < cuckoo_ways(pt) && !rc; i++) {
		uint64_t at = cuckoo_bucket_at(&y[i], cuckoo_hash(i, page, order));

		ptm_note(pt->mem, name[i], 0, (at & low_bits(array_log(y[i].cur) + LINE_SHIFT)) >> LINE_SHIFT,
			 pt->params.fmt->va_bits - 1, PAGE_SHIFT + order);
		walk_add_line(w, at);
		rc = ptm_load(pt->mem, at, LINE_SIZE, &b);
		ptm_parallel_loaded(pt->mem, &p);
		const struct cuckoo_slot *hit = !rc && found == -ENOENT ? match(&b, tag) : NULL;
		if (hit) {
			*addr = slot_at(at, (unsigned)(hit - b.slot)) + CUCKOO_LEAF;
			*leaf = hit->leaf;
			found = likely(is_sane_leaf(*leaf) && leaf_order(*leaf) == order) ? 0 : -EINVAL;
		}
	}
	ptm_parallel_end(pt->mem, &p);
	return rc ? rc : found;
}

static int probe_orders(struct pt *pt, const struct walk_req *req, struct walk *w, uint64_t *addr, uint64_t *leaf)
{
	uint64_t orders = cuckoo_regs_of(pt)->in_use;
	int rc = -ENOENT;

	while (orders && rc == -ENOENT) {
		unsigned order = log2_floor(orders);

		rc = probe(pt, req, order, w, addr, leaf);
		orders &= ~BIT(order);
	}
	return rc;
}

static void cuckoo_lookup(struct pt *pt, const struct walk_req *req, struct walk *w)
{
	leaf_lookup(pt, req, w, probe_orders);
}

struct audit {
	const char *why;
	uint64_t seen;
};

static int audit_slot(struct pt *pt, unsigned order, unsigned way, uint64_t addr,
		      const struct cuckoo_slot *s, void *ctx)
{
	struct audit *a = ctx;
	uint64_t page = slot_page(s), in_use = cuckoo_regs_of(pt)->in_use;
	const struct cuckoo_way *y = cuckoo_table(pt, order);
	struct cuckoo_spot spot;
	int rc;

	a->seen++;
	if (!pt_page_ok(pt, page, order) || !is_sane_leaf(s->leaf) || leaf_order(s->leaf) != order) {
		a->why = "a leaf's order, page or frame is not aligned or out of range";
		return -EINVAL;
	}
	if (cuckoo_bucket_at(&y[way], cuckoo_hash(way, page, order)) != align_down(addr, LINE_SIZE)) {
		a->why = "an entry is not in the bucket of its hash";
		return -EINVAL;
	}
	/* The first that a search meets must be this one: so of several all but one would be found out. */
	rc = cuckoo_find(pt, page, order, &spot);
	if (rc == 0 && spot.addr != addr) {
		a->why = "a page is mapped twice";
		return -EINVAL;
	}
	if (rc == 0)
		rc = find_covering(pt, page, in_use & ~low_bits(order + 1), &spot);
	if (rc == 0)
		a->why = "a page is mapped at two orders";
	return rc == -ENOENT ? 0 : rc ? rc : -EINVAL;
}

static int cuckoo_audit(struct pt *pt, const char **why)
{
	uint64_t entries = 0, count;

	for (uint64_t orders = pt->orders; orders; orders &= orders - 1) {
		unsigned order = log2_floor(orders & -orders);
		struct audit a = { 0 };
		int rc = ptm_load64(pt->mem, cuckoo_block(pt, order) + BLOCK_COUNT, &count);

		if (!rc && (cuckoo_regs_of(pt)->in_use & BIT(order)))
			rc = visit_order(pt, order, audit_slot, &a);
		*why = a.why;
		if (rc)
			return rc;
		if (a.seen != count || !count != !(cuckoo_regs_of(pt)->in_use & BIT(order))) {
			*why = "the count of an order's mappings is wrong";
			return -EINVAL;
		}
		entries += count;
	}
	*why = "the number of mappings is not pt->entries";
	return entries == pt->entries ? 0 : -EINVAL;
}

static const struct pt_org cuckoo_org = {
	.name = "cuckoo",
	.summary = "elastic cuckoo: three ways probed at once, one table a page size, resized a bounded step at a time; +2way: two",
	.options = { "2way" },
	.sparse_keys = true,
	.create = cuckoo_create,
	.destroy = cuckoo_destroy,
	.open = cuckoo_open,
	.map = cuckoo_map,
	.unmap = cuckoo_unmap,
	.protect = cuckoo_protect,
	.lookup = cuckoo_lookup,
	.next = cuckoo_next,
	.audit = cuckoo_audit,
	.drop_space = cuckoo_drop_space,
};
QUIRE_PT_ORG(cuckoo_org);
