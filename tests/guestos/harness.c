/* SPDX-License-Identifier: MIT */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/host_ops.h"

/* ---- the machine ---- */

/* A broken invariant says where before it ends the test. */
static void panic(void *ctx, const char *file, int line, const char *what)
{
	(void)ctx;
	fprintf(stderr, "%s:%d: %s\n", file, line, what);
	abort();
}

static const struct host_ops test_ops = { .panic = panic };

static bool refuse(struct rig *r, const char *why)
{
	rig_close(r);
	r->why = why;
	return false;
}

static void make_machine(struct rig *r, const struct rig_config *c, uint64_t guest_pages)
{
	struct machine_config mc = { 0 };
	uint64_t mib = c->machine_mib ? c->machine_mib : (guest_pages >> 8) * 2 + 64;

	r->ram_bytes = mib << 20;
	r->ram = mmap(NULL, r->ram_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_ptr_not_equal(r->ram, MAP_FAILED);
	assert_int_equal(machine_init(&r->machine, r->ram, r->ram_bytes, &mc), 0);
	assert_int_equal(hv_init(&r->hv, &r->machine), 0);
}

static void make_cpu(struct rig *r, const struct rig_config *c, uint64_t orders)
{
	const struct tlb_config *tlb = tlb_preset_find(c->tlb ? c->tlb : "generic");
	size_t bytes;

	assert_non_null(tlb);
	bytes = (mmu_cpu_bytes(tlb) + 63) & ~(size_t)63;
	r->cpu_memory = aligned_alloc(64, bytes ? bytes : 64);
	memset(r->cpu_memory, 0, bytes);
	r->cpu = calloc(1, sizeof(*r->cpu));
	assert_int_equal(mmu_cpu_init(r->cpu, &r->hv, tlb, orders, 1, r->cpu_memory), 0);
}

bool rig_open(struct rig *r, const struct rig_config *c)
{
	struct guest_config gc = c->guest;
	const struct gpt_format *host = gpt_find(c->host_fmt ? c->host_fmt : c->guest_fmt ? c->guest_fmt : "x86-64");
	struct scheme scheme;
	struct memslot *slot;
	const char *why = NULL;
	int err;

	host_ops_set(&test_ops);
	memset(r, 0, sizeof(*r));
	gc.fmt = gpt_find(c->guest_fmt ? c->guest_fmt : "x86-64");
	assert_non_null(gc.fmt);
	assert_non_null(host);
	if (pt_org_parse(c->guest_org ? c->guest_org : "radix", &gc.org, &gc.org_flags))
		return refuse(r, "no such organisation");
	if (scheme_parse(c->scheme, &scheme, &why))
		return refuse(r, why);
	if (!gc.mem_pages)
		gc.mem_pages = 4096;
	make_machine(r, c, gc.mem_pages);
	/* Walks cap what is larger to the largest the TLB knows. */
	make_cpu(r, c, (1 | gpt_leaf_orders(gc.fmt) | gpt_leaf_orders(host)) & low_bits(ORDER_MAX + 1));
	assert_int_equal(vm_create(&r->hv, "test", &r->vm), 0);
	r->vm->host_thp = c->host_thp;
	assert_int_equal(memslot_add(r->vm, GFN(0), gc.mem_pages, 0, &slot), 0);

	struct mmu_config mc = {
		.guest_fmt = gc.fmt, .host_fmt = host, .visibility = c->visibility,
		.check = c->truth_only ? CHECK_TRUTH : CHECK_WALK, .p2m_eager = c->p2m_eager, .long_way = c->long_way,
		.cpu_trap = c->cpu_trap, .tlb_software = c->tlb_software,
		.paravirt = guest_paravirt(&gc),
		.interval = c->interval,
	};

	r->cpu->untagged = c->tlb_untagged;
	err = mmu_create(r->vm, r->cpu, &scheme, &mc, &r->mmu, &why);
	if (err == -ENOTSUP)
		return refuse(r, why);
	assert_int_equal(err, 0);
	assert_int_equal(vcpu_init(&r->vcpu, r->mmu), 0);
	err = guest_create(&r->vcpu, &gc, &r->guest, &why);
	if (err == -EINVAL)
		return refuse(r, why);
	assert_int_equal(err, 0);
	if (c->asids_max)
		guest_limit_asids(r->guest, c->asids_max);
	return true;
}

void rig_close(struct rig *r)
{
	const char *why = NULL;

	guest_destroy(r->guest);
	if (r->mmu)
		mmu_destroy(r->mmu);
	if (r->vm)
		vm_destroy(r->vm);
	if (r->ram) {
		/* Nothing of the VM is left, and no table. */
		hv_fini(&r->hv);
		assert_int_equal(r->machine.ntype[FRAME_GUEST], 0);
		assert_int_equal(r->machine.ntype[FRAME_TABLE], 0);
		assert_int_equal(buddy_audit(&r->machine, &why), 0);
		munmap(r->ram, r->ram_bytes);
	}
	free(r->cpu);
	free(r->cpu_memory);
	memset(r, 0, sizeof(*r));
}

static void must(int err, const char *why)
{
	if (err)
		fail_msg("audit: %s", why ? why : "no reason given");
}

void rig_audit(struct rig *r)
{
	const char *why = NULL;

	must(guest_audit(r->guest, &why), why);
	must(vm_audit(r->vm, &why), why);
	must(mmu_audit(r->mmu, &why), why);
}

struct outcome run_scripts(const struct rig_config *c, const struct script *const s[], unsigned n,
			   const struct guest_hooks *hooks)
{
	struct outcome o = { .possible = false };
	struct guest_hooks h = { 0 };
	struct trace *t[8];
	struct rig *r = calloc(1, sizeof(*r));

	assert_in_range(n, 1, 8);
	if (rig_open(r, c)) {
		o.possible = true;
		if (hooks)
			h = *hooks;
		if (!h.ctx)
			h.ctx = r;
		for (unsigned i = 0; i < n; i++) {
			t[i] = script_trace(s[i]);
			assert_int_equal(guest_add_work(r->guest, t[i]), 0);
		}
		o.end = guest_run(r->guest, hooks ? &h : NULL, &o.err);
		o.refs = guest_refs(r->guest);
		guest_counted(r->guest, &o.vm, &o.stats);
		o.digest = guest_digest(r->guest);
		o.work_digest = guest_work_digest(r->guest);
		if (o.end == GUEST_DONE)
			rig_audit(r);
		rig_close(r);
		for (unsigned i = 0; i < n; i++)
			trace_close(t[i]);
	}
	free(r);
	return o;
}

struct outcome run_script(const struct rig_config *c, const struct script *s, const struct guest_hooks *hooks)
{
	return run_scripts(c, &s, 1, hooks);
}

struct rig_config rig_plain(void)
{
	return (struct rig_config){ .scheme = "native", .guest = { .asids = true } };
}

struct outcome must_run(const struct rig_config *c, const struct script *s)
{
	struct outcome o = run_script(c, s, NULL);

	assert_true(o.possible);
	assert_int_equal(o.end, GUEST_DONE);
	return o;
}

void open_and_run(struct rig *r, const struct rig_config *c, const struct script *s)
{
	struct trace_error err;
	struct trace *t = script_trace(s);

	assert_true(rig_open(r, c));
	assert_int_equal(guest_add_work(r->guest, t), 0);
	assert_int_equal(guest_run(r->guest, NULL, &err), GUEST_DONE);
	trace_close(t);
}

uint64_t look(struct rig *r, uint32_t pid, uint64_t gva)
{
	uint64_t v;

	assert_int_equal(guest_enter(r->guest, pid), 0);
	assert_int_equal(vcpu_load(&r->vcpu, SEG_PAGED, gva, 8, &v), ACCESS_OK);
	return v;
}
