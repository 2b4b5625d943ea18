/* SPDX-License-Identifier: MIT */
/* The suite on all that a plug-in brings: `quire check-plugin`. */
#ifndef QUIRE_CONFORM_CHECK_PLUGIN_H
#define QUIRE_CONFORM_CHECK_PLUGIN_H

#include <stdio.h>

#include "exp/plugin.h"

/*
 * Runs every case on every organisation, policy and mode of the plug-in, each
 * in a process of its own: one that crashes or does not end has failed. Prints
 * a line a case, and at the end which failed first. False: one did.
 */
enum check_extent { CHECK_EVERY_CASE, CHECK_TO_FIRST_FAILURE };
bool check_plugin(const struct plugin *p, uint64_t seed, enum check_extent extent, FILE *out);

#endif
