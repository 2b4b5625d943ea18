/* SPDX-License-Identifier: MIT */
/*
 * Pages of a recorded machine: EV_PHYS says where each stands, so this kernel
 * neither chooses their frames nor ever takes them away. The recorded RAM is
 * the low end of the guest's memory, and everything of this kernel's own (its
 * tables, pages that no event placed) stands above it.
 *
 *   mm->phys       page → where its event put it, and whether a table entry says so
 *   g->phys_upper  the same of the upper half, which all spaces share; there
 *                  mm->phys holds only what stands in the space's own table
 *
 * An event's page gets its entry in the space at hand at once, by stores and a
 * fence as any other change. Other spaces lose the entry that is no longer true, and
 * get the new one by a fault when they come to use it.
 *
 * A word: gfn << 8 | rights << 1 | PHYS_MAPPED, never 0 since a page has some right.
 */
#include "base/bug.h"
#include "guestos/guest_internal.h"

enum {
	PHYS_MAPPED = 1,
	PHYS_RIGHTS_SHIFT = 1,
	PHYS_GFN_SHIFT = 8,
	PHYS_EVENT_PAGES = 1 << 18, /* of one event: 1 GiB */
};
static_assert(RIGHT_RWX << PHYS_RIGHTS_SHIFT < 1 << PHYS_GFN_SHIFT, "rights fit below the frame number");

#define VPN_UPPER BIT(63 - PAGE_SHIFT)

static uint64_t make_phys(uint64_t gfn, uint8_t rights)
{
	return gfn << PHYS_GFN_SHIFT | (uint64_t)rights << PHYS_RIGHTS_SHIFT;
}

static uint8_t phys_rights(uint64_t word)
{
	return (uint8_t)(word >> PHYS_RIGHTS_SHIFT) & RIGHT_RWX;
}

/* What the last event said of the page, for this space. 0: none did. */
static uint64_t placed(const struct guest *g, const struct mm *mm, uint64_t vpn)
{
	/* Lookups keep a note of the node they end in, and change nothing else. */
	struct pmap *map = (struct pmap *)(vpn & VPN_UPPER ? &g->phys_upper : &mm->phys);

	return pmap_get(map, vpn) & ~(uint64_t)PHYS_MAPPED;
}

bool phys_find(const struct guest *g, const struct mm *mm, uint64_t vpn, uint8_t *rights)
{
	uint64_t word = g->phys_told ? placed(g, mm, vpn) : 0;

	*rights = phys_rights(word);
	return word != 0;
}

/* Takes the space's entry away, if it has one. In the lower half the page stays known, in the upper it is phys_upper's. */
static int take_entry(struct guest *g, struct mm *mm, uint64_t vpn)
{
	uint64_t word = pmap_get(&mm->phys, vpn);
	uint8_t rights;
	int err;

	if (!(word & PHYS_MAPPED))
		return 0;
	err = table_unmap(g, mm, vpn, 0, &rights);
	if (!err)
		pmap_set(&mm->phys, vpn, vpn & VPN_UPPER ? 0 : word & ~(uint64_t)PHYS_MAPPED);
	return err;
}

/* Only tables are asked for here, and only pages of this kernel's own can make room for them. */
static int give_entry(struct guest *g, struct mm *mm, uint64_t vpn, uint64_t word)
{
	uint8_t rights = phys_rights(word) | RIGHT_U;
	int err = mm_table(g, mm);

	/* Where setting A and D is the kernel's work, they are born set: when they were set is not recorded. */
	if (g->config.ad == WALK_AD_FAULT)
		rights |= RIGHT_A | (rights & RIGHT_W ? RIGHT_D : 0);
	while (!err) {
		err = table_map(g, mm, vpn, 0, word >> PHYS_GFN_SHIFT, rights);
		if (err != -ENOMEM)
			break;
		err = evict_one(g);
	}
	if (!err)
		pmap_set(&mm->phys, vpn, word | PHYS_MAPPED);
	return err;
}

/* What the space has there goes: its entry, and what this kernel put there before it was told. */
static int clear(struct guest *g, struct mm *mm, uint64_t vpn)
{
	int err = pages_drop_range(g, mm, vpn, 1);

	return err ? err : take_entry(g, mm, vpn);
}

/* A page of the upper half moves: no space may keep what it had. */
static int clear_in_all(struct guest *g, uint64_t vpn)
{
	int err = 0;

	for (struct mm *mm = g->mms; mm && !err; mm = mm->next)
		err = clear(g, mm, vpn);
	return err;
}

static int place_page(struct guest *g, struct mm *mm, uint64_t vpn, uint64_t word)
{
	bool upper = vpn & VPN_UPPER;
	uint64_t old = placed(g, mm, vpn);
	int err = 0;

	if (old == word && (pmap_get(&mm->phys, vpn) & PHYS_MAPPED))
		return 0;
	if (old != word) {
		g->stats.phys_moved += old != 0;
		err = upper ? clear_in_all(g, vpn) : clear(g, mm, vpn);
	}
	if (err)
		return err;
	g->stats.phys_mapped++;
	pmap_set(upper ? &g->phys_upper : &mm->phys, vpn, word);
	return give_entry(g, mm, vpn, word);
}

