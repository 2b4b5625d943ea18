/* SPDX-License-Identifier: MIT */
/*
 * bench-pt [PAGES_MAX [ORG|all [PAGES_MIN]]]: every organisation beside radix, alone in
 * machine memory, from a thousand mappings up by tens: map, lookup and unmap of pages in
 * scattered order, page i at a scattered frame (so that no run helps segment), the
 * references of a lookup, and the bytes a page. Times are of the processor.
 *
 * An organisation that would take more than five minutes for a size is not asked for
 * it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "base/host_ops.h"
#include "host.h"

enum { PAGES_MIN = 1000, LOOKUPS_MAX = 1000000, SIZES_MAX = 8, ORGS_MAX = 32 };
static const double too_long = 300;
static const uint64_t ram_bytes = UINT64_C(512) << 30; /* of addresses, for 10^8 frames; what is not used is not there */

/* Steps of near the golden section of n meet every number below it, far from the one before. */
static uint64_t step_for(uint64_t n)
{
	uint64_t step = (uint64_t)((double)n * 0.6180339887) | 1;

	/* n is 10^k: neither 2 nor 5 may divide the step. */
	return step % 5 ? step : step + 2;
}

struct bench_pt {
	struct machine m;
	struct pt_mem_machine ptm;
	struct pt pt;
	uint64_t n, step;
};

struct result {
	double map, lookup, unmap; /* ns */
	double refs, bytes;        /* a lookup; a page */
	double seconds;
};

static struct pt_entry entry_of(const struct bench_pt *b, uint64_t i)
{
	uint64_t page = i * b->step % b->n;

	return (struct pt_entry){
		.key = { 1, page },
		.rights = RIGHT_RWX | RIGHT_U | RIGHT_A | RIGHT_D,
		.frame = (page * b->step + b->n / 2) % b->n,
	};
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double map_all(struct bench_pt *b)
{
	double start = seconds();

	for (uint64_t i = 0; i < b->n; i++) {
		struct pt_entry e = entry_of(b, i);

		if (b->pt.org->map(&b->pt, &e))
			bench_die("a mapping could not be made");
	}
	return seconds() - start;
}

static double look_up(struct bench_pt *b, uint64_t n)
{
	double start = seconds();

	for (uint64_t i = 0; i < n; i++) {
		struct pt_entry e = entry_of(b, i * 7 + 3);
		struct walk_req req = {
			.va = e.key.page << PAGE_SHIFT, .space = 1, .kind = ACC_READ, .user = true,
			.ctl = CTL_DEFAULT, .ad = WALK_AD_SET, .start_level = -1,
		};
		struct walk w;

		b->pt.org->lookup(&b->pt, &req, &w);
		if (w.status != WALK_OK || w.frame != e.frame)
			bench_die("a mapping was not found");
	}
	return seconds() - start;
}

static double unmap_all(struct bench_pt *b)
{
	double start = seconds();

	for (uint64_t i = 0; i < b->n; i++)
		if (b->pt.org->unmap(&b->pt, entry_of(b, i).key, 0, NULL))
			bench_die("a mapping could not be taken away");
	return seconds() - start;
}

static struct result measure(const char *spec, uint64_t n)
{
	struct bench_pt *b = calloc(1, sizeof(*b));
	void *ram = mmap(NULL, ram_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	const struct pt_org *org;
	uint32_t flags;
	struct result r;

	if (!b || ram == MAP_FAILED || machine_init(&b->m, ram, ram_bytes, &(struct machine_config){ 0 }) ||
	    pt_org_parse(spec, &org, &flags))
		bench_die("no memory");
	madvise(ram, ram_bytes, MADV_HUGEPAGE);
	ptm_machine_init(&b->ptm, &b->m);
	struct pt_params p = { .fmt = gpt_find("x86-64"), .nframes = n, .npages = n, .role = "bench" };

	b->n = n;
	b->step = step_for(n);
	if (pt_create(&b->pt, org, flags, &p, &b->ptm.m))
		bench_die("a table could not be made");
	double map = map_all(b);
	uint64_t refs = b->ptm.m.counts.refs, lookups = MIN(n, (uint64_t)LOOKUPS_MAX);
	double bytes = (double)b->ptm.m.table_bytes;
	double lookup = look_up(b, lookups);

	r = (struct result){
		.map = map / (double)n * 1e9, .lookup = lookup / (double)lookups * 1e9,
		.refs = (double)(b->ptm.m.counts.refs - refs) / (double)lookups, .bytes = bytes / (double)n,
	};
	double unmap = unmap_all(b);

	r.unmap = unmap / (double)n * 1e9;
	r.seconds = map + lookup + unmap;
	pt_destroy(&b->pt);
	ptm_machine_fini(&b->ptm);
	munmap(ram, ram_bytes);
	free(b);
	return r;
}

/* The organisations and each with each of its options. */
static unsigned list_specs(char spec[ORGS_MAX][32])
{
	const struct pt_org *org;
	unsigned n = 0;

	for (unsigned i = 0; (org = pt_org_at(i)) != NULL; i++) {
		snprintf(spec[n++], 32, "%s", org->name);
		for (unsigned k = 0; k < PT_OPTIONS_MAX && org->options[k] && n < ORGS_MAX - 1; k++)
			snprintf(spec[n++], 32, "%s+%s", org->name, org->options[k]);
	}
	return n;
}

static void panic(void *ctx, const char *file, int line, const char *what)
{
	fprintf(stderr, "bench: %s:%d: %s\n", file, line, what);
	abort();
}

int main(int argc, char **argv)
{
	static const struct host_ops ops = { .panic = panic };
	uint64_t most = argc > 1 ? strtoull(argv[1], NULL, 0) : 10000000;
	uint64_t least = argc > 3 ? strtoull(argv[3], NULL, 0) : PAGES_MIN;
	const char *only = argc > 2 && strcmp(argv[2], "all") ? argv[2] : NULL;
	char spec[ORGS_MAX][32];
	unsigned n = list_specs(spec);
	bool slow[ORGS_MAX] = { false };

	host_ops_set(&ops);
	printf("%-18s %10s %8s %8s %8s %8s %12s %12s\n", "organisation", "pages", "map, ns", "look, ns", "unmap",
	       "refs", "bytes/page", "look/radix");
	for (uint64_t pages = least; pages && pages <= most; pages *= 10) {
		double radix = 0;

		for (unsigned i = 0; i < n; i++) {
			if (slow[i] || (only && strcmp(only, spec[i])))
				continue;
			struct result r = measure(spec[i], pages);

			slow[i] = r.seconds > too_long / 10;
			if (!strcmp(spec[i], "radix"))
				radix = r.lookup;
			printf("%-18s %10llu %8.0f %8.0f %8.0f %8.2f %12.1f", spec[i], (unsigned long long)pages, r.map,
			       r.lookup, r.unmap, r.refs, r.bytes);
			if (radix > 0)
				printf(" %12.2f", r.lookup / radix);
			putchar('\n');
			fflush(stdout);
		}
	}
	return 0;
}
