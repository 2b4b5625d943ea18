/* SPDX-License-Identifier: MIT */
/*
 * Every combination of entry bits, access and control bits, against what the
 * manual's sentences say. Nothing here uses a function or a mask of src/gpt
 * but gpt_find and gpt_walk: the figures are written down a second time.
 *
 * Two entries of a path vary at once: the leaf and one above it; the others
 * allow everything.
 */
#include "testmem.h"

#define B(n) (1ull << (n))
#define R(hi, lo) ((2ull << (hi)) - (1ull << (lo)))

/* A format as its manual draws it. Levels count from the leaf. */
struct desc {
	const char *name;
	int levels, bytes;
	int lo[6]; /* lowest va bit that indexes each level; [levels]: end */
	uint64_t P, W, U, A, D, PS, G, NX, X;
	uint64_t rsvd_leaf[5], rsvd_table[5];
	bool leaf[5];
	int bare; /* the level of PAE pointers, or -1 */
	uint64_t va; /* an even page, so that bit 12 of a superpage's entry (PAT) would show */
};

#define SDM_BITS .P = B(0), .W = B(1), .U = B(2), .A = B(5), .D = B(6), .PS = B(7), .G = B(8)
#define PAE_BITS                                                                      \
	SDM_BITS, .NX = B(63), .levels = 3, .bytes = 8, .lo = { 12, 21, 30, 32 }, \
	.rsvd_leaf = { R(62, 52), R(62, 52) | R(20, 13) },                            \
	.rsvd_table = { 0, R(62, 52), R(63, 52) | R(8, 5) | B(1) | B(2) },            \
	.leaf = { true, true }, .bare = 2, .va = 0xc0a02123
#define LONG_BITS                                                                     \
	SDM_BITS, .NX = B(63), .bytes = 8, .lo = { 12, 21, 30, 39, 48, 57 },          \
	.rsvd_leaf = { 0, R(20, 13), R(29, 13) },                                     \
	.rsvd_table = { 0, 0, 0, B(7), B(7) }, .leaf = { true, true, true }, .bare = -1

static const struct desc descs[] = {
	{ .name = "x86-32", SDM_BITS, .levels = 2, .bytes = 4, .lo = { 12, 22, 32 }, .leaf = { true, true },
	  .rsvd_leaf = { 0, R(21, 13) }, .bare = -1, .va = 0xc0a02123 },
	{ .name = "x86-pae", PAE_BITS },
	{ .name = "x86-pae+pdpte=memory", PAE_BITS },
	{ .name = "x86-64", LONG_BITS, .levels = 4, .va = 0xffff9234567881a0 },
	{ .name = "x86-64-5l", LONG_BITS, .levels = 5, .va = 0xff923456789aacd0 },
	{ .name = "classroom", .levels = 1, .bytes = 8, .lo = { 12, 16 }, .P = B(0), .W = B(1), .X = B(2),
	  .U = B(3), .G = B(4), .A = B(5), .D = B(6), .rsvd_leaf = { R(63, 52) }, .leaf = { true },
	  .bare = -1, .va = 0x5123 },
};

struct expected {
	enum walk_why why;
	uint32_t code;
	uint8_t rights;
	uint64_t after[5];
};

/* Table of a level: frames 1, 2, … from the root down. Entry by the va's own index. */
static uint64_t slot(const struct desc *d, int level)
{
	uint64_t index = d->va >> d->lo[level] & (B(d->lo[level + 1] - d->lo[level]) - 1);

	return (uint64_t)(d->levels - level) * 4096 + index * d->bytes;
}

/* Intel SDM vol. 3A, 4.6.1, paragraph by paragraph. */
static bool may_access(bool user_page, bool all_w, bool any_nx, const struct walk_req *q)
{
	bool wp = q->ctl & CTL_WP, smep = q->ctl & CTL_SMEP, smap = q->ctl & CTL_SMAP, ac = q->ctl & CTL_AC;

	if (q->user) {
		if (!user_page)
			return false;
		switch (q->kind) {
		case ACC_READ: return true;
		case ACC_WRITE: return all_w;
		default: return !any_nx;
		}
	}
	switch (q->kind) {
	case ACC_READ:
		if (!user_page)
			return true;
		return !smap || ac;
	case ACC_WRITE:
		if (user_page && smap && !ac)
			return false;
		return !wp || all_w;
	default:
		if (user_page && smep)
			return false;
		return !any_nx;
	}
}

