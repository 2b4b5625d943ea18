/* SPDX-License-Identifier: MIT */
/* Unknown names: what exists, and what was probably meant. */
#ifndef QUIRE_EXP_NAMES_H
#define QUIRE_EXP_NAMES_H

#include "exp/error.h"

/* The i-th known name, NULL past the end. */
typedef const char *(*names_at)(unsigned i);

/* The known name that differs least from `name`, if it differs by no more than a third; else NULL. */
const char *names_nearest(names_at at, const char *name);
/* "unknown KIND 'NAME'; did you mean 'X'? There are: a, b, c", exit code 2. where: "FILE:LINE: " or "". */
int names_unknown(struct trace_error *err, const char *where, const char *kind, const char *name, names_at at);

const char *names_scheme(unsigned i);
const char *names_format(unsigned i);
const char *names_machine(unsigned i);
const char *names_org(unsigned i);
const char *names_synth(unsigned i);

#endif
