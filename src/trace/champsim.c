/* SPDX-License-Identifier: MIT */
/*
 * ChampSim's traces (its inc/trace_instruction.h): one record an instruction,
 * 64 bytes, little-endian, nothing before the first and nothing after the last.
 *
 *     0  ip                       8  is_branch        9  branch_taken
 *    10  2 registers written     12  4 registers read
 *    16  2 addresses stored to   32  4 addresses loaded from      0: none
 *
 * There is no signature and there are no sizes: each access is of one byte.
 * The order is that of an instruction: its fetch, its loads, its stores.
 */
#include <assert.h>
#include <string.h>

#include "trace/source.h"

enum { STORES = 2, LOADS = 4, RECORD_REFS = 1 + LOADS + STORES };

struct champsim_record {
	uint64_t ip;
	uint8_t is_branch, branch_taken;
	uint8_t registers[6];
	uint64_t store[STORES], load[LOADS];
};
static_assert(sizeof(struct champsim_record) == 64, "the tracer writes its struct as it stands");

enum {
	RECOGNISE_MIN = 16, /* records: fewer could be anything */
};

struct champsim_reader {
	struct record_reader r;
};

/* NULL, or what is wrong with it. */
static const char *check(const struct champsim_record *c)
{
	if (c->is_branch > 1 || c->branch_taken > 1)
		return "no record of ChampSim's (is_branch and branch_taken are 0 or 1)";
	if (!ref_gva_ok(c->ip))
		return "the instruction's address does not fit in 58 bits (sign-extended)";
	for (unsigned i = 0; i < STORES; i++)
		if (!ref_gva_ok(c->store[i]))
			return "an address stored to does not fit in 58 bits (sign-extended)";
	for (unsigned i = 0; i < LOADS; i++)
		if (!ref_gva_ok(c->load[i]))
			return "an address loaded from does not fit in 58 bits (sign-extended)";
	return NULL;
}

static void put_record(struct trace_block *b, const struct champsim_record *c)
{
	block_put_ref(b, c->ip, ACC_EXEC, 1);
	for (unsigned i = 0; i < LOADS; i++)
		if (c->load[i])
			block_put_ref(b, c->load[i], ACC_READ, 1);
	for (unsigned i = 0; i < STORES; i++)
		if (c->store[i])
			block_put_ref(b, c->store[i], ACC_WRITE, 1);
}

static int champsim_read(struct trace *t, struct trace_block *b, struct trace_error *err)
{
	struct champsim_reader *c = container_of(t, struct champsim_reader, r.file.t);
	struct champsim_record record;
	const uint8_t *p;
	const char *wrong;

	b->nrefs = b->nevents = 0;
	while (!c->r.damage.exit_code && b->nrefs <= TRACE_BLOCK_REFS - RECORD_REFS &&
	       (p = record_next(&c->r, sizeof(record))) != NULL) {
		memcpy(&record, p, sizeof(record));
		wrong = check(&record);
		if (unlikely(wrong))
			record_damaged(&c->r, sizeof(record), wrong);
		else
			put_record(b, &record);
	}
	c->r.file.barren = 0;
	return record_result(&c->r, b, err);
}

static int champsim_rewind(struct trace *t, struct trace_error *err)
{
	return record_rewind(&container_of(t, struct champsim_reader, r.file.t)->r, err);
}

static const struct trace_ops champsim_ops = {
	.read = champsim_read, .rewind = champsim_rewind, .close = trace_file_close,
};

/*
 * Is every record a possible one? Two flag bytes and seven addresses each, over
 * so many records, leave nothing to chance; but the other formats are asked first.
 */
static bool champsim_recognises(const struct trace_format *f, const struct trace_head *head)
{
	struct champsim_record c;
	size_t n = head->n / sizeof(c);

	if (n < RECOGNISE_MIN)
		return false;
	for (size_t i = 0; i < n; i++) {
		memcpy(&c, head->bytes + i * sizeof(c), sizeof(c));
		if (check(&c) || !c.ip || (c.branch_taken && !c.is_branch))
			return false;
	}
	return true;
}

static struct trace *champsim_open(const struct trace_format *f, const struct trace_head *head, struct trace_error *err)
{
	struct champsim_reader *c = record_open(f, &champsim_ops, sizeof(*c), head, err);

	return c ? &c->r.file.t : NULL;
}

const struct trace_format champsim_format = {
	.name = "champsim",
	.suffix = ".champsimtrace .champsim .champsim.trace",
	.summary = "ChampSim's tracers: 64-byte records of instructions and their addresses",
	.recognises = champsim_recognises,
	.open = champsim_open,
};
