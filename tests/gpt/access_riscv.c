/* SPDX-License-Identifier: MIT */
/*
 * Sv39, Sv48, Sv57 and their x4 forms: every combination of entry bits, access
 * and control bits, against the manual's translation algorithm (RISC-V
 * Privileged Architecture, "Virtual Address Translation Process"), written
 * down a second time. Only gpt_find and gpt_walk are used.
 */
#include "testmem.h"

#define B(n) (1ull << (n))

enum { V = 1, Rd = 2, Wr = 4, Ex = 8, Us = 16, Gl = 32, Ac = 64, Di = 128 };

static const struct {
	const char *name;
	int levels;
	uint64_t va, gpa; /* gpa uses the two bits more */
} descs[] = {
	{ "sv39", 3, 0xffffffd234567abc, 0x1d234567abc },
	{ "sv48", 4, 0xffff9234567891a0, 0x39234567891a0 },
	{ "sv57", 5, 0xff923456789abcd0, 0x7923456789abcd0 },
};

struct expected {
	enum walk_why why;
	uint8_t rights;
	uint64_t after[5];
	int at; /* the level where it stood */
};

static int levels;
static uint64_t address;
static bool g_stage;

/* Tables: the root in frames 4-7 (16 KiB, aligned), then frames 8, 9, … downwards. */
static uint64_t slot(int level)
{
	unsigned bits = level == levels - 1 && g_stage ? 11 : 9;
	uint64_t index = address >> (12 + 9 * level) & ((1u << bits) - 1);

	return (level == levels - 1 ? 4 : 6 + (uint64_t)(levels - level)) * 4096 + index * 8;
}

/* Steps 2 to 9 of the algorithm, from the root (e[levels-1]) down. */
static void expect(const uint64_t *e, const struct walk_req *q, struct expected *x)
{
	bool global = false, user_mode = q->user || g_stage;
	bool sum = !(q->ctl & CTL_SMAP), mxr = q->ctl & CTL_MXR;
	int i = levels - 1;

	memset(x, 0, sizeof(*x));
	memcpy(x->after, e, sizeof(x->after));
	for (;; i--) {
		x->at = i;
		if (!(e[i] & V)) {
			x->why = WALK_WHY_NOT_PRESENT;
			return;
		}
		if ((!(e[i] & Rd) && (e[i] & Wr)) || e[i] >> 54) {
			x->why = WALK_WHY_RESERVED;
			return;
		}
		global |= !!(e[i] & Gl);
		if (e[i] & (Rd | Ex))
			break;
		/* "For non-leaf PTEs, the D, A, and U bits are reserved"; no level below 0. */
		if ((e[i] & (Di | Ac | Us)) || i == 0) {
			x->why = WALK_WHY_RESERVED;
			return;
		}
	}
	if (e[i] >> 10 & (B(9 * i) - 1)) {
		x->why = WALK_WHY_RESERVED; /* misaligned superpage */
		return;
	}
	if (user_mode ? !(e[i] & Us) : (e[i] & Us) && (q->kind == ACC_EXEC || !sum)) {
		x->why = WALK_WHY_PRIVILEGE;
		return;
	}
	if ((q->kind == ACC_READ && !(e[i] & Rd) && !(mxr && (e[i] & Ex))) ||
	    (q->kind == ACC_WRITE && !(e[i] & Wr)) || (q->kind == ACC_EXEC && !(e[i] & Ex))) {
		x->why = WALK_WHY_RIGHTS;
		return;
	}
	if (q->ad == WALK_AD_FAULT && (!(e[i] & Ac) || (q->kind == ACC_WRITE && !(e[i] & Di)))) {
		x->why = WALK_WHY_ACCESSED;
		return;
	}
	if (q->ad == WALK_AD_SET)
		x->after[i] |= Ac | (q->kind == ACC_WRITE ? Di : 0);
	x->rights = (e[i] & Rd ? RIGHT_R : 0) | (e[i] & Wr ? RIGHT_W : 0) | (e[i] & Ex ? RIGHT_X : 0) |
		    (e[i] & Us ? RIGHT_U : 0) | (global && !g_stage ? RIGHT_G : 0) |
		    (x->after[i] & Ac ? RIGHT_A : 0) | (x->after[i] & Di ? RIGHT_D : 0);
}

static unsigned long walks;

