/* SPDX-License-Identifier: MIT */
/*
 * The recorded machine's RAM, as QEMU maps it, and the page tables in it.
 *
 * QEMU's plugin interface (version 1) shows no register, so not CR3 either.
 * But the recorder gives the machine its RAM as a memory file, whose mapping
 * can be found, so a page table whose place is known can be read.
 */
#ifndef QUIRE_PLUGIN_GUEST_RAM_H
#define QUIRE_PLUGIN_GUEST_RAM_H

#include <stdbool.h>
#include <stdint.h>

#define NOT_RAM UINT64_MAX

struct guest_ram {
	const uint8_t *base; /* gpa 0; NULL: not found */
	uint64_t bytes;
};

/* Finds the mapping of so many bytes; false if there is none. */
bool guest_ram_find(struct guest_ram *ram, uint64_t bytes);
/* gpa of a byte of QEMU's memory, or NOT_RAM. */
uint64_t guest_ram_gpa(const struct guest_ram *ram, const void *host);
/* The aligned word at gpa; 0 outside. */
uint64_t guest_ram_word(const struct guest_ram *ram, uint64_t gpa);
/* What the four-level table at root says of gva: gpa, or NOT_RAM. */
uint64_t guest_ram_walk(const struct guest_ram *ram, uint64_t root, uint64_t gva);
/* Is this a page whose table leads each of n gvas to its gpa? */
struct guest_pair {
	uint64_t gva, gpa;
};
bool guest_ram_is_root(const struct guest_ram *ram, uint64_t root, const struct guest_pair *pairs, unsigned n);
/* The first root at or after `from` for which that holds; NOT_RAM: none. */
uint64_t guest_ram_next_root(const struct guest_ram *ram, uint64_t from, const struct guest_pair *pairs, unsigned n);
/* A gva of the lower half that the table leads to this page; NOT_RAM: none. */
uint64_t guest_ram_gva_of(const struct guest_ram *ram, uint64_t root, uint64_t page_gpa);

#endif
