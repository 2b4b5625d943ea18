/* SPDX-License-Identifier: MIT */
/*
 * Page-table formats as data. A format is levels, masks and a handful of
 * flags; one walker (walk.c) and one organisation (pt/radix.c) serve all.
 *
 *     level n-1        …        level 1     level 0     offset
 *   ┌───────────┬────────────┬───────────┬───────────┬────────────┐
 *   │ bits[n-1] │            │  bits[1]  │  bits[0]  │ PAGE_SHIFT │   va
 *   └───────────┴────────────┴───────────┴───────────┴────────────┘
 *   Invariant: shift[0] == 12, shift[i+1] == shift[i] + bits[i].
 */
#ifndef QUIRE_GPT_FORMAT_H
#define QUIRE_GPT_FORMAT_H

#include "base/types.h"
#include "gpt/walk.h"

enum { GPT_LEVELS_MAX = 5, GPT_NAME_MAX = 24 };

enum gpt_family {
	GPT_X86,   /* present bit, leaf by level or PS, rights of all levels together, NX */
	GPT_RISCV, /* V R W X U G A D; a leaf has R or X; only the leaf's rights count */
};

struct gpt_level {
	uint8_t shift; /* of the va bits that index this level */
	uint8_t bits;
	bool leaf_ok;  /* an entry here may map a page (always so at level 0) */
	uint64_t reserved_leaf; /* bits that must be zero in a leaf entry here */
	uint64_t reserved_table; /* and in one that points to a table */
};

struct gpt_format {
	char name[GPT_NAME_MAX];
	const char *source; /* the manual and section these figures come from */
	enum gpt_family family;
	uint8_t levels;
	uint8_t entry_size; /* bytes: 2, 4 or 8 */
	uint8_t va_bits;    /* sum of bits + 12; + x4_bits at a second stage */
	bool sign_extended; /* va must be sign-extended from va_bits; else zero above */
	uint8_t pa_bits;    /* widest machine or guest-physical address an entry reaches */
	uint8_t pfn_shift;  /* of the frame number in an entry */
	uint64_t pfn_mask;  /* in place */
	uint8_t x4_bits;    /* extra root index bits as a second stage (RISC-V: 2) */
	bool root_in_registers; /* the topmost level is loaded by the CPU when the root is set: no reference (PAE) */
	bool top_no_rights; /* topmost entries carry no R/W, U or NX bits (PAE pointers) */
	/* Bits of an entry, by name; 0: the format has none. */
	uint64_t valid, read, write, exec, no_exec, user, global, accessed, dirty, page_size;
	uint64_t no_read; /* available to software: set by Quire's shadow tables for what R=0 cannot say; hardware ignores it */
	uint64_t nx_gate; /* no_exec or 0: bits that are reserved unless CTL_NXE */
	bool pse_gate; /* page_size is ignored unless CTL_PSE (x86-32) */
	uint32_t asid_bits; /* how many address-space tags its CPUs know */
	struct gpt_level level[GPT_LEVELS_MAX]; /* [0] is the leaf */
};

/* The eight built in, in a fixed order; NULL-terminated. */
extern const struct gpt_format *const gpt_builtin[];

/* Variants of those, found by name but not listed beside them; NULL-terminated. */
extern const struct gpt_format *const gpt_variant[];

/* By name among the built-in ones and their variants; NULL: none. */
const struct gpt_format *gpt_find(const char *name);

/*
 * 0, or -EINVAL with *why set to what is wrong (a constant sentence). What
 * passes is safe to walk: every load aligned, every frame below 2^pa_bits.
 */
int gpt_validate(const struct gpt_format *fmt, const char **why);

/* Bytes of one table at this level; root tables of a second stage are x4. At least an entry, at most 2^14 * 4. */
uint64_t gpt_table_bytes(const struct gpt_format *fmt, unsigned level, bool second_stage_root);
/* Order of the frames such a table takes (its size rounded up to frames). */
unsigned gpt_table_order(const struct gpt_format *fmt, unsigned level, bool second_stage_root);

/* Orders of page a leaf may have: bit n set if 2^n frames can be one entry. */
uint64_t gpt_leaf_orders(const struct gpt_format *fmt);
/* Level whose leaf has this order, or -1. */
int gpt_level_of_order(const struct gpt_format *fmt, unsigned order);
static inline unsigned gpt_level_order(const struct gpt_format *fmt, unsigned level)
{
	return fmt->level[level].shift - PAGE_SHIFT;
}

/*
 * Is va one this format can translate? At a second stage va is a gpa: never
 * sign-extended, and the root is x4_bits wider.
 */
bool gpt_va_ok(const struct gpt_format *fmt, uint64_t va, bool second_stage);
/* First address that is too high (zero-extended half): 2^va_bits, or half of it if sign_extended. */
uint64_t gpt_va_limit(const struct gpt_format *fmt, bool second_stage);

uint64_t gpt_index(const struct gpt_format *fmt, unsigned level, uint64_t va, bool second_stage);

/*
 * Entries. rights are enum RIGHT_*; frame is the first 4 KiB frame of the page
 * or table. Rights a leaf cannot say are left out, never added, but that a
 * GPT_X86 entry is always readable to hardware (no_read then records the
 * wish); a leaf with none of R, W, X is 0, not present. A table entry grants
 * everything and, where table entries have an accessed bit, is born accessed.
 */
uint64_t gpt_make_leaf(const struct gpt_format *fmt, unsigned level, uint64_t frame, uint8_t rights);
uint64_t gpt_make_table(const struct gpt_format *fmt, unsigned level, uint64_t frame);
bool gpt_is_present(const struct gpt_format *fmt, uint64_t pte);
/* As with CTL_PSE set. */
bool gpt_is_leaf(const struct gpt_format *fmt, unsigned level, uint64_t pte);
uint64_t gpt_frame(const struct gpt_format *fmt, uint64_t pte);
/*
 * Rights one entry grants by itself (A and D included for leaves; a format
 * without these bits counts as always accessed and dirty). As hardware reads
 * it: no_read is not looked at.
 */
uint8_t gpt_rights(const struct gpt_format *fmt, unsigned level, uint64_t pte);
/* Can a leaf say exactly these rights? (x86 cannot say "execute only", not counting no_read.) */
bool gpt_can_express(const struct gpt_format *fmt, uint8_t rights);
/* Any reserved bit or encoding set, misalignment included? pte is present; ctl is enum walk_ctl. */
bool gpt_is_reserved(const struct gpt_format *fmt, unsigned level, uint64_t pte, uint32_t ctl);

#endif
