/* SPDX-License-Identifier: MIT */
#include "machine/pt_mem.h"
#include "testram.h"

jmp_buf testram_bug;

struct seen {
	struct pt_log log;
	struct pt_ref ref[16];
	unsigned n;
};

static void record(struct pt_log *log, const struct pt_ref *ref)
{
	struct seen *s = container_of(log, struct seen, log);

	assert_true(s->n < ARRAY_SIZE(s->ref));
	s->ref[s->n++] = *ref;
}

struct fixture {
	struct testram t;
	struct pt_mem_machine pm;
	struct pt_mem *m;
	uint64_t table;
};

static void open_fixture(struct fixture *f)
{
	testram_open(&f->t, 8 << 20);
	ptm_machine_init(&f->pm, &f->t.m);
	f->m = &f->pm.m;
	assert_int_equal(ptm_alloc(f->m, 0, &f->table), 0);
}

static void close_fixture(struct fixture *f)
{
	ptm_free(f->m, f->table, 0);
	ptm_machine_fini(&f->pm);
	assert_int_equal(f->m->table_bytes, 0);
	assert_int_equal(f->t.m.ntype[FRAME_TABLE], 0);
	testram_audit(&f->t);
	testram_close(&f->t);
}

static void test_load_store_count(void **state)
{
	struct fixture f;
	uint64_t v = 0, line[8];

	open_fixture(&f);
	assert_non_null(f.m->direct);
	assert_int_equal(ptm_store64(f.m, f.table + 8, 0x1122334455667788), 0);
	assert_int_equal(ptm_load64(f.m, f.table + 8, &v), 0);
	assert_int_equal(v, 0x1122334455667788);
	assert_int_equal(ptm_load_pte(f.m, f.table + 8, 4, &v), 0);
	assert_int_equal(v, 0x55667788);
	assert_int_equal(ptm_load_pte(f.m, f.table + 8, 2, &v), 0);
	assert_int_equal(v, 0x7788);
	v = 0xaabbccdd;
	assert_int_equal(ptm_store(f.m, f.table + 12, 4, &v), 0);
	assert_int_equal(ptm_store(f.m, f.table + 18, 2, &v), 0);
	assert_int_equal(ptm_load(f.m, f.table, 64, line), 0);
	assert_int_equal(line[0], 0);
	assert_int_equal(line[1], 0xaabbccdd55667788);
	assert_int_equal(line[2], 0xccdd0000);
	assert_int_equal(f.m->counts.refs, 4);
	assert_int_equal(f.m->counts.depth, 4);
	assert_int_equal(f.m->counts.stores, 3);
	assert_int_equal(f.m->ops->hpa(f.m, f.table).v, f.table);
	close_fixture(&f);
}

/* There is no memory beyond RAM, by whatever path; nothing is charged. */
static void test_beyond_ram(void **state)
{
	struct fixture f;
	uint64_t end, v = 1;

	open_fixture(&f);
	end = f.t.m.bytes;
	assert_int_equal(ptm_load64(f.m, end, &v), -EFAULT);
	assert_int_equal(ptm_load64(f.m, UINT64_MAX - 7, &v), -EFAULT);
	assert_int_equal(ptm_store64(f.m, end, 1), -EFAULT);
	assert_int_equal(ptm_cas(f.m, end, 8, 0, 1), -EFAULT);
	assert_int_equal(ptm_scan(f.m, end, 1, 8), -EFAULT);
	assert_int_equal(ptm_scan(f.m, f.table, UINT64_MAX, 64), -EFAULT);
	assert_int_equal(ptm_scan(f.m, end - 16, 3, 8), -EFAULT);
	assert_int_equal(ptm_scan(f.m, UINT64_MAX, 2, 8), -EFAULT);
	assert_int_equal(f.m->ops->hpa(f.m, end).v, INVALID_FRAME);
	assert_int_equal(f.m->counts.refs | f.m->counts.stores, 0);
	assert_int_equal(ptm_scan(f.m, end - 16, 2, 8), 0);
	close_fixture(&f);
}

