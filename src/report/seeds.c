/* SPDX-License-Identifier: MIT */
/* Several seeds for people: means, and how sure they are. */
#include <string.h>

#include "report/figure.h"

enum { NAME_COLUMNS = 22, COLUMNS = 8 };

static void seeds_line(const struct report *rep, FILE *f)
{
	bool row = true;

	for (unsigned k = 1; k < rep->nseeds; k++)
		row &= rep->seeds[k] == rep->seeds[k - 1] + 1;
	if (row) {
		fprintf(f, "%u seeds, %llu to %llu", rep->nseeds, (unsigned long long)rep->seeds[0],
			(unsigned long long)rep->seeds[rep->nseeds - 1]);
		return;
	}
	fprintf(f, "%u seeds:", rep->nseeds);
	for (unsigned k = 0; k < rep->nseeds && k < 8; k++)
		fprintf(f, " %llu", (unsigned long long)rep->seeds[k]);
	fputs(rep->nseeds > 8 ? " …" : "", f);
}

static bool is_same_work(const struct report *rep)
{
	for (unsigned k = 1; k < rep->nseeds; k++)
		if (rep->checksums[k] != rep->checksums[0])
			return false;
	return true;
}

static void say_same_work(const struct report *rep, FILE *f)
{
	if (is_same_work(rep))
		human_wrap(f, "The work is the same under every seed: what varies, if anything, comes from the machine alone "
			      "(random replacement in TLBs and caches, --frag). Synthetic work with randomness follows the seed.");
}

/* ---- one run ---- */

static const char *amount(char *buf, enum figure_group g, double x)
{
	return g == FIGURE_MEMORY && x > 0 ? human_bytes(buf, (uint64_t)(x + 0.5)) : human_real(buf, x);
}

static void group(const struct report *rep, const struct run_result *runs, enum figure_group g, FILE *f)
{
	bool begun = false;

	for (unsigned i = 0; i < figure_count; i++) {
		unsigned n = rep->nseeds;
		struct spread s = spread_of_runs(&figures[i], runs, &n);
		char b[3][HUMAN_MAX];

		if (figures[i].group != g || n < 2 || (s.mean == 0 && s.sd == 0))
			continue;
		if (!begun)
			fprintf(f, "\n%s\n", figure_group_name(g));
		begun = true;
		fprintf(f, "  %-34s %12s %12s %12s\n", figures[i].text, amount(b[0], g, s.mean), amount(b[1], g, s.sd),
			amount(b[2], g, s.half));
	}
}

static unsigned finished(const struct run_result *runs, unsigned n)
{
	unsigned all = 0;

	for (unsigned i = 0; i < n; i++)
		all += report_finished(&runs[i]);
	return all;
}

void text_seeds(const struct report *rep, const struct run_result *runs, FILE *f)
{
	const struct run_config *c = rep->config;
	unsigned n = finished(runs, rep->nseeds);

	fprintf(f, "%.99s\n", rep->workload);
	fprintf(f, "%s, format %s on %s, guest tables %s, machine %.24s\n", runs[0].nvms > 1 ? "several VMs" : runs[0].scheme,
		c->guest_fmt->name, c->host_fmt->name, c->guest_org->name, c->machine_name);
	seeds_line(rep, f);
	fputc('\n', f);
	if (n < rep->nseeds)
		fprintf(f, "%u of them came to their end: the figures are theirs\n", n);
	if (n < 2) {
		fputs("too few for a mean\n", f);
		return;
	}
	fprintf(f, "\n  %-34s %12s %12s %12s\n", "", "mean", "deviation", "95 % +-");
	for (unsigned g = 0; g < FIGURE_GROUPS; g++)
		group(rep, runs, (enum figure_group)g, f);
	fputc('\n', f);
	say_same_work(rep, f);
}

/* ---- a comparison ---- */

/* The columns of table_compare(), of one run. */
static void columns_of(const struct run_result *r, const struct run_result *native, double out[COLUMNS])
{
	const struct vm_stats *s = &r->sum.stats;

	out[0] = s->walks ? (double)s->walk_refs / (double)s->walks : 0;
	out[1] = (double)s->walks;
	out[2] = (double)s->exits;
	out[3] = (double)s->hidden_total;
	out[4] = (double)s->shadow_total;
	out[5] = (double)(r->sum.guest_table_bytes + r->sum.vmm_table_bytes);
	out[6] = (double)r->cycles.total;
	out[7] = native && native->cycles.total ? (double)r->cycles.total / (double)native->cycles.total : 0;
}

static const char *cell(char *buf, unsigned column, double x)
{
	if (x == 0)
		return "0";
	if (column == 5)
		return human_bytes(buf, (uint64_t)(x + 0.5));
	if (column != 7)
		return human_real(buf, x);
	snprintf(buf, HUMAN_MAX, x < 0.001 ? "<0.001" : "%.3f", x);
	return buf;
}

static void line(const char *name, const double x[COLUMNS], bool has_native, FILE *f)
{
	static const int width[COLUMNS] = { 7, 9, 9, 9, 9, 10, 9, 8 };
	char b[HUMAN_MAX];

	fprintf(f, "%-*s", NAME_COLUMNS, name);
	for (unsigned i = 0; i < COLUMNS; i++)
		fprintf(f, " %*s", width[i], i == 7 && !has_native ? "-" : cell(b, i, x[i]));
	fputc('\n', f);
}

