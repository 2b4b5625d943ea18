/* SPDX-License-Identifier: MIT */
/*
 * The command that runs a program under QEMU with the recording plugin. The
 * recorder uses it for the first program, the plugin for every exec since.
 */
#ifndef QUIRE_TRACE_QEMU_COMMAND_H
#define QUIRE_TRACE_QEMU_COMMAND_H

struct qemu_setup {
	const char *qemu, *plugin, *ctl; /* paths: qemu-x86_64, quire-plugin.so, the control file */
};

struct qemu_command {
	char **argv, **envp; /* their strings are borrowed but for `owned` */
	char **owned;
	unsigned nowned;
};

/*
 * Fills *out so that execve(setup->qemu, out->argv, out->envp) runs `path`
 * (with a slash in it, or relative to the current directory) as
 * execve(path, argv, envp) would: argv[0] kept, `#!` scripts run by their
 * interpreter, LD_* variables given to the program and not to QEMU.
 * -errno where the target is none QEMU can run: it does not exist, is not
 * executable, or is no x86-64 program (-ENOEXEC).
 */
int qemu_command_build(const struct qemu_setup *setup, const char *path, char *const argv[],
		       char *const envp[], struct qemu_command *out);
void qemu_command_free(struct qemu_command *c);

#endif
