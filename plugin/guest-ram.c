/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "base/types.h"
#include "guest-ram.h"

/* A page-table entry (Intel SDM 3A 4.5.4; AMD APM 2 5.3). */
#define PTE_P BIT(0)
#define PTE_PS BIT(7)
#define PTE_FRAME UINT64_C(0x000ffffffffff000)

enum { LEVELS = 4, INDEX_BITS = 9, TABLE_ENTRIES = 1 << INDEX_BITS };

bool guest_ram_find(struct guest_ram *ram, uint64_t bytes)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[4352];
	unsigned long start, end;

	while (f && !ram->base && fgets(line, sizeof(line), f))
		if (sscanf(line, "%lx-%lx", &start, &end) == 2 && end - start == bytes &&
		    strstr(line, "memfd:memory-backend-memfd"))
			*ram = (struct guest_ram){(const uint8_t *)start, bytes};
	if (f)
		fclose(f);
	return ram->base;
}

uint64_t guest_ram_gpa(const struct guest_ram *ram, const void *host)
{
	uint64_t at = (uint64_t)host - (uint64_t)ram->base;

	return ram->base && at < ram->bytes ? at : NOT_RAM;
}

uint64_t guest_ram_word(const struct guest_ram *ram, uint64_t gpa)
{
	uint64_t word;

	if (gpa > ram->bytes - sizeof(word))
		return 0;
	memcpy(&word, ram->base + gpa, sizeof(word));
	return word;
}

static unsigned shift_of(unsigned level)
{
	return PAGE_SHIFT + level * INDEX_BITS;
}

uint64_t guest_ram_walk(const struct guest_ram *ram, uint64_t root, uint64_t gva)
{
	uint64_t table = root;

	for (unsigned level = LEVELS; level-- > 0;) {
		uint64_t index = gva >> shift_of(level) & (TABLE_ENTRIES - 1);
		uint64_t pte = guest_ram_word(ram, table + index * sizeof(pte));
		uint64_t in_page = low_bits(shift_of(level));

		if (!(pte & PTE_P))
			return NOT_RAM;
		if (level == 0 || (pte & PTE_PS && level <= 2)) {
			uint64_t gpa = (pte & PTE_FRAME & ~in_page) | (gva & in_page);

			return gpa < ram->bytes ? gpa : NOT_RAM;
		}
		table = pte & PTE_FRAME;
	}
	return NOT_RAM;
}

bool guest_ram_is_root(const struct guest_ram *ram, uint64_t root, const struct guest_pair *pairs, unsigned n)
{
	if (root & PAGE_MASK || root > ram->bytes - PAGE_SIZE)
		return false;
	for (unsigned i = 0; i < n; i++)
		if (guest_ram_walk(ram, root, pairs[i].gva) != pairs[i].gpa)
			return false;
	return true;
}

uint64_t guest_ram_next_root(const struct guest_ram *ram, uint64_t from, const struct guest_pair *pairs, unsigned n)
{
	for (uint64_t root = from; root < ram->bytes; root += PAGE_SIZE)
		if (guest_ram_is_root(ram, root, pairs, n))
			return root;
	return NOT_RAM;
}

static uint64_t search(const struct guest_ram *ram, uint64_t table, unsigned level, uint64_t gva, uint64_t page_gpa)
{
	unsigned entries = level == LEVELS - 1 ? TABLE_ENTRIES / 2 : TABLE_ENTRIES;

	for (uint64_t i = 0; i < entries; i++) {
		uint64_t pte = guest_ram_word(ram, table + i * sizeof(pte));
		uint64_t at = gva | i << shift_of(level), found;

		if (!(pte & PTE_P))
			continue;
		if (level == 0 || (pte & PTE_PS && level <= 2)) {
			uint64_t in_page = low_bits(shift_of(level));

			if ((pte & PTE_FRAME & ~in_page) == (page_gpa & ~in_page))
				return at | (page_gpa & in_page);
			continue;
		}
		found = search(ram, pte & PTE_FRAME, level - 1, at, page_gpa);
		if (found != NOT_RAM)
			return found;
	}
	return NOT_RAM;
}

uint64_t guest_ram_gva_of(const struct guest_ram *ram, uint64_t root, uint64_t page_gpa)
{
	return search(ram, root, LEVELS - 1, 0, page_gpa);
}
