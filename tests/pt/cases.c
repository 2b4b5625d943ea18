/* SPDX-License-Identifier: MIT */
/* The registry, published cases, and what one organisation alone promises. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "conform/test_mem.h"
#include "pt/inverted.h"

enum { RIGHTS = RIGHT_RWX | RIGHT_U | RIGHT_A | RIGHT_D };

/* All that are built are linked: one organisation left out by the linker fails here. */
static void test_registry_is_whole(void **state)
{
	static const char *const names[] = { "radix", "flat", "inverted", "hashed", "cuckoo", "segment" };
	unsigned n = 0;

	while (pt_org_at(n))
		n++;
	assert_int_equal(n, ARRAY_SIZE(names));
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		assert_non_null(pt_org_find(names[i], strlen(names[i])));
	for (unsigned i = 0; i < n; i++)
		for (unsigned k = 0; k < i; k++)
			assert_string_not_equal(pt_org_at(i)->name, pt_org_at(k)->name);
}

static void test_parse(void **state)
{
	const struct pt_org *org = NULL;
	uint32_t flags = 99;

	assert_int_equal(pt_org_parse("inverse", &org, &flags), -ENOENT);
	assert_int_equal(pt_org_parse("", &org, &flags), -ENOENT);
	assert_int_equal(pt_org_parse("rad", &org, &flags), -ENOENT);
	assert_int_equal(pt_org_parse("radix4", &org, &flags), -ENOENT);
	assert_int_equal(pt_org_parse("inverted+linea", &org, &flags), -EINVAL);
	assert_int_equal(pt_org_parse("inverted+", &org, &flags), -EINVAL);
	assert_int_equal(pt_org_parse("radix+linear", &org, &flags), -EINVAL);
	assert_null(org);
	assert_int_equal(flags, 99);
	assert_int_equal(pt_org_parse("inverted+linear", &org, &flags), 0);
	assert_string_equal(org->name, "inverted");
	assert_int_equal(flags, 1);
	assert_int_equal(pt_org_parse("radix", &org, &flags), 0);
	assert_string_equal(org->name, "radix");
	assert_int_equal(flags, 0);
}

static void test_create_refuses(void **state)
{
	struct pt_params p = { .fmt = gpt_find("x86-64"), .nframes = 64, .npages = 64 };
	const struct pt_org *flat = pt_org_find("flat", 4), *inverted = pt_org_find("inverted", 8);
	struct test_mem mem;
	struct pt pt;

	test_mem_init(&mem, 64);
	assert_int_equal(pt_create(&pt, flat, 1, &p, &mem.m), -EINVAL); /* no such option */
	p.npages = 0;
	assert_int_equal(pt_create(&pt, flat, 0, &p, &mem.m), -EINVAL);
	p.npages = BIT(40); /* beyond the addresses there are */
	assert_int_equal(pt_create(&pt, flat, 0, &p, &mem.m), -EINVAL);
	p.nframes = 0;
	assert_int_equal(pt_create(&pt, inverted, 0, &p, &mem.m), -EINVAL);
	assert_int_equal(mem.frames_used, 0);
	test_mem_fini(&mem);
}

/* Bytes that are no such table are refused. */
static void test_open_refuses(void **state)
{
	struct pt_params p = { .fmt = gpt_find("x86-64"), .nframes = 64, .npages = 64 };
	struct test_mem mem;
	struct pt pt;
	uint64_t frame;

	test_mem_init(&mem, 64);
	assert_int_equal(ptm_alloc(&mem.m, 0, &frame), 0);
	assert_int_equal(pt_open(&pt, pt_org_find("flat", 4), 0, &p, &mem.m, frame), -EINVAL);
	assert_int_equal(pt_open(&pt, pt_org_find("inverted", 8), 0, &p, &mem.m, frame), -EINVAL);
	assert_int_equal(pt_open(&pt, pt_org_find("radix", 5), 0, &p, &mem.m, frame + 64), -EINVAL);
	test_mem_fini(&mem);
}

struct owner {
	uint32_t process;
	uint64_t page, frame;
};

static const struct owner worked_example[] = {
	{ 1, 2, 1 }, { 1, 3, 3 }, { 1, 4, 6 }, { 1, 6, 5 }, { 2, 0, 2 }, { 2, 1, 4 }, { 2, 2, 7 },
};

static void map_owner(struct pt *pt, const struct owner *o)
{
	struct pt_entry e = { { o->process, o->page }, 0, RIGHTS, o->frame };

	assert_int_equal(pt->org->map(pt, &e), 0);
}

