/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "trace/text.h"

enum {
	TEXT_BUF = 1024 * 1024,
	/* A line gives at most a switch and two accesses of the largest size. */
	LINE_REFS_MAX = 1 + 2 * ACCESS_REFS_MAX,
	RECOGNISE_LINES = 16,
};
static_assert(RECOGNISE_LINES * LINE_REFS_MAX <= TRACE_BLOCK_REFS, "recognising lines needs one block");

const uint8_t text_hex_value[256] = {
	['0'] = 1, ['1'] = 2, ['2'] = 3, ['3'] = 4, ['4'] = 5, ['5'] = 6, ['6'] = 7, ['7'] = 8, ['8'] = 9, ['9'] = 10,
	['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
	['A'] = 11, ['B'] = 12, ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16,
};

enum text_kind text_kind(const char *p, size_t n)
{
	static const struct {
		const char *word;
		enum text_kind kind;
	} words[] = {
		{"read", KIND_READ}, {"load", KIND_READ}, {"write", KIND_WRITE}, {"store", KIND_WRITE},
		{"exec", KIND_EXEC}, {"execute", KIND_EXEC}, {"fetch", KIND_EXEC}, {"ifetch", KIND_EXEC},
		{"instr", KIND_EXEC}, {"modify", KIND_MODIFY},
	};

	if (n == 1) {
		switch (*p | 0x20) {
		case 'r':
		case 'l':
			return KIND_READ;
		case 'w':
		case 's':
			return KIND_WRITE;
		case 'x':
		case 'i':
			return KIND_EXEC;
		case 'm':
			return KIND_MODIFY;
		}
		return KIND_NONE;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
		if (strlen(words[i].word) == n && !strncasecmp(words[i].word, p, n))
			return words[i].kind;
	return KIND_NONE;
}

const char *text_tail(const char *p, const char *end, uint64_t *size)
{
	p = text_skip_blanks(p, end);
	if (p == end)
		return NULL;
	if (text_decimal(&p, end, size) != NUMBER_OK)
		return "a decimal size was expected at the line's end";
	return text_skip_blanks(p, end) == end ? NULL : "something follows the size";
}

static int damaged(struct text_reader *r, const char *what)
{
	return trace_fail(&r->damage, TRACE_EXIT_INPUT, "%s:%llu: %s; what came before it was kept. Repair or cut the file there",
			  r->t.name, (unsigned long long)r->lines, what);
}

/* Moves what is left to the front and reads more behind it. */
static void refill(struct text_reader *r)
{
	ssize_t got;

	memmove(r->buf, r->buf + r->pos, r->len - r->pos);
	r->len -= r->pos;
	r->pos = 0;
	do
		got = read(r->fd, r->buf + r->len, TEXT_BUF - r->len);
	while (got < 0 && errno == EINTR);
	if (got < 0) {
		r->lines++;
		damaged(r, strerror(errno));
	}
	r->at_eof = got <= 0;
	r->len += got > 0 ? (size_t)got : 0;
}

/* The next line, its newline and a carriage return stripped; false at the end or at damage. */
static bool next_line(struct text_reader *r, const char **p, const char **end)
{
	const char *start, *newline;
	size_t searched = 0;

	for (;;) {
		start = r->buf + r->pos;
		newline = memchr(start + searched, '\n', r->len - r->pos - searched);
		searched = r->len - r->pos;
		if (newline || r->at_eof || searched > TEXT_LINE_MAX)
			break;
		refill(r);
	}
	if (r->damage.exit_code || (!newline && !searched))
		return false;
	r->lines++;
	*p = start;
	*end = newline ? newline : start + searched;
	if (*end - start > TEXT_LINE_MAX) {
		damaged(r, "the line is longer than any trace's");
		return false;
	}
	r->pos += (size_t)(*end - start) + (newline != NULL);
	if (*end > start && (*end)[-1] == '\r')
		--*end;
	return true;
}

static int text_read(struct trace *t, struct trace_block *b, struct trace_error *err)
{
	struct text_reader *r = container_of(t, struct text_reader, t);
	const char *p, *end, *wrong;

	b->nrefs = b->nevents = 0;
	while (!r->damage.exit_code && b->nrefs <= TRACE_BLOCK_REFS - LINE_REFS_MAX &&
	       b->nevents < TRACE_BLOCK_EVENTS && next_line(r, &p, &end)) {
		wrong = r->syntax->line(r, p, end, b);
		if (unlikely(wrong))
			damaged(r, wrong);
	}
	if (b->nrefs)
		return 1;
	if (!r->damage.exit_code)
		return 0;
	*err = r->damage;
	return -1;
}

static void begin(struct text_reader *r)
{
	r->lines = 0;
	r->pos = r->len = 0;
	r->at_eof = r->has_switched = r->has_header_passed = false;
	memset(&r->damage, 0, sizeof(r->damage));
	if (r->syntax->begin)
		r->syntax->begin(r);
}

static int text_rewind(struct trace *t, struct trace_error *err)
{
	struct text_reader *r = container_of(t, struct text_reader, t);

	if (lseek(r->fd, 0, SEEK_SET) < 0)
		return trace_fail(err, TRACE_EXIT_INPUT, "%s: cannot be read twice; save it in a file first", t->name);
	begin(r);
	return 0;
}

static void text_close(struct trace *t)
{
	struct text_reader *r = container_of(t, struct text_reader, t);

	close(r->fd);
	free(r->buf);
	free(t->name);
	free(r);
}

static const struct trace_ops text_ops = {.read = text_read, .rewind = text_rewind, .close = text_close};

struct trace *text_open(const struct text_syntax *syntax, int fd, const char *name, const char *head, size_t n,
			struct trace_error *err)
{
	struct text_reader *r = calloc(1, sizeof(*r));
	char *buf = malloc(TEXT_BUF), *copy = strdup(name);

	if (!r || !buf || !copy) {
		free(r);
		free(buf);
		free(copy);
		close(fd);
		trace_fail(err, TRACE_EXIT_INPUT, "%s: out of memory", name);
		return NULL;
	}
	r->t = (struct trace){.ops = &text_ops, .name = copy, .format = syntax->format->name};
	r->syntax = syntax;
	r->fd = fd;
	r->buf = buf;
	begin(r);
	memcpy(buf, head, n);
	r->len = n;
	return &r->t;
}

bool text_recognises(const struct text_syntax *syntax, const char *head, size_t n, bool whole)
{
	struct text_reader r = {.syntax = syntax};
	struct trace_block *b = malloc(sizeof(*b));
	const char *p = head, *stop = head + n, *end;
	bool ok = b != NULL;

	begin(&r);
	if (b)
		b->nrefs = b->nevents = 0;
	for (int i = 0; ok && i < RECOGNISE_LINES && p < stop; i++, p = end + 1) {
		end = memchr(p, '\n', (size_t)(stop - p));
		if (!end && !whole)
			break;
		if (!end)
			end = stop;
		ok = !syntax->line(&r, p, end > p && end[-1] == '\r' ? end - 1 : end, b);
	}
	ok = ok && b->nrefs;
	free(b);
	return ok;
}
