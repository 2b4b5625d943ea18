/* SPDX-License-Identifier: MIT */
/* The walker's behaviour around the rules: counts, ranges, restarts, races, starts below the root. */
#include "testmem.h"

static const char *const names[] = {
	"x86-32", "x86-pae", "x86-pae+pdpte=memory", "x86-64", "x86-64-5l", "sv39", "sv48", "sv57", "classroom",
};

#define for_each_format(fmt)                                                                       \
	for (unsigned i_ = 0; i_ < ARRAY_SIZE(names); i_++)                                        \
		for (const struct gpt_format *fmt = gpt_find(names[i_]); fmt; fmt = NULL)

/* References of a walk, cold: one a level, but a PAE pointer in its register costs none. */
static void test_reference_counts(void **state)
{
	static const unsigned refs[] = { 2, 2, 3, 4, 5, 3, 4, 5, 1 };
	unsigned i = 0;

	for_each_format(fmt) {
		struct walk_req q = make_req(0x3123, ACC_READ, true, CTL_DEFAULT);

		tm_reset();
		build(fmt, q.va, 0, LEAF_FRAME, RIGHT_ALL, false);
		struct walk w = walk_from(fmt, &q);
		assert_int_equal(w.status, WALK_OK);
		assert_int_equal(w.frame, LEAF_FRAME);
		assert_int_equal(tm.m.counts.refs, refs[i]);
		assert_int_equal(tm.m.counts.depth, refs[i]);
		assert_int_equal(w.ntables, fmt->levels);
		for (unsigned k = 0; k < w.ntables; k++) {
			assert_int_equal(w.table[k].level, fmt->levels - 1 - k);
			assert_int_equal(w.table[k].addr, k == 0 ? ROOT : (7 + k) * 4096);
			assert_true(w.table[k].positional);
		}
		i++;
	}
}

struct listener {
	struct pt_log log;
	unsigned n;
	struct pt_ref ref[8];
};

static void listen(struct pt_log *log, const struct pt_ref *ref)
{
	struct listener *l = container_of(log, struct listener, log);

	assert_true(l->n < ARRAY_SIZE(l->ref));
	l->ref[l->n++] = *ref;
}

/* Each load is announced with its table, level, index and the va bits it came from. */
static void test_notes(void **state)
{
	for_each_format(fmt) {
		for (int second_stage = 0; second_stage < 2; second_stage++) {
			struct listener l = { .log = { listen } };
			struct walk_req q = make_req(gpt_va_limit(fmt, second_stage) - 0x4000, ACC_READ, true,
						     CTL_DEFAULT);
			unsigned in_registers = fmt->root_in_registers;

			q.second_stage = second_stage;
			tm_reset();
			tm.m.log = &l.log;
			build(fmt, q.va, 0, LEAF_FRAME, RIGHT_ALL, second_stage);
			assert_int_equal(walk_from(fmt, &q).status, WALK_OK);
			assert_ptr_equal(tm.m.log, &l.log);
			assert_int_equal(l.n, fmt->levels - in_registers);
			for (unsigned k = 0; k < l.n; k++) {
				const struct pt_note *n = &l.ref[k].note;
				unsigned level = fmt->levels - 1u - in_registers - k;
				unsigned hi = fmt->level[level].shift + fmt->level[level].bits - 1;

				if (level == fmt->levels - 1u && second_stage)
					hi += fmt->x4_bits;
				assert_string_equal(n->table, second_stage ? "p2m" : "guest");
				assert_int_equal(n->level, level);
				assert_int_equal(n->index_lo, fmt->level[level].shift);
				assert_int_equal(n->index_hi, hi);
				assert_int_equal(n->index, (q.va >> n->index_lo) & ((2ull << (hi - n->index_lo)) - 1));
			}
		}
	}
}

