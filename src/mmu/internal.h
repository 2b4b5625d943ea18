/* SPDX-License-Identifier: MIT */
/*
 * Inside mmu/, and for plug-ins' modes: what a mode is, and what modes share.
 *
 *   mmu.c scheme.c    made, changed, zapped, audited; schemes by their names
 *   access.c run.c    TLB, permissions, retry loop (the first door); runs of references
 *   quick.c           the short way of a TLB miss
 *   walk.c memory.c   one walk of a guest's table; guest memory as a struct pt_mem
 *   track.c           which cached translations were read from which guest frame
 *   space.c cpu.c flush.c   numbers of address spaces; one processor's caches; flushes
 *   caches.c explain.c      who listens to loads: data caches, an explanation
 *   privilege.c soft_tlb.c  cpu=trap and tlb-tags=off; tlb=software
 *
 * The modes: native.c nested.c shadow.c (with shadow_*.c) inverted_shadow.c
 * agile.c adaptive.c paravirt.c.
 */
#ifndef QUIRE_MMU_INTERNAL_H
#define QUIRE_MMU_INTERNAL_H

#include "base/bug.h"
#include "base/hash.h"
#include "base/mutation.h"
#include "machine/rmap.h"
#include "mmu/mmu.h"

/*
 * One address space of one VM, as TLBs and tables are tagged. It is
 * recognised by what the guest loads: (root, asid, key_space).
 */
struct space {
	uint32_t number;
	bool bare;           /* the unmapped kernel segment: gva = gpa */
	bool stale;          /* the table's header was written: open it again before the next walk */
	struct mmu *mmu;
	struct guest_paging p;
	struct pt pt;        /* the walker's view of the guest's table */
	struct space *next;  /* of the same bucket (by asid) */
	struct list lru;     /* mmu->spaces, most recent first */
	struct shadow_page *shadow_root; /* shadow modes with radix tables */
	uint64_t shadow_entries; /* and with other organisations: those it has */
};

enum { SPACE_BUCKETS = 64, SPACES_MAX = 1024, SPACES_BARE_AND_GLOBAL = 2 };

/* Guest memory as tables see it; addresses are gpas. */
struct guest_mem {
	struct pt_mem m;
	struct mmu *mmu;
	/* Of the last -EAGAIN: what has no translation. */
	gpa_t violation;
	enum acc_kind violation_kind;
	/* A walk-cache hit told where this guest frame stands (walk_combined). */
	gfn_t hint_gfn;
	mfn_t hint_mfn;
	/* Where the frames read since the walk began stand. */
	unsigned nseen;
	struct { gfn_t gfn; mfn_t mfn; } seen[WALK_TABLES_MAX];
};

/*
 * The guest's half of a translation, known before the mode's walk: the short way
 * (quick.h) found it before it gave up, or the guest wrote it into the TLB (soft_tlb.c).
 */
struct guest_half {
	gpa_t gpa;
	uint8_t rights, order;
	uint64_t refs; /* that it took the walker; of what the guest wrote none */
};

/* One access on its way: inputs first, then what each stage finds. */
struct mmu_fault {
	const struct space *space;
	uint64_t va;
	enum acc_kind kind;
	bool user;
	uint32_t ctl;

	struct walk walk;        /* of the guest's table (nested, native) or of the shadow table */
	uint32_t error_code;
	enum walk_why why;       /* of a fault that is the guest's */
	gpa_t violation;         /* nested: what the p2m lacks */
	enum acc_kind violation_kind;
	gpa_t gpa;               /* of the access, when known */
	struct tlb_entry entry;  /* what the TLB may hold */
	bool cacheable;          /* it may: everything it was read from is tracked */
	uint64_t refs, depth;    /* charged to this walk */
	const struct guest_half *half; /* the guest's half of the walk, done before; NULL: not done */
	bool from_truth;         /* the entry was made from the per-gfn truth just now: nothing to compare */
	bool dropped;            /* shadow+lazy: the entry was dropped by coherence: no exit */
};

enum walked {
	WALKED_OK,
	WALKED_HELP,  /* the hypervisor must act: mode->fault */
	WALKED_INJECT, /* the guest must see it */
};

/* What a fault handler says; negative: -errno. */
enum fault_result {
	MMU_FIXED = 0, /* walk again: an entry is there now */
	MMU_RETRY,     /* something moved meanwhile: walk again */
	MMU_INJECT,    /* the guest must see it */
	MMU_ONCE,      /* f->entry says where; nothing is there for the next access */
	MMU_EMULATE,   /* a store to a protected table: f->gpa; the hypervisor does it */
};

