/* SPDX-License-Identifier: MIT */
/*
 * The inside of one set-associative array, inlined into its users.
 *
 *   find    which way of the set holds a tag?             changes nothing
 *   touch   a hit on this way, as the policy sees it      may move it
 *   take    the slot for a tag that is not there          its data word is the victim's
 *   drop    empties a way                                 it is the next to be taken
 *
 * A slot is base + way. Moving a way moves tag and data together, and taking
 * or dropping one leaves its data word alone: the data words of a set are
 * always a permutation of what the owner put there, which is how a walk cache
 * ties payload to slots.
 *
 * Five ways to keep the order of a set (enum tlb_order):
 *
 *   PLACE   the ways themselves stand newest first       ways 1..64
 *   WORD    nibble p of the state word is the way at      ways 1..16
 *           position p, 0 the newest; ways stay put;
 *           nibbles behind the last position say nothing
 *   TREE    bit n of the state word is tree node n        ways 1..64
 *   NONE    no order (random)
 *   ADDED   a policy that was added keeps words of its own (tlb/policy.h)
 *
 * Invariant of PLACE and WORD: empty ways stand behind all others, so the
 * last position is the victim, whether empty or oldest.
 */
#ifndef QUIRE_TLB_ARRAY_H
#define QUIRE_TLB_ARRAY_H

#include <string.h>

#include "base/bug.h"
#include "tlb/policy.h"
#include "tlb/tlb.h"

enum {
	ARRAY_WORD_WAYS = 16, /* nibbles in the order word */
	ARRAY_SLACK = 4,      /* words that may be read behind the last tag */
	NIBBLE = 4,
};

/*
 * What decides how a set is handled. Functions that take a shape are inlined:
 * with the array's own (array_shape) they serve any, with a constant one only
 * its code remains. The hierarchy's hot path has constant shapes.
 */
struct array_shape {
	uint8_t ways, policy, order;
};

static ALWAYS_INLINE struct array_shape array_shape(const struct tlb_array *a)
{
	return (struct array_shape){.ways = a->ways, .policy = a->policy, .order = a->order};
}

static ALWAYS_INLINE size_t array_set(const struct tlb_array *a, uint64_t tag)
{
	return (uint32_t)tag & a->set_mask;
}

static ALWAYS_INLINE size_t array_base(const struct tlb_array *a, struct array_shape s, uint64_t tag)
{
	return array_set(a, tag) * s.ways;
}

#if defined(__AVX2__)
typedef long long array_v4di __attribute__((vector_size(32)));
typedef int array_v8si __attribute__((vector_size(32)));
typedef double array_v4df __attribute__((vector_size(32)));
typedef array_v4di array_v4di_mem __attribute__((aligned(8), may_alias));
#endif
#if defined(__SSE2__)
typedef int array_v4si __attribute__((vector_size(16)));
typedef long long array_v2di __attribute__((vector_size(16)));
/* As it stands in memory. */
typedef array_v4si array_v4si_mem __attribute__((aligned(8), may_alias));
typedef array_v2di array_v2di_mem __attribute__((aligned(8), may_alias));
#endif

/* Bit i of the result: p[i] == tag, for i in [0, 4). */
static ALWAYS_INLINE unsigned array_match4(const uint64_t *p, uint64_t tag)
{
#if defined(__AVX2__)
	array_v4di equal = *(const array_v4di_mem *)p == ((long long)tag + (array_v4di){0});

	return (unsigned)__builtin_ia32_movmskpd256((array_v4df)equal);
#elif defined(__SSE2__)
	typedef float v4sf __attribute__((vector_size(16)));
	array_v4si want = (array_v4si)(array_v2di){(long long)tag, (long long)tag};
	array_v4si a = *(const array_v4si_mem *)p == want;
	array_v4si b = *(const array_v4si_mem *)(p + 2) == want;
	/* SSE2 compares 32-bit lanes: both halves of a word must match. */
	array_v4si low = __builtin_shufflevector(a, b, 0, 2, 4, 6);
	array_v4si high = __builtin_shufflevector(a, b, 1, 3, 5, 7);

	return (unsigned)__builtin_ia32_movmskps((v4sf)(low & high));
#else
	return (p[0] == tag) | (p[1] == tag) << 1 | (p[2] == tag) << 2 | (p[3] == tag) << 3;
#endif
}

