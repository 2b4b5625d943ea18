/* SPDX-License-Identifier: MIT */
/* Readers of text traces: good samples, sizes, recognition, damage at every byte. */
#define _GNU_SOURCE
#include "helper.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/rng.h"

struct expected {
	uint64_t gva;
	enum acc_kind kind;
	unsigned size;
};

static struct trace *open_text(const char *format, const char *text, size_t n)
{
	static struct trace_error err;
	const char *path = scratch_path("sample");
	char spec[600];

	write_file(path, text, n);
	snprintf(spec, sizeof(spec), "%s%s%s", format, *format ? ":" : "", path);
	return trace_open(spec, &err);
}

static struct items parse(const char *format, const char *text)
{
	struct trace *t = open_text(format, text, strlen(text));

	assert_non_null(t);
	struct items all = read_all(t);

	trace_close(t);
	return all;
}

static void check_refs(const char *format, const char *text, const struct expected *e, size_t n)
{
	struct items all = parse(format, text);

	assert_int_equal(all.end, 0);
	assert_int_equal(all.n, n);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(ref_gva(all.v[i].ref), e[i].gva);
		assert_int_equal(ref_kind(all.v[i].ref), e[i].kind);
		assert_int_equal(ref_size(all.v[i].ref), e[i].size);
	}
	items_free(&all);
}

#define CHECK_REFS(format, text, ...)                                             \
	do {                                                                      \
		static const struct expected e[] = {__VA_ARGS__};                 \
		check_refs(format, text, e, sizeof(e) / sizeof(e[0]));            \
	} while (0)

static const char lackey_text[] = "==12== Lackey, an example Valgrind tool\n"
				  "I  0401ab90,3\n L 1ffeffe7e0,8\n S 1ffeffe7d8,4\n M 0421c7cc,1\n==12== \n";
static const char arw_text[] = "# a course's trace\n0x41f7a0 R\n13f5e2c0 W\n\n05e78900 R 4\n";
static const char rwa_text[] = "R 0041f7a0\nw 0x13f5e2c0 8\n  L 5e78900 4\nS 1000\nI 2000 2\nX 2004\nm 10 2\r\n";
static const char csv_text[] = "time,kind,addr,size,pid\n1,R,0x1000,8,7\n2,store,8192,4,7\n3,W,0x3000,8,9\n4,x,0x4000,2,7\n";

static void test_samples(void **state)
{
	CHECK_REFS("lackey", lackey_text, {0x401ab90, ACC_EXEC, 4}, {0x1ffeffe7e0, ACC_READ, 8},
		   {0x1ffeffe7d8, ACC_WRITE, 4}, {0x421c7cc, ACC_READ, 1}, {0x421c7cc, ACC_WRITE, 1});
	CHECK_REFS("addr-rw", arw_text, {0x41f7a0, ACC_READ, 1}, {0x13f5e2c0, ACC_WRITE, 1}, {0x5e78900, ACC_READ, 4});
	CHECK_REFS("arw", "10 r\n", {0x10, ACC_READ, 1});
	CHECK_REFS("rw-addr", rwa_text, {0x41f7a0, ACC_READ, 1}, {0x13f5e2c0, ACC_WRITE, 8}, {0x5e78900, ACC_READ, 4},
		   {0x1000, ACC_WRITE, 1}, {0x2000, ACC_EXEC, 2}, {0x2004, ACC_EXEC, 1}, {0x10, ACC_READ, 2},
		   {0x10, ACC_WRITE, 2});
}

static void test_csv(void **state)
{
	struct items all = parse("csv", csv_text);

	assert_int_equal(all.end, 0);
	assert_int_equal(all.refs, 4);
	assert_int_equal(items_count_events(&all, EV_SWITCH), 3);
	assert_int_equal(all.v[0].ev.pid, 7);
	assert_int_equal(all.v[0].ev.tid, 7);
	assert_int_equal(ref_gva(all.v[2].ref), 8192);
	assert_int_equal(ref_kind(all.v[2].ref), ACC_WRITE);
	assert_int_equal(all.v[3].ev.pid, 9);
	items_free(&all);
	CHECK_REFS("csv", "0x10,R\n32,W,4\n", {0x10, ACC_READ, 1}, {32, ACC_WRITE, 4});
	CHECK_REFS("csv", "va;op\n0x10;read\n", {0x10, ACC_READ, 1});
	CHECK_REFS("csv", "\"rw\"\t\"address\"\nR\t0x10\n", {0x10, ACC_READ, 1});
}