/* Can TLB misses go the short way (quick.h), and in how many dimensions? */
enum quick_kind {
	QUICK_NONE,
	QUICK_DIRECT, /* the guest's table stands at gpa + constant and leads to the per-gfn truth */
	QUICK_TWO,    /* each address goes through mmu->p2m */
	QUICK_SHADOW, /* the shadow table of root_by_gva leads there, if there is one */
};

/* Entries after `fault` may be NULL: the mode has nothing to do then. */
struct mode_ops {
	const char *name;
	const char *summary;
	bool takes_org;          /* may one be named: MODE/ORG? */
	const char *default_org; /* what MODE alone means; NULL: one must be named, or it has none */
	bool hides_default;      /* and how results spell it: "shadow", but "nested/radix" */
	uint32_t options;        /* enum scheme_flag it takes */
	bool takes_roots;        /* +roots=N */
	bool takes_groups;       /* +groups=N */
	enum quick_kind quick;
	bool bare_untranslated;  /* the unmapped segment needs no TLB: gpa + constant is an adder */
	bool no_hypervisor;      /* nothing traps to anyone: no exits */
	bool software_tlb;       /* walk() can do with what the guest wrote into the TLB (f->half): tlb=software */
	int (*possible)(const struct vm *vm, const struct scheme *s, const struct mmu_config *c, const char **why);
	int (*attach)(struct mmu *mmu);
	/* The hardware's walk after a TLB miss. Fills f->walk, f->entry, f->refs. */
	enum walked (*walk)(struct vcpu *v, struct mmu_fault *f);
	int (*fault)(struct vcpu *v, struct mmu_fault *f);
	void (*detach)(struct mmu *mmu);
	/* The guest loaded another root; v->space is the new one, old may be NULL. */
	void (*set_root)(struct vcpu *v, struct space *old);
	/* TLBs have been dealt with; tables and exits are the mode's. s: a space of that asid, or NULL for FENCE_ALL. */
	void (*fence)(struct mmu *mmu, enum fence_scope scope, struct space *s, uint64_t va);
	/* Tables must lose what leads to [gfn, gfn+n) with more than `keep`. TLBs follow by frame. */
	void (*zap)(struct mmu *mmu, gfn_t gfn, uint64_t n, uint8_t keep);
	/* Bytes [gpa, gpa+len) of one tracked frame changed. emulated: by a trapped store. */
	void (*table_store)(struct mmu *mmu, gpa_t gpa, uint64_t len, bool emulated);
	/* Does it rely on hearing of stores to this gfn, whatever was read from it? */
	bool (*watches)(const struct mmu *mmu, gfn_t gfn);
	/* Drops table entries of one stretch of one space (dependents of a table without positions). */
	void (*drop_range)(struct mmu *mmu, struct space *s, uint64_t va, uint64_t bytes);
	/* A space goes: whatever the mode keeps for it. */
	void (*drop_space)(struct mmu *mmu, struct space *s);
	void (*zap_all)(struct mmu *mmu);
	int (*audit)(struct mmu *mmu, const char **why);
	uint64_t (*table_bytes)(const struct mmu *mmu);
	/* A run of references has ended, all is counted: whatever the mode decides by time. v->space may change. */
	void (*tick)(struct vcpu *v);
	/* hpa of the root of the radix table that hardware walks by gva in this space, and its format; 0: none. */
	uint64_t (*root_by_gva)(const struct mmu *mmu, const struct space *s, const struct gpt_format **fmt);
};

#define QUIRE_MODE(o) \
	static const struct mode_ops *const o##_registered \
		__attribute__((section("quire_modes"), used)) = &(o)

const struct mode_ops *mode_find(const char *name, size_t len);

struct track_page;
struct shadow;
struct agile;
struct paravirt;
struct adaptive;

struct track_recent;
struct mmu {
	struct vm *vm;
	struct mmu_cpu *cpu;
	struct scheme scheme;
	struct mmu_config config;
	const struct mode_ops *ops;
	struct vm_notifier notifier;
	struct vcpu *vcpu;          /* the one that runs it; NULL before vcpu_init */

	struct guest_mem hw;        /* as the hardware's walker reads guest memory */
	struct guest_mem sw;        /* as the hypervisor does */
	struct pt_mem_machine ptm;  /* the hypervisor's tables of this VM */

	struct space *bucket[SPACE_BUCKETS];
	struct list spaces;
	unsigned nspaces;
	struct space bare;
	uint32_t gspace;            /* where global entries are tagged */
	/* What the walk caches are keyed by while this VM runs. */
	uint8_t guest_shape[WC_LEVELS], host_shape[WC_LEVELS];
	uint32_t gpa_space;         /* where the nested TLB and host walk cache are */
	bool has_global;            /* some global entry was ever cached */

