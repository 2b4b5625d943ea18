/* SPDX-License-Identifier: MIT */
/*
 * Recording real programs: counts against a plugin that only counts, and that
 * forks, threads, execs, scripts, signals and limits are all seen. Programs
 * are compiled here. Skipped where QEMU's user mode or a compiler is missing.
 */
#define _GNU_SOURCE
#include "helper.h"

#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "trace/qtr.h"
#include "trace/record.h"

static char path[PATH_MAX];

static bool have(const char *program)
{
	char command[200];

	snprintf(command, sizeof(command), "command -v %s >/dev/null 2>&1", program);
	return system(command) == 0;
}

#define NEED(program)                  \
	do {                           \
		if (!have(program))    \
			skip();        \
	} while (0)

static struct record_result record_with(struct record_options o, char **argv)
{
	struct record_result res;
	struct trace_error err = {0};

	if (record_program(argv, &o, path, &res, &err)) {
		print_error("%s\n", err.what);
		fail();
	}
	return res;
}

#define RECORD(...) record_with((struct record_options){.stdout_to_stderr = true}, (char *[]){__VA_ARGS__, NULL})

/* Events and counts of the last recording; its file is removed. */
struct seen {
	uint64_t r, w, x, events[EV_KINDS];
	uint64_t by_process_max, outside;
	uint32_t busiest;
};

/* Every process must be born before it runs, and none runs after its end. */
static struct seen look(void)
{
	static struct trace_block b;
	static uint64_t by_pid[1 << 22];
	static uint8_t alive[1 << 22];
	struct seen s = {0};
	struct trace_error err = {0};
	struct trace *t = qtr_open(path, &err);
	uint32_t pid = 0;
	bool first = true;
	int rc;

	memset(by_pid, 0, sizeof(by_pid));
	memset(alive, 0, sizeof(alive));
	assert_non_null(t);
	while ((rc = trace_read(t, &b, &err)) == 1)
		for (uint32_t i = 0; i < b.nrefs; i++) {
			if (!ref_is_event(b.refs[i])) {
				(*(uint64_t *[]){&s.r, &s.w, &s.x}[ref_kind(b.refs[i])])++;
				by_pid[pid]++;
				continue;
			}
			const struct trace_event *ev = &b.events[ref_event(b.refs[i])];

			s.events[ev->kind]++;
			assert_in_range(ev->pid, 1, (1 << 22) - 1);
			if (first)
				alive[ev->pid] = 1;
			first = false;
			assert_true(alive[ev->pid]);
			if (ev->kind == EV_SWITCH)
				pid = ev->pid;
			if (ev->kind == EV_FORK)
				alive[ev->child] = 1;
			if (ev->kind == EV_EXIT)
				alive[ev->pid] = 0;
		}
	if (rc)
		print_error("%s\n", err.what);
	assert_int_equal(rc, 0);
	trace_close(t);
	unlink(path);
	for (uint32_t p = 0; p < 1 << 22; p++) {
		assert_int_equal(alive[p], 0);
		if (by_pid[p] > s.by_process_max) {
			s.by_process_max = by_pid[p];
			s.busiest = p;
		}
	}
	return s;
}

static const char *compile(const char *name, const char *options, const char *source)
{
	char command[1500];
	const char *c = scratch_path("program.c"), *out = scratch_path(name);

	write_file(c, source, strlen(source));
	snprintf(command, sizeof(command), "gcc -O1 -w %s -o %s %s", options, out, c);
	assert_int_equal(system(command), 0);
	return out;
}

static void assert_within(uint64_t a, uint64_t b, double share)
{
	double difference = a > b ? (double)(a - b) : (double)(b - a);

	if (difference > share * (double)b)
		print_error("%llu against %llu\n", (unsigned long long)a, (unsigned long long)b);
	assert_true(difference <= share * (double)b);
}

