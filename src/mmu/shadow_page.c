/* SPDX-License-Identifier: MIT */
/* Life of shadow pages: found by (gfn, role), made, recycled, flooded, out of step and in again. */
#include "mmu/shadow.h"

static bool same_role(const struct shadow_role *a, const struct shadow_role *b)
{
	return a->kind == b->kind && a->level == b->level && a->guest_level == b->guest_level &&
	       a->rights == b->rights && a->space == b->space && a->base == b->base;
}

/* Does any page in step still rely on this gfn being write-protected? */
static bool needs_protection(struct shadow *sh, uint64_t gfn)
{
	for_each_sp_of(sh, gfn, sp)
		if (!sp->unsync)
			return true;
	return false;
}

static void set_protection(struct mmu *mmu, uint64_t gfn, bool on)
{
	bool is_on = gfn_flags(gfn_get(mmu->vm, GFN(gfn))) & GFN_WPROT;
	struct gfn_change c = { .op = on ? GFN_OP_WPROT : GFN_OP_UNWPROT };

	if (is_on != on)
		BUG_ON(gfn_update(mmu->vm, GFN(gfn), 1, &c));
}

static bool shadows_a_table(const struct shadow_page *sp)
{
	return sp->role.kind == SP_PLACED || sp->role.kind == SP_TABLELESS;
}

static unsigned table_order(const struct shadow *sh, unsigned level)
{
	return gpt_table_order(sh->fmt, level, false);
}

static void set_table_owner(struct mmu *mmu, struct shadow_page *sp, struct shadow_page *owner)
{
	uint64_t mfn = sp->table >> PAGE_SHIFT;

	for (uint64_t i = 0; i < BIT(table_order(mmu->shadow, sp->role.level)); i++)
		machine_frame(mmu->vm->hv->m, MFN(mfn + i))->priv = (uintptr_t)owner;
}

struct shadow_page *sp_of_table(struct mmu *mmu, uint64_t hpa)
{
	return (struct shadow_page *)(uintptr_t)machine_frame(mmu->vm->hv->m, MFN(hpa >> PAGE_SHIFT))->priv;
}

void sp_used(struct shadow_page *sp)
{
	sp->writes = 0;
	list_del(&sp->lru);
	list_add(&sp->mmu->shadow->pages, &sp->lru);
}

static void sp_free(struct shadow_page *sp)
{
	struct mmu *mmu = sp->mmu;
	struct shadow *sh = mmu->shadow;
	struct shadow_page **link = sp_bucket(sh, sp->gfn);

	while (*link != sp)
		link = &(*link)->next;
	*link = sp->next;
	list_del(&sp->lru);
	list_del(&sp->unsynced);
	sh->npages--;
	if (shadows_a_table(sp) && !needs_protection(sh, sp->gfn))
		set_protection(mmu, sp->gfn, false);
	if (sp->table) {
		wc_inval_frames(&mmu->cpu->guest_wc, sp->table >> PAGE_SHIFT,
				BIT(table_order(sh, sp->role.level)));
		set_table_owner(mmu, sp, NULL);
		ptm_free(&mmu->ptm.m, sp->table, table_order(sh, sp->role.level));
	}
	mmu->metadata_bytes -= sizeof(*sp);
	kmem_free(mmu->vm->hv->m, sp, sizeof(*sp));
}

static void forget_root(struct shadow_page *sp)
{
	list_for_each(l, &sp->mmu->spaces) {
		struct space *s = list_entry(l, struct space, lru);

		if (s->shadow_root == sp)
			s->shadow_root = NULL;
	}
	if (sp->mmu->bare.shadow_root == sp)
		sp->mmu->bare.shadow_root = NULL;
	sp->roots = 0;
}

void sp_zap(struct shadow_page *sp)
{
	struct mmu *mmu = sp->mmu;

	mmu->vm->stats.mmu_shadow_zapped++;
	if (sp->roots)
		forget_root(sp);
	/* Losing its last parent must not zap it again. */
	sp->busy = true;
	mmu->shadow->be->empty(sp);
	sp_free(sp);
}

void sp_zap_tree(struct shadow_page *sp)
{
	struct mmu *mmu = sp->mmu;
	const struct gpt_format *fmt = mmu->shadow->fmt;
	struct shadow_page *child[1];

	/* Children are met again from a fresh look after each: the tree is at most GPT_LEVELS_MAX deep. */
	if (sp->table && sp->role.level) {
		uint64_t n = BIT(fmt->level[sp->role.level].bits);

		for (uint64_t i = 0; i < n && sp->present; i++) {
			uint64_t hpa = sp->table + i * fmt->entry_size, pte = 0;

			memcpy(&pte, machine_ptr(mmu->vm->hv->m, HPA(hpa)), fmt->entry_size);
			if (!gpt_is_present(fmt, pte) || gpt_is_leaf(fmt, sp->role.level, pte))
				continue;
			child[0] = sp_of_table(mmu, gpt_frame(fmt, pte) << PAGE_SHIFT);
			if (rmap_count(child[0]->parents) == 1 && !child[0]->roots)
				sp_zap_tree(child[0]);
		}
	}
	sp_zap(sp);
}

