/* SPDX-License-Identifier: MIT */
/*
 * vCPU settings and the model guest: what each costs, exactly; that nobody
 * can tell them apart; that a deprivileged kernel is as safe as one that is
 * not.
 */
#include "harness.h"

#include "mmu/internal.h"
#include "mmu/guest_entry.h"

enum { ROUNDS = 4 };

static const uint64_t base = 0x200000;

static void make_work(struct script *s, uint64_t seed, bool segv)
{
	script_init(s);
	script_random(s, &(struct random_work){ .seed = seed, .refs = 2500, .base = base, .pages = 600,
						.processes = 4, .events = true, .segv = segv });
}

static uint64_t sum_of_reasons(const struct vm_stats *s)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < EXIT_COUNT; i++)
		n += s->exit_by[i];
	return n;
}

/* ---- tlb=software ---- */

/* Pages written in order, then read again: the second time all are there. */
static void each_miss_has_three_entries(void **state)
{
	for (unsigned pages = 1; pages <= 60; pages += 7) {
		struct rig_config c = { .scheme = "nested/radix", .tlb_software = true, .p2m_eager = true,
					.guest = { .asids = true } };
		struct script s;
		struct outcome o;

		script_init(&s);
		for (unsigned i = 0; i < 2 * pages; i++)
			(i < pages ? script_write : script_read)(&s, base + ((uint64_t)(i % pages) << PAGE_SHIFT));
		o = must_run(&c, &s);
		assert_int_equal(o.vm.l2_misses, pages);
		assert_int_equal(o.vm.exit_by[EXIT_TLB_MISS], pages);
		assert_int_equal(o.vm.exit_by[EXIT_TLB_WRITE], pages);
		assert_int_equal(o.vm.exit_by[EXIT_TLB_RETURN], pages);
		assert_int_equal(o.vm.exits, 3 * pages);
		assert_int_equal(o.vm.walks + o.vm.fault_walks, 0);
		/* Twice a miss: once finding nothing, once for what the fault made. Four levels each, at most. */
		assert_int_equal(o.stats.tlb_refills, 2 * pages);
		assert_in_range(o.stats.tlb_refill_refs, 5 * pages, 8 * pages);
		/* A radix p2m of four levels. */
		assert_int_equal(o.vm.soft_p2m_refs, 4 * pages);
		script_fini(&s);
	}
	(void)state;
}

