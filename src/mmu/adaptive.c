/* SPDX-License-Identifier: MIT */
/*
 * Adaptive: nested/radix or shadow, whichever costs less, changed while the
 * VM runs. A scheme that runs another and changes it.
 *
 * Every ADAPTIVE_INTERVAL references (the program's and its kernel's) the
 * modelled cycles of the interval are taken from counters and the table of
 * costs, without what both have in common: the loads of guest tables, or of
 * a shadow in their place.
 *
 *                    measured                          estimated for the other
 *   nested    loads of the p2m, exits          for shadow: an exit for each true fault,
 *                                              change of root and fence; an emulated
 *                                              store for each store to a table that
 *                                              translations were read from; a fill for
 *                                              each of those (of several to one entry in
 *                                              a row, without a walk between, for one),
 *                                              or for each A or D that the walker set,
 *                                              whichever were more; the exits there are
 *   shadow    exits                            for nested: TLB misses times the p2m loads
 *                                              that one cost when it ran last; hidden faults
 *
 * What running the present one has cost beyond the other adds up as regret,
 * never below 0; the VM moves when regret exceeds the cost of moving there
 * (the new table is filled, whole pages of entries at a time) by a factor
 * that doubles when a move is undone within ADAPTIVE_SOON intervals. Whoever
 * pays as much for staying as for moving before he moves pays at most twice
 * what knowing the future would cost, and in a stationary phase ends under
 * the better of the two.
 */
#include "mmu/adaptive.h"
#include "mmu/nested.h"
#include "mmu/shadow.h"

enum {
	ADAPTIVE_INTERVAL = 65536,
	ADAPTIVE_FACTOR_MAX = 64,
	ADAPTIVE_SOON = 32,
	ADAPTIVE_FIRST_LOADS = 2, /* of the p2m, for a miss, until one was seen */
};

/* Counters, and what exits had cost, as they stood when the interval began. */
struct since {
	uint64_t time, walks, hidden, exit_cycles, trap_cycles, faults, roots, fences, ad;
};

struct adaptive {
	const struct mode_ops *sub; /* what runs */
	struct since since;
	uint64_t loads;        /* of the p2m by the program's walks in this interval */
	uint64_t stores;       /* to tables, while nested */
	uint64_t changed;      /* of those, the ones whose entry a walk may have met before the next store to it */
	uint64_t last_store;   /* gpa; and how many walks there had been */
	uint64_t last_walks;
	uint64_t usual;        /* p2m loads a walk, in 256ths */
	uint64_t regret;
	uint64_t paid;         /* for moving here, and not yet spent: filling tables is no reason to regret it */
	unsigned factor;
	unsigned intervals;    /* since the last move */
};

static uint64_t price(const struct mmu *mmu, enum cost_event e, uint64_t n)
{
	return cost_price(mmu_costs(mmu), e, n);
}

static uint64_t exit_and(const struct mmu *mmu, enum cost_event e, uint64_t n)
{
	return price(mmu, COST_EXIT, n) + price(mmu, e, n);
}

static void begin(struct mmu *mmu)
{
	struct adaptive *a = mmu->adaptive;
	const struct vm_stats *s = &mmu->vm->stats;

	a->since = (struct since){
		.time = s->refs + s->kernel_refs,
		.walks = s->walks,
		.hidden = s->hidden_total,
		.exit_cycles = vm_stats_exit_cycles(s, mmu_costs(mmu)),
		.trap_cycles = vm_stats_trap_cycles(s, mmu_costs(mmu)),
		.faults = s->true_faults,
		.roots = s->root_switches,
		.fences = s->guest_fences,
		.ad = s->ad_updates,
	};
	a->loads = a->stores = a->changed = 0;
}

/* What the hypervisor did in this interval, as results count it. */
static uint64_t exits_measured(const struct mmu *mmu)
{
	return vm_stats_exit_cycles(&mmu->vm->stats, mmu_costs(mmu)) - mmu->adaptive->since.exit_cycles;
}

static uint64_t nested_measured(const struct mmu *mmu)
{
	return price(mmu, COST_WALK_REF, mmu->adaptive->loads) + exits_measured(mmu);
}

static uint64_t shadow_estimated(const struct mmu *mmu)
{
	const struct adaptive *a = mmu->adaptive;
	const struct vm_stats *s = &mmu->vm->stats;
	uint64_t fills = MAX(a->changed, s->ad_updates - a->since.ad);

	return exits_measured(mmu) +
	       price(mmu, COST_EXIT, s->true_faults - a->since.faults) +
	       exit_and(mmu, COST_TABLE_WRITE, a->stores) + exit_and(mmu, COST_SHADOW_FILL, fills) +
	       exit_and(mmu, COST_ROOT_SWITCH, s->root_switches - a->since.roots) +
	       exit_and(mmu, COST_FENCE, s->guest_fences - a->since.fences);
}

