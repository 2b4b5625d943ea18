/* SPDX-License-Identifier: MIT */
/* Recorded machines: pages stand where events say, under every scheme, and events that make no sense end the run. */
#include "harness.h"

#include <stdio.h>
#include <string.h>

#include "guestos/guest_internal.h"

enum {
	RAM_PAGES = 96,
	SPACES = 3,
	USER_PAGES = 24,
	UPPER_PAGES = 16,
	PAGES = USER_PAGES + UPPER_PAGES, /* of one space */
	NOWHERE = 0xffff,
	ROUNDS = 4,
};
#define USER_BASE UINT64_C(0x400000)
#define UPPER_BASE UINT64_C(0xffffffff81000000)

static uint64_t gva_of(unsigned page)
{
	return page < USER_PAGES ? USER_BASE + ((uint64_t)page << PAGE_SHIFT)
				 : UPPER_BASE + ((uint64_t)(page - USER_PAGES) << PAGE_SHIFT);
}

static void tell_ram(struct script *s, uint64_t bytes)
{
	script_event(s, &(struct trace_event){ .kind = EV_RAM, .len = bytes });
}

static void place(struct script *s, uint32_t pid, uint64_t gva, uint64_t gpa, uint64_t len)
{
	script_event(s, &(struct trace_event){ .kind = EV_PHYS, .pid = pid, .addr = gva, .len = len, .addr2 = gpa,
					       .prot = PROT_BIT_R | PROT_BIT_W | PROT_BIT_X });
}

static void begin(struct script *s)
{
	script_init(s);
	tell_ram(s, (uint64_t)RAM_PAGES << PAGE_SHIFT);
	script_switch(s, 1);
}

static struct rig_config recorded(void)
{
	struct rig_config c = rig_plain();

	c.guest.phys_pages = RAM_PAGES;
	c.guest.mem_pages = RAM_PAGES + 900;
	c.guest.data = true;
	return c;
}

/* The word in memory at gpa, past every table. */
static uint64_t word_at(struct rig *r, uint64_t gpa)
{
	uint64_t v;

	assert_int_equal(vm_read(r->vm, GPA(gpa), &v, sizeof(v)), 0);
	return v;
}

/* ---- random recordings ---- */

/* Where each page of each space stands; the upper half's are those of space 0. */
struct world {
	unsigned at[SPACES][PAGES];
};

static unsigned *at(struct world *w, unsigned space, unsigned page)
{
	return &w->at[page < USER_PAGES ? space : 0][page];
}

static void move_page(struct script *s, struct rng *rng, struct world *w, unsigned space)
{
	unsigned page = (unsigned)rng_below(rng, PAGES), n = 1, to;

	if (rng_below(rng, 4) == 0 && page < USER_PAGES)
		n = 1 + (unsigned)rng_below(rng, USER_PAGES - page);
	to = (unsigned)rng_below(rng, RAM_PAGES - n + 1);
	place(s, space + 1, gva_of(page), (uint64_t)to << PAGE_SHIFT, (uint64_t)n << PAGE_SHIFT);
	for (unsigned i = 0; i < n; i++)
		*at(w, space, page + i) = to + i;
}

static void make_recording(struct script *s, struct world *w, uint64_t seed)
{
	struct rng rng;
	unsigned space = 0;

	rng_init(&rng, seed);
	for (unsigned i = 0; i < SPACES * PAGES; i++)
		w->at[i / PAGES][i % PAGES] = NOWHERE;
	begin(s);
	for (unsigned i = 0; i < 3000; i++) {
		unsigned page = (unsigned)rng_below(&rng, PAGES);

		if (rng_below(&rng, 40) == 0) {
			space = (unsigned)rng_below(&rng, SPACES);
			script_switch(s, space + 1);
		}
		if (rng_below(&rng, 12) == 0)
			move_page(s, &rng, w, space);
		/* Seldom one that nothing was said of: the kernel finds memory for it. */
		if (*at(w, space, page) == NOWHERE && rng_below(&rng, 10))
			continue;
		script_ref(s, gva_of(page) + (rng_below(&rng, 2) ? rng_below(&rng, 500) * 8 : 0), (enum acc_kind)rng_below(&rng, ACC_KINDS), 8);
	}
}

