/* SPDX-License-Identifier: MIT */
#include <argp.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "cli/cli.h"
#include "exp/names.h"

enum { KEY_FIRST = 0x1000, KEY_HELP = 0x2000, KEY_USAGE, OPTIONS_MAX = 64 };

/* ---- the command line as it could be typed again ---- */

static bool is_plain(const char *s)
{
	if (!*s)
		return false;
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && !strchr("-_=+:,./%@", *s))
			return false;
	return true;
}

static void quote(FILE *f, const char *s)
{
	if (is_plain(s)) {
		fputs(s, f);
		return;
	}
	fputc('\'', f);
	for (; *s; s++)
		if (*s == '\'')
			fputs("'\\''", f);
		else
			fputc(*s, f);
	fputc('\'', f);
}

static char *join_command(int argc, char **argv)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return NULL;
	fputs("quire", f);
	for (int i = 0; i < argc; i++) {
		fputc(' ', f);
		quote(f, argv[i]);
	}
	fclose(f);
	return text;
}

/* ---- argp ---- */

struct parse {
	struct options *o;
	const char *usage_name; /* "quire compare" */
	int code;
};

static int option_set(struct parse *p, const struct option_entry *e, const char *arg)
{
	if (!e->set)
		return complain_usage("--%s is not built yet; leave it out", e->name);
	return e->set(p->o, arg);
}

