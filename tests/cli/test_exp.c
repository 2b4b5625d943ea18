/* SPDX-License-Identifier: MIT */
/* Of exp/: cycles as their documented sum, memory files line by line, scans of work, names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "exp/exp.h"
#include "exp/names.h"

/* One price at a time is 1: the sum is the count that it was put on. */
static void cost_is_counter_times_price(void **state)
{
	enum part { TRANSLATION = 1, EXITS, IO, REST };
	static const struct { enum part part; uint64_t count; } want[COST_EVENTS] = {
		[COST_REF] = { REST, 4 },
		[COST_L2_TLB_HIT] = { TRANSLATION, 5 },
		[COST_WALK_REF] = { TRANSLATION, 7 + 11 },
		[COST_WALK_REF_OVERLAP] = { TRANSLATION, 3 },
		[COST_AD_UPDATE] = { TRANSLATION, 2 },
		[COST_GUEST_FAULT] = { REST, 7 },
		[COST_EXIT] = { EXITS, 8 },
		[COST_HIDDEN_FAULT] = { EXITS, 1 },
		[COST_SHADOW_FILL] = { EXITS, 2 },
		[COST_TABLE_WRITE] = { EXITS, 3 },
		[COST_RESYNC_ENTRY] = { EXITS, 4 },
		[COST_ROOT_SWITCH] = { EXITS, 5 },
		[COST_FENCE] = { EXITS, 6 },
		[COST_TLB_FLUSH] = { EXITS, 7 },
		[COST_TLB_REFILL] = { TRANSLATION, 9 },
		[COST_TLB_WRITE] = { EXITS, 13 },
		[COST_REFLECT] = { EXITS, 15 + 16 + 17 + 18 + 19 + 20 + 21 },
		[COST_PRIV_INSTR] = { EXITS, 22 },
		[COST_PV_UPDATE] = { EXITS, 10 },
		[COST_DISK_PAGE] = { IO, 3 },
	};
	struct run_result *r = calloc(1, sizeof(*r));
	struct vm_stats *s = &r->sum.stats;

	*s = (struct vm_stats){
		.refs = 3, .kernel_refs = 1, .l2_hits = 5, .walk_refs = 9, .walk_depth = 6, .fault_walk_refs = 1,
		.ad_updates = 2, .true_faults = 7, .exits = 8, .hidden_total = 1, .shadow_fill = 2,
		.shadow_table_write = 3, .mmu_resync_entries = 4,
		.tlb_flush = 7, .pv_updates = 10, .soft_misses = 9, .soft_p2m_refs = 5,
		.exit_by = { [EXIT_ROOT_SWITCH] = 5, [EXIT_FENCE] = 1, [EXIT_FENCE_ALL] = 5,
			     [EXIT_TLB_WRITE] = 13, [EXIT_TLB_MISS] = 15,
			     [EXIT_TLB_MODIFY] = 16, [EXIT_TLB_RETURN] = 17, [EXIT_SYSCALL] = 18, [EXIT_SYSRET] = 19,
			     [EXIT_EXCEPTION] = 20, [EXIT_IRET] = 21, [EXIT_PRIV_INSTR] = 22 },
	};
	r->sum.guest.disk_reads = 2;
	r->sum.guest.disk_writes = 1;
	r->sum.guest.tlb_refill_refs = 6;
	for (unsigned i = 0; i < COST_EVENTS; i++) {
		struct cost_table t = { 0 };

		if (!want[i].part)
			continue;
		t.of[i].cycles = 1;
		cost_sum(&t, r);
		assert_int_equal(r->cycles.translation, want[i].part == TRANSLATION ? want[i].count : 0);
		assert_int_equal(r->cycles.exits, want[i].part == EXITS ? want[i].count : 0);
		assert_int_equal(r->cycles.io, want[i].part == IO ? want[i].count : 0);
		assert_int_equal(r->cycles.total, want[i].count);
	}
	free(r);
	(void)state;
}

static int parse_machine(const char *text, struct machine_file *m, struct trace_error *err)
{
	memset(err, 0, sizeof(*err));
	return machine_parse("m.yaml", text, strlen(text), m, err);
}

