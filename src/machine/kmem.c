/* SPDX-License-Identifier: MIT */
/*
 * Objects of the hypervisor. Up to 2 KiB: size classes, each a list of frames
 * with free objects in them; a frame full is in no list, a frame empty goes
 * back to the buddy allocator (unless it is promised). Larger: whole frames.
 *
 *   frame of class 1 (64 bytes)
 *   ┌────┬────┬────┬────┬────────────────────┐
 *   │used│free│used│free│ fresh: never handed │   priv: first free object,
 *   └────┴─┬──┴────┴─▲──┴────────────────────┘   count of free, first fresh
 *          └─────────┘ free objects, linked by their first two bytes
 */
#include <errno.h>
#include <string.h>

#include "base/bug.h"
#include "machine/internal.h"
#include "machine/machine.h"

enum { KMEM_MAX = 1 << (KMEM_MIN_SHIFT + KMEM_CLASSES - 1), NO_OBJECT = UINT16_MAX };

/* frame.priv of a frame of small objects */
struct kmem_frame {
	uint16_t first; /* index of the first free object that was used before; NO_OBJECT */
	uint16_t nfree; /* fresh ones included */
	uint16_t fresh; /* objects from here on were never handed out */
	uint16_t zero;
};
static_assert(sizeof(struct kmem_frame) == sizeof(((struct frame *)0)->priv), "one is the other");
static_assert(KMEM_MAX * 2 == (int)PAGE_SIZE, "two objects a frame at least");

static struct kmem_frame *kmem_of(struct frame *f)
{
	return (struct kmem_frame *)&f->priv;
}

static unsigned class_of(size_t size)
{
	return size <= 1u << KMEM_MIN_SHIFT ? 0 : log2_ceil(size) - KMEM_MIN_SHIFT;
}

static unsigned objects_a_frame(unsigned class)
{
	return (unsigned)(PAGE_SIZE >> (KMEM_MIN_SHIFT + class));
}

static uint8_t *object_at(const struct machine *m, const struct frame *f, unsigned i)
{
	return machine_ptr(m, mfn_to_hpa(frame_mfn(m, f))) + ((size_t)i << (KMEM_MIN_SHIFT + f->order));
}

/* Links: next and prev are frame numbers, 0 is none. */
static void list_push(struct machine *m, struct kmem_class *c, struct frame *f)
{
	uint32_t mfn = (uint32_t)frame_mfn(m, f).v;

	f->prev = 0;
	f->next = c->partial;
	if (c->partial)
		m->frames[c->partial].prev = mfn;
	c->partial = mfn;
}

static void list_remove(struct machine *m, struct kmem_class *c, struct frame *f)
{
	if (f->prev)
		m->frames[f->prev].next = f->next;
	else
		c->partial = f->next;
	if (f->next)
		m->frames[f->next].prev = f->prev;
	f->next = f->prev = 0;
}

static int add_frame(struct machine *m, unsigned class)
{
	struct kmem_class *c = &m->kmem[class];
	mfn_t mfn;
	int err = buddy_take(m, ORDER_4K, FRAME_META, &mfn);

	if (err)
		return err;

	struct frame *f = machine_frame(m, mfn);
	uint16_t n = (uint16_t)objects_a_frame(class);

	machine_touch(m, mfn, 1);
	f->order = (uint8_t)class;
	*kmem_of(f) = (struct kmem_frame){ .first = NO_OBJECT, .nfree = n };
	list_push(m, c, f);
	c->free += n;
	return 0;
}

/* Gives an unused frame back, unless what is promised needs it. */
static void release_if_spare(struct machine *m, unsigned class, struct frame *f)
{
	struct kmem_class *c = &m->kmem[class];
	unsigned n = objects_a_frame(class);

	if (kmem_of(f)->nfree != n || c->free - n < c->reserved)
		return;
	list_remove(m, c, f);
	c->free -= n;
	buddy_free(m, frame_mfn(m, f), ORDER_4K);
}

