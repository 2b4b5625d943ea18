/* SPDX-License-Identifier: MIT */
/* (space, page) → frame: what the recording has told so far. Only grows. */
#ifndef QUIRE_PLUGIN_PAGE_MAP_H
#define QUIRE_PLUGIN_PAGE_MAP_H

#include <stdbool.h>
#include <stdint.h>

struct page_map {
	struct page_slot {
		uint64_t vpn;
		uint32_t space, frame; /* frame + 1; 0: empty */
	} *slot;
	uint64_t nslots, used; /* nslots a power of two, or 0 */
};

/* The frame's place, new (0) if the page was not there; it must then be filled. NULL: no memory. */
uint32_t *page_map_at(struct page_map *m, uint32_t space, uint64_t vpn);

#endif
