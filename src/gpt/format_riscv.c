/* SPDX-License-Identifier: MIT */
/*
 * The RISC-V formats (Privileged Architecture, "Supervisor-Level ISA": Sv39,
 * Sv48, Sv57). As a second stage: Sv39x4, Sv48x4, Sv57x4 (hypervisor
 * extension, "Two-Stage Address Translation"), two more index bits at the root.
 *
 *     63  62  61 60      54 53                     10 9 8  7  6  5  4  3  2  1  0
 *   ┌────┬──────┬──────────┬─────────────────────────┬────┬──┬──┬──┬──┬──┬──┬──┬──┐
 *   │ N  │ PBMT │ reserved │      frame number       │RSW │D │A │G │U │X │W │R │V │
 *   └────┴──────┴──────────┴─────────────────────────┴────┴──┴──┴──┴──┴──┴──┴──┴──┘
 *
 * Without Svnapot and Svpbmt, which are not offered, bits 63:54 are all
 * reserved. A superpage's low frame bits must be zero; D, A and U are reserved
 * in an entry that points to a table.
 */
#include "gpt/builtin.h"

enum {
	RISCV_V = 1 << 0,
	RISCV_R = 1 << 1,
	RISCV_W = 1 << 2,
	RISCV_X = 1 << 3,
	RISCV_U = 1 << 4,
	RISCV_G = 1 << 5,
	RISCV_A = 1 << 6,
	RISCV_D = 1 << 7,
	RISCV_PPN_SHIFT = 10,
	RISCV_PPN_BITS = 44,
};

#define RISCV_PPN ((UINT64_C(1) << (RISCV_PPN_SHIFT + RISCV_PPN_BITS)) - (UINT64_C(1) << RISCV_PPN_SHIFT))
#define RISCV_RESERVED (~UINT64_C(0) << (RISCV_PPN_SHIFT + RISCV_PPN_BITS))

#define LEVEL(i)                                                                   \
	{ .shift = 12 + 9 * (i), .bits = 9, .leaf_ok = true,                       \
	  .reserved_leaf = RISCV_RESERVED |                                        \
		(((UINT64_C(1) << (9 * (i))) - 1) << RISCV_PPN_SHIFT),             \
	  .reserved_table = RISCV_RESERVED | RISCV_D | RISCV_A | RISCV_U }

#define RISCV_COMMON                                                               \
	.family = GPT_RISCV, .entry_size = 8, .sign_extended = true, .x4_bits = 2, \
	.pa_bits = 12 + RISCV_PPN_BITS, .pfn_shift = RISCV_PPN_SHIFT,              \
	.pfn_mask = RISCV_PPN, .valid = RISCV_V, .read = RISCV_R, .write = RISCV_W, \
	.exec = RISCV_X, .user = RISCV_U, .global = RISCV_G, .accessed = RISCV_A,  \
	.dirty = RISCV_D, .asid_bits = 16

const struct gpt_format gpt_sv39 = {
	.name = "sv39",
	.source = "RISC-V Privileged Architecture, Sv39 (4.4); second stage Sv39x4",
	.levels = 3,
	.va_bits = 39,
	RISCV_COMMON,
	.level = { LEVEL(0), LEVEL(1), LEVEL(2) },
};

const struct gpt_format gpt_sv48 = {
	.name = "sv48",
	.source = "RISC-V Privileged Architecture, Sv48 (4.5); second stage Sv48x4",
	.levels = 4,
	.va_bits = 48,
	RISCV_COMMON,
	.level = { LEVEL(0), LEVEL(1), LEVEL(2), LEVEL(3) },
};

const struct gpt_format gpt_sv57 = {
	.name = "sv57",
	.source = "RISC-V Privileged Architecture, Sv57 (4.6); second stage Sv57x4",
	.levels = 5,
	.va_bits = 57,
	RISCV_COMMON,
	.level = { LEVEL(0), LEVEL(1), LEVEL(2), LEVEL(3), LEVEL(4) },
};
