/* SPDX-License-Identifier: MIT */
/*
 * What every organisation keeps while an operation is under way, fails, or its
 * table is found again from its bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "rig.h"

static uint64_t seed = 77;
static struct rig_config configs[RIG_CONFIGS_MAX];
static unsigned nconfigs;

static struct op random_op(const struct rig_config *c, struct rng *rng)
{
	uint64_t bits = rng_next(rng);

	return op_make(c, (const uint8_t *)&bits);
}

static void explain(const struct rig *r, const struct op *op, const char *what)
{
	char text[256];

	rig_config_name(r->c, text, sizeof(text));
	print_error("%s, seed %llu: %s\n", text, (unsigned long long)seed, what);
	op_print(op, text, sizeof(text));
	print_error("  %s\n  %s\n", text, r->why);
}

static bool is_change(const struct op *op)
{
	return op->kind != OP_LOOKUP && op->kind != OP_NEXT;
}

/* The frame a page has in a model; INVALID_FRAME: none. */
static uint64_t frame_in(struct model *m, struct pt_key key)
{
	const struct pt_entry *e = model_find(m, key);

	return e ? e->frame + (key.page - e->key.page) : INVALID_FRAME;
}

/* A page as the table has it at this prefix is as before or as after. */
static bool is_old_or_new(struct pt *pt, struct model *old, struct model *new, struct pt_key key)
{
	struct pt_entry e;
	int rc = pt_find(pt, key, &e);
	uint64_t frame = rc ? INVALID_FRAME : e.frame + (key.page - e.key.page);

	if (rc && rc != -ENOENT)
		return false;
	return frame == frame_in(old, key) || frame == frame_in(new, key) ||
	       (frame == INVALID_FRAME && frame_in(old, key) != frame_in(new, key) &&
		(frame_in(old, key) == INVALID_FRAME || frame_in(new, key) == INVALID_FRAME));
}

/* Both ends and the middle of each mapping, and of what the operation names. */
static bool all_old_or_new(struct pt *pt, struct model *old, struct model *new, const struct op *op)
{
	struct model *both[2] = { old, new };
	uint64_t last = op->key.page + low_bits(op->order);
	bool ok = true;

	for (int k = 0; k < 2; k++)
		for (unsigned i = 0; i < both[k]->n && ok; i++) {
			struct pt_key key = both[k]->e[i].key;
			uint64_t within = low_bits(both[k]->e[i].order);

			ok = is_old_or_new(pt, old, new, key) &&
			     is_old_or_new(pt, old, new, (struct pt_key){ key.space, key.page + within / 2 }) &&
			     is_old_or_new(pt, old, new, (struct pt_key){ key.space, key.page + within });
		}
	return ok && is_old_or_new(pt, old, new, op->key) &&
	       is_old_or_new(pt, old, new, (struct pt_key){ op->key.space, last });
}

/* A view of the table in other memory. Its walkers' registers are read from the bytes. */
static int open_in(struct pt *view, const struct rig *r, struct test_mem *mem)
{
	return pt_open(view, r->c->org, r->c->flags, &r->c->params, &mem->m, r->pt.root);
}

static void check_history(struct rig *r, const struct op *request)
{
	static struct model old;
	struct op op = *request;
	struct test_mem replica;
	struct pt view;
	bool ok = true;

	old = r->model;
	test_mem_copy(&replica, &r->mem);
	rig_resolve(r, &op);
	history_begin(&r->mem);
	ok = rig_apply(r, &op);
	history_end(&r->mem);
	/* Long runs of stores are all of one kind: their ends, and one in so many, do. */
	size_t step = 1 + r->mem.nhistory / 40;
	for (size_t i = 0; i < r->mem.nhistory && ok; i++) {
		history_replay(&replica, &r->mem, i);
		if (i % step && i + 1 < r->mem.nhistory)
			continue;
		int rc = open_in(&view, r, &replica);
		ok = rc == 0 && all_old_or_new(&view, &old, &r->model, &op) && replica.bad == 0;
	}
	test_mem_fini(&replica);
	if (!ok) {
		explain(r, &op, "a prefix of its stores shows neither the old nor the new");
		fail();
	}
}

