/* SPDX-License-Identifier: MIT */
/*
 * Machine and format files of arbitrary bytes: refused with a message that
 * names the file, or read into something that validates.
 *
 * Input: one byte (even: machine, odd: format) │ YAML
 */
#include <stdlib.h>
#include <string.h>

#include "exp/exp.h"

#define CHECK(cond)              \
	do {                     \
		if (!(cond))     \
			abort(); \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_refusal(int code, const struct trace_error *err)
{
	CHECK(code == err->exit_code && (code == 2 || code == 4));
	CHECK(strncmp(err->what, "fuzz.yaml:", 10) == 0);
	CHECK(memchr(err->what, '\0', sizeof(err->what)) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct machine_file machine;
	static struct format_file format;
	struct trace_error err = { 0 };
	const char *why;
	int code;

	if (size == 0)
		return 0;
	if (data[0] & 1) {
		code = format_parse("fuzz.yaml", data + 1, size - 1, &format, &err);
		if (code)
			check_refusal(code, &err);
		else
			CHECK(gpt_validate(&format.fmt, &why) == 0);
	} else {
		code = machine_parse("fuzz.yaml", data + 1, size - 1, &machine, &err);
		if (code)
			check_refusal(code, &err);
		else
			CHECK(tlb_config_validate(&machine.tlb, &why) == 0);
	}
	return 0;
}