/* Through tables and past them: the same words. No table stands in recorded memory. */
static void check_places(struct rig *r, struct world *w)
{
	uint64_t seen = 0;

	for (uint32_t i = 0; i < r->guest->nprocs; i++) {
		struct proc *p = r->guest->procs[i];

		assert_int_equal(guest_enter(r->guest, p->pid), 0);
		for (unsigned page = 0; page < PAGES; page++) {
			unsigned frame = *at(w, p->pid - 1, page);
			uint64_t v;
			bool segv;

			if (frame == NOWHERE)
				continue;
			/* A page of the upper half that this space has not used yet. */
			if (vcpu_load(&r->vcpu, SEG_PAGED, gva_of(page), 8, &v)) {
				assert_int_equal(fault_handle(r->guest, p, &r->vcpu.fault, &segv), 0);
				assert_int_equal(vcpu_load(&r->vcpu, SEG_PAGED, gva_of(page), 8, &v), ACCESS_OK);
			}
			assert_int_equal(v, word_at(r, (uint64_t)frame << PAGE_SHIFT));
			seen += v != 0;
		}
	}
	assert_true(seen > 0);
	for (uint64_t gfn = 0; gfn < RAM_PAGES; gfn++)
		assert_int_equal(r->guest->frames.f[gfn].type, GFRAME_PHYS);
}

static struct rig_config config_of(uint64_t seed)
{
	static const char *const orgs[] = { "radix", "hashed", "inverted", "cuckoo" };
	struct rig_config c = recorded();

	c.guest_org = orgs[seed % 4];
	c.guest_fmt = seed % 2 ? "x86-64-5l" : "x86-64";
	c.host_fmt = "x86-64";
	c.guest.asids = seed % 3 != 0;
	c.guest.ad = seed % 4 == 3 ? WALK_AD_FAULT : WALK_AD_SET;
	c.guest.thp = seed % 2;
	c.guest.mem_pages = RAM_PAGES + 4000;
	return c;
}

static void one_digest_under_every_scheme(void **state)
{
	for (uint64_t seed = 0; seed < ROUNDS; seed++)
		for (int data = 0; data < 2; data++) {
			struct rig_config c = config_of(seed);
			struct outcome first, o;
			struct world w;
			struct script s;
			unsigned i = 0;

			c.guest.data = data;
			make_recording(&s, &w, seed);
			first = must_run(&c, &s);
			assert_true(first.stats.phys_moved > 50);
			for_each_scheme(name, i) {
				c.scheme = name;
				o = run_script(&c, &s, NULL);
				if (!o.possible)
					continue;
				assert_int_equal(o.end, GUEST_DONE);
				if (o.digest != first.digest || o.work_digest != first.work_digest)
					fail_msg("%s: seed %d, data %d: digests differ", name, (int)seed, data);
			}
			script_fini(&s);
		}
	(void)state;
}

static void pages_stand_where_they_were_recorded(void **state)
{
	for (uint64_t seed = 0; seed < ROUNDS; seed++) {
		struct rig_config c = config_of(seed);
		struct world w;
		struct script s;
		struct rig r;

		c.scheme = seed % 2 ? "nested/radix" : "shadow";
		make_recording(&s, &w, seed);
		open_and_run(&r, &c, &s);
		rig_audit(&r);
		check_places(&r, &w);
		rig_close(&r);
		script_fini(&s);
	}
	(void)state;
}

/* ---- by hand ---- */

static void a_page_that_moves_shows_other_bytes(void **state)
{
	unsigned i = 0;

	for_each_scheme(name, i) {
		struct rig_config c = recorded();
		struct script s;
		struct rig r;

		c.scheme = name;
		begin(&s);
		place(&s, 1, 0x5000, 0, PAGE_SIZE); /* gpa 0 is memory like any other here */
		script_write(&s, 0x5000);
		place(&s, 1, 0x5000, 0x7000, PAGE_SIZE);
		script_read(&s, 0x5000);
		if (!rig_open(&r, &c)) {
			script_fini(&s);
			continue;
		}
		rig_close(&r);
		open_and_run(&r, &c, &s);
		assert_int_equal(look(&r, 1, 0x5000), 0);
		assert_int_not_equal(word_at(&r, 0), 0);
		assert_int_equal(guest_stats(r.guest)->phys_moved, 1);
		assert_int_equal(guest_stats(r.guest)->phys_mapped, 2);
		assert_int_equal(guest_stats(r.guest)->faults, 0);
		rig_audit(&r);
		rig_close(&r);
		script_fini(&s);
	}
	(void)state;
}