static void expect(const struct desc *d, int leaf, const uint64_t *e, const struct walk_req *q,
		   struct expected *x)
{
	bool all_u = true, all_w = true, any_nx = false, all_a = true, nxe = q->ctl & CTL_NXE;
	bool tells_fetches = d->X || (q->ctl & CTL_SMEP) || (d->NX && nxe);
	uint32_t code = (q->kind == ACC_WRITE ? 2 : 0) | (q->user ? 4 : 0) |
			(q->kind == ACC_EXEC && tells_fetches ? 16 : 0);

	*x = (struct expected){ .why = WALK_WHY_NONE };
	memcpy(x->after, e, sizeof(x->after));
	for (int i = d->levels - 1; i >= leaf; i--) {
		uint64_t rsvd = i == leaf ? d->rsvd_leaf[i] : d->rsvd_table[i];

		if (!(e[i] & d->P)) {
			x->why = WALK_WHY_NOT_PRESENT;
			x->code = code;
			return;
		}
		if ((e[i] & rsvd) || ((e[i] & d->NX) && !nxe)) {
			x->why = WALK_WHY_RESERVED;
			x->code = code | 1 | 8;
			return;
		}
		if (i == d->bare)
			continue;
		all_u = all_u && (e[i] & d->U);
		all_w = all_w && (e[i] & d->W);
		any_nx = any_nx || (e[i] & d->NX) || (d->X && !(e[i] & d->X));
		all_a = all_a && (e[i] & d->A);
	}
	if (!may_access(all_u, all_w, any_nx, q)) {
		bool privilege = q->user ? !all_u :
				 all_u && (q->kind == ACC_EXEC ? q->ctl & CTL_SMEP :
								 (q->ctl & CTL_SMAP) && !(q->ctl & CTL_AC));

		x->why = privilege ? WALK_WHY_PRIVILEGE : WALK_WHY_RIGHTS;
		x->code = code | 1;
		return;
	}
	if (q->ad == WALK_AD_FAULT && (!all_a || (q->kind == ACC_WRITE && !(e[leaf] & d->D)))) {
		x->why = WALK_WHY_ACCESSED;
		x->code = code | 1;
		return;
	}
	if (q->ad == WALK_AD_SET) {
		for (int i = leaf; i < d->levels; i++)
			if (i != d->bare)
				x->after[i] |= d->A;
		if (q->kind == ACC_WRITE)
			x->after[leaf] |= d->D;
	}
	x->rights = RIGHT_R | (all_w ? RIGHT_W : 0) | (all_u ? RIGHT_U : 0) | (any_nx ? 0 : RIGHT_X) |
		    (x->after[leaf] & d->A ? RIGHT_A : 0) | (x->after[leaf] & d->D ? RIGHT_D : 0) |
		    ((e[leaf] & d->G) && (q->ctl & CTL_PGE) ? RIGHT_G : 0);
}

static unsigned long walks;

