/* SPDX-License-Identifier: MIT */
/*
 * Walk caches. A level's array holds keys; its data words are slot numbers,
 * handed out once and carried along when ways move (tlb/array.h), so that
 * the 24-byte values stay where they are.
 */
#include "tlb/walkcache.h"

#include "tlb/array.h"

enum { SHIFT_UNUSED = 64 };

static size_t slots_of(const struct tlb_array_config *c)
{
	return (size_t)c->sets * c->ways;
}

static size_t value_bytes(const struct tlb_array_config *c)
{
	return align_up(slots_of(c) * sizeof(struct wc_value), LINE_SIZE);
}

size_t wc_bytes(const struct tlb_array_config config[WC_LEVELS])
{
	size_t bytes = 0;

	for (unsigned k = 0; k < WC_LEVELS; k++)
		bytes += tlb_array_bytes(&config[k]) + value_bytes(&config[k]);
	return bytes;
}

static ALWAYS_INLINE bool is_level_used(const struct walk_cache *wc, unsigned k)
{
	return wc->level[k].present && wc->shift[k] < SHIFT_UNUSED;
}

static ALWAYS_INLINE uint64_t wc_tag(const struct walk_cache *wc, unsigned k, uint32_t space, uint64_t va)
{
	return tlb_tag(space, 0, va >> wc->shift[k], 0);
}

void wc_init(struct walk_cache *wc, const struct tlb_array_config config[WC_LEVELS],
	     const uint8_t shift[WC_LEVELS], uint64_t seed, void *memory)
{
	char *m = memory;

	*wc = (struct walk_cache){.any = false};
	rng_init(&wc->rng, seed);
	for (unsigned k = 0; k < WC_LEVELS; k++) {
		tlb_array_init(&wc->level[k], &config[k], &m);
		for (size_t i = 0; i < slots_of(&config[k]); i++)
			wc->level[k].data[i] = i;
	}
	for (unsigned k = 0; k < WC_LEVELS; k++) {
		wc->val[k] = (struct wc_value *)(void *)m;
		m += value_bytes(&config[k]);
	}
	wc_set_shifts(wc, shift);
}

void wc_set_shifts(struct walk_cache *wc, const uint8_t shift[WC_LEVELS])
{
	wc_inval_all(wc);
	wc->any = false;
	for (unsigned k = 0; k < WC_LEVELS; k++) {
		wc->shift[k] = shift[k];
		wc->any |= is_level_used(wc, k);
	}
}

int wc_lookup(struct walk_cache *wc, uint32_t space, uint64_t va, struct wc_value *v)
{
	if (!wc->any)
		return -1;
	wc->counts.lookups++;
	for (unsigned k = 0; k < WC_LEVELS; k++) {
		struct tlb_array *a = &wc->level[k];
		struct array_shape s = array_shape(a);
		uint64_t tag;
		size_t base;
		int way;

		if (!is_level_used(wc, k))
			continue;
		tag = wc_tag(wc, k, space, va);
		base = array_base(a, s, tag);
		way = array_find(a, s, base, tag);
		if (way < 0)
			continue;
		wc->counts.hits[k]++;
		*v = wc->val[k][a->data[array_touch(a, s, base, tag, (unsigned)way)]];
		return (int)k;
	}
	return -1;
}

int wc_peek(const struct walk_cache *wc, uint32_t space, uint64_t va, struct wc_value *v)
{
	for (unsigned k = 0; k < WC_LEVELS; k++) {
		const struct tlb_array *a = &wc->level[k];
		ptrdiff_t slot = is_level_used(wc, k) ? array_slot(a, wc_tag(wc, k, space, va)) : -1;

		if (slot < 0)
			continue;
		*v = wc->val[k][a->data[slot]];
		return (int)k;
	}
	return -1;
}

void wc_fill(struct walk_cache *wc, uint32_t space, uint64_t va, unsigned level, const struct wc_value *v)
{
	struct tlb_array *a = &wc->level[level];
	uint64_t tag, displaced;
	ptrdiff_t slot;

	ASSERT(level < WC_LEVELS && space && space <= TLB_SPACE_MAX);
	if (!is_level_used(wc, level))
		return;
	wc->counts.fills++;
	tag = wc_tag(wc, level, space, va);
	slot = array_slot(a, tag);
	if (slot < 0)
		slot = (ptrdiff_t)array_take(a, array_shape(a), tag, &wc->rng, &displaced);
	wc->val[level][a->data[slot]] = *v;
}

/* Keys from first to first + more of one space; keys may wrap. */
struct key_range {
	uint64_t first;
	uint64_t more;
};

static bool is_in_key_range(const void *ctx, uint64_t tag, uint64_t data)
{
	const struct key_range *r = ctx;
	const uint64_t key = low_bits(48);

	return (tag ^ r->first) >> 48 == 0 && ((tag & key) - (r->first & key)) % BIT(45) <= r->more;
}

unsigned wc_inval_range(struct walk_cache *wc, uint32_t space, uint64_t va, uint64_t bytes)
{
	unsigned dropped = 0;

	if (!bytes)
		return wc_inval_space(wc, space);
	for (unsigned k = 0; k < WC_LEVELS; k++) {
		if (!is_level_used(wc, k))
			continue;
		struct key_range r = {
			.first = wc_tag(wc, k, space, va),
			.more = ((va + bytes - 1) >> wc->shift[k]) - (va >> wc->shift[k]),
		};
		dropped += array_sweep(&wc->level[k], is_in_key_range, &r);
	}
	wc->counts.dropped += dropped;
	return dropped;
}

static bool is_of_space(const void *ctx, uint64_t tag, uint64_t data)
{
	return tag >> 48 == *(const uint32_t *)ctx;
}

unsigned wc_inval_space(struct walk_cache *wc, uint32_t space)
{
	unsigned dropped = 0;

	for (unsigned k = 0; k < WC_LEVELS; k++)
		dropped += array_sweep(&wc->level[k], is_of_space, &space);
	wc->counts.dropped += dropped;
	return dropped;
}

struct table_range {
	const struct wc_value *val;
	uint64_t mfn, n;
};

static bool stands_in_frames(const void *ctx, uint64_t tag, uint64_t data)
{
	const struct table_range *r = ctx;
	uint64_t mfn = r->val[data].mfn;

	return mfn != INVALID_FRAME && mfn - r->mfn < r->n;
}

unsigned wc_inval_frames(struct walk_cache *wc, uint64_t mfn, uint64_t n)
{
	unsigned dropped = 0;

	for (unsigned k = 0; k < WC_LEVELS; k++) {
		struct table_range r = {.val = wc->val[k], .mfn = mfn, .n = n};

		dropped += array_sweep(&wc->level[k], stands_in_frames, &r);
	}
	wc->counts.dropped += dropped;
	return dropped;
}

unsigned wc_inval_all(struct walk_cache *wc)
{
	unsigned dropped = 0;

	for (unsigned k = 0; k < WC_LEVELS; k++)
		dropped += array_clear(&wc->level[k]);
	wc->counts.dropped += dropped;
	return dropped;
}
