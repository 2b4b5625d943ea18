/* SPDX-License-Identifier: MIT */
/*
 * True faults. Each step looks at the page as it stands and does one thing;
 * whatever needs a frame gets it first, and since that may evict any page,
 * this one too, the look starts anew:
 *
 *      nothing ─▶ zeroed frame      on disk ─▶ frame, read
 *          └──────────┬─────────────────┘
 *      frame of others, to be written ─▶ copy
 *                     │
 *      no entry ─▶ map        entry too weak ─▶ protect      else: spurious
 */
#include "base/bug.h"
#include "guestos/mem_events.h"

enum {
	NONE_IN_HAND = 0,   /* gfn 0 is the kernel's */
	SELF_EVICTIONS = 4, /* CLOCK may take the page itself while it clears the others' bits */
};

struct fault_in {
	struct guest *g;
	struct mm *mm;
	uint64_t vpn;
	enum acc_kind kind;
	const struct vma *vma; /* NULL: outside all */
	uint64_t fresh;        /* a frame in hand */
	unsigned lost;         /* times that room for its table was made by evicting the page itself */
	uint64_t *count;       /* what kind of fault it turned out to be; NULL: none yet */
};

/* 1: one was got, look again; 0: there was one; or -errno. */
static int need_frame(struct fault_in *f)
{
	int err;

	if (f->fresh)
		return 0;
	err = frames_alloc_evicting(f->g, 0, GFRAME_USER, &f->fresh);
	return err ? err : 1;
}

/* The frame in hand goes to a page. Under data its bytes are the program's from now on. */
static void give_frame(struct fault_in *f, struct pages *to, uint64_t vpn)
{
	if (f->g->config.data)
		f->g->frames.f[f->fresh].flags |= GFRAME_BYTES;
	pmap_set(&to->map, vpn, make_page(f->fresh, PAGE_FRAME));
	gframe_add_owner(f->g, f->fresh, to, vpn);
	f->fresh = NONE_IN_HAND;
}

static void count_as(struct fault_in *f, uint64_t *counter)
{
	if (!f->count)
		++*(f->count = counter);
}

/* A page without a frame gets one: zeroed, or read from its disk slot, which the frame keeps. */
static int populate(struct fault_in *f, struct pages *p, uint64_t vpn, uint64_t word)
{
	struct guest *g = f->g;
	uint32_t slot = word & PAGE_DISK ? (uint32_t)page_value(word) : 0;
	int err = need_frame(f);

	if (err)
		return err;
	err = slot ? disk_read(g, slot, f->fresh) : frames_zero(g, f->fresh, 0);
	if (err)
		return err;
	count_as(f, slot ? &g->stats.major : &g->stats.minor);
	g->stats.auto_mapped += !slot && !f->vma;
	g->frames.f[f->fresh].slot = slot;
	give_frame(f, p, vpn);
	return 1;
}

/* A page of shared memory is the object's page. */
static int join_shared(struct fault_in *f)
{
	struct pages *obj = &f->vma->shm->pages;
	uint64_t off = f->vma->offset + (f->vpn - f->vma->start);
	uint64_t word = pmap_get(&obj->map, off);

	if (!(word & PAGE_FRAME))
		return populate(f, obj, off, word);
	count_as(f, &f->g->stats.minor);
	pmap_set(&f->mm->pages.map, f->vpn, make_page(page_value(word), PAGE_FRAME));
	gframe_add_owner(f->g, page_value(word), &f->mm->pages, f->vpn);
	return 1;
}

/* May the superpage around the page come whole: one VMA or none, nothing there yet? */
static bool huge_fits(const struct fault_in *f, uint64_t base, uint64_t n)
{
	uint64_t key = base, word;
	const struct vma *next;

	if (f->vma) {
		if (f->vma->shm || f->vma->start > base || f->vma->end < base + n)
			return false;
	} else {
		next = vma_next(&f->mm->vmas, base);
		if (next && next->start < base + n)
			return false;
	}
	return !pmap_next(&f->mm->pages.map, &key, &word) || key >= base + n;
}

static uint8_t ad_of(const struct fault_in *f)
{
	/* Where the hardware sets A and D, entries are born without them. */
	if (f->g->config.ad != WALK_AD_FAULT)
		return 0;
	return RIGHT_A | (f->kind == ACC_WRITE ? RIGHT_D : 0);
}

/* 1: done, superpage mapped; 0: not this time; or -errno. */
static int try_huge(struct fault_in *f)
{
	struct guest *g = f->g;
	unsigned order = g->huge_order;
	uint64_t n = BIT(order), base = align_down(f->vpn, n), gfn;
	uint8_t rights = (f->vma ? f->vma->rights : RIGHT_RWX) | RIGHT_U;
	int err;

	if (!order || f->fresh || !huge_fits(f, base, n) || frames_alloc(g, order, GFRAME_USER, &gfn))
		return 0;
	err = frames_zero(g, gfn, order);
	if (!err)
		err = table_map(g, f->mm, base, order, gfn, rights | ad_of(f));
	if (err) {
		frames_free(g, gfn, order);
		return err == -EFAULT ? err : 0;
	}
	for (uint64_t i = 0; i < n; i++) {
		if (g->config.data)
			g->frames.f[gfn + i].flags |= GFRAME_BYTES;
		pmap_set(&f->mm->pages.map, base + i, make_page(gfn + i, PAGE_FRAME | PAGE_MAPPED | PAGE_HUGE));
		gframe_add_owner(g, gfn + i, &f->mm->pages, base + i);
	}
	g->stats.minor++;
	g->stats.auto_mapped += f->vma ? 0 : n;
	return 1;
}

