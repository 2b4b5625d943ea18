/* SPDX-License-Identifier: MIT */
/*
 * The .qtr reader past its checksums, over arbitrary bytes. They become the
 * columns of a block whose head and sums are right (first byte: how they are
 * shared out), or a file as it is. Blocks must keep their bounds, damage must
 * be told, a second reading and one after a seek must give the same, and what
 * was read is written and read back alike.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/digest.h"
#include "trace/qtr.h"
#include "trace/qtr_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SMALL = 24 }; /* bytes that say how the rest is shared out */

static void check(bool ok)
{
	if (!ok)
		abort();
}

static void put(int fd, const void *p, size_t n)
{
	check(write(fd, p, n) == (ssize_t)n);
}

/* A file of one block with these bytes in its columns, uncompressed. */
static void write_forged(int fd, const uint8_t *data, size_t size)
{
	static const uint8_t zeros[QTR_ALIGN];
	uint8_t small[SMALL] = {0}, body[QTR_SUM_BYTES + sizeof(struct qtr_refs) + 4096];
	struct qtr_file file = {.magic = QTR_FILE_MAGIC, .version = QTR_VERSION};
	struct qtr_head h = {.magic = QTR_HEAD_MAGIC, .type = QTR_REFS, .place = QTR_ALIGN, .pid = 1, .tid = 1};
	struct qtr_refs r = {0};

	memcpy(small, data, MIN(size, (size_t)SMALL));
	data += MIN(size, (size_t)SMALL);
	size = MIN(size - MIN(size, (size_t)SMALL), (size_t)4096);
	memcpy(body + QTR_SUM_BYTES + sizeof(r), data, size);
	h.nrefs = small[0] | small[1] << 8;
	h.nevents = small[2];
	r.ntemplates = small[3];
	r.nslots = small[4] | small[5] << 8;
	for (unsigned i = 0, left = (unsigned)size; i < QTR_COLUMNS; i++) {
		unsigned n = i == QTR_COLUMNS - 1 ? left : MIN(left, (unsigned)small[6 + i] * (i == QTR_DIFFERENCES ? 8 : 2));

		r.column[i].raw = r.column[i].stored = n;
		left -= n;
	}
	r.nruns = r.column[QTR_RUNS].raw / 2;
	memcpy(body + QTR_SUM_BYTES, &r, sizeof(r));
	h.body_len = (uint32_t)(QTR_SUM_BYTES + sizeof(r) + size);
	uint64_t sum = digest_bytes(body + QTR_SUM_BYTES, h.body_len - QTR_SUM_BYTES);

	memcpy(body, &sum, sizeof(sum));
	file.sum = qtr_file_sum(&file);
	h.sum = qtr_head_sum(&h);
	put(fd, &file, sizeof(file));
	put(fd, &h, sizeof(h));
	put(fd, body, h.body_len);
	put(fd, zeros, align_up(h.body_len, QTR_ALIGN) - h.body_len);
}

/* Reads all into a digest and, if it is given, a writer. */
static uint64_t drain(struct trace *t, struct qtr_writer *w)
{
	static struct trace_block b;
	struct trace_error err = {0};
	uint64_t digest = 0;
	int rc;

	while ((rc = trace_read(t, &b, &err)) == 1) {
		check(b.nrefs > 0 && b.nrefs <= TRACE_BLOCK_REFS && b.nevents <= TRACE_BLOCK_EVENTS);
		for (uint32_t i = 0; i < b.nrefs; i++) {
			/* An event's number depends on where blocks end: what it says does not. */
			if (ref_is_event(b.refs[i])) {
				check(ref_event(b.refs[i]) < b.nevents);
				digest = digest_fold(digest, b.events[ref_event(b.refs[i])].addr ^ REF_EVENT);
			} else {
				digest = digest_fold(digest, b.refs[i]);
			}
		}
		check(!w || !qtr_write(w, &b, &err));
	}
	check(rc == 0 || (err.exit_code == 3 && err.what[0]));
	return digest;
}

static void check_written(struct trace *t, uint64_t digest)
{
	char path[64];
	int fd = memfd_create("fuzz-out", MFD_CLOEXEC);
	struct trace_error err;

	check(fd >= 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	struct qtr_writer *w = qtr_create(path, NULL, &err);

	check(w && !trace_rewind(t, &err));
	check(drain(t, w) == digest && !qtr_close(w, &err));
	struct trace *again = qtr_open(path, &err);

	check(again && drain(again, NULL) == digest);
	trace_close(again);
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct trace_error err;
	struct qtr_info info;
	char path[64];

	if (!size)
		return 0;
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	check(fd >= 0);
	if (data[0] & 1)
		write_forged(fd, data + 1, size - 1);
	else
		put(fd, data + 1, size - 1);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	struct trace *t = qtr_open(path, &err);

	check(t || (err.exit_code == 3 && err.what[0]));
	if (t) {
		uint64_t first = drain(t, NULL);

		check_written(t, first);
		check(!qtr_info(t, &info, &err));
		check(!qtr_seek(t, info.counts.refs / 2, &err));
		drain(t, NULL);
		trace_close(t);
	}
	close(fd);
	return 0;
}
