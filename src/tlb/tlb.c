/* SPDX-License-Identifier: MIT */
/*
 * The hierarchy: which arrays an entry may stand in, and who hears of a hit.
 *
 *   lookup   L1 of the kind, each live page size, own space then globals;
 *            then L2 in the same order; an L2 hit is copied into that L1
 *   fill     L1 of the kind and L2; a copy in the other L1 is kept equal
 *   inval    every array; costs only what is live
 *
 * Invariant: all copies of one tag have one data word.
 */
#include "tlb/tlb.h"

#include <errno.h>

#include "tlb/hot.h"

enum { L1_DATA = 0, L1_INSTR = 1, L1_KINDS = 2 };
enum {
	TAG_SPACE_SHIFT = 48,
	TAG_CODE_SHIFT = 45,
	RANGE_BY_TAG = 16, /* up to so many tags of one size are removed one by one, more by a sweep */
	DATA_ORDER_MAX = 31,
	LEVEL_DATA = 1, LEVEL_INSTR = 11, LEVEL_L2 = 2, /* as tlb_for_each names them */
};

static ALWAYS_INLINE unsigned tag_space(uint64_t tag) { return (unsigned)(tag >> TAG_SPACE_SHIFT); }
static ALWAYS_INLINE unsigned tag_code(uint64_t tag) { return (tag >> TAG_CODE_SHIFT) & (TLB_CODES - 1); }
static ALWAYS_INLINE uint64_t tag_key(uint64_t tag) { return tag & low_bits(TAG_CODE_SHIFT); }

static ALWAYS_INLINE unsigned l1_of_kind(enum acc_kind kind)
{
	return kind == ACC_EXEC ? L1_INSTR : L1_DATA;
}

static ALWAYS_INLINE bool has_seen(const struct tlb *t, uint32_t space)
{
	return t->spaces_seen >> (space & 63) & 1;
}

/* All arrays, in no order that matters. */
enum { ARRAYS = (L1_KINDS + 1) * TLB_CLASSES };
static ALWAYS_INLINE struct tlb_array *array_at(struct tlb *t, unsigned i)
{
	unsigned class = i % TLB_CLASSES, level = i / TLB_CLASSES;

	return level < L1_KINDS ? &t->l1[level][class] : &t->l2[class];
}

/* Configuration and start */

static bool is_shape(const struct tlb_array *a, const struct array_shape *s)
{
	return a->present && a->ways == s->ways && a->policy == s->policy && a->order == s->order;
}

static bool has_common_shapes(const struct tlb *t)
{
	return is_shape(&t->l1[L1_DATA][0], &tlb_common_l1) && is_shape(&t->l2[0], &tlb_common_l2);
}

size_t tlb_bytes(const struct tlb_config *config)
{
	size_t bytes = 0;

	for (unsigned c = 0; c < TLB_CLASSES; c++)
		bytes += tlb_array_bytes(&config->l1d[c]) + tlb_array_bytes(&config->l1i[c]) +
			 tlb_array_bytes(&config->l2[c]);
	return bytes;
}

static int number_orders(struct tlb *t, uint64_t orders)
{
	if (!(orders & 1) || orders > low_bits(DATA_ORDER_MAX + 1) || popcount64(orders) > TLB_CODES)
		return -EINVAL;
	t->orders = orders;
	memset(t->code_of_order, -1, sizeof(t->code_of_order));
	for (; orders; orders &= orders - 1) {
		unsigned order = (unsigned)__builtin_ctzll(orders);
		unsigned class = tlb_class_of_order(order);
		bool shared = class == 1 ? t->config->l2_shared_large : t->config->l2_shared_huge;

		t->order_of_code[t->codes] = (uint8_t)order;
		t->code_of_order[order] = (int8_t)t->codes;
		t->l1_of_code[t->codes] = t->config->l1_shared ? 0 : (uint8_t)class;
		t->l2_of_code[t->codes] = shared ? 0 : (uint8_t)class;
		t->codes++;
	}
	return 0;
}

