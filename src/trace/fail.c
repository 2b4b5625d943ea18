/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stdio.h>

#include "trace/source.h"

int trace_fail(struct trace_error *err, int exit_code, const char *fmt, ...)
{
	va_list ap;

	err->exit_code = exit_code;
	va_start(ap, fmt);
	vsnprintf(err->what, sizeof(err->what), fmt, ap);
	va_end(ap);
	return -1;
}
