/* SPDX-License-Identifier: MIT */
/*
 * TLB misses and changes of tables, each at a rate of its own.
 *
 *   footprint   |<- pages=: a change falls on one of these ->|      | hot |
 *                <------- a miss is a reference to one of all ------->
 *
 * First each page is written once. Then of the references a share, miss=,
 * goes to any page at random, the others to the few hot ones, which every TLB
 * holds; and changes= times a reference, evenly spaced, a page's entry is
 * changed and the page written: its rights are taken and given back (protect=
 * of the changes), or it is unmapped and mapped anew.
 *
 * With phase=, phases of so many references take turns: the first only
 * misses, the second only changes.
 */
#include "trace/synth.h"

enum { HOT_PAGES = 16 };

struct state {
	uint64_t pages, hot, window; /* all; the last of them; those that change */
	uint64_t swept;              /* written once */
	uint64_t done;               /* references since */
	double due;                  /* changes */
};

static const char *start(struct synth *s, struct trace_block *b)
{
	struct state *st = s->state;
	uint64_t pages = synth_footprint(s) >> PAGE_SHIFT, hot = MIN((uint64_t)HOT_PAGES, pages / 2);

	*st = (struct state){.pages = pages, .hot = hot, .window = MIN(s->count[KEY_PAGES], pages - hot)};
	synth_one_process(s, b);
	return NULL;
}

static void put_call(struct synth *s, struct trace_block *b, enum trace_event_kind kind, uint64_t page, uint8_t prot)
{
	block_put_event(b, &(struct trace_event){.kind = kind, .pid = 1, .tid = 1, .prot = prot,
						 .addr = synth_base(s) + (page << PAGE_SHIFT), .len = PAGE_SIZE});
}

static void change(struct synth *s, struct trace_block *b)
{
	struct state *st = s->state;
	uint64_t page = rng_below(&s->rng, st->window);
	bool rights = synth_chance(s, s->real[KEY_PROTECT]);

	put_call(s, b, rights ? EV_MPROTECT : EV_MUNMAP, page, PROT_BIT_R);
	put_call(s, b, rights ? EV_MPROTECT : EV_MMAP, page, PROT_BIT_R | PROT_BIT_W);
	synth_ref(s, b, page << PAGE_SHIFT, ACC_WRITE);
}

static void step(struct synth *s, struct trace_block *b)
{
	struct state *st = s->state;
	uint64_t phase = s->count[KEY_PHASE];
	bool odd = phase && st->done / phase % 2;
	double miss = odd ? 0 : s->real[KEY_MISS], changes = phase && !odd ? 0 : s->real[KEY_CHANGES];

	if (st->swept < st->pages) {
		synth_ref(s, b, st->swept++ << PAGE_SHIFT, ACC_WRITE);
		return;
	}
	st->done++;
	st->due += changes;
	if (st->due >= 1) {
		st->due -= 1;
		change(s, b);
		return;
	}
	uint64_t page = synth_chance(s, miss) ? rng_below(&s->rng, st->pages) :
						st->pages - st->hot + rng_below(&s->rng, st->hot);

	synth_ref(s, b, (page << PAGE_SHIFT) + 8 * rng_below(&s->rng, PAGE_SIZE / 8), synth_read_or_write(s));
}

const struct synth_kind synth_churn = {
	.name = "churn",
	.summary = "TLB misses and changed entries, each at its rate: miss=, changes=, pages=, protect=, phase=, writes=",
	.keys = BIT(KEY_MISS) | BIT(KEY_CHANGES) | BIT(KEY_PAGES) | BIT(KEY_PROTECT) | BIT(KEY_PHASE) | BIT(KEY_WRITES),
	.state_bytes = sizeof(struct state),
	.footprint_min = 2 * PAGE_SIZE,
	.defaults = {[KEY_PAGES] = 1e9, [KEY_PROTECT] = 1},
	.start = start,
	.step = step,
};
