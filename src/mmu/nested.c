/* SPDX-License-Identifier: MIT */
/*
 * Nested (two-dimensional) paging: each load of the guest's table, and its
 * result, goes through the hypervisor's gpa → machine table (p2m), which may
 * be of any organisation.
 *
 *     gva ─▶ gpte_n-1 ─▶ … ─▶ gpte_0 ─▶ gpa
 *              │                │        │
 *              ▼ p2m            ▼ p2m    ▼ p2m     each: nested TLB, else a walk
 *             hpa              hpa      hpa
 *
 * References: g + (g + 1) c for g guest levels and a p2m that costs c.
 */
#include "mmu/nested.h"

struct host_map {
	uint64_t mfn; /* of the gpa's own frame */
	uint8_t order, rights;
};

static uint64_t kind_right(enum acc_kind kind)
{
	return BIT(kind);
}

static bool nested_tlb_find(struct mmu *mmu, uint64_t gfn, enum acc_kind kind, struct host_map *out)
{
	struct mmu_cpu *cpu = mmu->cpu;

	for (unsigned code = 0; cpu->nested_codes >> code; code++) {
		unsigned order = cpu->tlb.order_of_code[code];
		uint64_t data = 0;

		if (cpu->nested_codes >> code & 1)
			data = tlb_array_lookup(&cpu->nested, tlb_tag(mmu->gpa_space, code, gfn, order));
		if (!data)
			continue;
		if (!(data & kind_right(kind)))
			return false;
		*out = (struct host_map){ tlb_data_frame(data, gfn), (uint8_t)order, tlb_data_flags(data) & RIGHT_RWX };
		return true;
	}
	return false;
}

static void nested_tlb_fill(struct mmu *mmu, uint64_t gfn, const struct host_map *h)
{
	struct mmu_cpu *cpu = mmu->cpu;
	unsigned code = nested_tlb_code(cpu, h->order), order = cpu->tlb.order_of_code[code];
	uint64_t tag = tlb_tag(mmu->gpa_space, code, gfn, order);
	uint64_t first = h->mfn - (gfn & low_bits(order));

	tlb_array_remove(&cpu->nested, tag);
	tlb_array_insert(&cpu->nested, tag, tlb_data(first, mmu->vm->vmid, order, h->rights & RIGHT_RWX), &cpu->rng);
	cpu->nested_codes |= (uint8_t)BIT(code);
}

static bool has_nested_tlb(const struct mmu *mmu)
{
	return mmu->cpu->nested.present && !mmu->by_software;
}

/*
 * gpa → machine, as the hardware does it. 0, -EAGAIN (a violation), -EFAULT.
 * Loads are charged to the p2m's memory.
 */
static int second_stage(struct mmu *mmu, gpa_t gpa, enum acc_kind kind, struct host_map *out)
{
	struct vm_stats *s = &mmu->vm->stats;
	uint64_t gfn = gpa.v >> PAGE_SHIFT;
	struct walk w;

	if (has_nested_tlb(mmu)) {
		if (nested_tlb_find(mmu, gfn, kind, out)) {
			s->nested_tlb_hits++;
			return 0;
		}
		s->nested_tlb_misses++;
	}
	struct walk_req req = {
		.va = gpa.v,
		.space = mmu->gpa_space,
		.kind = kind,
		.user = true,
		.ctl = CTL_DEFAULT,
		.ad = WALK_AD_SET,
		.second_stage = true,
		.start_level = -1,
	};
	host_walk(mmu, mmu->p2m, &mmu->cpu->host_wc, &req, &w);
	if (w.status != WALK_OK)
		return -EAGAIN;
	*out = (struct host_map){ w.frame, w.order, w.rights & RIGHT_RWX };
	if (has_nested_tlb(mmu))
		nested_tlb_fill(mmu, gfn, out);
	return 0;
}