static int copy_on_write(struct fault_in *f, uint64_t word)
{
	struct guest *g = f->g;
	uint64_t old = page_value(word);
	int err = word & PAGE_HUGE ? page_split(g, f->mm, f->vpn) : need_frame(f);

	if (word & PAGE_HUGE)
		return err ? err : 1;
	if (err)
		return err;
	if (g->config.data) {
		enum access_status st = vcpu_copy(g->vcpu, SEG_BARE, f->fresh << PAGE_SHIFT,
						  old << PAGE_SHIFT, PAGE_SIZE);
		err = st ? guest_access(g, st) : 0;
	} else {
		err = frames_zero(g, f->fresh, 0);
	}
	if (!err)
		err = page_drop(g, f->mm, f->vpn);
	if (err)
		return err;
	count_as(f, &g->stats.cow);
	/* Its copy on disk, if any, is not of what will be written. */
	g->frames.f[f->fresh].flags |= GFRAME_DIRTY;
	give_frame(f, &f->mm->pages, f->vpn);
	return 1;
}

/* All frames of a superpage are ours alone: it may be written whole. */
static bool huge_is_own(const struct guest *g, uint64_t vpn, uint64_t gfn)
{
	uint64_t first = gfn - (vpn & low_bits(g->huge_order));

	for (uint64_t i = 0; i < BIT(g->huge_order); i++)
		if (g->frames.f[first + i].refs > 1)
			return false;
	return true;
}

/* The entry is there: it is too weak, or A or D is wanted, or it was mended meanwhile. */
static int strengthen(struct fault_in *f, uint64_t word)
{
	struct guest *g = f->g;
	bool huge = word & PAGE_HUGE;
	uint64_t base = huge ? align_down(f->vpn, BIT(g->huge_order)) : f->vpn;
	uint8_t want = page_rights(g, f->mm, f->vpn, page_value(word)) | ad_of(f), old;
	int err;

	if (huge && !huge_is_own(g, f->vpn, page_value(word))) {
		if (f->kind == ACC_WRITE) {
			err = page_split(g, f->mm, f->vpn);
			return err ? err : 1;
		}
		want &= (uint8_t)~RIGHT_W;
	}
	err = table_rights(g, f->mm, f->vpn, &old);
	if (err)
		return err;
	want |= old & (RIGHT_A | RIGHT_D);
	if (want == (old & (RIGHT_RWX | RIGHT_U | RIGHT_A | RIGHT_D))) {
		fence_owe(g, f->mm, f->vpn);
		return 0;
	}
	return table_protect(g, f->mm, base, huge ? g->huge_order : 0, want);
}

/* 0: done; 1: look again. */
static int step(struct fault_in *f)
{
	struct guest *g = f->g;
	uint64_t word = pmap_get(&f->mm->pages.map, f->vpn);
	bool shared = f->vma && f->vma->shm;
	int err;

	if (!word) {
		err = try_huge(f);
		if (err)
			return err < 0 ? err : 0;
		return shared ? join_shared(f) : populate(f, &f->mm->pages, f->vpn, 0);
	}
	if (word & PAGE_DISK)
		return populate(f, &f->mm->pages, f->vpn, word);
	if (f->kind == ACC_WRITE && !shared && g->frames.f[page_value(word)].refs > 1)
		return copy_on_write(f, word);
	if (word & PAGE_MAPPED)
		return strengthen(f, word);
	count_as(f, &g->stats.minor);
	err = table_map(g, f->mm, f->vpn, 0, page_value(word),
			page_rights(g, f->mm, f->vpn, page_value(word)) | ad_of(f));
	if (!err)
		pmap_set(&f->mm->pages.map, f->vpn, word | PAGE_MAPPED);
	return err;
}

static bool is_allowed(uint8_t rights, enum acc_kind kind)
{
	static const uint8_t needs[ACC_KINDS] = { RIGHT_R, RIGHT_W, RIGHT_X };

	return rights & needs[kind];
}

/* Faults that a page fault handler can mend at all. */
static bool can_mend(enum walk_why why)
{
	return why == WALK_WHY_NOT_PRESENT || why == WALK_WHY_RIGHTS || why == WALK_WHY_ACCESSED;
}

/*
 * Makes room for a table. If the page that needs it goes instead, again and
 * again, there is no other: memory is too small for one page and its tables.
 */
static int evict_other(struct fault_in *f)
{
	bool had = pmap_get(&f->mm->pages.map, f->vpn) & PAGE_FRAME;
	int err = evict_one(f->g);

	if (!err && had && !(pmap_get(&f->mm->pages.map, f->vpn) & PAGE_FRAME) && ++f->lost > SELF_EVICTIONS)
		err = -ENOMEM;
	return err;
}

int fault_handle(struct guest *g, struct proc *p, const struct guest_fault *fault, bool *segv)
{
	struct fault_in f = { .g = g, .mm = p->mm, .vpn = fault->gva.v >> PAGE_SHIFT, .kind = fault->kind };
	uint8_t rights;
	bool placed = phys_find(g, f.mm, f.vpn, &rights);
	int err;

	g->stats.faults++;
	digest_fault(g, p, fault);
	f.vma = vma_find(&f.mm->vmas, f.vpn);
	if (!placed)
		rights = f.vma ? f.vma->rights : RIGHT_RWX;
	*segv = !can_mend(fault->why) || !is_allowed(rights, f.kind);
	if (*segv) {
		g->stats.segv++;
		return 0;
	}
	if (placed) {
		err = phys_fault(g, f.mm, f.vpn);
		fence_pay(g);
		return err;
	}
	while ((err = step(&f)) != 0) {
		if (err == -ENOMEM)
			err = evict_other(&f);
		if (err < 0)
			break;
	}
	/* A frame taken for a step that another turn made needless. */
	if (f.fresh)
		frames_free(g, f.fresh, 0);
	fence_pay(g);
	return err;
}
