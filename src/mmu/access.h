/* SPDX-License-Identifier: MIT */
/* What access.c, run.c and explain.c share. */
#ifndef QUIRE_MMU_ACCESS_H
#define QUIRE_MMU_ACCESS_H

#include "mmu/internal.h"

/* A translated access. */
struct xlat {
	hpa_t hpa;
	gpa_t gpa;    /* of bare accesses and of emulated stores */
	bool slow;    /* stores: the frame may be tracked */
	bool emulate; /* a store the hypervisor must do: hpa is not valid */
};

enum access_status xlate(struct vcpu *v, enum segment seg, uint64_t va, enum acc_kind kind, struct xlat *x);
/* The same where the TLBs were asked already: data is what they said, 0 for a miss. */
enum access_status xlate_found(struct vcpu *v, uint64_t va, enum acc_kind kind, uint64_t data, struct xlat *x);
/* Gives up what the hypervisor cannot do: no memory, or the VM is stopped with a reason. */
enum access_status give_up(struct vcpu *v, int err);
/* All that a walk fills, before it. */
void walk_begin(struct mmu_fault *f, const struct guest_half *half);
void fault_init(struct mmu_fault *f, struct vcpu *v, enum segment seg, uint64_t va, enum acc_kind kind);
/* May a paged access of this kind use an entry as it stands? */
bool entry_allows_paged(const struct vcpu *v, uint64_t data, enum acc_kind kind);

/* n bytes within one page, x translated for writing; in NULL: zeroes. */
enum access_status store_piece(struct vcpu *v, enum segment seg, const struct xlat *x, const void *in, unsigned n);

/* A walk under mmu_explain() succeeded. */
void explain_found(struct vcpu *v, const struct mmu_fault *f);

#endif
