/* SPDX-License-Identifier: MIT */
/*
 * An organisation, a model of what it should hold, and operations on both.
 *
 * The model is an array of mappings, searched from its start. Wherever pt_flat
 * can hold a key it runs alongside, one flat table a space, and must answer
 * alike. Operations are made of eight bytes each, so that a test draws them
 * from a generator, a fuzzer from its input, and a failing sequence can be cut
 * down one operation at a time.
 */
#ifndef QUIRE_CONFORM_PT_RIG_H
#define QUIRE_CONFORM_PT_RIG_H

#include "base/rng.h"
#include "conform/test_mem.h"
#include "pt/pt.h"

enum { RIG_SPACES = 3, MODEL_MAX = 1024, OP_BYTES = 8, RIG_REGIONS = 4 };

struct rig_config {
	const struct pt_org *org;
	uint32_t flags;
	struct pt_params params;
	unsigned nspaces;
	uint64_t region[RIG_REGIONS]; /* first pages of the ranges that keys are in */
	unsigned nregions;
	uint64_t region_pages;
	uint64_t orders; /* of those the organisation has, the ones that fit a region */
	uint8_t rights[RIGHT_ALL + 1]; /* that the format can say */
	unsigned nrights;
	uint64_t mem_frames;
};

struct model {
	unsigned n;
	struct pt_entry e[MODEL_MAX];
};

enum op_kind { OP_MAP, OP_UNMAP, OP_PROTECT, OP_LOOKUP, OP_NEXT, OP_UNMAP_RANGE, OP_DROP_SPACE };

struct op {
	enum op_kind kind;
	struct pt_key key;
	uint8_t order, rights;
	uint64_t frame;
	uint64_t end; /* of a range */
	int pick;     /* >= 0: the key is that of mapping pick modulo the number there are */
	enum acc_kind acc;
	enum walk_ad ad;
	bool user;
	uint32_t ctl;
};

struct rig {
	const struct rig_config *c;
	struct test_mem mem, flat_mem;
	struct pt pt, flat[RIG_SPACES];
	bool has_flat;
	struct model model;
	char why[256]; /* of the first difference */
};

/* Configurations: every organisation with every set of options, every built-in format, both stages. */
enum { RIG_CONFIGS_MAX = 256 };
unsigned rig_configs(struct rig_config *out, unsigned max);
/* The same of one organisation. */
unsigned rig_configs_of(const struct pt_org *org, struct rig_config *out, unsigned max);
/* False: this organisation cannot take these. */
bool rig_config_init(struct rig_config *c, const struct pt_org *org, uint32_t flags,
		     const struct gpt_format *fmt, bool second_stage);
void rig_config_name(const struct rig_config *c, char *s, size_t n);

/* False: the organisation could not create its table; r->why says so, and nothing is left. */
bool rig_init(struct rig *r, const struct rig_config *c);
/* Destroys the tables too, and checks that every frame came back. */
bool rig_fini(struct rig *r);
/* Takes the memory from under a table that is not right any more. */
void rig_abandon(struct rig *r);

struct op op_make(const struct rig_config *c, const uint8_t bytes[OP_BYTES]);
void op_print(const struct op *op, char *s, size_t n);

/* An operation alone: what the table returned, without a word to the model. */
int rig_apply_table(struct rig *r, struct op *op);
/* What the model says it must return; changes the model. */
int rig_apply_model(struct rig *r, const struct op *op);
/* Both, and every comparison that can be made. False: r->why says what differs. */
bool rig_apply(struct rig *r, const struct op *op);
/* Resolves op->pick into a key. */
void rig_resolve(const struct rig *r, struct op *op);
/* Audit, counts, and each mapping by next and by find. */
bool rig_check_all(struct rig *r);
bool rig_check_audit(struct rig *r);

/* The mapping of a model that covers a page, or NULL. */
struct pt_entry *model_find(struct model *m, struct pt_key key);
#endif
