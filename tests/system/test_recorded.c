/* SPDX-License-Identifier: MIT */
/* A recorded machine's trace as a file: written, scanned, replayed by experiments under every scheme. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "exp/exp.h"
#include "exp/names.h"
#include "mmu/scheme.h"
#include "trace/qtr.h"
#include "trace/source.h"

enum { RAM_MIB = 32, MADE_REFS = 60000, SPACES = 4 };
#define RAM_BYTES ((uint64_t)RAM_MIB << 20)
#define KERNEL_BASE UINT64_C(0xffffffff81000000)

static char path[] = "/tmp/quire-recorded-XXXXXX";

static int make_path(void **state)
{
	int fd = mkstemp(path);

	(void)state;
	return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state)
{
	(void)state;
	return unlink(path);
}

static void put(struct qtr_writer *w, struct trace_block *b)
{
	struct trace_error err;

	assert_int_equal(qtr_write(w, b, &err), 0);
	b->nrefs = b->nevents = 0;
}

/* A kernel and a few programs: each page placed as it is first used, some of them moved later. */
static void write_machine(const struct trace_event *last)
{
	static uint64_t at[SPACES + 1][512];
	struct trace_block *b = calloc(1, sizeof(*b));
	struct trace_error err;
	struct qtr_writer *w = qtr_create(path, &(struct qtr_options){.tells_calls = true}, &err);
	struct rng rng;
	uint32_t space = 1;

	assert_non_null(b);
	assert_non_null(w);
	memset(at, 0, sizeof(at));
	rng_init(&rng, 7);
	block_put_event(b, &(struct trace_event){.kind = EV_RAM, .len = RAM_BYTES});
	for (unsigned i = 0; i < MADE_REFS; i++) {
		bool kernel = rng_below(&rng, 3) == 0;
		uint64_t page = rng_below(&rng, kernel ? 300 : 100), *where = &at[kernel ? 0 : space][page];
		uint64_t gva = (kernel ? KERNEL_BASE : 0x400000) + (page << PAGE_SHIFT);

		if (b->nrefs > TRACE_BLOCK_REFS - 4 || b->nevents > TRACE_BLOCK_EVENTS - 4)
			put(w, b);
		if (rng_below(&rng, 500) == 0) {
			space = 1 + (uint32_t)rng_below(&rng, SPACES);
			block_put_event(b, &(struct trace_event){.kind = EV_SWITCH, .pid = space, .tid = space});
			continue;
		}
		if (!*where || rng_below(&rng, 400) == 0) {
			*where = 1 + rng_below(&rng, (RAM_BYTES >> PAGE_SHIFT) - 1);
			block_put_event(b, &(struct trace_event){.kind = EV_PHYS, .pid = space, .addr = gva, .len = PAGE_SIZE,
								 .addr2 = *where << PAGE_SHIFT, .prot = 7});
		}
		block_put_ref(b, gva + rng_below(&rng, 500) * 8, (enum acc_kind)rng_below(&rng, ACC_KINDS), 8);
	}
	if (last)
		block_put_event(b, last);
	block_put_ref(b, 0x400000, ACC_READ, 8);
	put(w, b);
	assert_int_equal(qtr_close(w, &err), 0);
	free(b);
}

struct setting {
	struct run_config c;
	struct machine_file machine;
	struct workload w;
	struct vm_spec vm;
};

static void prepare(struct setting *s)
{
	struct trace_error err = {0};

	memset(s, 0, sizeof(*s));
	s->w = (struct workload){.kind = WORK_TRACE, .spec = path, .shown = path};
	s->vm.work = &s->w;
	assert_int_equal(workload_scan(&s->w, 1, 0, &err), 0);
	assert_int_equal(machine_load("generic", &s->machine, &err), 0);
	snprintf(s->vm.name, sizeof(s->vm.name), "vm1");
	s->c = (struct run_config){
		.scheme = "native", .guest_fmt = gpt_find("x86-64"), .host_fmt = gpt_find("x86-64"), .seed = 3, .nvms = 1,
		.vm = &s->vm, .asids = true, .machine_name = "generic", .cost = &s->machine.cost, .tlb = &s->machine.tlb,
	};
	assert_int_equal(pt_org_parse("radix", &s->c.guest_org, &s->c.guest_org_flags), 0);
}

static void every_scheme_gives_one_digest(void **state)
{
	(void)state;
	write_machine(NULL);
	for (int data = 0; data < 2; data++) {
		struct setting s;
		uint64_t digest = 0;
		unsigned n = 0;
		const char *name;

		prepare(&s);
		assert_int_equal(s.w.phys_pages, RAM_BYTES >> PAGE_SHIFT);
		assert_int_equal(s.w.processes, SPACES);
		s.c.data = data;
		for (unsigned i = 0; (name = scheme_name_at(i)) != NULL; i++) {
			struct run_result r;
			struct trace_error err = {0};

			snprintf(s.c.scheme, sizeof(s.c.scheme), "%s", name);
			assert_int_equal(run_one(&s.c, &r, &err), 0);
			if (!r.not_possible) {
				assert_true(r.sum.guest.phys_moved > 50);
				assert_true(r.sum.guest_bytes > RAM_BYTES);
				if (n++ && r.sum.digest != digest)
					fail_msg("%s: another digest, data %d", name, data);
				digest = r.sum.digest;
			}
			run_result_fini(&r);
		}
		assert_true(n > 10);
	}
}

static void memory_must_hold_the_recorded_ram(void **state)
{
	struct setting s;
	struct run_result r;
	struct trace_error err = {0};

	(void)state;
	write_machine(NULL);
	prepare(&s);
	s.c.guest_mem = RAM_BYTES;
	assert_int_equal(run_one(&s.c, &r, &err), EXIT_USAGE);
	assert_non_null(strstr(err.what, "--guest-mem"));
	run_result_fini(&r);
	s.c.guest_mem = RAM_BYTES * 2;
	assert_int_equal(run_one(&s.c, &r, &err), 0);
	run_result_fini(&r);
}

static void senseless_events_are_damaged_input(void **state)
{
	const struct trace_event wrong[] = {
		{.kind = EV_PHYS, .addr = 0x400000, .len = PAGE_SIZE, .addr2 = RAM_BYTES, .prot = 7},
		{.kind = EV_PHYS, .addr = 0x400000, .len = UINT64_C(1) << 62, .addr2 = 0, .prot = 7},
		{.kind = EV_PHYS, .addr = UINT64_C(0x0123000000000000), .len = PAGE_SIZE, .addr2 = 0, .prot = 7},
		{.kind = EV_RAM, .len = UINT64_C(1) << 63},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct setting s;
		struct run_result r;
		struct trace_error err = {0};

		write_machine(&wrong[i]);
		prepare(&s);
		assert_int_equal(run_one(&s.c, &r, &err), EXIT_INPUT);
		assert_true(err.what[0]);
		/* What came before counts. */
		assert_int_equal(r.sum.stats.refs, s.w.refs - 1);
		run_result_fini(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_scheme_gives_one_digest),
		cmocka_unit_test(memory_must_hold_the_recorded_ram),
		cmocka_unit_test(senseless_events_are_damaged_input),
	};

	return cmocka_run_group_tests(tests, make_path, remove_path);
}
