/* SPDX-License-Identifier: MIT */
#include "vm/stats.h"

static const char *const names[EXIT_COUNT] = {
#define X(id, name) [EXIT_##id] = name,
	EXIT_REASONS(X)
#undef X
};

const char *exit_reason_name(enum exit_reason r)
{
	return names[r];
}
