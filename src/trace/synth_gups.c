/* SPDX-License-Identifier: MIT */
/* Updates at uniformly random places (after the HPC Challenge's RandomAccess): a load, perhaps then a store. */
#include "trace/synth.h"

static const char *start(struct synth *s, struct trace_block *b)
{
	synth_one_process(s, b);
	return NULL;
}

static void step(struct synth *s, struct trace_block *b)
{
	for (int i = 0; i < SYNTH_STEP_MAX / 2; i++) {
		uint64_t offset = rng_below(&s->rng, synth_footprint(s) / 8) * 8;

		synth_ref(s, b, offset, ACC_READ);
		if (synth_chance(s, s->real[KEY_WRITES]))
			synth_ref(s, b, offset, ACC_WRITE);
	}
}

const struct synth_kind synth_gups = {
	.name = "gups",
	.summary = "updates at uniformly random places: writes=",
	.keys = BIT(KEY_WRITES),
	.defaults = {[KEY_WRITES] = 1},
	.start = start,
	.step = step,
};
