/* SPDX-License-Identifier: MIT */
#include "exp/error.h"

#include <stdarg.h>

int error_set(struct trace_error *err, int exit_code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err->what, sizeof(err->what), fmt, ap);
	va_end(ap);
	err->exit_code = exit_code;
	return exit_code;
}
