/* SPDX-License-Identifier: MIT */
#include "page-map.h"

#include <stdlib.h>

#include "base/hash.h"

enum { SLOTS_FIRST = 1 << 14 };

static struct page_slot *find(const struct page_map *m, uint32_t space, uint64_t vpn)
{
	uint64_t i = hash_u64(vpn ^ (uint64_t)space << 32);

	for (;; i++) {
		struct page_slot *s = &m->slot[i & (m->nslots - 1)];

		if (!s->frame || (s->vpn == vpn && s->space == space))
			return s;
	}
}

static bool grow(struct page_map *m)
{
	struct page_map bigger = {.nslots = m->nslots ? m->nslots * 2 : SLOTS_FIRST, .used = m->used};

	bigger.slot = calloc(bigger.nslots, sizeof(*bigger.slot));
	if (!bigger.slot)
		return false;
	for (uint64_t i = 0; i < m->nslots; i++)
		if (m->slot[i].frame)
			*find(&bigger, m->slot[i].space, m->slot[i].vpn) = m->slot[i];
	free(m->slot);
	*m = bigger;
	return true;
}

uint32_t *page_map_at(struct page_map *m, uint32_t space, uint64_t vpn)
{
	if (m->used >= m->nslots / 2 && !grow(m))
		return NULL;

	struct page_slot *s = find(m, space, vpn);

	if (!s->frame) {
		s->vpn = vpn;
		s->space = space;
		m->used++;
	}
	return &s->frame;
}
