/* SPDX-License-Identifier: MIT */
/* Pinned frames and their entries: entered, held, checked, changed at the guest's asking. paravirt.c has the picture. */
#include "mmu/paravirt.h"

struct pv_table *pv_table_of(const struct mmu *mmu, gfn_t gfn)
{
	if (!memslot_find(mmu->vm, gfn))
		return NULL;
	struct gfn_state st = gfn_get(mmu->vm, gfn);

	if (gfn_kind(st) != GFN_BACKED || !(gfn_flags(st) & GFN_PIN))
		return NULL;
	return (struct pv_table *)(uintptr_t)pv_frame(mmu, gfn_mfn(st))->priv;
}

/* A frame with one owner, ours. */
gfn_t pv_gfn_of(const struct mmu *mmu, uint64_t mfn)
{
	const struct frame *f = pv_frame(mmu, MFN(mfn));
	struct rmap_iter it;

	BUG_ON(f->refs != 1 || !rmap_first(f->owners, &it) || rmap_owner_vmid(it.name) != mmu->vm->vmid);
	return rmap_owner_gfn(it.name);
}

/* ---- entries, by their machine address ---- */

uint64_t pv_raw_at(const struct mmu *mmu, hpa_t at)
{
	uint64_t raw = 0;

	memcpy(&raw, machine_ptr(mmu->vm->hv->m, at), pv_format(mmu)->entry_size);
	return raw;
}

static void set_raw(struct mmu *mmu, hpa_t at, uint64_t raw)
{
	memcpy(machine_ptr(mmu->vm->hv->m, at), &raw, pv_format(mmu)->entry_size);
	pv_frame(mmu, hpa_to_mfn(at))->flags |= FRAME_TOUCHED;
}

static bool is_entered(const struct gpt_format *fmt, uint64_t raw) { return raw & fmt->valid; }

static uint64_t with_frame(const struct gpt_format *fmt, uint64_t pte, uint64_t frame)
{
	return (pte & ~fmt->pfn_mask) | (frame << fmt->pfn_shift & fmt->pfn_mask);
}

/* As the guest sees it. */
uint64_t pv_guest_entry(const struct mmu *mmu, uint64_t raw)
{
	const struct gpt_format *fmt = pv_format(mmu);

	if (!raw)
		return 0;
	return is_entered(fmt, raw) ? with_frame(fmt, raw, pv_gfn_of(mmu, gpt_frame(fmt, raw)).v) : raw | fmt->valid;
}

void pv_hold(struct mmu *mmu, hpa_t at)
{
	const struct gpt_format *fmt = pv_format(mmu);
	uint64_t raw = pv_raw_at(mmu, at);

	if (!is_entered(fmt, raw))
		return;
	rmap_remove(mmu->vm->hv->m, &pv_frame(mmu, MFN(gpt_frame(fmt, raw)))->sptes, rmap_sptep(at));
	set_raw(mmu, at, pv_guest_entry(mmu, raw) & ~fmt->valid);
}

/* Puts the mfn into a held entry, if its frame is there and may be used as it says. */
bool pv_enter(struct mmu *mmu, hpa_t at)
{
	const struct gpt_format *fmt = pv_format(mmu);
	uint64_t raw = pv_raw_at(mmu, at);
	struct gfn_mapping map;

	if (!raw || is_entered(fmt, raw))
		return raw;
	gfn_t gfn = GFN(gpt_frame(fmt, raw));

	if (!memslot_find(mmu->vm, gfn) || gfn_peek(mmu->vm, gfn, &map))
		return false;
	const struct pv_table *in = (const void *)(uintptr_t)pv_frame(mmu, hpa_to_mfn(at))->priv;
	const struct pv_table *target = pv_table_of(mmu, gfn);
	struct frame *f = pv_frame(mmu, map.mfn);

	/* A leaf may have been held while its frame became a table. */
	if (f->refs != 1 || (target && in->level == 0) || (!target && in->level > 0) ||
	    (!target && (raw & fmt->write) && !(map.rights & RIGHT_W)))
		return false;
	if (rmap_add(mmu->vm->hv->m, &f->sptes, rmap_sptep(at)))
		return false;
	set_raw(mmu, at, with_frame(fmt, raw, map.mfn.v) | fmt->valid);
	return true;
}

hpa_t pv_entry_at(const struct pv_table *t, const struct mmu *mmu, unsigned i)
{
	return HPA(mfn_to_hpa(t->mfn).v + (uint64_t)i * pv_format(mmu)->entry_size);
}

/* ---- checks ---- */

static int check_entry_of(struct mmu *mmu, int level, uint64_t pte);

