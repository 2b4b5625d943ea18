/* SPDX-License-Identifier: MIT */
/*
 * The funnel against a model: random changes to the per-gfn truth of two VMs
 * that share frames with one another, audited after each; then what a guest
 * sees of single ones.
 */
#include "rig.h"
#include "vm/gfn.h"
#include "vm/memslot.h"

enum { VMS = 2, GFNS = 3 * GFN_BLOCK, STEPS = 4000, HOT = 24 };

/* What should be true of one gfn. */
struct cell {
	bool backed, wprot, dirty, cow, pin;
	unsigned frame; /* number of the frame in the model: equal numbers, one machine frame */
};

struct model {
	struct cell c[VMS][GFNS];
	uint64_t *content; /* by frame number: its first word */
	unsigned *refs, frames;
};

struct act {
	unsigned vm;
	uint64_t gfn, n;
	struct gfn_change change;
	unsigned other_vm;
	uint64_t other; /* SHARE: whose frame */
};

static unsigned new_frame(struct model *m, uint64_t content)
{
	m->content[m->frames] = content;
	m->refs[m->frames] = 1;
	return m->frames++;
}

static void leave(struct model *m, struct cell *c)
{
	m->refs[c->frame]--;
}

static void break_away(struct model *m, struct cell *c)
{
	if (m->refs[c->frame] > 1) {
		unsigned old = c->frame;

		leave(m, c);
		c->frame = new_frame(m, m->content[old]);
	}
	c->cow = false;
}

static bool any_pinned(const struct model *m, const struct act *a)
{
	for (uint64_t i = 0; i < a->n; i++)
		if (m->c[a->vm][a->gfn + i].pin)
			return true;
	return false;
}

static int model_share(struct model *m, const struct act *a)
{
	struct cell *c = &m->c[a->vm][a->gfn], *o = &m->c[a->other_vm][a->other];

	if (!c->backed || c->frame == o->frame)
		return -EFAULT;
	if (c->pin || c->wprot)
		return -EBUSY;
	for (unsigned v = 0; v < VMS; v++)
		for (unsigned g = 0; g < GFNS; g++)
			if (m->c[v][g].backed && m->c[v][g].frame == o->frame && m->c[v][g].pin)
				return -EBUSY;
	if (m->content[c->frame] != m->content[o->frame]) {
		/* Nothing changed, but that a frame alone again is known to be so. */
		if (m->refs[o->frame] == 1)
			o->cow = false;
		return -EEXIST;
	}
	for (unsigned v = 0; v < VMS; v++)
		for (unsigned g = 0; g < GFNS; g++)
			if (m->c[v][g].backed && m->c[v][g].frame == o->frame)
				m->c[v][g].cow = true;
	leave(m, c);
	c->frame = o->frame;
	m->refs[c->frame]++;
	c->cow = true;
	return 0;
}

static int model_collapse(struct model *m, const struct act *a)
{
	if (any_pinned(m, a))
		return -EBUSY;
	for (uint64_t i = 0; i < a->n; i++)
		if (m->c[a->vm][a->gfn + i].cow || m->c[a->vm][a->gfn + i].wprot)
			return -EBUSY;
	for (uint64_t i = 0; i < a->n; i++) {
		struct cell *c = &m->c[a->vm][a->gfn + i];

		if (!c->backed)
			c->frame = new_frame(m, 0);
		c->backed = true;
	}
	return 0;
}

static int model_each(struct model *m, const struct act *a)
{
	for (uint64_t i = 0; i < a->n; i++) {
		struct cell *c = &m->c[a->vm][a->gfn + i];

		switch (a->change.op) {
		case GFN_OP_BACK:
			if (c->backed)
				return -EEXIST;
			c->backed = true;
			c->frame = new_frame(m, 0);
			break;
		case GFN_OP_DIRTY:
		case GFN_OP_CLEAN:
			c->dirty = a->change.op == GFN_OP_DIRTY;
			break;
		case GFN_OP_WPROT:
		case GFN_OP_UNWPROT:
			c->wprot = a->change.op == GFN_OP_WPROT;
			break;
		default:
			if (!c->backed)
				break;
			leave(m, c);
			*c = (struct cell){ 0 };
		}
	}
	return 0;
}

