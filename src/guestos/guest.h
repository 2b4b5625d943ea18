/* SPDX-License-Identifier: MIT */
/*
 * The model guest: a small operating system kernel that gives a trace's
 * processes address spaces. Its tables are real entries in guest memory,
 * changed only by stores through the first door (the unmapped kernel
 * segment), so every scheme learns of them as from any guest.
 *
 *   trace ─ events ─▶ processes, VMAs ─┐
 *         ─ references ─▶ vcpu_run ────┤ true faults ─▶ page in, copy on write, …
 *                                      └ stores, fences, root switches ─▶ first door
 */
#ifndef QUIRE_GUESTOS_GUEST_H
#define QUIRE_GUESTOS_GUEST_H

#include "mmu/mmu.h"
#include "trace/trace.h"

enum guest_replace { REPLACE_FIFO, REPLACE_LRU, REPLACE_CLOCK, REPLACE_OPT };

struct guest_config {
	const struct gpt_format *fmt;
	const struct pt_org *org; /* of the guest's own tables; its options in org_flags */
	uint32_t org_flags;
	bool thp;             /* superpages on first touch where a whole one fits its VMA */
	bool asids;           /* the guest tags its address spaces; else every switch flushes */
	enum walk_ad ad;
	uint64_t mem_pages;   /* guest memory, from gfn 0 */
	uint64_t phys_pages;  /* of these, the first are a recorded machine's RAM (EV_RAM); 0: none was recorded */
	enum guest_replace replace; /* which page goes to the guest's disk when memory is short */
	uint64_t quantum;     /* references a process runs before the next, between several sources */
	bool data;            /* --digest data: references move real bytes */
	uint64_t seed;
	uint64_t limit;       /* references in all; 0: no limit */
	uint64_t warmup;      /* references that are run before any is counted; 0: none */
};

/*
 * The part of a source that counts: its references [from, to), from 0, and the
 * events before each. The others are run without being counted, or (skip) not
 * at all but for events ahead of the part that change address spaces. to 0: to the end.
 */
struct guest_roi {
	uint64_t from, to;
	bool skip;
};

struct guest_stats {
	uint64_t faults;         /* true faults taken by the kernel */
	uint64_t minor, cow, major, segv, auto_mapped;
	uint64_t pages_mapped, superpages_mapped, pages_unmapped;
	uint64_t pte_stores, fences, switches, forks, execs, exits, threads;
	uint64_t syscalls; /* of all programs */
	uint64_t disk_reads, disk_writes, evictions;
	uint64_t frames_used, frames_peak, table_frames;
	uint64_t processes;
	uint64_t phys_mapped, phys_moved; /* pages put where EV_PHYS says; those that stood elsewhere before */
	uint64_t tlb_refills, tlb_refill_refs; /* tlb=software: runs of the TLB-miss handler, loads of tables it took */
};

/* Called now and then during a run; true: stop (interrupted). */
struct guest_hooks {
	bool (*poll)(void *ctx, uint64_t refs_done);
	/* Called between any two chunks of references; tests zap and change schemes here. May be NULL. */
	void (*step)(void *ctx, uint64_t refs_done);
	uint64_t step_refs; /* at most so many references between two calls of step; 0: at block ends */
	void *ctx;
};

enum guest_end {
	GUEST_DONE = 0,
	GUEST_STOPPED,   /* by poll */
	GUEST_BAD_INPUT, /* the trace is damaged: err says where; what came before was run */
	GUEST_NOMEM,     /* the machine has no frame left */
	GUEST_OOM,       /* the guest's memory is too small even with its disk */
	GUEST_CRASHED,   /* vm->crashed */
};

struct guest;

/* The VM's memslot (mem_pages from gfn 0) must exist; vcpu is initialised. -ENOMEM, -EINVAL (*why). */
int guest_create(struct vcpu *vcpu, const struct guest_config *config, struct guest **out, const char **why);
void guest_destroy(struct guest *g);
/* Can a guest of this kind be paravirtualised? For struct mmu_config. */
enum mmu_paravirt guest_paravirt(const struct guest_config *config);
/* Adds a source of work; its processes get numbers of their own. Not owned. */
int guest_add_work(struct guest *g, struct trace *t);
/* The same with a region of interest; NULL: all of it. */
int guest_add_work_roi(struct guest *g, struct trace *t, const struct guest_roi *roi);
/* Runs all sources to their end, round robin by quantum. */
enum guest_end guest_run(struct guest *g, const struct guest_hooks *hooks, struct trace_error *err);
/*
 * The same in slices, for several VMs on one machine: at most n references;
 * *finished set when nothing is left.
 */
enum guest_end guest_run_slice(struct guest *g, uint64_t n, const struct guest_hooks *hooks,
			       struct trace_error *err, bool *finished);

/* Since the start, whatever is counted. */
const struct guest_stats *guest_stats(const struct guest *g);
/*
 * What counts: without warm-up and what stands outside regions of interest.
 * Gauges (pages_4k…, frames_used, table_frames) are as they stand now,
 * frames_peak and processes as since counting began.
 */
void guest_counted(const struct guest *g, struct vm_stats *vm, struct guest_stats *own);
/* Refs done since the start (warm-up included). */
uint64_t guest_refs(const struct guest *g);
/*
 * digest: all the guest could see: its true faults in order, values loaded,
 * final memory and tables. work_digest: what each program did and (data mode)
 * loaded, by process.
 */
uint64_t guest_digest(struct guest *g);
uint64_t guest_work_digest(const struct guest *g);
uint64_t guest_table_bytes(const struct guest *g);
/* Least guest memory, in pages, that `distinct` touched pages in `spaces` address spaces need with these tables and a margin. */
uint64_t guest_pages_needed(const struct guest_config *config, uint64_t distinct, uint64_t spaces);
/* Makes process pid's address space current on the vcpu (for explain); -ENOENT. pid 0: the last that ran. */
int guest_enter(struct guest *g, uint32_t pid);

#endif
