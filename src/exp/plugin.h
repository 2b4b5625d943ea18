/* SPDX-License-Identifier: MIT */
/*
 * Plug-ins: organisations, modes, TLB policies and presets from a file of the
 * user's (plug/plugin.h), loaded before names are looked up and for good.
 */
#ifndef QUIRE_EXP_PLUGIN_H
#define QUIRE_EXP_PLUGIN_H

#include "exp/error.h"
#include "plug/plugin.h"

enum { PLUGINS_MAX = 16 };

struct plugin {
	const char *file; /* as the user wrote it */
	const struct quire_plugin *p;
	unsigned first_policy; /* number of its policy 0 */
};

/*
 * Loads FILE.so, checks all of it, and adds what it brings. 0; 3: the file is
 * missing, no plug-in, or one this Quire cannot use; 2: one of its names is
 * taken. Nothing was added then. A file loaded before is found again. out may
 * be NULL.
 */
int plugin_load(const char *file, const struct plugin **out, struct trace_error *err);
/* The i-th scheme that plug-ins make possible: what `--schemes all` means besides. NULL past the end. */
const char *plugin_scheme_at(unsigned i);

#endif
