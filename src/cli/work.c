/* SPDX-License-Identifier: MIT */
/* From what the user wrote to a struct workload that can be read again and again. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "exp/names.h"
#include "trace/qtr.h"
#include "trace/record.h"

static bool has_prefix(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

static int no_memory(void)
{
	struct trace_error err;

	error_set(&err, EXIT_RESOURCES, "no memory on this host");
	return complain(&err);
}

static int copy_stdin(int fd)
{
	char buf[65536];
	ssize_t n;

	while ((n = read(STDIN_FILENO, buf, sizeof(buf))) > 0)
		for (ssize_t done = 0; done < n;) {
			ssize_t w = write(fd, buf + done, (size_t)(n - done));

			if (w < 0)
				return -errno;
			done += w;
		}
	return n < 0 ? -errno : 0;
}

/* Every run reads the work from its start, and a pipe has none: it is kept in a file. */
static int keep_stdin(struct work_source *s, const char *format, size_t format_len)
{
	const char *dir = getenv("TMPDIR");
	struct trace_error err;
	char path[PATH_MAX];
	int fd, rc;

	snprintf(path, sizeof(path), "%s/quire-stdin-XXXXXX", dir && *dir ? dir : "/tmp");
	fd = mkstemp(path);
	if (fd < 0) {
		error_set(&err, EXIT_RESOURCES, "%s: %s; set TMPDIR to a place with room", path, strerror(errno));
		return complain(&err);
	}
	s->stdin_copy = strdup(path);
	rc = copy_stdin(fd);
	if (close(fd) && !rc)
		rc = -errno;
	if (rc) {
		error_set(&err, EXIT_INPUT, "standard input: %s", strerror(-rc));
		return complain(&err);
	}
	if (!s->stdin_copy || asprintf(&s->w.spec, "%.*s%s", (int)format_len, format, path) < 0)
		return no_memory();
	return 0;
}

/* "[FORMAT:]FILE" names a file that can be opened twice: no pipe. */
static bool is_plain_file(const char *spec)
{
	const char *colon = strchr(spec, ':');
	struct stat st;

	return (!stat(spec, &st) || (colon && !stat(colon + 1, &st))) && S_ISREG(st.st_mode);
}

/* A recording that was killed is a valid trace: but its user should know. What else is wrong is said when it runs. */
static void tell_if_cut(const char *spec)
{
	struct trace_error err = { 0 };
	struct qtr_info info;

	if (!is_plain_file(spec))
		return;
	struct trace *t = trace_open(spec, &err);

	if (t && is_qtr(t) && !qtr_info(t, &info, &err) && !info.closed)
		fprintf(stderr, "quire: %s: its recording was cut short; it is used as far as it goes\n", t->name);
	trace_close(t);
}

static int from_trace(struct work_source *s, const char *spec)
{
	size_t len = strlen(spec);

	s->w.kind = WORK_TRACE;
	if (len == 0)
		return complain_usage("trace: names no file; give trace:[FORMAT:]FILE");
	if (strcmp(spec, "-") == 0 || (len > 2 && strcmp(spec + len - 2, ":-") == 0))
		return keep_stdin(s, spec, len - 1);
	s->w.spec = strdup(spec);
	tell_if_cut(spec);
	return s->w.spec ? 0 : no_memory();
}

/* synth_open says what is wrong with its keys; an unknown name is said here, with the nearest. */
static int from_synth(struct work_source *s, const char *spec)
{
	char name[64];
	struct trace_error err = { 0 };
	const char *known;

	s->w.kind = WORK_SYNTH;
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(spec, ","), spec);
	for (unsigned i = 0; (known = synth_name(i, NULL)) != NULL; i++)
		if (strcmp(known, name) == 0) {
			s->w.spec = strdup(spec);
			return s->w.spec ? 0 : no_memory();
		}
	names_unknown(&err, "", "synthetic workload", name, names_synth);
	return complain(&err);
}

