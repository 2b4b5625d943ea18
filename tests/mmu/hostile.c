/* SPDX-License-Identifier: MIT */
/*
 * Guests that mean harm, or make no sense: tables of random bytes, entries
 * that point outside their memory or as far as an entry reaches, cycles, roots
 * anywhere, tables that are written while they are walked. No crash, no BUG,
 * not a byte of a neighbour's touched, and the same outcome under every scheme.
 */
#include "equivalence.h"

#include <stdlib.h>

static const struct { const char *guest, *host, *preset; } kinds[] = {
	{ "x86-64", "x86-64", "none" }, { "sv39", "sv39", "generic" }, { "x86-32", "x86-64", "skylake" },
	{ "x86-64-5l", "x86-64", "generic" }, { "sv48", "x86-64", "rocket" }, { "sv57", "sv57", "generic" },
	{ "x86-64", "sv48", "zen2" }, { "x86-pae", "x86-64", "generic" },
};

static void test_random_bytes(void **state)
{
	struct sequence *s = malloc(sizeof(*s));
	const char *from = getenv("QUIRE_TEST_SEED");
	uint64_t first = from ? strtoull(from, NULL, 0) : 1;

	eq_succeeded = eq_faulted = 0;
	for (uint64_t seed = first; seed < first + 24ull * long_times(); seed++) {
		unsigned k = seed % ARRAY_SIZE(kinds);
		struct eq_config c = {
			.rig = { .host = kinds[k].host, .preset = kinds[k].preset, .shadow_budget = seed % 3 ? 0 : 6,
				 .host_thp = seed & 1 },
			.audit_every = 100, .neighbour = true,
		};

		sequence_make_hostile(s, seed, eq_format(kinds[k].guest), 400);
		for (unsigned i = 0; (c.rig.scheme = rig_scheme_at(i)) != NULL; i++)
			equivalent(&c, s);
	}
	free(s);
	fprintf(stderr, "seeds %llu…: %llu accesses succeeded, %llu faulted\n", (unsigned long long)first,
		(unsigned long long)eq_succeeded, (unsigned long long)eq_faulted);
	assert_true(eq_succeeded > 1000 && eq_faulted > eq_succeeded);
}

static void add(struct sequence *s, struct eq_op op)
{
	assert_true(s->n < EQ_OPS_MAX);
	s->op[s->n++] = op;
}

/* A root whose every entry is itself: each address leads to the table, each store rewrites the walk of the next. */
static void test_one_page_of_itself(void **state)
{
	struct sequence *s = calloc(1, sizeof(*s));
	struct eq_config c = { .audit_every = 16, .neighbour = true };

	s->f = eq_format("x86-64");
	s->ctl = CTL_DEFAULT;
	for (unsigned i = 0; i < 512; i += i < 8 ? 1 : 63)
		add(s, (struct eq_op){ .kind = EQ_POKE, .size = 8, .gpa = 0x2000 + 8 * i, .value = 0x2007 });
	add(s, (struct eq_op){ .kind = EQ_ROOT, .gpa = 0x2000, .asid = 1 });
	for (unsigned i = 0; i < 200; i++) {
		uint64_t va = 0;

		for (unsigned l = 0; l < 4; l++)
			va |= (hash_2u64(i, l) & 7) << (12 + 9 * l);
		add(s, (struct eq_op){ .kind = (uint8_t)(i % 3 ? EQ_LOAD : EQ_STORE), .size = 8, .user = 1,
				       .va = va + (hash_u64(i) & 7) * 8,
				       .value = i % 9 ? 0x2007 : i % 2 ? 0x3007 : 0 });
	}
	for (unsigned i = 0; (c.rig.scheme = rig_scheme_at(i)) != NULL; i++)
		assert_true(equivalent(&c, s));
	free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_bytes),
		cmocka_unit_test(test_one_page_of_itself),
	};

	return cmocka_run_group_tests_name("hostile guests", tests, NULL, NULL);
}
