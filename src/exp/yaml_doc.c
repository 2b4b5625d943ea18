/* SPDX-License-Identifier: MIT */
#include "exp/yaml_doc.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static int load(struct yaml_doc *doc, yaml_parser_t *parser)
{
	if (yaml_parser_load(parser, &doc->document))
		return 0;
	if (parser->error == YAML_MEMORY_ERROR)
		return error_set(doc->err, EXIT_RESOURCES, "%s: no memory to read it", doc->file);
	return error_set(doc->err, EXIT_USAGE, "%s:%zu: not YAML: %s; check the indentation and quotes there",
			 doc->file, parser->problem_mark.line + 1,
			 parser->problem ? parser->problem : "unreadable characters");
}

int yaml_doc_parse(struct yaml_doc *doc, const char *file, const void *bytes, size_t len, struct trace_error *err)
{
	yaml_parser_t parser;
	int code;

	*doc = (struct yaml_doc){ .file = file, .err = err };
	if (!yaml_parser_initialize(&parser))
		return error_set(err, EXIT_RESOURCES, "%s: no memory to read it", file);
	yaml_parser_set_input_string(&parser, bytes, len);
	code = load(doc, &parser);
	yaml_parser_delete(&parser);
	return code;
}

int yaml_doc_open(struct yaml_doc *doc, const char *file, struct trace_error *err)
{
	FILE *f = fopen(file, "rb");
	char *bytes;
	size_t len;
	int code;

	if (!f)
		return error_set(err, EXIT_INPUT, "%s: %s; give the path of a YAML file", file, strerror(errno));
	bytes = malloc(YAML_BYTES_MAX + 1);
	if (!bytes) {
		fclose(f);
		return error_set(err, EXIT_RESOURCES, "%s: no memory to read it", file);
	}
	len = fread(bytes, 1, YAML_BYTES_MAX + 1, f);
	if (ferror(f))
		code = error_set(err, EXIT_INPUT, "%s: %s; give the path of a YAML file", file, strerror(errno));
	else if (len > YAML_BYTES_MAX)
		code = error_set(err, EXIT_USAGE, "%s: more than 1 MiB; no such file needs that", file);
	else
		code = yaml_doc_parse(doc, file, bytes, len, err);
	free(bytes);
	fclose(f);
	return code;
}

void yaml_doc_close(struct yaml_doc *doc)
{
	yaml_document_delete(&doc->document);
}

yaml_node_t *yaml_doc_root(struct yaml_doc *doc)
{
	return yaml_document_get_root_node(&doc->document);
}

