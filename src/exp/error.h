/* SPDX-License-Identifier: MIT */
/* Messages of the workbench: one sentence what is wrong, what to do, and the exit code it leads to. */
#ifndef QUIRE_EXP_ERROR_H
#define QUIRE_EXP_ERROR_H

#include "trace/trace.h"

/* Exit codes of the program (docs/quire.1.scd, EXIT STATUS). */
enum {
	EXIT_DONE = 0,
	EXIT_WRONG = 1,       /* the run found something wrong */
	EXIT_USAGE = 2,       /* usage, configuration, unknown names */
	EXIT_INPUT = 3,       /* an input missing, unreadable, damaged */
	EXIT_RESOURCES = 4,   /* out of machine resources */
	EXIT_INTERRUPTED = 130,
};

/* Fills *err and returns its exit code. A message too long is cut, never overrun. */
int error_set(struct trace_error *err, int exit_code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
