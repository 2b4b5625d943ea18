/* SPDX-License-Identifier: MIT */
/*
 * The memory of the guest kernel's tables: guest frames, reached through the
 * first door by the unmapped segment (address = gpa). Each store is one that
 * a scheme may have to trap.
 *
 * Under a scheme that is paravirtualised, tables are pinned frames, and stores
 * are put into a queue of changes that the hypervisor is asked for: when it is
 * full, when a table is given back, and before anything that tables matter to.
 * The kernel's own reads see what is in the queue.
 *
 * alloc never evicts: it may be called in the middle of a table's change.
 * Whoever gets -ENOMEM makes room and starts the change anew.
 */
#include "base/bug.h"
#include "guestos/guest_internal.h"

static struct guest *guest_of(struct pt_mem *m)
{
	return container_of(m, struct guest, ptm);
}

int kmem_pt_flush(struct guest *g)
{
	unsigned done, n = g->pv_queue.n;

	if (!n)
		return 0;
	enum access_status st = vcpu_pv_update(g->vcpu, g->pv_queue.u, n, &done);

	g->pv_queue.n = n - done;
	memmove(g->pv_queue.u, g->pv_queue.u + done, (n - done) * sizeof(g->pv_queue.u[0]));
	return st ? guest_access(g, st) : 0;
}

static int queue_store(struct guest *g, uint64_t addr, uint64_t value)
{
	int err = g->pv_queue.n == PV_BATCH ? kmem_pt_flush(g) : 0;

	if (!err)
		g->pv_queue.u[g->pv_queue.n++] = (struct pv_update){ addr, value };
	return err;
}

/* Entries at addr: as the guest means them, those in the queue included. */
static void see(struct guest *g, uint64_t addr, uint8_t *bytes, unsigned size)
{
	mmu_guest_view(g->vcpu->mmu, GPA(addr), bytes, size);
	for (unsigned i = 0; i < g->pv_queue.n; i++) {
		const struct pv_update *u = &g->pv_queue.u[i];

		if (u->gpa - addr < size)
			memcpy(bytes + (u->gpa - addr), &u->value, g->config.fmt->entry_size);
	}
}

static int kmem_load(struct pt_mem *m, uint64_t addr, unsigned size, void *out)
{
	struct guest *g = guest_of(m);
	uint64_t at = addr;
	unsigned all = size;
	uint8_t *to = out;

	m->counts.refs++;
	m->counts.depth++;
	/* In pieces that a load instruction has. */
	while (size) {
		unsigned n = 1u << MIN(3u, log2_floor(size));
		uint64_t v;
		enum access_status st = vcpu_load(g->vcpu, SEG_BARE, addr, n, &v);

		if (st)
			return guest_access(g, st);
		memcpy(to, &v, n);
		to += n;
		addr += n;
		size -= n;
	}
	if (vcpu_is_paravirt(g->vcpu))
		see(g, at, out, all);
	return 0;
}

static int kmem_store(struct pt_mem *m, uint64_t addr, unsigned size, const void *in)
{
	struct guest *g = guest_of(m);
	const uint8_t *from = in;

	m->counts.stores++;
	g->stats.pte_stores++;
	if (vcpu_is_paravirt(g->vcpu)) {
		uint64_t value = 0;

		memcpy(&value, in, size);
		return queue_store(g, addr, value);
	}
	while (size) {
		unsigned n = 1u << MIN(3u, log2_floor(size));
		uint64_t v = 0;
		enum access_status st;

		memcpy(&v, from, n);
		st = vcpu_store(g->vcpu, SEG_BARE, addr, n, v);
		if (st)
			return guest_access(g, st);
		from += n;
		addr += n;
		size -= n;
	}
	return 0;
}

