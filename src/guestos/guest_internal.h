/* SPDX-License-Identifier: MIT */
/*
 * Inside the model guest kernel.
 *
 *   struct source ──pid──▶ struct proc ──▶ struct mm ──▶ struct vmas   what is allowed
 *   (a trace)              (digests)        │       ├──▶ struct pages  what is there
 *                                           │       └──▶ struct pt     what the hardware reads
 *                                           └ asid, key_space
 *   struct gframe, one a guest frame: owners (struct pages, page), disk copy, free list
 *
 * Rule of errors: functions return 0 or -errno. -ENOMEM: no guest frame (make
 * room and try again, or guest out of memory). -EFAULT: a kernel access
 * failed; g->fatal says how the run ends, and nothing is tried again.
 */
#ifndef QUIRE_GUESTOS_GUEST_INTERNAL_H
#define QUIRE_GUESTOS_GUEST_INTERNAL_H

#include "base/digest.h"
#include "base/list.h"
#include "guestos/feed.h"
#include "guestos/guest.h"
#include "guestos/heap.h"
#include "guestos/pmap.h"
#include "guestos/vma.h"
#include "mmu/guest_entry.h"

struct mm;
struct proc;

/* ---- frames (frames.c) ---- */

enum { GUEST_ORDER_MAX = 18, NO_GFRAME = UINT32_MAX };

enum gframe_type { GFRAME_FREE, GFRAME_KERNEL, GFRAME_TABLE, GFRAME_USER, GFRAME_PHYS /* recorded RAM */ };
enum gframe_flag {
	GFRAME_HEAD = 1 << 0,  /* first frame of a free block of .order */
	GFRAME_BYTES = 1 << 1, /* may hold bytes other than zero: zero it before it is handed out */
	GFRAME_DIRTY = 1 << 2, /* differs from its disk copy (beside what D bits say) */
	GFRAME_LISTED = 1 << 3, /* known to the replacement policy */
	GFRAME_HEAPED = 1 << 4, /* LRU: has its item in the heap */
	GFRAME_TABLES = 1 << 5, /* first frame of a 2 MiB block that is kept for tables */
};

/* Free frames stand on lists by what their 2 MiB block is for (frames.c). */
enum gframe_use { FOR_PAGES, FOR_TABLES, GFRAME_USES };

/* A page that a frame stands for: `vpn` of an address space, or page `vpn` of a shared object. */
struct owner {
	struct pages *of;
	uint64_t vpn;
	struct owner *next, *prev; /* prev of the second is NULL: the first stands in the frame */
};

struct gframe {
	struct owner first; /* .of NULL: none */
	struct owner *last; /* of those behind the first; NULL: none */
	uint64_t key;       /* replacement: time of last use (LRU), of next use (OPT) */
	uint32_t next, prev; /* free list, or replacement list */
	uint32_t refs;      /* owners */
	uint32_t slot;      /* disk copy; 0: none */
	uint8_t type, order, flags;
};

struct frames {
	struct gframe *f;
	uint64_t n, nfree;
	uint32_t free_head[GFRAME_USES][GUEST_ORDER_MAX + 1];
	struct owner *spare;        /* linked by next */
	struct owner_chunk *chunks; /* where all further owners stand */
};

/* The first `phys` of n frames are recorded RAM: never handed out. */
int frames_init(struct frames *fr, uint64_t n, uint64_t phys);
void frames_fini(struct frames *fr);
/* 2^order frames aligned to their size, lowest half first. -ENOMEM. Content as it was (GFRAME_BYTES). */
int frames_alloc(struct guest *g, unsigned order, enum gframe_type type, uint64_t *gfn);
void frames_free(struct guest *g, uint64_t gfn, unsigned order);
/* Zeroes what may not be zero already. -EFAULT. */
int frames_zero(struct guest *g, uint64_t gfn, unsigned order);
/* Lists, counts: 0 or -EINVAL with *why. Visits every frame. */
int frames_audit(const struct frames *fr, const char **why);

void gframe_add_owner(struct guest *g, uint64_t gfn, struct pages *of, uint64_t vpn);
/* Removes that owner; the last one gone, the frame is free. */
void gframe_drop_owner(struct guest *g, uint64_t gfn, struct pages *of, uint64_t vpn);
#define gframe_for_each_owner(f, o) \
	for (struct owner *o = (f)->first.of ? &(f)->first : NULL; o; o = o->next)

