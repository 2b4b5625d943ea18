/* SPDX-License-Identifier: MIT */
/* Follows one chain of pointers through every node, one node each stride= bytes, in random order. */
#include "trace/synth.h"

struct state {
	struct synth_shuffle order;
	uint64_t at;
};

static const char *start(struct synth *s, struct trace_block *b)
{
	struct state *st = s->state;

	synth_one_process(s, b);
	if (s->count[KEY_STRIDE] > synth_footprint(s))
		return "stride= is larger than footprint=";
	shuffle_init(&st->order, synth_footprint(s) / s->count[KEY_STRIDE], rng_next(&s->rng));
	return NULL;
}

static void step(struct synth *s, struct trace_block *b)
{
	struct state *st = s->state;

	for (int i = 0; i < SYNTH_STEP_MAX; i++) {
		synth_ref(s, b, shuffle_of(&st->order, st->at) * s->count[KEY_STRIDE], ACC_READ);
		if (++st->at == st->order.n)
			st->at = 0;
	}
}

const struct synth_kind synth_chase = {
	.name = "chase",
	.summary = "a chain of pointers through all of memory in random order: stride=",
	.keys = BIT(KEY_STRIDE),
	.state_bytes = sizeof(struct state),
	.defaults = {[KEY_STRIDE] = 64},
	.start = start,
	.step = step,
};
