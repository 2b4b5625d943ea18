/* SPDX-License-Identifier: MIT */
#include "conform/pt_rig.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/bug.h"

enum { REGION_PAGES = 2048, FRAMES = 2048, FRAME_BASE = 4096, SHARED_FRAMES = 16,
       ANCHORS = 16 /* few, for chains of several */ };

static bool differs(struct rig *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool differs(struct rig *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (!r->why[0])
		vsnprintf(r->why, sizeof(r->why), fmt, ap);
	va_end(ap);
	return false;
}

/* Ranges at every edge of the addresses that the format has. */
static void choose_regions(struct rig_config *c)
{
	const struct gpt_format *fmt = c->params.fmt;
	bool ss = c->params.second_stage;
	uint64_t limit = gpt_va_limit(fmt, ss) >> PAGE_SHIFT, top = BIT(64 - PAGE_SHIFT);

	c->region_pages = MIN(limit, (uint64_t)REGION_PAGES);
	c->region[0] = 0;
	c->nregions = 1;
	if (!c->org->sparse_keys || limit == c->region_pages)
		return;
	c->region[c->nregions++] = limit - c->region_pages;
	if (!fmt->sign_extended || ss)
		return;
	c->region[c->nregions++] = top - limit;
	c->region[c->nregions++] = top - c->region_pages;
}

bool rig_config_init(struct rig_config *c, const struct pt_org *org, uint32_t flags,
		     const struct gpt_format *fmt, bool second_stage)
{
	uint64_t limit = gpt_va_limit(fmt, second_stage) >> PAGE_SHIFT;

	*c = (struct rig_config){
		.org = org, .flags = flags, .nspaces = org->per_machine ? RIG_SPACES : 1,
		.mem_frames = 1024,
		.params = { .fmt = fmt, .second_stage = second_stage, .nframes = FRAMES,
			    .frame_base = FRAME_BASE, .anchors = ANCHORS, .npages = MIN(limit, (uint64_t)REGION_PAGES), .role = "test" },
	};
	choose_regions(c);
	for (unsigned order = 0; order < 52; order++)
		if ((gpt_leaf_orders(fmt) & BIT(order)) && BIT(order) <= c->region_pages && BIT(order) <= FRAMES)
			c->orders |= BIT(order);
	for (unsigned rights = 0; rights <= RIGHT_ALL; rights++)
		if (gpt_can_express(fmt, (uint8_t)rights) && (!second_stage || (rights & RIGHT_U)))
			c->rights[c->nrights++] = (uint8_t)rights;
	return c->nrights > 0;
}

unsigned rig_configs_of(const struct pt_org *org, struct rig_config *out, unsigned max)
{
	unsigned n = 0, options = 0;

	while (options < PT_OPTIONS_MAX && org->options[options])
		options++;
	for (uint32_t flags = 0; flags < BIT(options); flags++)
		for (const struct gpt_format *const *f = gpt_builtin; *f; f++)
			for (int stage = 0; stage < 2; stage++) {
				BUG_ON(n == max);
				n += rig_config_init(&out[n], org, flags, *f, stage);
			}
	return n;
}

unsigned rig_configs(struct rig_config *out, unsigned max)
{
	const struct pt_org *org;
	unsigned n = 0;

	for (unsigned i = 0; (org = pt_org_at(i)) != NULL; i++)
		n += rig_configs_of(org, out + n, max - n);
	return n;
}

void rig_config_name(const struct rig_config *c, char *s, size_t n)
{
	size_t len = (size_t)snprintf(s, n, "%s", c->org->name);

	for (int i = 0; i < PT_OPTIONS_MAX && c->org->options[i]; i++)
		if ((c->flags & BIT(i)) && len < n)
			len += (size_t)snprintf(s + len, n - len, "+%s", c->org->options[i]);
	if (len < n)
		snprintf(s + len, n - len, ", %s, %s stage", c->params.fmt->name,
			 c->params.second_stage ? "second" : "first");
}

bool rig_init(struct rig *r, const struct rig_config *c)
{
	const struct pt_org *flat = pt_org_find("flat", 4);
	int rc;

	r->c = c;
	r->model.n = 0;
	r->why[0] = 0;
	r->has_flat = c->org != flat;
	test_mem_init(&r->mem, c->mem_frames);
	test_mem_init(&r->flat_mem, 64);
	rc = pt_create(&r->pt, c->org, c->flags, &c->params, &r->mem.m);
	if (rc) {
		test_mem_fini(&r->mem);
		test_mem_fini(&r->flat_mem);
		return differs(r, "create gives %d, expected 0", rc);
	}
	for (unsigned i = 0; i < c->nspaces && r->has_flat; i++)
		BUG_ON(pt_create(&r->flat[i], flat, 0, &c->params, &r->flat_mem.m));
	return true;
}

bool rig_fini(struct rig *r)
{
	pt_destroy(&r->pt);
	for (unsigned i = 0; i < r->c->nspaces && r->has_flat; i++)
		pt_destroy(&r->flat[i]);
	if (r->mem.frames_used || r->flat_mem.frames_used)
		differs(r, "destroy leaves %llu frames in use", (unsigned long long)r->mem.frames_used);
	if (r->mem.bad)
		differs(r, "%llu accesses outside of tables", (unsigned long long)r->mem.bad);
	test_mem_fini(&r->mem);
	test_mem_fini(&r->flat_mem);
	return !r->why[0];
}

void rig_abandon(struct rig *r)
{
	test_mem_fini(&r->mem);
	test_mem_fini(&r->flat_mem);
}

/* The n-th set bit, modulo how many there are. */
static unsigned pick_order(uint64_t orders, unsigned n)
{
	for (n %= (unsigned)__builtin_popcountll(orders); n > 0; n--)
		orders &= orders - 1;
	return (unsigned)__builtin_ctzll(orders);
}

struct op op_make(const struct rig_config *c, const uint8_t b[OP_BYTES])
{
	static const uint8_t kinds[16] = {
		OP_MAP, OP_MAP, OP_MAP, OP_MAP, OP_MAP, OP_MAP, OP_UNMAP, OP_UNMAP,
		OP_PROTECT, OP_PROTECT, OP_LOOKUP, OP_LOOKUP, OP_LOOKUP, OP_NEXT, OP_UNMAP_RANGE, OP_DROP_SPACE,
	};
	struct op op = { .kind = kinds[b[0] & 15], .pick = -1 };
	uint64_t quarter = c->region_pages / 4;
	/* Pages crowd at the start and the end of each quarter of a region. */
	uint64_t page = (b[2] >> 4 & 3) * quarter + (b[2] & 8 ? quarter - 8 : 0) + (b[2] & 7);
	uint64_t near = b[6] & 1 ? SHARED_FRAMES : c->params.nframes;

	op.order = (uint8_t)(b[1] & 0xc0 ? pick_order(c->orders, 0) : pick_order(c->orders, b[1] >> 4));
	op.key.space = (b[1] & 15) % c->nspaces;
	op.key.page = align_down(c->region[(b[2] >> 6) % c->nregions] + page % c->region_pages, BIT(op.order));
	op.end = op.key.page + 1 + (b[3] & 0x80 ? b[3] * 8u : b[3] & 31);
	op.frame = c->params.frame_base + align_down((b[5] | b[6] << 8) % near, BIT(op.order));
	op.rights = c->rights[b[4] % c->nrights];
	op.acc = (enum acc_kind)(b[7] % 3);
	op.user = b[7] & 0x80;
	op.ad = (enum walk_ad)((b[7] >> 4 & 7) % 3);
	op.ctl = CTL_DEFAULT ^ ((b[4] & 1 ? CTL_WP : 0) | (b[4] & 2 ? CTL_SMEP : 0) | (b[4] & 4 ? CTL_SMAP : 0) |
				(b[4] & 8 ? CTL_MXR : 0) | (b[4] & 16 ? CTL_PGE : 0));
	if (op.kind >= OP_UNMAP && op.kind <= OP_LOOKUP && (b[0] & 0x30))
		op.pick = b[3];
	if (op.kind == OP_DROP_SPACE && (b[0] & 0xf0))
		op.kind = OP_LOOKUP;
	return op;
}

void op_print(const struct op *op, char *s, size_t n)
{
	static const char *const name[] = { "map", "unmap", "protect", "lookup", "next", "unmap_range", "drop_space" };

	snprintf(s, n, "%s space %u page %#llx order %u rights %#x frame %#llx end %#llx pick %d acc %d ad %d user %d ctl %#x",
		 name[op->kind], op->key.space, (unsigned long long)op->key.page, op->order, op->rights,
		 (unsigned long long)op->frame, (unsigned long long)op->end, op->pick, op->acc, op->ad, op->user, op->ctl);
}

void rig_resolve(const struct rig *r, struct op *op)
{
	if (op->pick >= 0 && r->model.n) {
		const struct pt_entry *e = &r->model.e[(unsigned)op->pick % r->model.n];
		uint64_t within = op->kind == OP_LOOKUP ? (unsigned)op->pick * 77u & low_bits(e->order) : 0;

		op->key = (struct pt_key){ e->key.space, e->key.page + within };
		op->order = e->order;
	}
	op->pick = -1;
}

static bool covers(const struct pt_entry *e, struct pt_key key)
{
	return e->key.space == key.space && key.page >= e->key.page && key.page - e->key.page < BIT(e->order);
}

struct pt_entry *model_find(struct model *m, struct pt_key key)
{
	for (unsigned i = 0; i < m->n; i++)
		if (covers(&m->e[i], key))
			return &m->e[i];
	return NULL;
}

static struct pt_entry *model_exact(struct model *m, struct pt_key key, unsigned order)
{
	struct pt_entry *e = model_find(m, key);

	return e && e->order == order && e->key.page == key.page ? e : NULL;
}

static void model_remove(struct model *m, struct pt_entry *e)
{
	*e = m->e[--m->n];
}

static int model_map(struct model *m, const struct op *op)
{
	struct pt_entry *e = model_exact(m, op->key, op->order);
	struct pt_entry new = { op->key, op->order, op->rights, op->frame };

	if (e) {
		*e = new;
		return 0;
	}
	for (unsigned i = 0; i < m->n; i++) {
		struct pt_key first = { op->key.space, op->key.page };

		if (covers(&m->e[i], first) || (m->e[i].key.space == op->key.space &&
						m->e[i].key.page - op->key.page < BIT(op->order)))
			return -EEXIST;
	}
	BUG_ON(m->n == MODEL_MAX);
	m->e[m->n++] = new;
	return 0;
}

static int model_unmap_range(struct model *m, uint32_t space, uint64_t start, uint64_t end)
{
	int removed = 0;

	for (unsigned i = m->n; i-- > 0;) {
		struct pt_entry *e = &m->e[i];

		if (e->key.space != space || e->key.page >= end || e->key.page + low_bits(e->order) < start)
			continue;
		model_remove(m, e);
		removed++;
	}
	return removed;
}

static const struct pt_entry *model_next(const struct model *m, struct pt_key from)
{
	const struct pt_entry *best = NULL;

	for (unsigned i = 0; i < m->n; i++) {
		const struct pt_entry *e = &m->e[i];

		if (e->key.space == from.space && e->key.page + low_bits(e->order) >= from.page &&
		    (!best || e->key.page < best->key.page))
			best = e;
	}
	return best;
}

int rig_apply_model(struct rig *r, const struct op *op)
{
	struct model *m = &r->model;
	struct pt_entry *e = model_exact(m, op->key, op->order);

	switch (op->kind) {
	case OP_MAP:
		return model_map(m, op);
	case OP_UNMAP:
		if (e)
			model_remove(m, e);
		return e ? 0 : -ENOENT;
	case OP_PROTECT:
		if (e)
			e->rights = op->rights;
		return e ? 0 : -ENOENT;
	case OP_UNMAP_RANGE:
		return model_unmap_range(m, op->key.space, op->key.page, op->end);
	case OP_DROP_SPACE:
		model_unmap_range(m, op->key.space, 0, UINT64_MAX);
		return 0;
	default:
		return 0;
	}
}

static struct walk_req make_req(const struct rig *r, const struct op *op)
{
	return (struct walk_req){ .va = op->key.page << PAGE_SHIFT | 0x123, .space = op->key.space,
				  .kind = op->acc, .user = op->user, .ctl = op->ctl, .ad = op->ad,
				  .second_stage = r->c->params.second_stage, .start_level = -1 };
}

static int apply_to(struct rig *r, struct pt *pt, const struct op *op)
{
	struct pt_entry e = { op->key, op->order, op->rights, op->frame };
	struct walk_req req = make_req(r, op);
	struct walk w;

	switch (op->kind) {
	case OP_MAP:
		return pt->org->map(pt, &e);
	case OP_UNMAP:
		return pt->org->unmap(pt, op->key, op->order, NULL);
	case OP_PROTECT:
		return pt->org->protect(pt, op->key, op->order, op->rights);
	case OP_UNMAP_RANGE:
		return (int)pt_unmap_range(pt, op->key.space, op->key.page, op->end);
	case OP_DROP_SPACE:
		return pt->org->drop_space(pt, op->key.space);
	case OP_LOOKUP:
		pt->org->lookup(pt, &req, &w);
		return w.status == WALK_VIOLATION ? -EAGAIN : 0;
	case OP_NEXT: {
		int rc = pt->org->next(pt, op->key, &e);
		return rc == -ENOENT ? 0 : rc;
	}
	}
	return -EINVAL;
}

int rig_apply_table(struct rig *r, struct op *op)
{
	rig_resolve(r, op);
	return apply_to(r, &r->pt, op);
}

/* What a walk must say, from the model; sets A and D there. */
static void expect_walk(struct rig *r, const struct op *op, struct walk *w)
{
	const struct gpt_format *fmt = r->c->params.fmt;
	bool ss = r->c->params.second_stage, riscv = fmt->family == GPT_RISCV;
	struct pt_entry *e = model_find(&r->model, op->key);
	uint8_t set = (fmt->accessed ? RIGHT_A : 0) | (op->acc == ACC_WRITE && fmt->dirty ? RIGHT_D : 0);

	*w = (struct walk){ .status = WALK_FAULT, .why = WALK_WHY_NOT_PRESENT };
	if (!e)
		return;
	w->why = walk_check(e->rights, op->acc, op->user || ss, op->ctl, riscv);
	if (!w->why && op->ad == WALK_AD_FAULT && (set & ~e->rights))
		w->why = WALK_WHY_ACCESSED;
	if (w->why)
		return;
	if (op->ad == WALK_AD_SET)
		e->rights |= set;
	w->status = WALK_OK;
	w->frame = e->frame + (op->key.page - e->key.page);
	w->order = e->order;
	w->rights = e->rights & (ss || (!riscv && !(op->ctl & CTL_PGE)) ? ~RIGHT_G : RIGHT_ALL);
}

static bool same_walk(struct rig *r, const char *who, const struct walk *got, const struct walk *want)
{
	if (got->status != want->status || got->why != want->why)
		return differs(r, "%s: walk gives status %d (%s), expected %d (%s)", who, got->status,
			       walk_why_name(got->why), want->status, walk_why_name(want->why));
	if (got->status == WALK_OK &&
	    (got->frame != want->frame || got->order != want->order || got->rights != want->rights))
		return differs(r, "%s: walk gives frame %#llx order %u rights %#x, expected %#llx %u %#x", who,
			       (unsigned long long)got->frame, got->order, got->rights,
			       (unsigned long long)want->frame, want->order, want->rights);
	return true;
}

/* Can the flat table beside hold this operation's keys? */
static bool flat_can(const struct rig *r, const struct op *op)
{
	bool one = op->kind == OP_UNMAP_RANGE || op->kind == OP_LOOKUP;
	uint64_t last = op->key.page + (one ? 1 : BIT(op->order));

	return r->has_flat && (op->kind == OP_DROP_SPACE || last <= r->c->params.npages);
}

static bool apply_lookup(struct rig *r, const struct op *op)
{
	struct walk_req req = make_req(r, op);
	struct walk want, got;

	expect_walk(r, op, &want);
	r->pt.org->lookup(&r->pt, &req, &got);
	if (!same_walk(r, "table", &got, &want))
		return false;
	if (!flat_can(r, op))
		return true;
	struct pt *flat = &r->flat[op->key.space];
	flat->org->lookup(flat, &req, &got);
	return same_walk(r, "flat", &got, &want);
}

static bool same_entry(const struct pt_entry *a, const struct pt_entry *b)
{
	return a->key.space == b->key.space && a->key.page == b->key.page && a->order == b->order &&
	       a->rights == b->rights && a->frame == b->frame;
}

static bool check_next(struct rig *r, struct pt_key from)
{
	const struct pt_entry *want = model_next(&r->model, from);
	struct pt_entry got;
	int rc = r->pt.org->next(&r->pt, from, &got);

	if (rc != (want ? 0 : -ENOENT))
		return differs(r, "next from %#llx gives %d, expected %d", (unsigned long long)from.page, rc,
			       want ? 0 : -ENOENT);
	if (want && !same_entry(&got, want))
		return differs(r, "next from %#llx gives page %#llx order %u frame %#llx, expected %#llx %u %#llx",
			       (unsigned long long)from.page, (unsigned long long)got.key.page, got.order,
			       (unsigned long long)got.frame, (unsigned long long)want->key.page, want->order,
			       (unsigned long long)want->frame);
	return true;
}

static bool check_find(struct rig *r, struct pt *pt, const char *who, struct pt_key key)
{
	struct pt_entry *want = model_find(&r->model, key), got, expected;
	int rc = pt_find(pt, key, &got);

	if (rc != (want ? 0 : -ENOENT))
		return differs(r, "%s: find %#llx of space %u gives %d, expected %d", who,
			       (unsigned long long)key.page, key.space, rc, want ? 0 : -ENOENT);
	if (!want)
		return true;
	expected = *want;
	if (r->c->params.second_stage) { /* nothing is global there, for a walker */
		expected.rights &= ~RIGHT_G;
		got.rights &= ~RIGHT_G;
	}
	if (!same_entry(&got, &expected))
		return differs(r, "%s: find %#llx of space %u gives page %#llx order %u rights %#x frame %#llx, expected %#llx %u %#x %#llx",
			       who, (unsigned long long)key.page, key.space, (unsigned long long)got.key.page, got.order,
			       got.rights, (unsigned long long)got.frame, (unsigned long long)expected.key.page,
			       expected.order, expected.rights, (unsigned long long)expected.frame);
	return true;
}

bool rig_check_audit(struct rig *r)
{
	const char *why = "no reason given";
	int rc = r->pt.org->audit(&r->pt, &why);

	if (rc)
		return differs(r, "audit: %d, %s", rc, why);
	if (r->pt.entries != r->model.n)
		return differs(r, "entries is %llu, expected %u", (unsigned long long)r->pt.entries, r->model.n);
	if (r->mem.bad)
		return differs(r, "an access outside of tables");
	return true;
}

bool rig_check_all(struct rig *r)
{
	struct pt_entry e;

	for (uint32_t space = 0; space < r->c->nspaces; space++) {
		struct pt_key from = { space, 0 };

		for (;;) {
			if (!check_next(r, from))
				return false;
			if (r->pt.org->next(&r->pt, from, &e))
				break;
			if (!check_find(r, &r->pt, "table", (struct pt_key){ space, e.key.page + low_bits(e.order) }))
				return false;
			from.page = e.key.page + BIT(e.order);
		}
	}
	return rig_check_audit(r);
}

bool rig_apply(struct rig *r, const struct op *request)
{
	struct op op = *request;

	rig_resolve(r, &op);
	if (op.kind == OP_LOOKUP)
		return apply_lookup(r, &op) && rig_check_audit(r);
	if (op.kind == OP_NEXT)
		return check_next(r, op.key) && rig_check_audit(r);

	struct pt_entry *held = model_exact(&r->model, op.key, op.order), before, old;
	bool unmaps = op.kind == OP_UNMAP && held;
	if (held)
		before = *held;
	int want = rig_apply_model(r, &op);
	int got = op.kind == OP_UNMAP ? r->pt.org->unmap(&r->pt, op.key, op.order, &old) : apply_to(r, &r->pt, &op);

	if (got != want)
		return differs(r, "table returns %d, expected %d", got, want);
	if (unmaps && !same_entry(&old, &before))
		return differs(r, "unmap gives back another mapping than it held");
	if (flat_can(r, &op)) {
		got = apply_to(r, &r->flat[op.key.space], &op);
		if (got != want && op.kind != OP_DROP_SPACE)
			return differs(r, "flat returns %d, expected %d", got, want);
		if (!check_find(r, &r->flat[op.key.space], "flat", op.key))
			return false;
	}
	return check_find(r, &r->pt, "table", op.key) && rig_check_audit(r);
}
