/* SPDX-License-Identifier: MIT */
#include "exp/names.h"

#include <string.h>

#include "exp/exp.h"
#include "exp/plugin.h"

enum { NAME_COMPARED = 48 };

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/*
 * Insertions, deletions and replacements of a character, and swaps of two
 * neighbours (optimal string alignment).
 */
static unsigned edit_distance(const char *a, const char *b)
{
	size_t n = strnlen(a, NAME_COMPARED), m = strnlen(b, NAME_COMPARED);
	unsigned d[NAME_COMPARED + 1][NAME_COMPARED + 1];

	for (size_t i = 0; i <= n; i++)
		d[i][0] = (unsigned)i;
	for (size_t j = 0; j <= m; j++)
		d[0][j] = (unsigned)j;
	for (size_t i = 1; i <= n; i++)
		for (size_t j = 1; j <= m; j++) {
			d[i][j] = least(least(d[i - 1][j], d[i][j - 1]) + 1, d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				d[i][j] = least(d[i][j], d[i - 2][j - 2] + 1);
		}
	return d[n][m];
}

const char *names_nearest(names_at at, const char *name)
{
	const char *best = NULL, *s;
	unsigned least_so_far = (unsigned)strnlen(name, NAME_COMPARED) / 3 + 1;

	for (unsigned i = 0; (s = at(i)) != NULL; i++) {
		unsigned d = edit_distance(s, name);

		if (d <= least_so_far && (!best || d < least_so_far)) {
			least_so_far = d;
			best = s;
		}
	}
	return best;
}

int names_unknown(struct trace_error *err, const char *where, const char *kind, const char *name, names_at at)
{
	const char *near = names_nearest(at, name), *s;
	size_t len;

	error_set(err, EXIT_USAGE, "%sunknown %s '%.40s'%s%s%s There are: ", where, kind, name,
		  near ? "; did you mean '" : ".", near ? near : "", near ? "'?" : "");
	len = strlen(err->what);
	for (unsigned i = 0; (s = at(i)) != NULL; i++) {
		int n = snprintf(err->what + len, sizeof(err->what) - len, "%s%s", i ? ", " : "", s);

		if (n < 0 || (size_t)n >= sizeof(err->what) - len) {
			/* No room for all of them: end at the last whole name. */
			const size_t room = sizeof(err->what) - sizeof(", …");

			strcpy(err->what + (len > room ? room : len), ", …");
			break;
		}
		len += (size_t)n;
	}
	return err->exit_code;
}

const char *names_scheme(unsigned i)
{
	const char *name, *why;
	struct scheme s;

	/* Only those that this build can parse: a mode is a file of its own. */
	for (unsigned n = 0; (name = scheme_name_at(n)) != NULL; n++)
		if (scheme_parse(name, &s, &why) == 0 && i-- == 0)
			return name;
	return plugin_scheme_at(i);
}

const char *names_format(unsigned i)
{
	unsigned n = 0;

	while (gpt_builtin[n]) {
		if (n == i)
			return gpt_builtin[n]->name;
		n++;
	}
	for (unsigned v = 0; gpt_variant[v]; v++)
		if (n + v == i)
			return gpt_variant[v]->name;
	return NULL;
}

const char *names_machine(unsigned i)
{
	const struct tlb_config *preset = tlb_preset_at(i);

	return preset ? preset->name : NULL;
}

const char *names_org(unsigned i)
{
	const struct pt_org *org = pt_org_at(i);

	return org ? org->name : NULL;
}

const char *names_synth(unsigned i)
{
	return synth_name(i, NULL);
}

static bool is_built(const char *name)
{
	const char *mode, *summary;

	if (pt_org_find(name, strlen(name)))
		return true;
	for (unsigned i = 0; (mode = mode_name_at(i, &summary)) != NULL; i++)
		if (strcmp(mode, name) == 0)
			return true;
	return false;
}

/* Modes and organisations that users read of and this build does not have. */
static const char *unbuilt_part(const char *name)
{
	static const char *const known[] = {
		"hashed", "cuckoo", "segment", "inverted-shadow", "agile", "adaptive", "paravirt",
	};
	size_t mode = strcspn(name, "/+");
	const char *org = name[mode] == '/' ? name + mode + 1 : "";
	size_t org_len = strcspn(org, "+");

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
		size_t len = strlen(known[i]);

		if (((len == mode && memcmp(name, known[i], len) == 0) ||
		     (len == org_len && memcmp(org, known[i], len) == 0)) && !is_built(known[i]))
			return known[i];
	}
	return NULL;
}

int scheme_unknown(const char *name, const char *why, struct trace_error *err)
{
	const char *part = unbuilt_part(name), *near = names_nearest(names_scheme, name);

	if (part)
		return error_set(err, EXIT_USAGE, "scheme '%.60s': %s is not built yet; 'quire list schemes' shows those that are",
				 name, part);
	return error_set(err, EXIT_USAGE, "scheme '%.60s': %s%s%s%s; 'quire list schemes' shows all", name, why,
			 near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}
