/* SPDX-License-Identifier: MIT */
/*
 * What an address space may contain: runs of pages with rights, in a sorted
 * array without overlaps. A page outside all of them is not forbidden: traces
 * leave out what stood before recording began, so it is mapped on demand.
 */
#ifndef QUIRE_GUESTOS_VMA_H
#define QUIRE_GUESTOS_VMA_H

#include <stdbool.h>
#include <stdint.h>

struct shm;

struct vma {
	uint64_t start, end; /* pages, [start, end) */
	uint8_t rights;      /* RIGHT_R W X; 0: none */
	struct shm *shm;     /* shared memory; NULL: private */
	uint64_t offset;     /* page of shm that start is */
};

struct vmas {
	struct vma *v;
	unsigned n, cap;
};

/* How a set of VMAs takes and gives back shared objects; set once by its owner. */
struct vma_ops {
	void (*ref)(void *ctx, struct shm *s);
	void (*put)(void *ctx, struct shm *s);
	void *ctx;
};

void vmas_fini(struct vmas *s, const struct vma_ops *ops);
/* NULL: no VMA there. */
const struct vma *vma_find(const struct vmas *s, uint64_t page);
/* The first that ends above page; NULL: none. */
const struct vma *vma_next(const struct vmas *s, uint64_t page);
/* Replaces what was in [v->start, v->end); takes v's reference to its shm over. Merges with like neighbours. */
void vma_insert(struct vmas *s, const struct vma_ops *ops, const struct vma *v);
/* Cuts [start, end) out. */
void vma_remove(struct vmas *s, const struct vma_ops *ops, uint64_t start, uint64_t end);
/* Gives [start, end) other rights; parts without a VMA get a private one. */
void vma_protect(struct vmas *s, const struct vma_ops *ops, uint64_t start, uint64_t end, uint8_t rights);
/* Copies all, with a reference to each shm. */
void vmas_copy(struct vmas *to, const struct vmas *from, const struct vma_ops *ops);
/* 0, or -EINVAL with *why. */
int vmas_audit(const struct vmas *s, const char **why);

#endif
