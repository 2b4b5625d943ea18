/* SPDX-License-Identifier: MIT */
/*
 * Agile paging: which guest tables are shadowed, decided while the VM runs.
 *
 * Work is counted in TLB misses, because what a shadow saves is paid at
 * misses: an interval is AGILE_INTERVAL walks.
 *
 *   nested ──▶ shadow   a leaf-most table without a store for a whole interval,
 *                       through which walks have since cost AGILE_PRICE loads
 *                       of the p2m: what making its shadow and giving it up
 *                       again costs. The tables above it come along, if they
 *                       are as quiet; else it stays
 *   shadow ──▶ nested   more than AGILE_WRITES trapped stores within an
 *                       interval. Those below it come along. The price doubles
 *                       (up to AGILE_BACKOFF times) unless it had been shadow
 *                       for AGILE_STEADY intervals
 *
 * Paying as much for staying as for moving before one moves costs at most
 * twice what knowing the future would. The VM starts wholly nested: its root
 * register holds a gpa and root changes do not exit. It leaves that state
 * when the p2m's loads of an interval cost twice what its root changes would,
 * and goes back when two intervals in a row saved less than those cost.
 *
 * A store to a nested table is known as hardware would tell it: one bit an
 * interval, the dirty bit of the p2m's leaf.
 */
#include "mmu/agile.h"
#include "mmu/shadow_radix.h"

enum {
	AGILE_INTERVAL = 4096,
	AGILE_PRICE = 512,
	AGILE_WRITES = 3,
	AGILE_BACKOFF = 7,
	AGILE_STEADY = 64,
	AGILE_FORGET = 64, /* intervals after which an unused record goes */
};

static struct agile_page **bucket(struct mmu *mmu, uint64_t gfn)
{
	return &mmu->agile->bucket[hash_u64(gfn) & (AGILE_BUCKETS - 1)];
}

static struct agile_page *find(const struct mmu *mmu, uint64_t gfn)
{
	struct agile_page *p = mmu->agile->bucket[hash_u64(gfn) & (AGILE_BUCKETS - 1)];

	while (p && p->gfn != gfn)
		p = p->next;
	return p;
}

static struct agile_page *get(struct mmu *mmu, uint64_t gfn)
{
	struct agile_page *p = find(mmu, gfn);

	if (p)
		return p;
	p = kmem_alloc(mmu->vm->hv->m, sizeof(*p));
	if (!p)
		return NULL;
	p->gfn = gfn;
	p->parent = INVALID_FRAME;
	p->written = p->seen = mmu->agile->interval;
	p->next = *bucket(mmu, gfn);
	*bucket(mmu, gfn) = p;
	mmu->metadata_bytes += sizeof(*p);
	return p;
}

static void forget(struct mmu *mmu, struct agile_page **link)
{
	struct agile_page *p = *link;

	*link = p->next;
	mmu->metadata_bytes -= sizeof(*p);
	kmem_free(mmu->vm->hv->m, p, sizeof(*p));
}

void agile_forget_all(struct mmu *mmu)
{
	for (unsigned i = 0; i < AGILE_BUCKETS; i++)
		while (mmu->agile->bucket[i])
			forget(mmu, &mmu->agile->bucket[i]);
}

bool agile_is_shadow(const struct mmu *mmu, uint64_t gfn)
{
	const struct agile_page *p = mmu->agile->whole ? NULL : find(mmu, gfn);

	return p && p->shadow;
}

/* ---- changing sides ---- */

/* Tables below a page of the shadow: met by their links, while the page still has them. */
static void children_become_nested(struct shadow_page *sp)
{
	struct mmu *mmu = sp->mmu;
	const struct gpt_format *fmt = mmu->shadow->fmt;

	for (uint64_t i = 0, n = entries_of(sp); sp->role.level && i < n; i++) {
		uint64_t spte = spte_at(mmu, sptep_of(sp, i));

		if (!gpt_is_present(fmt, spte) || gpt_is_leaf(fmt, sp->role.level, spte))
			continue;
		const struct shadow_page *child = sp_of_table(mmu, gpt_frame(fmt, spte) << PAGE_SHIFT);

		if (child->role.kind == SP_PLACED)
			agile_make_nested(mmu, child->gfn);
	}
}

