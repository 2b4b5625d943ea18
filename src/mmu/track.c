/* SPDX-License-Identifier: MIT */
/*
 * Coherent visibility: which cached translations were read from which guest
 * frame, so that a store there drops just those.
 *
 *   guest frame ─▶ struct track_page ─┬▶ uses:  this frame is (part of) the level-l
 *                                     │         table for va_base in space s: entry i
 *                                     │         covers a known stretch of addresses
 *                                     └▶ lines: tables without positions (inverted):
 *                                               line n was read for page p of space s
 *
 * Invariant: a frame with a track_page has FRAME_TRACKED; no TLB entry lets a
 * store to it stay on the fast path. An entry that was not present gave
 * nothing to any cache, so a store over it drops nothing. A use whose table
 * is no longer reached from its root (checked when a store meets it) goes.
 */
#include "mmu/internal.h"

struct track_use {
	struct track_use *next;
	uint64_t table;   /* gpa of its first byte */
	uint64_t va_base; /* what its entry 0 covers */
	uint32_t space;
	uint8_t level;
	uint8_t drops; /* stores that dropped something: now and then it is looked whether the table is one still */
};

struct track_line {
	struct track_line *next;
	uint64_t vpn;
	uint32_t space;
	uint8_t order;
	uint8_t line; /* within the frame */
};

struct track_page {
	struct track_page *next; /* of the bucket */
	gfn_t gfn;
	struct track_use *uses;
	struct track_line *lines;
	bool header; /* some table's header stands here */
};

enum { TRACK_BUCKETS_FIRST = 512, TRACK_DROP_SINGLY = 8, TRACK_LINE_PAGES = 16, TRACK_DROPS_A_LOOK = 4, TRACK_ALL_PAGES = 63 };

static void recent_forget(struct mmu *mmu)
{
	if (mmu->track_recent_used)
		memset(mmu->track_recent, 0, TRACK_RECENT * sizeof(*mmu->track_recent));
	mmu->track_recent_used = false;
}

int track_init(struct mmu *mmu)
{
	mmu->track_buckets = TRACK_BUCKETS_FIRST;
	mmu->track = kmem_alloc(mmu->vm->hv->m, mmu->track_buckets * sizeof(*mmu->track));
	mmu->track_recent = kmem_alloc(mmu->vm->hv->m, TRACK_RECENT * sizeof(*mmu->track_recent));
	if (!mmu->track || !mmu->track_recent) {
		track_fini(mmu);
		return -ENOMEM;
	}
	return 0;
}

static struct track_page **bucket(struct mmu *mmu, gfn_t gfn)
{
	return &mmu->track[hash_u64(gfn.v) & (mmu->track_buckets - 1)];
}

static struct track_page *find(struct mmu *mmu, gfn_t gfn)
{
	struct track_page *p = *bucket(mmu, gfn);

	while (p && p->gfn.v != gfn.v)
		p = p->next;
	return p;
}

bool track_has(struct mmu *mmu, gfn_t gfn)
{
	return find(mmu, gfn);
}

/* Counts of tracked frames a block and a GiB, for superpage entries of TLBs. */
static void count_tracked(struct mmu *mmu, gfn_t gfn, int delta)
{
	struct memslot *s = memslot_find(mmu->vm, gfn);
	struct gfn_block *b = &s->blocks[(gfn.v >> ORDER_2M) - (s->base.v >> ORDER_2M)];
	struct gfn_giga *g = &s->gigas[(gfn.v >> ORDER_1G) - (s->base.v >> ORDER_1G)];
	int before = b->tracked != 0;

	b->tracked = (uint16_t)(b->tracked + delta);
	g->tracked_blocks = (uint16_t)(g->tracked_blocks + (b->tracked != 0) - before);
}

