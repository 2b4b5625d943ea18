/* SPDX-License-Identifier: MIT */
/*
 * The first door: every access by an instruction or a trace reference.
 *
 *     vcpu ── gva ──▶ TLB ── hit ─────────────────────────▶ hpa
 *                      │ miss
 *                      ▼
 *               mode's walk ── found ── fill TLB ──────────▶ hpa
 *                      │ violation, or nothing there
 *                      ▼
 *               fault handler (struct mmu_fault) ── fixed ──▶ walk again
 *                      │ the guest's own fault
 *                      ▼
 *               the caller injects it into its guest
 *
 * struct mmu_cpu is one processor (TLBs, walk caches); struct mmu is how one
 * VM is translated; struct vcpu is a virtual processor of a VM on a processor.
 */
#ifndef QUIRE_MMU_MMU_H
#define QUIRE_MMU_MMU_H

#include "machine/cost.h"
#include "mmu/caches.h"
#include "mmu/scheme.h"
#include "tlb/tlb.h"
#include "tlb/walkcache.h"
#include "base/ref.h"
#include "vm/gfn.h"
#include "vm/vm.h"

struct mmu;
struct space;
struct vcpu;

/* ---- processors ---- */

struct mmu_cpu {
	struct hv *hv;
	const struct tlb_config *config;
	struct tlb tlb;
	struct walk_cache guest_wc; /* of guest tables, or of the shadow table */
	struct walk_cache host_wc;  /* of second-stage tables */
	struct tlb_array nested;    /* gpa → hpa */
	uint8_t nested_codes;       /* bit n: entries of order code n were ever in it */
	struct rng rng;
	struct space *space_of[TLB_SPACE_MAX + 1]; /* by number; [0] never used */
	uint32_t next_space;
	const struct mmu *shaped_for; /* whose tables the walk caches are keyed for */
	bool untagged; /* tlb-tags=off: every world switch flushes (mmu/privilege.c) */
	struct cache_feed *caches; /* data caches and what they are shown; NULL: not modelled */
};

/* Host memory for the caches of one processor: not the machine's. */
size_t mmu_cpu_bytes(const struct tlb_config *config);
int mmu_cpu_init(struct mmu_cpu *cpu, struct hv *hv, const struct tlb_config *config,
		 uint64_t orders, uint64_t seed, void *memory);

/* Data caches from now on, before any mmu_create() on this processor; feed is the caller's and stays. */
static inline void mmu_cpu_set_caches(struct mmu_cpu *cpu, struct cache_feed *feed)
{
	cpu->caches = feed;
}

/* ---- how a VM is translated ---- */

enum mmu_visibility {
	VISIBLE_COHERENT,      /* a store to a table is seen at once */
	VISIBLE_ARCHITECTURAL, /* stale entries stay until a fence */
};

/* Can the guest be paravirtualised? */
enum mmu_paravirt {
	PARAVIRT_UNKNOWN,    /* no: it stores to its tables itself */
	PARAVIRT_KNOWN,      /* yes: it asks, by the calls below */
	PARAVIRT_NO_TREE,    /* no: its tables have no levels */
	PARAVIRT_SUPERPAGES, /* no: it uses superpages */
};

enum mmu_check {
	CHECK_TRUTH, /* each TLB fill against the per-gfn truth */
	CHECK_WALK,  /* and against a fresh walk of the guest's tables */
};

struct mmu_config {
	const struct gpt_format *guest_fmt; /* range of gvas the guest may use */
	const struct gpt_format *host_fmt;  /* second stage */
	enum mmu_visibility visibility;
	enum mmu_check check;
	enum mmu_paravirt paravirt;
	bool p2m_eager;        /* second stage filled at attach */
	bool tlb_software;     /* tlb=software: a TLB miss calls the guest's handler (mmu/guest_entry.h) */
	bool cpu_trap;         /* cpu=trap: the guest's kernel runs deprivileged */
	bool long_way;         /* every TLB miss goes the long way (mmu/quick.h): for tests that compare */
	unsigned shadow_budget; /* shadow pages at most; 0: a quarter of the machine's frames */
	const struct cost_table *cost; /* what agile and adaptive weigh by; NULL: cost_default */
	unsigned interval;     /* how often agile and adaptive decide: TLB misses, references; 0: their own */
	unsigned flood_limit;  /* writes to a table without a use of it before it is dropped; 0: 3 as KVM */
};

/*
 * Creates the translation of a VM under a scheme. -ENOMEM; -ENOTSUP with *why
 * (a constant sentence) where the pair cannot be.
 */
