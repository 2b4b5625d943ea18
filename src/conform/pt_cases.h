/* SPDX-License-Identifier: MIT */
/* What the cases of organisations share. */
#ifndef QUIRE_CONFORM_PT_CASES_H
#define QUIRE_CONFORM_PT_CASES_H

#include "conform/conform.h"

/* A rig of its own memory, made; NULL: the organisation cannot create its table (t->why). */
struct rig *pt_case_begin(struct conform *t, const struct rig_config *c, uint64_t seed);
/* Destroys it. ok: did the case hold so far? */
bool pt_case_end(struct conform *t, struct rig *r, bool ok);
/* The operation went wrong: why, and which it was. Always false. */
bool pt_case_fails(struct conform *t, const struct rig *r, const struct op *op, const char *what);
struct op pt_case_op(const struct rig_config *c, struct rng *rng);

/* pt_growth.c */
bool pt_case_growth(struct conform *t, const struct rig_config *c, uint64_t seed);
/* pt_robust.c */
bool pt_case_update_history(struct conform *t, const struct rig_config *c, uint64_t seed);
bool pt_case_failed_allocations(struct conform *t, const struct rig_config *c, uint64_t seed);
bool pt_case_failed_loads(struct conform *t, const struct rig_config *c, uint64_t seed);
bool pt_case_failed_stores(struct conform *t, const struct rig_config *c, uint64_t seed);
bool pt_case_failed_create(struct conform *t, const struct rig_config *c, uint64_t seed);
bool pt_case_reopened(struct conform *t, const struct rig_config *c, uint64_t seed);
bool pt_case_hostile_bytes(struct conform *t, const struct rig_config *c, uint64_t seed);

#endif
