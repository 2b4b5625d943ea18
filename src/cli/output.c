/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "cli/cli.h"

int complain(const struct trace_error *err)
{
	fprintf(stderr, "quire: %s\n", err->what);
	return err->exit_code;
}

int complain_usage(const char *fmt, ...)
{
	va_list ap;

	fputs("quire: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return EXIT_USAGE;
}

static int open_one(FILE **f, const char *path)
{
	if (!path)
		return 0;
	if (strcmp(path, "-") == 0) {
		*f = stdout;
		return 0;
	}
	*f = fopen(path, "w");
	if (!*f)
		return complain_usage("%s: %s; give a path that can be written", path, strerror(errno));
	return 0;
}

int outputs_open(struct outputs *out, const struct options *o)
{
	int code;

	*out = (struct outputs){ 0 };
	code = open_one(&out->json, o->json);
	if (!code)
		code = open_one(&out->csv, o->csv);
	out->text = out->json != stdout && out->csv != stdout;
	if (code)
		outputs_close(out, o);
	return code;
}

static int close_one(FILE *f, const char *path)
{
	if (!f || f == stdout)
		return 0;
	if (fclose(f))
		return complain_usage("%s: %s; the result there is not whole", path, strerror(errno));
	return 0;
}

int outputs_close(struct outputs *out, const struct options *o)
{
	int a = close_one(out->json, o->json), b = close_one(out->csv, o->csv);

	return a ? a : b;
}

int outputs_json(struct outputs *out, json_t *document, const struct options *o)
{
	if (json_write(document, out->json))
		return complain_usage("%s: cannot be written; the result there is not whole", o->json);
	return 0;
}
