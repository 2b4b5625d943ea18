/* SPDX-License-Identifier: MIT */
/*
 * Every trace reader over arbitrary bytes. The first byte chooses: a format by
 * name, recognition, or a spool whose sums are made right, so that its decoder
 * is reached. Blocks must keep their bounds, damage must be told, and a second
 * reading must give what the first gave.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/digest.h"
#include "trace/spool.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
	if (!ok)
		abort();
}

/* Writes a spool of one block with these bytes as its body, and its end mark. */
static void write_forged_spool(int fd, const uint8_t *body, size_t n)
{
	struct spool_file file = {.magic = SPOOL_FILE_MAGIC, .version = 1};
	struct spool_head head = {.magic = SPOOL_HEAD_MAGIC, .pid = 1, .tid = 1, .place = sizeof(file)};
	static const uint8_t padding[SPOOL_ALIGN];

	head.body_len = (uint32_t)MIN(n, (size_t)SPOOL_BODY_MAX);
	head.nitems = head.body_len ? body[0] : 0;
	head.nitems = MIN(head.nitems, head.body_len);
	head.nrefs = head.body_len > 1 ? MIN((uint32_t)body[1], head.nitems) : 0;
	head.body_sum = digest_bytes(body, head.body_len);
	head.head_sum = digest_bytes(&head, offsetof(struct spool_head, head_sum));
	size_t pad = align_up(head.body_len, SPOOL_ALIGN) - head.body_len;

	check(write(fd, &file, sizeof(file)) == sizeof(file));
	check(write(fd, &head, sizeof(head)) == sizeof(head));
	check(write(fd, body, head.body_len) == (ssize_t)head.body_len);
	check(write(fd, padding, pad) == (ssize_t)pad);
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
	static const char *const formats[] = {"", "lackey:", "addr-rw:", "rw-addr:", "csv:", "spool:", "spool:"};
	struct trace_error err;
	char spec[64];
	int fd;

	if (!size)
		return 0;
	unsigned choice = data[0] % 7;

	fd = memfd_create("fuzz", MFD_CLOEXEC);
	check(fd >= 0);
	if (choice == 6)
		write_forged_spool(fd, data + 1, size - 1);
	else
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