int tlb_init(struct tlb *t, const struct tlb_config *config, uint64_t orders, uint64_t seed, void *memory)
{
	char *m = memory;
	const char *why;

	if (tlb_config_validate(config, &why))
		return -EINVAL;
	*t = (struct tlb){.config = config};
	if (number_orders(t, orders))
		return -EINVAL;
	rng_init(&t->rng, seed);
	for (unsigned c = 0; c < TLB_CLASSES; c++) {
		array_init(&t->l1[L1_DATA][c], &config->l1d[c], ARRAY_BY_PLACE, &m);
		array_init(&t->l1[L1_INSTR][c], &config->l1i[c], ARRAY_BY_PLACE, &m);
		array_init(&t->l2[c], &config->l2[c], ARRAY_ANY_LAYOUT, &m);
	}
	for (unsigned i = 0; i < ARRAYS; i++)
		t->any |= array_at(t, i)->present;
	t->is_common_path = has_common_shapes(t);
	return 0;
}

/* Lookup */

/* All live sizes of one space in one level; *tag gets what hit. Smallest first. */
static ALWAYS_INLINE uint64_t probe_sizes(struct tlb *t, struct tlb_array arrays[TLB_CLASSES],
					  const uint8_t class_of[TLB_CODES], uint32_t space, uint64_t vpn,
					  uint64_t *tag)
{
	for (unsigned code = 0; code < t->codes; code++) {
		struct tlb_array *a = &arrays[class_of[code]];
		uint64_t data;

		if (!t->live[code])
			continue;
		*tag = tlb_tag(space, code, vpn, t->order_of_code[code]);
		data = array_lookup(a, array_shape(a), *tag);
		if (data)
			return data;
	}
	return 0;
}

static ALWAYS_INLINE uint64_t probe_level(struct tlb *t, struct tlb_array arrays[TLB_CLASSES],
					  const uint8_t class_of[TLB_CODES], uint32_t space, uint32_t gspace,
					  uint64_t vpn, uint64_t *tag)
{
	uint64_t data = probe_sizes(t, arrays, class_of, space, vpn, tag);

	if (!data && unlikely(gspace && has_seen(t, gspace)))
		data = probe_sizes(t, arrays, class_of, gspace, vpn, tag);
	return data;
}

static ALWAYS_INLINE void count_l1_miss(struct tlb *t, unsigned which)
{
	if (which == L1_INSTR)
		t->counts.l1i_misses++;
	else
		t->counts.l1d_misses++;
}

/* Any geometry, any sizes, with globals. */
static NOINLINE uint64_t lookup_general(struct tlb *t, unsigned which, uint32_t space, uint32_t gspace, uint64_t vpn)
{
	struct tlb_array *l1;
	uint64_t tag, data;

	data = probe_level(t, t->l1[which], t->l1_of_code, space, gspace, vpn, &tag);
	if (data)
		return data;
	count_l1_miss(t, which);
	data = probe_level(t, t->l2, t->l2_of_code, space, gspace, vpn, &tag);
	if (!data) {
		t->counts.l2_misses++;
		return 0;
	}
	t->counts.l2_hits++;
	l1 = &t->l1[which][t->l1_of_code[tag_code(tag)]];
	t->instr_filled |= which == L1_INSTR;
	if (l1->present)
		tlb_put_new(t, l1, array_shape(l1), tag, data);
	return data;
}

/* The same for data where only 4 KiB pages of this space can be found, in arrays of the common shapes. */
static ALWAYS_INLINE uint64_t lookup_small(struct tlb *t, uint32_t space, uint64_t vpn)
{
	struct tlb_array *l1 = &t->l1[L1_DATA][0];
	uint64_t tag = tlb_tag(space, 0, vpn, 0), data = array_lookup(l1, tlb_common_l1, tag);

	return data ? data : tlb_common_l2_lookup(t, tag);
}

