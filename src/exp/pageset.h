/* SPDX-License-Identifier: MIT */
/* A set of (process, page), to learn how much memory a piece of work touches. */
#ifndef QUIRE_EXP_PAGESET_H
#define QUIRE_EXP_PAGESET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PAGESET_RECENT = 1024 };

/*
 * Open addressing over 64-bit fingerprints: two pages that share one would be
 * counted once (below 2^-20 for a million pages). A small direct-mapped table
 * of recent pages takes nearly all insertions.
 */
struct pageset {
	uint64_t *slot; /* 0: empty */
	size_t nslots;  /* a power of two */
	uint64_t used;
	uint64_t recent[PAGESET_RECENT];
};

/* -ENOMEM. */
int pageset_init(struct pageset *s);
void pageset_fini(struct pageset *s);
/* 0 or -ENOMEM. */
int pageset_add_slow(struct pageset *s, uint64_t fingerprint);

#endif