static void find_owner(struct pt *pt, const struct owner *o)
{
	struct pt_entry e;

	assert_int_equal(pt_find(pt, (struct pt_key){ o->process, o->page }, &e), 0);
	assert_int_equal(e.frame, o->frame);
}

/* Case 1: two page tables of 7 entries are 14 entries; the inverted table of 8 frames is 8. */
static void test_case_1_worked_example(void **state)
{
	const struct gpt_format *fmt = gpt_find("classroom");
	struct pt_params p = { .fmt = fmt, .npages = 7, .nframes = 8 };
	const struct pt_org *flat = pt_org_find("flat", 4), *inverted = pt_org_find("inverted", 8);
	struct pt process[2], machine;
	struct inverted_stats stats;
	struct test_mem mem;
	uint64_t entries = 0, bytes;

	test_mem_init(&mem, 64);
	assert_int_equal(pt_create(&machine, inverted, 0, &p, &mem.m), 0);
	bytes = mem.m.table_bytes;
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(pt_create(&process[i], flat, 0, &p, &mem.m), 0);
		entries += process[i].params.npages;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(worked_example); i++) {
		map_owner(&process[worked_example[i].process - 1], &worked_example[i]);
		map_owner(&machine, &worked_example[i]);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(worked_example); i++) {
		find_owner(&process[worked_example[i].process - 1], &worked_example[i]);
		find_owner(&machine, &worked_example[i]);
	}
	assert_int_equal(pt_inverted_stats(&machine, &stats), 0);
	assert_int_equal(entries, 14);
	assert_int_equal(entries * sizeof(uint64_t), 112);
	assert_int_equal(stats.slots, 8);
	assert_int_equal(stats.slots * INV_BYTES, 256);
	assert_int_equal(stats.aliases, 0);
	/* In frames: entries, anchors and header of one; entries and header of each of two. */
	assert_int_equal(bytes, 3 * PAGE_SIZE);
	assert_int_equal(stats.table_bytes + stats.anchor_bytes, 2 * PAGE_SIZE);
	assert_int_equal(mem.m.table_bytes - bytes, 4 * PAGE_SIZE);
	pt_destroy(&machine);
	pt_destroy(&process[0]);
	pt_destroy(&process[1]);
	assert_int_equal(mem.m.table_bytes, 0);
	test_mem_fini(&mem);
}

/* Case 11: 256 KiB of RAM in frames of 8 KiB: 32 entries. */
static void test_case_11_inverted_table_size(void **state)
{
	struct pt_params p = { .fmt = gpt_find("x86-64"), .nframes = (256 << 10) / PAGE_SIZE, .page_order = 1 };
	const struct pt_org *inverted = pt_org_find("inverted", 8);
	struct inverted_stats stats;
	struct pt_entry e = { { 3, 0 }, 1, RIGHTS, 0 }, found;
	struct test_mem mem;
	const char *why;
	struct pt pt;

	test_mem_init(&mem, 64);
	assert_int_equal(pt_create(&pt, inverted, 0, &p, &mem.m), 0);
	assert_int_equal(pt_inverted_stats(&pt, &stats), 0);
	assert_int_equal(stats.slots, 32);
	for (uint64_t i = 0; i < 32; i++) {
		e.key.page = 1000 + 2 * i;
		e.frame = 62 - 2 * i;
		assert_int_equal(inverted->map(&pt, &e), 0);
	}
	for (uint64_t page = 1000; page < 1064; page++) {
		assert_int_equal(pt_find(&pt, (struct pt_key){ 3, page }, &found), 0);
		assert_int_equal(found.order, 1);
		assert_int_equal(found.frame + (page & 1), 62 - ((page - 1000) & ~UINT64_C(1)) + (page & 1));
	}
	e.order = 0; /* no frame is that small here */
	assert_int_equal(inverted->map(&pt, &e), -EINVAL);
	assert_int_equal(inverted->audit(&pt, &why), 0);
	assert_int_equal(pt_inverted_stats(&pt, &stats), 0);
	assert_int_equal(stats.aliases, 0);
	pt_destroy(&pt);
	test_mem_fini(&mem);
}

