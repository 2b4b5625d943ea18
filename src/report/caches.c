/* SPDX-License-Identifier: MIT */
#include "report/caches.h"

static const char *place(unsigned i)
{
	return cache_place_name((enum cache_level)i);
}

static uint64_t total(const uint64_t lines[CACHE_PLACES])
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < CACHE_PLACES; i++)
		sum += lines[i];
	return sum;
}

static json_t *by_place(const uint64_t lines[CACHE_PLACES])
{
	json_t *o = json_object();

	for (unsigned i = 0; i < CACHE_PLACES; i++)
		json_object_set_new(o, place(i), json_integer((json_int_t)lines[i]));
	return o;
}

json_t *caches_json(const struct run_config *c, const struct vm_stats *s)
{
	json_t *o = json_object();

	json_object_set_new(o, "model", json_string(c->caches->name));
	json_object_set_new(o, "data", by_place(s->cache_data));
	json_object_set_new(o, "table", by_place(s->cache_table));
	return o;
}

void caches_csv_names(FILE *f)
{
	for (unsigned i = 0; i < CACHE_PLACES; i++)
		fprintf(f, ",data_%s", place(i));
	for (unsigned i = 0; i < CACHE_PLACES; i++)
		fprintf(f, ",table_%s", place(i));
}

void caches_csv_row(const struct vm_stats *s, FILE *f)
{
	for (unsigned i = 0; i < CACHE_PLACES; i++)
		fprintf(f, ",%llu", (unsigned long long)s->cache_data[i]);
	for (unsigned i = 0; i < CACHE_PLACES; i++)
		fprintf(f, ",%llu", (unsigned long long)s->cache_table[i]);
}

static void section(const char *of, const uint64_t lines[CACHE_PLACES], FILE *f)
{
	char name[40], count[HUMAN_MAX];

	for (unsigned i = 0; i < CACHE_PLACES; i++) {
		snprintf(name, sizeof(name), "%s in %s", of, place(i));
		fprintf(f, "  %-34s %18s\n", name, human_count(count, lines[i]));
	}
}

void caches_text(const struct run_config *c, const struct vm_stats *s, FILE *f)
{
	fprintf(f, "\ncaches (%s)\n", c->caches->name);
	section("lines of data", s->cache_data, f);
	section("lines of tables", s->cache_table, f);
}

static void percents(const uint64_t lines[CACHE_PLACES], FILE *f)
{
	uint64_t all = total(lines);

	for (unsigned i = 0; i < CACHE_PLACES; i++)
		fprintf(f, all ? " %7.2f" : "       -", all ? 100.0 * (double)lines[i] / (double)all : 0);
}

void caches_table(const struct run_config *c, const struct run_result *runs, unsigned n, FILE *f)
{
	char head[48];

	snprintf(head, sizeof(head), "caches %.24s", c->caches->name);
	fprintf(f, "%-32s %-31s %s\n%-32s", head, "tables: found in, %", "data: found in, %", "");
	for (unsigned i = 0; i < 2 * CACHE_PLACES; i++)
		fprintf(f, " %7s", place(i % CACHE_PLACES));
	fputc('\n', f);
	for (unsigned i = 0; i < n; i++) {
		if (!report_measured(&runs[i]))
			continue;
		fprintf(f, "%-32.32s", runs[i].scheme);
		percents(runs[i].sum.stats.cache_table, f);
		percents(runs[i].sum.stats.cache_data, f);
		fputc('\n', f);
	}
	fputc('\n', f);
}
