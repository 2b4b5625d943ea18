/* SPDX-License-Identifier: MIT */
/* A sequence on a rig and on the oracle side by side; what differs is shrunk and printed. */
#include "equivalence.h"

#include "mmu/adaptive.h"
#include "mmu/agile.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

uint64_t eq_succeeded, eq_faulted;

struct pair {
	const struct eq_config *c;
	const struct sequence *s;
	struct rig rig;
	struct rig_vm *g;
	struct oracle o;
	unsigned at;        /* operation under way */
	char what[200];     /* the difference */
	char last[SCHEME_NAME_MAX]; /* scheme last changed to */
	struct rng rng;     /* of schemes changed to */
};

static uint8_t *flat;
static sigjmp_buf on_panic;
static char panic_what[160];

static void panic(void *ctx, const char *file, int line, const char *what)
{
	snprintf(panic_what, sizeof(panic_what), "BUG %s:%d: %s", file, line, what);
	siglongjmp(on_panic, 1);
}

/* Some bugs show as a loop without end. */
static void too_long(int sig)
{
	snprintf(panic_what, sizeof(panic_what), "a loop without end");
	siglongjmp(on_panic, 1);
}

static const struct host_ops catching = { .panic = panic };

unsigned long_times(void)
{
	const char *s = getenv("QUIRE_TEST_LONG");

	return s && *s && *s != '0' ? 50 : 1;
}

#define DIFFER(p, ...) (snprintf((p)->what, sizeof((p)->what), __VA_ARGS__), false)

/* ---- one operation on both ---- */

static void taken(struct pair *p, enum access_status st, struct eq_result *r)
{
	const struct guest_fault *f = &p->g->v.fault;

	r->ok = st == ACCESS_OK;
	if (!r->ok)
		*r = (struct eq_result){ .gva = f->gva.v, .kind = f->kind, .why = f->why, .error_code = f->error_code };
}

static bool same(struct pair *p, enum access_status st, const struct eq_result *want, struct eq_result *got)
{
	if (st == ACCESS_CRASH || st == ACCESS_NOMEM)
		return DIFFER(p, "status %d, crashed: %s", st, p->g->vm->crashed ? p->g->vm->crashed : "no");
	uint64_t value = got->value;

	taken(p, st, got);
	if (want->ok != got->ok)
		return DIFFER(p, "%s, must be %s (%s)", got->ok ? "succeeds" : "faults",
			      want->ok ? "a success" : "a fault", walk_why_name(want->ok ? got->why : want->why));
	if (want->ok) {
		eq_succeeded++;
		got->value = value;
		return want->value == value || DIFFER(p, "value %llx, must be %llx", (unsigned long long)value,
						      (unsigned long long)want->value);
	}
	eq_faulted++;
	if (want->gva != got->gva || want->kind != got->kind || want->why != got->why)
		return DIFFER(p, "fault at %llx kind %d: %s, must be at %llx kind %d: %s", (unsigned long long)got->gva,
			      got->kind, walk_why_name(got->why), (unsigned long long)want->gva, want->kind,
			      walk_why_name(want->why));
	return want->error_code == got->error_code ||
	       DIFFER(p, "error code %x (%s), must be %x", got->error_code, walk_why_name(want->why), want->error_code);
}

static bool do_run(struct pair *p, const struct eq_op *op)
{
	struct eq_result want = { .ok = true }, got = { 0 };
	ref_t refs[EQ_RUN_REFS];
	uint64_t va[2] = { op->va, op->va2 };
	size_t done = 0;

	for (unsigned i = 0; i < EQ_RUN_REFS; i++)
		refs[i] = make_ref(va[i & 1], (enum acc_kind)(op->value >> (2 * i) & 3) % 3, op->size);
	unsigned n = 0;

	for (; n < EQ_RUN_REFS; n++) {
		uint64_t at = ref_gva(refs[n]);

		oracle_touch(&p->o, op->user, at, ref_kind(refs[n]), &want);
		if (want.ok && (refs[n] & REF_SPECIAL))
			oracle_touch(&p->o, op->user, at + op->size - 1, ref_kind(refs[n]), &want);
		if (!want.ok)
			break;
	}
	enum access_status st = vcpu_run(&p->g->v, refs, EQ_RUN_REFS, &done);

	if (done != n)
		return DIFFER(p, "%zu references done, must be %u", done, n);
	return same(p, st, &want, &got);
}