static void release_spare_frames(struct machine *m, unsigned class)
{
	for (uint32_t at = m->kmem[class].partial, next; at; at = next) {
		next = m->frames[at].next;
		release_if_spare(m, class, &m->frames[at]);
	}
}

/* The commonest size, a line, in place. */
static void zero_object(uint8_t *p, unsigned class)
{
	if (likely(class == LINE_SHIFT - KMEM_MIN_SHIFT))
		memset(p, 0, LINE_SIZE);
	else
		memset(p, 0, (size_t)1 << (KMEM_MIN_SHIFT + class));
}

static void *take_object(struct machine *m, unsigned class)
{
	struct kmem_class *c = &m->kmem[class];
	struct frame *f = &m->frames[c->partial];
	struct kmem_frame *k = kmem_of(f);
	uint8_t *p;

	if (k->first != NO_OBJECT) {
		p = object_at(m, f, k->first);
		memcpy(&k->first, p, sizeof(k->first));
	} else {
		p = object_at(m, f, k->fresh++);
	}
	if (--k->nfree == 0)
		list_remove(m, c, f);
	c->free--;
	c->used++;
	zero_object(p, class);
	return p;
}

static void *alloc_small(struct machine *m, unsigned class)
{
	struct kmem_class *c = &m->kmem[class];

	if (c->reserved)
		c->reserved--;
	else if (faultinj_hit(m->inj, FAULT_META_ALLOC) || (!c->partial && add_frame(m, class)))
		return NULL;
	return take_object(m, class);
}

static uint64_t frames_of(size_t size)
{
	return align_up(size, PAGE_SIZE) >> PAGE_SHIFT;
}

/* A block rounded up and its tail given back is quick to find; a run is what remains to try. */
static int take_frames(struct machine *m, uint64_t n, mfn_t *mfn)
{
	unsigned order = log2_ceil(n);

	if (order > ORDER_MAX || buddy_take(m, order, FRAME_META, mfn))
		return buddy_take_run(m, n, 0, FRAME_META, mfn);
	buddy_free_run(m, MFN(mfn->v + n), BIT(order) - n);
	return 0;
}

static void *alloc_large(struct machine *m, size_t size)
{
	uint64_t n = frames_of(size);
	mfn_t mfn;

	if (faultinj_hit(m->inj, FAULT_META_ALLOC) || take_frames(m, n, &mfn))
		return NULL;
	machine_zero_run(m, mfn, n);
	machine_touch(m, mfn, n);
	m->kmem_large_frames += n;
	return machine_ptr(m, mfn_to_hpa(mfn));
}

void *kmem_alloc(struct machine *m, size_t size)
{
	BUG_ON(size == 0);
	/* More than all of RAM has no frame count to speak of. */
	if (unlikely(size > m->bytes))
		return NULL;
	return likely(size <= KMEM_MAX) ? alloc_small(m, class_of(size)) : alloc_large(m, size);
}

static __attribute__((unused)) bool is_free_object(const struct machine *m, struct frame *f, unsigned index)
{
	uint16_t i = kmem_of(f)->first;

	while (i != NO_OBJECT && i != index)
		memcpy(&i, object_at(m, f, i), sizeof(i));
	return i == index || index >= kmem_of(f)->fresh;
}

static void free_small(struct machine *m, struct frame *f, uint8_t *p, unsigned class)
{
	struct kmem_class *c = &m->kmem[class];
	struct kmem_frame *k = kmem_of(f);
	size_t offset = (size_t)(p - m->ram) & PAGE_MASK;
	unsigned shift = KMEM_MIN_SHIFT + class;
	uint16_t index = (uint16_t)(offset >> shift);

	BUG_ON(f->order != class || !is_aligned(offset, BIT(shift)) || index >= k->fresh ||
	       k->nfree >= objects_a_frame(class));
	ASSERT(!is_free_object(m, f, index));
#ifdef QUIRE_DEBUG
	memset(p, POISON_BYTE, BIT(shift));
#endif
	memcpy(p, &k->first, sizeof(k->first));
	k->first = index;
	if (k->nfree++ == 0)
		list_push(m, c, f);
	c->free++;
	c->used--;
	release_if_spare(m, class, f);
}

