/* SPDX-License-Identifier: MIT */
/*
 * Recording a whole machine: Debian's kernel and a small initramfs with the
 * command boot under QEMU's system emulation (x86-64, one processor, no
 * network, time that runs with the instructions), whose plugin writes the
 * trace.
 */
#ifndef QUIRE_TRACE_RECORD_SYSTEM_H
#define QUIRE_TRACE_RECORD_SYSTEM_H

#include "trace/system_control.h"
#include "trace/trace.h"

struct system_options {
	const char *out;    /* the trace */
	const char *kernel; /* NULL: Debian's, downloaded once into the user's cache */
	char *const *files; /* more files and folders for the machine, NULL-terminated; may be NULL */
	uint64_t ram_bytes; /* from SYSTEM_RAM_MIN to SYSTEM_RAM_MAX, whole MiB; 0: SYSTEM_RAM_USUAL */
	uint64_t limit;     /* references; 0: none */
	bool at_command;    /* leaves out the boot and what follows the command */
	/* Called now and then; true ends the machine. May be NULL. */
	bool (*poll)(void *ctx);
	void *ctx;
};

/* Above 2 GiB a PC's memory has a hole, and its places in QEMU's RAM are no longer its addresses. */
#define SYSTEM_RAM_MIN (UINT64_C(96) << 20)
#define SYSTEM_RAM_USUAL (UINT64_C(256) << 20)
#define SYSTEM_RAM_MAX (UINT64_C(2) << 30)

struct system_result {
	struct system_control c; /* what the plugin counted */
	int exit_status;         /* the command's; -1: the machine ended before it told */
	double seconds;          /* QEMU's run */
	uint64_t bytes;          /* of the trace; 0: there is none */
};

/*
 * The machine's console goes to standard output. 0, or -1 with *err; what the
 * trace holds by then is kept if res->bytes is not 0.
 */
int record_system(char *const argv[], const struct system_options *o, struct system_result *res,
		  struct trace_error *err);

#endif
