/* SPDX-License-Identifier: MIT */
/* What the kernel does for its processes, seen from outside: values, counts, frames. */
#include "harness.h"

#include <string.h>

#include "guestos/guest_internal.h"

static struct rig_config plain(void)
{
	return (struct rig_config){ .scheme = "native", .guest = { .asids = true } };
}

static struct outcome must_run(const struct rig_config *c, const struct script *s)
{
	struct outcome o = run_script(c, s, NULL);

	assert_true(o.possible);
	assert_int_equal(o.end, GUEST_DONE);
	return o;
}

/* ---- values: a rig that stays open, so that memory can be looked at ---- */

static void open_and_run(struct rig *r, const struct rig_config *c, const struct script *s)
{
	struct trace_error err;
	struct trace *t = script_trace(s);

	assert_true(rig_open(r, c));
	assert_int_equal(guest_add_work(r->guest, t), 0);
	assert_int_equal(guest_run(r->guest, NULL, &err), GUEST_DONE);
	trace_close(t);
}

static uint64_t look(struct rig *r, uint32_t pid, uint64_t gva)
{
	uint64_t v;

	assert_int_equal(guest_enter(r->guest, pid), 0);
	assert_int_equal(vcpu_load(&r->vcpu, SEG_PAGED, gva, 8, &v), ACCESS_OK);
	return v;
}

static void fork_gives_each_its_own_values(void **state)
{
	unsigned i = 0;

	for_each_scheme(name, i) {
		struct rig_config c = plain();
		struct script s;
		struct rig r;
		uint64_t parent, child;

		c.scheme = name;
		c.guest.data = true;
		script_init(&s);
		script_switch(&s, 10);
		script_write(&s, 0x400000);
		script_write(&s, 0x401000);
		script_fork(&s, 10, 11);
		script_switch(&s, 11);
		script_read(&s, 0x400000);
		script_write(&s, 0x400000);
		script_switch(&s, 10);
		script_read(&s, 0x400000);
		script_write(&s, 0x402000);
		if (!rig_open(&r, &c)) {
			script_fini(&s);
			continue;
		}
		rig_close(&r);
		open_and_run(&r, &c, &s);
		parent = look(&r, 10, 0x400000);
		child = look(&r, 11, 0x400000);
		assert_int_not_equal(parent, 0);
		assert_int_not_equal(parent, child);
		assert_int_equal(look(&r, 10, 0x401000), look(&r, 11, 0x401000));
		assert_int_equal(guest_stats(r.guest)->cow, 1);
		assert_int_equal(guest_stats(r.guest)->forks, 1);
		assert_int_equal(guest_stats(r.guest)->processes, 2);
		rig_audit(&r);
		rig_close(&r);
		script_fini(&s);
	}
	(void)state;
}

/* A page on the disk has two owners after a fork: what one writes to the disk later must not be the other's. */
static void fork_shares_pages_on_disk(void **state)
{
	struct rig_config c = plain();
	struct script s;
	struct rig r;
	uint64_t parent, child;

	c.guest.data = true;
	c.guest.mem_pages = 1 + 2 * 4 + 5;
	script_init(&s);
	script_switch(&s, 1);
	for (uint64_t page = 1; page <= 12; page++)
		script_write(&s, page << PAGE_SHIFT);
	script_fork(&s, 1, 2);
	for (uint32_t pid = 2; pid > 0; pid--) {
		script_switch(&s, pid);
		script_write(&s, 0x1000);
		for (uint64_t page = 2; page <= 12; page++)
			script_read(&s, page << PAGE_SHIFT);
	}
	script_read(&s, 0x1000);
	script_switch(&s, 2);
	script_read(&s, 0x1000);
	open_and_run(&r, &c, &s);
	/* The last two read were not evicted since. */
	child = look(&r, 2, 0x1000);
	parent = look(&r, 1, 0x1000);
	assert_int_not_equal(child, 0);
	assert_int_not_equal(parent, 0);
	assert_int_not_equal(child, parent);
	rig_audit(&r);
	rig_close(&r);
	script_fini(&s);
	(void)state;
}

