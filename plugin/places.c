/* SPDX-License-Identifier: MIT */
/* Where a place of the program, named as the user named it, stands in its memory. */
#define _GNU_SOURCE
#include <elf.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "quire-plugin.h"

struct image {
	const uint8_t *bytes;
	size_t size;
};

static const void *at(const struct image *im, uint64_t offset, uint64_t n)
{
	return offset <= im->size && n <= im->size - offset ? im->bytes + offset : NULL;
}

/* The value of the function `name` in one table of symbols; 0: it is not there. */
static uint64_t find_in_table(const struct image *im, const Elf64_Shdr *table, const Elf64_Shdr *names, const char *name)
{
	const Elf64_Sym *sym = at(im, table->sh_offset, table->sh_size);
	const char *text = at(im, names->sh_offset, names->sh_size);
	size_t n = strlen(name) + 1;

	for (uint64_t i = 0; sym && text && i < table->sh_size / sizeof(*sym); i++)
		if (ELF64_ST_TYPE(sym[i].st_info) == STT_FUNC && sym[i].st_value && sym[i].st_name <= names->sh_size &&
		    n <= names->sh_size - sym[i].st_name && !memcmp(text + sym[i].st_name, name, n))
			return sym[i].st_value;
	return 0;
}

static uint64_t find_symbol(const struct image *im, const char *name)
{
	const Elf64_Ehdr *eh = at(im, 0, sizeof(*eh));
	const Elf64_Shdr *sh = eh ? at(im, eh->e_shoff, (uint64_t)eh->e_shnum * sizeof(*sh)) : NULL;
	uint64_t value = 0;

	for (unsigned i = 0; sh && !value && i < eh->e_shnum; i++)
		if ((sh[i].sh_type == SHT_SYMTAB || sh[i].sh_type == SHT_DYNSYM) && sh[i].sh_link < eh->e_shnum)
			value = find_in_table(im, &sh[i], &sh[sh[i].sh_link], name);
	return value;
}

uint64_t find_place(const char *binary, uint64_t guest_base, const char *place)
{
	struct image im = {0};
	struct stat st;
	uint64_t value = 0;
	char *end;
	int fd;

	if (!*place)
		return 0;
	value = strtoull(place, &end, 0);
	if (!*end)
		return value;
	fd = open(binary, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	value = 0;
	if (!fstat(fd, &st) && st.st_size > 0) {
		void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);

		if (p != MAP_FAILED) {
			im = (struct image){p, (size_t)st.st_size};
			value = find_symbol(&im, place);
			if (value)
				value += program_bias(fd, binary, guest_base);
			munmap(p, im.size);
		}
	}
	close(fd);
	return value;
}
