/* SPDX-License-Identifier: MIT */
/*
 * What an organisation answers: random operations against the model and
 * pt_flat, what it must refuse, its largest pages. A failing sequence is cut
 * down to what still fails.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/bug.h"
#include "conform/pt_cases.h"

enum { OPS = 320, CHECK_ALL_EVERY = 40 };

static struct rig *new_rig(void)
{
	struct rig *r = malloc(sizeof(*r));

	BUG_ON(!r);
	return r;
}

struct rig *pt_case_begin(struct conform *t, const struct rig_config *c, uint64_t seed)
{
	struct rig *r = new_rig();
	char name[160];

	rig_config_name(c, name, sizeof(name));
	conform_begin(t, name, seed);
	if (rig_init(r, c))
		return r;
	conform_fails(t, "%s", r->why);
	free(r);
	return NULL;
}

bool pt_case_end(struct conform *t, struct rig *r, bool ok)
{
	if (!ok) /* its bytes may be anything: they go without the organisation */
		rig_abandon(r);
	else if (!rig_fini(r))
		ok = conform_fails(t, "%s", r->why);
	free(r);
	return ok;
}

bool pt_case_fails(struct conform *t, const struct rig *r, const struct op *op, const char *what)
{
	char text[320];

	if (op) {
		op_print(op, text, sizeof(text));
		conform_add_step(t, text);
	}
	return conform_fails(t, "%s%s%s", what, what[0] && r->why[0] ? ": " : "", r->why);
}

struct op pt_case_op(const struct rig_config *c, struct rng *rng)
{
	uint64_t bits = rng_next(rng);

	return op_make(c, (const uint8_t *)&bits);
}

/* ---- random operations ---- */

/* How many operations went well; n if all and the end did. */
static unsigned run(struct conform *t, const struct rig_config *c, const struct op *ops, unsigned n, char *why, size_t size)
{
	struct rig *r = new_rig();
	unsigned i;
	bool ok = rig_init(r, c), made = ok;

	for (i = 0; i < n && ok; i++) {
		conform_step(t, i);
		ok = rig_apply(r, &ops[i]);
		if (ok && (i + 1 == n || i % CHECK_ALL_EVERY == 0))
			ok = rig_check_all(r);
	}
	if (ok)
		ok = rig_fini(r);
	else if (made)
		rig_abandon(r);
	snprintf(why, size, "%s", r->why);
	free(r);
	return ok ? n : i ? i - 1 : 0;
}

/* Drops operations, many at a time and then single ones, while the rest still fails. */
static unsigned shrink(struct conform *t, const struct rig_config *c, struct op *ops, unsigned n)
{
	struct op *fewer = malloc(n * sizeof(*fewer));
	char why[256];

	BUG_ON(!fewer);
	for (unsigned chunk = n / 2; chunk > 0; chunk /= 2) {
		for (unsigned at = 0; at + chunk <= n;) {
			memcpy(fewer, ops, at * sizeof(*ops));
			memcpy(fewer + at, ops + at + chunk, (n - at - chunk) * sizeof(*ops));
			if (run(t, c, fewer, n - chunk, why, sizeof(why)) == n - chunk) {
				at += chunk;
				continue;
			}
			n -= chunk;
			memcpy(ops, fewer, n * sizeof(*ops));
		}
	}
	free(fewer);
	return n;
}

static void tell(struct conform *t, const struct rig_config *c, struct op *ops, unsigned n)
{
	uint64_t step = n - 1;
	char text[320];

	n = shrink(t, c, ops, n);
	for (unsigned i = 0; i < n; i++) {
		op_print(&ops[i], text, sizeof(text));
		conform_add_step(t, text);
	}
	run(t, c, ops, n, text, sizeof(text));
	conform_fails(t, "%s", text);
	conform_step(t, step);
}

static bool random_operations(struct conform *t, const struct rig_config *c, uint64_t seed)
{
	struct op ops[OPS];
	struct rng rng;
	char name[160], why[256];
	unsigned good;

	rig_config_name(c, name, sizeof(name));
	conform_begin(t, name, seed);
	rng_init(&rng, seed);
	for (unsigned i = 0; i < OPS; i++)
		ops[i] = pt_case_op(c, &rng);
	good = run(t, c, ops, OPS, why, sizeof(why));
	if (good == OPS)
		return true;
	tell(t, c, ops, good + 1);
	return false;
}

/* ---- what a mapping cannot be is refused, and nothing changes ---- */

static bool gives(struct conform *t, const char *what, const struct pt_entry *e, int got, int want)
{
	if (got == want)
		return true;
	return conform_fails(t, "%s of page %#llx, order %u, frame %#llx gives %d, expected %d", what,
			     (unsigned long long)e->key.page, e->order, (unsigned long long)e->frame, got, want);
}

static bool refuses(struct conform *t, struct pt *pt, const struct pt_entry *e)
{
	return gives(t, "map", e, pt->org->map(pt, e), -EINVAL) &&
	       gives(t, "unmap", e, pt->org->unmap(pt, e->key, e->order, NULL), -ENOENT) &&
	       gives(t, "protect", e, pt->org->protect(pt, e->key, e->order, e->rights), -ENOENT);
}