void agile_make_nested(struct mmu *mmu, uint64_t gfn)
{
	struct agile *a = mmu->agile;
	struct agile_page *p = find(mmu, gfn);

	if (!p || !p->shadow)
		return;
	p->shadow = false;
	p->seen = p->written = a->interval;
	p->writes = 0;
	p->loads = 0;
	p->backoff = a->interval - p->since >= AGILE_STEADY ? 0 : (uint8_t)MIN(p->backoff + 1u, AGILE_BACKOFF);
	for (bool again = !MUTATE(AGILE_KEEPS_SHADOW); again;) {
		again = false;
		for_each_sp_of(mmu->shadow, gfn, sp) {
			children_become_nested(sp);
			sp_zap(sp);
			again = true;
			break;
		}
	}
	/* Walk caches may know shadow pages that stood below. */
	flush_walks(mmu);
}

bool agile_make_shadow(struct mmu *mmu, uint64_t gfn)
{
	struct agile_page *p = get(mmu, gfn);

	if (!p)
		return false;
	if (p->shadow)
		return true;
	p->shadow = true;
	p->since = p->written = mmu->agile->interval;
	p->writes = 0;
	switch_drop_to(mmu, GFN(gfn));
	flush_walks(mmu);
	return true;
}

void agile_set_whole(struct mmu *mmu, bool whole)
{
	struct agile *a = mmu->agile;

	if (a->whole == whole)
		return;
	for (unsigned i = 0; whole && i < AGILE_BUCKETS; i++)
		for (struct agile_page *p = a->bucket[i]; p; p = p->next)
			agile_make_nested(mmu, p->gfn);
	a->whole = whole;
	a->good = a->bad = 0;
	flush_walks(mmu);
	agile_shape(mmu);
}

/* ---- what is heard ---- */

void agile_walked(struct mmu *mmu, const struct mmu_fault *f, uint64_t loads)
{
	struct agile *a = mmu->agile;
	const struct walk *w = &f->walk;

	if (mmu->explain || a->frozen)
		return;
	a->loads += loads;
	for (unsigned i = 0; i < w->ntables; i++) {
		struct agile_page *p = w->table[i].positional ? get(mmu, w->table[i].addr >> PAGE_SHIFT) : NULL;

		if (!p)
			return;
		/* Below a nested table: hardware reads it as it is, so nested it must be. */
		agile_make_nested(mmu, p->gfn);
		if (i)
			p->parent = w->table[i - 1].addr >> PAGE_SHIFT;
		p->top |= w->table[i].level == mmu->config.guest_fmt->levels - 1u;
		p->seen = a->interval;
		p->loads += loads / w->ntables;
	}
}

void agile_stored(struct mmu *mmu, uint64_t gfn)
{
	struct agile_page *p = find(mmu, gfn);

	if (!p || p->shadow)
		return;
	p->written = mmu->agile->interval;
	p->loads = 0;
}

void agile_trapped(struct mmu *mmu, uint64_t gfn)
{
	struct agile *a = mmu->agile;
	struct agile_page *p = find(mmu, gfn);

	if (!p || a->frozen)
		return;
	if (p->written != a->interval)
		p->writes = 0;
	p->written = a->interval;
	if (++p->writes > AGILE_WRITES)
		agile_make_nested(mmu, gfn);
}

/* ---- the end of an interval ---- */

static uint64_t interval(const struct mmu *mmu)
{
	return mmu->config.interval ? mmu->config.interval : AGILE_INTERVAL;
}

static bool is_quiet(const struct agile *a, const struct agile_page *p)
{
	return p->written + 1 < a->interval;
}

