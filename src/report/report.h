/* SPDX-License-Identifier: MIT */
/*
 * Results as people and scripts read them. Everything here takes finished
 * struct run_results; nothing here measures.
 */
#ifndef QUIRE_REPORT_REPORT_H
#define QUIRE_REPORT_REPORT_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdio.h>

#include "exp/exp.h"

enum { REPORT_COLUMNS = 100, REPORT_EXPLAIN_MAX = 4096, REPORT_SEEDS_MAX = 1000 };

/* What stands beside all results of one command. */
struct report {
	const char *version;
	const char *command;     /* as it could be typed again */
	const char *workload;    /* as the user wrote it */
	uint64_t checksum;       /* of the workload */
	const struct run_config *config;
	/*
	 * Of several seeds: nseeds > 1 results stand where one would, in this order, and config's seed is the first.
	 */
	unsigned nseeds;
	const uint64_t *seeds, *checksums; /* of the work under each */
};
/* The same report for seed k alone; *c is filled for it. */
struct report report_of_seed(const struct report *rep, unsigned k, struct run_config *c);

/* ---- JSON: quire.run/1, quire.compare/1, quire.explain/1 ---- */

/* One run without its "schema" key. Never NULL but for want of memory. */
json_t *json_run(const struct report *rep, const struct run_result *r);
json_t *json_run_document(const struct report *rep, const struct run_result *r);
/* Runs in the order given; those that cannot be under "not_possible". */
json_t *json_compare_document(const struct report *rep, const struct run_result *runs, unsigned n);
json_t *json_provenance(const struct report *rep);
json_t *json_hex(uint64_t v);
/* Writes and frees it. 0, or -EIO. */
int json_write(json_t *document, FILE *f);

/*
 * Several seeds: the documents above of the first seed's run, and in each run
 * "seeds", "by_seed" and "statistics". n is of schemes.
 */
json_t *json_seeds_run_document(const struct report *rep, const struct run_result *runs);
json_t *json_seeds_compare_document(const struct report *rep, const struct run_result *runs, unsigned n);

/* ---- CSV: a line of names, a line a run; of several seeds, n is of schemes, and four lines of statistics follow each ---- */
int csv_write(const struct report *rep, const struct run_result *runs, unsigned n, FILE *f);

/* ---- text, at most REPORT_COLUMNS wide ---- */
void text_run(const struct report *rep, const struct run_result *r, FILE *f);
void table_compare(const struct report *rep, const struct run_result *runs, unsigned n, FILE *f);
/* The row of a scheme that cannot be. */
void table_not_possible(const struct run_result *r, FILE *f);
/* The same of several seeds; n is of schemes. */
void text_seeds(const struct report *rep, const struct run_result *runs, FILE *f);
void table_seeds(const struct report *rep, const struct run_result *runs, unsigned n, FILE *f);
/* What several seeds say of which scheme costs least, and what they cannot say. */
void verdict_seeds(const struct report *rep, const struct run_result *runs, unsigned n, FILE *f);
/* One or two sentences on what a comparison shows; empty with fewer than two finished runs. */
void verdict_write(const struct run_result *runs, unsigned n, FILE *f);
/* True: all finished runs agree in both digests; else says on f which differ from the first. */
bool verdict_digests(const struct run_result *runs, unsigned n, FILE *f);

/* "1,234,567"; "1.23M", at most 6 characters; "1.5 GiB". buf of HUMAN_MAX bytes; returns it. */
enum { HUMAN_MAX = 32 };
const char *human_count(char *buf, uint64_t n);
const char *human_short(char *buf, uint64_t n);
const char *human_bytes(char *buf, uint64_t n);
/* As human_short, with decimals where it is small; x >= 0. */
const char *human_real(char *buf, double x);
/* Words of text, wrapped at REPORT_COLUMNS. */
void human_wrap(FILE *f, const char *text);

/* ---- progress: a line on a terminal's standard error, nothing elsewhere ---- */
struct progress {
	bool on;
	uint64_t total;          /* references of all runs together; 0: not known */
	atomic_ulong done;
	atomic_ulong shown;      /* of the last line, in 1/256 of total */
};
void progress_init(struct progress *p, bool quiet, uint64_t total);
/* n more references done, by any thread. */
void progress_add(struct progress *p, uint64_t n);
void progress_end(struct progress *p);

/* Did it run at all? */
static inline bool report_measured(const struct run_result *r)
{
	return !r->not_possible && r->nvms > 0 && r->vm && r->vm[0].name[0];
}
/* Did this run come to its end? (Else its numbers are of a part of the work.) */
static inline bool report_finished(const struct run_result *r)
{
	return report_measured(r) && r->end == GUEST_DONE && r->error.exit_code == 0;
}
/* "done", "interrupted", … */
const char *report_end_name(enum guest_end end);

#endif
