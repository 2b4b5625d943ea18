/* SPDX-License-Identifier: MIT */
/*
 * segment: a few long runs of pages that stand in a row in memory, and a radix
 * tree for all other pages.
 *
 *   root ─▶ header ─┬▶ runs, by page:  │ base limit offset leaf │ base limit … │      at most 64
 *                   │                    frame = page + offset for base <= page < limit
 *                   └▶ tree (pt/radix.c) of the keys' geometry
 *
 * A lookup searches the runs by halves, one reference a probe: at most 7 for 64
 * runs, none while there are none. A page in no run costs the tree's levels on
 * top of these.
 *
 * Runs are found from the mappings themselves. One beside a run that it
 * continues, in page, frame, order and rights, makes the run longer. Any other
 * goes to the tree; when SEG_RUN_MIN there stand in a row they become a run, and
 * a run takes from the tree what continues it (SEG_ABSORB_MAX mappings after one
 * change at most; the rest with later ones). A mapping that goes or changes
 * inside a run splits it. With all 64 in use the shorter side goes to the tree
 * instead, page by page: the one operation here whose work is as long as a run;
 * a new run then takes the place of one that has become shorter than
 * SEG_RUN_MIN, or there is none.
 *
 * A and D: a run has one of each for all, and walks set neither. Only mappings
 * that have them set already are in runs (segment_runs.c says which need D).
 * Those that a walker has yet to set are set in the tree, page by page; once
 * set, the mapping joins a run when a neighbour is mapped or changed. So a
 * second stage and shadow tables, made with A and D, live in runs, and a guest's
 * table gets there as its pages are written.
 *
 * Superpages are runs of their order, or leaves of the tree: one entry or less.
 *
 * Moves between runs and tree come after an operation and never fail it. What
 * the header has is in registers of the walker; a second view is opened again
 * when the header frame was written (mmu/space.c does so for guests' tables).
 */
#include "pt/segment.h"

#define SEG_MAGIC UINT64_C(0x006d6765732f7571) /* "qu/segm" */

/* Where a mapping stands: in a run, or in the tree, or nowhere (-ENOENT). */
struct place {
	bool in_run;
	struct seg_spot spot; /* valid in either case */
	uint64_t leaf;
};

static int find_covering(struct pt *pt, uint64_t page, struct place *p)
{
	int rc = seg_search(pt, page, NULL, &p->spot);

	p->in_run = rc == 0;
	if (p->in_run)
		p->leaf = run_leaf(&p->spot.run, page);
	return rc == -ENOENT ? seg_tree_find(pt, page, &p->leaf) : rc;
}

static int set_count(struct pt *pt, uint64_t n)
{
	int rc = ptm_store64(pt->mem, pt->root + SEG_COUNT_AT, n);

	if (!rc)
		pt->entries = n;
	return rc;
}

static int put_header(struct pt *pt)
{
	const struct seg_regs *r = seg_regs_of(pt);
	uint64_t head[3] = { SEG_MAGIC, r->arrays, r->tree };

	return ptm_store(pt->mem, pt->root, sizeof(head), head);
}

static int segment_create(struct pt *pt)
{
	struct seg_regs *r = seg_regs_of(pt);
	struct pt tree;
	int rc = ptm_alloc(pt->mem, 0, &pt->root);

	if (rc)
		return rc;
	seg_tree_format(&r->fmt, pt->params.fmt);
	rc = ptm_alloc(pt->mem, 0, &r->arrays);
	if (rc)
		goto free_header;
	tree = seg_tree(pt);
	rc = tree.org->create(&tree);
	if (rc)
		goto free_arrays;
	r->tree = tree.root;
	rc = put_header(pt);
	if (!rc)
		return 0;
	tree.org->destroy(&tree);
free_arrays:
	ptm_free(pt->mem, r->arrays, 0);
free_header:
	ptm_free(pt->mem, pt->root, 0);
	return rc;
}

static void segment_destroy(struct pt *pt)
{
	struct pt tree = seg_tree(pt);

	tree.org->destroy(&tree);
	ptm_free(pt->mem, seg_regs_of(pt)->arrays, 0);
	ptm_free(pt->mem, pt->root, 0);
}

static bool is_tree_root(struct pt *pt, uint64_t addr)
{
	const struct gpt_format *f = &seg_regs_of(pt)->fmt;

	return addr && is_aligned(addr, PAGE_SIZE << gpt_table_order(f, f->levels - 1u, pt->params.second_stage));
}

