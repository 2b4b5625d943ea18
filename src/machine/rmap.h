/* SPDX-License-Identifier: MIT */
/*
 * Reverse map: who names a machine frame. A head is one word:
 *
 *   0            nobody
 *   even         one name, in place
 *   odd          (head - 1) is a struct rmap_chunk, more names, a list
 *
 * Names are even and not 0. There are three kinds:
 *   owner   (vmid, gfn)          of frame.owners
 *   sptep   hpa of a radix entry of frame.sptes, bit 1 clear
 *   key     (space, page)        of frame.sptes, bit 1 set: entries of other organisations
 */
#ifndef QUIRE_MACHINE_RMAP_H
#define QUIRE_MACHINE_RMAP_H

#include "base/bits.h"
#include "base/bug.h"
#include "machine/machine.h"

enum { RMAP_CHUNK_NAMES = 6 };

/*
 * Every chunk but the first of a list is full, so that n, the names from this
 * chunk to the end of the list, also says how many stand here.
 */
struct rmap_chunk {
	struct rmap_chunk *next;
	uint64_t n; /* at least 2 in the first chunk of a list: one name stands in place */
	uint64_t name[RMAP_CHUNK_NAMES];
};
static_assert(sizeof(struct rmap_chunk) == 64, "one line");

static inline uint64_t rmap_owner(uint16_t vmid, gfn_t gfn) { return (uint64_t)vmid << 48 | gfn.v << 1; }
static inline uint16_t rmap_owner_vmid(uint64_t name) { return (uint16_t)(name >> 48); }
static inline gfn_t rmap_owner_gfn(uint64_t name) { return GFN((name & low_bits(48)) >> 1); }

static inline uint64_t rmap_sptep(hpa_t sptep) { return sptep.v; }
static inline uint64_t rmap_key(uint32_t space, uint64_t page)
{
	return (uint64_t)space << 47 | (page & low_bits(45)) << 2 | 2;
}
static inline bool rmap_is_key(uint64_t name) { return name & 2; }
static inline uint32_t rmap_key_space(uint64_t name) { return (uint32_t)(name >> 47); }
/* Sign-extended from 45 bits, as gva pages are. */
static inline uint64_t rmap_key_page(uint64_t name)
{
	return (uint64_t)((int64_t)((name >> 2) << 19) >> 19) & low_bits(52);
}

int rmap_add_more(struct machine *m, uint64_t *head, uint64_t name);
void rmap_remove_more(struct machine *m, uint64_t *head, uint64_t name);

/* -ENOMEM changes nothing. After rmap_reserve, the next n additions cannot fail. */
static ALWAYS_INLINE int rmap_add(struct machine *m, uint64_t *head, uint64_t name)
{
	ASSERT(name != 0 && !(name & 1));
	if (unlikely(*head != 0))
		return rmap_add_more(m, head, name);
	*head = name;
	return 0;
}

/* The name must be there. */
static ALWAYS_INLINE void rmap_remove(struct machine *m, uint64_t *head, uint64_t name)
{
	if (unlikely(*head != name))
		rmap_remove_more(m, head, name);
	else
		*head = 0;
}

bool rmap_has(uint64_t head, uint64_t name);
/* Takes the same time however many there are. */
uint64_t rmap_count(uint64_t head);
static inline int rmap_reserve(struct machine *m, unsigned n)
{
	return kmem_reserve(m, sizeof(struct rmap_chunk), n);
}

struct rmap_iter {
	const struct rmap_chunk *chunk;
	unsigned i;
	uint64_t name;
};

bool rmap_first(uint64_t head, struct rmap_iter *it);
bool rmap_next(struct rmap_iter *it);

/* The head must not change inside; to remove all, take the first name again and again. */
#define for_each_rmap(head, it) \
	for (bool it##_ok = rmap_first(head, &(it)); it##_ok; it##_ok = rmap_next(&(it)))

#endif
