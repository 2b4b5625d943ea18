/* SPDX-License-Identifier: MIT */
#include "guestos/mem_events.h"

#include "base/bug.h"

/* No format can say W without R on every CPU, or X alone: any right brings R, as kernels have it. */
static uint8_t rights_of_prot(unsigned prot)
{
	return (prot ? RIGHT_R : 0) | (prot & PROT_BIT_W ? RIGHT_W : 0) | (prot & PROT_BIT_X ? RIGHT_X : 0);
}

struct range {
	uint64_t start, end; /* pages; empty where the event's was or wrapped around */
};

static struct range range_of(uint64_t addr, uint64_t len)
{
	struct range r = { addr >> PAGE_SHIFT, (addr >> PAGE_SHIFT) };
	uint64_t first = addr & PAGE_MASK;

	if (len <= UINT64_MAX - first - PAGE_MASK)
		r.end += (first + len + PAGE_MASK) >> PAGE_SHIFT;
	if (r.end > BIT(64 - PAGE_SHIFT))
		r.end = BIT(64 - PAGE_SHIFT);
	return r;
}

static int unmap(struct guest *g, struct mm *mm, struct range r)
{
	struct vma_ops ops = mm_vma_ops(g);
	int err;

	if (r.start >= r.end)
		return 0;
	err = pages_drop_range(g, mm, r.start, r.end - r.start);
	if (!err)
		err = phys_drop_range(g, mm, r.start, r.end - r.start);
	if (!err)
		vma_remove(&mm->vmas, &ops, r.start, r.end);
	return err;
}

static int map(struct guest *g, struct mm *mm, struct range r, uint8_t rights, bool shared)
{
	struct vma_ops ops = mm_vma_ops(g);
	struct vma v = { .start = r.start, .end = r.end, .rights = rights };
	int err;

	if (r.start >= r.end)
		return 0;
	err = unmap(g, mm, r);
	if (err)
		return err;
	v.shm = shared ? shm_create() : NULL;
	vma_insert(&mm->vmas, &ops, &v);
	return 0;
}

/* The first break seen is where the heap begins. */
static int set_brk(struct guest *g, struct mm *mm, uint64_t addr)
{
	uint64_t brk = (addr >> PAGE_SHIFT) + ((addr & PAGE_MASK) != 0);
	uint64_t old = mm->brk;

	if (!mm->brk_start)
		mm->brk_start = old = brk;
	if (brk < mm->brk_start)
		return 0;
	mm->brk = brk;
	return brk > old ? map(g, mm, (struct range){ old, brk }, RIGHT_R | RIGHT_W, false) :
			   unmap(g, mm, (struct range){ brk, old });
}

static int protect(struct guest *g, struct mm *mm, struct range r, uint8_t rights)
{
	struct vma_ops ops = mm_vma_ops(g);

	if (r.start >= r.end)
		return 0;
	vma_protect(&mm->vmas, &ops, r.start, r.end, rights);
	return pages_protect(g, mm, r.start, r.end - r.start);
}

/* Copies the VMAs of [from, from + n) to `to`; the last one stretches to n2 pages. */
static void move_vmas(struct guest *g, struct mm *mm, struct range from, uint64_t to, uint64_t n2)
{
	struct vma_ops ops = mm_vma_ops(g);

	for (uint64_t page = from.start; page < from.end;) {
		const struct vma *v = vma_next(&mm->vmas, page);

		if (!v || v->start >= from.end)
			break;

		struct vma copy = *v;
		uint64_t start = MAX(v->start, from.start);

		page = v->end;
		copy.offset += start - v->start;
		copy.start = to + (start - from.start);
		copy.end = to + (page >= from.end ? n2 : page - from.start);
		copy.end = MIN(copy.end, to + n2);
		if (copy.start >= copy.end)
			break;
		if (copy.shm)
			shm_ref(copy.shm);
		vma_insert(&mm->vmas, &ops, &copy);
	}
}

static int remap(struct guest *g, struct mm *mm, const struct trace_event *ev)
{
	struct range from = range_of(ev->addr, ev->len), to = range_of(ev->addr2, ev->len2);
	uint64_t n = from.end - from.start, n2 = to.end - to.start;
	int err;

	if (to.start == from.start) {
		if (n2 < n)
			return unmap(g, mm, (struct range){ from.start + n2, from.end });
		/* Grown in place: a copy of itself, stretched. */
		err = unmap(g, mm, (struct range){ from.end, to.end });
		if (err)
			return err;
		move_vmas(g, mm, from, from.start, n2);
		return 0;
	}
	/* A kernel refuses ranges that overlap; so such an event is none. */
	if (!n2 || (from.start < to.end && to.start < from.end))
		return 0;
	err = unmap(g, mm, to);
	if (err)
		return err;
	move_vmas(g, mm, from, to.start, n2);
	err = pages_move(g, mm, from.start, to.start, MIN(n, n2));
	return err ? err : unmap(g, mm, from);
}

int mem_event(struct guest *g, struct mm *mm, const struct trace_event *ev)
{
	struct range r = range_of(ev->addr, ev->len);

	switch (ev->kind) {
	case EV_MMAP:
		return map(g, mm, r, rights_of_prot(ev->prot), ev->flags & EVF_SHARED);
	case EV_MUNMAP:
		return unmap(g, mm, r);
	case EV_BRK:
		return set_brk(g, mm, ev->addr);
	case EV_MPROTECT:
		return protect(g, mm, r, rights_of_prot(ev->prot));
	case EV_MREMAP:
		return remap(g, mm, ev);
	case EV_MADVISE_FREE:
		return r.start < r.end ? pages_drop_range(g, mm, r.start, r.end - r.start) : 0;
	case EV_RAM:
	case EV_PHYS:
		return phys_event(g, mm, ev);
	default:
		return 0;
	}
}