/*
 * The way of the set at base that holds tag, or -1. Up to three words behind
 * the set may be read.
 */
static ALWAYS_INLINE int array_find(const struct tlb_array *a, struct array_shape s, size_t base, uint64_t tag)
{
	const uint64_t *p = a->tags + base;
	uint64_t match = array_match4(p, tag);

	if (s.ways > 4)
		match |= array_match4(p + 4, tag) << 4;
	if (s.ways > 8)
		match |= array_match4(p + 8, tag) << 8;
	for (unsigned w = 12; w < s.ways; w += 4)
		match |= (uint64_t)array_match4(p + w, tag) << w;
	match &= low_bits(s.ways);
	return match ? __builtin_ctzll(match) : -1;
}

/*
 * p[i] moves to p[0], those before it step back; four words. No branch on i,
 * which no predictor guesses, and stores as wide as array_match4's loads, which
 * would otherwise wait for them.
 */
static ALWAYS_INLINE void array_rotate4(uint64_t *p, unsigned i)
{
#if defined(__AVX2__)
	/* Of 32-bit halves: where each comes from, by i. */
	static const int from[4][8] __attribute__((aligned(32))) = {
		{0, 1, 2, 3, 4, 5, 6, 7}, {2, 3, 0, 1, 4, 5, 6, 7}, {4, 5, 0, 1, 2, 3, 6, 7}, {6, 7, 0, 1, 2, 3, 4, 5},
	};
	array_v8si words = (array_v8si)(*(const array_v4di_mem *)p);

	*(array_v4di_mem *)p = (array_v4di)__builtin_ia32_permvarsi256(words, *(const array_v8si *)from[i]);
#elif defined(__SSE2__)
	/* Lanes that take their neighbour's word, by i. */
	static const long long mask[4][4] __attribute__((aligned(16))) = {
		{0, 0, 0, 0}, {-1, -1, 0, 0}, {-1, -1, -1, 0}, {-1, -1, -1, -1},
	};
	array_v2di m0 = *(const array_v2di *)&mask[i][0], m1 = *(const array_v2di *)&mask[i][2];
	array_v2di a = *(const array_v2di_mem *)p, b = *(const array_v2di_mem *)(p + 2);
	array_v2di first = {(long long)p[i], 0};
	array_v2di a1 = __builtin_shufflevector(first, a, 0, 2);
	array_v2di b1 = __builtin_shufflevector(a, b, 1, 2);

	*(array_v2di_mem *)p = (a1 & m0) | (a & ~m0);
	*(array_v2di_mem *)(p + 2) = (b1 & m1) | (b & ~m1);
#else
	uint64_t p0 = p[0], p1 = p[1], p2 = p[2], pi = p[i];

	p[3] = i > 2 ? p2 : p[3];
	p[2] = i > 1 ? p1 : p2;
	p[1] = i > 0 ? p0 : p1;
	p[0] = pi;
#endif
}

/* word moves to p[0], the others one back; returns the last of the four, which falls out. */
static ALWAYS_INLINE uint64_t array_push4(uint64_t *p, uint64_t word)
{
	uint64_t out = p[3];
#if defined(__SSE2__)
	array_v2di a = *(const array_v2di_mem *)p, b = *(const array_v2di_mem *)(p + 2);
	array_v2di first = {(long long)word, 0};

	*(array_v2di_mem *)p = __builtin_shufflevector(first, a, 0, 2);
	*(array_v2di_mem *)(p + 2) = __builtin_shufflevector(a, b, 1, 2);
#else
	p[3] = p[2];
	p[2] = p[1];
	p[1] = p[0];
	p[0] = word;
#endif
	return out;
}

/* PLACE: way i becomes way 0, those before it step back. */
static ALWAYS_INLINE void place_to_front(struct tlb_array *a, struct array_shape s, size_t base, unsigned i)
{
	uint64_t *t = a->tags + base, *d = a->data + base;

	if (s.ways == 4) {
		array_rotate4(t, i);
		array_rotate4(d, i);
	} else {
		uint64_t tag = t[i], data = d[i];

		memmove(t + 1, t, i * sizeof(*t));
		memmove(d + 1, d, i * sizeof(*d));
		t[0] = tag;
		d[0] = data;
	}
}