uint64_t tlb_lookup_rest(struct tlb *t, enum acc_kind kind, uint32_t space, uint32_t gspace, uint64_t vpn)
{
	unsigned which = l1_of_kind(kind);

	if (likely(which == L1_DATA && tlb_is_common(t, gspace)))
		return lookup_small(t, space, vpn);
	return lookup_general(t, which, space, gspace, vpn);
}

uint64_t tlb_lookup(struct tlb *t, enum acc_kind kind, uint32_t space, uint32_t gspace, uint64_t vpn)
{
	if (kind == ACC_EXEC)
		t->counts.l1i_accesses++;
	else
		t->counts.l1d_accesses++;
	return tlb_lookup_rest(t, kind, space, gspace, vpn);
}

static uint64_t peek_level(const struct tlb *t, const struct tlb_array arrays[TLB_CLASSES],
			   const uint8_t class_of[TLB_CODES], uint32_t space, uint64_t vpn)
{
	for (unsigned code = 0; code < t->codes; code++) {
		uint64_t tag = tlb_tag(space, code, vpn, t->order_of_code[code]);
		const struct tlb_array *a = &arrays[class_of[code]];
		ptrdiff_t slot = array_slot(a, tag);

		if (slot >= 0)
			return a->data[slot];
	}
	return 0;
}

uint64_t tlb_peek(const struct tlb *t, enum acc_kind kind, uint32_t space, uint32_t gspace, uint64_t vpn, int *level)
{
	const struct tlb_array *l1 = t->l1[l1_of_kind(kind)];
	uint64_t data = peek_level(t, l1, t->l1_of_code, space, vpn);

	if (!data && gspace)
		data = peek_level(t, l1, t->l1_of_code, gspace, vpn);
	if (data) {
		*level = 1;
		return data;
	}
	data = peek_level(t, t->l2, t->l2_of_code, space, vpn);
	if (!data && gspace)
		data = peek_level(t, t->l2, t->l2_of_code, gspace, vpn);
	if (data)
		*level = 2;
	return data;
}

/* Fill */

/* Where tag stands in a, its data changes; returns whether it does. */
static ALWAYS_INLINE bool replace(struct tlb_array *a, uint64_t tag, uint64_t data)
{
	ptrdiff_t slot = array_slot(a, tag);

	if (slot < 0)
		return false;
	a->data[slot] = data;
	return true;
}

static ALWAYS_INLINE void put(struct tlb *t, struct tlb_array *a, uint64_t tag, uint64_t data)
{
	if (a->present && !replace(a, tag, data))
		tlb_put_new(t, a, array_shape(a), tag, data);
}

void tlb_follow_instr(struct tlb *t, uint64_t tag, uint64_t data)
{
	replace(&t->l1[L1_INSTR][t->l1_of_code[0]], tag, data);
}

void tlb_fill(struct tlb *t, enum acc_kind kind, const struct tlb_entry *e)
{
	unsigned which = l1_of_kind(kind);
	int code = t->code_of_order[e->order & 63];
	uint64_t tag, data;
	unsigned class1, class2;

	BUG_ON(code < 0 || !e->space || e->space > TLB_SPACE_MAX);
	tag = tlb_tag(e->space, (unsigned)code, e->vpn, e->order);
	data = tlb_data(e->mfn, e->vmid, e->order, e->flags);
	ASSERT(data && e->vmid <= TLB_VMID_MAX && !(e->flags & ~TLB_FLAGS) && tlb_data_mfn(data) == e->mfn);

	class1 = t->l1_of_code[code];
	class2 = t->l2_of_code[code];
	if (tag == t->missed && which == L1_DATA) {
		tlb_common_fill(t, tag, data);
	} else {
		t->counts.fills++;
		t->live[code] = true;
		t->is_common_path &= code == 0;
		t->spaces_seen |= BIT(e->space & 63);
		put(t, &t->l1[which][class1], tag, data);
		put(t, &t->l2[class2], tag, data);
		t->missed = 0;
	}
	t->instr_filled |= which == L1_INSTR;
	if (which == L1_INSTR || t->instr_filled)
		replace(&t->l1[!which][class1], tag, data);
}

