/* SPDX-License-Identifier: MIT */
/*
 * Where a guest's kernel is entered, and how it leaves: what the settings
 * cpu=trap and tlb=software need of a guest. The addresses are recorded at
 * boot; from then on the processor, or the hypervisor in its place, calls
 * them.
 *
 *                       cpu=assisted            cpu=trap
 *   system call         the guest's own         exit, reflected; its return: exit, emulated
 *   the guest's fault   the guest's own (1)     exit, reflected; its return: exit, emulated
 *   root, fence         the guest's own (1)     exit, emulated
 *
 *                       tlb=hardware            tlb=software
 *   TLB miss            hardware walks          exit: the guest's handler is called;
 *                                               its write to the TLB: exit; its return: exit
 *   fence               as above                exit
 *
 *   (1) where the mode does not intercept it: an event that a mode has made
 *       an exit of is that one exit, under its reason, and no other.
 *
 * Without a hypervisor (native) the same calls are made and nothing exits.
 *
 * Virtual privilege (vcpu.kernel): kernel from an entry to the return, and
 * from boot to the first vcpu_run(). Under cpu=trap all of the guest runs in
 * user privilege, so it is the hypervisor that keeps the guest's programs
 * from the unmapped segment and from privileged instructions: the segment's
 * TLB entries have a tag of their own, which is in force while virtual
 * privilege is kernel.
 */
#ifndef QUIRE_MMU_GUEST_ENTRY_H
#define QUIRE_MMU_GUEST_ENTRY_H

#include "mmu/mmu.h"

struct guest_entry_points {
	/*
	 * tlb=software: the page of miss->gva is in no TLB entry that allows
	 * the access. Walks the guest's tables, by its own loads. ACCESS_OK: it
	 * has called vcpu_tlb_write(). ACCESS_FAULT: there is no entry; miss
	 * says why, as a hardware walker would have, or vcpu_tlb_write() did.
	 * The kernel is then in its page-fault path, and whoever made the access
	 * gets ACCESS_FAULT: it ends the miss by vcpu_tlb_write() if it mended
	 * it, and vcpu_return() always.
	 */
	enum access_status (*tlb_miss)(void *ctx, struct guest_fault *miss);
	/* A system call; call is what vcpu_system_call() was given. */
	void (*system_call)(void *ctx, void *call);
	void *ctx;
};

/* At boot. The struct is the guest's and stays. */
void vcpu_set_entry_points(struct vcpu *v, const struct guest_entry_points *e);

/* The running program makes a system call: the guest's handler, and back to the program. */
void vcpu_system_call(struct vcpu *v, void *call);
/* The guest's kernel runs of its own accord (its scheduler): no event of a program's, nothing is counted. */
void vcpu_enter_kernel(struct vcpu *v);
/* The kernel returns from the fault it was given (ACCESS_FAULT), or from a TLB miss. */
void vcpu_return(struct vcpu *v);

/*
 * tlb=software: the guest writes its TLB. gva → machine goes in, when the
 * handler is left if this is for the miss it was called for, else now.
 * ACCESS_FAULT (v->fault: the guest's own): such an entry cannot be (gpa
 * where no memory is; gpa and gva apart; no such gva), nothing changed.
 */
enum access_status vcpu_tlb_write(struct vcpu *v, const struct guest_tlb_entry *e);

/*
 * The processor goes from one VM to another, this one. Without tags its TLB
 * is flushed.
 */
void vcpu_switch_vm(struct vcpu *v);

#endif