static void test_cas(void **state)
{
	struct fixture f;
	uint64_t v;

	open_fixture(&f);
	assert_int_equal(ptm_cas(f.m, f.table, 8, 0, UINT64_MAX - 1), 1);
	assert_int_equal(ptm_cas(f.m, f.table, 8, 0, 5), 0);
	assert_int_equal(ptm_cas(f.m, f.table + 4, 4, UINT32_MAX, 7), 1);
	assert_int_equal(ptm_cas(f.m, f.table + 4, 4, UINT32_MAX, 8), 0);
	assert_int_equal(ptm_load64(f.m, f.table, &v), 0);
	assert_int_equal(v, 0x7fffffffe);
	assert_int_equal(f.m->counts.stores, 2);
	assert_bug(ptm_cas(f.m, f.table, 2, 0, 1));
	close_fixture(&f);
}

static void test_log_sees_each_load(void **state)
{
	struct fixture f;
	struct seen s = { .log.ref = record };
	uint64_t v;
	uint16_t half;

	open_fixture(&f);
	assert_int_equal(ptm_store64(f.m, f.table + 16, 0xfedcba9876543210), 0);
	ptm_machine_set_log(&f.pm, &s.log);
	assert_null(f.m->direct);
	ptm_note(f.m, "p2m", 2, 5, 38, 30);
	assert_int_equal(ptm_load64(f.m, f.table + 16, &v), 0);
	assert_int_equal(ptm_load(f.m, f.table + 16, 2, &half), 0);
	assert_int_equal(ptm_scan(f.m, f.table, 100, 24), 0);
	assert_int_equal(ptm_scan(f.m, f.table, 0, 24), 0);
	assert_int_equal(s.n, 3);
	assert_ptr_equal(s.ref[0].mem, f.m);
	assert_string_equal(s.ref[0].note.table, "p2m");
	assert_int_equal(s.ref[0].note.level, 2);
	assert_int_equal(s.ref[0].note.index, 5);
	assert_int_equal(s.ref[0].note.index_hi, 38);
	assert_int_equal(s.ref[0].addr, f.table + 16);
	assert_int_equal(s.ref[0].hpa.v, f.table + 16);
	assert_int_equal(s.ref[0].value, 0xfedcba9876543210);
	assert_int_equal(s.ref[0].repeat, 1);
	assert_int_equal(s.ref[1].value, 0x3210);
	assert_int_equal(s.ref[2].addr, f.table);
	assert_int_equal(s.ref[2].repeat, 100);
	assert_int_equal(f.m->counts.refs, 102);
	assert_int_equal(f.m->counts.depth, 102);
	ptm_machine_set_log(&f.pm, NULL);
	assert_non_null(f.m->direct);
	assert_int_equal(ptm_load64(f.m, f.table, &v), 0);
	assert_int_equal(s.n, 3);
	assert_int_equal(f.m->counts.refs, 103);
	close_fixture(&f);
}

/* The nth load is a violation: no bytes, no charge, no log; the next one goes. */
static void test_injected_violations(void **state)
{
	struct fixture f;
	struct seen s = { .log.ref = record };
	struct faultinj inj;
	uint64_t v;

	open_fixture(&f);
	faultinj_init(&inj);
	ptm_machine_set_faults(&f.pm, &inj);
	ptm_machine_set_log(&f.pm, &s.log);
	assert_null(f.m->direct);
	for (uint64_t nth = 0; nth < 4; nth++) {
		uint64_t refs = f.m->counts.refs;

		s.n = 0;
		faultinj_arm(&inj, FAULT_TABLE_LOAD, nth, false);
		for (uint64_t i = 0; i < 4; i++) {
			v = 99;
			int err = i % 2 ? ptm_scan(f.m, f.table, 10, 8) : ptm_load64(f.m, f.table, &v);

			assert_int_equal(err, i == nth ? -EAGAIN : 0);
			if (i % 2 == 0)
				assert_int_equal(v, i == nth ? 99 : 0);
		}
		assert_int_equal(s.n, 3);
		assert_int_equal(f.m->counts.refs - refs, nth % 2 ? 12 : 21);
	}
	ptm_machine_set_log(&f.pm, NULL);
	assert_null(f.m->direct);
	ptm_machine_set_faults(&f.pm, NULL);
	assert_non_null(f.m->direct);
	close_fixture(&f);
}