static void shared_memory_is_one_before_and_after_fork(void **state)
{
	for (int thp = 0; thp < 2; thp++) {
		struct rig_config c = plain();
		struct script s;
		struct rig r;

		c.guest.data = true;
		c.guest.thp = thp;
		script_init(&s);
		script_mmap(&s, 1, 0x600000, 0x400000, PROT_BIT_R | PROT_BIT_W, EVF_SHARED);
		script_write(&s, 0x600000);
		script_fork(&s, 1, 2);
		script_write(&s, 0x601000); /* touched first after the fork */
		script_switch(&s, 2);
		script_write(&s, 0x602000);
		open_and_run(&r, &c, &s);
		for (uint64_t gva = 0x600000; gva < 0x603000; gva += 0x1000) {
			uint64_t v;

			/* Pages that one has not touched yet: by a fault of its own. */
			guest_enter(r.guest, 1);
			if (vcpu_load(&r.vcpu, SEG_PAGED, gva, 8, &v)) {
				bool segv;

				assert_int_equal(fault_handle(r.guest, r.guest->procs[0], &r.vcpu.fault, &segv), 0);
			}
			guest_enter(r.guest, 2);
			if (vcpu_load(&r.vcpu, SEG_PAGED, gva, 8, &v)) {
				bool segv;

				assert_int_equal(fault_handle(r.guest, r.guest->procs[1], &r.vcpu.fault, &segv), 0);
			}
			assert_int_not_equal(look(&r, 1, gva), 0);
			assert_int_equal(look(&r, 1, gva), look(&r, 2, gva));
		}
		assert_int_equal(guest_stats(r.guest)->cow, 0);
		rig_audit(&r);
		rig_close(&r);
		script_fini(&s);
	}
	(void)state;
}

static void the_last_owner_writes_in_place(void **state)
{
	struct rig_config c = plain();
	struct script s;
	struct outcome o;

	script_init(&s);
	script_switch(&s, 1);
	for (unsigned i = 0; i < 8; i++)
		script_write(&s, 0x1000 * (i + 1));
	script_fork(&s, 1, 2);
	script_exit(&s, 2);
	for (unsigned i = 0; i < 8; i++)
		script_write(&s, 0x1000 * (i + 1));
	o = must_run(&c, &s);
	assert_int_equal(o.stats.cow, 0);
	assert_int_equal(o.stats.minor, 8);
	assert_int_equal(o.stats.faults, 16);
	script_fini(&s);
	(void)state;
}

static void a_forbidden_reference_is_skipped_and_counted(void **state)
{
	struct rig_config c = plain();
	struct script s;
	struct outcome o;

	script_init(&s);
	script_mmap(&s, 1, 0x10000, 0x4000, PROT_BIT_R, 0);
	script_mmap(&s, 1, 0x14000, 0x1000, 0, 0);
	script_read(&s, 0x10000);
	script_write(&s, 0x10000);          /* read-only */
	script_ref(&s, 0x10000, ACC_EXEC, 4); /* not executable */
	script_read(&s, 0x14000);           /* nothing */
	script_read(&s, UINT64_C(0x800000000000)); /* not canonical */
	script_mprotect(&s, 1, 0x10000, 0x1000, PROT_BIT_R | PROT_BIT_W);
	script_write(&s, 0x10000);
	script_write(&s, 0x11000);
	script_mprotect(&s, 1, 0x10000, 0x1000, 0);
	script_read(&s, 0x10000);
	script_mprotect(&s, 1, 0x10000, 0x1000, PROT_BIT_R);
	script_read(&s, 0x10000);
	o = must_run(&c, &s);
	assert_int_equal(o.stats.segv, 6);
	assert_int_equal(o.refs, 9);
	assert_int_equal(o.vm.refs, 9);
	script_fini(&s);
	(void)state;
}

