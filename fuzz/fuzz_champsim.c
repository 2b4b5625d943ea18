/* SPDX-License-Identifier: MIT */
/* The reader of ChampSim's traces over arbitrary bytes, by its name and by recognition. */
#define _GNU_SOURCE
#include "drain.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	check(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	read_twice(size & 1 ? "" : "champsim:", fd);
	return 0;
}