static uint64_t nested_estimated(const struct mmu *mmu)
{
	const struct adaptive *a = mmu->adaptive;
	const struct vm_stats *s = &mmu->vm->stats;

	return price(mmu, COST_WALK_REF, (s->walks - a->since.walks) * a->usual / 256) +
	       exit_and(mmu, COST_HIDDEN_FAULT, s->hidden_total - a->since.hidden) +
	       vm_stats_trap_cycles(s, mmu_costs(mmu)) - a->since.trap_cycles;
}

/*
 * To shadow: a fault and a page of entries for each guest leaf table in use,
 * a fault for each page where tables have no positions; to nested: an entry a frame.
 */
static uint64_t price_of_moving(const struct mmu *mmu)
{
	uint64_t frames = mmu->vm->resident;
	const struct pt_org *guest = mmu->vcpu ? mmu->vcpu->paging.org : NULL;
	unsigned bits = guest && !guest->hierarchical ? 0 : mmu->config.guest_fmt->level[0].bits;

	return mmu->adaptive->sub == &shadow_mode ? price(mmu, COST_RESYNC_ENTRY, vm_pages(mmu->vm)) :
	       price(mmu, COST_RESYNC_ENTRY, frames) + exit_and(mmu, COST_SHADOW_FILL, 1 + (frames >> bits));
}

/* ---- moving ---- */

static int attach_sub(struct mmu *mmu)
{
	int err;

	walk_shape(mmu->guest_shape, mmu->config.guest_fmt);
	walk_shape(mmu->host_shape, NULL);
	err = mmu->adaptive->sub->attach(mmu);
	if (!err && mmu->shadow)
		mmu->shadow->fills_pages = true;
	return err;
}

void adaptive_move(struct mmu *mmu)
{
	struct adaptive *a = mmu->adaptive;
	const struct mode_ops *from = a->sub;

	spaces_drop_all(mmu);
	from->detach(mmu);
	flush_vm(mmu);
	a->sub = from == &nested_mode ? &shadow_mode : &nested_mode;
	if (attach_sub(mmu)) {
		/* It had memory for its tables a moment ago. */
		a->sub = from;
		BUG_ON(attach_sub(mmu));
	} else {
		mmu->vm->stats.scheme_changes++;
	}
	cpu_shape(mmu);
	if (a->sub == &nested_mode)
		mmu->vm->stats.mmu_resync_entries += nested_fill_backed(mmu);
	mmu->vm->mmu_seq++;
	if (mmu->vcpu)
		vcpu_reload(mmu->vcpu);
	a->regret = 0;
	a->intervals = 0;
}

static void weigh(struct mmu *mmu)
{
	struct adaptive *a = mmu->adaptive;
	bool nested = a->sub == &nested_mode;
	uint64_t walks = mmu->vm->stats.walks - a->since.walks;
	uint64_t here = nested ? nested_measured(mmu) : exits_measured(mmu);
	uint64_t there = nested ? shadow_estimated(mmu) : nested_estimated(mmu);

	if (nested && walks)
		a->usual = a->loads * 256 / walks;
	a->intervals++;
	uint64_t spent = MIN(a->paid, here > there ? here - there : 0);

	a->paid -= spent;
	here -= spent;
	a->regret = a->regret + here > there ? a->regret + here - there : 0;
	if (a->intervals >= ADAPTIVE_SOON)
		a->factor = 1;
	if (a->regret <= a->factor * price_of_moving(mmu))
		return;
	if (a->intervals < ADAPTIVE_SOON)
		a->factor = MIN(a->factor * 2, (unsigned)ADAPTIVE_FACTOR_MAX);
	a->paid = price_of_moving(mmu);
	adaptive_move(mmu);
}

static void tick(struct vcpu *v)
{
	struct mmu *mmu = v->mmu;
	const struct vm_stats *s = &mmu->vm->stats;
	uint64_t interval = mmu->config.interval ? mmu->config.interval : ADAPTIVE_INTERVAL;

	uint64_t now = s->refs + s->kernel_refs;

	/* Whoever reads the counters may have set them back (the end of a warm-up): that interval is lost. */
	if (now >= mmu->adaptive->since.time) {
		if (now - mmu->adaptive->since.time < interval)
			return;
		weigh(mmu);
	}
	begin(mmu);
}

/* ---- the mode, by the one that runs ---- */

static int possible(const struct vm *vm, const struct scheme *s, const struct mmu_config *c, const char **why)
{
	int err = nested_mode.possible(vm, s, c, why);

	return err ? err : shadow_mode.possible(vm, s, c, why);
}

