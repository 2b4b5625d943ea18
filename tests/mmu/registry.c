/* SPDX-License-Identifier: MIT */
/* Names of schemes: each that is offered can be had, spells back as it is spelt, and nonsense is refused with a reason. */
#include "rig.h"

static struct scheme parsed(const char *name)
{
	struct scheme s;
	const char *why = NULL;

	if (scheme_parse(name, &s, &why))
		fail_msg("%s: %s", name, why);
	return s;
}

static void test_every_scheme_spells_back(void **state)
{
	unsigned n = 0;

	for (; scheme_name_at(n); n++) {
		struct scheme s = parsed(scheme_name_at(n));

		assert_string_equal(s.name, scheme_name_at(n));
		for (unsigned k = 0; k < n; k++)
			assert_string_not_equal(scheme_name_at(k), scheme_name_at(n));
	}
	assert_true(n >= 8);
	assert_string_equal(scheme_name_at(0), "native");
	assert_null(scheme_name_at(n + 1));
}

static void test_one_spelling_each(void **state)
{
	static const struct {
		const char *given, *spelt;
	} x[] = {
		{ "nested", "nested/radix" },
		{ "nested/radix", "nested/radix" },
		{ "shadow/radix", "shadow" },
		{ "shadow", "shadow" },
		{ "shadow/inverted", "shadow/inverted" },
		{ "shadow+discard+lazy", "shadow+lazy+discard" },
		{ "shadow/radix+lazy", "shadow+lazy" },
		{ "shadow+lazy+lazy", "shadow+lazy" },
		{ "shadow+roots=4+lazy", "shadow+lazy+roots=4" },
		{ "shadow+roots=999999", "shadow+roots=999999" },
		{ "shadow+roots=007", "shadow+roots=7" },
		{ "inverted-shadow", "inverted-shadow" },
		{ "inverted-shadow+groups=64+lazy", "inverted-shadow+lazy+groups=64" },
		{ "shadow/inverted+lazy+linear", "shadow/inverted+linear+lazy" },
		{ "nested/inverted+linear", "nested/inverted+linear" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(x); i++) {
		struct scheme s = parsed(x[i].given), again = parsed(s.name);

		assert_string_equal(s.name, x[i].spelt);
		assert_string_equal(again.name, s.name);
		assert_true(again.mode == s.mode && again.org == s.org && again.org_flags == s.org_flags &&
			    again.flags == s.flags && again.roots == s.roots && again.groups == s.groups);
	}
}

static void test_nonsense_is_refused_with_a_reason(void **state)
{
	static const char *const bad[] = {
		"", "/", "+", "nest", "nestedd", "Nested", "nested/", "nested/radi", "nested/radixx", "nested/radix/flat",
		"nested/radix+", "nested/radix+linear", "nested/inverted+lin", "nested/inverted+linear+", "nested+lazy",
		"native/radix", "native+lazy", "native/", "shadow+", "shadow++lazy", "shadow+lazyy", "shadow+roots",
		"shadow+roots=", "shadow+roots=0", "shadow+roots=-1", "shadow+roots=1x", "shadow+roots=1000000",
		"inverted-shadow/radix", "inverted-shadow+roots=2", "inverted-shadow+groups=0", "shadow+groups=2",
		"shadow+roots=99999999999999999999", "shadow+discard+roots=2", "nested/radix+roots=2", " nested/radix",
		"nested/radix ", "shadow,nested",
		"nested/a-name-that-is-much-longer-than-any-scheme-could-ever-be-and-does-not-fit",
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct scheme s;
		const char *why = NULL;

		if (scheme_parse(bad[i], &s, &why) != -EINVAL)
			fail_msg("\"%s\" was taken for %s", bad[i], s.name);
		assert_true(why && why[0]);
	}
}

static void test_modes_are_listed(void **state)
{
	const char *summary, *name;
	bool native = false, nested = false, shadow = false;

	for (unsigned i = 0; (name = mode_name_at(i, &summary)); i++) {
		assert_true(summary && summary[0]);
		assert_ptr_equal(mode_find(name, strlen(name)), mode_find(name, strlen(name)));
		native |= !strcmp(name, "native");
		nested |= !strcmp(name, "nested");
		shadow |= !strcmp(name, "shadow");
	}
	assert_true(native && nested && shadow);
	assert_null(mode_find("nestedx", 7));
	assert_non_null(mode_find("nestedx", 6));
}

/* What cannot be says why, as an answer and at creation alike; and leaves nothing behind. */
static void test_pairs_that_cannot_be(void **state)
{
	static const struct {
		struct rig_config c;
	} x[] = {
		{ { .scheme = "shadow/flat" } },
		{ { .scheme = "nested/radix", .guest = "x86-64", .host = "classroom" } },
		{ { .scheme = "nested/radix", .host = "x86-32", .ram = UINT64_C(5) << 30 } },
		{ { .scheme = "shadow", .guest = "x86-32", .host = "x86-32", .ram = UINT64_C(5) << 30 } },
		{ { .scheme = "native", .guest_base = 1 } },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(x); i++) {
		struct rig r;
		struct rig_vm *g;
		const char *why;

		rig_open_machine(&r, &x[i].c);
		assert_int_equal(rig_vm_try(&r, &x[i].c, &g, &why), -ENOTSUP);
		assert_true(why[0]);
		assert_int_equal(r.m.nfree, r.nfree);
		rig_close(&r);
	}
}

/* A second VM keeps native away; a VM whose memory is scattered does too. */
static void test_native_is_alone(void **state)
{
	struct rig_config nested = { .guest_pages = 512 }, native = { .scheme = "native", .guest_pages = 512 };
	struct scheme to = parsed("native");
	struct rig r;
	struct rig_vm *g;
	const char *why;

	rig_open(&r, &nested);
	assert_int_equal(rig_vm_try(&r, &native, &g, &why), -ENOTSUP);
	assert_true(why[0]);
	rig_poke(&r.g[0], 0x5000, 8, 1);
	why = "";
	assert_int_equal(mmu_change_scheme(r.g[0].mmu, &to, &why), -ENOTSUP);
	assert_true(why[0]);
	assert_string_equal(mmu_scheme(r.g[0].mmu)->name, "nested/radix");
	assert_int_equal(rig_peek(&r.g[0], 0x5000, 8), 1);
	rig_close(&r);
}

/* A running VM goes through all schemes, from each to each; nothing it can see changes. */
static void test_every_change_of_scheme(void **state)
{
	static const uint64_t va = 0x400000;
	struct rig_config c = { .scheme = "nested/flat", .preset = "generic" };
	unsigned changes = 0;
	struct rig r;
	struct rig_space s;

	rig_open(&r, &c);
	struct rig_vm *g = &r.g[0];

	rig_space_init(&s, g);
	for (unsigned k = 0; k < 16; k++)
		rig_map(&s, va + (k << PAGE_SHIFT), 1000 + k, 0, RIG_RIGHTS);
	rig_enter(&s);
	for (unsigned i = 0; rig_scheme_at(i); i++)
		for (unsigned j = 0; rig_scheme_at(j); j++) {
			const unsigned step[] = { i, j };

			for (unsigned n = 0; n < 2; n++) {
				struct scheme to = parsed(rig_scheme_at(step[n]));
				const char *why = "";

				if (!strcmp(to.name, "native"))
					continue;
				assert_int_equal(mmu_change_scheme(g->mmu, &to, &why), 0);
				assert_string_equal(mmu_scheme(g->mmu)->name, to.name);
				changes++;
				for (unsigned k = 0; k < 16; k++) {
					uint64_t at = va + (k << PAGE_SHIFT) + 16, value;

					assert_int_equal(vcpu_load(&g->v, SEG_PAGED, at, 8, &value), ACCESS_OK);
					assert_int_equal(value, changes == 1 ? 0 : changes - 1 + k);
					assert_int_equal(vcpu_store(&g->v, SEG_PAGED, at, 8, changes + k), ACCESS_OK);
				}
				rig_audit(&r);
			}
		}
	assert_int_equal(g->vm->stats.scheme_changes, changes);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_scheme_spells_back),
		cmocka_unit_test(test_one_spelling_each),
		cmocka_unit_test(test_nonsense_is_refused_with_a_reason),
		cmocka_unit_test(test_modes_are_listed),
		cmocka_unit_test(test_pairs_that_cannot_be),
		cmocka_unit_test(test_native_is_alone),
		cmocka_unit_test(test_every_change_of_scheme),
	};

	return cmocka_run_group_tests_name("mmu registry", tests, NULL, NULL);
}
