/* SPDX-License-Identifier: MIT */
/*
 * What an organisation keeps while an operation is under way, when it fails,
 * when its table is found again from its bytes, and when these are damaged.
 */
#include <stdio.h>
#include <stdlib.h>

#include "conform/pt_cases.h"

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

/* Applies the operation with its stores kept, and looks at the table after each. */
static bool history_of(struct conform *t, struct rig *r, const struct op *request, struct model *old)
{
	struct op op = *request;
	struct test_mem replica;
	struct pt view;
	bool ok = true;

	*old = r->model;
	test_mem_copy(&replica, &r->mem);
	rig_resolve(r, &op);
	history_begin(&r->mem);
	if (!rig_apply(r, &op))
		ok = pt_case_fails(t, r, &op, "");
	history_end(&r->mem);
	/* Long runs of stores are all of one kind: their ends, and one in so many, do. */
	size_t step = 1 + r->mem.nhistory / 40;
	for (size_t i = 0; i < r->mem.nhistory && ok; i++) {
		history_replay(&replica, &r->mem, i);
		if (i % step && i + 1 < r->mem.nhistory)
			continue;
		int rc = open_in(&view, r, &replica);
		if (rc || !all_old_or_new(&view, old, &r->model, &op) || replica.bad)
			ok = pt_case_fails(t, r, &op, rc ? "after some of its stores the table cannot be opened" :
					   "after some of its stores a page has neither its old nor its new frame");
	}
	test_mem_fini(&replica);
	return ok;
}