static int from_spec(struct work_source *s, const char *spec)
{
	s->w.shown = strdup(spec);
	if (!s->w.shown)
		return no_memory();
	if (has_prefix(spec, "trace:"))
		return from_trace(s, spec + 6);
	if (has_prefix(spec, "synth:"))
		return from_synth(s, spec + 6);
	if (has_prefix(spec, "guest:"))
		return complain_usage("%.60s: real guests are not built yet; use trace:, synth: or -- PROGRAM ARGS", spec);
	if (is_file_name(spec) && strlen(spec) > 5 && strcmp(spec + strlen(spec) - 5, ".yaml") == 0)
		return complain_usage("%.60s: experiment files are not built yet; give their settings as options", spec);
	return complain_usage("'%.60s' is no workload; give trace:FILE, synth:NAME,… or -- PROGRAM ARGS", spec);
}

static bool poll_recording(void *ctx, const struct record_result *so_far)
{
	return interrupted();
}

static char *join_words(char **argv)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return NULL;
	for (int i = 0; argv[i]; i++)
		fprintf(f, "%s%s", i ? " " : "", argv[i]);
	fclose(f);
	return text;
}

static void say_program(struct work_source *s, const char *program, const struct record_result *res)
{
	if (res->limited || (res->exit_status == 0 && res->signal == 0))
		return;
	s->program_failed = true;
	if (res->signal)
		fprintf(stderr, "quire: %s was ended by signal %d (%s); its trace is kept at %s\n", program, res->signal,
			strsignal(res->signal), s->recording);
	else
		fprintf(stderr, "quire: %s ended with exit status %d; its trace is kept at %s\n", program,
			res->exit_status, s->recording);
}

static int from_program(struct work_source *s, char **argv, const struct options *o)
{
	struct record_options ro = {
		/* Skipped references are none of those that --limit speaks of. */
		.limit = o->config.limit ? o->config.limit + (o->roi.skip ? o->roi.from : 0) : 0,
		.stdout_to_stderr = (o->json && strcmp(o->json, "-") == 0) || (o->csv && strcmp(o->csv, "-") == 0),
		.poll = poll_recording,
	};
	struct record_result res = { 0 };
	struct trace_error err = { 0 };

	s->w.kind = WORK_RECORDED;
	s->w.shown = join_words(argv);
	if (!s->w.shown)
		return no_memory();
	fflush(stdout);
	if (record_program(argv, &ro, s->recording, &res, &err)) {
		if (s->recording[0])
			fprintf(stderr, "quire: what was recorded is kept at %s\n", s->recording);
		s->program_failed = true;
		return complain(&err);
	}
	say_program(s, argv[0], &res);
	s->w.spec = strdup(s->recording);
	return s->w.spec ? 0 : no_memory();
}

/* A new piece of work, after those the VM has. NULL: no memory, said. */
static struct work_source *add_source(struct options *o, struct workload **first, uint64_t repeat)
{
	struct work_source **list = realloc(o->work, (o->nwork + 1) * sizeof(*list)), *s;

	if (list)
		o->work = list;
	s = list ? calloc(1, sizeof(*s)) : NULL;
	if (!s) {
		no_memory();
		return NULL;
	}
	s->w.repeat = repeat;
	s->w.roi = o->roi;
	s->w.stop = interrupted;
	o->work[o->nwork++] = s;
	while (*first)
		first = &(*first)->next;
	*first = &s->w;
	return s;
}

int work_add_spec(struct options *o, struct workload **first, const char *spec, uint64_t repeat)
{
	struct work_source *s = add_source(o, first, repeat);

	return s ? from_spec(s, spec) : EXIT_RESOURCES;
}

int work_add_program(struct options *o, struct workload **first, char **argv, uint64_t repeat)
{
	struct work_source *s = add_source(o, first, repeat);

	return s ? from_program(s, argv, o) : EXIT_RESOURCES;
}

