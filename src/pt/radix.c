/* SPDX-License-Identifier: MIT */
/*
 * radix: the tree of tables that CPUs walk, in any format of gpt/.
 *
 *   root ─▶ │ ∅ │ T │ ∅ │        level levels-1 (four times wider at a RISC-V second stage)
 *                 └─▶ │ L │ T │ ∅ │        L: a leaf here is a superpage
 *                           └─▶ │ ∅ │ L │ L │        level 0
 *
 *  - A lookup is gpt_walk: one reference a level (x86-pae's four topmost
 *    entries are stored in memory as well, but the CPU has them in registers).
 *  - Every table but the root holds an entry: unmap frees what it empties.
 *    So an entry that points to a table means there is a mapping inside.
 *  - Every operation is visible through one store. map fills its new tables
 *    before it links the topmost of them; unmap clears the entry above all
 *    tables it empties (or the leaf), then frees them. Nothing is undone.
 *  - A table smaller than a frame takes a frame.
 *
 * open counts the mappings, so it goes through the whole tree: it is for
 * trees that were built here. A guest's own tree needs no struct pt: gpt_walk.
 *
 * map refuses with -EINVAL rights that no entry can hold (none of R, W, X) and
 * frames wider than an entry; rights near to what the format can say
 * (gpt_can_express) are the caller's to choose.
 */
#include "pt/leaf.h"

/* Bytes read at once when a table is gone through. */
enum { CHUNK = LINE_SIZE };

/* A slot of a table: everything about where we stand in the tree. */
struct cursor {
	unsigned level;
	uint64_t table; /* address of the table */
	uint64_t index;
	uint64_t pte;
};

static inline unsigned top_level(const struct pt *pt)
{
	return pt->params.fmt->levels - 1u;
}

static inline bool is_root(const struct pt *pt, unsigned level)
{
	return level == top_level(pt);
}

static uint64_t table_bytes(const struct pt *pt, unsigned level)
{
	return gpt_table_bytes(pt->params.fmt, level, pt->params.second_stage && is_root(pt, level));
}

static unsigned table_order(const struct pt *pt, unsigned level)
{
	return gpt_table_order(pt->params.fmt, level, pt->params.second_stage && is_root(pt, level));
}

static uint64_t table_entries(const struct pt *pt, unsigned level)
{
	return table_bytes(pt, level) / pt->params.fmt->entry_size;
}

static inline uint64_t slot_addr(const struct pt *pt, const struct cursor *c)
{
	return c->table + c->index * pt->params.fmt->entry_size;
}

static int store_pte(struct pt *pt, uint64_t addr, uint64_t pte)
{
	return ptm_store(pt->mem, addr, pt->params.fmt->entry_size, &pte); /* little-endian */
}

static struct cursor cursor_in(struct pt *pt, unsigned level, uint64_t table, uint64_t page)
{
	uint64_t va = page << PAGE_SHIFT;

	return (struct cursor){ level, table, gpt_index(pt->params.fmt, level, va, pt->params.second_stage), 0 };
}

static int load_slot(struct pt *pt, struct cursor *c)
{
	return ptm_load_pte(pt->mem, slot_addr(pt, c), pt->params.fmt->entry_size, &c->pte);
}

static bool is_table(const struct pt *pt, const struct cursor *c)
{
	return c->level > 0 && gpt_is_present(pt->params.fmt, c->pte) &&
	       !gpt_is_leaf(pt->params.fmt, c->level, c->pte);
}

static uint64_t table_of(const struct pt *pt, uint64_t pte)
{
	return gpt_frame(pt->params.fmt, pte) << PAGE_SHIFT;
}

/*
 * The first present entry at c->index or after it: c moves there. -ENOENT:
 * none. A line is one load.
 */
static int first_present(struct pt *pt, struct cursor *c, uint64_t end)
{
	unsigned size = pt->params.fmt->entry_size;
	uint8_t line[CHUNK];

	while (c->index < end) {
		uint64_t n = MIN(CHUNK / size - c->index % (CHUNK / size), end - c->index);
		int rc = ptm_load(pt->mem, slot_addr(pt, c), (unsigned)n * size, line);

		if (rc)
			return rc;
		for (uint64_t i = 0; i < n; i++, c->index++) {
			c->pte = 0;
			memcpy(&c->pte, line + i * size, size);
			if (gpt_is_present(pt->params.fmt, c->pte))
				return 0;
		}
	}
	return -ENOENT;
}

