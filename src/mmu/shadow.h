/* SPDX-License-Identifier: MIT */
/*
 * Shadow paging: one table gva → machine, built by the hypervisor from the
 * guest's. Inside mmu/.
 *
 *   guest table frame (gfn) ◀── shadows ── struct shadow_page ── has ──▶ its own table frame
 *                                            │  keyed by (gfn, role), found by hash
 *                                            ├ parents: entries that point to it
 *                                            └ its leaf entries stand in rmaps of machine frames
 *
 * A role says what stretch of which guest table a page is made of. For a
 * shadow level j, the guest table that decides it is the lowest one whose
 * span is no smaller than the page's, whatever both formats look like:
 *
 *   guest x86-32 (10+10):    |------- level 1: 4 GiB --------|- level 0: 4 MiB -|
 *   shadow x86-64 (9×4):     L3, L2 of it; L1 quadrants 0..3  L0 quadrants 0..1
 *
 * Inside a guest superpage there is no guest table: the page is "direct".
 * Tables without positions (inverted) decide nothing by place: such pages
 * are "unplaced", private to their space, and zapped by address.
 */
#ifndef QUIRE_MMU_SHADOW_H
#define QUIRE_MMU_SHADOW_H

#include "mmu/internal.h"

enum shadow_kind { SP_PLACED, SP_DIRECT, SP_UNPLACED, SP_TABLELESS };

struct shadow_role {
	uint8_t kind;   /* enum shadow_kind */
	uint8_t level;  /* of the shadow table; of the guest's where there is no shadow table */
	uint8_t guest_level;
	uint8_t rights; /* accumulated above it */
	uint32_t space; /* private to one (SP_UNPLACED, SP_TABLELESS); else 0 */
	uint64_t base;  /* placed: offset of its stretch in the guest table's span; private: first va */
};

struct shadow_page {
	struct shadow_page *next; /* of the hash bucket */
	struct mmu *mmu;
	uint64_t gfn;      /* what it shadows; direct: first gfn of its stretch; unplaced: none (0) */
	struct shadow_role role;
	uint64_t guest_table; /* gpa of the guest table's first byte (placed, tableless) */
	uint64_t table;    /* hpa of its own table; 0: none */
	uint64_t parents;  /* rmap head: sptep of each entry that points here */
	struct list lru;   /* of all pages, most recently used first */
	struct list unsynced; /* of the lazy ones out of step */
	uint32_t roots;    /* spaces that have it as root */
	uint32_t writes;   /* trapped stores to its guest table since it was last used */
	uint16_t present;  /* entries */
	bool unsync;
	bool busy;         /* on the path being built, or being zapped: must not be recycled */
};

/* What a fault found, to be entered. */
struct shadow_fill {
	struct vcpu *v;
	struct space *space;
	uint64_t va;
	const struct walk *walk; /* of the guest's table; NULL: bare */
	struct shadow_page *leaf; /* where hardware's walk ended: the guest's has only what stands below it; NULL: the whole walk */
	uint64_t zapped;         /* mmu_shadow_zapped when leaf was found: the same still, it is there still */
	gfn_t gfn;
	uint8_t guest_order, guest_rights; /* effective, A and D included */
	struct gfn_mapping map;
};

/* How an entry is dropped: for good, or so that a refill is known to be one (lazy). */
enum drop_how { DROP_CLEAR, DROP_MARK };

