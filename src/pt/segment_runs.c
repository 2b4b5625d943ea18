/* SPDX-License-Identifier: MIT */
/*
 * The runs of the segment table, and the moves between them and the tree.
 *
 *   header: n, which ─┐
 *   frame of runs:    ▼
 *   │ run 0 │ run 1 │ … │ run n-1 │   …   ║  the other array, for the next change  │
 *
 * A run that becomes longer or shorter at an end is one store, of its base or
 * limit. A run that comes, goes, splits or merges with its neighbour: all are
 * written to the other array, then one store of the header's word makes that the
 * one to read. What was the array until then is cleared, so that whoever watches
 * the lines that a translation was read from hears of it.
 *
 * A mapping moves between run and tree by standing in both for a moment, alike.
 * Lookups ask the runs first.
 */
#include "pt/segment.h"

struct run_list {
	unsigned n;
	struct seg_run run[SEG_RUNS_MAX + 1];
};

/*
 * All mappings of a run have one A and one D, and no walk may have to set them:
 * both are set already. D is not needed where nobody can write without W
 * (only an x86 supervisor without CR0.WP can).
 */
bool seg_may_run(const struct pt *pt, uint64_t leaf)
{
	const struct gpt_format *f = pt->params.fmt;
	uint8_t rights = leaf_rights(leaf);
	bool writes = (rights & RIGHT_W) || (f->family == GPT_X86 && !pt->params.second_stage);

	return (!f->accessed || (rights & RIGHT_A)) && (!f->dirty || !writes || (rights & RIGHT_D));
}

int seg_load_run(struct pt *pt, unsigned i, struct seg_run *r)
{
	return ptm_load(pt->mem, seg_run_addr(pt, i), RUN_BYTES, r);
}

int seg_search(struct pt *pt, uint64_t page, struct walk *w, struct seg_spot *s)
{
	unsigned lo = 0, hi = seg_regs_of(pt)->n;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		ptm_note(pt->mem, "run", 0, mid, 0, 1);
		if (w)
			walk_add_line(w, seg_run_addr(pt, mid));
		int rc = seg_load_run(pt, mid, &s->run);
		if (rc)
			return rc;
		s->index = mid;
		if (page < s->run.base)
			hi = mid;
		else if (page >= s->run.limit)
			lo = mid + 1;
		else
			return 0;
	}
	s->index = lo;
	return -ENOENT;
}

static int load_runs(struct pt *pt, struct run_list *l)
{
	int rc = 0;

	l->n = seg_regs_of(pt)->n;
	for (unsigned i = 0; i < l->n && !rc; i += 2)
		rc = ptm_load(pt->mem, seg_run_addr(pt, i), MIN(2u, l->n - i) * RUN_BYTES, &l->run[i]);
	return rc;
}

/* These are the runs now. */
static int store_runs(struct pt *pt, const struct run_list *l)
{
	static const struct seg_run none[2];
	struct seg_regs *r = seg_regs_of(pt);
	uint32_t other = r->which ^ 1;
	uint64_t to = r->arrays + other * RUNS_BYTES, old = seg_run_addr(pt, 0);
	unsigned n = r->n;
	int rc = 0;

	for (unsigned i = 0; i < l->n && !rc; i += 2)
		rc = ptm_store(pt->mem, to + i * RUN_BYTES, MIN(2u, l->n - i) * RUN_BYTES, &l->run[i]);
	if (!rc)
		rc = ptm_store64(pt->mem, pt->root + SEG_RUNS_AT, l->n << 1 | other);
	if (rc)
		return rc;
	r->n = l->n;
	r->which = other;
	for (unsigned i = 0; i < n; i += 2)
		(void)ptm_store(pt->mem, old + i * RUN_BYTES, sizeof(none), none);
	return 0;
}

static void insert_run(struct run_list *l, unsigned i, const struct seg_run *r)
{
	memmove(&l->run[i + 1], &l->run[i], (l->n - i) * sizeof(*r));
	l->run[i] = *r;
	l->n++;
}

static void remove_run(struct run_list *l, unsigned i)
{
	l->n--;
	memmove(&l->run[i], &l->run[i + 1], (l->n - i) * sizeof(l->run[0]));
}

static int add_run(struct pt *pt, unsigned i, const struct seg_run *r)
{
	struct run_list l;
	int rc = load_runs(pt, &l);

	if (rc)
		return rc;
	insert_run(&l, i, r);
	return store_runs(pt, &l);
}

static int drop_run(struct pt *pt, unsigned i)
{
	struct run_list l;
	int rc = load_runs(pt, &l);

	if (rc)
		return rc;
	remove_run(&l, i);
	return store_runs(pt, &l);
}

static int set_base(struct pt *pt, unsigned i, uint64_t base)
{
	return ptm_store64(pt->mem, seg_run_addr(pt, i) + RUN_BASE, base);
}

static int set_limit(struct pt *pt, unsigned i, uint64_t limit)
{
	return ptm_store64(pt->mem, seg_run_addr(pt, i) + RUN_LIMIT, limit);
}

