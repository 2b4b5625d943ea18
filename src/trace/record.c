/* SPDX-License-Identifier: MIT */
/*
 * Starting QEMU, waiting, and what is left when programs die. While it
 * records, this process adopts orphans (PR_SET_CHILD_SUBREAPER), so that every
 * process it started has it as an ancestor: only such processes are ended.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "trace/parts.h"
#include "trace/qemu_command.h"
#include "trace/record.h"
#include "trace/source.h"
#include "trace/relay_sink.h"

enum { POLL_US = 2000, GRACE_MS = 1000 };

struct recording {
	const struct record_options *o;
	struct relay_control *ctl;
	char ctl_path[RELAY_PATH_MAX];
	struct relay_sink sink;
	pid_t child;
	int status;
	bool child_ended, ran;
};

static int find_tools(char qemu[PATH_MAX], char plugin[PATH_MAX], struct trace_error *err)
{
	const char *env = getenv("QUIRE_QEMU");

	if (!find_in_path(env && *env ? env : "qemu-x86_64", qemu))
		return trace_fail(err, TRACE_EXIT_INPUT,
				  "recording programs needs qemu-x86_64; install the package qemu-user");
	if (!find_part("QUIRE_PLUGIN", "quire-plugin.so", plugin))
		return trace_fail(err, TRACE_EXIT_INPUT,
				  "quire-plugin.so was not found; build or install Quire wholly, or set QUIRE_PLUGIN to its path");
	return 0;
}

/* The file's path: the caller's, or a new one of a name nobody else has. */
static int choose_path(const char *wanted, char out[PATH_MAX], struct trace_error *err)
{
	const char *dir = getenv("TMPDIR");
	int fd;

	if (wanted) {
		if (snprintf(out, PATH_MAX, "%s", wanted) >= PATH_MAX)
			return trace_fail(err, TRACE_EXIT_USAGE, "%s: the name is too long", wanted);
		return 0;
	}
	if (snprintf(out, PATH_MAX, "%s/quire-XXXXXX.qtr", dir && *dir ? dir : "/tmp") >= PATH_MAX)
		return trace_fail(err, TRACE_EXIT_USAGE, "TMPDIR is too long");
	fd = mkostemps(out, 4, O_CLOEXEC);
	if (fd < 0)
		return trace_fail(err, TRACE_EXIT_INPUT, "%s: cannot be created: %s; set TMPDIR to a folder with space",
				  out, strerror(errno));
	close(fd);
	return 0;
}

/* Is pid a process below this one? Walks up /proc; a pid may by now be a stranger's. */
static bool is_descendant(pid_t pid)
{
	for (int depth = 0; depth < 1000 && pid > 1; depth++) {
		char name[64], text[512], *after;
		int parent;

		if (pid == getpid())
			return depth > 0;
		snprintf(name, sizeof(name), "/proc/%d/stat", (int)pid);
		int fd = open(name, O_RDONLY | O_CLOEXEC);
		ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

		if (fd >= 0)
			close(fd);
		if (n <= 0)
			return false;
		text[n] = '\0';
		/* The name in brackets may hold anything: what follows its last bracket is "state ppid". */
		after = strrchr(text, ')');
		if (!after || sscanf(after + 1, " %*c %d", &parent) != 1)
			return false;
		pid = parent;
	}
	return false;
}

/* Calls fn for each recorded process that still lives; returns their number. */
static uint32_t for_each_living(struct relay_control *c, void (*fn)(pid_t, int), int arg)
{
	uint32_t n = 0;

	for (unsigned i = 0; i < RELAY_SLOTS; i++) {
		struct relay_slot *s = &c->slots[i];

		if (atomic_load(&s->state) != SLOT_OWNED || s->pid != s->tid || !is_descendant((pid_t)s->pid))
			continue;
		n++;
		if (fn)
			fn((pid_t)s->pid, arg);
	}
	return n;
}

static void send_signal(pid_t pid, int sig)
{
	kill(pid, sig);
}

/*
 * Collects every child that has ended. Those that left something in a slot
 * were killed, and nobody recorded has waited for them.
 */
static void reap(struct recording *r)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		relay_salvage(r->ctl, (uint32_t)pid, true);
		if (pid == r->child) {
			r->child_ended = true;
			r->status = status;
		}
	}
}

