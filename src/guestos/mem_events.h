/* SPDX-License-Identifier: MIT */
/* What memory events do to an address space. All but the host's records may fail as guest_internal.h says. */
#ifndef QUIRE_GUESTOS_MEM_EVENTS_H
#define QUIRE_GUESTOS_MEM_EVENTS_H

#include "guestos/guest_internal.h"

struct vma_ops mm_vma_ops(struct guest *g);
void mm_free(struct guest *g, struct mm *mm);

int mem_event(struct guest *g, struct mm *mm, const struct trace_event *ev);

/* ---- what the OPT prepass knows (opt_prepass.c) ---- */

struct opt_space;
void opt_space_bind(struct opt_space *s, struct mm *mm);

#endif
