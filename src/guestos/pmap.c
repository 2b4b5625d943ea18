/* SPDX-License-Identifier: MIT */
#include "guestos/pmap.h"

#include <stdlib.h>

#include "base/bits.h"
#include "base/bug.h"

enum { NODE_BITS = 9, NODE_SLOTS = 1 << NODE_BITS, NODE_LEVELS = 6 };

struct pmap_node {
	uint64_t slot[NODE_SLOTS]; /* level 0: words; above: pointers */
	uint32_t used;
};

static unsigned slot_of(uint64_t key, unsigned level)
{
	return (unsigned)(key >> (level * NODE_BITS)) & (NODE_SLOTS - 1);
}

static struct pmap_node *child(const struct pmap_node *n, unsigned i)
{
	return (struct pmap_node *)(uintptr_t)n->slot[i];
}

static struct pmap_node *make_node(void)
{
	struct pmap_node *n = calloc(1, sizeof(*n));

	BUG_ON(!n);
	return n;
}

void pmap_init(struct pmap *m)
{
	*m = (struct pmap){ .hot_key = UINT64_MAX };
}

static void free_node(struct pmap_node *n, unsigned level)
{
	if (level > 0)
		for (unsigned i = 0; i < NODE_SLOTS; i++)
			if (n->slot[i])
				free_node(child(n, i), level - 1);
	free(n);
}

void pmap_fini(struct pmap *m)
{
	if (m->root)
		free_node(m->root, NODE_LEVELS - 1);
	pmap_init(m);
}

uint64_t pmap_get(struct pmap *m, uint64_t key)
{
	struct pmap_node *n = m->root;

	if (m->hot_key == key >> NODE_BITS)
		return m->hot->slot[slot_of(key, 0)];
	for (unsigned level = NODE_LEVELS - 1; n && level > 0; level--)
		n = child(n, slot_of(key, level));
	if (!n)
		return 0;
	m->hot = n;
	m->hot_key = key >> NODE_BITS;
	return n->slot[slot_of(key, 0)];
}

static void insert(struct pmap *m, uint64_t key, uint64_t value)
{
	struct pmap_node **np = &m->root;
	struct pmap_node *n;

	for (unsigned level = NODE_LEVELS - 1;; level--) {
		if (!*np)
			*np = make_node();
		n = *np;
		if (level == 0)
			break;
		n->used += n->slot[slot_of(key, level)] == 0;
		np = (struct pmap_node **)&n->slot[slot_of(key, level)];
	}
	m->hot = n;
	m->hot_key = key >> NODE_BITS;
	if (!n->slot[slot_of(key, 0)]) {
		n->used++;
		m->count++;
	}
	n->slot[slot_of(key, 0)] = value;
}

/* Empty nodes go at once: a node that exists holds something. */
static void clear_slow(struct pmap *m, uint64_t key)
{
	struct pmap_node *path[NODE_LEVELS];
	struct pmap_node *n = m->root;

	for (unsigned level = NODE_LEVELS; level-- > 0; n = level ? child(n, slot_of(key, level)) : n) {
		if (!n)
			return;
		path[level] = n;
	}
	if (!n->slot[slot_of(key, 0)])
		return;
	m->count--;
	for (unsigned level = 0; level < NODE_LEVELS; level++) {
		n = path[level];
		n->slot[slot_of(key, level)] = 0;
		if (--n->used)
			return;
		if (m->hot == n)
			m->hot_key = UINT64_MAX;
		free(n);
	}
	m->root = NULL;
}

/* In the leaf used last, unless a node comes or goes by it. */
static bool set_hot(struct pmap *m, uint64_t key, uint64_t value)
{
	struct pmap_node *n = m->hot;
	unsigned i = slot_of(key, 0);

	if (m->hot_key != key >> NODE_BITS || (!value && n->slot[i] && n->used == 1))
		return false;
	m->count += (value != 0) - (uint64_t)(n->slot[i] != 0);
	n->used += (value != 0) - (uint32_t)(n->slot[i] != 0);
	n->slot[i] = value;
	return true;
}

void pmap_set(struct pmap *m, uint64_t key, uint64_t value)
{
	if (set_hot(m, key, value))
		return;
	if (value)
		insert(m, key, value);
	else
		clear_slow(m, key);
}

static bool next_in_leaf(const struct pmap_node *n, uint64_t *key, uint64_t *value)
{
	for (unsigned i = slot_of(*key, 0); i < NODE_SLOTS; i++)
		if (n->slot[i]) {
			*key = align_down(*key, NODE_SLOTS) + i;
			*value = n->slot[i];
			return true;
		}
	return false;
}

static bool next_in(struct pmap *m, struct pmap_node *n, unsigned level, uint64_t *key, uint64_t *value)
{
	uint64_t span = BIT(level * NODE_BITS);

	if (level == 0) {
		if (next_in_leaf(n, key, value)) {
			m->hot = n;
			m->hot_key = *key >> NODE_BITS;
			return true;
		}
		*key = align_down(*key, NODE_SLOTS);
		return false;
	}
	for (unsigned i = slot_of(*key, level); i < NODE_SLOTS; i++) {
		if (n->slot[i] && next_in(m, child(n, i), level - 1, key, value))
			return true;
		/* Past the last slot the key carries into the level above, which the caller drops. */
		if (i + 1 < NODE_SLOTS)
			*key = align_down(*key, span) + span;
	}
	*key = align_down(*key, span * NODE_SLOTS);
	return false;
}

bool pmap_next(struct pmap *m, uint64_t *key, uint64_t *value)
{
	if (m->hot_key == *key >> NODE_BITS && next_in_leaf(m->hot, key, value))
		return true;
	return m->root && *key >> (NODE_LEVELS * NODE_BITS) == 0 &&
	       next_in(m, m->root, NODE_LEVELS - 1, key, value);
}