/* A page keeps what it holds while nobody may touch it. */
static void prot_none_keeps_contents(void **state)
{
	struct rig_config c = plain();
	struct script s;
	struct rig r;

	c.guest.data = true;
	script_init(&s);
	script_write(&s, 0x10000);
	script_mprotect(&s, 1, 0x10000, 0x1000, 0);
	script_mprotect(&s, 1, 0x10000, 0x1000, PROT_BIT_R | PROT_BIT_W);
	script_read(&s, 0x10000);
	open_and_run(&r, &c, &s);
	assert_int_not_equal(look(&r, 1, 0x10000), 0);
	rig_close(&r);
	script_fini(&s);
	(void)state;
}

/* gem5's fault: frames never came back after munmap. */
static void frames_are_reused_after_munmap(void **state)
{
	struct rig_config c = plain();
	struct script s;
	struct outcome o;

	c.guest.mem_pages = 64;
	script_init(&s);
	for (unsigned round = 0; round < 50; round++) {
		script_mmap(&s, 1, 0x100000, 40 << PAGE_SHIFT, PROT_BIT_R | PROT_BIT_W, 0);
		for (unsigned i = 0; i < 40; i++)
			script_write(&s, 0x100000 + ((uint64_t)i << PAGE_SHIFT));
		script_munmap(&s, 1, 0x100000, 40 << PAGE_SHIFT);
	}
	o = must_run(&c, &s);
	assert_int_equal(o.stats.evictions, 0);
	assert_int_equal(o.stats.minor, 50 * 40);
	/* The kernel's frame and the root: the tables went too. */
	assert_int_equal(o.stats.frames_used, 2);
	assert_true(o.stats.frames_peak <= 45);
	script_fini(&s);
	(void)state;
}

/* hypocaust's fault: a freed root came back under the same tag and found its old translations. */
static void a_root_that_comes_back_finds_nothing_old(void **state)
{
	unsigned i = 0;

	for_each_scheme(name, i) {
		for (int asids = 0; asids < 2; asids++) {
			struct rig_config c = plain();
			struct script s;
			struct outcome o;

			c.scheme = name;
			c.guest.asids = asids;
			c.guest.data = true;
			c.guest.mem_pages = 24; /* few frames: the next process gets the same ones */
			script_init(&s);
			script_switch(&s, 99);
			script_write(&s, 0x1000);
			for (uint32_t pid = 1; pid <= 20; pid++) {
				script_switch(&s, pid);
				script_read(&s, 0x5000);
				script_write(&s, 0x5000 + 8 * pid);
				script_read(&s, 0x6000);
				script_exit(&s, pid);
			}
			o = run_script(&c, &s, NULL);
			script_fini(&s);
			if (!o.possible)
				continue;
			assert_int_equal(o.end, GUEST_DONE);
			assert_int_equal(o.stats.minor, 41);
			assert_int_equal(o.stats.evictions, 0);
			assert_int_equal(o.stats.exits, 20);
		}
	}
	(void)state;
}

/* More spaces than tags: generations. Tags 1 to 3, and seven spaces that take turns. */
static void tags_run_out_and_start_again(void **state)
{
	unsigned k = 0;

	for_each_scheme(name, k) {
		struct rig_config c = plain();
		struct trace_error err;
		struct script s;
		struct trace *t;
		struct rig r;

		c.scheme = name;
		c.guest.data = true;
		if (!rig_open(&r, &c))
			continue;
		r.guest->asid_end = 4;
		script_init(&s);
		for (uint32_t i = 0; i < 70; i++) {
			script_switch(&s, 1 + i % 7);
			script_write(&s, 0x1000);
			script_write(&s, 0x5000 + 8 * i);
		}
		t = script_trace(&s);
		guest_add_work(r.guest, t);
		assert_int_equal(guest_run(r.guest, NULL, &err), GUEST_DONE);
		assert_int_equal(guest_stats(r.guest)->switches, 70);
		assert_int_equal(guest_stats(r.guest)->minor, 14);
		assert_int_equal(r.guest->asid_generation, 1 + 69 / 3);
		/* Each stored in its own page. */
		for (uint32_t pid = 1; pid < 7; pid++)
			assert_int_not_equal(look(&r, pid, 0x1000), look(&r, pid + 1, 0x1000));
		rig_audit(&r);
		rig_close(&r);
		trace_close(t);
		script_fini(&s);
	}
	(void)state;
}

