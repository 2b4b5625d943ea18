/* SPDX-License-Identifier: MIT */
/*
 * The kernel's view of its page tables: struct pt over guest frames. One
 * table a space; where the organisation holds many spaces, one for the guest.
 */
#include "base/bug.h"
#include "guestos/guest_internal.h"

static struct pt_params params_of(const struct guest *g)
{
	const struct gpt_format *fmt = g->config.fmt;

	return (struct pt_params){
		.fmt = fmt,
		.nframes = g->config.mem_pages,
		.npages = g->config.org->sparse_keys ? 0 : gpt_va_limit(fmt, false) >> PAGE_SHIFT,
		.role = "guest",
	};
}

static struct pt_key key_of(const struct mm *mm, uint64_t vpn)
{
	return (struct pt_key){ mm->key_space, vpn };
}

/* A broken table is the kernel's own bug, or a scheme's: no guest can cause it. */
static int checked(struct guest *g, int err)
{
	if (err == -EFAULT || err == -EAGAIN)
		return guest_fatal(g, GUEST_CRASHED);
	return err;
}

unsigned table_huge_order(const struct guest *g)
{
	return g->huge_order;
}

static void learn_orders(struct guest *g, const struct pt *pt)
{
	uint64_t orders = pt->orders & ~BIT(0) & low_bits(GUEST_ORDER_MAX + 1);

	/* Recorded pages are placed one by one. */
	g->huge_order = g->config.thp && !g->config.phys_pages && orders ? (unsigned)__builtin_ctzll(orders) : 0;
}

int table_create(struct guest *g, struct mm *mm)
{
	bool shared = g->config.org->per_machine;
	struct pt_params params = params_of(g);
	int err = 0;

	mm->pt = shared ? &g->shared_pt : &mm->own;
	if (!shared || !g->shared_users)
		err = checked(g, pt_create(mm->pt, g->config.org, g->config.org_flags, &params, &g->ptm));
	if (err)
		return err;
	learn_orders(g, mm->pt);
	/* The shared table, once made, stays: it belongs to the kernel. */
	g->shared_users += shared;
	mm->has_table = true;
	return 0;
}

void table_destroy(struct guest *g, struct mm *mm)
{
	if (!mm->has_table)
		return;
	mm->has_table = false;
	if (mm->pt == &g->shared_pt)
		(void)checked(g, mm->pt->org->drop_space(mm->pt, mm->key_space));
	else
		pt_destroy(mm->pt);
}

int table_map(struct guest *g, struct mm *mm, uint64_t vpn, unsigned order, uint64_t gfn, uint8_t rights)
{
	struct pt_entry e = { key_of(mm, vpn), (uint8_t)order, rights, gfn };
	int err = checked(g, mm->pt->org->map(mm->pt, &e));

	if (err)
		return err;
	g->stats.pages_mapped++;
	g->stats.superpages_mapped += order > 0;
	return 0;
}

int table_unmap(struct guest *g, struct mm *mm, uint64_t vpn, unsigned order, uint8_t *rights)
{
	struct pt_entry old = { .rights = 0 };
	int err = checked(g, mm->pt->org->unmap(mm->pt, key_of(mm, vpn), order, &old));

	BUG_ON(err == -ENOENT);
	if (err)
		return err;
	*rights = old.rights;
	g->stats.pages_unmapped++;
	fence_owe(g, mm, vpn);
	return 0;
}

int table_protect(struct guest *g, struct mm *mm, uint64_t vpn, unsigned order, uint8_t rights)
{
	int err = checked(g, mm->pt->org->protect(mm->pt, key_of(mm, vpn), order, rights));

	BUG_ON(err == -ENOENT);
	if (!err)
		fence_owe(g, mm, vpn);
	return err;
}

int table_rights(struct guest *g, struct mm *mm, uint64_t vpn, uint8_t *rights)
{
	struct pt_entry e;
	int err = checked(g, pt_find(mm->pt, key_of(mm, vpn), &e));

	BUG_ON(err == -ENOENT);
	if (!err)
		*rights = e.rights;
	return err;
}

/* Can any TLB hold something of this space? Without tags, each switch emptied it of the others. */
static bool is_cached(const struct guest *g, const struct mm *mm)
{
	return g->asids ? mm->asid_generation == g->asid_generation : mm == g->current;
}

void fence_owe(struct guest *g, struct mm *mm, uint64_t vpn)
{
	if (!is_cached(g, mm))
		return;
	if (g->fences.mm != mm)
		fence_pay(g);
	g->fences.mm = mm;
	if (g->fences.n < FENCE_BATCH)
		g->fences.vpn[g->fences.n] = vpn;
	if (g->fences.n <= FENCE_BATCH)
		g->fences.n++;
}

void fence_owe_space(struct guest *g, struct mm *mm)
{
	if (!is_cached(g, mm))
		return;
	if (g->fences.mm != mm)
		fence_pay(g);
	g->fences.mm = mm;
	g->fences.n = FENCE_BATCH + 1;
}

void fence_pay(struct guest *g)
{
	struct mm *mm = g->fences.mm;
	unsigned n = g->fences.n;

	(void)kmem_pt_flush(g); /* what goes wrong ends the run */
	if (!n)
		return;
	g->fences.mm = NULL;
	g->fences.n = 0;
	if (n > FENCE_BATCH) {
		g->stats.fences++;
		vcpu_fence(g->vcpu, FENCE_SPACE, mm->asid, GVA(0));
		return;
	}
	for (unsigned i = 0; i < n; i++) {
		g->stats.fences++;
		vcpu_fence(g->vcpu, FENCE_PAGE, mm->asid, GVA(g->fences.vpn[i] << PAGE_SHIFT));
	}
}
