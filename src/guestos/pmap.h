/* SPDX-License-Identifier: MIT */
/*
 * The kernel's own record of an address space: page number → one word, in a
 * six-level tree of 512 slots. Ordered, sparse, any 54-bit key. It stands in
 * Quire's host memory: what a format cannot say (on disk, PROT_NONE but kept)
 * must live somewhere, and this costs the modelled guest nothing.
 */
#ifndef QUIRE_GUESTOS_PMAP_H
#define QUIRE_GUESTOS_PMAP_H

#include <stdbool.h>
#include <stdint.h>

struct pmap_node;

struct pmap {
	struct pmap_node *root;
	uint64_t count; /* keys with a word other than 0 */
	/* The leaf node used last: pages are touched in runs. */
	struct pmap_node *hot;
	uint64_t hot_key; /* key >> 9 of it */
};

void pmap_init(struct pmap *m);
void pmap_fini(struct pmap *m);
/* 0: nothing there. */
uint64_t pmap_get(struct pmap *m, uint64_t key);
/* value 0 removes. */
void pmap_set(struct pmap *m, uint64_t key, uint64_t value);
/* The first key at or after *key that has a word; false: none. */
bool pmap_next(struct pmap *m, uint64_t *key, uint64_t *value);

/* Every (key, value) in [from, end), in order; the body may change the map. */
#define pmap_for_range(m, key, value, from, end)                            \
	for (uint64_t key = (from), value;                                  \
	     key < (end) && pmap_next((m), &key, &value) && key < (end); key++)

#endif