static int attach(struct mmu *mmu)
{
	struct machine *m = mmu->vm->hv->m;
	struct adaptive *a = kmem_alloc(m, sizeof(*a));
	int err;

	if (!a)
		return -ENOMEM;
	mmu->adaptive = a;
	a->sub = &nested_mode;
	a->factor = 1;
	a->usual = 256 * ADAPTIVE_FIRST_LOADS;
	err = attach_sub(mmu);
	if (err) {
		mmu->adaptive = NULL;
		kmem_free(m, a, sizeof(*a));
		return err;
	}
	begin(mmu);
	return 0;
}

static void detach(struct mmu *mmu)
{
	mmu->adaptive->sub->detach(mmu);
	kmem_free(mmu->vm->hv->m, mmu->adaptive, sizeof(*mmu->adaptive));
	mmu->adaptive = NULL;
}

static enum walked walk(struct vcpu *v, struct mmu_fault *f)
{
	struct adaptive *a = v->mmu->adaptive;
	const struct pt_mem_counts *host = &v->mmu->ptm.m.counts;
	uint64_t refs = host->refs;
	enum walked w = a->sub->walk(v, f);

	if (w == WALKED_OK && !f->space->bare && a->sub == &nested_mode)
		a->loads += host->refs - refs;
	return w;
}

static int fault(struct vcpu *v, struct mmu_fault *f)
{
	return v->mmu->adaptive->sub->fault(v, f);
}

static void set_root(struct vcpu *v, struct space *old)
{
	if (v->mmu->adaptive->sub->set_root)
		v->mmu->adaptive->sub->set_root(v, old);
}

static void fence(struct mmu *mmu, enum fence_scope scope, struct space *s, uint64_t va)
{
	if (mmu->adaptive->sub->fence)
		mmu->adaptive->sub->fence(mmu, scope, s, va);
}

static void zap(struct mmu *mmu, gfn_t gfn, uint64_t n, uint8_t keep)
{
	mmu->adaptive->sub->zap(mmu, gfn, n, keep);
}

/* Rights taken and given back are two trapped stores for a shadow, and one fill. */
static void note_store(struct mmu *mmu, gpa_t gpa)
{
	struct adaptive *a = mmu->adaptive;
	uint64_t walks = mmu->vm->stats.walks;

	if (!track_has(mmu, gpa_to_gfn(gpa)))
		return;
	a->stores++;
	a->changed += gpa.v != a->last_store || walks != a->last_walks;
	a->last_store = gpa.v;
	a->last_walks = walks;
}

static void table_store(struct mmu *mmu, gpa_t gpa, uint64_t len, bool emulated)
{
	if (mmu->adaptive->sub->table_store)
		mmu->adaptive->sub->table_store(mmu, gpa, len, emulated);
	else
		note_store(mmu, gpa);
}

static void drop_range(struct mmu *mmu, struct space *s, uint64_t va, uint64_t bytes)
{
	if (mmu->adaptive->sub->drop_range)
		mmu->adaptive->sub->drop_range(mmu, s, va, bytes);
}

static void drop_space(struct mmu *mmu, struct space *s)
{
	if (mmu->adaptive->sub->drop_space)
		mmu->adaptive->sub->drop_space(mmu, s);
}

static void zap_all(struct mmu *mmu)
{
	mmu->adaptive->sub->zap_all(mmu);
}

static int audit(struct mmu *mmu, const char **why)
{
	return mmu->adaptive->sub->audit(mmu, why);
}

static uint64_t table_bytes(const struct mmu *mmu)
{
	return mmu->adaptive->sub->table_bytes(mmu);
}

static uint64_t root_by_gva(const struct mmu *mmu, const struct space *s, const struct gpt_format **fmt)
{
	const struct mode_ops *sub = mmu->adaptive->sub;

	return sub->root_by_gva ? sub->root_by_gva(mmu, s, fmt) : 0;
}

static const struct mode_ops adaptive_mode = {
	.name = "adaptive",
	.summary = "nested/radix or shadow, changed while running by what each costs",
	.default_org = "radix",
	.hides_default = true,
	.possible = possible,
	.attach = attach,
	.walk = walk,
	.fault = fault,
	.detach = detach,
	.set_root = set_root,
	.fence = fence,
	.zap = zap,
	.table_store = table_store,
	.drop_range = drop_range,
	.drop_space = drop_space,
	.zap_all = zap_all,
	.audit = audit,
	.table_bytes = table_bytes,
	.root_by_gva = root_by_gva,
	.tick = tick,
};
QUIRE_MODE(adaptive_mode);
