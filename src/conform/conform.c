/* SPDX-License-Identifier: MIT */
#include "conform/conform.h"

#include <stdarg.h>
#include <stdio.h>

void conform_begin(struct conform *t, const char *subject, uint64_t seed)
{
	snprintf(t->place->subject, sizeof(t->place->subject), "%s", subject);
	t->place->seed = seed;
	t->place->step = 0;
}

bool conform_fails(struct conform *t, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (!t->why[0])
		vsnprintf(t->why, sizeof(t->why), fmt, ap);
	va_end(ap);
	return false;
}

void conform_add_step(struct conform *t, const char *text)
{
	size_t len = strlen(t->steps);

	snprintf(t->steps + len, sizeof(t->steps) - len, "%s\n", text);
}
