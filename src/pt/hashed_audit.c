/* SPDX-License-Identifier: MIT */
/*
 * Invariants of the hashed table's bytes:
 *  - a unit is found on the way of its tag, at the one place it stands;
 *  - its leaves have its table's order, frames and pages that can be, and lie
 *    in no mapping of a larger order; only a cluster may have none;
 *  - the header's counts are what they count, and its tables are the registers'.
 */
#include "pt/hashed.h"

static int damaged(const char **why, const char *what)
{
	*why = what;
	return -EINVAL;
}

static int audit_leaf(struct pt *pt, unsigned order, uint64_t number, uint64_t leaf, const char **why)
{
	uint64_t page = number << order, larger = hashed_regs_of(pt)->in_use & ~low_bits(order + 1), addr, other;
	uint64_t unused = is_ppc(pt) ? LEAF_UNUSED : LEAF_UNUSED & ~PIECE_MASK;
	struct hashed_spot s;

	if (leaf_order(leaf) != order || (leaf & unused) || !pt_page_ok(pt, page, order) ||
	    !is_aligned(leaf_frame(leaf), BIT(order)))
		return damaged(why, "a leaf's order, page or frame is not its table's, not aligned or out of range");
	for (; larger; larger &= larger - 1) {
		unsigned above = log2_floor(larger & -larger);
		int rc = hashed_find_leaf(pt, above, page >> above, &s, &addr, &other);

		if (rc == 0)
			return damaged(why, "a mapping lies inside another");
		if (rc != -ENOENT)
			return rc;
	}
	return 0;
}

static int audit_unit(struct pt *pt, unsigned order, uint64_t addr, const uint64_t *unit, uint64_t *leaves,
		      const char **why)
{
	uint64_t tag = unit_tag(pt, unit), first = tag_number(pt, tag), before = *leaves;
	struct hashed_spot s;
	int rc;

	if (make_tag(pt, first) != tag)
		return damaged(why, "a tag is not valid");
	rc = hashed_find(pt, order, hashed_table_of(pt, order), first, NULL, &s);
	if (rc == -ENOENT || (rc == 0 && s.addr != addr))
		return damaged(why, "a unit is not on the way of its tag, or its tag is there twice");
	for (uint64_t n = first; n < first + BIT(unit_shift(pt)) && !rc; n++)
		if (is_valid_leaf(unit[leaf_word(pt, n)])) {
			++*leaves;
			rc = audit_leaf(pt, order, n, unit[leaf_word(pt, n)], why);
		}
	if (!rc && is_ppc(pt) && *leaves == before)
		return damaged(why, "a slot has a tag and no leaf");
	return rc;
}

/* An empty unit is all zero. */
static bool is_blank(const struct pt *pt, const uint64_t *unit)
{
	uint64_t any = 0;

	for (unsigned i = 0; i < unit_words(pt); i++)
		any |= unit[i];
	return !any;
}

static int audit_lines(struct pt *pt, unsigned order, uint64_t *used, uint64_t *leaves, const char **why)
{
	const struct hashed_table *t = hashed_table_of(pt, order);
	uint64_t word[LINE_WORDS];

	for (uint64_t line = 0; line < table_lines(t); line++) {
		int rc = ptm_load(pt->mem, line_addr(t, line), LINE_SIZE, word);

		for (unsigned i = 0; i < LINE_WORDS && !rc; i += unit_words(pt)) {
			if (is_blank(pt, &word[i]))
				continue;
			++*used;
			rc = audit_unit(pt, order, line_addr(t, line) + 8 * i, &word[i], leaves, why);
		}
		if (rc)
			return rc;
	}
	return 0;
}

static int audit_order(struct pt *pt, unsigned order, uint64_t *entries, const char **why)
{
	uint64_t shape, count, units, used = 0, leaves = 0;
	int rc = ptm_load64(pt->mem, header_word(pt, HDR_SHAPE, order), &shape);

	if (!rc)
		rc = ptm_load64(pt->mem, header_word(pt, HDR_COUNT, order), &count);
	if (!rc)
		rc = ptm_load64(pt->mem, header_word(pt, HDR_USED, order), &units);
	if (rc)
		return rc;
	if (shape != hashed_table_of(pt, order)->shape || !shape != !hashed_in_use(pt, order))
		return damaged(why, "the header's tables are not the registers'");
	rc = shape ? audit_lines(pt, order, &used, &leaves, why) : 0;
	if (!rc && (count != leaves || units != used))
		return damaged(why, "the header's counts of mappings and units are wrong");
	*entries += leaves;
	return rc;
}

int hashed_audit(struct pt *pt, const char **why)
{
	uint64_t entries = 0;
	int rc = 0;

	for (uint64_t orders = pt->orders; orders && !rc; orders &= orders - 1)
		rc = audit_order(pt, log2_floor(orders & -orders), &entries, why);
	if (!rc && entries != pt->entries)
		return damaged(why, "the number of mappings is not pt->entries");
	return rc;
}
