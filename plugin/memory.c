/* SPDX-License-Identifier: MIT */
/*
 * A program's mappings: those it asks for by system calls, and those QEMU's
 * loader makes before its first instruction, which no call announces.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "quire-plugin.h"

static uint8_t prot_bits(uint64_t prot)
{
	return (prot & PROT_READ ? PROT_BIT_R : 0) | (prot & PROT_WRITE ? PROT_BIT_W : 0) |
	       (prot & PROT_EXEC ? PROT_BIT_X : 0);
}

static void fill_mmap(struct trace_event *ev, const struct syscall_args *call, int64_t ret)
{
	uint64_t flags = call->a[3];

	ev->kind = EV_MMAP;
	ev->addr = (uint64_t)ret;
	ev->prot = prot_bits(call->a[2]);
	if ((flags & MAP_TYPE) != MAP_PRIVATE)
		ev->flags |= EVF_SHARED;
	if (!(flags & MAP_ANONYMOUS))
		ev->flags |= EVF_FILE;
	if (flags & (MAP_STACK | MAP_GROWSDOWN))
		ev->flags |= EVF_STACK;
}

bool memory_event(const struct syscall_args *call, int64_t ret, struct trace_event *ev)
{
	if (ret < 0 && ret >= -4095)
		return false;
	ev->addr = call->a[0];
	ev->len = call->a[1];
	switch (call->num) {
	case SYS_mmap:
		fill_mmap(ev, call, ret);
		return true;
	case SYS_munmap:
		ev->kind = EV_MUNMAP;
		return true;
	case SYS_brk:
		ev->kind = EV_BRK;
		ev->addr = (uint64_t)ret;
		ev->len = 0;
		return true;
	case SYS_mprotect:
	case SYS_pkey_mprotect:
		ev->kind = EV_MPROTECT;
		ev->prot = prot_bits(call->a[2]);
		return true;
	case SYS_mremap:
		ev->kind = EV_MREMAP;
		ev->addr2 = (uint64_t)ret;
		ev->len2 = call->a[2];
		return true;
	case SYS_madvise:
		ev->kind = EV_MADVISE_FREE;
		return call->a[2] == MADV_DONTNEED || call->a[2] == MADV_FREE;
	}
	return false;
}

struct map_line {
	uint64_t start, end;
	char path[PATH_MAX];
};

/* The first line of /proc/self/maps with this path or, path NULL, this address in it. */
static bool find_map(const char *path, uint64_t addr, struct map_line *out)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[PATH_MAX + 128];
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f)) {
		unsigned long start, end;

		out->path[0] = '\0';
		if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %4095[^\n]", &start, &end, out->path) < 2)
			continue;
		out->start = start;
		out->end = end;
		found = path ? !strcmp(out->path, path) : addr >= start && addr < end;
	}
	if (f)
		fclose(f);
	return found;
}

/* Program headers of a 64-bit ELF file; their number, 0 on any trouble. Frees nothing: see *fd. */
static unsigned read_phdrs(int fd, Elf64_Phdr *ph, unsigned max)
{
	Elf64_Ehdr eh;

	if (pread(fd, &eh, sizeof(eh), 0) != sizeof(eh) || memcmp(eh.e_ident, ELFMAG, SELFMAG) ||
	    eh.e_phentsize != sizeof(*ph) || eh.e_phnum > max)
		return 0;
	size_t bytes = eh.e_phnum * sizeof(*ph);

	return pread(fd, ph, bytes, (off_t)eh.e_phoff) == (ssize_t)bytes ? eh.e_phnum : 0;
}

static void put_segment(const Elf64_Phdr *ph, uint64_t bias, put_event_fn put)
{
	uint64_t start = align_down(bias + ph->p_vaddr, PAGE_SIZE);
	uint64_t end = align_up(bias + ph->p_vaddr + ph->p_memsz, PAGE_SIZE);

	put(&(struct trace_event){
		.kind = EV_MMAP, .addr = start, .len = end - start, .flags = EVF_FILE,
		.prot = (ph->p_flags & PF_R ? PROT_BIT_R : 0) | (ph->p_flags & PF_W ? PROT_BIT_W : 0) |
			(ph->p_flags & PF_X ? PROT_BIT_X : 0)});
}

/* The lowest segment comes first (System V gABI, program loading). */
static bool bias_of(const Elf64_Phdr *ph, unsigned n, const char *path, uint64_t guest_base, uint64_t *bias)
{
	struct map_line map;
	char real[PATH_MAX];

	for (unsigned i = 0; i < n; i++)
		if (ph[i].p_type == PT_LOAD) {
			if (!realpath(path, real) || !find_map(real, 0, &map))
				return false;
			*bias = map.start - guest_base - align_down(ph[i].p_vaddr, PAGE_SIZE);
			return true;
		}
	return false;
}

uint64_t program_bias(int fd, const char *path, uint64_t guest_base)
{
	Elf64_Phdr ph[64];
	uint64_t bias = 0;

	bias_of(ph, read_phdrs(fd, ph, ARRAY_SIZE(ph)), path, guest_base, &bias);
	return bias;
}

/* Tells the loaded segments of one file; its interpreter's name goes to interp[PATH_MAX]. */
static void put_file(const char *path, uint64_t guest_base, put_event_fn put, put_part_fn put_part, char *interp)
{
	Elf64_Phdr ph[64];
	uint64_t bias = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	unsigned n = read_phdrs(fd, ph, ARRAY_SIZE(ph));

	if (!bias_of(ph, n, path, guest_base, &bias))
		n = 0;
	for (unsigned i = 0; i < n; i++) {
		if (ph[i].p_type == PT_INTERP && ph[i].p_filesz < PATH_MAX &&
		    pread(fd, interp, ph[i].p_filesz, (off_t)ph[i].p_offset) > 0)
			interp[ph[i].p_filesz] = '\0';
		if (ph[i].p_type != PT_LOAD)
			continue;
		put_segment(&ph[i], bias, put);
		if (put_part)
			put_part(&(struct file_part){
				.fd = fd,
				.offset = align_down(ph[i].p_offset, PAGE_SIZE),
				.gva = align_down(bias + ph[i].p_vaddr, PAGE_SIZE),
				.len = ph[i].p_filesz + (ph[i].p_offset & PAGE_MASK),
			});
	}
	close(fd);
}

void memory_of_program(const char *binary, uint64_t guest_base, put_event_fn put, put_part_fn put_part)
{
	char interp[PATH_MAX] = "", none[PATH_MAX];

	put_file(binary, guest_base, put, put_part, interp);
	if (interp[0])
		put_file(interp, guest_base, put, put_part, none);
}

void memory_of_stack(uint64_t gva, uint64_t guest_base, put_event_fn put)
{
	struct map_line map;

	if (find_map(NULL, gva + guest_base, &map))
		put(&(struct trace_event){.kind = EV_MMAP, .addr = map.start - guest_base,
					  .len = map.end - map.start, .prot = PROT_BIT_R | PROT_BIT_W,
					  .flags = EVF_STACK});
}
