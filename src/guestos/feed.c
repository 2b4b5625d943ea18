/* SPDX-License-Identifier: MIT */
#include "guestos/feed.h"

#include <stdlib.h>

#include "base/bug.h"

void feed_add(struct feed *f, struct trace *t, const struct guest_roi *roi)
{
	struct source *s = calloc(1, sizeof(*s));

	f->src = realloc(f->src, (f->nsrc + 1) * sizeof(*f->src));
	BUG_ON(!s || !f->src);
	s->trace = t;
	s->roi = roi ? *roi : (struct guest_roi){ 0 };
	if (!s->roi.to)
		s->roi.to = UINT64_MAX;
	/* Pages of a block are touched only as far as a source fills it. */
	s->block = malloc(sizeof(*s->block));
	BUG_ON(!s->block);
	s->block->nrefs = 0;
	f->src[f->nsrc++] = s;
	f->quantum_left = f->quantum;
}

void feed_fini(struct feed *f)
{
	for (unsigned i = 0; i < f->nsrc; i++) {
		free(f->src[i]->block);
		free(f->src[i]->pids);
		free(f->src[i]->spaces);
		free(f->src[i]);
	}
	free(f->src);
	*f = (struct feed){ 0 };
}

/* A damaged source ends there; what came before it counts. */
static bool fill(struct feed *f, struct source *s)
{
	struct trace_error err = { 0 };
	int got;

	if (s->finished)
		return false;
	if (s->pos < s->block->nrefs)
		return true;
	f->at_block_end = true;
	s->pos = 0;
	s->block->nrefs = 0;
	got = trace_read(s->trace, s->block, &err);
	if (got > 0 && s->block->nrefs > 0)
		return true;
	s->block->nrefs = 0;
	s->finished = true;
	if (got < 0 && !f->err.exit_code)
		f->err = err;
	return false;
}

static bool is_outside(const struct source *s)
{
	return s->at < s->roi.from || s->at >= s->roi.to;
}

/* References that follow at pos, up to an event or the block's end, `most` at most. */
static uint32_t refs_ahead(const struct source *s, uint64_t most)
{
	uint32_t n = 0;

	while (n < most && s->pos + n < s->block->nrefs && !ref_is_event(s->block->refs[s->pos + n]))
		n++;
	return n;
}

/*
 * Is there something to run at pos? Skipped is what stands before the region
 * but for events that make the address spaces what they are when it begins,
 * and all that stands behind it.
 */
static bool is_ready(struct feed *f, struct source *s)
{
	while (!(s->roi.skip && s->at >= s->roi.to) && fill(f, s)) {
		ref_t r = s->block->refs[s->pos];

		if (!s->roi.skip || s->at >= s->roi.from ||
		    (ref_is_event(r) && s->block->events[ref_event(r)].kind != EV_SYSCALL))
			return true;
		if (ref_is_event(r)) {
			s->pos++;
		} else {
			uint32_t n = refs_ahead(s, s->roi.from - s->at);

			s->pos += n;
			s->at += n;
		}
	}
	s->finished = true;
	return false;
}

enum feed_kind feed_next(struct feed *f, uint64_t max, struct feed_item *it)
{
	f->at_block_end = false;
	if (!f->nsrc || (f->limit && f->refs >= f->limit))
		return FEED_END;
	if (f->quantum && f->quantum_left == 0) {
		f->turn = (f->turn + 1) % f->nsrc;
		f->quantum_left = f->quantum;
	}
	for (unsigned tried = 0; !is_ready(f, f->src[f->turn]); tried++) {
		if (tried == f->nsrc)
			return FEED_END;
		f->turn = (f->turn + 1) % f->nsrc;
		f->quantum_left = f->quantum;
	}

	struct source *s = f->src[f->turn];
	ref_t r = s->block->refs[s->pos];

	*it = (struct feed_item){ .src = s, .outside = is_outside(s) };
	if (ref_is_event(r)) {
		BUG_ON(ref_event(r) >= s->block->nevents);
		it->event = &s->block->events[ref_event(r)];
		return FEED_EVENT;
	}
	it->refs = &s->block->refs[s->pos];
	it->n = MIN(max, s->block->nrefs - s->pos);
	if (s->at < s->roi.to)
		it->n = MIN(it->n, (s->at < s->roi.from ? s->roi.from : s->roi.to) - s->at);
	if (f->quantum && f->nsrc > 1)
		it->n = MIN(it->n, f->quantum_left);
	if (f->limit)
		it->n = MIN(it->n, f->limit - f->refs);
	return FEED_REFS;
}

void feed_advance(struct feed *f, const struct feed_item *it, size_t n)
{
	it->src->pos += it->event ? 1 : (uint32_t)n;
	it->src->at += n;
	f->refs += n;
	if (f->quantum && f->nsrc > 1)
		f->quantum_left -= n;
}

int feed_rewind(struct feed *f, struct trace_error *err)
{
	for (unsigned i = 0; i < f->nsrc; i++) {
		struct source *s = f->src[i];

		if (trace_rewind(s->trace, err))
			return -1;
		s->pos = 0;
		s->at = 0;
		s->block->nrefs = 0;
		s->finished = false;
		s->next_space = 0;
	}
	f->turn = 0;
	f->refs = 0;
	f->quantum_left = f->quantum;
	f->err = (struct trace_error){ 0 };
	return 0;
}
