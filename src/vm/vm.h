/* SPDX-License-Identifier: MIT */
/*
 * Virtual machines and what they were promised: memslots, and for each guest
 * frame a word that is the truth. Tables and TLBs are caches of that word.
 *
 *   vm ─▶ memslot ─▶ directory ─▶ 512 struct gfn_state (one frame of them)
 *          base gfn     a 2 MiB block each: states, counts of reasons
 *
 * Everything that changes a gfn's frame or rights goes through gfn_update()
 * (vm/gfn.h). Everything but instructions reaches guest memory through
 * vm_read() and vm_write().
 */
#ifndef QUIRE_VM_VM_H
#define QUIRE_VM_VM_H

#include "base/list.h"
#include "base/types.h"
#include "machine/machine.h"
#include "pt/pt.h"
#include "vm/stats.h"

enum { VM_SLOTS_MAX = 16, VM_NAME_MAX = 32, VMS_MAX = 0xfff };

/* What stands behind a guest frame. */
enum gfn_kind {
	GFN_NONE = 0,  /* nothing yet: the first touch brings a zeroed frame */
	GFN_BACKED,    /* .frame is its mfn */
};

/*
 * One guest frame, eight bytes: where it is, what forbids what.
 *
 *   63        48 47  44 43  40 39                0
 *  │   flags    │      │ kind │ mfn              │
 */
struct gfn_state {
	uint64_t w;
};
static_assert(sizeof(struct gfn_state) * 512 == PAGE_SIZE, "a block's states fill a frame");

enum gfn_flag {
	GFN_WPROT = 1 << 0, /* write tracking: shadow tables were built from it */
	GFN_DIRTY = 1 << 1, /* written since the dirty log was last read */
	GFN_COW = 1 << 2,   /* its frame has other owners: a write breaks away first */
	GFN_PIN = 1 << 3,   /* a device has it: stays where it is */
	GFN_SPLIT_FLAGS = GFN_WPROT | GFN_COW, /* these forbid a superpage around it */
};

static inline uint64_t gfn_state_make(enum gfn_kind k, uint64_t frame, unsigned flags)
{
	return (uint64_t)flags << 48 | (uint64_t)k << 40 | frame;
}
static inline enum gfn_kind gfn_kind(struct gfn_state s) { return (enum gfn_kind)((s.w >> 40) & 15); }
static inline mfn_t gfn_mfn(struct gfn_state s) { return MFN(s.w & low_bits(40)); }
static inline unsigned gfn_flags(struct gfn_state s) { return (unsigned)(s.w >> 48); }

enum { GFN_BLOCK = 512 };

/* 2 MiB of guest memory. */
struct gfn_block {
	struct gfn_state *states; /* NULL: all GFN_NONE, no flags */
	uint64_t run;    /* 1 + first mfn of the one aligned 2 MiB run of frames that backs it; 0: there is none */
	uint16_t split;  /* gfns inside with a reason against a superpage: GFN_SPLIT_FLAGS */
	uint16_t backed; /* gfns inside that are GFN_BACKED */
	uint16_t tracked; /* gfns inside whose frames are FRAME_TRACKED: the mmu's count */
};

/* 1 GiB of it. */
struct gfn_giga {
	uint32_t split; /* as above, over all its blocks */
	uint16_t run;   /* backed by one aligned 1 GiB run */
	uint16_t tracked_blocks; /* blocks inside with .tracked > 0 */
};

enum memslot_flag { SLOT_READONLY = 1 << 0 };

struct memslot {
	gfn_t base;
	uint64_t npages;
	uint64_t userspace_addr; /* hva of its first byte, in the VM's own stretch of Quire's address space */
	unsigned flags;
	struct gfn_block *blocks; /* by 2 MiB of gfn, the first aligned down from base */
	uint64_t nblocks;
	struct gfn_giga *gigas; /* by 1 GiB likewise */
	uint64_t ngigas;
};

struct hv;
struct vm;

/*
 * How the owners of cached translations hear of changes (one a VM: its mmu).
 * Called with the gfn states still old; after `zap` returns nothing cached may
 * lead to [gfn, gfn+n) with more than `keep` rights (RIGHT_R|W|X; 0: nothing at all).
 */
struct vm_notifier {
	void (*zap)(struct vm_notifier *n, gfn_t gfn, uint64_t npages, uint8_t keep);
	/* Bytes of guest memory were stored by other means than the first door. */
	void (*written)(struct vm_notifier *n, gpa_t gpa, uint64_t len);
};

