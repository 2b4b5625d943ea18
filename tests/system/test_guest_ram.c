/* SPDX-License-Identifier: MIT */
/* What the system plugin knows of a machine's memory: tables read from bytes, roots found, pages remembered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "guest-ram.h"
#include "page-map.h"

enum { PAGE = 4096, PAGES = 64, PRESENT = 1, HUGE_PAGE = 0x80 };

static uint8_t bytes[PAGES * PAGE] __attribute__((aligned(4096)));
static const struct guest_ram ram = {bytes, sizeof(bytes)};

static void set(uint64_t table, unsigned index, uint64_t pte)
{
	memcpy(bytes + table + index * 8, &pte, sizeof(pte));
}

/*
 * Roots at 0x1000 and 0x2000 share the upper half's top entry: 0xffffffff80000000
 * leads to 0 by a page of 2 MiB (beyond the RAM from 0x40000 on). In the lower half 0x400000 is 0x9000 of one and
 * 0xa000 of the other, whose 0x402000 is 0x9000.
 */
static void make_tables(void)
{
	memset(bytes, 0, sizeof(bytes));
	set(0x1000, 511, 0x3000 | PRESENT);
	set(0x2000, 511, 0x3000 | PRESENT);
	set(0x3000, 510, 0x4000 | PRESENT);
	set(0x4000, 0, 0 | HUGE_PAGE | PRESENT);
	for (unsigned i = 0; i < 2; i++) {
		uint64_t top = 0x1000 + i * 0x1000, next = 0x10000 + i * 0x3000;

		set(top, 0, next | PRESENT);
		set(next, 0, (next + 0x1000) | PRESENT);
		set(next + 0x1000, 2, (next + 0x2000) | PRESENT);
		set(next + 0x2000, 0, (0x9000 + i * 0x1000) | PRESENT | UINT64_C(1) << 63);
	}
	set(0x15000, 2, 0x9000 | PRESENT);
}

static void walks_read_tables(void **state)
{
	(void)state;
	make_tables();
	assert_int_equal(guest_ram_walk(&ram, 0x1000, 0x400123), 0x9123);
	assert_int_equal(guest_ram_walk(&ram, 0x2000, 0x400123), 0xa123);
	assert_int_equal(guest_ram_walk(&ram, 0x2000, 0x402000), 0x9000);
	assert_int_equal(guest_ram_walk(&ram, 0x1000, UINT64_C(0xffffffff80003456)), 0x3456);
	/* not there; a large page that reaches past the memory */
	assert_int_equal(guest_ram_walk(&ram, 0x1000, 0x401000), NOT_RAM);
	assert_int_equal(guest_ram_walk(&ram, 0x1000, UINT64_C(0xffffffff80040000)), NOT_RAM);
	assert_int_equal(guest_ram_walk(&ram, UINT64_MAX & ~UINT64_C(4095), 0x400000), NOT_RAM);
}

static void roots_are_found_by_what_they_lead_to(void **state)
{
	const struct guest_pair kernel = {UINT64_C(0xffffffff80003456), 0x3456};
	const struct guest_pair both[2] = {kernel, {0x400000, 0xa000}};

	(void)state;
	make_tables();
	assert_int_equal(guest_ram_next_root(&ram, 0, &kernel, 1), 0x1000);
	assert_int_equal(guest_ram_next_root(&ram, 0x2000, &kernel, 1), 0x2000);
	assert_int_equal(guest_ram_next_root(&ram, 0x3000, &kernel, 1), NOT_RAM);
	assert_int_equal(guest_ram_next_root(&ram, 0, both, 2), 0x2000);
	assert_int_equal(guest_ram_next_root(&ram, 0x3000, both, 2), NOT_RAM);
	assert_false(guest_ram_is_root(&ram, 0x1008, &kernel, 1));
	assert_false(guest_ram_is_root(&ram, sizeof(bytes), &kernel, 1));
	assert_int_equal(guest_ram_gva_of(&ram, 0x1000, 0x9000), 0x400000);
	assert_int_equal(guest_ram_gva_of(&ram, 0x2000, 0x9000), 0x402000);
	assert_int_equal(guest_ram_gva_of(&ram, 0x1000, 0xa000), NOT_RAM);
}

/* Tables of random bytes, and tables that contain themselves, end every walk and search. */
static void any_bytes_will_do(void **state)
{
	struct rng rng;

	(void)state;
	rng_init(&rng, 1);
	for (unsigned round = 0; round < 50; round++) {
		for (size_t i = 0; i < sizeof(bytes); i += 8) {
			uint64_t pte = rng_below(&rng, PAGES * 2) << 12 | (rng_below(&rng, 64) == 0) | rng_below(&rng, 2) << 7;

			memcpy(bytes + i, &pte, sizeof(pte));
		}
		for (unsigned i = 0; i < 200; i++) {
			uint64_t at = guest_ram_walk(&ram, rng_below(&rng, PAGES) << 12, rng_next(&rng));

			assert_true(at == NOT_RAM || at < sizeof(bytes));
		}
		guest_ram_gva_of(&ram, 0x1000, 0x5000);
	}
	memset(bytes, 0, sizeof(bytes));
	set(0x1000, 0, 0x1000 | PRESENT);
	assert_int_equal(guest_ram_walk(&ram, 0x1000, 0x123), 0x1123);
	assert_int_equal(guest_ram_gva_of(&ram, 0x1000, 0x1000), 0);
}

static void pages_are_remembered_by_space(void **state)
{
	struct page_map m = {0};

	(void)state;
	for (uint32_t i = 0; i < 100000; i++) {
		uint32_t *frame = page_map_at(&m, i % 5, i / 5 | (uint64_t)(i % 2) << 51);

		assert_non_null(frame);
		assert_int_equal(*frame, 0);
		*frame = i + 1;
	}
	for (uint32_t i = 0; i < 100000; i++)
		assert_int_equal(*page_map_at(&m, i % 5, i / 5 | (uint64_t)(i % 2) << 51), i + 1);
	assert_int_equal(m.used, 100000);
	free(m.slot);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(walks_read_tables),
		cmocka_unit_test(roots_are_found_by_what_they_lead_to),
		cmocka_unit_test(any_bytes_will_do),
		cmocka_unit_test(pages_are_remembered_by_space),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