int yaml_complain(struct yaml_doc *doc, const yaml_node_t *node, const char *fmt, ...)
{
	char text[200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return error_set(doc->err, EXIT_USAGE, "%s:%zu: %s", doc->file, node ? node->start_mark.line + 1 : 1, text);
}

const char *yaml_scalar(struct yaml_doc *doc, const yaml_node_t *node, const char *what)
{
	if (node->type != YAML_SCALAR_NODE) {
		yaml_complain(doc, node, "%s needs a single value here, not a list or mapping", what);
		return NULL;
	}
	if (strlen((const char *)node->data.scalar.value) != node->data.scalar.length) {
		yaml_complain(doc, node, "%s has a byte of zero in it; remove it", what);
		return NULL;
	}
	return (const char *)node->data.scalar.value;
}

static const struct yaml_field *find_field(const struct yaml_field *fields, const char *key)
{
	for (; fields->key; fields++)
		if (strcmp(fields->key, key) == 0)
			return fields;
	return NULL;
}

static int unknown_key(struct yaml_doc *doc, const yaml_node_t *node, const char *key, const struct yaml_field *fields)
{
	char known[160] = "";
	size_t len = 0;

	for (; fields->key && len < sizeof(known); fields++)
		len += (size_t)snprintf(known + len, sizeof(known) - len, "%s%s", len ? ", " : "", fields->key);
	return yaml_complain(doc, node, "unknown key '%.30s'; there are: %s", key, known);
}

int yaml_read_mapping(struct yaml_doc *doc, const yaml_node_t *node, const struct yaml_field *fields, void *base)
{
	uint64_t seen = 0;

	if (!node || node->type != YAML_MAPPING_NODE)
		return yaml_complain(doc, node, "a mapping is needed here: lines of 'key: value'");
	for (const yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top; p++) {
		const yaml_node_t *key_node = yaml_document_get_node(&doc->document, p->key);
		const yaml_node_t *value = yaml_document_get_node(&doc->document, p->value);
		const char *key = yaml_scalar(doc, key_node, "a key");
		const struct yaml_field *f;
		int code;

		if (!key)
			return EXIT_USAGE;
		f = find_field(fields, key);
		if (!f)
			return unknown_key(doc, key_node, key, fields);
		if (seen & UINT64_C(1) << (f - fields))
			return yaml_complain(doc, key_node, "'%s' stands here twice; keep one", key);
		seen |= UINT64_C(1) << (f - fields);
		code = f->set(doc, value, f, (char *)base + f->offset);
		if (code)
			return code;
	}
	for (const struct yaml_field *f = fields; f->key; f++)
		if (f->required && !(seen & UINT64_C(1) << (f - fields)))
			return yaml_complain(doc, node, "'%s' is missing; add it", f->key);
	return 0;
}

int yaml_set_mapping(struct yaml_doc *doc, const yaml_node_t *node, const struct yaml_field *f, void *to)
{
	return yaml_read_mapping(doc, node, f->more, to);
}

int yaml_set_u64(struct yaml_doc *doc, const yaml_node_t *node, const struct yaml_field *f, void *to)
{
	const char *s = yaml_scalar(doc, node, f->key);
	uint64_t v;
	char *end;

	if (!s)
		return EXIT_USAGE;
	errno = 0;
	v = strtoull(s, &end, 0);
	if (s[0] < '0' || s[0] > '9' || *end || errno || v < f->min || v > f->max)
		return yaml_complain(doc, node, "%s is '%.30s'; it must be a number from %llu to %llu", f->key, s,
				     (unsigned long long)f->min, (unsigned long long)f->max);
	memcpy(to, &v, sizeof(v));
	return 0;
}

int yaml_set_u8(struct yaml_doc *doc, const yaml_node_t *node, const struct yaml_field *f, void *to)
{
	uint64_t v;
	int code = yaml_set_u64(doc, node, f, &v);

	if (!code)
		*(uint8_t *)to = (uint8_t)v;
	return code;
}

int yaml_set_bit(struct yaml_doc *doc, const yaml_node_t *node, const struct yaml_field *f, void *to)
{
	uint64_t v;
	int code = yaml_set_u64(doc, node, f, &v);

	if (!code) {
		v = UINT64_C(1) << v;
		memcpy(to, &v, sizeof(v));
	}
	return code;
}

int yaml_set_bool(struct yaml_doc *doc, const yaml_node_t *node, const struct yaml_field *f, void *to)
{
	const char *s = yaml_scalar(doc, node, f->key);

	if (!s)
		return EXIT_USAGE;
	if (strcmp(s, "true") == 0 || strcmp(s, "yes") == 0 || strcmp(s, "on") == 0)
		*(bool *)to = true;
	else if (strcmp(s, "false") == 0 || strcmp(s, "no") == 0 || strcmp(s, "off") == 0)
		*(bool *)to = false;
	else
		return yaml_complain(doc, node, "%s is '%.30s'; it must be true or false", f->key, s);
	return 0;
}

int yaml_set_string(struct yaml_doc *doc, const yaml_node_t *node, const struct yaml_field *f, void *to)
{
	const char *s = yaml_scalar(doc, node, f->key);
	size_t len;

	if (!s)
		return EXIT_USAGE;
	len = strlen(s) + 1;
	for (const char *p = s; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 127)
			return yaml_complain(doc, node, "%s has a control character in it; remove it", f->key);
	if (f->max) {
		if (len > f->max)
			return yaml_complain(doc, node, "%s is longer than %llu bytes; shorten it", f->key,
					     (unsigned long long)f->max - 1);
		memcpy(to, s, len);
		return 0;
	}
	if (len > doc->text_left)
		return yaml_complain(doc, node, "the texts of this file are too long together; shorten %s", f->key);
	memcpy(doc->text, s, len);
	*(const char **)to = doc->text;
	doc->text += len;
	doc->text_left -= len;
	return 0;
}

int yaml_set_choice(struct yaml_doc *doc, const yaml_node_t *node, const struct yaml_field *f, void *to)
{
	const char *s = yaml_scalar(doc, node, f->key);
	const char *const *names = f->more;
	char known[120] = "";
	size_t len = 0;

	if (!s)
		return EXIT_USAGE;
	for (unsigned i = 0; names[i]; i++)
		if (strcmp(names[i], s) == 0) {
			*(uint8_t *)to = (uint8_t)i;
			return 0;
		}
	for (unsigned i = 0; names[i] && len < sizeof(known); i++)
		len += (size_t)snprintf(known + len, sizeof(known) - len, "%s%s", i ? ", " : "", names[i]);
	return yaml_complain(doc, node, "%s is '%.30s'; there are: %s", f->key, s, known);
}
