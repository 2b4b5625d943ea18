/* SPDX-License-Identifier: MIT */
/*
 * The modelled TLBs of one processor: measurement, not speed, decides what
 * they hold; speed decides how they are laid out.
 *
 *        L1 instruction       L1 data            one array per page-size class
 *        4K  2M  1G           4K  2M  1G
 *             └───── miss ─────┘
 *                L2 unified                      L2 hit refills L1
 *                    │ miss
 *          walk caches, one per level            (tlb/walkcache.h)
 *
 * Entries are tagged with a space (one VM and address space: a VMID and an
 * ASID in one number, 16 bits) and may be of any page order. L2 is neither
 * inclusive nor exclusive: a fill goes to both, evictions are independent.
 *
 * Each entry is two words, in struct-of-arrays form per set:
 *
 *   tag   63      48 47  45 44                    0
 *        │  space   │ code │  va >> (12 + order)   │   0: empty (space 0 is never used)
 *
 *   data  63        28 27    16 15   11 10        0
 *        │ mfn of va's  │ vmid │ order │  flags    │
 *        │ superpage    │      │       │ TLB_*     │
 *
 * `code` numbers the page orders in use on this machine (tlb_config.orders);
 * code 0 is always order 0.
 */
#ifndef QUIRE_TLB_TLB_H
#define QUIRE_TLB_TLB_H

#include "base/bits.h"
#include "base/rng.h"
#include "base/types.h"

enum {
	TLB_R = RIGHT_R,
	TLB_W = RIGHT_W,
	TLB_X = RIGHT_X,
	TLB_U = RIGHT_U,
	TLB_G = RIGHT_G,
	TLB_SLOW_W = 1 << 5, /* stores must leave the fast path (a tracked table's frame) */
	TLB_FLAGS = 0x7ff,
};

/* Numbers from TLB_POLICIES on are those of policies added (tlb/policy.h). */
enum tlb_policy { TLB_LRU, TLB_PLRU, TLB_FIFO, TLB_RANDOM, TLB_POLICIES };
const char *tlb_policy_name(enum tlb_policy p);
/* Must a lookup that hits way 0 of its set be told to the policy? Then tlb_hot may not be used. */
static inline bool tlb_policy_hears_hits(unsigned policy)
{
	return policy == TLB_PLRU || policy >= TLB_POLICIES;
}

enum { TLB_WAYS_MAX = 64, TLB_CODES = 8, TLB_CLASSES = 3, TLB_SPACE_MAX = 0xffff, TLB_VMID_MAX = 0xfff };

/* Page-size classes: 4 KiB; up to 64 MiB ("large": 2M, 4M); above ("huge": 1G…). */
static inline unsigned tlb_class_of_order(unsigned order)
{
	return order == 0 ? 0 : order <= 14 ? 1 : 2;
}

struct tlb_array_config {
	uint16_t sets; /* power of two; 0: no such array, its entries are not cached there */
	uint8_t ways;  /* 1..64 */
	uint8_t policy; /* enum tlb_policy */
};

struct tlb_config {
	char name[24];
	const char *source;   /* of the figures */
	const char *note;     /* walk-cache behaviour in words */
	struct tlb_array_config l1i[TLB_CLASSES], l1d[TLB_CLASSES], l2[TLB_CLASSES];
	bool l1_shared;       /* entries of all classes live in the class-0 L1 arrays */
	bool l2_shared_large; /* class-1 entries live in the class-0 L2 array */
	bool l2_shared_huge;  /* and class-2 ones too */
	struct tlb_array_config walk[4]; /* walk cache of tables at level 0,1,2,3 (what the entry points to) */
	struct tlb_array_config host_walk[4]; /* the same for second-stage tables */
	struct tlb_array_config nested; /* gpa → hpa, 4 KiB and superpages together */
	bool walk_combined; /* a guest walk-cache hit knows the table's machine address: no second stage for it */
};

/*
 * One set-associative array. Under TLB_LRU the ways of a set are ordered by
 * last use, under TLB_FIFO by arrival. Where that order stands (`order`) is a
 * matter of speed: L1 arrays and wide sets keep the ways themselves in it,
 * newest first, so that tlb_hot finds way 0; others keep a word of 16 way
 * numbers per set and move nothing (tlb/array.h).
 */
