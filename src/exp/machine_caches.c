/* SPDX-License-Identifier: MIT */
/* Data caches in a machine file, and the choice of --caches. */
#include <stddef.h>
#include <string.h>

#include "exp/exp.h"
#include "exp/machine_caches.h"
#include "exp/names.h"

/* A level as a file says it; sets follow. */
struct raw_level {
	uint64_t kib, cycles;
	uint8_t ways, policy, holds;
};

static const char *const policies[] = { "lru", "plru", "fifo", "random", NULL }; /* as enum tlb_policy */
static const char *const holds[] = { "free", "inclusive", "victim", NULL };      /* as enum cache_holds */
static_assert(CACHE_FREE == 0 && CACHE_INCLUSIVE == 1 && CACHE_VICTIM == 2, "indices into holds");

enum { LINES_A_KIB = 1024 / LINE_SIZE, KIB_MAX = 1 << 20, CYCLES_MAX = 1 << 20 };

static const struct yaml_field level_fields[] = {
	{ "kib", yaml_set_u64, offsetof(struct raw_level, kib), .required = true, .min = 1, .max = KIB_MAX },
	{ "ways", yaml_set_u8, offsetof(struct raw_level, ways), .required = true, .min = 1, .max = TLB_WAYS_MAX },
	{ "policy", yaml_set_choice, offsetof(struct raw_level, policy), .more = policies },
	{ "holds", yaml_set_choice, offsetof(struct raw_level, holds), .more = holds },
	{ "cycles", yaml_set_u64, offsetof(struct raw_level, cycles), .required = true, .max = CYCLES_MAX },
	{ NULL },
};

static int set_level(struct yaml_doc *doc, const yaml_node_t *node, const struct yaml_field *f, void *to)
{
	struct cache_config *c = to;
	enum cache_level k = (enum cache_level)f->min;
	struct raw_level raw = { 0 };
	uint64_t sets;
	int code = yaml_read_mapping(doc, node, level_fields, &raw);

	if (code)
		return code;
	sets = raw.kib * LINES_A_KIB / raw.ways;
	if (sets * raw.ways != raw.kib * LINES_A_KIB || !is_pow2(sets) || sets > UINT16_MAX)
		return yaml_complain(doc, node, "%s: %llu KiB in %u ways make no power of two of sets of 64-byte lines (at most 32768)",
				     f->key, (unsigned long long)raw.kib, raw.ways);
	c->level[k] = (struct cache_level_config){ { (uint16_t)sets, raw.ways, raw.policy }, raw.holds };
	c->cycles[k] = raw.cycles;
	return 0;
}

static const struct yaml_field cache_fields[] = {
	{ "l1d", set_level, 0, .required = true, .min = CACHE_L1D },
	{ "l2", set_level, 0, .min = CACHE_L2 },
	{ "llc", set_level, 0, .min = CACHE_LLC },
	{ "memory_cycles", yaml_set_u64, offsetof(struct cache_config, cycles[CACHE_MEMORY]), .required = true,
	  .max = CYCLES_MAX },
	{ "source", yaml_set_string, offsetof(struct cache_config, source) },
	{ NULL },
};

int machine_set_caches(struct yaml_doc *doc, const yaml_node_t *node, const struct yaml_field *f, void *to)
{
	struct cache_config *c = to;
	const char *why;
	int code;

	*c = (struct cache_config){ .name = "machine", .source = "the user's file", .note = "" };
	code = yaml_read_mapping(doc, node, cache_fields, c);
	c->cycles_source = c->source;
	return code ? code : cache_config_validate(c, &why) ? yaml_complain(doc, node, "%s", why) : 0;
}

static const char *model_name(unsigned i)
{
	return i < CACHE_PRESETS ? cache_presets[i]->name : i == CACHE_PRESETS ? "machine" : NULL;
}

/* A cost that is still the default's gives way to the model's own latency. */
static void take_latencies(const struct cache_config *c, struct cost_table *t)
{
	for (unsigned i = 0; i < CACHE_PLACES; i++) {
		struct cost *cost = &t->of[COST_CACHE_L1 + i];

		if (cost->source != cost_default.of[COST_CACHE_L1 + i].source)
			continue;
		cost->cycles = c->cycles[i];
		cost->source = c->cycles_source;
	}
}

int caches_choose(const char *name, struct machine_file *m, const struct cache_config **out, struct trace_error *err)
{
	bool own = strcmp(name, "machine") == 0;

	*out = own ? &m->caches : cache_preset_find(name);
	if (!*out)
		return names_unknown(err, "", "model of caches", name, model_name);
	if (!(*out)->name[0])
		return error_set(err, EXIT_USAGE, "--caches machine: machine %s has no caches; add 'caches:' to a file for --machine, or name a model",
				 m->name);
	take_latencies(*out, &m->cost);
	return 0;
}
