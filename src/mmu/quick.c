/* SPDX-License-Identifier: MIT */
/* What quick.h needs to know of a run: which bits of which entries are usual, and where things stand. */
#include "mmu/quick.h"

#include "gpt/entry.h"

enum { ENTRY = 8, IMPOSSIBLE = 1 };

/* How a dimension is walked: by whom it is read decides which rights an entry must have. */
struct reader {
	uint32_t ctl;
	bool second_stage;
	bool own; /* a shadow table: A and D in it say nothing, no_read does */
};

static void usual_tables(struct quick_dim *d, const struct gpt_format *f, const struct reader *r)
{
	uint64_t gated = gated_bits(f, r->ctl);

	for (unsigned k = 1; k < f->levels; k++) {
		const struct gpt_level *l = &f->level[k];

		if (f->family == GPT_RISCV) {
			d->table[k].mask = f->valid | f->read | f->write | f->exec | f->global | l->reserved_table;
			d->table[k].want = f->valid;
		} else {
			uint64_t grants = f->write | f->user | f->exec;

			d->table[k].mask = f->valid | f->accessed | grants | f->no_exec | gated | l->reserved_table |
					   (l->leaf_ok ? f->page_size : 0);
			d->table[k].want = f->valid | f->accessed | grants;
		}
	}
}

static void usual_leaves(struct quick_dim *d, const struct gpt_format *f, const struct reader *r)
{
	bool riscv = f->family == GPT_RISCV;
	bool globals = !r->second_stage && (riscv || (r->ctl & CTL_PGE));

	for (unsigned k = 0; k < f->levels; k++)
		for (unsigned kind = 0; kind < QUICK_KINDS; kind++) {
			const struct gpt_level *l = &f->level[k];
			uint64_t want = f->valid | f->user | (r->own ? 0 : f->accessed) | (riscv ? f->read : 0) |
					(k && !riscv ? f->page_size : 0) |
					(kind == ACC_WRITE ? f->write | (r->own ? 0 : f->dirty) : 0);

			d->leaf[kind][k].want = l->leaf_ok || !k ? want : IMPOSSIBLE;
			d->leaf[kind][k].mask = l->leaf_ok || !k ? want | l->reserved_leaf | gated_bits(f, r->ctl) |
								   (r->own ? f->no_read : 0) |
								   (globals ? f->global : 0) : 0;
		}
	d->write = f->write | (r->second_stage || r->own ? 0 : f->dirty);
	d->exec_mask = f->exec | f->no_exec;
	d->exec_want = f->exec;
}

/* The order of a used array must stand in words, newest first: what quick_shape says. */
static bool is_by_word(const struct tlb_array *a)
{
	return a->policy == TLB_LRU && a->order == TLB_ORDER_WORD;
}

static void prepare_dim(struct quick_dim *d, const struct gpt_format *f, const struct walk_cache *wc,
			const struct reader *r)
{
	d->usable = f->entry_size == ENTRY && f->levels >= 2 && !f->root_in_registers && !f->top_no_rights &&
		    !f->pse_gate;
	if (!d->usable)
		return;
	d->top = f->levels - 1u;
	d->pfn_mask = f->pfn_mask;
	d->pfn_shift = f->pfn_shift;
	d->va_bits = (uint8_t)(f->va_bits + (r->second_stage ? f->x4_bits : 0));
	for (unsigned k = 0; k < f->levels; k++) {
		d->shift[k] = f->level[k].shift;
		d->index[k] = (uint32_t)low_bits(index_bits(f, k, r->second_stage));
	}
	if (f->levels == 2)
		d->shift[2] = (uint8_t)(f->level[1].shift + f->level[1].bits);
	usual_tables(d, f, r);
	usual_leaves(d, f, r);
	for (unsigned k = 0; k < WC_LEVELS; k++)
		if (wc->level[k].present && wc->shift[k] < 64) {
			d->cached |= (uint8_t)BIT(k);
			d->usable &= is_by_word(&wc->level[k]);
		}
}