/* Owners beyond the first cost 32 bytes each in chunks that come and go. */
static void test_aliases(void **state)
{
	enum { OWNERS = 300, CHUNK_ALIASES = PAGE_SIZE / INV_BYTES - 1 };
	struct pt_params p = { .fmt = gpt_find("x86-64"), .nframes = 256 };
	const struct pt_org *inverted = pt_org_find("inverted", 8);
	struct pt_entry e = { { 1, 0 }, 0, RIGHTS, 17 };
	struct inverted_stats stats;
	struct test_mem mem;
	const char *why;
	struct pt pt;

	test_mem_init(&mem, 64);
	assert_int_equal(pt_create(&pt, inverted, 0, &p, &mem.m), 0);
	for (e.key.page = 0; e.key.page < OWNERS; e.key.page++)
		assert_int_equal(inverted->map(&pt, &e), 0);
	assert_int_equal(pt_inverted_stats(&pt, &stats), 0);
	assert_int_equal(stats.aliases, OWNERS - 1);
	assert_int_equal(stats.alias_bytes, (OWNERS - 1 + CHUNK_ALIASES - 1) / CHUNK_ALIASES * PAGE_SIZE);
	assert_int_equal(inverted->audit(&pt, &why), 0);
	/* The first owner goes: the frame's entry is free, and is the next one's. */
	assert_int_equal(inverted->unmap(&pt, (struct pt_key){ 1, 0 }, 0, NULL), 0);
	e.key.page = 5000;
	assert_int_equal(inverted->map(&pt, &e), 0);
	assert_int_equal(pt_inverted_stats(&pt, &stats), 0);
	assert_int_equal(stats.aliases, OWNERS - 1);
	assert_int_equal(inverted->drop_space(&pt, 1), 0);
	assert_int_equal(pt_inverted_stats(&pt, &stats), 0);
	assert_int_equal(stats.alias_bytes, 0);
	assert_int_equal(pt.entries, 0);
	assert_int_equal(inverted->audit(&pt, &why), 0);
	pt_destroy(&pt);
	assert_int_equal(mem.frames_used, 0);
	test_mem_fini(&mem);
}

/* A table too long for one piece wastes little and is found in all its pieces. */
static void test_array_geometry(void **state)
{
	for (uint64_t frames = 1; frames < 3000; frames += 1 + frames / 50) {
		struct pt_array a;
		struct test_mem mem;
		uint64_t offset;

		test_mem_init(&mem, 8192);
		pt_array_init(&a, frames * PAGE_SIZE - 64);
		assert_int_equal(pt_array_alloc(&a, &mem.m), 0);
		assert_int_equal(pt_array_allocated(&a), mem.m.table_bytes);
		assert_true(mem.m.table_bytes <= (frames + frames / 8) * PAGE_SIZE);
		for (uint64_t at = 0; at < a.bytes; at += PAGE_SIZE) {
			assert_true(pt_array_offset(&a, pt_array_at(&a, at), &offset));
			assert_int_equal(offset, at);
		}
		assert_false(pt_array_offset(&a, TEST_MEM_BASE - PAGE_SIZE, &offset));
		pt_array_free(&a, &mem.m);
		assert_int_equal(mem.frames_used, 0);
		test_mem_fini(&mem);
	}
}

/* A walker meets chains that lead nowhere or round: it comes back. */
static void test_damaged_chains(void **state)
{
	struct pt_params p = { .fmt = gpt_find("x86-64"), .nframes = 16, .anchors = 1 };
	const struct pt_org *inverted = pt_org_find("inverted", 8);
	struct walk_req req = { .va = 7 << PAGE_SHIFT, .space = 1, .ctl = CTL_DEFAULT, .start_level = -1 };
	struct pt_entry e = { { 1, 3 }, 0, RIGHTS, 5 };
	uint64_t entry, bad[] = { 0, 12, BIT(50) };
	struct test_mem mem;
	const char *why;
	struct walk w;
	struct pt pt;

	test_mem_init(&mem, 64);
	assert_int_equal(pt_create(&pt, inverted, 0, &p, &mem.m), 0);
	assert_int_equal(inverted->map(&pt, &e), 0);
	entry = inv_slot_addr(&pt, 5);
	bad[0] = entry; /* round */
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(ptm_store64(&mem.m, entry + INV_NEXT, bad[i]), 0);
		inverted->lookup(&pt, &req, &w);
		assert_int_equal(w.status, WALK_FAULT);
		assert_int_equal(w.why, WALK_WHY_BUS);
		assert_int_not_equal(inverted->audit(&pt, &why), 0);
	}
	test_mem_fini(&mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_registry_is_whole),
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_create_refuses),
		cmocka_unit_test(test_open_refuses),
		cmocka_unit_test(test_case_1_worked_example),
		cmocka_unit_test(test_case_11_inverted_table_size),
		cmocka_unit_test(test_aliases),
		cmocka_unit_test(test_array_geometry),
		cmocka_unit_test(test_damaged_chains),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
