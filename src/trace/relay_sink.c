/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "trace/relay_sink.h"

/* Who runs from here on, told before the first item of a slot. */
static int put_owner(struct relay_sink *sink, const struct relay_slot *s)
{
	struct trace_event ev[2];
	ref_t items[2];
	uint32_t n = 0;

	if (s->flags & RELAY_THREAD)
		ev[n++] = (struct trace_event){.kind = EV_THREAD, .pid = s->pid, .tid = s->tid};
	if (s->pid != sink->pid || s->tid != sink->tid)
		ev[n++] = (struct trace_event){.kind = EV_SWITCH, .pid = s->pid, .tid = s->tid};
	sink->pid = s->pid;
	sink->tid = s->tid;
	for (uint32_t i = 0; i < n; i++)
		items[i] = make_event_ref(i);
	return n ? qtr_write_items(sink->out, items, n, ev, &sink->err) : 0;
}

/* How many items may be written so that the recording keeps its limit. */
static uint32_t items_within_limit(struct relay_sink *sink, const struct relay_slot *s, uint32_t nitems)
{
	uint64_t refs = qtr_written(sink->out).refs;
	uint32_t i = 0;

	if (!sink->limit || refs + nitems < sink->limit)
		return nitems;
	for (; i < nitems && refs < sink->limit; i++)
		refs += !ref_is_event(s->items[i]);
	sink->full = refs == sink->limit;
	return i;
}

static int put_pages(struct relay_sink *sink, const struct relay_slot *s)
{
	for (uint32_t i = 0; i < s->nitems; i++)
		if (qtr_write_page(sink->out, s->pid, s->pages[i].gva, s->pages[i].bytes, &sink->err))
			return -1;
	return 0;
}

static int put_slot(struct relay_sink *sink, const struct relay_slot *s)
{
	/* A program that outlives the recording may still be adding to it: what stands there now counts. */
	uint32_t n = *(const volatile uint32_t *)&s->nitems;

	if (s->flags & RELAY_CONTENTS)
		return put_pages(sink, s);
	if (n || s->flags & RELAY_THREAD) {
		if (put_owner(sink, s))
			return -1;
		n = items_within_limit(sink, s, n);
		if (qtr_write_items(sink->out, s->items, n, s->events, &sink->err))
			return -1;
	}
	sink->insns += s->insns;
	qtr_at_insn(sink->out, sink->insns);
	return 0;
}

bool relay_sink_drain(struct relay_sink *sink, struct relay_control *c)
{
	struct relay_slot *s;

	while ((s = relay_next(c)) != NULL) {
		if (!sink->full && !sink->err.exit_code)
			put_slot(sink, s);
		relay_slot_free(c, s);
	}
	return !sink->full && !sink->err.exit_code;
}
