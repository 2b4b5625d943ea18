/* SPDX-License-Identifier: MIT */
/* Finding the reader of a trace: by its FORMAT, its name's end, or its first lines. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "trace/qtr.h"
#include "trace/text.h"

/* In the order of asking: the strictest shapes first. */
static const struct trace_format *const formats[] = {
	&qtr_format, &drmemtrace_format, &lackey_syntax.format, &rw_addr_syntax.format, &addr_rw_syntax.format,
	&csv_syntax.format, &champsim_format,
};

#define FORMAT_NAMES "lackey, addr-rw, rw-addr, csv, champsim, drmemtrace, qtr"

static void put_piece(struct trace_block *b, uint64_t gva, enum acc_kind kind, uint64_t size)
{
	uint64_t up = BIT(log2_ceil(size)), offset = gva & PAGE_MASK;

	/* Rounding up would cross a page only if the access itself does not. */
	if (offset + size <= PAGE_SIZE && offset + up > PAGE_SIZE)
		up = BIT(log2_floor(size));
	block_put_ref(b, gva, kind, (unsigned)up);
}

void block_put_access(struct trace_block *b, uint64_t gva, enum acc_kind kind, uint64_t size)
{
	for (; size > 128; size -= 128, gva += 128)
		put_piece(b, gva, kind, 128);
	put_piece(b, gva, kind, size);
}

void *trace_file_open(const struct trace_format *f, const struct trace_ops *ops, size_t bytes, size_t buf_bytes,
		      const struct trace_head *head, struct trace_error *err)
{
	struct trace_file *file = calloc(1, bytes);
	char *buf = malloc(MAX(buf_bytes, head->n)), *name = strdup(head->name);
	struct trace t = { .ops = ops, .name = name, .format = f->name, .packing = input_packing(head->in) };

	if (!file || !buf || !name) {
		free(file);
		free(buf);
		free(name);
		trace_fail(err, TRACE_EXIT_INPUT, "%s: out of memory", head->name);
		input_close(head->in);
		return NULL;
	}
	*file = (struct trace_file){ .t = t, .in = head->in, .fd = head->fd, .buf = buf };
	if (head->n)
		memcpy(buf, head->bytes, head->n);
	return file;
}

int trace_file_rewind(struct trace *t, struct trace_error *err)
{
	struct trace_file *file = container_of(t, struct trace_file, t);

	if (input_rewind(file->in))
		return trace_fail(err, TRACE_EXIT_INPUT, "%s: cannot be read twice; save it in a file first", t->name);
	file->barren = 0;
	return 0;
}

ssize_t trace_file_read(struct trace_file *file, void *buf, size_t n)
{
	ssize_t got;

	if (unlikely(file->barren > TRACE_BARREN_MAX && file->t.packing))
		return -1;
	got = input_read(file->in, buf, n);
	file->barren += got > 0 ? (uint64_t)got : 0;
	return got;
}

const char *trace_file_why(const struct trace_file *file)
{
	const char *why = input_why(file->in);

	return *why ? why : "256 MiB were unpacked without one reference in them";
}

void trace_file_close(struct trace *t)
{
	struct trace_file *file = container_of(t, struct trace_file, t);

	input_close(file->in);
	free(file->buf);
	free(t->name);
	free(file);
}

static const struct trace_format *format_by_name(const char *name, size_t n)
{
	for (unsigned i = 0; i < ARRAY_SIZE(formats); i++) {
		const struct trace_format *f = formats[i];

		if ((strlen(f->name) == n && !strncmp(f->name, name, n)) ||
		    (f->alias && strlen(f->alias) == n && !strncmp(f->alias, name, n)))
			return f;
	}
	return NULL;
}

/* Does the name, n bytes of it, end in one of the suffixes? */
static bool has_suffix(const char *file, size_t n, const char *suffixes)
{
	while (*suffixes) {
		size_t len = strcspn(suffixes, " ");

		if (n > len && !strncasecmp(file + n - len, suffixes, len))
			return true;
		suffixes += len;
		suffixes += *suffixes == ' ';
	}
	return false;
}

static const struct trace_format *format_by_suffix(const char *file)
{
	size_t n = strlen(file) - input_suffix(file);

	for (unsigned i = 0; i < ARRAY_SIZE(formats); i++)
		if (formats[i]->suffix && has_suffix(file, n, formats[i]->suffix))
			return formats[i];
	return NULL;
}

