/* SPDX-License-Identifier: MIT */
/* quire record: a program's references into a .qtr file. */
#include <argp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "trace/record.h"

enum { KEY_LIMIT = 256, KEY_START_AFTER, KEY_STOP_AFTER, KEY_SAMPLE, KEY_MARKS, KEY_START_AT, KEY_STOP_AT, KEY_CONTENTS,
       KEY_QUIET, KEY_HELP };
enum { PROGRESS_MS = 200 };

struct record_command {
	struct record_options ro;
	const char *out;
	bool quiet;
	int code;
	uint64_t told_ms; /* when progress was last shown */
};

static const struct argp_option options[] = {
	{ "output", 'o', "FILE", 0, "where to write (.qtr); replaced if it exists", 0 },
	{ "limit", KEY_LIMIT, "N", 0, "stop after so many references, and end the program", 0 },
	{ "start-after", KEY_START_AFTER, "N", 0, "record nothing of the first N instructions", 0 },
	{ "stop-after", KEY_STOP_AFTER, "N", 0, "stop N instructions after the start, and end the program", 0 },
	{ "sample", KEY_SAMPLE, "ON/PERIOD", 0, "of each PERIOD instructions record the first ON", 0 },
	{ "marks", KEY_MARKS, NULL, 0, "record only from prctl(0x51554952, 1) to prctl(0x51554952, 0) of the program", 0 },
	{ "start-at", KEY_START_AT, "PLACE", 0, "record from the first time execution is at PLACE, a function's name or an address", 0 },
	{ "stop-at", KEY_STOP_AT, "PLACE", 0, "until it is at PLACE; --start-at may start it again", 0 },
	{ "contents", KEY_CONTENTS, NULL, 0, "keep the bytes of mapped files too, each page once", 0 },
	{ "quiet", KEY_QUIET, NULL, 0, "no progress, no summary", 0 },
	{ "help", KEY_HELP, NULL, 0, "this list", -1 },
	{ 0 },
};

static int set_count(const char *option, const char *arg, uint64_t *out)
{
	return parse_scaled(arg, 1000, out) || !*out ?
		complain_usage("--%s '%.60s': give a number such as 1000, 100K or 2M", option, arg) : 0;
}

static int set_sample(struct relay_window *w, const char *arg)
{
	const char *slash = strchr(arg, '/');
	char on[64];

	if (slash && slash - arg < (long)sizeof(on)) {
		snprintf(on, sizeof(on), "%.*s", (int)(slash - arg), arg);
		if (!parse_scaled(on, 1000, &w->sample_on) && !parse_scaled(slash + 1, 1000, &w->sample_period) &&
		    w->sample_on && w->sample_on <= w->sample_period)
			return 0;
	}
	return complain_usage("--sample '%.60s': give ON/PERIOD in instructions, such as 1M/100M", arg);
}

static int set_place(struct relay_window *w, const char *option, const char *arg, char *out)
{
	if (!*arg || strlen(arg) >= RELAY_PLACE_MAX)
		return complain_usage("--%s '%.60s': give a function's name or an address such as 0x401000", option, arg);
	strcpy(out, arg);
	w->by_mark = true;
	return 0;
}

static int set_option(struct record_command *c, int key, const char *arg)
{
	struct relay_window *w = &c->ro.window;

	switch (key) {
	case 'o':
		c->out = arg;
		return 0;
	case KEY_LIMIT:
		return set_count("limit", arg, &c->ro.limit);
	case KEY_START_AFTER:
		return set_count("start-after", arg, &w->start_after);
	case KEY_STOP_AFTER:
		return set_count("stop-after", arg, &w->stop_after);
	case KEY_SAMPLE:
		return set_sample(w, arg);
	case KEY_START_AT:
		return set_place(w, "start-at", arg, w->start_at);
	case KEY_STOP_AT:
		return set_place(w, "stop-at", arg, w->stop_at);
	case KEY_MARKS:
		w->by_mark = true;
		return 0;
	case KEY_CONTENTS:
		w->contents = true;
		return 0;
	case KEY_QUIET:
		c->quiet = true;
		return 0;
	}
	return complain_usage("'%.60s' is no option of record; 'quire record --help' shows them", arg ? arg : "");
}

