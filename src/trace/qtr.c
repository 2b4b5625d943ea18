/* SPDX-License-Identifier: MIT */
/*
 * Reading .qtr. Nothing in the file is trusted: heads and bodies are checked
 * by their sums, and decoding keeps its bounds even if those are forged. A
 * wrong byte ends the reading with its place; what came before stands. A file
 * that ends after a whole block, or with a block whose head was never written,
 * is what a killed recorder leaves: a valid trace that is not closed.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "trace/qtr_reader.h"

int qtr_damaged(struct qtr_reader *r, uint64_t place, const char *what)
{
	return trace_fail(&r->damage, TRACE_EXIT_INPUT,
			  "%s: byte %llu: %s; what came before it was kept. Record it again, or copy it again, for the rest",
			  r->file.t.name, (unsigned long long)place, what);
}

/* Up to n bytes; fewer only at the end of the file. */
static size_t read_bytes(struct qtr_reader *r, void *out, size_t n)
{
	size_t done = MIN(n, r->buf_len - r->buf_pos);

	memcpy(out, r->file.buf + r->buf_pos, done);
	r->buf_pos += done;
	while (done < n) {
		ssize_t got = input_read(r->file.in, (char *)out + done, n - done);

		if (got <= 0)
			break;
		done += (size_t)got;
	}
	r->at += done;
	return done;
}

static bool is_zero(const void *p, size_t n)
{
	const uint8_t *byte = p;

	for (size_t i = 0; i < n; i++)
		if (byte[i])
			return false;
	return true;
}

bool is_valid_qtr_head(const struct qtr_head *h, uint64_t place)
{
	return h->magic == QTR_HEAD_MAGIC && h->sum == qtr_head_sum(h) && h->place == place &&
	       h->body_len >= QTR_SUM_BYTES && h->body_len <= QTR_BODY_MAX && h->nrefs <= QTR_BLOCK_REFS_MAX &&
	       h->nevents <= QTR_BLOCK_EVENTS_MAX;
}

/* 1: the next block's head stands in *h; 0: the file's end; -1: damage. */
static int read_head(struct qtr_reader *r, struct qtr_head *h)
{
	uint64_t place = r->at;
	size_t n = read_bytes(r, h, sizeof(*h));

	/* A head that was never written is zeros. */
	if (n == 0 || (n == sizeof(*h) && is_zero(h, n)))
		return 0;
	if (n < sizeof(*h))
		return qtr_damaged(r, place, "the file ends inside a block's head");
	if (!is_valid_qtr_head(h, place))
		return qtr_damaged(r, place, "not the head of a block");
	return 1;
}

/* The body of the head just read, into r->body. */
static int read_body(struct qtr_reader *r, const struct qtr_head *h)
{
	size_t padded = align_up(h->body_len, QTR_ALIGN);
	uint64_t place = r->at, sum;

	if (padded + QTR_READ_SLACK > r->body_room) {
		uint8_t *grown = realloc(r->body, padded + QTR_READ_SLACK);

		if (!grown)
			return qtr_damaged(r, place, "out of memory for a block");
		r->body = grown;
		r->body_room = padded + QTR_READ_SLACK;
	}
	if (read_bytes(r, r->body, padded) < padded)
		return qtr_damaged(r, place, "the file ends inside a block");
	memset(r->body + padded, 0, QTR_READ_SLACK);
	memcpy(&sum, r->body, sizeof(sum));
	if (sum != digest_bytes(r->body + QTR_SUM_BYTES, h->body_len - QTR_SUM_BYTES) ||
	    !is_zero(r->body + h->body_len, padded - h->body_len))
		return qtr_damaged(r, place, "a block's bytes are not those that were written");
	return 0;
}

static void keep_facts(struct qtr_reader *r)
{
	size_t n = r->head.body_len - QTR_SUM_BYTES;
	char *facts = malloc(n + 1);

	if (!facts)
		return;
	memcpy(facts, r->body + QTR_SUM_BYTES, n);
	facts[n] = '\0';
	free(r->facts);
	r->facts = facts;
}

/* Moves to the next block of references; r->ended where there is none. */
static int next_block(struct qtr_reader *r)
{
	int rc = read_head(r, &r->head);

	if (rc <= 0) {
		r->ended = rc == 0;
		return rc;
	}
	if (read_body(r, &r->head))
		return -1;
	switch (r->head.type) {
	case QTR_FACTS:
		keep_facts(r);
		break;
	case QTR_REFS:
		if (!qtr_decode_begin(r->decoder, &r->head, r->body + QTR_SUM_BYTES, r->head.body_len - QTR_SUM_BYTES))
			return qtr_damaged(r, r->head.place, "a block's bytes make no sense");
		if (r->head.first_ref != r->refs)
			return qtr_damaged(r, r->head.place, "a block is missing before this one");
		r->in_block = true;
		break;
	case QTR_END:
		r->ended = r->closed = true;
		break;
	default: /* pages and the index are read by those who want them */
		break;
	}
	return 0;
}