static void spaces_share_the_upper_half_and_nothing_else(void **state)
{
	struct rig_config c = recorded();
	struct script s;
	struct rig r;

	begin(&s);
	place(&s, 1, 0x5000, 0x1000, PAGE_SIZE);
	place(&s, 1, UPPER_BASE, 0x2000, PAGE_SIZE);
	script_write(&s, 0x5000);
	script_write(&s, UPPER_BASE);
	script_switch(&s, 2);
	place(&s, 2, 0x5000, 0x3000, PAGE_SIZE);
	script_read(&s, 0x5000);
	script_read(&s, UPPER_BASE); /* one fault: this space's table learns of it */
	open_and_run(&r, &c, &s);
	assert_int_equal(guest_stats(r.guest)->faults, 1);
	assert_int_equal(look(&r, 2, 0x5000), 0);
	assert_int_not_equal(look(&r, 1, 0x5000), 0);
	assert_int_not_equal(look(&r, 1, UPPER_BASE), 0);
	assert_int_equal(look(&r, 1, UPPER_BASE), look(&r, 2, UPPER_BASE));
	rig_audit(&r);
	rig_close(&r);
	script_fini(&s);
	(void)state;
}

/* A move in the upper half reaches spaces that are not running. */
static void what_moves_above_moves_for_all(void **state)
{
	struct rig_config c = recorded();
	struct script s;
	struct rig r;

	c.guest.asids = true;
	begin(&s);
	place(&s, 1, UPPER_BASE, 0x2000, PAGE_SIZE);
	script_write(&s, UPPER_BASE);
	script_switch(&s, 2);
	script_read(&s, UPPER_BASE);
	place(&s, 2, UPPER_BASE, 0x4000, PAGE_SIZE);
	script_switch(&s, 1);
	script_read(&s, UPPER_BASE);
	open_and_run(&r, &c, &s);
	assert_int_equal(look(&r, 1, UPPER_BASE), 0);
	assert_int_not_equal(word_at(&r, 0x2000), 0);
	rig_audit(&r);
	rig_close(&r);
	script_fini(&s);
	(void)state;
}

/* Its first word, after a reference that nothing was said of, then its event. */
static void what_comes_before_its_event_is_given_up_for_it(void **state)
{
	struct rig_config c = recorded();
	struct script s;
	struct rig r;

	begin(&s);
	script_write(&s, 0x5000);
	script_write(&s, UPPER_BASE);
	script_switch(&s, 2);
	script_write(&s, UPPER_BASE);
	place(&s, 2, UPPER_BASE, 0x4000, PAGE_SIZE);
	script_switch(&s, 1);
	place(&s, 1, 0x5000, 0x6000, PAGE_SIZE);
	script_read(&s, 0x5000);
	script_read(&s, UPPER_BASE);
	open_and_run(&r, &c, &s);
	assert_int_equal(look(&r, 1, 0x5000), 0);
	assert_int_equal(look(&r, 1, UPPER_BASE), 0);
	rig_audit(&r);
	rig_close(&r);
	script_fini(&s);
	(void)state;
}

static void calls_and_ends_take_placed_pages_away(void **state)
{
	struct rig_config c = recorded();
	struct script s;
	struct rig r;

	begin(&s);
	place(&s, 1, 0x5000, 0x1000, 4 * PAGE_SIZE);
	script_write(&s, 0x5000);
	script_fork(&s, 1, 2);
	script_switch(&s, 2);
	script_read(&s, 0x5000); /* the same frame: who copies is the recorded kernel's affair */
	script_write(&s, 0x6000);
	script_switch(&s, 1);
	script_munmap(&s, 1, 0x5000, PAGE_SIZE);
	script_read(&s, 0x5000); /* a page of this kernel's own now */
	script_event(&s, &(struct trace_event){ .kind = EV_EXEC, .pid = 1 });
	script_read(&s, 0x6000);
	open_and_run(&r, &c, &s);
	assert_int_equal(look(&r, 2, 0x5000), word_at(&r, 0x1000));
	assert_int_equal(look(&r, 2, 0x6000), word_at(&r, 0x2000));
	assert_int_not_equal(word_at(&r, 0x2000), 0);
	assert_int_equal(look(&r, 1, 0x6000), 0);
	rig_audit(&r);
	script_exit(&s, 2);
	rig_close(&r);
	must_run(&c, &s);
	script_fini(&s);
	(void)state;
}

/* ---- events that make no sense ---- */

