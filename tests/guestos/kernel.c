/* SPDX-License-Identifier: MIT */
/* What the kernel does for its processes, seen from outside: values, counts, frames. */
#include "harness.h"

#include "guestos/guest_internal.h"

static void fork_gives_each_its_own_values(void **state)
{
	unsigned i = 0;

	for_each_scheme(name, i) {
		struct rig_config c = rig_plain();
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
	struct rig_config c = rig_plain();
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
		struct rig_config c = rig_plain();
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

/* What only a process that ended knew of a shared page: that it was written. */
static void shared_memory_written_by_the_dead_is_kept(void **state)
{
	uint64_t value[2];

	for (int writes = 0; writes < 2; writes++) {
		struct rig_config c = rig_plain();
		struct script s;
		struct rig r;

		c.guest.data = true;
		c.guest.mem_pages = 1 + 2 * 4 + 5;
		script_init(&s);
		script_mmap(&s, 1, 0x1000, 12 << PAGE_SHIFT, PROT_BIT_R | PROT_BIT_W, EVF_SHARED);
		for (uint64_t page = 1; page <= 12; page++)
			script_write(&s, page << PAGE_SHIFT);
		script_fork(&s, 1, 2);
		script_switch(&s, 2);
		script_read(&s, 0x1000);
		script_ref(&s, 0x1000, writes ? ACC_WRITE : ACC_READ, 8);
		script_exit(&s, 2);
		script_switch(&s, 1);
		for (uint64_t page = 2; page <= 12; page++)
			script_read(&s, page << PAGE_SHIFT);
		script_read(&s, 0x1000);
		open_and_run(&r, &c, &s);
		value[writes] = look(&r, 1, 0x1000);
		rig_audit(&r);
		rig_close(&r);
		script_fini(&s);
	}
	assert_int_not_equal(value[0], value[1]);
	(void)state;
}

/* A space changes while another generation runs, then gets its old tag again: nothing of before may be left. */
static void an_old_tag_leads_to_nothing_old(void **state)
{
	struct rig_config c = rig_plain();
	struct script s;
	struct outcome o;

	c.visibility = VISIBLE_ARCHITECTURAL;
	c.asids_max = 2;
	script_init(&s);
	for (uint32_t pid = 1; pid <= 3; pid++) {
		script_switch(&s, pid); /* tags 1, 2, and 1 of the next generation */
		script_write(&s, 0x1000);
	}
	script_fork(&s, 1, 4); /* takes the right to write from process 1, which has no tag */
	script_switch(&s, 2);
	script_write(&s, 0x1000);
	script_switch(&s, 1);
	script_write(&s, 0x1000); /* tag 1 */
	o = must_run(&c, &s);
	assert_int_equal(o.stats.cow, 1);
	script_fini(&s);
	(void)state;
}

static void the_last_owner_writes_in_place(void **state)
{
	struct rig_config c = rig_plain();
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
	struct rig_config c = rig_plain();
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
	struct rig_config c = rig_plain();
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
	struct rig_config c = rig_plain();
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
			struct rig_config c = rig_plain();
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
		struct rig_config c = rig_plain();
		struct trace_error err;
		struct script s;
		struct trace *t;
		struct rig r;

		c.scheme = name;
		c.guest.data = true;
		c.asids_max = 3;
		if (!rig_open(&r, &c))
			continue;
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
	struct rig_config c = rig_plain();
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
	struct rig_config c = rig_plain();
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
	struct rig_config c = rig_plain();
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
	struct rig_config c = rig_plain();
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
	struct rig_config c = rig_plain();
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fork_gives_each_its_own_values),
		cmocka_unit_test(fork_shares_pages_on_disk),
		cmocka_unit_test(shared_memory_is_one_before_and_after_fork),
		cmocka_unit_test(shared_memory_written_by_the_dead_is_kept),
		cmocka_unit_test(an_old_tag_leads_to_nothing_old),
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
