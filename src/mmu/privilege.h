/* SPDX-License-Identifier: MIT */
/* Inside mmu/: virtual privilege, and what it costs to keep it (guest_entry.h). */
#ifndef QUIRE_MMU_PRIVILEGE_H
#define QUIRE_MMU_PRIVILEGE_H

#include "mmu/guest_entry.h"
#include "mmu/internal.h"

/* An exit of this reason, unless there is no hypervisor to exit to. */
void leave_guest(struct vcpu *v, enum exit_reason r);

/* May a privileged thing be done now? Only cpu=trap has somebody ask: the hypervisor. */
static inline bool privileged(const struct vcpu *v)
{
	return v->kernel || !v->mmu->config.cpu_trap;
}

/* A privileged instruction was carried out; exits: how many there had been before it. */
void privileged_done(struct vcpu *v, uint64_t exits, enum exit_reason r);
/* Hardware met the guest's own fault: who hears of it first? Returns MMU_INJECT. */
int reflect_fault(struct vcpu *v);
/* A program reached for the unmapped segment: ACCESS_FAULT, its own. */
enum access_status refuse_segment(struct vcpu *v, uint64_t va, enum acc_kind kind);

void world_flush(struct vcpu *v);
/*
 * tlb-tags=off. Called after whatever may have left the guest: an exit and
 * the entry that follows it drop linear and combined mappings, TLBs and walk
 * caches by gva, and leave guest-physical ones (SDM vol. 3, 28.3.3.1: VPID
 * 0000H, "enable VPID" 0).
 */
static inline void world_switched(struct vcpu *v)
{
	if (unlikely(v->cpu->untagged) && v->exits_seen != v->mmu->vm->stats.exits)
		world_flush(v);
}

#endif
