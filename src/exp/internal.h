/* SPDX-License-Identifier: MIT */
/* Of exp/ alone: what exp.c and sizes.c share. */
#ifndef QUIRE_EXP_INTERNAL_H
#define QUIRE_EXP_INTERNAL_H

#include "exp/exp.h"
#include "exp/error.h"

/* References a VM, or one of its sources, runs before the next has the processor, unless --quantum says otherwise. */
enum { QUANTUM_USUAL = 100000 };

/* The guest configuration of one VM; mem_pages as given, or what its work needs. */
struct guest_config sizes_guest(const struct run_config *c, const struct vm_spec *vm);
/* Bytes of machine RAM: as given, or what guests of so many pages together need under any scheme. */
uint64_t sizes_machine(const struct run_config *c, uint64_t pages);

#endif
