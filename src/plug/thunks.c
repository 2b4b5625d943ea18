/* SPDX-License-Identifier: MIT */
/*
 * libquire-plug, linked into every plug-in: Quire's functions as it sees them.
 * Each calls through the table that the program hands over.
 */
#include "plug/plugin.h"

const struct quire_services *quire_services;

void bug_at(const char *file, int line, const char *what)
{
	quire_services->bug_at(file, line, what);
	__builtin_unreachable();
}

#define S(type, name, parameters, arguments) \
	type name parameters                 \
	{                                    \
		return quire_services->name arguments; \
	}
QUIRE_SERVICES(S)
#undef S