struct vm {
	struct hv *hv;
	uint16_t vmid;
	char name[VM_NAME_MAX];
	unsigned nslots;
	struct memslot slot[VM_SLOTS_MAX];
	uint64_t mmu_seq; /* bumped by each gfn_update */
	bool dirty_logging; /* while it is, every mapping is of one 4 KiB page */
	bool host_thp;    /* back whole 2 MiB blocks where nothing forbids it */
	bool host_thp_1g;
	uint64_t contiguous_base; /* native: mfn of gfn 0; INVALID_FRAME: not so */
	uint64_t contiguous_pages;
	uint64_t resident; /* frames that back it */
	const char *crashed; /* why it was stopped; NULL: it runs */
	struct vm_notifier *notifier; /* NULL: nothing cached */
	struct vm_stats stats;
	struct vm_log *log; /* NULL: nobody listens */
};

/* One step of handling a fault, for `quire explain`. */
struct vm_fault_step {
	const char *step;   /* "exit", "error code", "gva", "gva to gfn", "gfn to hva", "hva to frame", "entry" */
	const char *action; /* in words */
	uint32_t error_code;
	gva_t gva;
	gfn_t gfn;          /* INVALID_GFN: not known yet */
	uint64_t hva;       /* 0: not known yet */
	mfn_t mfn;          /* INVALID_MFN: not known yet */
};
struct vm_log {
	void (*step)(struct vm_log *log, const struct vm_fault_step *s);
};

/* The hypervisor: one machine, its VMs, tables they share. */
struct hv {
	struct machine *m;
	struct vm *vm[VMS_MAX + 1]; /* by vmid; 0 is never used */
	unsigned nvms;
	uint64_t next_hva;
	struct pt_mem_machine ptm; /* for tables that serve the whole machine */
	struct hv_shared_table {
		struct pt pt;
		unsigned users;
	} shared[8]; /* per_machine organisations in use (inverted, inverted+linear) */
};

int hv_init(struct hv *hv, struct machine *m);
/* All VMs must be gone. */
void hv_fini(struct hv *hv);

/* -ENOMEM, -ENOSPC (no VMID left). Freed by vm_destroy. */
int vm_create(struct hv *hv, const char *name, struct vm **out);
/* Gives every frame back. The mmu must have detached. */
void vm_destroy(struct vm *vm);
/* Stops a VM whose guest did what cannot be served; the first reason stays. */
void vm_crash(struct vm *vm, const char *why);

/* Guest memory [base, base+npages). -EEXIST if it overlaps, -EINVAL, -ENOMEM, -ENOSPC. */
int memslot_add(struct vm *vm, gfn_t base, uint64_t npages, unsigned flags, struct memslot **out);
/* NULL: no memory there. */
struct memslot *memslot_find(struct vm *vm, gfn_t gfn);
/* hva = userspace_addr + ((gfn - base) << 12), only inside the slot: else false. */
bool memslot_gfn_to_hva(const struct memslot *s, gfn_t gfn, uint64_t *hva);
/* One past the highest gfn of any slot. */
gfn_t vm_end_gfn(const struct vm *vm);
uint64_t vm_pages(const struct vm *vm);

/*
 * Native: backs the VM's one memslot, from gfn 0 and untouched, with a single
 * run of machine frames. -ENOMEM; -EINVAL if the memory is not so.
 */
int vm_back_contiguous(struct vm *vm);

/*
 * Second door: for everything that is not an instruction (devices, loaders,
 * debuggers, walkers' A/D updates). Faults in, breaks sharing, logs dirty,
 * tells the notifier. 0, -EFAULT (no such memory; nothing done past it),
 * -EACCES (read-only slot), -ENOMEM.
 */
int vm_read(struct vm *vm, gpa_t gpa, void *buf, uint64_t len);
int vm_write(struct vm *vm, gpa_t gpa, const void *buf, uint64_t len);
/* Atomic compare and swap of 4 or 8 aligned bytes: 1 swapped, 0 not, or an error as above. */
int vm_cas(struct vm *vm, gpa_t gpa, unsigned size, uint64_t expect, uint64_t value);
/* DMA: keeps the frame in place and gives its machine address; unpin each once. */
int vm_pin(struct vm *vm, gfn_t gfn, bool write, mfn_t *mfn);
void vm_unpin(struct vm *vm, gfn_t gfn);

/* Dirty log. Starting clears it. Reading gives and clears one bit a page from `first`, n pages. */
void vm_dirty_start(struct vm *vm);
void vm_dirty_stop(struct vm *vm);
int vm_dirty_read(struct vm *vm, gfn_t first, uint64_t n, uint64_t *bitmap);

/* Slots, states, counts of reasons, owners of frames: 0, or -EINVAL with *why. */
int vm_audit(struct vm *vm, const char **why);

/*
 * A hidden table of the whole machine for an organisation (inverted): made at
 * first use, one for gpas and one for gvas, whose addresses and U bits differ.
 */
enum hv_table_use { HV_TABLE_P2M, HV_TABLE_SHADOW };
int hv_shared_table_get(struct hv *hv, const struct pt_org *org, uint32_t flags,
			const struct gpt_format *fmt, enum hv_table_use use, struct pt **out);
void hv_shared_table_put(struct hv *hv, struct pt *pt);

#endif