static void scheme_lines(const struct report *rep, const struct run_result *runs, const struct run_result *native, FILE *f)
{
	double all[COLUMNS], value[REPORT_SEEDS_MAX], mean[COLUMNS], sd[COLUMNS], half[COLUMNS];
	unsigned n = 0;

	for (unsigned i = 0; i < COLUMNS; i++) {
		struct spread s;

		n = 0;
		for (unsigned k = 0; k < rep->nseeds; k++) {
			if (!report_finished(&runs[k]))
				continue;
			columns_of(&runs[k], native ? &native[k] : NULL, all);
			value[n++] = all[i];
		}
		s = spread_of(value, n);
		mean[i] = s.mean;
		sd[i] = s.sd;
		half[i] = s.half;
	}
	if (n < 2) {
		fprintf(f, "%-*s %u of %u seeds came to their end: too few for a mean\n", NAME_COLUMNS, runs[0].scheme, n,
			rep->nseeds);
		return;
	}
	line(runs[0].scheme, mean, native, f);
	line("  deviation", sd, native, f);
	line("  95 % +-", half, native, f);
	if (n < rep->nseeds)
		fprintf(f, "%-*s %u of %u seeds came to their end: the figures are theirs\n", NAME_COLUMNS, "", n, rep->nseeds);
}

static const struct run_result *find_native(const struct report *rep, const struct run_result *runs, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		const struct run_result *r = &runs[i * rep->nseeds];

		if (strcmp(r->scheme, "native") == 0 && finished(r, rep->nseeds) == rep->nseeds)
			return r;
	}
	return NULL;
}

void table_seeds(const struct report *rep, const struct run_result *runs, unsigned n, FILE *f)
{
	const struct run_result *native = find_native(rep, runs, n);
	const struct run_config *c = rep->config;

	fprintf(f, "%.99s\n", rep->workload);
	seeds_line(rep, f);
	fprintf(f, "\nformat %s on %s, guest tables %s, machine %.24s\n", c->guest_fmt->name, c->host_fmt->name,
		c->guest_org->name, c->machine_name);
	fprintf(f, "\n%-*s %7s %9s %9s %9s %9s %10s %9s %8s\n", NAME_COLUMNS, "mean", "refs", "", "", "hidden", "shadow",
		"table", "", "times");
	fprintf(f, "%-*s %7s %9s %9s %9s %9s %10s %9s %8s\n", NAME_COLUMNS, "of a scheme", "/walk", "walks", "exits",
		"faults", "faults", "bytes", "cycles", "native");
	for (unsigned i = 0; i < n; i++) {
		const struct run_result *r = &runs[i * rep->nseeds];

		if (r->not_possible)
			table_not_possible(r, f);
		else if (r->scheme[0])
			scheme_lines(rep, r, native, f);
	}
	fputc('\n', f);
}

/* ---- what it shows ---- */

static struct spread cycles_of(const struct report *rep, const struct run_result *runs)
{
	double value[REPORT_SEEDS_MAX];

	for (unsigned k = 0; k < rep->nseeds; k++)
		value[k] = (double)runs[k].cycles.total;
	return spread_of(value, rep->nseeds);
}

/* The scheme of least mean cycles, native and `but` apart; all of its seeds finished. */
static const struct run_result *cheapest(const struct report *rep, const struct run_result *runs, unsigned n,
					 const struct run_result *but)
{
	const struct run_result *best = NULL;

	for (unsigned i = 0; i < n; i++) {
		const struct run_result *r = &runs[i * rep->nseeds];

		if (r == but || strcmp(r->scheme, "native") == 0 || finished(r, rep->nseeds) < rep->nseeds)
			continue;
		if (!best || cycles_of(rep, r).mean < cycles_of(rep, best).mean)
			best = r;
	}
	return best;
}

void verdict_seeds(const struct report *rep, const struct run_result *runs, unsigned n, FILE *f)
{
	const struct run_result *best = cheapest(rep, runs, n, NULL), *next = best ? cheapest(rep, runs, n, best) : NULL;
	char text[512], b[2][HUMAN_MAX];
	double value[REPORT_SEEDS_MAX];
	struct spread s;

	say_same_work(rep, f);
	if (!next)
		return;
	/* Pairwise: both ran the same work under each seed. */
	for (unsigned k = 0; k < rep->nseeds; k++)
		value[k] = (double)next[k].cycles.total - (double)best[k].cycles.total;
	s = spread_of(value, rep->nseeds);
	if (s.mean == 0 && s.sd == 0)
		snprintf(text, sizeof(text), "%s costs least here; %s costs the same.", best->scheme, next->scheme);
	else if (s.mean - s.half <= 0)
		snprintf(text, sizeof(text), "%s costs least in the mean, but %u seeds cannot tell it from %s: the difference, %s cycles, is within +-%s (95 %%).",
			 best->scheme, rep->nseeds, next->scheme, human_real(b[0], s.mean), human_real(b[1], s.half));
	else
		snprintf(text, sizeof(text), "%s costs least here. %s takes %s cycles more, +-%s (95 %%, seed by seed).",
			 best->scheme, next->scheme, human_real(b[0], s.mean), human_real(b[1], s.half));
	human_wrap(f, text);
}