/* Where gva → machine entries are kept: a radix tree of shadow pages, or a table keyed by (space, page). */
struct shadow_backend {
	int (*attach)(struct mmu *mmu);
	void (*detach)(struct mmu *mmu);
	/* Hardware's walk: f->walk (frame, order, rights; permissions not checked), f->dropped. False: nothing there. */
	bool (*walk)(struct vcpu *v, struct mmu_fault *f);
	/* MMU_RETRY: fill->leaf is gone. */
	int (*enter)(struct mmu *mmu, const struct shadow_fill *fill);
	/* The page of level 0 where f->walk ended; NULL: it ended higher. The function is NULL where pages hold no entries. */
	struct shadow_page *(*walked_page)(struct mmu *mmu, const struct mmu_fault *f);
	/* The entry made from the guest's entry at this offset of its table will be dropped soon; NULL: nothing to ask for. */
	void (*ahead)(struct shadow_page *sp, uint64_t offset);
	/* Entries of this page that come from bytes [first, last] of its guest table. */
	void (*drop_bytes)(struct shadow_page *sp, uint64_t first, uint64_t last, enum drop_how how);
	/* Entries for [va, va+bytes) of a space, whatever page they are in; bytes UINT64_MAX: all. */
	void (*drop_range)(struct mmu *mmu, struct space *s, uint64_t va, uint64_t bytes);
	/* The same for global pages that stand apart from any space; NULL: none do. */
	void (*drop_globals)(struct mmu *mmu, uint64_t va, uint64_t bytes);
	/* All entries of a page, links from its parents too. */
	void (*empty)(struct shadow_page *sp);
	/* The entry that a name in a frame's rmap stands for: keep 0 drops it, else it loses W. */
	void (*weaken)(struct mmu *mmu, struct frame *frame, uint64_t name, uint8_t keep);
	/* Is this name one of ours? (A frame may be named by other VMs' tables.) */
	bool (*is_ours)(struct mmu *mmu, uint64_t name);
	/* One page's worth at a fence: compares with the guest's entry; returns entries compared. */
	unsigned (*resync_page)(struct shadow_page *sp);
	unsigned (*resync_va)(struct mmu *mmu, struct space *s, uint64_t va);
	int (*audit)(struct mmu *mmu, uint64_t *leaves, const char **why);
	uint64_t (*bytes)(const struct mmu *mmu);
};
extern const struct shadow_backend shadow_radix, shadow_keyed;

/* Pages [page, page + n) of a space; at: how far a search for entries has come. Begins at 0. */
struct keyed_range {
	uint32_t space;
	uint64_t page, n, at;
};

/*
 * Entries keyed by (space, page), in one table or one a space: at most one
 * covers a page of a space.
 */
struct keyed_table {
	int (*attach)(struct mmu *mmu);
	void (*detach)(struct mmu *mmu);
	/* Hardware's probe, counted in f->refs and f->depth. True: f->walk has frame, order, rights (0: a dropped entry). */
	bool (*lookup)(struct mmu *mmu, uint32_t space, struct mmu_fault *f);
	/* The hypervisor's own look. */
	bool (*find)(struct mmu *mmu, uint32_t space, uint64_t page, struct pt_entry *e);
	/* Makes what entries of this space need. *orders: those they can have; bit n: 2^n frames. -ENOMEM. */
	int (*make)(struct mmu *mmu, uint32_t space, uint64_t *orders);
	/* All of a space was dropped. NULL: nothing more to do. */
	void (*emptied)(struct mmu *mmu, uint32_t space);
	/* What must go before e has room; NULL: never anything. */
	bool (*victim)(struct mmu *mmu, const struct pt_entry *e, struct pt_entry *victim);
	int (*map)(struct mmu *mmu, const struct pt_entry *e);
	void (*unmap)(struct mmu *mmu, const struct pt_entry *e);
	void (*protect)(struct mmu *mmu, const struct pt_entry *e, uint8_t rights);
	/* The next entry with a page in the range, in the table's order; it may be unmapped before the one after. */
	bool (*next)(struct mmu *mmu, struct keyed_range *r, struct pt_entry *e);
	int (*audit)(struct mmu *mmu, const char **why);
	uint64_t (*bytes)(const struct mmu *mmu);
};
extern const struct keyed_table keyed_org, keyed_cache;
/* Puts an entry into f->walk. */
void keyed_found(struct mmu_fault *f, const struct pt_entry *e);

/* The hashed cache of inverted_shadow.c. */
struct shadow_cache {
	uint64_t base; /* hpa of its groups, a line each */
	uint64_t orders; /* that it may have; bit n: 2^n frames */
	uint32_t groups;
	uint8_t order; /* of its frames */
	uint32_t entries;
	uint32_t count[2][ORDERS]; /* entries of spaces and global ones, by order: which probes hardware makes */
};

