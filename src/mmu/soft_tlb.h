/* SPDX-License-Identifier: MIT */
/* Inside mmu/: a TLB that the guest fills (soft_tlb.c). */
#ifndef QUIRE_MMU_SOFT_TLB_H
#define QUIRE_MMU_SOFT_TLB_H

#include "mmu/access.h"

/* A paged access that no TLB entry allows. */
enum access_status soft_tlb_miss(struct vcpu *v, uint64_t va, enum acc_kind kind, struct xlat *x);
/* The handler returns: what it wrote goes in. */
void soft_tlb_return(struct vcpu *v);
#endif
