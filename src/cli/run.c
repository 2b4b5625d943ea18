/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "cli/cli.h"

static bool any_measured(const struct run_result *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (report_measured(&r[i]))
			return true;
	return false;
}

static int write_run(const struct options *o, struct outputs *out, const struct run_result *r)
{
	struct report rep = options_report(o);
	int code = 0;

	if (!any_measured(r, rep.nseeds ? rep.nseeds : 1))
		return 0;
	if (out->text && rep.nseeds)
		text_seeds(&rep, r, stdout);
	else if (out->text)
		text_run(&rep, r, stdout);
	if (out->json)
		code = outputs_json(out, rep.nseeds ? json_seeds_run_document(&rep, r) : json_run_document(&rep, r), o);
	if (out->csv && csv_write(&rep, r, 1, out->csv))
		code = complain_usage("%s: cannot be written; the result there is not whole", o->csv);
	return code;
}

static int run(struct options *o)
{
	unsigned n = o->seeds.n ? o->seeds.n : 1;
	struct run_config *configs = calloc(n, sizeof(*configs));
	struct run_result *r = calloc(n, sizeof(*r));
	struct outputs out;
	int code = outputs_open(&out, o), said;

	if (code || !r || !configs) {
		free(configs);
		free(r);
		return code ? code : complain_usage("no memory on this host");
	}
	seeds_configs(o, o->config.scheme, configs);
	run_all(o, configs, r, n);
	if (r->not_possible)
		code = complain_usage("%s is not possible here: %s", r->scheme, r->not_possible);
	else
		code = write_run(o, &out, r);
	said = results_complain(r, n);
	if (!code)
		code = said;
	said = outputs_close(&out, o);
	for (unsigned i = 0; i < n; i++)
		run_result_fini(&r[i]);
	free(configs);
	free(r);
	return code ? code : said;
}

int command_run(int argc, char **argv)
{
	return command_on_work(argc, argv, CMD_RUN, run);
}