enum beside { AT_END, AT_START };

/* The run that would take this mapping, and where; s: how a search for it ended. -ENOENT: none. */
static int run_beside(struct pt *pt, const struct seg_spot *s, uint64_t page, uint64_t leaf, unsigned *i)
{
	struct seg_run r;
	int rc;

	if (s->index > 0) {
		*i = s->index - 1;
		rc = seg_load_run(pt, *i, &r);
		if (rc)
			return rc;
		if (r.limit == page && run_takes(&r, page, leaf))
			return AT_END;
	}
	if (s->index < seg_regs_of(pt)->n) {
		*i = s->index;
		rc = seg_load_run(pt, *i, &r);
		if (rc)
			return rc;
		if (r.base == page + BIT(leaf_order(leaf)) && run_takes(&r, page, leaf))
			return AT_START;
	}
	return -ENOENT;
}

int seg_extend(struct pt *pt, const struct seg_spot *after, uint64_t page, uint64_t leaf)
{
	unsigned i;
	int rc = seg_may_run(pt, leaf) ? run_beside(pt, after, page, leaf, &i) : -ENOENT;

	if (rc < 0)
		return rc;
	return rc == AT_END ? set_limit(pt, i, page + BIT(leaf_order(leaf))) : set_base(pt, i, page);
}

/* The mappings of run i at its end go to the tree until it ends at `limit`. */
static int push_end(struct pt *pt, unsigned i, const struct seg_run *r, uint64_t limit)
{
	int rc = 0;

	for (uint64_t p = r->limit; p > limit && !rc; p -= run_unit(r)) {
		uint64_t page = p - run_unit(r);

		rc = seg_tree_map(pt, page, run_leaf(r, page));
		if (rc)
			return rc;
		rc = set_limit(pt, i, page);
		if (rc)
			(void)seg_tree_unmap(pt, page, leaf_order(r->leaf));
	}
	return rc;
}

/* And at its start, until it starts at `base`. */
static int push_start(struct pt *pt, unsigned i, const struct seg_run *r, uint64_t base)
{
	int rc = 0;

	for (uint64_t page = r->base; page < base && !rc; page += run_unit(r)) {
		rc = seg_tree_map(pt, page, run_leaf(r, page));
		if (rc)
			return rc;
		rc = set_base(pt, i, page + run_unit(r));
		if (rc)
			(void)seg_tree_unmap(pt, page, leaf_order(r->leaf));
	}
	return rc;
}

/* No room for one more run: the shorter side goes to the tree. */
static int cut_full(struct pt *pt, const struct seg_spot *s, uint64_t page, uint64_t end)
{
	const struct seg_run *r = &s->run;
	int rc;

	if (r->limit - end <= page - r->base) {
		rc = push_end(pt, s->index, r, end);
		return rc ? rc : set_limit(pt, s->index, page);
	}
	rc = push_start(pt, s->index, r, page);
	return rc ? rc : set_base(pt, s->index, end);
}

int seg_cut(struct pt *pt, const struct seg_spot *s, uint64_t page)
{
	uint64_t end = page + run_unit(&s->run);
	struct seg_run right = s->run;
	struct run_list l;
	int rc;

	if (s->run.base == page && s->run.limit == end)
		return drop_run(pt, s->index);
	if (s->run.base == page)
		return set_base(pt, s->index, end);
	if (s->run.limit == end)
		return set_limit(pt, s->index, page);
	if (seg_regs_of(pt)->n == SEG_RUNS_MAX)
		return cut_full(pt, s, page, end);
	rc = load_runs(pt, &l);
	if (rc)
		return rc;
	right.base = end;
	l.run[s->index].limit = page;
	insert_run(&l, s->index + 1, &right);
	return store_runs(pt, &l);
}

/* A mapping of the tree that stands at run i's end (or start) as well from now on, then there alone. */
static int absorb_end(struct pt *pt, unsigned i, const struct seg_run *r)
{
	uint64_t leaf, page = r->limit;
	int rc = seg_tree_find(pt, page, &leaf);

	if (rc || !run_takes(r, page, leaf))
		return rc ? rc : -ENOENT;
	rc = set_limit(pt, i, page + run_unit(r));
	if (!rc)
		rc = seg_tree_unmap(pt, page, leaf_order(leaf));
	if (rc)
		(void)set_limit(pt, i, page);
	return rc;
}

static int absorb_start(struct pt *pt, unsigned i, const struct seg_run *r)
{
	uint64_t leaf, page = r->base - run_unit(r);
	int rc = r->base ? seg_tree_find(pt, page, &leaf) : -ENOENT;

	if (rc || !run_takes(r, page, leaf))
		return rc ? rc : -ENOENT;
	rc = set_base(pt, i, page);
	if (!rc)
		rc = seg_tree_unmap(pt, page, leaf_order(leaf));
	if (rc)
		(void)set_base(pt, i, r->base);
	return rc;
}

