/* SPDX-License-Identifier: MIT */
/*
 * All that layers 0-3 ask of the world outside, besides memcpy, memmove,
 * memset and memcmp. On bare metal these are a handful of drivers.
 */
#ifndef QUIRE_BASE_HOST_OPS_H
#define QUIRE_BASE_HOST_OPS_H

#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

struct host_ops {
	/* One line, no newline at its end. May be NULL: silence. */
	void (*log)(void *ctx, enum log_level level, const char *line);
	/* Called by bug_at; must not return. NULL: __builtin_trap. */
	void (*panic)(void *ctx, const char *file, int line, const char *what);
	/* Nanoseconds of a monotonic clock, for progress and benchmarks only. */
	uint64_t (*clock_ns)(void *ctx);
	void *ctx;
};

/* Sets the one table in use; NULL restores the silent default. Not copied. */
void host_ops_set(const struct host_ops *ops);
const struct host_ops *host_ops_get(void);

#endif
