/* SPDX-License-Identifier: MIT */
/*
 * flat: one array indexed by page number.
 *
 *   root ─▶ header frame ─▶ │ leaf │ leaf │  ∅  │ leaf │ …      8 bytes each (pt/leaf.h)
 *           magic, npages,     0      1      2      3      npages - 1
 *           bases of the array
 *
 * A lookup is one reference, always: the bases are registers of the walker.
 * A key outside [0, npages) costs none.
 *
 * Superpages: each of the 2^order slots holds the same leaf, so that the one
 * load suffices. It costs 8 bytes a page, and 2^order slots written a line at a
 * time; in between, each page has its old or its new leaf. A walk that sets A or
 * D sets it in all of them, once in a mapping's life as a rule. A mapping of one
 * page is one store.
 *
 * There is nothing to find, balance or collide: the tests' oracle.
 */
#include "pt/array.h"
#include "pt/leaf.h"

#define FLAT_MAGIC UINT64_C(0x74616c662f657571) /* "que/flat" */
enum { SLOT_BYTES = 8, LINE_SLOTS = LINE_SIZE / SLOT_BYTES };
enum { HDR_MAGIC = 0, HDR_NPAGES = 8, HDR_BASES = 64 };

struct flat_regs {
	struct pt_array slots;
};
_Static_assert(sizeof(struct flat_regs) <= PT_PRIV_WORDS * 8, "registers fit struct pt");

static inline struct flat_regs *regs_of(struct pt *pt)
{
	return (struct flat_regs *)pt->priv;
}

static ALWAYS_INLINE uint64_t slot_addr(struct pt *pt, uint64_t page)
{
	return pt_array_at(&regs_of(pt)->slots, page * SLOT_BYTES);
}

/*
 * Some pages of one line: [page, page + n). A range is gone through in such
 * lines, so that a load or store is one reference.
 */
struct line {
	uint64_t page;
	unsigned n;
	uint64_t slot[LINE_SLOTS];
};

static struct line line_at(uint64_t page, uint64_t end)
{
	uint64_t n = LINE_SLOTS - page % LINE_SLOTS;

	return (struct line){ .page = page, .n = (unsigned)MIN(n, end - page) };
}

static int load_line(struct pt *pt, struct line *l)
{
	return ptm_load(pt->mem, slot_addr(pt, l->page), l->n * SLOT_BYTES, l->slot);
}

static int store_line(struct pt *pt, const struct line *l)
{
	return ptm_store(pt->mem, slot_addr(pt, l->page), l->n * SLOT_BYTES, l->slot);
}

/* Writes the leaf into [start, end); 0 or what a store met, *done up to there. */
static int fill(struct pt *pt, uint64_t start, uint64_t end, uint64_t leaf, uint64_t *done)
{
	struct line l;
	int rc;

	for (*done = start; *done < end; *done += l.n) {
		l = line_at(*done, end);
		for (unsigned i = 0; i < l.n; i++)
			l.slot[i] = leaf;
		rc = store_line(pt, &l);
		if (rc)
			return rc;
	}
	return 0;
}

/* The old leaf everywhere becomes the new one, or stays everywhere. */
static int replace(struct pt *pt, uint64_t page, unsigned order, uint64_t old, uint64_t leaf)
{
	uint64_t done, undone;
	int rc = fill(pt, page, page + BIT(order), leaf, &done);

	if (rc)
		(void)fill(pt, page, done, old, &undone);
	return rc;
}

static bool page_ok(struct pt *pt, uint64_t page, unsigned order)
{
	return pt_page_ok(pt, page, order) && page + BIT(order) <= pt->params.npages;
}

static int flat_create(struct pt *pt)
{
	struct pt_array *a = &regs_of(pt)->slots;
	uint64_t limit = gpt_va_limit(pt->params.fmt, pt->params.second_stage) >> PAGE_SHIFT;
	int rc;

	if (pt->params.npages > limit)
		return -EINVAL;
	pt_array_init(a, pt->params.npages * SLOT_BYTES);
	rc = ptm_alloc(pt->mem, 0, &pt->root);
	if (rc)
		return rc;
	rc = pt_array_alloc(a, pt->mem);
	if (rc)
		goto free_header;
	rc = ptm_store64(pt->mem, pt->root + HDR_NPAGES, pt->params.npages);
	for (unsigned i = 0; i < a->nsegs && !rc; i++)
		rc = ptm_store64(pt->mem, pt->root + HDR_BASES + 8 * i, a->base[i]);
	if (!rc)
		rc = ptm_store64(pt->mem, pt->root + HDR_MAGIC, FLAT_MAGIC);
	if (!rc)
		return 0;
	pt_array_free(a, pt->mem);
free_header:
	ptm_free(pt->mem, pt->root, 0);
	return rc;
}