/* Each level's table is one frame at most: tracking goes by frames. */
static bool has_small_tables(const struct gpt_format *f)
{
	for (unsigned k = 0; k < f->levels; k++)
		if (gpt_table_bytes(f, k, false) > PAGE_SIZE)
			return false;
	return true;
}

static enum quick_kind kind_for(const struct quick *q, const struct vcpu *v)
{
	const struct mmu *mmu = v->mmu;
	const struct mmu_cpu *cpu = v->cpu;
	enum quick_kind kind = mmu->ops->quick;

	if (mmu->config.long_way || mmu->config.check != CHECK_TRUTH || mmu->explain || mmu->hw.m.log ||
	    !v->user || cpu->shaped_for != mmu || !q->guest.usable || !q->guest.cached)
		return QUICK_NONE;
	if (kind == QUICK_DIRECT)
		return mmu->hw.m.direct ? kind : QUICK_NONE;
	if (kind == QUICK_SHADOW)
		return q->host_by_gva && q->host.usable && q->host.cached && !mmu->ptm.m.log ? kind : QUICK_NONE;
	if (kind == QUICK_TWO && q->host.usable && cpu->config->walk_combined && cpu->nested.present &&
	    is_by_word(&cpu->nested))
		return kind;
	return QUICK_NONE;
}

/* Four ways, in the first levels' walk caches too? */
static bool has_common_arrays(const struct quick_dim *d, const struct walk_cache *wc)
{
	for (unsigned k = 0; k < QUICK_FIRST_LEVELS; k++)
		if (!(d->cached >> k & 1) || wc->level[k].ways != 4 || wc->shift[k] != PAGE_SHIFT + 9 * (k + 1))
			return false;
	return true;
}

static bool has_common_levels(const struct quick_dim *d)
{
	for (unsigned k = 0; k < QUICK_FIRST_LEVELS; k++)
		if (d->index[k] != 511 || d->shift[k + 1] != PAGE_SHIFT + 9 * (k + 1))
			return false;
	return d->shift[0] == PAGE_SHIFT;
}

static enum quick_fit fit_for(const struct quick *q)
{
	const struct mmu_cpu *cpu = q->cpu;
	const struct quick_dim *first = q->open == QUICK_SHADOW ? &q->host : &q->guest;
	bool fits = has_common_levels(&q->guest) && has_common_levels(first) && has_common_arrays(first, &cpu->guest_wc);

	if (q->open == QUICK_TWO)
		fits = fits && has_common_levels(&q->host) && has_common_arrays(&q->host, &cpu->host_wc) &&
		       cpu->nested.ways == 4;
	return fits && q->open != QUICK_NONE ? QUICK_FIT_X64 : QUICK_FIT_ANY;
}

static void prepare_host(struct quick *q, const struct space *s)
{
	const struct mmu *mmu = q->mmu;
	const struct reader p2m = { CTL_DEFAULT, true, false }, shadow = { CTL_DEFAULT, false, true };
	const struct gpt_format *fmt;

	if (mmu->p2m && mmu->p2m->org->hierarchical && mmu->p2m->mem->direct) {
		q->host_root = mmu->p2m->root;
		prepare_dim(&q->host, mmu->p2m->params.fmt, &q->cpu->host_wc, &p2m);
	} else if (mmu->ops->root_by_gva && (q->host_root = mmu->ops->root_by_gva(mmu, s, &fmt))) {
		q->host_by_gva = true;
		prepare_dim(&q->host, fmt, &q->cpu->guest_wc, &shadow);
	}
}

