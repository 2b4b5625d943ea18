/* SPDX-License-Identifier: MIT */
/*
 * The buddy allocator against a map of who owns each frame. The allocator
 * merges fully, so "is there a block" has one right answer, found here by
 * looking at every place it could be.
 */
#include "testram.h"

jmp_buf testram_bug;

/* Types are mixed freely here: what kmem would say of its own is not asked. */
static void audit(const struct testram *t)
{
	const char *why = "";

	if (buddy_audit(&t->m, &why))
		fail_msg("audit: %s", why);
}

enum { FRAMES = 6000, PIECES = 900, STEPS = 12000 };

struct piece {
	uint64_t mfn, n;
	enum frame_type type;
};

struct model {
	struct testram t;
	uint8_t used[FRAMES];
	struct piece piece[PIECES];
	unsigned npieces;
	uint64_t nused;
	struct rng rng;
};

static uint64_t lowest_free_run(const struct model *md, uint64_t n, uint64_t align)
{
	for (uint64_t at = 0; at + n <= FRAMES; at += align) {
		uint64_t i = 0;

		while (i < n && !md->used[at + i])
			i++;
		if (i == n)
			return at;
	}
	return INVALID_FRAME;
}

static void model_take(struct model *md, uint64_t mfn, uint64_t n, enum frame_type type)
{
	for (uint64_t i = 0; i < n; i++) {
		const struct frame *f = &md->t.m.frames[mfn + i];

		assert_false(md->used[mfn + i]);
		md->used[mfn + i] = 1;
		assert_int_equal(f->type, type);
		assert_int_equal(f->owners | f->sptes | f->refs | f->priv | f->flags, 0);
	}
	md->nused += n;
	md->piece[md->npieces++] = (struct piece){ mfn, n, type };
}

static enum frame_type random_type(struct model *md)
{
	return (enum frame_type)(FRAME_META + rng_below(&md->rng, FRAME_TYPES - FRAME_META));
}

static void step_alloc(struct model *md)
{
	unsigned order = (unsigned)rng_below(&md->rng, rng_below(&md->rng, 12) + 1);
	enum frame_type type = random_type(md);
	bool has = buddy_has(&md->t.m, order);
	mfn_t mfn;
	int err = buddy_alloc(&md->t.m, order, type, &mfn);

	assert_int_equal(err, has ? 0 : -ENOMEM);
	if (err) {
		assert_int_equal(lowest_free_run(md, BIT(order), BIT(order)), INVALID_FRAME);
		return;
	}
	assert_true(is_aligned(mfn.v, BIT(order)));
	model_take(md, mfn.v, BIT(order), type);
}

static void step_alloc_run(struct model *md)
{
	uint64_t n = 1 + rng_below(&md->rng, 700);
	unsigned align_order = (unsigned)rng_below(&md->rng, 11);
	enum frame_type type = random_type(md);
	uint64_t expect = lowest_free_run(md, n, BIT(align_order));
	mfn_t mfn;
	int err = buddy_alloc_run(&md->t.m, n, align_order, type, &mfn);

	assert_int_equal(err, expect == INVALID_FRAME ? -ENOMEM : 0);
	if (err)
		return;
	assert_int_equal(mfn.v, expect);
	model_take(md, mfn.v, n, type);
}

/* All of a piece, or a part at one of its ends. */
static void step_free(struct model *md)
{
	if (!md->npieces)
		return;

	unsigned which = (unsigned)rng_below(&md->rng, md->npieces);
	struct piece *p = &md->piece[which];
	uint64_t n = rng_below(&md->rng, 3) ? p->n : 1 + rng_below(&md->rng, p->n);
	uint64_t first = rng_below(&md->rng, 2) ? p->mfn : p->mfn + p->n - n;

	buddy_free_run(&md->t.m, MFN(first), n);
	memset(&md->used[first], 0, n);
	md->nused -= n;
	if (first == p->mfn)
		p->mfn += n;
	p->n -= n;
	if (!p->n)
		*p = md->piece[--md->npieces];
}