static void flag_frame(struct mmu *mmu, gfn_t gfn, bool on)
{
	struct gfn_state st = gfn_get(mmu->vm, gfn);

	if (gfn_kind(st) != GFN_BACKED)
		return;
	struct frame *f = machine_frame(mmu->vm->hv->m, gfn_mfn(st));

	if (!on) {
		/* Another owner of a shared frame may be tracked for itself. */
		if (f->refs == 1)
			f->flags &= (uint16_t)~FRAME_TRACKED;
		return;
	}
	f->flags |= FRAME_TRACKED;
	/* Entries that would let stores past us were made before. */
	tlb_inval_frames(&mmu->cpu->tlb, gfn_mfn(st).v, 1);
}

/* More buckets when chains grow; without memory they just stay long. */
static void grow(struct mmu *mmu)
{
	struct machine *m = mmu->vm->hv->m;
	uint64_t n = mmu->track_buckets * 4;
	struct track_page **bigger = kmem_alloc(m, n * sizeof(*bigger));

	if (!bigger)
		return;
	for (uint64_t i = 0; i < mmu->track_buckets; i++)
		for (struct track_page *p = mmu->track[i], *next; p; p = next) {
			struct track_page **to = &bigger[hash_u64(p->gfn.v) & (n - 1)];

			next = p->next;
			p->next = *to;
			*to = p;
		}
	kmem_free(m, mmu->track, mmu->track_buckets * sizeof(*mmu->track));
	mmu->track = bigger;
	mmu->track_buckets = n;
}

static struct track_page *get(struct mmu *mmu, gfn_t gfn)
{
	struct track_page *p = find(mmu, gfn);

	if (p)
		return p;
	if (!memslot_find(mmu->vm, gfn))
		return NULL;
	if (mmu->track_pages > mmu->track_buckets * 2)
		grow(mmu);
	p = kmem_alloc(mmu->vm->hv->m, sizeof(*p));
	if (!p)
		return NULL;
	p->gfn = gfn;
	p->next = *bucket(mmu, gfn);
	*bucket(mmu, gfn) = p;
	mmu->track_pages++;
	mmu->metadata_bytes += sizeof(*p);
	count_tracked(mmu, gfn, 1);
	flag_frame(mmu, gfn, true);
	return p;
}

static void use_free(struct mmu *mmu, struct track_use **link)
{
	struct track_use *u = *link;

	recent_forget(mmu);
	*link = u->next;
	mmu->metadata_bytes -= sizeof(*u);
	kmem_free(mmu->vm->hv->m, u, sizeof(*u));
}

static void line_free(struct mmu *mmu, struct track_line **link)
{
	struct track_line *l = *link;

	*link = l->next;
	mmu->metadata_bytes -= sizeof(*l);
	kmem_free(mmu->vm->hv->m, l, sizeof(*l));
}

/* Forgets a page. */
static void put(struct mmu *mmu, struct track_page *p)
{
	struct track_page **link = bucket(mmu, p->gfn);

	while (*link != p)
		link = &(*link)->next;
	*link = p->next;
	mmu->track_pages--;
	mmu->metadata_bytes -= sizeof(*p);
	count_tracked(mmu, p->gfn, -1);
	flag_frame(mmu, p->gfn, false);
	kmem_free(mmu->vm->hv->m, p, sizeof(*p));
}

/* Nothing is read from it any more, and no table of the mode's is kept right by hearing of its stores. */
static void put_if_empty(struct mmu *mmu, struct track_page *p)
{
	if (!p->uses && !p->lines && !p->header && !(mmu->ops->watches && mmu->ops->watches(mmu, p->gfn)))
		put(mmu, p);
}

bool track_header(struct mmu *mmu, gfn_t gfn)
{
	struct track_page *p = get(mmu, gfn);

	if (p)
		p->header = true;
	return p;
}

static uint64_t table_span(const struct gpt_format *fmt, unsigned level)
{
	return BIT(fmt->level[level].shift + fmt->level[level].bits);
}