int mmu_create(struct vm *vm, struct mmu_cpu *cpu, const struct scheme *scheme,
	       const struct mmu_config *config, struct mmu **out, const char **why);
void mmu_destroy(struct mmu *mmu);
/* Could it be? The same answers as mmu_create, nothing created. */
int mmu_possible(const struct vm *vm, const struct scheme *scheme,
		 const struct mmu_config *config, const char **why);
/* Moves a running VM to another scheme; on failure it stays under the old one. */
int mmu_change_scheme(struct mmu *mmu, const struct scheme *scheme, const char **why);
const struct scheme *mmu_scheme(const struct mmu *mmu);
struct vm *mmu_vm(const struct mmu *mmu);

/* Drops cached translations of [gfn, gfn+n): nothing a guest can see changes. */
void mmu_zap_gfns(struct mmu *mmu, gfn_t gfn, uint64_t n);
/* Drops all tables, TLBs and walk caches of the VM. */
void mmu_zap_all(struct mmu *mmu);
/* Tables against the per-gfn truth and against each other. */
int mmu_audit(struct mmu *mmu, const char **why);
/* Bytes of the hypervisor's translation tables for this VM, and of its metadata about them. */
void mmu_bytes(const struct mmu *mmu, uint64_t *tables, uint64_t *metadata);

/* ---- virtual processors ---- */

/* How the guest translates: what loading its root register says. */
struct guest_paging {
	const struct pt_org *org;
	uint32_t org_flags;
	struct pt_params params; /* as the guest made its table; role "guest" */
	uint64_t root;           /* pt.root: gpa */
	uint32_t asid;           /* the guest's tag */
	uint32_t key_space;      /* number of this address space inside the table (organisations that hold many) */
	uint32_t ctl;            /* enum walk_ctl */
	enum walk_ad ad;         /* WALK_AD_SET or WALK_AD_FAULT */
};

/*
 * Segments of the guest's kernel: PAGED goes through its tables; BARE is the
 * unmapped kernel segment (satp.MODE = Bare, MIPS kseg0): gva = gpa, still
 * translated gpa → hpa as the scheme does it.
 */
enum segment { SEG_PAGED, SEG_BARE };

/* A fault that the guest must see. */
struct guest_fault {
	gva_t gva;
	enum acc_kind kind;
	enum walk_why why;
	uint32_t error_code;
};

/* What a program's accesses add up to; kept per process by the caller. */
struct work_state {
	uint64_t position; /* references done */
	uint64_t values;   /* fold of the values loaded (data mode) */
	uint64_t id;       /* of (VM, process): goes into the values stored */
};

struct guest_entry_points;

/* What a guest writes into its software-managed TLB. */
struct guest_tlb_entry {
	uint64_t gva, gpa; /* of the access; both at the same place of their pages */
	uint8_t order;     /* of the guest's page */
	uint8_t rights;    /* RIGHT_*; without D no store goes through it */
};

/* tlb=software: the miss that the guest's handler is at work on. */
struct tlb_refill {
	bool open, written;
	uint64_t va;
	enum acc_kind kind;
	/* Written: what goes in as the handler is left; found at mmu_seq `seq`. */
	struct guest_tlb_entry by_guest;
	struct tlb_entry entry;
	uint64_t seq;
	uint64_t data; /* it went in: as TLBs hold it */
};

struct vcpu {
	struct mmu *mmu;
	struct mmu_cpu *cpu;
	struct guest_paging paging;
	struct space *space; /* the current one; NULL: paging never set */
	bool user;           /* privilege of SEG_PAGED accesses */
	bool data;           /* references move real bytes (--digest data) */
	struct work_state *work; /* of the running process; NULL: none */
	struct guest_fault fault; /* valid after ACCESS_FAULT */
	uint32_t tag_space, tag_gspace; /* of the current space, for the fast path */
	bool wide; /* the processor under us has wide vectors */
	/* mmu/guest_entry.h */
	const struct guest_entry_points *entry; /* NULL: none were set */
	bool kernel;         /* virtual privilege: the guest's kernel runs */
	uint64_t exits_seen; /* exits after which an untagged TLB was flushed */
	struct tlb_refill refill;
};

int vcpu_init(struct vcpu *v, struct mmu *mmu);
/* Loads the root: another address space. flush: the guest's CPU has no tags, all but globals goes. */
enum root_flush { ROOT_KEEP, ROOT_FLUSH };
/* 0, or nothing changed: -ENOMEM; -EPERM: a program of a guest under cpu=trap tried it. */
int vcpu_set_paging(struct vcpu *v, const struct guest_paging *p, enum root_flush flush);

