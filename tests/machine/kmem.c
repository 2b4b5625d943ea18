/* SPDX-License-Identifier: MIT */
#include "testram.h"

jmp_buf testram_bug;

enum { OBJECTS = 600, STEPS = 40000 };

struct object {
	uint8_t *p;
	size_t size;
	uint8_t mark;
};

struct model {
	struct testram t;
	struct object object[OBJECTS];
	unsigned n;
	struct rng rng;
};

static size_t random_size(struct rng *rng)
{
	uint64_t roll = rng_below(rng, 100);

	if (roll < 50)
		return 64;
	return 1 + rng_below(rng, roll < 90 ? 2048 : roll < 99 ? 9000 : 70000);
}

static bool is_filled(const uint8_t *p, size_t size, uint8_t byte)
{
	for (size_t i = 0; i < size; i++)
		if (p[i] != byte)
			return false;
	return true;
}

static size_t alignment_of(size_t size)
{
	size_t align = 32;

	while (align < size && align < PAGE_SIZE)
		align *= 2;
	return align;
}

static void step_alloc(struct model *md)
{
	size_t size = random_size(&md->rng);
	uint8_t *p = kmem_alloc(&md->t.m, size);
	uint8_t mark = (uint8_t)(1 + rng_below(&md->rng, 255));

	if (!p)
		return;
	assert_true(is_filled(p, size, 0));
	assert_true(is_aligned((uint64_t)(p - md->t.m.ram), alignment_of(size)));
	memset(p, mark, size);
	md->object[md->n++] = (struct object){ p, size, mark };
}

static void step_free(struct model *md)
{
	if (!md->n)
		return;

	struct object *o = &md->object[rng_below(&md->rng, md->n)];

	/* Had anyone else been given these bytes, they would bear his mark. */
	assert_true(is_filled(o->p, o->size, o->mark));
	kmem_free(&md->t.m, o->p, o->size);
	*o = md->object[--md->n];
}

/* Half of memory's failures are injected; what is reserved comes all the same. */
static void step_reserved(struct model *md)
{
	unsigned n = (unsigned)(1 + rng_below(&md->rng, 30));
	size_t size = 1 + rng_below(&md->rng, 2048);

	faultinj_arm(&md->t.inj, FAULT_META_ALLOC, rng_below(&md->rng, 2), true);
	if (!kmem_reserve(&md->t.m, size, n) && md->n + n <= OBJECTS) {
		for (unsigned i = 0; i < n; i++) {
			uint8_t *p = kmem_alloc(&md->t.m, size);

			assert_non_null(p);
			assert_true(is_filled(p, size, 0));
			memset(p, 0x77, size);
			md->object[md->n++] = (struct object){ p, size, 0x77 };
		}
	}
	faultinj_init(&md->t.inj);
}

static void test_random_against_model(void **state)
{
	static struct model md;

	for (uint64_t seed = 1; seed <= 2; seed++) {
		print_message("seed %u\n", (unsigned)seed);
		memset(&md, 0, sizeof(md));
		rng_init(&md.rng, seed);
		testram_open(&md.t, 2 << 20); /* small enough to run out now and then */
		uint64_t all = md.t.m.nfree;

		for (unsigned i = 0; i < STEPS; i++) {
			uint64_t roll = rng_below(&md.rng, 100);

			if (roll < 2)
				step_reserved(&md);
			else if (roll < (i / 2000 % 2 ? 60u : 40u) || md.n == OBJECTS)
				step_free(&md);
			else
				step_alloc(&md);
			if (i % 200 == 0)
				testram_audit(&md.t);
		}
		while (md.n)
			step_free(&md);
		for (size_t size = 32; size <= 2048; size *= 2)
			assert_int_equal(kmem_reserve(&md.t.m, size, 0), 0);
		testram_audit(&md.t);
		assert_int_equal(md.t.m.ntype[FRAME_META], 0);
		assert_int_equal(md.t.m.nfree, all);
		testram_close(&md.t);
	}
}

static void test_frames_come_back(void **state)
{
	struct testram t;
	void *p[200];

	testram_open(&t, 1 << 20);
	for (int i = 0; i < 200; i++)
		p[i] = kmem_alloc(&t.m, 64);
	assert_int_equal(t.m.ntype[FRAME_META], 4);
	assert_int_equal(t.m.kmem[1].used, 200);
	for (int i = 0; i < 200; i++)
		kmem_free(&t.m, p[i], 64);
	assert_int_equal(t.m.ntype[FRAME_META], 0);
	testram_close(&t);
}

