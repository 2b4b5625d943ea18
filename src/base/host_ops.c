/* SPDX-License-Identifier: MIT */
#include "base/host_ops.h"
#include "base/bug.h"
#include "base/log.h"

static const struct host_ops silent;
static const struct host_ops *current = &silent;

void host_ops_set(const struct host_ops *ops)
{
	current = ops ? ops : &silent;
}

const struct host_ops *host_ops_get(void)
{
	return current;
}

void bug_at(const char *file, int line, const char *what)
{
	if (current->panic)
		current->panic(current->ctx, file, line, what);
	__builtin_trap();
}

void log_line(enum log_level level, const char *line)
{
	if (current->log)
		current->log(current->ctx, level, line);
}