/* ---- the guest's disk (disk.c) ---- */

struct disk {
	uint32_t *refs;   /* by slot; 0: free; slot 0 never used */
	uint8_t **bytes;  /* data mode: contents; NULL: zeros */
	uint32_t *free;   /* stack of free slots */
	uint32_t nslots, nfree, cap;
};

void disk_fini(struct disk *d);
uint32_t disk_slot_get(struct disk *d);
void disk_slot_ref(struct disk *d, uint32_t slot);
void disk_slot_put(struct disk *d, uint32_t slot);
/* DMA between a frame and a slot. -EFAULT. */
int disk_write(struct guest *g, uint32_t slot, uint64_t gfn);
int disk_read(struct guest *g, uint32_t slot, uint64_t gfn);

/* ---- what is there (pages.c) ---- */

/*
 * The word of a page:
 *   value << 8 │ PAGE_HUGE │ PAGE_MAPPED │ PAGE_DISK │ PAGE_FRAME
 * value: gfn or disk slot. MAPPED: an entry in the table says so too; a page
 * with a frame and without an entry (PROT_NONE, no room for a table) comes
 * back by a fault. HUGE: that entry is the superpage around it.
 */
enum { PAGE_FRAME = 1, PAGE_DISK = 2, PAGE_MAPPED = 4, PAGE_HUGE = 8, PAGE_VALUE_SHIFT = 8 };
static inline uint64_t page_value(uint64_t word) { return word >> PAGE_VALUE_SHIFT; }
static inline uint64_t make_page(uint64_t value, unsigned flags) { return value << PAGE_VALUE_SHIFT | flags; }

struct pages {
	struct pmap map;
	struct mm *mm; /* NULL: of a shared object */
};

/* Memory that several address spaces share (EVF_SHARED): its pages by offset. */
struct shm {
	struct pages pages;
	unsigned refs; /* VMAs */
};
struct shm *shm_create(void);
void shm_ref(struct shm *s);
void shm_put(struct guest *g, struct shm *s);

/* Takes the page out of the table, keeps its frame. Its bits A and D go to the frame. */
int page_unmap(struct guest *g, struct mm *mm, uint64_t vpn);
/* Forgets the page: out of the table, frame or disk copy given back. */
int page_drop(struct guest *g, struct mm *mm, uint64_t vpn);
/* Drops all of [vpn, vpn + n). */
int pages_drop_range(struct guest *g, struct mm *mm, uint64_t vpn, uint64_t n);
/* The superpage around vpn becomes small pages of the same frames. */
int page_split(struct guest *g, struct mm *mm, uint64_t vpn);
/* Splits the superpages that reach over the ends of [vpn, vpn + n). */
int pages_split_ends(struct guest *g, struct mm *mm, uint64_t vpn, uint64_t n);
/* New rights for all mapped pages of [vpn, vpn + n), as the VMAs say now. */
int pages_protect(struct guest *g, struct mm *mm, uint64_t vpn, uint64_t n);
/* Moves pages; the new range is empty. */
int pages_move(struct guest *g, struct mm *mm, uint64_t from, uint64_t to, uint64_t n);
/* What the table may say for this page now: VMA and sharing. 0: nothing. */
uint8_t page_rights(struct guest *g, struct mm *mm, uint64_t vpn, uint64_t gfn);
/* A frame whose entries say D, or did, differs from its disk copy. */
void page_harvest(struct guest *g, uint64_t gfn, uint64_t nframes, uint8_t rights);

/* ---- what the hardware reads (pagetable.c, kmem_pt.c) ---- */

void kmem_pt_init(struct guest *g);
/* Paravirtualised: what was changed in tables takes effect. Before programs run, fences, other roots; 0 or -EFAULT. */
int kmem_pt_flush(struct guest *g);
int table_create(struct guest *g, struct mm *mm);
void table_destroy(struct guest *g, struct mm *mm);
int table_map(struct guest *g, struct mm *mm, uint64_t vpn, unsigned order, uint64_t gfn, uint8_t rights);
/* *rights: as the entry was, A and D included. */
int table_unmap(struct guest *g, struct mm *mm, uint64_t vpn, unsigned order, uint8_t *rights);
int table_protect(struct guest *g, struct mm *mm, uint64_t vpn, unsigned order, uint8_t rights);
/* What the entry around vpn says, A and D included. */
int table_rights(struct guest *g, struct mm *mm, uint64_t vpn, uint8_t *rights);
/* The order of superpages; 0: none in use. */
unsigned table_huge_order(const struct guest *g);

