/* SPDX-License-Identifier: MIT */
/* Writing traces: into .qtr, or into one of the text formats that are read. */
#ifndef QUIRE_TRACE_SINK_H
#define QUIRE_TRACE_SINK_H

#include "trace/trace.h"

struct trace_sink;

/*
 * path "-" is standard output (text only). format NULL: by the path's end.
 * facts are lines "key: value\n" for formats that keep them. NULL with *err.
 */
struct trace_sink *sink_open(const char *path, const char *format, const char *facts, bool tells_calls,
			     struct trace_error *err);
/* Appends a block. -1 with *err: it cannot be written, or the format cannot say it. */
int sink_write(struct trace_sink *s, const struct trace_block *b, struct trace_error *err);
/* Closes and frees, also on failure. */
int sink_close(struct trace_sink *s, struct trace_error *err);
/* What the format could not keep, in words; "": nothing. */
const char *sink_lost(const struct trace_sink *s);

#endif
