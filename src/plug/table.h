/* SPDX-License-Identifier: MIT */
/* The program's side: the table that plug-ins are handed. */
#ifndef QUIRE_PLUG_TABLE_H
#define QUIRE_PLUG_TABLE_H

#include "plug/services.h"

extern const struct quire_services quire_services_table;

#endif