static void count_natively(const char *command, unsigned long long out[3])
{
	const char *counts = scratch_path("counts");
	char whole[2000];
	int pid;

	unlink(counts);
	snprintf(whole, sizeof(whole), "qemu-x86_64 -plugin %s,out=%s %s >/dev/null", getenv("QUIRE_COUNT_PLUGIN"), counts,
		 command);
	assert_int_equal(system(whole), 0);
	FILE *f = fopen(counts, "r");

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%d %llu %llu %llu", &pid, &out[0], &out[1], &out[2]), 4);
	fclose(f);
}

static void check_counts(char **argv)
{
	char command[1500] = "$(command -v ";
	unsigned long long n[3];

	strcat(strcat(command, argv[0]), ")");
	for (int i = 1; argv[i]; i++)
		strcat(strcat(strcat(command, " '"), argv[i]), "'");
	count_natively(command, n);
	record_with((struct record_options){.stdout_to_stderr = true}, argv);
	struct seen s = look();

	assert_within(s.r, n[0], 0.01);
	assert_within(s.w, n[1], 0.01);
	assert_within(s.x, n[2], 0.02); /* and a fetch for each page a block reaches into */
}

static void test_counts(void **state)
{
	NEED("qemu-x86_64");
	check_counts((char *[]){"/bin/true", NULL});
	check_counts((char *[]){"ls", "/usr/bin", NULL});
	check_counts((char *[]){"sort", "/etc/passwd", NULL});
	if (have("sqlite3"))
		check_counts((char *[]){"sqlite3", ":memory:",
					"create table t(a); insert into t values(1),(2); select sum(a) from t;", NULL});
}

static const char busy_source[] = "int a[1 << 16]; int main(void) { long s = 0; for (int k = 0; k < 20; k++)"
				  " for (int i = 0; i < 1 << 16; i++) { a[i] += i ^ k; s += a[(i * 7919) & 65535]; }"
				  " return s == 42; }";

static void test_deterministic(void **state)
{
	NEED("qemu-x86_64");
	NEED("gcc");
	char *program = (char *)compile("busy", "-static", busy_source);
	struct record_result a = RECORD(program);
	size_t na, nb;
	struct trace_error err;
	struct trace *t = qtr_open(path, &err);
	struct items one = read_all(t);

	trace_close(t);
	unlink(path);
	struct record_result b = RECORD(program);

	t = qtr_open(path, &err);
	struct items two = read_all(t);

	trace_close(t);
	unlink(path);
	assert_int_equal(a.refs, b.refs);
	assert_true(a.refs > 20u << 17);
	/* The same references in the same order; pids and random bytes of the kernel's (AT_RANDOM) may differ. */
	for (na = nb = 0; na < one.n && nb < two.n; na++, nb++)
		assert_true(one.v[na].ref == two.v[nb].ref);
	assert_int_equal(one.n, two.n);
	items_free(&one);
	items_free(&two);
}

static void test_gcc(void **state)
{
	NEED("qemu-x86_64");
	NEED("gcc");
	char *c = (char *)scratch_path("unit.c"), *o = (char *)scratch_path("unit.o"), command[1500];
	unsigned long long n[3];

	write_file(c, busy_source, sizeof(busy_source) - 1);
	snprintf(command, sizeof(command), "$(gcc -print-prog-name=cc1) -quiet -O2 -imultiarch x86_64-linux-gnu %s -o %s",
		 c, scratch_path("unit.s"));
	count_natively(command, n);
	struct record_result r = RECORD("gcc", "-O2", "-c", c, "-o", o);

	assert_int_equal(r.exit_status, 0);
	assert_int_equal(access(o, R_OK), 0);
	assert_true(r.processes >= 3); /* gcc, cc1, as */
	struct seen s = look();

	assert_int_equal(s.events[EV_EXEC], 3);
	assert_int_equal(s.events[EV_FORK], 2);
	assert_int_equal(s.events[EV_EXIT], 3);
	assert_within(s.by_process_max, n[0] + n[1] + n[2], 0.02);
}

