/* SPDX-License-Identifier: MIT */
#include "rig.h"

#include <stdlib.h>
#include <sys/mman.h>

static void panic(void *ctx, const char *file, int line, const char *what)
{
	fprintf(stderr, "BUG %s:%d: %s\n", file, line, what);
	abort();
}

static const struct host_ops host_ops = { .panic = panic };

static const struct gpt_format *format(const char *name, const char *otherwise)
{
	const struct gpt_format *f = gpt_find(name ? name : otherwise);

	assert_non_null(f);
	return f;
}

const struct gpt_format *rig_format_at(unsigned i)
{
	unsigned n = 0;

	while (gpt_builtin[n])
		n++;
	return i < n ? gpt_builtin[i] : gpt_variant[i - n];
}

unsigned rig_levels(const struct gpt_format *fmt)
{
	return fmt->levels - (fmt->root_in_registers ? 1u : 0u);
}

const char *rig_scheme_at(unsigned i)
{
	static const char *const more[] = {
		"shadow/inverted", "shadow/inverted+linear", "shadow/inverted+lazy", "shadow+roots=2",
		"shadow+lazy+discard",
		"shadow/hashed", "shadow/hashed+lazy", "shadow/cuckoo", "shadow/segment", "nested/hashed+ppc",
		"nested/cuckoo+2way",
		"inverted-shadow+lazy", "inverted-shadow+groups=2", "inverted-shadow+lazy+discard+groups=7",
	};
	const char *name;
	unsigned n = 0;

	/* Guests of this rig store to their tables: they are not for paravirtualisation. */
	for (unsigned k = 0; (name = scheme_name_at(k)); k++)
		if (strcmp(name, "paravirt") && n++ == i)
			return name;
	return i - n < ARRAY_SIZE(more) ? more[i - n] : NULL;
}

/* Every order a leaf of any format may have: what one processor can hold for all of them. */
static uint64_t all_orders(void)
{
	uint64_t orders = 1;

	for (unsigned i = 0; rig_format_at(i); i++)
		orders |= gpt_leaf_orders(rig_format_at(i));
	/* Those a data word can hold; a larger page is cached in smaller pieces. */
	return orders & low_bits(20);
}