/* Decodes up to max_refs references into b, and counts them. */
static void decode(struct qtr_reader *r, struct trace_block *b, uint64_t max_refs)
{
	uint32_t refs = b->nrefs - b->nevents;

	if (!qtr_decode(r->decoder, b, (uint32_t)MIN(max_refs, (uint64_t)UINT32_MAX))) {
		qtr_damaged(r, r->head.place, "a block's bytes make no sense");
		r->in_block = false;
		return;
	}
	r->in_block = qtr_decode_more(r->decoder);
	r->refs += b->nrefs - b->nevents - refs;
}

/* After a seek: drops what stands before the reference looked for, but follows who runs. */
static void skip(struct qtr_reader *r)
{
	struct trace_block *b = r->scratch;

	b->nrefs = b->nevents = 0;
	decode(r, b, r->skip_to - r->refs);
	for (uint32_t i = 0; i < b->nevents; i++)
		if (b->events[i].kind == EV_SWITCH) {
			r->head.pid = b->events[i].pid;
			r->head.tid = b->events[i].tid;
		}
}

static int qtr_read(struct trace *t, struct trace_block *b, struct trace_error *err)
{
	struct qtr_reader *r = container_of(t, struct qtr_reader, file.t);

	b->nrefs = b->nevents = 0;
	while (!r->ended && !r->damage.exit_code && b->nrefs < TRACE_BLOCK_REFS - 1 &&
	       b->nevents < TRACE_BLOCK_EVENTS - 1) {
		if (!r->in_block) {
			if (next_block(r) < 0)
				break;
			continue;
		}
		if (r->refs < r->skip_to) {
			skip(r);
			continue;
		}
		if (r->tell_owner && r->head.pid)
			block_put_event(b, &(struct trace_event){.kind = EV_SWITCH, .pid = r->head.pid, .tid = r->head.tid});
		r->tell_owner = false;
		decode(r, b, UINT32_MAX);
	}
	if (b->nrefs)
		return 1;
	if (!r->damage.exit_code)
		return 0;
	*err = r->damage;
	return -1;
}

static int check_start(struct qtr_reader *r)
{
	size_t n = read_bytes(r, &r->start, sizeof(r->start));

	if (n < sizeof(r->start) || r->start.magic != QTR_FILE_MAGIC)
		return qtr_damaged(r, 0, "not the beginning of a .qtr file");
	if (r->start.sum != qtr_file_sum(&r->start))
		return qtr_damaged(r, 0, "the file's first bytes are not those that were written");
	if (r->start.version != QTR_VERSION)
		return qtr_damaged(r, 8, "a .qtr file of another version of Quire");
	return 0;
}

static int start_over(struct qtr_reader *r)
{
	r->at = r->refs = 0;
	r->in_block = r->ended = r->closed = r->tell_owner = false;
	r->skip_to = 0;
	memset(&r->damage, 0, sizeof(r->damage));
	return check_start(r);
}

static int qtr_rewind(struct trace *t, struct trace_error *err)
{
	struct qtr_reader *r = container_of(t, struct qtr_reader, file.t);

	if (trace_file_rewind(t, err))
		return -1;
	r->buf_pos = r->buf_len = 0;
	if (!start_over(r))
		return 0;
	*err = r->damage;
	return -1;
}

static void qtr_close_trace(struct trace *t)
{
	struct qtr_reader *r = container_of(t, struct qtr_reader, file.t);

	qtr_decoder_free(r->decoder);
	free(r->scratch);
	free(r->body);
	free(r->facts);
	free(r->index);
	trace_file_close(t);
}

static const struct trace_ops qtr_ops = {.read = qtr_read, .rewind = qtr_rewind, .close = qtr_close_trace};

bool is_qtr(const struct trace *t)
{
	return t->ops == &qtr_ops;
}

static bool qtr_recognises(const struct trace_format *f, const struct trace_head *head)
{
	uint64_t magic;

	(void)f;
	if (head->n < sizeof(magic))
		return false;
	memcpy(&magic, head->bytes, sizeof(magic));
	return magic == QTR_FILE_MAGIC;
}

static struct trace *open_head(const struct trace_format *f, const struct trace_head *head, struct trace_error *err)
{
	struct qtr_reader *r = trace_file_open(f, &qtr_ops, sizeof(*r), TRACE_HEAD_BYTES, head, err);

	if (!r)
		return NULL;
	r->buf_len = head->n;
	r->decoder = qtr_decoder_new();
	if (!r->decoder)
		qtr_damaged(r, 0, "out of memory");
	else if (!start_over(r)) {
		r->file.t.tells_calls = r->start.flags & QTR_TELLS_CALLS;
		return &r->file.t;
	}
	*err = r->damage;
	qtr_close_trace(&r->file.t);
	return NULL;
}

const struct trace_format qtr_format = {
	.name = "qtr",
	.suffix = ".qtr",
	.summary = "what `quire record` writes: processes, threads and their memory calls, compressed",
	.recognises = qtr_recognises,
	.open = open_head,
};
