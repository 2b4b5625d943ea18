/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "cli/cli.h"
#include "exp/names.h"

static const struct command {
	const char *name;
	const char *doc;
	int (*run)(int argc, char **argv); /* NULL: not built yet */
} commands[] = {
	{ "compare", "the same work under several schemes, side by side", command_compare },
	{ "run", "one run; several VMs with repeated --vm", command_run },
	{ "explain", "every reference of one translation, in order", command_explain },
	{ "record", "references of a program, or of a whole machine, into a trace file (.qtr)", command_record },
	{ "shell", "the classroom's menu program (--classic)", command_shell },
	{ "trace", "what is in a trace; parts of it, several as one, other formats, damage", command_trace },
	{ "list", "what there is: schemes, organisations, modes, formats, machines, …", command_list },
	{ "check-plugin", "hold what a plug-in brings to the conformance suite", command_check_plugin },
	{ "tour", NULL, NULL }, { "quiz", NULL, NULL }, { "report", NULL, NULL },
	{ "scan", NULL, NULL }, { "guest", NULL, NULL }, { "sweep", NULL, NULL }, { "serve", NULL, NULL },
	{ "top", NULL, NULL },
};

enum { COMMANDS = sizeof(commands) / sizeof(*commands) };

static const char *built_name(unsigned i)
{
	return i < COMMANDS && commands[i].run ? commands[i].name : NULL;
}

static int help(void)
{
	puts("quire: memory of virtual machines, translated under every scheme and compared\n"
	     "\n"
	     "usage: quire COMMAND [OPTION...] [WORKLOAD]\n");
	for (unsigned i = 0; built_name(i); i++)
		printf("  %-12s %s\n", commands[i].name, commands[i].doc);
	puts("\n"
	     "WORKLOAD: trace:[FORMAT:]FILE, synth:NAME[,key=value…], or -- PROGRAM ARGS\n"
	     "\n"
	     "  quire compare -- ls -l                     a program of yours under every scheme\n"
	     "  quire compare synth:uniform,refs=1M        synthetic references\n"
	     "  quire explain synth:uniform --gva 0x…      each reference of one translation\n"
	     "\n"
	     "'quire COMMAND --help' tells a command's options, 'quire list' what there is.");
	return 0;
}

int command_on_work(int argc, char **argv, enum command_bit command, int (*body)(struct options *o))
{
	struct options o;
	int code;

	interrupt_install();
	code = options_parse(&o, command, argc, argv);
	if (!code)
		code = body(&o);
	for (unsigned i = 0; i < o.nwork; i++)
		if (!code && o.work[i]->program_failed)
			code = EXIT_WRONG;
	if (interrupted())
		code = EXIT_INTERRUPTED;
	options_free(&o);
	return code;
}

int quire_main(int argc, char **argv)
{
	struct trace_error err = { 0 };

	if (argc < 2)
		return complain_usage("no command; 'quire --help' shows them");
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--usage") == 0 ||
	    strcmp(argv[1], "help") == 0)
		return help();
	if (strcmp(argv[1], "--version") == 0) {
		puts("quire " QUIRE_VERSION);
		return 0;
	}
	for (unsigned i = 0; i < COMMANDS; i++) {
		if (strcmp(argv[1], commands[i].name) != 0)
			continue;
		if (!commands[i].run)
			return complain_usage("the command %s is not built yet; 'quire --help' shows those that are", argv[1]);
		return commands[i].run(argc - 1, argv + 1);
	}
	names_unknown(&err, "", "command", argv[1], built_name);
	return complain(&err);
}