bool track_table(struct mmu *mmu, const struct space *s, const struct walk_table *t, uint64_t va)
{
	const struct gpt_format *fmt = s->p.params.fmt;
	uint64_t base = align_down(va, table_span(fmt, t->level));
	struct track_recent *recent = track_recent_slot(mmu, t->addr);

	/* Tables of several frames are noted frame by frame, and not here. */
	if (likely(track_is_recent(recent, t->addr, base | t->level, s->number)))
		return true;
	uint64_t entry = t->addr + gpt_index(fmt, t->level, va, false) * fmt->entry_size;
	struct track_page *p = get(mmu, GFN(entry >> PAGE_SHIFT));

	if (!p)
		return false;
	if ((uint64_t)fmt->entry_size << fmt->level[t->level].bits <= PAGE_SIZE) {
		*recent = (struct track_recent){ .table = t->addr, .va_base = base | t->level, .space = s->number };
		mmu->track_recent_used = true;
	}
	for (struct track_use *u = p->uses; u; u = u->next)
		if (u->va_base == base && u->space == s->number && u->level == t->level && u->table == t->addr)
			return true;
	struct track_use *u = kmem_alloc(mmu->vm->hv->m, sizeof(*u));
	if (!u) {
		recent_forget(mmu);
		put_if_empty(mmu, p);
		return false;
	}
	*u = (struct track_use){ p->uses, t->addr, base, s->number, t->level };
	p->uses = u;
	mmu->metadata_bytes += sizeof(*u);
	return true;
}

/* A line read for many pages of a space (upper levels, runs) is rarely written: it stands for all of them then. */
static void merge_lines(struct mmu *mmu, struct track_page *p, uint32_t space, uint8_t line)
{
	struct track_line *first = NULL;

	for (struct track_line **link = &p->lines; *link;) {
		struct track_line *l = *link;

		if (l->line != line || l->space != space) {
			link = &l->next;
		} else if (!first) {
			first = l;
			link = &l->next;
		} else {
			line_free(mmu, link);
		}
	}
	first->vpn = 0;
	first->order = TRACK_ALL_PAGES;
}

static bool add_line(struct mmu *mmu, const struct space *s, uint64_t addr, uint64_t vpn, uint8_t order)
{
	struct track_page *p = get(mmu, GFN(addr >> PAGE_SHIFT));
	uint8_t line = (uint8_t)((addr & PAGE_MASK) >> LINE_SHIFT);
	unsigned n = 0;

	if (!p)
		return false;
	for (struct track_line *l = p->lines; l; l = l->next) {
		if (l->line != line || l->space != s->number)
			continue;
		if (l->order == TRACK_ALL_PAGES || (l->vpn == vpn && l->order == order))
			return true;
		n++;
	}
	if (n >= TRACK_LINE_PAGES) {
		merge_lines(mmu, p, s->number, line);
		return true;
	}
	struct track_line *l = kmem_alloc(mmu->vm->hv->m, sizeof(*l));
	if (!l) {
		put_if_empty(mmu, p);
		return false;
	}
	*l = (struct track_line){ p->lines, vpn, s->number, order, line };
	p->lines = l;
	mmu->metadata_bytes += sizeof(*l);
	return true;
}

bool track_walk(struct mmu *mmu, const struct space *s, const struct walk *w, uint64_t va)
{
	uint64_t vpn = align_down(va >> PAGE_SHIFT, BIT(w->order));

	/* A chain longer than the walk could note cannot be watched. */
	if (w->overflow)
		return false;
	for (unsigned i = 0; i < w->ntables; i++) {
		const struct walk_table *t = &w->table[i];
		bool ok = t->positional ? track_table(mmu, s, t, va) : add_line(mmu, s, t->addr, vpn, w->order);

		if (!ok)
			return false;
	}
	return true;
}

/* Reads a table entry as it is now, by the per-gfn truth; a frame never touched reads as zero. */
static uint64_t peek_entry(struct mmu *mmu, uint64_t addr, unsigned size)
{
	struct gfn_mapping map;
	uint64_t pte = 0;

	if (gfn_peek(mmu->vm, GFN(addr >> PAGE_SHIFT), &map))
		return 0;
	memcpy(&pte, machine_ptr(mmu->vm->hv->m, mfn_to_hpa(map.mfn)) + (addr & PAGE_MASK), size);
	return pte;
}

