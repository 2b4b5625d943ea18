/* SPDX-License-Identifier: MIT */
/*
 * Agile paging, inside mmu/: which of the guest's tables are shadowed.
 *
 *   agile.c         the mode: walks that switch, faults, events
 *   agile_policy.c  what becomes nested or shadow, and when
 */
#ifndef QUIRE_MMU_AGILE_H
#define QUIRE_MMU_AGILE_H

#include "mmu/shadow.h"

/* One guest frame that is a table. No record: it is nested, and nothing is known of it. */
struct agile_page {
	struct agile_page *next; /* of the bucket */
	uint64_t gfn;
	uint64_t parent;   /* gfn of the table that led to it last; INVALID_FRAME: not known */
	bool shadow;       /* shadowed; else nested */
	bool top;          /* it is a root */
	uint8_t backoff;   /* the price of a shadow has doubled so often */
	uint16_t writes;   /* trapped, in the interval of .written */
	uint64_t written;  /* interval of the last store to it; of the first sight before any */
	uint64_t seen;     /* interval of the last nested walk through it */
	uint64_t since;    /* interval in which it became shadow */
	uint64_t loads;    /* of the p2m that nested walks through it cost since its last store */
};

enum { AGILE_BUCKETS = 1024 };

struct agile {
	bool whole;          /* nothing is shadowed: the root register holds a gpa, its loads are not intercepted */
	bool frozen;         /* a test decides what is shadowed */
	uint8_t backoff;     /* of leaving the wholly nested state */
	uint8_t good, bad;   /* intervals in a row that speak for leaving it, for going back */
	uint64_t interval;   /* number of this one */
	uint64_t walks;      /* in it */
	uint64_t loads;      /* of the p2m in it */
	uint64_t roots;      /* stats.root_switches at its start */
	uint64_t usual;      /* loads of the p2m per 256 walks when all was nested last */
	struct agile_page *bucket[AGILE_BUCKETS];
};

/* ---- agile_policy.c ---- */

/* Is this table shadowed? All that is not is nested. */
bool agile_is_shadow(const struct mmu *mmu, uint64_t gfn);
/* A guest table becomes nested, and every shadowed one below it. Its shadow pages go. */
void agile_make_nested(struct mmu *mmu, uint64_t gfn);
/* It becomes shadowed, its parents being so. False: no memory to remember it. */
bool agile_make_shadow(struct mmu *mmu, uint64_t gfn);
/* The whole VM becomes wholly nested (every table with it), or may be shadowed from the root on. */
void agile_set_whole(struct mmu *mmu, bool whole);
/* A nested walk read the guest tables of f->walk and cost so many loads of the p2m. */
void agile_walked(struct mmu *mmu, const struct mmu_fault *f, uint64_t loads);
/* The guest stored to this frame; or: a store to it was trapped. */
void agile_stored(struct mmu *mmu, uint64_t gfn);
void agile_trapped(struct mmu *mmu, uint64_t gfn);
/* A walk begins: at the end of an interval tables change sides. */
void agile_tick(struct mmu *mmu);
void agile_forget_all(struct mmu *mmu);
int agile_audit(struct mmu *mmu, const char **why);

/* ---- agile.c ---- */

/* Walk caches keep tables by the shape of the format that is walked from the root. */
void agile_shape(struct mmu *mmu);

#endif