void quick_prepare(struct quick *q, struct vcpu *v)
{
	struct mmu *mmu = v->mmu;
	const struct space *s = v->space;

	memset(q, 0, sizeof(*q));
	q->prepared = true;
	if (!s || mmu->config.tlb_software || !s->p.org->hierarchical || !has_small_tables(s->p.params.fmt))
		return;
	/* Nobody would use what is asked for ahead: guesses lead to gfns, paravirt tables to mfns. */
	if (mmu->ops->quick == QUICK_NONE && !mmu->ops->root_by_gva)
		return;
	q->mmu = mmu;
	q->vm = mmu->vm;
	q->cpu = v->cpu;
	q->ram = mmu->vm->hv->m->ram;
	q->space = s->number;
	q->sign_extended = s->p.params.fmt->sign_extended;
	prepare_dim(&q->guest, s->p.params.fmt, &v->cpu->guest_wc, &(struct reader){ s->p.ctl, false, false });
	prepare_host(q, s);
	q->open = kind_for(q, v);
	q->fit = fit_for(q);
	if (q->open == QUICK_DIRECT) {
		q->direct = mmu->hw.m.direct;
		q->direct_pages = mmu->vm->contiguous_pages;
	}
}

void quick_finish(struct quick *q)
{
	for (unsigned k = 0; k < QUICK_FIRST_LEVELS; k++) {
		uint64_t n = q->guest_hits[k], refs = n * (k + 1);

		if (!n)
			continue;
		struct vm_stats *stats = &q->vm->stats;
		struct pt_mem_counts *c = q->open == QUICK_SHADOW ? &q->mmu->ptm.m.counts : &q->mmu->hw.m.counts;

		q->cpu->guest_wc.counts.lookups += n;
		q->cpu->guest_wc.counts.hits[k] += n;
		stats->walk_cache_hits += n;
		c->refs += refs;
		c->depth += refs;
		q->guest_hits[k] = 0;
		/* In two dimensions there is more to a walk. */
		if (q->open == QUICK_TWO)
			continue;
		stats->walks += n;
		stats->walk_refs += refs;
		stats->walk_depth += refs;
		stats->walk_refs_hist.bucket[hist_bucket(k + 1)] += n;
	}
}

/* Where the level-1 table of an address stands, those above it read as they are; NULL: there is none. */
static const uint64_t *find_table(const struct quick *q, const struct quick_dim *d, const uint8_t *(*at)(const struct mmu *mmu, uint64_t table),
				  uint64_t table, uint64_t va)
{
	const uint8_t *p = at(q->mmu, table);

	for (unsigned level = d->top; p && level > 1; level--) {
		uint64_t pte = quick_entry(p, d, level, va, QUICK_FIT_ANY);

		if (!quick_is_table(d, level, pte))
			return NULL;
		p = at(q->mmu, quick_frame(d, pte) << PAGE_SHIFT);
	}
	return (const uint64_t *)(const void *)p;
}

static const uint8_t *guest_table(const struct mmu *mmu, uint64_t gpa)
{
	struct gfn_mapping map;

	return gfn_peek(mmu->vm, GFN(gpa >> PAGE_SHIFT), &map) ? NULL :
	       machine_ptr(mmu->vm->hv->m, mfn_to_hpa(map.mfn));
}

static const uint8_t *host_table(const struct mmu *mmu, uint64_t hpa)
{
	return machine_ptr(mmu->vm->hv->m, HPA(hpa));
}

static const uint64_t *remember(struct quick_known *k, uint64_t key, const uint64_t *table)
{
	k->key[key % QUICK_KNOWN] = key;
	k->at[key % QUICK_KNOWN] = table;
	return table;
}

const uint64_t *quick_find_guest(struct quick *q, const struct vcpu *v, uint64_t gva)
{
	return remember(&q->guest_known, 1 + (gva >> q->guest.shift[2]),
			find_table(q, &q->guest, guest_table, v->space->p.root, gva));
}

const uint64_t *quick_find_host(struct quick *q, uint64_t va)
{
	return remember(&q->host_known, 1 + (va >> q->host.shift[2]),
			find_table(q, &q->host, host_table, q->host_root, va));
}