/*
 * Fences are owed after each change of a present entry, and paid together:
 * more than FENCE_BATCH of them in one space become one fence of the space.
 */
enum { FENCE_BATCH = 32 };
void fence_owe(struct guest *g, struct mm *mm, uint64_t vpn);
void fence_owe_space(struct guest *g, struct mm *mm);
void fence_pay(struct guest *g);

/* ---- pages of a recorded machine (phys.c) ---- */

/* EV_RAM, EV_PHYS. 0 or -errno; what makes no sense ends the run as damaged input. */
int phys_event(struct guest *g, struct mm *mm, const struct trace_event *ev);
/* Was a page placed there? *rights as its event said. */
bool phys_find(const struct guest *g, const struct mm *mm, uint64_t vpn, uint8_t *rights);
/* A fault on such a page: another space has used it, or nothing is wrong any more. */
int phys_fault(struct guest *g, struct mm *mm, uint64_t vpn);
/* Forgets the placed pages of [vpn, vpn + n), lower half. */
int phys_drop_range(struct guest *g, struct mm *mm, uint64_t vpn, uint64_t n);
/* A child's pages stand where its parent's do; faults bring the entries. */
void phys_fork(struct mm *child, const struct mm *parent);

/* ---- address spaces and processes (mm.c, proc.c, fork.c) ---- */

struct mm {
	struct pages pages;
	struct pmap phys; /* pages that EV_PHYS placed (phys.c) */
	struct vmas vmas;
	struct pt own;  /* where each space has a table */
	struct pt *pt;
	uint32_t key_space;
	uint32_t asid;
	uint64_t asid_generation;
	unsigned users; /* processes */
	bool has_table;
	uint64_t brk_start, brk; /* pages; 0: not known yet */
	struct opt_space *opt;  /* REPLACE_OPT: what the prepass knows of it */
	struct mm *next, *prev;
};

struct mm *mm_create(struct guest *g, struct source *src);
int mm_table(struct guest *g, struct mm *mm); /* its table exists; creates it, making room */
void mm_put(struct guest *g, struct mm *mm);
struct mm *mm_fork(struct guest *g, struct source *src, struct mm *parent, int *err);

struct proc {
	uint32_t number; /* the guest's own, from 1 */
	uint32_t pid;    /* the trace's */
	struct source *src;
	struct mm *mm;   /* NULL: ended and gone */
	struct work_state work;
	digest_stream *hash; /* over its references; NULL: none yet, or ended */
	uint64_t refs_digest; /* once ended */
};

/* Who a source's events speak of; pid 0 and none yet: the current one. */
struct proc *proc_find(struct source *src, uint32_t pid);
struct proc *proc_get(struct guest *g, struct source *src, uint32_t pid);
void proc_exit(struct guest *g, struct proc *p);
int proc_event(struct guest *g, struct source *src, const struct trace_event *ev);
void procs_fini(struct guest *g);
/* Frees what the guest still holds, on the host alone. */
void mms_fini(struct guest *g);

/* ---- running ---- */

/* Makes an address space the current one. */
int sched_switch(struct guest *g, struct mm *mm);
int fault_handle(struct guest *g, struct proc *p, const struct guest_fault *f, bool *segv);
void digest_refs(struct proc *p, const ref_t *refs, size_t n);
void digest_end(struct proc *p);
void digest_fault(struct guest *g, const struct proc *p, const struct guest_fault *f);
/* Ends the run; the first reason stays. Returns -EFAULT. */
int guest_fatal(struct guest *g, enum guest_end why);
/* The work makes no sense: the run ends as damaged input, with these words. Returns -EFAULT. */
int guest_bad_input(struct guest *g, const char *fmt, ...) __attribute__((format(printf, 2, 3), cold));
/* An access_status that is not OK, as the end of the run. */
int guest_access(struct guest *g, enum access_status st);

/* ---- entries (entry.c) ---- */

