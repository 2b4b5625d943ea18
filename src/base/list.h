/* SPDX-License-Identifier: MIT */
/* Circular doubly linked list, its links inside the members. */
#ifndef QUIRE_BASE_LIST_H
#define QUIRE_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/bits.h"

struct list {
	struct list *next, *prev;
};

static inline void list_init(struct list *l) { l->next = l->prev = l; }
static inline bool list_is_empty(const struct list *l) { return l->next == l; }

static inline void list_insert(struct list *n, struct list *prev, struct list *next)
{
	n->prev = prev;
	n->next = next;
	prev->next = n;
	next->prev = n;
}

static inline void list_add(struct list *head, struct list *n) { list_insert(n, head, head->next); }
static inline void list_add_tail(struct list *head, struct list *n) { list_insert(n, head->prev, head); }

/* Leaves n an empty list of its own, so that a second list_del is harmless. */
static inline void list_del(struct list *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	list_init(n);
}

#define list_entry(p, type, member) container_of(p, type, member)
#define list_first(head, type, member) list_entry((head)->next, type, member)
#define list_last(head, type, member) list_entry((head)->prev, type, member)
#define list_for_each(it, head) \
	for (struct list *it = (head)->next; it != (head); it = it->next)
/* The body may delete `it`, nothing else. */
#define list_for_each_safe(it, head)                                            \
	for (struct list *it = (head)->next, *it##_next = it->next; it != (head); \
	     it = it##_next, it##_next = it->next)

#endif
