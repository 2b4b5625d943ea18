/* SPDX-License-Identifier: MIT */
/*
 * Whose fault is it? A guest's mistake is injected into it or stops its VM
 * (vm_crash); a user's is a message and an exit code; ours is BUG_ON, always
 * on; paranoia is ASSERT, in debug builds.
 */
#ifndef QUIRE_BASE_BUG_H
#define QUIRE_BASE_BUG_H

#include "base/bits.h"

/* Reports through host_ops and does not return. */
void bug_at(const char *file, int line, const char *what) __attribute__((noreturn, cold));

#define BUG_ON(cond)                                           \
	do {                                                   \
		if (unlikely(cond))                            \
			bug_at(__FILE__, __LINE__, #cond);     \
	} while (0)

#ifdef QUIRE_DEBUG
#define ASSERT(cond) BUG_ON(!(cond))
#else
#define ASSERT(cond) ((void)sizeof(cond))
#endif

#endif
