/* SPDX-License-Identifier: MIT */
/*
 * A case runs in a child, which keeps its place and its verdict in memory
 * that parent and child share. Only a child that came to its end and said so
 * has a case that holds.
 *
 *     parent ── fork ──▶ child: case(subject) … verdict, _exit
 *       └─ waitpid ◀───── or a signal, or an exit of its own
 */
#define _GNU_SOURCE
#include "conform/check_plugin.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/host_ops.h"
#include "conform/conform.h"

enum { CASE_SECONDS = 300 };

struct verdict {
	struct conform t;
	struct conform_place place;
	bool ended, holds;
};

/* One case of one subject; the fields are of its kind. */
struct job {
	const char *kind, *subject;
	const char *name;
	bool (*run)(struct conform *t, const struct job *j);
	const struct org_case *org_case;
	const struct pt_org *org;
	const struct policy_case *policy_case;
	unsigned policy;
	const struct scheme_case *scheme_case;
	const char *scheme;
};

struct tally {
	FILE *out;
	uint64_t seed;
	enum check_extent extent;
	struct verdict *v; /* shared */
	unsigned cases, failed;
	char first[160];
};

/* ---- in the child ---- */

static void on_bug(void *ctx, const char *file, int line, const char *what)
{
	struct verdict *v = ctx;
	const char *name = strrchr(file, '/');

	snprintf(v->place.bug, sizeof(v->place.bug), "%s:%d: %s", name ? name + 1 : file, line, what);
	abort();
}

static void child(struct verdict *v, const struct job *j)
{
	static struct host_ops ops = { .panic = on_bug };

	ops.ctx = v;
	host_ops_set(&ops);
	alarm(CASE_SECONDS);
	v->holds = j->run(&v->t, j);
	v->ended = true;
	_exit(0);
}

static bool run_org(struct conform *t, const struct job *j)
{
	static struct rig_config configs[RIG_CONFIGS_MAX];
	unsigned n = rig_configs_of(j->org, configs, RIG_CONFIGS_MAX);

	for (unsigned i = 0; i < n; i++)
		if (!j->org_case->run(t, &configs[i], t->seed + i))
			return false;
	return true;
}

static bool run_policy(struct conform *t, const struct job *j)
{
	return j->policy_case->run(t, j->policy, t->seed);
}

static bool run_scheme(struct conform *t, const struct job *j)
{
	return j->scheme_case->run(t, j->scheme, t->seed);
}

/* ---- in the parent ---- */

