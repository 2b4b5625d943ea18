/* SPDX-License-Identifier: MIT */
/* Shadow pages against the guest's tables (a fence brings a lazy one back in step) and against the truth (audit). */
#include "mmu/shadow_radix.h"

/* ---- in step again ---- */

/* Are the rights of this entry still among those the guest's entry gives? U and G must be the very same. */
static bool allows_no_more(const struct shadow_page *sp, uint64_t spte, uint8_t guest)
{
	const struct gpt_format *fmt = sp->mmu->shadow->fmt;
	uint8_t have = gpt_rights(fmt, sp->role.level, spte);
	uint8_t above = sp->role.rights;

	if (spte & fmt->no_read)
		have &= (uint8_t)~RIGHT_R;
	guest &= above | RIGHT_A | RIGHT_D | RIGHT_G;
	guest |= above & RIGHT_G;
	if (!(guest & RIGHT_D))
		guest &= (uint8_t)~RIGHT_W;
	return (guest & RIGHT_A) && !(have & ~guest & RIGHT_RWX) && !((have ^ guest) & (RIGHT_U | RIGHT_G));
}

/* Does the guest's table, read anew, still say what this entry says? */
static void resync_entry(struct shadow_page *sp, uint64_t index)
{
	struct mmu *mmu = sp->mmu;
	const struct gpt_format *fmt = mmu->shadow->fmt, *gf = mmu->config.guest_fmt;
	uint64_t spte = spte_at(mmu, sptep_of(sp, index)), gpte = 0;
	uint64_t offset = sp->role.base + (index << fmt->level[sp->role.level].shift);
	uint64_t addr = sp->guest_table + (offset >> gf->level[sp->role.guest_level].shift) * gf->entry_size;
	uint64_t inside = (offset & low_bits(gf->level[sp->role.guest_level].shift)) >> PAGE_SHIFT;
	struct gfn_mapping map;

	if (!spte || is_switch(fmt, spte))
		return;
	bool same = gpt_is_present(fmt, spte) && !gfn_peek(mmu->vm, GFN(addr >> PAGE_SHIFT), &map);

	if (same) {
		memcpy(&gpte, machine_ptr(mmu->vm->hv->m, mfn_to_hpa(map.mfn)) + (addr & PAGE_MASK), gf->entry_size);
		same = gpt_is_present(gf, gpte) && gpt_is_leaf(gf, sp->role.guest_level, gpte) &&
		       !gpt_is_reserved(gf, sp->role.guest_level, gpte, mmu->vcpu->paging.ctl) &&
		       !gfn_peek(mmu->vm, GFN(gpt_frame(gf, gpte) + inside), &map) &&
		       map.mfn.v == gpt_frame(fmt, spte) &&
		       allows_no_more(sp, spte, gpt_rights(gf, sp->role.guest_level, gpte));
	}
	if (!same)
		radix_zap_spte(sp, index, DROP_CLEAR);
}

unsigned radix_resync_page(struct shadow_page *sp)
{
	uint64_t n = entries_of(sp);

	for (uint64_t i = 0; i < n; i++)
		resync_entry(sp, i);
	return (unsigned)n;
}

unsigned radix_resync_va(struct mmu *mmu, struct space *s, uint64_t va)
{
	struct shadow_page *sp = radix_leaf_page(mmu, s, va);

	if (!sp || !sp->unsync)
		return 0;
	resync_entry(sp, gpt_index(mmu->shadow->fmt, sp->role.level, va, false));
	return 1;
}

/* ---- checks ---- */

static int bad(const char **why, const char *what)
{
	*why = what;
	return -EINVAL;
}

static int audit_leaf(struct shadow_page *sp, uint64_t index, uint64_t spte, const char **why)
{
	struct mmu *mmu = sp->mmu;
	const struct frame *f = leaf_frame(mmu, spte);
	struct rmap_iter it;
	struct gfn_mapping truth;

	if (f->type != FRAME_GUEST)
		return bad(why, "a shadow entry leads to a frame that is not a guest's");
	if (!rmap_has(f->sptes, rmap_sptep(HPA(sptep_of(sp, index)))))
		return bad(why, "a shadow entry is not in its frame's reverse map");
	for_each_rmap(f->owners, it)
		if (rmap_owner_vmid(it.name) == mmu->vm->vmid) {
			if (gfn_peek(mmu->vm, rmap_owner_gfn(it.name), &truth) ||
			    (gpt_rights(mmu->shadow->fmt, sp->role.level, spte) & RIGHT_RWX & ~truth.rights))
				return bad(why, "a shadow entry allows more than the per-gfn truth");
			return 0;
		}
	return bad(why, "a shadow entry leads to a frame of another VM");
}

static int audit_switch(const struct shadow_page *sp, uint64_t index, uint64_t spte, const char **why)
{
	const struct frame *f = leaf_frame(sp->mmu, spte);

	if (f->type != FRAME_GUEST || !rmap_has(f->sptes, rmap_sptep(HPA(sptep_of(sp, index)))))
		return bad(why, "a switch entry is not in the reverse map of a guest frame");
	return 0;
}

static int audit_page(struct shadow_page *sp, uint64_t *leaves, const char **why)
{
	struct mmu *mmu = sp->mmu;
	const struct gpt_format *fmt = mmu->shadow->fmt;
	unsigned present = 0;

	for (uint64_t i = 0, n = entries_of(sp); i < n; i++) {
		uint64_t spte = spte_at(mmu, sptep_of(sp, i));

		if (is_switch(fmt, spte)) {
			int err = audit_switch(sp, i, spte, why);

			if (err)
				return err;
			present++;
			++*leaves;
			continue;
		}
		if (!gpt_is_present(fmt, spte))
			continue;
		present++;
		if (gpt_is_leaf(fmt, sp->role.level, spte)) {
			int err = audit_leaf(sp, i, spte, why);

			if (err)
				return err;
			++*leaves;
		} else {
			const struct shadow_page *child = sp_of_table(mmu, gpt_frame(fmt, spte) << PAGE_SHIFT);

			if (!child || !rmap_has(child->parents, rmap_sptep(HPA(sptep_of(sp, i)))))
				return bad(why, "a shadow page does not know its parent");
		}
	}
	return present == sp->present ? 0 : bad(why, "a shadow page's count of entries is wrong");
}

int radix_audit(struct mmu *mmu, uint64_t *leaves, const char **why)
{
	list_for_each(l, &mmu->shadow->pages) {
		int err = audit_page(list_entry(l, struct shadow_page, lru), leaves, why);

		if (err)
			return err;
	}
	return 0;
}
