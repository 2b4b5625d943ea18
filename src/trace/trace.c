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
	&qtr_format, &lackey_syntax.format, &rw_addr_syntax.format, &addr_rw_syntax.format, &csv_syntax.format,
};

#define FORMAT_NAMES "lackey, addr-rw, rw-addr, csv, qtr"

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

	if (!file || !buf || !name) {
		free(file);
		free(buf);
		free(name);
		close(head->fd);
		trace_fail(err, TRACE_EXIT_INPUT, "%s: out of memory", head->name);
		return NULL;
	}
	*file = (struct trace_file){ .t = { .ops = ops, .name = name, .format = f->name }, .fd = head->fd, .buf = buf };
	if (head->n)
		memcpy(buf, head->bytes, head->n);
	return file;
}

int trace_file_rewind(struct trace *t, struct trace_error *err)
{
	struct trace_file *file = container_of(t, struct trace_file, t);

	if (lseek(file->fd, 0, SEEK_SET) < 0)
		return trace_fail(err, TRACE_EXIT_INPUT, "%s: cannot be read twice; save it in a file first", t->name);
	return 0;
}

void trace_file_close(struct trace *t)
{
	struct trace_file *file = container_of(t, struct trace_file, t);

	close(file->fd);
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

static const struct trace_format *format_by_suffix(const char *file)
{
	size_t n = strlen(file);

	for (unsigned i = 0; i < ARRAY_SIZE(formats); i++) {
		const char *suffix = formats[i]->suffix;

		if (suffix && n > strlen(suffix) && !strcasecmp(file + n - strlen(suffix), suffix))
			return formats[i];
	}
	return NULL;
}

/* Reads the file's beginning: up to TRACE_HEAD_BYTES, fewer only at its end. -errno. */
static int read_head(int fd, char *head, bool *whole)
{
	int n = 0;

	*whole = false;
	while (n < TRACE_HEAD_BYTES) {
		ssize_t got = read(fd, head + n, (size_t)(TRACE_HEAD_BYTES - n));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0) {
			*whole = true;
			break;
		}
		n += (int)got;
	}
	return n;
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
	int n;

	if (head.fd < 0)
		return NULL;
	n = read_head(head.fd, bytes, &head.whole);
	if (n < 0) {
		trace_fail(err, TRACE_EXIT_INPUT, "%s: cannot be read: %s", head.name, strerror(-n));
		close(head.fd);
		return NULL;
	}
	head.n = (size_t)n;
	if (!f)
		f = format_by_suffix(file);
	for (unsigned i = 0; !f && i < ARRAY_SIZE(formats); i++)
		if (formats[i]->recognises(formats[i], &head))
			f = formats[i];
	if (!f) {
		trace_fail(err, TRACE_EXIT_INPUT,
			   n ? "%s: no known trace format; say which: trace:FORMAT:FILE, FORMAT one of " FORMAT_NAMES
			     : "%s: the file is empty; record it again, or name another",
			   head.name);
		close(head.fd);
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
