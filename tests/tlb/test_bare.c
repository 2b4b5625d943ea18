/* SPDX-License-Identifier: MIT */
/*
 * The benchmark's bare loop and the modelled TLBs of preset "generic" were
 * written apart: on every stream they must count the same misses. And the
 * bare walks must load what the paging formulas say.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "bare_tlb.h"
#include "tlb/tlb.h"

enum { REFS = 100000, SEED = 3, SPACE = 1 };

static void count_engine(const struct stream *s, struct tlb_counts *c, uint64_t *sum)
{
	const struct tlb_config *config = tlb_preset_find("generic");
	void *memory = aligned_alloc(64, tlb_bytes(config));
	struct tlb t;

	memset(memory, 0, tlb_bytes(config));
	assert_int_equal(tlb_init(&t, config, 1, 1, memory), 0);
	*sum = 0;
	for (size_t i = 0; i < s->n; i++) {
		uint64_t vpn = ref_gva(s->refs[i]) >> PAGE_SHIFT;
		struct tlb_entry e = {.vpn = vpn, .space = SPACE, .flags = TLB_R, .mfn = vpn};

		if (!tlb_hot(&t, false, tlb_tag(SPACE, 0, vpn, 0)) && !tlb_lookup_rest(&t, ACC_READ, SPACE, 0, vpn))
			tlb_fill(&t, ACC_READ, &e);
		*sum += vpn;
	}
	*c = t.counts;
	free(memory);
}

static void test_bare_agrees(void **state)
{
	for (int k = 0; k < STREAMS; k++) {
		struct tlb_counts engine;
		struct stream s;
		struct bare *b;
		uint64_t sum;

		assert_true(stream_init(&s, (enum stream_kind)k, REFS, SEED));
		b = bare_create(s.base, s.bytes);
		assert_non_null(b);
		count_engine(&s, &engine, &sum);
		for (int mode = BARE_TLB; mode < BARE_MODES; mode++) {
			struct bare_counts c;

			bare_run(b, &s, (enum bare_mode)mode, &c);
			assert_int_equal(c.l1_misses, engine.l1d_misses);
			assert_int_equal(c.l2_misses, engine.l2_misses);
			assert_int_equal(c.sum, sum);
			if (mode == BARE_NATIVE)
				assert_int_equal(c.walk_loads, 4 * c.l2_misses);
			if (mode == BARE_NESTED)
				assert_int_equal(c.walk_loads, 24 * c.l2_misses);
			if (mode == BARE_NATIVE_CACHED)
				assert_in_range(c.walk_loads, c.l2_misses, 2 * c.l2_misses + 8);
		}
		bare_destroy(b);
		stream_fini(&s);
	}
}

/* What the mixed stream promises, in percent. */
static void test_mixed_stream_is_program_like(void **state)
{
	struct tlb_counts c;
	struct stream s;
	uint64_t sum, changes = 0;

	assert_true(stream_init(&s, STREAM_MIXED, REFS, SEED));
	for (size_t i = 1; i < s.n; i++)
		changes += ref_gva(s.refs[i]) >> PAGE_SHIFT != ref_gva(s.refs[i - 1]) >> PAGE_SHIFT;
	assert_in_range(changes * 100 / REFS, 43, 45);
	count_engine(&s, &c, &sum);
	assert_in_range(c.l1d_misses * 1000 / REFS, 30, 50);
	stream_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bare_agrees),
		cmocka_unit_test(test_mixed_stream_is_program_like),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
