/* SPDX-License-Identifier: MIT */
/*
 * The guest walker over arbitrary memory: any format that validates, any
 * request, any bytes as tables. Whatever comes, loads are aligned and bounded
 * in number, nothing is written but A and D bits, and what is mapped lies
 * within the format's physical addresses.
 *
 * Input: format selector │ format changes (byte pairs) │ request │ memory
 */
#include <stdlib.h>

#include "gpt/format.h"
#include "gpt/walk.h"

enum { MEMORY_MAX = 1 << 16, CHANGES_MAX = 15, TABLE_FORMATS = 9 };

struct input {
	const uint8_t *p;
	size_t left;
};

static struct {
	struct pt_mem m;
	uint8_t bytes[MEMORY_MAX], before[MEMORY_MAX];
	uint64_t size;
	const struct gpt_format *fmt;
	unsigned loads, updates;
	uint8_t fate; /* bits choose which loads and updates go wrong */
} mem;

#define CHECK(cond)              \
	do {                     \
		if (!(cond))     \
			abort(); \
	} while (0)

static uint64_t take(struct input *in, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes && in->left; i++, in->left--)
		v |= (uint64_t)*in->p++ << (8 * i);
	return v;
}

static int fuzz_load(struct pt_mem *m, uint64_t addr, unsigned size, void *out)
{
	(void)m;
	CHECK(size == mem.fmt->entry_size && addr % size == 0);
	CHECK(++mem.loads <= GPT_LEVELS_MAX * WALK_TRIES);
	if ((mem.fate & 1) && mem.loads % 7 == 3)
		return -EAGAIN;
	/* Addresses fold into the memory at hand, so that walks go deep; some are nowhere. */
	if ((mem.fate & 2) && addr >= BIT(40))
		return -EFAULT;
	addr &= mem.size - 1;
	memcpy(out, mem.bytes + addr, size);
	return 0;
}

static int fuzz_cas(struct pt_mem *m, uint64_t addr, unsigned size, uint64_t expect, uint64_t value)
{
	const struct gpt_format *fmt = mem.fmt;
	uint64_t now = 0;

	(void)m;
	CHECK(size == fmt->entry_size && (size == 4 || size == 8) && addr % size == 0);
	CHECK(++mem.updates <= GPT_LEVELS_MAX * WALK_TRIES);
	CHECK(((expect ^ value) & ~(fmt->accessed | fmt->dirty)) == 0 && (expect & ~value) == 0);
	if ((mem.fate & 4) && mem.updates % 3 == 1)
		return 0;
	if ((mem.fate & 8) && mem.updates % 5 == 2)
		return -EAGAIN;
	addr &= mem.size - 1;
	memcpy(&now, mem.bytes + addr, size);
	if (now != expect)
		return 0; /* two levels may fold onto one entry */
	memcpy(mem.bytes + addr, &value, size);
	return 1;
}

static const struct pt_mem_ops fuzz_ops = { .load = fuzz_load, .cas = fuzz_cas };

/* A built-in format, with some bytes of it overwritten; bool members stay bools. */
static bool choose_format(struct input *in, struct gpt_format *fmt)
{
	unsigned n = take(in, 1) % TABLE_FORMATS;
	unsigned changes = take(in, 1) & CHANGES_MAX;
	bool changed = changes > 0;
	struct gpt_format f = n < TABLE_FORMATS - 1 ? *gpt_builtin[n] : *gpt_variant[0];
	uint8_t *const field[] = { &f.levels, &f.entry_size, &f.va_bits, &f.pa_bits, &f.pfn_shift, &f.x4_bits };
	bool *const flag[] = { &f.sign_extended, &f.root_in_registers, &f.top_no_rights, &f.pse_gate };
	uint64_t *const mask[] = { &f.pfn_mask, &f.valid, &f.read, &f.write, &f.exec, &f.no_exec, &f.user, &f.global,
				   &f.accessed, &f.dirty, &f.page_size, &f.no_read, &f.nx_gate };
	const char *why;

	while (changes-- && in->left) {
		uint8_t what = take(in, 1);
		struct gpt_level *l = &f.level[(what >> 4) % GPT_LEVELS_MAX];

		switch (what & 7) {
		case 0: *field[(what >> 3) % 6] = take(in, 1); break;
		case 1: *flag[(what >> 3) % 4] ^= true; break;
		case 2: *mask[(what >> 3) % 13] = take(in, 8); break;
		case 3: *mask[(what >> 3) % 13] = BIT(take(in, 1) % 64); break;
		case 4: l->bits = take(in, 1) % 16; break;
		case 5: l->leaf_ok ^= true; break;
		case 6: l->reserved_leaf = take(in, 8); break;
		case 7: l->reserved_table = take(in, 8); break;
		}
	}
	/* Shapes that only miss their sums are mended: more of them get through. */
	for (unsigned i = 0, shift = PAGE_SHIFT; changed && i < f.levels && i < GPT_LEVELS_MAX; i++) {
		f.level[i].shift = (uint8_t)shift;
		shift += f.level[i].bits;
		f.va_bits = (uint8_t)shift;
	}
	*fmt = f;
	if (gpt_validate(fmt, &why)) {
		CHECK(why && *why);
		return false;
	}
	return true;
}