/* A promise outlives the frees of others, and RAM running out. */
static void test_reserve_holds(void **state)
{
	struct testram t;
	mfn_t mfn;
	void *p[130], *other;

	testram_open(&t, 1 << 20);
	other = kmem_alloc(&t.m, 64);
	assert_int_equal(kmem_reserve(&t.m, 64, 130), 0);
	kmem_free(&t.m, other, 64);
	while (!buddy_alloc(&t.m, 0, FRAME_GUEST, &mfn))
		;
	faultinj_arm(&t.inj, FAULT_META_ALLOC, 0, true);
	faultinj_arm(&t.inj, FAULT_FRAME_ALLOC, 0, true);
	for (int i = 0; i < 130; i++) {
		p[i] = kmem_alloc(&t.m, 40);
		assert_non_null(p[i]);
	}
	assert_null(kmem_alloc(&t.m, 40));
	faultinj_init(&t.inj);
	assert_int_equal(kmem_reserve(&t.m, 64, 1000), -ENOMEM);
	for (int i = 0; i < 130; i++)
		kmem_free(&t.m, p[i], 40);
	testram_audit(&t);
	assert_int_equal(t.m.ntype[FRAME_META], 0);
	testram_close(&t);
}

/* A reserve that fails leaves no frame behind, wherever memory ends. */
static void test_reserve_fails_clean(void **state)
{
	struct testram t;
	mfn_t mfn;

	testram_open(&t, 1 << 20);
	for (unsigned spare = 0; spare <= 4; spare++) {
		mfn_t taken[256];
		unsigned n = 0;

		while (t.m.nfree > spare && !buddy_alloc(&t.m, 0, FRAME_GUEST, &mfn))
			taken[n++] = mfn;
		assert_int_equal(kmem_reserve(&t.m, 2048, 7), spare < 4 ? -ENOMEM : 0);
		assert_int_equal(t.m.nfree, spare < 4 ? spare : 0);
		assert_int_equal(kmem_reserve(&t.m, 2048, 0), 0);
		assert_int_equal(t.m.nfree, spare);
		while (n)
			buddy_free(&t.m, taken[--n], 0);
		testram_audit(&t);
	}
	faultinj_arm(&t.inj, FAULT_META_ALLOC, 0, false);
	assert_int_equal(kmem_reserve(&t.m, 64, 1), -ENOMEM);
	assert_int_equal(kmem_reserve(&t.m, 64, 1), 0);
	testram_close(&t);
}

/* More than a buddy block, exactly as many frames as it fills, and sparse. */
static void test_large(void **state)
{
	struct testram t;
	size_t sizes[] = { 2049, 4096, 4097, 3 * 4096, (5 << 20) + 1, ((size_t)1 << 30) + 4096 };

	testram_open(&t, UINT64_C(4) << 30);
	uint64_t all = t.m.nfree;

	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		uint8_t *p = kmem_alloc(&t.m, sizes[i]);

		assert_non_null(p);
		assert_int_equal(t.m.kmem_large_frames, (sizes[i] + 4095) / 4096);
		assert_int_equal(t.m.nfree, all - t.m.kmem_large_frames);
		assert_int_equal(p[0] | p[sizes[i] - 1], 0);
		p[0] = p[sizes[i] - 1] = 9;
		if (sizes[i] < 1 << 20)
			testram_audit(&t);
		kmem_free(&t.m, p, sizes[i]);
		assert_int_equal(t.m.nfree, all);
	}
	assert_null(kmem_alloc(&t.m, SIZE_MAX));
	assert_null(kmem_alloc(&t.m, (size_t)4 << 30));
	testram_close(&t);
}

static void test_wrong_frees_are_bugs(void **state)
{
	struct testram t;
	mfn_t guest;

	testram_open(&t, 1 << 20);
	uint8_t *a = kmem_alloc(&t.m, 64), *b = kmem_alloc(&t.m, 64);

	assert_int_equal(buddy_alloc(&t.m, 0, FRAME_GUEST, &guest), 0);
	assert_bug(kmem_free(&t.m, a, 128));
	assert_bug(kmem_free(&t.m, a + 8, 64));
	assert_bug(kmem_free(&t.m, a + 64 * 20, 64)); /* never handed out */
	assert_bug(kmem_free(&t.m, machine_ptr(&t.m, mfn_to_hpa(guest)), 64));
	kmem_free(&t.m, a, 64);
#ifdef QUIRE_DEBUG
	assert_bug(kmem_free(&t.m, a, 64));
#endif
	kmem_free(&t.m, b, 64);
	assert_bug(kmem_free(&t.m, b, 64)); /* its frame went back */
	testram_audit(&t);
	testram_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_against_model), cmocka_unit_test(test_frames_come_back),
		cmocka_unit_test(test_reserve_holds),	     cmocka_unit_test(test_reserve_fails_clean),
		cmocka_unit_test(test_large),		     cmocka_unit_test(test_wrong_frees_are_bugs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
