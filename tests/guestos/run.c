/* SPDX-License-Identifier: MIT */
/* A run as its caller sees it: how it begins and ends, what it says, what it does when there is no room. */
#include "harness.h"

#include <string.h>

#include "guestos/guest_internal.h"

static void limit_and_warmup(void **state)
{
	struct rig_config c = rig_plain();
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
	struct rig_config c = rig_plain();
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
	struct rig_config c = rig_plain();
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
	struct rig_config c = rig_plain();
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
	struct rig_config c = rig_plain();
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
	struct rig_config c = rig_plain();
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
		struct rig_config c = rig_plain();
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
	struct rig_config c = rig_plain();
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
