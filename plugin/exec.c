/* SPDX-License-Identifier: MIT */
/*
 * QEMU runs a program that the guest executes natively, unseen. So the call is
 * made here instead, with QEMU and this plugin before the program. Where that
 * cannot be (no such file, not executable, another kind of program), the
 * guest's own call follows and fails or succeeds as it would have.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "quire-plugin.h"

/* Can this process read the byte at p? A guest may pass any pointer; its own call then says EFAULT. */
static bool is_readable(const void *p)
{
	char byte;
	struct iovec to = {&byte, 1}, from = {(void *)p, 1};

	return p && process_vm_readv(getpid(), &to, 1, &from, 1, 0) == 1;
}

/* A guest's array of strings as ours; NULL if it cannot be read. To be freed. */
static char **guest_strings(uint64_t array, uint64_t guest_base)
{
	const uint64_t *guest = (const uint64_t *)(array + guest_base);
	size_t n = 0;

	if (array)
		while (is_readable(guest + n) && guest[n]) {
			if (!is_readable((const char *)(guest[n] + guest_base)))
				return NULL;
			n++;
		}
	char **out = calloc(n + 1, sizeof(char *));

	for (size_t i = 0; out && i < n; i++)
		out[i] = (char *)(guest[i] + guest_base);
	return out;
}

static bool readlink_of(const char *link, char *out)
{
	ssize_t n = readlink(link, out, PATH_MAX - 1);

	if (n < 0)
		return false;
	out[n] = '\0';
	return true;
}

/* The path the call means; false if it has none. */
static bool target_path(const struct syscall_args *call, uint64_t guest_base, const char *binary, char *out)
{
	bool at = call->num == SYS_execveat;
	const char *path = (const char *)(call->a[at ? 1 : 0] + guest_base);
	char link[64], dir[PATH_MAX];

	if (!is_readable(path) || strnlen(path, PATH_MAX) >= PATH_MAX)
		return false;
	if (at && path[0] != '/' && (int)call->a[0] != AT_FDCWD) {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", (int)call->a[0]);
		if (!readlink_of(link, dir))
			return false;
		return snprintf(out, PATH_MAX, path[0] ? "%s/%s" : "%s", dir, path) < PATH_MAX;
	}
	/* In the kernel's eyes this process is QEMU. */
	if (!strcmp(path, "/proc/self/exe") || !strcmp(path, "/proc/thread-self/exe"))
		path = binary;
	/* A descriptor may close at exec: take the file it names now. */
	if (!strncmp(path, "/proc/self/fd/", 14) || !strncmp(path, "/dev/fd/", 8))
		return readlink_of(path, out);
	return snprintf(out, PATH_MAX, "%s", path) < PATH_MAX && out[0];
}

void exec_under_qemu(const struct qemu_setup *setup, uint64_t guest_base, const char *binary,
		     const struct syscall_args *call)
{
	bool at = call->num == SYS_execveat;
	struct qemu_command command;
	char path[PATH_MAX];

	if (!target_path(call, guest_base, binary, path))
		return;
	char **argv = guest_strings(call->a[at ? 2 : 1], guest_base);
	char **envp = guest_strings(call->a[at ? 3 : 2], guest_base);

	if (argv && envp && !qemu_command_build(setup, path, argv, envp, &command)) {
		execve(setup->qemu, command.argv, command.envp);
		qemu_command_free(&command);
	}
	free(argv);
	free(envp);
}
