/* SPDX-License-Identifier: MIT */
/*
 * Writing .qtr: a block is under way in memory; closed, its body goes to the
 * file first and its head last, so that a head in the file means a whole block.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "trace/qtr.h"
#include "trace/qtr_code.h"
#include "trace/source.h"

struct qtr_writer {
	int fd;
	char *path;
	uint64_t at; /* where the next block goes */
	uint32_t block_refs;
	uint32_t pid, tid;             /* who runs after all that was written */
	uint32_t block_pid, block_tid; /* and before the block under way */
	uint64_t block_insn, insn;
	struct qtr_counts done; /* blocks that stand in the file */
	struct qtr_encoder *encoder;
	struct qtr_page *gather; /* pages that stand in no block yet */
	uint32_t gathered;
	uint64_t *pages;         /* hashes of all pages so far, open addressing, 0: empty */
	size_t npages, pages_room;
	struct qtr_index_entry *index;
	size_t index_room;
	struct trace_error failed;
};

static int fail(struct qtr_writer *w, int error, struct trace_error *err)
{
	trace_fail(&w->failed, TRACE_EXIT_INPUT, "%s: cannot be written: %s; what it holds so far is a valid trace",
		   w->path, strerror(error));
	*err = w->failed;
	return -1;
}

/* 0 or an errno. */
static int write_at(int fd, const void *p, size_t n, uint64_t at)
{
	while (n) {
		ssize_t done = pwrite(fd, p, n, (off_t)at);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done < 0 ? errno : EIO;
		p = (const char *)p + done;
		n -= (size_t)done;
		at += (uint64_t)done;
	}
	return 0;
}

/* The body has its sum's place free at its beginning. */
static int write_block(struct qtr_writer *w, struct qtr_head *h, uint8_t *body, size_t len, struct trace_error *err)
{
	static const uint8_t zeros[QTR_ALIGN];
	uint64_t sum = digest_bytes(body + QTR_SUM_BYTES, len - QTR_SUM_BYTES);
	int error;

	memcpy(body, &sum, sizeof(sum));
	h->magic = QTR_HEAD_MAGIC;
	h->body_len = (uint32_t)len;
	h->place = w->at;
	h->sum = qtr_head_sum(h);
	error = write_at(w->fd, body, len, w->at + sizeof(*h));
	if (!error)
		error = write_at(w->fd, zeros, align_up(len, QTR_ALIGN) - len, w->at + sizeof(*h) + len);
	if (!error)
		error = write_at(w->fd, h, sizeof(*h), w->at);
	if (error)
		return fail(w, error, err);
	w->at += sizeof(*h) + align_up(len, QTR_ALIGN);
	return 0;
}

/* A body that is not compressed. */
static int write_plain(struct qtr_writer *w, enum qtr_block_type type, const void *p, size_t n, struct trace_error *err)
{
	struct qtr_head h = {.type = type, .first_ref = w->done.refs, .first_insn = w->insn};
	uint8_t *body = malloc(QTR_SUM_BYTES + n);
	int rc;

	if (!body)
		return fail(w, ENOMEM, err);
	if (n)
		memcpy(body + QTR_SUM_BYTES, p, n);
	rc = write_block(w, &h, body, QTR_SUM_BYTES + n, err);
	free(body);
	return rc;
}

static int add_to_index(struct qtr_writer *w, const struct qtr_head *h, struct trace_error *err)
{
	if (w->done.blocks == w->index_room) {
		size_t room = w->index_room ? 2 * w->index_room : 256;
		struct qtr_index_entry *grown = realloc(w->index, room * sizeof(*grown));

		if (!grown)
			return fail(w, ENOMEM, err);
		w->index = grown;
		w->index_room = room;
	}
	w->index[w->done.blocks] = (struct qtr_index_entry){h->place, h->first_ref, h->first_insn};
	w->done.blocks++;
	w->done.refs += h->nrefs;
	w->done.events += h->nevents;
	return 0;
}