static int violation(struct guest_mem *g, uint64_t addr, enum acc_kind kind)
{
	g->violation = GPA(addr);
	g->violation_kind = kind;
	/* Memory that is not there at all is the guest's fault, not ours to mend. */
	return memslot_find(g->mmu->vm, gpa_to_gfn(GPA(addr))) ? -EAGAIN : -EFAULT;
}

static int locate(struct guest_mem *g, uint64_t addr, hpa_t *hpa)
{
	gfn_t gfn = GFN(addr >> PAGE_SHIFT);
	struct host_map h;

	if (g->m.quiet) {
		struct gfn_mapping map;

		if (gfn_peek(g->mmu->vm, gfn, &map))
			return violation(g, addr, ACC_READ);
		h.mfn = map.mfn.v;
	} else if (g->hint_gfn.v == gfn.v) {
		h.mfn = g->hint_mfn.v;
	} else {
		int err = second_stage(g->mmu, GPA(addr), ACC_READ, &h);

		if (err)
			return violation(g, addr, ACC_READ);
	}
	guest_mem_saw(g, gfn, MFN(h.mfn));
	*hpa = HPA(h.mfn << PAGE_SHIFT | (addr & PAGE_MASK));
	return 0;
}

static int nested_load(struct pt_mem *m, uint64_t addr, unsigned size, void *out)
{
	struct guest_mem *g = container_of(m, struct guest_mem, m);
	struct pt_note note = m->note;
	hpa_t hpa;
	int err = locate(g, addr, &hpa);

	if (err)
		return err;
	const uint8_t *from = machine_ptr(g->mmu->vm->hv->m, hpa);

	/* Nearly all entries are of this size; a copy of known length is a load. */
	if (likely(size == 8))
		memcpy(out, from, 8);
	else
		memcpy(out, from, size);
	m->counts.refs++;
	m->counts.depth++;
	if (unlikely(m->log != NULL)) {
		uint64_t value = 0;

		memcpy(&value, out, MIN(size, 8u));
		m->note = note;
		ptm_log_ref(m, addr, hpa, value, 1);
	}
	return 0;
}

/*
 * Each of the n loads is itself translated. With a nested TLB a page's later
 * loads hit it; without one, each costs what the page's first did.
 */
static int nested_scan(struct pt_mem *m, uint64_t first, uint64_t n, uint64_t stride)
{
	struct guest_mem *g = container_of(m, struct guest_mem, m);
	struct pt_mem *host = g->mmu->p2m->mem;

	for (uint64_t i = 0; i < n;) {
		uint64_t addr = first + i * stride;
		uint64_t in_page = MIN((PAGE_SIZE - (addr & PAGE_MASK) + stride - 1) / stride, n - i);

		/* Data caches must be shown each load of the second stage. */
		if (g->mmu->cpu->caches && !g->mmu->cpu->nested.present)
			in_page = 1;
		struct pt_mem_counts before = host->counts;
		hpa_t hpa;
		int err = locate(g, addr, &hpa);

		if (err)
			return err;
		if (!g->mmu->cpu->nested.present) {
			host->counts.refs += (host->counts.refs - before.refs) * (in_page - 1);
			host->counts.depth += (host->counts.depth - before.depth) * (in_page - 1);
		} else {
			g->mmu->vm->stats.nested_tlb_hits += in_page - 1;
		}
		m->counts.refs += in_page;
		m->counts.depth += in_page;
		ptm_log_scan(m, addr, hpa, in_page, stride);
		i += in_page;
	}
	return 0;
}

/* The update of A and D is a store: the p2m must allow it. */
static int nested_cas(struct pt_mem *m, uint64_t addr, unsigned size, uint64_t expect, uint64_t value)
{
	struct guest_mem *g = container_of(m, struct guest_mem, m);
	struct pt_mem *host = g->mmu->p2m->mem;
	struct pt_mem_counts before = host->counts;
	struct pt_log *log = host->log;
	struct host_map h;

	/* Charged as an update (ad_updates), not as the walk's references: those who hear of these do not. */
	host->log = NULL;
	int err = second_stage(g->mmu, GPA(addr), ACC_WRITE, &h);

	host->log = log;
	host->counts = before;
	if (err)
		return violation(g, addr, ACC_WRITE);
	return guest_mem_cas(m, addr, size, expect, value);
}

