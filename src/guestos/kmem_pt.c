/* SPDX-License-Identifier: MIT */
/*
 * The memory of the guest kernel's tables: guest frames, reached through the
 * first door by the unmapped segment (address = gpa). Each store is one that
 * a scheme may have to trap.
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

static int kmem_load(struct pt_mem *m, uint64_t addr, unsigned size, void *out)
{
	struct guest *g = guest_of(m);
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
	return 0;
}

static int kmem_store(struct pt_mem *m, uint64_t addr, unsigned size, const void *in)
{
	struct guest *g = guest_of(m);
	const uint8_t *from = in;

	m->counts.stores++;
	g->stats.pte_stores++;
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
	bool swapped;
	enum access_status st = vcpu_cas(g->vcpu, SEG_BARE, addr, size, expect, value, &swapped);

	m->counts.stores++;
	g->stats.pte_stores++;
	return st ? guest_access(g, st) : swapped;
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
	m->table_bytes -= PAGE_SIZE << order;
	frames_free(guest_of(m), addr >> PAGE_SHIFT, order);
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

void kmem_pt_init(struct guest *g)
{
	g->ptm = (struct pt_mem){ .ops = &kmem_pt_ops };
}
