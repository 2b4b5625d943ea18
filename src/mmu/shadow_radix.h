/* SPDX-License-Identifier: MIT */
/*
 * Entries of shadow pages, for the files that keep the radix tree of them
 * right (shadow_radix.c, shadow_switch.c, shadow_check.c). Inside mmu/.
 *
 * An entry is empty (0), a mark (lazy: dropped, a refill is known to be one),
 * a leaf, a pointer to a shadow page, or (agile) a switch:
 *
 *     valid = 0 │ switch bit = 1 │ rights so far │ machine frame of a guest table
 *
 * from which on the hardware walks the guest's own tables.
 */
#ifndef QUIRE_MMU_SHADOW_RADIX_H
#define QUIRE_MMU_SHADOW_RADIX_H

#include "mmu/shadow.h"

static inline unsigned entry_size(const struct mmu *mmu) { return mmu->shadow->fmt->entry_size; }

static inline uint64_t spte_at(const struct mmu *mmu, uint64_t sptep)
{
	uint64_t spte = 0;

	memcpy(&spte, machine_ptr(mmu->vm->hv->m, HPA(sptep)), entry_size(mmu));
	return spte;
}

static inline void set_spte(struct mmu *mmu, uint64_t sptep, uint64_t spte)
{
	BUG_ON(ptm_store(&mmu->ptm.m, sptep, entry_size(mmu), &spte));
}

static inline uint64_t sptep_of(const struct shadow_page *sp, uint64_t index)
{
	return sp->table + index * entry_size(sp->mmu);
}

/* Not present, and told from an entry never set: the lowest bit that is not the valid one. */
static inline uint64_t dropped_mark(const struct gpt_format *fmt)
{
	return fmt->valid & 1 ? 2 : 1;
}

static inline unsigned leaf_order(const struct gpt_format *fmt, unsigned level)
{
	return gpt_level_order(fmt, level);
}

static inline uint64_t span(const struct gpt_format *fmt, unsigned level)
{
	return BIT(fmt->level[level].shift + fmt->level[level].bits);
}

static inline struct frame *leaf_frame(const struct mmu *mmu, uint64_t spte)
{
	return machine_frame(mmu->vm->hv->m, MFN(gpt_frame(mmu->shadow->fmt, spte)));
}

static inline uint64_t index_of(const struct shadow_page *sp, uint64_t sptep)
{
	return (sptep - sp->table) / entry_size(sp->mmu);
}

static inline uint64_t entries_of(const struct shadow_page *sp)
{
	return BIT(sp->mmu->shadow->fmt->level[sp->role.level].bits);
}

/* ---- switch entries (shadow_switch.c) ---- */

/* The lowest bit that no entry of the format needs for rights or frames; 0: there is none. */
static inline uint64_t switch_bit(const struct gpt_format *fmt)
{
	uint64_t used = fmt->valid | fmt->read | fmt->write | fmt->exec | fmt->no_exec | fmt->user | fmt->global |
			fmt->no_read | fmt->pfn_mask;
	uint64_t unused = ~used & low_bits(8u * fmt->entry_size);

	return unused & -unused;
}

static inline bool is_switch(const struct gpt_format *fmt, uint64_t spte)
{
	return unlikely(spte && !gpt_is_present(fmt, spte)) && (spte & switch_bit(fmt));
}

/* Sets the entry for va of sp: from here on in the guest's table of that gfn, reached with these rights. */
int switch_set(struct shadow_page *sp, uint64_t va, uint64_t gfn, uint8_t rights);
void switch_drop(struct shadow_page *sp, uint64_t index);
/* Drops all that lead to this guest table. */
void switch_drop_to(struct mmu *mmu, gfn_t gfn);
/* What the entries above leave of the rights. */
uint8_t switch_rights(const struct gpt_format *fmt, uint64_t spte);
/*
 * Sets what else of a leaf page can be set without asking or changing
 * anything: guest entries with A set, whose frames are there. fill: the leaf
 * that was just set.
 */
void switch_fill_page(struct shadow_page *sp, const struct shadow_fill *fill);

/* ---- shadow_radix.c ---- */

/* The guest's tables behind the shadow pages of f->walk are tracked; else nothing may be cached. */
void shadow_track_path(struct mmu *mmu, struct space *s, struct mmu_fault *f);
/* Empties an entry, whatever it is. */
void radix_zap_spte(struct shadow_page *sp, uint64_t index, enum drop_how how);
/* Sets a leaf of sp. */
int radix_set_leaf(struct shadow_page *sp, const struct shadow_fill *fill);
/* Down the tree of one space to the page that holds va at the lowest level; NULL: none. */
struct shadow_page *radix_leaf_page(struct mmu *mmu, struct space *s, uint64_t va);

/* ---- shadow_check.c ---- */

unsigned radix_resync_page(struct shadow_page *sp);
unsigned radix_resync_va(struct mmu *mmu, struct space *s, uint64_t va);
int radix_audit(struct mmu *mmu, uint64_t *leaves, const char **why);

#endif
