/* SPDX-License-Identifier: MIT */
/*
 * The reader of DynamoRIO's traces over arbitrary entries: the first byte says
 * whether they are of a 64-bit or a 32-bit program, and the header, without which
 * nothing is read, is put before them.
 */
#define _GNU_SOURCE
#include "drain.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t header64[12] = {25, 0, 0, 0, 5}, header32[16] = {25, 0, 0, 0, 5, 0, 0, 0, 28, 0, 12, 0, 5};
	bool is_32 = size && (data[0] & 1);
	ssize_t n = is_32 ? 16 : 12;
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	check(fd >= 0 && write(fd, is_32 ? header32 : header64, (size_t)n) == n);
	if (size)
		check(write(fd, data + 1, size - 1) == (ssize_t)size - 1);
	read_twice("", fd);
	return 0;
}
