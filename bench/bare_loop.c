/* SPDX-License-Identifier: MIT */
/*
 * The loop itself, built twice: as bare_loop_avx2 with -mavx2, and as
 * bare_loop_plain for any other processor. Each mode is its own copy of the
 * loop, by inlining.
 */
#include "bare_loop.h"

#ifdef __AVX2__
#include <immintrin.h>
#endif

#include <string.h>

#ifdef BARE_WITH_AVX2
#define bare_loop bare_loop_avx2
#else
#define bare_loop bare_loop_plain
#endif

/* Bit i: p[i] == tag. */
static ALWAYS_INLINE unsigned match4(const uint64_t *p, uint64_t tag)
{
#ifdef __AVX2__
	__m256i eq = _mm256_cmpeq_epi64(_mm256_load_si256((const __m256i *)p), _mm256_set1_epi64x((long long)tag));

	return (unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(eq));
#else
	return (p[0] == tag) | (p[1] == tag) << 1 | (p[2] == tag) << 2 | (p[3] == tag) << 3;
#endif
}

/* p[i] moves to p[0], those before it one back. */
static ALWAYS_INLINE void rotate4(uint64_t *p, unsigned i)
{
#ifdef __AVX2__
	static const int32_t lanes[4][8] __attribute__((aligned(32))) = {
		{0, 1, 2, 3, 4, 5, 6, 7},
		{2, 3, 0, 1, 4, 5, 6, 7},
		{4, 5, 0, 1, 2, 3, 6, 7},
		{6, 7, 0, 1, 2, 3, 4, 5},
	};
	__m256i v = _mm256_load_si256((const __m256i *)p);

	v = _mm256_permutevar8x32_epi32(v, _mm256_load_si256((const __m256i *)lanes[i]));
	_mm256_store_si256((__m256i *)p, v);
#else
	uint64_t p0 = p[0], p1 = p[1], p2 = p[2], pi = p[i];

	p[3] = i > 2 ? p2 : p[3];
	p[2] = i > 1 ? p1 : p2;
	p[1] = i > 0 ? p0 : p1;
	p[0] = pi;
#endif
}

static ALWAYS_INLINE bool lookup4(struct bare_set4 *s, uint64_t tag, uint64_t *data)
{
	unsigned match = match4(s->tag, tag);

	if (!match)
		return false;
	rotate4(s->tag, (unsigned)__builtin_ctz(match));
	rotate4(s->data, (unsigned)__builtin_ctz(match));
	*data = s->data[0];
	return true;
}

/* ways < 4: the set is that much smaller. */
static ALWAYS_INLINE void insert4(struct bare_set4 *s, uint64_t tag, uint64_t data, unsigned ways)
{
	rotate4(s->tag, ways - 1);
	rotate4(s->data, ways - 1);
	s->tag[0] = tag;
	s->data[0] = data;
}

static ALWAYS_INLINE unsigned match12(const struct bare_set12 *s, uint64_t tag)
{
	return match4(s->tag, tag) | match4(s->tag + 4, tag) << 4 | match4(s->tag + 8, tag) << 8;
}

/* The nibble that is way: the lowest zero of word ^ way, which this finds exactly. */
static ALWAYS_INLINE uint64_t order_to_front(uint64_t order, uint64_t way)
{
	const uint64_t ones = UINT64_C(0x1111111111111111);
	uint64_t x = order ^ ones * way;
	unsigned at = (unsigned)__builtin_ctzll((x - ones) & ~x & ones << 3) & ~3u;
	uint64_t newer = order & ((UINT64_C(1) << at) - 1);

	return (order & ~UINT64_C(0xf) << at) | newer << 4 | way;
}

/* Walks */

/* The count is the loop's own, kept in a register: through b it would be a chain of stores and loads. */
struct walker {
	struct bare *b;
	bool cached;
	uint64_t loads;
};

static ALWAYS_INLINE unsigned index_at(uint64_t page, unsigned level)
{
	return (page >> (BARE_LEVEL_BITS * level)) & (BARE_ENTRIES - 1);
}

static ALWAYS_INLINE uint64_t load(struct walker *w, const uint64_t *tables, uint64_t first, uint64_t frame,
				   uint64_t page, unsigned level)
{
	w->loads++;
	return tables[(frame - first) * BARE_ENTRIES + index_at(page, level)];
}

static ALWAYS_INLINE struct bare_set4 *cache_of(struct bare_walk_caches *w, uint64_t page, unsigned level)
{
	return level == 0 ? &w->pde[page >> BARE_LEVEL_BITS & (BARE_PDE_SETS - 1)] : level == 1 ? &w->pdpte : &w->pml4;
}

/* Level of the lowest table known, BARE_LEVELS - 1 with *frame untouched if none. */
static ALWAYS_INLINE unsigned walk_start(struct bare_walk_caches *w, uint64_t page, uint64_t *frame)
{
	for (unsigned level = 0; level < BARE_LEVELS - 1; level++)
		if (lookup4(cache_of(w, page, level), (page >> (BARE_LEVEL_BITS * (level + 1))) + 1, frame))
			return level;
	return BARE_LEVELS - 1;
}

