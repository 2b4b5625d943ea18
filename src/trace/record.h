/* SPDX-License-Identifier: MIT */
/*
 * Recording a program: it runs under QEMU's user mode with Quire's plugin,
 * which hands what the program and its children do to this process
 * (trace/relay.h), and that writes it to a .qtr file while they run.
 */
#ifndef QUIRE_TRACE_RECORD_H
#define QUIRE_TRACE_RECORD_H

#include <limits.h>

#include "trace/relay.h"

/*
 * A program says what of it is of interest by prctl(RECORD_MARK_CALL, 1) and
 * prctl(RECORD_MARK_CALL, 0): natively the kernel refuses them (EINVAL), and
 * nothing else happens.
 */
#define RECORD_MARK_CALL 0x51554952 /* "QUIR" */

struct record_result;
struct record_options {
	const char *path;      /* where to write; NULL: a new file in $TMPDIR or /tmp */
	struct relay_window window; /* what is recorded; zeroed: all */
	const char *recorder;  /* who records, for the file's facts; NULL: not said */
	uint64_t limit;        /* stop after so many references; 0: none */
	bool stdout_to_stderr; /* the program's standard output goes to our standard error */
	unsigned linger_ms;    /* how long to wait for descendants after the program's own end */
	/* Called now and then; true stops the recording as `limit` does. May be NULL. */
	bool (*poll)(void *ctx, const struct record_result *so_far);
	void *ctx;
};

struct record_result {
	int exit_status;    /* the program's, if signal is 0 */
	int signal;         /* that ended it; 0: none */
	bool limited;       /* stopped at limit or by poll; the status is then of no meaning */
	uint64_t refs, events; /* recorded */
	uint64_t insns;     /* executed, recorded or not */
	uint64_t bytes;     /* of the file */
	uint32_t processes; /* recorded, the program's own included */
	uint32_t threads;
	uint32_t marks;     /* passed */
	uint32_t outliving; /* descendants still running when recording ended; they were left alone */
};

/*
 * Runs argv (argv[0] looked up in PATH) with this process's standard streams.
 * path_out has PATH_MAX bytes; the caller removes the file. 0, or -1 with *err
 * set (and no file) if the program could not be run. A recording that broke
 * off (no space left) returns -1 with *err and keeps the file, its path in
 * path_out, else "".
 */
int record_program(char **argv, const struct record_options *o, char *path_out,
		   struct record_result *res, struct trace_error *err);

#endif