static void expect_range(const char *name, uint64_t va, bool second_stage, bool ok)
{
	const struct gpt_format *fmt = gpt_find(name);
	struct walk_req q = make_req(va, ACC_WRITE, true, CTL_DEFAULT);

	tm_reset();
	q.second_stage = second_stage;
	struct walk w = walk_from(fmt, &q);
	assert_int_equal(w.status, WALK_FAULT);
	assert_int_equal(w.why, ok ? WALK_WHY_NOT_PRESENT : WALK_WHY_CANONICAL);
	assert_int_equal(w.error_code, PF_WRITE | PF_USER);
	assert_int_equal(tm.nloads, ok ? 1 : 0);
	assert_int_equal(gpt_va_ok(fmt, va, second_stage), ok);
}

/* Both edges of the hole, and one beyond each. */
static void test_canonical_boundaries(void **state)
{
	static const struct { const char *name; unsigned bits; } high[] = {
		{ "x86-64", 48 }, { "x86-64-5l", 57 }, { "sv39", 39 }, { "sv48", 48 }, { "sv57", 57 },
	};
	static const struct { const char *name; unsigned bits; } flat[] = {
		{ "x86-32", 32 }, { "x86-pae", 32 }, { "x86-pae+pdpte=memory", 32 }, { "classroom", 16 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(high); i++) {
		uint64_t low_end = 1ull << (high[i].bits - 1), high_start = -low_end;

		expect_range(high[i].name, 0, false, true);
		expect_range(high[i].name, low_end - 1, false, true);
		expect_range(high[i].name, low_end, false, false);
		expect_range(high[i].name, high_start - 1, false, false);
		expect_range(high[i].name, high_start, false, true);
		expect_range(high[i].name, UINT64_MAX, false, true);
		assert_int_equal(gpt_va_limit(gpt_find(high[i].name), false), low_end);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(flat); i++) {
		uint64_t end = 1ull << flat[i].bits;

		expect_range(flat[i].name, end - 1, false, true);
		expect_range(flat[i].name, end, false, false);
		expect_range(flat[i].name, UINT64_MAX, false, false);
		expect_range(flat[i].name, end - 1, true, true);
		expect_range(flat[i].name, end, true, false);
	}
	/* AMD's nested tables translate plain gpas: no sign. */
	expect_range("x86-64", (1ull << 48) - 1, true, true);
	expect_range("x86-64", 1ull << 48, true, false);
	expect_range("x86-64", UINT64_MAX, true, false);
}

/* Sv39x4/48x4/57x4: 16 KiB roots, 41/50/59 bits, all accesses are user accesses. */
static void test_case_06_x4_roots(void **state)
{
	static const struct { const char *name; unsigned bits; } x4[] = {
		{ "sv39", 41 }, { "sv48", 50 }, { "sv57", 59 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(x4); i++) {
		const struct gpt_format *fmt = gpt_find(x4[i].name);
		uint64_t last = (1ull << x4[i].bits) - 1;

		assert_int_equal(gpt_table_bytes(fmt, fmt->levels - 1, true), 16384);
		assert_int_equal(gpt_table_order(fmt, fmt->levels - 1, true), 2);
		assert_int_equal(gpt_table_bytes(fmt, fmt->levels - 1, false), 4096);
		assert_int_equal(gpt_table_bytes(fmt, 0, false), 4096);
		expect_range(x4[i].name, last, true, true);
		for (unsigned bit = x4[i].bits; bit < 64; bit++)
			expect_range(x4[i].name, 1ull << bit, true, false);

		struct walk_req q = make_req(last, ACC_WRITE, false, CTL_DEFAULT);

		q.second_stage = true;
		tm_reset();
		uint64_t leaf = build(fmt, q.va, 0, LEAF_FRAME, RIGHT_ALL, true);
		struct walk w = walk_from(fmt, &q);
		assert_int_equal(w.status, WALK_OK);
		assert_int_equal(w.frame, LEAF_FRAME);
		assert_false(w.rights & RIGHT_G);
		assert_int_equal(tm.load_addr[0], ROOT + 2047 * 8); /* the last entry of the 16 KiB root */
		/* hgatp's two low page-number bits read as zero: the root is rounded down. */
		gpt_walk(fmt, &tm.m, ROOT + 3 * 4096, &q, &w);
		assert_int_equal(w.status, WALK_OK);

		/* PTE.U = 0: a fault of the original access's type, for supervisor accesses too. */
		tm_put(leaf, 8, gpt_make_leaf(fmt, 0, LEAF_FRAME, RIGHT_ALL & ~RIGHT_U));
		for (int kind = ACC_READ; kind <= ACC_EXEC; kind++) {
			q.kind = kind;
			w = walk_from(fmt, &q);
			assert_int_equal(w.status, WALK_FAULT);
			assert_int_equal(w.why, WALK_WHY_PRIVILEGE);
			assert_int_equal(w.error_code & (PF_WRITE | PF_INSTR | PF_USER),
					 PF_USER | (kind == ACC_WRITE ? PF_WRITE :
						    kind == ACC_EXEC  ? PF_INSTR : 0));
		}
	}
}

/* AMD's nested tables: user accesses too, and no page is global. */
static void test_x86_second_stage(void **state)
{
	const struct gpt_format *fmt = gpt_find("x86-64");
	struct walk_req q = make_req(0x812345678000, ACC_READ, false, CTL_DEFAULT | CTL_SMEP | CTL_SMAP);

	q.second_stage = true;
	tm_reset();
	uint64_t leaf = build(fmt, q.va, 0, LEAF_FRAME, RIGHT_ALL, true);
	struct walk w = walk_from(fmt, &q);
	assert_int_equal(w.status, WALK_OK);
	assert_int_equal(w.rights, RIGHT_ALL & ~RIGHT_G);
	tm_put(leaf, 8, gpt_make_leaf(fmt, 0, LEAF_FRAME, RIGHT_ALL & ~RIGHT_U));
	w = walk_from(fmt, &q);
	assert_int_equal(w.why, WALK_WHY_PRIVILEGE);
	assert_int_equal(w.error_code, PF_PRESENT | PF_USER);
}

static void build_clear(const struct gpt_format *fmt, uint64_t va, uint64_t addr[5])
{
	uint64_t table = ROOT;

	tm_reset();
	build(fmt, va, 0, LEAF_FRAME, RIGHT_RWX | RIGHT_U, false);
	for (int level = fmt->levels - 1; level >= 0; level--) {
		addr[level] = table + gpt_index(fmt, level, va, false) * fmt->entry_size;
		uint64_t pte = tm_get(addr[level], fmt->entry_size);

		table = gpt_frame(fmt, pte) * 4096;
		if (fmt->family == GPT_X86)
			tm_put(addr[level], fmt->entry_size, pte & ~fmt->accessed);
	}
}

/* A = 0, or a store that finds D = 0: a fault, or an atomic update retried when the entry changed. */
static void test_case_07_accessed_dirty(void **state)
{
	for_each_format(fmt) {
		uint64_t addr[5];
		struct walk_req q = make_req(0x3123, ACC_READ, true, CTL_DEFAULT);
		struct walk w;
		bool bare = fmt->top_no_rights;
		unsigned clear = fmt->family == GPT_RISCV ? 1 : fmt->levels - bare;

		build_clear(fmt, q.va, addr);
		q.ad = WALK_AD_FAULT;
		w = walk_from(fmt, &q);
		assert_int_equal(w.why, WALK_WHY_ACCESSED);
		assert_true(w.error_code & PF_PRESENT);
		assert_int_equal(tm.ncas, 0);

		q.ad = WALK_AD_PEEK;
		w = walk_from(fmt, &q);
		assert_int_equal(w.status, WALK_OK);
		assert_false(w.rights & (RIGHT_A | RIGHT_D));
		assert_int_equal(tm.ncas, 0);

		q.ad = WALK_AD_SET;
		w = walk_from(fmt, &q);
		assert_int_equal(w.status, WALK_OK);
		assert_true(w.ad_updated);
		assert_int_equal(tm.ncas, clear);
		assert_int_equal(w.rights & (RIGHT_A | RIGHT_D), RIGHT_A);
		assert_true(tm_get(addr[0], fmt->entry_size) & fmt->accessed);

		/* A is set now; a store finds D clear. */
		q.kind = ACC_WRITE;
		q.ad = WALK_AD_FAULT;
		assert_int_equal(walk_from(fmt, &q).why, WALK_WHY_ACCESSED);
		q.ad = WALK_AD_SET;
		tm.ncas = 0;
		w = walk_from(fmt, &q);
		assert_true(w.ad_updated);
		assert_int_equal(tm.ncas, 1);
		assert_true(w.rights & RIGHT_D);
		assert_true(w.leaf & fmt->dirty);
		assert_int_equal(tm_get(addr[0], fmt->entry_size), w.leaf);
		w = walk_from(fmt, &q);
		assert_false(w.ad_updated);
		assert_int_equal(tm.ncas, 1);
	}
}

/* A walk that ends in a fault writes nothing, however far it came. */
static void test_faulting_walk_writes_nothing(void **state)
{
	const struct gpt_format *fmt = gpt_find("x86-64");
	struct walk_req q = make_req(0x3123, ACC_WRITE, true, CTL_DEFAULT);
	uint64_t addr[5];

	build_clear(fmt, q.va, addr);
	tm_put(addr[0], 8, tm_get(addr[0], 8) & ~fmt->write);
	assert_int_equal(walk_from(fmt, &q).why, WALK_WHY_RIGHTS);
	tm_put(addr[0], 8, 0);
	assert_int_equal(walk_from(fmt, &q).why, WALK_WHY_NOT_PRESENT);
	assert_int_equal(tm.ncas, 0);
}

static void test_case_07_lost_races(void **state)
{
	for_each_format(fmt) {
		uint64_t addr[5];
		struct walk_req q = make_req(0x3123, ACC_WRITE, true, CTL_DEFAULT);
		struct walk w;
		unsigned updates = fmt->family == GPT_RISCV ? 1 : fmt->levels - fmt->top_no_rights;

		for (unsigned at = 1; at <= updates; at++) {
			build_clear(fmt, q.va, addr);
			tm.race_at = at;
			tm.race_times = 1;
			tm.race_or = fmt->accessed; /* another CPU set A */
			w = walk_from(fmt, &q);
			assert_int_equal(w.status, WALK_OK);
			assert_int_equal(tm.nloads, 2 * fmt->levels);
			assert_true(w.ad_updated);
			assert_true(w.leaf & fmt->dirty);
			assert_int_equal(w.leaf, tm_get(addr[0], fmt->entry_size));
		}
		/* The entry went away meanwhile: the walk sees it. */
		build_clear(fmt, q.va, addr);
		tm.race_at = updates;
		tm.race_times = 1;
		tm.race_or = fmt->family == GPT_RISCV ? BIT(54) : fmt->level[0].reserved_leaf & -fmt->level[0].reserved_leaf;
		w = walk_from(fmt, &q);
		assert_int_equal(w.why, tm.race_or ? WALK_WHY_RESERVED : WALK_WHY_NONE);
		/* Somebody who never stops: given up, not looped for ever. */
		build_clear(fmt, q.va, addr);
		tm.race_at = 1;
		tm.race_times = 1000;
		tm.race_or = 0; /* an ignored bit, back and forth */
		if (fmt->family == GPT_X86) {
			w = walk_from(fmt, &q);
			assert_int_equal(w.status, WALK_VIOLATION);
			assert_int_equal(tm.ncas, WALK_TRIES);
		}
	}
}

/* Misaligned superpage, R=0 W=1, non-canonical address: each a page fault. */
static void test_case_08_alignment_and_encodings(void **state)
{
	static const char *const riscv[] = { "sv39", "sv48", "sv57" };

	for (unsigned i = 0; i < ARRAY_SIZE(riscv); i++) {
		const struct gpt_format *fmt = gpt_find(riscv[i]);
		struct walk_req q = make_req(0x3123, ACC_READ, true, CTL_DEFAULT);

		for (unsigned level = 1; level < fmt->levels; level++) {
			uint64_t aligned = BIT(9 * level);

			for (int bit = -1; bit < (int)(9 * level); bit++) {
				tm_reset();
				build(fmt, q.va, level, aligned + (bit < 0 ? 0 : BIT(bit)), RIGHT_ALL, false);
				struct walk w = walk_from(fmt, &q);
				assert_int_equal(w.why, bit < 0 ? WALK_WHY_NONE : WALK_WHY_RESERVED);
				if (bit < 0)
					assert_int_equal(w.frame, aligned + 3);
			}
		}
		tm_reset();
		uint64_t leaf = build(fmt, q.va, 0, LEAF_FRAME, RIGHT_ALL, false);

		for (int rwx = 0; rwx < 8; rwx++) {
			tm_put(leaf, 8, 0x1 | rwx << 1 | 0x10 | 0xc0 | LEAF_FRAME << 10);
			/* 2 (W), 6 (W X) are reserved; 0 would point to a table, 4 is execute only. */
			bool bad = rwx == 2 || rwx == 6 || rwx == 0;
			enum walk_why why = walk_from(fmt, &q).why;

			assert_int_equal(why, bad ? WALK_WHY_RESERVED : rwx == 4 ? WALK_WHY_RIGHTS : WALK_WHY_NONE);
		}
		q.va = gpt_va_limit(fmt, false);
		assert_int_equal(walk_from(fmt, &q).why, WALK_WHY_CANONICAL);
	}
}

/* A violation at any load or update: nothing changed; the walk that starts anew gives the same. */
static void test_violation_anywhere(void **state)
{
	for_each_format(fmt) {
		uint64_t addr[5];
		struct walk_req q = make_req(0x3123, ACC_WRITE, true, CTL_DEFAULT);
		struct walk want, w;

		build_clear(fmt, q.va, addr);
		want = walk_from(fmt, &q);
		assert_int_equal(want.status, WALK_OK);
		for (unsigned n = 1; n <= fmt->levels; n++) {
			build_clear(fmt, q.va, addr);
			static uint8_t before[TM_BYTES];

			memcpy(before, tm.bytes, TM_BYTES);
			tm.eagain_at = n;
			w = walk_from(fmt, &q);
			assert_int_equal(w.status, WALK_VIOLATION);
			assert_int_equal(w.level, fmt->levels - n);
			assert_false(w.ad_updated);
			assert_memory_equal(before, tm.bytes, TM_BYTES);
			w = walk_from(fmt, &q);
			assert_int_equal(w.status, WALK_OK);
			assert_true(w.frame == want.frame && w.leaf == want.leaf && w.rights == want.rights &&
				    w.leaf_addr == want.leaf_addr && w.ntables == want.ntables);
		}
		for (unsigned n = 1;; n++) {
			build_clear(fmt, q.va, addr);
			tm.eagain_cas = n;
			w = walk_from(fmt, &q);
			if (w.status == WALK_OK)
				break;
			assert_int_equal(w.status, WALK_VIOLATION);
			assert_false(tm_get(addr[0], fmt->entry_size) & fmt->dirty);
			w = walk_from(fmt, &q);
			assert_int_equal(w.leaf, want.leaf);
			for (int level = fmt->levels - 1 - fmt->top_no_rights; level >= 0; level--)
				if (fmt->family == GPT_X86)
					assert_true(tm_get(addr[level], fmt->entry_size) & fmt->accessed);
		}
	}
}

/* A table where no memory is: the guest's own mistake. */
static void test_bus(void **state)
{
	for_each_format(fmt) {
		struct walk_req q = make_req(0x3123, ACC_READ, true, CTL_DEFAULT);
		struct walk w;

		tm_reset();
		for (unsigned level = 1; level < fmt->levels; level++) {
			uint64_t last = (fmt->pfn_mask >> fmt->pfn_shift);

			tm_reset();
			build(fmt, q.va, 0, LEAF_FRAME, RIGHT_ALL, false);
			uint64_t at = (level == fmt->levels - 1u ? 4 : 6 + fmt->levels - level) * 4096ull +
				      gpt_index(fmt, level, q.va, false) * fmt->entry_size;

			tm_put(at, fmt->entry_size, gpt_make_table(fmt, level, last));
			w = walk_from(fmt, &q);
			assert_int_equal(w.status, WALK_FAULT);
			assert_int_equal(w.why, WALK_WHY_BUS);
			assert_int_equal(w.level, level - 1);
		}
	}
}

/* Starting below the root, from what an earlier walk left in table[], gives the same with fewer loads. */
static void test_start_below_root(void **state)
{
	for_each_format(fmt) {
		for (int closed = 0; closed < fmt->levels; closed++) {
			struct walk_req q = make_req(0x3123, ACC_READ, true, CTL_DEFAULT);
			struct walk whole, part;

			tm_reset();
			build(fmt, q.va, 0, LEAF_FRAME, RIGHT_ALL & ~RIGHT_G, false);
			/* One pointer of the path denies writes (x86) or is global (RISC-V). */
			uint64_t at = (closed == fmt->levels - 1 ? 4 : 6 + fmt->levels - closed) * 4096ull +
				      gpt_index(fmt, closed, q.va, false) * fmt->entry_size;

			if (closed > 0 && fmt->family == GPT_RISCV)
				tm_put(at, 8, tm_get(at, 8) | fmt->global);
			else if (closed > 0 && !(fmt->top_no_rights && closed == fmt->levels - 1))
				tm_put(at, fmt->entry_size, tm_get(at, fmt->entry_size) & ~fmt->write);
			whole = walk_from(fmt, &q);
			assert_int_equal(whole.status, WALK_OK);
			for (unsigned k = 0; k < whole.ntables; k++) {
				q.start_level = whole.table[k].level;
				q.start_table = whole.table[k].addr;
				q.start_rights = whole.table[k].rights;
				tm.nloads = 0;
				gpt_walk(fmt, &tm.m, 0, &q, &part); /* the root does not matter */
				assert_int_equal(tm.nloads, q.start_level + 1);
				assert_int_equal(part.ntables, q.start_level + 1);
				assert_true(part.status == WALK_OK && part.rights == whole.rights &&
					    part.frame == whole.frame && part.leaf_addr == whole.leaf_addr);
				for (unsigned t = 0; t < part.ntables; t++)
					assert_true(part.table[t].addr == whole.table[k + t].addr &&
						    part.table[t].level == whole.table[k + t].level &&
						    part.table[t].rights == whole.table[k + t].rights);
			}
		}
	}
}

/* no_read counts only in tables of Quire's own. */
static void test_no_read(void **state)
{
	const struct gpt_format *fmt = gpt_find("x86-64");
	struct walk_req q = make_req(0x3123, ACC_READ, true, CTL_DEFAULT);

	tm_reset();
	build(fmt, q.va, 0, LEAF_FRAME, RIGHT_X | RIGHT_U | RIGHT_A, false);
	assert_int_equal(walk_from(fmt, &q).status, WALK_OK);
	q.own_table = true;
	assert_int_equal(walk_from(fmt, &q).why, WALK_WHY_RIGHTS);
	q.kind = ACC_EXEC;
	assert_int_equal(walk_from(fmt, &q).rights, RIGHT_X | RIGHT_U | RIGHT_A);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reference_counts),
		cmocka_unit_test(test_notes),
		cmocka_unit_test(test_canonical_boundaries),
		cmocka_unit_test(test_case_06_x4_roots),
		cmocka_unit_test(test_x86_second_stage),
		cmocka_unit_test(test_case_07_accessed_dirty),
		cmocka_unit_test(test_case_07_lost_races),
		cmocka_unit_test(test_faulting_walk_writes_nothing),
		cmocka_unit_test(test_case_08_alignment_and_encodings),
		cmocka_unit_test(test_violation_anywhere),
		cmocka_unit_test(test_bus),
		cmocka_unit_test(test_start_below_root),
		cmocka_unit_test(test_no_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
