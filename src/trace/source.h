/* SPDX-License-Identifier: MIT */
/* What the sources of work share: reporting, and references of any size. */
#ifndef QUIRE_TRACE_SOURCE_H
#define QUIRE_TRACE_SOURCE_H

#include "trace/input.h"
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

/* A file's beginning, and the file itself, read so far. */
struct trace_head {
	const char *name; /* for messages */
	struct trace_input *in;
	int fd;           /* of in, for a reader that seeks; -1 if the file is packed */
	const char *bytes;
	size_t n;
	bool whole; /* there are no more */
};

/* One reader of a file format. The first that recognises the beginning of a file reads it. */
struct trace_format {
	const char *name, *alias, *summary;
	const char *suffix; /* one or more, with blanks between */
	/* Does a file that begins with these bytes look like this format? */
	bool (*recognises)(const struct trace_format *f, const struct trace_head *head);
	/* Takes head->in (and with it head->fd), also on failure. NULL with *err. */
	struct trace *(*open)(const struct trace_format *f, const struct trace_head *head, struct trace_error *err);
};

extern const struct trace_format qtr_format, champsim_format, drmemtrace_format;

/* A file that is read through a buffer. Its readers begin with it. */
struct trace_file {
	struct trace t;
	struct trace_input *in;
	int fd;          /* as of struct trace_head */
	char *buf;
	uint64_t barren; /* bytes read since the last reference */
};

/* A packed file that unpacks to so much without one reference is no trace, and may have been made to hurt. */
enum { TRACE_BARREN_MAX = 256 * 1024 * 1024 };

/* As input_read(), with that limit. Readers set file->barren to 0 when they have found a reference. */
ssize_t trace_file_read(struct trace_file *file, void *buf, size_t n);
/* Why trace_file_read() said -1. */
const char *trace_file_why(const struct trace_file *file);

/*
 * A reader of `bytes` bytes, zeroed but for its trace_file, with a buffer of
 * buf_bytes that begins with the head. Takes head->in. NULL with *err.
 */
void *trace_file_open(const struct trace_format *f, const struct trace_ops *ops, size_t bytes, size_t buf_bytes,
		      const struct trace_head *head, struct trace_error *err);
/* Back to the file's first byte; -1 with *err for a pipe. */
int trace_file_rewind(struct trace *t, struct trace_error *err);
void trace_file_close(struct trace *t);

enum { TRACE_HEAD_BYTES = 4096 };

/* Readers of records of fixed size begin with it. */
struct record_reader {
	struct trace_file file;
	size_t pos, len;   /* of what is unread in file.buf */
	uint64_t at;       /* place of file.buf[pos] in the unpacked bytes */
	struct trace_error damage;
};

enum { RECORD_BUF = 256 * 1024 };

/* As trace_file_open, for a struct that begins with a record_reader. */
void *record_open(const struct trace_format *f, const struct trace_ops *ops, size_t bytes,
		  const struct trace_head *head, struct trace_error *err);
/* The next record of size bytes; NULL at the end, or with damage set. */
const uint8_t *record_next(struct record_reader *r, size_t size);
/* What is wrong with the record that was taken last, of size bytes. */
void record_damaged(struct record_reader *r, size_t size, const char *what);
/* What trace_ops.read returns once b holds what there was. */
int record_result(const struct record_reader *r, const struct trace_block *b, struct trace_error *err);
int record_rewind(struct record_reader *r, struct trace_error *err);

#endif
