/* SPDX-License-Identifier: MIT */
/* Synthetic work: names, keys and values; the families are in synth_*.c. */
#define _GNU_SOURCE
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "trace/synth.h"

static const struct synth_kind *const kinds[] = {
	&synth_stream, &synth_gups, &synth_chase, &synth_zipf,
	&synth_stackheap, &synth_forkstorm, &synth_switchstorm, &synth_tablestorm, &synth_churn,
};

enum value_type { VALUE_COUNT, VALUE_SIZE, VALUE_ADDRESS, VALUE_REAL };

static const struct key {
	const char *name;
	enum value_type type;
	double usual, min, max;
} keys[SYNTH_KEYS] = {
	[KEY_REFS] = {"refs", VALUE_COUNT, 1e6, 1, 1e18},
	[KEY_FOOTPRINT] = {"footprint", VALUE_SIZE, 64 << 20, 64, 0x1p56},
	[KEY_BASE] = {"base", VALUE_ADDRESS, 0x10000000, 0, 0x1p56},
	[KEY_WRITES] = {"writes", VALUE_REAL, 0.3, 0, 1},
	[KEY_STRIDE] = {"stride", VALUE_SIZE, 8, 8, 0x1p40},
	[KEY_THETA] = {"theta", VALUE_REAL, 0.99, 0.01, 4},
	[KEY_STACK] = {"stack", VALUE_REAL, 0.5, 0, 1},
	[KEY_PROCS] = {"procs", VALUE_COUNT, 8, 1, 4096},
	[KEY_QUANTUM] = {"quantum", VALUE_COUNT, 1000, 1, 1e12},
	[KEY_PAGES] = {"pages", VALUE_COUNT, 64, 1, 1e9},
	[KEY_PROTECT] = {"protect", VALUE_REAL, 0.25, 0, 1},
	[KEY_MISS] = {"miss", VALUE_REAL, 0.01, 0, 1},
	[KEY_CHANGES] = {"changes", VALUE_REAL, 0.0001, 0, 1},
	[KEY_PHASE] = {"phase", VALUE_COUNT, 0, 0, 1e12},
};

enum { COMMON_KEYS = 1 << KEY_REFS | 1 << KEY_FOOTPRINT | 1 << KEY_BASE };

void synth_one_process(struct synth *s, struct trace_block *b)
{
	synth_switch(b, 1);
	synth_mmap(b, 1, synth_base(s), align_up(synth_footprint(s), PAGE_SIZE), 0);
}

void shuffle_init(struct synth_shuffle *p, uint64_t n, uint64_t key)
{
	unsigned bits = MAX(log2_ceil(n), 2u);

	*p = (struct synth_shuffle){.n = n, .mask = low_bits(bits), .key = hash_u64(key), .shift = bits / 2};
}

/* Each step is a bijection of [0, mask]; what falls at n or above goes round again (cycle walking). */
uint64_t shuffle_of(const struct synth_shuffle *p, uint64_t i)
{
	do {
		for (int round = 0; round < 3; round++) {
			i = (i * UINT64_C(0x9e3779b97f4a7c15) + p->key) & p->mask;
			i ^= i >> p->shift;
		}
	} while (i >= p->n);
	return i;
}

static int synth_read(struct trace *t, struct trace_block *b, struct trace_error *err)
{
	struct synth *s = container_of(t, struct synth, t);

	b->nrefs = b->nevents = 0;
	if (!s->started) {
		s->started = true;
		rng_init(&s->rng, s->seed);
		memset(s->state, 0, s->kind->state_bytes);
		s->refs_left = s->count[KEY_REFS];
		s->kind->start(s, b);
	}
	while (s->refs_left && b->nrefs <= TRACE_BLOCK_REFS - SYNTH_STEP_MAX &&
	       b->nevents <= TRACE_BLOCK_EVENTS - SYNTH_STEP_MAX)
		s->kind->step(s, b);
	return b->nrefs > 0;
}

static int synth_rewind(struct trace *t, struct trace_error *err)
{
	container_of(t, struct synth, t)->started = false;
	container_of(t, struct synth, t)->refs_left = 0;
	return 0;
}

static void synth_close(struct trace *t)
{
	struct synth *s = container_of(t, struct synth, t);

	free(s->state);
	free(s->t.name);
	free(s);
}

static const struct trace_ops synth_ops = {.read = synth_read, .rewind = synth_rewind, .close = synth_close};

static const char *list_names(char *out, size_t n, const char *(*name)(unsigned, const void *), unsigned count,
			      const void *ctx)
{
	size_t at = 0;

	out[0] = '\0';
	for (unsigned i = 0; i < count; i++)
		if (name(i, ctx) && at < n)
			at += (size_t)snprintf(out + at, n - at, "%s%s", at ? ", " : "", name(i, ctx));
	return out;
}

static const char *kind_name(unsigned i, const void *ctx)
{
	return kinds[i]->name;
}

static const char *key_name(unsigned i, const void *kind)
{
	const struct synth_kind *k = kind;

	return (k->keys | COMMON_KEYS) & BIT(i) ? keys[i].name : NULL;
}

/* "0.25" or "25%", without libc's locale. */
static bool parse_real(const char *text, double *out)
{
	double v = 0, place = 1;
	bool any = false;

	for (; *text >= '0' && *text <= '9'; text++, any = true)
		v = v * 10 + (*text - '0');
	if (*text == '.')
		for (text++; *text >= '0' && *text <= '9'; text++, any = true)
			v += (*text - '0') * (place /= 10);
	if (*text == '%') {
		v /= 100;
		text++;
	}
	*out = v;
	return any && !*text;
}

