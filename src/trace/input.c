/* SPDX-License-Identifier: MIT */
#include "trace/input.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "trace/source.h"

static const struct input_packing *const packings[] = { &gzip_packing, &xz_packing, &zstd_packing, &zip_packing };

/* What people have, and Quire does not unpack: better named than called unknown. */
static const struct {
	const char *name, *command;
	uint8_t magic[4], magic_len;
} refused[] = {
	{ "lz4", "lz4 -d", { 0x04, 0x22, 0x4d, 0x18 }, 4 },
	{ "bzip2", "bzip2 -d", { 'B', 'Z', 'h' }, 3 },
	{ "7-Zip", "7z x", { '7', 'z', 0xbc, 0xaf }, 4 },
};

ssize_t input_fail(struct trace_input *in, size_t made, const char *fmt, ...)
{
	int n = snprintf(in->why, sizeof(in->why), "byte %llu of the %s file: ", (unsigned long long)(in->base + in->pos),
			 in->packing->name);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(in->why + n, sizeof(in->why) - (size_t)n, fmt, ap);
	va_end(ap);
	return made ? (ssize_t)made : -1;
}

static ssize_t read_some(struct trace_input *in, void *buf, size_t n)
{
	ssize_t got;

	do
		got = read(in->fd, buf, n);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		snprintf(in->why, sizeof(in->why), "%s", strerror(errno));
	return got;
}

/*
 * Always all of raw[], fewer only at the file's end: how a file is cut into
 * pieces must not depend on what a pipe or a disk gives at a time, for libraries
 * judge some damaged data by it. An error behind good bytes comes again.
 */
static bool fill_up(struct trace_input *in)
{
	ssize_t got = 1;

	while (in->len < sizeof(in->raw) && (got = read_some(in, in->raw + in->len, sizeof(in->raw) - in->len)) > 0)
		in->len += (size_t)got;
	if (got < 0 && in->len)
		in->why[0] = '\0';
	return in->len > 0;
}

bool input_fill(struct trace_input *in)
{
	in->base += in->len;
	in->pos = in->len = 0;
	return fill_up(in);
}

bool input_take(struct trace_input *in, void *out, size_t n)
{
	for (size_t done = 0, take; done < n; done += take) {
		if (in->pos == in->len && !input_fill(in))
			return false;
		take = MIN(n - done, in->len - in->pos);
		if (out)
			memcpy((char *)out + done, in->raw + in->pos, take);
		in->pos += take;
	}
	return true;
}

/* Reads the magic and finds the packing. No more than that is read of a file without one. */
static int look(struct trace_input *in, const char *name, struct trace_error *err)
{
	while (in->len < INPUT_MAGIC_MAX) {
		ssize_t got = read_some(in, in->raw + in->len, INPUT_MAGIC_MAX - in->len);

		if (got < 0)
			return trace_fail(err, TRACE_EXIT_INPUT, "%s: cannot be read: %s", name, in->why);
		if (got == 0)
			break;
		in->len += (size_t)got;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(packings); i++)
		if (in->len >= packings[i]->magic_len && !memcmp(in->raw, packings[i]->magic, packings[i]->magic_len))
			in->packing = packings[i];
	for (unsigned i = 0; i < ARRAY_SIZE(refused); i++)
		if (in->len >= refused[i].magic_len && !memcmp(in->raw, refused[i].magic, refused[i].magic_len))
			return trace_fail(err, TRACE_EXIT_INPUT, "%s: is packed with %s, which is not read here; unpack it first: %s",
					  name, refused[i].name, refused[i].command);
	return 0;
}

struct trace_input *input_open(int fd, const char *name, struct trace_error *err)
{
	struct trace_input *in = calloc(1, sizeof(*in));

	if (!in) {
		trace_fail(err, TRACE_EXIT_INPUT, "%s: out of memory", name);
		close(fd);
		return NULL;
	}
	in->fd = fd;
	if (look(in, name, err)) {
		in->packing = NULL;
		input_close(in);
		return NULL;
	}
	if (!in->packing)
		return in;
	fill_up(in);
	in->state = calloc(1, in->packing->state_bytes);
	in->unpacked = malloc(INPUT_UNPACKED);
	if (!in->state || !in->unpacked || in->packing->begin(in)) {
		trace_fail(err, TRACE_EXIT_INPUT, "%s: out of memory for its %s data", name, in->packing->name);
		in->packing = NULL;
		input_close(in);
		return NULL;
	}
	return in;
}

static ssize_t read_unpacked(struct trace_input *in, void *buf, size_t n)
{
	ssize_t got;

	if (in->unpacked_pos == in->unpacked_len) {
		got = in->why[0] ? -1 : in->packing->unpack(in, in->unpacked, INPUT_UNPACKED);
		if (got <= 0)
			return got;
		in->unpacked_pos = 0;
		in->unpacked_len = (size_t)got;
	}
	n = MIN(n, in->unpacked_len - in->unpacked_pos);
	memcpy(buf, in->unpacked + in->unpacked_pos, n);
	in->unpacked_pos += n;
	return (ssize_t)n;
}

ssize_t input_read(struct trace_input *in, void *buf, size_t n)
{
	if (in->packing)
		return read_unpacked(in, buf, n);
	if (in->why[0])
		return -1;
	if (in->pos < in->len) {
		n = MIN(n, in->len - in->pos);
		memcpy(buf, in->raw + in->pos, n);
		in->pos += n;
		return (ssize_t)n;
	}
	return read_some(in, buf, n);
}

const char *input_why(const struct trace_input *in)
{
	return in->why;
}

const char *input_packing(const struct trace_input *in)
{
	return in->packing ? in->packing->name : NULL;
}

int input_rewind(struct trace_input *in)
{
	if (lseek(in->fd, 0, SEEK_SET) < 0)
		return -1;
	in->pos = in->len = in->unpacked_pos = in->unpacked_len = 0;
	in->base = 0;
	in->why[0] = '\0';
	if (in->packing) {
		in->packing->end(in);
		if (in->packing->begin(in))
			snprintf(in->why, sizeof(in->why), "out of memory for its %s data", in->packing->name);
	}
	return 0;
}

void input_close(struct trace_input *in)
{
	if (in->packing)
		in->packing->end(in);
	close(in->fd);
	free(in->state);
	free(in->unpacked);
	free(in);
}

size_t input_suffix(const char *name)
{
	size_t n = strlen(name);

	for (unsigned i = 0; i < ARRAY_SIZE(packings); i++) {
		size_t len = strlen(packings[i]->suffix);

		if (n > len && !strcasecmp(name + n - len, packings[i]->suffix))
			return len;
	}
	return 0;
}