static void superpages_come_whole_and_split(void **state)
{
	const uint64_t base = 0x40000000, mib2 = 0x200000;
	struct rig_config c = plain();
	struct script s;
	struct outcome o;

	c.guest.thp = true;
	c.guest.mem_pages = 8192;
	script_init(&s);
	script_mmap(&s, 1, base, 2 * mib2, PROT_BIT_R | PROT_BIT_W, 0);
	script_mmap(&s, 1, base + 2 * mib2, mib2 / 2, PROT_BIT_R | PROT_BIT_W, EVF_SHARED);
	script_write(&s, base + 0x5000);         /* superpage */
	script_write(&s, base + mib2 + 0x7000);  /* superpage */
	script_write(&s, base + 2 * mib2);       /* does not fit: shared, and half a one */
	script_read(&s, base + 0x6000);          /* no fault */
	o = must_run(&c, &s);
	assert_int_equal(o.stats.superpages_mapped, 2);
	assert_int_equal(o.stats.faults, 3);
	assert_int_equal(o.stats.minor, 3);

	/* A hole in the first: its other pages stay, in small pieces, at no fault. */
	script_munmap(&s, 1, base + 0x10000, 0x1000);
	script_write(&s, base + 0x5000);
	script_write(&s, base + 0x1ff000);
	/* Rights of a part of the second. */
	script_mprotect(&s, 1, base + mib2, 0x3000, PROT_BIT_R);
	script_read(&s, base + mib2);
	script_write(&s, base + mib2 + 0x3000);
	o = must_run(&c, &s);
	assert_int_equal(o.stats.faults, 3);
	assert_int_equal(o.stats.pages_unmapped, 3);
	/* Written after a fork: one small page is copied, the others stay shared. */
	script_mmap(&s, 1, base, mib2, PROT_BIT_R | PROT_BIT_W, 0);
	script_write(&s, base);
	script_fork(&s, 1, 2);
	script_write(&s, base + 0x3000);
	o = must_run(&c, &s);
	assert_int_equal(o.stats.cow, 1);
	assert_int_equal(o.stats.faults, 5);
	script_fini(&s);
	(void)state;
}

/* Frames of a superpage go one by one when memory is short. */
static void superpages_split_under_pressure(void **state)
{
	struct rig_config c = plain();
	struct script s;
	struct outcome o;

	c.guest.thp = true;
	c.guest.mem_pages = 1100;
	/* One aligned block of 512 is whole; the 744 pages of the other regions do not fit beside it. */
	script_init(&s);
	for (unsigned round = 0; round < 2; round++)
		for (uint64_t page = 0; page < 2000; page += 2)
			script_write(&s, page << PAGE_SHIFT);
	o = must_run(&c, &s);
	assert_int_equal(o.stats.superpages_mapped, 1);
	assert_true(o.stats.evictions > 0);
	script_fini(&s);
	(void)state;
}

