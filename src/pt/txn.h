/* SPDX-License-Identifier: MIT */
/*
 * The stores of one operation: all, or none.
 *
 *   txn_get … txn_put …      loads; stores are only written down
 *   txn_commit               does them, in the order they were put
 *
 * An error of any load sticks (later gets return 0, so that loops over links
 * end) and comes out of txn_commit, before anything was stored. A store that
 * fails has those before it undone, last first: where one could be made a
 * moment ago it can be made again. Since the order forward shows each key its
 * old or its new frame at every step, so does the way back.
 *
 * Words put one after another at ascending addresses of one line are one
 * store: write an entry before it is linked, clear it after.
 */
#ifndef QUIRE_PT_TXN_H
#define QUIRE_PT_TXN_H

#include "machine/pt_mem.h"

enum { TXN_MAX = 48 };

struct txn {
	struct pt_mem *m;
	int err;
	unsigned n;
	struct txn_word {
		uint64_t addr, value, old;
	} word[TXN_MAX];
};

static inline void txn_begin(struct txn *t, struct pt_mem *m)
{
	t->m = m;
	t->err = 0;
	t->n = 0;
}

/* The word as the puts so far leave it. */
uint64_t txn_get(struct txn *t, uint64_t addr);
void txn_put(struct txn *t, uint64_t addr, uint64_t value);
/* 0, or -errno with nothing changed. */
int txn_commit(struct txn *t);

#endif
