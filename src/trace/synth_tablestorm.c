/* SPDX-License-Identifier: MIT */
/*
 * Page-table churn: map pages= pages, touch each, protect some of them
 * (protect= of the rounds: read-only, read, writable again, write), unmap; the
 * mapping moves through the footprint.
 */
#include "trace/synth.h"

enum phase { MAP, TOUCH, PROTECT, READ, UNPROTECT, WRITE, UNMAP };

struct state {
	enum phase phase;
	uint64_t pages;      /* of a mapping: pages=, or all the footprint holds */
	uint64_t offset, at; /* of the mapping in the footprint; page within it */
};

static const char *start(struct synth *s, struct trace_block *b)
{
	struct state *st = s->state;

	*st = (struct state){.phase = MAP, .pages = MIN(s->count[KEY_PAGES], synth_footprint(s) >> PAGE_SHIFT)};
	synth_switch(b, 1);
	return NULL;
}

/* Touches the mapping's pages, a step's worth; true at its end. */
static bool touch(struct synth *s, struct trace_block *b, enum acc_kind kind)
{
	struct state *st = s->state;

	for (int i = 0; i < SYNTH_STEP_MAX && st->at < st->pages; i++, st->at++)
		synth_ref(s, b, st->offset + (st->at << PAGE_SHIFT), kind);
	if (st->at < st->pages)
		return false;
	st->at = 0;
	return true;
}

static void put_call(struct synth *s, struct trace_block *b, enum trace_event_kind kind, uint8_t prot)
{
	struct state *st = s->state;

	block_put_event(b, &(struct trace_event){.kind = kind, .pid = 1, .tid = 1, .prot = prot,
						 .addr = synth_base(s) + st->offset,
						 .len = st->pages << PAGE_SHIFT});
}

static void step(struct synth *s, struct trace_block *b)
{
	struct state *st = s->state;
	uint64_t len = st->pages << PAGE_SHIFT;

	switch (st->phase) {
	case MAP:
		put_call(s, b, EV_MMAP, PROT_BIT_R | PROT_BIT_W);
		st->phase = TOUCH;
		break;
	case TOUCH:
		if (touch(s, b, ACC_WRITE))
			st->phase = synth_chance(s, s->real[KEY_PROTECT]) ? PROTECT : UNMAP;
		break;
	case PROTECT:
		put_call(s, b, EV_MPROTECT, PROT_BIT_R);
		st->phase = READ;
		break;
	case READ:
		if (touch(s, b, ACC_READ))
			st->phase = UNPROTECT;
		break;
	case UNPROTECT:
		put_call(s, b, EV_MPROTECT, PROT_BIT_R | PROT_BIT_W);
		st->phase = WRITE;
		break;
	case WRITE:
		if (touch(s, b, ACC_WRITE))
			st->phase = UNMAP;
		break;
	case UNMAP:
		put_call(s, b, EV_MUNMAP, 0);
		st->phase = MAP;
		st->offset += len;
		if (st->offset + len > synth_footprint(s))
			st->offset = 0;
		break;
	}
}

const struct synth_kind synth_tablestorm = {
	.name = "tablestorm",
	.summary = "mmap, touch, mprotect, munmap without end: pages=, protect=",
	.keys = BIT(KEY_PAGES) | BIT(KEY_PROTECT),
	.state_bytes = sizeof(struct state),
	.footprint_min = PAGE_SIZE,
	.start = start,
	.step = step,
};
