/* SPDX-License-Identifier: MIT */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

enum { THREADS_MAX = 64 };

/*
 * Runs share nothing but what nobody writes: each has its own machine. Results
 * stand where their configuration stood, so neither order nor number of
 * threads can be seen in them.
 */
struct job_list {
	const struct run_config *configs;
	struct run_result *results;
	unsigned n;
	atomic_uint next;
	struct progress progress;
};

struct job_hooks {
	struct job_list *list;
	uint64_t told; /* references the progress line has heard of */
};

static bool poll_job(void *ctx, uint64_t refs_done)
{
	struct job_hooks *j = ctx;

	progress_add(&j->list->progress, refs_done - j->told);
	j->told = refs_done;
	return interrupted();
}

static void run_job(struct job_list *list, unsigned i)
{
	struct job_hooks ctx = { .list = list };
	const struct guest_hooks hooks = { .poll = poll_job, .ctx = &ctx };
	struct run_config c = list->configs[i];
	struct run_result *r = &list->results[i];
	struct trace_error err = { 0 };
	int code;

	c.hooks = &hooks;
	code = run_one(&c, r, &err);
	if (!r->scheme[0])
		memcpy(r->scheme, c.scheme, sizeof(r->scheme));
	if (code && !r->error.exit_code)
		r->error = err;
}

static void *work_off(void *arg)
{
	struct job_list *list = arg;

	while (!interrupted()) {
		unsigned i = atomic_fetch_add(&list->next, 1);

		if (i >= list->n)
			break;
		run_job(list, i);
	}
	return NULL;
}

void run_all(const struct options *o, const struct run_config *configs, struct run_result *results, unsigned n)
{
	struct job_list list = { .configs = configs, .results = results, .n = n };
	unsigned threads = MIN(MIN(o->jobs, n), (unsigned)THREADS_MAX), started = 0;
	uint64_t refs = 0;
	pthread_t thread[THREADS_MAX];

	for (unsigned i = 0; i < o->config.nvms; i++)
		refs += workloads_refs(o->config.vm[i].work);
	progress_init(&list.progress, o->quiet, refs * n);
	/* This thread is one of them. A host that gives no more threads gets the rest one by one. */
	while (started + 1 < threads && pthread_create(&thread[started], NULL, work_off, &list) == 0)
		started++;
	work_off(&list);
	for (unsigned i = 0; i < started; i++)
		pthread_join(thread[i], NULL);
	progress_end(&list.progress);
}

static bool was_said(const struct run_result *results, unsigned i)
{
	for (unsigned k = 0; k < i; k++)
		if (strcmp(results[k].error.what, results[i].error.what) == 0)
			return true;
	return false;
}

int results_complain(const struct run_result *results, unsigned n)
{
	int code = 0;

	for (unsigned i = 0; i < n; i++) {
		const struct trace_error *e = &results[i].error;

		if (!e->exit_code)
			continue;
		if (e->what[0] && !was_said(results, i))
			complain(e);
		/* Something wrong outranks something missing. */
		if (!code || e->exit_code == EXIT_WRONG)
			code = e->exit_code;
	}
	return code;
}

static int write_compare(const struct options *o, struct outputs *out, const struct run_result *results, unsigned n)
{
	struct report rep = options_report(o);
	int code = 0;

	if (out->text && rep.nseeds) {
		table_seeds(&rep, results, n, stdout);
		if (!o->quiet)
			verdict_seeds(&rep, results, n, stdout);
	} else if (out->text) {
		table_compare(&rep, results, n, stdout);
		if (!o->quiet)
			verdict_write(results, n, stdout);
	}
	if (out->json)
		code = outputs_json(out, rep.nseeds ? json_seeds_compare_document(&rep, results, n) :
						      json_compare_document(&rep, results, n), o);
	if (out->csv && csv_write(&rep, results, n, out->csv))
		code = complain_usage("%s: cannot be written; the result there is not whole", o->csv);
	return code;
}

/* Between schemes, under each seed. */
static bool digests_agree(const struct run_result *results, unsigned nschemes, unsigned nseeds)
{
	struct run_result of_seed[SCHEMES_MAX];
	bool agree = true;

	for (unsigned k = 0; k < nseeds; k++) {
		for (unsigned i = 0; i < nschemes; i++)
			of_seed[i] = results[i * nseeds + k];
		agree &= verdict_digests(of_seed, nschemes, stderr);
	}
	return agree;
}

static int compare(struct options *o)
{
	unsigned nseeds = o->seeds.n ? o->seeds.n : 1, n = o->nschemes * nseeds;
	struct run_config *configs = calloc(n, sizeof(*configs));
	struct run_result *results = calloc(n, sizeof(*results));
	struct outputs out;
	int code = outputs_open(&out, o), said;

	if (!code && configs && results) {
		for (unsigned i = 0; i < o->nschemes; i++)
			seeds_configs(o, o->schemes[i], &configs[i * nseeds]);
		run_all(o, configs, results, n);
		code = write_compare(o, &out, results, o->nschemes);
		said = results_complain(results, n);
		if (!code)
			code = said;
		if (!digests_agree(results, o->nschemes, nseeds))
			code = EXIT_WRONG;
		said = outputs_close(&out, o);
		if (!code)
			code = said;
	}
	for (unsigned i = 0; results && i < n; i++)
		run_result_fini(&results[i]);
	free(configs);
	free(results);
	return code;
}

int command_compare(int argc, char **argv)
{
	return command_on_work(argc, argv, CMD_COMPARE, compare);
}