	struct track_page **track;  /* hash table by gfn */
	uint64_t track_buckets, track_pages;
	struct track_recent *track_recent; /* uses noted of late */
	bool track_recent_used;
	uint64_t metadata_bytes;

	struct pt own_p2m;          /* nested */
	struct pt *p2m;
	bool p2m_shared;
	struct shadow *shadow;
	bool by_software;            /* the hypervisor itself looks a gpa up: no cache of a walker's helps, and it is in already */
	struct agile *agile;
	struct paravirt *paravirt;
	struct pv_tables *pv_guest; /* NULL: the guest has not said */
	struct adaptive *adaptive;
	struct mmu_explain *explain; /* an explanation is under way; else NULL */
};

/* ---- cpu.c ---- */

/* The shifts that walk caches of this format's tables need; NULL: none is cached. */
void walk_shape(uint8_t shift[WC_LEVELS], const struct gpt_format *fmt);
/* Walk caches are now this VM's; they keep what they hold if its tables are shaped as the last VM's. */
void cpu_shape(struct mmu *mmu);

/* The nested TLB's code for a page of this order; orders without one are kept as 4 KiB pieces (code 0). */
static inline unsigned nested_tlb_code(const struct mmu_cpu *cpu, unsigned order)
{
	int code = cpu->tlb.code_of_order[order];

	return code < 0 ? 0 : (unsigned)code;
}

/* ---- space.c ---- */

/* Gives numbers to the bare, global and gpa spaces of a new mmu. -ENOSPC. */
int spaces_init(struct mmu *mmu);
void spaces_fini(struct mmu *mmu);
/* Finds or makes the space of these registers. NULL: no memory. */
struct space *space_get(struct mmu *mmu, const struct guest_paging *p);
/* Forgets every space but the bare one; vcpu->space becomes NULL. */
void spaces_drop_all(struct mmu *mmu);
struct space *space_by_number(struct mmu *mmu, uint32_t number);
static inline struct space *space_bucket(struct mmu *mmu, uint32_t asid)
{
	return mmu->bucket[asid % SPACE_BUCKETS];
}
/* The walker's view again, after the table's header changed. 0, -EAGAIN…, -EINVAL: it is no such table. */
int space_open_table(struct space *s);

/* ---- flushes (flush.c) ---- */

/* Drops TLB entries of one stretch of a space (globals of it too), and walk-cache entries that overlap it. */
enum flush_walks { KEEP_WALKS, DROP_WALKS };
void flush_range(struct mmu *mmu, uint32_t space, uint64_t va, uint64_t bytes, enum flush_walks walks);
void flush_space(struct mmu *mmu, uint32_t space);
void flush_vm(struct mmu *mmu);
/* Empties the walk cache of guest (or shadow) tables, for this VM. */
void flush_walks(struct mmu *mmu);
/* Drops whatever leads to these machine frames. */
void flush_frames(struct mmu *mmu, mfn_t mfn, uint64_t n);

/* ---- memory.c ---- */

void guest_mem_init(struct guest_mem *g, struct mmu *mmu, const struct pt_mem_ops *ops);
/* Ops of the hypervisor's own look at guest memory: backs frames, charges nobody. */
extern const struct pt_mem_ops guest_mem_sw_ops;
void guest_mem_begin(struct guest_mem *g);
void guest_mem_saw(struct guest_mem *g, gfn_t gfn, mfn_t mfn);
/* Where a frame read in this walk stands, or INVALID_MFN. */
mfn_t guest_mem_where(const struct guest_mem *g, gfn_t gfn);
/* The walker's update of A and D: atomic, through the second door. */
int guest_mem_cas(struct pt_mem *m, uint64_t addr, unsigned size, uint64_t expect, uint64_t value);
int guest_mem_no_store(struct pt_mem *m, uint64_t addr, unsigned size, const void *in);
int guest_mem_no_alloc(struct pt_mem *m, unsigned order, uint64_t *addr);
void guest_mem_no_free(struct pt_mem *m, uint64_t addr, unsigned order);
hpa_t guest_mem_hpa(struct pt_mem *m, uint64_t addr);

/* ---- walk.c ---- */

/*
 * Walks the guest's table of f->space through g. WALK_CACHED: starts from walk
 * caches, fills them, and tracks what was read (f->cacheable says if it could).
 * Fills f->walk, f->gpa.
 */
enum walk_caches { WALK_COLD, WALK_CACHED };
void guest_walk(struct guest_mem *g, struct mmu_fault *f, enum walk_caches caches);
/*
 * The same from a table below the root, of a hierarchical guest table, beside
 * all walk caches; what was read is the caller's to track.
 */
