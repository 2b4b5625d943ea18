/* SPDX-License-Identifier: MIT */
/*
 * Reading the spool. Nothing in the file is trusted: heads and bodies are
 * checked by their sums, and decoding never leaves the body even if those are
 * forged. A wrong byte ends the reading with its place; what came before
 * stands.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/digest.h"
#include "trace/source.h"
#include "trace/spool.h"

struct spool_reader {
	struct trace_file file;
	size_t buf_pos, buf_len;
	uint64_t at;         /* place in the file of what is read next */
	uint64_t refs;       /* handed out */
	bool ended;          /* the end mark was read */
	uint32_t pid, tid;   /* the last EV_SWITCH; pid 0: none yet */
	struct spool_head head; /* of the block being decoded */
	const uint8_t *p, *end;
	uint32_t items_left;
	uint64_t nrefs_left;
	uint64_t last[3];
	struct trace_error damage; /* told at the next read */
	uint8_t body[SPOOL_BODY_MAX + SPOOL_ALIGN + SPOOL_SLACK];
};

enum { SPOOL_BUF = 256 * 1024 };

static int damaged(struct spool_reader *r, uint64_t place, const char *what)
{
	return trace_fail(&r->damage, TRACE_EXIT_INPUT,
			  "%s: byte %llu: %s; what came before it was kept. Record the program again for the rest",
			  r->file.t.name, (unsigned long long)place, what);
}

/* Up to n bytes; fewer only at the end of the file. */
static size_t read_bytes(struct spool_reader *r, void *out, size_t n)
{
	size_t done = 0;

	while (done < n) {
		if (r->buf_pos == r->buf_len) {
			ssize_t got = read(r->file.fd, r->file.buf, SPOOL_BUF);

			if (got < 0 && errno == EINTR)
				continue;
			if (got <= 0)
				break;
			r->buf_pos = 0;
			r->buf_len = (size_t)got;
		}
		size_t take = MIN(n - done, r->buf_len - r->buf_pos);

		memcpy((char *)out + done, r->file.buf + r->buf_pos, take);
		r->buf_pos += take;
		done += take;
	}
	r->at += done;
	return done;
}

static bool is_valid_head(const struct spool_head *h, uint64_t place)
{
	return h->magic == SPOOL_HEAD_MAGIC && h->place == place && h->body_len <= SPOOL_BODY_MAX &&
	       h->nitems <= h->body_len && h->nrefs <= (h->flags & SPOOL_END ? UINT64_MAX : h->nitems) &&
	       h->head_sum == digest_bytes(h, offsetof(struct spool_head, head_sum));
}

/* The next block's head: 1; 0 at the file's end; -1 damaged. Steps over what killed writers left. */
static int next_head(struct spool_reader *r)
{
	bool in_hole = false;

	for (;;) {
		uint64_t place = r->at;
		size_t n = read_bytes(r, &r->head, sizeof(r->head));

		if (n == 0)
			return 0;
		if (n < sizeof(r->head))
			return damaged(r, place, "the file ends inside a block's head");
		if (is_valid_head(&r->head, place))
			return 1;
		if (r->head.magic == 0)
			in_hole = true;
		else if (!in_hole)
			return damaged(r, place, "not the head of a block");
	}
}

static int next_block(struct spool_reader *r)
{
	int rc = next_head(r);
	uint64_t place = r->at;
	size_t padded = align_up(r->head.body_len, SPOOL_ALIGN);

	if (rc < 0)
		return rc;
	if (rc == 0)
		return damaged(r, r->at, "the recording was cut short here (no end mark)");
	if (read_bytes(r, r->body, padded) < padded)
		return damaged(r, place, "the file ends inside a block");
	memset(r->body + padded, 0, SPOOL_SLACK);
	if (r->head.body_sum != digest_bytes(r->body, r->head.body_len))
		return damaged(r, place, "a block's bytes have changed since they were written");
	if (r->head.flags & SPOOL_END) {
		if (r->head.nrefs != r->refs)
			return damaged(r, place, "blocks are missing (counts of references differ)");
		r->ended = true;
	}
	r->p = r->body;
	r->end = r->body + r->head.body_len;
	r->items_left = r->head.nitems;
	r->nrefs_left = r->head.nrefs;
	memset(r->last, 0, sizeof(r->last));
	return 1;
}

/* False if the number does not end within the body or is longer than 64 bits. */
static bool get_varint(struct spool_reader *r, uint64_t *out)
{
	uint64_t v = 0;

	for (unsigned shift = 0; r->p < r->end && shift < 64; shift += 7) {
		uint8_t byte = *r->p++;

		v |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80)) {
			*out = v;
			return true;
		}
	}
	return false;
}

static bool decode_event(struct spool_reader *r, struct trace_block *b)
{
	struct trace_event ev = {.kind = *r->p++ >> 2};
	uint64_t field[9];

	for (unsigned i = 0; i < ARRAY_SIZE(field); i++)
		if (!get_varint(r, &field[i]))
			return false;
	if (ev.kind > EV_SYSCALL || field[0] > UINT8_MAX || field[1] > UINT16_MAX || field[2] > UINT32_MAX ||
	    field[3] > UINT32_MAX || field[4] > UINT32_MAX)
		return false;
	ev.prot = (uint8_t)field[0];
	ev.flags = (uint16_t)field[1];
	ev.pid = (uint32_t)field[2];
	ev.child = (uint32_t)field[3];
	ev.tid = (uint32_t)field[4];
	ev.addr = field[5];
	ev.len = field[6];
	ev.addr2 = field[7];
	ev.len2 = field[8];
	block_put_event(b, &ev);
	return true;
}