/* A mode that shadows only some of the guest's tables (agile) decides which. */
struct shadow_hooks {
	/* Is this guest table left as it is, walked by hardware? */
	bool (*is_nested)(struct mmu *mmu, gfn_t gfn);
	/* Before a fill is entered, when no page is busy. False: the root itself is nested, nothing is to be entered. */
	bool (*prepare)(struct mmu *mmu, const struct shadow_fill *fill);
	/* A store to a shadowed table was trapped. */
	void (*trapped)(struct mmu *mmu, gfn_t gfn);
};

enum { SHADOW_BUCKETS = 1024 };

struct shadow {
	const struct shadow_backend *be;
	const struct gpt_format *fmt;
	struct shadow_page *bucket[SHADOW_BUCKETS];
	const struct shadow_hooks *hooks; /* agile; else NULL */
	bool fills_pages;     /* a leaf page is filled whole when its first entry is set */
	struct list pages;    /* every page, most recently used first */
	struct list unsynced;
	unsigned npages, budget, flood_limit;
	const struct keyed_table *keyed; /* shadow_keyed */
	bool globals;         /* global pages stand in mmu->gspace */
	struct pt *shared;    /* keyed_org: the machine's one table for all spaces, or NULL */
	struct org_table *table[SPACE_BUCKETS]; /* and else one a space, by number */
	struct shadow_cache cache; /* keyed_cache */
};

/* ---- shadow.c ---- */

extern const struct mode_ops shadow_mode;
/* f->walk found a shadow leaf: may this access use it? Fills f->entry. */
enum walked shadow_found(struct mmu *mmu, struct mmu_fault *f);
/* The walk of a shadow table, from its root. Permission is the guest's rule, checked by the caller: it asks for the least. */
static inline struct walk_req shadow_req(uint32_t space, uint64_t va)
{
	return (struct walk_req){
		.va = va,
		.space = space,
		.kind = ACC_READ,
		.ctl = CTL_MXR | CTL_NXE | CTL_PSE | CTL_PGE,
		.ad = WALK_AD_PEEK,
		.start_level = -1,
	};
}
/* A store to a protected table: an exit. MMU_EMULATE or MMU_FIXED. */
int shadow_table_write(struct mmu *mmu, gpa_t gpa);

/* ---- shadow_page.c ---- */

static inline struct shadow_page **sp_bucket(struct shadow *sh, uint64_t gfn)
{
	return &sh->bucket[hash_u64(gfn) & (SHADOW_BUCKETS - 1)];
}
#define for_each_sp_of(sh, g, sp) \
	for (struct shadow_page *sp = *sp_bucket(sh, g); sp; sp = sp->next) \
		if (sp->gfn == (g) && (sp->role.kind == SP_PLACED || sp->role.kind == SP_TABLELESS))

/* Finds or makes a page; a new one may recycle the oldest. NULL: no memory. */
struct shadow_page *sp_get(struct mmu *mmu, uint64_t gfn, const struct shadow_role *role, uint64_t guest_table);
/* Is this the page of that gfn and role? */
bool sp_is(const struct shadow_page *sp, uint64_t gfn, const struct shadow_role *role, uint64_t guest_table);
/* Empties and frees it. */
void sp_zap(struct shadow_page *sp);
/* The same for a page and all below it that nobody else points to. */
void sp_zap_tree(struct shadow_page *sp);
void sp_zap_all(struct mmu *mmu);
struct shadow_page *sp_of_table(struct mmu *mmu, uint64_t hpa);
void sp_used(struct shadow_page *sp);
/* Makes a lazy page writable, and in step again. */
void sp_unsync(struct shadow_page *sp);
void sp_sync(struct shadow_page *sp);
/* After a trapped store: pages of a gfn that was written time and again without being used go. */
void sp_flood(struct mmu *mmu, gfn_t gfn);
static inline void sp_flush(struct mmu *mmu)
{
	mmu->vm->stats.tlb_flush++;
	flush_vm(mmu);
}

/* Leaves of the hypervisor's table, by size. */
void shadow_count_leaf(struct mmu *mmu, unsigned order, int by);
/* Rights a shadow leaf may have, given the guest's and the frame's. */
uint8_t shadow_leaf_rights(const struct shadow_fill *fill);

#endif