static void try_walk(const struct desc *d, const struct gpt_format *fmt, int leaf, const uint64_t *e,
		     const struct walk_req *q)
{
	struct expected x;
	struct walk w;
	bool changed = false, wrong;

	expect(d, leaf, e, q, &x);
	for (int i = leaf; i < d->levels; i++)
		tm_put(slot(d, i), d->bytes, e[i]);
	tm.nloads = tm.ncas = 0;
	gpt_walk(fmt, &tm.m, 4096, q, &w);
	walks++;

	wrong = w.status != (x.why ? WALK_FAULT : WALK_OK) || w.why != x.why || w.error_code != x.code;
	for (int i = leaf; i < d->levels; i++) {
		wrong |= tm_get(slot(d, i), d->bytes) != x.after[i];
		changed |= x.after[i] != e[i];
	}
	wrong |= w.ad_updated != changed;
	if (!x.why) {
		uint64_t below = B(d->lo[leaf] - 12) - 1;
		uint64_t frame = (e[leaf] >> 12 & 0xffffffffff & ~below) | (d->va >> 12 & below);

		wrong |= w.rights != x.rights || w.frame != frame || w.order != d->lo[leaf] - 12;
		wrong |= w.level != leaf || w.leaf != x.after[leaf] || w.leaf_addr != slot(d, leaf);
	}
	if (wrong)
		fail_msg("%s leaf %d kind %d user %d ctl %#x ad %d entries %#llx %#llx %#llx %#llx %#llx: why %s "
			 "(expected %s) code %#x (%#x) rights %#x (%#x) leaf %#llx (%#llx)",
			 d->name, leaf, q->kind, q->user, q->ctl, q->ad, (unsigned long long)e[0],
			 (unsigned long long)e[1], (unsigned long long)e[2], (unsigned long long)e[3],
			 (unsigned long long)e[4], walk_why_name(w.why), walk_why_name(x.why), w.error_code,
			 x.code, w.rights, x.rights, (unsigned long long)w.leaf,
			 (unsigned long long)x.after[leaf]);
}

/* All accesses under all control states that mean something. */
static void try_accesses(const struct desc *d, const struct gpt_format *fmt, int leaf, const uint64_t *e,
			 bool all_ad)
{
	static const uint32_t bits[] = { CTL_WP, CTL_SMEP, CTL_NXE, CTL_SMAP, CTL_AC };

	for (unsigned c = 0; c < 32; c++) {
		uint32_t ctl = CTL_PSE | (c & 1 ? CTL_PGE : 0);

		if ((c & 16) && !(c & 8))
			continue; /* AC without SMAP */
		for (int i = 0; i < 5; i++)
			ctl |= c >> i & 1 ? bits[i] : 0;
		for (int k = 0; k < 6; k++)
			for (int ad = WALK_AD_SET; ad <= (all_ad ? WALK_AD_PEEK : WALK_AD_SET); ad++) {
				struct walk_req q = make_req(d->va, k >> 1, k & 1, ctl);

				q.ad = ad;
				try_walk(d, fmt, leaf, e, &q);
			}
	}
}

/* An entry that allows everything, pointing where it should. */
static uint64_t good_entry(const struct desc *d, int level, int leaf)
{
	uint64_t e = d->P;

	if (level != d->bare)
		e |= d->W | d->U | d->A | d->X;
	if (level == leaf)
		return e | (level ? d->PS : 0) | d->D | (uint64_t)0x15 << (d->lo[level] > 22 ? 30 : 22);
	return e | (uint64_t)(d->levels - level + 1) << 12;
}

static uint64_t lowest(uint64_t mask) { return mask & -mask; }

/* Entry with the conditions of `bits`: P W U NX(or no X) A, then D and reserved. */
static uint64_t vary(const struct desc *d, uint64_t good, unsigned bits, int level, int leaf)
{
	const uint64_t rsvd = level == leaf ? d->rsvd_leaf[level] : d->rsvd_table[level];
	uint64_t e = good & ~(d->P | d->W | d->U | d->A | d->D | d->X);

	e |= (bits & 1 ? d->P : 0);
	if (level != d->bare)
		e |= (bits & 2 ? d->W : 0) | (bits & 4 ? d->U : 0) | (bits & 8 ? d->NX : d->X) |
		     (bits & 16 ? d->A : 0) | (bits & 64 && level == leaf ? d->D | d->G : 0);
	return e | (bits & 32 ? lowest(rsvd) : 0);
}

/* Combinations that differ only behind P = 0 or in bits the entry lacks are taken once. */
static bool is_repeat(const struct desc *d, unsigned bits, int level, int leaf)
{
	uint64_t rsvd = level == leaf ? d->rsvd_leaf[level] : d->rsvd_table[level];

	if (!(bits & 1))
		return bits != 0 && (bits | 1) != 127 && (bits | 1) != 63;
	return ((bits & 32) && !rsvd) || (level == d->bare && (bits & 30)) ||
	       ((bits & 8) && !(d->NX | d->X));
}

