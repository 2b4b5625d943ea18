/* SPDX-License-Identifier: MIT */
/* A binary heap of (key, gfn), the least key first; equal keys by gfn, so that it is deterministic. */
#ifndef QUIRE_GUESTOS_HEAP_H
#define QUIRE_GUESTOS_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_item {
	uint64_t key, gfn;
};

struct heap {
	struct heap_item *item;
	size_t n, cap;
};

void heap_fini(struct heap *h);
void heap_push(struct heap *h, uint64_t key, uint64_t gfn);
/* false: empty. */
bool heap_pop(struct heap *h, struct heap_item *out);

#endif
