/* SPDX-License-Identifier: MIT */
/* Readers of records of fixed size: what they share. Buffers, places, damage and rewinding are here. */
#include <string.h>

#include "trace/source.h"

void *record_open(const struct trace_format *f, const struct trace_ops *ops, size_t bytes,
		  const struct trace_head *head, struct trace_error *err)
{
	struct record_reader *r = trace_file_open(f, ops, bytes, RECORD_BUF, head, err);

	if (r)
		r->len = head->n;
	return r;
}

static void fail(struct record_reader *r, uint64_t at, const char *what)
{
	trace_fail(&r->damage, TRACE_EXIT_INPUT, "%s: byte %llu%s: %s; what came before it was kept. Cut the file there",
		   r->file.t.name, (unsigned long long)at, r->file.t.packing ? " when unpacked" : "", what);
}

void record_damaged(struct record_reader *r, size_t size, const char *what)
{
	fail(r, r->at - size, what);
}

/* What is left moves to the front, and more is read behind it. False at the end, or with damage set. */
static bool refill(struct record_reader *r)
{
	ssize_t got;

	memmove(r->file.buf, r->file.buf + r->pos, r->len - r->pos);
	r->len -= r->pos;
	r->pos = 0;
	got = trace_file_read(&r->file, r->file.buf + r->len, RECORD_BUF - r->len);
	if (got < 0)
		fail(r, r->at + r->len, trace_file_why(&r->file));
	r->len += got > 0 ? (size_t)got : 0;
	return got > 0;
}

const uint8_t *record_next(struct record_reader *r, size_t size)
{
	const uint8_t *p;

	while (unlikely(r->len - r->pos < size)) {
		if (r->damage.exit_code)
			return NULL;
		if (!refill(r)) {
			if (r->len > r->pos && !r->damage.exit_code)
				fail(r, r->at, "the file ends inside a record");
			return NULL;
		}
	}
	p = (const uint8_t *)r->file.buf + r->pos;
	r->pos += size;
	r->at += size;
	return p;
}

int record_result(const struct record_reader *r, const struct trace_block *b, struct trace_error *err)
{
	if (b->nrefs)
		return 1;
	if (!r->damage.exit_code)
		return 0;
	*err = r->damage;
	return -1;
}

int record_rewind(struct record_reader *r, struct trace_error *err)
{
	if (trace_file_rewind(&r->file.t, err))
		return -1;
	r->pos = r->len = 0;
	r->at = 0;
	memset(&r->damage, 0, sizeof(r->damage));
	return 0;
}