static const struct pt_mem_ops nested_mem_ops = {
	.load = nested_load,
	.store = guest_mem_no_store,
	.cas = nested_cas,
	.alloc = guest_mem_no_alloc,
	.free = guest_mem_no_free,
	.scan = nested_scan,
	.hpa = guest_mem_hpa,
};

static int possible(const struct vm *vm, const struct scheme *s, const struct mmu_config *c, const char **why)
{
	if (vm_end_gfn(vm).v << PAGE_SHIFT > gpt_va_limit(c->host_fmt, true)) {
		*why = "guest memory is larger than the second-stage format can address";
		return -ENOTSUP;
	}
	if (vm->hv->m->nframes << PAGE_SHIFT > BIT(c->host_fmt->pa_bits)) {
		*why = "the machine's RAM is larger than entries of the second-stage format reach";
		return -ENOTSUP;
	}
	return 0;
}

static int attach_p2m(struct mmu *mmu)
{
	const struct scheme *s = &mmu->scheme;

	if (s->org->per_machine) {
		mmu->p2m_shared = true;
		return hv_shared_table_get(mmu->vm->hv, s->org, s->org_flags, mmu->config.host_fmt,
					   HV_TABLE_P2M, &mmu->p2m);
	}
	struct pt_params params = {
		.fmt = mmu->config.host_fmt,
		.second_stage = true,
		.nframes = mmu->vm->hv->m->nframes,
		.npages = vm_end_gfn(mmu->vm).v,
		.role = "p2m",
	};
	mmu->p2m_shared = false;
	mmu->p2m = &mmu->own_p2m;
	return pt_create(mmu->p2m, s->org, s->org_flags, &params, &mmu->ptm.m);
}

static void count_entry(struct mmu *mmu, unsigned order, int64_t by)
{
	struct vm_stats *s = &mmu->vm->stats;
	uint64_t *c = order == 0 ? &s->pages_4k : order < ORDER_1G ? &s->pages_2m : &s->pages_1g;

	*c = (uint64_t)((int64_t)*c + by);
}

/* The largest order the p2m can have, no larger than allowed. */
static unsigned entry_order(const struct mmu *mmu, unsigned allowed)
{
	while (allowed && !(mmu->p2m->orders & BIT(allowed)))
		allowed--;
	return allowed;
}

static void unmap_one(struct mmu *mmu, const struct pt_entry *e)
{
	BUG_ON(mmu->p2m->org->unmap(mmu->p2m, e->key, e->order, NULL));
	count_entry(mmu, e->order, -1);
}

/* Those of one slot's block b: an entry never outlives its gfns' backing, so there is none elsewhere. */
static void unmap_block(struct mmu *mmu, const struct memslot *s, uint64_t b, uint64_t start, uint64_t end)
{
	uint64_t first = ((s->base.v >> ORDER_2M) + b) << ORDER_2M;
	struct pt_entry e;

	for (uint64_t at = MAX(start, first); at < MIN(end, first + GFN_BLOCK);) {
		if (pt_find(mmu->p2m, (struct pt_key){ mmu->gpa_space, at }, &e)) {
			at++;
			continue;
		}
		unmap_one(mmu, &e);
		at = e.key.page + BIT(e.order);
	}
}

/*
 * In a table that serves the whole machine, what follows a page is found only by
 * reading all VMs' entries: the VM's own backed gfns are looked up instead.
 */
