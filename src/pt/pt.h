/* SPDX-License-Identifier: MIT */
/*
 * Organisations: how a key (space, page) finds its entry. One file each; a
 * new one is a struct pt_org and QUIRE_PT_ORG(it), nothing else.
 *
 * Rules that every organisation keeps, and the conformance suite checks:
 *  - All state that lookups need is in pt_mem, found from pt->root and
 *    pt->params: a table reopened from those answers alike.
 *  - At every prefix of the stores an operation makes, each key translates to
 *    its old or its new frame (or to nothing, where the old or the new is
 *    nothing), never to a third.
 *  - An operation that fails changed nothing that a lookup can see and leaks nothing.
 *  - A lookup restarts without side effects when a load returns -EAGAIN; so
 *    does map, unmap or protect, whichever load or store met it: all loads and
 *    allocations come first, and stores made before one that fails are undone
 *    (pt/txn.h). The caller mends and repeats.
 *  - A table of one space (not per_machine) does not look at key.space.
 *  - rights are taken as given, A and D included, by map and by protect; at a
 *    second stage U is added.
 *
 * What stands here to build one from:
 *   leaf.h   the 8-byte leaf of organisations that have no format of their own,
 *            the permission and A/D part of their lookups
 *   array.h  an array in pt_mem, longer than one allocation can be
 *   txn.h    the stores of one operation: all, or none
 * and to read first: flat.c, the shortest.
 */
#ifndef QUIRE_PT_PT_H
#define QUIRE_PT_PT_H

#include "base/types.h"
#include "gpt/format.h"
#include "gpt/walk.h"
#include "machine/pt_mem.h"

struct pt;

struct pt_params {
	const struct gpt_format *fmt; /* radix: its format; others: range of va and leaf orders follow it */
	bool second_stage; /* keys are gfns: x4 roots, U set in every leaf */
	uint64_t nframes;  /* frames of the memory mapped to: inverted: entries */
	uint64_t npages;   /* flat: keys are in [0, npages) */
	uint64_t frame_base; /* first frame number mapped to (inverted: entry 0 is this frame) */
	uint8_t page_order; /* inverted: its entries are for frames of 2^page_order * 4 KiB (0 but for case 11) */
	uint64_t anchors;   /* inverted: heads of chains, rounded up to a power of two; 0: as many as entries */
	const char *role; /* "guest", "p2m", "shadow": for the log */
};

/* page is va >> 12 of the unsigned va: 52 bits, the sign extension kept in them. */
struct pt_key {
	uint32_t space;
	uint64_t page;
};

struct pt_entry {
	struct pt_key key; /* page aligned to order */
	uint8_t order;
	uint8_t rights;
	uint64_t frame; /* aligned to order */
};

enum { PT_OPTIONS_MAX = 4 };

enum { PT_PRIV_WORDS = 48 };

struct pt_org {
	const char *name;
	const char *summary; /* one line for `quire list` */
	const char *options[PT_OPTIONS_MAX]; /* "+linear" is options[0] = "linear"; flags bit i = options[i] */
	bool per_machine;  /* as p2m: one table for all VMs, keyed by space */
	bool sparse_keys;  /* false: needs params.npages, cannot take wide gvas */
	bool hierarchical; /* tables of levels: walk caches apply, walk_req.start_* honoured */
	/* All: 0 or -ENOMEM, -EAGAIN, -EFAULT, or as said. */
	int (*create)(struct pt *pt);
	/* Frees every frame. Called with no lookups running. */
	void (*destroy)(struct pt *pt);
	/* Fills pt's own fields (never lookups' results) from pt->root: -EINVAL if the bytes are not such a table. */
	int (*open)(struct pt *pt);
	/*
	 * key.page and frame aligned to order. Replaces a mapping of the same
	 * page and order; -EEXIST if one of another order is in the way;
	 * -EINVAL for an order or page it cannot have.
	 */
	int (*map)(struct pt *pt, const struct pt_entry *e);
	/* Exactly this page and order: -ENOENT if not so. old may be NULL. */
	int (*unmap)(struct pt *pt, struct pt_key key, unsigned order, struct pt_entry *old);
	int (*protect)(struct pt *pt, struct pt_key key, unsigned order, uint8_t rights);
	/* The hardware's walk: counted loads, permissions, A and D. */
	void (*lookup)(struct pt *pt, const struct walk_req *req, struct walk *w);
	/*
	 * The first mapping of `space` that covers or follows page, by page;
	 * -ENOENT: none. Loads are not what a walker would do; callers save counts.
	 */
	int (*next)(struct pt *pt, struct pt_key from, struct pt_entry *e);
	/* Every invariant of the bytes; 0 or -EINVAL with *why set. */
	int (*audit)(struct pt *pt, const char **why);
	/*
	 * Drops all mappings of one space; an organisation that is not
	 * per_machine holds one space, and drops all it has. The one operation
	 * that an error may leave half done (each mapping gone or whole):
	 * repeated, it goes on.
	 */
	int (*drop_space)(struct pt *pt, uint32_t space);
};

struct pt {
	const struct pt_org *org;
	uint32_t flags; /* org options in force */
	struct pt_params params;
	struct pt_mem *mem;
	uint64_t root;    /* address in mem: all that a reopen needs, with params */
	uint64_t orders;  /* leaf orders it can have; bit n: 2^n frames */
	uint64_t entries; /* mappings now; kept by open() too */
	uint64_t priv[PT_PRIV_WORDS]; /* the organisation's copy of header fields (registers of the walker) */
};

/* Sets pt up and creates an empty table in mem. pt is the caller's. */
int pt_create(struct pt *pt, const struct pt_org *org, uint32_t flags,
	      const struct pt_params *params, struct pt_mem *mem);
/* A second view of an existing table, through another memory. */
int pt_open(struct pt *pt, const struct pt_org *org, uint32_t flags,
	    const struct pt_params *params, struct pt_mem *mem, uint64_t root);
void pt_destroy(struct pt *pt);

/* The plain question, with WALK_AD_PEEK and all rights: 0 and *e, -ENOENT, or what a load returned. */
int pt_find(struct pt *pt, struct pt_key key, struct pt_entry *e);
/*
 * Unmaps all that lies wholly or partly in [start, end) of a space; returns
 * mappings removed or -errno. A sequence of unmaps: what was removed before an
 * error stays removed; repeated, it goes on.
 */
int64_t pt_unmap_range(struct pt *pt, uint32_t space, uint64_t start, uint64_t end);

/*
 * Registry: each organisation's file puts itself into a linker section.
 * "radix", "inverted+linear": name and options. NULL: unknown, *flags untouched.
 */
const struct pt_org *pt_org_find(const char *name, size_t len);
/* 0; -ENOENT: no organisation of this name; -EINVAL: it has no such option. */
int pt_org_parse(const char *spec, const struct pt_org **org, uint32_t *flags);
/* i-th registered, in link order, then those added; NULL past the end. */
const struct pt_org *pt_org_at(unsigned i);
/*
 * One more while the program runs (a plug-in's), before any thread looks
 * names up; org stays. -EEXIST: the name is taken; -ENOSPC.
 */
enum { PT_ORGS_ADDED_MAX = 32 };
int pt_org_add(const struct pt_org *org);

#define QUIRE_PT_ORG(o) \
	static const struct pt_org *const o##_registered \
		__attribute__((section("quire_pt_orgs"), used)) = &(o)

#endif