/* Tells the processor where this kernel is entered. */
void entry_boot(struct guest *g);
/* An event of a source: by a system call where it is one. 0 or -errno. */
int entry_event(struct guest *g, struct source *src, const struct trace_event *ev);
/* The fault that the kernel was given is dealt with; mended: its access may be done now. */
void entry_return(struct guest *g, struct proc *p, const struct guest_fault *f, bool mended);

/* ---- what counts (tally.c) ---- */

/*
 * Counters of the VM run on all the time: hypervisors read them. What they
 * grew by while nothing counted is kept apart, to be taken off at the end.
 */
struct tally {
	bool gated; /* there is something that does not count */
	bool begun, on;
	bool counted; /* something has */
	uint64_t gone; /* processes that had ended when counting began */
	struct vm_stats vm_stop, vm_out;     /* at the last stop; all of what does not count, up to the last start */
	struct guest_stats own_stop, own_out;
};
/* What is done from here on counts, or does not. */
void tally_set(struct guest *g, bool on);
/* n references were done. */
void tally_refs(struct guest *g, const ref_t *refs, size_t n);

/* ---- replacement (evict.c, replace_*.c) ---- */

struct replace_ops {
	int (*init)(struct guest *g, struct trace_error *err); /* may be NULL */
	void (*fini)(struct guest *g); /* may be NULL */
	/* A user frame came into use, or leaves it. */
	void (*add)(struct guest *g, uint64_t gfn);
	void (*remove)(struct guest *g, uint64_t gfn);
	/* n references of mm were made; NULL: the policy does not look. */
	void (*touch)(struct guest *g, struct mm *mm, const ref_t *refs, size_t n, uint64_t first);
	/* -ENOENT: nothing to evict. */
	int (*victim)(struct guest *g, uint64_t *gfn);
};
extern const struct replace_ops replace_fifo, replace_lru, replace_clock, replace_opt;
void replace_list_add(struct guest *g, uint64_t gfn);
void replace_list_remove(struct guest *g, uint64_t gfn);

/* Sends one page to the disk. -ENOMEM: there is none. */
int evict_one(struct guest *g);
/* frames_alloc that evicts until it can. */
int frames_alloc_evicting(struct guest *g, unsigned order, enum gframe_type type, uint64_t *gfn);

/* Entries asked of the hypervisor in one call, at most. */
enum { PV_BATCH = 64 };

struct guest {
	struct guest_config config;
	struct vcpu *vcpu;
	struct guest_entry_points entry;
	struct vm *vm;
	struct pt_mem ptm; /* guest frames, through the first door */
	struct pv_tables pv_tables; /* for a hypervisor that asks which they are */
	struct {
		unsigned n;
		struct pv_update u[PV_BATCH];
	} pv_queue; /* paravirtualised: changes of tables not asked for yet */
	struct pt shared_pt; /* organisations that hold all spaces */
	unsigned shared_users;
	unsigned huge_order;
	struct frames frames;
	struct disk disk;
	struct pmap phys_upper; /* the upper half of a recorded machine's spaces, which they share */
	bool phys_told;         /* EV_RAM came */
	struct mm *mms; /* list */
	uint32_t next_key, *free_keys;
	uint32_t nfree_keys, cap_free_keys;
	struct proc **procs; /* by number - 1 */
	uint32_t nprocs, cap_procs;
	struct proc *last; /* that ran */
	struct mm *zombie; /* of the last process, kept to be looked at until another comes */
	uint32_t alive;    /* processes */
	unsigned stuck;    /* faults since a reference was done */
	struct mm *current; /* whose root is loaded */
	bool asids;
	uint32_t asid_next, asid_end;
	uint64_t asid_generation;
	struct feed feed;
	bool started;
	struct tally tally;
	uint64_t step_left;
	enum guest_end fatal; /* GUEST_DONE: none */
	struct {
		struct mm *mm;
		unsigned n; /* above FENCE_BATCH: the whole space */
		uint64_t vpn[FENCE_BATCH];
	} fences;
	const struct replace_ops *replace;
	uint32_t replace_head, replace_tail; /* list of user frames, oldest first */
	struct heap heap; /* LRU, OPT */
	struct opt *opt;
	uint64_t fault_digest;
	struct guest_stats stats;
};

#endif
