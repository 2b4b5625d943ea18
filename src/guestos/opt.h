/* SPDX-License-Identifier: MIT */
/*
 * OPT's foreknowledge: one dry pass over the whole work, in the order the run
 * will have, notes each change of page ("use").
 *
 *   use      0   1   2   3 …       in time order
 *   page[]   7   2   7   5         → struct opt_page (space, page number)
 *   next[]   2   …   …   …         the use after this one of the same page
 *   time[]   references before it
 */
#ifndef QUIRE_GUESTOS_OPT_H
#define QUIRE_GUESTOS_OPT_H

#include "guestos/guest_internal.h"

enum { NO_USE = UINT32_MAX };

struct opt_space {
	struct pmap ids; /* page number → id + 1 */
	struct mm *mm;   /* while it lives in the run */
};

struct opt_page {
	struct opt_space *space;
	uint64_t vpn;
	uint64_t next; /* time of its next use after the cursor; UINT64_MAX: none */
	uint32_t last; /* prepass: the use before */
};

struct opt {
	uint32_t *page, *next;
	uint64_t *time;
	size_t nuses, cap_uses;
	struct opt_page *pages;
	size_t npages, cap_pages;
	size_t cursor; /* uses before it are past */
	struct opt_space **spaces;
	size_t nspaces, cap_spaces;
};

/* 0, or -1 with *err: a source that cannot be read twice. */
int opt_prepass(struct guest *g, struct opt *o, struct trace_error *err);
void opt_free(struct opt *o);

#endif
