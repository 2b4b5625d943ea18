/* SPDX-License-Identifier: MIT */
/* Sweeps through the footprint in order, again and again. */
#include "trace/synth.h"

struct state {
	uint64_t offset;
};

static const char *start(struct synth *s, struct trace_block *b)
{
	synth_one_process(s, b);
	return s->count[KEY_STRIDE] > synth_footprint(s) ? "stride= is larger than footprint=" : NULL;
}

static void step(struct synth *s, struct trace_block *b)
{
	struct state *st = s->state;

	for (int i = 0; i < SYNTH_STEP_MAX; i++) {
		synth_ref(s, b, st->offset, synth_read_or_write(s));
		st->offset += s->count[KEY_STRIDE];
		if (st->offset + 8 > synth_footprint(s))
			st->offset = 0;
	}
}

const struct synth_kind synth_stream = {
	.name = "stream",
	.summary = "sweeps through memory in order: stride=, writes=",
	.keys = BIT(KEY_STRIDE) | BIT(KEY_WRITES),
	.state_bytes = sizeof(struct state),
	.start = start,
	.step = step,
};