static void test_random_against_map(void **state)
{
	static struct model md;

	for (uint64_t seed = 1; seed <= 4; seed++) {
		memset(&md, 0, sizeof(md));
		print_message("seed %u\n", (unsigned)seed);
		rng_init(&md.rng, seed);
		/* 6,000 frames to hand out, of which frame 0 never is; 48 for the table. */
		testram_open(&md.t, (FRAMES + 48) * PAGE_SIZE);
		assert_int_equal(md.t.m.first_table, FRAMES);
		md.used[0] = 1;
		for (unsigned i = 0; i < STEPS; i++) {
			/* Tides: mostly taking, then mostly giving back. */
			bool ebb = i / 1500 % 2;
			uint64_t roll = rng_below(&md.rng, 10);

			if (roll < (ebb ? 7u : 3u) || md.npieces == PIECES)
				step_free(&md);
			else if (roll < 9)
				step_alloc(&md);
			else
				step_alloc_run(&md);
			assert_int_equal(md.t.m.nfree, FRAMES - 1 - md.nused);
			if (i % 100 == 0)
				audit(&md.t);
		}
		while (md.npieces)
			step_free(&md);
		audit(&md.t);
		assert_int_equal(md.t.m.nfree, FRAMES - 1);
		testram_close(&md.t);
	}
}

/* Every frame once; again after all came back; a lone frame freed is the next one given. */
static void test_peer_frames_handed_out_twice(void **state)
{
	enum { N = 2048 };
	static uint8_t seen[N];
	static uint64_t order_of_birth[N];
	struct testram t;
	mfn_t mfn;

	testram_open(&t, N * PAGE_SIZE);
	for (int round = 0; round < 3; round++) {
		uint64_t n = 0, all = t.m.nfree;

		memset(seen, 0, sizeof(seen));
		while (!buddy_alloc(&t.m, ORDER_4K, FRAME_GUEST, &mfn)) {
			assert_true(mfn.v > 0 && mfn.v < t.m.first_table);
			assert_int_equal(seen[mfn.v]++, 0);
			order_of_birth[n++] = mfn.v;
		}
		assert_int_equal(n, all);
		for (int i = 0; i < 10; i++)
			assert_int_equal(buddy_alloc(&t.m, ORDER_4K, FRAME_GUEST, &mfn), -ENOMEM);
		assert_int_equal(t.m.nfree, 0);
		audit(&t);

		uint64_t lone = order_of_birth[n / 3];

		buddy_free(&t.m, MFN(lone), ORDER_4K);
		assert_int_equal(buddy_alloc(&t.m, 1, FRAME_GUEST, &mfn), -ENOMEM);
		assert_int_equal(buddy_alloc(&t.m, ORDER_4K, FRAME_TABLE, &mfn), 0);
		assert_int_equal(mfn.v, lone);
		buddy_free(&t.m, mfn, ORDER_4K);
		for (uint64_t i = 0; i < n; i++)
			if (order_of_birth[i] != lone)
				buddy_free(&t.m, MFN(order_of_birth[i]), ORDER_4K);
		assert_int_equal(t.m.nfree, all);
		audit(&t);
	}
	testram_close(&t);
}

static void test_same_calls_same_frames(void **state)
{
	struct testram a, b;
	mfn_t x, y;

	testram_open(&a, 64 << 20);
	testram_open(&b, 64 << 20);
	assert_int_not_equal((uintptr_t)a.m.ram, (uintptr_t)b.m.ram);
	for (uint64_t i = 0; i < 500; i++) {
		assert_int_equal(buddy_alloc(&a.m, i % 3, FRAME_GUEST, &x), 0);
		assert_int_equal(buddy_alloc(&b.m, i % 3, FRAME_GUEST, &y), 0);
		assert_int_equal(x.v, y.v);
	}
	testram_close(&a);
	testram_close(&b);
}

/* Runs span blocks of 1 GiB and begin where asked. */
static void test_run_over_several_gib(void **state)
{
	struct testram t;
	uint64_t gib = BIT(ORDER_1G), n = 2 * gib + 12345;
	mfn_t run, other;

	testram_open(&t, UINT64_C(5) << 30);
	uint64_t all = t.m.nfree;

	assert_int_equal(buddy_alloc_run(&t.m, n, ORDER_2M, FRAME_GUEST, &run), 0);
	assert_int_equal(run.v, 512); /* frame 0 is not to be had */
	assert_int_equal(buddy_alloc_run(&t.m, 3 * gib, 0, FRAME_GUEST, &other), -ENOMEM);
	assert_int_equal(buddy_alloc_run(&t.m, gib, ORDER_1G, FRAME_GUEST, &other), 0);
	assert_int_equal(other.v, 3 * gib);
	assert_int_equal(t.m.ntype[FRAME_GUEST], n + gib);
	buddy_free_run(&t.m, run, n);
	buddy_free_run(&t.m, other, gib);
	assert_int_equal(t.m.nfree, all);
	assert_int_equal(t.m.free_blocks[ORDER_MAX], 3);
	testram_close(&t);
}

