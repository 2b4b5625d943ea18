/* SPDX-License-Identifier: MIT */
/*
 * What an event costs, in cycles: a table, each figure with its source, all
 * replaceable from a machine file. Cycles are a model; references and depth
 * stand beside them in every report and need none.
 */
#ifndef QUIRE_MACHINE_COST_H
#define QUIRE_MACHINE_COST_H

#include <stddef.h>
#include <stdint.h>

enum cost_event {
	COST_REF,            /* one memory reference of the workload itself */
	COST_L2_TLB_HIT,     /* L1 TLB miss that hits L2 */
	COST_WALK_REF,       /* one reference of a walk, dependent on the one before */
	COST_WALK_REF_OVERLAP, /* one that may go beside another */
	COST_AD_UPDATE,      /* locked update of an entry */
	COST_GUEST_FAULT,    /* exception into the guest's kernel and return, handler's fixed part */
	COST_EXIT,           /* guest to hypervisor and back */
	COST_HIDDEN_FAULT,   /* handler's work besides the exit: frame found, zeroed, entered */
	COST_SHADOW_FILL,    /* guest tables walked in software, entry set */
	COST_TABLE_WRITE,    /* store to a protected table decoded and emulated */
	COST_RESYNC_ENTRY,   /* one entry of an unsynchronised table compared */
	COST_ROOT_SWITCH,    /* intercepted change of the table root */
	COST_FENCE,          /* intercepted invalidation */
	COST_PV_UPDATE,      /* one entry that a paravirtualised guest asked for: checked and set */
	COST_TLB_FLUSH,      /* the hypervisor's own flush */
	COST_TLB_REFILL,     /* interrupt to the guest's TLB-miss handler, its instructions, its return; loads apart */
	COST_TLB_WRITE,      /* trapped write to a TLB: decoded, checked, carried out; loads apart */
	COST_REFLECT,        /* an event handed on to a deprivileged kernel, or its return carried out */
	COST_PRIV_INSTR,     /* a trapped privileged instruction decoded and emulated */
	COST_DISK_PAGE,      /* 4 KiB to or from the guest's disk */
	COST_CACHE_L1,       /* with --caches: a load of data or of a table, by where its line was */
	COST_CACHE_L2,
	COST_CACHE_LLC,
	COST_CACHE_MEMORY,
	COST_EVENTS
};

struct cost {
	const char *name; /* as in machine files: "walk_ref" */
	uint64_t cycles;
	const char *source;
};

struct cost_table {
	struct cost of[COST_EVENTS];
};

extern const struct cost_table cost_default;

/* Cycles of n such events. */
static inline uint64_t cost_price(const struct cost_table *t, enum cost_event e, uint64_t n)
{
	return t->of[e].cycles * n;
}

#endif
