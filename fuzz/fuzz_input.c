/* SPDX-License-Identifier: MIT */
/*
 * Packed files of arbitrary bytes: what they unpack to does not depend on how
 * much is asked for at a time, nor on whether it was read before.
 */
#define _GNU_SOURCE
#include <string.h>

#include "drain.h"
#include "trace/input.h"

enum { UNPACKED_MAX = 1 << 20, FIRST_STEP = 65536 }; /* a few bytes can unpack to more than there is time for */

/* Up to UNPACKED_MAX bytes, step at a time; *end is what the last read returned. */
static size_t unpack(struct trace_input *in, uint8_t *out, size_t step, ssize_t *end)
{
	size_t n = 0;

	while (n < UNPACKED_MAX && (*end = input_read(in, out + n, MIN(step, UNPACKED_MAX - n))) > 0) {
		check(*end <= (ssize_t)step);
		n += (size_t)*end;
	}
	check(*end >= 0 || input_why(in)[0]);
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t whole[UNPACKED_MAX], pieces[UNPACKED_MAX];
	struct trace_error err = {0};
	ssize_t whole_end, pieces_end;
	size_t n, m;
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	check(fd >= 0 && write(fd, data, size) == (ssize_t)size && lseek(fd, 0, SEEK_SET) == 0);
	struct trace_input *in = input_open(fd, "fuzz", &err);

	check(in || (err.exit_code == 3 && err.what[0]));
	if (!in)
		return 0;
	n = unpack(in, whole, FIRST_STEP, &whole_end);
	check(!input_rewind(in));
	m = unpack(in, pieces, 1 + size % 97, &pieces_end);
	check(n == m && !memcmp(whole, pieces, n));
	check(n == UNPACKED_MAX || whole_end == pieces_end);
	input_close(in);
	return 0;
}
