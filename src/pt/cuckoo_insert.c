/* SPDX-License-Identifier: MIT */
/*
 * Room for a new entry in the cuckoo table: the shortest chain of moves,
 * found before anything is stored.
 *
 *   new ─▶ bucket of way 0 ─ full ┬ occupant 0 ─▶ its bucket of way 1, of way 2
 *          bucket of way 1 ─ full │ occupant 1 ─▶ …            │
 *          bucket of way 2 ─ full ┴ …                          └ a free slot: the chain ends
 *
 * Breadth first: no bucket is looked at twice, so no slot is twice on a chain
 * and none leads in a circle. At most CUCKOO_SEARCH_MAX buckets are looked at
 * and CUCKOO_CHAIN_MAX entries moved. The moves are made from the far end: an
 * entry is written to its new slot before its old one is cleared, and a slot is
 * cleared before another's leaf comes into it.
 */
#include "base/bug.h"
#include "pt/cuckoo.h"

enum { NO_PARENT = 0xff };
_Static_assert((int)CUCKOO_SEARCH_MAX < (int)NO_PARENT, "nodes are numbered in a byte");

struct node {
	uint64_t addr;
	uint8_t way, depth;
	uint8_t parent; /* the node whose occupant would come here */
	uint8_t slot;   /* in which of its slots that is */
	struct cuckoo_bucket b;
};

struct search {
	unsigned n;
	struct node node[CUCKOO_SEARCH_MAX];
};

static bool is_visited(const struct search *s, uint64_t addr)
{
	for (unsigned i = 0; i < s->n; i++)
		if (s->node[i].addr == addr)
			return true;
	return false;
}

static void add_roots(struct pt *pt, struct search *s, const struct cuckoo_spot *spot)
{
	for (unsigned w = 0; w < cuckoo_ways(pt); w++)
		s->node[w] = (struct node){ spot->bucket_at[w], (uint8_t)w, 0, NO_PARENT, 0, spot->bucket[w] };
	s->n = cuckoo_ways(pt);
}

/* The other buckets that one occupant could be in. */
static int add_homes(struct pt *pt, struct search *s, unsigned parent, unsigned slot, unsigned order)
{
	const struct node *p = &s->node[parent];
	const struct cuckoo_way *y = cuckoo_table(pt, order);
	uint64_t page = slot_page(&p->b.slot[slot]);

	for (unsigned w = 0; w < cuckoo_ways(pt); w++) {
		uint64_t addr = cuckoo_bucket_at(&y[w], cuckoo_hash(w, page, order));
		struct node *n = &s->node[s->n];

		if (w == p->way || s->n == CUCKOO_SEARCH_MAX || is_visited(s, addr))
			continue;
		*n = (struct node){ addr, (uint8_t)w, p->depth + 1, (uint8_t)parent, (uint8_t)slot };
		int rc = ptm_load(pt->mem, addr, LINE_SIZE, &n->b);
		if (rc)
			return rc;
		s->n++;
	}
	return 0;
}

/* The node that ends the shortest chain; -ENOSPC: none within bounds. */
static int find_room(struct pt *pt, struct search *s, unsigned order)
{
	unsigned checked = 0;

	for (unsigned i = 0; i < s->n; i++) {
		for (; checked < s->n; checked++)
			if (free_slot(&s->node[checked].b) < CUCKOO_SLOTS)
				return (int)checked;
		for (unsigned k = 0; k < CUCKOO_SLOTS && s->node[i].depth < CUCKOO_CHAIN_MAX; k++) {
			int rc = add_homes(pt, s, i, k, order);

			if (rc)
				return rc;
		}
	}
	return -ENOSPC;
}

void cuckoo_put_slot(struct txn *t, uint64_t addr, uint64_t leaf, uint64_t tag)
{
	txn_put(t, addr + CUCKOO_LEAF, leaf);
	txn_put(t, addr + CUCKOO_TAG, tag);
}

/* The moves that end in node i; returns the address of the slot they leave free. */
static uint64_t put_moves(struct txn *t, const struct search *s, unsigned i)
{
	const struct node *n = &s->node[i];
	uint64_t to = slot_at(n->addr, free_slot(&n->b));

	while (n->parent != NO_PARENT) {
		const struct node *p = &s->node[n->parent];
		uint64_t from = slot_at(p->addr, n->slot);

		cuckoo_put_slot(t, to, p->b.slot[n->slot].leaf, p->b.slot[n->slot].tag);
		txn_put(t, from + CUCKOO_TAG, 0);
		to = from;
		n = p;
	}
	return to;
}

/* -ENOSPC: no chain. */
static int place(struct pt *pt, const struct cuckoo_spot *spot, uint64_t leaf, struct txn *t)
{
	uint64_t count_at = cuckoo_block(pt, spot->order) + BLOCK_COUNT;
	struct search s;
	int room;

	add_roots(pt, &s, spot);
	room = find_room(pt, &s, spot->order);
	if (room < 0)
		return room;
	cuckoo_put_slot(t, put_moves(t, &s, (unsigned)room), leaf, cuckoo_tag(spot->page, spot->order));
	txn_put(t, count_at, txn_get(t, count_at) + 1);
	return txn_commit(t);
}

/* The first mapping of its order brings the table. */
static int insert_first(struct pt *pt, struct cuckoo_spot *s, uint64_t leaf)
{
	struct txn t;
	int rc = cuckoo_alloc_table(pt, s->order);

	if (rc)
		return rc;
	rc = cuckoo_find(pt, s->page, s->order, s);
	if (rc == -ENOENT) {
		txn_begin(&t, pt->mem);
		cuckoo_put_table(pt, &t, s->order);
		rc = place(pt, s, leaf, &t);
	}
	if (rc)
		cuckoo_free_table(pt, s->order);
	return rc;
}

int cuckoo_insert(struct pt *pt, struct cuckoo_spot *s, uint64_t leaf)
{
	struct txn t;
	int rc;

	if (!s->bucket_at[0])
		return insert_first(pt, s, leaf);
	txn_begin(&t, pt->mem);
	rc = place(pt, s, leaf, &t);
	if (rc != -ENOSPC)
		return rc;
	cuckoo_make_room(pt, s->order);
	rc = cuckoo_find(pt, s->page, s->order, s);
	BUG_ON(rc == 0);
	if (rc != -ENOENT)
		return rc;
	txn_begin(&t, pt->mem);
	rc = place(pt, s, leaf, &t);
	return rc == -ENOSPC ? -ENOMEM : rc;
}