static void flat_destroy(struct pt *pt)
{
	pt_array_free(&regs_of(pt)->slots, pt->mem);
	ptm_free(pt->mem, pt->root, 0);
}

/* Calls of next, open and audit: the first valid slot of [page, npages). */
static int first_valid(struct pt *pt, uint64_t page, uint64_t *at, uint64_t *leaf)
{
	struct line l;

	for (; page < pt->params.npages; page += l.n) {
		l = line_at(page, pt->params.npages);
		int rc = load_line(pt, &l);
		if (rc)
			return rc;
		for (unsigned i = 0; i < l.n; i++) {
			if (is_valid_leaf(l.slot[i])) {
				*at = page + i;
				*leaf = l.slot[i];
				return 0;
			}
		}
	}
	return -ENOENT;
}

static int count_entries(struct pt *pt, uint64_t *n)
{
	uint64_t page = 0, leaf;
	int rc;

	for (*n = 0; (rc = first_valid(pt, page, &page, &leaf)) == 0; ++*n)
		page = align_down(page, BIT(leaf_order(leaf))) + BIT(leaf_order(leaf));
	return rc == -ENOENT ? 0 : rc;
}

static int flat_open(struct pt *pt)
{
	struct pt_array *a = &regs_of(pt)->slots;
	uint64_t magic, npages;
	int rc = ptm_load64(pt->mem, pt->root + HDR_MAGIC, &magic);

	if (!rc)
		rc = ptm_load64(pt->mem, pt->root + HDR_NPAGES, &npages);
	if (rc)
		return rc;
	if (magic != FLAT_MAGIC || npages != pt->params.npages)
		return -EINVAL;
	pt_array_init(a, npages * SLOT_BYTES);
	for (unsigned i = 0; i < a->nsegs && !rc; i++)
		rc = ptm_load64(pt->mem, pt->root + HDR_BASES + 8 * i, &a->base[i]);
	if (!rc && !pt_array_ok(a))
		rc = -EINVAL;
	return rc ? rc : count_entries(pt, &pt->entries);
}

/* What stands in [page, page + 2^order): nothing (0), that mapping (its leaf), or -EEXIST. */
static int occupant(struct pt *pt, uint64_t page, unsigned order, uint64_t *leaf)
{
	uint64_t end = page + BIT(order);
	struct line l;

	*leaf = 0;
	for (uint64_t p = page; p < end; p += l.n) {
		l = line_at(p, end);
		int rc = load_line(pt, &l);
		if (rc)
			return rc;
		for (unsigned i = 0; i < l.n; i++) {
			if (!is_valid_leaf(l.slot[i]))
				continue;
			if (leaf_order(l.slot[i]) != order)
				return -EEXIST;
			*leaf = l.slot[i];
		}
	}
	return 0;
}

static int flat_map(struct pt *pt, const struct pt_entry *e)
{
	uint64_t old;
	int rc;

	if (!page_ok(pt, e->key.page, e->order) || !is_aligned(e->frame, BIT(e->order)) ||
	    e->frame > LEAF_FRAME_MAX)
		return -EINVAL;
	rc = occupant(pt, e->key.page, e->order, &old);
	if (!rc)
		rc = replace(pt, e->key.page, e->order, old,
			     make_leaf(e->frame, e->order, pt_rights(pt, e->rights)));
	if (!rc && !old)
		pt->entries++;
	return rc;
}

/* Exactly this mapping, else -ENOENT. */
static int find_exact(struct pt *pt, struct pt_key key, unsigned order, uint64_t *leaf)
{
	int rc;

	if (!page_ok(pt, key.page, order))
		return -ENOENT;
	rc = occupant(pt, key.page, order, leaf);
	if (rc == -EEXIST || (rc == 0 && !*leaf))
		return -ENOENT;
	return rc;
}

static int flat_unmap(struct pt *pt, struct pt_key key, unsigned order, struct pt_entry *old)
{
	uint64_t leaf;
	int rc = find_exact(pt, key, order, &leaf);

	if (!rc)
		rc = replace(pt, key.page, order, leaf, 0);
	if (rc)
		return rc;
	pt->entries--;
	if (old)
		leaf_to_entry(key, leaf, old);
	return 0;
}

static int flat_protect(struct pt *pt, struct pt_key key, unsigned order, uint8_t rights)
{
	uint64_t leaf;
	int rc = find_exact(pt, key, order, &leaf);

	return rc ? rc : replace(pt, key.page, order, leaf,
				 leaf_with_rights(leaf, pt_rights(pt, rights)));
}

