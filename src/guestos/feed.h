/* SPDX-License-Identifier: MIT */
/*
 * The order of the work: sources round robin by quantum, up to the limit. It
 * does not depend on what the work does to the guest, so a dry pass over it
 * (OPT's) sees the very sequence that the run will.
 */
#ifndef QUIRE_GUESTOS_FEED_H
#define QUIRE_GUESTOS_FEED_H

#include "guestos/guest.h"

struct proc;

struct source {
	struct trace *trace;
	struct trace_block *block;
	uint32_t pos;
	uint64_t at; /* references before pos, of the whole source */
	struct guest_roi roi;
	bool finished;
	/* Whom its references are by. */
	struct proc *current;
	struct source_pid {
		uint32_t pid;
		struct proc *proc;
	} *pids; /* sorted by pid: those alive */
	uint32_t npids, cap_pids;
	/* REPLACE_OPT: address spaces in the order they come into being. */
	struct opt_space **spaces;
	uint32_t nspaces, next_space;
};

enum feed_kind { FEED_END, FEED_EVENT, FEED_REFS };

struct feed_item {
	struct source *src;
	const struct trace_event *event; /* FEED_EVENT */
	const ref_t *refs;               /* FEED_REFS: may hold events; stop before them */
	size_t n;
	bool outside;                    /* the region of interest */
};

struct feed {
	struct source **src;
	unsigned nsrc, turn;
	uint64_t quantum, quantum_left;
	uint64_t refs, limit; /* done; 0: no limit */
	bool at_block_end;    /* the last feed_next read a block: a good moment to look up */
	struct trace_error err; /* of the first source that is damaged */
};

void feed_add(struct feed *f, struct trace *t, const struct guest_roi *roi);
void feed_fini(struct feed *f);
/* What comes next, at most max references (max > 0). The same again until feed_advance. */
enum feed_kind feed_next(struct feed *f, uint64_t max, struct feed_item *it);
/* That much of it is done: n references, or one event (n = 0). */
void feed_advance(struct feed *f, const struct feed_item *it, size_t n);
/* All sources to their start. -1 with *err where one cannot. */
int feed_rewind(struct feed *f, struct trace_error *err);

#endif
