/* SPDX-License-Identifier: MIT */
/*
 * procs= programs in turn, quantum= references each, all at the same
 * addresses in memories of their own; each works in a window of pages= pages
 * that moves slowly through its footprint.
 */
#include "trace/synth.h"

struct state {
	uint32_t running, made;
	uint64_t in_turn, turns;
};

static const char *start(struct synth *s, struct trace_block *b)
{
	struct state *st = s->state;

	*st = (struct state){.running = 1, .made = 1};
	synth_one_process(s, b);
	return NULL;
}

/* Each program comes from process 1, by fork and exec. */
static void make_process(struct synth *s, struct trace_block *b)
{
	struct state *st = s->state;
	uint32_t pid = ++st->made;

	block_put_event(b, &(struct trace_event){.kind = EV_FORK, .pid = 1, .tid = 1, .child = pid});
	synth_switch(b, pid);
	block_put_event(b, &(struct trace_event){.kind = EV_EXEC, .pid = pid, .tid = pid});
	synth_mmap(b, pid, synth_base(s), align_up(synth_footprint(s), PAGE_SIZE), 0);
	synth_switch(b, 1);
}

static void step(struct synth *s, struct trace_block *b)
{
	struct state *st = s->state;
	uint64_t pages = synth_pages(s), window = MIN(s->count[KEY_PAGES], pages);

	if (st->made < s->count[KEY_PROCS]) {
		make_process(s, b);
		return;
	}
	for (int i = 0; i < SYNTH_STEP_MAX && st->in_turn < s->count[KEY_QUANTUM]; i++, st->in_turn++) {
		uint64_t page = (st->turns + rng_below(&s->rng, window)) % pages;
		uint64_t offset = (page << PAGE_SHIFT) + rng_below(&s->rng, PAGE_SIZE / 8) * 8;

		synth_ref(s, b, offset, synth_read_or_write(s));
	}
	if (st->in_turn < s->count[KEY_QUANTUM])
		return;
	st->in_turn = 0;
	if (st->running++ == s->count[KEY_PROCS]) {
		st->running = 1;
		st->turns++;
	}
	if (s->count[KEY_PROCS] > 1)
		synth_switch(b, st->running);
}

const struct synth_kind synth_switchstorm = {
	.name = "switchstorm",
	.summary = "programs that take turns quickly: procs=, quantum=, pages=, writes=",
	.keys = BIT(KEY_PROCS) | BIT(KEY_QUANTUM) | BIT(KEY_PAGES) | BIT(KEY_WRITES),
	.state_bytes = sizeof(struct state),
	.footprint_min = PAGE_SIZE,
	.defaults = {[KEY_FOOTPRINT] = 4 << 20},
	.start = start,
	.step = step,
};
