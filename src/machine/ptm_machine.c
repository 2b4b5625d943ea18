/* SPDX-License-Identifier: MIT */
/* Tables in machine frames: an address is a machine address. */
#include <errno.h>
#include <string.h>

#include "base/bug.h"
#include "machine/internal.h"
#include "machine/machine.h"
#include "machine/pt_mem.h"

static struct pt_mem_machine *to_machine(struct pt_mem *m)
{
	return container_of(m, struct pt_mem_machine, m);
}

/* Where [addr, addr + size) stands; NULL if not all of it is RAM. */
static uint8_t *ram_at(struct pt_mem *m, uint64_t addr, uint64_t size)
{
	const struct machine *mc = to_machine(m)->machine;

	return addr < mc->bytes && size <= mc->bytes - addr ? mc->ram + addr : NULL;
}

static __attribute__((unused)) bool is_in_one_line(uint64_t addr, unsigned size)
{
	return size >= 1 && (addr & (LINE_SIZE - 1)) + size <= LINE_SIZE;
}

static int machine_load(struct pt_mem *m, uint64_t addr, unsigned size, void *out)
{
	const uint8_t *p = ram_at(m, addr, size);
	uint64_t value = 0;

	ASSERT(is_in_one_line(addr, size));
	if (!p)
		return -EFAULT;
	if (faultinj_hit(m->inj, FAULT_TABLE_LOAD))
		return -EAGAIN;
	m->counts.refs++;
	m->counts.depth++;
	memcpy(out, p, size);
	memcpy(&value, out, MIN(size, 8u));
	ptm_log_ref(m, addr, HPA(addr), value, 1);
	return 0;
}

/* An aligned entry changes at once, for whoever walks the table meanwhile. */
static int machine_store(struct pt_mem *m, uint64_t addr, unsigned size, const void *in)
{
	uint8_t *p = ram_at(m, addr, size);

	ASSERT(is_in_one_line(addr, size));
	if (!p)
		return -EFAULT;
	m->counts.stores++;
	if (size == 8 && is_aligned(addr, 8)) {
		uint64_t v;

		memcpy(&v, in, sizeof(v));
		__atomic_store_n((uint64_t *)p, v, __ATOMIC_RELEASE);
	} else if (size == 4 && is_aligned(addr, 4)) {
		uint32_t v;

		memcpy(&v, in, sizeof(v));
		__atomic_store_n((uint32_t *)p, v, __ATOMIC_RELEASE);
	} else {
		memcpy(p, in, size);
	}
	return 0;
}

static int machine_cas(struct pt_mem *m, uint64_t addr, unsigned size, uint64_t expect, uint64_t value)
{
	uint8_t *p = ram_at(m, addr, size);
	bool swapped;

	BUG_ON((size != 4 && size != 8) || !is_aligned(addr, size));
	if (!p)
		return -EFAULT;
	if (size == 8) {
		swapped = __atomic_compare_exchange_n((uint64_t *)p, &expect, value, false,
						      __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	} else {
		uint32_t expect32 = (uint32_t)expect;

		swapped = __atomic_compare_exchange_n((uint32_t *)p, &expect32, (uint32_t)value, false,
						      __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	}
	m->counts.stores += swapped;
	return swapped;
}

/* What kmem_reserve says of its allocations holds here: one that is covered meets no injected failure. */
static int take_table(struct pt_mem_machine *pm, unsigned order, mfn_t *mfn)
{
	if (order == 0 && pm->nreserve) {
		*mfn = pm->reserve[--pm->nreserve];
		return 0;
	}
	if (faultinj_hit(pm->m.inj, FAULT_TABLE_ALLOC))
		return -ENOMEM;
	return buddy_alloc(pm->machine, order, FRAME_TABLE, mfn);
}

static int machine_alloc(struct pt_mem *m, unsigned order, uint64_t *addr)
{
	struct pt_mem_machine *pm = to_machine(m);
	mfn_t mfn;
	int err = take_table(pm, order, &mfn);

	if (err)
		return err;
	machine_zero(pm->machine, mfn, order);
	/* Stores to tables are many and set no flag: done here, once. */
	machine_touch(pm->machine, mfn, BIT(order));
	m->table_bytes += PAGE_SIZE << order;
	*addr = mfn_to_hpa(mfn).v;
	return 0;
}

static void machine_free(struct pt_mem *m, uint64_t addr, unsigned order)
{
	BUG_ON(m->table_bytes < PAGE_SIZE << order);
	m->table_bytes -= PAGE_SIZE << order;
	buddy_free(to_machine(m)->machine, hpa_to_mfn(HPA(addr)), order);
}

static int machine_scan(struct pt_mem *m, uint64_t first, uint64_t n, uint64_t stride)
{
	uint64_t span;

	if (n == 0)
		return 0;
	if (__builtin_mul_overflow(n - 1, stride, &span) || !ram_at(m, first, 1) ||
	    span >= to_machine(m)->machine->bytes - first)
		return -EFAULT;
	if (faultinj_hit(m->inj, FAULT_TABLE_LOAD))
		return -EAGAIN;
	m->counts.refs += n;
	m->counts.depth += n;
	ptm_log_scan(m, first, HPA(first), n, stride);
	return 0;
}

static hpa_t machine_hpa(struct pt_mem *m, uint64_t addr)
{
	return ram_at(m, addr, 1) ? HPA(addr) : HPA(INVALID_FRAME);
}

static const struct pt_mem_ops machine_ops = {
	.load = machine_load,
	.store = machine_store,
	.cas = machine_cas,
	.alloc = machine_alloc,
	.free = machine_free,
	.scan = machine_scan,
	.hpa = machine_hpa,
};

/* Loads go straight to RAM only while nobody must see them. */
static void choose_path(struct pt_mem_machine *pm)
{
	bool direct = !pm->m.log && !pm->m.inj;

	pm->m.direct = direct ? pm->machine->ram : NULL;
	pm->m.direct_bytes = direct ? pm->machine->bytes : 0;
}

void ptm_machine_init(struct pt_mem_machine *pm, struct machine *machine)
{
	memset(pm, 0, sizeof(*pm));
	pm->m.ops = &machine_ops;
	pm->machine = machine;
	choose_path(pm);
}

static void shrink_reserve(struct pt_mem_machine *pm, unsigned n)
{
	while (pm->nreserve > n)
		buddy_free(pm->machine, pm->reserve[--pm->nreserve], ORDER_4K);
}

int ptm_machine_reserve(struct pt_mem_machine *pm, unsigned n)
{
	unsigned before = pm->nreserve;

	BUG_ON(n > PTM_RESERVE_MAX);
	if (faultinj_hit(pm->m.inj, FAULT_TABLE_ALLOC))
		return -ENOMEM;
	while (pm->nreserve < n) {
		if (buddy_alloc(pm->machine, ORDER_4K, FRAME_TABLE, &pm->reserve[pm->nreserve])) {
			shrink_reserve(pm, before);
			return -ENOMEM;
		}
		pm->nreserve++;
	}
	return 0;
}

void ptm_machine_fini(struct pt_mem_machine *pm)
{
	shrink_reserve(pm, 0);
}

void ptm_machine_set_log(struct pt_mem_machine *pm, struct pt_log *log)
{
	pm->m.log = log;
	choose_path(pm);
}

void ptm_machine_set_faults(struct pt_mem_machine *pm, struct faultinj *inj)
{
	pm->m.inj = inj;
	choose_path(pm);
}
