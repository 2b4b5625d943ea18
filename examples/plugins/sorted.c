/* SPDX-License-Identifier: MIT */
/*
 * sorted: one array of mappings in the order of their pages, found by binary
 * search. A whole organisation in one file, outside of Quire's tree.
 *
 *   root ─▶ header line │ magic │ array │ count │ log2 of its frames │
 *                                  │
 *                                  ▼      16 bytes each
 *                      │ leaf page │ leaf page │ leaf page │ …
 *                        ascending, none overlaps another
 *
 * A lookup is about log2(count) references, one after another. A mapping of any
 * size is one entry. What it pays for that: a new mapping moves all those
 * behind it.
 *
 * How a mapping comes in without ever hiding another: what stands behind its
 * place moves back one by one, from the end, so that for a moment an entry
 * stands twice, never not at all; then one store writes the new one over the
 * second copy. Out, the same way round. A full array is copied into one of twice
 * the size, and one store of the header line changes over.
 */
#include "plug/plugin.h"
#include "pt/leaf.h"

#define SORTED_MAGIC UINT64_C(0x646574726f732f71) /* "q/sorted" */
enum { ENTRY_BYTES = 16, FIRST_ORDER = 0 };

/* The header, of which pt->priv is the walker's copy. */
struct header {
	uint64_t magic, array, count, order; /* array: 2^order frames */
};
_Static_assert(sizeof(struct header) <= LINE_SIZE, "one store");

struct entry {
	uint64_t leaf, page; /* the leaf first: `explain` shows the first word of a load */
};
_Static_assert(sizeof(struct entry) == ENTRY_BYTES, "no entry straddles a line");

static struct header *header_of(struct pt *pt)
{
	return (struct header *)pt->priv;
}

static uint64_t capacity(uint64_t order)
{
	return (PAGE_SIZE << order) / ENTRY_BYTES;
}

static uint64_t addr_of(const struct header *h, uint64_t i)
{
	return h->array + i * ENTRY_BYTES;
}

static int load_entry(struct pt *pt, uint64_t i, struct entry *e)
{
	return ptm_load(pt->mem, addr_of(header_of(pt), i), ENTRY_BYTES, e);
}

static int store_entry(struct pt *pt, uint64_t i, const struct entry *e)
{
	return ptm_store(pt->mem, addr_of(header_of(pt), i), ENTRY_BYTES, e);
}

/* Writes the header, and on success makes it the walker's too. */
static int store_header(struct pt *pt, const struct header *h)
{
	int rc = ptm_store(pt->mem, pt->root, sizeof(*h), h);

	if (!rc)
		*header_of(pt) = *h;
	return rc;
}

/*
 * The last entry that starts at or before page: its index and itself. The
 * index is UINT64_MAX where there is none. Each probe is noted for `explain`.
 */
static int find_last(struct pt *pt, uint64_t page, uint64_t *index, struct entry *found, struct walk *w)
{
	uint64_t low = 0, high = header_of(pt)->count;

	*index = UINT64_MAX;
	while (low < high) {
		uint64_t middle = low + (high - low) / 2;
		struct entry e;
		int rc;

		ptm_note(pt->mem, pt->params.role ? pt->params.role : "sorted", 0, middle, 0, 1);
		if (w)
			walk_add_line(w, addr_of(header_of(pt), middle));
		rc = load_entry(pt, middle, &e);
		if (rc)
			return rc;
		if (e.page > page) {
			high = middle;
		} else {
			*index = middle;
			*found = e;
			low = middle + 1;
		}
	}
	return 0;
}

static bool covers(const struct entry *e, uint64_t page)
{
	return page - e->page < BIT(leaf_order(e->leaf));
}

/* ---- made and found again ---- */

static int sorted_create(struct pt *pt)
{
	struct header h = { .magic = SORTED_MAGIC, .order = FIRST_ORDER };
	int rc = ptm_alloc(pt->mem, 0, &pt->root);

	if (rc)
		return rc;
	rc = ptm_alloc(pt->mem, FIRST_ORDER, &h.array);
	if (!rc) {
		rc = store_header(pt, &h);
		if (!rc)
			return 0;
		ptm_free(pt->mem, h.array, FIRST_ORDER);
	}
	ptm_free(pt->mem, pt->root, 0);
	return rc;
}

static void sorted_destroy(struct pt *pt)
{
	ptm_free(pt->mem, header_of(pt)->array, (unsigned)header_of(pt)->order);
	ptm_free(pt->mem, pt->root, 0);
}

static int sorted_open(struct pt *pt)
{
	struct header h;
	int rc = ptm_load(pt->mem, pt->root, sizeof(h), &h);

	if (rc)
		return rc;
	if (h.magic != SORTED_MAGIC || h.order > ORDER_1G || h.count > capacity(h.order) || !h.array ||
	    !is_aligned(h.array, PAGE_SIZE))
		return -EINVAL;
	*header_of(pt) = h;
	pt->entries = h.count;
	return 0;
}