static void try_pair(const struct desc *d, const struct gpt_format *fmt, int leaf, int upper)
{
	uint64_t e[5] = { 0 };

	for (int i = leaf; i < d->levels; i++)
		e[i] = good_entry(d, i, leaf);

	uint64_t good_leaf = e[leaf], good_upper = upper < 0 ? 0 : e[upper];

	for (unsigned u = 0; u < (upper < 0 ? 1u : 64u); u++) {
		if (upper >= 0 && is_repeat(d, u, upper, leaf))
			continue;
		if (upper >= 0)
			e[upper] = vary(d, good_upper, u, upper, leaf);
		for (unsigned l = 0; l < 128; l++) {
			if (is_repeat(d, l, leaf, leaf))
				continue;
			e[leaf] = vary(d, good_leaf, l, leaf, leaf);
			/* What A and D come to is a matter of the leaf and one entry above: all three ways. */
			try_accesses(d, fmt, leaf, e, upper < 0 || upper == leaf + 1);
		}
	}
}

static void test_every_combination(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(descs); i++) {
		const struct desc *d = &descs[i];
		const struct gpt_format *fmt = gpt_find(d->name);

		assert_non_null(fmt);
		walks = 0;
		for (int leaf = 0; leaf < d->levels; leaf++) {
			if (!d->leaf[leaf])
				continue;
			tm_reset();
			if (leaf == d->levels - 1)
				try_pair(d, fmt, leaf, -1);
			for (int upper = leaf + 1; upper < d->levels; upper++)
				try_pair(d, fmt, leaf, upper);
		}
		print_message("%s: %lu walks\n", d->name, walks);
		assert_true(walks > 1000);
	}
}

/* Each bit of an entry alone, at each level, as leaf and as pointer: reserved, or ignored, or known. */
static void test_every_single_bit(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(descs); i++) {
		const struct desc *d = &descs[i];
		const struct gpt_format *fmt = gpt_find(d->name);

		for (int leaf = 0; leaf < d->levels; leaf++) {
			if (!d->leaf[leaf])
				continue;
			tm_reset();
			for (int level = leaf; level < d->levels; level++)
				for (int bit = 0; bit < d->bytes * 8; bit++) {
					uint64_t e[5] = { 0 }, flip = B(bit), rsvd;

					for (int k = leaf; k < d->levels; k++)
						e[k] = good_entry(d, k, leaf);
					rsvd = level == leaf ? d->rsvd_leaf[level] : d->rsvd_table[level];
					/* A pointer that points elsewhere, or that turns leaf, is another test's. */
					if (level != leaf && ((flip & R(51, 12) & ~rsvd) ||
							      (flip == d->PS && d->leaf[level])))
						continue;
					if (level == leaf && leaf > 0 && flip == d->PS)
						continue;
					e[level] ^= flip;
					try_accesses(d, fmt, leaf, e, false);
				}
		}
	}
}

/* CR4.PSE clear: bit 7 of an x86-32 directory entry is ignored (SDM 4.3). */
static void test_x86_32_without_pse(void **state)
{
	const struct gpt_format *fmt = gpt_find("x86-32");
	struct walk_req q = make_req(0x00400000, ACC_READ, true, CTL_DEFAULT & ~CTL_PSE);
	struct walk w;

	tm_reset();
	tm_put(4096 + 4, 4, 0x2000 | 0x80 | 0x27);
	tm_put(0x2000, 4, 0x9000 | 0x67);
	gpt_walk(fmt, &tm.m, 4096, &q, &w);
	assert_int_equal(w.status, WALK_OK);
	assert_int_equal(w.frame, 9);
	assert_int_equal(w.order, 0);
	q.ctl |= CTL_PSE;
	gpt_walk(fmt, &tm.m, 4096, &q, &w);
	assert_int_equal(w.why, WALK_WHY_RESERVED); /* 0x2000 is bit 13 of a 4 MiB entry */
	assert_int_equal(w.error_code, 1 | 4 | 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_combination),
		cmocka_unit_test(test_every_single_bit),
		cmocka_unit_test(test_x86_32_without_pse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
