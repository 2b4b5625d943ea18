/* SPDX-License-Identifier: MIT */
/* Adaptive translation, inside mmu/. */
#ifndef QUIRE_MMU_ADAPTIVE_H
#define QUIRE_MMU_ADAPTIVE_H

#include "mmu/internal.h"

/* Moves the VM to the other of the two, whatever it costs. mmu is adaptive; between accesses only. */
void adaptive_move(struct mmu *mmu);

#endif
