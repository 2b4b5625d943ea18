/* SPDX-License-Identifier: MIT */
/*
 * Digests. What the guest could see: its true faults in order, the values its
 * programs loaded, its memory at the end, by gfn. What the work was: each
 * process's references as they were done, and the values.
 *
 * Memory enters by content alone: a frame of zeros counts as one that was
 * never there, and no machine address is ever looked at: paravirtualised
 * tables enter with machine frames turned back into gfns.
 */
#include <stdlib.h>

#include "base/bug.h"
#include "guestos/guest_internal.h"

void digest_refs(struct proc *p, const ref_t *refs, size_t n)
{
	if (!n)
		return;
	if (!p->hash) {
		p->hash = aligned_alloc(64, align_up(sizeof(*p->hash), 64));
		BUG_ON(!p->hash);
		digest_stream_start(p->hash);
	}
	digest_stream_add(p->hash, refs, n * sizeof(*refs));
}

/* A process without references has the digest of no bytes. */
static uint64_t refs_digest(const struct proc *p)
{
	if (p->hash)
		return digest_stream_end(p->hash);
	return p->refs_digest ? p->refs_digest : digest_bytes("", 0);
}

void digest_end(struct proc *p)
{
	p->refs_digest = refs_digest(p);
	free(p->hash);
	p->hash = NULL;
}

void digest_fault(struct guest *g, const struct proc *p, const struct guest_fault *f)
{
	uint64_t d = g->fault_digest;

	d = digest_fold(d, p->number);
	d = digest_fold(d, p->work.position);
	d = digest_fold(d, f->gva.v);
	g->fault_digest = digest_fold(d, f->error_code);
}

static bool is_zero(const uint8_t *bytes)
{
	uint64_t any = 0, w[8];

	for (unsigned i = 0; i < PAGE_SIZE && !any; i += sizeof(w)) {
		memcpy(w, bytes + i, sizeof(w));
		any = w[0] | w[1] | w[2] | w[3] | w[4] | w[5] | w[6] | w[7];
	}
	return !any;
}

static uint64_t fold_frame(struct guest *g, uint64_t digest, uint64_t gfn)
{
	struct machine *m = g->vm->hv->m;
	struct gfn_mapping map;
	uint8_t copy[PAGE_SIZE];
	const uint8_t *bytes = copy;

	if (gfn_kind(gfn_get(g->vm, GFN(gfn))) == GFN_NONE)
		return digest;
	if (gfn_peek(g->vm, GFN(gfn), &map) == 0) {
		if (!(machine_frame(m, map.mfn)->flags & FRAME_TOUCHED))
			return digest;
		bytes = machine_ptr(m, mfn_to_hpa(map.mfn));
	} else if (vm_read(g->vm, gfn_to_gpa(GFN(gfn)), copy, PAGE_SIZE)) {
		return digest;
	}
	if (is_zero(bytes))
		return digest;
	/* Pinned tables: as the guest sees them. */
	if (vcpu_is_paravirt(g->vcpu)) {
		if (bytes != copy)
			memcpy(copy, bytes, PAGE_SIZE);
		mmu_guest_view(g->vcpu->mmu, gfn_to_gpa(GFN(gfn)), copy, PAGE_SIZE);
		bytes = copy;
	}
	return digest_fold(digest_fold(digest, gfn), digest_bytes(bytes, PAGE_SIZE));
}

static uint64_t fold_memory(struct guest *g, uint64_t digest)
{
	for (uint64_t gfn = 0; gfn < g->config.mem_pages;) {
		const struct memslot *s = memslot_find(g->vm, GFN(gfn));
		uint64_t end = MIN(g->config.mem_pages, align_down(gfn, GFN_BLOCK) + GFN_BLOCK);

		/* Blocks without states are of frames that were never there: most of a large guest. */
		if (!s || !s->blocks[gfn / GFN_BLOCK - s->base.v / GFN_BLOCK].states)
			gfn = end;
		for (; gfn < end; gfn++)
			digest = fold_frame(g, digest, gfn);
	}
	return digest;
}

uint64_t guest_digest(struct guest *g)
{
	uint64_t d = g->fault_digest;

	for (uint32_t i = 0; g->config.data && i < g->nprocs; i++)
		d = digest_fold(digest_fold(d, g->procs[i]->number), g->procs[i]->work.values);
	return fold_memory(g, d);
}

uint64_t guest_work_digest(const struct guest *g)
{
	uint64_t d = 0;

	for (uint32_t i = 0; i < g->nprocs; i++) {
		const struct proc *p = g->procs[i];

		d = digest_fold(digest_fold(d, p->number), refs_digest(p));
		if (g->config.data)
			d = digest_fold(d, p->work.values);
	}
	return d;
}