static void try_walk(const struct gpt_format *fmt, const uint64_t *e, const struct walk_req *q)
{
	struct expected x;
	struct walk w;
	uint32_t code = (q->kind == ACC_WRITE ? 2 : 0) | (q->user || g_stage ? 4 : 0) |
			(q->kind == ACC_EXEC ? 16 : 0);
	bool wrong;

	expect(e, q, &x);
	for (int i = 0; i < levels; i++)
		tm_put(slot(i), 8, e[i]);
	tm.nloads = 0;
	gpt_walk(fmt, &tm.m, 4 * 4096, q, &w);
	walks++;

	if (x.why && x.why != WALK_WHY_NOT_PRESENT)
		code |= x.why == WALK_WHY_RESERVED ? 9 : 1;
	wrong = w.status != (x.why ? WALK_FAULT : WALK_OK) || w.why != x.why || w.level != x.at;
	wrong |= w.error_code != (x.why ? code : 0) || (int)tm.nloads != levels - x.at;
	for (int i = 0; i < levels; i++)
		wrong |= tm_get(slot(i), 8) != x.after[i];
	wrong |= w.ad_updated != (x.after[x.at] != e[x.at]);
	if (!x.why) {
		uint64_t frame = (e[x.at] >> 10 & (B(44) - 1)) + (address >> 12 & (B(9 * x.at) - 1));

		wrong |= w.rights != x.rights || w.frame != frame || w.order != 9 * x.at;
		wrong |= w.leaf != x.after[x.at] || w.leaf_addr != slot(x.at);
	}
	if (wrong)
		fail_msg("%s%s kind %d user %d ctl %#x ad %d entries %#llx %#llx %#llx %#llx %#llx: why %s at %d "
			 "(expected %s at %d) code %#x rights %#x (%#x)",
			 fmt->name, g_stage ? "x4" : "", q->kind, q->user, q->ctl, q->ad,
			 (unsigned long long)e[0], (unsigned long long)e[1], (unsigned long long)e[2],
			 (unsigned long long)e[3], (unsigned long long)e[4], walk_why_name(w.why), w.level,
			 walk_why_name(x.why), x.at, w.error_code, w.rights, x.rights);
}

static void try_accesses(const struct gpt_format *fmt, const uint64_t *e)
{
	for (unsigned c = 0; c < 4; c++) {
		/* The control bits of x86 must not matter. */
		uint32_t ctl = (c & 1 ? CTL_SMAP | CTL_WP | CTL_AC : 0) |
			       (c & 2 ? CTL_MXR | CTL_NXE | CTL_SMEP : 0);

		for (int k = 0; k < 6; k++)
			for (int ad = WALK_AD_SET; ad <= WALK_AD_PEEK; ad++) {
				struct walk_req q = make_req(address, k >> 1, k & 1, ctl);

				q.ad = ad;
				q.second_stage = g_stage;
				try_walk(fmt, e, &q);
			}
	}
}

static uint64_t pointer_to(int level)
{
	return V | (6 + (uint64_t)(levels - level)) << 10;
}

/* Leaf at `leaf`: all of V R W X U G A D and a reserved bit; one pointer above with each bit alone. */
static void try_leaf(const struct gpt_format *fmt, int leaf, int upper)
{
	static const uint64_t pointer_flips[] = { 0, V, Gl, Wr, Us, Ac, Di, B(63), B(61), B(62), B(54), B(60), B(8) };
	uint64_t e[5] = { 0 };

	for (int i = 1; i < levels; i++)
		e[i] = pointer_to(i - 1);

	uint64_t good = upper < 0 ? 0 : e[upper];

	for (unsigned u = 0; u < (upper < 0 ? 1 : ARRAY_SIZE(pointer_flips)); u++) {
		if (upper >= 0)
			e[upper] = good ^ pointer_flips[u];
		for (unsigned bits = 0; bits < 512; bits++) {
			if (!(bits & V) && bits != 0 && bits != 510)
				continue;
			if (leaf > 0 && (bits & V) && !(bits & (Rd | Ex)))
				continue; /* a pointer: the loads go on, another leaf level's business */
			e[leaf] = (bits & 255) | (bits & 256 ? B(54 + (bits % 10)) : 0) | 0x2ull << (10 + 9 * leaf);
			try_accesses(fmt, e);
		}
	}
}

static void test_every_combination(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(descs); i++) {
		const struct gpt_format *fmt = gpt_find(descs[i].name);

		assert_non_null(fmt);
		levels = descs[i].levels;
		walks = 0;
		for (int stage = 0; stage < 2; stage++) {
			g_stage = stage;
			address = stage ? descs[i].gpa : descs[i].va;
			for (int leaf = 0; leaf < levels; leaf++) {
				tm_reset();
				if (leaf == levels - 1)
					try_leaf(fmt, leaf, -1);
				for (int upper = leaf + 1; upper < levels; upper++)
					try_leaf(fmt, leaf, upper);
			}
		}
		print_message("%s: %lu walks\n", descs[i].name, walks);
		assert_true(walks > 100000);
	}
}

/* Each bit of a leaf and of a pointer alone, at each level; misaligned superpages are among them. */
static void test_every_single_bit(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(descs); i++) {
		const struct gpt_format *fmt = gpt_find(descs[i].name);

		levels = descs[i].levels;
		for (int stage = 0; stage < 2; stage++) {
			g_stage = stage;
			address = stage ? descs[i].gpa : descs[i].va;
			for (int leaf = 0; leaf < levels; leaf++)
				for (int bit = 0; bit < 64; bit++) {
					uint64_t e[5] = { 0 };

					tm_reset();
					for (int k = 1; k < levels; k++)
						e[k] = pointer_to(k - 1);
					e[leaf] = V | Rd | Wr | Ex | Us | Ac | 1ull << (10 + 9 * leaf);
					e[leaf] ^= B(bit);
					try_accesses(fmt, e);
				}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_combination),
		cmocka_unit_test(test_every_single_bit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
