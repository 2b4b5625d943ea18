/* SPDX-License-Identifier: MIT */
/*
 * The funnel against a model: random changes to the per-gfn truth of two VMs
 * that share frames with one another, audited after each.
 */
#include "rig.h"
#include "vm/gfn.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_funnel_against_a_model),
		cmocka_unit_test(test_bad_requests),
	};

	return cmocka_run_group_tests_name("vm, per-gfn truth", tests, NULL, NULL);
}