/* PLACE: way i becomes the last, those behind it step forward. */
static inline void place_to_back(struct tlb_array *a, size_t base, unsigned i)
{
	uint64_t *t = a->tags + base, *d = a->data + base;
	uint64_t tag = t[i], data = d[i];
	unsigned last = a->ways - 1u;

	memmove(t + i, t + i + 1, (last - i) * sizeof(*t));
	memmove(d + i, d + i + 1, (last - i) * sizeof(*d));
	t[last] = tag;
	d[last] = data;
}

/* WORD: the bit at which way's nibble begins. Exact, for the lowest zero nibble of x is. */
static ALWAYS_INLINE unsigned word_find(uint64_t word, unsigned way)
{
	const uint64_t ones = UINT64_C(0x1111111111111111);
	uint64_t x = word ^ ones * way;

	return (unsigned)__builtin_ctzll((x - ones) & ~x & ones << 3) & ~3u;
}

static ALWAYS_INLINE uint64_t word_to_front(uint64_t word, unsigned at, unsigned way)
{
	uint64_t newer = word & (BIT(at) - 1);

	return (word & ~UINT64_C(0xf) << at) | newer << NIBBLE | way;
}

static inline uint64_t word_to_back(uint64_t word, unsigned at, unsigned way, unsigned ways)
{
	unsigned last = NIBBLE * (ways - 1);
	uint64_t older = word & low_bits(last + NIBBLE) & ~low_bits(at + NIBBLE);

	return (word & ~low_bits(last + NIBBLE)) | (uint64_t)way << last | older >> NIBBLE | (word & low_bits(at));
}

/*
 * TREE: over the next power of two of ways; node 1 is the root, 2n and 2n + 1
 * its halves. Bit n set: the victim is in the right half. A half without any
 * way that exists is never entered.
 */
static inline unsigned tree_victim(uint64_t tree, unsigned ways)
{
	unsigned node = 1, first = 0;

	for (unsigned span = BIT(log2_ceil(ways)) / 2; span; span /= 2) {
		unsigned right = (tree >> node & 1) && first + span < ways;

		node = 2 * node + right;
		first += right * span;
	}
	return first;
}

static inline uint64_t tree_touch(uint64_t tree, unsigned way, unsigned ways)
{
	for (unsigned node = (unsigned)BIT(log2_ceil(ways)) + way; node > 1; node /= 2) {
		bool is_left = !(node & 1);

		tree = (tree & ~BIT(node / 2)) | (uint64_t)is_left << (node / 2);
	}
	return tree;
}

/* A hit on this way of tag's set. Returns its slot from now on. */
static ALWAYS_INLINE size_t array_touch(struct tlb_array *a, struct array_shape s, size_t base, uint64_t tag,
					unsigned way)
{
	uint64_t *state = &a->state[array_set(a, tag)];

	if (s.policy == TLB_LRU) {
		if (s.order == TLB_ORDER_PLACE) {
			place_to_front(a, s, base, way);
			return base;
		}
		*state = word_to_front(*state, word_find(*state, way), way);
	} else if (s.policy == TLB_PLRU) {
		*state = tree_touch(*state, way, s.ways);
	} else if (unlikely(s.policy >= TLB_POLICIES)) {
		array_added_hit(a, array_set(a, tag), way);
	}
	return base + way;
}

/* A lookup: the data word, or 0. */
static ALWAYS_INLINE uint64_t array_lookup(struct tlb_array *a, struct array_shape s, uint64_t tag)
{
	size_t base = array_base(a, s, tag);
	int way = array_find(a, s, base, tag);

	return way < 0 ? 0 : a->data[array_touch(a, s, base, tag, (unsigned)way)];
}

/* The slot of a tag, or -1; nothing moves. */
static ALWAYS_INLINE ptrdiff_t array_slot(const struct tlb_array *a, uint64_t tag)
{
	size_t base = array_base(a, array_shape(a), tag);
	int way = array_find(a, array_shape(a), base, tag);

	return way < 0 ? -1 : (ptrdiff_t)base + way;
}