/* The loads of a miss whose page is there: the guest's levels, the p2m's cost. */
static void loads_of_a_miss(void **state)
{
	static const struct { const char *scheme, *fmt, *org; unsigned guest, p2m; } want[] = {
		{ "native", "x86-64", "radix", 4, 0 },     { "nested/radix", "x86-64", "radix", 4, 4 },
		{ "nested/flat", "x86-64", "radix", 4, 1 }, { "nested/radix", "sv39", "radix", 3, 3 },
		{ "nested/radix", "x86-64-5l", "radix", 5, 5 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(want); i++) {
		/* No TLB at all: every reference is a miss. */
		struct rig_config c = { .scheme = want[i].scheme, .guest_fmt = want[i].fmt, .guest_org = want[i].org,
					.tlb = "none", .tlb_software = true, .p2m_eager = true, .guest = { .asids = true } };
		struct outcome one, many;
		struct script s;

		script_init(&s);
		script_write(&s, base);
		one = must_run(&c, &s);
		for (unsigned n = 0; n < 100; n++)
			script_write(&s, base);
		many = must_run(&c, &s);
		assert_int_equal(many.vm.soft_misses - one.vm.soft_misses, 100);
		assert_int_equal(many.stats.tlb_refill_refs - one.stats.tlb_refill_refs, 100 * want[i].guest);
		assert_int_equal(many.vm.soft_p2m_refs - one.vm.soft_p2m_refs, 100 * want[i].p2m);
		assert_int_equal(many.vm.exit_by[EXIT_TLB_RETURN] - one.vm.exit_by[EXIT_TLB_RETURN],
				 i ? 100 : 0);
		script_fini(&s);
	}
	(void)state;
}

static void random_works_too(void **state)
{
	static const char *const schemes[] = { "nested/radix", "nested/flat", "nested/inverted" };
	static const char *const tlbs[] = { "generic", "rocket", "zen4", "none" };
	uint64_t segv = 0;

	for (uint64_t seed = 1; seed <= 4 * ROUNDS; seed++) {
		struct rig_config c = {
			.scheme = schemes[seed % 3], .guest_fmt = seed % 2 ? "sv39" : "x86-64", .tlb = tlbs[seed % 4],
			.tlb_software = true, .cpu_trap = seed % 5 == 0, .truth_only = seed % 2,
			.guest = { .asids = seed % 3 != 0, .data = seed % 4 == 1, .thp = seed % 4 == 2, .mem_pages = 3000,
				   .ad = seed % 2 && seed % 3 ? WALK_AD_FAULT : WALK_AD_SET },
		};
		struct script s;

		make_work(&s, seed, seed % 2);
		struct outcome o = must_run(&c, &s);
		const uint64_t *by = o.vm.exit_by;

		print_message("seed %d: %s\n", (int)seed, c.scheme);
		assert_int_equal(by[EXIT_TLB_MISS], o.vm.l2_misses);
		assert_int_equal(by[EXIT_TLB_MISS] + by[EXIT_TLB_MODIFY], o.vm.soft_misses);
		assert_int_equal(by[EXIT_TLB_RETURN], o.vm.soft_misses);
		/* One that ends in a signal writes nothing. */
		assert_int_equal(by[EXIT_TLB_WRITE], o.vm.soft_misses - o.stats.segv);
		segv += o.stats.segv;
		assert_int_equal(o.vm.exits, sum_of_reasons(&o.vm));
		assert_int_equal(by[EXIT_EXCEPTION] + by[EXIT_IRET], 0);
		/* Frames that the handler's write brought are no exits of their own. */
		assert_true(by[EXIT_HIDDEN_FAULT] < o.vm.hidden_total);
		assert_int_equal(by[EXIT_FENCE] + by[EXIT_FENCE_ALL], o.stats.fences);
		script_fini(&s);
	}
	assert_true(segv > 0);
	(void)state;
}

/* ---- cpu=trap ---- */

static struct outcome run_calls(const struct rig_config *c, const struct script *s, bool tells_calls)
{
	struct outcome o = { .possible = true };
	struct trace *t = script_trace(s);
	struct rig r;

	t->tells_calls = tells_calls;
	assert_true(rig_open(&r, c));
	assert_int_equal(guest_add_work(r.guest, t), 0);
	o.end = guest_run(r.guest, NULL, &o.err);
	assert_int_equal(o.end, GUEST_DONE);
	o.stats = *guest_stats(r.guest);
	o.vm = r.vm->stats;
	o.digest = guest_digest(r.guest);
	rig_close(&r);
	trace_close(t);
	return o;
}

static void each_call_has_two_entries(void **state)
{
	struct rig_config c = { .scheme = "nested/radix", .cpu_trap = true, .guest = { .asids = true } };

	for (unsigned calls = 0; calls < 40; calls += 13) {
		struct outcome o, told;
		struct script s;

		script_init(&s);
		script_switch(&s, 1);
		script_read(&s, base);
		for (unsigned i = 0; i < calls; i++) {
			script_mmap(&s, 1, base + ((uint64_t)(i + 1) << 20), 0x3000, PROT_BIT_R | PROT_BIT_W, 0);
			script_event(&s, &(struct trace_event){ .kind = EV_SYSCALL, .pid = 1, .len = 9 });
			script_read(&s, base);
		}
		o = run_calls(&c, &s, false);
		assert_int_equal(o.stats.syscalls, 2 * calls);
		assert_int_equal(o.vm.exit_by[EXIT_SYSCALL], 2 * calls);
		assert_int_equal(o.vm.exit_by[EXIT_SYSRET], 2 * calls);
		/* A recording says each call, and then what it did. */
		told = run_calls(&c, &s, true);
		assert_int_equal(told.stats.syscalls, calls);
		assert_int_equal(told.vm.exit_by[EXIT_SYSCALL], calls);
		assert_int_equal(told.vm.exit_by[EXIT_SYSRET], calls);
		assert_int_equal(told.digest, o.digest);
		script_fini(&s);
	}
	(void)state;
}

/* Each event is one exit, whether the mode or the setting makes it one. */
static void trapped_events_by_scheme(void **state)
{
	unsigned i = 0;

	for_each_scheme(name, i) {
		struct rig_config c = { .scheme = name, .guest = { .asids = true, .mem_pages = 3000 } };
		struct outcome plain, trap;
		struct script s;

		make_work(&s, 7, true);
		plain = run_script(&c, &s, NULL);
		c.cpu_trap = true;
		trap = run_script(&c, &s, NULL);
		script_fini(&s);
		if (!plain.possible)
			continue;
		const uint64_t *by = trap.vm.exit_by;

		assert_int_equal(trap.vm.exits, sum_of_reasons(&trap.vm));
		if (!strcmp(name, "native")) {
			assert_int_equal(trap.vm.exits, 0);
			continue;
		}
		/* What the mode itself intercepts stays as it was. */
		for (unsigned r = 0; r < EXIT_TLB_MISS; r++)
			assert_int_equal(by[r], plain.vm.exit_by[r]);
		assert_int_equal(by[EXIT_SYSCALL], trap.stats.syscalls);
		assert_int_equal(by[EXIT_SYSRET], trap.stats.syscalls);
		assert_int_equal(by[EXIT_EXCEPTION] + by[EXIT_GUEST_FAULT], trap.stats.faults);
		assert_int_equal(by[EXIT_IRET], trap.stats.faults);
		/* The kernel was never refused: nothing it did was without privilege. */
		assert_int_equal(trap.vm.guest_fences, plain.vm.guest_fences);
		assert_int_equal(trap.vm.guest_fences, trap.stats.fences);
		assert_int_equal(trap.vm.root_switches, plain.vm.root_switches);
		/* Roots, fences, and the entry points once. */
		assert_int_equal(by[EXIT_PRIV_INSTR] + by[EXIT_ROOT_SWITCH] + by[EXIT_FENCE] + by[EXIT_FENCE_ALL],
				 trap.vm.root_switches + trap.vm.guest_fences + 1);
	}
	(void)state;
}

struct test_kernel {
	struct guest_entry_points points;
	struct vcpu *v;
	unsigned calls;
};

static void system_call(void *ctx, void *call)
{
	struct test_kernel *k = ctx;
	uint64_t value;

	assert_int_equal(vcpu_load(k->v, SEG_BARE, *(uint64_t *)call, 8, &value), ACCESS_OK);
	k->calls++;
}

static void programs_cannot_reach_the_kernel(void **state)
{
	struct test_kernel kernel = { .calls = 0 };
	struct rig_config c = { .scheme = "nested/radix", .cpu_trap = true, .guest = { .asids = true } };
	struct guest_paging paging;
	struct script s;
	struct rig r;
	uint64_t value = 0, at = 0, fences;
	bool swapped = false;
	size_t done;

	script_init(&s);
	script_write(&s, base);
	open_and_run(&r, &c, &s);
	struct vcpu *v = &r.vcpu;

	/* The kernel's, in the guest's table root: hot in the TLB. */
	at = v->paging.root;
	paging = v->paging;
	assert_int_equal(vcpu_load(v, SEG_BARE, at, 8, &value), ACCESS_OK);
	assert_true(value != 0);
	uint64_t was = value;

	kernel.points = (struct guest_entry_points){ NULL, system_call, &kernel };
	kernel.v = v;
	vcpu_set_entry_points(v, &kernel.points);
	/* A program runs from here on. */
	assert_int_equal(vcpu_run(v, NULL, 0, &done), ACCESS_OK);
	for (int again = 0; again < 2; again++) {
		uint64_t exceptions = r.vm->stats.exit_by[EXIT_EXCEPTION];

		value = 0;
		assert_int_equal(vcpu_load(v, SEG_BARE, at, 8, &value), ACCESS_FAULT);
		assert_int_equal(value, 0);
		assert_int_equal(v->fault.why, WALK_WHY_PRIVILEGE);
		assert_int_equal(v->fault.gva.v, at);
		assert_int_equal(r.vm->stats.exit_by[EXIT_EXCEPTION], exceptions + 1);
		/* The kernel was given it, and returns. */
		vcpu_return(v);
		assert_int_equal(vcpu_store(v, SEG_BARE, at, 8, 0), ACCESS_FAULT);
		vcpu_return(v);
		assert_int_equal(vcpu_cas(v, SEG_BARE, at, 8, was, 0, &swapped), ACCESS_FAULT);
		assert_false(swapped);
		vcpu_return(v);
		assert_int_equal(vcpu_fill_zero(v, SEG_BARE, at, PAGE_SIZE), ACCESS_FAULT);
		vcpu_return(v);
		assert_int_equal(vcpu_copy(v, SEG_BARE, at, at + PAGE_SIZE, PAGE_SIZE), ACCESS_FAULT);
		vcpu_return(v);
		/* In a system call the kernel can; then the program again cannot. */
		vcpu_system_call(v, &at);
	}
	assert_int_equal(kernel.calls, 2);
	assert_int_equal(vcpu_set_paging(v, &paging, ROOT_FLUSH), -EPERM);
	fences = r.vm->stats.guest_fences;
	vcpu_fence(v, FENCE_ALL, 0, GVA(0));
	assert_int_equal(r.vm->stats.guest_fences, fences);
	vcpu_enter_kernel(v);
	assert_int_equal(vcpu_load(v, SEG_BARE, at, 8, &value), ACCESS_OK);
	assert_int_equal(value, was);
	rig_audit(&r);
	rig_close(&r);
	script_fini(&s);
	(void)state;
}

/* ---- tlb-tags=off ---- */

static void count_entry(void *ctx, int level, const struct tlb_entry *e)
{
	(void)level;
	(void)e;
	++*(unsigned *)ctx;
}

static unsigned entries(const struct rig *r)
{
	unsigned n = 0;

	tlb_for_each(&r->cpu->tlb, count_entry, &n);
	return n;
}

static void a_world_switch_flushes(void **state)
{
	static const char *const schemes[] = { "nested/radix", "shadow", "shadow+lazy" };

	for (unsigned i = 0; i < ARRAY_SIZE(schemes); i++) {
		struct rig_config c = { .scheme = schemes[i], .guest = { .asids = true, .mem_pages = 3000 } };
		struct outcome on, off;
		struct script s;
		struct rig r;

		make_work(&s, 11, true);
		on = must_run(&c, &s);
		assert_int_equal(on.vm.world_flushes, 0);
		c.tlb_untagged = true;
		off = must_run(&c, &s);
		assert_int_equal(off.vm.world_flushes, off.vm.exits);
		assert_true(off.vm.l2_misses > on.vm.l2_misses);
		assert_int_equal(off.digest, on.digest);

		c.cpu_trap = true;
		open_and_run(&r, &c, &s);
		uint64_t v, flushes = r.vm->stats.world_flushes;

		assert_int_equal(vcpu_load(&r.vcpu, SEG_BARE, PAGE_SIZE, 8, &v), ACCESS_OK);
		assert_true(entries(&r) > 0);
		vcpu_fence(&r.vcpu, FENCE_PAGE, r.vcpu.paging.asid, GVA(0));
		assert_int_equal(entries(&r), 0);
		assert_int_equal(vcpu_load(&r.vcpu, SEG_BARE, PAGE_SIZE, 8, &v), ACCESS_OK);
		assert_true(entries(&r) > 0);
		vcpu_switch_vm(&r.vcpu);
		assert_int_equal(entries(&r), 0);
		assert_true(r.vm->stats.world_flushes >= flushes + 2);
		rig_close(&r);
		script_fini(&s);
	}
	(void)state;
}

/* ---- nobody can tell ---- */

static void nobody_can_tell_the_settings(void **state)
{
	for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
		struct rig_config c = {
			.scheme = "native", .guest_fmt = seed % 2 ? "sv39" : "x86-64", .truth_only = seed % 2,
			.guest = { .asids = seed % 3 != 0, .data = seed % 2, .thp = seed % 4 == 1,
				   .mem_pages = seed == 2 ? 300 : 3000, .replace = seed % 2 ? REPLACE_CLOCK : REPLACE_LRU,
				   .ad = seed % 4 == 3 ? WALK_AD_FAULT : WALK_AD_SET },
		};
		struct outcome first, o;
		struct script s;
		unsigned i = 0;

		make_work(&s, seed + 30, true);
		first = must_run(&c, &s);
		for_each_scheme(name, i)
			for (unsigned set = 1; set < 8; set++) {
				c.scheme = name;
				c.cpu_trap = set & 1;
				c.tlb_software = set & 2;
				c.tlb_untagged = set & 4;
				o = run_script(&c, &s, NULL);
				if (!o.possible)
					continue;
				assert_int_equal(o.end, GUEST_DONE);
				if (o.digest != first.digest || o.work_digest != first.work_digest)
					fail_msg("%s, settings %u: seed %d: digests differ", name, set, (int)seed);
				if (!c.tlb_software)
					assert_memory_equal(&o.stats, &first.stats, sizeof(o.stats));
			}
		script_fini(&s);
	}
	(void)state;
}

