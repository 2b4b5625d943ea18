/* SPDX-License-Identifier: MIT */
/* What explain collects, says and writes. */
#ifndef QUIRE_CLI_EXPLAIN_H
#define QUIRE_CLI_EXPLAIN_H

#include "cli/cli.h"

enum { EXPLAIN_FAULTS_MAX = 256, EXPLAIN_TEXT = 160 };

struct explain_step {
	struct pt_ref ref;
	bool guest_memory; /* it stands in the guest's memory: ref.addr is a gpa */
};

struct explanation {
	const struct options *options;
	struct exp *exp;
	struct vcpu *vcpu;
	struct mmu_explain mmu;
	struct pt_log log;
	struct vm_log fault_log;
	bool walk_ended;   /* the next reference begins another walk */
	unsigned walks;    /* that ended */
	unsigned nsteps;
	uint64_t left_out; /* references beyond REPORT_EXPLAIN_MAX of the last walk */
	struct explain_step step[REPORT_EXPLAIN_MAX];
	unsigned nfaults;
	struct vm_fault_step fault[EXPLAIN_FAULTS_MAX];
};

/* ---- explain_words.c ---- */

/* "guest", "p2m", "shadow", "anchor", … */
const char *explain_table(const struct explanation *x, const struct explain_step *s);
/* What the entry says. buf of EXPLAIN_TEXT bytes; returns it. */
const char *explain_meaning(const struct explanation *x, const struct explain_step *s, char *buf);
/* What would have made this reference needless on this machine; NULL: nothing. */
const char *explain_cached_by(const struct explanation *x, unsigned i, char *buf);
/* "mapped", "true-fault", … */
const char *explain_outcome(const struct explanation *x);

/* ---- explain_report.c ---- */

void explain_text(const struct explanation *x, FILE *f);
json_t *explain_json(const struct explanation *x);

#endif
