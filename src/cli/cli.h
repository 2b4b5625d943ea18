/* SPDX-License-Identifier: MIT */
/*
 * The command line: options → struct run_config → exp/ → report/. A command is
 * a function that returns an exit code; everything it needs from the command
 * line stands in its struct options.
 */
#ifndef QUIRE_CLI_CLI_H
#define QUIRE_CLI_CLI_H

#include <limits.h>

#include "exp/error.h"
#include "exp/exp.h"
#include "report/report.h"

enum { SCHEMES_MAX = 64, REPEAT_MAX = 1000000, SEEDS_MAX = REPORT_SEEDS_MAX };

/* Virtual time at most, so that sums of it stay within 64 bits. */
static const uint64_t TIME_MAX = UINT64_C(1) << 50;

/* Bits of struct option_entry.commands and of parsing. */
enum command_bit {
	CMD_COMPARE = 1 << 0,
	CMD_RUN = 1 << 1,
	CMD_EXPLAIN = 1 << 2,
	CMD_WORK = CMD_COMPARE | CMD_RUN | CMD_EXPLAIN,
};

/* A piece of work and what came of recording it. */
struct work_source {
	struct workload w;
	char recording[PATH_MAX];  /* of a program recorded now; "": none */
	char *stdin_copy;      /* of standard input, to be removed; NULL: none */
	bool program_failed;   /* its trace is kept */
};

/* What a configuration is under one seed. */
struct seed_set {
	struct workload *work; /* in the order of options.work */
	struct vm_spec *vm;
	uint64_t checksum;
};

struct options {
	enum command_bit command;
	struct run_config config;
	struct format_file guest_format, host_format;
	struct machine_file machine;
	char machine_name[64];
	const char *caches;    /* --caches; NULL: none */
	bool asids_given, mem_given;

	char schemes[SCHEMES_MAX][SCHEME_NAME_MAX]; /* compare's; the first is --scheme of others */
	unsigned nschemes;
	const char **vm_args;  /* --vm, as given */
	unsigned nvm_args;

	const char **work_args; /* WORKLOAD, as often as given */
	unsigned nwork_args;
	char **program;        /* after "--"; NULL: none */
	struct work_source **work; /* all of it; config.vm[].work points into them */
	unsigned nwork;
	uint64_t repeat;       /* --repeat; 0: once */
	struct guest_roi roi;  /* --roi, --outside-roi */
	bool outside_given;
	struct seed_list {     /* --seeds; n = 0: the one of config */
		uint64_t *seed, *checksum;
		unsigned n, count; /* count: so many from --seed on, not filled in yet */
		struct seed_set *set;
	} seeds;
	bool seed_given;

	const char *json, *csv; /* paths, "-", or NULL */
	bool quiet;
	unsigned jobs;
	uint32_t pid;
	uint64_t gva;
	bool gva_given, warm;
	enum acc_kind access;
	char *command_line;    /* for provenance */
	char *shown;           /* all of the work, as results name it */
};

/* Prints "quire: …" on standard error; returns the exit code. */
int complain(const struct trace_error *err);
int complain_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Reads argv[0] (the command) and what follows. 0, or an exit code after saying why. Free with options_free. */
int options_parse(struct options *o, enum command_bit command, int argc, char **argv);
void options_free(struct options *o);
/* Loads each --plugin among argv[1 … n): before names are looked up. 0, or an exit code after complaining. */
int plugins_load(int n, char **argv);
/* Is argv[*i] --plugin? Then *i is past it and its value. */
bool plugins_skip(int n, char **argv, int *i);
/* What stands beside the results. */
struct report options_report(const struct options *o);

/* One option of one or more commands. set: 0 or an exit code after complaining. */
struct option_entry {
	const char *name;
	char letter;       /* 0: none */
	const char *arg;   /* name of its argument; NULL: none */
	bool arg_optional;
	unsigned commands; /* enum command_bit */
	const char *doc;   /* NULL: known, not built yet; left out of --help */
	int (*set)(struct options *o, const char *arg);
};
extern const struct option_entry option_table[];
extern const unsigned option_count;

/* vCPU settings (vcpu_option.c): 0, or -1 for a word that is none. */
int cpu_setting_parse(const char *s, enum cpu_setting *out);
int tlb_setting_parse(const char *s, enum tlb_setting *out);
/* Settings that mean nothing for a VM: 0, or exit code 2 after saying so. */
int vcpu_settings_check(const struct options *o);
/* Times to run work: 0, or -1 if it is none from 1 to REPEAT_MAX. */
int repeat_parse(const char *s, uint64_t *out);
/* --seeds (seeds.c): its argument; then, with all options known; then, with the work read. 0 or an exit code. */
int seeds_parse(struct options *o, const char *arg);
int seeds_settle(struct options *o);
int seeds_prepare(struct options *o);
void seeds_free(struct options *o);
/* Configurations of a scheme, one a seed; their number, which is 1 without --seeds. */
unsigned seeds_configs(const struct options *o, const char *scheme, struct run_config *out);
/* --vm, once all other options are known: fills config.vm[]. */
int vm_options_apply(struct options *o);
/*
 * Turns "trace:…", "synth:…", or a program to record, into work of the VM whose
 * first work is *first (NULL: it is the first). 0, or an exit code after complaining.
 */
int work_add_spec(struct options *o, struct workload **first, const char *spec, uint64_t repeat);
int work_add_program(struct options *o, struct workload **first, char **argv, uint64_t repeat);
/* "A + B …", "… + -- PROGRAM ARGS": work of as many processes; changes text. */
int work_add_text(struct options *o, struct workload **first, char *text, uint64_t repeat);
/* Reads all work for its size; regions of interest and warm-up must leave something. */
int works_scan(struct options *o);
/* After the runs: removes recordings unless their program failed, and frees it. */
void work_close(struct work_source *s);

/* --json and --csv files: opened before the run, so that a bad path costs no time. */
struct outputs {
	FILE *json, *csv;
	bool text; /* standard output is free for people's text */
};
int outputs_open(struct outputs *out, const struct options *o);
/* Closes; 0, or exit code 2 if a write failed. */
int outputs_close(struct outputs *out, const struct options *o);
int outputs_json(struct outputs *out, json_t *document, const struct options *o);

/* record --system (record_system.c). */
int command_record_system(int argc, char **argv);

/* SIGINT: the first stops the run, the second the program. */
void interrupt_install(void);
bool interrupted(void);

/* Runs n configurations on o->jobs threads; results in order. */
void run_all(const struct options *o, const struct run_config *configs, struct run_result *results, unsigned n);
/* Messages of all results, each once; the exit code they amount to. */
int results_complain(const struct run_result *results, unsigned n);

/* The whole of a command that runs work: options, its body, the program's own failure, an interrupt. */
int command_on_work(int argc, char **argv, enum command_bit command, int (*body)(struct options *o));
int command_compare(int argc, char **argv);
int command_run(int argc, char **argv);
int command_explain(int argc, char **argv);
int command_record(int argc, char **argv);
int command_list(int argc, char **argv);
int command_check_plugin(int argc, char **argv);
int command_shell(int argc, char **argv);
int command_trace(int argc, char **argv);
/* The menu program of the classroom: reads in, writes out, to the end of either. */
int classic_session(FILE *in, FILE *out);
/* All of the program but main(): also for tests. */
int quire_main(int argc, char **argv);

#endif