void rig_open_machine(struct rig *r, const struct rig_config *c)
{
	const struct tlb_config *t = tlb_preset_find(c->preset ? c->preset : "none");
	uint64_t ram = c->ram ? c->ram : 64 << 20;
	struct machine_config mc = { 0 };

	host_ops_set(&host_ops);
	memset(r, 0, sizeof(*r));
	r->ram = mmap(NULL, ram, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_true(r->ram != MAP_FAILED);
	assert_int_equal(machine_init(&r->m, r->ram, ram, &mc), 0);
	faultinj_init(&r->inj);
	r->m.inj = &r->inj;
	assert_int_equal(hv_init(&r->hv, &r->m), 0);
	assert_non_null(t);
	size_t bytes = align_up(mmu_cpu_bytes(t), 64);
	r->cpu_memory = aligned_alloc(64, bytes);
	assert_non_null(r->cpu_memory);
	memset(r->cpu_memory, 0, bytes);
	assert_int_equal(mmu_cpu_init(&r->cpu, &r->hv, t, all_orders(), c->seed ? c->seed : 1, r->cpu_memory), 0);
	r->nfree = r->m.nfree;
}

/* ---- guest memory as a pt_mem: the guest kernel's own loads and stores ---- */

static int to_errno(enum access_status s)
{
	return s == ACCESS_NOMEM ? -ENOMEM : s ? -EFAULT : 0;
}

static int mem_load(struct pt_mem *m, uint64_t addr, unsigned size, void *out)
{
	struct rig_vm *g = container_of(m, struct rig_vm, mem);
	uint8_t *to = out;

	m->counts.refs++;
	while (size) {
		unsigned n = 1u << MIN(3u, log2_floor(size));
		uint64_t v;
		int err = to_errno(vcpu_load(&g->v, SEG_BARE, addr, n, &v));

		if (err)
			return err;
		memcpy(to, &v, n);
		to += n;
		addr += n;
		size -= n;
	}
	return 0;
}

static int mem_store(struct pt_mem *m, uint64_t addr, unsigned size, const void *in)
{
	struct rig_vm *g = container_of(m, struct rig_vm, mem);
	const uint8_t *from = in;

	m->counts.stores++;
	while (size) {
		unsigned n = 1u << MIN(3u, log2_floor(size));
		uint64_t v = 0;

		memcpy(&v, from, n);
		int err = to_errno(vcpu_store(&g->v, SEG_BARE, addr, n, v));

		if (err)
			return err;
		from += n;
		addr += n;
		size -= n;
	}
	return 0;
}

static int mem_cas(struct pt_mem *m, uint64_t addr, unsigned size, uint64_t expect, uint64_t value)
{
	struct rig_vm *g = container_of(m, struct rig_vm, mem);
	bool swapped;
	int err = to_errno(vcpu_cas(&g->v, SEG_BARE, addr, size, expect, value, &swapped));

	return err ? err : swapped;
}

static int mem_alloc(struct pt_mem *m, unsigned order, uint64_t *addr)
{
	struct rig_vm *g = container_of(m, struct rig_vm, mem);
	uint64_t first = align_up(g->next_gfn, BIT(order));

	if (first + BIT(order) > g->slot->base.v + g->slot->npages)
		return -ENOMEM;
	g->next_gfn = first + BIT(order);
	for (uint64_t i = 0; i < BIT(order); i++) {
		int err = to_errno(vcpu_fill_zero(&g->v, SEG_BARE, (first + i) << PAGE_SHIFT, PAGE_SIZE));

		if (err)
			return err;
	}
	m->table_bytes += PAGE_SIZE << order;
	*addr = first << PAGE_SHIFT;
	return 0;
}

/* The guest of these tests is short-lived: it does not reuse frames. */
static void mem_free(struct pt_mem *m, uint64_t addr, unsigned order)
{
	m->table_bytes -= PAGE_SIZE << order;
}

static int mem_scan(struct pt_mem *m, uint64_t first, uint64_t n, uint64_t stride)
{
	m->counts.refs += n;
	return 0;
}

static hpa_t mem_hpa(struct pt_mem *m, uint64_t addr)
{
	return HPA(INVALID_FRAME);
}

static const struct pt_mem_ops mem_ops = {
	.load = mem_load,
	.store = mem_store,
	.cas = mem_cas,
	.alloc = mem_alloc,
	.free = mem_free,
	.scan = mem_scan,
	.hpa = mem_hpa,
};

/* ---- virtual machines ---- */

int rig_vm_try(struct rig *r, const struct rig_config *c, struct rig_vm **out, const char **why)
{
	struct rig_vm *g = NULL;
	struct scheme s;

	for (unsigned i = 0; i < RIG_VMS_MAX && !g; i++)
		if (!r->g[i].vm)
			g = &r->g[i];
	assert_non_null(g);
	memset(g, 0, sizeof(*g));
	g->rig = r;
	g->c = *c;
	g->guest_fmt = format(c->guest, "x86-64");
	g->host_fmt = format(c->host, g->guest_fmt->name);
	*why = "";
	assert_int_equal(scheme_parse(c->scheme ? c->scheme : "nested/radix", &s, why), 0);
	int err = vm_create(&r->hv, "vm", &g->vm);

	if (err) {
		g->vm = NULL;
		return err;
	}
	err = memslot_add(g->vm, GFN(c->guest_base), c->guest_pages ? c->guest_pages : 4096, 0, &g->slot);
	g->vm->host_thp = c->host_thp;
	g->vm->host_thp_1g = c->host_thp_1g;
	struct mmu_config mc = {
		.guest_fmt = g->guest_fmt,
		.host_fmt = g->host_fmt,
		.visibility = c->visibility,
		.check = c->check_truth_only ? CHECK_TRUTH : CHECK_WALK,
		.p2m_eager = c->eager,
		.shadow_budget = c->shadow_budget,
		.flood_limit = c->flood_limit,
		.interval = c->interval,
		.paravirt = c->paravirt,
	};
	if (!err)
		err = mmu_create(g->vm, &r->cpu, &s, &mc, &g->mmu, why);
	if (err) {
		vm_destroy(g->vm);
		g->vm = NULL;
		return err;
	}
	assert_int_equal(vcpu_init(&g->v, g->mmu), 0);
	g->mem = (struct pt_mem){ .ops = &mem_ops };
	g->next_gfn = c->table_gfn ? c->table_gfn : c->guest_base + 1;
	g->next_asid = 1;
	r->nvms++;
	*out = g;
	return 0;
}

struct rig_vm *rig_vm_add(struct rig *r, const struct rig_config *c)
{
	const char *why;
	struct rig_vm *g = NULL;
	int err = rig_vm_try(r, c, &g, &why);

	if (err)
		fail_msg("%s: no VM: %d %s", c->scheme, err, why);
	return g;
}

void rig_vm_remove(struct rig_vm *g)
{
	mmu_destroy(g->mmu);
	vm_destroy(g->vm);
	g->vm = NULL;
	g->rig->nvms--;
}

static void close_machine(struct rig *r)
{
	hv_fini(&r->hv);
	munmap(r->ram, r->m.bytes);
	free(r->cpu_memory);
}

void rig_open(struct rig *r, const struct rig_config *c)
{
	rig_open_machine(r, c);
	rig_vm_add(r, c);
}

bool rig_open_if_possible(struct rig *r, const struct rig_config *c)
{
	struct rig_vm *g;
	const char *why;

	rig_open_machine(r, c);
	int err = rig_vm_try(r, c, &g, &why);

	if (!err)
		return true;
	if (err != -ENOTSUP || !why[0])
		fail_msg("%s: %d %s", c->scheme, err, why);
	close_machine(r);
	return false;
}

void rig_audit(struct rig *r)
{
	const char *why = "";

	for (unsigned i = 0; i < RIG_VMS_MAX; i++)
		if (r->g[i].vm && (mmu_audit(r->g[i].mmu, &why) || vm_audit(r->g[i].vm, &why)))
			fail_msg("audit of %s: %s", mmu_scheme(r->g[i].mmu)->name, why);
	if (buddy_audit(&r->m, &why) || kmem_audit(&r->m, &why))
		fail_msg("audit: %s", why);
}

void rig_close(struct rig *r)
{
	faultinj_init(&r->inj);
	rig_audit(r);
	for (unsigned i = 0; i < RIG_VMS_MAX; i++)
		if (r->g[i].vm)
			rig_vm_remove(&r->g[i]);
	uint64_t reserved = r->hv.ptm.nreserve;
	rig_audit(r);
	/* What was promised to operations that will not come. */
	assert_int_equal(rmap_reserve(&r->m, 0), 0);
	assert_int_equal(r->m.nfree + reserved, r->nfree);
	close_machine(r);
}

/* ---- the guest's tables ---- */

uint64_t rig_frames(struct rig_vm *g, unsigned order)
{
	uint64_t addr;

	assert_int_equal(ptm_alloc(&g->mem, order, &addr), 0);
	return addr;
}

uint64_t rig_peek(struct rig_vm *g, uint64_t gpa, unsigned size)
{
	uint64_t value;

	assert_int_equal(vcpu_load(&g->v, SEG_BARE, gpa, size, &value), ACCESS_OK);
	return value;
}

void rig_poke(struct rig_vm *g, uint64_t gpa, unsigned size, uint64_t value)
{
	assert_int_equal(vcpu_store(&g->v, SEG_BARE, gpa, size, value), ACCESS_OK);
}

static void space_init(struct rig_space *s, struct rig_vm *g, const struct pt_org *org, uint32_t flags)
{
	memset(s, 0, sizeof(*s));
	s->g = g;
	s->p = (struct guest_paging){
		.org = org,
		.org_flags = flags,
		.params = {
			.fmt = g->guest_fmt,
			.nframes = g->slot->npages,
			.frame_base = g->slot->base.v,
			.role = "guest",
		},
		.asid = g->next_asid++,
		.ctl = CTL_DEFAULT,
		.ad = WALK_AD_SET,
	};
}

void rig_space_init(struct rig_space *s, struct rig_vm *g)
{
	space_init(s, g, pt_org_find("radix", 5), 0);
	s->p.root = rig_frames(g, gpt_table_order(g->guest_fmt, g->guest_fmt->levels - 1u, false));
}

void rig_space_init_org(struct rig_space *s, struct rig_vm *g, const char *org_spec)
{
	const struct pt_org *org;
	uint32_t flags;

	assert_int_equal(pt_org_parse(org_spec, &org, &flags), 0);
	space_init(s, g, org, flags);
	s->by_org = true;
	assert_int_equal(pt_create(&s->pt, org, flags, &s->p.params, &g->mem), 0);
	s->p.root = s->pt.root;
}

void rig_enter(struct rig_space *s)
{
	assert_int_equal(vcpu_set_paging(&s->g->v, &s->p, ROOT_KEEP), 0);
}

/* The table of `level` on the way to va; 0: there is none. make: then one is made. */
static uint64_t table_at(struct rig_space *s, uint64_t va, unsigned level, bool make)
{
	const struct gpt_format *f = s->p.params.fmt;
	uint64_t table = s->p.root;

	for (unsigned l = f->levels - 1u; l > level; l--) {
		uint64_t addr = table + gpt_index(f, l, va, false) * f->entry_size;
		uint64_t pte = rig_peek(s->g, addr, f->entry_size);

		if (!gpt_is_present(f, pte)) {
			if (!make)
				return 0;
			pte = gpt_make_table(f, l, rig_frames(s->g, gpt_table_order(f, l - 1, false)) >> PAGE_SHIFT);
			rig_poke(s->g, addr, f->entry_size, pte);
		}
		assert_false(gpt_is_leaf(f, l, pte));
		table = gpt_frame(f, pte) << PAGE_SHIFT;
	}
	return table;
}

uint64_t rig_pte_addr(struct rig_space *s, uint64_t va, unsigned level)
{
	uint64_t table = table_at(s, va, level, false);

	assert_true(table != 0);
	return table + gpt_index(s->p.params.fmt, level, va, false) * s->p.params.fmt->entry_size;
}

uint64_t rig_pte(struct rig_space *s, uint64_t va, unsigned level)
{
	return rig_peek(s->g, rig_pte_addr(s, va, level), s->p.params.fmt->entry_size);
}

void rig_set_pte(struct rig_space *s, uint64_t va, unsigned level, uint64_t pte)
{
	rig_poke(s->g, rig_pte_addr(s, va, level), s->p.params.fmt->entry_size, pte);
}

void rig_map(struct rig_space *s, uint64_t va, uint64_t gfn, unsigned order, uint8_t rights)
{
	const struct gpt_format *f = s->p.params.fmt;

	if (s->by_org) {
		struct pt_entry e = {
			.key = { s->p.key_space, va >> PAGE_SHIFT },
			.order = (uint8_t)order,
			.rights = rights,
			.frame = gfn,
		};

		assert_int_equal(s->pt.org->map(&s->pt, &e), 0);
		return;
	}
	int level = gpt_level_of_order(f, order);

	assert_true(level >= 0);
	table_at(s, va, (unsigned)level, true);
	rig_set_pte(s, va, (unsigned)level, gpt_make_leaf(f, (unsigned)level, gfn, rights));
}

void rig_unmap(struct rig_space *s, uint64_t va, unsigned order)
{
	if (s->by_org)
		assert_int_equal(s->pt.org->unmap(&s->pt, (struct pt_key){ s->p.key_space, va >> PAGE_SHIFT },
						  order, NULL), 0);
	else
		rig_set_pte(s, va, (unsigned)gpt_level_of_order(s->p.params.fmt, order), 0);
}

/* ---- looking ---- */

uint64_t rig_va(const struct gpt_format *fmt)
{
	uint64_t va = 0;

	for (unsigned l = 0; l < fmt->levels; l++)
		va |= MIN((uint64_t)l + 3, BIT(fmt->level[l].bits) / 2) << fmt->level[l].shift;
	/* The top index must leave the sign clear. */
	return fmt->sign_extended ? va & low_bits(fmt->va_bits - 1u) : va;
}

mfn_t rig_mfn(struct rig_vm *g, uint64_t va, enum acc_kind kind)
{
	hpa_t hpa;
	enum access_status s = vcpu_touch(&g->v, SEG_PAGED, va, kind, &hpa);

	if (s)
		fail_msg("%s: access %d to 0x%llx: %d, %s", mmu_scheme(g->mmu)->name, kind, (unsigned long long)va, s,
			 walk_why_name(g->v.fault.why));
	return hpa_to_mfn(hpa);
}

mfn_t rig_truth(struct rig_vm *g, uint64_t gfn)
{
	struct gfn_mapping map;

	assert_int_equal(gfn_peek(g->vm, GFN(gfn), &map), 0);
	return map.mfn;
}

void rig_leads_to(struct rig_vm *g, uint64_t va, enum acc_kind kind, uint64_t gfn)
{
	mfn_t mfn = rig_mfn(g, va, kind), truth = rig_truth(g, gfn);

	if (mfn.v != truth.v)
		fail_msg("%s: 0x%llx leads to frame 0x%llx, not to 0x%llx of gfn 0x%llx", mmu_scheme(g->mmu)->name,
			 (unsigned long long)va, (unsigned long long)mfn.v, (unsigned long long)truth.v,
			 (unsigned long long)gfn);
}

enum walked rig_walk(struct rig_vm *g, uint64_t va, enum acc_kind kind, struct mmu_fault *f)
{
	*f = (struct mmu_fault){
		.space = g->v.space,
		.va = va,
		.kind = kind,
		.user = g->v.user,
		.ctl = g->v.paging.ctl,
		.cacheable = true,
	};
	flush_vm(g->mmu);
	return g->mmu->ops->walk(&g->v, f);
}

static void log_ref(struct pt_log *log, const struct pt_ref *ref)
{
	struct rig_log *l = container_of(log, struct rig_log, log);

	assert_true(l->n < RIG_LOG_MAX);
	if (l->ended) {
		l->start = l->n;
		l->refs = 0;
		l->ended = false;
	}
	l->ref[l->n++] = *ref;
	l->refs += ref->repeat;
}

static void log_walk_end(struct mmu_explain *e, enum walk_status status)
{
	container_of(e, struct rig_log, e)->ended = true;
}

static void explain(struct rig_vm *g, const struct mmu_explain *what, struct rig_log *l)
{
	l->log.ref = log_ref;
	l->n = l->start = 0;
	l->refs = 0;
	l->ended = false;
	l->e = *what;
	l->e.refs = &l->log;
	l->e.walk_end = log_walk_end;
	mmu_explain(&g->v, &l->e);
}

void rig_explain(struct rig_vm *g, uint64_t va, enum acc_kind kind, enum rig_warmth warmth, struct rig_log *l)
{
	explain(g, &(struct mmu_explain){ .gva = GVA(va), .kind = kind, .warm = warmth == RIG_WARM }, l);
}

void rig_explain_steps(struct rig_vm *g, uint64_t va, enum acc_kind kind, struct vm_log *steps, struct rig_log *l)
{
	explain(g, &(struct mmu_explain){ .gva = GVA(va), .kind = kind, .steps = steps }, l);
}
