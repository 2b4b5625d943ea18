/* SPDX-License-Identifier: MIT */
/*
 * Recording a program: it runs under QEMU's user mode with Quire's plugin,
 * which writes what the program and its children do into a spool.
 */
#ifndef QUIRE_TRACE_RECORD_H
#define QUIRE_TRACE_RECORD_H

#include <limits.h>

#include "trace/trace.h"

struct record_options {
	const char *spool;     /* where to write; NULL: a new file in $TMPDIR or /tmp */
	uint64_t limit;        /* stop after so many references; 0: none */
	bool stdout_to_stderr; /* the program's standard output goes to our standard error */
	unsigned linger_ms;    /* how long to wait for descendants after the program's own end */
	/* Called now and then; true stops the recording as `limit` does. May be NULL. */
	bool (*poll)(void *ctx);
	void *ctx;
};

struct record_result {
	int exit_status;    /* the program's, if signal is 0 */
	int signal;         /* that ended it; 0: none */
	bool limited;       /* stopped at limit or by poll; the status is then of no meaning */
	uint64_t refs;      /* recorded */
	uint64_t bytes;     /* of the spool */
	uint32_t processes; /* recorded, the program's own included */
	uint32_t threads;
	uint32_t outliving; /* descendants still running when recording ended; they were left alone */
};

/*
 * Runs argv (argv[0] looked up in PATH) with this process's standard streams.
 * spool_path_out has PATH_MAX bytes; the caller removes the file. 0, or -1
 * with *err set (and no spool) if the program could not be run. A recording
 * that broke off (no space left) returns -1 with *err and keeps the spool,
 * its path in spool_path_out, else "".
 */
int record_program(char **argv, const struct record_options *o, char *spool_path_out,
		   struct record_result *res, struct trace_error *err);

#endif