/* Does the cursor's table hold an entry besides the cursor's? 1, 0 or -errno. Neighbours are likely: after it first. */
static int has_others(struct pt *pt, const struct cursor *at)
{
	struct cursor c = *at;
	int rc;

	c.index = at->index + 1;
	rc = first_present(pt, &c, table_entries(pt, at->level));
	if (rc == -ENOENT) {
		c.index = 0;
		rc = first_present(pt, &c, at->index);
	}
	return rc == 0 ? 1 : rc == -ENOENT ? 0 : rc;
}

static int radix_create(struct pt *pt)
{
	return ptm_alloc(pt->mem, table_order(pt, top_level(pt)), &pt->root);
}

/*
 * Goes down to the slot of (page, level), or to the entry on the way that is
 * not a table. path, by level, keeps where it went; *at is the slot reached.
 */
static int descend(struct pt *pt, uint64_t page, unsigned level, struct cursor path[GPT_LEVELS_MAX],
		   struct cursor *at)
{
	struct cursor c = cursor_in(pt, top_level(pt), pt->root, page);

	for (;;) {
		int rc = load_slot(pt, &c);

		if (rc)
			return rc;
		path[c.level] = c;
		if (c.level == level || !is_table(pt, &c)) {
			*at = c;
			return 0;
		}
		c = cursor_in(pt, c.level - 1, table_of(pt, c.pte), page);
	}
}

/* Tables of levels [level, top). */
static void free_tables(struct pt *pt, unsigned level, unsigned top, const uint64_t table[])
{
	for (unsigned l = level; l < top; l++)
		ptm_free(pt->mem, table[l], table_order(pt, l));
}

static int alloc_tables(struct pt *pt, unsigned level, unsigned top, uint64_t table[])
{
	for (unsigned l = level; l < top; l++) {
		int rc = ptm_alloc(pt->mem, table_order(pt, l), &table[l]);

		if (rc) {
			free_tables(pt, level, l, table);
			return rc;
		}
	}
	return 0;
}

/*
 * Fills the fresh tables of levels [level, top) with the way to *pte, a leaf
 * of `level`; *pte becomes the entry that leads there, of level `top`.
 */
static int fill_tables(struct pt *pt, unsigned level, unsigned top, const uint64_t table[],
		       uint64_t page, uint64_t *pte)
{
	for (unsigned l = level; l < top; l++) {
		struct cursor c = cursor_in(pt, l, table[l], page);
		int rc = store_pte(pt, slot_addr(pt, &c), *pte);

		if (rc)
			return rc;
		*pte = gpt_make_table(pt->params.fmt, l + 1, table[l] >> PAGE_SHIFT);
		if (table_of(pt, *pte) != table[l])
			return -ENOMEM; /* memory above what the format's entries reach */
	}
	return 0;
}

static int radix_map(struct pt *pt, const struct pt_entry *e)
{
	const struct gpt_format *fmt = pt->params.fmt;
	struct cursor path[GPT_LEVELS_MAX], at;
	int level = gpt_level_of_order(fmt, e->order), rc;
	uint64_t table[GPT_LEVELS_MAX], pte;

	if (level < 0 || !pt_page_ok(pt, e->key.page, e->order) || !is_aligned(e->frame, BIT(e->order)))
		return -EINVAL;
	pte = gpt_make_leaf(fmt, (unsigned)level, e->frame, pt_rights(pt, e->rights));
	if (!pte || gpt_frame(fmt, pte) != e->frame)
		return -EINVAL;
	rc = descend(pt, e->key.page, (unsigned)level, path, &at);
	if (rc)
		return rc;
	bool replaces = gpt_is_present(fmt, at.pte);
	if (replaces && (at.level > (unsigned)level || is_table(pt, &at)))
		return -EEXIST;
	rc = alloc_tables(pt, (unsigned)level, at.level, table);
	if (rc)
		return rc;
	rc = fill_tables(pt, (unsigned)level, at.level, table, e->key.page, &pte);
	if (!rc)
		rc = store_pte(pt, slot_addr(pt, &at), pte);
	if (rc)
		free_tables(pt, (unsigned)level, at.level, table);
	else
		pt->entries += !replaces;
	return rc;
}

/* The leaf of exactly this page and order, else -ENOENT. */
static int find_exact(struct pt *pt, struct pt_key key, unsigned order, struct cursor path[], struct cursor *at)
{
	int level = gpt_level_of_order(pt->params.fmt, order), rc;

	if (level < 0 || !pt_page_ok(pt, key.page, order))
		return -ENOENT;
	rc = descend(pt, key.page, (unsigned)level, path, at);
	if (rc)
		return rc;
	if (at->level != (unsigned)level || !gpt_is_present(pt->params.fmt, at->pte) || is_table(pt, at))
		return -ENOENT;
	return 0;
}