struct chaos {
	struct rig r;
	struct rng rng;
	unsigned changes;
};

static void disturb(void *ctx, uint64_t refs)
{
	static const char *const names[] = { "nested/radix", "nested/flat", "nested/inverted", "shadow" };
	struct chaos *k = ctx;
	uint64_t pages = vm_pages(k->r.vm), gfn = rng_below(&k->rng, pages);
	struct scheme scheme;
	const char *why;

	(void)refs;
	switch (rng_below(&k->rng, 5)) {
	case 0:
		mmu_zap_all(k->r.mmu);
		break;
	case 1:
		assert_int_equal(scheme_parse(names[rng_below(&k->rng, 4)], &scheme, &why), 0);
		k->changes += mmu_change_scheme(k->r.mmu, &scheme, &why) == 0;
		break;
	case 2:
		vm_dirty_start(k->r.vm);
		break;
	case 3:
		vm_dirty_stop(k->r.vm);
		break;
	default:
		mmu_zap_gfns(k->r.mmu, GFN(gfn), 1 + rng_below(&k->rng, MIN(pages - gfn, 64)));
	}
}

static void nor_when_tables_are_dropped(void **state)
{
	static struct chaos k;

	for (uint64_t seed = 1; seed <= 2 * ROUNDS; seed++) {
		struct guest_hooks h = { .step = disturb, .step_refs = 41, .ctx = &k };
		struct rig_config c = { .scheme = "native", .guest = { .asids = true, .data = seed % 2, .mem_pages = 3000 } };
		struct trace_error err;
		struct outcome first;
		struct script s;
		struct trace *t;

		make_work(&s, seed + 60, true);
		first = must_run(&c, &s);
		rng_init(&k.rng, seed);
		k.changes = 0;
		c.scheme = "nested/radix";
		c.tlb_software = seed % 2;
		c.cpu_trap = seed % 3;
		c.tlb_untagged = seed % 4 < 2;
		assert_true(rig_open(&k.r, &c));
		t = script_trace(&s);
		guest_add_work(k.r.guest, t);
		assert_int_equal(guest_run(k.r.guest, &h, &err), GUEST_DONE);
		assert_true(k.changes > 2);
		if (guest_digest(k.r.guest) != first.digest)
			fail_msg("seed %d: digests differ", (int)seed);
		assert_int_equal(guest_work_digest(k.r.guest), first.work_digest);
		rig_audit(&k.r);
		rig_close(&k.r);
		trace_close(t);
		script_fini(&s);
	}
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_miss_has_three_entries),
		cmocka_unit_test(loads_of_a_miss),
		cmocka_unit_test(random_works_too),
		cmocka_unit_test(each_call_has_two_entries),
		cmocka_unit_test(trapped_events_by_scheme),
		cmocka_unit_test(programs_cannot_reach_the_kernel),
		cmocka_unit_test(a_world_switch_flushes),
		cmocka_unit_test(nobody_can_tell_the_settings),
		cmocka_unit_test(nor_when_tables_are_dropped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
