/* SPDX-License-Identifier: MIT */
/*
 * Which formats are taken. Formats come from users' files too: all that the
 * walker and the organisations rely on is proved here, once, so that they need
 * not look again. Each check answers with the sentence that the user reads,
 * or NULL.
 */
#include <errno.h>

#include "gpt/entry.h"
#include "gpt/format.h"

enum {
	INDEX_BITS_MAX = 14,
	X4_BITS_MAX = 2,
	VA_BITS_MAX = 63, /* so that 2^va_bits is a number */
	PA_BITS_MAX = 56,
	NAMED_BITS = 11,
};

static bool is_run_of_bits(uint64_t mask)
{
	return mask && is_pow2((mask >> __builtin_ctzll(mask)) + 1);
}

static const char *check_identity(const struct gpt_format *fmt)
{
	unsigned n = 0;

	while (n < GPT_NAME_MAX && fmt->name[n])
		n++;
	if (n == 0 || n == GPT_NAME_MAX)
		return "a format needs a name of 1 to 23 characters";
	if (fmt->family != GPT_X86 && fmt->family != GPT_RISCV)
		return "the family must be x86 or riscv";
	return NULL;
}

/* Levels tile the address from bit 12 up. */
static const char *check_shape(const struct gpt_format *fmt)
{
	unsigned shift = PAGE_SHIFT;

	if (fmt->levels < 1 || fmt->levels > GPT_LEVELS_MAX)
		return "a format has 1 to 5 levels";
	if (fmt->entry_size != 2 && fmt->entry_size != 4 && fmt->entry_size != 8)
		return "an entry has 2, 4 or 8 bytes";
	if (fmt->x4_bits > X4_BITS_MAX)
		return "a second stage's root has at most 2 more index bits";
	for (unsigned level = 0; level < fmt->levels; level++) {
		const struct gpt_level *l = &fmt->level[level];

		if (l->bits < 1 || l->bits > INDEX_BITS_MAX)
			return "a level has 1 to 14 index bits";
		if (l->shift != shift)
			return "levels must follow one another from bit 12 up without gaps";
		shift += l->bits;
	}
	if (fmt->va_bits != shift)
		return "va_bits must be 12 plus the index bits of all levels";
	if (fmt->va_bits + fmt->x4_bits > VA_BITS_MAX)
		return "a virtual address has at most 63 bits, a second stage's root included";
	return NULL;
}

static const char *check_frame_field(const struct gpt_format *fmt)
{
	if (!is_run_of_bits(fmt->pfn_mask) || fmt->pfn_shift > 63 || !(fmt->pfn_mask & BIT(fmt->pfn_shift)) ||
	    (fmt->pfn_mask & low_bits(fmt->pfn_shift)))
		return "pfn_mask must be one run of bits that starts at pfn_shift";
	if (fmt->pa_bits != PAGE_SHIFT + (unsigned)popcount64(fmt->pfn_mask))
		return "pa_bits must be 12 plus the bits of the frame number";
	if (fmt->pa_bits > PA_BITS_MAX)
		return "a physical address has at most 56 bits";
	return NULL;
}

/* Each named bit is one bit, inside the entry, and nothing else's. */
static const char *check_named_bits(const struct gpt_format *fmt)
{
	const uint64_t bit[NAMED_BITS] = {
		fmt->valid, fmt->read, fmt->write, fmt->exec, fmt->no_exec, fmt->user,
		fmt->global, fmt->accessed, fmt->dirty, fmt->page_size, fmt->no_read,
	};
	uint64_t taken = fmt->pfn_mask;

	if (fmt->pfn_mask & ~low_bits(8 * fmt->entry_size))
		return "the frame number does not fit into an entry";
	for (int i = 0; i < NAMED_BITS; i++) {
		if (bit[i] && !is_pow2(bit[i]))
			return "each named bit must be a single bit";
		if (bit[i] & ~low_bits(8 * fmt->entry_size))
			return "a named bit lies outside the entry";
		if (bit[i] & taken)
			return "two named bits coincide, or one lies in the frame number";
		taken |= bit[i];
	}
	if (fmt->entry_size == 2 && (fmt->accessed | fmt->dirty))
		return "2-byte entries cannot be updated atomically: leave out accessed and dirty";
	return NULL;
}

