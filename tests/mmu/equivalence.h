/* SPDX-License-Identifier: MIT */
/*
 * Random guests without an operating system, and what must come of them.
 *
 *   seed ─▶ struct sequence: stores to tables, accesses, fences, roots, host events
 *              │
 *              ├─▶ struct oracle: flat memory and a walker of its own, no cache at all
 *              └─▶ a rig under one scheme, TLB, host format …
 *                        step by step: same value or fault, same bytes, same dirty log
 *
 * The rule (coherent visibility): whatever is cached, the guest cannot tell.
 */
#ifndef QUIRE_TESTS_MMU_EQUIVALENCE_H
#define QUIRE_TESTS_MMU_EQUIVALENCE_H

#include "rig.h"

/* ---- oracle: equivalence_oracle.c ---- */

/* What the manuals say of a format, written down apart from Quire's own tables of it. */
struct eq_format {
	const char *name;
	bool riscv, sext, pae, has_nx;
	unsigned levels, bits, esize, va_bits;
};
const struct eq_format *eq_format(const char *name);

enum { EQ_PAGES = 1536 };

struct oracle {
	const struct eq_format *f;
	uint8_t *mem;               /* EQ_PAGES, all in a row */
	uint8_t dirty[EQ_PAGES];
	bool logging;
	uint64_t root;
	uint32_t ctl;
	bool undefined; /* A or D was set on a pointer of PAE, where it is reserved: CPUs differ from here on */
};

/* What an access came to. */
struct eq_result {
	bool ok;
	uint64_t value;   /* loads: the value; cas: swapped or not; runs: references done */
	uint64_t gva;     /* of a fault */
	enum acc_kind kind;
	enum walk_why why;
	uint32_t error_code;
};

void oracle_init(struct oracle *o, const struct eq_format *f, uint8_t *mem);
/* Faults go to *r; true: *gpa. A and D are set in memory. */
bool oracle_translate(struct oracle *o, uint64_t va, enum acc_kind kind, bool user, uint64_t *gpa, struct eq_result *r);
void oracle_load(struct oracle *o, bool bare, bool user, uint64_t va, unsigned size, struct eq_result *r);
void oracle_store(struct oracle *o, bool bare, bool user, uint64_t va, unsigned size, uint64_t value, struct eq_result *r);
void oracle_cas(struct oracle *o, bool bare, bool user, uint64_t va, unsigned size, uint64_t expect, uint64_t value,
		struct eq_result *r);
void oracle_copy(struct oracle *o, bool user, uint64_t dst, uint64_t src, unsigned len, struct eq_result *r);
void oracle_touch(struct oracle *o, bool user, uint64_t va, enum acc_kind kind, struct eq_result *r);
void oracle_poke(struct oracle *o, uint64_t gpa, const void *in, unsigned size);
uint64_t oracle_peek(const struct oracle *o, uint64_t gpa, unsigned size);

/* ---- sequences: equivalence_ops.c ---- */

enum eq_kind {
	EQ_LOAD, EQ_STORE, EQ_FETCH, EQ_CAS, EQ_COPY, EQ_ZERO, EQ_RUN,
	EQ_POKE,    /* bare store */
	EQ_DOOR,    /* vm_write */
	EQ_TWEAK,   /* bits of one entry turned over, by store, cas or the second door */
	EQ_ROOT, EQ_FENCE,
	EQ_ZAP, EQ_ZAP_ALL, EQ_MOVE, EQ_SHARE, EQ_COLLAPSE, EQ_CHANGE,
	EQ_DIRTY_START, EQ_DIRTY_STOP, EQ_DIRTY_READ,
	EQ_KINDS
};

struct eq_op {
	uint8_t kind, size, user, how;
	uint32_t asid;
	uint64_t va, va2, value, gpa;
};

enum { EQ_OPS_MAX = 640, EQ_RUN_REFS = 6 };

struct sequence {
	uint64_t seed;
	const struct eq_format *f;
	uint32_t ctl;
	/*
	 * Entries may be global. A guest whose spaces disagree about a global
	 * page must flush it: then each change of root is followed by a fence of all.
	 */
	bool global;
	unsigned n;
	struct eq_op op[EQ_OPS_MAX];
};

/* host: how many of a hundred operations are the host's. */
void sequence_make(struct sequence *s, uint64_t seed, const struct eq_format *f, unsigned n, unsigned host);
/* Tables of random bytes, roots anywhere, entries that point everywhere. */
void sequence_make_hostile(struct sequence *s, uint64_t seed, const struct eq_format *f, unsigned n);
void sequence_print(const struct sequence *s);
/* The i-th of the frames that sequences use; 0 past the end (frame 0 is the first, too). */
unsigned eq_hot_count(void);
uint64_t eq_hot(unsigned i);

/* ---- running: equivalence_run.c ---- */

struct eq_config {
	struct rig_config rig;
	unsigned audit_every;
	bool change;   /* EQ_CHANGE is in force */
	bool change_each_step;
	bool sides;    /* agile, adaptive: tables, the VM, become shadow or nested at random */
	bool also_fence; /* every change of a table is followed by a fence of all */
	bool neighbour;  /* another VM is on the machine; not a byte of it may change */
};

/* Runs s; on a difference shrinks, prints and fails. False: the pair cannot be. */
bool equivalent(const struct eq_config *c, const struct sequence *s);
/* Accesses that succeeded and failed since the start, to see that a test tests. */
extern uint64_t eq_succeeded, eq_faulted;

/* QUIRE_TEST_LONG=1: fifty times more. */
unsigned long_times(void);

#endif