static void machine_file_sets_geometry_and_costs(void **state)
{
	static struct machine_file m;
	struct trace_error err;

	assert_int_equal(parse_machine("name: mine\n"
				       "base: none\n"
				       "tlb:\n"
				       "  l1d: {small: {entries: 64, ways: 4, policy: fifo}}\n"
				       "  nested: {entries: 16}\n"
				       "cost:\n"
				       "  walk_ref: 77\n"
				       "  exit: {cycles: 5, source: here}\n", &m, &err), 0);
	assert_string_equal(m.name, "mine");
	assert_string_equal(m.tlb.name, "mine");
	assert_int_equal(m.tlb.l1d[0].sets, 16);
	assert_int_equal(m.tlb.l1d[0].ways, 4);
	assert_int_equal(m.tlb.l1d[0].policy, TLB_FIFO);
	assert_int_equal(m.tlb.nested.sets, 1);
	assert_int_equal(m.tlb.nested.ways, 16);
	assert_int_equal(m.tlb.l2[0].sets, 0);
	assert_int_equal(m.cost.of[COST_WALK_REF].cycles, 77);
	assert_int_equal(m.cost.of[COST_EXIT].cycles, 5);
	assert_string_equal(m.cost.of[COST_EXIT].source, "here");
	assert_int_equal(m.cost.of[COST_REF].cycles, cost_default.of[COST_REF].cycles);
}

/* What is wrong, the line it is said of, a word of the message. */
static const struct bad_file {
	const char *text, *line, *word;
} bad_machines[] = {
	{ "", "m.yaml:1:", "mapping" },
	{ "- a\n", "m.yaml:1:", "mapping" },
	{ "name: a\nfoo: 1\n", "m.yaml:2:", "unknown key 'foo'" },
	{ "name: a\nname: b\n", "m.yaml:2:", "twice" },
	{ "base: none\n", "m.yaml:1:", "'name' is missing" },
	{ "name: a\n\ntlb:\n  nested: {entries: 96, ways: 5}\n", "m.yaml:4:", "power of two" },
	{ "name: a\ntlb:\n  nested: {entries: 96}\n", "m.yaml:3:", "ways" },
	{ "name: a\ntlb:\n  nested:\n    entries: many\n", "m.yaml:4:", "number" },
	{ "name: a\ntlb:\n  nested: {entries: 4, policy: best}\n", "m.yaml:3:", "lru, plru, fifo, random" },
	{ "name: a\nbase: skylaek\n", "m.yaml:2:", "did you mean 'skylake'" },
	{ "name: a\ncost:\n  walkref: 3\n", "m.yaml:3:", "did you mean 'walk_ref'" },
	{ "name: a\ncost: [1]\n", "m.yaml:2:", "mapping" },
	{ "name: a\ncost: {exit: {source: x}}\n", "m.yaml:2:", "'cycles' is missing" },
	{ "name: a\n  b: {\n", "m.yaml:2:", "not YAML" },
	{ "name: \"a\\0b\"\n", "m.yaml:1:", "zero" },
	{ "name: abcdefghijklmnopqrstuvwxyz\n", "m.yaml:1:", "longer" },
	{ "name: [a]\n", "m.yaml:1:", "single value" },
};

static void check_bad(const struct bad_file *bad, size_t n, int (*parse)(const char *text, struct trace_error *err))
{
	struct trace_error err;

	for (size_t i = 0; i < n; i++) {
		const struct bad_file *b = &bad[i];

		assert_int_equal(parse(b->text, &err), 2);
		assert_int_equal(err.exit_code, 2);
		if (strncmp(err.what, b->line, strlen(b->line)) || !strstr(err.what, b->word))
			fail_msg("for %zu: got \"%s\", wanted %s …%s…", i, err.what, b->line, b->word);
	}
}

static int parse_bad_machine(const char *text, struct trace_error *err)
{
	static struct machine_file m;

	return parse_machine(text, &m, err);
}

static void machine_file_says_line_and_reason(void **state)
{
	check_bad(bad_machines, sizeof(bad_machines) / sizeof(*bad_machines), parse_bad_machine);
}

#define FORMAT_HEAD "name: f\nfamily: x86\nentry_size: 8\npfn: {shift: 12, bits: 40}\n"
#define FORMAT_BITS "bits: {valid: 0, write: 1, user: 2, accessed: 5, dirty: 6, no_exec: 63, page_size: 7}\n"

static int parse_format(const char *text, struct format_file *f, struct trace_error *err)
{
	memset(err, 0, sizeof(*err));
	return format_parse("f.yaml", text, strlen(text), f, err);
}