int phys_fault(struct guest *g, struct mm *mm, uint64_t vpn)
{
	if (!(pmap_get(&mm->phys, vpn) & PHYS_MAPPED))
		return give_entry(g, mm, vpn, placed(g, mm, vpn));
	/* The entry allows it, so only a stale translation can have stopped it. */
	fence_owe(g, mm, vpn);
	return 0;
}

int phys_drop_range(struct guest *g, struct mm *mm, uint64_t vpn, uint64_t n)
{
	pmap_for_range(&mm->phys, at, word, vpn, MIN(vpn + n, VPN_UPPER)) {
		int err = take_entry(g, mm, at);

		if (err)
			return err;
		pmap_set(&mm->phys, at, 0);
	}
	return 0;
}

void phys_fork(struct mm *child, const struct mm *parent)
{
	pmap_for_range((struct pmap *)&parent->phys, vpn, word, 0, VPN_UPPER)
		pmap_set(&child->phys, vpn, word & ~(uint64_t)PHYS_MAPPED);
}

/* ---- events ---- */

static int tell_ram(struct guest *g, const struct trace_event *ev)
{
	uint64_t pages = ev->len >> PAGE_SHIFT;

	if (!pages || ev->len & PAGE_MASK)
		return guest_bad_input(g, "a recorded machine cannot have %llu bytes of RAM", (unsigned long long)ev->len);
	if (pages != g->config.phys_pages)
		return guest_bad_input(g, "the work tells of a machine with %llu bytes of RAM where one with %llu was expected; a guest takes one recorded machine",
				       (unsigned long long)ev->len, (unsigned long long)g->config.phys_pages << PAGE_SHIFT);
	g->phys_told = true;
	return 0;
}

/* Can the format say all of [addr, addr + len)? */
static bool is_canonical(const struct gpt_format *fmt, uint64_t addr, uint64_t len)
{
	uint64_t last = addr + len - 1;
	unsigned top = fmt->va_bits - 1;

	if (last < addr || !ref_gva_ok(addr) || !ref_gva_ok(last))
		return false;
	if (fmt->sign_extended)
		return (uint64_t)((int64_t)addr >> top) + 1 <= 1 && ((int64_t)last >> top) == ((int64_t)addr >> top);
	return fmt->va_bits >= 64 || last <= low_bits(fmt->va_bits);
}

static int check_phys(struct guest *g, const struct trace_event *ev)
{
	uint64_t ram = g->config.phys_pages << PAGE_SHIFT;
	unsigned long long addr = ev->addr, len = ev->len, gpa = ev->addr2;

	if (!g->phys_told)
		return guest_bad_input(g, "page 0x%llx is placed before the recorded machine's RAM is told of", addr);
	if ((addr | len | gpa) & PAGE_MASK || !len)
		return guest_bad_input(g, "0x%llx bytes at 0x%llx, placed at 0x%llx, are no whole pages", len, addr, gpa);
	if (len >> PAGE_SHIFT > PHYS_EVENT_PAGES)
		return guest_bad_input(g, "0x%llx bytes at 0x%llx are placed at once, and 1 GiB is the most", len, addr);
	if (gpa > ram || len > ram - gpa)
		return guest_bad_input(g, "0x%llx bytes at 0x%llx are placed at 0x%llx, outside the recorded machine's RAM of 0x%llx",
				       len, addr, gpa, (unsigned long long)ram);
	if (!is_canonical(g->config.fmt, ev->addr, ev->len))
		return guest_bad_input(g, "0x%llx bytes at 0x%llx are no addresses of format %s; use --format x86-64", len, addr,
				       g->config.fmt->name);
	if (!(ev->prot & (PROT_BIT_R | PROT_BIT_W | PROT_BIT_X)))
		return guest_bad_input(g, "page 0x%llx is placed without any right", addr);
	return 0;
}

int phys_event(struct guest *g, struct mm *mm, const struct trace_event *ev)
{
	int err = ev->kind == EV_RAM ? tell_ram(g, ev) : check_phys(g, ev);
	uint8_t rights = RIGHT_R | (ev->prot & PROT_BIT_W ? RIGHT_W : 0) | (ev->prot & PROT_BIT_X ? RIGHT_X : 0);

	if (err || ev->kind == EV_RAM)
		return err;
	for (uint64_t i = 0; i < ev->len >> PAGE_SHIFT && !err; i++)
		err = place_page(g, mm, (ev->addr >> PAGE_SHIFT) + i, make_phys((ev->addr2 >> PAGE_SHIFT) + i, rights));
	return err;
}
