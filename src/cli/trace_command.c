/* SPDX-License-Identifier: MIT */
/* quire trace: what is in a trace, parts of it, several as one, other formats, damage. */
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/trace_command.h"
#include "exp/names.h"
#include "trace/qtr.h"
#include "trace/sink.h"
#include "trace/view.h"

enum { QUANTUM_DEFAULT = 50000, FACTS_MAX = 8192 };

struct trace *trace_command_open(const char *arg, int *code)
{
	struct trace_error err = { 0 };
	struct trace *t = trace_open(strncmp(arg, "trace:", 6) ? arg : arg + 6, &err);

	if (!t)
		*code = complain(&err);
	return t;
}

/* Writing over what is being read would lose both. */
static bool is_same_file(const char *a, const char *b)
{
	struct stat x, y;

	return !stat(a, &x) && !stat(b, &y) && S_ISREG(x.st_mode) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* What a .qtr file says of where it came from: what its source said, and one line more. */
static void make_facts(char *out, const struct trace_args *a, struct trace *t, const char *did)
{
	struct trace_error err;
	struct qtr_info info;
	char origin[200];
	size_t n = 0;

	out[0] = '\0';
	if (is_qtr(t) && !qtr_info(t, &info, &err) && strlen(info.facts) < FACTS_MAX / 2)
		n = (size_t)snprintf(out, FACTS_MAX, "%s", info.facts);
	if (*trace_describe(t, TRACE_ORIGIN, origin, sizeof(origin)))
		n += (size_t)snprintf(out + n, FACTS_MAX - n, "recorder: %s\n", origin);
	snprintf(out + n, FACTS_MAX - n, "%s: %.200s%s\n", did, a->file[0], a->nfiles > 1 ? " and others" : "");
}

/* Copies t, which it closes, into a->out. */
static int copy(const struct trace_args *a, struct trace *t, const char *facts)
{
	static struct trace_block block;
	struct trace_error err = { 0 }, wrong = { 0 };
	struct trace_sink *s = sink_open(a->out, a->format, facts, t->tells_calls, &wrong);
	uint64_t refs = 0;
	char lost[160], count[HUMAN_MAX];
	int code = 0;

	while (s && !wrong.exit_code && !interrupted() && trace_read(t, &block, &err) == 1) {
		refs += block.nrefs - block.nevents;
		sink_write(s, &block, &wrong);
	}
	snprintf(lost, sizeof(lost), "%s", s ? sink_lost(s) : "");
	if (s)
		sink_close(s, &wrong);
	if (wrong.exit_code)
		code = complain(&wrong);
	else if (err.exit_code)
		code = complain(&err);
	if (s && !wrong.exit_code && !a->quiet)
		fprintf(stderr, "%s: %s references%s%s\n", strcmp(a->out, "-") ? a->out : "standard output",
			human_count(count, refs), *lost ? "; " : "", lost);
	trace_close(t);
	return interrupted() ? EXIT_INTERRUPTED : code;
}

static int need_out(const struct trace_args *a, const char *command)
{
	if (!a->out)
		return complain_usage("trace %s writes a file: say which with -o FILE (.qtr, .csv, …)", command);
	for (unsigned i = 0; i < a->nfiles; i++)
		if (is_same_file(a->out, a->file[i]))
			return complain_usage("%s: would be written over while it is read; give -o another name", a->out);
	return 0;
}

static int trace_convert(const struct trace_args *a)
{
	char facts[FACTS_MAX];
	int code = need_out(a, "convert");
	struct trace *t = code ? NULL : trace_command_open(a->file[0], &code);

	if (!t)
		return code;
	make_facts(facts, a, t, "converted-from");
	return copy(a, t, facts);
}

static int trace_cut_command(const struct trace_args *a)
{
	struct cut_range range = { .from = a->from, .to = a->to, .pid = a->pid };
	struct trace_error err = { 0 };
	char facts[FACTS_MAX];
	int code = need_out(a, "cut");
	struct trace *t;

	if (!code && a->from >= a->to)
		return complain_usage("--from %llu is not before --to %llu", (unsigned long long)a->from, (unsigned long long)a->to);
	t = code ? NULL : trace_command_open(a->file[0], &code);
	if (!t)
		return code;
	make_facts(facts, a, t, "cut-from");
	t = trace_cut(t, &range, &err);
	return t ? copy(a, t, facts) : complain(&err);
}

static int trace_merge_command(const struct trace_args *a)
{
	struct merge_options o = { .quantum = a->quantum, .at_marks = a->at_marks, .one_machine = a->one_machine };
	struct trace *in[MERGE_MAX], *t;
	struct trace_error err = { 0 };
	char facts[FACTS_MAX];
	int code = need_out(a, "merge");
	unsigned n = 0;

	if (!code && a->nfiles > MERGE_MAX)
		code = complain_usage("trace merge takes %d files at most", MERGE_MAX);
	while (!code && n < a->nfiles) {
		in[n] = trace_command_open(a->file[n], &code);
		n += !code;
	}
	if (code) {
		while (n)
			trace_close(in[--n]);
		return code;
	}
	make_facts(facts, a, in[0], "merged-from");
	t = trace_merge(in, n, &o, &err);
	return t ? copy(a, t, facts) : complain(&err);
}

/* Bits of struct trace_option.commands. */
enum { T_INFO = 1, T_CUT = 2, T_MERGE = 4, T_CONVERT = 8, T_CHECK = 16, T_WRITES = T_CUT | T_MERGE | T_CONVERT };

static const struct trace_verb {
	const char *name, *usage;
	unsigned bit, files_max;
	int (*run)(const struct trace_args *a);
} verbs[] = {
	{ "info", "info FILE...: format, references, events, processes, footprint", T_INFO, UINT_MAX, trace_info },
	{ "cut", "cut -o OUT FILE: a range of references, one process", T_CUT, 1, trace_cut_command },
	{ "merge", "merge -o OUT FILE...: several as one, in turns", T_MERGE, UINT_MAX, trace_merge_command },
	{ "convert", "convert -o OUT FILE: into .qtr, or into text", T_CONVERT, 1, trace_convert },
	{ "check", "check FILE...: reads all of it; damage by its place", T_CHECK, UINT_MAX, trace_check },
};

static const struct trace_option {
	struct option o;
	unsigned commands;
	const char *arg, *doc;
} option_rows[] = {
	{ { "output", required_argument, NULL, 'o' }, T_WRITES, "FILE", "what is written; - for standard output (text)" },
	{ { "to-format", required_argument, NULL, 't' }, T_WRITES, "FORMAT", "its format, where its name does not say: qtr, csv, lackey, rw-addr, addr-rw" },
	{ { "from", required_argument, NULL, 'f' }, T_CUT, "N", "from reference N, counted from 0" },
	{ { "to", required_argument, NULL, 'e' }, T_CUT, "N", "to reference N, which is left out" },
	{ { "pid", required_argument, NULL, 'p' }, T_CUT, "PID", "this process alone" },
	{ { "quantum", required_argument, NULL, 'n' }, T_MERGE, "N", "references before another trace has its turn; 50K if not given" },
	{ { "at-marks", no_argument, NULL, 'm' }, T_MERGE, NULL, "turns end at a trace's own switches and system calls, too" },
	{ { "one-machine", no_argument, NULL, '1' }, T_MERGE, NULL, "process numbers mean the same in all: files of one recording" },
	{ { "json", required_argument, NULL, 'j' }, T_INFO, "FILE", "for scripts: quire.trace/1; - is standard output" },
	{ { "quiet", no_argument, NULL, 'q' }, T_WRITES | T_CHECK, NULL, "says nothing of what went well" },
	{ { "help", no_argument, NULL, 'h' }, ~0u, NULL, "this" },
};

enum { VERBS = sizeof(verbs) / sizeof(*verbs), OPTIONS = sizeof(option_rows) / sizeof(*option_rows) };

static const char *verb_name(unsigned i)
{
	return i < VERBS ? verbs[i].name : NULL;
}

static int help(const struct trace_verb *only)
{
	char name[40];

	if (!only)
		puts("usage: quire trace COMMAND [OPTION...] [FORMAT:]FILE...\n");
	for (unsigned i = 0; i < VERBS; i++)
		if (!only || only == &verbs[i])
			printf("%s%s\n", only ? "usage: quire trace " : "  ", verbs[i].usage);
	puts("");
	for (unsigned i = 0; i < OPTIONS; i++) {
		const struct trace_option *r = &option_rows[i];

		if (only && !(r->commands & only->bit))
			continue;
		snprintf(name, sizeof(name), "--%s%s%s", r->o.name, r->arg ? "=" : "", r->arg ? r->arg : "");
		if (strchr("otpq", r->o.val))
			printf("  -%c, %-22s %s\n", r->o.val, name, r->doc);
		else
			printf("      %-22s %s\n", name, r->doc);
	}
	return 0;
}

static int number(const char *option, const char *arg, uint64_t *out)
{
	return parse_scaled(arg, 1000, out) ? complain_usage("--%s '%.60s': give a number such as 1000, 100K or 2M", option, arg) : 0;
}

static int set(struct trace_args *a, int option, const char *arg)
{
	uint64_t v = 0;
	int code;

	switch (option) {
	case 'o':
		a->out = arg;
		return 0;
	case 't':
		a->format = arg;
		return 0;
	case 'f':
		return number("from", arg, &a->from);
	case 'e':
		return number("to", arg, &a->to);
	case 'p':
		code = number("pid", arg, &v);
		if (!code && (!v || v > UINT32_MAX))
			code = complain_usage("--pid '%.60s': give a process number of the trace", arg);
		a->pid = (uint32_t)v;
		return code;
	case 'n':
		code = number("quantum", arg, &a->quantum);
		return code || a->quantum ? code : complain_usage("--quantum '%.60s': give at least 1 reference", arg);
	case 'm':
		a->at_marks = true;
		return 0;
	case '1':
		a->one_machine = true;
		return 0;
	case 'j':
		a->json = arg;
		return 0;
	default:
		a->quiet = true;
		return 0;
	}
}

/* 0: go on; an exit code; -1: help was shown. */
static int parse(struct trace_args *a, const struct trace_verb *v, int argc, char **argv)
{
	struct option known[OPTIONS + 1] = { 0 };
	int c, code = 0, n = 0;

	for (unsigned i = 0; i < OPTIONS; i++)
		if (option_rows[i].commands & v->bit)
			known[n++] = option_rows[i].o;
	optind = 0;
	opterr = 0;
	while (!code && (c = getopt_long(argc, argv, ":o:t:p:qh", known, NULL)) != -1) {
		const char *given = optind > 0 && optind <= argc ? argv[optind - 1] : "";

		if (c == ':')
			return complain_usage("trace %s: %s needs a value", v->name, given);
		for (n = 0; known[n].name && known[n].val != c; n++)
			;
		if (c == '?' || !known[n].name)
			return complain_usage("trace %s: no option %.60s; 'quire trace %s --help' shows those there are", v->name, given,
					      v->name);
		if (c == 'h') {
			help(v);
			return -1;
		}
		code = set(a, c, optarg);
	}
	a->file = (const char **)argv + optind;
	a->nfiles = (unsigned)(argc - optind);
	if (code)
		return code;
	if (!a->nfiles)
		return complain_usage("trace %s: name a trace, [FORMAT:]FILE; - is standard input", v->name);
	if (a->nfiles > v->files_max)
		return complain_usage("trace %s takes one trace, not '%.60s' too", v->name, a->file[1]);
	return 0;
}

int command_trace(int argc, char **argv)
{
	struct trace_args a = { .to = UINT64_MAX, .quantum = QUANTUM_DEFAULT };
	struct trace_error err = { 0 };
	int code;

	if (argc < 2)
		return complain_usage("trace: say what to do: info, cut, merge, convert or check; 'quire trace --help' tells more");
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		return help(NULL);
	for (unsigned i = 0; i < VERBS; i++) {
		if (strcmp(argv[1], verbs[i].name) != 0)
			continue;
		code = parse(&a, &verbs[i], argc - 1, argv + 1);
		if (code)
			return MAX(code, 0);
		interrupt_install();
		return verbs[i].run(&a);
	}
	names_unknown(&err, "", "trace command", argv[1], verb_name);
	return complain(&err);
}