/* Do runs i and i + 1 meet, and are they one? */
static bool is_one_run(struct pt *pt, unsigned i)
{
	struct seg_run a, b;

	return i + 1 < seg_regs_of(pt)->n && !seg_load_run(pt, i, &a) && !seg_load_run(pt, i + 1, &b) &&
	       a.limit == b.base && a.offset == b.offset && a.leaf == b.leaf;
}

static void merge_runs(struct pt *pt, unsigned i)
{
	struct run_list l;

	if (!is_one_run(pt, i) || load_runs(pt, &l))
		return;
	l.run[i].limit = l.run[i + 1].limit;
	remove_run(&l, i + 1);
	(void)store_runs(pt, &l);
}

/* Run i takes what continues it, and its neighbours if they now meet. */
static void grow_run(struct pt *pt, unsigned i)
{
	struct seg_run r;
	int budget = SEG_ABSORB_MAX;

	if (seg_load_run(pt, i, &r))
		return;
	for (; budget > 0 && !absorb_end(pt, i, &r); budget--)
		r.limit += run_unit(&r);
	for (; budget > 0 && !absorb_start(pt, i, &r); budget--)
		r.base -= run_unit(&r);
	merge_runs(pt, i);
	if (i > 0)
		merge_runs(pt, i - 1);
}

/* Does one of the tree's mappings continue this one, n steps on? */
static bool continues(struct pt *pt, const struct seg_run *r, int64_t n)
{
	uint64_t page = r->base + (uint64_t)n * run_unit(r), leaf;

	return (n > 0 || page < r->base) && !seg_tree_find(pt, page, &leaf) && run_takes(r, page, leaf);
}

static bool is_long_enough(struct pt *pt, const struct seg_run *r)
{
	int64_t n = 1, i;

	for (i = -1; n < SEG_RUN_MIN && continues(pt, r, i); i--)
		n++;
	for (i = 1; n < SEG_RUN_MIN && continues(pt, r, i); i++)
		n++;
	return n >= SEG_RUN_MIN;
}

/* Of a full array: a run that would not be made one now goes to the tree. */
static int make_room(struct pt *pt)
{
	struct run_list l;
	unsigned best = 0;
	int rc = load_runs(pt, &l);

	for (unsigned i = 1; i < l.n && !rc; i++)
		if ((l.run[i].limit - l.run[i].base) / run_unit(&l.run[i]) <
		    (l.run[best].limit - l.run[best].base) / run_unit(&l.run[best]))
			best = i;
	const struct seg_run *r = &l.run[best];
	if (rc || (r->limit - r->base) / run_unit(r) >= SEG_RUN_MIN)
		return rc ? rc : -ENOSPC;
	/* The last one by leaving the array: a run is never empty. */
	rc = push_end(pt, best, r, r->base + run_unit(r));
	if (!rc)
		rc = seg_tree_map(pt, r->base, run_leaf(r, r->base));
	if (rc)
		return rc;
	rc = drop_run(pt, best);
	if (rc)
		(void)seg_tree_unmap(pt, r->base, leaf_order(r->leaf));
	return rc;
}

/* A mapping of the tree, with enough others in a row, becomes a run of one; it grows then. */
static int make_run(struct pt *pt, uint64_t page, uint64_t leaf)
{
	struct seg_run r = {
		.base = page, .limit = page + BIT(leaf_order(leaf)), .offset = leaf_frame(leaf) - page,
		.leaf = leaf & low_bits(LEAF_FRAME_SHIFT),
	};
	struct seg_spot s;
	int rc;

	if (!is_long_enough(pt, &r))
		return -ENOENT;
	rc = seg_regs_of(pt)->n == SEG_RUNS_MAX ? make_room(pt) : 0;
	if (!rc)
		rc = seg_search(pt, page, NULL, &s);
	if (rc != -ENOENT)
		return rc;
	rc = add_run(pt, s.index, &r);
	if (rc)
		return rc;
	rc = seg_tree_unmap(pt, page, leaf_order(leaf));
	if (rc)
		(void)drop_run(pt, s.index);
	return rc;
}

/* A mapping of the tree goes into the run beside it, or founds one. */
static void settle(struct pt *pt, uint64_t page)
{
	struct seg_spot s;
	uint64_t leaf;
	unsigned i;

	if (seg_tree_find(pt, page, &leaf) || !seg_may_run(pt, leaf))
		return;
	page = align_down(page, BIT(leaf_order(leaf)));
	if (seg_search(pt, page, NULL, &s) != -ENOENT)
		return;
	if (run_beside(pt, &s, page, leaf, &i) >= 0)
		grow_run(pt, i);
	else if (!make_run(pt, page, leaf) && !seg_search(pt, page, NULL, &s))
		grow_run(pt, s.index);
}

void seg_tidy(struct pt *pt, uint64_t page, unsigned order)
{
	uint64_t unit = BIT(order);
	struct seg_spot s;

	if (!seg_search(pt, page, NULL, &s))
		grow_run(pt, s.index);
	else
		settle(pt, page);
	/* Those beside it may have been touched since they were mapped. */
	if (page >= unit)
		settle(pt, page - unit);
	if (page + unit < BIT(64 - PAGE_SHIFT))
		settle(pt, page + unit);
}
