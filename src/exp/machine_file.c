/* SPDX-License-Identifier: MIT */
/*
 * Processors of the user's own, in YAML (machines/README.md has the keys): a
 * preset as the base, TLB and walk-cache geometry over it, costs over the
 * default table.
 */
#include <stddef.h>
#include <string.h>

#include "exp/exp.h"
#include "exp/machine_caches.h"
#include "exp/names.h"
#include "exp/yaml_doc.h"
#include "tlb/policy.h"

/* An array as a file says it: entries and ways; sets follow. */
struct raw_array {
	uint64_t entries;
	uint8_t ways, policy;
};

static const char *policy_at(unsigned i)
{
	return tlb_policy_is_known(i) ? tlb_policy_name((enum tlb_policy)i) : NULL;
}

static int set_policy(struct yaml_doc *doc, const yaml_node_t *node, const struct yaml_field *f, void *to)
{
	const char *name = yaml_scalar(doc, node, f->key);
	char where[160];

	if (!name)
		return EXIT_USAGE;
	for (unsigned i = 0; policy_at(i); i++)
		if (strcmp(policy_at(i), name) == 0) {
			*(uint8_t *)to = (uint8_t)i;
			return 0;
		}
	snprintf(where, sizeof(where), "%.120s:%zu: ", doc->file, node->start_mark.line + 1);
	return names_unknown(doc->err, where, "policy", name, policy_at);
}

static const struct yaml_field array_fields[] = {
	{ "entries", yaml_set_u64, offsetof(struct raw_array, entries), .required = true, .max = 1 << 20 },
	{ "ways", yaml_set_u8, offsetof(struct raw_array, ways), .min = 1, .max = TLB_WAYS_MAX },
	{ "policy", set_policy, offsetof(struct raw_array, policy) },
	{ NULL },
};

static int set_array(struct yaml_doc *doc, const yaml_node_t *node, const struct yaml_field *f, void *to)
{
	struct tlb_array_config *out = to;
	struct raw_array raw = { 0 };
	uint64_t sets;
	int code = yaml_read_mapping(doc, node, array_fields, &raw);

	if (code)
		return code;
	if (raw.entries == 0) {
		*out = (struct tlb_array_config){ 0 };
		return 0;
	}
	if (!raw.ways) {
		if (raw.entries > TLB_WAYS_MAX)
			return yaml_complain(doc, node, "%s has no ways; add 'ways: N'", f->key);
		raw.ways = (uint8_t)raw.entries; /* fully associative */
	}
	sets = raw.entries / raw.ways;
	if (sets * raw.ways != raw.entries || !is_pow2(sets) || sets > UINT16_MAX)
		return yaml_complain(doc, node, "%s: %llu entries in %u ways make no power of two of sets (at most 32768)",
				     f->key, (unsigned long long)raw.entries, raw.ways);
	*out = (struct tlb_array_config){ (uint16_t)sets, raw.ways, raw.policy };
	return 0;
}

static const struct yaml_field class_fields[] = {
	{ "small", set_array, 0 },
	{ "large", set_array, sizeof(struct tlb_array_config) },
	{ "huge", set_array, 2 * sizeof(struct tlb_array_config) },
	{ NULL },
};

static const struct yaml_field level_fields[] = {
	{ "level0", set_array, 0 },
	{ "level1", set_array, sizeof(struct tlb_array_config) },
	{ "level2", set_array, 2 * sizeof(struct tlb_array_config) },
	{ "level3", set_array, 3 * sizeof(struct tlb_array_config) },
	{ NULL },
};

static const struct yaml_field tlb_fields[] = {
	{ "l1i", yaml_set_mapping, offsetof(struct tlb_config, l1i), .more = class_fields },
	{ "l1d", yaml_set_mapping, offsetof(struct tlb_config, l1d), .more = class_fields },
	{ "l2", yaml_set_mapping, offsetof(struct tlb_config, l2), .more = class_fields },
	{ "l2_shared_large", yaml_set_bool, offsetof(struct tlb_config, l2_shared_large) },
	{ "l2_shared_huge", yaml_set_bool, offsetof(struct tlb_config, l2_shared_huge) },
	{ "walk", yaml_set_mapping, offsetof(struct tlb_config, walk), .more = level_fields },
	{ "host_walk", yaml_set_mapping, offsetof(struct tlb_config, host_walk), .more = level_fields },
	{ "nested", set_array, offsetof(struct tlb_config, nested) },
	{ "walk_combined", yaml_set_bool, offsetof(struct tlb_config, walk_combined) },
	{ NULL },
};

static const struct yaml_field cost_fields[] = {
	{ "cycles", yaml_set_u64, offsetof(struct cost, cycles), .required = true, .max = UINT64_C(1) << 32 },
	{ "source", yaml_set_string, offsetof(struct cost, source) },
	{ NULL },
};

static const char *cost_name(unsigned i)
{
	return i < COST_EVENTS ? cost_default.of[i].name : NULL;
}

