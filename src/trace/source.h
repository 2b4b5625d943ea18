/* SPDX-License-Identifier: MIT */
/* What the sources of work share: reporting, and references of any size. */
#ifndef QUIRE_TRACE_SOURCE_H
#define QUIRE_TRACE_SOURCE_H

#include "trace/trace.h"

enum { TRACE_EXIT_USAGE = 2, TRACE_EXIT_INPUT = 3 };

/* Fills *err and returns -1, so that callers can return it. */
int trace_fail(struct trace_error *err, int exit_code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4), cold));

/* An event and the reference that stands for it; there must be room for both. */
static inline void block_put_event(struct trace_block *b, const struct trace_event *ev)
{
	b->events[b->nevents] = *ev;
	b->refs[b->nrefs++] = make_event_ref(b->nevents++);
}

static ALWAYS_INLINE void block_put_ref(struct trace_block *b, uint64_t gva, enum acc_kind kind, unsigned size)
{
	b->refs[b->nrefs++] = make_ref(gva, kind, size);
}

/* The largest access a text line may name, and the references it becomes at most. */
enum { ACCESS_MAX = 64 * 1024, ACCESS_REFS_MAX = ACCESS_MAX / 128 };

/*
 * Appends an access of any size from 1 to ACCESS_MAX, all of it within what
 * ref_gva_ok allows. Sizes that are no power of two go up to the next one if
 * that crosses no page the access itself does not cross, else down; above 128
 * bytes one reference each 128.
 */
void block_put_access(struct trace_block *b, uint64_t gva, enum acc_kind kind, uint64_t size);

/* One reader of a file format. The first that recognises the beginning of a file reads it. */
struct trace_format {
	const char *name, *alias, *suffix, *summary;
	/* Does a file that begins with these bytes look like this format? whole: there are no more. */
	bool (*recognises)(const char *head, size_t n, bool whole);
	/* Takes fd (also on failure); head are its first n bytes, already read. NULL with *err. */
	struct trace *(*open)(int fd, const char *name, const char *head, size_t n, struct trace_error *err);
};

extern const struct trace_format lackey_format, addr_rw_format, rw_addr_format, csv_format, spool_format;

enum { TRACE_HEAD_BYTES = 4096 };

#endif
