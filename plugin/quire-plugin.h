/* SPDX-License-Identifier: MIT */
/* The recording plugin's parts. All of it runs inside the recorded process. */
#ifndef QUIRE_PLUGIN_QUIRE_PLUGIN_H
#define QUIRE_PLUGIN_QUIRE_PLUGIN_H

#include "qemu-plugin-decl.h"
#include "trace/qemu_command.h"
#include "trace/record.h"
#include "trace/relay.h"

struct syscall_args {
	int64_t num;
	uint64_t a[6];
};

/* exec.c: runs the guest's execve or execveat under QEMU. Returns only if that cannot be. */
void exec_under_qemu(const struct qemu_setup *setup, uint64_t guest_base, const char *binary,
		     const struct syscall_args *call);

typedef void (*put_event_fn)(const struct trace_event *ev);

/* A part of an open file, mapped at gva; offset and gva are multiples of the page size. */
struct file_part {
	int fd;
	uint64_t offset, gva, len;
};
typedef void (*put_part_fn)(const struct file_part *part);

/* memory.c: the event of a memory call that succeeded; false if the call changes no mapping. */
bool memory_event(const struct syscall_args *call, int64_t ret, struct trace_event *ev);
/* Tells what QEMU's loader mapped of the program and its interpreter; put_part may be NULL. */
void memory_of_program(const char *binary, uint64_t guest_base, put_event_fn put, put_part_fn put_part);
/* Tells the mapping that holds the first stack address seen. */
void memory_of_stack(uint64_t gva, uint64_t guest_base, put_event_fn put);

/* contents.c: tells the bytes of a mapping. What was told of it before must have been handed over. */
void contents_of_mapping(struct relay_control *c, uint32_t pid, const struct file_part *part);

/* places.c: the address of a function of the program, or an address as it is; 0: there is none. */
uint64_t find_place(const char *binary, uint64_t guest_base, const char *place);
/* memory.c: what is added to the addresses of an ELF file that QEMU loaded. */
uint64_t program_bias(int fd, const char *path, uint64_t guest_base);

/* Addresses that start and stop the recording; 0: none. */
struct marks {
	uint64_t start, stop;
};

#endif
