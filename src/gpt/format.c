/* SPDX-License-Identifier: MIT */
/* Pure questions about formats and entries; the data stand in format_*.c. */
#include "gpt/format.h"

#include "gpt/builtin.h"
#include "gpt/entry.h"

const struct gpt_format *const gpt_builtin[] = {
	&gpt_x86_32, &gpt_x86_pae, &gpt_x86_64, &gpt_x86_64_5l,
	&gpt_sv39, &gpt_sv48, &gpt_sv57, &gpt_classroom, NULL,
};

const struct gpt_format *const gpt_variant[] = { &gpt_x86_pae_mem, NULL };

static bool is_same_name(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

static const struct gpt_format *find_in(const struct gpt_format *const *list, const char *name)
{
	for (; *list; list++)
		if (is_same_name((*list)->name, name))
			return *list;
	return NULL;
}

const struct gpt_format *gpt_find(const char *name)
{
	const struct gpt_format *fmt = find_in(gpt_builtin, name);

	return fmt ? fmt : find_in(gpt_variant, name);
}

uint64_t gpt_table_bytes(const struct gpt_format *fmt, unsigned level, bool second_stage_root)
{
	return (uint64_t)fmt->entry_size << index_bits(fmt, level, second_stage_root);
}

unsigned gpt_table_order(const struct gpt_format *fmt, unsigned level, bool second_stage_root)
{
	uint64_t bytes = gpt_table_bytes(fmt, level, second_stage_root);

	return bytes <= PAGE_SIZE ? 0 : log2_ceil(bytes) - PAGE_SHIFT;
}

uint64_t gpt_leaf_orders(const struct gpt_format *fmt)
{
	uint64_t orders = 0;

	for (unsigned level = 0; level < fmt->levels; level++)
		if (fmt->level[level].leaf_ok)
			orders |= BIT(gpt_level_order(fmt, level));
	return orders;
}

int gpt_level_of_order(const struct gpt_format *fmt, unsigned order)
{
	for (unsigned level = 0; level < fmt->levels; level++)
		if (fmt->level[level].leaf_ok && gpt_level_order(fmt, level) == order)
			return (int)level;
	return -1;
}

bool gpt_va_ok(const struct gpt_format *fmt, uint64_t va, bool second_stage)
{
	return va_is_ok(fmt, va, second_stage);
}

uint64_t gpt_va_limit(const struct gpt_format *fmt, bool second_stage)
{
	if (second_stage)
		return BIT(fmt->va_bits + fmt->x4_bits);
	return BIT(fmt->va_bits - fmt->sign_extended);
}

uint64_t gpt_index(const struct gpt_format *fmt, unsigned level, uint64_t va, bool second_stage)
{
	return (va >> fmt->level[level].shift) & low_bits(index_bits(fmt, level, second_stage));
}

static uint64_t place_frame(const struct gpt_format *fmt, uint64_t frame)
{
	return (frame << fmt->pfn_shift) & fmt->pfn_mask;
}

static uint64_t riscv_leaf_bits(const struct gpt_format *fmt, uint8_t rights)
{
	if (!(rights & RIGHT_R))
		rights &= ~RIGHT_W; /* W without R is reserved */
	if (!(rights & RIGHT_RWX))
		return 0; /* would point to a table */
	return fmt->valid | (rights & RIGHT_R ? fmt->read : 0) | (rights & RIGHT_W ? fmt->write : 0) |
	       (rights & RIGHT_X ? fmt->exec : 0);
}

static uint64_t x86_leaf_bits(const struct gpt_format *fmt, unsigned level, uint8_t rights)
{
	if (!(rights & RIGHT_RWX))
		return 0;
	return fmt->valid | (rights & RIGHT_R ? 0 : fmt->no_read) | (rights & RIGHT_W ? fmt->write : 0) |
	       (rights & RIGHT_X ? fmt->exec : fmt->no_exec) | (level ? fmt->page_size : 0);
}

uint64_t gpt_make_leaf(const struct gpt_format *fmt, unsigned level, uint64_t frame, uint8_t rights)
{
	uint64_t pte = fmt->family == GPT_RISCV ? riscv_leaf_bits(fmt, rights) :
						  x86_leaf_bits(fmt, level, rights);

	if (!pte)
		return 0;
	return pte | place_frame(fmt, frame) | (rights & RIGHT_U ? fmt->user : 0) |
	       (rights & RIGHT_G ? fmt->global : 0) | (rights & RIGHT_A ? fmt->accessed : 0) |
	       (rights & RIGHT_D ? fmt->dirty : 0);
}

/* Do table entries here carry rights and an accessed bit? */
static bool has_table_rights(const struct gpt_format *fmt, unsigned level)
{
	return fmt->family == GPT_X86 && !(fmt->top_no_rights && level == fmt->levels - 1u);
}

uint64_t gpt_make_table(const struct gpt_format *fmt, unsigned level, uint64_t frame)
{
	uint64_t pte = fmt->valid | place_frame(fmt, frame);

	if (has_table_rights(fmt, level))
		pte |= fmt->write | fmt->user | fmt->exec | fmt->accessed;
	return pte;
}

bool gpt_is_present(const struct gpt_format *fmt, uint64_t pte)
{
	return pte & fmt->valid;
}

bool gpt_is_leaf(const struct gpt_format *fmt, unsigned level, uint64_t pte)
{
	return fmt->family == GPT_RISCV ? entry_is_leaf(fmt, level, pte, 0, true) :
					  entry_is_leaf(fmt, level, pte, fmt->page_size, false);
}

uint64_t gpt_frame(const struct gpt_format *fmt, uint64_t pte)
{
	return entry_frame(fmt, pte);
}

uint8_t gpt_rights(const struct gpt_format *fmt, unsigned level, uint64_t pte)
{
	bool riscv = fmt->family == GPT_RISCV;
	uint8_t global = pte & fmt->global ? RIGHT_G : 0;

	if (gpt_is_leaf(fmt, level, pte))
		return entry_ad(fmt, pte) | global |
		       (riscv ? entry_rwxu(fmt, pte, true) : entry_rwxu(fmt, pte, false));
	if (riscv)
		return RIGHT_RWX | RIGHT_U | global; /* all below is global */
	return has_table_rights(fmt, level) ? entry_rwxu(fmt, pte, false) : RIGHT_RWX | RIGHT_U;
}

bool gpt_can_express(const struct gpt_format *fmt, uint8_t rights)
{
	uint64_t pte = gpt_make_leaf(fmt, 0, 0, rights);

	return pte && gpt_rights(fmt, 0, pte) == rights;
}

bool gpt_is_reserved(const struct gpt_format *fmt, unsigned level, uint64_t pte, uint32_t ctl)
{
	if (fmt->family == GPT_RISCV)
		return entry_is_reserved(fmt, level, pte, entry_is_leaf(fmt, level, pte, 0, true), 0, true);

	uint64_t page_size = fmt->pse_gate && !(ctl & CTL_PSE) ? 0 : fmt->page_size;
	bool leaf = entry_is_leaf(fmt, level, pte, page_size, false);

	return entry_is_reserved(fmt, level, pte, leaf, gated_bits(fmt, ctl), false);
}
