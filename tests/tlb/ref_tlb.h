/* SPDX-License-Identifier: MIT */
/*
 * The reference: arrays of slots with time stamps, one trivially right step
 * per operation. It shares no code with src/tlb but the names of the types
 * and, for TLB_RANDOM, the generator.
 */
#ifndef QUIRE_TESTS_REF_TLB_H
#define QUIRE_TESTS_REF_TLB_H

#include "tlb/tlb.h"

enum { REF_SLOTS = 256 };

struct ref_slot {
	bool valid;
	struct tlb_entry e;
	uint64_t used, arrived;
};

struct ref_array {
	unsigned sets, ways, policy; /* sets 0: absent */
	struct ref_slot slot[REF_SLOTS];
	bool right[REF_SLOTS][64]; /* PLRU, per set and node: the right half is older */
};

struct ref_tlb {
	struct ref_array l1[2][TLB_CLASSES], l2[TLB_CLASSES];
	const struct tlb_config *config;
	uint64_t orders, clock;
	struct rng rng;
	struct tlb_counts counts;
};

void ref_init(struct ref_tlb *r, const struct tlb_config *config, uint64_t orders, uint64_t seed);
/* NULL: a miss. */
const struct tlb_entry *ref_lookup(struct ref_tlb *r, bool exec, uint32_t space, uint32_t gspace, uint64_t vpn);
const struct tlb_entry *ref_peek(struct ref_tlb *r, bool exec, uint32_t space, uint32_t gspace, uint64_t vpn,
				 int *level);
void ref_fill(struct ref_tlb *r, bool exec, const struct tlb_entry *e);

/* Drops where all that is asked for holds. */
struct ref_drop {
	bool by_space, by_vm, by_vpn, by_mfn;
	uint32_t space;
	uint16_t vmid;
	uint64_t vpn, vpns, mfn, mfns;
};
unsigned ref_drop(struct ref_tlb *r, const struct ref_drop *d);
/* The entry of this level that equals e in all fields, or NULL. */
const struct tlb_entry *ref_find(const struct ref_tlb *r, int level, const struct tlb_entry *e);
unsigned ref_size(const struct ref_tlb *r);

#endif
