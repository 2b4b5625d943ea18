/* SPDX-License-Identifier: MIT */
/*
 * The index of a .qtr file: at its end, or, where a killed recorder left none,
 * made by looking at each block's head.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "trace/qtr_reader.h"

static bool read_exactly(int fd, void *p, size_t n, uint64_t place)
{
	return pread(fd, p, n, (off_t)place) == (ssize_t)n;
}

/* A body that is not compressed, of n bytes past its sum. False: it is not there, or damaged. */
static bool read_plain(int fd, uint64_t place, enum qtr_block_type type, void **out, size_t *n)
{
	struct qtr_head h;
	uint64_t sum;
	uint8_t *body;

	if (!read_exactly(fd, &h, sizeof(h), place) || !is_valid_qtr_head(&h, place) || h.type != type)
		return false;
	*n = h.body_len - QTR_SUM_BYTES;
	body = malloc(h.body_len);
	if (!body)
		return false;
	if (read_exactly(fd, body, h.body_len, place + sizeof(h))) {
		memcpy(&sum, body, sizeof(sum));
		memmove(body, body + QTR_SUM_BYTES, *n);
		if (sum == digest_bytes(body, *n)) {
			*out = body;
			return true;
		}
	}
	free(body);
	return false;
}

static bool load_index(struct qtr_reader *r, uint64_t size)
{
	struct qtr_end *end;
	void *entries, *p;
	size_t n;
	bool good;

	if (size < QTR_ALIGN + QTR_END_BYTES || !read_plain(r->file.fd, size - QTR_END_BYTES, QTR_END, &p, &n))
		return false;
	end = p;
	good = n == sizeof(*end) && read_plain(r->file.fd, end->index_place, QTR_INDEX, &entries, &n);
	if (good && (n % sizeof(struct qtr_index_entry) || n / sizeof(struct qtr_index_entry) != end->blocks)) {
		free(entries);
		good = false;
	}
	if (good) {
		r->index = entries;
		r->counts = (struct qtr_counts){end->refs, end->events, end->insns, end->blocks, size};
		r->index_closed = true;
	}
	free(end);
	return good;
}

static bool add_entry(struct qtr_reader *r, const struct qtr_head *h, size_t *room)
{
	if (r->counts.blocks == *room) {
		size_t more = *room ? 2 * *room : 256;
		struct qtr_index_entry *grown = realloc(r->index, more * sizeof(*grown));

		if (!grown)
			return false;
		r->index = grown;
		*room = more;
	}
	r->index[r->counts.blocks++] = (struct qtr_index_entry){h->place, h->first_ref, h->first_insn};
	r->counts.refs = h->first_ref + h->nrefs;
	r->counts.events += h->nevents;
	r->counts.insns = h->first_insn;
	return true;
}

/* Head by head to the first that is none. */
static bool scan(struct qtr_reader *r, uint64_t size)
{
	struct qtr_head h;
	size_t room = 1;
	uint64_t place = QTR_ALIGN;

	memset(&r->counts, 0, sizeof(r->counts));
	r->index = malloc(sizeof(*r->index));
	if (!r->index)
		return false;
	while (read_exactly(r->file.fd, &h, sizeof(h), place) && is_valid_qtr_head(&h, place)) {
		uint64_t next = place + sizeof(h) + align_up(h.body_len, QTR_ALIGN);

		if (next > size)
			break;
		if (h.type == QTR_REFS && !add_entry(r, &h, &room))
			return false;
		place = next;
	}
	r->counts.bytes = place;
	return true;
}

static int find_index(struct qtr_reader *r, struct trace_error *err)
{
	off_t here = lseek(r->file.fd, 0, SEEK_CUR), size = lseek(r->file.fd, 0, SEEK_END);

	if (r->index)
		return 0;
	if (here < 0 || size < 0 || lseek(r->file.fd, here, SEEK_SET) < 0)
		return trace_fail(err, TRACE_EXIT_INPUT, "%s: cannot be searched; save it in a file first", r->file.t.name);
	if (load_index(r, (uint64_t)size) || scan(r, (uint64_t)size))
		return 0;
	return trace_fail(err, TRACE_EXIT_INPUT, "%s: out of memory for its index", r->file.t.name);
}

/* The last block that begins at ref or before; the first for what stands before all. */
static const struct qtr_index_entry *find_block(const struct qtr_reader *r, uint64_t ref)
{
	uint64_t low = 0, high = r->counts.blocks;

	while (high - low > 1) {
		uint64_t middle = low + (high - low) / 2;

		if (r->index[middle].first_ref <= ref)
			low = middle;
		else
			high = middle;
	}
	return &r->index[low];
}

int qtr_seek(struct trace *t, uint64_t ref, struct trace_error *err)
{
	struct qtr_reader *r = container_of(t, struct qtr_reader, file.t);

	if (find_index(r, err) || trace_rewind(t, err))
		return -1;
	if (!r->scratch)
		r->scratch = malloc(sizeof(*r->scratch));
	if (!r->scratch)
		return trace_fail(err, TRACE_EXIT_INPUT, "%s: out of memory", t->name);
	r->tell_owner = true;
	if (!r->counts.blocks || ref >= r->counts.refs) {
		r->ended = true;
		return 0;
	}
	const struct qtr_index_entry *entry = find_block(r, ref);

	r->at = entry->place;
	r->refs = entry->first_ref;
	r->skip_to = ref;
	if (lseek(r->file.fd, (off_t)r->at, SEEK_SET) < 0)
		return trace_fail(err, TRACE_EXIT_INPUT, "%s: cannot be searched; save it in a file first", t->name);
	return 0;
}

int qtr_info(struct trace *t, struct qtr_info *out, struct trace_error *err)
{
	struct qtr_reader *r = container_of(t, struct qtr_reader, file.t);

	if (find_index(r, err))
		return -1;
	if (!r->facts) {
		void *p;
		size_t n;

		if (read_plain(r->file.fd, QTR_ALIGN, QTR_FACTS, &p, &n)) {
			r->facts = strndup(p, n);
			free(p);
		}
	}
	*out = (struct qtr_info){
		.facts = r->facts ? r->facts : "",
		.counts = r->counts,
		.closed = r->index_closed,
		.counts_insns = r->start.flags & QTR_COUNTS_INSNS,
	};
	return 0;
}