static bool is_worth_it(const struct mmu *mmu, const struct agile_page *p)
{
	const struct agile *a = mmu->agile;
	/* Shorter intervals than usual are for tests: all goes faster then. */
	uint64_t price = AGILE_PRICE * interval(mmu) / AGILE_INTERVAL;

	return !p->shadow && p->seen == a->interval && is_quiet(a, p) && p->loads >= price << p->backoff;
}

/* From the root down to p, as far as tables are quiet. */
static void shadow_down_to(struct mmu *mmu, struct agile_page *p)
{
	struct agile_page *path[GPT_LEVELS_MAX];
	unsigned n = 0;

	for (; p && n < GPT_LEVELS_MAX; p = find(mmu, p->parent)) {
		path[n++] = p;
		if (p->top)
			break;
	}
	if (!n || !path[n - 1]->top)
		return;
	while (n && (path[n - 1]->shadow || is_quiet(mmu->agile, path[n - 1])) &&
	       agile_make_shadow(mmu, path[n - 1]->gfn))
		n--;
}

static void scan(struct mmu *mmu)
{
	struct agile *a = mmu->agile;

	for (unsigned i = 0; i < AGILE_BUCKETS; i++)
		for (struct agile_page **link = &a->bucket[i]; *link;) {
			struct agile_page *p = *link;

			if (!a->whole && is_worth_it(mmu, p))
				shadow_down_to(mmu, p);
			if (!p->shadow && p->seen + AGILE_FORGET < a->interval)
				forget(mmu, link);
			else
				link = &p->next;
		}
}

static uint64_t cycles(const struct mmu *mmu, enum cost_event e)
{
	return cost_price(mmu_costs(mmu), e, 1);
}

static bool anything_is_worth_it(struct mmu *mmu)
{
	for (unsigned i = 0; i < AGILE_BUCKETS; i++)
		for (struct agile_page *p = mmu->agile->bucket[i]; p; p = p->next)
			if (is_worth_it(mmu, p))
				return true;
	return false;
}

/* Is wholly nested still, or again, what the changes of root ask for? */
static void weigh_whole(struct mmu *mmu)
{
	struct agile *a = mmu->agile;
	/* Whoever reads the counters may have set them back. */
	uint64_t roots = mmu->vm->stats.root_switches - MIN(a->roots, mmu->vm->stats.root_switches);
	uint64_t price = roots * (cycles(mmu, COST_EXIT) + cycles(mmu, COST_ROOT_SWITCH));

	if (a->whole) {
		a->usual = a->loads * 256 / a->walks;
		a->good = a->loads * cycles(mmu, COST_WALK_REF) > 2 * price && anything_is_worth_it(mmu) ? a->good + 1 : 0;
		if (a->good >= 1u << a->backoff)
			agile_set_whole(mmu, false);
		return;
	}
	uint64_t would = a->walks * a->usual / 256;
	uint64_t saved = (would > a->loads ? would - a->loads : 0) * cycles(mmu, COST_WALK_REF);

	a->bad = price > saved ? a->bad + 1 : 0;
	if (a->bad < 2)
		return;
	a->backoff = (uint8_t)MIN(a->backoff + 1u, AGILE_BACKOFF - 1u);
	agile_set_whole(mmu, true);
}

void agile_tick(struct mmu *mmu)
{
	struct agile *a = mmu->agile;

	if (mmu->explain || a->frozen || ++a->walks < interval(mmu))
		return;
	weigh_whole(mmu);
	scan(mmu);
	a->interval++;
	a->walks = a->loads = 0;
	a->roots = mmu->vm->stats.root_switches;
}

int agile_audit(struct mmu *mmu, const char **why)
{
	list_for_each(l, &mmu->shadow->pages) {
		const struct shadow_page *sp = list_entry(l, struct shadow_page, lru);

		if (sp->role.kind == SP_PLACED && !agile_is_shadow(mmu, sp->gfn)) {
			*why = "a nested guest table has a shadow page";
			return -EINVAL;
		}
	}
	return 0;
}
