/* SPDX-License-Identifier: MIT */
/*
 * A machine, a hypervisor, a processor, and virtual machines on them, each
 * translated by a scheme; and a guest of a few lines that builds its tables
 * by hand, through the unmapped segment, in any format or organisation.
 *
 *     struct rig ── machine, hv, cpu          rig_open … rig_close
 *        └ struct rig_vm ── vm, mmu, vcpu     rig_vm_add … rig_vm_remove; the first is made by rig_open
 *             └ struct rig_space ── one address space of its guest
 *
 * Everything that cannot fail in a right Quire is asserted here; a test says
 * only what it is about. rig_close audits and finds every leaked frame.
 */
#ifndef QUIRE_TESTS_MMU_RIG_H
#define QUIRE_TESTS_MMU_RIG_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/host_ops.h"
#include "base/rng.h"
#include "mmu/internal.h"

/* Zero means the default in brackets. */
struct rig_config {
	const char *scheme;   /* ["nested/radix"] */
	const char *preset;   /* ["none"] */
	const char *guest;    /* format ["x86-64"] */
	const char *host;     /* format [guest's] */
	uint64_t ram;         /* bytes [64 MiB] */
	uint64_t guest_base;  /* first gfn [0] */
	uint64_t guest_pages; /* [4096] */
	uint64_t table_gfn;   /* guest tables come from here on [guest_base + 1] */
	bool host_thp, host_thp_1g, eager, check_truth_only; /* [CHECK_WALK] */
	enum mmu_paravirt paravirt; /* what the guest knows of [nothing] */
	enum mmu_visibility visibility;
	unsigned shadow_budget, flood_limit, interval;
	uint64_t seed;        /* of the processor [1] */
};

struct rig;

struct rig_vm {
	struct rig *rig;
	struct rig_config c;
	const struct gpt_format *guest_fmt, *host_fmt;
	struct vm *vm;
	struct memslot *slot;
	struct mmu *mmu;
	struct vcpu v;
	uint64_t next_gfn; /* the guest's own supply of frames for tables */
	uint32_t next_asid;
	struct pt_mem mem; /* guest memory, as its kernel's table code sees it */
};

enum { RIG_VMS_MAX = 8 };

struct rig {
	struct machine m;
	struct faultinj inj;
	struct hv hv;
	struct mmu_cpu cpu;
	void *ram, *cpu_memory;
	uint64_t nfree; /* before the first VM */
	struct rig_vm g[RIG_VMS_MAX];
	unsigned nvms;
};

/* An address space of the guest: a tree built by hand, or a table of an organisation. */
struct rig_space {
	struct rig_vm *g;
	struct guest_paging p;
	struct pt pt; /* used where by_org */
	bool by_org;
};

/* What rig_map gives where a test does not care. */
enum { RIG_RIGHTS = RIGHT_RWX | RIGHT_U | RIGHT_A | RIGHT_D };

/* Reasons for BUG go to standard error and abort. */
void rig_open(struct rig *r, const struct rig_config *c);
/* Machine and processor alone: VMs follow. c: .ram, .preset, .seed and formats' page orders. */
void rig_open_machine(struct rig *r, const struct rig_config *c);
/* Removes every VM; audits; every frame must be back. */
void rig_close(struct rig *r);
/* 0, or what vm_create, memslot_add or mmu_create returned (then nothing stays). */
int rig_vm_try(struct rig *r, const struct rig_config *c, struct rig_vm **out, const char **why);
struct rig_vm *rig_vm_add(struct rig *r, const struct rig_config *c);
void rig_vm_remove(struct rig_vm *g);
/* Every audit there is. */
void rig_audit(struct rig *r);
/* False: the pair cannot be (as mmu_possible says), nothing was opened. */
bool rig_open_if_possible(struct rig *r, const struct rig_config *c);

/* Frames for the guest's tables: gpa of 2^order zeroed frames, aligned. */
uint64_t rig_frames(struct rig_vm *g, unsigned order);

/* A space with an empty hand-built tree of the guest's format, or org's table (spec as "inverted+linear"). */
void rig_space_init(struct rig_space *s, struct rig_vm *g);
void rig_space_init_org(struct rig_space *s, struct rig_vm *g, const char *org_spec);
/* Loads its root. */
void rig_enter(struct rig_space *s);
/* Maps one page of 2^order frames; makes the tables it needs. */
void rig_map(struct rig_space *s, uint64_t va, uint64_t gfn, unsigned order, uint8_t rights);
void rig_unmap(struct rig_space *s, uint64_t va, unsigned order);
/* gpa of the entry for va at this level of a hand-built tree; every table above must be there. */
uint64_t rig_pte_addr(struct rig_space *s, uint64_t va, unsigned level);
uint64_t rig_pte(struct rig_space *s, uint64_t va, unsigned level);
void rig_set_pte(struct rig_space *s, uint64_t va, unsigned level, uint64_t pte);

/* The guest kernel's accesses: gva = gpa. Must succeed. */
uint64_t rig_peek(struct rig_vm *g, uint64_t gpa, unsigned size);
void rig_poke(struct rig_vm *g, uint64_t gpa, unsigned size, uint64_t value);

/* An address of the lower half that has a different index, none 0, at every level that has room for it. */
uint64_t rig_va(const struct gpt_format *fmt);
/* The frame behind a user's access that must succeed. */
mfn_t rig_mfn(struct rig_vm *g, uint64_t va, enum acc_kind kind);
/* The same; it must be the frame of this gfn. */
void rig_leads_to(struct rig_vm *g, uint64_t va, enum acc_kind kind, uint64_t gfn);
/* What the per-gfn truth says. */
mfn_t rig_truth(struct rig_vm *g, uint64_t gfn);

/* One hardware walk, caches cold, no handler. */
enum walked rig_walk(struct rig_vm *g, uint64_t va, enum acc_kind kind, struct mmu_fault *f);

/* The references of one access, in order; filled by rig_explain. */
enum { RIG_LOG_MAX = 512 };
struct rig_log {
	struct pt_log log;
	struct mmu_explain e;
	unsigned n, start; /* ref[start … n) are those of the walk that ended last */
	uint64_t refs;     /* they stand for so many loads */
	bool ended;
	struct pt_ref ref[RIG_LOG_MAX];
};
/* Explains one access; cold unless warm. */
enum rig_warmth { RIG_COLD, RIG_WARM };
void rig_explain(struct rig_vm *g, uint64_t va, enum acc_kind kind, enum rig_warmth warmth, struct rig_log *l);
/* The same, cold, and steps hears the faults on the way. */
void rig_explain_steps(struct rig_vm *g, uint64_t va, enum acc_kind kind, struct vm_log *steps, struct rig_log *l);

/* Every built-in format and variant, NULL past the end. */
const struct gpt_format *rig_format_at(unsigned i);
/* References of one walk of it. */
unsigned rig_levels(const struct gpt_format *fmt);
/* Schemes of `--schemes all`, and those that take options or other organisations besides; NULL past the end. */
const char *rig_scheme_at(unsigned i);

#endif
