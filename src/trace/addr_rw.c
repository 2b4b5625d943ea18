/* SPDX-License-Identifier: MIT */
/* "ADDR R|W [SIZE]", a line each: the address hexadecimal, with or without 0x; # begins a comment. */
#include "trace/text.h"

static const char *parse_line(struct text_reader *r, const char *p, const char *end, struct trace_block *b)
{
	uint64_t gva, size = 1;
	const char *word, *wrong;

	p = text_skip_blanks(p, end);
	if (text_is_empty(p, end))
		return NULL;
	enum text_number n = text_hex(&p, end, &gva);

	if (n == NUMBER_TOO_LARGE)
		return "the address is longer than 64 bits";
	if (n == NUMBER_NONE || p == end || (*p != ' ' && *p != '\t'))
		return "a line \"ADDR R|W\" was expected, ADDR hexadecimal";
	word = p = text_skip_blanks(p, end);
	while (p < end && *p != ' ' && *p != '\t')
		p++;
	enum text_kind kind = text_kind(word, (size_t)(p - word));

	if (kind == KIND_NONE)
		return "after the address, R or W was expected";
	wrong = text_tail(p, end, &size);
	return wrong ? wrong : text_put(b, gva, kind, size);
}

static const struct text_syntax syntax = {.format = &addr_rw_format, .line = parse_line};

static bool recognises(const char *head, size_t n, bool whole)
{
	return text_recognises(&syntax, head, n, whole);
}

static struct trace *open_fd(int fd, const char *name, const char *head, size_t n, struct trace_error *err)
{
	return text_open(&syntax, fd, name, head, n, err);
}

const struct trace_format addr_rw_format = {
	.name = "addr-rw",
	.alias = "arw",
	.summary = "lines \"ADDR R|W\", as many course exercises use",
	.recognises = recognises,
	.open = open_fd,
};
