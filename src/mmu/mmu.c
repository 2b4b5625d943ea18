/* SPDX-License-Identifier: MIT */
/* A VM's translation: made, changed while it runs, zapped, audited. */
#include "base/wide.h"
#include "mmu/privilege.h"

static struct mmu *of_notifier(struct vm_notifier *n)
{
	return container_of(n, struct mmu, notifier);
}

/* Scattered frames are looked for one by one; when there are many, the whole VM is flushed instead. */
enum { FLUSH_RUNS_MAX = 32 };

/* What the TLBs know of these gfns goes, run of frames by run of frames. */
static void flush_gfns(struct mmu *mmu, gfn_t gfn, uint64_t n)
{
	unsigned runs = 0;

	for (uint64_t i = 0; i < n;) {
		struct gfn_state st = gfn_get(mmu->vm, GFN(gfn.v + i));
		uint64_t run = 1;

		if (gfn_kind(st) == GFN_BACKED) {
			while (i + run < n && gfn_get(mmu->vm, GFN(gfn.v + i + run)).w == st.w + run)
				run++;
			if (++runs > FLUSH_RUNS_MAX && !MUTATE(SKIP_FLUSH)) {
				flush_vm(mmu);
				return;
			}
			flush_frames(mmu, gfn_mfn(st), run);
		}
		i += run;
	}
}

static void on_zap(struct vm_notifier *n, gfn_t gfn, uint64_t npages, uint8_t keep)
{
	struct mmu *mmu = of_notifier(n);

	mmu->vm->stats.zaps++;
	/* A frame that goes takes along what was read from it. */
	if (!keep)
		for (uint64_t i = 0; i < npages; i++)
			track_drop_gfn(mmu, GFN(gfn.v + i));
	if (mmu->ops->zap)
		mmu->ops->zap(mmu, gfn, npages, keep);
	flush_gfns(mmu, gfn, npages);
}

static void on_written(struct vm_notifier *n, gpa_t gpa, uint64_t len)
{
	mmu_table_written(of_notifier(n), gpa, len, NULL, false);
}

int mmu_possible(const struct vm *vm, const struct scheme *s, const struct mmu_config *c, const char **why)
{
	if (s->org && !s->org->sparse_keys && s->mode->options) {
		*why = "a flat table of all guest-virtual pages would not fit any memory";
		return -ENOTSUP;
	}
	if (c->tlb_software && !s->mode->software_tlb) {
		*why = "a TLB that software fills is its own shadow";
		return -ENOTSUP;
	}
	return s->mode->possible(vm, s, c, why);
}

static int attach(struct mmu *mmu, const struct scheme *s)
{
	mmu->scheme = *s;
	mmu->ops = s->mode;
	walk_shape(mmu->guest_shape, mmu->config.guest_fmt);
	walk_shape(mmu->host_shape, NULL);
	int err = mmu->ops->attach(mmu);

	mmu_set_logs(mmu, mmu_log(mmu));
	/* Another shape, perhaps, than this VM had before. */
	cpu_shape(mmu);
	return err;
}

int mmu_create(struct vm *vm, struct mmu_cpu *cpu, const struct scheme *s,
	       const struct mmu_config *config, struct mmu **out, const char **why)
{
	struct machine *m = vm->hv->m;
	int err = mmu_possible(vm, s, config, why);

	if (err)
		return err;
	struct mmu *mmu = kmem_alloc(m, sizeof(*mmu));
	if (!mmu)
		return -ENOMEM;
	mmu->vm = vm;
	mmu->cpu = cpu;
	mmu->config = *config;
	mmu->notifier = (struct vm_notifier){ on_zap, on_written };
	ptm_machine_init(&mmu->ptm, m);
	guest_mem_init(&mmu->sw, mmu, &guest_mem_sw_ops);
	err = track_init(mmu);
	if (!err)
		err = spaces_init(mmu);
	if (!err)
		err = attach(mmu, s);
	if (err) {
		if (mmu->track)
			track_fini(mmu);
		ptm_machine_fini(&mmu->ptm);
		kmem_free(m, mmu, sizeof(*mmu));
		return err;
	}
	vm->notifier = &mmu->notifier;
	*out = mmu;
	return 0;
}

static void detach(struct mmu *mmu)
{
	spaces_drop_all(mmu);
	if (mmu->ops->detach)
		mmu->ops->detach(mmu);
	flush_vm(mmu);
}

void mmu_destroy(struct mmu *mmu)
{
	detach(mmu);
	if (mmu->cpu->shaped_for == mmu)
		mmu->cpu->shaped_for = NULL;
	track_fini(mmu);
	spaces_fini(mmu);
	ptm_machine_fini(&mmu->ptm);
	mmu->vm->notifier = NULL;
	if (mmu->vcpu)
		mmu->vcpu->mmu = NULL;
	kmem_free(mmu->vm->hv->m, mmu, sizeof(*mmu));
}

/*
 * The new scheme is attached to a copy of the old one's state only after the
 * old tables are gone; they were caches, so nothing is lost. If the new one
 * finds no memory, the old one, which had some a moment ago, comes back.
 */