static void the_break_moves(void **state)
{
	struct rig_config c = plain();
	struct script s;
	struct outcome o;

	script_init(&s);
	script_event(&s, &(struct trace_event){ .kind = EV_BRK, .pid = 1, .addr = 0x10000 });
	script_event(&s, &(struct trace_event){ .kind = EV_BRK, .pid = 1, .addr = 0x12800 });
	script_ref(&s, 0x12fff, ACC_WRITE, 1);
	script_ref(&s, 0x10000, ACC_EXEC, 4); /* the heap is no place for code */
	script_event(&s, &(struct trace_event){ .kind = EV_BRK, .pid = 1, .addr = 0x10000 });
	script_ref(&s, 0x12fff, ACC_EXEC, 1); /* outside all VMAs again */
	o = must_run(&c, &s);
	assert_int_equal(o.stats.segv, 1);
	assert_int_equal(o.stats.minor, 2);
	assert_int_equal(o.stats.auto_mapped, 1);
	assert_int_equal(o.stats.pages_unmapped, 1);
	script_fini(&s);
	(void)state;
}

static void mremap_takes_values_along(void **state)
{
	struct rig_config c = plain();
	struct script s;
	struct rig r;

	c.guest.data = true;
	script_init(&s);
	script_mmap(&s, 1, 0x10000, 0x3000, PROT_BIT_R | PROT_BIT_W, 0);
	script_write(&s, 0x11000);
	script_event(&s, &(struct trace_event){ .kind = EV_MREMAP, .pid = 1, .addr = 0x10000, .len = 0x3000,
						.addr2 = 0x50000, .len2 = 0x5000 });
	script_write(&s, 0x54000);
	script_ref(&s, 0x54000, ACC_EXEC, 4); /* the stretch has the same rights */
	open_and_run(&r, &c, &s);
	assert_int_not_equal(look(&r, 1, 0x51000), 0);
	assert_int_equal(guest_stats(r.guest)->minor, 2);
	assert_int_equal(guest_stats(r.guest)->segv, 1);
	rig_audit(&r);
	rig_close(&r);
	script_fini(&s);
	(void)state;
}

static void accessed_and_dirty_by_the_kernel(void **state)
{
	struct rig_config c = plain();
	struct script s;
	struct outcome o;

	c.guest_fmt = "sv39";
	c.guest.ad = WALK_AD_FAULT;
	script_init(&s);
	script_read(&s, 0x1000);  /* mapped, born accessed */
	script_write(&s, 0x1000); /* D clear: the kernel sets it */
	script_write(&s, 0x1000);
	o = must_run(&c, &s);
	assert_int_equal(o.stats.faults, 2);
	assert_int_equal(o.vm.ad_updates, 0);
	script_fini(&s);
	(void)state;
}

static void limit_and_warmup(void **state)
{
	struct rig_config c = plain();
	struct script s;
	struct outcome o;

	script_init(&s);
	for (unsigned i = 0; i < 100; i++)
		script_read(&s, (uint64_t)i << PAGE_SHIFT);
	c.guest.limit = 60;
	c.guest.warmup = 25;
	o = must_run(&c, &s);
	assert_int_equal(o.refs, 60);
	assert_int_equal(o.vm.refs, 35);
	assert_int_equal(o.stats.minor, 35);
	assert_int_equal(o.stats.processes, 1);
	assert_int_equal(o.stats.frames_used, 1 + 4 + 60);
	script_fini(&s);
	(void)state;
}

static void damage_is_told_and_what_came_before_counts(void **state)
{
	struct rig_config c = plain();
	struct script s;
	struct outcome o, whole;

	script_init(&s);
	for (unsigned i = 0; i < 10; i++)
		script_read(&s, 0x1000 * i);
	whole = must_run(&c, &s);
	for (unsigned i = 0; i < 10; i++)
		script_read(&s, 0x1000 * i);
	s.damaged_at = 10;
	o = run_script(&c, &s, NULL);
	assert_int_equal(o.end, GUEST_BAD_INPUT);
	assert_int_equal(o.err.exit_code, 3);
	assert_int_equal(o.refs, 10);
	assert_int_equal(o.work_digest, whole.work_digest);
	script_fini(&s);
	(void)state;
}

struct counted {
	uint64_t steps, last;
};