/*
 * Decodes a run of n references (fewer if an event comes). Whole words are
 * loaded, up to 9 bytes past the last item: SPOOL_SLACK covers it, and the
 * check after the run finds it.
 */
static bool decode_refs(struct spool_reader *r, struct trace_block *b, uint32_t n)
{
	static const uint8_t length[8] = {1, 2, 3, 4, 5, 6, 7, 9};
	static const uint64_t mask[8] = {0, 0xff, 0xffff, 0xffffff, 0xffffffff, 0xffffffffff,
					 0xffffffffffff, UINT64_MAX};
	const uint8_t *p = r->p, *end = r->end;
	ref_t *out = b->refs + b->nrefs, *stop = out + n;
	uint64_t bad = 0;

	while (out < stop && p < end) {
		unsigned control = *p, kind = control & REF_KIND;
		uint64_t z, gva;

		if (kind == REF_EVENT)
			break;
		memcpy(&z, p + 1, sizeof(z));
		z &= mask[control >> 5];
		gva = r->last[kind] += z >> 1 ^ -(z & 1);
		bad |= gva ^ (uint64_t)((int64_t)(gva << 6) >> 6);
		*out++ = make_ref(gva, (enum acc_kind)kind, 1u << ((control >> REF_SIZE_SHIFT) & 7));
		p += length[control >> 5];
	}
	uint32_t done = (uint32_t)(out - (b->refs + b->nrefs));

	if (bad || p > end || done > r->nrefs_left)
		return false;
	r->p = p;
	b->nrefs += done;
	r->refs += done;
	r->nrefs_left -= done;
	r->items_left -= done;
	return true;
}

/* Moves items of the block at hand into b until either is done. False: damaged. */
static bool decode(struct spool_reader *r, struct trace_block *b)
{
	while (r->items_left && b->nrefs < TRACE_BLOCK_REFS && b->nevents < TRACE_BLOCK_EVENTS) {
		if (r->p >= r->end)
			return false;
		if ((*r->p & REF_KIND) != REF_EVENT) {
			if (!decode_refs(r, b, MIN(r->items_left, TRACE_BLOCK_REFS - b->nrefs)))
				return false;
		} else {
			if (!decode_event(r, b))
				return false;
			r->items_left--;
		}
	}
	return r->items_left || !r->nrefs_left;
}

/* Who runs from here on, told before the first item of a block. */
static void put_owner(struct spool_reader *r, struct trace_block *b)
{
	struct trace_event ev = {.pid = r->head.pid, .tid = r->head.tid};

	if (r->head.flags & SPOOL_THREAD) {
		ev.kind = EV_THREAD;
		block_put_event(b, &ev);
	}
	if (r->pid == ev.pid && r->tid == ev.tid)
		return;
	ev.kind = EV_SWITCH;
	block_put_event(b, &ev);
	r->pid = ev.pid;
	r->tid = ev.tid;
}

static int spool_read(struct trace *t, struct trace_block *b, struct trace_error *err)
{
	struct spool_reader *r = container_of(t, struct spool_reader, file.t);

	b->nrefs = b->nevents = 0;
	while (!r->ended && !r->damage.exit_code && b->nrefs < TRACE_BLOCK_REFS - 2 &&
	       b->nevents < TRACE_BLOCK_EVENTS - 2) {
		if (!r->items_left) {
			if (next_block(r) < 0)
				break;
			if (!r->items_left)
				continue;
			put_owner(r, b);
		}
		if (!decode(r, b)) {
			damaged(r, r->head.place, "a block's bytes make no sense");
			r->items_left = 0;
		}
	}
	if (b->nrefs)
		return 1;
	if (!r->damage.exit_code)
		return 0;
	*err = r->damage;
	return -1;
}

static int check_file_head(struct spool_reader *r)
{
	struct spool_file file;

	if (read_bytes(r, &file, sizeof(file)) < sizeof(file) || file.magic != SPOOL_FILE_MAGIC)
		return damaged(r, 0, "not a spool of `quire record`");
	if (file.version != 1)
		return damaged(r, 8, "a spool of another version of Quire");
	return 0;
}

static int spool_rewind(struct trace *t, struct trace_error *err)
{
	struct spool_reader *r = container_of(t, struct spool_reader, file.t);

	if (trace_file_rewind(t, err))
		return -1;
	r->buf_pos = r->buf_len = 0;
	r->at = r->refs = 0;
	r->ended = false;
	r->pid = r->tid = r->items_left = 0;
	memset(&r->damage, 0, sizeof(r->damage));
	if (check_file_head(r) < 0) {
		*err = r->damage;
		return -1;
	}
	return 0;
}

static const struct trace_ops spool_ops = {.read = spool_read, .rewind = spool_rewind, .close = trace_file_close};

static bool spool_recognises(const struct trace_format *f, const struct trace_head *head)
{
	uint64_t magic;

	(void)f;
	if (head->n < sizeof(magic))
		return false;
	memcpy(&magic, head->bytes, sizeof(magic));
	return magic == SPOOL_FILE_MAGIC;
}

static struct trace *spool_open_head(const struct trace_format *f, const struct trace_head *head,
				     struct trace_error *err)
{
	struct spool_reader *r = trace_file_open(f, &spool_ops, sizeof(*r), SPOOL_BUF, head, err);

	if (!r)
		return NULL;
	r->buf_len = head->n;
	r->file.t.tells_calls = true;
	if (check_file_head(r) < 0) {
		*err = r->damage;
		trace_file_close(&r->file.t);
		return NULL;
	}
	return &r->file.t;
}

const struct trace_format spool_format = {
	.name = "spool",
	.suffix = ".qspool",
	.summary = "what `quire record` writes: processes, threads and their memory calls",
	.recognises = spool_recognises,
	.open = spool_open_head,
};