static void nap(void)
{
	nanosleep(&(struct timespec){.tv_nsec = POLL_US * 1000}, NULL);
}

static void fill_result(const struct recording *r, struct record_result *res)
{
	const struct relay_control *c = r->ctl;
	struct qtr_counts n = qtr_written(r->sink.out);

	memset(res, 0, sizeof(*res));
	if (r->child_ended && WIFSIGNALED(r->status))
		res->signal = WTERMSIG(r->status);
	else if (r->child_ended)
		res->exit_status = WEXITSTATUS(r->status);
	res->refs = n.refs;
	res->events = n.events;
	res->insns = n.insns;
	res->bytes = n.bytes;
	res->processes = atomic_load(&c->processes);
	res->marks = atomic_load(&c->marks);
	res->threads = atomic_load(&c->threads);
}

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/*
 * Writes what comes until the end; true if the recording was stopped before.
 * Descendants that outlive the program get linger_ms.
 */
static bool wait_for_end(struct recording *r)
{
	uint64_t looked = 0, ended = 0;
	struct record_result so_far;

	for (;;) {
		if (!relay_sink_drain(&r->sink, r->ctl) || atomic_load(&r->ctl->stop))
			return true;
		relay_wait(r->ctl, POLL_US);
		uint64_t now = now_us();

		if (now - looked < POLL_US)
			continue;
		looked = now;
		reap(r);
		if (!r->child_ended)
			ended = now;
		else if (!for_each_living(r->ctl, NULL, 0) || now - ended >= r->o->linger_ms * UINT64_C(1000))
			return !relay_sink_drain(&r->sink, r->ctl);
		fill_result(r, &so_far);
		if (r->o->poll && r->o->poll(r->o->ctx, &so_far))
			return true;
	}
}

/* Asks, then insists. Called when nothing more is wanted of the programs. */
static void end_programs(struct recording *r)
{
	for (int ms = 0; ms < 2 * GRACE_MS; ms += POLL_US / 1000) {
		relay_sink_drain(&r->sink, r->ctl);
		reap(r);
		if (r->child_ended && !for_each_living(r->ctl, NULL, 0))
			return;
		if (ms == 0 || ms == GRACE_MS) {
			int sig = ms ? SIGKILL : SIGTERM;

			if (!r->child_ended)
				send_signal(r->child, sig);
			for_each_living(r->ctl, send_signal, sig);
		}
		nap();
	}
}

static void exec_child(const struct record_options *o, const struct qemu_setup *setup,
		       const struct qemu_command *command, int report)
{
	if (o->stdout_to_stderr)
		dup2(STDERR_FILENO, STDOUT_FILENO);
	execve(setup->qemu, command->argv, command->envp);
	int e = errno;

	_exit(write(report, &e, sizeof(e)) == sizeof(e) ? 127 : 126);
}

/* Starts QEMU; the pipe closes at its exec, or brings the errno of an exec that failed. */
static int start(struct recording *r, const struct qemu_setup *setup, const struct qemu_command *command,
		 struct trace_error *err)
{
	int report[2], e = 0;

	fflush(NULL);
	if (pipe2(report, O_CLOEXEC))
		return trace_fail(err, TRACE_EXIT_INPUT, "no pipe: %s", strerror(errno));
	r->child = fork();
	if (r->child == 0)
		exec_child(r->o, setup, command, report[1]);
	close(report[1]);
	ssize_t n = r->child < 0 ? 0 : read(report[0], &e, sizeof(e));

	close(report[0]);
	if (r->child < 0)
		return trace_fail(err, TRACE_EXIT_INPUT, "no new process: %s", strerror(errno));
	if (n != sizeof(e))
		return 0;
	waitpid(r->child, NULL, 0);
	return trace_fail(err, TRACE_EXIT_INPUT, "%s cannot be run: %s", setup->qemu, strerror(e));
}

/* What a reader of the file may want to know; to be freed. */
static char *make_facts(char **argv, const struct record_options *o)
{
	struct utsname u;
	char *text = NULL, when[64];
	time_t t = time(NULL);
	size_t n;
	FILE *f = open_memstream(&text, &n);

	if (!f)
		return NULL;
	fputs("command:", f);
	for (int i = 0; argv[i]; i++)
		fprintf(f, " %s", argv[i]);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", gmtime(&t));
	fprintf(f, "\nrecorded: %s\n", when);
	if (!uname(&u))
		fprintf(f, "host: %s %s %s\n", u.sysname, u.release, u.machine);
	if (o->recorder)
		fprintf(f, "recorder: %s\n", o->recorder);
	fclose(f);
	return text;
}

