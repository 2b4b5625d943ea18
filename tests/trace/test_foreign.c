/* SPDX-License-Identifier: MIT */
/*
 * Other tools' traces and packed ones. Samples and what they say come from
 * make_samples.py, which knows the formats and not Quire. Each is read, read
 * again, cut short at every byte, and changed at random places.
 */
#define _GNU_SOURCE
#include "helper.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zstd.h>

#include "base/rng.h"

enum { SAMPLES_MAX = 32, FLIPS = 400, SEED = 5 };

static struct sample {
	char name[64];
	char *bytes;
	size_t n;
	struct items whole;
} sample[SAMPLES_MAX];
static unsigned nsamples;

static const char *samples_dir(void)
{
	const char *dir = getenv("QUIRE_SAMPLES");

	assert_non_null(dir);
	return dir;
}

static char *slurp_sample(const char *name, size_t *n)
{
	char path[600];

	snprintf(path, sizeof(path), "%s/%s", samples_dir(), name);
	return slurp(path, n);
}

static bool has_end(const char *name, const char *end)
{
	return strlen(name) > strlen(end) && !strcmp(name + strlen(name) - strlen(end), end);
}

static bool is_hurtful(const struct sample *s)
{
	return !strncmp(s->name, "hurt", 4);
}

static struct trace *open_bytes(const char *format, const char *name, const void *bytes, size_t n, struct trace_error *err)
{
	char spec[700];
	const char *path = scratch_path(name);

	write_file(path, bytes, n);
	snprintf(spec, sizeof(spec), "%s%s%s", format, *format ? ":" : "", path);
	return trace_open(spec, err);
}

/* The same in memory, where thousands of them cost little; *fd is to be closed. The name's end says nothing there. */
static struct trace *open_memory(const struct sample *s, const void *bytes, size_t n, int *fd, struct trace_error *err)
{
	const char *format = !strncmp(s->name, "champsim", 8) ? "champsim" : !strncmp(s->name, "dr", 2) ? "drmemtrace" : "lackey";
	char spec[64];

	*fd = memfd_create(s->name, MFD_CLOEXEC);
	assert_true(*fd >= 0);
	assert_int_equal(write(*fd, bytes, n), n);
	snprintf(spec, sizeof(spec), "%s:/proc/self/fd/%d", format, *fd);
	return trace_open(spec, err);
}

/* ---- what a sample says, as lines ---- */

static void put_line(FILE *f, const struct item *it)
{
	static const char *const names[] = {[EV_SWITCH] = "switch", [EV_THREAD] = "thread"};

	if (it->ref != REF_EVENT)
		fprintf(f, "%c %lx %u\n", "RWX"[ref_kind(it->ref)], ref_gva(it->ref), ref_size(it->ref));
	else if (it->ev.kind == EV_EXIT)
		fprintf(f, "exit %u\n", it->ev.pid);
	else if (it->ev.kind == EV_SYSCALL)
		fprintf(f, "call %lu\n", it->ev.len);
	else
		fprintf(f, "%s %u %u\n", names[it->ev.kind], it->ev.pid, it->ev.tid);
}

static void check_says(const struct sample *s)
{
	char stem[64], *said;
	size_t n, want_n;
	FILE *f = open_memstream(&said, &n);

	snprintf(stem, sizeof(stem), "%.*s.expect", (int)strcspn(s->name, "."), s->name);
	char *want = slurp_sample(stem, &want_n);

	for (size_t i = 0; i < s->whole.n; i++)
		put_line(f, &s->whole.v[i]);
	fclose(f);
	assert_string_equal(said, want);
	free(said);
	free(want);
}

static int load_samples(void **state)
{
	size_t n;
	char *names = slurp_sample("NAMES", &n), *rest = names, *name;

	while ((name = strsep(&rest, "\n")) != NULL && *name) {
		struct sample *s = &sample[nsamples++];
		struct trace_error err;

		assert_true(nsamples <= SAMPLES_MAX);
		snprintf(s->name, sizeof(s->name), "%s", name);
		s->bytes = slurp_sample(name, &s->n);
		if (is_hurtful(s))
			continue;
		struct trace *t = open_bytes("", s->name, s->bytes, s->n, &err);

		assert_non_null(t);
		s->whole = read_all(t);
		trace_close(t);
	}
	free(names);
	return 0;
}

static int free_samples(void **state)
{
	while (nsamples) {
		free(sample[--nsamples].bytes);
		items_free(&sample[nsamples].whole);
	}
	return remove_scratch(state);
}

