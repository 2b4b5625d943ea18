/* SPDX-License-Identifier: MIT */
/* --plugin, ahead of all other options; and check-plugin. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "conform/check_plugin.h"

/* The value of the option if argv[*i] is --NAME VALUE or --NAME=VALUE; *i is past it then. */
static const char *take_value(const char *option, int n, char **argv, int *i)
{
	size_t len = strlen(option);
	const char *arg = argv[*i];

	if (strncmp(arg, option, len) != 0 || (arg[len] && arg[len] != '=') || (!arg[len] && *i + 1 >= n))
		return NULL;
	*i += arg[len] ? 1 : 2;
	return arg[len] ? arg + len + 1 : argv[*i - 1];
}

int plugins_load(int n, char **argv)
{
	struct trace_error err = { 0 };

	for (int i = 1; i < n;) {
		const char *file = take_value("--plugin", n, argv, &i);

		if (!file && strcmp(argv[i++], "--plugin") == 0)
			return complain_usage("--plugin names no file; give --plugin FILE.so");
		if (file && plugin_load(file, NULL, &err))
			return complain(&err);
	}
	return 0;
}

bool plugins_skip(int n, char **argv, int *i)
{
	return take_value("--plugin", n, argv, i) != NULL;
}

static int usage(void)
{
	puts("usage: quire check-plugin [--seed N] [--first] FILE.so\n"
	     "\n"
	     "Loads a plug-in and runs the conformance suite on the organisations, TLB policies\n"
	     "and modes that it brings, each case in a process of its own. A line a case; the\n"
	     "exit status is 1 if one failed; with --first it ends there.\n"
	     "docs/adding-a-page-table.md says how to make a plug-in.");
	return 0;
}

int command_check_plugin(int argc, char **argv)
{
	const struct plugin *p;
	struct trace_error err = { 0 };
	const char *file = NULL;
	enum check_extent extent = CHECK_EVERY_CASE;
	uint64_t seed = 1;

	for (int i = 1; i < argc;) {
		const char *value = take_value("--seed", argc, argv, &i);
		char *end;

		if (value) {
			seed = strtoull(value, &end, 0);
			if (*value < '0' || *value > '9' || *end)
				return complain_usage("--seed '%.60s': give a number", value);
			continue;
		}
		if (strcmp(argv[i], "--help") == 0)
			return usage();
		if (strcmp(argv[i], "--first") == 0) {
			extent = CHECK_TO_FIRST_FAILURE;
			i++;
			continue;
		}
		if (argv[i][0] == '-')
			return complain_usage("check-plugin has no option '%.60s'; there are --seed N and --first", argv[i]);
		if (file)
			return complain_usage("check-plugin takes one file, not '%.60s' too", argv[i]);
		file = argv[i++];
	}
	if (!file)
		return complain_usage("check-plugin needs a file: quire check-plugin FILE.so");
	if (plugin_load(file, &p, &err))
		return complain(&err);
	return check_plugin(p, seed, extent, stdout) ? EXIT_DONE : EXIT_WRONG;
}