/* Is this table still reached from its space's root? */
static bool use_is_live(struct mmu *mmu, const struct space *s, const struct track_use *u)
{
	const struct gpt_format *fmt = s->p.params.fmt;
	uint64_t table = s->p.root;

	for (unsigned level = fmt->levels - 1u; level > u->level; level--) {
		uint64_t i = gpt_index(fmt, level, u->va_base, false);
		uint64_t pte = peek_entry(mmu, table + i * fmt->entry_size, fmt->entry_size);

		if (!gpt_is_present(fmt, pte) || gpt_is_leaf(fmt, level, pte))
			return false;
		table = gpt_frame(fmt, pte) << PAGE_SHIFT;
	}
	return table == u->table;
}

static void drop_entry(struct mmu *mmu, const struct track_use *u, const struct gpt_format *fmt,
		       uint64_t index, uint64_t count)
{
	unsigned shift = fmt->level[u->level].shift;

	flush_range(mmu, u->space, u->va_base + (index << shift), count << shift,
		    u->level ? DROP_WALKS : KEEP_WALKS);
}

/* Drops what the entries of u in [gpa, gpa+len) gave. Returns true if any of them was present. */
static bool drop_use(struct mmu *mmu, const struct track_use *u, const struct gpt_format *fmt,
		     gpa_t gpa, uint64_t len, const uint8_t *old)
{
	uint64_t size = fmt->entry_size, n = BIT(fmt->level[u->level].bits);

	if (gpa.v + len <= u->table || gpa.v >= u->table + n * size)
		return false;
	uint64_t first = gpa.v > u->table ? (gpa.v - u->table) / size : 0;
	uint64_t last = MIN((gpa.v + len - 1 - u->table) / size, n - 1);
	uint64_t present = 0, at = 0;

	for (uint64_t i = first; i <= last; i++) {
		uint64_t pte = 0, addr = u->table + i * size;

		/* An entry that the store covers in part only: unknown, so present. */
		bool known = old && addr >= gpa.v && addr + size <= gpa.v + len;

		if (known)
			memcpy(&pte, old + (addr - gpa.v), size);
		if (known && !gpt_is_present(fmt, pte))
			continue;
		if (++present > TRACK_DROP_SINGLY)
			break;
		at = i;
		drop_entry(mmu, u, fmt, at, 1);
	}
	if (present > TRACK_DROP_SINGLY)
		drop_entry(mmu, u, fmt, 0, n);
	return present;
}

static void written_uses(struct mmu *mmu, struct track_page *p, gpa_t gpa, uint64_t len, const uint8_t *old)
{
	for (struct track_use **link = &p->uses; *link;) {
		struct track_use *u = *link;
		struct space *s = space_by_number(mmu, u->space);

		bool looks = s && drop_use(mmu, u, s->p.params.fmt, gpa, len, old) &&
			     ++u->drops % TRACK_DROPS_A_LOOK == 0;

		if (!s || (looks && !use_is_live(mmu, s, u)))
			use_free(mmu, link);
		else
			link = &u->next;
	}
}

static void drop_line(struct mmu *mmu, const struct track_line *l)
{
	struct space *s = space_by_number(mmu, l->space);
	uint64_t va = l->vpn << PAGE_SHIFT, bytes = BIT(l->order) << PAGE_SHIFT;

	if (!s)
		return;
	if (l->order == TRACK_ALL_PAGES) {
		flush_space(mmu, l->space);
		if (mmu->has_global)
			flush_space(mmu, mmu->gspace);
		if (mmu->ops->drop_space)
			mmu->ops->drop_space(mmu, s);
		return;
	}
	flush_range(mmu, l->space, va, bytes, KEEP_WALKS);
	if (mmu->ops->drop_range)
		mmu->ops->drop_range(mmu, s, va, bytes);
}

