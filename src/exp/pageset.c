/* SPDX-License-Identifier: MIT */
#include "exp/pageset.h"

#include <errno.h>
#include <stdlib.h>

enum { PAGESET_FIRST = 1 << 14 };

int pageset_init(struct pageset *s)
{
	*s = (struct pageset){ .nslots = PAGESET_FIRST };
	s->slot = calloc(s->nslots, sizeof(*s->slot));
	return s->slot ? 0 : -ENOMEM;
}

void pageset_fini(struct pageset *s)
{
	free(s->slot);
}

/* True: it was not there. */
static bool put(uint64_t *slot, size_t nslots, uint64_t fingerprint)
{
	size_t i = fingerprint & (nslots - 1);

	for (; slot[i]; i = (i + 1) & (nslots - 1))
		if (slot[i] == fingerprint)
			return false;
	slot[i] = fingerprint;
	return true;
}

static int grow(struct pageset *s)
{
	size_t nslots = s->nslots * 2;
	uint64_t *slot = calloc(nslots, sizeof(*slot));

	if (!slot)
		return -ENOMEM;
	for (size_t i = 0; i < s->nslots; i++)
		if (s->slot[i])
			put(slot, nslots, s->slot[i]);
	free(s->slot);
	s->slot = slot;
	s->nslots = nslots;
	return 0;
}

int pageset_add_slow(struct pageset *s, uint64_t fingerprint)
{
	if (s->used >= s->nslots / 2 && grow(s))
		return -ENOMEM;
	s->used += put(s->slot, s->nslots, fingerprint);
	return 0;
}
