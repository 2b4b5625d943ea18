/* SPDX-License-Identifier: MIT */
/*
 * What stands in a .qtr file (docs/qtr-format.md is the specification):
 *
 *   struct qtr_file, then blocks at multiples of 64 bytes:
 *   struct qtr_head (64 bytes), body_len bytes, zeros up to the next multiple
 *
 * A body begins with the XXH3 of the rest of it. The body is written first and
 * its head last: a killed writer leaves zeros where the head would stand.
 */
#ifndef QUIRE_TRACE_QTR_FORMAT_H
#define QUIRE_TRACE_QTR_FORMAT_H

#include <assert.h>

#include "base/bits.h"
#include "base/types.h"
#include "base/digest.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "fields of .qtr are little-endian; this host needs conversions that nobody has written"
#endif

enum {
	QTR_VERSION = 1,
	QTR_ALIGN = 64,
	QTR_SUM_BYTES = 8, /* at the beginning of each body */
	QTR_BLOCK_REFS = 15 << 16,    /* usual */
	QTR_BLOCK_REFS_MAX = 1 << 20, /* a reader need not take more */
	QTR_BLOCK_EVENTS_MAX = 1 << 16,
	QTR_PAGES_MAX = 256,
	QTR_BODY_MAX = 64 << 20,
};

#define QTR_FILE_MAGIC UINT64_C(0x0a1a0a0d52545189) /* 89 "QTR" 0d 0a 1a 0a */
#define QTR_HEAD_MAGIC 0x42525451u                  /* "QTRB" */

/* The columns of a block of references (docs/qtr-format.md, "References"), in their order. */
enum qtr_column { QTR_RUNS, QTR_TEMPLATES, QTR_LENGTHS, QTR_DIFFERENCES, QTR_EVENTS, QTR_COLUMNS };

/* The body of QTR_REFS after its sum; then the columns, each compressed by zstd unless stored is raw. */
struct qtr_refs {
	uint32_t nruns, ntemplates, nslots, reserved;
	struct {
		uint32_t raw, stored;
	} column[QTR_COLUMNS];
};

enum {
	QTR_TEMPLATES_MAX = 1 << 16,
	QTR_RUN_MAX = 64,  /* references in a run */
	QTR_LENGTH_MAX = 8, /* bytes of a difference */
	QTR_TEMPLATE_FETCH = 0x80, /* of a template's first byte: its first reference is a fetch at its own address */
};

enum qtr_file_flags { QTR_TELLS_CALLS = 1, QTR_COUNTS_INSNS = 2 };

struct qtr_file {
	uint64_t magic;
	uint32_t version, flags;
	uint64_t reserved[5];
	uint64_t sum; /* XXH3 of what stands before it */
};

enum qtr_block_type { QTR_FACTS = 1, QTR_REFS = 2, QTR_PAGES = 3, QTR_INDEX = 4, QTR_END = 5 };

struct qtr_head {
	uint32_t magic;
	uint32_t type;
	uint32_t body_len; /* its sum included */
	uint32_t nrefs, nevents;
	uint32_t pid, tid; /* who runs before its first item; 0: not told yet */
	uint32_t reserved;
	uint64_t place;    /* of this head in the file */
	uint64_t first_ref, first_insn; /* so many before it */
	uint64_t sum;      /* XXH3 of what stands before it */
};
static_assert(sizeof(struct qtr_file) == QTR_ALIGN && sizeof(struct qtr_head) == QTR_ALIGN, "heads fill one unit");

/* The body of QTR_PAGES after its sum: nevents of these, compressed by zstd. */
struct qtr_page {
	uint64_t hash; /* XXH3 of bytes */
	uint8_t bytes[PAGE_SIZE];
};

/* The body of QTR_INDEX after its sum: one for each QTR_REFS block. */
struct qtr_index_entry {
	uint64_t place, first_ref, first_insn;
};

/* The body of QTR_END after its sum. The whole end block is 128 bytes, the file's last. */
struct qtr_end {
	uint64_t refs, events, insns, blocks, index_place;
	uint64_t reserved[2];
};
enum { QTR_END_BYTES = 128 };
static_assert(sizeof(struct qtr_head) + QTR_SUM_BYTES + sizeof(struct qtr_end) == QTR_END_BYTES, "found from the end");

static inline uint64_t qtr_file_sum(const struct qtr_file *f)
{
	return digest_bytes(f, offsetof(struct qtr_file, sum));
}

static inline uint64_t qtr_head_sum(const struct qtr_head *h)
{
	return digest_bytes(h, offsetof(struct qtr_head, sum));
}

#endif
