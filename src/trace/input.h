/* SPDX-License-Identifier: MIT */
/*
 * The bytes of a file, unpacked as they are read. Packings are found by their
 * first bytes; a file without one is handed on as it stands. Readers of traces
 * stand on this, so each of them reads packed files too.
 *
 * Only what is asked for is unpacked, in memory of fixed size: a small file
 * that unpacks to terabytes costs its reader time, never memory.
 */
#ifndef QUIRE_TRACE_INPUT_H
#define QUIRE_TRACE_INPUT_H

#include <sys/types.h>

#include "trace/trace.h"

struct trace_input;

/* Takes fd, which stands at the file's first byte. name is for messages. NULL with *err; fd is then closed. */
struct trace_input *input_open(int fd, const char *name, struct trace_error *err);
/* Up to n > 0 bytes; 0 at the end; -1 damaged or unreadable: see input_why(). What was unpacked before comes first. */
ssize_t input_read(struct trace_input *in, void *buf, size_t n);
/* Why input_read said -1, with the place in the packed file. */
const char *input_why(const struct trace_input *in);
/* "gzip", "xz", "zstd", "zip"; NULL for a file as it stands. */
const char *input_packing(const struct trace_input *in);
/* Back to the first byte; -1 for a pipe. */
int input_rewind(struct trace_input *in);
void input_close(struct trace_input *in);

/* Is this the end of a packed file's name (".xz")? Its length, or 0. */
size_t input_suffix(const char *name);

/* ---- For packings: one file each ---- */

enum { INPUT_RAW = 64 * 1024, INPUT_UNPACKED = 64 * 1024, INPUT_MAGIC_MAX = 8 };

struct input_packing {
	const char *name, *suffix;
	uint8_t magic[INPUT_MAGIC_MAX], magic_len;
	size_t state_bytes;
	/* Makes state ready for a file's first byte; also after end(). 0 or -1 without memory. */
	int (*begin)(struct trace_input *in);
	/* Up to n <= INPUT_UNPACKED bytes; 0 at the end; -1 damaged. Bytes made before damage are returned, with why set. */
	ssize_t (*unpack)(struct trace_input *in, uint8_t *out, size_t n);
	void (*end)(struct trace_input *in);
};

extern const struct input_packing gzip_packing, xz_packing, zstd_packing, zip_packing;

struct trace_input {
	int fd;
	const struct input_packing *packing; /* NULL: as it stands */
	void *state;         /* of the packing, zeroed once */
	size_t pos, len;     /* what is unread of raw[] */
	uint64_t base;       /* place of raw[0] in the file */
	/*
	 * Unpacked, always so much at a time: libraries keep back part of what they
	 * decoded when they meet damage, and how much depends on what was asked for.
	 * So what a damaged file gives does not depend on its reader.
	 */
	uint8_t *unpacked;
	size_t unpacked_pos, unpacked_len;
	char why[160];
	uint8_t raw[INPUT_RAW];
};

/* More raw bytes; false at the file's end, or with why set where it cannot be read. */
bool input_fill(struct trace_input *in);
/* Moves n raw bytes to out; false if the file ends before. */
bool input_take(struct trace_input *in, void *out, size_t n);
/* Sets why, with the place; returns -1, or made if that is more. */
ssize_t input_fail(struct trace_input *in, size_t made, const char *fmt, ...) __attribute__((format(printf, 3, 4), cold));

#endif
