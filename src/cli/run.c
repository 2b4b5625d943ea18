/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "cli/cli.h"

static int write_run(const struct options *o, struct outputs *out, const struct run_result *r)
{
	struct report rep = options_report(o);
	int code = 0;

	if (!report_measured(r))
		return 0;
	if (out->text)
		text_run(&rep, r, stdout);
	if (out->json)
		code = outputs_json(out, json_run_document(&rep, r), o);
	if (out->csv && csv_write(&rep, r, 1, out->csv))
		code = complain_usage("%s: cannot be written; the result there is not whole", o->csv);
	return code;
}

static int run(const struct options *o)
{
	struct run_result *r = calloc(1, sizeof(*r));
	struct outputs out;
	int code = outputs_open(&out, o), said;

	if (code || !r) {
		free(r);
		return code ? code : complain_usage("no memory on this host");
	}
	run_all(o, &o->config, r, 1);
	if (r->not_possible)
		code = complain_usage("%s is not possible here: %s", r->scheme, r->not_possible);
	else
		code = write_run(o, &out, r);
	said = results_complain(r, 1);
	if (!code)
		code = said;
	said = outputs_close(&out, o);
	free(r);
	return code ? code : said;
}

int command_run(int argc, char **argv)
{
	struct options o;
	int code;

	interrupt_install();
	code = options_parse(&o, CMD_RUN, argc, argv);
	if (!code)
		code = run(&o);
	for (unsigned i = 0; i < o.nwork; i++)
		if (!code && o.work[i].program_failed)
			code = EXIT_WRONG;
	if (interrupted())
		code = EXIT_INTERRUPTED;
	options_free(&o);
	return code;
}
