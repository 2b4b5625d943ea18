/* SPDX-License-Identifier: MIT */
/*
 * Numbers of address spaces. A number is a tag of TLB entries and tables:
 * 16 bits, unique on the processor, never reused while anything is tagged
 * with it. When a VM has SPACES_MAX of them, or numbers run out, the one
 * least recently entered goes, with all that is cached for it.
 */
#include "mmu/internal.h"

static int take_number(struct mmu_cpu *cpu, struct space *s, uint32_t *number)
{
	for (uint32_t tries = 0; tries < TLB_SPACE_MAX; tries++) {
		uint32_t n = cpu->next_space;

		cpu->next_space = n == TLB_SPACE_MAX ? 1 : n + 1;
		if (!cpu->space_of[n]) {
			cpu->space_of[n] = s;
			*number = n;
			return 0;
		}
	}
	return -ENOSPC;
}

int spaces_init(struct mmu *mmu)
{
	struct mmu_cpu *cpu = mmu->cpu;
	uint32_t number;

	list_init(&mmu->spaces);
	mmu->bare.mmu = mmu;
	mmu->bare.bare = true;
	list_init(&mmu->bare.lru);
	if (take_number(cpu, &mmu->bare, &number))
		return -ENOSPC;
	mmu->bare.number = number;
	if (take_number(cpu, &mmu->bare, &mmu->gspace) || take_number(cpu, &mmu->bare, &mmu->gpa_space))
		return -ENOSPC;
	return 0;
}

static bool same_registers(const struct guest_paging *a, const struct guest_paging *b)
{
	return a->org == b->org && a->org_flags == b->org_flags && a->root == b->root &&
	       a->asid == b->asid && a->key_space == b->key_space && a->params.fmt == b->params.fmt;
}

static void space_drop(struct mmu *mmu, struct space *s)
{
	struct space **link = &mmu->bucket[s->p.asid % SPACE_BUCKETS];

	while (*link != s)
		link = &(*link)->next;
	*link = s->next;
	list_del(&s->lru);
	mmu->nspaces--;
	if (mmu->ops->drop_space)
		mmu->ops->drop_space(mmu, s);
	track_drop_space(mmu, s->number);
	flush_space(mmu, s->number);
	/* Global entries may be among those whose tracking just ended. */
	if (mmu->has_global)
		flush_space(mmu, mmu->gspace);
	mmu->cpu->space_of[s->number] = NULL;
	kmem_free(mmu->vm->hv->m, s, sizeof(*s));
}

/*
 * A tree needs nothing but its root: opening it through the registry would
 * read all of it. Other tables have a header, which may change under us.
 */
int space_open_table(struct space *s)
{
	struct pt_mem *sw = &s->mmu->sw.m;

	if (s->p.org->hierarchical) {
		s->pt = (struct pt){
			.org = s->p.org,
			.flags = s->p.org_flags,
			.params = s->p.params,
			.mem = sw,
			.root = s->p.root,
			.orders = gpt_leaf_orders(s->p.params.fmt),
		};
		s->stale = false;
		return 0;
	}
	int err = pt_open(&s->pt, s->p.org, s->p.org_flags, &s->p.params, sw, s->p.root);

	if (!err)
		s->stale = !track_header(s->mmu, GFN(s->p.root >> PAGE_SHIFT));
	return err;
}

/* The oldest that is not running. */
static struct space *victim(struct mmu *mmu)
{
	const struct space *running = mmu->vcpu ? mmu->vcpu->space : NULL;

	for (struct list *l = mmu->spaces.prev; l != &mmu->spaces; l = l->prev) {
		struct space *s = list_entry(l, struct space, lru);

		if (s != running)
			return s;
	}
	return NULL;
}

static struct space *space_make(struct mmu *mmu, const struct guest_paging *p)
{
	struct machine *m = mmu->vm->hv->m;

	if (mmu->nspaces >= SPACES_MAX)
		space_drop(mmu, victim(mmu));
	struct space *s = kmem_alloc(m, sizeof(*s));
	if (!s)
		return NULL;
	if (take_number(mmu->cpu, s, &s->number)) {
		struct space *old = victim(mmu);

		if (old)
			space_drop(mmu, old);
		if (!old || take_number(mmu->cpu, s, &s->number)) {
			kmem_free(m, s, sizeof(*s));
			return NULL;
		}
	}
	s->mmu = mmu;
	s->p = *p;
	s->stale = true;
	s->next = mmu->bucket[p->asid % SPACE_BUCKETS];
	mmu->bucket[p->asid % SPACE_BUCKETS] = s;
	list_add(&mmu->spaces, &s->lru);
	mmu->nspaces++;
	return s;
}

struct space *space_get(struct mmu *mmu, const struct guest_paging *p)
{
	for (struct space *s = space_bucket(mmu, p->asid); s; s = s->next)
		if (same_registers(&s->p, p)) {
			s->p = *p;
			list_del(&s->lru);
			list_add(&mmu->spaces, &s->lru);
			return s;
		}
	return space_make(mmu, p);
}

struct space *space_by_number(struct mmu *mmu, uint32_t number)
{
	struct space *s = mmu->cpu->space_of[number];

	return s && s->mmu == mmu && s->number == number ? s : NULL;
}

void spaces_drop_all(struct mmu *mmu)
{
	if (mmu->vcpu)
		vcpu_leave_space(mmu->vcpu);
	list_for_each_safe(l, &mmu->spaces)
		space_drop(mmu, list_entry(l, struct space, lru));
}

void spaces_fini(struct mmu *mmu)
{
	spaces_drop_all(mmu);
	mmu->cpu->space_of[mmu->bare.number] = NULL;
	mmu->cpu->space_of[mmu->gspace] = NULL;
	mmu->cpu->space_of[mmu->gpa_space] = NULL;
}
