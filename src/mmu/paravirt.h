/* SPDX-License-Identifier: MIT */
/* Inside mode paravirt: pinned frames and entries (paravirt_table.c). */
#ifndef QUIRE_MMU_PARAVIRT_H
#define QUIRE_MMU_PARAVIRT_H

#include "mmu/internal.h"

enum { PV_LEVEL_UNKNOWN = -1 };

/* One pinned frame; its frame.priv points here. */
struct pv_table {
	struct list link;
	gfn_t gfn;
	mfn_t mfn;
	int level;
};

struct paravirt {
	struct list tables;
};

static inline const struct gpt_format *pv_format(const struct mmu *mmu) { return mmu->config.guest_fmt; }

static inline unsigned pv_entries(const struct mmu *mmu)
{
	return (unsigned)(PAGE_SIZE / pv_format(mmu)->entry_size);
}

static inline struct frame *pv_frame(const struct mmu *mmu, mfn_t mfn)
{
	return machine_frame(mmu->vm->hv->m, mfn);
}

/* NULL: it is not pinned. */
struct pv_table *pv_table_of(const struct mmu *mmu, gfn_t gfn);
/* Of a frame with one owner, this VM. */
gfn_t pv_gfn_of(const struct mmu *mmu, uint64_t mfn);
hpa_t pv_entry_at(const struct pv_table *t, const struct mmu *mmu, unsigned i);
uint64_t pv_raw_at(const struct mmu *mmu, hpa_t at);
/* As the guest sees an entry that stands there so. */
uint64_t pv_guest_entry(const struct mmu *mmu, uint64_t raw);
/* Takes the mfn out, puts it in; false: it is held still. */
void pv_hold(struct mmu *mmu, hpa_t at);
bool pv_enter(struct mmu *mmu, hpa_t at);
void pv_enter_all(struct mmu *mmu, const struct pv_table *t);
/* The table is of this level from now on, if all it holds fits that: 0, -EINVAL, -EPERM. */
int pv_set_level(struct mmu *mmu, struct pv_table *t, int level);
/* What stands in the frame becomes held entries. -ENOMEM, -EBUSY (a device has it), -EINVAL, -EPERM. */
int pv_pin(struct mmu *mmu, gfn_t gfn);
void pv_unpin(struct mmu *mmu, struct pv_table *t);

#endif