static int segment_open(struct pt *pt)
{
	struct seg_regs *r = seg_regs_of(pt);
	uint64_t head[SEG_COUNT_AT / 8 + 1];
	int rc = ptm_load(pt->mem, pt->root, sizeof(head), head);

	if (rc)
		return rc;
	seg_tree_format(&r->fmt, pt->params.fmt);
	r->arrays = head[SEG_ARRAYS_AT / 8];
	r->tree = head[SEG_TREE_AT / 8];
	r->which = head[SEG_RUNS_AT / 8] & 1;
	if (head[0] != SEG_MAGIC || !r->arrays || !is_aligned(r->arrays, PAGE_SIZE) || !is_tree_root(pt, r->tree) ||
	    head[SEG_RUNS_AT / 8] >> 1 > SEG_RUNS_MAX)
		return -EINVAL;
	r->n = (uint32_t)(head[SEG_RUNS_AT / 8] >> 1);
	pt->entries = head[SEG_COUNT_AT / 8];
	return 0;
}

/* A new mapping: at an end of a run, or in the tree. */
static int map_new(struct pt *pt, const struct seg_spot *s, uint64_t page, uint64_t leaf)
{
	int rc = set_count(pt, pt->entries + 1);

	if (rc)
		return rc;
	rc = seg_extend(pt, s, page, leaf);
	if (rc == -ENOENT)
		rc = seg_tree_map(pt, page, leaf);
	if (rc)
		(void)set_count(pt, pt->entries - 1);
	return rc;
}

/* The mapping at p gets another leaf; one in a run leaves it for the tree. */
static int replace(struct pt *pt, const struct place *p, uint64_t page, uint64_t leaf)
{
	int rc = p->leaf == leaf ? 0 : seg_tree_map(pt, page, leaf);

	if (rc || !p->in_run || p->leaf == leaf)
		return rc;
	rc = seg_cut(pt, &p->spot, page);
	if (rc)
		(void)seg_tree_unmap(pt, page, leaf_order(leaf));
	return rc;
}

/* Is there a smaller mapping inside [page, end), whose first page has none? */
static int find_inside(struct pt *pt, const struct seg_spot *s, uint64_t page, uint64_t end)
{
	struct pt_entry e;
	struct seg_run r;
	int rc;

	if (end == page + 1)
		return -ENOENT;
	if (s->index < seg_regs_of(pt)->n) {
		rc = seg_load_run(pt, s->index, &r);
		if (rc || r.base < end)
			return rc;
	}
	rc = seg_tree_next(pt, (struct pt_key){ 0, page }, &e);
	return rc == 0 && e.key.page >= end ? -ENOENT : rc;
}

static int segment_map(struct pt *pt, const struct pt_entry *e)
{
	uint64_t leaf = make_leaf(e->frame, e->order, pt_rights(pt, e->rights));
	struct place p;
	int rc;

	if (!pt_entry_ok(pt, e))
		return -EINVAL;
	rc = find_covering(pt, e->key.page, &p);
	if (rc == 0 && leaf_order(p.leaf) != e->order)
		return -EEXIST;
	if (rc == 0) {
		rc = replace(pt, &p, e->key.page, leaf);
	} else if (rc == -ENOENT) {
		rc = find_inside(pt, &p.spot, e->key.page, e->key.page + BIT(e->order));
		rc = rc == 0 ? -EEXIST : rc == -ENOENT ? map_new(pt, &p.spot, e->key.page, leaf) : rc;
	}
	if (!rc)
		seg_tidy(pt, e->key.page, e->order);
	return rc;
}

static int find_exact(struct pt *pt, struct pt_key key, unsigned order, struct place *p)
{
	int rc = pt_page_ok(pt, key.page, order) ? find_covering(pt, key.page, p) : -ENOENT;

	return rc == 0 && leaf_order(p->leaf) != order ? -ENOENT : rc;
}

static int segment_unmap(struct pt *pt, struct pt_key key, unsigned order, struct pt_entry *old)
{
	struct place p;
	int rc = find_exact(pt, key, order, &p);

	if (!rc)
		rc = set_count(pt, pt->entries - 1);
	if (rc)
		return rc;
	rc = p.in_run ? seg_cut(pt, &p.spot, key.page) : seg_tree_unmap(pt, key.page, order);
	if (rc)
		(void)set_count(pt, pt->entries + 1);
	else if (old)
		leaf_to_entry(key, p.leaf, old);
	return rc;
}

static int segment_protect(struct pt *pt, struct pt_key key, unsigned order, uint8_t rights)
{
	struct place p;
	int rc = find_exact(pt, key, order, &p);

	if (!rc)
		rc = replace(pt, &p, key.page, leaf_with_rights(p.leaf, pt_rights(pt, rights)));
	if (!rc)
		seg_tidy(pt, key.page, order);
	return rc;
}

/* A run's bytes may be anything a guest wrote. */
static bool is_sane_run(const struct pt *pt, const struct seg_run *r)
{
	unsigned order = leaf_order(r->leaf);

	return is_valid_leaf(r->leaf) && (pt->orders & BIT(order)) && r->leaf >> (LEAF_ORDER_SHIFT + 6) == 0 &&
	       is_aligned(r->base | r->limit | r->offset, BIT(order));
}

