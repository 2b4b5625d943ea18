/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "report/caches.h"
#include "report/figure.h"

/* Quoted where the text would break the line apart (RFC 4180). */
static void field(FILE *f, const char *s)
{
	if (!strpbrk(s, ",\"\r\n")) {
		fputs(s, f);
		return;
	}
	fputc('"', f);
	for (; *s; s++) {
		if (*s == '"')
			fputc('"', f);
		fputc(*s, f);
	}
	fputc('"', f);
}

static void number(FILE *f, uint64_t v)
{
	fprintf(f, ",%llu", (unsigned long long)v);
}

static void header(const struct report *rep, FILE *f)
{
	fputs("scheme,workload,seed,end,digest,work_digest", f);
	for (unsigned i = 0; i < figure_count; i++)
		fprintf(f, ",%s", figures[i].name);
	fputs(",not_possible", f);
	if (rep->config->caches)
		caches_csv_names(f);
	if (rep->nseeds > 1)
		fputs(",statistic", f);
	fputc('\n', f);
}

static void commas(FILE *f, unsigned n)
{
	while (n--)
		fputc(',', f);
}

/* rep: of the run's own seed; statistic: the last column, NULL where there is none. */
static void row(const struct report *rep, const struct run_result *r, const char *statistic, FILE *f)
{
	field(f, r->scheme);
	fputc(',', f);
	field(f, rep->workload);
	number(f, rep->config->seed);
	if (r->not_possible) {
		/* end, both digests and all counts stay empty. */
		commas(f, 3 + figure_count);
		fputc(',', f);
		field(f, r->not_possible);
		if (rep->config->caches)
			commas(f, 2 * CACHE_PLACES);
	} else {
		fprintf(f, ",%s,%016llx,%016llx", report_end_name(r->end), (unsigned long long)r->sum.digest,
			(unsigned long long)r->sum.work_digest);
		for (unsigned i = 0; i < figure_count; i++)
			number(f, figure_value(&figures[i], r));
		fputc(',', f);
		if (rep->config->caches)
			caches_csv_row(&r->sum.stats, f);
	}
	if (statistic)
		fprintf(f, ",%s", statistic);
	fputc('\n', f);
}

static void row_of_statistics(const struct report *rep, const struct run_result *runs, const char *name,
			      double (*of)(const struct spread *s), FILE *f)
{
	field(f, runs[0].scheme);
	fputc(',', f);
	field(f, rep->workload);
	commas(f, 4);
	for (unsigned i = 0; i < figure_count; i++) {
		unsigned n = rep->nseeds;
		struct spread s = spread_of_runs(&figures[i], runs, &n);

		fputc(',', f);
		if (n > 1)
			fprintf(f, "%.12g", of(&s));
	}
	/* Where lines were found stands by seed alone. */
	commas(f, 1 + (rep->config->caches ? 2 * CACHE_PLACES : 0));
	fprintf(f, ",%s\n", name);
}

static double mean(const struct spread *s) { return s->mean; }
static double sd(const struct spread *s) { return s->sd; }
static double low(const struct spread *s) { return s->mean - s->half; }
static double high(const struct spread *s) { return s->mean + s->half; }

static void rows_of_seeds(const struct report *rep, const struct run_result *runs, FILE *f)
{
	if (runs[0].not_possible) {
		row(rep, runs, "value", f);
		return;
	}
	for (unsigned k = 0; k < rep->nseeds; k++) {
		struct run_config c;
		struct report of = report_of_seed(rep, k, &c);

		if (report_measured(&runs[k]))
			row(&of, &runs[k], "value", f);
	}
	row_of_statistics(rep, runs, "mean", mean, f);
	row_of_statistics(rep, runs, "sd", sd, f);
	row_of_statistics(rep, runs, "ci95_low", low, f);
	row_of_statistics(rep, runs, "ci95_high", high, f);
}

int csv_write(const struct report *rep, const struct run_result *runs, unsigned n, FILE *f)
{
	header(rep, f);
	for (unsigned i = 0; i < n; i++)
		if (rep->nseeds > 1)
			rows_of_seeds(rep, &runs[i * rep->nseeds], f);
		else if (runs[i].not_possible || report_measured(&runs[i]))
			row(rep, &runs[i], NULL, f);
	return fflush(f) || ferror(f) ? -EIO : 0;
}