static void test_samples(void **state)
{
	for (unsigned i = 0; i < nsamples; i++) {
		if (is_hurtful(&sample[i]))
			continue;
		assert_int_equal(sample[i].whole.end, 0);
		assert_true(sample[i].whole.refs > 50);
		check_says(&sample[i]);
	}
}

static void test_read_again(void **state)
{
	struct trace_error err;

	for (unsigned i = 0; i < nsamples; i++) {
		const struct sample *s = &sample[i];

		if (is_hurtful(s))
			continue;
		/* The name says nothing now; content alone must do. */
		struct trace *t = open_bytes("", "nameless", s->bytes, s->n, &err);

		assert_non_null(t);
		for (int k = 0; k < 2; k++) {
			struct items all = read_all(t);

			assert_int_equal(all.end, 0);
			assert_int_equal(all.n, s->whole.n);
			assert_true(items_equal(&all, &s->whole, all.n));
			items_free(&all);
			assert_int_equal(trace_rewind(t, &err), 0);
		}
		trace_close(t);
	}
}

/* Ends of processes come with the footer alone: of a trace that is cut short none is told. */
static size_t without_exits(const struct items *all)
{
	size_t n = all->n;

	while (n && all->v[n - 1].ref == REF_EVENT && all->v[n - 1].ev.kind == EV_EXIT)
		n--;
	return n;
}

/* Can a file end here and be whole? Formats without an end of their own can, between records. */
static bool may_end(const struct sample *s, size_t at)
{
	if (has_end(s->name, ".champsimtrace"))
		return at % 64 == 0;
	if (has_end(s->name, ".gz") && s->bytes[s->n - 1] == 0)
		return true; /* between two members, or within the zeros behind them */
	if (has_end(s->name, ".xz") || has_end(s->name, ".zst"))
		return true; /* between two streams or frames */
	return false;
}

static void check_cut(const struct sample *s, size_t at)
{
	struct trace_error err = {0};
	int fd;
	struct trace *t = open_memory(s, s->bytes, at, &fd, &err);

	if (!t) {
		assert_int_equal(err.exit_code, 3);
		assert_int_equal(strncmp(err.what, "/proc/self/fd/", 14), 0);
		close(fd);
		return;
	}
	struct items all = read_all(t);

	assert_true(all.end == 0 || all.end == -1);
	assert_true(items_equal(&all, &s->whole, without_exits(&all)));
	if (all.end) {
		assert_int_equal(all.err.exit_code, 3);
		assert_non_null(strpbrk(strchr(all.err.what, ':'), "0123456789"));
	} else if (!may_end(s, at)) {
		print_error("%s cut to %zu bytes was not noticed\n", s->name, at);
		fail();
	}
	items_free(&all);
	trace_close(t);
	close(fd);
}

static void test_cut_anywhere(void **state)
{
	for (unsigned i = 0; i < nsamples; i++)
		for (size_t at = 0; !is_hurtful(&sample[i]) && at < sample[i].n; at++)
			check_cut(&sample[i], at);
}

/* In these a change is either harmless (a time, a name) or found. */
static bool has_sums(const struct sample *s)
{
	return has_end(s->name, ".gz") || has_end(s->name, ".xz") || has_end(s->name, ".zip");
}

static void test_flips(void **state)
{
	struct trace_error err;
	struct rng r;

	print_message("seed %d\n", SEED);
	rng_init(&r, SEED);
	for (unsigned i = 0; i < nsamples; i++) {
		const struct sample *s = &sample[i];
		char *changed = malloc(s->n);

		for (int k = 0; !is_hurtful(s) && k < FLIPS; k++) {
			memcpy(changed, s->bytes, s->n);
			for (uint64_t flips = 1 + rng_below(&r, 3); flips; flips--)
				changed[rng_below(&r, s->n)] ^= (char)(1 << rng_below(&r, 8));
			int fd;
			struct trace *t = open_memory(s, changed, s->n, &fd, &err);

			if (!t) {
				assert_int_equal(err.exit_code, 3);
				close(fd);
				continue;
			}
			struct items all = read_all(t);

			if (all.end)
				assert_int_equal(all.err.exit_code, 3);
			else if (has_sums(s))
				assert_true(all.n == s->whole.n && items_equal(&all, &s->whole, all.n));
			items_free(&all);
			trace_close(t);
			close(fd);
		}
		free(changed);
	}
}

