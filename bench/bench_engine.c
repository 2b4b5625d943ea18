/* SPDX-License-Identifier: MIT */
/*
 * bench-engine [REFS [STREAM [SCHEME]]]: the engine beside the bare loop over the same decoded
 * records: same geometry, replacement and walk caches. The engine runs the
 * whole of it: model guest, rights, all counters, the truth check at each TLB
 * fill, and the state digest. Both are timed in turn, pass by pass, and the
 * medians of the passes' ratios are what counts.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bare_tlb.h"
#include "base/digest.h"
#include "guestos/guest.h"
#include "host.h"

enum { PASSES = 5, SEED = 42 };

/* A stream as a source of work that says when each pass over it began. */
struct source {
	struct trace t;
	const struct stream *s;
	size_t at;
};

static int source_read(struct trace *t, struct trace_block *b, struct trace_error *err)
{
	struct source *src = container_of(t, struct source, t);
	size_t n = MIN(src->s->n - src->at, (size_t)TRACE_BLOCK_REFS);

	memcpy(b->refs, src->s->refs + src->at, n * sizeof(ref_t));
	b->nrefs = (uint32_t)n;
	b->nevents = 0;
	src->at += n;
	return n > 0;
}

static int source_rewind(struct trace *t, struct trace_error *err)
{
	container_of(t, struct source, t)->at = 0;
	return 0;
}

static void source_close(struct trace *t)
{
}

static const struct trace_ops source_ops = { source_read, source_rewind, source_close };

struct engine {
	struct bench_host *h;
	struct guest *g;
	struct source src;
};

static struct engine *engine_create(const struct stream *s, const char *scheme)
{
	struct engine *e = calloc(1, sizeof(*e));
	const char *why = "out of memory";

	if (!e)
		bench_die(why);
	uint64_t guest = align_up(s->bytes + s->bytes / 64 + (64 << 20), BIT(21));
	struct bench_host_config c = { scheme, "generic", align_up(guest + guest / 8 + (BIT(30)), BIT(30)) + BIT(30), guest, false };
	struct guest_config gc = {
		.fmt = gpt_find("x86-64"), .org = pt_org_find("radix", 5), .asids = true, .ad = WALK_AD_SET,
		.mem_pages = guest >> PAGE_SHIFT, .quantum = 1000000, .seed = 1,
	};

	e->h = bench_host_create(&c);
	if (guest_create(&e->h->vcpu, &gc, &e->g, &why))
		bench_die(why);
	e->src = (struct source){ .t = { .ops = &source_ops, .name = (char *)s->name, .format = "bench" }, .s = s };
	if (guest_add_work(e->g, &e->src.t))
		bench_die(why);
	return e;
}

/* The first pass goes through the guest's own loop and faults everything in. */
static void engine_warm(struct engine *e)
{
	struct trace_error err = { "", 0 };
	bool finished = false;

	if (guest_run_slice(e->g, e->src.s->n, NULL, &err, &finished) != GUEST_DONE || guest_enter(e->g, 0))
		bench_die(err.what[0] ? err.what : "the guest did not finish");
}

/* A pass over the records where they stand, as the guest runs a block: the engine and the digest of what ran. */
static NOINLINE double engine_pass(struct engine *e)
{
	const struct stream *s = e->src.s;
	digest_stream digest;

	digest_stream_start(&digest);
	double start = bench_seconds();

	for (size_t at = 0, done; at < s->n; at += done) {
		size_t n = MIN(s->n - at, (size_t)TRACE_BLOCK_REFS);

		if (vcpu_run(&e->h->vcpu, s->refs + at, n, &done) || done != n)
			bench_die("a reference faulted in a warm pass");
		digest_stream_add(&digest, s->refs + at, n * sizeof(ref_t));
	}
	double seconds = bench_seconds() - start;

	/* Used, so that no compiler can leave it out. */
	if (digest_stream_end(&digest) == 1)
		puts("");
	return (double)s->n / seconds;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v, unsigned n)
{
	qsort(v, n, sizeof(*v), by_value);
	return v[n / 2];
}

static void compare(const struct stream *s, struct bare *b, const char *scheme, enum bare_mode mode)
{
	struct engine *e = engine_create(s, scheme);
	double bare[PASSES], engine[PASSES], ratio[PASSES];
	struct bare_counts counts;

	engine_warm(e);
	for (int i = 0; i < PASSES; i++) {
		bare[i] = bare_run(b, s, mode, &counts);
		engine[i] = engine_pass(e);
		ratio[i] = engine[i] / bare[i];
	}
	printf("%-8s %-14s %12.1f %12.1f %8.0f %%\n", s->name, scheme, median(bare, PASSES) * 1e-6,
	       median(engine, PASSES) * 1e-6, 100 * median(ratio, PASSES));
	fflush(stdout);
	guest_destroy(e->g);
	bench_host_destroy(e->h);
	free(e);
}

/* Each beside the bare loop that walks as it does. */
static const struct {
	const char *name;
	enum bare_mode bare;
} schemes[] = {
	{ "native", BARE_NATIVE_CACHED },
	{ "nested/radix", BARE_NESTED_CACHED },
};

int main(int argc, char **argv)
{
	size_t n = argc > 1 ? strtoul(argv[1], NULL, 0) : 8000000;

	printf("million references/s, median of %d passes in turn; ratio pass by pass\n", PASSES);
	printf("%-8s %-14s %12s %12s %10s\n", "stream", "scheme", "bare loop", "engine", "engine");
	for (int k = 0; k < STREAMS; k++) {
		struct stream s;
		struct bare *b;

		if (argc > 2 && stream_kind_find(argv[2]) != k)
			continue;
		if (!stream_init(&s, (enum stream_kind)k, n, SEED) || !(b = bare_create(s.base, s.bytes)))
			bench_die("out of memory");
		for (unsigned i = 0; i < ARRAY_SIZE(schemes); i++)
			if (argc <= 3 || !strcmp(argv[3], schemes[i].name))
				compare(&s, b, schemes[i].name, schemes[i].bare);
		bare_destroy(b);
		stream_fini(&s);
	}
	return 0;
}
