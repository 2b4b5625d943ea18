/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "trace/qemu_command.h"

/* As Linux: an interpreter may itself be a script, a few times (fs/exec.c: BINPRM recursion). */
enum { SCRIPT_DEPTH = 5, SCRIPT_LINE = 256 };

static char *own(struct qemu_command *c, char *s)
{
	char **grown = s ? realloc(c->owned, (c->nowned + 1) * sizeof(char *)) : NULL;

	if (!grown) {
		free(s);
		return NULL;
	}
	c->owned = grown;
	return c->owned[c->nowned++] = s;
}

static unsigned count(char *const v[])
{
	unsigned n = 0;

	while (v && v[n])
		n++;
	return n;
}

/* Not realpath: programs with many names look at the one they were called by. */
static char *make_absolute(const char *path)
{
	char cwd[PATH_MAX], *out;

	if (path[0] == '/')
		return strdup(path);
	if (!getcwd(cwd, sizeof(cwd)) || asprintf(&out, "%s/%s", cwd, path) < 0)
		return NULL;
	return out;
}

/* The first bytes of an executable regular file, zero-terminated: their number or -errno. */
static int read_head(const char *path, char head[SCRIPT_LINE])
{
	struct stat st;
	ssize_t n;
	int fd;

	memset(head, 0, SCRIPT_LINE);
	if (stat(path, &st))
		return -errno;
	if (!S_ISREG(st.st_mode) || access(path, X_OK))
		return -EACCES;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, head, SCRIPT_LINE - 1);
	close(fd);
	return n < 0 ? -EIO : (int)n;
}

static bool is_x86_64_program(const char *head, int n)
{
	Elf64_Ehdr h;

	if (n < (int)sizeof(h))
		return false;
	memcpy(&h, head, sizeof(h));
	return !memcmp(h.e_ident, ELFMAG, SELFMAG) && h.e_ident[EI_CLASS] == ELFCLASS64 &&
	       h.e_machine == EM_X86_64 && (h.e_type == ET_EXEC || h.e_type == ET_DYN);
}

/* "#! interpreter [one argument]" in place; *arg NULL if there is none. */
static char *parse_script(char *head, char **arg)
{
	char *p = head + 2, *interp, *end;

	p[strcspn(p, "\n")] = '\0';
	for (end = p + strlen(p); end > p && (end[-1] == ' ' || end[-1] == '\t'); end--)
		end[-1] = '\0';
	interp = p + strspn(p, " \t");
	p = interp + strcspn(interp, " \t");
	*arg = NULL;
	if (*p) {
		*p++ = '\0';
		*arg = p + strspn(p, " \t");
	}
	return *interp ? interp : NULL;
}

/*
 * Follows scripts to the program that runs them. prefix[] gets the arguments
 * that stand before argv[1..], the interpreter's own name first; *program is
 * what QEMU loads.
 */
static int resolve(struct qemu_command *c, const char *path, char *prefix[], unsigned *nprefix, char **program)
{
	char *current = own(c, make_absolute(path));
	char head[SCRIPT_LINE], *interp, *arg;

	*nprefix = 0;
	for (unsigned depth = 0; depth <= SCRIPT_DEPTH; depth++) {
		if (!current)
			return -ENOMEM;
		int n = read_head(current, head);

		if (n < 0)
			return n;
		if (is_x86_64_program(head, n)) {
			*program = current;
			return 0;
		}
		if (n < 2 || head[0] != '#' || head[1] != '!' || !(interp = parse_script(head, &arg)))
			return -ENOEXEC;
		/* argv[0] of a script is replaced; the script's own name is the interpreter's argument. */
		unsigned add = arg ? 2 : 1, keep = *nprefix ? *nprefix - 1 : 0;
		char *script = depth ? prefix[0] : own(c, strdup(path));

		memmove(prefix + add + 1, prefix + 1, keep * sizeof(char *));
		prefix[add] = script;
		prefix[0] = own(c, strdup(interp));
		if (arg)
			prefix[1] = own(c, strdup(arg));
		*nprefix = add + 1 + keep;
		for (unsigned i = 0; i < *nprefix; i++)
			if (!prefix[i])
				return -ENOMEM;
		current = own(c, make_absolute(interp));
	}
	return -ELOOP;
}

/* QEMU splits options at commas and takes a doubled one for one. */
static char *plugin_option(const struct qemu_setup *setup)
{
	size_t n = 2 * (strlen(setup->plugin) + strlen(setup->ctl)) + 8;
	char *out = malloc(n), *p = out;

	if (!out)
		return NULL;
	for (const char *s = setup->plugin; *s; s++) {
		*p++ = *s;
		if (*s == ',')
			*p++ = ',';
	}
	p = stpcpy(p, ",ctl=");
	for (const char *s = setup->ctl; *s; s++) {
		*p++ = *s;
		if (*s == ',')
			*p++ = ',';
	}
	*p = '\0';
	return out;
}

/* QEMU is itself dynamically linked; -E, which splits at commas, hands a variable to the program alone. */
static bool is_for_program_only(const char *var)
{
	return !strncmp(var, "LD_", 3) && !strchr(var, ',');
}

int qemu_command_build(const struct qemu_setup *setup, const char *path, char *const argv[],
		       char *const envp[], struct qemu_command *out)
{
	/* Each script adds at most its interpreter's argument and its own name. */
	char *prefix[2 * (SCRIPT_DEPTH + 2)], *program = NULL;
	unsigned nprefix, nargs = count(argv), nenv = count(envp), n = 0, e = 0;
	int rc;

	memset(out, 0, sizeof(*out));
	rc = resolve(out, path, prefix, &nprefix, &program);
	if (rc) {
		qemu_command_free(out);
		return rc;
	}
	out->argv = calloc(nargs + nprefix + 2 * nenv + 8, sizeof(char *));
	out->envp = calloc(nenv + 1, sizeof(char *));
	char *option = own(out, plugin_option(setup));

	if (!out->argv || !out->envp || !option) {
		qemu_command_free(out);
		return -ENOMEM;
	}
	out->argv[n++] = (char *)setup->qemu;
	out->argv[n++] = (char *)"-0";
	out->argv[n++] = nprefix ? prefix[0] : nargs ? argv[0] : (char *)"";
	out->argv[n++] = (char *)"-plugin";
	out->argv[n++] = option;
	for (unsigned i = 0; i < nenv; i++) {
		if (is_for_program_only(envp[i])) {
			out->argv[n++] = (char *)"-E";
			out->argv[n++] = envp[i];
		} else {
			out->envp[e++] = envp[i];
		}
	}
	out->argv[n++] = program;
	for (unsigned i = 1; i < nprefix; i++)
		out->argv[n++] = prefix[i];
	for (unsigned i = 1; i < nargs; i++)
		out->argv[n++] = argv[i];
	return 0;
}

void qemu_command_free(struct qemu_command *c)
{
	for (unsigned i = 0; i < c->nowned; i++)
		free(c->owned[i]);
	free(c->owned);
	free(c->argv);
	free(c->envp);
	memset(c, 0, sizeof(*c));
}