static void test_alloc_zeroes_and_counts(void **state)
{
	struct fixture f;
	uint64_t addr, again, v;

	open_fixture(&f);
	for (unsigned order = 0; order <= 4; order++) {
		assert_int_equal(ptm_alloc(f.m, order, &addr), 0);
		assert_true(is_aligned(addr, PAGE_SIZE << order));
		assert_int_equal(f.m->table_bytes, PAGE_SIZE + (PAGE_SIZE << order));
		assert_int_equal(f.t.m.ntype[FRAME_TABLE], 1 + BIT(order));
		for (uint64_t at = addr; at < addr + (PAGE_SIZE << order); at += 8) {
			assert_int_equal(ptm_load64(f.m, at, &v), 0);
			assert_int_equal(v, 0);
			assert_int_equal(ptm_store64(f.m, at, UINT64_MAX), 0);
		}
		ptm_free(f.m, addr, order);
		assert_int_equal(ptm_alloc(f.m, order, &again), 0);
		assert_int_equal(again, addr);
		assert_int_equal(ptm_load64(f.m, addr, &v), 0);
		assert_int_equal(v, 0);
		ptm_free(f.m, addr, order);
	}
	close_fixture(&f);
}

/* Either site fails what is not reserved, and the reserving itself; never what is reserved. */
static void test_reserve_and_faults(void **state)
{
	struct fixture f;
	struct faultinj inj;
	uint64_t addr[8];

	open_fixture(&f);
	faultinj_init(&inj);
	ptm_machine_set_faults(&f.pm, &inj);
	assert_int_equal(ptm_machine_reserve(&f.pm, 4), 0);
	assert_int_equal(f.m->table_bytes, PAGE_SIZE);
	faultinj_arm(&inj, FAULT_TABLE_ALLOC, 0, true);
	faultinj_arm(&f.t.inj, FAULT_FRAME_ALLOC, 0, true);
	assert_int_equal(ptm_machine_reserve(&f.pm, 2), -ENOMEM);
	for (int i = 0; i < 4; i++)
		assert_int_equal(ptm_alloc(f.m, 0, &addr[i]), 0);
	assert_int_equal(ptm_alloc(f.m, 0, &addr[4]), -ENOMEM);
	assert_int_equal(ptm_machine_reserve(&f.pm, 1), -ENOMEM);
	faultinj_init(&inj);
	assert_int_equal(ptm_alloc(f.m, 0, &addr[4]), -ENOMEM);
	for (uint64_t nth = 0; nth < 5; nth++) {
		uint64_t nfree = f.t.m.nfree;

		faultinj_arm(&f.t.inj, FAULT_FRAME_ALLOC, nth, false);
		assert_int_equal(ptm_machine_reserve(&f.pm, 5), -ENOMEM);
		assert_int_equal(f.t.m.nfree, nfree);
		assert_int_equal(f.pm.nreserve, 0);
	}
	faultinj_init(&f.t.inj);
	assert_int_equal(ptm_machine_reserve(&f.pm, PTM_RESERVE_MAX), 0);
	assert_int_equal(f.m->table_bytes, 5 * PAGE_SIZE);
	for (int i = 0; i < 4; i++)
		ptm_free(f.m, addr[i], 0);
	assert_bug(ptm_machine_reserve(&f.pm, PTM_RESERVE_MAX + 1));
	close_fixture(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_load_store_count),	cmocka_unit_test(test_beyond_ram),
		cmocka_unit_test(test_cas),			cmocka_unit_test(test_log_sees_each_load),
		cmocka_unit_test(test_injected_violations),	cmocka_unit_test(test_alloc_zeroes_and_counts),
		cmocka_unit_test(test_reserve_and_faults),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
