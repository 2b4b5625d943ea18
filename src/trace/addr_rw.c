/* SPDX-License-Identifier: MIT */
/* "ADDR R|W [SIZE]", a line each: the address hexadecimal, with or without 0x; # begins a comment. */
#include "trace/text.h"

static const char *parse_line(struct text_reader *r, const char *p, const char *end, struct trace_block *b)
{
	uint64_t gva;

	p = text_skip_blanks(p, end);
	if (text_is_empty(p, end))
		return NULL;
	enum text_number n = text_hex(&p, end, &gva);

	if (n == NUMBER_TOO_LARGE)
		return "the address is longer than 64 bits";
	if (n == NUMBER_NONE || p == end || (*p != ' ' && *p != '\t'))
		return "a line \"ADDR R|W\" was expected, ADDR hexadecimal";
	p = text_skip_blanks(p, end);
	enum text_kind kind = text_take_kind(&p, end);

	if (kind == KIND_NONE)
		return "after the address, R or W was expected";
	return text_put_tail(b, p, end, gva, kind);
}

const struct text_syntax addr_rw_syntax = {
	.format = {
		.name = "addr-rw",
		.alias = "arw",
		.suffix = ".arw",
		.summary = "lines \"ADDR R|W\", as many course exercises use",
		.recognises = text_recognises,
		.open = text_open,
	},
	.line = parse_line,
};
