/* SPDX-License-Identifier: MIT */
/* The figures of a run that stand in tables: one list for CSV and for what several seeds give. */
#ifndef QUIRE_REPORT_FIGURE_H
#define QUIRE_REPORT_FIGURE_H

#include "report/report.h"

enum figure_group { FIGURE_WORK, FIGURE_TRANSLATION, FIGURE_HYPERVISOR, FIGURE_MEMORY, FIGURE_CYCLES, FIGURE_GROUPS };

struct figure {
	const char *name; /* CSV's column */
	const char *text;
	enum figure_group group;
	size_t offset;    /* of a uint64_t in struct run_result */
};

/* In the order of CSV's columns. */
extern const struct figure figures[];
extern const unsigned figure_count;

const char *figure_group_name(enum figure_group g);

static inline uint64_t figure_value(const struct figure *f, const struct run_result *r)
{
	return *(const uint64_t *)((const char *)r + f->offset);
}

/*
 * What n values say of the law they were drawn from: the mean, the standard
 * deviation (of a sample: n - 1), and half the width of the 95 % confidence
 * interval of the mean, by Student's t. Values that do not vary have 0 for both.
 */
struct spread {
	double mean, sd, half;
};
struct spread spread_of(const double *value, unsigned n);
/* The quantile of Student's t that leaves 5 % outside ±t; freedom > 0. */
double student_t95(unsigned freedom);
/* That of a figure over runs that finished; *n becomes their number. */
struct spread spread_of_runs(const struct figure *f, const struct run_result *runs, unsigned *n);

#endif