static int model_apply(struct model *m, const struct act *a)
{
	struct cell *c = &m->c[a->vm][a->gfn];

	switch (a->change.op) {
	case GFN_OP_SHARE:
		return model_share(m, a);
	case GFN_OP_COLLAPSE:
		return model_collapse(m, a);
	case GFN_OP_UNCOW:
		if (!c->backed)
			return -EFAULT;
		break_away(m, c);
		return 0;
	case GFN_OP_MOVE:
		if (!c->backed)
			return -EFAULT;
		if (c->pin)
			return -EBUSY;
		break_away(m, c);
		return 0;
	case GFN_OP_RELEASE:
		return any_pinned(m, a) ? -EBUSY : model_each(m, a);
	default:
		return model_each(m, a);
	}
}

static struct act draw(struct rig *r, struct model *m, struct rng *rng)
{
	static const enum gfn_op ops[] = {
		GFN_OP_BACK, GFN_OP_BACK, GFN_OP_DIRTY, GFN_OP_CLEAN, GFN_OP_WPROT, GFN_OP_UNWPROT, GFN_OP_UNWPROT,
		GFN_OP_UNCOW, GFN_OP_SHARE, GFN_OP_SHARE, GFN_OP_SHARE, GFN_OP_SHARE, GFN_OP_RELEASE, GFN_OP_MOVE,
		GFN_OP_MOVE, GFN_OP_COLLAPSE,
	};
	struct act a = {
		.vm = (unsigned)rng_below(rng, VMS),
		.gfn = rng_below(rng, 3) * GFN_BLOCK + rng_below(rng, HOT),
		.n = 1,
		.change.op = ops[rng_below(rng, ARRAY_SIZE(ops))],
	};

	switch (a.change.op) {
	case GFN_OP_COLLAPSE:
		a.gfn = align_down(a.gfn, GFN_BLOCK);
		a.n = GFN_BLOCK;
		break;
	case GFN_OP_SHARE:
		for (int tries = 0; tries < 100; tries++) {
			a.other_vm = (unsigned)rng_below(rng, VMS);
			a.other = rng_below(rng, 3) * GFN_BLOCK + rng_below(rng, HOT);
			if (m->c[a.other_vm][a.other].backed)
				break;
		}
		if (m->c[a.other_vm][a.other].backed)
			a.change.mfn = rig_truth(&r->g[a.other_vm], a.other);
		else
			a.change.op = GFN_OP_UNCOW;
		break;
	case GFN_OP_RELEASE:
	case GFN_OP_DIRTY:
	case GFN_OP_CLEAN:
		a.n = 1 + rng_below(rng, 4);
		break;
	default:
		break;
	}
	return a;
}

static void check_cell(struct rig *r, struct model *m, unsigned v, unsigned g, mfn_t *mfn_of)
{
	struct rig_vm *vm = &r->g[v];
	const struct cell *c = &m->c[v][g];
	struct gfn_state st = gfn_get(vm->vm, GFN(g));
	unsigned flags = gfn_flags(st);

	assert_int_equal(gfn_kind(st), c->backed ? GFN_BACKED : GFN_NONE);
	assert_int_equal(!!(flags & GFN_WPROT), c->wprot);
	assert_int_equal(!!(flags & GFN_DIRTY), c->dirty);
	assert_int_equal(!!(flags & GFN_COW), c->cow);
	assert_int_equal(!!(flags & GFN_PIN), c->pin);
	if (!c->backed)
		return;
	const struct frame *f = machine_frame(&r->m, gfn_mfn(st));

	/* One number of the model, one machine frame; .owners of it are as many as the model says. */
	if (mfn_of[c->frame].v && mfn_of[c->frame].v != gfn_mfn(st).v)
		fail_msg("two frames where one was shared");
	mfn_of[c->frame] = gfn_mfn(st);
	assert_int_equal(f->refs, m->refs[c->frame]);
	struct gfn_mapping map;
	uint64_t word;

	assert_int_equal(gfn_peek(vm->vm, GFN(g), &map), 0);
	assert_int_equal(map.rights, RIGHT_R | RIGHT_X | (c->cow || c->wprot ? 0 : RIGHT_W));
	memcpy(&word, machine_ptr(&r->m, mfn_to_hpa(map.mfn)), 8);
	assert_int_equal(word, m->content[c->frame]);
}

