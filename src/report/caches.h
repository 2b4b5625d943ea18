/* SPDX-License-Identifier: MIT */
/* What --caches adds to results: where the lines of data and of tables were found. */
#ifndef QUIRE_REPORT_CACHES_H
#define QUIRE_REPORT_CACHES_H

#include "report/report.h"

json_t *caches_json(const struct run_config *c, const struct vm_stats *s);
/* Columns of CSV, each with a comma before it. */
void caches_csv_names(FILE *f);
void caches_csv_row(const struct vm_stats *s, FILE *f);
/* A section of one run; a table under a comparison. */
void caches_text(const struct run_config *c, const struct vm_stats *s, FILE *f);
void caches_table(const struct run_config *c, const struct run_result *runs, unsigned n, FILE *f);

#endif
