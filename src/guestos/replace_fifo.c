/* SPDX-License-Identifier: MIT */
/* FIFO: the page that came in first goes first. */
#include "guestos/guest_internal.h"

static int fifo_victim(struct guest *g, uint64_t *gfn)
{
	*gfn = g->replace_head;
	return g->replace_head == NO_GFRAME ? -ENOENT : 0;
}

const struct replace_ops replace_fifo = {
	.add = replace_list_add,
	.remove = replace_list_remove,
	.victim = fifo_victim,
};