static void unmap_shared(struct mmu *mmu, uint64_t start, uint64_t end)
{
	for (unsigned i = 0; i < mmu->vm->nslots; i++) {
		const struct memslot *s = &mmu->vm->slot[i];
		uint64_t from = MAX(start, s->base.v), to = MIN(end, s->base.v + s->npages);

		for (uint64_t b = from >> ORDER_2M; from < to && b <= (to - 1) >> ORDER_2M; b++)
			if (s->blocks[b - (s->base.v >> ORDER_2M)].backed)
				unmap_block(mmu, s, b - (s->base.v >> ORDER_2M), from, to);
	}
}

static int unmap_all(struct mmu *mmu, uint64_t start, uint64_t end)
{
	struct pt_entry e;
	uint64_t at = start;

	if (mmu->p2m_shared) {
		unmap_shared(mmu, start, end);
		return 0;
	}
	while (at < end && !mmu->p2m->org->next(mmu->p2m, (struct pt_key){ mmu->gpa_space, at }, &e)) {
		if (e.key.page >= end)
			break;
		unmap_one(mmu, &e);
		at = e.key.page + BIT(e.order);
		/* The organisation may have freed tables that a walk would start from. */
		if (mmu->p2m->org->hierarchical && mmu->cpu->host_wc.any)
			wc_inval_range(&mmu->cpu->host_wc, mmu->gpa_space, e.key.page << PAGE_SHIFT,
				       PAGE_SIZE << e.order);
	}
	return 0;
}

/* Enters one gfn's mapping; entries of another size in its way are dropped first. */
static int enter(struct mmu *mmu, gfn_t gfn, const struct gfn_mapping *map)
{
	unsigned order = entry_order(mmu, map->order);
	uint64_t page = align_down(gfn.v, BIT(order));
	struct pt_entry e = {
		.key = { mmu->gpa_space, page },
		.order = (uint8_t)order,
		.rights = map->rights | RIGHT_U | RIGHT_A | RIGHT_D,
		.frame = map->mfn.v - (gfn.v - page) + MUTATE(MFN_OFF_BY_ONE),
	};
	uint64_t entries = mmu->p2m->entries;
	int err = mmu->p2m->org->map(mmu->p2m, &e);

	if (err == -EEXIST) {
		unmap_all(mmu, page, page + BIT(order));
		flush_frames(mmu, MFN(e.frame), BIT(order));
		entries = mmu->p2m->entries;
		err = mmu->p2m->org->map(mmu->p2m, &e);
	}
	/* It may have replaced one of the same page and size. */
	if (!err && mmu->p2m->entries > entries)
		count_entry(mmu, order, 1);
	return err;
}

/* --p2m eager: everything backed and entered before the guest runs. */
static int fill_all(struct mmu *mmu)
{
	for (unsigned i = 0; i < mmu->vm->nslots; i++) {
		const struct memslot *s = &mmu->vm->slot[i];

		for (uint64_t g = s->base.v; g < s->base.v + s->npages;) {
			struct gfn_mapping map;
			int err = gfn_fault(mmu->vm, GFN(g), false, &map);

			if (!err)
				err = enter(mmu, GFN(g), &map);
			if (err)
				return err;
			g = align_down(g, BIT(entry_order(mmu, map.order))) + BIT(entry_order(mmu, map.order));
		}
	}
	return 0;
}

uint64_t nested_fill_backed(struct mmu *mmu)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < mmu->vm->nslots; i++) {
		const struct memslot *s = &mmu->vm->slot[i];

		for (uint64_t g = s->base.v; g < s->base.v + s->npages; n++) {
			struct gfn_mapping map;
			unsigned order = 0;

			if (!gfn_peek(mmu->vm, GFN(g), &map)) {
				if (enter(mmu, GFN(g), &map))
					return n;
				order = entry_order(mmu, map.order);
			}
			g = align_down(g, BIT(order)) + BIT(order);
		}
	}
	return n;
}

static void detach(struct mmu *mmu)
{
	unmap_all(mmu, 0, UINT64_MAX >> PAGE_SHIFT);
	if (mmu->p2m_shared)
		hv_shared_table_put(mmu->vm->hv, mmu->p2m);
	else
		pt_destroy(mmu->p2m);
	mmu->p2m = NULL;
}

