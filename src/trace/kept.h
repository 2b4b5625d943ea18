/* SPDX-License-Identifier: MIT */
/*
 * What a source yields, decoded once and kept in memory: many VMs, or many
 * runs beside each other, read it without decoding it again.
 *
 *   source ─▶ trace_keep() ─▶ whoever reads it first
 *                  └─▶ struct trace_kept ─▶ trace_kept_open(), any number of readers
 */
#ifndef QUIRE_TRACE_KEPT_H
#define QUIRE_TRACE_KEPT_H

#include "trace/trace.h"

struct trace_kept;

/*
 * A source that yields what `source` yields, and keeps it while it takes no
 * more than max_bytes. Takes source unless it returns NULL (no memory).
 */
struct trace *trace_keep(struct trace *source, uint64_t max_bytes);
/*
 * What t, of trace_keep(), has yielded so far, to be freed by the caller; t
 * keeps no more. NULL: it was too large, or there was no memory for it.
 */
struct trace_kept *trace_keep_take(struct trace *t);
/* Reads it; any thread may, while nobody frees it. NULL: no memory. */
struct trace *trace_kept_open(const struct trace_kept *k);
void trace_kept_free(struct trace_kept *k);

#endif
