/* SPDX-License-Identifier: MIT */
/* Traces made of other traces. They take what they are made of, and close it with themselves. */
#ifndef QUIRE_TRACE_VIEW_H
#define QUIRE_TRACE_VIEW_H

#include "trace/trace.h"

struct cut_range {
	uint64_t from, to; /* references, counted from 0: [from, to) */
	uint32_t pid;      /* of this process alone; 0: of all */
};

/*
 * The references of a range. What happened to memory before it (mappings,
 * forks, ends) stands before the first of them, so that address spaces are what
 * they were; system calls outside the range are left out. With a pid, what
 * other processes did is left out too, and what the process made of itself by
 * fork. Takes inner, also on failure. NULL with *err.
 */
struct trace *trace_cut(struct trace *inner, const struct cut_range *range, struct trace_error *err);

enum { MERGE_MAX = 1024 };

struct merge_options {
	uint64_t quantum;  /* references before another trace has its turn; at least 1 */
	bool at_marks;     /* also where a trace itself changes process or thread, or calls its kernel */
	bool one_machine;  /* numbers of processes mean the same in all; else they are kept apart */
};

/*
 * Traces in turns. Apart, a number that is taken is replaced by a free one, in
 * order of appearance. On one machine a process ends when all traces have
 * ended, and a second trace of it is a thread more. A damaged trace is
 * left out from there on, and reported when the others have ended. Takes all of
 * in[], also on failure. NULL with *err.
 */
struct trace *trace_merge(struct trace **in, unsigned n, const struct merge_options *o, struct trace_error *err);

#endif
