/* SPDX-License-Identifier: MIT */
/*
 * Recording into .qtr, beside a plugin that is called for each reference and
 * only counts; and reading back. The program and the recorder run on two
 * processors at once, so with both free the slower of the two sets the rate:
 * processor time of each stands beside wall-clock time, which other work on
 * the machine makes longer.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "trace/qtr.h"
#include "trace/record.h"

static char dir[] = "/tmp/quire-bench-XXXXXX";
static struct trace_block block;

static double wall(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double cpu(int who)
{
	struct rusage r;

	getrusage(who, &r);
	return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) + (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) * 1e-6;
}

static void die(const char *what)
{
	fprintf(stderr, "bench-record: %s\n", what);
	exit(1);
}

static FILE *create(const char *name)
{
	char path[PATH_MAX];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	if (!f)
		die(path);
	return f;
}

/* Functions that are alike but not the same, lines in no order, a database of some size. */
static void make_inputs(void)
{
	FILE *f = create("unit.c");
	unsigned long x = 12345;

	for (int i = 0; i < 40; i++)
		fprintf(f, "struct s%d { int a[%d]; long b; struct s%d *next; };\n"
			   "long f%d(struct s%d *p, int n) { long t = %d; for (int i = 0; i < n; i++) { if (p->a[i %% %d] > i) t += p->b * i;"
			   " else t ^= p->a[(i + %d) %% %d]; switch (t & 7) { case 1: t += 3; break; case 2: t *= 5; break;"
			   " case %d: p = p->next; break; default: t--; } } return t; }\n",
			i, i % 50 + 3, i, i, i, i, i % 50 + 3, i, i % 50 + 3, i % 3 + 3);
	fclose(f);
	f = create("lines");
	for (int i = 0; i < 60000; i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		fprintf(f, "%lu line %d\n", x >> 40, i);
	}
	fclose(f);
	f = create("query.sql");
	fputs("create table t(a integer primary key, b integer, c text);\n"
	      "with recursive n(i) as (select 1 union all select i + 1 from n where i < 15000)\n"
	      "insert into t select i, (i * 7919) % 12007, 'text' || i from n;\n"
	      "create index tb on t(b);\n"
	      "select count(*), sum(length(c)) from t where b between 1000 and 9000;\n"
	      "select count(*) from t x join t y on x.b = y.a where y.c like '%7%';\n"
	      "select c, count(*) from t group by b % 1000 order by 2 desc limit 1;\n", f);
	fclose(f);
}

/* Under the counting plugin: references a second, and its processor time. */
static double count_only(const char *command, double *seconds)
{
	char whole[3 * PATH_MAX], path[PATH_MAX];
	unsigned long long n[4], refs = 0;
	double before;
	FILE *f;

	snprintf(path, sizeof(path), "%s/counts", dir);
	unlink(path);
	snprintf(whole, sizeof(whole), "cd %s && qemu-x86_64 -plugin %s,out=%s %s >/dev/null", dir,
		 getenv("QUIRE_COUNT_PLUGIN"), path, command);
	before = cpu(RUSAGE_CHILDREN);
	if (system(whole))
		die(whole);
	*seconds = cpu(RUSAGE_CHILDREN) - before;
	f = fopen(path, "r");
	while (f && fscanf(f, "%llu %llu %llu %llu", &n[0], &n[1], &n[2], &n[3]) == 4)
		refs += n[1] + n[2] + n[3];
	if (f)
		fclose(f);
	return (double)refs / *seconds;
}

static double read_back(const char *path)
{
	struct trace_error err;
	struct trace *t = trace_open(path, &err);
	double before = cpu(RUSAGE_SELF);
	uint64_t n = 0;

	if (!t)
		die(err.what);
	while (trace_read(t, &block, &err) == 1)
		n += block.nrefs;
	trace_close(t);
	return (double)n / (cpu(RUSAGE_SELF) - before);
}

static void measure(const char *name, const char *command)
{
	char shell[2 * PATH_MAX], path[PATH_MAX], out[PATH_MAX];
	struct record_options o = {.path = path, .stdout_to_stderr = true};
	struct trace_error err = {0};
	struct record_result r;
	double counting, mine = cpu(RUSAGE_SELF), its, took;
	double count_rate = count_only(command, &counting);

	snprintf(path, sizeof(path), "%s/out.qtr", dir);
	/* exec: one process, as under the counting plugin. */
	snprintf(shell, sizeof(shell), "cd %s && exec %s", dir, command);
	its = cpu(RUSAGE_CHILDREN);
	took = wall();
	if (record_program((char *[]){(char *)"sh", (char *)"-c", shell, NULL}, &o, out, &r, &err))
		die(err.what);
	took = wall() - took;
	its = cpu(RUSAGE_CHILDREN) - its;
	mine = cpu(RUSAGE_SELF) - mine;
	printf("%-8s %8.1f M references  counting %6.1f M/s | recording %6.1f M/s wall; program %6.1f, recorder %6.1f M/s"
	       " of processor time | %.3f bytes/reference | reading %6.1f M/s\n", name, (double)r.refs / 1e6, count_rate / 1e6,
	       (double)r.refs / took / 1e6, (double)r.refs / its / 1e6, (double)r.refs / mine / 1e6,
	       (double)r.bytes / (double)r.refs, read_back(path) / 1e6);
	fflush(stdout);
	unlink(path);
}

int main(void)
{
	char command[PATH_MAX];

	if (system("command -v qemu-x86_64 >/dev/null 2>&1")) {
		puts("no qemu-x86_64: nothing to measure");
		return 0;
	}
	if (!mkdtemp(dir) || !freopen("/dev/null", "w", stderr))
		die("no folder in /tmp");
	make_inputs();
	if (!system("command -v gcc >/dev/null 2>&1"))
		measure("cc1", "$(gcc -print-prog-name=cc1) -quiet -O2 unit.c -o unit.s");
	measure("sort", "/usr/bin/sort -n lines -o sorted");
	if (!system("command -v sqlite3 >/dev/null 2>&1"))
		measure("sqlite3", "$(command -v sqlite3) :memory: '.read query.sql'");
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command) != 0;
}
