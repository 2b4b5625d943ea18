/* SPDX-License-Identifier: MIT */
/*
 * Every trace reader over arbitrary bytes. The first byte chooses: a format by
 * name, or recognition. Blocks must keep their bounds, damage must be told, and a second
 * reading must give what the first gave.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/digest.h"
#include "trace/trace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
	if (!ok)
		abort();
}

/* Reads all; folds it into a digest. */
static uint64_t drain(struct trace *t)
{
	static struct trace_block b;
	struct trace_error err = {0};
	uint64_t digest = 0;
	int rc;

	while ((rc = trace_read(t, &b, &err)) == 1) {
		check(b.nrefs > 0 && b.nrefs <= TRACE_BLOCK_REFS && b.nevents <= TRACE_BLOCK_EVENTS);
		for (uint32_t i = 0; i < b.nrefs; i++) {
			if (ref_is_event(b.refs[i]))
				check(ref_event(b.refs[i]) < b.nevents);
			else
				check(ref_gva_ok(ref_gva(b.refs[i])));
			digest = digest_fold(digest, b.refs[i]);
		}
	}
	check(rc == 0 || (err.exit_code == 3 && err.what[0]));
	return digest;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const formats[] = {"", "lackey:", "addr-rw:", "rw-addr:", "csv:", "qtr:"};
	struct trace_error err;
	char spec[64];
	int fd;

	if (!size)
		return 0;
	unsigned choice = data[0] % 6;

	fd = memfd_create("fuzz", MFD_CLOEXEC);
	check(fd >= 0);
	check(write(fd, data + 1, size - 1) == (ssize_t)(size - 1));
	snprintf(spec, sizeof(spec), "%s/proc/self/fd/%d", formats[choice], fd);
	struct trace *t = trace_open(spec, &err);

	check(t || (err.exit_code == 3 && err.what[0]));
	if (t) {
		uint64_t first = drain(t);

		check(!trace_rewind(t, &err));
		check(drain(t) == first);
		trace_close(t);
	}
	close(fd);
	return 0;
}