static ALWAYS_INLINE void walk_remember(struct bare_walk_caches *w, uint64_t page, unsigned level, uint64_t frame)
{
	insert4(cache_of(w, page, level), (page >> (BARE_LEVEL_BITS * (level + 1))) + 1, frame, level == 2 ? 2 : 4);
}

static ALWAYS_INLINE uint64_t walk_radix(struct walker *w, const uint64_t *tables, uint64_t first,
					 struct bare_walk_caches *caches, uint64_t page)
{
	uint64_t frame = first;
	unsigned level = w->cached ? walk_start(caches, page, &frame) : BARE_LEVELS - 1;

	for (; level > 0; level--) {
		frame = load(w, tables, first, frame, page, level);
		if (w->cached)
			walk_remember(caches, page, level - 1, frame);
	}
	return load(w, tables, first, frame, page, 0);
}

static ALWAYS_INLINE uint64_t second_stage(struct walker *w, uint64_t gfn)
{
	struct bare *b = w->b;
	struct bare_set4 *s = &b->nested[gfn & (BARE_NESTED_SETS - 1)];
	uint64_t mfn;

	if (w->cached && lookup4(s, gfn + 1, &mfn))
		return mfn;
	mfn = walk_radix(w, b->host_tables, b->host_first, &b->host, gfn);
	if (w->cached)
		insert4(s, gfn + 1, mfn, 4);
	return mfn;
}

/* The guest's walk caches hold machine frames of its tables (combined). */
static ALWAYS_INLINE uint64_t walk_nested(struct walker *w, uint64_t page)
{
	struct bare *b = w->b;
	uint64_t table = 0, gfn;
	unsigned level = w->cached ? walk_start(&b->guest, page, &table) : BARE_LEVELS - 1;

	if (level == BARE_LEVELS - 1)
		table = second_stage(w, b->guest_first);
	for (;; level--) {
		gfn = load(w, b->guest_tables, b->guest_machine, table, page, level);
		if (!level)
			break;
		table = second_stage(w, gfn);
		if (w->cached)
			walk_remember(&b->guest, page, level - 1, table);
	}
	return second_stage(w, gfn);
}

static ALWAYS_INLINE uint64_t walk(struct walker *w, enum bare_mode mode, uint64_t page)
{
	struct bare *b = w->b;

	switch (mode) {
	case BARE_NATIVE:
	case BARE_NATIVE_CACHED:
		return walk_radix(w, b->native_tables, b->native_first, &b->guest, page);
	case BARE_NESTED:
	case BARE_NESTED_CACHED:
		return walk_nested(w, page);
	default:
		return page;
	}
}

static ALWAYS_INLINE void loop(struct bare *b, const ref_t *refs, size_t n, enum bare_mode mode,
			       struct bare_counts *c)
{
	struct walker w = {.b = b, .cached = mode == BARE_NATIVE_CACHED || mode == BARE_NESTED_CACHED};
	uint64_t l1_misses = 0, l2_misses = 0, sum = 0;

	for (size_t i = 0; i < n; i++) {
		uint64_t page = ref_gva(refs[i]) >> PAGE_SHIFT, tag = page + 1, data;
		struct bare_set4 *l1 = &b->l1[page % BARE_L1_SETS];
		struct bare_set12 *l2;
		uint64_t *order;
		unsigned match, way;

		if (lookup4(l1, tag, &data)) {
			sum += data;
			continue;
		}
		l1_misses++;
		l2 = &b->l2[page % BARE_L2_SETS];
		order = &b->l2_order[page % BARE_L2_SETS];
		match = match12(l2, tag);
		if (match) {
			way = (unsigned)__builtin_ctz(match);
			data = l2->data[way];
			*order = order_to_front(*order, way);
		} else {
			l2_misses++;
			data = walk(&w, mode, page);
			way = *order >> (4 * (BARE_L2_WAYS - 1)) & 0xf;
			*order = order_to_front(*order, way);
			l2->tag[way] = tag;
			l2->data[way] = data;
		}
		insert4(l1, tag, data, 4);
		sum += data;
	}
	c->l1_misses = l1_misses;
	c->l2_misses = l2_misses;
	c->walk_loads = w.loads;
	c->sum = sum;
}

static uint64_t read_only(const ref_t *refs, size_t n)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += refs[i];
	return sum;
}

#define MODE_LOOP(mode)                                    \
	case mode:                                         \
		loop(b, refs, n, mode, c);                 \
		break

void bare_loop(struct bare *b, const ref_t *refs, size_t n, enum bare_mode mode, struct bare_counts *c)
{
	memset(c, 0, sizeof(*c));
	c->refs = n;
	switch (mode) {
	MODE_LOOP(BARE_TLB);
	MODE_LOOP(BARE_NATIVE);
	MODE_LOOP(BARE_NATIVE_CACHED);
	MODE_LOOP(BARE_NESTED);
	MODE_LOOP(BARE_NESTED_CACHED);
	default:
		c->sum = read_only(refs, n);
	}
}
