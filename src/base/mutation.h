/* SPDX-License-Identifier: MIT */
/*
 * Known bugs that can be built in on purpose (meson -Dmutation=NAME), to
 * prove that the tests find them. MUTATE(NAME) is a constant, 0 in every
 * ordinary build; the list is tools/mutations.txt.
 */
#ifndef QUIRE_BASE_MUTATION_H
#define QUIRE_BASE_MUTATION_H

/* MUTATE(X) is 1 when -DMUTATION_X (meaning: =1) is given, else 0. */
#define MUTATION_PROBE_1 ,
#define MUTATION_SECOND(ignored, x, ...) x
#define MUTATION_CHECK(junk) MUTATION_SECOND(junk 1, 0, 0)
#define MUTATION_CAT(x) MUTATION_CHECK(MUTATION_PROBE_##x)
#define MUTATION_EXPAND(x) MUTATION_CAT(x)
#define MUTATE(name) MUTATION_EXPAND(MUTATION_##name)

#endif
