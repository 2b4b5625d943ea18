/* SPDX-License-Identifier: MIT */
/*
 * Are logged loads really what a translation is made of? Each one's bytes are
 * destroyed in the machine, and the next walk must not find the same frame.
 */
#ifndef QUIRE_TESTS_MMU_PROBE_H
#define QUIRE_TESTS_MMU_PROBE_H

#include "mmu/shadow.h"
#include "rig.h"

/* The machine bytes that a load was of: an entry, or (tables without positions) its line. */
static inline uint64_t probe_bytes(struct rig_vm *g, const struct pt_ref *ref, uint64_t *hpa)
{
	const struct pt_org *guest = g->v.space ? g->v.space->p.org : NULL;
	bool is_guest = ref->mem == &g->mmu->hw.m;
	const struct gpt_format *f = is_guest ? g->guest_fmt : g->host_fmt;
	const struct pt_org *org = is_guest ? guest : g->mmu->scheme.org;

	/* Agile has a p2m besides. */
	if (g->mmu->shadow && !is_guest && strcmp(ref->note.table, "p2m"))
		f = g->mmu->shadow->fmt;
	*hpa = ref->hpa.v;
	if (org && org->hierarchical)
		return f->entry_size;
	*hpa = align_down(*hpa, LINE_SIZE);
	return LINE_SIZE;
}

/* Destroys what each single load of the log read, in turn, and puts it back. */
static inline void probe_each_load(struct rig_vm *g, uint64_t va, enum acc_kind kind, const struct rig_log *l)
{
	struct mmu_fault f;
	uint64_t mfn, hpa;

	assert_int_equal(rig_walk(g, va, kind, &f), WALKED_OK);
	mfn = f.entry.mfn + ((va >> PAGE_SHIFT) - f.entry.vpn);
	for (unsigned i = l->start; i < l->n; i++) {
		uint8_t saved[LINE_SIZE], *p;

		if (l->ref[i].repeat > 1)
			continue;
		uint64_t n = probe_bytes(g, &l->ref[i], &hpa);

		assert_true(hpa + n <= g->rig->m.bytes);
		p = machine_ptr(&g->rig->m, HPA(hpa));
		memcpy(saved, p, n);
		memset(p, 0, n);
		enum walked w = rig_walk(g, va, kind, &f);

		if (w == WALKED_OK && f.entry.mfn + ((va >> PAGE_SHIFT) - f.entry.vpn) == mfn)
			fail_msg("load %u (%s level %u) of %s on %s, %s, was not needed", i - l->start,
				 l->ref[i].note.table, l->ref[i].note.level, g->guest_fmt->name, g->host_fmt->name,
				 mmu_scheme(g->mmu)->name);
		memcpy(p, saved, n);
	}
	assert_int_equal(rig_walk(g, va, kind, &f), WALKED_OK);
	assert_int_equal(f.entry.mfn + ((va >> PAGE_SHIFT) - f.entry.vpn), mfn);
}

#endif