static bool do_access(struct pair *p, const struct eq_op *op)
{
	struct eq_result want = { 0 }, got = { 0 };
	struct vcpu *v = &p->g->v;
	enum access_status st = ACCESS_OK;
	bool swapped = false;
	uint64_t expect = op->value ^ 1, gpa;
	/* No fence can come between the two pieces of a store that changes its own translation. */
	uint64_t store_va = p->c->also_fence ? align_down(op->va, op->size) : op->va;
	struct eq_result dummy;

	v->user = op->user;
	switch (op->kind) {
	case EQ_LOAD:
		oracle_load(&p->o, false, op->user, op->va, op->size, &want);
		st = vcpu_load(v, SEG_PAGED, op->va, op->size, &got.value);
		break;
	case EQ_STORE:
		oracle_store(&p->o, false, op->user, store_va, op->size, op->value, &want);
		st = vcpu_store(v, SEG_PAGED, store_va, op->size, op->value);
		break;
	case EQ_FETCH:
		oracle_touch(&p->o, op->user, op->va, ACC_EXEC, &want);
		st = vcpu_touch(v, SEG_PAGED, op->va, ACC_EXEC, NULL);
		break;
	case EQ_CAS: {
		/* Looking at what stands there leaves no more A and D behind than the access itself. */
		uint64_t va = align_down(op->va, op->size);

		if (op->how && oracle_translate(&p->o, va, ACC_WRITE, op->user, &gpa, &dummy))
			expect = oracle_peek(&p->o, gpa, op->size);
		oracle_cas(&p->o, false, op->user, va, op->size, expect & low_bits(op->size * 8u), op->value, &want);
		st = vcpu_cas(v, SEG_PAGED, va, op->size, expect & low_bits(op->size * 8u), op->value, &swapped);
		got.value = swapped;
		break;
	}
	case EQ_COPY:
		oracle_copy(&p->o, op->user, op->va, op->va2, (unsigned)op->gpa, &want);
		st = vcpu_copy(v, SEG_PAGED, op->va, op->va2, (unsigned)op->gpa);
		break;
	case EQ_ZERO: {
		static const uint8_t zero[4096];

		want.ok = oracle_translate(&p->o, op->va, ACC_WRITE, op->user, &gpa, &want);
		if (want.ok)
			oracle_poke(&p->o, gpa, zero, (unsigned)op->gpa);
		st = vcpu_fill_zero(v, SEG_PAGED, op->va, (unsigned)op->gpa);
		break;
	}
	}
	return same(p, st, &want, &got);
}

static bool do_bare(struct pair *p, uint64_t gpa, unsigned size, uint64_t value, unsigned how)
{
	struct eq_result want = { 0 }, got = { 0 };
	enum access_status st;
	bool swapped;
	uint64_t old = oracle_peek(&p->o, gpa, size);

	switch (how) {
	case 0:
		oracle_store(&p->o, true, false, gpa, size, value, &want);
		st = vcpu_store(&p->g->v, SEG_BARE, gpa, size, value);
		break;
	case 1:
		oracle_cas(&p->o, true, false, gpa, size, old, value, &want);
		st = vcpu_cas(&p->g->v, SEG_BARE, gpa, size, old, value, &swapped);
		got.value = !st && swapped;
		break;
	default:
		oracle_poke(&p->o, gpa, &value, size);
		return !vm_write(p->g->vm, GPA(gpa), &value, size) || DIFFER(p, "vm_write failed");
	}
	return same(p, st, &want, &got);
}

static bool do_root(struct pair *p, const struct eq_op *op)
{
	struct guest_paging paging = {
		.org = pt_org_find("radix", 5),
		.params = { .fmt = p->g->guest_fmt, .nframes = EQ_PAGES, .role = "guest" },
		.root = op->gpa,
		.asid = op->asid,
		.ctl = p->s->ctl,
		.ad = WALK_AD_SET,
	};

	p->o.root = op->gpa;
	if (vcpu_set_paging(&p->g->v, &paging, op->how ? ROOT_FLUSH : ROOT_KEEP))
		return DIFFER(p, "no memory for a root");
	if (p->s->global)
		vcpu_fence(&p->g->v, FENCE_ALL, 0, GVA(0));
	return true;
}

/* ---- what the host does: the guest must not notice ---- */

