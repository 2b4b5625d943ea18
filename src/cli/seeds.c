/* SPDX-License-Identifier: MIT */
/*
 * --seeds: the same configuration once a seed. Synthetic work is other work
 * under another seed, of its own size, so each seed has its own copy of what
 * was found by reading it; recorded work is read once.
 */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "cli/cli.h"

static int add_seed(struct options *o, uint64_t seed)
{
	uint64_t *list;

	for (unsigned i = 0; i < o->seeds.n; i++)
		if (o->seeds.seed[i] == seed)
			return complain_usage("--seeds names %llu twice, and the same seed gives the same figures; leave one out",
					      (unsigned long long)seed);
	if (o->seeds.n == SEEDS_MAX)
		return complain_usage("--seeds: more than %d; leave some out", SEEDS_MAX);
	list = realloc(o->seeds.seed, (o->seeds.n + 1) * sizeof(*list));
	if (!list)
		return complain_usage("no memory on this host");
	o->seeds.seed = list;
	list[o->seeds.n++] = seed;
	return 0;
}

static int bad_seeds(const char *arg)
{
	return complain_usage("--seeds '%.60s': give a number of seeds from 2 to %d, or seeds with commas between", arg, SEEDS_MAX);
}

int seeds_parse(struct options *o, const char *arg)
{
	const char *s = arg;
	int code = 0;

	o->seeds.n = o->seeds.count = 0;
	while (!code) {
		char *end;
		uint64_t v = strtoull(s, &end, 0);

		if (*s < '0' || *s > '9' || (*end && *end != ','))
			return bad_seeds(arg);
		if (s == arg && !*end) {
			if (v < 2 || v > SEEDS_MAX)
				return bad_seeds(arg);
			o->seeds.count = (unsigned)v;
			return 0;
		}
		code = add_seed(o, v);
		if (!*end)
			break;
		s = end + 1;
	}
	return code;
}

int seeds_settle(struct options *o)
{
	int code = 0;

	if (o->seeds.n && o->seed_given)
		return complain_usage("--seeds names the seeds; leave out --seed, or give --seeds their number");
	for (unsigned i = 0; !code && i < o->seeds.count; i++)
		code = add_seed(o, o->config.seed + i);
	if (o->seeds.n)
		o->config.seed = o->seeds.seed[0];
	return code;
}

static uint64_t checksum_of(const struct seed_set *set, unsigned nwork)
{
	uint64_t sum = set->work[0].checksum;

	for (unsigned i = 1; i < nwork; i++)
		sum = hash_2u64(set->work[i].checksum, sum);
	return sum;
}

/* Where the copy of a piece of work stands. */
static struct workload *copy_of(const struct options *o, const struct seed_set *set, const struct workload *w)
{
	for (unsigned i = 0; i < o->nwork; i++)
		if (&o->work[i]->w == w)
			return &set->work[i];
	return NULL;
}

static int prepare(struct options *o, struct seed_set *set, uint64_t seed)
{
	struct trace_error err = { 0 };

	set->work = calloc(o->nwork, sizeof(*set->work));
	set->vm = calloc(o->config.nvms, sizeof(*set->vm));
	if (!set->work || !set->vm)
		return complain_usage("no memory on this host");
	for (unsigned i = 0; i < o->nwork; i++) {
		set->work[i] = o->work[i]->w;
		set->work[i].next = copy_of(o, set, o->work[i]->w.next);
		if (set->work[i].kind == WORK_SYNTH && seed != o->config.seed &&
		    workload_scan(&set->work[i], seed, o->config.limit, &err))
			return complain(&err);
	}
	for (unsigned i = 0; i < o->config.nvms; i++) {
		set->vm[i] = o->config.vm[i];
		set->vm[i].work = copy_of(o, set, o->config.vm[i].work);
	}
	set->checksum = checksum_of(set, o->nwork);
	return 0;
}

int seeds_prepare(struct options *o)
{
	unsigned n = o->seeds.n;
	int code = 0;

	if (!n)
		return 0;
	o->seeds.set = calloc(n, sizeof(*o->seeds.set));
	o->seeds.checksum = calloc(n, sizeof(*o->seeds.checksum));
	if (!o->seeds.set || !o->seeds.checksum)
		return complain_usage("no memory on this host");
	for (unsigned k = 0; !code && k < n; k++) {
		code = prepare(o, &o->seeds.set[k], o->seeds.seed[k]);
		o->seeds.checksum[k] = o->seeds.set[k].checksum;
	}
	return code;
}

unsigned seeds_configs(const struct options *o, const char *scheme, struct run_config *out)
{
	unsigned n = o->seeds.n ? o->seeds.n : 1;

	for (unsigned k = 0; k < n; k++) {
		out[k] = o->config;
		memcpy(out[k].scheme, scheme, SCHEME_NAME_MAX);
		if (o->seeds.n) {
			out[k].seed = o->seeds.seed[k];
			out[k].vm = o->seeds.set[k].vm;
		}
	}
	return n;
}

void seeds_free(struct options *o)
{
	for (unsigned k = 0; o->seeds.set && k < o->seeds.n; k++) {
		free(o->seeds.set[k].work);
		free(o->seeds.set[k].vm);
	}
	free(o->seeds.set);
	free(o->seeds.checksum);
	free(o->seeds.seed);
}
