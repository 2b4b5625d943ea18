/* SPDX-License-Identifier: MIT */
/*
 * Virtual privilege: entries into a guest's kernel and returns from it, what
 * of them the hypervisor takes part in (cpu=trap), and what a world switch
 * costs a TLB without tags (tlb-tags=off).
 */
#include "mmu/privilege.h"
#include "mmu/soft_tlb.h"

static bool has_hypervisor(const struct vcpu *v)
{
	return !v->mmu->ops->no_hypervisor;
}

static bool traps(const struct vcpu *v)
{
	return v->mmu->config.cpu_trap && has_hypervisor(v);
}

void leave_guest(struct vcpu *v, enum exit_reason r)
{
	if (!has_hypervisor(v))
		return;
	vm_stats_exit(&v->mmu->vm->stats, r);
	world_switched(v);
}

void privileged_done(struct vcpu *v, uint64_t exits, enum exit_reason r)
{
	bool fence_of_soft = v->mmu->config.tlb_software && r != EXIT_PRIV_INSTR;

	if (exits == v->mmu->vm->stats.exits && (v->mmu->config.cpu_trap || fence_of_soft))
		leave_guest(v, r);
	world_switched(v);
}

int reflect_fault(struct vcpu *v)
{
	if (traps(v))
		leave_guest(v, EXIT_EXCEPTION);
	return MMU_INJECT;
}

enum access_status refuse_segment(struct vcpu *v, uint64_t va, enum acc_kind kind)
{
	v->fault = (struct guest_fault){
		GVA(va), kind, WALK_WHY_PRIVILEGE,
		PF_PRESENT | PF_USER | (kind == ACC_WRITE ? PF_WRITE : 0) | (kind == ACC_EXEC ? PF_INSTR : 0),
	};
	v->mmu->vm->stats.true_faults++;
	reflect_fault(v);
	v->kernel = true;
	return ACCESS_FAULT;
}

void vcpu_set_entry_points(struct vcpu *v, const struct guest_entry_points *e)
{
	if (!privileged(v))
		return;
	v->entry = e;
	privileged_done(v, v->mmu->vm->stats.exits, EXIT_PRIV_INSTR);
}

void vcpu_system_call(struct vcpu *v, void *call)
{
	BUG_ON(!v->entry);
	if (traps(v))
		leave_guest(v, EXIT_SYSCALL);
	v->kernel = true;
	v->entry->system_call(v->entry->ctx, call);
	if (traps(v))
		leave_guest(v, EXIT_SYSRET);
	v->kernel = MUTATE(KEEP_PRIVILEGE);
}

void vcpu_enter_kernel(struct vcpu *v)
{
	v->kernel = true;
}

void vcpu_return(struct vcpu *v)
{
	if (v->refill.open)
		soft_tlb_return(v);
	else if (traps(v))
		leave_guest(v, EXIT_IRET);
	v->kernel = MUTATE(KEEP_PRIVILEGE);
}

/* ---- tlb-tags=off ---- */

static void flush_untagged(struct vcpu *v)
{
	struct mmu_cpu *cpu = v->cpu;

	v->mmu->vm->stats.world_flushes++;
	if (MUTATE(SKIP_WORLD_FLUSH))
		return;
	tlb_inval_all(&cpu->tlb);
	if (cpu->guest_wc.any)
		wc_inval_all(&cpu->guest_wc);
}

void world_flush(struct vcpu *v)
{
	uint64_t exits = v->mmu->vm->stats.exits;

	/* Counters begin anew after a warm-up. */
	if (exits < v->exits_seen)
		v->exits_seen = 0;
	v->mmu->vm->stats.world_flushes += exits > v->exits_seen ? exits - v->exits_seen - 1 : 0;
	if (exits > v->exits_seen)
		flush_untagged(v);
	v->exits_seen = exits;
}

void vcpu_switch_vm(struct vcpu *v)
{
	if (v->cpu->untagged)
		flush_untagged(v);
}