enum tlb_order { TLB_ORDER_PLACE, TLB_ORDER_WORD, TLB_ORDER_TREE, TLB_ORDER_NONE, TLB_ORDER_ADDED };
struct tlb_array {
	uint64_t *tags;  /* sets * ways */
	uint64_t *data;  /* sets * ways */
	uint64_t *state; /* per set: the order word, or PLRU's tree; words of a policy added */
	uint32_t set_mask;
	uint8_t ways, policy, order;
	bool present; /* if not: one set of one way that stays empty */
};

struct tlb_counts {
	uint64_t l1i_accesses, l1d_accesses; /* by lookups through tlb_lookup; batch users add their own */
	uint64_t l1i_misses, l1d_misses, l2_hits, l2_misses; /* l1i_misses + l1d_misses == l2_hits + l2_misses */
	uint64_t fills;     /* calls of tlb_fill */
	uint64_t evictions; /* entries displaced from any array, by fills and by L1 refills */
	uint64_t inval_page, inval_space, inval_vm, inval_all, inval_frames, inval_range; /* operations */
	uint64_t dropped; /* entries removed by them */
};

struct tlb {
	struct tlb_array l1[2][TLB_CLASSES]; /* [0] data, [1] instruction */
	struct tlb_array l2[TLB_CLASSES];
	uint64_t orders;       /* orders of all codes */
	uint8_t order_of_code[TLB_CODES];
	int8_t code_of_order[64];
	bool live[TLB_CODES];     /* was any entry of the code filled since the last inval_all? If not, no probe */
	uint8_t codes;            /* in use */
	uint8_t l1_of_code[TLB_CODES], l2_of_code[TLB_CODES]; /* class whose array holds them */
	uint64_t spaces_seen;     /* bit (space mod 64) of each space filled since the last inval_all */
	bool any;             /* some array exists */
	bool is_common_path;  /* data L1 and L2 as tlb_lookup_rest is compiled for, and only code 0 is live */
	bool instr_filled;    /* something was put into instruction L1 since the last inval_all */
	uint64_t missed;      /* set in is_common_path: a tag known to be in neither data L1 nor L2, or 0 */
	struct rng rng;
	struct tlb_counts counts;
	const struct tlb_config *config;
};

/* A translation as TLBs hold it. */
struct tlb_entry {
	uint64_t vpn;  /* va >> 12, aligned to order */
	uint32_t space;
	uint16_t vmid;
	uint8_t order;
	uint16_t flags; /* TLB_* */
	uint64_t mfn;  /* of the superpage's first frame */
};

static ALWAYS_INLINE uint64_t tlb_tag(uint32_t space, unsigned code, uint64_t vpn, unsigned order)
{
	return (uint64_t)space << 48 | (uint64_t)code << 45 | ((vpn >> order) & low_bits(45));
}

static ALWAYS_INLINE uint64_t tlb_data(uint64_t mfn, uint16_t vmid, unsigned order, unsigned flags)
{
	return mfn << 28 | (uint64_t)vmid << 16 | (uint64_t)order << 11 | flags;
}

static ALWAYS_INLINE uint64_t tlb_data_mfn(uint64_t d) { return d >> 28; }
static ALWAYS_INLINE unsigned tlb_data_vmid(uint64_t d) { return (d >> 16) & 0xfff; }
static ALWAYS_INLINE unsigned tlb_data_order(uint64_t d) { return (d >> 11) & 31; }
static ALWAYS_INLINE unsigned tlb_data_flags(uint64_t d) { return d & TLB_FLAGS; }
/* The 4 KiB frame that vpn falls into. */
static ALWAYS_INLINE uint64_t tlb_data_frame(uint64_t d, uint64_t vpn)
{
	return tlb_data_mfn(d) + (vpn & low_bits(tlb_data_order(d)));
}

/* Bytes of memory tlb_init needs for this configuration. */
size_t tlb_bytes(const struct tlb_config *config);
/*
 * memory is tlb_bytes() long, zeroed, 64-byte aligned and the caller's.
 * orders: all page orders that entries may have (bit 0 set), at most
 * TLB_CODES, none above 31 (what the data word holds; 2^31 pages are 8 TiB);
 * -EINVAL otherwise, and for a configuration that does not validate. The
 * seed drives TLB_RANDOM.
 */
int tlb_init(struct tlb *t, const struct tlb_config *config, uint64_t orders, uint64_t seed, void *memory);

/*
 * Looks vpn up: L1 of the kind, then L2 (which refills L1). Counts, and moves
 * entries as the policy says. gspace: where this VM's global entries are
 * tagged (0: none). Returns the data word or 0 (an entry's data is never 0).
 * Rights are the caller's to check.
 */