/* TREE and NONE: the first empty way (its tag is 0) if there is one. */
static inline unsigned array_unordered_victim(struct tlb_array *a, size_t base, uint64_t tree, struct rng *rng)
{
	int empty = array_find(a, array_shape(a), base, 0);

	if (empty >= 0)
		return (unsigned)empty;
	return a->order == TLB_ORDER_TREE ? tree_victim(tree, a->ways) : (unsigned)rng_below(rng, a->ways);
}

/*
 * The slot that tag, which must not be in the array, takes; *displaced gets
 * the tag that stood there (0: none). The tag is written, the data word is
 * the caller's to write or to keep.
 */
static ALWAYS_INLINE size_t array_take(struct tlb_array *a, struct array_shape s, uint64_t tag, struct rng *rng,
				       uint64_t *displaced)
{
	size_t base = array_base(a, s, tag);
	uint64_t *state = &a->state[array_set(a, tag)];
	unsigned way, last = s.ways - 1u;

	switch (s.order) {
	case TLB_ORDER_PLACE:
		place_to_front(a, s, base, last);
		way = 0;
		break;
	case TLB_ORDER_WORD:
		way = *state >> (NIBBLE * last) & 0xf;
		*state = *state << NIBBLE | way;
		break;
	case TLB_ORDER_ADDED:
		way = array_added_take(a, array_set(a, tag), array_find(a, s, base, 0), rng);
		break;
	default:
		way = array_unordered_victim(a, base, *state, rng);
		if (s.order == TLB_ORDER_TREE)
			*state = tree_touch(*state, way, s.ways);
	}
	*displaced = a->tags[base + way];
	a->tags[base + way] = tag;
	return base + way;
}

/*
 * Takes a slot for tag and writes its data: array_take for arrays whose data
 * words are not tied to slots. Returns the tag displaced, or 0.
 */
static ALWAYS_INLINE uint64_t array_insert_new(struct tlb_array *a, struct array_shape s, uint64_t tag, uint64_t data,
					       struct rng *rng)
{
	uint64_t displaced;

	if (s.order == TLB_ORDER_PLACE && s.ways == 4) {
		size_t base = array_base(a, s, tag);

		array_push4(a->data + base, data);
		return array_push4(a->tags + base, tag);
	}
	a->data[array_take(a, s, tag, rng, &displaced)] = data;
	return displaced;
}

/* Empties a way of set `set`. Under PLACE the ways behind it step forward. */
static inline void array_drop(struct tlb_array *a, size_t set, unsigned way)
{
	size_t base = set * a->ways;

	a->tags[base + way] = 0;
	if (a->order == TLB_ORDER_PLACE)
		place_to_back(a, base, way);
	else if (a->order == TLB_ORDER_WORD)
		a->state[set] = word_to_back(a->state[set], word_find(a->state[set], way), way, a->ways);
	else if (a->order == TLB_ORDER_ADDED)
		array_added_drop(a, set, way);
}

/*
 * Drops each entry for which f says so and returns how many. Downward, so
 * that what steps forward has been looked at.
 */
static ALWAYS_INLINE unsigned array_sweep(struct tlb_array *a, bool (*f)(const void *ctx, uint64_t tag, uint64_t data),
					  const void *ctx)
{
	unsigned dropped = 0;

	if (!a->present)
		return 0;
	for (size_t set = 0; set <= a->set_mask; set++) {
		size_t base = set * a->ways;

		for (unsigned w = a->ways; w-- > 0;) {
			if (a->tags[base + w] && f(ctx, a->tags[base + w], a->data[base + w])) {
				array_drop(a, set, w);
				dropped++;
			}
		}
	}
	return dropped;
}

/* As tlb_array_init; by_place: the newest way of each set is way 0 (needed by tlb_hot). */
enum array_layout { ARRAY_ANY_LAYOUT, ARRAY_BY_PLACE };
void array_init(struct tlb_array *a, const struct tlb_array_config *c, enum array_layout layout, char **memory);
/* Empties it and forgets its history; data words stay. Returns the entries dropped. */
unsigned array_clear(struct tlb_array *a);

#endif
