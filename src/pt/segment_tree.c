/* SPDX-License-Identifier: MIT */
/*
 * The pages outside of runs: a radix tree with the geometry of the keys'
 * format and entries of its own, since it must hold any rights for any format:
 *
 *   63     51  50  49            10 9 8 7 6 5 4 3 2 1 0
 *   │   0   │ ¬R │     frame       │ 0 │ D A G U X W R V │
 *
 * They are a RISC-V format's entries as far as pt/radix.c knows, whose leaves
 * must grant something: R is always set, and a bit above the frame's 40 says
 * that it is not meant. So a leaf's bits 7..0 are those of pt/leaf.h. The walker
 * finds the leaf by gpt_walk without asking for permission, and asks the rules
 * of the keys' format then.
 */
#include "pt/segment.h"

enum { TREE_PFN_SHIFT = 10, TREE_PFN_BITS = 41 };
#define NO_READ BIT(40) /* of a frame number */

void seg_tree_format(struct gpt_format *f, const struct gpt_format *keys)
{
	*f = (struct gpt_format){
		.name = "segment",
		.source = "pt/segment_tree.c",
		.family = GPT_RISCV,
		.levels = keys->levels,
		.entry_size = 8,
		.va_bits = keys->va_bits,
		.sign_extended = keys->sign_extended,
		.pa_bits = PAGE_SHIFT + TREE_PFN_BITS,
		.pfn_shift = TREE_PFN_SHIFT,
		.pfn_mask = low_bits(TREE_PFN_BITS) << TREE_PFN_SHIFT,
		.x4_bits = keys->x4_bits,
		.valid = LEAF_VALID,
		.read = RIGHT_R << LEAF_RIGHTS_SHIFT,
		.write = RIGHT_W << LEAF_RIGHTS_SHIFT,
		.exec = RIGHT_X << LEAF_RIGHTS_SHIFT,
		.user = RIGHT_U << LEAF_RIGHTS_SHIFT,
		.global = RIGHT_G << LEAF_RIGHTS_SHIFT,
		.accessed = RIGHT_A << LEAF_RIGHTS_SHIFT,
		.dirty = RIGHT_D << LEAF_RIGHTS_SHIFT,
	};
	for (unsigned l = 0; l < keys->levels; l++)
		f->level[l] = (struct gpt_level){
			.shift = keys->level[l].shift, .bits = keys->level[l].bits, .leaf_ok = keys->level[l].leaf_ok,
		};
}

struct pt seg_tree(struct pt *pt)
{
	return (struct pt){
		.org = pt_org_find("radix", 5),
		.params = { .fmt = &seg_regs_of(pt)->fmt, .second_stage = pt->params.second_stage },
		.mem = pt->mem,
		.root = seg_regs_of(pt)->tree,
		.orders = pt->orders,
	};
}

static uint64_t pte_to_leaf(uint64_t pte, unsigned order)
{
	uint64_t frame = pte >> TREE_PFN_SHIFT;
	uint8_t rights = (pte >> LEAF_RIGHTS_SHIFT) & RIGHT_ALL;

	return make_leaf(frame & (NO_READ - 1), order, frame & NO_READ ? rights & ~RIGHT_R : rights);
}

/* Through the tree to the leaf of va, whatever it grants. */
static void find_leaf(struct pt *pt, uint64_t va, struct walk *w)
{
	struct walk_req any = {
		.va = va, .kind = ACC_READ, .user = pt->params.second_stage, .ad = WALK_AD_PEEK,
		.second_stage = pt->params.second_stage, .start_level = -1,
	};

	gpt_walk(&seg_regs_of(pt)->fmt, pt->mem, seg_regs_of(pt)->tree, &any, w);
}

int seg_tree_find(struct pt *pt, uint64_t page, uint64_t *leaf)
{
	struct walk w;

	find_leaf(pt, page << PAGE_SHIFT, &w);
	if (w.status == WALK_VIOLATION)
		return -EAGAIN;
	if (w.status != WALK_OK)
		return w.why == WALK_WHY_BUS ? -EFAULT : -ENOENT;
	*leaf = pte_to_leaf(w.leaf, w.order);
	return 0;
}

int seg_tree_next(struct pt *pt, struct pt_key from, struct pt_entry *e)
{
	struct pt tree = seg_tree(pt);
	int rc = tree.org->next(&tree, from, e);

	if (!rc && (e->frame & NO_READ))
		e->rights &= ~RIGHT_R;
	if (!rc)
		e->frame &= NO_READ - 1;
	return rc;
}

int seg_tree_map(struct pt *pt, uint64_t page, uint64_t leaf)
{
	struct pt tree = seg_tree(pt);
	uint8_t rights = leaf_rights(leaf);
	struct pt_entry e = {
		.key.page = page, .order = (uint8_t)leaf_order(leaf), .rights = rights | RIGHT_R,
		.frame = leaf_frame(leaf) | (rights & RIGHT_R ? 0 : NO_READ),
	};

	return tree.org->map(&tree, &e);
}

int seg_tree_unmap(struct pt *pt, uint64_t page, unsigned order)
{
	struct pt tree = seg_tree(pt);

	return tree.org->unmap(&tree, (struct pt_key){ 0, page }, order, NULL);
}

/* Its tables have positions in the tree, not in this table: to others they are lines. */
static void add_lines(struct pt *pt, uint64_t va, const struct walk *tree, struct walk *w)
{
	const struct gpt_format *f = &seg_regs_of(pt)->fmt;

	for (unsigned i = 0; i < tree->ntables; i++) {
		const struct walk_table *t = &tree->table[i];

		walk_add_line(w, t->addr + gpt_index(f, t->level, va, pt->params.second_stage) * f->entry_size);
	}
}

bool seg_tree_walk(struct pt *pt, const struct walk_req *req, struct walk *w)
{
	uint64_t leaf, missing;
	struct walk tree;

	find_leaf(pt, req->va, &tree);
	add_lines(pt, req->va, &tree, w);
	if (tree.status == WALK_VIOLATION) {
		w->status = WALK_VIOLATION;
		return true;
	}
	if (tree.status != WALK_OK) {
		walk_fail(req, w, tree.why, tree.why != WALK_WHY_NOT_PRESENT && tree.why != WALK_WHY_BUS);
		return true;
	}
	leaf = pte_to_leaf(tree.leaf, tree.order);
	if (!leaf_permits(pt, req, leaf, w))
		return true;
	missing = leaf_ad_missing(pt, req, leaf);
	if (missing && req->ad == WALK_AD_FAULT) {
		walk_fail(req, w, WALK_WHY_ACCESSED, true);
		return true;
	}
	if (missing) {
		int rc = ptm_cas(pt->mem, tree.leaf_addr, 8, tree.leaf, tree.leaf | missing);

		if (rc < 0)
			walk_mem_error(req, w, rc);
		if (rc != 1)
			return rc < 0;
		w->ad_updated = true;
	}
	walk_finish(pt, req, w, tree.leaf_addr, leaf | missing);
	return true;
}
