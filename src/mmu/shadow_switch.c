/* SPDX-License-Identifier: MIT */
/*
 * Switch entries (agile): a shadow entry that is not present to an ordinary
 * walker, but tells one that knows of them to go on in the guest's own table.
 * It holds what that walker needs: the machine frame of the table, and the
 * rights that the entries above it leave. And leaf pages filled whole.
 */
#include "mmu/shadow_radix.h"

/* X86-32 has no bit against fetches: the software bit says it. */
static uint64_t no_exec_bit(const struct gpt_format *fmt)
{
	return fmt->no_exec ? fmt->no_exec : fmt->no_read;
}

static uint64_t make_switch(const struct gpt_format *fmt, uint64_t mfn, uint8_t rights)
{
	uint64_t spte = switch_bit(fmt) | ((mfn << fmt->pfn_shift) & fmt->pfn_mask);

	spte |= (rights & RIGHT_W ? fmt->write : 0) | (rights & RIGHT_U ? fmt->user : 0) |
		(rights & RIGHT_G ? fmt->global : 0);
	if (fmt->exec)
		return spte | (rights & RIGHT_X ? fmt->exec : 0);
	return spte | (rights & RIGHT_X ? 0 : no_exec_bit(fmt));
}

uint8_t switch_rights(const struct gpt_format *fmt, uint64_t spte)
{
	bool exec = fmt->exec ? spte & fmt->exec : !(spte & no_exec_bit(fmt));

	/* Pointers of every format grant R; what lacks a bit for W or U denies nothing. */
	return RIGHT_R | (spte & fmt->write || !fmt->write ? RIGHT_W : 0) |
	       (spte & fmt->user || !fmt->user ? RIGHT_U : 0) | (exec ? RIGHT_X : 0) |
	       (spte & fmt->global ? RIGHT_G : 0);
}

int switch_set(struct shadow_page *sp, uint64_t va, uint64_t gfn, uint8_t rights)
{
	struct mmu *mmu = sp->mmu;
	const struct gpt_format *fmt = mmu->shadow->fmt;
	uint64_t index = gpt_index(fmt, sp->role.level, va, false), sptep = sptep_of(sp, index);
	struct gfn_mapping map;
	int err = gfn_peek(mmu->vm, GFN(gfn), &map);

	if (err)
		return err;
	uint64_t want = make_switch(fmt, map.mfn.v, rights), have = spte_at(mmu, sptep);

	if (have == want)
		return 0;
	if (have) {
		bool table = gpt_is_present(fmt, have) && !gpt_is_leaf(fmt, sp->role.level, have);

		radix_zap_spte(sp, index, DROP_CLEAR);
		if (table)
			flush_walks(mmu);
	}
	err = rmap_add(mmu->vm->hv->m, &machine_frame(mmu->vm->hv->m, map.mfn)->sptes, rmap_sptep(HPA(sptep)));
	if (err)
		return err;
	set_spte(mmu, sptep, want);
	sp->present++;
	return 0;
}

void switch_drop(struct shadow_page *sp, uint64_t index)
{
	struct mmu *mmu = sp->mmu;
	uint64_t sptep = sptep_of(sp, index), spte = spte_at(mmu, sptep);

	set_spte(mmu, sptep, 0);
	sp->present--;
	rmap_remove(mmu->vm->hv->m, &leaf_frame(mmu, spte)->sptes, rmap_sptep(HPA(sptep)));
}

void switch_drop_to(struct mmu *mmu, gfn_t gfn)
{
	struct gfn_mapping map;
	struct rmap_iter it;

	if (gfn_peek(mmu->vm, gfn, &map))
		return;
	for (bool again = true; again;) {
		again = false;
		for_each_rmap(machine_frame(mmu->vm->hv->m, map.mfn)->sptes, it) {
			if (!shadow_radix.is_ours(mmu, it.name) || !is_switch(mmu->shadow->fmt, spte_at(mmu, it.name)))
				continue;
			struct shadow_page *sp = sp_of_table(mmu, it.name);

			switch_drop(sp, index_of(sp, it.name));
			again = true;
			break;
		}
	}
}

/* Is there a leaf in the guest's table that a walk would use as it stands, and has its frame? */
static bool fill_at(const struct shadow_page *sp, uint64_t index, const struct shadow_fill *like, struct shadow_fill *fill)
{
	struct mmu *mmu = sp->mmu;
	const struct gpt_format *fmt = mmu->shadow->fmt, *gf = mmu->config.guest_fmt;
	uint32_t ctl = like->space->p.ctl;
	uint64_t offset = sp->role.base + (index << fmt->level[0].shift), gpte = 0;
	uint64_t addr = sp->guest_table + (offset >> gf->level[0].shift) * gf->entry_size;
	uint8_t above = sp->role.rights, rights;
	struct gfn_mapping map;

	if (gfn_peek(mmu->vm, GFN(addr >> PAGE_SHIFT), &map))
		return false;
	memcpy(&gpte, machine_ptr(mmu->vm->hv->m, mfn_to_hpa(map.mfn)) + (addr & PAGE_MASK), gf->entry_size);
	if (!gpt_is_present(gf, gpte) || !gpt_is_leaf(gf, 0, gpte) || gpt_is_reserved(gf, 0, gpte, ctl))
		return false;
	rights = gpt_rights(gf, 0, gpte);
	if (!(rights & RIGHT_A))
		return false;
	if (gf->family == GPT_X86 && !(ctl & CTL_PGE))
		rights &= (uint8_t)~RIGHT_G;
	*fill = *like;
	fill->va = align_down(like->va, span(fmt, 0)) + (index << fmt->level[0].shift);
	fill->gfn = GFN(gpt_frame(gf, gpte));
	fill->guest_rights = (rights & (above | RIGHT_A | RIGHT_D | RIGHT_G)) | (above & RIGHT_G);
	return memslot_find(mmu->vm, fill->gfn) && !gfn_peek(mmu->vm, fill->gfn, &fill->map) &&
	       (shadow_leaf_rights(fill) & RIGHT_RWX);
}

/* Inside a guest superpage, or without any table: frame beside frame, with the rights of the one just set. */
static bool fill_beside(const struct shadow_page *sp, uint64_t index, const struct shadow_fill *like,
			struct shadow_fill *fill)
{
	const struct gpt_format *fmt = sp->mmu->shadow->fmt;

	*fill = *like;
	fill->va = align_down(like->va, span(fmt, 0)) + (index << fmt->level[0].shift);
	fill->gfn = GFN(sp->gfn + index);
	return memslot_find(sp->mmu->vm, fill->gfn) && !gfn_peek(sp->mmu->vm, fill->gfn, &fill->map) &&
	       (shadow_leaf_rights(fill) & RIGHT_RWX);
}

void switch_fill_page(struct shadow_page *sp, const struct shadow_fill *like)
{
	struct mmu *mmu = sp->mmu;
	uint64_t n = entries_of(sp);

	if (sp->role.kind == SP_PLACED && sp->role.guest_level)
		return;
	for (uint64_t i = 0; i < n; i++) {
		struct shadow_fill fill;

		if (spte_at(mmu, sptep_of(sp, i)) ||
		    !(sp->role.kind == SP_DIRECT ? fill_beside : fill_at)(sp, i, like, &fill))
			continue;
		if (radix_set_leaf(sp, &fill))
			break;
	}
	mmu->vm->stats.mmu_resync_entries += n;
}