/* Sets A or D in all slots of a superpage, or in none. 1: done, 0: a slot was no longer this leaf. */
static int set_in_all(struct pt *pt, uint64_t page, uint64_t leaf, uint64_t bits)
{
	uint64_t start = align_down(page, BIT(leaf_order(leaf)));
	uint64_t end = start + BIT(leaf_order(leaf)), p;
	int rc = 1;

	for (p = start; p < end; p++) {
		rc = ptm_cas(pt->mem, slot_addr(pt, p), SLOT_BYTES, leaf, leaf | bits);
		if (rc != 1)
			break;
	}
	while (rc != 1 && p-- > start)
		(void)ptm_cas(pt->mem, slot_addr(pt, p), SLOT_BYTES, leaf | bits, leaf);
	return rc;
}

/* The leaf just loaded, its A and D included. False: it changed meanwhile. */
static bool use_leaf(struct pt *pt, const struct walk_req *req, uint64_t addr, uint64_t leaf, struct walk *w)
{
	uint64_t missing = leaf_ad_missing(pt, req, leaf);

	if (leaf_order(leaf) > 0 && missing && req->ad == WALK_AD_SET && leaf_permits(pt, req, leaf, w)) {
		int rc = set_in_all(pt, req->va >> PAGE_SHIFT, leaf, missing);

		if (rc < 0)
			walk_mem_error(req, w, rc);
		if (rc != 1)
			return rc < 0;
		leaf |= missing;
		w->ad_updated = true;
	}
	return leaf_access(pt, req, addr, leaf, w);
}

static void flat_lookup(struct pt *pt, const struct walk_req *req, struct walk *w)
{
	uint64_t page = req->va >> PAGE_SHIFT, addr, leaf;

	walk_begin(w);
	if (unlikely(page >= pt->params.npages)) {
		bool ok = gpt_va_ok(pt->params.fmt, req->va, pt->params.second_stage);

		walk_fail(req, w, ok ? WALK_WHY_NOT_PRESENT : WALK_WHY_CANONICAL, false);
		return;
	}
	addr = slot_addr(pt, page);
	walk_add_line(w, addr);
	for (int i = 0; i < LEAF_RETRIES; i++) {
		ptm_note(pt->mem, pt->params.role ? pt->params.role : "flat", 0, page,
			 pt->params.fmt->va_bits - 1, PAGE_SHIFT);
		int rc = ptm_load64(pt->mem, addr, &leaf);
		if (unlikely(rc)) {
			walk_mem_error(req, w, rc);
			return;
		}
		if (!is_valid_leaf(leaf)) {
			walk_fail(req, w, WALK_WHY_NOT_PRESENT, false);
			return;
		}
		if (use_leaf(pt, req, addr, leaf, w))
			return;
	}
	w->status = WALK_VIOLATION;
}

static int flat_next(struct pt *pt, struct pt_key from, struct pt_entry *e)
{
	struct pt_key key = from;
	uint64_t leaf;
	int rc = first_valid(pt, from.page, &key.page, &leaf);

	if (!rc)
		leaf_to_entry(key, leaf, e);
	return rc;
}

/* All slots of the mapping that starts at page are there and alike. */
static int audit_mapping(struct pt *pt, uint64_t page, uint64_t leaf, const char **why)
{
	unsigned order = leaf_order(leaf);
	struct line l;

	if (!page_ok(pt, page, order) || !is_aligned(leaf_frame(leaf), BIT(order)) || (leaf & LEAF_UNUSED)) {
		*why = "a leaf's order, page or frame is not aligned or out of range";
		return -EINVAL;
	}
	for (uint64_t p = page; p < page + BIT(order); p += l.n) {
		l = line_at(p, page + BIT(order));
		int rc = load_line(pt, &l);
		if (rc)
			return rc;
		for (unsigned i = 0; i < l.n; i++) {
			if (l.slot[i] != leaf) {
				*why = "the slots of a superpage differ";
				return -EINVAL;
			}
		}
	}
	return 0;
}

static int flat_audit(struct pt *pt, const char **why)
{
	uint64_t page = 0, leaf, n = 0;
	int rc;

	for (; (rc = first_valid(pt, page, &page, &leaf)) == 0; n++) {
		rc = audit_mapping(pt, page, leaf, why);
		if (rc)
			return rc;
		page += BIT(leaf_order(leaf));
	}
	if (rc != -ENOENT)
		return rc;
	if (n != pt->entries) {
		*why = "the number of mappings is not pt->entries";
		return -EINVAL;
	}
	return 0;
}

static int flat_drop_space(struct pt *pt, uint32_t space)
{
	int64_t n = pt_unmap_range(pt, space, 0, pt->params.npages);

	return n < 0 ? (int)n : 0;
}

static const struct pt_org flat_org = {
	.name = "flat",
	.summary = "one array indexed by page number: one reference, 8 bytes for each page there could be",
	.create = flat_create,
	.destroy = flat_destroy,
	.open = flat_open,
	.map = flat_map,
	.unmap = flat_unmap,
	.protect = flat_protect,
	.lookup = flat_lookup,
	.next = flat_next,
	.audit = flat_audit,
	.drop_space = flat_drop_space,
};
QUIRE_PT_ORG(flat_org);