static void test_update_history(void **state)
{
	enum { OPS = 40 };
	struct rig *r = malloc(sizeof(*r));

	for (unsigned i = 0; i < nconfigs; i++) {
		struct rng rng;

		rng_init(&rng, seed + i);
		rig_init(r, &configs[i]);
		for (unsigned k = 0; k < OPS; k++) {
			struct op op = random_op(&configs[i], &rng);

			if (is_change(&op))
				check_history(r, &op);
			else
				assert_true(rig_apply(r, &op));
		}
		assert_true(rig_fini(r));
	}
	free(r);
}

enum what_fails { FAIL_ALLOC, FAIL_LOAD, FAIL_STORE, FAIL_KINDS };

static void arm(struct rig *r, enum what_fails what, uint64_t nth)
{
	if (what == FAIL_STORE)
		r->mem.fail_store_at = r->mem.stores_seen + nth;
	else
		faultinj_arm(&r->mem.inj, what == FAIL_ALLOC ? FAULT_TABLE_ALLOC : FAULT_TABLE_LOAD, nth, false);
}

static void disarm(struct rig *r)
{
	faultinj_init(&r->mem.inj);
	r->mem.fail_store_at = UINT64_MAX;
}

/* Mappings that a sequence of unmaps removed before it failed go from the model too. */
static void follow_partial(struct rig *r)
{
	struct model *m = &r->model;
	struct pt_entry e;

	for (unsigned i = m->n; i-- > 0;)
		if (pt_find(&r->pt, m->e[i].key, &e) == -ENOENT)
			m->e[i] = m->e[--m->n];
}

/* The attempt that went through: now the model does it too. */
static void finish(struct rig *r, const struct op *op, int rc, bool partial)
{
	bool ok;

	if (is_change(op))
		ok = (rig_apply_model(r, op) == rc || partial) && rig_check_all(r);
	else
		ok = rig_apply(r, op);
	if (!ok) {
		explain(r, op, "repeated after failures");
		fail();
	}
}

/* Fails it at N = 0, 1, 2… until it succeeds; each failure leaves all as it was. */
static void check_failures(struct rig *r, const struct op *request, enum what_fails what)
{
	int error = what == FAIL_ALLOC ? -ENOMEM : -EAGAIN;
	struct op op = *request;
	uint64_t used = r->mem.frames_used, step = 1;
	bool partial = op.kind == OP_UNMAP_RANGE || op.kind == OP_DROP_SPACE;

	rig_resolve(r, &op);
	for (uint64_t nth = 0;; nth += step) {
		/* The first loads one by one, then fewer of the many that scans make. */
		step = 1 + nth / 8;
		struct op attempt = op;
		arm(r, what, nth);
		int rc = rig_apply_table(r, &attempt);
		disarm(r);
		if (rc != error) {
			finish(r, &op, rc, partial);
			return;
		}
		if (partial) {
			follow_partial(r);
			used = r->mem.frames_used;
		}
		if (!rig_check_audit(r) || r->mem.frames_used != used || !rig_check_all(r)) {
			explain(r, &op, what == FAIL_ALLOC ? "an allocation that fails" :
					what == FAIL_LOAD ? "a load that fails" : "a store that fails");
			fail_msg("after failure %llu", (unsigned long long)nth);
		}
	}
}

static void without_flat(struct rig *r)
{
	for (unsigned i = 0; i < r->c->nspaces && r->has_flat; i++)
		pt_destroy(&r->flat[i]);
	r->has_flat = false;
}

static void check_all_failures(enum what_fails what)
{
	enum { OPS = 30 };
	struct rig *r = malloc(sizeof(*r));

	for (unsigned i = 0; i < nconfigs; i++) {
		struct rng rng;

		rng_init(&rng, seed + 1000u * what + i);
		rig_init(r, &configs[i]);
		without_flat(r);
		for (unsigned k = 0; k < OPS; k++) {
			struct op op = random_op(&configs[i], &rng);

			check_failures(r, &op, what);
		}
		assert_true(rig_fini(r));
	}
	free(r);
}