int mmu_change_scheme(struct mmu *mmu, const struct scheme *s, const char **why)
{
	struct scheme old = mmu->scheme;
	int err = mmu_possible(mmu->vm, s, &mmu->config, why);

	if (err)
		return err;
	detach(mmu);
	err = attach(mmu, s);
	if (err) {
		*why = "the machine has no memory for its tables";
		BUG_ON(attach(mmu, &old));
	} else {
		mmu->vm->stats.scheme_changes++;
	}
	if (mmu->vcpu)
		vcpu_reload(mmu->vcpu);
	return err;
}

const struct scheme *mmu_scheme(const struct mmu *mmu)
{
	return &mmu->scheme;
}

struct vm *mmu_vm(const struct mmu *mmu)
{
	return mmu->vm;
}

void mmu_zap_gfns(struct mmu *mmu, gfn_t gfn, uint64_t n)
{
	mmu->vm->mmu_seq++;
	on_zap(&mmu->notifier, gfn, n, 0);
}

void mmu_zap_all(struct mmu *mmu)
{
	mmu->vm->mmu_seq++;
	mmu->vm->stats.zaps++;
	if (mmu->ops->zap_all)
		mmu->ops->zap_all(mmu);
	flush_vm(mmu);
}

int mmu_audit(struct mmu *mmu, const char **why)
{
	int err = track_audit(mmu, why);

	if (!err && mmu->ops->audit)
		err = mmu->ops->audit(mmu, why);
	return err;
}

void mmu_bytes(const struct mmu *mmu, uint64_t *tables, uint64_t *metadata)
{
	*tables = mmu->ops->table_bytes ? mmu->ops->table_bytes(mmu) : 0;
	*metadata = mmu->metadata_bytes + mmu->track_buckets * sizeof(*mmu->track) + sizeof(*mmu) +
		    mmu->nspaces * sizeof(struct space);
}

/* ---- virtual processors: what a guest does to its registers ---- */

int vcpu_init(struct vcpu *v, struct mmu *mmu)
{
	memset(v, 0, sizeof(*v));
	v->mmu = mmu;
	v->cpu = mmu->cpu;
	v->user = true;
	v->kernel = true; /* a guest boots in its kernel */
	v->wide = host_is_wide();
	mmu->vcpu = v;
	vcpu_leave_space(v);
	return 0;
}

/* On failure the vCPU is where it was. */
static int enter_space(struct vcpu *v, const struct guest_paging *p)
{
	struct space *s = space_get(v->mmu, p);

	if (!s)
		return -ENOMEM;
	v->space = s;
	v->tag_space = s->number;
	v->tag_gspace = v->mmu->gspace;
	return 0;
}

void vcpu_reload(struct vcpu *v)
{
	if (v->paging.org && !enter_space(v, &v->paging) && v->mmu->ops->set_root)
		v->mmu->ops->set_root(v, NULL);
}

static void flush_non_global(struct mmu *mmu)
{
	list_for_each(l, &mmu->spaces)
		flush_space(mmu, list_entry(l, struct space, lru)->number);
}

int vcpu_set_paging(struct vcpu *v, const struct guest_paging *p, enum root_flush flush)
{
	struct space *old = v->space;
	struct guest_paging now = *p;
	uint64_t exits = v->mmu->vm->stats.exits;

	if (!privileged(v))
		return -EPERM;

	/* Low bits of the register are no part of the table's address (CR3's PCD and PWT). */
	if (p->org->hierarchical)
		now.root = align_down(p->root, gpt_table_bytes(p->params.fmt, p->params.fmt->levels - 1u, false));
	int err = enter_space(v, &now);

	if (err)
		return err;
	v->paging = now;
	v->mmu->vm->stats.root_switches++;
	if (flush == ROOT_FLUSH)
		flush_non_global(v->mmu);
	if (v->mmu->ops->set_root)
		v->mmu->ops->set_root(v, old);
	privileged_done(v, exits, EXIT_PRIV_INSTR);
	return 0;
}

static void fence_one(struct mmu *mmu, enum fence_scope scope, struct space *s, uint64_t va)
{
	if (scope == FENCE_PAGE)
		flush_range(mmu, s->number, va & ~PAGE_MASK, PAGE_SIZE, DROP_WALKS);
	else
		flush_space(mmu, s->number);
}

void vcpu_fence(struct vcpu *v, enum fence_scope scope, uint32_t asid, gva_t gva)
{
	struct mmu *mmu = v->mmu;
	struct space *first = NULL;
	uint64_t exits = mmu->vm->stats.exits;

	if (!privileged(v))
		return;
	mmu->vm->stats.guest_fences++;
	if (scope == FENCE_ALL) {
		flush_non_global(mmu);
		flush_space(mmu, mmu->gspace);
	} else {
		/* Several roots may have carried this asid. */
		for (struct space *s = space_bucket(mmu, asid); s; s = s->next) {
			if (s->p.asid != asid)
				continue;
			fence_one(mmu, scope, s, gva.v);
			if (!first || s == v->space)
				first = s;
		}
	}
	if (mmu->ops->fence)
		mmu->ops->fence(mmu, scope, first, gva.v);
	privileged_done(v, exits, mmu->config.tlb_software ? scope == FENCE_PAGE ? EXIT_FENCE : EXIT_FENCE_ALL :
							     EXIT_PRIV_INSTR);
}