static void count_step(void *ctx, uint64_t refs)
{
	struct counted *k = ctx;

	assert_true(refs - k->last <= 10);
	k->last = refs;
	k->steps++;
}

static bool stop_now(void *ctx, uint64_t refs)
{
	(void)ctx;
	return refs >= 200;
}

static void hooks_are_called_and_may_stop(void **state)
{
	struct rig_config c = plain();
	struct counted k = { 0 };
	struct guest_hooks h = { .step = count_step, .step_refs = 10, .ctx = &k };
	struct script s;
	struct outcome o;

	script_init(&s);
	for (unsigned i = 0; i < 1000; i++)
		script_read(&s, 8 * i);
	o = run_script(&c, &s, &h);
	assert_int_equal(o.end, GUEST_DONE);
	assert_in_range(k.steps, 99, 101);
	h = (struct guest_hooks){ .poll = stop_now };
	s.block = 50;
	o = run_script(&c, &s, &h);
	assert_int_equal(o.end, GUEST_STOPPED);
	assert_int_equal(o.refs, 200);
	script_fini(&s);
	(void)state;
}

static void slices_do_what_one_run_does(void **state)
{
	struct rig_config c = plain();
	struct script s[2];
	const struct script *both[] = { &s[0], &s[1] };
	struct trace *t[2];
	struct trace_error err;
	struct outcome o;
	struct rig r;
	bool finished = false;

	c.guest.quantum = 30;
	c.guest.data = true;
	for (unsigned i = 0; i < 2; i++) {
		script_init(&s[i]);
		script_random(&s[i], &(struct random_work){ .seed = 40 + i, .refs = 2000, .base = 0x10000, .pages = 50,
							    .processes = 3, .events = true, .segv = true });
	}
	o = run_scripts(&c, both, 2, NULL);
	assert_int_equal(o.end, GUEST_DONE);
	assert_true(rig_open(&r, &c));
	for (unsigned i = 0; i < 2; i++)
		guest_add_work(r.guest, t[i] = script_trace(&s[i]));
	while (!finished)
		assert_int_equal(guest_run_slice(r.guest, 7, NULL, &err, &finished), GUEST_DONE);
	assert_int_equal(guest_digest(r.guest), o.digest);
	assert_int_equal(guest_work_digest(r.guest), o.work_digest);
	rig_close(&r);
	for (unsigned i = 0; i < 2; i++) {
		trace_close(t[i]);
		script_fini(&s[i]);
	}
	(void)state;
}

/* The last process's memory can be looked at after its end; the next one's birth takes it away. */
static void the_last_process_can_be_looked_at(void **state)
{
	struct rig_config c = plain();
	struct script s;
	struct rig r;
	struct outcome o;
	hpa_t hpa;

	script_init(&s);
	script_switch(&s, 5);
	script_write(&s, 0x3000);
	script_exit(&s, 5);
	open_and_run(&r, &c, &s);
	assert_int_equal(guest_enter(r.guest, 0), 0);
	assert_int_equal(vcpu_touch(&r.vcpu, SEG_PAGED, 0x3000, ACC_READ, &hpa), ACCESS_OK);
	assert_int_equal(vcpu_touch(&r.vcpu, SEG_PAGED, 0x4000, ACC_READ, &hpa), ACCESS_FAULT);
	assert_int_equal(guest_enter(r.guest, 77), -ENOENT);
	rig_close(&r);
	script_switch(&s, 6);
	script_write(&s, 0x3000);
	o = must_run(&c, &s);
	assert_int_equal(o.stats.frames_used, 6);
	script_fini(&s);
	(void)state;
}

static void what_cannot_be_is_refused(void **state)
{
	struct rig_config c = plain();
	struct rig r;

	c.guest_org = "flat";
	assert_false(rig_open(&r, &c));
	assert_non_null(r.why);
	c.guest_fmt = "classroom";
	c.host_fmt = "x86-64";
	assert_true(rig_open(&r, &c));
	rig_close(&r);
	(void)state;
}