static void check(struct rig *r, struct model *m)
{
	mfn_t *mfn_of = test_calloc(m->frames + 1, sizeof(*mfn_of));

	for (unsigned v = 0; v < VMS; v++)
		for (unsigned g = 0; g < GFNS; g++)
			check_cell(r, m, v, g, mfn_of);
	test_free(mfn_of);
}

/* A few values only, so that frames are often equal. */
static void write_some(struct rig *r, struct model *m, struct rng *rng)
{
	unsigned v = (unsigned)rng_below(rng, VMS);
	uint64_t g = rng_below(rng, 3) * GFN_BLOCK + rng_below(rng, HOT), word = rng_below(rng, 3);
	struct cell *c = &m->c[v][g];

	assert_int_equal(vm_write(r->g[v].vm, GPA(g << PAGE_SHIFT), &word, 8), 0);
	if (!c->backed) {
		c->backed = true;
		c->frame = new_frame(m, 0);
	} else if (c->cow) {
		break_away(m, c);
	}
	m->content[c->frame] = word;
}

static void pin_some(struct rig *r, struct model *m, struct rng *rng)
{
	unsigned v = (unsigned)rng_below(rng, VMS);
	uint64_t g = rng_below(rng, 3) * GFN_BLOCK + rng_below(rng, HOT);
	struct cell *c = &m->c[v][g];
	mfn_t mfn;

	if (c->pin) {
		assert_int_equal(vm_pin(r->g[v].vm, GFN(g), true, &mfn), -EBUSY);
		vm_unpin(r->g[v].vm, GFN(g));
		c->pin = false;
		return;
	}
	assert_int_equal(vm_pin(r->g[v].vm, GFN(g), rng_below(rng, 2), &mfn), 0);
	if (!c->backed) {
		c->backed = true;
		c->frame = new_frame(m, 0);
	} else if (c->cow) {
		break_away(m, c);
	}
	c->pin = true;
	assert_int_equal(mfn.v, rig_truth(&r->g[v], g).v);
}

static void run_model(const char *first, const char *second, uint64_t seed)
{
	struct rig_config c = { .scheme = first, .preset = "generic", .guest_pages = GFNS, .ram = 64 << 20 };
	struct model *m = test_calloc(1, sizeof(*m));
	struct rng rng;
	struct rig r;

	print_message("seed %llu\n", (unsigned long long)seed);
	rng_init(&rng, seed);
	m->content = test_calloc(STEPS * GFN_BLOCK / 8, sizeof(*m->content));
	m->refs = test_calloc(STEPS * GFN_BLOCK / 8, sizeof(*m->refs));
	rig_open(&r, &c);
	c.scheme = second;
	rig_vm_add(&r, &c);
	for (unsigned step = 0; step < STEPS; step++) {
		uint64_t seq[VMS] = { r.g[0].vm->mmu_seq, r.g[1].vm->mmu_seq };
		unsigned kind = (unsigned)rng_below(&rng, 8);

		assert_true(m->frames + 2 * GFN_BLOCK < STEPS * GFN_BLOCK / 8);
		if (kind == 0) {
			write_some(&r, m, &rng);
		} else if (kind == 1 && rng_below(&rng, 4) == 0) {
			pin_some(&r, m, &rng);
		} else {
			struct act a = draw(&r, m, &rng);
			int have = gfn_update(r.g[a.vm].vm, GFN(a.gfn), a.n, &a.change), want = model_apply(m, &a);

			if (have != want)
				fail_msg("step %u: op %d on gfn %u of vm %u: %d, not %d", step, a.change.op,
					 (unsigned)a.gfn, a.vm, have, want);
			/* A change that was made is told by the sequence number. */
			if (!have)
				assert_true(r.g[a.vm].vm->mmu_seq > seq[a.vm]);
		}
		/* What the guests' processors have cached follows. */
		for (unsigned v = 0; v < VMS; v++) {
			uint64_t g = rng_below(&rng, 3) * GFN_BLOCK + rng_below(&rng, HOT);

			if (m->c[v][g].backed)
				assert_int_equal(rig_peek(&r.g[v], g << PAGE_SHIFT, 8), m->content[m->c[v][g].frame]);
		}
		if (step % 8 == 0)
			check(&r, m);
		if (step % 4 == 0)
			rig_audit(&r);
		const char *why;

		for (unsigned v = 0; v < VMS; v++)
			if (vm_audit(r.g[v].vm, &why))
				fail_msg("step %u: %s", step, why);
	}
	check(&r, m);
	for (unsigned v = 0; v < VMS; v++)
		for (unsigned g = 0; g < GFNS; g++)
			if (m->c[v][g].pin)
				vm_unpin(r.g[v].vm, GFN(g));
	test_free(m->content);
	test_free(m->refs);
	test_free(m);
	rig_close(&r);
}