/* An access's references cover it, cross no page it does not cross, and add at most their rounding. */
static void test_sizes(void **state)
{
	static const uint64_t offsets[] = {0, 1, 7, 64, 4000, 4080, 4086, 4087, 4088, 4094, 4095};

	for (size_t o = 0; o < sizeof(offsets) / sizeof(offsets[0]); o++)
		for (unsigned size = 1; size <= 700; size++) {
			char text[64];
			uint64_t gva = 0x10000 + offsets[o], end = gva + size;

			snprintf(text, sizeof(text), "R %lx %u\n", gva, size);
			struct items all = parse("rw-addr", text);

			assert_int_equal(all.n, (size + 127) / 128);
			for (size_t i = 0; i < all.n; i++) {
				uint64_t at = ref_gva(all.v[i].ref), last = at + ref_size(all.v[i].ref) - 1;
				uint64_t piece_end = i + 1 < all.n ? at + 128 : end;

				assert_int_equal(at, gva + 128 * i);
				/* A page touched is a page of this piece of the access. */
				assert_true(last >> PAGE_SHIFT <= (piece_end - 1) >> PAGE_SHIFT);
				assert_true(ref_size(all.v[i].ref) * 2 > piece_end - at);
				assert_int_equal(!!(all.v[i].ref & REF_SPECIAL), at >> PAGE_SHIFT != last >> PAGE_SHIFT);
			}
			items_free(&all);
		}
}

static void test_recognition(void **state)
{
	static const struct {
		const char *text, *format;
	} samples[] = {{lackey_text, "lackey"}, {arw_text, "addr-rw"}, {rwa_text, "rw-addr"}, {csv_text, "csv"},
		       {"0x10,R\n", "csv"}, {" L 10,8", "lackey"}};

	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
		struct trace *t = open_text("", samples[i].text, strlen(samples[i].text));

		assert_non_null(t);
		assert_string_equal(t->format, samples[i].format);
		trace_close(t);
	}
	assert_null(open_text("", "hello world\n", 12));
	assert_null(open_text("", "", 0));
	assert_null(open_text("", "\0\0\0\0", 4));
}

static void expect_failure(const char *spec, int exit_code, const char *part)
{
	struct trace_error err;

	assert_null(trace_open(spec, &err));
	assert_int_equal(err.exit_code, exit_code);
	assert_non_null(strstr(err.what, part));
}

static void test_refusals(void **state)
{
	expect_failure("/no/such/file", 3, "/no/such/file: cannot be opened");
	expect_failure("nosuch:/no/such/file", 2, "no such format; there are lackey");
	expect_failure("/", 3, "folder");
	expect_failure("", 2, "needs a file");
	write_file(scratch_path("words.txt"), "some words\n", 11);
	expect_failure(scratch_path("words.txt"), 3, "say which: trace:FORMAT:FILE");
}

/* Each wrong line: reported by its number, what stood before kept. */
static void test_damage(void **state)
{
	static const struct {
		const char *format, *line;
	} wrong[] = {
		{"lackey", "I 0401ab90,3"}, {"lackey", " L 0401ab90,"}, {"lackey", " L 0401ab90,0"},
		{"lackey", " L 0401ab90,999999"}, {"lackey", " L 11112222333344445,8"}, {"lackey", " L 4444222233334444,8"},
		{"lackey", " Q 0401ab90,8"}, {"addr-rw", "12"}, {"addr-rw", "zz R"}, {"addr-rw", "12 Q"},
		{"addr-rw", "12 R 4 5"}, {"rw-addr", "R"}, {"rw-addr", "R 12z"}, {"rw-addr", "R 12 99999999999999999999"},
		{"csv", "0x10"}, {"csv", "12ab,R"}, {"csv", "16,Q"}, {"csv", "16,R,8,4294967296"},
	};
	static const struct {
		const char *format, *text;
	} good[] = {{"lackey", " L 10,8\n"}, {"addr-rw", "10 R\n"}, {"rw-addr", "R 10\n"}, {"csv", "16,R\n"}};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		for (size_t g = 0; g < sizeof(good) / sizeof(good[0]); g++) {
			char text[200];

			if (strcmp(good[g].format, wrong[i].format))
				continue;
			snprintf(text, sizeof(text), "%s%s%s\n%s", good[g].text, good[g].text, wrong[i].line, good[g].text);
			struct items all = parse(wrong[i].format, text);

			assert_int_equal(all.end, -1);
			assert_int_equal(all.refs, 2);
			assert_int_equal(all.err.exit_code, 3);
			assert_non_null(strstr(all.err.what, "sample:3: "));
			items_free(&all);
		}
}

static void test_hostile(void **state)
{
	size_t n = 3 << 20;
	char *text = malloc(n);

	memset(text, 'R', n);
	struct trace *t = open_text("rw-addr", text, n);
	struct items all = read_all(t);

	assert_int_equal(all.end, -1);
	assert_non_null(strstr(all.err.what, "sample:1: the line is longer"));
	items_free(&all);
	trace_close(t);
	memset(text, '\n', n);
	t = open_text("rw-addr", text, n);
	all = read_all(t);
	assert_int_equal(all.end, 0);
	assert_int_equal(all.n, 0);
	trace_close(t);
	free(text);
	/* The last line may lack its newline. */
	CHECK_REFS("lackey", " L 10,8\n L 20,8", {0x10, ACC_READ, 8}, {0x20, ACC_READ, 8});
}