static void pte_to_entry(struct pt *pt, struct pt_key key, const struct cursor *c, struct pt_entry *e)
{
	const struct gpt_format *fmt = pt->params.fmt;

	*e = (struct pt_entry){ key, (uint8_t)gpt_level_order(fmt, c->level),
				gpt_rights(fmt, c->level, c->pte), gpt_frame(fmt, c->pte) };
}

static int radix_unmap(struct pt *pt, struct pt_key key, unsigned order, struct pt_entry *old)
{
	struct cursor path[GPT_LEVELS_MAX], leaf;
	int rc = find_exact(pt, key, order, path, &leaf);
	unsigned cut; /* the level of the entry to clear */

	if (rc)
		return rc;
	for (cut = leaf.level; !is_root(pt, cut); cut++) {
		rc = has_others(pt, &path[cut]);
		if (rc < 0)
			return rc;
		if (rc)
			break;
	}
	rc = store_pte(pt, slot_addr(pt, &path[cut]), 0);
	if (rc)
		return rc;
	for (unsigned l = leaf.level; l < cut; l++)
		ptm_free(pt->mem, path[l].table, table_order(pt, l));
	pt->entries--;
	if (old)
		pte_to_entry(pt, key, &leaf, old);
	return 0;
}

static int radix_protect(struct pt *pt, struct pt_key key, unsigned order, uint8_t rights)
{
	const struct gpt_format *fmt = pt->params.fmt;
	struct cursor path[GPT_LEVELS_MAX], leaf;
	int rc = find_exact(pt, key, order, path, &leaf);
	uint64_t pte;

	if (rc)
		return rc;
	pte = gpt_make_leaf(fmt, leaf.level, gpt_frame(fmt, leaf.pte), pt_rights(pt, rights));
	return pte ? store_pte(pt, slot_addr(pt, &leaf), pte) : -EINVAL;
}

static void radix_lookup(struct pt *pt, const struct walk_req *req, struct walk *w)
{
	struct walk_req r;

	if (unlikely(req->second_stage != pt->params.second_stage)) {
		r = *req;
		r.second_stage = pt->params.second_stage;
		req = &r;
	}
	gpt_walk(pt->params.fmt, pt->mem, pt->root, req, w);
}

/* va of an entry: above: the va that this table starts at. The upper half of a root is sign-extended. */
static uint64_t entry_va(const struct pt *pt, const struct cursor *c, uint64_t above)
{
	const struct gpt_format *fmt = pt->params.fmt;
	uint64_t va = above + (c->index << fmt->level[c->level].shift);

	if (is_root(pt, c->level) && fmt->sign_extended && !pt->params.second_stage &&
	    va >= gpt_va_limit(fmt, false))
		va |= ~low_bits(fmt->va_bits);
	return va;
}

/* The first leaf at or after `from` in this table, which starts at va `above`. The depth is the format's. */
static int next_in_table(struct pt *pt, struct cursor c, uint64_t above, struct pt_key from, struct pt_entry *e)
{
	uint64_t end = table_entries(pt, c.level);
	int rc;

	for (; (rc = first_present(pt, &c, end)) == 0; c.index++) {
		struct pt_key key = { from.space, entry_va(pt, &c, above) >> PAGE_SHIFT };

		if (!is_table(pt, &c)) {
			pte_to_entry(pt, key, &c, e);
			return 0;
		}
		struct cursor below = { c.level - 1, table_of(pt, c.pte), 0, 0 };
		if (from.page > key.page)
			below = cursor_in(pt, c.level - 1, below.table, from.page);
		rc = next_in_table(pt, below, key.page << PAGE_SHIFT, from, e);
		if (rc != -ENOENT)
			return rc;
	}
	return rc;
}

static int radix_next(struct pt *pt, struct pt_key from, struct pt_entry *e)
{
	const struct gpt_format *fmt = pt->params.fmt;
	uint64_t limit = gpt_va_limit(fmt, pt->params.second_stage) >> PAGE_SHIFT;
	bool two_halves = fmt->sign_extended && !pt->params.second_stage;

	if (from.page >= BIT(64 - PAGE_SHIFT) || (from.page >= limit && !two_halves))
		return -ENOENT;
	/* In the gap between the halves: on to the upper one. */
	if (two_halves && from.page >= limit)
		from.page = MAX(from.page, BIT(64 - PAGE_SHIFT) - limit);
	return next_in_table(pt, cursor_in(pt, top_level(pt), pt->root, from.page), 0, from, e);
}