static bool change_scheme(struct pair *p)
{
	struct scheme s;
	const char *why = "";
	unsigned n = 0;

	while (rig_scheme_at(n))
		n++;
	assert_int_equal(scheme_parse(rig_scheme_at((unsigned)rng_below(&p->rng, n)), &s, &why), 0);
	int err = mmu_change_scheme(p->g->mmu, &s, &why);

	snprintf(p->last, sizeof(p->last), "%s", mmu_scheme(p->g->mmu)->name);

	return !err || err == -ENOTSUP || DIFFER(p, "change to %s: %d, %s", s.name, err, why);
}

static bool dirty_is_same(struct pair *p)
{
	uint64_t bitmap[EQ_PAGES / 64];

	if (!p->o.logging)
		return true;
	assert_int_equal(vm_dirty_read(p->g->vm, GFN(0), EQ_PAGES, bitmap), 0);
	for (unsigned i = 0; i < EQ_PAGES; i++)
		if ((bitmap[i / 64] >> (i % 64) & 1) != p->o.dirty[i])
			return DIFFER(p, "gfn %u in the dirty log: %d, must be %d", i, !p->o.dirty[i], p->o.dirty[i]);
	memset(p->o.dirty, 0, sizeof(p->o.dirty));
	return true;
}

/* Joins the frame of another gfn, where it has the same bytes. */
static void share(struct pair *p, uint64_t a, uint64_t b)
{
	struct gfn_change c = { .op = GFN_OP_SHARE };
	struct gfn_mapping map;

	if (a == b || gfn_peek(p->g->vm, GFN(b), &map) || gfn_peek(p->g->vm, GFN(a), &(struct gfn_mapping){ 0 }))
		return;
	c.mfn = map.mfn;
	gfn_update(p->g->vm, GFN(a), 1, &c);
}

static bool do_host(struct pair *p, const struct eq_op *op)
{
	struct vm *vm = p->g->vm;

	switch (op->kind) {
	case EQ_ZAP:
		mmu_zap_gfns(p->g->mmu, GFN(op->value == 512 ? align_down(op->gpa, 512) : op->gpa),
			     MIN(op->value, EQ_PAGES - op->gpa));
		break;
	case EQ_ZAP_ALL:
		mmu_zap_all(p->g->mmu);
		break;
	case EQ_MOVE:
		gfn_update(vm, GFN(op->gpa), 1, &(struct gfn_change){ .op = GFN_OP_MOVE });
		break;
	case EQ_SHARE:
		share(p, op->gpa, op->va);
		break;
	case EQ_COLLAPSE:
		gfn_update(vm, GFN(align_down(op->gpa, 512)), 512, &(struct gfn_change){ .op = GFN_OP_COLLAPSE });
		break;
	case EQ_CHANGE:
		return !p->c->change || change_scheme(p);
	case EQ_DIRTY_START:
		vm_dirty_start(vm);
		p->o.logging = true;
		memset(p->o.dirty, 0, sizeof(p->o.dirty));
		break;
	case EQ_DIRTY_STOP:
		vm_dirty_stop(vm);
		p->o.logging = false;
		break;
	case EQ_DIRTY_READ:
		return dirty_is_same(p);
	}
	return true;
}

static bool writes_tables(const struct eq_op *op)
{
	return op->kind != EQ_LOAD && op->kind != EQ_FETCH && op->kind < EQ_ROOT;
}

static bool do_op(struct pair *p, const struct eq_op *op)
{
	bool ok;

	p->g->v.user = op->user;
	switch (op->kind) {
	case EQ_RUN:
		ok = !p->o.root || do_run(p, op);
		break;
	case EQ_POKE:
		ok = do_bare(p, op->gpa, op->size, op->value, 0);
		break;
	case EQ_DOOR:
		ok = do_bare(p, op->gpa, op->size, op->value, 2);
		break;
	case EQ_TWEAK:
		ok = do_bare(p, op->gpa, op->size, oracle_peek(&p->o, op->gpa, op->size) ^ op->value, op->how);
		break;
	case EQ_ROOT:
		ok = do_root(p, op);
		break;
	case EQ_FENCE:
		vcpu_fence(&p->g->v, (enum fence_scope)op->how, op->asid, GVA(op->va));
		ok = true;
		break;
	default:
		ok = op->kind > EQ_FENCE ? do_host(p, op) : !p->o.root || do_access(p, op);
	}
	if (ok && p->c->also_fence && writes_tables(op))
		vcpu_fence(&p->g->v, FENCE_ALL, 0, GVA(0));
	return ok;
}