/* Is a page of this hash in the file? If not, it is now taken to be. */
static int note_page(struct qtr_writer *w, uint64_t hash, bool *known, struct trace_error *err)
{
	size_t room = w->pages_room;

	if (2 * (w->npages + 1) > room) {
		size_t more = room ? 2 * room : 1024;
		uint64_t *grown = calloc(more, sizeof(*grown));

		if (!grown)
			return fail(w, ENOMEM, err);
		for (size_t i = 0; i < room; i++) {
			size_t at = w->pages[i] % more;

			while (w->pages[i] && grown[at])
				at = (at + 1) % more;
			if (w->pages[i])
				grown[at] = w->pages[i];
		}
		free(w->pages);
		w->pages = grown;
		w->pages_room = room = more;
	}
	size_t at = hash % room;

	while (w->pages[at] && w->pages[at] != hash)
		at = (at + 1) % room;
	*known = w->pages[at] == hash;
	w->npages += !*known;
	w->pages[at] = hash;
	return 0;
}

/* Writes the pages gathered as a block of their own. */
static int flush_pages(struct qtr_writer *w, struct trace_error *err)
{
	struct qtr_head h = {.type = QTR_PAGES, .nrefs = 0, .nevents = w->gathered};
	size_t raw = w->gathered * sizeof(struct qtr_page), n, room = ZSTD_compressBound(raw);
	uint8_t *body;
	int rc;

	if (!raw)
		return 0;
	h.first_ref = w->done.refs;
	h.first_insn = w->block_insn;
	body = malloc(QTR_SUM_BYTES + room);
	n = body ? ZSTD_compress(body + QTR_SUM_BYTES, room, w->gather, raw, 1) : 0;
	if (!n || ZSTD_isError(n)) {
		free(body);
		return fail(w, ENOMEM, err);
	}
	w->gathered = 0;
	rc = write_block(w, &h, body, QTR_SUM_BYTES + n, err);
	free(body);
	return rc;
}

int qtr_flush(struct qtr_writer *w, struct trace_error *err)
{
	struct qtr_head h = {
		.type = QTR_REFS,
		.nrefs = qtr_encoder_refs(w->encoder),
		.nevents = qtr_encoder_events(w->encoder),
		.pid = w->block_pid,
		.tid = w->block_tid,
		.first_ref = w->done.refs,
		.first_insn = w->block_insn,
	};
	uint8_t *body;
	size_t len;

	if (w->failed.exit_code) {
		*err = w->failed;
		return -1;
	}
	/* A page's bytes stand before the events that name them. */
	if (flush_pages(w, err))
		return -1;
	if (h.nrefs + h.nevents == 0)
		return 0;
	body = qtr_encode_finish(w->encoder, &len);
	if (!body)
		return fail(w, ENOMEM, err);
	if (write_block(w, &h, body, len, err) || add_to_index(w, &h, err))
		return -1;
	w->block_pid = w->pid;
	w->block_tid = w->tid;
	w->block_insn = w->insn;
	return 0;
}

static void follow_switches(struct qtr_writer *w, const struct trace_event *events, uint32_t n)
{
	while (n-- > 0)
		if (events[n].kind == EV_SWITCH) {
			w->pid = events[n].pid;
			w->tid = events[n].tid;
			return;
		}
}

int qtr_write_items(struct qtr_writer *w, const ref_t *items, uint32_t n, const struct trace_event *events,
		    struct trace_error *err)
{
	uint32_t before;

	if (w->failed.exit_code) {
		*err = w->failed;
		return -1;
	}
	if (!qtr_encoder_has_room(w->encoder) && qtr_flush(w, err))
		return -1;
	before = qtr_encoder_events(w->encoder);
	qtr_encode(w->encoder, items, n, events);
	follow_switches(w, events, qtr_encoder_events(w->encoder) - before);
	return qtr_encoder_refs(w->encoder) >= w->block_refs ? qtr_flush(w, err) : 0;
}

int qtr_write(struct qtr_writer *w, const struct trace_block *b, struct trace_error *err)
{
	return qtr_write_items(w, b->refs, b->nrefs, b->events, err);
}

int qtr_write_page(struct qtr_writer *w, uint32_t pid, uint64_t gva, const void *bytes, struct trace_error *err)
{
	/* 0 means an empty place of the table. */
	uint64_t hash = digest_bytes(bytes, PAGE_SIZE), key = hash ? hash : 1;
	ref_t item = make_event_ref(0);
	bool known = false;

	if (w->failed.exit_code) {
		*err = w->failed;
		return -1;
	}
	if (!w->gather)
		w->gather = malloc(QTR_PAGES_MAX * sizeof(*w->gather));
	if (!w->gather)
		return fail(w, ENOMEM, err);
	if (note_page(w, key, &known, err))
		return -1;
	if (!known) {
		w->gather[w->gathered].hash = hash;
		memcpy(w->gather[w->gathered].bytes, bytes, PAGE_SIZE);
		if (++w->gathered == QTR_PAGES_MAX && flush_pages(w, err))
			return -1;
	}
	return qtr_write_items(w, &item, 1, &(struct trace_event){.kind = EV_CONTENT, .pid = pid, .addr = gva,
								   .len = PAGE_SIZE, .addr2 = hash}, err);
}