static int kmem_cas(struct pt_mem *m, uint64_t addr, unsigned size, uint64_t expect, uint64_t value)
{
	struct guest *g = guest_of(m);
	uint64_t old = 0;
	bool swapped;

	if (vcpu_is_paravirt(g->vcpu)) {
		int err = kmem_load(m, addr, size, &old);

		if (!err && old == expect)
			err = kmem_store(m, addr, size, &value);
		return err ? err : old == expect;
	}
	enum access_status st = vcpu_cas(g->vcpu, SEG_BARE, addr, size, expect, value, &swapped);

	m->counts.stores++;
	g->stats.pte_stores++;
	return st ? guest_access(g, st) : swapped;
}

static int pin_frames(struct guest *g, uint64_t gfn, uint64_t n)
{
	enum access_status st = ACCESS_OK;

	for (uint64_t i = 0; i < n && !st; i++)
		st = vcpu_pv_pin(g->vcpu, GFN(gfn + i));
	return st ? guest_access(g, st) : 0;
}

static int kmem_alloc_frames(struct pt_mem *m, unsigned order, uint64_t *addr)
{
	struct guest *g = guest_of(m);
	uint64_t gfn;
	int err;

	if (order > GUEST_ORDER_MAX || faultinj_hit(m->inj, FAULT_TABLE_ALLOC))
		return -ENOMEM;
	err = frames_alloc(g, order, GFRAME_TABLE, &gfn);
	if (err)
		return err;
	err = frames_zero(g, gfn, order);
	/* Changes asked for may be of what this frame was before. */
	if (!err && vcpu_is_paravirt(g->vcpu)) {
		err = kmem_pt_flush(g);
		if (!err)
			err = pin_frames(g, gfn, BIT(order));
	}
	if (err) {
		frames_free(g, gfn, order);
		return err;
	}
	for (uint64_t i = 0; i < BIT(order); i++)
		g->frames.f[gfn + i].flags |= GFRAME_BYTES;
	m->table_bytes += PAGE_SIZE << order;
	*addr = gfn << PAGE_SHIFT;
	return 0;
}

static void kmem_free_frames(struct pt_mem *m, uint64_t addr, unsigned order)
{
	struct guest *g = guest_of(m);

	m->table_bytes -= PAGE_SIZE << order;
	if (vcpu_is_paravirt(g->vcpu) && !kmem_pt_flush(g))
		for (uint64_t i = 0; i < BIT(order); i++) {
			enum access_status st = vcpu_pv_unpin(g->vcpu, GFN((addr >> PAGE_SHIFT) + i));

			if (st)
				(void)guest_access(g, st);
		}
	frames_free(g, addr >> PAGE_SHIFT, order);
}

static int kmem_scan(struct pt_mem *m, uint64_t first, uint64_t n, uint64_t stride)
{
	(void)first;
	(void)stride;
	m->counts.refs += n;
	m->counts.depth += n;
	return 0;
}

static hpa_t kmem_hpa(struct pt_mem *m, uint64_t addr)
{
	hpa_t hpa;

	if (vcpu_touch(guest_of(m)->vcpu, SEG_BARE, addr, ACC_READ, &hpa))
		return HPA(INVALID_FRAME);
	return hpa;
}

static const struct pt_mem_ops kmem_pt_ops = {
	.load = kmem_load,
	.store = kmem_store,
	.cas = kmem_cas,
	.alloc = kmem_alloc_frames,
	.free = kmem_free_frames,
	.scan = kmem_scan,
	.hpa = kmem_hpa,
};

static uint64_t next_table(struct pv_tables *t, uint64_t gfn)
{
	const struct guest *g = container_of(t, struct guest, pv_tables);

	while (gfn < g->frames.n && g->frames.f[gfn].type != GFRAME_TABLE)
		gfn++;
	return gfn < g->frames.n ? gfn : INVALID_FRAME;
}

void kmem_pt_init(struct guest *g)
{
	g->pv_tables.next = next_table;
	vcpu_know_paravirt(g->vcpu, &g->pv_tables);
	g->ptm = (struct pt_mem){ .ops = &kmem_pt_ops };
}
