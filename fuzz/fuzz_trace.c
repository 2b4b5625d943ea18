/* SPDX-License-Identifier: MIT */
/*
 * Every trace reader over arbitrary bytes. The first byte chooses: a format by
 * name, or recognition. Blocks must keep their bounds, damage must be told, and a second
 * reading must give what the first gave.
 */
#define _GNU_SOURCE
#include "drain.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const formats[] = {"", "lackey:", "addr-rw:", "rw-addr:", "csv:", "qtr:"};
	int fd;

	if (!size)
		return 0;
	fd = memfd_create("fuzz", MFD_CLOEXEC);
	check(fd >= 0 && write(fd, data + 1, size - 1) == (ssize_t)(size - 1));
	read_twice(formats[data[0] % ARRAY_SIZE(formats)], fd);
	return 0;
}