/* Reads the file's beginning: up to TRACE_HEAD_BYTES, fewer only at its end or where it is damaged. */
static void read_head(struct trace_head *head, char *bytes)
{
	while (head->n < TRACE_HEAD_BYTES) {
		ssize_t got = input_read(head->in, bytes + head->n, TRACE_HEAD_BYTES - head->n);

		head->whole = got == 0;
		if (got <= 0)
			return;
		head->n += (size_t)got;
	}
}

static int open_input(const char *file, struct trace_error *err)
{
	struct stat st;
	bool is_stdin = !strcmp(file, "-");
	int fd = is_stdin ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0) : open(file, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return trace_fail(err, TRACE_EXIT_INPUT, "%s: cannot be opened: %s", is_stdin ? "standard input" : file,
				  strerror(errno));
	if (!fstat(fd, &st) && S_ISDIR(st.st_mode)) {
		close(fd);
		return trace_fail(err, TRACE_EXIT_INPUT, "%s: is a folder; name a trace file in it", file);
	}
	return fd;
}

/* Opens file by the format given, or (NULL) by looking. */
static struct trace *open_file(const char *file, const struct trace_format *f, struct trace_error *err)
{
	char bytes[TRACE_HEAD_BYTES];
	struct trace_head head = {
		.name = strcmp(file, "-") ? file : "standard input",
		.fd = open_input(file, err),
		.bytes = bytes,
	};

	if (head.fd < 0)
		return NULL;
	head.in = input_open(head.fd, head.name, err);
	if (!head.in)
		return NULL;
	if (input_packing(head.in))
		head.fd = -1;
	read_head(&head, bytes);
	if (!head.n && *input_why(head.in)) {
		trace_fail(err, TRACE_EXIT_INPUT, "%s: cannot be read: %s", head.name, input_why(head.in));
		input_close(head.in);
		return NULL;
	}
	if (!f)
		f = format_by_suffix(file);
	for (unsigned i = 0; !f && i < ARRAY_SIZE(formats); i++)
		if (formats[i]->recognises(formats[i], &head))
			f = formats[i];
	if (!f) {
		trace_fail(err, TRACE_EXIT_INPUT,
			   head.n ? "%s: no known trace format; say which: trace:FORMAT:FILE, FORMAT one of " FORMAT_NAMES
				  : "%s: the file is empty; record it again, or name another",
			   head.name);
		input_close(head.in);
		return NULL;
	}
	return f->open(f, &head, err);
}

struct trace *trace_open(const char *spec, struct trace_error *err)
{
	const char *colon = strchr(spec, ':');
	const struct trace_format *f = colon ? format_by_name(spec, (size_t)(colon - spec)) : NULL;

	memset(err, 0, sizeof(*err));
	if (!*spec) {
		trace_fail(err, TRACE_EXIT_USAGE, "trace: needs a file: trace:[FORMAT:]FILE, - for standard input");
		return NULL;
	}
	if (f)
		return open_file(colon + 1, f, err);
	/* A colon may be part of a file's name; before a slash it is not a format's end. */
	if (colon && access(spec, F_OK) && !memchr(spec, '/', (size_t)(colon - spec))) {
		trace_fail(err, TRACE_EXIT_USAGE, "trace:%.*s: no such format; there are " FORMAT_NAMES,
			   (int)MIN(colon - spec, 60), spec);
		return NULL;
	}
	return open_file(spec, NULL, err);
}

struct trace *qtr_open(const char *path, struct trace_error *err)
{
	memset(err, 0, sizeof(*err));
	return open_file(path, &qtr_format, err);
}

int trace_rewind(struct trace *t, struct trace_error *err)
{
	return t->ops->rewind(t, err);
}

const char *trace_describe(const struct trace *t, enum trace_text which, char *out, size_t n)
{
	*out = '\0';
	if (t->ops->describe)
		t->ops->describe(t, which, out, n);
	return out;
}

void trace_close(struct trace *t)
{
	if (t)
		t->ops->close(t);
}

const char *trace_format_name(unsigned i, const char **summary)
{
	if (i >= ARRAY_SIZE(formats))
		return NULL;
	if (summary)
		*summary = formats[i]->summary;
	return formats[i]->name;
}
