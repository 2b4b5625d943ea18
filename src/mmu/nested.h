/* SPDX-License-Identifier: MIT */
/* What other modes use of nested paging: the guest's tables and what they lead to, through the p2m. Inside mmu/. */
#ifndef QUIRE_MMU_NESTED_H
#define QUIRE_MMU_NESTED_H

#include "mmu/internal.h"

extern const struct mode_ops nested_mode;
/* Enters every frame that is there, without exits. Returns how many entries that took; memory may end it early. */
uint64_t nested_fill_backed(struct mmu *mmu);
/* After guest_walk or guest_walk_from through mmu->hw: what is to be done, or nested_data. */
enum walked nested_walked(struct mmu *mmu, struct mmu_fault *f);
/* f->gpa through the p2m, found in guest tables with this order and these rights. Fills f->entry. */
enum walked nested_data(struct mmu *mmu, struct mmu_fault *f, uint8_t order, uint8_t rights);

#endif