static void test_funnel_against_a_model(void **state)
{
	run_model("nested/radix", "nested/inverted", 11);
	run_model("nested/flat", "nested/radix", 12);
	run_model("nested/inverted+linear", "nested/inverted+linear", 13);
}

/* Ranges and orders that make no sense change nothing. */
static void test_bad_requests(void **state)
{
	static const struct {
		uint64_t gfn, n;
		struct gfn_change c;
		int want;
	} x[] = {
		{ 1536, 1, { GFN_OP_BACK }, -EFAULT },
		{ 1535, 2, { GFN_OP_DIRTY }, -EFAULT },
		{ 0, 0, { GFN_OP_DIRTY }, -EFAULT },
		{ 0, UINT64_MAX, { GFN_OP_RELEASE }, -EFAULT },
		{ 1, 512, { GFN_OP_BACK, .order = 9 }, -EINVAL },
		{ 0, 511, { GFN_OP_BACK, .order = 9 }, -EINVAL },
		{ 0, 2, { GFN_OP_BACK }, -EINVAL },
		{ 512, 1, { GFN_OP_COLLAPSE }, -EINVAL },
		{ 0, 2, { GFN_OP_MOVE }, -EINVAL },
		{ 0, 2, { GFN_OP_SHARE }, -EINVAL },
		{ 0, 2, { GFN_OP_UNCOW }, -EINVAL },
		{ 5, 1, { GFN_OP_SHARE, .mfn = { 1 } }, -EFAULT },
		{ 5, 1, { GFN_OP_SHARE, .mfn = { UINT64_MAX } }, -EFAULT },
		{ 5, 1, { GFN_OP_MOVE }, -EFAULT },
		{ 5, 1, { GFN_OP_UNCOW }, -EFAULT },
	};
	struct rig_config c = { .guest_pages = GFNS };
	struct rig r;

	rig_open(&r, &c);
	for (unsigned i = 0; i < ARRAY_SIZE(x); i++) {
		assert_int_equal(gfn_update(r.g[0].vm, GFN(x[i].gfn), x[i].n, &x[i].c), x[i].want);
		rig_audit(&r);
	}
	assert_int_equal(r.g[0].vm->resident, 0);
	rig_close(&r);
}