static error_t on_key(int key, char *arg, struct argp_state *state)
{
	struct parse *p = state->input;

	if (key == KEY_HELP || key == KEY_USAGE) {
		state->name = (char *)p->usage_name;
		argp_state_help(state, stdout, key == KEY_HELP ? ARGP_HELP_STD_HELP :
								  ARGP_HELP_USAGE | ARGP_HELP_EXIT_OK);
		return 0;
	}
	if (key == ARGP_KEY_ARG) {
		const char **args = realloc(p->o->work_args, (p->o->nwork_args + 1) * sizeof(*args));

		if (!args) {
			p->code = complain_usage("no memory on this host");
			return EINVAL;
		}
		p->o->work_args = args;
		args[p->o->nwork_args++] = arg;
		return 0;
	}
	for (unsigned i = 0; i < option_count; i++) {
		const struct option_entry *e = &option_table[i];

		if (key != (e->letter ? e->letter : KEY_FIRST + (int)i))
			continue;
		p->code = option_set(p, e, arg);
		return p->code ? EINVAL : 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct command_text {
	enum command_bit command;
	const char *name, *args, *doc;
} texts[] = {
	{ CMD_COMPARE, "quire compare", "WORKLOAD...",
	  "The same work under several schemes, side by side.\v" },
	{ CMD_RUN, "quire run", "WORKLOAD...",
	  "One run under one scheme; several VMs with repeated --vm.\v" },
	{ CMD_EXPLAIN, "quire explain", "WORKLOAD... --gva ADDR",
	  "Every reference of one translation, in order, after the work has run.\v" },
};
static const char work_doc[] =
	"WORKLOAD is trace:[FORMAT:]FILE (- is standard input), synth:NAME[,key=value…], or -- PROGRAM ARGS "
	"(recorded and replayed in one step, last on the line); several are processes of one VM. Sizes are powers of 1024, counts powers of 1000.";

static int parse_options(struct parse *p, int argc, char **argv)
{
	struct argp_option list[OPTIONS_MAX] = { 0 };
	struct argp argp = { .options = list, .parser = on_key };
	char doc[512] = "";
	unsigned n = 0;

	/* Argp's own would call the program "quire" in their usage line. */
	list[n++] = (struct argp_option){ .name = "help", .key = KEY_HELP, .doc = "this list", .group = -1 };
	list[n++] = (struct argp_option){ .name = "usage", .key = KEY_USAGE, .doc = "the options in short", .group = -1 };
	for (unsigned i = 0; i < option_count && n + 1 < OPTIONS_MAX; i++) {
		const struct option_entry *e = &option_table[i];

		if (!(e->commands & p->o->command))
			continue;
		list[n++] = (struct argp_option){
			.name = e->name,
			.key = e->letter ? e->letter : KEY_FIRST + (int)i,
			.arg = e->arg,
			.flags = (e->doc ? 0 : OPTION_HIDDEN) | (e->arg_optional ? OPTION_ARG_OPTIONAL : 0),
			.doc = e->doc,
		};
	}
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		if (texts[i].command == p->o->command) {
			snprintf(doc, sizeof(doc), "%s%s", texts[i].doc, work_doc);
			argp.args_doc = texts[i].args;
			p->usage_name = texts[i].name;
		}
	argp.doc = doc;
	argp_err_exit_status = EXIT_USAGE;
	argp_parse(&argp, argc, argv, ARGP_NO_HELP, NULL, p);
	return p->code;
}

/* ---- what follows from all options together ---- */

static int set_defaults(struct options *o)
{
	struct trace_error err = { 0 };
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	o->config.seed = 1;
	o->jobs = cores > 1 ? (unsigned)cores : 1;
	o->config.asids = true;
	snprintf(o->machine_name, sizeof(o->machine_name), "generic");
	if (pt_org_parse("radix", &o->config.guest_org, &o->config.guest_org_flags))
		return complain_usage("this build has no radix tables");
	if (format_load("x86-64", &o->guest_format, &err) || format_load("x86-64", &o->host_format, &err) ||
	    machine_load("generic", &o->machine, &err))
		return complain(&err);
	return 0;
}

static int check_together(struct options *o)
{
	const struct gpt_format *fmt = &o->guest_format.fmt;

	if (o->config.asids && !fmt->asid_bits) {
		if (o->asids_given)
			return complain_usage("--asids on: processors of format %s have no tags; leave it out", fmt->name);
		o->config.asids = false;
	}
	if (o->config.ad == WALK_AD_FAULT && fmt->family != GPT_RISCV)
		return complain_usage("--ad fault is RISC-V's (Svade); processors of format %s set the bits themselves", fmt->name);
	if (o->json && o->csv && strcmp(o->json, o->csv) == 0)
		return complain_usage("--json and --csv both go to '%s'; name two files", o->json);
	if (o->command == CMD_EXPLAIN && !o->gva_given)
		return complain_usage("explain needs --gva ADDR, the address to translate");
	if (o->outside_given && !o->roi.from && !o->roi.to)
		return complain_usage("--outside-roi says what is done outside --roi FROM..TO; give that too");
	if (o->config.limit && o->config.warmup >= o->config.limit)
		return complain_usage("--warmup %llu leaves nothing of --limit %llu to count; lower it",
				      (unsigned long long)o->config.warmup, (unsigned long long)o->config.limit);
	return 0;
}

static int default_schemes(struct options *o)
{
	const char *name;

	if (o->nschemes)
		return 0;
	if (o->command != CMD_COMPARE) {
		snprintf(o->schemes[o->nschemes++], SCHEME_NAME_MAX, "nested/radix");
		return 0;
	}
	for (unsigned i = 0; (name = names_scheme(i)) != NULL && i < SCHEMES_MAX; i++)
		snprintf(o->schemes[o->nschemes++], SCHEME_NAME_MAX, "%s", name);
	return 0;
}

/* Only now is the machine known. */
static int choose_caches(struct options *o)
{
	struct trace_error err = { 0 };

	return o->caches && caches_choose(o->caches, &o->machine, &o->config.caches, &err) ? complain(&err) : 0;
}

static int open_work(struct options *o)
{
	struct workload *first = NULL;
	int code = 0;

	if (o->nvm_args) {
		if (o->nwork_args || o->program)
			return complain_usage("with --vm each VM's work stands in its work=; leave out the workload");
		return vm_options_apply(o);
	}
	if (o->program ? !o->program[0] : !o->nwork_args)
		return complain_usage("no workload; give trace:FILE, synth:NAME,… or -- PROGRAM ARGS");
	o->config.vm = malloc(sizeof(*o->config.vm));
	if (!o->config.vm)
		return complain_usage("no memory on this host");
	for (unsigned i = 0; !code && i < o->nwork_args; i++)
		code = work_add_spec(o, &first, o->work_args[i], o->repeat);
	if (!code && o->program)
		code = work_add_program(o, &first, o->program, o->repeat);
	o->config.nvms = 1;
	o->config.vm[0] = (struct vm_spec){ .name = "vm1", .work = first };
	return code;
}

/* One piece of work as it is; several with plus signs between. */
static int name_work(struct options *o)
{
	size_t len;
	FILE *f = open_memstream(&o->shown, &len);

	if (!f)
		return complain_usage("no memory on this host");
	for (unsigned i = 0; i < o->nwork; i++)
		fprintf(f, "%s%s", i ? " + " : "", o->work[i]->w.shown);
	fclose(f);
	return 0;
}

int options_parse(struct options *o, enum command_bit command, int argc, char **argv)
{
	struct parse p = { .o = o };
	int n = 1, code;
	char *name = argv[0];

	memset(o, 0, sizeof(*o));
	o->command = command;
	o->command_line = join_command(argc, argv);
	while (n < argc && strcmp(argv[n], "--") != 0)
		n++;
	if (n < argc)
		o->program = argv + n + 1;
	code = plugins_load(n, argv);
	if (!code)
		code = set_defaults(o);
	if (code)
		return code;
	argv[0] = (char *)"quire";
	code = parse_options(&p, n, argv);
	argv[0] = name;
	if (!code)
		code = check_together(o);
	if (!code)
		code = seeds_settle(o);
	if (!code)
		code = default_schemes(o);
	if (code)
		return code;
	o->config.guest_fmt = &o->guest_format.fmt;
	o->config.host_fmt = &o->host_format.fmt;
	o->config.tlb = &o->machine.tlb;
	o->config.cost = &o->machine.cost;
	o->config.machine_name = o->machine_name;
	memcpy(o->config.scheme, o->schemes[0], SCHEME_NAME_MAX);
	code = choose_caches(o);
	if (!code)
		code = open_work(o);
	if (!code)
		code = vcpu_settings_check(o);
	if (!code)
		code = works_scan(o);
	if (!code)
		code = seeds_prepare(o);
	return code ? code : name_work(o);
}

void options_free(struct options *o)
{
	for (unsigned i = 0; i < o->nwork; i++)
		work_close(o->work[i]);
	free(o->work);
	free(o->work_args);
	seeds_free(o);
	free(o->vm_args);
	free(o->config.vm);
	free(o->command_line);
	free(o->shown);
}

struct report options_report(const struct options *o)
{
	struct report rep = {
		.version = QUIRE_VERSION,
		.command = o->command_line ? o->command_line : "",
		.workload = o->shown,
		.checksum = o->work[0]->w.checksum,
		.config = &o->config,
		.nseeds = o->seeds.n,
		.seeds = o->seeds.seed,
		.checksums = o->seeds.checksum,
	};

	for (unsigned i = 1; i < o->nwork; i++)
		rep.checksum = hash_2u64(o->work[i]->w.checksum, rep.checksum);
	return rep;
}