static bool parse_address(const char *text, uint64_t *out)
{
	char *end;

	if (text[0] != '0' || (text[1] | 0x20) != 'x')
		return !parse_scaled(text, 1024, out);
	/* 16 digits at most, so that strtoull cannot overflow; it would also take a sign. */
	if (!text[2] || strlen(text + 2) > 16 || strspn(text + 2, "0123456789abcdefABCDEF") != strlen(text + 2))
		return false;
	*out = strtoull(text, &end, 16);
	return true;
}

static int set_value(struct synth *s, enum synth_key k, const char *text, struct trace_error *err)
{
	const struct key *key = &keys[k];
	double v = -1;
	bool ok = false;

	switch (key->type) {
	case VALUE_REAL:
		ok = parse_real(text, &v);
		s->real[k] = v;
		break;
	case VALUE_ADDRESS:
		ok = parse_address(text, &s->count[k]);
		v = (double)s->count[k];
		break;
	case VALUE_COUNT:
	case VALUE_SIZE:
		ok = !parse_scaled(text, key->type == VALUE_SIZE ? 1024 : 1000, &s->count[k]);
		v = (double)s->count[k];
		break;
	}
	if (ok && v >= key->min && v <= key->max)
		return 0;
	return trace_fail(err, TRACE_EXIT_USAGE, "synth:%s: %s=%.40s: give a %s from %g to %g", s->kind->name, key->name,
			  text,
			  key->type == VALUE_REAL ? "number" : key->type == VALUE_COUNT ? "count (1000, 5K, 2M)"
								       : "size (4096, 64K, 1G)",
			  key->min, key->max);
}

static int set_pair(struct synth *s, char *pair, struct trace_error *err)
{
	char *equals = strchr(pair, '='), names[160];

	if (equals)
		*equals = '\0';
	for (unsigned k = 0; equals && k < SYNTH_KEYS; k++)
		if (key_name(k, s->kind) && !strcmp(keys[k].name, pair))
			return set_value(s, (enum synth_key)k, equals + 1, err);
	return trace_fail(err, TRACE_EXIT_USAGE, "synth:%s: %s \"%.40s\"; it takes %s", s->kind->name,
			  equals ? "no key" : "KEY=VALUE expected, not", pair,
			  list_names(names, sizeof(names), key_name, SYNTH_KEYS, s->kind));
}

static void set_defaults(struct synth *s)
{
	for (unsigned k = 0; k < SYNTH_KEYS; k++) {
		double v = s->kind->defaults[k] ? s->kind->defaults[k] : keys[k].usual;

		s->real[k] = v;
		s->count[k] = (uint64_t)v;
	}
}

static int check_values(struct synth *s, struct trace_error *err)
{
	struct trace_block *scratch;
	const char *wrong;

	if (synth_base(s) & PAGE_MASK)
		return trace_fail(err, TRACE_EXIT_USAGE, "synth:%s: base= must be a multiple of 4096", s->kind->name);
	if (synth_footprint(s) < s->kind->footprint_min)
		return trace_fail(err, TRACE_EXIT_USAGE, "synth:%s: footprint= must be at least %llu", s->kind->name,
				  (unsigned long long)s->kind->footprint_min);
	scratch = calloc(1, sizeof(*scratch));
	s->state = calloc(1, s->kind->state_bytes + 1);
	if (!s->state || !scratch) {
		free(scratch);
		return trace_fail(err, TRACE_EXIT_USAGE, "synth:%s: out of memory", s->kind->name);
	}
	rng_init(&s->rng, s->seed);
	wrong = s->kind->start(s, scratch);
	free(scratch);
	return wrong ? trace_fail(err, TRACE_EXIT_USAGE, "synth:%s: %s", s->kind->name, wrong) : 0;
}

static int parse_spec(struct synth *s, char *spec, struct trace_error *err)
{
	char *rest = spec, *pair, names[160];

	pair = strsep(&rest, ",");
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
		if (!strcmp(kinds[i]->name, pair))
			s->kind = kinds[i];
	if (!s->kind)
		return trace_fail(err, TRACE_EXIT_USAGE, "synth:%.40s: no such work; there are %s", pair,
				  list_names(names, sizeof(names), kind_name, ARRAY_SIZE(kinds), NULL));
	set_defaults(s);
	while ((pair = strsep(&rest, ",")))
		if (set_pair(s, pair, err))
			return -1;
	return check_values(s, err);
}

struct trace *synth_open(const char *spec, uint64_t seed, struct trace_error *err)
{
	struct synth *s = calloc(1, sizeof(*s));
	char *copy = strdup(spec);

	memset(err, 0, sizeof(*err));
	if (s)
		s->t = (struct trace){.ops = &synth_ops, .name = strdup(spec), .format = "synth"};
	if (!s || !copy || !s->t.name) {
		trace_fail(err, TRACE_EXIT_USAGE, "synth: out of memory");
		goto fail;
	}
	s->seed = seed;
	if (parse_spec(s, copy, err))
		goto fail;
	free(copy);
	return &s->t;
fail:
	free(copy);
	if (s)
		synth_close(&s->t);
	return NULL;
}

const char *synth_name(unsigned i, const char **summary)
{
	if (i >= ARRAY_SIZE(kinds))
		return NULL;
	if (summary)
		*summary = kinds[i]->summary;
	return kinds[i]->name;
}
