/* SPDX-License-Identifier: MIT */
/*
 * One translation: what is asked (struct walk_req), what came of it
 * (struct walk). Every organisation's lookup and the format walker speak
 * these; permissions are checked in one place, walk_check().
 *
 *     va ─▶ level n-1 table ─▶ … ─▶ level 0 table ─▶ frame
 *              │ entry                  │ leaf entry: rights, A, D
 *              └ may be a leaf: a superpage of 2^order frames
 */
#ifndef QUIRE_GPT_WALK_H
#define QUIRE_GPT_WALK_H

#include "base/types.h"
#include "machine/pt_mem.h"

struct gpt_format;

/* Control state of the CPU that changes what an access may do. */
enum walk_ctl {
	CTL_WP = 1 << 0,   /* x86 CR0.WP: supervisor writes obey W */
	CTL_SMEP = 1 << 1, /* x86 CR4.SMEP; always so on RISC-V */
	CTL_SMAP = 1 << 2, /* x86 CR4.SMAP; on RISC-V: sstatus.SUM = 0 */
	CTL_AC = 1 << 3,   /* x86 EFLAGS.AC: SMAP suspended */
	CTL_MXR = 1 << 4,  /* RISC-V sstatus.MXR: X implies R */
	CTL_NXE = 1 << 5,  /* x86 EFER.NXE: the NX bit is not reserved */
	CTL_PSE = 1 << 6,  /* x86-32 CR4.PSE: 4 MiB pages */
	CTL_PGE = 1 << 7,  /* x86 CR4.PGE; RISC-V: always on */
	CTL_DEFAULT = CTL_WP | CTL_SMEP | CTL_NXE | CTL_PSE | CTL_PGE,
};

/* What becomes of accessed and dirty bits that are not set yet. */
enum walk_ad {
	WALK_AD_SET,   /* atomic update of the entry (x86, RISC-V Svadu) */
	WALK_AD_FAULT, /* page fault (RISC-V Svade) */
	WALK_AD_PEEK,  /* left alone, not checked: a look from outside */
};

enum walk_status {
	WALK_OK = 0,
	WALK_FAULT,     /* the guest must see it: walk.fault says why */
	WALK_VIOLATION, /* a load met -EAGAIN: mend it and start anew */
};

/* Why the table says no. */
enum walk_why {
	WALK_WHY_NONE,
	WALK_WHY_NOT_PRESENT,
	WALK_WHY_RIGHTS,       /* R, W or X missing */
	WALK_WHY_PRIVILEGE,    /* U against user/supervisor, SMEP, SMAP, SUM */
	WALK_WHY_RESERVED,     /* reserved bit or encoding, misaligned superpage */
	WALK_WHY_CANONICAL,    /* va out of range or not sign-extended */
	WALK_WHY_ACCESSED,     /* A clear, or D clear at a store, under WALK_AD_FAULT */
	WALK_WHY_BUS,          /* a table stands where no memory is (-EFAULT) */
};

struct walk_req {
	uint64_t va; /* the whole address, bytes */
	uint32_t space;
	enum acc_kind kind;
	bool user;
	uint32_t ctl; /* enum walk_ctl */
	enum walk_ad ad;
	bool second_stage; /* va is a gpa: x4 root, all accesses are user accesses, no page is global */
	bool own_table; /* a table of Quire's own making: its no_read bits count */
	/*
	 * Start below the root (a walk cache hit): the table at start_table is
	 * of level start_level, reached with start_rights. start_level < 0: at the root.
	 */
	int start_level;
	uint64_t start_table;
	uint8_t start_rights;
};

enum { WALK_TABLES_MAX = 16 };

struct walk {
	enum walk_status status;
	enum walk_why why;
	uint32_t error_code; /* x86 page-fault error code (SDM vol. 3, 4.7); for every format */
	/* Valid when WALK_OK. */
	uint64_t frame;  /* 4 KiB frame number of va itself, not of its superpage */
	uint8_t order;   /* of the mapping */
	uint8_t rights;  /* effective: all levels together, A and D as after this walk */
	uint8_t level;   /* of the leaf entry (also when the walk failed: where it stood) */
	bool ad_updated; /* the walk wrote an entry */
	uint64_t leaf_addr; /* of the leaf entry */
	uint64_t leaf;      /* its value after the walk */
	/*
	 * The tables read, root first: radix gives one per level from where it
	 * started; others give the frame of each line read, level 0.
	 * .rights are those accumulated above this table.
	 */
	uint8_t ntables;
	struct walk_table {
		uint64_t addr; /* of the table's first byte (radix), of the line (others) */
		uint8_t level;
		uint8_t rights;
		bool positional; /* radix: entry i of it covers a fixed range of va */
	} table[WALK_TABLES_MAX];
	bool overflow; /* more lines were read than table[] holds (long chains) */
};

enum { /* x86 page-fault error code bits */
	PF_PRESENT = 1 << 0,
	PF_WRITE = 1 << 1,
	PF_USER = 1 << 2,
	PF_RSVD = 1 << 3,
	PF_INSTR = 1 << 4,
};

/*
 * The rule of permissions, for every format: may an access of this kind, with
 * these control bits, use a mapping with these rights? WALK_WHY_NONE: yes.
 * (SDM vol. 3, 4.6.1; RISC-V Priv. 4.3.2 steps 5-6.) riscv selects the rules
 * that differ: supervisor never executes U pages, MXR, no WP.
 */
enum walk_why walk_check(uint8_t rights, enum acc_kind kind, bool user, uint32_t ctl, bool riscv);

/* error_code of a failed access; present: the walk found an entry. */
uint32_t walk_error_code(const struct walk_req *req, enum walk_why why, bool present);

/* "not present", "rights", … */
const char *walk_why_name(enum walk_why why);

/*
 * The format walker: translates req->va through the tree at root. Loads go to
 * m, the format's rules decide, A and D are dealt with as req->ad says. fmt
 * has passed gpt_validate, start_level is below fmt->levels.
 *
 *  - The root and start_table are rounded down to what the format can point
 *    at, as the CPU's registers do (CR3, hgatp).
 *  - Nothing is written unless the whole walk succeeds: a walk that faults
 *    leaves the A bits of the upper entries alone too (CPUs may set them).
 *    Then entries are updated root first, each by ptm_cas; if one changed
 *    meanwhile the walk starts anew from its first load. A violation met by
 *    one of these updates leaves those above it done, which a CPU may always
 *    do early; the walk that starts anew finds them set.
 *  - Bounded: after WALK_TRIES such restarts it ends in WALK_VIOLATION, so
 *    that the caller can let others run before it tries again.
 *  - A topmost level held in registers (fmt->root_in_registers) is read from
 *    the memory at root, neither charged nor logged in m. An m whose loads
 *    cost elsewhere (nested) should give start_level and start_table instead.
 *  - Whatever the tables hold, it makes at most one load a level and try, each
 *    aligned to the entry's size.
 */
enum { WALK_TRIES = 8 };
void gpt_walk(const struct gpt_format *fmt, struct pt_mem *m, uint64_t root,
	      const struct walk_req *req, struct walk *w);

#endif
