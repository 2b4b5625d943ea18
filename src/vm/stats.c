/* SPDX-License-Identifier: MIT */
#include "vm/stats.h"

static const char *const names[EXIT_COUNT] = {
#define X(id, name) [EXIT_##id] = name,
	EXIT_REASONS(X)
#undef X
};

const char *exit_reason_name(enum exit_reason r)
{
	return names[r];
}

static uint64_t reflections(const struct vm_stats *s)
{
	return s->exit_by[EXIT_TLB_MISS] + s->exit_by[EXIT_TLB_MODIFY] + s->exit_by[EXIT_TLB_RETURN] +
	       s->exit_by[EXIT_SYSCALL] + s->exit_by[EXIT_SYSRET] + s->exit_by[EXIT_EXCEPTION] + s->exit_by[EXIT_IRET];
}

uint64_t vm_stats_trap_cycles(const struct vm_stats *s, const struct cost_table *t)
{
	uint64_t reflected = reflections(s), emulated = s->exit_by[EXIT_PRIV_INSTR];

	return cost_price(t, COST_EXIT, reflected + emulated) + cost_price(t, COST_REFLECT, reflected) +
	       cost_price(t, COST_PRIV_INSTR, emulated);
}

uint64_t vm_stats_exit_cycles(const struct vm_stats *s, const struct cost_table *t)
{
	return cost_price(t, COST_EXIT, s->exits) +
	       cost_price(t, COST_HIDDEN_FAULT, s->hidden_total) +
	       cost_price(t, COST_SHADOW_FILL, s->shadow_fill) +
	       cost_price(t, COST_TABLE_WRITE, s->shadow_table_write) +
	       cost_price(t, COST_RESYNC_ENTRY, s->mmu_resync_entries) +
	       cost_price(t, COST_ROOT_SWITCH, s->exit_by[EXIT_ROOT_SWITCH]) +
	       cost_price(t, COST_FENCE, s->exit_by[EXIT_FENCE] + s->exit_by[EXIT_FENCE_ALL]) +
	       cost_price(t, COST_PV_UPDATE, s->pv_updates) +
	       cost_price(t, COST_TLB_FLUSH, s->tlb_flush) +
	       cost_price(t, COST_TLB_WRITE, s->exit_by[EXIT_TLB_WRITE]) +
	       cost_price(t, COST_REFLECT, reflections(s)) +
	       cost_price(t, COST_PRIV_INSTR, s->exit_by[EXIT_PRIV_INSTR]);
}
