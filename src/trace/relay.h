/* SPDX-License-Identifier: MIT */
/*
 * The relay: memory shared by a recorder and all it records, through which
 * references reach the recorder's file while the programs run.
 *
 *   thread ──► slot (OWNED) ── full ──► queue (QUEUED) ──► recorder ──► slot FREE
 *
 * A thread fills a slot of its own. Full, it is handed over and the thread
 * takes another; it waits where the recorder is RELAY_AHEAD slots behind.
 * Order in the queue is the order of events: whoever lets another process act
 * (fork, wait, exit) hands its slot over first.
 *
 * A killed program loses nothing: its parent or the recorder hands over what
 * its slots hold (relay_salvage). A killed recorder stops the recording, not
 * the programs.
 */
#ifndef QUIRE_TRACE_RELAY_H
#define QUIRE_TRACE_RELAY_H

#include <stdatomic.h>

#include "trace/trace.h"

#define RELAY_MAGIC UINT64_C(0x3159414c45525551) /* "QURELAY1" */

enum {
	RELAY_ITEMS = 16384, /* references and events in a slot */
	RELAY_EVENTS = 256,
	RELAY_AHEAD = 48,
	RELAY_THREADS = 1024, /* alive at once, in all recorded processes */
	RELAY_SLOTS = RELAY_THREADS + 4 * RELAY_AHEAD,
	RELAY_PATH_MAX = 64,
	RELAY_PLACE_MAX = 128,
	RELAY_PAGES = RELAY_ITEMS * sizeof(ref_t) / (PAGE_SIZE + sizeof(uint64_t)),
};

enum relay_state { SLOT_FREE, SLOT_OWNED, SLOT_BUSY, SLOT_QUEUED };
enum relay_flags {
	RELAY_THREAD = 1, /* the thread's first slot: EV_THREAD comes before it */
	RELAY_CONTENTS = 2, /* holds pages instead of items */
};

/* A page of a mapped file, and where it stands. */
struct relay_page {
	uint64_t gva;
	uint8_t bytes[PAGE_SIZE];
};

/* One thread's piece of the recording. Only its owner writes it; a salvager first makes state BUSY. */
struct relay_slot {
	_Atomic uint32_t state;
	uint32_t pid, tid, flags;
	uint64_t serial; /* of its taking: tells a slot taken again from one still held */
	uint64_t insns;  /* executed while it was filled */
	uint32_t nitems, nevents;
	union {
		ref_t items[RELAY_ITEMS];
		struct relay_page pages[RELAY_PAGES]; /* RELAY_CONTENTS: nitems of them */
	};
	struct trace_event events[RELAY_EVENTS];
};

/* What of a program is recorded; instructions count from its start, those of all threads together. */
struct relay_window {
	uint64_t start_after, stop_after; /* stop_after: that many later; 0: never */
	uint64_t sample_on, sample_period; /* of each period the first `on`; period 0: all */
	bool by_mark;                      /* only between marks */
	bool contents;                     /* and the bytes of mapped files */
	char start_at[RELAY_PLACE_MAX], stop_at[RELAY_PLACE_MAX]; /* symbols or addresses that are marks; "": none */
};

struct relay_control {
	uint64_t magic;
	struct relay_window window;
	int32_t recorder; /* pid */
	_Atomic uint32_t stop;  /* nothing more is to be recorded */
	_Atomic uint32_t error; /* errno of what made it stop, or 0 */
	_Atomic uint32_t marks;  /* passed */
	_Atomic uint32_t marked; /* a start mark was passed, and no stop mark since */
	_Atomic uint64_t insns;
	_Atomic uint64_t serials;
	_Atomic uint32_t processes, threads;
	_Atomic uint32_t tickets; /* places given out in the queue */
	_Atomic uint32_t done;    /* places the recorder is past */
	_Atomic uint32_t waiting; /* threads that wait for done */
	_Atomic uint32_t queue[RELAY_SLOTS]; /* slot + 1 by ticket; 0: not there yet */
	struct relay_slot slots[RELAY_SLOTS];
};

/* Room for one more item of any kind, and an EV_EXIT that a salvager may add? */
static ALWAYS_INLINE bool relay_has_room(const struct relay_slot *s)
{
	return s->nitems < RELAY_ITEMS - 1 && s->nevents < RELAY_EVENTS - 1;
}

/* Appends a reference; there must be room. A thread may be killed anywhere: nitems never counts what is not there. */
static ALWAYS_INLINE void relay_put_ref(struct relay_slot *s, ref_t ref)
{
	s->items[s->nitems] = ref;
	atomic_signal_fence(memory_order_release);
	s->nitems++;
}

void relay_put_event(struct relay_slot *s, const struct trace_event *ev);

/* Makes the shared memory; path (RELAY_PATH_MAX bytes) is how others find it while this process lives. NULL with errno. */
struct relay_control *relay_create(const struct relay_window *w, char *path);
/* Maps what relay_create() made; NULL with errno. */
struct relay_control *relay_attach(const char *path);
/* Unmaps; the maker gives its path, others NULL. */
void relay_destroy(struct relay_control *c, const char *path);

/* ---- in recorded programs ---- */

/* A slot for a thread, waiting while the recorder is behind; NULL if recording has stopped. */
struct relay_slot *relay_slot_take(struct relay_control *c, uint32_t pid, uint32_t tid, uint32_t flags);
/* Hands s over and gives the thread another; NULL if recording has stopped. */
struct relay_slot *relay_flush(struct relay_control *c, struct relay_slot *s);
/* Hands s over. */
void relay_slot_release(struct relay_control *c, struct relay_slot *s);
/* Hands over what pid left. With ends, an EV_EXIT closes it. */
void relay_salvage(struct relay_control *c, uint32_t pid, bool ends);
/* Is anything recorded after so many instructions? *left: after how many more to ask again. Stops at the end of all. */
bool relay_window_open(struct relay_control *c, uint64_t insns, uint64_t *left);

/* ---- in the recorder ---- */

/* The next slot of the queue; NULL if there is none now. Give it back with relay_slot_free. */
struct relay_slot *relay_next(struct relay_control *c);
void relay_slot_free(struct relay_control *c, struct relay_slot *s);
/* Waits for the queue, at most so long. */
void relay_wait(struct relay_control *c, unsigned us);
/* Hands over all that threads still hold: recording has stopped. */
void relay_sweep(struct relay_control *c);

#endif
