/* SPDX-License-Identifier: MIT */
/* quire record --system: a whole machine that runs a command. */
#define _GNU_SOURCE
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "trace/record_system.h"

enum { KEY_SYSTEM = 256, KEY_START, KEY_LIMIT, KEY_MEMORY, KEY_KERNEL, KEY_FILE, KEY_HELP };

static const struct option long_options[] = {
	{ "system", no_argument, NULL, KEY_SYSTEM },
	{ "output", required_argument, NULL, 'o' },
	{ "start-at-command", no_argument, NULL, KEY_START },
	{ "limit", required_argument, NULL, KEY_LIMIT },
	{ "memory", required_argument, NULL, KEY_MEMORY },
	{ "kernel", required_argument, NULL, KEY_KERNEL },
	{ "file", required_argument, NULL, KEY_FILE },
	{ "quiet", no_argument, NULL, 'q' },
	{ "help", no_argument, NULL, KEY_HELP },
	{ NULL, 0, NULL, 0 },
};

static const char usage[] =
	"usage: quire record --system -o FILE [OPTION...] -- COMMAND [ARG...]\n"
	"\n"
	"Boots Debian's kernel under QEMU, on one processor and without a network, runs\n"
	"COMMAND (of this machine with its libraries, or busybox's), and records every\n"
	"reference to memory of kernel and programs, with gva and gpa.\n"
	"\n"
	"  -o, --output FILE     the trace (.qtr)\n"
	"      --start-at-command\n"
	"                        leave out the boot and what follows the command\n"
	"      --limit N         stop after so many references\n"
	"      --memory SIZE     the machine's RAM, 96M to 2G (256M)\n"
	"      --kernel FILE     a kernel (bzImage) instead of Debian's, which is downloaded\n"
	"                        once into $XDG_CACHE_HOME/quire/system\n"
	"      --file PATH       a file or folder the command needs, at the same place;\n"
	"                        may be repeated\n"
	"  -q, --quiet           say only what is wrong\n"
	"      --help            this list\n"
	"\n"
	"The machine's console goes to standard output.\n";

struct record_system_args {
	struct system_options o;
	char **files;
	size_t nfiles;
	bool quiet, help;
};

static int set_number(const char *name, const char *text, unsigned unit, uint64_t *out)
{
	if (!parse_scaled(text, unit, out) && *out)
		return 0;
	return complain_usage("--%s %.40s: no number above 0; K, M, G and T may follow it", name, text);
}

static int set_option(struct record_system_args *a, int key, char *arg)
{
	switch (key) {
	case 'o':
		a->o.out = arg;
		return 0;
	case 'q':
		a->quiet = true;
		return 0;
	case KEY_SYSTEM:
		return 0;
	case KEY_START:
		a->o.at_command = true;
		return 0;
	case KEY_LIMIT:
		return set_number("limit", arg, 1000, &a->o.limit);
	case KEY_MEMORY:
		return set_number("memory", arg, 1024, &a->o.ram_bytes);
	case KEY_KERNEL:
		a->o.kernel = arg;
		return 0;
	case KEY_FILE:
		a->files[a->nfiles++] = arg;
		return 0;
	case KEY_HELP:
		a->help = true;
		return 0;
	}
	return complain_usage("record --system: unknown option or an argument is missing; see quire record --system --help");
}

/* *command: where COMMAND begins. */
static int parse(struct record_system_args *a, int argc, char **argv, char ***command)
{
	int key, code = 0;

	opterr = 0;
	optind = 1;
	while (!code && (key = getopt_long(argc, argv, "+o:q", long_options, NULL)) != -1)
		code = set_option(a, key, optarg);
	if (code || a->help)
		return code;
	*command = argv + optind;
	if (!a->o.out)
		return complain_usage("record: needs -o FILE, the trace to write");
	if (!**command)
		return complain_usage("record --system: needs -- COMMAND, what the machine is to run");
	return 0;
}

static double percent(uint64_t part, uint64_t all)
{
	return all ? 100.0 * (double)part / (double)all : 0;
}

static void say(const struct system_options *o, const struct system_result *r)
{
	const struct system_control *c = &r->c;
	uint64_t refs = c->refs[0] + c->refs[1], looked = c->pages_agree + c->pages_differ;

	fprintf(stderr, "quire: %s: %llu references, %.0f%% of them of the upper half (kernel), in %.1f s; %llu bytes, %.2f a reference\n",
		o->out, (unsigned long long)refs, percent(c->refs[1], refs), r->seconds, (unsigned long long)r->bytes,
		refs ? (double)r->bytes / (double)refs : 0);
	fprintf(stderr, "quire: %llu pages placed, %llu of them moved; left out: %llu accesses to devices, %llu blocks of ROM\n",
		(unsigned long long)c->pages, (unsigned long long)c->moved, (unsigned long long)c->devices,
		(unsigned long long)c->roms);
	fprintf(stderr, "quire: CR3 cannot be read by a plugin of this QEMU: %llu spaces were told apart at %llu loads of it: %llu were flushes, %llu known by the kernel's last loads, %llu not; %llu spaces were known by the first page used\n",
		(unsigned long long)c->spaces, (unsigned long long)c->cr3_loads, (unsigned long long)c->reloads,
		(unsigned long long)c->by_load, (unsigned long long)c->unknown_switches, (unsigned long long)c->by_page);
	fprintf(stderr, "quire: of %llu user pages looked up in the tables of their space, %.2f%% stood there; %llu fetches were placed by them\n",
		(unsigned long long)looked, percent(c->pages_agree, looked), (unsigned long long)c->fetches_moved);
}

static bool stop(void *ctx)
{
	(void)ctx;
	return interrupted();
}

int command_record_system(int argc, char **argv)
{
	struct record_system_args a = { .o.poll = stop };
	struct system_result r;
	struct trace_error err = { 0 };
	char **command = NULL;
	int code;

	a.files = calloc((size_t)argc + 1, sizeof(*a.files));
	if (!a.files)
		return complain_usage("no memory");
	a.o.files = a.files;
	code = parse(&a, argc, argv, &command);
	if (!code && a.help) {
		fputs(usage, stdout);
	} else if (!code) {
		interrupt_install();
		code = record_system(command, &a.o, &r, &err) ? complain(&err) : 0;
		if (r.bytes && !a.quiet)
			say(&a.o, &r);
		if (!code && !interrupted() && r.c.end_marks && r.exit_status) {
			fprintf(stderr, "quire: %s ended with exit status %d; its trace is kept\n", command[0], r.exit_status);
			code = EXIT_WRONG;
		}
		if (interrupted())
			code = EXIT_INTERRUPTED;
	}
	free(a.files);
	return code;
}