/* ---- changes ---- */

/*
 * Entries [from, to) step back by one, last first: place `to` is a second copy
 * already, place `from` becomes one. What fails is put right again.
 */
static int move_back(struct pt *pt, uint64_t from, uint64_t to)
{
	struct entry e;
	int rc = 0;

	for (uint64_t i = to; i > from && !rc; i--) {
		rc = load_entry(pt, i - 1, &e);
		if (!rc)
			rc = store_entry(pt, i, &e);
		for (uint64_t k = i; rc && k <= to; k++)
			if (!load_entry(pt, k + 1, &e))
				(void)store_entry(pt, k, &e);
	}
	return rc;
}

/* Entries [from, to) step forward by one, first first, over the one before them. What fails is put right again. */
static int move_forward(struct pt *pt, uint64_t from, uint64_t to)
{
	struct entry lost, e;
	int rc = load_entry(pt, from - 1, &lost);

	for (uint64_t i = from; i < to && !rc; i++) {
		rc = load_entry(pt, i, &e);
		if (!rc)
			rc = store_entry(pt, i - 1, &e);
		for (uint64_t k = i - 1; rc && k >= from; k--)
			if (!load_entry(pt, k - 1, &e))
				(void)store_entry(pt, k, &e);
		if (rc)
			(void)store_entry(pt, from - 1, &lost);
	}
	return rc;
}

/* Entries [from, to) of the array in use go to the same places of another, `shift` places on. */
static int copy_entries(struct pt *pt, const struct header *to_header, uint64_t from, uint64_t to, unsigned shift)
{
	struct entry e;
	int rc = 0;

	for (uint64_t i = from; i < to && !rc; i++) {
		rc = load_entry(pt, i, &e);
		if (!rc)
			rc = ptm_store(pt->mem, addr_of(to_header, i + shift), ENTRY_BYTES, &e);
	}
	return rc;
}

/* The full array and the new entry go into one of twice the size; nothing leads there until the header does. */
static int insert_by_copy(struct pt *pt, uint64_t at, const struct entry *e)
{
	struct header old = *header_of(pt), h = old;
	int rc;

	h.order++;
	h.count++;
	rc = ptm_alloc(pt->mem, (unsigned)h.order, &h.array);
	if (rc)
		return rc;
	rc = copy_entries(pt, &h, 0, at, 0);
	if (!rc)
		rc = ptm_store(pt->mem, addr_of(&h, at), ENTRY_BYTES, e);
	if (!rc)
		rc = copy_entries(pt, &h, at, old.count, 1);
	if (!rc)
		rc = store_header(pt, &h);
	if (rc)
		ptm_free(pt->mem, h.array, (unsigned)h.order);
	else
		ptm_free(pt->mem, old.array, (unsigned)old.order);
	return rc;
}

/* The last entry stands twice, then each before it, until the place `at` is a second copy of what it held. */
static int insert_in_place(struct pt *pt, uint64_t at, const struct entry *e)
{
	struct header h = *header_of(pt);
	struct entry last = *e;
	uint64_t n = h.count++;
	int rc = 0;

	if (at < n)
		rc = load_entry(pt, n - 1, &last);
	if (!rc)
		rc = store_entry(pt, n, &last);
	if (!rc)
		rc = store_header(pt, &h);
	if (rc || at == n)
		return rc;
	rc = move_back(pt, at, n - 1);
	if (!rc) {
		rc = store_entry(pt, at, e);
		if (rc)
			(void)move_forward(pt, at + 1, n + 1);
	}
	if (rc) {
		h.count--;
		(void)store_header(pt, &h);
	}
	return rc;
}

static int insert(struct pt *pt, uint64_t at, const struct entry *e)
{
	const struct header *h = header_of(pt);

	return h->count == capacity(h->order) ? insert_by_copy(pt, at, e) : insert_in_place(pt, at, e);
}

/* Is anything but this very page and order in the way? index: of the last entry at or before page. */
static int check_neighbours(struct pt *pt, uint64_t index, const struct entry *found, uint64_t page, unsigned order,
			    bool *is_same)
{
	struct entry next;
	int rc;

	*is_same = index != UINT64_MAX && found->page == page && leaf_order(found->leaf) == order;
	if (*is_same)
		return 0;
	if (index != UINT64_MAX && covers(found, page))
		return -EEXIST;
	if (index + 1 >= header_of(pt)->count) /* UINT64_MAX + 1 is the first */
		return 0;
	rc = load_entry(pt, index + 1, &next);
	if (rc)
		return rc;
	return next.page - page < BIT(order) ? -EEXIST : 0;
}

static int sorted_map(struct pt *pt, const struct pt_entry *m)
{
	struct entry e = { .page = m->key.page }, found;
	uint64_t index;
	bool is_same;
	int rc;

	if (!pt_entry_ok(pt, m))
		return -EINVAL;
	e.leaf = make_leaf(m->frame, m->order, pt_rights(pt, m->rights));
	rc = find_last(pt, e.page, &index, &found, NULL);
	if (!rc)
		rc = check_neighbours(pt, index, &found, e.page, m->order, &is_same);
	if (rc)
		return rc;
	if (is_same)
		return store_entry(pt, index, &e);
	rc = insert(pt, index + 1, &e);
	if (!rc)
		pt->entries++;
	return rc;
}