static void test_forks_and_threads(void **state)
{
	NEED("qemu-x86_64");
	NEED("gcc");
	char *forks = (char *)compile("forks", "",
		"#include <unistd.h>\n#include <sys/wait.h>\nint main(void) { for (int i = 0; i < 10; i++) { if (!fork()) _exit(i);"
		" } int n = 0; while (wait(0) > 0) n++; return n; }");
	struct record_result r = RECORD(forks);

	assert_int_equal(r.exit_status, 10);
	assert_int_equal(r.processes, 11);
	struct seen s = look();

	assert_int_equal(s.events[EV_FORK], 10);
	assert_int_equal(s.events[EV_EXIT], 11);
	char *threads = (char *)compile("threads", "-pthread",
		"#include <pthread.h>\n#include <stdlib.h>\nvoid *f(void *p) { volatile char *m = malloc(1 << 20); for (int i = 0; i < 1 << 20; i++)"
		" m[i] = i; free((void *)m); return p; }\nint main(void) { pthread_t t[8]; for (int k = 0; k < 3; k++) {"
		" for (int i = 0; i < 8; i++) pthread_create(t + i, 0, f, 0); for (int i = 0; i < 8; i++) pthread_join(t[i], 0); } return 3; }");

	r = RECORD(threads);
	assert_int_equal(r.exit_status, 3);
	assert_int_equal(r.processes, 1);
	s = look();
	assert_int_equal(s.events[EV_THREAD], 24);
	assert_true(s.w > 24u << 20);
	/* The main thread leaves first: the process lives on. */
	char *leaves = (char *)compile("leaves", "-pthread",
		"#include <pthread.h>\n#include <unistd.h>\nvoid *f(void *p) { usleep(20000); _exit(5); }\n"
		"int main(void) { pthread_t t; pthread_create(&t, 0, f, 0); pthread_exit(0); }");

	r = RECORD(leaves);
	assert_int_equal(r.exit_status, 5);
	look();
}

static void test_exec_chain(void **state)
{
	NEED("qemu-x86_64");
	NEED("gcc");
	/* Runs itself n more times, by three ways, with a chosen argv[0] and environment; checks what it got. */
	char *chain = (char *)compile("chain", "",
		"#define _GNU_SOURCE\n#include <unistd.h>\n#include <fcntl.h>\n#include <stdlib.h>\n#include <string.h>\n#include <stdio.h>\n"
		"int main(int c, char **v) { int n = atoi(v[1]); char b[20], exe[4096] = \"\"; readlink(\"/proc/self/exe\", exe, 4095);\n"
		"if (!strstr(exe, \"/chain\")) return 90; if (c > 2 && (strcmp(v[0], \"name\") || strcmp(getenv(\"LD_X\"), \"1\") || environ[2])) return 91;\n"
		"if (open(\"/dev/null\", 0) != 3) return 92; close(3);\n"
		"if (execl(\"/no/such\", \"x\", (char *)0) != -1) return 93;\n"
		"if (!n) return 7; sprintf(b, \"%d\", n - 1); char *a[] = {\"name\", b, \"a b\", 0}, *e[] = {\"LD_X=1\", \"Y=2\", 0};\n"
		"if (n % 3 == 0) execve(\"/proc/self/exe\", a, e); if (n % 3 == 1) execve(exe, a, e);\n"
		"int fd = open(exe, O_RDONLY | O_CLOEXEC); fexecve(fd, a, e); return 94; }");
	struct record_result r = RECORD(chain, "6");

	assert_int_equal(r.exit_status, 7);
	assert_int_equal(r.processes, 1);
	struct seen s = look();

	assert_int_equal(s.events[EV_EXEC], 7);
	assert_int_equal(s.events[EV_EXIT], 1);
}

