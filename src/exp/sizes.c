/* SPDX-License-Identifier: MIT */
/*
 * How much memory. Neither figure depends on the scheme: all schemes of a
 * comparison run in the same machine, and their guests see the same memory.
 */
#include "exp/internal.h"

enum { BLOCK_PAGES = 512 };
static const uint64_t machine_least = UINT64_C(64) << 20;

static uint64_t round_up(uint64_t x, uint64_t to)
{
	return (x + to - 1) / to * to;
}

static uint64_t pow2_ceil(uint64_t x)
{
	return x <= 1 ? 1 : BIT(log2_ceil(x));
}

struct guest_config sizes_guest(const struct run_config *c, const struct vm_spec *vm)
{
	const struct workload *machine = workloads_machine(vm->work);
	struct guest_config g = {
		.fmt = c->guest_fmt,
		.phys_pages = machine ? machine->phys_pages : 0,
		.org = c->guest_org,
		.org_flags = c->guest_org_flags,
		.thp = c->thp,
		.asids = c->asids,
		.ad = c->ad,
		.replace = c->replace,
		.quantum = c->quantum,
		.data = c->data,
		.seed = c->seed,
		.limit = c->limit,
		.warmup = c->warmup,
	};
	uint64_t bytes = vm->mem ? vm->mem : c->guest_mem;
	uint64_t pages = 0, processes = 0;
	uint64_t reach = low_bits(c->guest_fmt->pa_bits - PAGE_SHIFT) + 1;

	for (const struct workload *w = vm->work; w; w = w->next) {
		pages += w->distinct_pages;
		processes += w->processes;
	}
	/* Alone, a source's quantum says nothing. */
	if (!g.quantum && vm->work->next)
		g.quantum = QUANTUM_USUAL;
	g.mem_pages = bytes >> PAGE_SHIFT;
	if (!bytes) {
		/* Whole blocks, so that huge backing can reach the end; but never past what entries can name. */
		g.mem_pages = round_up(guest_pages_needed(&g, pages, processes),
				       c->host_thp_1g ? BLOCK_PAGES * BLOCK_PAGES : BLOCK_PAGES);
		if (g.mem_pages > reach)
			g.mem_pages = reach;
	}
	return g;
}

/*
 * Twice the guests' memory and 64 MiB, rounded up to a power of two: room for
 * the frame table (1/128), a second stage of any organisation (up to 1/64),
 * and shadow tables as many as the guests' own. RAM is sparse, so what is not
 * used costs nothing.
 */
uint64_t sizes_machine(const struct run_config *c, uint64_t pages)
{
	uint64_t bytes;

	if (c->mem)
		return c->mem & ~PAGE_MASK;
	bytes = pow2_ceil((pages << PAGE_SHIFT) * 2 + machine_least);
	if (bytes >> c->host_fmt->pa_bits)
		bytes = low_bits(c->host_fmt->pa_bits) + 1;
	return bytes;
}