static void written_lines(struct mmu *mmu, struct track_page *p, gpa_t gpa, uint64_t len)
{
	uint64_t first = (gpa.v & PAGE_MASK) >> LINE_SHIFT;
	uint64_t last = ((gpa.v & PAGE_MASK) + len - 1) >> LINE_SHIFT;

	for (struct track_line **link = &p->lines; *link;) {
		if ((*link)->line >= first && (*link)->line <= last) {
			drop_line(mmu, *link);
			line_free(mmu, link);
		} else {
			link = &(*link)->next;
		}
	}
}

static void mark_stale(struct mmu *mmu, gfn_t gfn)
{
	list_for_each(l, &mmu->spaces) {
		struct space *s = list_entry(l, struct space, lru);

		if (s->p.root >> PAGE_SHIFT == gfn.v && !s->p.org->hierarchical)
			s->stale = true;
	}
}

void track_written(struct mmu *mmu, gpa_t gpa, uint64_t len, const void *old)
{
	struct track_page *p = find(mmu, gpa_to_gfn(gpa));

	if (!p)
		return;
	if (p->header)
		mark_stale(mmu, p->gfn);
	/* Stale until a fence, if the user wants to see that. */
	if (mmu->config.visibility == VISIBLE_ARCHITECTURAL)
		return;
	written_uses(mmu, p, gpa, len, old);
	written_lines(mmu, p, gpa, len);
	put_if_empty(mmu, p);
}

static void page_forget(struct mmu *mmu, struct track_page *p)
{
	while (p->uses) {
		struct space *s = space_by_number(mmu, p->uses->space);

		if (s)
			flush_range(mmu, s->number, p->uses->va_base,
				    table_span(s->p.params.fmt, p->uses->level), DROP_WALKS);
		use_free(mmu, &p->uses);
	}
	while (p->lines) {
		drop_line(mmu, p->lines);
		line_free(mmu, &p->lines);
	}
	if (p->header)
		mark_stale(mmu, p->gfn);
	p->header = false;
	put(mmu, p);
}

void track_drop_gfn(struct mmu *mmu, gfn_t gfn)
{
	struct track_page *p = find(mmu, gfn);

	if (p)
		page_forget(mmu, p);
}

void track_drop_space(struct mmu *mmu, uint32_t space)
{
	for (uint64_t i = 0; i < mmu->track_buckets; i++)
		for (struct track_page *p = mmu->track[i], *next; p; p = next) {
			next = p->next;
			for (struct track_use **u = &p->uses; *u;) {
				if ((*u)->space == space)
					use_free(mmu, u);
				else
					u = &(*u)->next;
			}
			for (struct track_line **l = &p->lines; *l;) {
				if ((*l)->space == space)
					line_free(mmu, l);
				else
					l = &(*l)->next;
			}
			put_if_empty(mmu, p);
		}
}

void track_fini(struct mmu *mmu)
{
	struct machine *m = mmu->vm->hv->m;

	if (mmu->track_recent) {
		for (uint64_t i = 0; mmu->track && i < mmu->track_buckets; i++)
			while (mmu->track[i])
				page_forget(mmu, mmu->track[i]);
		kmem_free(m, mmu->track_recent, TRACK_RECENT * sizeof(*mmu->track_recent));
	}
	if (mmu->track)
		kmem_free(m, mmu->track, mmu->track_buckets * sizeof(*mmu->track));
	mmu->track = NULL;
	mmu->track_recent = NULL;
}

int track_audit(struct mmu *mmu, const char **why)
{
	uint64_t pages = 0;

	for (uint64_t i = 0; i < mmu->track_buckets; i++)
		for (struct track_page *p = mmu->track[i]; p; p = p->next) {
			struct gfn_state st = gfn_get(mmu->vm, p->gfn);

			pages++;
			if (gfn_kind(st) != GFN_BACKED)
				continue;
			if (!(machine_frame(mmu->vm->hv->m, gfn_mfn(st))->flags & FRAME_TRACKED)) {
				*why = "a frame that translations were read from is not marked";
				return -EINVAL;
			}
		}
	if (pages != mmu->track_pages) {
		*why = "the count of tracked frames is wrong";
		return -EINVAL;
	}
	return 0;
}
