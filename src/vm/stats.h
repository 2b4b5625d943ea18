/* SPDX-License-Identifier: MIT */
/* Counters of one VM, under KVM's names where KVM has the event. */
#ifndef QUIRE_VM_STATS_H
#define QUIRE_VM_STATS_H

#include "base/stats.h"
#include "machine/cost.h"

/* Why the guest was left. Each exit has exactly one reason. */
#define EXIT_REASONS(X)                                                            \
	X(SHADOW_FAULT, "shadow_fault")   /* no shadow entry, or one too weak */       \
	X(HIDDEN_FAULT, "hidden_fault")   /* second-stage violation */                 \
	X(TABLE_WRITE, "mmu_pte_write")   /* store to a protected guest table */       \
	X(GUEST_FAULT, "pf_guest")        /* intercepted fault that is the guest's */  \
	X(ROOT_SWITCH, "cr_write")        /* change of the table root */               \
	X(FENCE, "invlpg")                /* invalidation of a page */                 \
	X(FENCE_ALL, "tlb_flush")         /* invalidation of a space or of all */      \
	X(DIRTY, "dirty_log")             /* first write under a dirty log */          \
	X(HYPERCALL, "hypercall")         /* the guest asked */                                            \
	/* tlb=software (mmu/soft_tlb.c) */                                            \
	X(TLB_MISS, "tlb_miss")           /* no entry: the guest's handler is called */ \
	X(TLB_MODIFY, "tlb_modify")       /* one too weak: the same handler */         \
	X(TLB_WRITE, "tlb_write")         /* the handler's write to the TLB */         \
	X(TLB_RETURN, "tlb_return")       /* its return */                             \
	/* cpu=trap (mmu/privilege.c) */                                               \
	X(SYSCALL, "syscall")             /* a system call, reflected */               \
	X(SYSRET, "sysret")               /* its return, emulated */                   \
	X(EXCEPTION, "exception")         /* the guest's own fault, reflected */       \
	X(IRET, "iret")                   /* its return, emulated */                   \
	X(PRIV_INSTR, "priv_instr")       /* another privileged instruction, emulated */

enum exit_reason {
#define X(id, name) EXIT_##id,
	EXIT_REASONS(X)
#undef X
	EXIT_COUNT
};

enum { VM_CACHE_PLACES = 4 };

struct vm_stats {
	/* The first door. */
	uint64_t refs;        /* the workload's references, crossing ones once */
	uint64_t kernel_refs; /* the guest kernel's own, through the unmapped segment */
	uint64_t kernel_walks, kernel_walk_refs, kernel_tlb_misses; /* of those; not among the workload's below */
	uint64_t instructions;
	uint64_t l1_misses, l2_hits, l2_misses;
	uint64_t l1i_misses, l1d_misses;
	uint64_t walks, walk_refs, walk_depth; /* of walks that succeed */
	uint64_t fault_walks, fault_walk_refs; /* the others */
	uint64_t ad_updates;
	uint64_t nested_tlb_hits, nested_tlb_misses, walk_cache_hits, host_walk_cache_hits;
	struct histogram walk_refs_hist;
	/* Faults. */
	uint64_t pf_taken, pf_fixed, pf_emulate, pf_spurious, pf_guest;
	uint64_t true_faults; /* delivered to the guest, by whatever way */
	uint64_t hidden_total, hidden_no_backing, hidden_swap_in, hidden_unshare, hidden_decompress;
	uint64_t shadow_total, shadow_fill, shadow_table_write, shadow_resync;
	/* Exits. */
	uint64_t exits, exit_by[EXIT_COUNT];
	/* Shadow tables. */
	uint64_t mmu_shadow_zapped, mmu_pte_write, mmu_flooded, mmu_recycled, mmu_cache_miss, mmu_unsync;
	uint64_t mmu_resync_pages, mmu_resync_entries, coherent_refills;
	uint64_t pv_updates; /* entries changed by hypercall */
	uint64_t pages_4k, pages_2m, pages_1g; /* leaf entries of the hypervisor's tables now */
	/* Flushes. */
	uint64_t tlb_flush, invlpg, remote_tlb_flush, root_switches, guest_fences;
	uint64_t scheme_changes, zaps;
	/* vCPU settings. */
	uint64_t soft_misses;        /* tlb=software: TLB misses and entries too weak, of the workload */
	uint64_t soft_p2m_refs;      /* loads by which the hypervisor turned the gpas written into machine addresses */
	uint64_t world_flushes;      /* tlb-tags=off */
	/* Data caches (mmu/caches.h), where lines were found: l1, l2, llc, memory. Zeroes without --caches. */
	uint64_t cache_data[VM_CACHE_PLACES], cache_table[VM_CACHE_PLACES];
	uint64_t cache_refs; /* references that cache_data's lines are of: all but fetches */
};

const char *exit_reason_name(enum exit_reason r);

/* Cycles of all that the hypervisor did: leaving and entering the guest, and on top of that the work of each kind of exit. */
uint64_t vm_stats_exit_cycles(const struct vm_stats *s, const struct cost_table *t);
/* Of these, the part that the vCPU's settings (cpu=trap, tlb=software) make and no scheme spares. */
uint64_t vm_stats_trap_cycles(const struct vm_stats *s, const struct cost_table *t);

static inline void vm_stats_exit(struct vm_stats *s, enum exit_reason r)
{
	s->exits++;
	s->exit_by[r]++;
}

#endif