static void test_scripts(void **state)
{
	NEED("qemu-x86_64");
	static const char inner[] = "#! /bin/sh -e\n[ \"$1\" = 'x y' ] || exit 1\n/bin/true\nexit 9\n";
	char outer[700];
	char *in = (char *)scratch_path("inner.sh"), *out = (char *)scratch_path("outer.sh");

	write_file(in, inner, sizeof(inner) - 1);
	snprintf(outer, sizeof(outer), "#!%s x y", in);
	write_file(out, outer, strlen(outer));
	chmod(in, 0755);
	chmod(out, 0755);
	struct record_result r = RECORD(out);

	assert_int_equal(r.exit_status, 9);
	struct seen s = look();

	assert_int_equal(s.events[EV_EXEC], 2); /* sh, true */
	assert_int_equal(s.events[EV_FORK], 1);
}

static void test_killed(void **state)
{
	NEED("qemu-x86_64");
	NEED("gcc");
	char *abort_now = (char *)compile("abort", "",
		"#include <stdlib.h>\n#include <unistd.h>\n#include <sys/wait.h>\n#include <signal.h>\n"
		"int a[1000]; int main(void) { if (!fork()) { for (int i = 0; i < 1000; i++) a[i] = i; raise(SIGKILL); }"
		" wait(0); for (int i = 0; i < 1000; i++) a[i] = i; abort(); }");
	struct record_result r = RECORD(abort_now);

	assert_int_equal(r.signal, SIGABRT);
	struct seen s = look();

	assert_true(s.w > 2000);
	assert_int_equal(s.events[EV_EXIT], 2);
}

static void test_limit(void **state)
{
	NEED("qemu-x86_64");
	NEED("gcc");
	char *endless = (char *)compile("endless", "",
		"#include <signal.h>\n#include <unistd.h>\nint main(void) { signal(SIGTERM, SIG_IGN); fork(); for (volatile int i = 0;; i++) ; }");
	struct record_result r = record_with((struct record_options){.limit = 1000000}, (char *[]){endless, NULL});

	assert_true(r.limited);
	assert_int_equal(r.refs, 1000000);
	struct trace_error err;
	struct trace *t = qtr_open(path, &err);
	struct items all = read_all(t);

	assert_int_equal(all.end, 0);
	assert_int_equal(all.refs, 1000000);
	items_free(&all);
	trace_close(t);
	unlink(path);
}

static void expect_refusal(char *program, const char *part)
{
	struct record_options o = {0};
	struct record_result res;
	struct trace_error err = {0};
	char out[PATH_MAX];

	assert_int_equal(record_program((char *[]){program, NULL}, &o, out, &res, &err), -1);
	assert_string_equal(out, "");
	assert_int_equal(err.exit_code, 3);
	assert_non_null(strstr(err.what, part));
}

static void test_refusals(void **state)
{
	char *text = (char *)scratch_path("text");
	char *plugin = strdup(getenv("QUIRE_PLUGIN"));

	setenv("QUIRE_QEMU", "no-such-qemu", 1);
	expect_refusal("/bin/true", "package qemu-user");
	unsetenv("QUIRE_QEMU");
	NEED("qemu-x86_64");
	expect_refusal("no-such-program", "not found in PATH");
	write_file(text, "words\n", 6);
	chmod(text, 0755);
	expect_refusal(text, "neither an x86-64 program nor a script");
	setenv("QUIRE_PLUGIN", "/no/such/plugin.so", 1);
	expect_refusal("/bin/true", "QUIRE_PLUGIN");
	setenv("QUIRE_PLUGIN", plugin, 1);
	free(plugin);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts), cmocka_unit_test(test_deterministic), cmocka_unit_test(test_gcc),
		cmocka_unit_test(test_forks_and_threads), cmocka_unit_test(test_exec_chain),
		cmocka_unit_test(test_scripts), cmocka_unit_test(test_killed), cmocka_unit_test(test_limit),
		cmocka_unit_test(test_refusals),
	};

	return cmocka_run_group_tests(tests, NULL, remove_scratch);
}