/* "PROGRAM ARGS" in one argument: words apart at blanks. */
static int add_words(struct options *o, struct workload **first, char *words, uint64_t repeat)
{
	char *argv[64], *save = NULL, *word;
	int n = 0;

	for (word = strtok_r(words, " ", &save); word && n < 63; word = strtok_r(NULL, " ", &save))
		argv[n++] = word;
	argv[n] = NULL;
	if (n == 0 || word)
		return complain_usage("work=-- needs a program and at most 62 arguments");
	return work_add_program(o, first, argv, repeat);
}

int work_add_text(struct options *o, struct workload **first, char *text, uint64_t repeat)
{
	static const char plus[] = " + ";
	int code = 0;

	while (!code && text) {
		char *end = strstr(text, plus);

		/* A program takes what is left, plus signs and all. */
		if (has_prefix(text, "-- "))
			return add_words(o, first, text + 3, repeat);
		if (end)
			*end = '\0';
		code = work_add_spec(o, first, text, repeat);
		text = end ? end + sizeof(plus) - 1 : NULL;
	}
	return code;
}

/* References that count, before any warm-up; the work as it was scanned. */
static bool has_region(const struct workload *w)
{
	return w->roi.skip ? w->refs > 0 : w->refs > w->roi.from;
}

static int check_region(const struct options *o, const struct workload *w)
{
	if ((!o->roi.from && !o->roi.to) || w->damaged || has_region(w))
		return 0;
	return complain_usage("%.60s ends before the %llu references that --roi passes over; lower FROM%s", w->shown,
			      (unsigned long long)w->roi.from, o->config.limit ? " or raise --limit" : "");
}

/*
 * Work that several VMs or runs read is decoded once, if that takes no more
 * than an eighth of this host's memory for all of it.
 */
static uint64_t bytes_to_keep(const struct options *o, const struct workload *w)
{
	uint64_t host = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE), readers = 0;

	for (unsigned i = 0; i < o->config.nvms; i++)
		for (const struct workload *of = o->config.vm[i].work; of; of = of->next)
			readers += of == w;
	readers *= (uint64_t)o->nschemes * (o->seeds.n ? o->seeds.n : 1);
	return readers > 1 ? host / 8 / o->nwork : 0;
}

int works_scan(struct options *o)
{
	struct trace_error err = { 0 };
	int code = 0;

	for (unsigned i = 0; !code && i < o->nwork; i++) {
		struct workload *w = &o->work[i]->w;

		w->keep = bytes_to_keep(o, w);
		code = workload_scan(w, o->config.seed, o->config.limit, &err) ? complain(&err) : check_region(o, w);
	}
	for (unsigned i = 0; !code && o->config.warmup && i < o->config.nvms; i++) {
		const struct vm_spec *vm = &o->config.vm[i];
		uint64_t refs = workloads_refs(vm->work);

		/* The warm-up is of a VM's references; those of its one work that may count end here. */
		if (!vm->work->next && !vm->work->roi.skip && vm->work->roi.to && vm->work->roi.to <= o->config.warmup)
			code = complain_usage("--warmup %llu leaves nothing of --roi to count; lower it",
					      (unsigned long long)o->config.warmup);
		else if (refs && refs <= o->config.warmup && !vm->work->damaged)
			code = complain_usage("--warmup %llu leaves nothing of the %llu references of %s to count; lower it",
					      (unsigned long long)o->config.warmup, (unsigned long long)refs, vm->name);
	}
	return code;
}

void work_close(struct work_source *s)
{
	if (s->recording[0] && !s->program_failed)
		unlink(s->recording);
	if (s->stdin_copy)
		unlink(s->stdin_copy);
	free(s->stdin_copy);
	trace_kept_free(s->w.kept);
	free(s->w.spec);
	free(s->w.shown);
	free(s);
}
