/* SPDX-License-Identifier: MIT */
/*
 * The textbook's machine: 16-bit addresses, sixteen pages of 4 KiB, one table
 * of sixteen entries. Frames are as wide as elsewhere, so that small address
 * spaces can stand in a large machine.
 *
 *     63    52 51                        12 11  7  6  5  4  3  2  1  0
 *   ┌─────────┬────────────────────────────┬─────┬──┬──┬──┬──┬──┬──┬──┐
 *   │ reserved│        frame number        │ ign.│D │A │G │U │X │W │V │
 *   └─────────┴────────────────────────────┴─────┴──┴──┴──┴──┴──┴──┴──┘
 */
#include "gpt/builtin.h"

enum {
	CLASSROOM_V = 1 << 0,
	CLASSROOM_W = 1 << 1,
	CLASSROOM_X = 1 << 2,
	CLASSROOM_U = 1 << 3,
	CLASSROOM_G = 1 << 4,
	CLASSROOM_A = 1 << 5,
	CLASSROOM_D = 1 << 6,
	CLASSROOM_SOFTWARE = 1 << 7,
};

const struct gpt_format gpt_classroom = {
	.name = "classroom",
	.source = "16-bit textbook paging: 4 index bits, 4 KiB pages (Quire's own encoding)",
	.family = GPT_X86,
	.levels = 1,
	.entry_size = 8,
	.va_bits = 16,
	.pa_bits = 52,
	.pfn_shift = 12,
	.pfn_mask = (UINT64_C(1) << 52) - (UINT64_C(1) << 12),
	.valid = CLASSROOM_V,
	.write = CLASSROOM_W,
	.exec = CLASSROOM_X,
	.user = CLASSROOM_U,
	.global = CLASSROOM_G,
	.accessed = CLASSROOM_A,
	.dirty = CLASSROOM_D,
	.no_read = CLASSROOM_SOFTWARE,
	.asid_bits = 16,
	.level = {
		{ .shift = 12, .bits = 4, .leaf_ok = true, .reserved_leaf = UINT64_C(0xfff) << 52 },
	},
};
