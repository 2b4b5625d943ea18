/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

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

const char *text_put_tail(struct trace_block *b, const char *p, const char *end, uint64_t gva, enum text_kind kind)
{
	uint64_t size = 1;

	p = text_skip_blanks(p, end);
	if (p < end && text_decimal(&p, end, &size) != NUMBER_OK)
		return "a decimal size was expected at the line's end";
	if (text_skip_blanks(p, end) < end)
		return "something follows the size";
	return text_put(b, gva, kind, size);
}

static int damaged(struct text_reader *r, const char *what)
{
	return trace_fail(&r->damage, TRACE_EXIT_INPUT, "%s:%llu: %s; what came before it was kept. Repair or cut the file there",
			  r->file.t.name, (unsigned long long)r->lines, what);
}

/* Moves what is left to the front and reads more behind it. */
static void refill(struct text_reader *r)
{
	ssize_t got;

	memmove(r->file.buf, r->file.buf + r->pos, r->len - r->pos);
	r->len -= r->pos;
	r->pos = 0;
	got = trace_file_read(&r->file, r->file.buf + r->len, TEXT_BUF - r->len);
	if (got < 0) {
		r->lines++;
		damaged(r, trace_file_why(&r->file));
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
		start = r->file.buf + r->pos;
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
	struct text_reader *r = container_of(t, struct text_reader, file.t);
	const char *p, *end, *wrong;

	b->nrefs = b->nevents = 0;
	while (!r->damage.exit_code && b->nrefs <= TRACE_BLOCK_REFS - LINE_REFS_MAX &&
	       b->nevents < TRACE_BLOCK_EVENTS && next_line(r, &p, &end)) {
		wrong = r->syntax->line(r, p, end, b);
		if (unlikely(wrong))
			damaged(r, wrong);
	}
	if (b->nrefs) {
		r->file.barren = 0;
		return 1;
	}
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
	if (trace_file_rewind(t, err))
		return -1;
	begin(container_of(t, struct text_reader, file.t));
	return 0;
}

static const struct trace_ops text_ops = {.read = text_read, .rewind = text_rewind, .close = trace_file_close};

static const struct text_syntax *syntax_of(const struct trace_format *f)
{
	return container_of(f, struct text_syntax, format);
}

struct trace *text_open(const struct trace_format *f, const struct trace_head *head, struct trace_error *err)
{
	struct text_reader *r = trace_file_open(f, &text_ops, sizeof(*r), TEXT_BUF, head, err);

	if (!r)
		return NULL;
	r->syntax = syntax_of(f);
	begin(r);
	r->len = head->n;
	return &r->file.t;
}

bool text_recognises(const struct trace_format *f, const struct trace_head *head)
{
	const struct text_syntax *syntax = syntax_of(f);
	struct text_reader r = {.syntax = syntax};
	struct trace_block *b = malloc(sizeof(*b));
	const char *p = head->bytes, *stop = p + head->n, *end;
	bool ok = b != NULL;

	begin(&r);
	if (b)
		b->nrefs = b->nevents = 0;
	for (int i = 0; ok && i < RECOGNISE_LINES && p < stop; i++, p = end + 1) {
		end = memchr(p, '\n', (size_t)(stop - p));
		if (!end && !head->whole)
			break;
		if (!end)
			end = stop;
		ok = !syntax->line(&r, p, end > p && end[-1] == '\r' ? end - 1 : end, b);
	}
	ok = ok && b->nrefs;
	free(b);
	return ok;
}