static int attach(struct mmu *mmu)
{
	guest_mem_init(&mmu->hw, mmu, &nested_mem_ops);
	int err = attach_p2m(mmu);

	if (err)
		return err;
	/* What its parallel loads cost there is parallel too. */
	mmu->hw.m.behind = mmu->p2m->mem;
	walk_shape(mmu->host_shape, mmu->p2m->org->hierarchical ? mmu->config.host_fmt : NULL);
	err = mmu->config.p2m_eager ? fill_all(mmu) : 0;
	if (err)
		detach(mmu);
	return err;
}

static enum walked need_help(struct mmu_fault *f, gpa_t gpa, enum acc_kind kind)
{
	f->violation = gpa;
	f->violation_kind = kind;
	return WALKED_HELP;
}

enum walked nested_walked(struct mmu *mmu, struct mmu_fault *f)
{
	if (f->walk.status == WALK_VIOLATION)
		return need_help(f, mmu->hw.violation, mmu->hw.violation_kind);
	if (f->walk.status != WALK_OK) {
		f->why = f->walk.why;
		f->error_code = f->walk.error_code;
		return WALKED_INJECT;
	}
	return nested_data(mmu, f, f->walk.order, f->walk.rights);
}

enum walked nested_data(struct mmu *mmu, struct mmu_fault *f, uint8_t order, uint8_t rights)
{
	gfn_t gfn = gpa_to_gfn(f->gpa);
	struct host_map h;

	/* Wanted right after the second stage, whether it finds the gfn or not. */
	gfn_prefetch(mmu->vm, gfn);
	if (second_stage(mmu, f->gpa, f->kind, &h)) {
		if (memslot_find(mmu->vm, gfn))
			return need_help(f, f->gpa, f->kind);
		no_memory_there(mmu, f);
		return WALKED_INJECT;
	}
	make_entry(mmu, f, gfn.v, order, rights, h.mfn, h.order, h.rights);
	return WALKED_OK;
}

static enum walked nested_walk_both(struct mmu *mmu, struct mmu_fault *f)
{
	if (f->half) {
		f->gpa = f->half->gpa;
		return nested_data(mmu, f, f->half->order, f->half->rights);
	}
	if (f->space->bare) {
		f->gpa = GPA(f->va);
		return nested_data(mmu, f, ORDER_1G, RIGHT_ALL);
	}
	guest_walk(&mmu->hw, f, WALK_CACHED);
	return nested_walked(mmu, f);
}

static enum walked nested_walk(struct vcpu *v, struct mmu_fault *f)
{
	struct mmu *mmu = v->mmu;
	const struct pt_mem_counts *g = &mmu->hw.m.counts, *h = &mmu->p2m->mem->counts;
	uint64_t refs = g->refs + h->refs, depth = g->depth + h->depth;
	uint64_t before = f->half ? f->half->refs : 0; /* one after the other */
	enum walked w = nested_walk_both(mmu, f);

	f->refs = g->refs + h->refs - refs + before;
	f->depth = g->depth + h->depth - depth + before;
	return w;
}

static void say(struct mmu *mmu, const struct mmu_fault *f, const char *step, const char *action,
		gfn_t gfn, uint64_t hva, mfn_t mfn)
{
	if (likely(!mmu->vm->log))
		return;
	struct vm_fault_step s = { step, action, f->violation_kind == ACC_WRITE ? PF_WRITE : 0, GVA(f->va), gfn, hva, mfn };

	mmu->vm->log->step(mmu->vm->log, &s);
}