/* Two guests with equal pages: one frame; each store goes to its own; the last owner keeps the frame. */
static void test_sharing_and_breaking_away(void **state)
{
	for (unsigned i = 0; rig_scheme_at(i); i++) {
		struct rig_config c = { .scheme = rig_scheme_at(i), .preset = "generic" };
		static const uint64_t va = 0x400000;
		struct rig r;
		struct rig_space s[2];

		if (!strcmp(c.scheme, "native"))
			continue;
		rig_open_machine(&r, &c);
		for (unsigned v = 0; v < 2; v++) {
			struct rig_vm *g = rig_vm_add(&r, &c);

			rig_space_init(&s[v], g);
			rig_map(&s[v], va, 1000, 0, RIG_RIGHTS);
			rig_map(&s[v], va + PAGE_SIZE, 1001, 0, RIG_RIGHTS);
			rig_enter(&s[v]);
			assert_int_equal(vcpu_store(&g->v, SEG_PAGED, va + 8, 8, 42), ACCESS_OK);
			assert_int_equal(vcpu_store(&g->v, SEG_PAGED, va + PAGE_SIZE + 8, 8, 43 + v), ACCESS_OK);
		}
		struct rig_vm *a = &r.g[0], *b = &r.g[1];
		struct gfn_change share = { .op = GFN_OP_SHARE, .mfn = rig_truth(a, 1000) };
		uint64_t nfree = r.m.nfree, value, kept = share.mfn.v;

		assert_int_equal(gfn_update(b->vm, GFN(1000), 1, &share), 0);
		assert_true(r.m.nfree > nfree);
		rig_leads_to(a, va, ACC_READ, 1000);
		rig_leads_to(b, va, ACC_READ, 1000);
		assert_int_equal(rig_truth(b, 1000).v, kept);
		/* Unlike pages stay apart. */
		share.mfn = rig_truth(a, 1001);
		assert_int_equal(gfn_update(b->vm, GFN(1001), 1, &share), -EEXIST);
		rig_audit(&r);
		uint64_t hidden = b->vm->stats.hidden_unshare;

		assert_int_equal(vcpu_store(&b->v, SEG_PAGED, va + 8, 8, 7), ACCESS_OK);
		assert_int_equal(b->vm->stats.hidden_unshare, hidden + 1);
		assert_int_not_equal(rig_truth(b, 1000).v, kept);
		assert_int_equal(vcpu_load(&a->v, SEG_PAGED, va + 8, 8, &value), ACCESS_OK);
		assert_int_equal(value, 42);
		assert_int_equal(vcpu_store(&a->v, SEG_PAGED, va + 8, 8, 8), ACCESS_OK);
		assert_int_equal(rig_truth(a, 1000).v, kept);
		assert_int_equal(vcpu_load(&b->v, SEG_PAGED, va + 8, 8, &value), ACCESS_OK);
		assert_int_equal(value, 7);
		rig_audit(&r);
		/* A shared frame outlives the VM that brought it. */
		assert_int_equal(vcpu_store(&b->v, SEG_PAGED, va + 8, 8, 8), ACCESS_OK);
		share.mfn = rig_truth(a, 1000);
		assert_int_equal(gfn_update(b->vm, GFN(1000), 1, &share), 0);
		rig_vm_remove(a);
		assert_int_equal(vcpu_load(&b->v, SEG_PAGED, va + 8, 8, &value), ACCESS_OK);
		assert_int_equal(value, 8);
		assert_int_equal(vcpu_store(&b->v, SEG_PAGED, va + 8, 8, 9), ACCESS_OK);
		rig_close(&r);
	}
}

/* A device writes to a pinned frame without asking: nobody may join it. */
static void test_pinned_frames_are_not_shared(void **state)
{
	struct rig_config c = { .preset = "generic" };
	struct rig r;
	mfn_t mfn;

	rig_open(&r, &c);
	struct rig_vm *g = &r.g[0];

	rig_poke(g, 100 << PAGE_SHIFT, 8, 1);
	rig_poke(g, 101 << PAGE_SHIFT, 8, 1);
	assert_int_equal(vm_pin(g->vm, GFN(100), true, &mfn), 0);
	struct gfn_change share = { .op = GFN_OP_SHARE, .mfn = mfn };

	assert_int_equal(gfn_update(g->vm, GFN(101), 1, &share), -EBUSY);
	share.mfn = rig_truth(g, 101);
	assert_int_equal(gfn_update(g->vm, GFN(100), 1, &share), -EBUSY);
	assert_int_equal(gfn_update(g->vm, GFN(100), 1, &(struct gfn_change){ .op = GFN_OP_MOVE }), -EBUSY);
	assert_int_equal(gfn_update(g->vm, GFN(96), 8, &(struct gfn_change){ .op = GFN_OP_RELEASE }), -EBUSY);
	assert_int_equal(gfn_update(g->vm, GFN(0), 512, &(struct gfn_change){ .op = GFN_OP_COLLAPSE }), -EBUSY);
	assert_int_equal(rig_truth(g, 100).v, mfn.v);
	vm_unpin(g->vm, GFN(100));
	assert_int_equal(gfn_update(g->vm, GFN(100), 1, &share), 0);
	/* Pinned for reading while shared: a later store of the guest's must not leave the device behind. */
	assert_int_equal(vm_pin(g->vm, GFN(100), false, &mfn), 0);
	rig_poke(g, 100 << PAGE_SHIFT, 8, 2);
	assert_int_equal(rig_truth(g, 100).v, mfn.v);
	assert_int_equal(rig_peek(g, 101 << PAGE_SHIFT, 8), 1);
	vm_unpin(g->vm, GFN(100));
	rig_close(&r);
}