static bool refusals(struct conform *t, const struct rig_config *c, uint64_t seed)
{
	uint8_t rights = c->rights[c->nrights - 1];
	struct pt_entry bad[] = {
		{ { 0, 0 }, 50, rights, c->params.frame_base },
		{ { 0, 1 }, 5, rights, c->params.frame_base }, /* no format has 128 KiB */
		{ { 0, BIT(51) }, 0, rights, c->params.frame_base }, /* in nobody's range, or in the gap */
	};
	struct rig *r = pt_case_begin(t, c, seed);
	bool ok = r != NULL;

	if (!ok)
		return false;
	if (c->params.fmt->va_bits - c->params.fmt->sign_extended == 63)
		bad[2].order = 63;
	if (c->params.fmt->sign_extended && !c->params.second_stage)
		bad[2].key.page = gpt_va_limit(c->params.fmt, false) >> PAGE_SHIFT;
	for (unsigned k = 0; k < ARRAY_SIZE(bad) && ok; k++)
		ok = refuses(t, &r->pt, &bad[k]);
	if (ok && c->orders != 1) {
		struct pt_entry skew = { { 0, 1 }, (uint8_t)log2_floor(c->orders), rights, c->params.frame_base };

		ok = gives(t, "map", &skew, r->pt.org->map(&r->pt, &skew), -EINVAL);
		skew.key.page = 0;
		skew.frame++;
		ok = ok && gives(t, "map", &skew, r->pt.org->map(&r->pt, &skew), -EINVAL);
	}
	if (ok && !rig_check_all(r))
		ok = pt_case_fails(t, r, NULL, "after what must be refused");
	return pt_case_end(t, r, ok);
}

/* ---- gigabyte pages: beyond what the random sequences' ranges hold ---- */

enum { HUGE = 18 };

static bool huge_steps(struct conform *t, struct pt *pt, uint8_t rights)
{
	const struct pt_org *org = pt->org;
	struct pt_entry huge = { { 1, BIT(HUGE) }, HUGE, rights, BIT(HUGE) };
	struct pt_entry small = { { 1, BIT(HUGE) + 513 }, 0, rights, 77 }, e;
	struct pt_entry last = { { 1, BIT(HUGE) * 2 - 1 } }, before = { { 1, BIT(HUGE) - 1 } };

	if (!gives(t, "map", &small, org->map(pt, &small), 0) || !gives(t, "map", &huge, org->map(pt, &huge), -EEXIST) ||
	    !gives(t, "unmap", &small, org->unmap(pt, small.key, 0, NULL), 0) ||
	    !gives(t, "map", &huge, org->map(pt, &huge), 0) || !gives(t, "map", &small, org->map(pt, &small), -EEXIST) ||
	    !gives(t, "find", &before, pt_find(pt, before.key, &e), -ENOENT) ||
	    !gives(t, "find", &last, pt_find(pt, last.key, &e), 0))
		return false;
	if (e.order != HUGE || e.frame != BIT(HUGE))
		return conform_fails(t, "find in a page of 1 GiB gives order %u frame %#llx", e.order, (unsigned long long)e.frame);
	if (pt_unmap_range(pt, 1, BIT(HUGE) + 5, BIT(HUGE) + 6) != 1 || pt->entries != 0)
		return conform_fails(t, "unmapping one page of 1 GiB by a range inside it leaves %llu entries",
				     (unsigned long long)pt->entries);
	return true;
}

static bool largest_page(struct conform *t, const struct rig_config *c, uint64_t seed)
{
	struct pt_params p = { .fmt = c->params.fmt, .second_stage = c->params.second_stage, .nframes = BIT(HUGE) * 2,
			       .npages = BIT(HUGE) * 2, .role = "test" };
	char name[160];
	struct test_mem mem;
	struct pt pt;
	bool ok = true;
	int rc;

	rig_config_name(c, name, sizeof(name));
	conform_begin(t, name, seed);
	if (!(gpt_leaf_orders(p.fmt) & BIT(HUGE)))
		return true;
	test_mem_init(&mem, 32768); /* tables by machine frame are large for so many */
	rc = pt_create(&pt, c->org, c->flags, &p, &mem.m);
	if (rc) {
		ok = conform_fails(t, "create gives %d, expected 0", rc);
	} else {
		ok = huge_steps(t, &pt, RIGHT_RWX | RIGHT_U | RIGHT_A | RIGHT_D);
		if (ok)
			pt_destroy(&pt);
		if (ok && (mem.frames_used || mem.bad))
			ok = conform_fails(t, "destroy leaves %llu frames in use, and there were %llu accesses outside of tables",
					   (unsigned long long)mem.frames_used, (unsigned long long)mem.bad);
	}
	test_mem_fini(&mem);
	return ok;
}

const struct org_case conform_org_cases[] = {
	{ "random-operations", "each operation as the flat table and a plain list have it", random_operations },
	{ "refusals", "what no mapping can be is refused, and nothing changes", refusals },
	{ "largest-page", "pages of 1 GiB", largest_page },
	{ "growth", "thousands of mappings come and go; each resize fails once, and is looked at half done", pt_case_growth },
	{ "update-history", "after each store of an operation, every page has its old or its new frame", pt_case_update_history },
	{ "failed-allocations", "the Nth allocation fails: nothing changed, nothing leaked", pt_case_failed_allocations },
	{ "failed-loads", "the Nth load gives -EAGAIN: nothing changed; repeated, it goes through", pt_case_failed_loads },
	{ "failed-stores", "the Nth store gives -EAGAIN: nothing changed; repeated, it goes through", pt_case_failed_stores },
	{ "failed-create", "creating fails at each allocation, load and store: nothing is left", pt_case_failed_create },
	{ "reopened", "its bytes alone, in another memory, are the table", pt_case_reopened },
	{ "hostile-bytes", "damaged bytes: every question ends, whatever the answer", pt_case_hostile_bytes },
	{ NULL },
};
