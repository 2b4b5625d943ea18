/* SPDX-License-Identifier: MIT */
#include "guestos/heap.h"

#include <stdlib.h>

#include "base/bug.h"

static bool is_before(const struct heap_item *a, const struct heap_item *b)
{
	return a->key != b->key ? a->key < b->key : a->gfn < b->gfn;
}

void heap_fini(struct heap *h)
{
	free(h->item);
	*h = (struct heap){ 0 };
}

void heap_push(struct heap *h, uint64_t key, uint64_t gfn)
{
	struct heap_item new = { key, gfn };
	size_t i = h->n++;

	if (h->n > h->cap) {
		h->cap = h->cap ? h->cap * 2 : 64;
		h->item = realloc(h->item, h->cap * sizeof(*h->item));
		BUG_ON(!h->item);
	}
	for (; i > 0 && is_before(&new, &h->item[(i - 1) / 2]); i = (i - 1) / 2)
		h->item[i] = h->item[(i - 1) / 2];
	h->item[i] = new;
}

bool heap_pop(struct heap *h, struct heap_item *out)
{
	if (!h->n)
		return false;
	*out = h->item[0];

	struct heap_item last = h->item[--h->n];
	size_t i = 0;

	for (size_t c; (c = 2 * i + 1) < h->n; i = c) {
		if (c + 1 < h->n && is_before(&h->item[c + 1], &h->item[c]))
			c++;
		if (!is_before(&h->item[c], &last))
			break;
		h->item[i] = h->item[c];
	}
	if (h->n)
		h->item[i] = last;
	return true;
}
