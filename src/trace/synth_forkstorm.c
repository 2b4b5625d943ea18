/* SPDX-License-Identifier: MIT */
/*
 * A shell or server that forks: the parent writes its pages, forks, parent and
 * child run in turn; the child copies pages by writing them (writes=), then
 * ends. At most procs= children live at once; each touches pages= pages.
 */
#include "trace/synth.h"

struct state {
	uint32_t next_pid, oldest; /* children alive: [oldest, next_pid) */
	uint64_t touched;          /* pages the running process has touched in its turn */
	uint32_t running;
};

static const char *start(struct synth *s, struct trace_block *b)
{
	struct state *st = s->state;

	st->next_pid = st->oldest = 2;
	st->touched = 0;
	st->running = 1;
	synth_one_process(s, b);
	return NULL;
}

static void run(struct state *st, struct trace_block *b, uint32_t pid)
{
	st->running = pid;
	st->touched = 0;
	synth_switch(b, pid);
}

static void step(struct synth *s, struct trace_block *b)
{
	struct state *st = s->state;
	struct trace_event ev = {.pid = st->running, .tid = st->running};

	if (st->touched++ < s->count[KEY_PAGES]) {
		uint64_t page = rng_below(&s->rng, synth_pages(s)) << PAGE_SHIFT;

		synth_ref(s, b, page, st->running == 1 ? ACC_WRITE : synth_read_or_write(s));
		return;
	}
	if (st->running != 1) {
		run(st, b, 1);
		return;
	}
	if (st->next_pid - st->oldest >= s->count[KEY_PROCS]) {
		ev.kind = EV_EXIT;
		ev.pid = ev.tid = st->oldest++;
		synth_switch(b, ev.pid);
		block_put_event(b, &ev);
		synth_switch(b, 1);
	}
	ev.kind = EV_FORK;
	ev.pid = ev.tid = 1;
	ev.child = st->next_pid++;
	block_put_event(b, &ev);
	run(st, b, ev.child);
}

const struct synth_kind synth_forkstorm = {
	.name = "forkstorm",
	.summary = "a process that forks and forks; children copy pages and end: procs=, pages=, writes=",
	.keys = BIT(KEY_PROCS) | BIT(KEY_PAGES) | BIT(KEY_WRITES),
	.state_bytes = sizeof(struct state),
	.footprint_min = PAGE_SIZE,
	.defaults = {[KEY_FOOTPRINT] = 4 << 20},
	.start = start,
	.step = step,
};
