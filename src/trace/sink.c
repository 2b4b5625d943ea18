/* SPDX-License-Identifier: MIT */
#include "trace/sink.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "trace/qtr.h"
#include "trace/source.h"

/* One line of text for a reference; returns its end. */
typedef char *line_fn(char *out, ref_t r, uint32_t pid, uint32_t tid);

struct sink_format {
	const char *name, *suffix;
	line_fn *line; /* NULL: .qtr */
	const char *first_line;
	bool names_processes;
};

enum { LINE_MAX_BYTES = 80, TEXT_BUF = 256 * 1024 };

struct trace_sink {
	const struct sink_format *format;
	const char *path;
	struct qtr_writer *qtr;
	FILE *f;
	char *buf;
	size_t n;
	uint32_t pid, tid;  /* who runs */
	uint32_t only_pid;  /* whose references were written, where the format has no column for it; 0: none yet */
	uint64_t lost;      /* events, in text; in .qtr: pages whose bytes stay behind */
};

static char *put_text(char *out, const char *text)
{
	size_t n = strlen(text);

	memcpy(out, text, n);
	return out + n;
}

static char *put_decimal(char *out, uint64_t v)
{
	char digits[20];
	unsigned n = 0;

	do
		digits[n++] = (char)('0' + v % 10);
	while (v /= 10);
	while (n)
		*out++ = digits[--n];
	return out;
}

static char *put_hex(char *out, uint64_t v, unsigned width)
{
	unsigned digits = v ? (67 - (unsigned)__builtin_clzll(v)) / 4 : 1;

	for (unsigned i = MAX(digits, width); i-- > 0;)
		*out++ = i < 16 ? "0123456789abcdef"[v >> 4 * i & 15] : '0';
	return out;
}

static char *lackey_line(char *out, ref_t r, uint32_t pid, uint32_t tid)
{
	out = put_text(out, ref_kind(r) == ACC_EXEC ? "I  " : ref_kind(r) == ACC_READ ? " L " : " S ");
	out = put_hex(out, ref_gva(r), 8);
	*out++ = ',';
	return put_decimal(out, ref_size(r));
}

static char kind_letter(ref_t r)
{
	return "RWX"[ref_kind(r)];
}

static char *rw_addr_line(char *out, ref_t r, uint32_t pid, uint32_t tid)
{
	*out++ = kind_letter(r);
	out = put_hex(put_text(out, " 0x"), ref_gva(r), 1);
	*out++ = ' ';
	return put_decimal(out, ref_size(r));
}

static char *addr_rw_line(char *out, ref_t r, uint32_t pid, uint32_t tid)
{
	out = put_hex(put_text(out, "0x"), ref_gva(r), 1);
	*out++ = ' ';
	*out++ = kind_letter(r);
	*out++ = ' ';
	return put_decimal(out, ref_size(r));
}

static char *csv_line(char *out, ref_t r, uint32_t pid, uint32_t tid)
{
	out = put_decimal(out, pid);
	*out++ = ',';
	out = put_decimal(out, tid);
	*out++ = ',';
	*out++ = kind_letter(r);
	out = put_hex(put_text(out, ",0x"), ref_gva(r), 1);
	*out++ = ',';
	return put_decimal(out, ref_size(r));
}

static const struct sink_format formats[] = {
	{ .name = "qtr", .suffix = ".qtr", .names_processes = true },
	{ .name = "lackey", .suffix = ".lackey", .line = lackey_line },
	{ .name = "rw-addr", .suffix = ".rwa", .line = rw_addr_line },
	{ .name = "addr-rw", .suffix = ".arw", .line = addr_rw_line },
	{ .name = "csv", .suffix = ".csv", .line = csv_line, .first_line = "pid,tid,kind,addr,size\n", .names_processes = true },
};

#define SINK_NAMES "qtr, csv, lackey, rw-addr, addr-rw"

static const struct sink_format *find_format(const char *path, const char *name, struct trace_error *err)
{
	size_t n = strlen(path);

	for (unsigned i = 0; i < ARRAY_SIZE(formats); i++) {
		const char *suffix = formats[i].suffix;

		if (name ? !strcmp(name, formats[i].name) : n > strlen(suffix) && !strcasecmp(path + n - strlen(suffix), suffix))
			return &formats[i];
	}
	if (name)
		trace_fail(err, TRACE_EXIT_USAGE, "%s: no format that is written; there are " SINK_NAMES, name);
	else
		trace_fail(err, TRACE_EXIT_USAGE, "%s: its name does not say which format to write; give --to-format, one of " SINK_NAMES,
			   path);
	return NULL;
}

