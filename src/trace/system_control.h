/* SPDX-License-Identifier: MIT */
/*
 * What the recorder of whole machines and its plugin inside QEMU share: a
 * mapped file. The plugin writes the trace itself.
 */
#ifndef QUIRE_TRACE_SYSTEM_CONTROL_H
#define QUIRE_TRACE_SYSTEM_CONTROL_H

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define SYSTEM_CONTROL_MAGIC UINT64_C(0x314c525453595351) /* "QSYSTRL1" */

/*
 * A mark is an instruction without effect, `nopl MARK(%rax,%rax,1)`, whose
 * displacement nobody else writes: these three bytes, then which mark it is.
 */
#define SYSTEM_MARK "QRm"
enum { SYSTEM_MARK_START = 's', SYSTEM_MARK_END = 'e' };

struct system_control {
	uint64_t magic;
	/* Of the recorder. */
	uint64_t ram_bytes;
	uint64_t limit;   /* references; 0: none */
	bool at_command;  /* record only between the marks */
	char trace[PATH_MAX], facts[4096];
	/* Of the plugin. */
	_Atomic bool done; /* the trace is closed: nothing more is recorded */
	int exit_code;     /* 0, or why the trace broke off: what */
	char what[256];
	uint64_t refs[2];  /* lower half of the addresses, upper half */
	uint64_t devices, roms; /* data accesses, blocks executed, that are not of RAM: left out */
	uint64_t pages, moved;  /* EV_PHYS told; those of a page that stood elsewhere */
	uint64_t spaces;        /* told apart, the one before any was known included */
	uint64_t cr3_loads;     /* seen */
	uint64_t reloads;       /* that wrote back what was read: flushes */
	uint64_t by_load, by_page, unknown_switches; /* how the space after the others was known, or not */
	uint64_t pages_agree, pages_differ; /* user pages looked up in the table the space is said to have */
	uint64_t fetches_moved; /* translated elsewhere, placed by the space's table */
	uint64_t start_marks, end_marks;
};

/* Maps the file, which the recorder has made; NULL with errno. */
struct system_control *system_control_attach(const char *path);

#endif