static void test_failure_at_every_allocation(void **state)
{
	enum { CALLS = 24 };
	struct testram t;
	mfn_t got[CALLS];

	testram_open(&t, 4 << 20);
	uint64_t all = t.m.nfree;

	for (uint64_t nth = 0; nth <= CALLS; nth++) {
		unsigned done = 0;
		int err = 0;

		faultinj_arm(&t.inj, FAULT_FRAME_ALLOC, nth, false);
		for (; done < CALLS && !err; done += !err)
			err = done % 2 ? buddy_alloc_run(&t.m, done, 0, FRAME_META, &got[done]) :
					 buddy_alloc(&t.m, done % 5, FRAME_META, &got[done]);
		assert_int_equal(done, nth);
		assert_int_equal(err, nth < CALLS ? -ENOMEM : 0);
		assert_int_equal(t.inj.site[FAULT_FRAME_ALLOC].failed, nth < CALLS);
		while (done--)
			buddy_free_run(&t.m, got[done], done % 2 ? done : BIT(done % 5));
		assert_int_equal(t.m.nfree, all);
		faultinj_init(&t.inj);
		audit(&t);
	}
	testram_close(&t);
}

static void test_wrong_frees_are_bugs(void **state)
{
	struct testram t;
	mfn_t a, b;

	testram_open(&t, 4 << 20);
	assert_int_equal(buddy_alloc(&t.m, 2, FRAME_GUEST, &a), 0);
	assert_int_equal(buddy_alloc(&t.m, 0, FRAME_TABLE, &b), 0);
	assert_bug(buddy_free(&t.m, MFN(0), 0));
	assert_bug(buddy_free(&t.m, MFN(t.m.first_table), 0));
	assert_bug(buddy_free(&t.m, MFN(a.v + 1), 1)); /* not aligned */
	machine_frame(&t.m, a)->refs = 1;
	assert_bug(buddy_free(&t.m, a, 0));
	machine_frame(&t.m, a)->refs = 0;
	machine_frame(&t.m, a)->flags |= FRAME_PINNED;
	assert_bug(buddy_free(&t.m, a, 0));
	machine_frame(&t.m, a)->flags = FRAME_TRACKED;
	buddy_free(&t.m, a, 2);
	assert_bug(buddy_free(&t.m, a, 2));
	assert_bug(buddy_free(&t.m, MFN(a.v + 3), 0));
	buddy_free(&t.m, b, 0);
	assert_bug(buddy_free(&t.m, b, 0));
	audit(&t);
	testram_close(&t);
}

/* The audit must find what it is there for. */
static void test_audit_finds_damage(void **state)
{
	struct testram t;
	const char *why = NULL;
	mfn_t a;

	testram_open(&t, 4 << 20);
	assert_int_equal(buddy_alloc(&t.m, 0, FRAME_GUEST, &a), 0);
	struct frame *f = machine_frame(&t.m, a);
	struct frame *head = &t.m.frames[t.m.free_head[3]];

	f->type = FRAME_FREE;
	assert_int_equal(buddy_audit(&t.m, &why), -EINVAL);
	f->type = FRAME_TABLE;
	assert_int_equal(buddy_audit(&t.m, &why), -EINVAL);
	f->type = FRAME_GUEST;
	head->sptes = 2;
	assert_int_equal(buddy_audit(&t.m, &why), -EINVAL);
	head->sptes = 0;
	head->flags &= (uint16_t)~FRAME_HEAD;
	assert_int_equal(buddy_audit(&t.m, &why), -EINVAL);
	head->flags |= FRAME_HEAD;
	head[1].type = FRAME_GUEST;
	assert_int_equal(buddy_audit(&t.m, &why), -EINVAL);
	head[1].type = FRAME_FREE;
	t.m.nfree++;
	assert_int_equal(buddy_audit(&t.m, &why), -EINVAL);
	t.m.nfree--;
	audit(&t);
	testram_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_against_map),
		cmocka_unit_test(test_peer_frames_handed_out_twice),
		cmocka_unit_test(test_same_calls_same_frames),
		cmocka_unit_test(test_run_over_several_gib),
		cmocka_unit_test(test_failure_at_every_allocation),
		cmocka_unit_test(test_wrong_frees_are_bugs),
		cmocka_unit_test(test_audit_finds_damage),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