static void choose_request(struct input *in, struct walk_req *q)
{
	uint8_t flags = take(in, 1);

	*q = (struct walk_req){ .user = flags & 1, .second_stage = flags & 2, .own_table = flags & 4,
				.ad = (flags >> 3 & 3) % 3, .start_level = -1 };
	q->va = take(in, 8);
	q->kind = take(in, 1) % ACC_KINDS;
	q->ctl = (uint32_t)take(in, 1);
	if (flags & 32)
		q->start_level = (int)(take(in, 1) % mem.fmt->levels);
	q->start_table = take(in, 8);
	q->start_rights = (uint8_t)take(in, 1);
	if (flags & 64) /* an address that is in range, to go deep */
		q->va &= gpt_va_limit(mem.fmt, q->second_stage) - 1;
	mem.fate = take(in, 1);
}

static void check_result(const struct gpt_format *fmt, const struct walk_req *q, const struct walk *w)
{
	CHECK(w->ntables <= fmt->levels && w->level < fmt->levels && !w->overflow);
	CHECK(q->ad == WALK_AD_SET || (!w->ad_updated && mem.updates == 0));
	CHECK(w->ad_updated || memcmp(mem.bytes, mem.before, mem.size) == 0);
	switch (w->status) {
	case WALK_OK:
		CHECK(w->why == WALK_WHY_NONE);
		CHECK(w->frame < BIT(fmt->pa_bits - PAGE_SHIFT));
		CHECK(gpt_leaf_orders(fmt) & BIT(w->order));
		CHECK(gpt_va_ok(fmt, q->va, q->second_stage));
		CHECK(walk_check(w->rights, q->kind, q->user || q->second_stage, q->ctl,
				 fmt->family == GPT_RISCV) == WALK_WHY_NONE);
		CHECK(gpt_is_present(fmt, w->leaf));
		CHECK(!gpt_is_reserved(fmt, w->level, w->leaf, q->ctl));
		CHECK(q->ad != WALK_AD_SET || (w->rights & RIGHT_A));
		CHECK(q->ad != WALK_AD_SET || q->kind != ACC_WRITE || (w->rights & RIGHT_D));
		break;
	case WALK_FAULT:
		CHECK(w->why != WALK_WHY_NONE);
		break;
	case WALK_VIOLATION:
		CHECK(mem.fate & 13 || mem.updates);
		break;
	default:
		abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct gpt_format fmt;
	struct walk_req q;
	struct walk w;

	if (!choose_format(&in, &fmt))
		return 0;
	mem.fmt = &fmt;
	choose_request(&in, &q);

	uint64_t root = take(&in, 8);

	mem.size = 64;
	while (mem.size < in.left && mem.size < MEMORY_MAX)
		mem.size <<= 1;
	memset(mem.bytes, 0, mem.size);
	memcpy(mem.bytes, in.p, MIN(in.left, mem.size));
	memcpy(mem.before, mem.bytes, mem.size);
	mem.m = (struct pt_mem){ .ops = &fuzz_ops };
	mem.loads = mem.updates = 0;
	gpt_walk(&fmt, &mem.m, root, &q, &w);
	check_result(&fmt, &q, &w);
	return 0;
}
