/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "machine/rmap.h"

static struct rmap_chunk *head_chunk(uint64_t head)
{
	return head & 1 ? (struct rmap_chunk *)(uintptr_t)(head - 1) : NULL;
}

static uint64_t make_chunk_head(struct rmap_chunk *c)
{
	return (uint64_t)(uintptr_t)c | 1;
}

/* Names in this one chunk: 1 … RMAP_CHUNK_NAMES. */
static unsigned names_here(const struct rmap_chunk *c)
{
	return (unsigned)((c->n - 1) % RMAP_CHUNK_NAMES) + 1;
}

static uint64_t *find_name(struct rmap_chunk *c, uint64_t name)
{
	for (; c; c = c->next) {
		unsigned n = names_here(c);

		for (unsigned i = 0; i < n; i++)
			if (c->name[i] == name)
				return &c->name[i];
	}
	return NULL;
}

/* Room for one more name at the front; the chunk's n counts it already. */
static struct rmap_chunk *make_room(struct machine *m, uint64_t *head)
{
	struct rmap_chunk *c = head_chunk(*head);

	if (c && names_here(c) < RMAP_CHUNK_NAMES) {
		c->n++;
		return c;
	}

	struct rmap_chunk *front = kmem_alloc(m, sizeof(*front));

	if (!front)
		return NULL;
	if (c) {
		front->next = c;
		front->n = c->n + 1;
	} else {
		front->name[0] = *head;
		front->n = 2;
	}
	*head = make_chunk_head(front);
	return front;
}

int rmap_add_more(struct machine *m, uint64_t *head, uint64_t name)
{
	struct rmap_chunk *c;

	ASSERT(*head != name);
	c = make_room(m, head);
	if (!c)
		return -ENOMEM;
	c->name[names_here(c) - 1] = name;
	return 0;
}

/* The front chunk's last name fills the gap, so that only the front is ever part full. */
void rmap_remove_more(struct machine *m, uint64_t *head, uint64_t name)
{
	struct rmap_chunk *front = head_chunk(*head);
	uint64_t *slot = find_name(front, name);

	BUG_ON(!slot);
	*slot = front->name[names_here(front) - 1];
	front->n--;
	if (front->n == 1) {
		*head = front->name[0];
		kmem_free(m, front, sizeof(*front));
	} else if (front->n % RMAP_CHUNK_NAMES == 0) {
		*head = make_chunk_head(front->next);
		kmem_free(m, front, sizeof(*front));
	}
}

bool rmap_has(uint64_t head, uint64_t name)
{
	return head & 1 ? find_name(head_chunk(head), name) != NULL : head && head == name;
}

uint64_t rmap_count(uint64_t head)
{
	return head & 1 ? head_chunk(head)->n : head != 0;
}

bool rmap_first(uint64_t head, struct rmap_iter *it)
{
	it->chunk = head_chunk(head);
	it->i = 0;
	it->name = it->chunk ? it->chunk->name[0] : head;
	return head != 0;
}

bool rmap_next(struct rmap_iter *it)
{
	if (!it->chunk)
		return false;
	if (++it->i == names_here(it->chunk)) {
		it->chunk = it->chunk->next;
		it->i = 0;
	}
	if (!it->chunk)
		return false;
	it->name = it->chunk->name[it->i];
	return true;
}