/* Invalidation */

/* Every copy of one tag. */
static unsigned drop_tag(struct tlb *t, uint64_t tag)
{
	unsigned code = tag_code(tag);

	return tlb_array_remove(&t->l1[L1_DATA][t->l1_of_code[code]], tag) +
	       tlb_array_remove(&t->l1[L1_INSTR][t->l1_of_code[code]], tag) +
	       tlb_array_remove(&t->l2[t->l2_of_code[code]], tag);
}

static unsigned drop_page(struct tlb *t, uint32_t space, uint64_t vpn)
{
	unsigned dropped = 0;

	if (!has_seen(t, space))
		return 0;
	for (unsigned code = 0; code < t->codes; code++)
		if (t->live[code])
			dropped += drop_tag(t, tlb_tag(space, code, vpn, t->order_of_code[code]));
	return dropped;
}

unsigned tlb_inval_page(struct tlb *t, uint32_t space, uint32_t gspace, uint64_t vpn)
{
	unsigned dropped = drop_page(t, space, vpn);

	if (gspace)
		dropped += drop_page(t, gspace, vpn);
	t->counts.inval_page++;
	t->counts.dropped += dropped;
	return dropped;
}

/* Tags from first to first + more (keys may wrap) of one space and code. */
struct tag_range {
	uint64_t first;
	uint64_t more;
};

static bool is_in_tag_range(const void *ctx, uint64_t tag, uint64_t data)
{
	const struct tag_range *r = ctx;

	return (tag ^ r->first) >> TAG_CODE_SHIFT == 0 && tag_key(tag_key(tag) - tag_key(r->first)) <= r->more;
}

static unsigned drop_range(struct tlb *t, unsigned code, const struct tag_range *r)
{
	unsigned dropped = 0;

	if (r->more < RANGE_BY_TAG) {
		uint64_t upper = r->first & ~low_bits(TAG_CODE_SHIFT);

		for (uint64_t i = 0; i <= r->more; i++)
			dropped += drop_tag(t, upper | tag_key(r->first + i));
		return dropped;
	}
	dropped += array_sweep(&t->l1[L1_DATA][t->l1_of_code[code]], is_in_tag_range, r);
	dropped += array_sweep(&t->l1[L1_INSTR][t->l1_of_code[code]], is_in_tag_range, r);
	dropped += array_sweep(&t->l2[t->l2_of_code[code]], is_in_tag_range, r);
	return dropped;
}

unsigned tlb_inval_range(struct tlb *t, uint32_t space, uint64_t vpn, uint64_t n)
{
	unsigned dropped = 0;

	for (unsigned code = 0; n && has_seen(t, space) && code < t->codes; code++) {
		unsigned order = t->order_of_code[code];
		struct tag_range r = {
			.first = tlb_tag(space, code, vpn, order),
			.more = ((vpn + n - 1) >> order) - (vpn >> order),
		};

		if (t->live[code])
			dropped += drop_range(t, code, &r);
	}
	t->counts.inval_range++;
	t->counts.dropped += dropped;
	return dropped;
}

/* Inlined with its predicate: a sweep looks at some two thousand entries. */
static ALWAYS_INLINE unsigned drop_where(struct tlb *t, bool (*f)(const void *ctx, uint64_t tag, uint64_t data),
					 const void *ctx)
{
	unsigned dropped = 0;

	for (unsigned i = 0; i < ARRAYS; i++)
		dropped += array_sweep(array_at(t, i), f, ctx);
	return dropped;
}

static bool is_of_space(const void *ctx, uint64_t tag, uint64_t data)
{
	return tag_space(tag) == *(const uint32_t *)ctx;
}