/* This frame is the level-l table from now on, and all it holds fits that. */
int pv_set_level(struct mmu *mmu, struct pv_table *t, int level)
{
	if (t->level != PV_LEVEL_UNKNOWN)
		return t->level == level ? 0 : -EINVAL;
	t->level = level;
	for (unsigned i = 0; i < pv_entries(mmu); i++) {
		int err = check_entry_of(mmu, level, pv_guest_entry(mmu, pv_raw_at(mmu, pv_entry_at(t, mmu, i))));

		if (err) {
			t->level = PV_LEVEL_UNKNOWN;
			return err;
		}
	}
	return 0;
}

static int check_entry_of(struct mmu *mmu, int level, uint64_t pte)
{
	const struct gpt_format *fmt = pv_format(mmu);

	if (!pte)
		return 0;
	/* Not present, but not 0; or nothing would be left of it once held. */
	if (!(pte & fmt->valid) || !(pte & ~fmt->valid))
		return -EINVAL;
	struct pv_table *target = pv_table_of(mmu, GFN(gpt_frame(fmt, pte)));

	if (level == PV_LEVEL_UNKNOWN)
		return 0;
	if (gpt_is_reserved(fmt, (unsigned)level, pte, CTL_DEFAULT))
		return -EINVAL;
	if (gpt_is_leaf(fmt, (unsigned)level, pte))
		return level == 0 && !target ? 0 : -EPERM;
	return level && target ? pv_set_level(mmu, target, level - 1) : -EPERM;
}

/* ---- what the guest asks for ---- */

/* What TLBs and walk caches had from an entry: found by the frame it led to. */
static void flush_entry(struct mmu *mmu, const struct pv_table *t, uint64_t pte)
{
	gfn_t gfn = GFN(gpt_frame(pv_format(mmu), pte));
	struct gfn_mapping map;
	const struct pv_table *child = pv_table_of(mmu, gfn);

	if (mmu->config.visibility == VISIBLE_ARCHITECTURAL)
		return;
	if (child && t->level != 0)
		for (unsigned i = 0; i < pv_entries(mmu); i++)
			if (pv_raw_at(mmu, pv_entry_at(child, mmu, i))) {
				flush_vm(mmu);
				return;
			}
	if (memslot_find(mmu->vm, gfn) && !gfn_peek(mmu->vm, gfn, &map))
		flush_frames(mmu, map.mfn, 1);
}

static int update(struct mmu *mmu, const struct pv_update *u)
{
	gfn_t gfn = gpa_to_gfn(GPA(u->gpa));
	struct pv_table *t = pv_table_of(mmu, gfn);
	struct gfn_mapping map;
	int err = t && is_aligned(u->gpa, pv_format(mmu)->entry_size) ? check_entry_of(mmu, t->level, u->value) : -EINVAL;

	/* The guest stores: into the dirty log with it. */
	if (!err)
		err = gfn_fault(mmu->vm, gfn, true, &map);
	if (err)
		return err;
	hpa_t at = HPA(mfn_to_hpa(t->mfn).v | (u->gpa & PAGE_MASK));
	uint64_t old = pv_raw_at(mmu, at);

	if (old) {
		flush_entry(mmu, t, pv_guest_entry(mmu, old));
		pv_hold(mmu, at);
	}
	set_raw(mmu, at, u->value & ~pv_format(mmu)->valid);
	pv_enter(mmu, at);
	return 0;
}

static enum access_status answer(struct vcpu *v, int err)
{
	if (!err)
		return ACCESS_OK;
	if (err == -ENOMEM)
		return ACCESS_NOMEM;
	vm_crash(v->mmu->vm, "the guest asked for a table entry that it may not have");
	return ACCESS_CRASH;
}

bool vcpu_is_paravirt(const struct vcpu *v) { return v->mmu->paravirt; }

void vcpu_know_paravirt(struct vcpu *v, struct pv_tables *t) { v->mmu->pv_guest = t; }

enum access_status vcpu_pv_update(struct vcpu *v, const struct pv_update *u, unsigned n, unsigned *done)
{
	struct vm_stats *s = &v->mmu->vm->stats;

	*done = 0;
	if (v->mmu->vm->crashed)
		return ACCESS_CRASH;
	vm_stats_exit(s, EXIT_HYPERCALL);
	for (; *done < n; ++*done, s->pv_updates++) {
		int err = update(v->mmu, &u[*done]);

		if (err)
			return answer(v, err);
	}
	return ACCESS_OK;
}