/* "walk_ref: 30" or "walk_ref: {cycles: 30, source: …}". */
static int set_cost(struct yaml_doc *doc, const yaml_node_t *key, const yaml_node_t *value, struct cost_table *table)
{
	static const struct yaml_field plain = { "the cost", yaml_set_u64, .max = UINT64_C(1) << 32 };
	const char *name = yaml_scalar(doc, key, "a cost's name");
	char where[160];

	if (!name)
		return EXIT_USAGE;
	for (unsigned i = 0; i < COST_EVENTS; i++) {
		struct cost *c = &table->of[i];

		if (strcmp(c->name, name) != 0)
			continue;
		c->source = "the user's file";
		return value->type == YAML_MAPPING_NODE ? yaml_read_mapping(doc, value, cost_fields, c) :
							  plain.set(doc, value, &plain, &c->cycles);
	}
	snprintf(where, sizeof(where), "%.120s:%zu: ", doc->file, key->start_mark.line + 1);
	return names_unknown(doc->err, where, "cost", name, cost_name);
}

static int set_costs(struct yaml_doc *doc, const yaml_node_t *node, const struct yaml_field *f, void *to)
{
	if (node->type != YAML_MAPPING_NODE)
		return yaml_complain(doc, node, "cost must be a mapping: lines of 'event: cycles'");
	for (const yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top; p++) {
		int code = set_cost(doc, yaml_document_get_node(&doc->document, p->key),
				    yaml_document_get_node(&doc->document, p->value), to);

		if (code)
			return code;
	}
	return 0;
}

/* Read before all else, as the others write over it. */
static int apply_base(struct yaml_doc *doc, const yaml_node_t *root, struct machine_file *out)
{
	const struct tlb_config *preset = tlb_preset_find("none");
	char where[160];

	for (const yaml_node_pair_t *p = root->data.mapping.pairs.start; p < root->data.mapping.pairs.top; p++) {
		const yaml_node_t *key = yaml_document_get_node(&doc->document, p->key);
		const yaml_node_t *value = yaml_document_get_node(&doc->document, p->value);
		const char *name;

		if (key->type != YAML_SCALAR_NODE || strcmp((const char *)key->data.scalar.value, "base") != 0)
			continue;
		name = yaml_scalar(doc, value, "base");
		if (!name)
			return EXIT_USAGE;
		preset = tlb_preset_find(name);
		if (!preset) {
			snprintf(where, sizeof(where), "%.120s:%zu: ", doc->file, value->start_mark.line + 1);
			return names_unknown(doc->err, where, "preset", name, names_machine);
		}
	}
	out->tlb = *preset;
	out->cost = cost_default;
	out->caches.name[0] = '\0';
	return 0;
}

static int base_was_read(struct yaml_doc *doc, const yaml_node_t *node, const struct yaml_field *f, void *to)
{
	return 0; /* apply_base did */
}

static const struct yaml_field machine_fields[] = {
	{ "name", yaml_set_string, offsetof(struct machine_file, name), .required = true,
	  .max = sizeof(((struct tlb_config *)0)->name) },
	{ "base", base_was_read, 0 },
	{ "source", yaml_set_string, offsetof(struct machine_file, tlb.source) },
	{ "note", yaml_set_string, offsetof(struct machine_file, tlb.note) },
	{ "tlb", yaml_set_mapping, offsetof(struct machine_file, tlb), .more = tlb_fields },
	{ "caches", machine_set_caches, offsetof(struct machine_file, caches) },
	{ "cost", set_costs, offsetof(struct machine_file, cost) },
	{ NULL },
};

static int read_machine(struct yaml_doc *doc, struct machine_file *out)
{
	yaml_node_t *root = yaml_doc_root(doc);
	const char *why;
	int code;

	if (!root || root->type != YAML_MAPPING_NODE)
		return yaml_complain(doc, root, "a machine file is a mapping; begin with 'name: …'");
	doc->text = out->text;
	doc->text_left = sizeof(out->text);
	code = apply_base(doc, root, out);
	if (!code)
		code = yaml_read_mapping(doc, root, machine_fields, out);
	if (code)
		return code;
	strcpy(out->tlb.name, out->name);
	if (tlb_config_validate(&out->tlb, &why))
		return yaml_complain(doc, root, "%s", why);
	return 0;
}

int machine_parse(const char *file, const void *bytes, size_t len, struct machine_file *out, struct trace_error *err)
{
	struct yaml_doc doc;
	int code = yaml_doc_parse(&doc, file, bytes, len, err);

	if (code)
		return code;
	code = read_machine(&doc, out);
	yaml_doc_close(&doc);
	return code;
}

bool is_file_name(const char *s)
{
	size_t len = strlen(s);

	return strchr(s, '/') || (len > 5 && strcmp(s + len - 5, ".yaml") == 0) ||
	       (len > 4 && strcmp(s + len - 4, ".yml") == 0);
}

int machine_load(const char *name_or_file, struct machine_file *out, struct trace_error *err)
{
	const struct tlb_config *preset = tlb_preset_find(name_or_file);
	struct yaml_doc doc;
	int code;

	if (preset) {
		out->tlb = *preset;
		out->cost = cost_default;
		out->caches.name[0] = '\0';
		snprintf(out->name, sizeof(out->name), "%s", preset->name);
		return 0;
	}
	if (!is_file_name(name_or_file))
		return names_unknown(err, "", "machine", name_or_file, names_machine);
	code = yaml_doc_open(&doc, name_or_file, err);
	if (code)
		return code;
	code = read_machine(&doc, out);
	yaml_doc_close(&doc);
	return code;
}