/* Cut at every byte and with random bytes changed: never a crash, and the untouched lines before are kept. */
static void test_cut_and_changed(void **state)
{
	static const struct {
		const char *format, *text;
	} samples[] = {{"lackey", lackey_text}, {"addr-rw", arw_text}, {"rw-addr", rwa_text}, {"csv", csv_text}};
	struct rng rng;

	rng_init(&rng, 7);
	for (size_t s = 0; s < sizeof(samples) / sizeof(samples[0]); s++) {
		const char *text = samples[s].text;
		size_t n = strlen(text);
		struct items whole = parse(samples[s].format, text);

		for (size_t i = 0; i < 2 * n; i++) {
			char copy[512];
			size_t len = i < n ? i : n, kept = 0;

			memcpy(copy, text, n);
			if (i >= n)
				copy[i - n] = (char)rng_next(&rng);
			size_t place = i < n ? i : i - n;
			struct trace *t = open_text(samples[s].format, copy, len);

			assert_non_null(t);
			struct items all = read_all(t);

			if (all.end < 0)
				assert_non_null(strstr(all.err.what, "sample:"));
			/* Lines that end before the place: each gives what it gave. */
			while (place && text[place - 1] != '\n')
				place--;
			struct trace *before = open_text(samples[s].format, text, place);
			struct items first = read_all(before);

			kept = first.n;
			assert_true(items_equal(&first, &whole, kept));
			assert_true(items_equal(&all, &whole, kept));
			items_free(&first);
			items_free(&all);
			trace_close(before);
			trace_close(t);
		}
		items_free(&whole);
	}
}

static void test_rewind(void **state)
{
	struct trace *t = open_text("", csv_text, strlen(csv_text));
	struct items once = read_all(t);
	struct trace_error err;

	assert_int_equal(trace_rewind(t, &err), 0);
	struct items twice = read_all(t);

	assert_int_equal(once.n, twice.n);
	assert_true(items_equal(&once, &twice, once.n));
	items_free(&once);
	items_free(&twice);
	trace_close(t);
}

static void test_standard_input(void **state)
{
	int fds[2], saved = dup(STDIN_FILENO);
	struct trace_error err;

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], lackey_text, strlen(lackey_text)), strlen(lackey_text));
	close(fds[1]);
	dup2(fds[0], STDIN_FILENO);
	close(fds[0]);
	struct trace *t = trace_open("-", &err);

	assert_non_null(t);
	assert_string_equal(t->format, "lackey");
	struct items all = read_all(t);

	assert_int_equal(all.refs, 5);
	assert_int_equal(trace_rewind(t, &err), -1);
	assert_int_equal(err.exit_code, 3);
	items_free(&all);
	trace_close(t);
	dup2(saved, STDIN_FILENO);
	close(saved);
}

static void test_real_lackey(void **state)
{
	char command[600];

	if (access("/usr/bin/valgrind", X_OK))
		skip();
	snprintf(command, sizeof(command), "valgrind --tool=lackey --trace-mem=yes --log-file=%s /bin/true",
		 scratch_path("true.lackey"));
	if (system(command))
		skip();
	struct trace_error err;
	struct trace *t = trace_open(scratch_path("true.lackey"), &err);

	assert_non_null(t);
	struct items all = read_all(t);

	assert_int_equal(all.end, 0);
	assert_true(all.refs > 50000);
	items_free(&all);
	trace_close(t);
}

static void test_parse_scaled(void **state)
{
	static const struct {
		const char *text;
		unsigned unit;
		uint64_t value;
		int rc;
	} cases[] = {
		{"0", 1024, 0, 0}, {"64K", 1024, 65536, 0}, {"64k", 1000, 64000, 0}, {"1.5G", 1024, 1610612736, 0},
		{"0.5K", 1000, 500, 0}, {"1T", 1000, 1000000000000, 0}, {"16777215T", 1024, UINT64_C(16777215) << 40, 0},
		{"18446744073709551615", 1024, UINT64_MAX, 0}, {"18446744073709551616", 1024, 0, -1},
		{"16777216T", 1024, 0, -1}, {"", 1024, 0, -1}, {"K", 1024, 0, -1}, {"-1", 1024, 0, -1},
		{"1.5", 1024, 0, -1}, {"1KB", 1024, 0, -1}, {"1.", 1024, 0, -1}, {".5K", 1024, 0, -1}, {"1 K", 1024, 0, -1},
		{"99999999999999999999999999999999999999999999", 1000, 0, -1},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t v = 0;

		assert_int_equal(parse_scaled(cases[i].text, cases[i].unit, &v), cases[i].rc);
		assert_int_equal(v, cases[i].value);
	}
}

static void test_names(void **state)
{
	const char *summary = NULL;
	unsigned n = 0;

	for (; trace_format_name(n, &summary); n++)
		assert_true(summary && *summary);
	assert_int_equal(n, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_samples), cmocka_unit_test(test_csv), cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_recognition), cmocka_unit_test(test_refusals), cmocka_unit_test(test_damage),
		cmocka_unit_test(test_hostile), cmocka_unit_test(test_cut_and_changed), cmocka_unit_test(test_rewind),
		cmocka_unit_test(test_standard_input), cmocka_unit_test(test_real_lackey),
		cmocka_unit_test(test_parse_scaled), cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, remove_scratch);
}
