/* SPDX-License-Identifier: MIT */
/*
 * An experiment: configuration → machine + VMs → run → results. Front ends
 * (cli/) fill a struct run_config, report/ prints a struct run_result.
 */
#ifndef QUIRE_EXP_EXP_H
#define QUIRE_EXP_EXP_H

#include "guestos/guest.h"
#include "machine/cost.h"
#include "trace/kept.h"

/* Where the references come from. */
struct workload {
	enum { WORK_TRACE, WORK_SYNTH, WORK_RECORDED } kind;
	char *spec;        /* without "trace:" / "synth:"; the recording's path */
	char *shown;       /* as the user wrote it, or the program and its arguments */
	uint64_t repeat;   /* times it is run, one after another; 0: once */
	struct guest_roi roi; /* what of it counts, all repetitions taken together */
	struct workload *next; /* another piece of work, whose processes are of the same VM; NULL: none */
	uint64_t keep;     /* bytes it may take in memory, decoded, so that runs need not read it again; 0: none */
	struct trace_kept *kept; /* by workload_scan; the caller's to free. NULL: it is read from where it stands */
	bool (*stop)(void); /* asked now and then during the scan: true breaks it off. May be NULL */
	/* Found by workload_scan: one pass over it before the first run. */
	bool scanned;
	uint64_t refs, instructions, events, checksum;
	/* refs, instructions and pages: of what is run. */
	uint64_t distinct_pages, processes; /* 4 KiB pages touched, summed over processes */
	uint64_t phys_pages; /* of a whole machine that was recorded, its RAM; else 0 */
	uint64_t gva_max; /* highest address in the positive half */
	bool damaged;     /* error says where; refs are those before it */
	struct trace_error error;
};

/* vCPU settings (docs/mmu.md). Of a VM, AS_RUN means the run's; of a run, the first after it. */
enum cpu_setting { CPU_AS_RUN, CPU_ASSISTED, CPU_TRAP };
enum tlb_setting { TLB_AS_RUN, TLB_HARDWARE, TLB_SOFTWARE };

struct vm_spec {
	char name[VM_NAME_MAX];
	char scheme[SCHEME_NAME_MAX]; /* "": the run's */
	uint64_t mem; /* bytes of guest memory; 0: what the work needs */
	struct workload *work;
	uint64_t start; /* virtual time at which it begins to run: references of all VMs together */
	enum cpu_setting cpu_setting;
	enum tlb_setting tlb_setting;
};

struct run_config {
	char scheme[SCHEME_NAME_MAX];
	const struct gpt_format *guest_fmt, *host_fmt;
	const struct pt_org *guest_org;
	uint32_t guest_org_flags;
	const struct tlb_config *tlb;
	const struct cost_table *cost;
	const struct cache_config *caches; /* NULL: data caches are not modelled */
	const char *machine_name;
	uint64_t mem;       /* machine RAM, bytes; 0: what the VMs need */
	uint64_t guest_mem; /* bytes; 0: what the work needs */
	uint64_t seed, limit, warmup, quantum;
	bool thp, host_thp, host_thp_1g, p2m_eager, asids, data;
	unsigned frag_percent;
	enum walk_ad ad;
	enum mmu_visibility visibility;
	enum mmu_check check;
	enum guest_replace replace;
	unsigned shadow_budget;
	enum cpu_setting cpu_setting;
	enum tlb_setting tlb_setting;
	bool tlb_untagged; /* tlb-tags=off */
	unsigned nvms; /* 1 to VMS_MAX */
	struct vm_spec *vm; /* the caller's, to stay until the run is over */
	const struct guest_hooks *hooks; /* may be NULL */
};

struct vm_result {
	char name[VM_NAME_MAX];
	char scheme[SCHEME_NAME_MAX];
	struct vm_stats stats;
	struct guest_stats guest;
	uint64_t digest, work_digest;
	uint64_t guest_bytes, guest_table_bytes, vmm_table_bytes, metadata_bytes, resident_bytes;
	uint64_t started, ended; /* virtual time of its first reference, and after its last */
};