/* Bytes that stand there already become entries, if they can be; and a frame that something maps cannot be a table. */
static int hold_all(struct mmu *mmu, const struct pv_table *t)
{
	if (pv_frame(mmu, t->mfn)->sptes)
		return -EPERM;
	for (unsigned i = 0; i < pv_entries(mmu); i++) {
		int err = check_entry_of(mmu, PV_LEVEL_UNKNOWN, pv_raw_at(mmu, pv_entry_at(t, mmu, i)));

		if (err)
			return err;
	}
	for (unsigned i = 0; i < pv_entries(mmu); i++) {
		hpa_t at = pv_entry_at(t, mmu, i);
		uint64_t pte = pv_raw_at(mmu, at);

		if (pte)
			set_raw(mmu, at, pte & ~pv_format(mmu)->valid);
	}
	return 0;
}

int pv_pin(struct mmu *mmu, gfn_t gfn)
{
	struct machine *m = mmu->vm->hv->m;
	struct pv_table *t = kmem_alloc(m, sizeof(*t));
	int err = t ? vm_pin(mmu->vm, gfn, false, &t->mfn) : -ENOMEM;

	if (!err) {
		t->gfn = gfn;
		err = hold_all(mmu, t);
		if (err)
			vm_unpin(mmu->vm, gfn);
	}
	if (err) {
		if (t)
			kmem_free(m, t, sizeof(*t));
		return err;
	}
	t->level = PV_LEVEL_UNKNOWN;
	pv_frame(mmu, t->mfn)->priv = (uintptr_t)t;
	list_add(&mmu->paravirt->tables, &t->link);
	mmu->metadata_bytes += sizeof(*t);
	return 0;
}

/* The frame is memory like any other again, with the bytes that the guest sees. */
void pv_unpin(struct mmu *mmu, struct pv_table *t)
{
	struct machine *m = mmu->vm->hv->m;
	struct frame *f = pv_frame(mmu, t->mfn);
	struct rmap_iter it;

	while (rmap_first(f->sptes, &it))
		pv_hold(mmu, HPA(it.name));
	for (unsigned i = 0; i < pv_entries(mmu); i++) {
		hpa_t at = pv_entry_at(t, mmu, i);
		uint64_t raw = pv_raw_at(mmu, at);

		pv_hold(mmu, at);
		if (raw)
			set_raw(mmu, at, pv_guest_entry(mmu, pv_raw_at(mmu, at)));
	}
	f->priv = 0;
	vm_unpin(mmu->vm, t->gfn);
	list_del(&t->link);
	mmu->metadata_bytes -= sizeof(*t);
	kmem_free(m, t, sizeof(*t));
}

void pv_enter_all(struct mmu *mmu, const struct pv_table *t)
{
	for (unsigned i = 0; i < pv_entries(mmu); i++)
		pv_enter(mmu, pv_entry_at(t, mmu, i));
}

enum access_status vcpu_pv_pin(struct vcpu *v, gfn_t gfn)
{
	struct mmu *mmu = v->mmu;
	int err;

	if (mmu->vm->crashed)
		return ACCESS_CRASH;
	vm_stats_exit(&mmu->vm->stats, EXIT_HYPERCALL);
	err = memslot_find(mmu->vm, gfn) && !pv_table_of(mmu, gfn) ? pv_pin(mmu, gfn) : -EINVAL;
	/* A TLB may know it though no entry names it. */
	if (!err)
		flush_frames(mmu, pv_table_of(mmu, gfn)->mfn, 1);
	/* Its entries stay held until they are used: what they point to may be pinned next. */
	return answer(v, err);
}

enum access_status vcpu_pv_unpin(struct vcpu *v, gfn_t gfn)
{
	struct pv_table *t = pv_table_of(v->mmu, gfn);

	vm_stats_exit(&v->mmu->vm->stats, EXIT_HYPERCALL);
	if (!t)
		return answer(v, -EINVAL);
	/* Given back with entries in it, it takes along what was read from them. */
	for (unsigned i = 0; i < pv_entries(v->mmu); i++)
		if (pv_raw_at(v->mmu, pv_entry_at(t, v->mmu, i))) {
			flush_vm(v->mmu);
			break;
		}
	flush_frames(v->mmu, t->mfn, 1);
	pv_unpin(v->mmu, t);
	return ACCESS_OK;
}

void mmu_guest_view(struct mmu *mmu, gpa_t gpa, void *bytes, uint64_t len)
{
	unsigned size = pv_format(mmu)->entry_size;

	if (!mmu->paravirt || !pv_table_of(mmu, gpa_to_gfn(gpa)))
		return;
	BUG_ON(!is_aligned(gpa.v, size) || len % size);
	for (uint64_t i = 0; i < len; i += size) {
		uint64_t pte = 0;

		memcpy(&pte, (uint8_t *)bytes + i, size);
		pte = pv_guest_entry(mmu, pte);
		memcpy((uint8_t *)bytes + i, &pte, size);
	}
}
