/* SPDX-License-Identifier: MIT */
/*
 * Columns between commas (or semicolons, or tabs). A first line of names says
 * which is which; without one they are addr,kind[,size[,pid]]. Other columns
 * are left alone. Numbers are decimal, with 0x hexadecimal: a column of
 * hexadecimal addresses without 0x is not guessed at, since half of it would
 * look decimal.
 */
#include <string.h>
#include <strings.h>

#include "trace/text.h"

struct field {
	const char *p, *end;
};

static struct field trim(const char *p, const char *end)
{
	p = text_skip_blanks(p, end);
	while (end > p && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	if (end - p >= 2 && *p == '"' && end[-1] == '"')
		return (struct field){p + 1, end - 1};
	return (struct field){p, end};
}

/* Cuts a line into fields; their number, TEXT_FIELDS + 1 if there are more. */
static unsigned split(const char *p, const char *end, char separator, struct field *f)
{
	for (unsigned n = 0; n < TEXT_FIELDS; n++) {
		const char *stop = memchr(p, separator, (size_t)(end - p));

		f[n] = trim(p, stop ? stop : end);
		if (!stop)
			return n + 1;
		p = stop + 1;
	}
	return TEXT_FIELDS + 1;
}

static char find_separator(const char *p, const char *end)
{
	for (; p < end; p++)
		if (*p == ',' || *p == ';' || *p == '\t')
			return *p;
	return ',';
}

static int column_of_name(const char *p, size_t n)
{
	static const struct {
		const char *name;
		enum text_column column;
	} names[] = {
		{"addr", COL_ADDR}, {"address", COL_ADDR}, {"gva", COL_ADDR}, {"va", COL_ADDR}, {"vaddr", COL_ADDR},
		{"kind", COL_KIND}, {"type", COL_KIND}, {"op", COL_KIND}, {"rw", COL_KIND},
		{"size", COL_SIZE}, {"pid", COL_PID}, {"tid", COL_TID},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		if (strlen(names[i].name) == n && !strncasecmp(names[i].name, p, n))
			return names[i].column;
	return -1;
}

static const char *take_header(struct text_reader *r, const struct field *f, unsigned n)
{
	memset(r->column, -1, sizeof(r->column));
	for (unsigned i = 0; i < n; i++) {
		int column = column_of_name(f[i].p, (size_t)(f[i].end - f[i].p));

		if (column < 0)
			continue;
		if (r->column[column] >= 0)
			return "the line of column names says one thing twice";
		r->column[column] = (int8_t)i;
	}
	if (r->column[COL_ADDR] < 0 || r->column[COL_KIND] < 0)
		return "the line of column names needs addr (or address, gva, va) and kind (or type, op, rw)";
	return NULL;
}

static const char *number(struct field f, uint64_t *out)
{
	bool hex = f.end - f.p > 2 && f.p[0] == '0' && (f.p[1] | 0x20) == 'x';
	enum text_number n = hex ? text_hex(&f.p, f.end, out) : text_decimal(&f.p, f.end, out);

	if (n == NUMBER_TOO_LARGE)
		return "a number is longer than 64 bits";
	return n == NUMBER_NONE || f.p != f.end ? "a number was expected (decimal, or hexadecimal with 0x)" : NULL;
}

/* The field of a column into *out, if the column is there. */
static const char *column_value(const struct text_reader *r, const struct field *f, unsigned n,
				enum text_column column, uint64_t max, uint64_t *out)
{
	int i = r->column[column];
	const char *wrong;

	/* Without a line of names, the last columns may be left out. */
	if (i < 0 || ((unsigned)i >= n && column != COL_ADDR))
		return NULL;
	if ((unsigned)i >= n)
		return "a column is missing";
	wrong = number(f[i], out);
	return wrong ? wrong : *out > max ? "a process or size is too large" : NULL;
}

static void switch_to(struct text_reader *r, uint32_t pid, uint32_t tid, struct trace_block *b)
{
	if (r->has_switched && r->pid == pid && r->tid == tid)
		return;
	block_put_event(b, &(struct trace_event){.kind = EV_SWITCH, .pid = pid, .tid = tid});
	r->has_switched = true;
	r->pid = pid;
	r->tid = tid;
}

static const char *take_row(struct text_reader *r, const struct field *f, unsigned n, struct trace_block *b)
{
	uint64_t gva = 0, size = 1, pid = 0, tid = 0;
	const char *wrong = column_value(r, f, n, COL_ADDR, UINT64_MAX, &gva);
	unsigned at = (unsigned)r->column[COL_KIND];
	bool has_pid = r->column[COL_PID] >= 0 && (unsigned)r->column[COL_PID] < n;

	if (!wrong)
		wrong = column_value(r, f, n, COL_SIZE, ACCESS_MAX, &size);
	if (!wrong)
		wrong = column_value(r, f, n, COL_PID, UINT32_MAX, &pid);
	tid = pid;
	if (!wrong)
		wrong = column_value(r, f, n, COL_TID, UINT32_MAX, &tid);
	if (wrong)
		return wrong;
	enum text_kind kind = at < n ? text_kind(f[at].p, (size_t)(f[at].end - f[at].p)) : KIND_NONE;

	if (kind == KIND_NONE)
		return "the kind of access must be R, W or X (or read, write, load, store, fetch)";
	if (has_pid)
		switch_to(r, (uint32_t)pid, (uint32_t)tid, b);
	return text_put(b, gva, kind, size);
}

static const char *parse_line(struct text_reader *r, const char *p, const char *end, struct trace_block *b)
{
	struct field f[TEXT_FIELDS];

	if (text_is_empty(p, end))
		return NULL;
	if (!r->has_header_passed)
		r->separator = find_separator(p, end);
	unsigned n = split(p, end, r->separator, f);

	if (n < 2 || n > TEXT_FIELDS)
		return n < 2 ? "at least two columns were expected" : "there are more columns than 32";
	if (!r->has_header_passed) {
		r->has_header_passed = true;
		for (unsigned i = 0; i < n; i++)
			if (column_of_name(f[i].p, (size_t)(f[i].end - f[i].p)) >= 0)
				return take_header(r, f, n);
	}
	return take_row(r, f, n, b);
}

static void begin(struct text_reader *r)
{
	r->column[COL_ADDR] = 0;
	r->column[COL_KIND] = 1;
	r->column[COL_SIZE] = 2;
	r->column[COL_PID] = 3;
	r->column[COL_TID] = -1;
}

const struct text_syntax csv_syntax = {
	.format = {
		.name = "csv",
		.suffix = ".csv",
		.summary = "columns addr, kind and perhaps size, pid, tid, named in the first line",
		.recognises = text_recognises,
		.open = text_open,
	},
	.begin = begin,
	.line = parse_line,
};
