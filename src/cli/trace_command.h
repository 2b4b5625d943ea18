/* SPDX-License-Identifier: MIT */
/* What the parts of `quire trace` share. */
#ifndef QUIRE_CLI_TRACE_COMMAND_H
#define QUIRE_CLI_TRACE_COMMAND_H

#include "cli/cli.h"

/* Options of all its commands; each takes those it has a use for. */
struct trace_args {
	const char **file; /* those that are no options, in order */
	unsigned nfiles;
	const char *out, *format, *json;
	uint64_t from, to, quantum;
	uint32_t pid;
	bool at_marks, one_machine, quiet;
};

/* The file of an argument [trace:][FORMAT:]FILE; NULL after complaining, with the exit code in *code. */
struct trace *trace_command_open(const char *arg, int *code);

/* Each: an exit code, after complaining where it is not 0. */
int trace_info(const struct trace_args *a);
int trace_check(const struct trace_args *a);

#endif
