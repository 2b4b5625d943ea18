/* SPDX-License-Identifier: MIT */
/* The classroom's session: its numbers, and what happens where the old program broke. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/cli.h"

/* Runs a session; the text is the caller's to free. */
static char *session(const char *input)
{
	FILE *in = fmemopen((void *)input, strlen(input), "r"), *out;
	char *text = NULL;
	size_t len;

	out = open_memstream(&text, &len);
	assert_non_null(in);
	assert_non_null(out);
	assert_int_equal(classic_session(in, out), 0);
	fclose(in);
	fclose(out);
	return text;
}

/* Each of the words stands in the text, after the one before. */
static void assert_in_order(const char *text, const char *const *words)
{
	for (; *words; words++) {
		const char *at = strstr(text, *words);

		if (!at)
			fail_msg("\"%s\" is missing in:\n%s", *words, text);
		text = at + strlen(*words);
	}
}

#define MAPS "3 1 1 0x1234 y 1 2 0x9999 y 1 3 0x7777 y "

static void case_1_classroom_session(void **state)
{
	char *text = session(MAPS "3 y 4 y 6 y 2 1 0x1234 y 5 y 2 5 0x4343 y 4 y 6 y 3 y 7");

	assert_in_order(text, (const char *const[]){
		"Pid \t Virtual Page Number\n1 \t 0x1234\n2 \t 0x9999\n3 \t 0x7777\n",
		"Pid \t Frame Number\n1 \t 0x0234\n2 \t 0x1999\n3 \t 0x2777\n",
		"Nested Table\nPid \t Frame Number\n1 \t 0x7234\n2 \t 0x8999\n3 \t 0x9777\n",
		"Page Hit\n", "0x0234\n",
		"Shadow Table\nPid \t Frame Number\n1 \t 0x5234\n",
		"Page Fault, page will be mapped\n",
		"Pid \t Frame Number\n1 \t 0x0234\n2 \t 0x1999\n3 \t 0x2777\n5 \t 0x3343\n",
		"Nested Table\nPid \t Frame Number\n1 \t 0x7234\n2 \t 0x8999\n3 \t 0x9777\n\n",
		"Pid \t Virtual Page Number\n1 \t 0x1234\n2 \t 0x9999\n3 \t 0x7777\n5 \t 0x4343\n", NULL });
	free(text);
}

static void whole_addresses_are_matched(void **state)
{
	char *text = session("1 1 1 0x1234 y 2 1 0x1235 n");

	assert_in_order(text, (const char *const[]){ "Page Fault", NULL });
	assert_null(strstr(text, "Page Hit"));
	free(text);
}

/* Nested frames 7 … 24, page 17: right digits, a line about each break, and on it goes. */
static void goes_on_where_the_old_program_broke(void **state)
{
	char input[1024] = "9 ", *text;

	for (int i = 0; i < 18; i++)
		sprintf(input + strlen(input), "1 %d 0x%x123 y ", i % 10, i % 16);
	strcat(input, "4 y 6 n");
	text = session(input);
	assert_in_order(text, (const char *const[]){
		"Nested frame 16 takes two digits", "17th page", "frame 16 takes two digits",
		"Frame Number\n", "0x9123", "0xA123", "0xF123", "0x10123", "0x11123",
		"Nested Table", "0x7123", "0xA123", "0x10123", "0x18123", NULL });
	free(text);
}

static void bad_input_is_answered(void **state)
{
	char *text = session("many 3 9 x y 1 12 1 1234 0x12345 0xzzzz 0x1234 y 2 -1 1 0x1234 n");

	assert_in_order(text, (const char *const[]){
		"'many' is no number", "'9' is no option", "'x' is no answer", "'12' is no process id",
		"'1234' is no 16-bit address", "'0x12345' is no 16-bit address", "'0xzzzz' is no 16-bit address",
		"'-1' is no process id", "Page Hit", NULL });
	free(text);
}

static void end_of_input_ends(void **state)
{
	static const char whole[] = MAPS "2 1 0x1234 y 5 y 6 y 7";

	for (size_t n = 1; n < sizeof(whole); n++) {
		char part[sizeof(whole)];

		snprintf(part, n + 1, "%s", whole);
		free(session(part));
	}
}

static void full_table_refuses(void **state)
{
	size_t n = 4100 * 16;
	char *input = malloc(n), *p = input + sprintf(input, "3 "), *text;

	for (int i = 0; i < 4100; i++)
		p += sprintf(p, "1 1 0x1234 y ");
	text = session(input);
	assert_in_order(text, (const char *const[]){ "The table is full at 4096 rows", NULL });
	free(text);
	free(input);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(case_1_classroom_session),
		cmocka_unit_test(whole_addresses_are_matched),
		cmocka_unit_test(goes_on_where_the_old_program_broke),
		cmocka_unit_test(bad_input_is_answered),
		cmocka_unit_test(end_of_input_ends),
		cmocka_unit_test(full_table_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
