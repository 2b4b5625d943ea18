/* SPDX-License-Identifier: MIT */
/*
 * valgrind --tool=lackey --trace-mem=yes (Valgrind manual, section 14.3):
 *
 *     I  0023c790,2   instruction fetch of two bytes
 *      S be80199c,4   store
 *      L be801950,4   load
 *      M 0025747c,1   modify: a load, then a store
 *
 * valgrind's own messages ("==pid== …") stand between.
 */
#include "trace/text.h"

static bool is_message(const char *p, const char *end)
{
	return end - p >= 2 && p[0] == p[1] && (p[0] == '=' || p[0] == '-' || p[0] == '*');
}

static const char *parse_line(struct text_reader *r, const char *p, const char *end, struct trace_block *b)
{
	static const char shape[] = "not a line of lackey (\"I  addr,size\", \" L addr,size\")";
	enum text_kind kind;
	uint64_t gva, size;

	if (end - p < 5) /* the shortest is " L 0,1" */
		return text_is_empty(p, end) ? NULL : shape;
	if (p[0] == 'I' && p[1] == ' ' && p[2] == ' ')
		kind = KIND_EXEC;
	else if (p[0] != ' ' || p[2] != ' ')
		return is_message(p, end) ? NULL : shape;
	else if (p[1] == 'L')
		kind = KIND_READ;
	else if (p[1] == 'S')
		kind = KIND_WRITE;
	else if (p[1] == 'M')
		kind = KIND_MODIFY;
	else
		return shape;
	p += 3;
	enum text_number n = text_hex(&p, end, &gva);

	if (unlikely(n != NUMBER_OK))
		return n == NUMBER_NONE ? shape : "the address is longer than 64 bits";
	if (unlikely(p == end || *p++ != ',' || text_decimal(&p, end, &size) != NUMBER_OK || p != end))
		return shape;
	return text_put(b, gva, kind, size);
}

const struct text_syntax lackey_syntax = {
	.format = {
		.name = "lackey",
		.suffix = ".lackey",
		.summary = "valgrind --tool=lackey --trace-mem=yes",
		.recognises = text_recognises,
		.open = text_open,
	},
	.line = parse_line,
};
