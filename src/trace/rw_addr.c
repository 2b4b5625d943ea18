/* SPDX-License-Identifier: MIT */
/* "R|W ADDR [SIZE]", a line each (also L, S, I, X, M): the address hexadecimal; # begins a comment. */
#include "trace/text.h"

static const char *parse_line(struct text_reader *r, const char *p, const char *end, struct trace_block *b)
{
	uint64_t gva;

	p = text_skip_blanks(p, end);
	if (text_is_empty(p, end))
		return NULL;
	enum text_kind kind = text_take_kind(&p, end);

	if (kind == KIND_NONE)
		return "a line \"R|W ADDR\" was expected";
	p = text_skip_blanks(p, end);
	enum text_number n = text_hex(&p, end, &gva);

	if (n != NUMBER_OK)
		return n == NUMBER_NONE ? "after R or W, a hexadecimal address was expected"
					: "the address is longer than 64 bits";
	if (p < end && *p != ' ' && *p != '\t')
		return "after the address, a blank or the line's end was expected";
	return text_put_tail(b, p, end, gva, kind);
}

const struct text_syntax rw_addr_syntax = {
	.format = {
		.name = "rw-addr",
		.suffix = ".rwa",
		.summary = "lines \"R|W ADDR [SIZE]\" (also L, S, I, X, M)",
		.recognises = text_recognises,
		.open = text_open,
	},
	.line = parse_line,
};
