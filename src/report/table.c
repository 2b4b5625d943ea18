/* SPDX-License-Identifier: MIT */
/* The same work under several schemes, side by side. */
#include <string.h>

#include "report/caches.h"

enum { SCHEME_COLUMNS = 22 };

/* The first `room` bytes of s, and "…" if that is not all. */
static const char *cut(char *buf, size_t size, const char *s, size_t room)
{
	if (strlen(s) <= room) {
		snprintf(buf, size, "%s", s);
		return buf;
	}
	/* Not in the middle of a UTF-8 character. */
	while (room && ((unsigned char)s[room] & 0xc0) == 0x80)
		room--;
	snprintf(buf, size, "%.*s…", (int)room, s);
	return buf;
}

static void head(const struct report *rep, const struct run_result *first, FILE *f)
{
	const struct run_config *c = rep->config;
	char work[128], a[HUMAN_MAX], b[HUMAN_MAX];

	fprintf(f, "%s\n", cut(work, sizeof(work), rep->workload, REPORT_COLUMNS - 1));
	if (first)
		fprintf(f, "%s references, %s guest faults, seed %llu\n",
			human_count(a, first->sum.stats.refs), human_count(b, first->sum.stats.true_faults),
			(unsigned long long)c->seed);
	fprintf(f, "format %s on %s, guest tables %s, machine %s%s%s%s\n", c->guest_fmt->name, c->host_fmt->name,
		c->guest_org->name, cut(work, sizeof(work), c->machine_name, 24),
		first ? " with " : "", first ? human_bytes(a, first->machine_bytes) : "",
		c->thp ? (c->host_thp ? ", huge pages in guest and host" : ", huge pages in the guest") :
			 (c->host_thp ? ", huge backing" : ""));
	fprintf(f, "\n%-*s %7s %9s %9s %9s %9s %10s %9s %8s\n", SCHEME_COLUMNS, "", "refs", "", "", "hidden", "shadow",
		"table", "", "times");
	fprintf(f, "%-*s %7s %9s %9s %9s %9s %10s %9s %8s\n", SCHEME_COLUMNS, "scheme", "/walk", "walks", "exits",
		"faults", "faults", "bytes", "cycles", "native");
}

static void row(const struct run_result *r, uint64_t native_cycles, FILE *f)
{
	const struct vm_stats *s = &r->sum.stats;
	char b[6][HUMAN_MAX], times[HUMAN_MAX] = "-", per_walk[HUMAN_MAX] = "-";

	if (native_cycles)
		snprintf(times, sizeof(times), "%.3f", (double)r->cycles.total / (double)native_cycles);
	if (s->walks) {
		double x = (double)s->walk_refs / (double)s->walks;

		snprintf(per_walk, sizeof(per_walk), "%.*f", x < 1000 ? 2 : 0, x);
	}
	fprintf(f, "%-*s %7s %9s %9s %9s %9s %10s %9s %8s\n", SCHEME_COLUMNS, r->scheme, per_walk,
		human_short(b[0], s->walks), human_short(b[1], s->exits), human_short(b[2], s->hidden_total),
		human_short(b[3], s->shadow_total),
		human_bytes(b[4], r->sum.guest_table_bytes + r->sum.vmm_table_bytes),
		human_short(b[5], r->cycles.total), times);
	if (r->end != GUEST_DONE)
		fprintf(f, "%-*s %s: the figures are of the work before\n", SCHEME_COLUMNS, "", report_end_name(r->end));
}

void table_not_possible(const struct run_result *r, FILE *f)
{
	char why[128];

	fprintf(f, "%-*s not possible: %s\n", SCHEME_COLUMNS, r->scheme,
		cut(why, sizeof(why), r->not_possible, REPORT_COLUMNS - SCHEME_COLUMNS - 18));
}

void table_compare(const struct report *rep, const struct run_result *runs, unsigned n, FILE *f)
{
	const struct run_result *first = NULL;
	uint64_t native_cycles = 0;

	for (unsigned i = 0; i < n; i++) {
		if (!report_measured(&runs[i]))
			continue;
		if (!first)
			first = &runs[i];
		if (strcmp(runs[i].scheme, "native") == 0 && report_finished(&runs[i]))
			native_cycles = runs[i].cycles.total;
	}
	head(rep, first, f);
	for (unsigned i = 0; i < n; i++) {
		if (runs[i].not_possible)
			table_not_possible(&runs[i], f);
		else if (report_measured(&runs[i]))
			row(&runs[i], native_cycles, f);
	}
	fputc('\n', f);
	if (rep->config->caches)
		caches_table(rep->config, runs, n, f);
}