/* Guest tables with equal bytes share a frame; each is still watched for itself. */
static void test_shared_guest_tables_stay_watched(void **state)
{
	static const char *const schemes[] = { "nested/radix", "nested/flat", "nested/inverted" };
	static const uint64_t va = 0x400000;

	for (unsigned i = 0; i < ARRAY_SIZE(schemes); i++) {
		struct rig_config c = { .scheme = schemes[i], .preset = "generic" };
		struct rig r;
		struct rig_space a, b;

		rig_open(&r, &c);
		struct rig_vm *g = &r.g[0];

		rig_space_init(&a, g);
		rig_space_init(&b, g);
		rig_map(&a, va, 1000, 0, RIG_RIGHTS);
		rig_map(&b, va, 1000, 0, RIG_RIGHTS);
		uint64_t ta = rig_pte_addr(&a, va, 0) >> PAGE_SHIFT, tb = rig_pte_addr(&b, va, 0) >> PAGE_SHIFT;
		struct gfn_change share = { .op = GFN_OP_SHARE, .mfn = rig_truth(g, ta) };

		assert_int_equal(gfn_update(g->vm, GFN(tb), 1, &share), 0);
		rig_enter(&a);
		rig_leads_to(g, va, ACC_READ, 1000);
		rig_enter(&b);
		rig_leads_to(g, va, ACC_READ, 1000);
		rig_audit(&r);
		/* a's table breaks away … */
		rig_set_pte(&a, va, 0, gpt_make_leaf(g->guest_fmt, 0, 1001, RIG_RIGHTS));
		rig_audit(&r);
		rig_leads_to(g, va, ACC_READ, 1000);
		/* … and b's is alone. */
		rig_set_pte(&b, va, 0, gpt_make_leaf(g->guest_fmt, 0, 1002, RIG_RIGHTS));
		rig_leads_to(g, va, ACC_READ, 1002);
		rig_enter(&a);
		rig_leads_to(g, va, ACC_READ, 1001);
		rig_close(&r);
	}
}

/* Frames move, collapse and split under a running guest, whatever TLBs and walk caches hold. */
static void test_moves_and_collapses_go_unseen(void **state)
{
	static const uint64_t va = UINT64_C(1) << 30;

	for (unsigned i = 0; rig_scheme_at(i); i++)
		for (unsigned big = 0; big < 2; big++) {
			struct rig_config c = { .scheme = rig_scheme_at(i), .preset = "generic" };
			struct rig r;
			struct rig_space s;
			uint64_t value;

			if (!strcmp(c.scheme, "native"))
				continue;
			rig_open(&r, &c);
			struct rig_vm *g = &r.g[0];

			rig_space_init(&s, g);
			if (big)
				rig_map(&s, va, 1024, ORDER_2M, RIG_RIGHTS);
			for (unsigned k = 0; k < 64 && !big; k++)
				rig_map(&s, va + (k << PAGE_SHIFT), 1024 + k, 0, RIG_RIGHTS);
			rig_enter(&s);
			for (unsigned round = 0; round < 6; round++) {
				for (unsigned k = 0; k < 64; k += 3) {
					uint64_t at = va + (k << PAGE_SHIFT) + 24;

					assert_int_equal(vcpu_load(&g->v, SEG_PAGED, at, 8, &value), ACCESS_OK);
					assert_int_equal(value, round ? round * 100 + k - 100 : 0);
					assert_int_equal(vcpu_store(&g->v, SEG_PAGED, at, 8, round * 100 + k), ACCESS_OK);
				}
				if (round % 2 == 0) {
					assert_int_equal(gfn_update(g->vm, GFN(1024), GFN_BLOCK,
								    &(struct gfn_change){ .op = GFN_OP_COLLAPSE }), 0);
					struct gfn_mapping map;

					assert_int_equal(gfn_peek(g->vm, GFN(1030), &map), 0);
					assert_int_equal(map.order, ORDER_2M);
				} else {
					/* One page moves away: 2 MiB no more. */
					assert_int_equal(gfn_update(g->vm, GFN(1024 + 3 * round), 1,
								    &(struct gfn_change){ .op = GFN_OP_MOVE }), 0);
					struct gfn_mapping map;

					assert_int_equal(gfn_peek(g->vm, GFN(1030), &map), 0);
					assert_int_equal(map.order, ORDER_4K);
				}
				rig_audit(&r);
			}
			rig_close(&r);
		}
}