static error_t on_key(int key, char *arg, struct argp_state *state)
{
	struct record_command *c = state->input;

	if (key == KEY_HELP) {
		state->name = (char *)"quire record";
		argp_state_help(state, stdout, ARGP_HELP_STD_HELP);
		return 0;
	}
	if (key == ARGP_KEY_ARG) {
		c->code = complain_usage("'%.60s' comes too early; the program stands after --", arg);
		return EINVAL;
	}
	if (key < 0 || (key >= 0x1000000 && key != 'o'))
		return ARGP_ERR_UNKNOWN;
	if (key != 'o' && (key < KEY_LIMIT || key > KEY_QUIET))
		return ARGP_ERR_UNKNOWN;
	c->code = set_option(c, key, arg);
	return c->code ? EINVAL : 0;
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static bool poll_recording(void *ctx, const struct record_result *so_far)
{
	struct record_command *c = ctx;
	uint64_t now = now_ms();

	if (!c->quiet && isatty(STDERR_FILENO) && now - c->told_ms >= PROGRESS_MS) {
		c->told_ms = now;
		fprintf(stderr, "\r%.1f M references, %.1f MB\033[K", (double)so_far->refs / 1e6, (double)so_far->bytes / 1e6);
	}
	return interrupted();
}

static void say_summary(const struct record_command *c, const struct record_result *r)
{
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
	fprintf(stderr, "%s: %llu references and %llu events of %llu instructions; %u process%s, %u thread%s\n", c->out,
		(unsigned long long)r->refs, (unsigned long long)r->events, (unsigned long long)r->insns, r->processes,
		r->processes == 1 ? "" : "es", r->threads, r->threads == 1 ? "" : "s");
	fprintf(stderr, "%s: %llu bytes", c->out, (unsigned long long)r->bytes);
	if (r->refs)
		fprintf(stderr, ", %.3f a reference", (double)r->bytes / (double)r->refs);
	fputc('\n', stderr);
	if (c->ro.window.by_mark && !r->marks)
		fputs("quire: no mark was passed; see that the program makes the call, or has a function of that name\n", stderr);
	if (r->outliving)
		fprintf(stderr, "quire: %u processes it started still run; what they do from here on is not recorded\n", r->outliving);
}

/* What the program's own end amounts to. */
static int exit_code(const char *program, const struct record_result *r)
{
	if (interrupted())
		return EXIT_INTERRUPTED;
	if (r->limited || (!r->signal && !r->exit_status))
		return 0;
	if (r->signal)
		fprintf(stderr, "quire: %s was ended by signal %d (%s); its trace is kept\n", program, r->signal,
			strsignal(r->signal));
	else
		fprintf(stderr, "quire: %s ended with exit status %d; its trace is kept\n", program, r->exit_status);
	return EXIT_WRONG;
}

static int record(struct record_command *c, char **program)
{
	struct record_result res = { 0 };
	struct trace_error err = { 0 };
	char path[PATH_MAX];
	int rc;

	c->ro.path = c->out;
	c->ro.recorder = "quire " QUIRE_VERSION;
	c->ro.poll = poll_recording;
	c->ro.ctx = c;
	fflush(stdout);
	interrupt_install();
	rc = record_program(program, &c->ro, path, &res, &err);
	if (path[0] && !c->quiet)
		say_summary(c, &res);
	return rc ? complain(&err) : exit_code(program[0], &res);
}

int command_record(int argc, char **argv)
{
	struct argp argp = { .options = options, .parser = on_key, .args_doc = "-o FILE -- PROGRAM [ARG...]",
			     .doc = "Runs a program and records every reference it and its children make to memory.\v"
				    "Counts are powers of 1000. Instructions are those of all threads together. With --system "
				    "a whole machine that runs PROGRAM is recorded: see 'quire record --system --help'." };
	struct record_command c = { .code = 0 };
	char *name = argv[0];
	int n = 1;

	while (n < argc && strcmp(argv[n], "--") != 0)
		if (strcmp(argv[n++], "--system") == 0)
			return command_record_system(argc, argv);
	argp_err_exit_status = EXIT_USAGE;
	argv[0] = (char *)"quire";
	argp_parse(&argp, n, argv, ARGP_NO_HELP, NULL, &c);
	argv[0] = name;
	if (c.code)
		return c.code;
	if (!c.out)
		return complain_usage("record needs -o FILE, where the trace goes");
	if (n + 1 >= argc)
		return complain_usage("record needs a program: quire record -o FILE -- PROGRAM ARGS");
	return record(&c, argv + n + 1);
}