bool pt_case_update_history(struct conform *t, const struct rig_config *c, uint64_t seed)
{
	enum { OPS = 40 };
	struct model *old = malloc(sizeof(*old));
	struct rig *r = old ? pt_case_begin(t, c, seed) : NULL;
	bool ok = r != NULL;
	struct rng rng;

	rng_init(&rng, seed);
	for (unsigned k = 0; k < OPS && ok; k++) {
		struct op op = pt_case_op(c, &rng);

		conform_step(t, k);
		if (is_change(&op))
			ok = history_of(t, r, &op, old);
		else if (!rig_apply(r, &op))
			ok = pt_case_fails(t, r, &op, "");
	}
	free(old);
	return r && pt_case_end(t, r, ok);
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
static bool finish(struct conform *t, struct rig *r, const struct op *op, int rc, bool partial)
{
	bool ok;

	if (is_change(op))
		ok = (rig_apply_model(r, op) == rc || partial) && rig_check_all(r);
	else
		ok = rig_apply(r, op);
	return ok || pt_case_fails(t, r, op, "repeated after failures, it does not do what it would have done");
}

static const char *const failed[FAIL_KINDS] = { "allocation", "load", "store" };

/* Fails it at N = 0, 1, 2… until it succeeds; each failure leaves all as it was. */
static bool fail_each(struct conform *t, struct rig *r, const struct op *request, enum what_fails what)
{
	int error = what == FAIL_ALLOC ? -ENOMEM : -EAGAIN;
	struct op op = *request;
	uint64_t used = r->mem.frames_used, step = 1;
	bool partial = op.kind == OP_UNMAP_RANGE || op.kind == OP_DROP_SPACE;

	rig_resolve(r, &op);
	for (uint64_t nth = 0;; nth += step) {
		char text[160];

		/* The first loads one by one, then fewer of the many that scans make. */
		step = 1 + nth / 8;
		struct op attempt = op;
		arm(r, what, nth);
		int rc = rig_apply_table(r, &attempt);
		disarm(r);
		if (rc != error)
			return finish(t, r, &op, rc, partial);
		if (partial) {
			follow_partial(r);
			used = r->mem.frames_used;
		}
		snprintf(text, sizeof(text), "after its %s number %llu failed", failed[what], (unsigned long long)nth);
		if (!rig_check_audit(r) || !rig_check_all(r))
			return pt_case_fails(t, r, &op, text);
		if (r->mem.frames_used != used) {
			snprintf(text, sizeof(text), "after its %s number %llu failed the table holds %llu frames, before %llu",
				 failed[what], (unsigned long long)nth, (unsigned long long)r->mem.frames_used,
				 (unsigned long long)used);
			return pt_case_fails(t, r, &op, text);
		}
	}
}

static void without_flat(struct rig *r)
{
	for (unsigned i = 0; i < r->c->nspaces && r->has_flat; i++)
		pt_destroy(&r->flat[i]);
	r->has_flat = false;
}

static bool failures(struct conform *t, const struct rig_config *c, uint64_t seed, enum what_fails what)
{
	enum { OPS = 30 };
	struct rig *r = pt_case_begin(t, c, seed);
	bool ok = r != NULL;
	struct rng rng;

	if (!ok)
		return false;
	rng_init(&rng, seed);
	without_flat(r);
	for (unsigned k = 0; k < OPS && ok; k++) {
		struct op op = pt_case_op(c, &rng);

		conform_step(t, k);
		ok = fail_each(t, r, &op, what);
	}
	return pt_case_end(t, r, ok);
}

bool pt_case_failed_allocations(struct conform *t, const struct rig_config *c, uint64_t seed)
{
	return failures(t, c, seed, FAIL_ALLOC);
}

bool pt_case_failed_loads(struct conform *t, const struct rig_config *c, uint64_t seed)
{
	return failures(t, c, seed, FAIL_LOAD);
}

bool pt_case_failed_stores(struct conform *t, const struct rig_config *c, uint64_t seed)
{
	return failures(t, c, seed, FAIL_STORE);
}

/* One attempt to create whose nth allocation, load or store fails. *made: none did, it succeeded. */
static bool create_once(struct conform *t, const struct rig_config *c, enum what_fails what, uint64_t nth, bool *made)
{
	int want = what == FAIL_ALLOC ? -ENOMEM : -EAGAIN, rc;
	struct test_mem mem;
	bool ok = true;
	struct pt pt;

	test_mem_init(&mem, c->mem_frames);
	faultinj_arm(&mem.inj, what == FAIL_ALLOC ? FAULT_TABLE_ALLOC : FAULT_TABLE_LOAD,
		     what == FAIL_STORE ? UINT64_MAX : nth, false);
	mem.fail_store_at = what == FAIL_STORE ? nth : UINT64_MAX;
	rc = pt_create(&pt, c->org, c->flags, &c->params, &mem.m);
	*made = rc == 0;
	if (rc == 0)
		pt_destroy(&pt);
	if (rc && rc != want)
		ok = conform_fails(t, "create gives %d when its %s number %llu fails, expected %d", rc, failed[what],
				   (unsigned long long)nth, want);
	else if (mem.frames_used || mem.bad)
		ok = conform_fails(t, "create whose %s number %llu fails leaves %llu frames in use, and made %llu accesses outside of tables",
				   failed[what], (unsigned long long)nth, (unsigned long long)mem.frames_used,
				   (unsigned long long)mem.bad);
	test_mem_fini(&mem);
	return ok;
}

bool pt_case_failed_create(struct conform *t, const struct rig_config *c, uint64_t seed)
{
	char name[160];

	rig_config_name(c, name, sizeof(name));
	conform_begin(t, name, seed);
	for (int what = FAIL_ALLOC; what < FAIL_KINDS; what++) {
		bool made = false;

		for (uint64_t nth = 0; !made; nth++) {
			conform_step(t, nth);
			if (!create_once(t, c, (enum what_fails)what, nth, &made))
				return false;
		}
	}
	return true;
}

/* ---- the bytes alone are the table ---- */

static bool same_answer(struct pt *a, struct pt *b, struct pt_key key)
{
	struct pt_entry x, y;
	int rx = pt_find(a, key, &x), ry = pt_find(b, key, &y);

	return rx == ry && (rx || (x.frame == y.frame && x.order == y.order && x.rights == y.rights &&
				   x.key.page == y.key.page));
}

/* A table after some random operations. */
static struct rig *used_table(struct conform *t, const struct rig_config *c, uint64_t seed, struct rng *rng, bool *ok)
{
	enum { OPS = 200 };
	struct rig *r = pt_case_begin(t, c, seed);

	*ok = r != NULL;
	rng_init(rng, seed);
	for (unsigned k = 0; k < OPS && *ok; k++) {
		struct op op = pt_case_op(c, rng);

		conform_step(t, k);
		if (!rig_apply(r, &op))
			*ok = pt_case_fails(t, r, &op, "");
	}
	return r;
}

static bool answers_alike(struct conform *t, struct rig *r, struct pt *again, struct rng *rng)
{
	for (unsigned k = 0; k < 2000; k++) {
		struct op op = pt_case_op(r->c, rng);

		if (!same_answer(&r->pt, again, op.key))
			return conform_fails(t, "the table reopened answers otherwise for page %#llx", (unsigned long long)op.key.page);
	}
	for (unsigned k = 0; k < r->model.n; k++)
		if (!same_answer(&r->pt, again, r->model.e[k].key))
			return conform_fails(t, "the table reopened answers otherwise for page %#llx",
					     (unsigned long long)r->model.e[k].key.page);
	return true;
}

/* It is changed, audited and destroyed where it was reopened. */
static bool lives_on(struct conform *t, struct rig *r, struct pt *again, struct test_mem *copy)
{
	const char *why = "no reason given";
	int rc = 0;

	if (r->model.n)
		rc = again->org->unmap(again, r->model.e[0].key, r->model.e[0].order, NULL);
	if (rc)
		return conform_fails(t, "unmap in the table reopened gives %d, expected 0", rc);
	rc = again->org->audit(again, &why);
	if (rc)
		return conform_fails(t, "audit of the table reopened: %d, %s", rc, why);
	pt_destroy(again);
	return (copy->frames_used == 0 && copy->bad == 0) ||
	       conform_fails(t, "destroying the table reopened leaves %llu frames in use", (unsigned long long)copy->frames_used);
}

bool pt_case_reopened(struct conform *t, const struct rig_config *c, uint64_t seed)
{
	struct test_mem copy;
	struct pt again;
	struct rng rng;
	bool ok;
	struct rig *r = used_table(t, c, seed, &rng, &ok);

	if (!r)
		return false;
	if (!ok)
		return pt_case_end(t, r, ok);
	test_mem_copy(&copy, &r->mem);
	int rc = open_in(&again, r, &copy);
	if (rc)
		ok = conform_fails(t, "open of a copy of its bytes gives %d, expected 0", rc);
	else if (again.entries != r->pt.entries)
		ok = conform_fails(t, "open counts %llu entries, expected %llu", (unsigned long long)again.entries,
				   (unsigned long long)r->pt.entries);
	else
		ok = answers_alike(t, r, &again, &rng) && lives_on(t, r, &again, &copy);
	test_mem_fini(&copy);
	return pt_case_end(t, r, ok);
}

/* ---- damaged bytes ---- */

/* A guest may write anything into its own table; the walker's loads are then bounded still. */
enum { DAMAGES = 24, LOADS_OF_A_LOOKUP = 1 << 16, LOADS_OF_ALL = 1 << 22 };

static void damage(struct test_mem *m, struct rng *rng)
{
	uint64_t words = m->nframes * PAGE_SIZE / 8;

	for (unsigned n = 1 + (unsigned)rng_below(rng, 16); n > 0; n--) {
		uint64_t word = rng_below(rng, words), value = rng_next(rng), other = rng_below(rng, words);
		uint8_t *at = m->bytes + word * 8;

		if (m->order[word * 8 >> PAGE_SHIFT] == -1)
			continue;
		if (rng_below(rng, 2)) /* what stands elsewhere is more plausible than noise */
			memcpy(&value, m->bytes + other * 8, 8);
		if (rng_below(rng, 4) == 0)
			value = TEST_MEM_BASE + rng_below(rng, m->nframes) * PAGE_SIZE;
		memcpy(at, &value, 8);
	}
}

/* From here on the loads are counted, and end in -EAGAIN when they are too many. */
static void bound(struct test_mem *m, uint64_t loads)
{
	faultinj_arm(&m->inj, FAULT_TABLE_LOAD, loads, true);
}

static bool within_bounds(const struct test_mem *m)
{
	return m->inj.site[FAULT_TABLE_LOAD].failed == 0;
}

static bool ask_damaged(struct conform *t, const struct rig *r, struct test_mem *m, struct rng *rng)
{
	const char *why = "";
	struct pt_entry e;
	struct pt pt;

	bound(m, LOADS_OF_ALL);
	if (open_in(&pt, r, m))
		return within_bounds(m) || conform_fails(t, "open of damaged bytes makes more than %d loads", LOADS_OF_ALL);
	for (unsigned i = 0; i < 32; i++) {
		struct op op = pt_case_op(r->c, rng);

		bound(m, LOADS_OF_A_LOOKUP);
		(void)pt_find(&pt, op.key, &e);
		if (!within_bounds(m))
			return pt_case_fails(t, r, &op, "a lookup in damaged bytes makes more than 65536 loads");
		bound(m, LOADS_OF_ALL);
		(void)pt.org->next(&pt, op.key, &e);
		if (!within_bounds(m))
			return pt_case_fails(t, r, &op, "next in damaged bytes makes more than 4194304 loads");
	}
	bound(m, LOADS_OF_ALL);
	(void)pt.org->audit(&pt, &why);
	return within_bounds(m) || conform_fails(t, "audit of damaged bytes makes more than %d loads", LOADS_OF_ALL);
}

bool pt_case_hostile_bytes(struct conform *t, const struct rig_config *c, uint64_t seed)
{
	struct test_mem copy;
	struct rng rng;
	bool ok;
	struct rig *r = used_table(t, c, seed, &rng, &ok);

	if (!r)
		return false;
	for (unsigned k = 0; k < DAMAGES && ok; k++) {
		conform_step(t, k);
		test_mem_copy(&copy, &r->mem);
		damage(&copy, &rng);
		ok = ask_damaged(t, r, &copy, &rng);
		test_mem_fini(&copy);
	}
	return pt_case_end(t, r, ok);
}
