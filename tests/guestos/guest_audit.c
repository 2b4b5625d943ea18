/* SPDX-License-Identifier: MIT */
/*
 * The kernel's records against each other: pages, frames, owners, tables. It
 * reads tables through the first door, so it comes after everything that a
 * test measures.
 */
#include "harness.h"

#include "guestos/guest_internal.h"

static int complain(const char **why, const char *what)
{
	*why = what;
	return -EINVAL;
}

static bool has_owner(struct guest *g, uint64_t gfn, const struct pages *of, uint64_t vpn)
{
	gframe_for_each_owner(&g->frames.f[gfn], o)
		if (o->of == of && o->vpn == vpn)
			return true;
	return false;
}

static int audit_page(struct guest *g, struct mm *mm, uint64_t vpn, uint64_t word, const char **why)
{
	struct pt_entry e;
	bool found = mm->has_table && !pt_find(mm->pt, (struct pt_key){ mm->key_space, vpn }, &e);
	uint8_t allowed;

	if (!(word & PAGE_FRAME) != !!(word & PAGE_DISK))
		return complain(why, "a page is on disk and in memory, or neither");
	if ((word & PAGE_FRAME) && !has_owner(g, page_value(word), &mm->pages, vpn))
		return complain(why, "a frame does not know its owner");
	if (found != !!(word & PAGE_MAPPED))
		return complain(why, "the table and the kernel disagree on what is mapped");
	if (!found)
		return 0;
	if (e.frame + (vpn - e.key.page) != page_value(word))
		return complain(why, "the table leads to another frame");
	if ((e.order > 0) != !!(word & PAGE_HUGE))
		return complain(why, "the table and the kernel disagree on a superpage");
	allowed = page_rights(g, mm, vpn, page_value(word));
	if ((e.rights & RIGHT_W) && !(allowed & RIGHT_W))
		return complain(why, "a page may be written that must not be");
	return 0;
}

/* Placed pages: entries lead where the last event said, and nobody else has the page. */
static int audit_placed(struct guest *g, struct mm *mm, const char **why)
{
	pmap_for_range(&mm->phys, vpn, word, 0, UINT64_MAX) {
		struct pt_entry e;
		uint8_t rights;

		if (!phys_find(g, mm, vpn, &rights))
			return complain(why, "a placed page is in a space that knows no such page");
		if (pmap_get(&mm->pages.map, vpn))
			return complain(why, "a placed page is the kernel's own too");
		if (!(word & 1))
			continue;
		if (!mm->has_table || pt_find(mm->pt, (struct pt_key){ mm->key_space, vpn }, &e))
			return complain(why, "a placed page's entry is not there");
		if (e.frame != word >> 8 || e.frame >= g->config.phys_pages || e.order || (e.rights & RIGHT_RWX) != rights)
			return complain(why, "a placed page's entry is wrong");
	}
	return 0;
}

static int audit_mm(struct guest *g, struct mm *mm, uint64_t *owned, const char **why)
{
	int err = vmas_audit(&mm->vmas, why);

	if (!err && mm->has_table && mm->pt->org->audit)
		err = mm->pt->org->audit(mm->pt, why);
	if (err)
		return err;
	err = audit_placed(g, mm, why);
	if (err)
		return err;
	pmap_for_range(&mm->pages.map, vpn, word, 0, UINT64_MAX) {
		*owned += !!(word & PAGE_FRAME);
		err = audit_page(g, mm, vpn, word, why);
		if (err)
			return err;
	}
	return 0;
}

int guest_audit(struct guest *g, const char **why)
{
	uint64_t owned = 0, refs = 0, shared = 0;
	int err = frames_audit(&g->frames, why);

	for (struct mm *mm = g->mms; mm && !err; mm = mm->next)
		err = audit_mm(g, mm, &owned, why);
	if (err)
		return err;
	for (uint64_t i = 0; i < g->frames.n; i++) {
		const struct gframe *f = &g->frames.f[i];

		if (f->type != GFRAME_USER)
			continue;
		refs += f->refs;
		gframe_for_each_owner(&g->frames.f[i], o)
			shared += o->of->mm == NULL;
	}
	if (refs != owned + shared)
		return complain(why, "frames count owners that are not there");
	return 0;
}

void guest_limit_asids(struct guest *g, uint32_t n)
{
	g->asid_end = MIN(g->asid_end, n + 1);
}