unsigned tlb_inval_space(struct tlb *t, uint32_t space)
{
	unsigned dropped = has_seen(t, space) ? drop_where(t, is_of_space, &space) : 0;

	t->counts.inval_space++;
	t->counts.dropped += dropped;
	return dropped;
}

static bool is_of_vm(const void *ctx, uint64_t tag, uint64_t data)
{
	return tlb_data_vmid(data) == *(const uint16_t *)ctx;
}

unsigned tlb_inval_vm(struct tlb *t, uint16_t vmid)
{
	unsigned dropped = drop_where(t, is_of_vm, &vmid);

	t->counts.inval_vm++;
	t->counts.dropped += dropped;
	return dropped;
}

struct frame_range {
	uint64_t mfn, n;
};

/* Do the entry's frames and the range overlap? One of the two begins inside the other. */
static bool leads_to_frames(const void *ctx, uint64_t tag, uint64_t data)
{
	const struct frame_range *r = ctx;
	uint64_t mfn = tlb_data_mfn(data);

	return mfn - r->mfn < r->n || r->mfn - mfn < BIT(tlb_data_order(data));
}

unsigned tlb_inval_frames(struct tlb *t, uint64_t mfn, uint64_t n)
{
	const struct frame_range r = {.mfn = mfn, .n = n};
	unsigned dropped = n && t->spaces_seen ? drop_where(t, leads_to_frames, &r) : 0;

	t->counts.inval_frames++;
	t->counts.dropped += dropped;
	return dropped;
}

unsigned tlb_inval_all(struct tlb *t)
{
	unsigned dropped = 0;

	if (t->spaces_seen)
		for (unsigned i = 0; i < ARRAYS; i++)
			dropped += array_clear(array_at(t, i));
	memset(t->live, 0, sizeof(t->live));
	t->is_common_path = has_common_shapes(t);
	t->instr_filled = false;
	t->spaces_seen = 0;
	t->counts.inval_all++;
	t->counts.dropped += dropped;
	return dropped;
}

/* Display */

/* The vpn that a tag was made of; addresses are sign-extended (a 57-bit one loses its copies of the sign). */
static uint64_t vpn_of_tag(uint64_t tag, unsigned order)
{
	unsigned unused = 64 - MIN(TAG_CODE_SHIFT + order, 64 - PAGE_SHIFT);
	uint64_t vpn = tag_key(tag) << order;

	return (uint64_t)((int64_t)(vpn << unused) >> unused) & low_bits(64 - PAGE_SHIFT);
}

static void show_array(const struct tlb_array *a, int level, void (*f)(void *ctx, int level, const struct tlb_entry *e),
		       void *ctx)
{
	size_t slots = ((size_t)a->set_mask + 1) * a->ways;

	for (size_t i = 0; i < slots; i++) {
		uint64_t tag = a->tags[i], data = a->data[i];
		struct tlb_entry e = {
			.vpn = vpn_of_tag(tag, tlb_data_order(data)),
			.space = tag_space(tag),
			.vmid = (uint16_t)tlb_data_vmid(data),
			.order = (uint8_t)tlb_data_order(data),
			.flags = (uint16_t)tlb_data_flags(data),
			.mfn = tlb_data_mfn(data),
		};

		if (tag)
			f(ctx, level, &e);
	}
}

void tlb_for_each(const struct tlb *t, void (*f)(void *ctx, int level, const struct tlb_entry *e), void *ctx)
{
	for (unsigned c = 0; c < TLB_CLASSES; c++)
		show_array(&t->l1[L1_DATA][c], LEVEL_DATA, f, ctx);
	for (unsigned c = 0; c < TLB_CLASSES; c++)
		show_array(&t->l1[L1_INSTR][c], LEVEL_INSTR, f, ctx);
	for (unsigned c = 0; c < TLB_CLASSES; c++)
		show_array(&t->l2[c], LEVEL_L2, f, ctx);
}
