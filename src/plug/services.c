/* SPDX-License-Identifier: MIT */
#include "plug/table.h"

const struct quire_services quire_services_table = {
	.bug_at = bug_at,
#define S(type, name, parameters, arguments) .name = name,
	QUIRE_SERVICES(S)
#undef S
};
