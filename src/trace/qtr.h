/* SPDX-License-Identifier: MIT */
/*
 * Quire's own trace format, .qtr (docs/qtr-format.md): compressed blocks that
 * each decode on their own, a checksum each, an index at the end. Whatever
 * ends a writer, the blocks written so far are a valid trace.
 */
#ifndef QUIRE_TRACE_QTR_H
#define QUIRE_TRACE_QTR_H

#include "trace/trace.h"

struct qtr_options {
	/* Lines "key: value\n" for people and scripts: command, host, recorder…; NULL: none. */
	const char *facts;
	bool tells_calls;  /* as struct trace */
	bool counts_insns; /* qtr_at_insn() is called: instruction counts mean something */
	uint32_t block_refs; /* a block is closed at so many; 0: the usual */
};

struct qtr_writer;

/* Creates the file (replaced if it exists). NULL with *err set. o may be NULL. */
struct qtr_writer *qtr_create(const char *path, const struct qtr_options *o, struct trace_error *err);
/*
 * Appends references and events in order. -1 with *err (no space left, say)
 * also for all later calls; what was written before stays valid.
 */
int qtr_write(struct qtr_writer *w, const struct trace_block *b, struct trace_error *err);
/* The same of items that stand in no trace_block, at most TRACE_BLOCK_REFS. */
int qtr_write_items(struct qtr_writer *w, const ref_t *items, uint32_t n, const struct trace_event *events,
		    struct trace_error *err);
/*
 * The page of a file mapped at gva by pid has these PAGE_SIZE bytes: an EV_CONTENT, and the bytes unless the same
 * stand in the file already.
 */
int qtr_write_page(struct qtr_writer *w, uint32_t pid, uint64_t gva, const void *bytes, struct trace_error *err);
/* So many instructions were executed before what is written next. Never less than before. */
void qtr_at_insn(struct qtr_writer *w, uint64_t insns);
/* Ends the block under way, so that a kill from here on loses nothing of it. */
int qtr_flush(struct qtr_writer *w, struct trace_error *err);
/* Writes the index and the end mark, closes, frees; frees also on failure. */
int qtr_close(struct qtr_writer *w, struct trace_error *err);
/* The same, telling the whole file's bytes. */
int qtr_finish(struct qtr_writer *w, uint64_t *bytes, struct trace_error *err);
/* Closes without an end mark, as a kill would. */
void qtr_abandon(struct qtr_writer *w);

/* So far. */
struct qtr_counts {
	uint64_t refs, events, insns, blocks, bytes;
};
struct qtr_counts qtr_written(const struct qtr_writer *w);

/* ---- reading: traces opened by trace_open() whose format is "qtr" ---- */

bool is_qtr(const struct trace *t);
/* The next read begins with reference number ref (events not counted), EV_SWITCH before it. Past the end: the end. */
int qtr_seek(struct trace *t, uint64_t ref, struct trace_error *err);

struct qtr_info {
	const char *facts; /* the trace's own; "" if none */
	struct qtr_counts counts; /* of the whole file: by the end mark, else by looking at each block's head */
	bool closed;       /* it has its end mark: nothing is missing */
	bool counts_insns;
};
int qtr_info(struct trace *t, struct qtr_info *out, struct trace_error *err);

/* "qtr" and nothing else: a file just recorded. NULL with *err. */
struct trace *qtr_open(const char *path, struct trace_error *err);

#endif
