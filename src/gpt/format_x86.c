/* SPDX-License-Identifier: MIT */
/*
 * The x86 formats (Intel SDM vol. 3A, chapter 4; "SDM" below). As a second
 * stage they are AMD's nested tables (APM vol. 2, 15.25): the same entries.
 *
 *     63  62    52 51                        12 11  9  8  7  6  5  4 3  2  1  0
 *   ┌────┬────────┬────────────────────────────┬─────┬──┬──┬──┬──┬────┬──┬──┬──┐
 *   │ NX │ ignored│        frame number        │ ign.│G │PS│D │A │PCD │U │W │P │
 *   └────┴────────┴────────────────────────────┴─────┴──┴──┴──┴──┴─PWT┴──┴──┴──┘
 *
 * MAXPHYADDR is 52, the architecture's widest (SDM 4.1.4), so that 64-bit
 * entries have no reserved frame bits; PAE entries reserve 62:52 too.
 */
#include "gpt/builtin.h"

enum {
	X86_P = 1 << 0,
	X86_W = 1 << 1,
	X86_U = 1 << 2,
	X86_A = 1 << 5,
	X86_D = 1 << 6,
	X86_PS = 1 << 7,
	X86_G = 1 << 8,
	X86_SOFTWARE = 1 << 9, /* bits 11:9 are ignored in every entry of every format */
};

#define X86_NX (UINT64_C(1) << 63)
#define BITS(hi, lo) ((UINT64_C(2) << (hi)) - (UINT64_C(1) << (lo)))
#define X86_FRAME_32 BITS(31, 12)
#define X86_FRAME_52 BITS(51, 12)

#define X86_NAMED_BITS                                                             \
	.valid = X86_P, .write = X86_W, .user = X86_U, .global = X86_G,            \
	.accessed = X86_A, .dirty = X86_D, .page_size = X86_PS, .no_read = X86_SOFTWARE

/*
 * SDM 4.3, tables 4-3 to 4-6. PSE-36 is not offered: with MAXPHYADDR 32 bits
 * 21:13 of a 4 MiB entry are reserved; bit 12 is PAT.
 */
const struct gpt_format gpt_x86_32 = {
	.name = "x86-32",
	.source = "Intel SDM vol. 3A, 4.3 (32-bit paging)",
	.family = GPT_X86,
	.levels = 2,
	.entry_size = 4,
	.va_bits = 32,
	.pa_bits = 32,
	.pfn_shift = 12,
	.pfn_mask = X86_FRAME_32,
	X86_NAMED_BITS,
	.pse_gate = true,
	.level = {
		{ .shift = 12, .bits = 10, .leaf_ok = true },
		{ .shift = 22, .bits = 10, .leaf_ok = true, .reserved_leaf = BITS(21, 13) },
	},
};

/*
 * SDM 4.4, tables 4-8 to 4-11. The four directory pointers have neither
 * rights nor an accessed bit; they are registers, loaded with CR3 (4.4.1).
 */
#define X86_PAE                                                                    \
	.family = GPT_X86, .levels = 3, .entry_size = 8, .va_bits = 32,            \
	.pa_bits = 52, .pfn_shift = 12, .pfn_mask = X86_FRAME_52,                  \
	.top_no_rights = true, X86_NAMED_BITS,                                     \
	.no_exec = X86_NX, .nx_gate = X86_NX,                                      \
	.level = {                                                                 \
		{ .shift = 12, .bits = 9, .leaf_ok = true,                         \
		  .reserved_leaf = BITS(62, 52) },                                 \
		{ .shift = 21, .bits = 9, .leaf_ok = true,                         \
		  .reserved_leaf = BITS(62, 52) | BITS(20, 13),                    \
		  .reserved_table = BITS(62, 52) },                                \
		{ .shift = 30, .bits = 2,                                          \
		  .reserved_table = BITS(63, 52) | BITS(8, 5) | BITS(2, 1) },      \
	}

const struct gpt_format gpt_x86_pae = {
	.name = "x86-pae",
	.source = "Intel SDM vol. 3A, 4.4 (PAE paging; PDPTE registers)",
	.root_in_registers = true,
	X86_PAE,
};

/* With nested paging AMD loads the pointers as the walk needs them. */
const struct gpt_format gpt_x86_pae_mem = {
	.name = "x86-pae+pdpte=memory",
	.source = "AMD APM vol. 2, 15.25.10 (PAE directory pointers loaded on demand)",
	X86_PAE,
};

/* SDM 4.5, tables 4-14 to 4-20: PS is reserved in PML4 and PML5 entries. */
#define X86_64_LEVELS                                                              \
	{ .shift = 12, .bits = 9, .leaf_ok = true },                               \
	{ .shift = 21, .bits = 9, .leaf_ok = true, .reserved_leaf = BITS(20, 13) }, \
	{ .shift = 30, .bits = 9, .leaf_ok = true, .reserved_leaf = BITS(29, 13) }, \
	{ .shift = 39, .bits = 9, .reserved_table = X86_PS }

#define X86_LONG_MODE                                                              \
	.family = GPT_X86, .entry_size = 8, .sign_extended = true, .pa_bits = 52,  \
	.pfn_shift = 12, .pfn_mask = X86_FRAME_52, X86_NAMED_BITS,                 \
	.no_exec = X86_NX, .nx_gate = X86_NX, .asid_bits = 12

const struct gpt_format gpt_x86_64 = {
	.name = "x86-64",
	.source = "Intel SDM vol. 3A, 4.5 (4-level paging)",
	.levels = 4,
	.va_bits = 48,
	X86_LONG_MODE,
	.level = { X86_64_LEVELS },
};

const struct gpt_format gpt_x86_64_5l = {
	.name = "x86-64-5l",
	.source = "Intel SDM vol. 3A, 4.5 (5-level paging)",
	.levels = 5,
	.va_bits = 57,
	X86_LONG_MODE,
	.level = {
		X86_64_LEVELS,
		{ .shift = 48, .bits = 9, .reserved_table = X86_PS },
	},
};
