/* SPDX-License-Identifier: MIT */
/*
 * Page-table formats of the user's own, in YAML (formats/README.md has the
 * keys). What is read here is only shaped into a struct gpt_format;
 * gpt_validate decides whether it is safe to walk.
 */
#include <stddef.h>
#include <string.h>

#include "exp/exp.h"
#include "exp/names.h"
#include "exp/yaml_doc.h"

struct raw_format {
	struct gpt_format fmt;
	uint8_t family;
	uint8_t pfn_bits;
	bool nx_gated;
};

static const char *const family_names[] = { "x86", "riscv", NULL }; /* as enum gpt_family */
static_assert(GPT_X86 == 0 && GPT_RISCV == 1, "indices into family_names");

#define AT(member) offsetof(struct raw_format, member)
#define BIT_FIELD(name) { #name, yaml_set_bit, AT(fmt.name), .max = 63 }

static const struct yaml_field bit_fields[] = {
	BIT_FIELD(valid), BIT_FIELD(read), BIT_FIELD(write), BIT_FIELD(exec), BIT_FIELD(no_exec),
	BIT_FIELD(user), BIT_FIELD(global), BIT_FIELD(accessed), BIT_FIELD(dirty), BIT_FIELD(page_size),
	BIT_FIELD(no_read), { NULL },
};

static const struct yaml_field pfn_fields[] = {
	{ "shift", yaml_set_u8, AT(fmt.pfn_shift), .required = true, .max = 63 },
	{ "bits", yaml_set_u8, AT(pfn_bits), .required = true, .min = 1, .max = 44 },
	{ NULL },
};

static const struct yaml_field level_fields[] = {
	{ "bits", yaml_set_u8, offsetof(struct gpt_level, bits), .required = true, .min = 1, .max = 14 },
	{ "leaf", yaml_set_bool, offsetof(struct gpt_level, leaf_ok) },
	{ "reserved_leaf", yaml_set_u64, offsetof(struct gpt_level, reserved_leaf), .max = UINT64_MAX },
	{ "reserved_table", yaml_set_u64, offsetof(struct gpt_level, reserved_table), .max = UINT64_MAX },
	{ NULL },
};

static int set_u32(struct yaml_doc *doc, const yaml_node_t *node, const struct yaml_field *f, void *to)
{
	uint64_t v;
	int code = yaml_set_u64(doc, node, f, &v);

	if (!code)
		*(uint32_t *)to = (uint32_t)v;
	return code;
}

/* A list of levels, the leaf first; shifts follow from the bits. */
static int set_levels(struct yaml_doc *doc, const yaml_node_t *node, const struct yaml_field *f, void *to)
{
	struct gpt_format *fmt = &((struct raw_format *)to)->fmt;
	uint8_t shift = PAGE_SHIFT;
	int code;

	if (node->type != YAML_SEQUENCE_NODE)
		return yaml_complain(doc, node, "levels must be a list, the leaf level first");
	fmt->levels = 0;
	for (const yaml_node_item_t *i = node->data.sequence.items.start; i < node->data.sequence.items.top; i++) {
		const yaml_node_t *item = yaml_document_get_node(&doc->document, *i);
		struct gpt_level *level = &fmt->level[fmt->levels];

		if (fmt->levels == GPT_LEVELS_MAX)
			return yaml_complain(doc, item, "a format has at most %d levels; remove some", GPT_LEVELS_MAX);
		*level = (struct gpt_level){ .shift = shift, .leaf_ok = fmt->levels == 0 };
		code = yaml_read_mapping(doc, item, level_fields, level);
		if (code)
			return code;
		shift += level->bits;
		fmt->levels++;
	}
	fmt->va_bits = shift;
	return 0;
}

static const struct yaml_field format_fields[] = {
	{ "name", yaml_set_string, AT(fmt.name), .required = true, .max = GPT_NAME_MAX },
	{ "source", yaml_set_string, AT(fmt.source) },
	{ "family", yaml_set_choice, AT(family), .required = true, .more = family_names },
	{ "entry_size", yaml_set_u8, AT(fmt.entry_size), .required = true, .min = 2, .max = 8 },
	{ "sign_extended", yaml_set_bool, AT(fmt.sign_extended) },
	{ "pfn", yaml_set_mapping, 0, .required = true, .more = pfn_fields },
	{ "bits", yaml_set_mapping, 0, .required = true, .more = bit_fields },
	{ "nx_gated", yaml_set_bool, AT(nx_gated) },
	{ "x4_bits", yaml_set_u8, AT(fmt.x4_bits), .max = 2 },
	{ "asid_bits", set_u32, AT(fmt.asid_bits), .max = 16 },
	{ "root_in_registers", yaml_set_bool, AT(fmt.root_in_registers) },
	{ "top_no_rights", yaml_set_bool, AT(fmt.top_no_rights) },
	{ "pse_gated", yaml_set_bool, AT(fmt.pse_gate) },
	{ "levels", set_levels, 0, .required = true },
	{ NULL },
};

static int read_format(struct yaml_doc *doc, struct format_file *out)
{
	struct raw_format raw = { .fmt.source = "the user's file" };
	yaml_node_t *root = yaml_doc_root(doc);
	const char *why;
	int code;

	doc->text = out->text;
	doc->text_left = sizeof(out->text);
	code = yaml_read_mapping(doc, root, format_fields, &raw);
	if (code)
		return code;
	raw.fmt.family = (enum gpt_family)raw.family;
	raw.fmt.pfn_mask = low_bits(raw.pfn_bits) << raw.fmt.pfn_shift;
	raw.fmt.pa_bits = (uint8_t)(PAGE_SHIFT + raw.pfn_bits);
	raw.fmt.nx_gate = raw.nx_gated ? raw.fmt.no_exec : 0;
	if (gpt_validate(&raw.fmt, &why))
		return yaml_complain(doc, root, "%s", why);
	if (gpt_find(raw.fmt.name))
		return yaml_complain(doc, root, "%s is the name of a built-in format; choose another", raw.fmt.name);
	out->fmt = raw.fmt;
	return 0;
}

int format_parse(const char *file, const void *bytes, size_t len, struct format_file *out, struct trace_error *err)
{
	struct yaml_doc doc;
	int code = yaml_doc_parse(&doc, file, bytes, len, err);

	if (code)
		return code;
	code = read_format(&doc, out);
	yaml_doc_close(&doc);
	return code;
}

int format_load(const char *name_or_file, struct format_file *out, struct trace_error *err)
{
	const struct gpt_format *fmt = gpt_find(name_or_file);
	struct yaml_doc doc;
	int code;

	if (fmt) {
		out->fmt = *fmt;
		return 0;
	}
	if (!is_file_name(name_or_file))
		return names_unknown(err, "", "format", name_or_file, names_format);
	code = yaml_doc_open(&doc, name_or_file, err);
	if (code)
		return code;
	code = read_format(&doc, out);
	yaml_doc_close(&doc);
	return code;
}