/* Why the child gave no verdict; "": it did. */
static void end_of_child(const struct verdict *v, int status, char *s, size_t n)
{
	s[0] = '\0';
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		snprintf(s, n, "did not end within %d seconds", CASE_SECONDS);
	else if (v->place.bug[0])
		snprintf(s, n, "BUG_ON struck: %s", v->place.bug);
	else if (WIFSIGNALED(status))
		snprintf(s, n, "ended by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	else if (!v->ended || WEXITSTATUS(status))
		snprintf(s, n, "the process ended before the case did (exit status %d)", WEXITSTATUS(status));
}

static void print_failure(struct tally *y, const struct job *j, const char *end)
{
	const struct verdict *v = y->v;
	const char *step = v->t.steps;

	fprintf(y->out, "  FAILED %s: %s%sseed %llu, step %llu: %s\n", j->name, v->place.subject,
		v->place.subject[0] ? ", " : "", (unsigned long long)v->place.seed, (unsigned long long)v->place.step,
		end[0] ? end : v->t.why[0] ? v->t.why : "no reason given");
	for (size_t len; *step; step += len + (step[len] == '\n')) {
		len = strcspn(step, "\n");
		fprintf(y->out, "           %.*s\n", (int)len, step);
	}
}

static bool is_over(const struct tally *y)
{
	return y->failed && y->extent == CHECK_TO_FIRST_FAILURE;
}

static void run_job(struct tally *y, const struct job *j)
{
	char end[300] = "";
	int status = 0;
	pid_t pid;

	if (is_over(y))
		return;
	memset(y->v, 0, sizeof(*y->v));
	y->v->t.seed = y->seed;
	y->v->t.place = &y->v->place;
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		child(y->v, j);
	y->cases++;
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		snprintf(end, sizeof(end), "no process could be made for it");
	else
		end_of_child(y->v, status, end, sizeof(end));
	if (!end[0] && y->v->holds) {
		fprintf(y->out, "  ok     %s\n", j->name);
		return;
	}
	print_failure(y, j, end);
	if (!y->failed++)
		snprintf(y->first, sizeof(y->first), "%s of %s %s", j->name, j->kind, j->subject);
}

static void run_schemes(struct tally *y, const char *kind, const char *subject, const char *scheme)
{
	for (const struct scheme_case *c = conform_scheme_cases; c->name; c++) {
		char name[SCHEME_NAME_MAX + 40];
		struct job j = { kind, subject, name, run_scheme, .scheme_case = c, .scheme = scheme };

		snprintf(name, sizeof(name), "%s (%s)", c->name, scheme);
		run_job(y, &j);
	}
}

static void check_org(struct tally *y, const struct pt_org *org)
{
	char scheme[SCHEME_NAME_MAX];

	fprintf(y->out, "organisation %s\n", org->name);
	for (const struct org_case *c = conform_org_cases; c->name; c++) {
		struct job j = { "organisation", org->name, c->name, run_org, .org_case = c, .org = org };

		run_job(y, &j);
	}
	snprintf(scheme, sizeof(scheme), "nested/%s", org->name);
	run_schemes(y, "organisation", org->name, scheme);
	if (!org->sparse_keys)
		return;
	snprintf(scheme, sizeof(scheme), "shadow/%s", org->name);
	run_schemes(y, "organisation", org->name, scheme);
}

static void check_policy(struct tally *y, const struct tlb_policy_ops *ops, unsigned policy)
{
	fprintf(y->out, "TLB policy %s\n", ops->name);
	for (const struct policy_case *c = conform_policy_cases; c->name; c++) {
		struct job j = { "TLB policy", ops->name, c->name, run_policy, .policy_case = c, .policy = policy };

		run_job(y, &j);
	}
}

static void check_mode(struct tally *y, const struct mode_ops *m)
{
	char scheme[SCHEME_NAME_MAX];

	fprintf(y->out, "mode %s\n", m->name);
	snprintf(scheme, sizeof(scheme), "%s%s", m->name, m->takes_org && !m->default_org ? "/radix" : "");
	run_schemes(y, "mode", m->name, scheme);
}

bool check_plugin(const struct plugin *plugin, uint64_t seed, enum check_extent extent, FILE *out)
{
	const struct quire_plugin *p = plugin->p;
	struct tally y = { .out = out, .seed = seed, .extent = extent };

	y.v = mmap(NULL, sizeof(*y.v), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (y.v == MAP_FAILED) {
		fprintf(out, "FAILED: no memory to share with the cases' processes\n");
		return false;
	}
	for (unsigned i = 0; p->orgs && p->orgs[i] && !is_over(&y); i++)
		check_org(&y, p->orgs[i]);
	for (unsigned i = 0; p->policies && p->policies[i] && !is_over(&y); i++)
		check_policy(&y, p->policies[i], plugin->first_policy + i);
	for (unsigned i = 0; p->modes && p->modes[i] && !is_over(&y); i++)
		check_mode(&y, p->modes[i]);
	munmap(y.v, sizeof(*y.v));
	if (y.failed)
		fprintf(out, "FAILED: %u of %u cases; the first is %s\n", y.failed, y.cases, y.first);
	else
		fprintf(out, "%u cases hold (seed %llu)\n", y.cases, (unsigned long long)seed);
	return !y.failed;
}