void kmem_free(struct machine *m, void *p, size_t size)
{
	mfn_t mfn = hpa_to_mfn(HPA((uint64_t)((uint8_t *)p - m->ram)));
	struct frame *f = machine_frame(m, mfn);

	BUG_ON(size == 0 || mfn.v >= m->first_table || f->type != FRAME_META);
	if (likely(size <= KMEM_MAX)) {
		free_small(m, f, p, class_of(size));
	} else {
		m->kmem_large_frames -= frames_of(size);
		buddy_free_run(m, mfn, frames_of(size));
	}
}

int kmem_reserve(struct machine *m, size_t size, unsigned n)
{
	BUG_ON(size == 0 || size > KMEM_MAX);

	unsigned class = class_of(size);
	struct kmem_class *c = &m->kmem[class];

	if (n == 0) {
		c->reserved = 0;
		release_spare_frames(m, class);
		return 0;
	}
	if (faultinj_hit(m->inj, FAULT_META_ALLOC))
		return -ENOMEM;
	while (c->free < n) {
		if (add_frame(m, class)) {
			release_spare_frames(m, class);
			return -ENOMEM;
		}
	}
	c->reserved = MAX(c->reserved, n);
	return 0;
}

static const char *audit_frame(const struct machine *m, const struct frame *f, unsigned class)
{
	const struct kmem_frame *k = kmem_of((struct frame *)(uintptr_t)f);
	unsigned all = objects_a_frame(class), nfree = 0;

	if (f->type != FRAME_META || f->order != class)
		return "a kmem list names a frame that is not of its class";
	if (k->nfree == 0 || k->nfree > all || k->fresh > all)
		return "a frame in a kmem list has an impossible count";
	for (uint16_t i = k->first; i != NO_OBJECT; nfree++) {
		if (i >= k->fresh || nfree > all)
			return "a free object's link is damaged";
		memcpy(&i, object_at(m, f, i), sizeof(i));
	}
	return nfree + all - k->fresh == k->nfree ? NULL : "free objects and their count differ";
}

static const char *audit_class(const struct machine *m, unsigned class, uint64_t *frames)
{
	const struct kmem_class *c = &m->kmem[class];
	uint64_t nfree = 0, nframes = 0, all = objects_a_frame(class);
	uint32_t prev = 0;

	for (uint32_t at = c->partial; at; prev = at, at = m->frames[at].next) {
		const struct frame *f = &m->frames[at];
		const char *why = audit_frame(m, f, class);

		if (why)
			return why;
		if (f->prev != prev)
			return "a kmem list's links disagree";
		nfree += kmem_of((struct frame *)(uintptr_t)f)->nfree;
		if (++nframes > m->ntype[FRAME_META])
			return "a kmem list has no end";
	}
	if (nfree != c->free || c->reserved > c->free)
		return "a kmem class's count of free objects is wrong";
	if ((c->used + nfree) % all)
		return "used and free objects do not fill their frames";
	*frames += (c->used + nfree) / all;
	return NULL;
}

int kmem_audit(const struct machine *m, const char **why)
{
	uint64_t frames = m->kmem_large_frames;
	const char *found = NULL;

	for (unsigned i = 0; !found && i < KMEM_CLASSES; i++)
		found = audit_class(m, i, &frames);
	if (!found && frames != m->ntype[FRAME_META])
		found = "kmem's frames and its objects differ";
	if (found)
		*why = found;
	return found ? -EINVAL : 0;
}
