/* SPDX-License-Identifier: MIT */
/*
 * The default costs, in cycles of a server core at about 3 GHz. Where sources
 * differ by processor, a round figure within their range. A figure marked
 * "estimate" is put together from others here, and says how.
 */
#include "machine/cost.h"

#define EVENT(e, n, c, s) [e] = { .name = n, .cycles = c, .source = s }
#define CACHE_SOURCE "Intel Optimization Reference Manual, cache parameters of Skylake"

const struct cost_table cost_default = { .of = {
	EVENT(COST_REF, "ref", 4,
	      "L1 data cache hit, 4 cycles: Intel 64 and IA-32 Architectures Optimization Reference "
	      "Manual, cache parameters of Skylake"),
	EVENT(COST_L2_TLB_HIT, "l2_tlb_hit", 7,
	      "7 cycles, 9 on later cores: Intel perfmon, top-down metrics, Mem_STLB_Hit_Cost"),
	EVENT(COST_WALK_REF, "walk_ref", 28,
	      "estimate: entries found half in L2 (12 cycles) and half in L3 (44): Intel Optimization "
	      "Reference Manual, cache parameters of Skylake; that walks hit the caches mostly: "
	      "Bhattacharjee, Large-Reach Memory Management Unit Caches, MICRO 2013"),
	EVENT(COST_WALK_REF_OVERLAP, "walk_ref_overlap", 5,
	      "estimate: a load beside others costs its share of walk_ref, with some of the 10 "
	      "line-fill buffers (Intel Optimization Reference Manual) free; parallel probes: "
	      "Skarlatos et al., Elastic Cuckoo Page Tables, ASPLOS 2020"),
	EVENT(COST_AD_UPDATE, "ad_update", 20,
	      "LOCK CMPXCHG on a line in L1, about 20 cycles: Agner Fog, Instruction tables, Haswell "
	      "and Skylake"),
	EVENT(COST_GUEST_FAULT, "guest_fault", 1300,
	      "exception 715 and IRET 330 cycles on Haswell, and a fifth of the whole for the kernel's "
	      "own work: Torvalds, posting of 30 April 2014 on the cost of page faults"),
	EVENT(COST_EXIT, "exit", 1300,
	      "1,300 cycles, a null hypercall under KVM on x86: Dall et al., ARM Virtualization: "
	      "Performance and Architectural Implications, ISCA 2016; 1,200 to 1,700 by "
	      "kvm-unit-tests x86/vmexit on Haswell to Skylake"),
	EVENT(COST_HIDDEN_FAULT, "hidden_fault", 2000,
	      "estimate: a frame found and entered, some 1,700 cycles, and 4 KiB cleared at 16 bytes a "
	      "cycle, 256 (REP STOSB: Intel Optimization Reference Manual); that EPT violations are "
	      "dear and rare: VMware, Performance Evaluation of Intel EPT Hardware Assist, 2009"),
	EVENT(COST_SHADOW_FILL, "shadow_fill", 2000,
	      "estimate: the guest's entries read and checked by software, rights combined, one entry "
	      "set; the path: Adams and Agesen, A Comparison of Software and Hardware Techniques for "
	      "x86 Virtualization, ASPLOS 2006"),
	EVENT(COST_TABLE_WRITE, "table_write", 3000,
	      "estimate: an instruction fetched through the guest's tables, decoded and emulated, its "
	      "shadow entry zapped; the path: Adams and Agesen, ASPLOS 2006 (ptemod)"),
	EVENT(COST_RESYNC_ENTRY, "resync_entry", 8,
	      "estimate: one guest entry and its shadow read in sequence from L1, 4 cycles each (Intel "
	      "Optimization Reference Manual), and compared"),
	EVENT(COST_ROOT_SWITCH, "root_switch", 800,
	      "estimate: the root looked up among those kept, its references and the VMCS updated; the "
	      "path: Adams and Agesen, ASPLOS 2006 (context switches)"),
	EVENT(COST_FENCE, "fence", 500,
	      "estimate: the address decoded, the page's shadow entry found and the TLB entry dropped "
	      "(INVLPG: Agner Fog, Instruction tables)"),
	EVENT(COST_PV_UPDATE, "pv_update", 200,
	      "estimate: the frame table's lines of the table and of the frame it leads to, one from L3 (44 cycles) "
	      "and one from L2, a reverse-map name and the entry set; that batches carry the cost of the call: "
	      "Barham et al., Xen and the Art of Virtualization, SOSP 2003"),
	EVENT(COST_TLB_FLUSH, "tlb_flush", 500,
	      "estimate: a serialising flush on the core itself, refills apart, without the shootdown "
	      "of others studied by Amit, Optimizing the TLB Shootdown Algorithm with Page Access "
	      "Tracking, USENIX ATC 2017"),
	EVENT(COST_TLB_REFILL, "tlb_refill", 60,
	      "estimate: an interrupt of 50 cycles, the middle one of three, and a handler of some ten "
	      "instructions: Jacob and Mudge, A Look at Several Memory Management Units, TLB-Refill "
	      "Mechanisms, and Page Table Organizations, ASPLOS 1998"),
	EVENT(COST_TLB_WRITE, "tlb_write", 200,
	      "estimate: one instruction decoded and its operands checked, as priv_instr, with nothing "
	      "fetched through the guest's tables; what a monitor adds to a TLB write: Bugnion et al., "
	      "Disco, SOSP 1997"),
	EVENT(COST_REFLECT, "reflect", 100,
	      "estimate: registers saved, the guest's frame and privilege set, some 50 loads and stores "
	      "of L1 in pairs (Intel Optimization Reference Manual); the path: Popek and Goldberg, "
	      "Formal Requirements for Virtualizable Third Generation Architectures, CACM 1974"),
	EVENT(COST_PRIV_INSTR, "priv_instr", 500,
	      "estimate: as fence, without the shadow entry: an instruction fetched through the guest's "
	      "tables, decoded and emulated; the path: Adams and Agesen, ASPLOS 2006 (trap and emulate)"),
	EVENT(COST_DISK_PAGE, "disk_page", 255000,
	      "85 microseconds, a random 4 KiB read from flash over NVMe: Intel SSD DC P4500, "
	      "specification of random read latency"),
	/* A model of caches brings its own (tlb/cache_preset.c); these are of the generic one. */
	EVENT(COST_CACHE_L1, "cache_l1", 4, CACHE_SOURCE),
	EVENT(COST_CACHE_L2, "cache_l2", 12, CACHE_SOURCE),
	EVENT(COST_CACHE_LLC, "cache_llc", 44, CACHE_SOURCE),
	EVENT(COST_CACHE_MEMORY, "cache_memory", 200,
	      "estimate for about 3 GHz from 42 cycles + 51 ns, 7-cpu.com, i7-6700"),
} };