/* ---- all of memory, and the books ---- */

static bool page_is_same(struct pair *p, uint64_t gfn)
{
	static const uint8_t zero[4096];
	struct gfn_mapping map;
	const uint8_t *have = zero, *want = p->o.mem + (gfn << 12);

	if (!gfn_peek(p->g->vm, GFN(gfn), &map))
		have = machine_ptr(&p->rig.m, mfn_to_hpa(map.mfn));
	if (!memcmp(have, want, 4096))
		return true;
	unsigned i = 0;

	while (have[i] == want[i])
		i++;
	i &= ~7u;
	uint64_t a, b;

	memcpy(&a, have + i, 8);
	memcpy(&b, want + i, 8);
	return DIFFER(p, "gpa %llx holds %llx, must be %llx", (unsigned long long)(gfn << 12 | i),
		      (unsigned long long)a, (unsigned long long)b);
}

static bool hot_is_same(struct pair *p)
{
	for (unsigned i = 0; i < eq_hot_count(); i++)
		if (!page_is_same(p, eq_hot(i)))
			return false;
	return true;
}

static bool books_are_right(struct pair *p)
{
	const char *why = "";

	if (mmu_audit(p->g->mmu, &why) || vm_audit(p->g->vm, &why) || buddy_audit(&p->rig.m, &why) ||
	    kmem_audit(&p->rig.m, &why))
		return DIFFER(p, "audit: %s", why);
	return true;
}

static void change_sides(struct pair *p)
{
	struct mmu *mmu = p->g->mmu;

	if (rng_below(&p->rng, 3))
		return;
	if (mmu->adaptive && !rng_below(&p->rng, 4))
		adaptive_move(mmu);
	if (!mmu->agile)
		return;
	if (!rng_below(&p->rng, 8))
		agile_set_whole(mmu, !mmu->agile->whole);
	for (unsigned n = 0; n < 3 && !mmu->agile->whole; n++) {
		uint64_t gfn = eq_hot((unsigned)rng_below(&p->rng, eq_hot_count()));

		if (rng_below(&p->rng, 4))
			agile_make_shadow(mmu, gfn);
		else
			agile_make_nested(mmu, gfn);
	}
}

static bool run_all(struct pair *p)
{
	for (p->at = 0; p->at < p->s->n; p->at++) {
		bool ok = do_op(p, &p->s->op[p->at]);

		if (p->o.undefined)
			return true;
		if (!ok)
			return false;
		if (p->c->sides)
			change_sides(p);
		if (p->c->change_each_step && !change_scheme(p))
			return false;
		if (p->at % 8 == 0 && !hot_is_same(p))
			return false;
		if (p->at % p->c->audit_every == 0 && !books_are_right(p))
			return false;
	}
	for (uint64_t g = 0; g < EQ_PAGES; g++)
		if (!page_is_same(p, g))
			return false;
	return books_are_right(p) && dirty_is_same(p);
}

/* All is given back. */
static bool closed_well(struct pair *p)
{
	struct rig *r = &p->rig;

	rig_vm_remove(p->g);
	/* What was promised to a change that did not need it. */
	rmap_reserve(&r->m, 0);
	uint64_t left = r->m.nfree + r->hv.ptm.nreserve;

	if (left != r->nfree)
		return DIFFER(p, "%lld frames leaked", (long long)(r->nfree - left));
	hv_fini(&r->hv);
	return true;
}

enum { NEIGHBOUR_PAGES = 64 };

static uint64_t canary(uint64_t gfn)
{
	return hash_u64(gfn + 0xca7a17);
}

/* A VM beside, its memory full of canaries. */
static void move_in(struct pair *p)
{
	struct rig_config c = { .scheme = "nested/radix", .guest_pages = NEIGHBOUR_PAGES };
	struct rig_vm *g = rig_vm_add(&p->rig, &c);

	for (uint64_t gfn = 0; gfn < NEIGHBOUR_PAGES; gfn++)
		for (uint64_t at = 0; at < 4096; at += 8) {
			uint64_t v = canary(gfn) + at;

			assert_int_equal(vm_write(g->vm, GPA(gfn << 12 | at), &v, 8), 0);
		}
}