static void use_run(struct pt *pt, const struct walk_req *req, const struct seg_spot *s, struct walk *w)
{
	uint64_t leaf = run_leaf(&s->run, req->va >> PAGE_SHIFT);

	if (unlikely(!is_sane_run(pt, &s->run)))
		walk_fail(req, w, WALK_WHY_RESERVED, true);
	else if (!leaf_permits(pt, req, leaf, w))
		return;
	else if (unlikely(leaf_ad_missing(pt, req, leaf)))
		walk_fail(req, w, WALK_WHY_ACCESSED, true);
	else
		walk_finish(pt, req, w, seg_run_addr(pt, s->index), leaf);
}

/* A run has its own way to answer, and the tree another. */
static int search(struct pt *pt, const struct walk_req *req, struct walk *w, uint64_t *addr, uint64_t *leaf)
{
	struct seg_spot s;
	int rc = seg_search(pt, req->va >> PAGE_SHIFT, w, &s);

	if (rc == 0)
		use_run(pt, req, &s, w);
	else if (unlikely(rc != -ENOENT))
		return rc;
	else if (!seg_tree_walk(pt, req, w))
		return LEAF_AGAIN;
	return LEAF_ANSWERED;
}

static void segment_lookup(struct pt *pt, const struct walk_req *req, struct walk *w)
{
	leaf_lookup(pt, req, w, search);
}

static int segment_next(struct pt *pt, struct pt_key from, struct pt_entry *e)
{
	struct seg_spot s;
	struct pt_entry in_tree;
	int found = seg_search(pt, from.page, NULL, &s), rc;

	if (found == 0) {
		leaf_to_entry(from, run_leaf(&s.run, from.page), e);
		return 0;
	}
	if (found == -ENOENT && s.index < seg_regs_of(pt)->n)
		found = seg_load_run(pt, s.index, &s.run);
	if (found && found != -ENOENT)
		return found;
	rc = seg_tree_next(pt, from, &in_tree);
	if (rc && rc != -ENOENT)
		return rc;
	if (found == 0 && (rc || s.run.base < in_tree.key.page)) {
		leaf_to_entry((struct pt_key){ from.space, s.run.base }, run_leaf(&s.run, s.run.base), e);
		return 0;
	}
	*e = in_tree;
	return rc;
}

static int audit_run(struct pt *pt, const struct seg_run *r, uint64_t after, const char **why)
{
	struct pt_entry e;
	int rc;

	if (!is_sane_run(pt, r) || r->base >= r->limit || r->base < after ||
	    !pt_page_ok(pt, r->base, leaf_order(r->leaf)) || r->base + r->offset > LEAF_FRAME_MAX ||
	    !pt_page_ok(pt, r->limit - run_unit(r), leaf_order(r->leaf)) || r->limit + r->offset > LEAF_FRAME_MAX + 1) {
		*why = "a run is empty, out of order, not aligned or out of range";
		return -EINVAL;
	}
	if (!seg_may_run(pt, r->leaf)) {
		*why = "a run in which a walk would have to set A or D";
		return -EINVAL;
	}
	rc = seg_tree_next(pt, (struct pt_key){ 0, r->base }, &e);
	if (rc == 0 && e.key.page < r->limit) {
		*why = "a page is in a run and in the tree";
		return -EINVAL;
	}
	return rc == -ENOENT ? 0 : rc;
}

static int segment_audit(struct pt *pt, const char **why)
{
	uint64_t in_runs = 0, after = 0, count;
	struct pt tree = seg_tree(pt);
	int rc = 0;

	for (unsigned i = 0; i < seg_regs_of(pt)->n && !rc; i++) {
		struct seg_run r;

		rc = seg_load_run(pt, i, &r);
		if (!rc)
			rc = audit_run(pt, &r, after, why);
		if (rc)
			return rc;
		in_runs += (r.limit - r.base) / run_unit(&r);
		after = r.limit;
	}
	rc = ptm_load64(pt->mem, pt->root + SEG_COUNT_AT, &count);
	if (!rc && count != pt->entries) {
		*why = "the header's count is not pt->entries";
		return -EINVAL;
	}
	tree.entries = pt->entries - in_runs;
	return rc ? rc : tree.org->audit(&tree, why);
}

static int segment_drop_space(struct pt *pt, uint32_t space)
{
	int64_t n = pt_unmap_range(pt, space, 0, BIT(64 - PAGE_SHIFT));

	return n < 0 ? (int)n : 0;
}

static const struct pt_org segment_org = {
	.name = "segment",
	.summary = "up to 64 runs (base, limit, offset), found by binary search; pages outside them in a radix tree",
	.sparse_keys = true,
	.create = segment_create,
	.destroy = segment_destroy,
	.open = segment_open,
	.map = segment_map,
	.unmap = segment_unmap,
	.protect = segment_protect,
	.lookup = segment_lookup,
	.next = segment_next,
	.audit = segment_audit,
	.drop_space = segment_drop_space,
};
QUIRE_PT_ORG(segment_org);
