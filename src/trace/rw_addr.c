/* SPDX-License-Identifier: MIT */
/* "R|W ADDR [SIZE]", a line each (also L, S, I, X, M): the address hexadecimal; # begins a comment. */
#include "trace/text.h"

static const char *parse_line(struct text_reader *r, const char *p, const char *end, struct trace_block *b)
{
	uint64_t gva, size = 1;
	const char *word, *wrong;

	p = text_skip_blanks(p, end);
	if (text_is_empty(p, end))
		return NULL;
	word = p;
	while (p < end && *p != ' ' && *p != '\t')
		p++;
	enum text_kind kind = text_kind(word, (size_t)(p - word));

	if (kind == KIND_NONE)
		return "a line \"R|W ADDR\" was expected";
	p = text_skip_blanks(p, end);
	enum text_number n = text_hex(&p, end, &gva);

	if (n != NUMBER_OK)
		return n == NUMBER_NONE ? "after R or W, a hexadecimal address was expected"
					: "the address is longer than 64 bits";
	if (p < end && *p != ' ' && *p != '\t')
		return "after the address, a blank or the line's end was expected";
	wrong = text_tail(p, end, &size);
	return wrong ? wrong : text_put(b, gva, kind, size);
}

static const struct text_syntax syntax = {.format = &rw_addr_format, .line = parse_line};

static bool recognises(const char *head, size_t n, bool whole)
{
	return text_recognises(&syntax, head, n, whole);
}

static struct trace *open_fd(int fd, const char *name, const char *head, size_t n, struct trace_error *err)
{
	return text_open(&syntax, fd, name, head, n, err);
}

const struct trace_format rw_addr_format = {
	.name = "rw-addr",
	.summary = "lines \"R|W ADDR [SIZE]\" (also L, S, I, X, M)",
	.recognises = recognises,
	.open = open_fd,
};
