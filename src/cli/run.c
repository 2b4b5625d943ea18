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

static int run(struct options *o)
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
	run_result_fini(r);
	free(r);
	return code ? code : said;
}

int command_run(int argc, char **argv)
{
	return command_on_work(argc, argv, CMD_RUN, run);
}
