/* SPDX-License-Identifier: MIT */
/*
 * YAML files of the user's, read against a table of the keys they may hold.
 * Every complaint names FILE:LINE. Nothing in such a file is trusted: sizes
 * are bounded, kinds are checked, unknown keys are refused.
 *
 *     FILE ─ libyaml ─▶ nodes with lines ─ table of fields ─▶ a C struct
 */
#ifndef QUIRE_EXP_YAML_DOC_H
#define QUIRE_EXP_YAML_DOC_H

#include <yaml.h>

#include "exp/error.h"

enum { YAML_BYTES_MAX = 1 << 20 };

struct yaml_doc {
	yaml_document_t document;
	const char *file; /* as the user wrote it */
	struct trace_error *err;
	char *text; /* the caller's place for strings; NULL: none are kept */
	size_t text_left;
};

/* Opens a file: 0, or exit code 3 (unreadable) or 2 (not YAML). Close it only after 0. */
int yaml_doc_open(struct yaml_doc *doc, const char *file, struct trace_error *err);
/* The same from bytes in memory. */
int yaml_doc_parse(struct yaml_doc *doc, const char *file, const void *bytes, size_t len, struct trace_error *err);
void yaml_doc_close(struct yaml_doc *doc);

/* The first node of the file; NULL if it is empty. */
yaml_node_t *yaml_doc_root(struct yaml_doc *doc);

/* "FILE:LINE: …" about a node; returns exit code 2. */
int yaml_complain(struct yaml_doc *doc, const yaml_node_t *node, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* One key of a mapping. set() reads the node into `to`, which is base + offset. */
struct yaml_field {
	const char *key;
	int (*set)(struct yaml_doc *doc, const yaml_node_t *node, const struct yaml_field *f, void *to);
	size_t offset;
	bool required;
	uint64_t min, max; /* of numbers; max of strings: bytes of the array, or 0: a const char * into doc->text */
	const void *more;  /* what set() needs beside: yaml_set_mapping: fields; yaml_set_choice: names */
};

/* Reads a mapping by its table, which ends with a NULL key. 0 or 2. */
int yaml_read_mapping(struct yaml_doc *doc, const yaml_node_t *node, const struct yaml_field *fields, void *base);
/* Values: 0 or 2. */
int yaml_set_u64(struct yaml_doc *doc, const yaml_node_t *node, const struct yaml_field *f, void *to);
int yaml_set_u8(struct yaml_doc *doc, const yaml_node_t *node, const struct yaml_field *f, void *to);
int yaml_set_bool(struct yaml_doc *doc, const yaml_node_t *node, const struct yaml_field *f, void *to);
int yaml_set_string(struct yaml_doc *doc, const yaml_node_t *node, const struct yaml_field *f, void *to);
int yaml_set_mapping(struct yaml_doc *doc, const yaml_node_t *node, const struct yaml_field *f, void *to);
/* An index into the NULL-terminated list of names f->more, as uint8_t. */
int yaml_set_choice(struct yaml_doc *doc, const yaml_node_t *node, const struct yaml_field *f, void *to);
/* Bit number → mask of that bit, as uint64_t. */
int yaml_set_bit(struct yaml_doc *doc, const yaml_node_t *node, const struct yaml_field *f, void *to);

/* The text of a scalar without bytes of zero; NULL with a complaint about `what`. */
const char *yaml_scalar(struct yaml_doc *doc, const yaml_node_t *node, const char *what);

#endif