/* Exactly this mapping, else -ENOENT. */
static int find_exact(struct pt *pt, struct pt_key key, unsigned order, uint64_t *index, struct entry *e)
{
	int rc = pt_page_ok(pt, key.page, order) ? find_last(pt, key.page, index, e, NULL) : -ENOENT;

	if (rc)
		return rc;
	return *index != UINT64_MAX && e->page == key.page && leaf_order(e->leaf) == order ? 0 : -ENOENT;
}

static int sorted_unmap(struct pt *pt, struct pt_key key, unsigned order, struct pt_entry *old)
{
	struct header h = *header_of(pt);
	struct entry e;
	uint64_t index;
	int rc = find_exact(pt, key, order, &index, &e);

	if (!rc)
		rc = move_forward(pt, index + 1, h.count);
	if (rc)
		return rc;
	h.count--;
	rc = store_header(pt, &h);
	if (rc) { /* the last stands twice: all back */
		(void)move_back(pt, index, h.count);
		(void)store_entry(pt, index, &e);
		return rc;
	}
	pt->entries--;
	if (old)
		leaf_to_entry(key, e.leaf, old);
	return 0;
}

static int sorted_protect(struct pt *pt, struct pt_key key, unsigned order, uint8_t rights)
{
	struct entry e;
	uint64_t index;
	int rc = find_exact(pt, key, order, &index, &e);

	if (rc)
		return rc;
	e.leaf = leaf_with_rights(e.leaf, pt_rights(pt, rights));
	return store_entry(pt, index, &e);
}

static int sorted_drop_space(struct pt *pt, uint32_t space)
{
	struct header h = *header_of(pt);
	int rc;

	h.count = 0;
	rc = store_header(pt, &h);
	if (!rc)
		pt->entries = 0;
	return rc;
}

/* ---- questions ---- */

static int search(struct pt *pt, const struct walk_req *req, struct walk *w, uint64_t *addr, uint64_t *leaf)
{
	uint64_t page = req->va >> PAGE_SHIFT, index;
	struct entry e;
	int rc = find_last(pt, page, &index, &e, w);

	if (rc)
		return rc;
	if (index == UINT64_MAX || !covers(&e, page))
		return -ENOENT;
	*addr = addr_of(header_of(pt), index) + offsetof(struct entry, leaf);
	*leaf = e.leaf;
	return 0;
}

static void sorted_lookup(struct pt *pt, const struct walk_req *req, struct walk *w)
{
	leaf_lookup(pt, req, w, search);
}

static int sorted_next(struct pt *pt, struct pt_key from, struct pt_entry *out)
{
	struct entry e;
	uint64_t index;
	int rc = find_last(pt, from.page, &index, &e, NULL);

	if (rc)
		return rc;
	if (index == UINT64_MAX || !covers(&e, from.page)) {
		if (++index >= header_of(pt)->count)
			return -ENOENT;
		rc = load_entry(pt, index, &e);
		if (rc)
			return rc;
	}
	leaf_to_entry((struct pt_key){ from.space, e.page }, e.leaf, out);
	return 0;
}

static int sorted_audit(struct pt *pt, const char **why)
{
	uint64_t end = 0, count = header_of(pt)->count;
	struct entry e;

	for (uint64_t i = 0; i < count; i++) {
		int rc = load_entry(pt, i, &e);

		if (rc)
			return rc;
		if (!is_valid_leaf(e.leaf) || (e.leaf & LEAF_UNUSED) || !pt_page_ok(pt, e.page, leaf_order(e.leaf)) ||
		    !is_aligned(leaf_frame(e.leaf), BIT(leaf_order(e.leaf)))) {
			*why = "an entry's page, order or frame cannot be";
			return -EINVAL;
		}
		if (e.page < end) {
			*why = "entries overlap or are out of order";
			return -EINVAL;
		}
		end = e.page + BIT(leaf_order(e.leaf));
	}
	if (count != pt->entries) {
		*why = "the number of mappings is not pt->entries";
		return -EINVAL;
	}
	return 0;
}

static const struct pt_org sorted_org = {
	.name = "sorted",
	.summary = "one array in the order of pages, searched by halves: log2(n) references, 16 bytes a mapping",
	.sparse_keys = true,
	.create = sorted_create,
	.destroy = sorted_destroy,
	.open = sorted_open,
	.map = sorted_map,
	.unmap = sorted_unmap,
	.protect = sorted_protect,
	.lookup = sorted_lookup,
	.next = sorted_next,
	.audit = sorted_audit,
	.drop_space = sorted_drop_space,
};
QUIRE_PLUGIN("sorted", QUIRE_PLUGIN_ORGS(&sorted_org));