void qtr_at_insn(struct qtr_writer *w, uint64_t insns)
{
	w->insn = insns;
	if (qtr_encoder_refs(w->encoder) + qtr_encoder_events(w->encoder) == 0)
		w->block_insn = insns;
}

struct qtr_counts qtr_written(const struct qtr_writer *w)
{
	struct qtr_counts c = w->done;

	c.refs += qtr_encoder_refs(w->encoder);
	c.events += qtr_encoder_events(w->encoder);
	c.insns = w->insn;
	c.bytes = w->at;
	return c;
}

void qtr_abandon(struct qtr_writer *w)
{
	if (w->fd >= 0)
		close(w->fd);
	qtr_encoder_free(w->encoder);
	free(w->gather);
	free(w->pages);
	free(w->index);
	free(w->path);
	free(w);
}

static int write_start(struct qtr_writer *w, const struct qtr_options *o, struct trace_error *err)
{
	struct qtr_file f = {.magic = QTR_FILE_MAGIC, .version = QTR_VERSION};
	int error;

	f.flags = (o->tells_calls ? QTR_TELLS_CALLS : 0) | (o->counts_insns ? QTR_COUNTS_INSNS : 0);
	f.sum = qtr_file_sum(&f);
	error = write_at(w->fd, &f, sizeof(f), 0);
	if (error)
		return fail(w, error, err);
	w->at = sizeof(f);
	return o->facts && *o->facts ? write_plain(w, QTR_FACTS, o->facts, strlen(o->facts), err) : 0;
}

struct qtr_writer *qtr_create(const char *path, const struct qtr_options *o, struct trace_error *err)
{
	static const struct qtr_options usual;
	struct qtr_writer *w = calloc(1, sizeof(*w));
	char *name = strdup(path);

	if (!o)
		o = &usual;
	memset(err, 0, sizeof(*err));
	if (w && name) {
		*w = (struct qtr_writer){.fd = -1, .path = name, .encoder = qtr_encoder_new()};
		w->block_refs = o->block_refs ? MIN(o->block_refs, (uint32_t)QTR_BLOCK_REFS) : QTR_BLOCK_REFS;
	}
	if (!w || !name || !w->encoder) {
		trace_fail(err, TRACE_EXIT_INPUT, "%s: out of memory", path);
		free(name);
		free(w);
		return NULL;
	}
	w->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (w->fd < 0)
		trace_fail(err, TRACE_EXIT_INPUT, "%s: cannot be written: %s", path, strerror(errno));
	else if (lseek(w->fd, 0, SEEK_SET) < 0)
		trace_fail(err, TRACE_EXIT_INPUT, "%s: is no file that can be written in any order; name a file", path);
	else if (!write_start(w, o, err))
		return w;
	qtr_abandon(w);
	return NULL;
}

int qtr_finish(struct qtr_writer *w, uint64_t *bytes, struct trace_error *err)
{
	uint8_t body[QTR_SUM_BYTES + sizeof(struct qtr_end)];
	struct qtr_head h = {.type = QTR_END};
	struct qtr_end end = {0};
	int rc = qtr_flush(w, err);

	if (!rc) {
		end.index_place = w->at;
		rc = write_plain(w, QTR_INDEX, w->index, w->done.blocks * sizeof(*w->index), err);
	}
	if (!rc) {
		end.refs = w->done.refs;
		end.events = w->done.events;
		end.insns = w->insn;
		end.blocks = w->done.blocks;
		h.first_ref = end.refs;
		h.first_insn = end.insns;
		memcpy(body + QTR_SUM_BYTES, &end, sizeof(end));
		rc = write_block(w, &h, body, sizeof(body), err);
	}
	if (close(w->fd) && !rc)
		rc = fail(w, errno, err);
	w->fd = -1;
	*bytes = w->at;
	qtr_abandon(w);
	return rc;
}

int qtr_close(struct qtr_writer *w, struct trace_error *err)
{
	uint64_t bytes;

	return qtr_finish(w, &bytes, err);
}
