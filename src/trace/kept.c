/* SPDX-License-Identifier: MIT */
#include "trace/kept.h"

#include <stdlib.h>
#include <string.h>

#include "trace/source.h"

/* A block as it was read, refs first: readers get the very same blocks. */
struct kept_block {
	uint32_t nrefs, nevents;
	ref_t *refs; /* and the events behind them */
};

struct trace_kept {
	char *name;
	const char *format;
	bool tells_calls;
	struct kept_block *block;
	size_t n, cap;
	uint64_t bytes, max_bytes;
	bool whole;              /* the source has no more */
	struct trace_error err;  /* with which it ended */
};

void trace_kept_free(struct trace_kept *k)
{
	if (!k)
		return;
	for (size_t i = 0; i < k->n; i++)
		free(k->block[i].refs);
	free(k->block);
	free(k->name);
	free(k);
}

/* false: no room. */
static bool keep_block(struct trace_kept *k, const struct trace_block *b)
{
	size_t refs = b->nrefs * sizeof(*b->refs), events = b->nevents * sizeof(*b->events);
	ref_t *copy;

	if (k->bytes + refs + events > k->max_bytes)
		return false;
	if (k->n == k->cap) {
		size_t cap = k->cap ? k->cap * 2 : 64;
		struct kept_block *more = realloc(k->block, cap * sizeof(*more));

		if (!more)
			return false;
		k->block = more;
		k->cap = cap;
	}
	copy = malloc(refs + events);
	if (!copy)
		return false;
	memcpy(copy, b->refs, refs);
	memcpy((char *)copy + refs, b->events, events);
	k->block[k->n++] = (struct kept_block){b->nrefs, b->nevents, copy};
	k->bytes += refs + events;
	return true;
}

/* As trace_read(); *pos is the next block. */
static int read_kept(const struct trace_kept *k, size_t *pos, struct trace_block *b, struct trace_error *err)
{
	const struct kept_block *from;

	b->nrefs = b->nevents = 0;
	if (*pos == k->n) {
		if (!k->err.exit_code)
			return 0;
		*err = k->err;
		return -1;
	}
	from = &k->block[(*pos)++];
	b->nrefs = from->nrefs;
	b->nevents = from->nevents;
	memcpy(b->refs, from->refs, b->nrefs * sizeof(*b->refs));
	memcpy(b->events, from->refs + b->nrefs, b->nevents * sizeof(*b->events));
	return 1;
}

/* ---- readers ---- */

struct kept_reader {
	struct trace t;
	const struct trace_kept *k;
	size_t pos;
};

static int reader_read(struct trace *t, struct trace_block *b, struct trace_error *err)
{
	struct kept_reader *r = container_of(t, struct kept_reader, t);

	return read_kept(r->k, &r->pos, b, err);
}

static int reader_rewind(struct trace *t, struct trace_error *err)
{
	(void)err;
	container_of(t, struct kept_reader, t)->pos = 0;
	return 0;
}

static void reader_close(struct trace *t)
{
	free(container_of(t, struct kept_reader, t));
}

static const struct trace_ops reader_ops = {.read = reader_read, .rewind = reader_rewind, .close = reader_close};

struct trace *trace_kept_open(const struct trace_kept *k)
{
	struct kept_reader *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->t = (struct trace){.ops = &reader_ops, .name = k->name, .format = k->format, .tells_calls = k->tells_calls};
	r->k = k;
	return &r->t;
}

/* ---- keeping ---- */

struct keeper {
	struct trace t;
	struct trace *source;
	struct trace_kept *k; /* NULL: nothing is kept (any more) */
	size_t pos;           /* once it is whole */
};

static void keep_no_more(struct keeper *r)
{
	trace_kept_free(r->k);
	r->k = NULL;
}

static int keeper_read(struct trace *t, struct trace_block *b, struct trace_error *err)
{
	struct keeper *r = container_of(t, struct keeper, t);
	int rc;

	if (r->k && r->k->whole)
		return read_kept(r->k, &r->pos, b, err);
	rc = trace_read(r->source, b, err);
	if (!r->k)
		return rc;
	if (rc > 0) {
		if (keep_block(r->k, b))
			r->pos = r->k->n;
		else
			keep_no_more(r);
		return rc;
	}
	r->k->whole = true;
	if (rc < 0)
		r->k->err = *err;
	return rc;
}

static int keeper_rewind(struct trace *t, struct trace_error *err)
{
	struct keeper *r = container_of(t, struct keeper, t);

	r->pos = 0;
	if (r->k && r->k->whole)
		return 0;
	/* A part of it cannot be told from the beginning of the next pass. */
	if (r->k && r->k->n)
		keep_no_more(r);
	return trace_rewind(r->source, err);
}

static void keeper_close(struct trace *t)
{
	struct keeper *r = container_of(t, struct keeper, t);

	trace_close(r->source);
	trace_kept_free(r->k);
	free(r);
}

static const struct trace_ops keeper_ops = {.read = keeper_read, .rewind = keeper_rewind, .close = keeper_close};

struct trace *trace_keep(struct trace *source, uint64_t max_bytes)
{
	struct keeper *r = calloc(1, sizeof(*r));
	struct trace_kept *k = calloc(1, sizeof(*k));

	if (k)
		*k = (struct trace_kept){.name = strdup(source->name), .format = source->format,
					 .tells_calls = source->tells_calls, .max_bytes = max_bytes};
	if (!r || !k || !k->name) {
		free(r);
		trace_kept_free(k);
		return NULL;
	}
	*r = (struct keeper){.t = *source, .source = source, .k = k};
	r->t.ops = &keeper_ops;
	return &r->t;
}

struct trace_kept *trace_keep_take(struct trace *t)
{
	struct keeper *r = container_of(t, struct keeper, t);
	struct trace_kept *k = r->k;

	r->k = NULL;
	return k;
}