/* After the last program: all that is left, the index and the end. Takes the writer. */
static int finish(struct recording *r, struct record_result *res, struct trace_error *err)
{
	uint32_t outliving = for_each_living(r->ctl, NULL, 0);

	relay_sweep(r->ctl);
	relay_sink_drain(&r->sink, r->ctl);
	fill_result(r, res);
	res->outliving = outliving;
	if (r->sink.err.exit_code) {
		*err = r->sink.err;
		qtr_abandon(r->sink.out);
		return -1;
	}
	return qtr_finish(r->sink.out, &res->bytes, err);
}

/* Runs the command to its end and closes the file. */
static int run(struct recording *r, const struct qemu_setup *setup, const struct qemu_command *command,
	       struct record_result *res, struct trace_error *err)
{
	bool stopped;
	int error;

	atomic_store(&r->ctl->processes, 1);
	atomic_store(&r->ctl->threads, 1);
	if (start(r, setup, command, err))
		return -1;
	r->ran = true;
	stopped = wait_for_end(r);
	if (stopped) {
		/* Nobody's slot is touched before those that hold it have ended or have seen that it is over. */
		atomic_store(&r->ctl->stop, 1);
		end_programs(r);
	}
	error = (int)atomic_load(&r->ctl->error);
	if (finish(r, res, err))
		return -1;
	res->limited = stopped && !error;
	if (error)
		return trace_fail(err, TRACE_EXIT_INPUT, "the recording broke off: %s; what it holds is kept", strerror(error));
	if (!res->refs && !res->limited && !res->insns)
		return trace_fail(err, TRACE_EXIT_INPUT,
				  "nothing was recorded; does QEMU's user mode run here (try: %s --version)?", setup->qemu);
	return 0;
}

static int create_all(struct recording *r, char **argv, const char *path, struct trace_error *err)
{
	char *facts = make_facts(argv, r->o);
	struct qtr_options qo = {.facts = facts, .tells_calls = true, .counts_insns = true};

	r->sink.limit = r->o->limit;
	r->sink.out = qtr_create(path, &qo, err);
	free(facts);
	if (!r->sink.out)
		return -1;
	r->ctl = relay_create(&r->o->window, r->ctl_path);
	if (r->ctl)
		return 0;
	qtr_abandon(r->sink.out);
	return trace_fail(err, TRACE_EXIT_INPUT, "no memory shared with programs: %s", strerror(errno));
}

int record_program(char **argv, const struct record_options *o, char *path_out,
		   struct record_result *res, struct trace_error *err)
{
	struct recording r = {.o = o};
	char qemu[PATH_MAX], plugin[PATH_MAX], program[PATH_MAX], path[PATH_MAX];
	struct qemu_setup setup = {.qemu = qemu, .plugin = plugin, .ctl = r.ctl_path};
	struct qemu_command command;
	int rc, adopted = 0;

	path_out[0] = '\0';
	if (find_tools(qemu, plugin, err))
		return -1;
	if (!find_in_path(argv[0], program))
		return trace_fail(err, TRACE_EXIT_INPUT, "%s: not found in PATH", argv[0]);
	if (choose_path(o->path, path, err) || create_all(&r, argv, path, err))
		return -1;
	rc = qemu_command_build(&setup, program, argv, environ, &command);
	if (rc) {
		trace_fail(err, TRACE_EXIT_INPUT, "%s: cannot be run: %s", argv[0],
			   rc == -ENOEXEC ? "neither an x86-64 program nor a script" : strerror(-rc));
	} else {
		prctl(PR_GET_CHILD_SUBREAPER, &adopted);
		prctl(PR_SET_CHILD_SUBREAPER, 1);
		rc = run(&r, &setup, &command, res, err);
		prctl(PR_SET_CHILD_SUBREAPER, adopted);
		qemu_command_free(&command);
	}
	relay_destroy(r.ctl, r.ctl_path);
	if (!r.ran) {
		qtr_abandon(r.sink.out);
		unlink(path);
		return -1;
	}
	snprintf(path_out, PATH_MAX, "%s", path);
	return rc ? -1 : 0;
}