/* A walk through the whole tree: called for each leaf, and for each table after all that is below it. */
struct visit {
	int (*table)(struct pt *pt, const struct cursor *parent, uint64_t leaves, struct visit *v);
	int (*leaf)(struct pt *pt, const struct cursor *c, struct visit *v);
	const char *why;
	uint64_t leaves;
};

static int visit_table(struct pt *pt, unsigned level, uint64_t table, struct visit *v, uint64_t *leaves)
{
	struct cursor c = { level, table, 0, 0 };
	int rc;

	for (*leaves = 0; (rc = first_present(pt, &c, table_entries(pt, level))) == 0; c.index++) {
		uint64_t below = 1;

		if (is_table(pt, &c))
			rc = visit_table(pt, level - 1, table_of(pt, c.pte), v, &below);
		else
			rc = v->leaf ? v->leaf(pt, &c, v) : 0;
		if (!rc && v->table && is_table(pt, &c))
			rc = v->table(pt, &c, below, v);
		if (rc)
			return rc;
		*leaves += below;
	}
	return rc == -ENOENT ? 0 : rc;
}

static int radix_open(struct pt *pt)
{
	struct visit v = { 0 };

	if (!pt->root || !is_aligned(pt->root, PAGE_SIZE << table_order(pt, top_level(pt))))
		return -EINVAL;
	return visit_table(pt, top_level(pt), pt->root, &v, &pt->entries);
}

static int audit_table(struct pt *pt, const struct cursor *parent, uint64_t leaves, struct visit *v)
{
	if (!leaves)
		v->why = "a table is empty";
	else if (gpt_is_reserved(pt->params.fmt, parent->level, parent->pte, CTL_DEFAULT))
		v->why = "a reserved bit is set in a table's entry";
	else
		return 0;
	return -EINVAL;
}

static int audit_leaf(struct pt *pt, const struct cursor *c, struct visit *v)
{
	const struct gpt_format *fmt = pt->params.fmt;

	if (gpt_is_reserved(fmt, c->level, c->pte, CTL_DEFAULT))
		v->why = "a reserved bit or encoding in a leaf";
	else if (gpt_level_of_order(fmt, gpt_level_order(fmt, c->level)) != (int)c->level)
		v->why = "a leaf at a level that has none";
	else if (pt->params.second_stage && !(gpt_rights(fmt, c->level, c->pte) & RIGHT_U))
		v->why = "a leaf of a second stage without U";
	else
		return 0;
	return -EINVAL;
}

static int radix_audit(struct pt *pt, const char **why)
{
	struct visit v = { .table = audit_table, .leaf = audit_leaf };
	int rc = visit_table(pt, top_level(pt), pt->root, &v, &v.leaves);

	if (!rc && v.leaves != pt->entries) {
		v.why = "the number of leaves is not pt->entries";
		rc = -EINVAL;
	}
	*why = v.why;
	return rc;
}

static int free_table(struct pt *pt, const struct cursor *parent, uint64_t leaves, struct visit *v)
{
	ptm_free(pt->mem, table_of(pt, parent->pte), table_order(pt, parent->level - 1));
	return 0;
}

static void radix_destroy(struct pt *pt)
{
	struct visit v = { .table = free_table };

	(void)visit_table(pt, top_level(pt), pt->root, &v, &v.leaves);
	ptm_free(pt->mem, pt->root, table_order(pt, top_level(pt)));
}

static int radix_drop_space(struct pt *pt, uint32_t space)
{
	int64_t n = pt_unmap_range(pt, space, 0, BIT(64 - PAGE_SHIFT));

	return n < 0 ? (int)n : 0;
}

static const struct pt_org radix_org = {
	.name = "radix",
	.summary = "multi-level tree of 1 to 5 levels, one reference a level, superpages at upper levels",
	.sparse_keys = true,
	.hierarchical = true,
	.create = radix_create,
	.destroy = radix_destroy,
	.open = radix_open,
	.map = radix_map,
	.unmap = radix_unmap,
	.protect = radix_protect,
	.lookup = radix_lookup,
	.next = radix_next,
	.audit = radix_audit,
	.drop_space = radix_drop_space,
};
QUIRE_PT_ORG(radix_org);