void sp_zap_all(struct mmu *mmu)
{
	while (!list_is_empty(&mmu->shadow->pages))
		sp_zap(list_first(&mmu->shadow->pages, struct shadow_page, lru));
}

/* Makes room under the budget: the page longest unused goes, but none of the path being built. */
static void recycle(struct mmu *mmu)
{
	struct shadow *sh = mmu->shadow;

	for (struct list *l = sh->pages.prev; l != &sh->pages; l = l->prev) {
		struct shadow_page *sp = list_entry(l, struct shadow_page, lru);

		if (sp->busy)
			continue;
		mmu->vm->stats.mmu_recycled++;
		sp_zap(sp);
		sp_flush(mmu);
		return;
	}
}

static struct shadow_page *sp_make(struct mmu *mmu, uint64_t gfn, const struct shadow_role *role, uint64_t guest_table)
{
	struct shadow *sh = mmu->shadow;
	struct shadow_page *sp = kmem_alloc(mmu->vm->hv->m, sizeof(*sp));
	uint64_t table = 0;

	if (!sp)
		return NULL;
	if (role->kind != SP_TABLELESS && ptm_alloc(&mmu->ptm.m, table_order(sh, role->level), &table)) {
		kmem_free(mmu->vm->hv->m, sp, sizeof(*sp));
		return NULL;
	}
	sp->mmu = mmu;
	sp->gfn = gfn;
	sp->role = *role;
	sp->guest_table = guest_table;
	sp->table = table;
	list_init(&sp->unsynced);
	sp->next = *sp_bucket(sh, gfn);
	*sp_bucket(sh, gfn) = sp;
	list_add(&sh->pages, &sp->lru);
	sh->npages++;
	mmu->metadata_bytes += sizeof(*sp);
	mmu->vm->stats.mmu_cache_miss++;
	if (table)
		set_table_owner(mmu, sp, sp);
	if (shadows_a_table(sp))
		set_protection(mmu, gfn, true);
	return sp;
}

bool sp_is(const struct shadow_page *sp, uint64_t gfn, const struct shadow_role *role, uint64_t guest_table)
{
	return sp->gfn == gfn && sp->guest_table == guest_table && same_role(&sp->role, role);
}

struct shadow_page *sp_get(struct mmu *mmu, uint64_t gfn, const struct shadow_role *role, uint64_t guest_table)
{
	struct shadow *sh = mmu->shadow;

	for (struct shadow_page *sp = *sp_bucket(sh, gfn); sp; sp = sp->next)
		if (sp_is(sp, gfn, role, guest_table)) {
			sp_used(sp);
			return sp;
		}
	if (sh->npages >= sh->budget)
		recycle(mmu);
	return sp_make(mmu, gfn, role, guest_table);
}

void sp_unsync(struct shadow_page *sp)
{
	struct mmu *mmu = sp->mmu;

	if (sp->unsync)
		return;
	sp->unsync = true;
	list_add(&mmu->shadow->unsynced, &sp->unsynced);
	mmu->vm->stats.mmu_unsync++;
	if (!needs_protection(mmu->shadow, sp->gfn))
		set_protection(mmu, sp->gfn, false);
}

void sp_sync(struct shadow_page *sp)
{
	struct mmu *mmu = sp->mmu;

	if (!sp->unsync)
		return;
	/* Protected first: what is compared then stays as it is. */
	sp->unsync = false;
	list_del(&sp->unsynced);
	set_protection(mmu, sp->gfn, true);
	mmu->vm->stats.mmu_resync_pages++;
	mmu->vm->stats.shadow_resync++;
	mmu->vm->stats.mmu_resync_entries += mmu->shadow->be->resync_page(sp);
}

void sp_flood(struct mmu *mmu, gfn_t gfn)
{
	struct shadow *sh = mmu->shadow;
	bool any = false;

	for (bool again = true; again;) {
		again = false;
		for_each_sp_of(sh, gfn.v, sp) {
			if (sp->writes < sh->flood_limit || sp->busy)
				continue;
			sp_zap(sp);
			again = any = true;
			break;
		}
	}
	if (any) {
		mmu->vm->stats.mmu_flooded++;
		sp_flush(mmu);
	}
}

void shadow_count_leaf(struct mmu *mmu, unsigned order, int by)
{
	struct vm_stats *s = &mmu->vm->stats;
	uint64_t *c = order == 0 ? &s->pages_4k : order < ORDER_1G ? &s->pages_2m : &s->pages_1g;

	*c += (uint64_t)(int64_t)by;
}

uint8_t shadow_leaf_rights(const struct shadow_fill *fill)
{
	uint8_t r = fill->guest_rights & (fill->map.rights | RIGHT_U | RIGHT_G);

	/* Until the guest's D is set, stores must come by. */
	if (!(fill->guest_rights & RIGHT_D))
		r &= (uint8_t)~RIGHT_W;
	return r | RIGHT_A | (r & RIGHT_W ? RIGHT_D : 0);
}