/* Compressed by the library itself, at the strongest level and with a sum. */
static void test_zstd_compressed(void **state)
{
	struct trace_error err;
	ZSTD_CCtx *z = ZSTD_createCCtx();

	ZSTD_CCtx_setParameter(z, ZSTD_c_compressionLevel, 19);
	ZSTD_CCtx_setParameter(z, ZSTD_c_checksumFlag, 1);
	for (unsigned i = 0; i < nsamples; i++) {
		struct sample s = sample[i];

		if (!has_end(s.name, ".trace") && !has_end(s.name, ".champsimtrace"))
			continue;
		char *packed = malloc(ZSTD_compressBound(s.n));
		size_t n = ZSTD_compress2(z, packed, ZSTD_compressBound(s.n), s.bytes, s.n);
		struct trace *t = open_bytes("", "packed.zst", packed, n, &err);

		assert_false(ZSTD_isError(n));
		assert_non_null(t);
		assert_string_equal(t->packing, "zstd");
		struct items all = read_all(t);

		assert_int_equal(all.end, 0);
		assert_true(all.n == s.whole.n && items_equal(&all, &s.whole, all.n));
		items_free(&all);
		trace_close(t);
		free(packed);
	}
	ZSTD_freeCCtx(z);
}

/* Files that ask for a gigabyte, or unpack to hundreds of megabytes of nothing. */
static void test_hurtful(void **state)
{
	unsigned seen = 0;

	for (unsigned i = 0; i < nsamples; i++) {
		const struct sample *s = &sample[i];
		struct trace_error err = {0};

		if (!is_hurtful(s))
			continue;
		struct trace *t = open_bytes("", s->name, s->bytes, s->n, &err);

		if (t) {
			struct items all = read_all(t);

			assert_int_equal(all.end, -1);
			assert_int_equal(all.n, 0);
			err = all.err;
			trace_close(t);
		}
		assert_int_equal(err.exit_code, 3);
		assert_non_null(strstr(err.what, " MiB"));
		seen++;
	}
	assert_int_equal(seen, 3);
}

static void expect_error(const char *format, const char *name, const void *bytes, size_t n, const char *words)
{
	struct trace_error err = {0};
	struct trace *t = open_bytes(format, name, bytes, n, &err);

	if (t) {
		struct items all = read_all(t);

		err = all.err;
		items_free(&all);
		trace_close(t);
	}
	assert_int_equal(err.exit_code, 3);
	if (!strstr(err.what, words)) {
		print_error("'%s' has no '%s'\n", err.what, words);
		fail();
	}
}

static const struct sample *sample_of(const char *name)
{
	for (unsigned i = 0; i < nsamples; i++)
		if (!strcmp(sample[i].name, name))
			return &sample[i];
	fail();
	return NULL;
}

static void test_words(void **state)
{
	const struct sample *champsim = sample_of("champsim.champsimtrace"), *dr = sample_of("dr64.1.trace");
	char *changed = malloc(champsim->n + dr->n + 12);

	expect_error("", "x", champsim->bytes, 15 * 64, "no known trace format");
	expect_error("champsim", "x", "0123456789", 10, "byte 0: the file ends inside a record");
	memcpy(changed, champsim->bytes, champsim->n);
	changed[64 * 5 + 9] = 7;
	expect_error("champsim", "x", changed, champsim->n, "byte 320: no record of ChampSim's");
	expect_error("drmemtrace", "x", champsim->bytes, champsim->n, "no drmemtrace begins so");
	expect_error("", "x", "BZh91AY", 7, "bzip2 -d");
	expect_error("", "x", "\x04\x22\x4d\x18....", 8, "lz4 -d");
	memcpy(changed, dr->bytes, dr->n);
	changed[dr->n] = 0;
	expect_error("", "x", changed, dr->n - 12, "no footer");
	memset(changed + dr->n, 0, 12);
	expect_error("", "x", changed, dr->n + 12, "something follows the footer");
	changed[12 * 7] = 99;
	expect_error("", "x", changed, dr->n, "byte 84: an entry of no known type");
	free(changed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_samples), cmocka_unit_test(test_read_again), cmocka_unit_test(test_cut_anywhere),
		cmocka_unit_test(test_flips), cmocka_unit_test(test_zstd_compressed), cmocka_unit_test(test_hurtful),
		cmocka_unit_test(test_words),
	};

	return cmocka_run_group_tests(tests, load_samples, free_samples);
}