/* The machine is too small for its guest: said at once, nothing lost, nothing leaked. */
static void the_machine_may_run_out(void **state)
{
	unsigned i = 0, met = 0;

	for_each_scheme(name, i) {
		struct rig_config c = plain();
		struct script s;

		c.scheme = name;
		c.machine_mib = 8;
		c.guest.mem_pages = 8192;
		script_init(&s);
		script_switch(&s, 1);
		for (uint64_t page = 0; page < 1500; page++)
			script_write(&s, page << PAGE_SHIFT);
		script_fork(&s, 1, 2);
		script_switch(&s, 2);
		for (uint64_t page = 0; page < 6000; page++)
			script_write(&s, page << PAGE_SHIFT);
		/* Native needs all of its guest's memory at the start: it cannot even begin. */
		if (strcmp(name, "native")) {
			struct outcome o = run_script(&c, &s, NULL);

			if (o.possible) {
				assert_int_equal(o.end, GUEST_NOMEM);
				met++;
			}
		}
		script_fini(&s);
	}
	assert_true(met > 0);
	(void)state;
}

/* Every allocation of a table in turn finds no frame: room is made, or the guest says so; its records stay right. */
static void every_table_allocation_may_fail(void **state)
{
	struct rig_config c = plain();
	struct trace_error err;
	struct script s;
	uint64_t ended = 0;

	script_init(&s);
	script_random(&s, &(struct random_work){ .seed = 77, .refs = 400, .base = 0x1ff000, .pages = 700,
						.processes = 3, .events = true, .segv = true });
	c.guest.thp = true;
	for (uint64_t nth = 0;; nth++) {
		struct trace *t = script_trace(&s);
		struct faultinj inj;
		struct rig r;
		enum guest_end end;
		bool hit;

		faultinj_init(&inj);
		assert_true(rig_open(&r, &c));
		r.guest->ptm.inj = &inj;
		faultinj_arm(&inj, FAULT_TABLE_ALLOC, nth, nth % 2);
		guest_add_work(r.guest, t);
		end = guest_run(r.guest, NULL, &err);
		hit = inj.site[FAULT_TABLE_ALLOC].failed;
		assert_true(end == GUEST_DONE || (hit && end == GUEST_OOM));
		ended += end == GUEST_OOM;
		faultinj_init(&inj);
		rig_audit(&r);
		rig_close(&r);
		trace_close(t);
		if (!hit)
			break;
	}
	assert_true(ended > 0);
	script_fini(&s);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fork_gives_each_its_own_values),
		cmocka_unit_test(fork_shares_pages_on_disk),
		cmocka_unit_test(shared_memory_is_one_before_and_after_fork),
		cmocka_unit_test(the_last_owner_writes_in_place),
		cmocka_unit_test(a_forbidden_reference_is_skipped_and_counted),
		cmocka_unit_test(prot_none_keeps_contents),
		cmocka_unit_test(frames_are_reused_after_munmap),
		cmocka_unit_test(a_root_that_comes_back_finds_nothing_old),
		cmocka_unit_test(tags_run_out_and_start_again),
		cmocka_unit_test(superpages_come_whole_and_split),
		cmocka_unit_test(superpages_split_under_pressure),
		cmocka_unit_test(the_break_moves),
		cmocka_unit_test(mremap_takes_values_along),
		cmocka_unit_test(accessed_and_dirty_by_the_kernel),
		cmocka_unit_test(limit_and_warmup),
		cmocka_unit_test(damage_is_told_and_what_came_before_counts),
		cmocka_unit_test(hooks_are_called_and_may_stop),
		cmocka_unit_test(slices_do_what_one_run_does),
		cmocka_unit_test(the_last_process_can_be_looked_at),
		cmocka_unit_test(what_cannot_be_is_refused),
		cmocka_unit_test(the_machine_may_run_out),
		cmocka_unit_test(every_table_allocation_may_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
