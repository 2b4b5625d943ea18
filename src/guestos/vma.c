/* SPDX-License-Identifier: MIT */
#include "guestos/vma.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/bug.h"

void vmas_fini(struct vmas *s, const struct vma_ops *ops)
{
	for (unsigned i = 0; i < s->n; i++)
		if (s->v[i].shm)
			ops->put(ops->ctx, s->v[i].shm);
	free(s->v);
	*s = (struct vmas){ 0 };
}

/* Index of the first that ends above page; s->n: none. */
static unsigned index_of(const struct vmas *s, uint64_t page)
{
	unsigned lo = 0, hi = s->n;

	while (lo < hi) {
		unsigned mid = lo + (hi - lo) / 2;

		if (s->v[mid].end > page)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

const struct vma *vma_next(const struct vmas *s, uint64_t page)
{
	unsigned i = index_of(s, page);

	return i < s->n ? &s->v[i] : NULL;
}

const struct vma *vma_find(const struct vmas *s, uint64_t page)
{
	const struct vma *v = vma_next(s, page);

	return v && v->start <= page ? v : NULL;
}

static void open_gap(struct vmas *s, unsigned at)
{
	if (s->n == s->cap) {
		s->cap = s->cap ? s->cap * 2 : 8;
		s->v = realloc(s->v, s->cap * sizeof(*s->v));
		BUG_ON(!s->v);
	}
	memmove(&s->v[at + 1], &s->v[at], (s->n - at) * sizeof(*s->v));
	s->n++;
}

static void close_gap(struct vmas *s, unsigned at, unsigned n)
{
	if (n)
		memmove(&s->v[at], &s->v[at + n], (s->n - at - n) * sizeof(*s->v));
	s->n -= n;
}

/* Makes `page` a boundary: no VMA reaches over it. */
static void split_at(struct vmas *s, const struct vma_ops *ops, uint64_t page)
{
	unsigned i = index_of(s, page);

	if (i == s->n || s->v[i].start >= page)
		return;
	open_gap(s, i);
	s->v[i].end = page;
	s->v[i + 1].offset += page - s->v[i + 1].start;
	s->v[i + 1].start = page;
	if (s->v[i].shm)
		ops->ref(ops->ctx, s->v[i].shm);
}

static bool can_merge(const struct vma *a, const struct vma *b)
{
	return a->end == b->start && a->rights == b->rights && a->shm == b->shm &&
	       (!a->shm || a->offset + (a->end - a->start) == b->offset);
}

/* Merges the VMAs i and i + 1 where they are alike. */
static void merge_at(struct vmas *s, const struct vma_ops *ops, unsigned i)
{
	if (i + 1 >= s->n || !can_merge(&s->v[i], &s->v[i + 1]))
		return;
	if (s->v[i].shm)
		ops->put(ops->ctx, s->v[i].shm);
	s->v[i].end = s->v[i + 1].end;
	close_gap(s, i + 1, 1);
}

void vma_remove(struct vmas *s, const struct vma_ops *ops, uint64_t start, uint64_t end)
{
	if (start >= end)
		return;
	split_at(s, ops, start);
	split_at(s, ops, end);

	unsigned first = index_of(s, start), i = first;

	for (; i < s->n && s->v[i].end <= end; i++)
		if (s->v[i].shm)
			ops->put(ops->ctx, s->v[i].shm);
	close_gap(s, first, i - first);
}

void vma_insert(struct vmas *s, const struct vma_ops *ops, const struct vma *v)
{
	BUG_ON(v->start >= v->end);
	vma_remove(s, ops, v->start, v->end);

	unsigned i = index_of(s, v->start);

	open_gap(s, i);
	s->v[i] = *v;
	merge_at(s, ops, i);
	if (i > 0)
		merge_at(s, ops, i - 1);
}

void vma_protect(struct vmas *s, const struct vma_ops *ops, uint64_t start, uint64_t end, uint8_t rights)
{
	if (start >= end)
		return;
	split_at(s, ops, start);
	split_at(s, ops, end);
	for (uint64_t page = start; page < end;) {
		unsigned i = index_of(s, page);

		if (i == s->n || s->v[i].start > page) {
			uint64_t stop = i == s->n ? end : MIN(end, s->v[i].start);

			open_gap(s, i);
			s->v[i] = (struct vma){ .start = page, .end = stop };
		}
		s->v[i].rights = rights;
		page = s->v[i].end;
	}
	/* Backwards, so that each merge leaves the indices before it alone. */
	for (unsigned i = MIN(index_of(s, end), s->n - 1) + 1; i-- > 0 && s->v[i].end >= start;)
		merge_at(s, ops, i);
}

void vmas_copy(struct vmas *to, const struct vmas *from, const struct vma_ops *ops)
{
	*to = (struct vmas){ .n = from->n, .cap = from->n };
	if (!from->n)
		return;
	to->v = malloc(from->n * sizeof(*to->v));
	BUG_ON(!to->v);
	memcpy(to->v, from->v, from->n * sizeof(*to->v));
	for (unsigned i = 0; i < to->n; i++)
		if (to->v[i].shm)
			ops->ref(ops->ctx, to->v[i].shm);
}

int vmas_audit(const struct vmas *s, const char **why)
{
	for (unsigned i = 0; i < s->n; i++) {
		if (s->v[i].start >= s->v[i].end)
			return *why = "an empty VMA", -EINVAL;
		if (i + 1 < s->n && s->v[i].end > s->v[i + 1].start)
			return *why = "VMAs overlap", -EINVAL;
		if (i + 1 < s->n && can_merge(&s->v[i], &s->v[i + 1]))
			return *why = "like neighbours were not merged", -EINVAL;
	}
	return 0;
}