static bool neighbour_is_whole(struct pair *p)
{
	struct rig_vm *g = &p->rig.g[1];

	for (uint64_t gfn = 0; gfn < NEIGHBOUR_PAGES; gfn++)
		for (uint64_t at = 0; at < 4096; at += 8) {
			uint64_t v;

			assert_int_equal(vm_read(g->vm, GPA(gfn << 12 | at), &v, 8), 0);
			if (v != canary(gfn) + at)
				return DIFFER(p, "a neighbour's gfn %llu was written", (unsigned long long)gfn);
		}
	rig_vm_remove(g);
	return true;
}

enum verdict { SAME, DIFFERENT, NOT_POSSIBLE };

static void clear_oracle(struct pair *p)
{
	if (!flat)
		flat = mmap(NULL, EQ_PAGES << 12, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	else
		madvise(flat, EQ_PAGES << 12, MADV_DONTNEED);
	oracle_init(&p->o, p->s->f, flat);
	p->o.ctl = p->s->ctl;
}

static enum verdict try_once(struct pair *p)
{
	struct rig_config rc = p->c->rig;
	volatile bool closing = false;
	volatile enum verdict verdict = DIFFERENT;

	p->what[0] = 0;
	snprintf(p->last, sizeof(p->last), "%s", p->c->rig.scheme);
	rc.guest = p->s->f->name;
	rc.guest_pages = EQ_PAGES;
	if (!rc.ram)
		rc.ram = 24 << 20;
	rng_init(&p->rng, p->s->seed);
	clear_oracle(p);
	if (!rig_open_if_possible(&p->rig, &rc))
		return NOT_POSSIBLE;
	p->g = &p->rig.g[0];
	host_ops_set(&catching);
	signal(SIGALRM, too_long);
	alarm(10);
	if (!sigsetjmp(on_panic, 1)) {
		if (p->c->neighbour)
			move_in(p);
		bool ok = run_all(p) && (!p->c->neighbour || neighbour_is_whole(p));

		closing = true;
		verdict = ok && closed_well(p) ? SAME : DIFFERENT;
	} else {
		snprintf(p->what, sizeof(p->what), "%s%s", closing ? "closing: " : "", panic_what);
	}
	alarm(0);
	munmap(p->rig.ram, p->rig.m.bytes);
	free(p->rig.cpu_memory);
	return verdict;
}

/* Leaves out what the difference does not need. */
static void shrink(struct pair *p)
{
	struct sequence *small = malloc(sizeof(*small)), *best = malloc(sizeof(*best));

	*best = *p->s;
	if (p->at < best->n)
		best->n = p->at + 1;
	time_t until = time(NULL) + 60;

	for (unsigned chunk = best->n / 2, left = best->n; chunk; chunk = chunk > 1 ? chunk / 2 : left > best->n) {
		left = best->n;
		for (unsigned from = 0; from + chunk <= best->n && time(NULL) < until;) {
			*small = *best;
			memmove(&small->op[from], &small->op[from + chunk],
				(best->n - from - chunk) * sizeof(small->op[0]));
			small->n -= chunk;
			p->s = small;
			if (try_once(p) == DIFFERENT)
				*best = *small;
			else
				from += chunk;
		}
	}
	p->s = best;
	try_once(p);
	fprintf(stderr, "  shrunk: %s at operation %u, under %s\n", p->what, p->at, p->last);
	sequence_print(best);
	free(small);
	free(best);
}

bool equivalent(const struct eq_config *c, const struct sequence *s)
{
	struct pair *p = calloc(1, sizeof(*p));

	p->c = c;
	p->s = s;
	enum verdict v = try_once(p);

	if (v == DIFFERENT) {
		fprintf(stderr, "%s, host %s, tlb %s, thp %d, eager %d, budget %u, flood %u: seed %llu, operation %u: %s\n",
			c->rig.scheme, c->rig.host ? c->rig.host : s->f->name, c->rig.preset ? c->rig.preset : "none",
			c->rig.host_thp, c->rig.eager, c->rig.shadow_budget, c->rig.flood_limit,
			(unsigned long long)s->seed, p->at, p->what);
		shrink(p);
		fail_msg("%s differs from the oracle", c->rig.scheme);
	}
	free(p);
	return v == SAME;
}
