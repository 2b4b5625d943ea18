/* SPDX-License-Identifier: MIT */
/*
 * A source read several times over, each pass beginning where the last one
 * ended: what a file of as many copies, one after another, would be.
 */
#include <stdlib.h>
#include <string.h>

#include "trace/source.h"

struct repeat {
	struct trace t;
	struct trace *source;
	uint64_t times, done; /* passes in all, and ended */
	bool is_empty;        /* nothing came of this pass yet */
};

static int repeat_read(struct trace *t, struct trace_block *b, struct trace_error *err)
{
	struct repeat *r = container_of(t, struct repeat, t);

	while (r->done < r->times) {
		int rc = trace_read(r->source, b, err);

		if (rc > 0)
			r->is_empty = false;
		if (rc)
			return rc;
		/* However often nothing is said, it stays nothing. */
		r->done = r->is_empty ? r->times : r->done + 1;
		r->is_empty = true;
		if (r->done < r->times && trace_rewind(r->source, err))
			return -1;
	}
	return 0;
}

static int repeat_rewind(struct trace *t, struct trace_error *err)
{
	struct repeat *r = container_of(t, struct repeat, t);

	r->done = 0;
	r->is_empty = true;
	return trace_rewind(r->source, err);
}

static void repeat_close(struct trace *t)
{
	struct repeat *r = container_of(t, struct repeat, t);

	trace_close(r->source);
	free(t->name);
	free(r);
}

static const struct trace_ops repeat_ops = {.read = repeat_read, .rewind = repeat_rewind, .close = repeat_close};

struct trace *trace_repeat(struct trace *source, uint64_t times)
{
	struct repeat *r = calloc(1, sizeof(*r));
	char *name = strdup(source->name);

	if (!r || !name) {
		free(r);
		free(name);
		return NULL;
	}
	*r = (struct repeat){.t = *source, .source = source, .times = times, .is_empty = true};
	r->t.ops = &repeat_ops;
	r->t.name = name;
	return &r->t;
}
