/* SPDX-License-Identifier: MIT */
/* What the targets over trace readers share: a file of arbitrary bytes is opened, read, and read again. */
#ifndef QUIRE_FUZZ_DRAIN_H
#define QUIRE_FUZZ_DRAIN_H

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/digest.h"
#include "trace/trace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void check(bool ok)
{
	if (!ok)
		abort();
}

/* Reads all; folds it into a digest. Blocks must keep their bounds, and damage must be told. */
static inline uint64_t drain(struct trace *t)
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

/* The file in fd as FORMAT ("lackey:", "" to recognise it): a second reading must give what the first gave. */
static inline void read_twice(const char *format, int fd)
{
	struct trace_error err;
	char spec[64];

	snprintf(spec, sizeof(spec), "%s/proc/self/fd/%d", format, fd);
	struct trace *t = trace_open(spec, &err);

	check(t || (err.exit_code == 3 && err.what[0]));
	if (t) {
		uint64_t first = drain(t);

		check(!trace_rewind(t, &err));
		check(drain(t) == first);
		trace_close(t);
	}
	close(fd);
}

#endif
