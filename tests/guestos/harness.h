/* SPDX-License-Identifier: MIT */
/*
 * A whole machine for one guest, and workloads written by hand or at random.
 *
 *   struct script  references and events; a struct trace of it yields blocks
 *   struct rig     machine, hypervisor, VM, memslot, processor, mmu, vcpu, guest
 *   run_script()   one script under one configuration: what came of it
 *
 * for_each_scheme() goes over every scheme that `--schemes all` means; one
 * that cannot be, or is not built, is skipped by rig_open().
 */
#ifndef QUIRE_TESTS_GUESTOS_HARNESS_H
#define QUIRE_TESTS_GUESTOS_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "guestos/guest.h"

/* ---- scripts ---- */

struct script {
	uint64_t *item; /* a ref_t, or an event by its index */
	size_t n, cap;
	struct trace_event *event;
	size_t nevents, cap_events;
	uint32_t block; /* items in a block; 0: as many as fit */
	bool no_rewind;
	size_t damaged_at; /* item before which it is damaged; SIZE_MAX: it is not */
};

void script_init(struct script *s);
void script_fini(struct script *s);
void script_ref(struct script *s, uint64_t gva, enum acc_kind kind, unsigned size);
void script_read(struct script *s, uint64_t gva);
void script_write(struct script *s, uint64_t gva);
void script_event(struct script *s, const struct trace_event *ev);
void script_switch(struct script *s, uint32_t pid);
void script_fork(struct script *s, uint32_t pid, uint32_t child);
void script_exit(struct script *s, uint32_t pid);
void script_mmap(struct script *s, uint32_t pid, uint64_t addr, uint64_t len, unsigned prot, unsigned flags);
void script_munmap(struct script *s, uint32_t pid, uint64_t addr, uint64_t len);
void script_mprotect(struct script *s, uint32_t pid, uint64_t addr, uint64_t len, unsigned prot);
/* The caller's, to be ended by trace_close. */
struct trace *script_trace(const struct script *s);

struct random_work {
	uint64_t seed, refs, base, pages; /* pages of one process */
	unsigned processes; /* at most */
	bool events;        /* mmap, munmap, mprotect, fork, exec, exit… between the references */
	bool segv;          /* rights that references may offend against */
};
void script_random(struct script *s, const struct random_work *w);

/* ---- machines ---- */

struct rig_config {
	const char *scheme;
	const char *guest_fmt, *host_fmt; /* NULL: x86-64 */
	const char *guest_org;            /* "radix", "inverted+linear"…; NULL: radix */
	const char *tlb;                  /* preset; NULL: "generic" */
	uint64_t machine_mib;             /* 0: what the guest needs */
	bool host_thp, p2m_eager;
	enum mmu_visibility visibility;
	bool truth_only;                  /* TLB fills against the truth alone: opens the short way of a miss */
	bool long_way;                    /* and closes it again */
	bool cpu_trap, tlb_software, tlb_untagged;
	unsigned interval;                /* of agile and adaptive; 0: their own */
	uint32_t asids_max;               /* tags in use; 0: all that the format has */
	struct guest_config guest;        /* fmt, org, org_flags are filled in; mem_pages 0: 16 MiB */
};

struct rig {
	struct machine machine;
	struct hv hv;
	struct vm *vm;
	struct mmu_cpu *cpu;
	void *cpu_memory, *ram;
	uint64_t ram_bytes;
	struct mmu *mmu;
	struct vcpu vcpu;
	struct guest *guest;
	const char *why; /* rig_open said no */
};

/* false: the pair cannot be (r->why), or the scheme is not built; nothing is left open. */
bool rig_open(struct rig *r, const struct rig_config *c);
void rig_close(struct rig *r);
/* Fails the test if any table, frame or state breaks its rules. */
void rig_audit(struct rig *r);

struct outcome {
	bool possible;
	enum guest_end end;
	struct trace_error err;
	uint64_t digest, work_digest, refs;
	struct guest_stats stats;
	struct vm_stats vm;
};

/* Opens, runs, audits, closes. hooks may be NULL; hooks->ctx NULL becomes the rig. */
struct outcome run_script(const struct rig_config *c, const struct script *s, const struct guest_hooks *hooks);
/* The same with several sources. */
struct outcome run_scripts(const struct rig_config *c, const struct script *const s[], unsigned n,
			   const struct guest_hooks *hooks);


/* Native, tags on, 16 MiB, all else as it comes. */
struct rig_config rig_plain(void);
/* run_script that must be possible and end well. */
struct outcome must_run(const struct rig_config *c, const struct script *s);
/* The same with the rig left open, so that memory can be looked at; the caller closes it. */
void open_and_run(struct rig *r, const struct rig_config *c, const struct script *s);
/* The word at gva of the trace's process pid, which must be mapped. */
uint64_t look(struct rig *r, uint32_t pid, uint64_t gva);

/* i is the caller's counter. */
#define for_each_scheme(name, i) for (const char *name; (name = scheme_name_at(i)) != NULL; (i)++)

/* Inside the kernel (guest_audit.c of the tests). */
void guest_limit_asids(struct guest *g, uint32_t n);
int guest_audit(struct guest *g, const char **why);

#endif