struct guest_start {
	int level;       /* < 0: the root */
	uint64_t table;  /* gpa */
	uint8_t rights;  /* that the entries above it leave */
	mfn_t mfn;       /* where it stands, if the walker knows; INVALID_MFN: it asks the second stage */
};
void guest_walk_from(struct guest_mem *g, struct mmu_fault *f, const struct guest_start *from);
/*
 * Walks a table of the hypervisor's own (p2m, shadow) with the walk cache wc;
 * hierarchical organisations only start from it.
 */
void host_walk(struct mmu *mmu, struct pt *pt, struct walk_cache *wc, const struct walk_req *req, struct walk *w);
/* The same for a bare radix tree in the machine. */
void host_walk_radix(struct mmu *mmu, const struct gpt_format *fmt, struct pt_mem *m, uint64_t root,
		     struct walk_cache *wc, const struct walk_req *req, struct walk *w);
/* Builds f->entry from guest rights, host rights and both orders; sets TLB_SLOW_W where stores must be seen. */
void make_entry(struct mmu *mmu, struct mmu_fault *f, uint64_t gfn, uint8_t guest_order, uint8_t guest_rights,
		uint64_t mfn, uint8_t host_order, uint8_t host_rights);
/* The access leads where no memory is: reported as a load of a table entry there would be. */
void no_memory_there(const struct mmu *mmu, struct mmu_fault *f);
/* Is f->entry what the guest's tables and the per-gfn truth say? BUG if not. */
void check_entry(struct vcpu *v, const struct mmu_fault *f);

/* ---- track.c ---- */

/*
 * Uses noted of late, by table: nearly every walk comes by one of them. Only
 * a use that stands in its page's list is here; when any goes, all go.
 */
struct track_recent {
	uint64_t table, va_base; /* bits 2..0 of va_base: level; 0 is never a level-7 table */
	uint32_t space;          /* 0: nothing is noted here */
} __attribute__((aligned(LINE_SIZE / 2)));
enum { TRACK_RECENT = 4096 };
static_assert(sizeof(struct track_recent) == LINE_SIZE / 2, "two to a line");

static inline struct track_recent *track_recent_slot(const struct mmu *mmu, uint64_t table)
{
	return &mmu->track_recent[(table >> PAGE_SHIFT) & (TRACK_RECENT - 1)];
}
static inline bool track_is_recent(const struct track_recent *r, uint64_t table, uint64_t base_and_level, uint32_t space)
{
	return r->table == table && r->va_base == base_and_level && r->space == space;
}

int track_init(struct mmu *mmu);
void track_fini(struct mmu *mmu);
/* Remembers that something cached was read by this walk. False: no memory; then nothing may be cached. */
bool track_walk(struct mmu *mmu, const struct space *s, const struct walk *w, uint64_t va);
/* The same for one positional table of it. */
bool track_table(struct mmu *mmu, const struct space *s, const struct walk_table *t, uint64_t va);
/* The frame's bytes [gpa, gpa+len), within one page, changed; old: what they were (NULL: unknown). */
void track_written(struct mmu *mmu, gpa_t gpa, uint64_t len, const void *old);
/* Forgets a frame: everything read from it is dropped first. */
void track_drop_gfn(struct mmu *mmu, gfn_t gfn);
/* Forgets what was read for one space; its caches are the caller's. */
void track_drop_space(struct mmu *mmu, uint32_t space);
/* A table's header was read into the walker's registers: stores to it make the space stale. */
bool track_header(struct mmu *mmu, gfn_t gfn);
bool track_has(struct mmu *mmu, gfn_t gfn);
int track_audit(struct mmu *mmu, const char **why);

/* ---- access.c ---- */

/* A store to a tracked frame changed memory: everything cached from it follows. */
void mmu_table_written(struct mmu *mmu, gpa_t gpa, uint64_t len, const void *old, bool emulated);
/* Enters the space of v->paging again; v->space stays NULL if there is no memory for it. */
void vcpu_reload(struct vcpu *v);
/* No space any more, and a tag that no TLB entry has: the gpa space is the nested TLB's alone. */
static inline void vcpu_leave_space(struct vcpu *v)
{
	v->space = NULL;
	v->tag_space = v->mmu->gpa_space;
	v->tag_gspace = 0;
}

/* ---- explain.c ---- */

void mmu_set_logs(struct mmu *mmu, struct pt_log *log);
/* Who listens to the table memories when no explanation is under way. */
static inline struct pt_log *mmu_log(const struct mmu *mmu)
{
	return mmu->cpu->caches ? &mmu->cpu->caches->log : NULL;
}

/* ---- mmu.c ---- */

/* What modes weigh by. */
static inline const struct cost_table *mmu_costs(const struct mmu *mmu)
{
	return mmu->config.cost ? mmu->config.cost : &cost_default;
}

static inline bool is_riscv(const struct gpt_format *f) { return f && f->family == GPT_RISCV; }
#endif