static bool open_text(struct trace_sink *s, struct trace_error *err)
{
	s->f = strcmp(s->path, "-") ? fopen(s->path, "w") : stdout;
	s->buf = malloc(TEXT_BUF);
	if (s->f && s->buf) {
		if (s->format->first_line)
			s->n = (size_t)(put_text(s->buf, s->format->first_line) - s->buf);
		return true;
	}
	trace_fail(err, TRACE_EXIT_USAGE, "%s: %s; give a path that can be written", s->path, strerror(errno));
	if (s->f && s->f != stdout)
		fclose(s->f);
	return false;
}

struct trace_sink *sink_open(const char *path, const char *format, const char *facts, bool tells_calls,
			     struct trace_error *err)
{
	const struct sink_format *f = find_format(path, format, err);
	struct qtr_options o = { .facts = facts, .tells_calls = tells_calls };
	struct trace_sink *s = f ? calloc(1, sizeof(*s)) : NULL;
	bool good = false;

	if (!s)
		return NULL;
	s->format = f;
	s->path = path;
	if (f->line)
		good = open_text(s, err);
	else if (strcmp(path, "-") == 0)
		trace_fail(err, TRACE_EXIT_USAGE, "a .qtr trace goes into a file, not to standard output: give its path");
	else
		good = (s->qtr = qtr_create(path, &o, err)) != NULL;
	if (good)
		return s;
	free(s->buf);
	free(s);
	return NULL;
}

static int cannot_write(const struct trace_sink *s, struct trace_error *err)
{
	return trace_fail(err, TRACE_EXIT_USAGE, "%s: %s; what was written is not whole", s->path, strerror(errno));
}

static int flush(struct trace_sink *s, struct trace_error *err)
{
	size_t n = s->n;

	s->n = 0;
	return fwrite(s->buf, 1, n, s->f) == n ? 0 : cannot_write(s, err);
}

/* A format without a column for processes holds one of them. */
static int check_owner(struct trace_sink *s, struct trace_error *err)
{
	uint32_t pid = s->pid ? s->pid : 1;

	if (s->format->names_processes || s->only_pid == pid)
		return 0;
	if (s->only_pid)
		return trace_fail(err, TRACE_EXIT_USAGE,
				  "%s: %s has no place for a second process (%u after %u); take csv or qtr, or one process: quire trace cut --pid",
				  s->path, s->format->name, pid, s->only_pid);
	s->only_pid = pid;
	return 0;
}

static int write_text(struct trace_sink *s, const struct trace_block *b, struct trace_error *err)
{
	for (uint32_t i = 0; i < b->nrefs; i++) {
		ref_t r = b->refs[i];

		if (ref_is_event(r)) {
			const struct trace_event *ev = &b->events[ref_event(r)];

			if (ev->kind == EV_SWITCH) {
				s->pid = ev->pid;
				s->tid = ev->tid;
			} else {
				s->lost++;
			}
			continue;
		}
		if (check_owner(s, err))
			return -1;
		if (s->n > TEXT_BUF - LINE_MAX_BYTES && flush(s, err))
			return -1;
		char *end = s->format->line(s->buf + s->n, r, s->pid ? s->pid : 1, s->tid ? s->tid : s->pid ? s->pid : 1);

		*end++ = '\n';
		s->n = (size_t)(end - s->buf);
	}
	return 0;
}

static int write_qtr(struct trace_sink *s, const struct trace_block *b, struct trace_error *err)
{
	for (uint32_t i = 0; i < b->nevents; i++)
		s->lost += b->events[i].kind == EV_CONTENT;
	return qtr_write(s->qtr, b, err);
}

int sink_write(struct trace_sink *s, const struct trace_block *b, struct trace_error *err)
{
	return s->qtr ? write_qtr(s, b, err) : write_text(s, b, err);
}

int sink_close(struct trace_sink *s, struct trace_error *err)
{
	int rc = 0;

	if (s->qtr) {
		rc = qtr_close(s->qtr, err);
	} else {
		rc = flush(s, err);
		if (s->f == stdout ? fflush(s->f) : fclose(s->f))
			rc = cannot_write(s, err);
	}
	free(s->buf);
	free(s);
	return rc;
}

const char *sink_lost(const struct trace_sink *s)
{
	if (!s->lost)
		return "";
	return s->qtr ? "left out: the bytes of files' pages" : "left out: memory calls, forks, ends of processes, system calls";
}
