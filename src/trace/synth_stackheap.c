/* SPDX-License-Identifier: MIT */
/*
 * A program's usual mix: a stack that grows and shrinks by small frames, and a
 * heap of which a sixteenth takes most accesses. The stack is the footprint's
 * upper eighth, a mapping of its own.
 */
#include "trace/synth.h"

enum { HOT_SHARE = 16, FRAME_MAX = 32 };
#define HOT_CHANCE 0.85

struct state {
	uint64_t heap, stack; /* bytes; the stack stands right above the heap */
	uint64_t depth;       /* bytes of stack in use, from its top */
};

static const char *start(struct synth *s, struct trace_block *b)
{
	struct state *st = s->state;

	st->stack = MAX(align_down(synth_footprint(s) / 8, PAGE_SIZE), PAGE_SIZE);
	st->heap = align_up(synth_footprint(s) - st->stack, PAGE_SIZE);
	st->depth = 64;
	synth_switch(b, 1);
	synth_mmap(b, 1, synth_base(s), st->heap, 0);
	synth_mmap(b, 1, synth_base(s) + st->heap, st->stack, EVF_STACK);
	return NULL;
}

static void stack_ref(struct synth *s, struct trace_block *b)
{
	struct state *st = s->state;
	uint64_t frame = 8 + rng_below(&s->rng, FRAME_MAX) * 8, top = st->heap + st->stack;

	switch (rng_below(&s->rng, 4)) {
	case 0: /* a call writes the new frame */
		if (st->depth + frame <= st->stack)
			st->depth += frame;
		synth_ref(s, b, top - st->depth, ACC_WRITE);
		break;
	case 1: /* a return reads the old one */
		synth_ref(s, b, top - st->depth, ACC_READ);
		st->depth -= MIN(frame, st->depth - 8);
		break;
	default: /* locals */
		synth_ref(s, b, top - st->depth + rng_below(&s->rng, MIN(frame, st->depth) / 8) * 8,
			  synth_read_or_write(s));
	}
}

static void step(struct synth *s, struct trace_block *b)
{
	struct state *st = s->state;

	for (int i = 0; i < SYNTH_STEP_MAX; i++) {
		if (synth_chance(s, s->real[KEY_STACK])) {
			stack_ref(s, b);
			continue;
		}
		uint64_t bytes = synth_chance(s, HOT_CHANCE) ? MAX(st->heap / HOT_SHARE, UINT64_C(8)) : st->heap;

		synth_ref(s, b, rng_below(&s->rng, bytes / 8) * 8, synth_read_or_write(s));
	}
}

const struct synth_kind synth_stackheap = {
	.name = "stackheap",
	.summary = "a stack and a partly hot heap, as most programs: stack=, writes=",
	.keys = BIT(KEY_STACK) | BIT(KEY_WRITES),
	.state_bytes = sizeof(struct state),
	.footprint_min = 2 * PAGE_SIZE,
	.start = start,
	.step = step,
};
