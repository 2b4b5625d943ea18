/* SPDX-License-Identifier: MIT */
/*
 * Counts references and nothing else, so that tests can hold recordings
 * against it: one line "pid reads writes blocks" is appended to out=FILE when
 * a process ends. Programs it executes run natively, uncounted.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "qemu-plugin-decl.h"

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_API_VERSION;

static atomic_ullong reads, writes, blocks;
static char *out;

static void add(atomic_ullong *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static void on_block(unsigned vcpu, void *unused)
{
	add(&blocks);
}

static void on_access(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t gva, void *unused)
{
	add(qemu_plugin_mem_is_store(info) ? &writes : &reads);
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t n = qemu_plugin_tb_n_insns(tb);

	qemu_plugin_register_vcpu_tb_exec_cb(tb, on_block, QEMU_PLUGIN_CB_NO_REGS, NULL);
	for (size_t i = 0; i < n; i++)
		qemu_plugin_register_vcpu_mem_cb(qemu_plugin_tb_get_insn(tb, i), on_access, QEMU_PLUGIN_CB_NO_REGS,
						 QEMU_PLUGIN_MEM_RW, NULL);
}

static void on_exit_process(qemu_plugin_id_t id, void *unused)
{
	char line[128];
	int n = snprintf(line, sizeof(line), "%d %llu %llu %llu\n", (int)getpid(), atomic_load(&reads),
			 atomic_load(&writes), atomic_load(&blocks));
	int fd = open(out, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, line, (size_t)n) != n)
		abort();
	close(fd);
}

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
	if (argc < 1 || strncmp(argv[0], "out=", 4) || !(out = strdup(argv[0] + 4)))
		return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
	qemu_plugin_register_atexit_cb(id, on_exit_process, NULL);
	return 0;
}
