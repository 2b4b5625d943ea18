/* SPDX-License-Identifier: MIT */
/* A machine over a fresh mapping, and the capture of a BUG. */
#ifndef QUIRE_TESTS_MACHINE_TESTRAM_H
#define QUIRE_TESTS_MACHINE_TESTRAM_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/bits.h"
#include "base/host_ops.h"
#include "machine/machine.h"

struct testram {
	struct machine m;
	struct faultinj inj;
};

static inline void testram_open_with(struct testram *t, uint64_t bytes, const struct machine_config *c)
{
	void *ram = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_true(ram != MAP_FAILED);
	assert_int_equal(machine_init(&t->m, ram, bytes, c), 0);
	faultinj_init(&t->inj);
	t->m.inj = &t->inj;
}

static inline void testram_open(struct testram *t, uint64_t bytes)
{
	testram_open_with(t, bytes, NULL);
}

static inline void testram_close(struct testram *t)
{
	munmap(t->m.ram, t->m.bytes);
}

/* Both audits; says what they found. */
static inline void testram_audit(const struct testram *t)
{
	const char *why = "";

	if (buddy_audit(&t->m, &why) || kmem_audit(&t->m, &why))
		fail_msg("audit: %s", why);
}

extern jmp_buf testram_bug;

static inline void testram_panic(void *ctx, const char *file, int line, const char *what)
{
	longjmp(testram_bug, 1);
}

/* The statement must end in BUG_ON. It changes no local variable that is read afterwards. */
#define assert_bug(statement)                                                \
	do {                                                                 \
		static const struct host_ops catch = { .panic = testram_panic }; \
		host_ops_set(&catch);                                        \
		if (!setjmp(testram_bug)) {                                  \
			statement;                                           \
			fail_msg("no BUG: %s", #statement);                  \
		}                                                            \
		host_ops_set(NULL);                                          \
	} while (0)

#endif