enum fence_scope {
	FENCE_PAGE,  /* one gva of one asid (invlpg, invpcid 0, sfence.vma va, asid) */
	FENCE_SPACE, /* one asid */
	FENCE_ALL,   /* every asid, globals too */
};
void vcpu_fence(struct vcpu *v, enum fence_scope scope, uint32_t asid, gva_t gva);

enum access_status {
	ACCESS_OK = 0,
	ACCESS_FAULT, /* v->fault: the guest's */
	ACCESS_CRASH, /* vm->crashed says why */
	ACCESS_NOMEM, /* the machine has no frame left; nothing was lost, it may be tried again */
};

/* Accesses that move bytes; size 1, 2, 4 or 8, any alignment. */
enum access_status vcpu_load(struct vcpu *v, enum segment seg, uint64_t addr, unsigned size, uint64_t *out);
enum access_status vcpu_store(struct vcpu *v, enum segment seg, uint64_t addr, unsigned size, uint64_t value);
/* Atomic on aligned 4 or 8 bytes. *swapped says if it held `expect`. */
enum access_status vcpu_cas(struct vcpu *v, enum segment seg, uint64_t addr, unsigned size,
			    uint64_t expect, uint64_t value, bool *swapped);
/* Block moves within a page, as a string instruction does them: one translation each side. */
enum access_status vcpu_fill_zero(struct vcpu *v, enum segment seg, uint64_t addr, unsigned len);
enum access_status vcpu_copy(struct vcpu *v, enum segment seg, uint64_t dst, uint64_t src, unsigned len);
/* Translates as an access of this kind would, moving no bytes; *hpa may be NULL. */
enum access_status vcpu_touch(struct vcpu *v, enum segment seg, uint64_t addr, enum acc_kind kind, hpa_t *hpa);

/*
 * Runs decoded references of the current process (user privilege as
 * v->user). Stops before an event reference and at a fault; *done counts the
 * references finished. ACCESS_OK: all done, or refs[*done] is an event.
 */
enum access_status vcpu_run(struct vcpu *v, const ref_t *refs, size_t n, size_t *done);

/* ---- paravirtualised guests (paravirt.c) ---- */

/* One entry of a pinned table, as the guest means it: 0, or present with a gfn. */
struct pv_update {
	uint64_t gpa, value;
};

/* What a guest that knows of the hypervisor tells once: which of its frames hold tables. */
struct pv_tables {
	/* The first from gfn on; INVALID_FRAME: none. Asked when a running VM becomes paravirtualised. */
	uint64_t (*next)(struct pv_tables *t, uint64_t gfn);
};
void vcpu_know_paravirt(struct vcpu *v, struct pv_tables *t);
/* Must tables be changed by the calls below now? May change with the scheme. */
bool vcpu_is_paravirt(const struct vcpu *v);
/*
 * Hypercalls. A frame of zeros, or of entries, becomes a table; a table becomes memory; entries
 * change, *done of them. What may not be crashes the VM. After ACCESS_NOMEM the rest may be tried again.
 */
enum access_status vcpu_pv_pin(struct vcpu *v, gfn_t gfn);
enum access_status vcpu_pv_unpin(struct vcpu *v, gfn_t gfn);
enum access_status vcpu_pv_update(struct vcpu *v, const struct pv_update *u, unsigned n, unsigned *done);
/*
 * Entries just read at gpa, within a page: machine frames turned back into gfns. What the machine to
 * physical table does for a guest; no exit. Nothing, where no table is pinned.
 */
void mmu_guest_view(struct mmu *mmu, gpa_t gpa, void *bytes, uint64_t len);

/* ---- explaining ---- */

struct mmu_explain {
	gva_t gva;
	enum acc_kind kind;
	bool warm; /* leave TLBs and walk caches as they are */
	struct pt_log *refs;  /* hears each reference of the walk that succeeds or faults */
	struct vm_log *steps; /* hears each step of any fault on the way */
	/* A walk ended (0: it succeeded): the references since the last such call were its. */
	void (*walk_end)(struct mmu_explain *e, enum walk_status status);
	/* results */
	enum access_status status;
	struct walk walk; /* of the guest's table where there is one */
	gpa_t gpa;        /* valid unless the guest's table has none */
	uint64_t hva;
	hpa_t hpa;
	uint8_t order;    /* of the TLB entry that came of it */
	uint64_t references, depth;
	const char *cached_by; /* warm and hit: "L1 TLB", "L2 TLB" */
};
void mmu_explain(struct vcpu *v, struct mmu_explain *e);

#endif