/* A second-stage violation: back the frame, or allow the write, and enter it. */
static int nested_fault(struct vcpu *v, struct mmu_fault *f)
{
	struct mmu *mmu = v->mmu;
	struct vm *vm = mmu->vm;
	gfn_t gfn = gpa_to_gfn(f->violation);
	bool write = f->violation_kind == ACC_WRITE;
	struct gfn_mapping map;
	uint64_t hva = 0;

	vm->stats.pf_taken++;
	memslot_gfn_to_hva(memslot_find(vm, gfn), gfn, &hva);
	say(mmu, f, "exit", "second-stage violation: the guest is left", INVALID_GFN, 0, INVALID_MFN);
	say(mmu, f, "error code", "what kind of access met it", INVALID_GFN, 0, INVALID_MFN);
	say(mmu, f, "gva", "the address the guest used", INVALID_GFN, 0, INVALID_MFN);
	say(mmu, f, "gva to gfn", "the hardware reports the guest-physical address", gfn, 0, INVALID_MFN);
	say(mmu, f, "gfn to hva", "by the memslot's arithmetic", gfn, hva, INVALID_MFN);
	int err = gfn_fault(vm, gfn, write, &map);

	if (err)
		return err;
	if (!mmu->by_software)
		vm_stats_exit(&vm->stats, map.hidden || !vm->dirty_logging || !write ? EXIT_HIDDEN_FAULT : EXIT_DIRTY);
	say(mmu, f, "hva to frame", map.hidden ? "a zeroed frame is found and given" : "the frame is there already",
	    gfn, hva, map.mfn);
	uint64_t seq = vm->mmu_seq;

	/* All memory the entry can need, before anything changes. */
	err = ptm_machine_reserve(mmu->p2m_shared ? &vm->hv->ptm : &mmu->ptm, GPT_LEVELS_MAX);
	if (err)
		return err;
	if (seq != vm->mmu_seq)
		return MMU_RETRY;
	err = enter(mmu, gfn, &map);
	if (err)
		return err;
	say(mmu, f, "entry", "the p2m entry is set", gfn, hva, map.mfn);
	vm->stats.pf_fixed++;
	return MMU_FIXED;
}

/*
 * Rights only shrink here: a weaker entry could be kept, but dropping it is
 * as right and simpler; it comes back with a fault that finds the frame there.
 */
static void zap(struct mmu *mmu, gfn_t gfn, uint64_t n, uint8_t keep)
{
	if (MUTATE(SKIP_ZAP))
		return;
	unmap_all(mmu, gfn.v, gfn.v + n);
}

static void zap_all(struct mmu *mmu)
{
	unmap_all(mmu, 0, UINT64_MAX >> PAGE_SHIFT);
}

static int audit(struct mmu *mmu, const char **why)
{
	struct pt_entry e;
	struct pt_key at = { mmu->gpa_space, 0 };
	int err = mmu->p2m->org->audit(mmu->p2m, why);

	while (!err && !mmu->p2m->org->next(mmu->p2m, at, &e)) {
		for (uint64_t i = 0; i < BIT(e.order); i++) {
			struct gfn_mapping truth;

			if (gfn_peek(mmu->vm, GFN(e.key.page + i), &truth) || truth.mfn.v != e.frame + i ||
			    (e.rights & RIGHT_RWX & ~truth.rights)) {
				*why = "a p2m entry is not what the per-gfn truth says";
				return -EINVAL;
			}
		}
		at.page = e.key.page + BIT(e.order);
	}
	return err;
}

static uint64_t table_bytes(const struct mmu *mmu)
{
	return mmu->p2m->mem->table_bytes;
}

const struct mode_ops nested_mode = {
	.name = "nested",
	.summary = "two-dimensional: guest table and the hypervisor's gpa table, both walked by hardware",
	.takes_org = true,
	.quick = QUICK_TWO,
	.software_tlb = true,
	.default_org = "radix",
	.possible = possible,
	.attach = attach,
	.detach = detach,
	.walk = nested_walk,
	.fault = nested_fault,
	.zap = zap,
	.zap_all = zap_all,
	.audit = audit,
	.table_bytes = table_bytes,
};
QUIRE_MODE(nested_mode);