static void format_file_is_shaped(void **state)
{
	static struct format_file f;
	struct trace_error err;

	if (parse_format(FORMAT_HEAD FORMAT_BITS "levels:\n  - {bits: 9}\n  - {bits: 5, leaf: true}\n", &f, &err))
		fail_msg("%s", err.what);
	assert_int_equal(f.fmt.levels, 2);
	assert_int_equal(f.fmt.va_bits, 26);
	assert_int_equal(f.fmt.pa_bits, 52);
	assert_int_equal(f.fmt.level[1].shift, 21);
	assert_true(f.fmt.level[1].leaf_ok);
	assert_true(f.fmt.level[0].leaf_ok);
	assert_true(f.fmt.valid == 1 && f.fmt.no_exec == UINT64_C(1) << 63 && f.fmt.page_size == 1 << 7);
	assert_true(f.fmt.pfn_mask == ((UINT64_C(1) << 52) - 4096));
}

static const struct bad_file bad_formats[] = {
	{ FORMAT_HEAD FORMAT_BITS "levels: 3\n", "f.yaml:6:", "list" },
	{ FORMAT_HEAD FORMAT_BITS "levels:\n- {bits: 9}\n- {bits: 99}\n", "f.yaml:8:", "from 1 to 14" },
	{ FORMAT_HEAD FORMAT_BITS, "f.yaml:1:", "'levels' is missing" },
	{ FORMAT_HEAD "bits: {valid: 0, valide: 3}\n", "f.yaml:5:", "unknown key 'valide'" },
	{ FORMAT_HEAD "bits: {valid: 0, write: 0, user: 2}\nlevels:\n- {bits: 9}\n", "f.yaml:1:", "coincide" },
	{ FORMAT_HEAD FORMAT_BITS "levels:\n- {bits: 9}\n- {bits: 9}\n- {bits: 9}\n- {bits: 9}\n- {bits: 9}\n- {bits: 9}\n",
	  "f.yaml:12:", "at most 5" },
	{ "name: x86-64\nfamily: x86\nentry_size: 8\npfn: {shift: 12, bits: 40}\n" FORMAT_BITS "levels:\n- {bits: 9}\n",
	  "f.yaml:1:", "built-in" },
	{ "levels: &a [*a]\n", "f.yaml:1:", "mapping" },
};

static int parse_bad_format(const char *text, struct trace_error *err)
{
	static struct format_file f;

	return parse_format(text, &f, err);
}

static void format_file_says_line_and_reason(void **state)
{
	check_bad(bad_formats, sizeof(bad_formats) / sizeof(*bad_formats), parse_bad_format);
}

static void nearest_names(void **state)
{
	assert_string_equal(names_nearest(names_format, "x86-46"), "x86-64");
	assert_string_equal(names_nearest(names_scheme, "shadwo+lazy"), "shadow+lazy");
	assert_null(names_nearest(names_format, "zzzzzzzz"));
}

/* A trace of two processes; the expectation is counted by hand. */
static void scan_counts_pages_by_process(void **state)
{
	char path[] = "/tmp/quire-test-XXXXXX", spec[64];
	struct trace_error err = { 0 };
	struct workload w = { .kind = WORK_TRACE, .shown = "test" };
	static const char text[] = "R 0x1000\nW 0x1008\nR 0x2ffc\nR 0x7fff0000\nW 0x3000\n";
	int fd = mkstemp(path);
	uint64_t checksum;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
	close(fd);
	snprintf(spec, sizeof(spec), "rw-addr:%s", path);
	w.spec = spec;
	if (workload_scan(&w, 1, 0, &err))
		fail_msg("%s", err.what);
	assert_int_equal(w.refs, 5);
	assert_int_equal(w.processes, 1);
	assert_int_equal(w.distinct_pages, 4);
	assert_true(w.gva_max >= 0x7fff0000 && w.gva_max < 0x80000000);
	checksum = w.checksum;
	assert_int_equal(workload_scan(&w, 1, 3, &err), 0);
	assert_int_equal(w.refs, 3);
	assert_int_equal(w.distinct_pages, 2);
	assert_int_not_equal(w.checksum, checksum);
	unlink(path);
	assert_int_equal(workload_scan(&w, 1, 0, &err), 3);
	assert_int_equal(err.exit_code, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cost_is_counter_times_price),
		cmocka_unit_test(machine_file_sets_geometry_and_costs),
		cmocka_unit_test(machine_file_says_line_and_reason),
		cmocka_unit_test(format_file_is_shaped),
		cmocka_unit_test(format_file_says_line_and_reason),
		cmocka_unit_test(nearest_names),
		cmocka_unit_test(scan_counts_pages_by_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