/* host_thp: whole blocks where nothing stands in the way; and split by what forbids one. */
static void test_huge_backing(void **state)
{
	for (unsigned i = 0; rig_scheme_at(i); i++) {
		static const uint64_t va = UINT64_C(1) << 30;
		struct rig_config c = { .scheme = rig_scheme_at(i), .preset = "generic", .guest_pages = 4096 + 100 };
		struct rig r;
		struct rig_space s;
		struct gfn_mapping map;

		if (!strcmp(c.scheme, "native"))
			continue;
		rig_open(&r, &c);
		struct rig_vm *g = &r.g[0];

		rig_space_init(&s, g);
		rig_map(&s, va, 1024, ORDER_2M, RIG_RIGHTS);
		rig_map(&s, va + (4 << 21), 2048, 0, RIG_RIGHTS);
		rig_enter(&s);
		g->vm->host_thp = true;
		rig_leads_to(g, va + 0x7000, ACC_WRITE, 1031);
		assert_int_equal(gfn_peek(g->vm, GFN(1031), &map), 0);
		assert_int_equal(map.order, ORDER_2M);
		assert_true(is_aligned(rig_truth(g, 1024).v, GFN_BLOCK));
		/* A block of which some stands already, and one that is not whole, get small frames. */
		rig_peek(g, 600 << PAGE_SHIFT, 8);
		assert_int_equal(gfn_peek(g->vm, GFN(600), &map), 0);
		assert_int_equal(map.order, ORDER_2M);
		rig_peek(g, 100 << PAGE_SHIFT, 8);
		assert_int_equal(gfn_peek(g->vm, GFN(100), &map), 0);
		assert_int_equal(map.order, ORDER_4K);
		rig_peek(g, 4100 << PAGE_SHIFT, 8);
		assert_int_equal(gfn_peek(g->vm, GFN(4100), &map), 0);
		assert_int_equal(map.order, ORDER_4K);
		/* Write protection of one page splits; its end joins again: the run never went away. */
		assert_int_equal(gfn_update(g->vm, GFN(1040), 1, &(struct gfn_change){ .op = GFN_OP_WPROT }), 0);
		assert_int_equal(gfn_peek(g->vm, GFN(1031), &map), 0);
		assert_int_equal(map.order, ORDER_4K);
		assert_int_equal(map.rights, RIGHT_R | RIGHT_W | RIGHT_X);
		assert_int_equal(gfn_peek(g->vm, GFN(1040), &map), 0);
		assert_int_equal(map.rights, RIGHT_R | RIGHT_X);
		rig_leads_to(g, va + 0x7000, ACC_WRITE, 1031);
		rig_leads_to(g, va + 0x10000, ACC_READ, 1040);
		rig_audit(&r);
		assert_int_equal(gfn_update(g->vm, GFN(1040), 1, &(struct gfn_change){ .op = GFN_OP_UNWPROT }), 0);
		rig_leads_to(g, va + 0x8000, ACC_WRITE, 1032);
		rig_leads_to(g, va + 0x10000, ACC_WRITE, 1040);
		rig_audit(&r);
		/* A release of one ends it. */
		assert_int_equal(gfn_update(g->vm, GFN(1050), 1, &(struct gfn_change){ .op = GFN_OP_RELEASE }), 0);
		assert_int_equal(gfn_peek(g->vm, GFN(1031), &map), 0);
		assert_int_equal(map.order, ORDER_4K);
		rig_leads_to(g, va + 0x1a000, ACC_WRITE, 1050);
		rig_leads_to(g, va + 0x7000, ACC_WRITE, 1031);
		/* Under a dirty log every mapping is of one page. */
		vm_dirty_start(g->vm);
		rig_leads_to(g, va + (4 << 21), ACC_WRITE, 2048);
		assert_int_equal(gfn_peek(g->vm, GFN(2048), &map), 0);
		assert_int_equal(map.order, ORDER_4K);
		vm_dirty_stop(g->vm);
		rig_close(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_funnel_against_a_model),
		cmocka_unit_test(test_bad_requests),
		cmocka_unit_test(test_sharing_and_breaking_away),
		cmocka_unit_test(test_pinned_frames_are_not_shared),
		cmocka_unit_test(test_shared_guest_tables_stay_watched),
		cmocka_unit_test(test_moves_and_collapses_go_unseen),
		cmocka_unit_test(test_huge_backing),
	};

	return cmocka_run_group_tests_name("vm, per-gfn truth", tests, NULL, NULL);
}