static void senseless_events_end_the_run(void **state)
{
	const uint64_t ram = (uint64_t)RAM_PAGES << PAGE_SHIFT, huge = UINT64_MAX & ~PAGE_MASK;
	const uint8_t rw = PROT_BIT_R | PROT_BIT_W;
	const struct trace_event events[] = {
		/* outside: the first page past the end is where this kernel's tables stand */
		{ .kind = EV_PHYS, .addr = 0x5000, .len = PAGE_SIZE, .addr2 = ram, .prot = rw },
		{ .kind = EV_PHYS, .addr = 0x5000, .len = 2 * PAGE_SIZE, .addr2 = ram - PAGE_SIZE, .prot = rw },
		{ .kind = EV_PHYS, .addr = 0x5000, .len = PAGE_SIZE, .addr2 = huge, .prot = rw },
		{ .kind = EV_PHYS, .addr = 0x5000, .len = huge, .addr2 = 0x1000, .prot = rw },
		{ .kind = EV_PHYS, .addr = 0x5000, .len = UINT64_C(1) << 40, .addr2 = 0, .prot = rw },
		/* no pages */
		{ .kind = EV_PHYS, .addr = 0x5000, .len = 0, .addr2 = 0x1000, .prot = rw },
		{ .kind = EV_PHYS, .addr = 0x5008, .len = PAGE_SIZE, .addr2 = 0x1000, .prot = rw },
		{ .kind = EV_PHYS, .addr = 0x5000, .len = PAGE_SIZE + 1, .addr2 = 0x1000, .prot = rw },
		{ .kind = EV_PHYS, .addr = 0x5000, .len = PAGE_SIZE, .addr2 = 0x1004, .prot = rw },
		/* no addresses */
		{ .kind = EV_PHYS, .addr = UINT64_C(1) << 47, .len = PAGE_SIZE, .addr2 = 0x1000, .prot = rw },
		{ .kind = EV_PHYS, .addr = (UINT64_C(1) << 47) - PAGE_SIZE, .len = 2 * PAGE_SIZE, .addr2 = 0x1000, .prot = rw },
		{ .kind = EV_PHYS, .addr = UINT64_C(0xff00) << 48, .len = PAGE_SIZE, .addr2 = 0x1000, .prot = rw },
		{ .kind = EV_PHYS, .addr = huge, .len = 2 * PAGE_SIZE, .addr2 = 0x1000, .prot = rw },
		{ .kind = EV_PHYS, .addr = 0x5000, .len = PAGE_SIZE, .addr2 = 0x1000, .prot = 0 },
		/* another machine */
		{ .kind = EV_RAM, .len = ram + PAGE_SIZE },
		{ .kind = EV_RAM, .len = 0 },
		{ .kind = EV_RAM, .len = huge },
		{ .kind = EV_RAM, .len = ram + 1 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(events); i++) {
		struct rig_config c = recorded();
		struct outcome o;
		struct script s;

		begin(&s);
		place(&s, 1, 0x8000, 0x1000, PAGE_SIZE);
		script_write(&s, 0x8000);
		script_event(&s, &events[i]);
		script_write(&s, 0x9000);
		o = run_script(&c, &s, NULL);
		if (o.end != GUEST_BAD_INPUT || o.err.exit_code != 3 || !o.err.what[0] || o.refs != 1)
			fail_msg("event %u: end %d, exit code %d, %u references, '%s'", i, (int)o.end, o.err.exit_code,
				 (unsigned)o.refs, o.err.what);
		script_fini(&s);
	}
	(void)state;
}

/* A field of an event: mostly one that could be, seldom not. */
static uint64_t odd(struct rng *rng, uint64_t pages)
{
	if (rng_below(rng, 2000) == 0)
		return rng_next(rng) >> rng_below(rng, 64);
	return rng_below(rng, pages) << PAGE_SHIFT | (rng_below(rng, 2000) == 0);
}

/* Whatever events say, between calls and processes that come and go: done or damaged, alike under every scheme. */
static void any_events_end_in_one_way(void **state)
{
	static const char *const schemes[] = { "native", "nested/hashed", "shadow", "paravirt" };
	unsigned done = 0;

	for (uint64_t seed = 1; seed <= 40; seed++) {
		struct rig_config c = recorded();
		struct outcome first = { 0 }, o;
		struct script s;
		struct rng rng;

		c.guest.mem_pages += 4000;
		rng_init(&rng, seed);
		begin(&s);
		for (unsigned i = 0; i < 300; i++) {
			uint64_t gva = odd(&rng, 64) + (rng_below(&rng, 2) ? UPPER_BASE : 0);
			uint32_t pid = 1 + (uint32_t)rng_below(&rng, 4);
			static const uint8_t kinds[] = { EV_PHYS, EV_PHYS, EV_PHYS, EV_PHYS, EV_MUNMAP, EV_MMAP, EV_MPROTECT,
							 EV_MREMAP, EV_FORK, EV_EXEC, EV_EXIT, EV_MADVISE_FREE };

			script_event(&s, &(struct trace_event){
				.kind = kinds[rng_below(&rng, ARRAY_SIZE(kinds))], .pid = pid, .child = 1 + pid % 4,
				.addr = gva, .len = PAGE_SIZE + odd(&rng, 5), .addr2 = odd(&rng, RAM_PAGES - 5),
				.len2 = odd(&rng, 5), .prot = (uint8_t)(rng_below(&rng, 300) ? 1 + rng_below(&rng, 7) : 0) });
			if (rng_below(&rng, 8) == 0)
				script_switch(&s, pid);
			if (ref_gva_ok(gva))
				script_ref(&s, gva & ~UINT64_C(7), (enum acc_kind)rng_below(&rng, ACC_KINDS), 8);
		}
		for (unsigned i = 0; i < ARRAY_SIZE(schemes); i++) {
			c.scheme = schemes[i];
			o = run_script(&c, &s, NULL);
			assert_true(o.possible);
			assert_true(o.end == GUEST_DONE || (o.end == GUEST_BAD_INPUT && o.err.what[0]));
			if (i && (o.end != first.end || o.digest != first.digest || o.refs != first.refs))
				fail_msg("%s: seed %d: not as native", schemes[i], (int)seed);
			first = i ? first : o;
		}
		done += first.end == GUEST_DONE;
		script_fini(&s);
	}
	/* Some of both. */
	assert_in_range(done, 4, 36);
	(void)state;
}

static void pages_before_the_memory_make_no_sense(void **state)
{
	struct rig_config c = recorded();
	struct script s;

	script_init(&s);
	script_switch(&s, 1);
	place(&s, 1, 0x5000, 0x1000, PAGE_SIZE);
	script_read(&s, 0x5000);
	assert_int_equal(run_script(&c, &s, NULL).end, GUEST_BAD_INPUT);
	/* A guest that was told of no machine takes no such event either. */
	c.guest.phys_pages = 0;
	script_fini(&s);
	begin(&s);
	assert_int_equal(run_script(&c, &s, NULL).end, GUEST_BAD_INPUT);
	script_fini(&s);
	(void)state;
}

/* Contradictions are none: two pages of one frame, a page said again, a frame that is another's now. */
static void contradictions_are_moves(void **state)
{
	struct rig_config c = recorded();
	struct outcome o;
	struct script s;

	begin(&s);
	for (int i = 0; i < 3; i++) {
		place(&s, 1, 0x5000, 0x1000, PAGE_SIZE);
		place(&s, 1, 0x6000, 0x1000, PAGE_SIZE);
		place(&s, 1, 0x5000, 0x1000, PAGE_SIZE);
		script_write(&s, 0x5000);
		script_read(&s, 0x6000);
	}
	o = must_run(&c, &s);
	assert_int_equal(o.stats.phys_mapped, 2);
	assert_int_equal(o.stats.phys_moved, 0);
	script_fini(&s);
	(void)state;
}

static void tables_that_find_no_room_end_the_run(void **state)
{
	struct rig_config c = recorded();
	struct outcome o;
	struct script s;

	c.guest.mem_pages = RAM_PAGES + 6;
	begin(&s);
	for (uint64_t i = 0; i < 64; i++) {
		place(&s, 1, i << 39, 0x1000, PAGE_SIZE);
		script_read(&s, i << 39);
	}
	o = run_script(&c, &s, NULL);
	assert_int_equal(o.end, GUEST_OOM);
	script_fini(&s);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_digest_under_every_scheme),
		cmocka_unit_test(pages_stand_where_they_were_recorded),
		cmocka_unit_test(a_page_that_moves_shows_other_bytes),
		cmocka_unit_test(spaces_share_the_upper_half_and_nothing_else),
		cmocka_unit_test(what_moves_above_moves_for_all),
		cmocka_unit_test(what_comes_before_its_event_is_given_up_for_it),
		cmocka_unit_test(calls_and_ends_take_placed_pages_away),
		cmocka_unit_test(senseless_events_end_the_run),
		cmocka_unit_test(any_events_end_in_one_way),
		cmocka_unit_test(pages_before_the_memory_make_no_sense),
		cmocka_unit_test(contradictions_are_moves),
		cmocka_unit_test(tables_that_find_no_room_end_the_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
