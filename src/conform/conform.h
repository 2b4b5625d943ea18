/* SPDX-License-Identifier: MIT */
/*
 * The conformance suite: what an organisation, a TLB policy or a mode must
 * keep, as cases that need no test framework. Quire's own tests run them on
 * all that is registered; `quire check-plugin` on what a plug-in brings.
 *
 *     case × subject × seed ─▶ true, or false and why
 */
#ifndef QUIRE_CONFORM_CONFORM_H
#define QUIRE_CONFORM_CONFORM_H

#include "conform/pt_rig.h"
#include "mmu/scheme.h"
#include "tlb/policy.h"

/* Where a case is. Kept up to date, so that whoever finds the case crashed can say where. */
struct conform_place {
	char subject[160]; /* "sorted, x86-64, first stage" */
	uint64_t seed, step;
	char bug[200]; /* a BUG_ON that struck: "FILE:LINE: condition" */
};

struct conform {
	uint64_t seed;               /* of the whole case; subjects take theirs from it */
	struct conform_place *place; /* the caller's */
	char why[400];
	char steps[4096];            /* the steps that lead there, a line each, where they can be told */
};

/* Notes where we are; a later conform_step() counts on from there. */
void conform_begin(struct conform *t, const char *subject, uint64_t seed);
static inline void conform_step(struct conform *t, uint64_t step)
{
	t->place->step = step;
}
/* The first reason stays. Always false. */
bool conform_fails(struct conform *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void conform_add_step(struct conform *t, const char *text);

struct org_case {
	const char *name;
	const char *what; /* that it holds the organisation to */
	bool (*run)(struct conform *t, const struct rig_config *c, uint64_t seed);
};
/* Ends with a NULL name. */
extern const struct org_case conform_org_cases[];

struct policy_case {
	const char *name, *what;
	bool (*run)(struct conform *t, unsigned policy, uint64_t seed);
};
extern const struct policy_case conform_policy_cases[];

/* For a mode, and for an organisation under the modes that take it: whole runs, by exp/. */
struct scheme_case {
	const char *name, *what;
	bool (*run)(struct conform *t, const char *scheme, uint64_t seed);
};
extern const struct scheme_case conform_scheme_cases[];

#endif