static void test_allocation_failures(void **state)
{
	check_all_failures(FAIL_ALLOC);
}

static void test_load_violations(void **state)
{
	check_all_failures(FAIL_LOAD);
}

static void test_store_violations(void **state)
{
	check_all_failures(FAIL_STORE);
}

/* Creating, too: whichever allocation or store fails, nothing is left. */
static void test_create_failures(void **state)
{
	for (unsigned i = 0; i < nconfigs; i++) {
		const struct rig_config *c = &configs[i];

		for (int what = FAIL_ALLOC; what < FAIL_KINDS; what++) {
			int rc = -1;

			for (uint64_t nth = 0; rc; nth++) {
				struct test_mem mem;
				struct pt pt;

				test_mem_init(&mem, c->mem_frames);
				faultinj_arm(&mem.inj, what == FAIL_ALLOC ? FAULT_TABLE_ALLOC : FAULT_TABLE_LOAD,
					     what == FAIL_STORE ? UINT64_MAX : nth, false);
				mem.fail_store_at = what == FAIL_STORE ? nth : UINT64_MAX;
				rc = pt_create(&pt, c->org, c->flags, &c->params, &mem.m);
				if (rc)
					assert_int_equal(rc, what == FAIL_ALLOC ? -ENOMEM : -EAGAIN);
				else
					pt_destroy(&pt);
				assert_int_equal(mem.frames_used, 0);
				assert_int_equal(mem.bad, 0);
				test_mem_fini(&mem);
			}
		}
	}
}

static bool same_answer(struct pt *a, struct pt *b, struct pt_key key)
{
	struct pt_entry x, y;
	int rx = pt_find(a, key, &x), ry = pt_find(b, key, &y);

	return rx == ry && (rx || (x.frame == y.frame && x.order == y.order && x.rights == y.rights &&
				   x.key.page == y.key.page));
}

/* The bytes alone, elsewhere, are the table: it answers, is changed and is destroyed there. */
static void test_reopened_from_bytes(void **state)
{
	enum { OPS = 200 };
	struct rig *r = malloc(sizeof(*r));

	for (unsigned i = 0; i < nconfigs; i++) {
		const struct rig_config *c = &configs[i];
		const char *why;
		struct test_mem copy;
		struct pt again;
		struct rng rng;

		rng_init(&rng, seed + i);
		rig_init(r, c);
		for (unsigned k = 0; k < OPS; k++) {
			struct op op = random_op(c, &rng);

			assert_true(rig_apply(r, &op));
		}
		test_mem_copy(&copy, &r->mem);
		assert_int_equal(open_in(&again, r, &copy), 0);
		assert_int_equal(again.entries, r->pt.entries);
		for (unsigned k = 0; k < 2000; k++) {
			struct op op = random_op(c, &rng);

			assert_true(same_answer(&r->pt, &again, op.key));
		}
		for (unsigned k = 0; k < r->model.n; k++)
			assert_true(same_answer(&r->pt, &again, r->model.e[k].key));
		if (r->model.n)
			assert_int_equal(c->org->unmap(&again, r->model.e[0].key, r->model.e[0].order, NULL), 0);
		assert_int_equal(c->org->audit(&again, &why), 0);
		pt_destroy(&again);
		assert_int_equal(copy.frames_used, 0);
		assert_int_equal(copy.bad, 0);
		test_mem_fini(&copy);
		assert_true(rig_fini(r));
	}
	free(r);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_update_history),
		cmocka_unit_test(test_allocation_failures),
		cmocka_unit_test(test_load_violations),
		cmocka_unit_test(test_store_violations),
		cmocka_unit_test(test_create_failures),
		cmocka_unit_test(test_reopened_from_bytes),
	};

	if (argc > 1)
		seed = strtoull(argv[1], NULL, 0);
	print_message("seed %llu\n", (unsigned long long)seed);
	nconfigs = rig_configs(configs, RIG_CONFIGS_MAX);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
