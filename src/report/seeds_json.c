/* SPDX-License-Identifier: MIT */
/*
 * JSON of several seeds. Statistics have the shape of the run itself: each
 * number in it, however deep, becomes {mean, sd, ci95: [low, high]} over the
 * seeds, so that what is added to a run has its statistics too.
 */
#include <stdlib.h>
#include <string.h>

#include "report/figure.h"

struct report report_of_seed(const struct report *rep, unsigned k, struct run_config *c)
{
	struct report of = *rep;

	*c = *rep->config;
	c->seed = rep->seeds[k];
	of.config = c;
	of.checksum = rep->checksums[k];
	of.nseeds = 0;
	return of;
}

/* Twelve digits: what is behind them may differ between machines. */
static json_t *rounded(double x)
{
	char text[40];

	snprintf(text, sizeof(text), "%.12g", x);
	return json_real(strtod(text, NULL));
}

static json_t *spread_json(const struct spread *s)
{
	json_t *o = json_object(), *ci = json_array();

	json_object_set_new(o, "mean", rounded(s->mean));
	json_object_set_new(o, "sd", rounded(s->sd));
	json_array_append_new(ci, rounded(s->mean - s->half));
	json_array_append_new(ci, rounded(s->mean + s->half));
	json_object_set_new(o, "ci95", ci);
	return o;
}

static json_t *statistics(json_t *const *of, unsigned n);

/* Counts by name that one seed has and another has not (histograms) are 0 there. */
static json_t *statistics_of_object(json_t *const *of, unsigned n)
{
	json_t *o = json_object(), *sub[REPORT_SEEDS_MAX], *v;
	const char *key;

	for (unsigned k = 0; k < n; k++)
		json_object_foreach(of[k], key, v) {
			json_t *s;

			/* Not results, though numbers. */
			if (json_object_get(o, key) || !strcmp(key, "seed") || !strcmp(key, "configuration"))
				continue;
			for (unsigned i = 0; i < n; i++)
				sub[i] = json_object_get(of[i], key);
			s = statistics(sub, n);
			if (s)
				json_object_set_new(o, key, s);
		}
	if (json_object_size(o))
		return o;
	json_decref(o);
	return NULL;
}

/* VMs: the same in each run. */
static json_t *statistics_of_array(json_t *const *of, unsigned n)
{
	json_t *a = json_array(), *sub[REPORT_SEEDS_MAX], *s;

	for (size_t at = 0; at < json_array_size(of[0]); at++) {
		for (unsigned i = 0; i < n; i++)
			sub[i] = json_array_get(of[i], at);
		s = statistics(sub, n);
		if (s)
			json_array_append_new(a, s);
	}
	return a;
}

/* NULL: no number is in it. */
static json_t *statistics(json_t *const *of, unsigned n)
{
	double value[REPORT_SEEDS_MAX];
	const json_t *first = NULL;
	struct spread s;

	for (unsigned i = 0; i < n && !first; i++)
		first = of[i];
	if (json_is_object(first))
		return statistics_of_object(of, n);
	if (json_is_array(first))
		return statistics_of_array(of, n);
	if (!json_is_number(first))
		return NULL;
	for (unsigned i = 0; i < n; i++)
		value[i] = of[i] ? json_number_value(of[i]) : 0;
	s = spread_of(value, n);
	return spread_json(&s);
}

static json_t *by_seed(const struct report *rep, const struct run_result *r, unsigned k)
{
	json_t *o = json_object(), *counts = json_object();

	json_object_set_new(o, "seed", json_integer((json_int_t)rep->seeds[k]));
	json_object_set_new(o, "end", json_string(report_end_name(r->end)));
	json_object_set_new(o, "digest", json_sprintf("%016llx", (unsigned long long)r->sum.digest));
	json_object_set_new(o, "work_digest", json_sprintf("%016llx", (unsigned long long)r->sum.work_digest));
	json_object_set_new(o, "workload_checksum", json_sprintf("%016llx", (unsigned long long)rep->checksums[k]));
	for (unsigned i = 0; i < figure_count; i++)
		json_object_set_new(counts, figures[i].name, json_integer((json_int_t)figure_value(&figures[i], r)));
	json_object_set_new(o, "figures", counts);
	return o;
}

/* Of one scheme. */
static json_t *seeds_run(const struct report *rep, const struct run_result *runs)
{
	json_t *finished[REPORT_SEEDS_MAX], *o = NULL, *seeds = json_array(), *all = json_array(), *stat = json_object();
	unsigned n = 0;

	for (unsigned k = 0; k < rep->nseeds; k++) {
		struct run_config c;
		struct report of = report_of_seed(rep, k, &c);
		json_t *run = report_measured(&runs[k]) ? json_run(&of, &runs[k]) : NULL;

		json_array_append_new(seeds, json_integer((json_int_t)rep->seeds[k]));
		if (!run)
			continue;
		json_array_append_new(all, by_seed(rep, &runs[k], k));
		if (!o)
			o = json_deep_copy(run);
		if (report_finished(&runs[k]))
			finished[n++] = run;
		else
			json_decref(run);
	}
	if (!o)
		o = json_object();
	json_object_set_new(stat, "n", json_integer(n));
	json_object_set_new(stat, "figures", n > 1 ? statistics_of_object(finished, n) : json_object());
	for (unsigned i = 0; i < n; i++)
		json_decref(finished[i]);
	json_object_set_new(o, "seeds", seeds);
	json_object_set_new(o, "by_seed", all);
	json_object_set_new(o, "statistics", stat);
	return o;
}

json_t *json_seeds_run_document(const struct report *rep, const struct run_result *runs)
{
	json_t *o = json_object(), *run = seeds_run(rep, runs);

	json_object_set_new(o, "schema", json_string("quire.run/1"));
	json_object_update_missing(o, run);
	json_decref(run);
	return o;
}

static bool any_measured(const struct report *rep, const struct run_result *runs)
{
	for (unsigned k = 0; k < rep->nseeds; k++)
		if (report_measured(&runs[k]))
			return true;
	return false;
}

json_t *json_seeds_compare_document(const struct report *rep, const struct run_result *runs, unsigned n)
{
	json_t *o = json_compare_document(rep, NULL, 0), *list = json_object_get(o, "runs"), *seeds = json_array();

	for (unsigned k = 0; k < rep->nseeds; k++)
		json_array_append_new(seeds, json_integer((json_int_t)rep->seeds[k]));
	json_object_set_new(o, "seeds", seeds);
	for (unsigned i = 0; i < n; i++) {
		const struct run_result *of = &runs[i * rep->nseeds];

		if (of->not_possible)
			json_array_append_new(json_object_get(o, "not_possible"),
					      json_pack("{s:s, s:s}", "scheme", of->scheme, "why", of->not_possible));
		else if (any_measured(rep, of))
			json_array_append_new(list, seeds_run(rep, of));
	}
	return o;
}
