/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"
#include "trace/parts.h"

#ifndef QUIRE_LIBDIR
#define QUIRE_LIBDIR "/usr/local/lib"
#endif

bool find_in_path(const char *name, char out[PATH_MAX])
{
	const char *path = getenv("PATH");

	if (strchr(name, '/'))
		return snprintf(out, PATH_MAX, "%s", name) < PATH_MAX;
	for (path = path ? path : "/usr/local/bin:/usr/bin:/bin"; path;) {
		size_t n = strcspn(path, ":");
		struct stat st;

		if (snprintf(out, PATH_MAX, "%.*s%s%s", (int)n, path, n ? "/" : "./", name) < PATH_MAX &&
		    !stat(out, &st) && S_ISREG(st.st_mode) && !access(out, X_OK))
			return true;
		path = path[n] ? path + n + 1 : NULL;
	}
	return false;
}

bool find_part(const char *env, const char *name, char out[PATH_MAX])
{
	static const char *const beside[] = {"/plugin/", "/../plugin/", "/../../plugin/", "/../lib/quire/"};
	const char *given = getenv(env);
	char exe[PATH_MAX];
	ssize_t n;

	if (given && *given)
		return realpath(given, out);
	n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	exe[n > 0 ? n : 0] = '\0';
	if (strrchr(exe, '/'))
		*strrchr(exe, '/') = '\0';
	for (unsigned i = 0; i < ARRAY_SIZE(beside); i++) {
		char path[PATH_MAX + 64];

		snprintf(path, sizeof(path), "%s%s%s", exe, beside[i], name);
		if (realpath(path, out))
			return true;
	}
	char installed[PATH_MAX];

	snprintf(installed, sizeof(installed), "%s/quire/%s", QUIRE_LIBDIR, name);
	return realpath(installed, out);
}
