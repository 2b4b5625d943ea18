/* SPDX-License-Identifier: MIT */
/*
 * Readers of text: what they share. A syntax turns one line into references;
 * buffers, line numbers, damage and rewinding are here.
 */
#ifndef QUIRE_TRACE_TEXT_H
#define QUIRE_TRACE_TEXT_H

#include "trace/source.h"

/* A line longer than this is damage. */
enum { TEXT_LINE_MAX = 64 * 1024, TEXT_FIELDS = 32 };

enum text_column { COL_ADDR, COL_KIND, COL_SIZE, COL_PID, COL_TID, COLS };

struct text_reader;

struct text_syntax {
	struct trace_format format; /* its recognises and open are those below */
	/* Before the first line. May be NULL. */
	void (*begin)(struct text_reader *r);
	/* Appends the references of the line [p, end), without its newline. NULL, or what is wrong with it. */
	const char *(*line)(struct text_reader *r, const char *p, const char *end, struct trace_block *b);
};

struct text_reader {
	struct trace_file file;
	const struct text_syntax *syntax;
	size_t pos, len;
	bool at_eof;
	uint64_t lines; /* taken so far: the number of the current one */
	struct trace_error damage;
	/* For syntaxes that name processes. */
	bool has_switched;
	uint32_t pid, tid;
	/* For syntaxes with columns. */
	bool has_header_passed;
	char separator;
	int8_t column[COLS]; /* field number, -1: not there */
};

extern const struct text_syntax lackey_syntax, addr_rw_syntax, rw_addr_syntax, csv_syntax;

struct trace *text_open(const struct trace_format *f, const struct trace_head *head, struct trace_error *err);
/* Do the first lines parse, and give at least one reference? */
bool text_recognises(const struct trace_format *f, const struct trace_head *head);

/* Value of a hexadecimal digit plus one, 0 for other bytes. */
extern const uint8_t text_hex_value[256];

enum text_number { NUMBER_OK, NUMBER_NONE, NUMBER_TOO_LARGE };

/* A run of hexadecimal digits, with or without 0x. *p moves behind it. */
static inline enum text_number text_hex(const char **p, const char *end, uint64_t *out)
{
	const char *s = *p;
	uint64_t v = 0;
	unsigned over = 0;

	if (end - s > 2 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X'))
		s += 2;
	const char *digits = s;

	for (uint8_t d; s < end && (d = text_hex_value[(uint8_t)*s]) != 0; s++) {
		over |= (unsigned)(v >> 60);
		v = v << 4 | (d - 1u);
	}
	*p = s;
	*out = v;
	return s == digits ? NUMBER_NONE : over ? NUMBER_TOO_LARGE : NUMBER_OK;
}

/* A run of decimal digits. */
static inline enum text_number text_decimal(const char **p, const char *end, uint64_t *out)
{
	const char *s = *p;
	uint64_t v = 0;
	bool over = false;

	for (; s < end && *s >= '0' && *s <= '9'; s++) {
		over |= v > (UINT64_MAX - 9) / 10;
		v = v * 10 + (uint64_t)(*s - '0');
	}
	if (s == *p)
		return NUMBER_NONE;
	*p = s;
	*out = v;
	return over ? NUMBER_TOO_LARGE : NUMBER_OK;
}

static inline const char *text_skip_blanks(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	return p;
}

/* Blank lines and comments say nothing. */
static inline bool text_is_empty(const char *p, const char *end)
{
	p = text_skip_blanks(p, end);
	return p == end || *p == '#';
}

/* What a line's access does; KIND_MODIFY is a load, then a store. */
enum text_kind { KIND_READ = ACC_READ, KIND_WRITE = ACC_WRITE, KIND_EXEC = ACC_EXEC, KIND_MODIFY, KIND_NONE };

/* R W X, L S I M, and the words in use for them, in either case. */
enum text_kind text_kind(const char *p, size_t n);

/* The word at *p, up to a blank, as a kind. *p moves behind it. */
static inline enum text_kind text_take_kind(const char **p, const char *end)
{
	const char *word = *p;

	while (*p < end && **p != ' ' && **p != '\t')
		++*p;
	return text_kind(word, (size_t)(*p - word));
}

/* Checks an access and appends it; NULL or what is wrong. */
static inline const char *text_put(struct trace_block *b, uint64_t gva, enum text_kind kind, uint64_t size)
{
	if (unlikely(!ref_gva_ok(gva) || !ref_gva_ok(gva + size - 1)))
		return "the address does not fit in 58 bits (sign-extended)";
	if (likely(is_pow2(size) && size <= 128)) {
		block_put_ref(b, gva, kind == KIND_MODIFY ? ACC_READ : (enum acc_kind)kind, (unsigned)size);
		if (kind == KIND_MODIFY)
			block_put_ref(b, gva, ACC_WRITE, (unsigned)size);
		return NULL;
	}
	if (size == 0 || size > ACCESS_MAX)
		return "a size must be from 1 to 65536 bytes";
	block_put_access(b, gva, kind == KIND_MODIFY ? ACC_READ : (enum acc_kind)kind, size);
	if (kind == KIND_MODIFY)
		block_put_access(b, gva, ACC_WRITE, size);
	return NULL;
}

/* The same with the optional size at the line's end, from p; whatever else stands there is wrong. */
const char *text_put_tail(struct trace_block *b, const char *p, const char *end, uint64_t gva, enum text_kind kind);

#endif