static const char *check_family(const struct gpt_format *fmt)
{
	if (!fmt->valid || !fmt->write || !fmt->user)
		return "an entry needs valid, write and user bits";
	if (fmt->nx_gate != 0 && fmt->nx_gate != fmt->no_exec)
		return "nx_gate must be the no_exec bit or nothing";
	if (fmt->family == GPT_RISCV) {
		if (!fmt->read || !fmt->exec)
			return "a riscv entry needs read and exec bits: they tell leaves from pointers";
		if (fmt->no_exec || fmt->page_size || fmt->no_read || fmt->pse_gate)
			return "a riscv entry has no no_exec, page_size or no_read bit";
		if (fmt->top_no_rights)
			return "top_no_rights is of x86: pointers of riscv never carry rights";
		return NULL;
	}
	if (fmt->read)
		return "an x86 entry has no read bit: what is valid is readable";
	if (fmt->exec && fmt->no_exec)
		return "an entry has an exec or a no_exec bit, not both";
	if (fmt->pse_gate && !fmt->page_size)
		return "pse_gate needs a page_size bit";
	return NULL;
}

static const char *check_top(const struct gpt_format *fmt)
{
	if (!fmt->top_no_rights && !fmt->root_in_registers)
		return NULL;
	if (fmt->levels < 2)
		return "a root in registers or without rights needs a level below it";
	if (fmt->level[fmt->levels - 1].leaf_ok)
		return "a root in registers or without rights cannot hold leaves";
	return NULL;
}

/* What gpt_make_leaf and gpt_make_table set must not be reserved. */
static const char *check_level(const struct gpt_format *fmt, unsigned level)
{
	const struct gpt_level *l = &fmt->level[level];
	unsigned order = gpt_level_order(fmt, level);
	bool bare = fmt->top_no_rights && level == fmt->levels - 1u;
	uint64_t all = low_bits(8 * fmt->entry_size);
	uint64_t table_bits = fmt->valid | fmt->pfn_mask;
	uint64_t leaf_bits = fmt->valid | fmt->read | fmt->write | fmt->exec | fmt->no_exec | fmt->user |
			     fmt->accessed | fmt->dirty | fmt->global | fmt->no_read;

	if ((l->reserved_leaf | l->reserved_table) & ~all)
		return "a reserved bit lies outside the entry";
	if (fmt->family == GPT_X86 && !bare)
		table_bits |= fmt->write | fmt->exec | fmt->no_exec | fmt->user | fmt->accessed;
	if (level > 0 && (l->reserved_table & table_bits))
		return "a bit that a table entry needs is reserved in it";
	if (!l->leaf_ok)
		return level == 0 ? "level 0 must hold leaves" : NULL;
	if (order > fmt->pa_bits - PAGE_SHIFT)
		return "a superpage is larger than all of physical memory";
	if (level > 0 && fmt->family == GPT_X86) {
		if (!fmt->page_size)
			return "superpages of x86 need a page_size bit";
		leaf_bits |= fmt->page_size;
	}
	/* Frame bits below a superpage's size may be reserved, those above never. */
	leaf_bits |= fmt->pfn_mask & ~(low_bits(order) << fmt->pfn_shift);
	return l->reserved_leaf & leaf_bits ? "a bit that a leaf needs is reserved in it" : NULL;
}

int gpt_validate(const struct gpt_format *fmt, const char **why)
{
	static const char *(*const check[])(const struct gpt_format *) = {
		check_identity, check_shape, check_frame_field, check_named_bits, check_family, check_top,
	};

	*why = NULL;
	for (unsigned i = 0; i < ARRAY_SIZE(check) && !*why; i++)
		*why = check[i](fmt);
	for (unsigned level = 0; !*why && level < fmt->levels; level++)
		*why = check_level(fmt, level);
	return *why ? -EINVAL : 0;
}