uint64_t tlb_lookup(struct tlb *t, enum acc_kind kind, uint32_t space, uint32_t gspace, uint64_t vpn);
/*
 * The same for one that already knows way 0 of the class-0 L1 set does not
 * match. It counts misses and L2 hits, but not the access: that is the caller's.
 */
uint64_t tlb_lookup_rest(struct tlb *t, enum acc_kind kind, uint32_t space, uint32_t gspace, uint64_t vpn);
/* Looks without counting or moving anything; *level gets 1 or 2. */
uint64_t tlb_peek(const struct tlb *t, enum acc_kind kind, uint32_t space, uint32_t gspace, uint64_t vpn, int *level);

/*
 * Inserts into L1 of the kind and L2; an entry of the same tag is replaced in
 * place (and in the other L1, where it stands there, so no two copies of a tag
 * ever disagree).
 */
void tlb_fill(struct tlb *t, enum acc_kind kind, const struct tlb_entry *e);
/* A 4 KiB entry of data was filled: a copy of it in instruction L1 becomes its equal. */
void tlb_follow_instr(struct tlb *t, uint64_t tag, uint64_t data);

/* Drops what translates vpn in this space, of whatever order; gspace 0: leave globals. Returns entries dropped. */
unsigned tlb_inval_page(struct tlb *t, uint32_t space, uint32_t gspace, uint64_t vpn);
/* Drops what overlaps [vpn, vpn + n) in this space. */
unsigned tlb_inval_range(struct tlb *t, uint32_t space, uint64_t vpn, uint64_t n);
unsigned tlb_inval_space(struct tlb *t, uint32_t space);
unsigned tlb_inval_vm(struct tlb *t, uint16_t vmid);
/* Drops what leads to any machine frame in [mfn, mfn + n): how a change of gpa → hpa is made known. */
unsigned tlb_inval_frames(struct tlb *t, uint64_t mfn, uint64_t n);
unsigned tlb_inval_all(struct tlb *t);

/* Calls f for each entry; level 1 data, 11 instruction, 2. For displays and audits. */
void tlb_for_each(const struct tlb *t, void (*f)(void *ctx, int level, const struct tlb_entry *e), void *ctx);

/* Presets, NULL-terminated; "none" has no array at all. */
extern const struct tlb_config *const tlb_presets[];
const struct tlb_config *tlb_preset_find(const char *name);
/* i-th of those, then those added; NULL past the end. */
const struct tlb_config *tlb_preset_at(unsigned i);
/*
 * One more while the program runs (a plug-in's; it validates), before any
 * thread looks names up; config stays. -EEXIST: the name is taken; -ENOSPC.
 */
enum { TLB_PRESETS_ADDED_MAX = 16 };
int tlb_preset_add(const struct tlb_config *config);

/* 0, or -EINVAL with *why. */
int tlb_config_validate(const struct tlb_config *config, const char **why);

/*
 * The fast path, for loops over references: way 0 of the class-0 L1 set.
 * Under LRU and FIFO a hit there moves nothing; under RANDOM neither; under
 * PLRU and policies added the caller must use tlb_lookup.
 */
static ALWAYS_INLINE uint64_t tlb_hot(const struct tlb *t, bool exec, uint64_t tag0)
{
	const struct tlb_array *a = &t->l1[exec][0];
	size_t i = (size_t)((uint32_t)tag0 & a->set_mask) * a->ways;

	return a->tags[i] == tag0 ? a->data[i] : 0;
}

/*
 * The array primitives, for the nested TLB (and tests). Tags as above; data
 * is any word but 0. Inserting a tag that is there replaces its data and
 * moves nothing.
 */
size_t tlb_array_bytes(const struct tlb_array_config *c);
/* Takes its storage (zeroed, 64-byte aligned) from *memory and advances it. sets 0: an absent array. */
void tlb_array_init(struct tlb_array *a, const struct tlb_array_config *c, char **memory);
uint64_t tlb_array_lookup(struct tlb_array *a, uint64_t tag);
void tlb_array_insert(struct tlb_array *a, uint64_t tag, uint64_t data, struct rng *rng);
bool tlb_array_remove(struct tlb_array *a, uint64_t tag);
/* Removes each entry for which f says so; keeps the order of the others. */
unsigned tlb_array_remove_if(struct tlb_array *a, bool (*f)(const void *ctx, uint64_t tag, uint64_t data), const void *ctx);

#endif