struct run_result {
	char scheme[SCHEME_NAME_MAX];
	const char *not_possible; /* why; NULL: it ran */
	enum guest_end end;
	struct trace_error error;
	unsigned nvms;
	struct vm_result *vm; /* nvms of them, or NULL where there was no memory for them */
	struct vm_result sum; /* over VMs; digests folded */
	uint64_t machine_bytes;
	struct { uint64_t total, translation, exits, io; } cycles;
	double seconds; /* wall clock: progress only, never in results */
};

/* Everything of one run while it exists; for explain and tests. */
struct exp;

/*
 * 0, or an exit code of design.md section 6 with *err set. not_possible is a
 * result, not an error. Overwrites *r; release it with run_result_fini in any case.
 */
int exp_create(const struct run_config *c, struct exp **out, struct run_result *r, struct trace_error *err);
int exp_run(struct exp *e, struct run_result *r);
void exp_destroy(struct exp *e);
void run_result_fini(struct run_result *r);
struct vcpu *exp_vcpu(struct exp *e, unsigned vm);
struct guest *exp_guest(struct exp *e, unsigned vm);
struct mmu *exp_mmu(struct exp *e, unsigned vm);
struct hv *exp_hv(struct exp *e);

/* A scheme that scheme_parse refused, said with what exists; returns its exit code, 2. */
int scheme_unknown(const char *name, const char *why, struct trace_error *err);

/* The settings a VM of a run has. */
bool vm_cpu_traps(const struct run_config *c, const struct vm_spec *vm);
bool vm_tlb_is_software(const struct run_config *c, const struct vm_spec *vm);

/* create, run, destroy. The exit code; what was measured stands in *r also where it is not 0 (r->sum.stats.refs). *r as of exp_create. */
int run_one(const struct run_config *c, struct run_result *r, struct trace_error *err);
/* Reads the work to learn its size and checksum; what `next` leads to is work of its own. 0 or an exit code (130: stop() said so). */
int workload_scan(struct workload *w, uint64_t seed, uint64_t limit, struct trace_error *err);
struct trace *workload_open(const struct workload *w, uint64_t seed, struct trace_error *err);
/* Of all work of a VM. */
uint64_t workloads_refs(const struct workload *w);
/* The first of them that is of a whole recorded machine (phys_pages); NULL: none. */
const struct workload *workloads_machine(const struct workload *w);
/* Modelled cycles of a result. */
void cost_sum(const struct cost_table *cost, struct run_result *r);

/*
 * A preset's name or a YAML FILE (one with a '/' or ending in .yaml or .yml):
 * TLB geometry, costs. 0, or 2 or 3 with *err. The structs point into
 * themselves: fill them where they stay, do not copy them.
 */
struct machine_file {
	struct tlb_config tlb;
	struct cost_table cost;
	struct cache_config caches; /* no name: the file has none */
	char name[64];
	char text[4096]; /* of sources and notes */
};
int machine_load(const char *name_or_file, struct machine_file *out, struct trace_error *err);
/* The same from bytes; `file` is for messages. */
int machine_parse(const char *file, const void *bytes, size_t len, struct machine_file *out, struct trace_error *err);

/*
 * --caches: a preset's name, or "machine" for what the machine file has. Its
 * latencies become costs but for those the file gives itself. 0, or 2 with *err.
 */
int caches_choose(const char *name, struct machine_file *m, const struct cache_config **out, struct trace_error *err);

/* A built-in name or a YAML FILE. */
struct format_file {
	struct gpt_format fmt;
	char text[1024];
};
int format_load(const char *name_or_file, struct format_file *out, struct trace_error *err);
int format_parse(const char *file, const void *bytes, size_t len, struct format_file *out, struct trace_error *err);

bool is_file_name(const char *s);

#endif
