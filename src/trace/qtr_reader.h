/* SPDX-License-Identifier: MIT */
/* What the parts of the .qtr reader share. */
#ifndef QUIRE_TRACE_QTR_READER_H
#define QUIRE_TRACE_QTR_READER_H

#include "trace/qtr.h"
#include "trace/qtr_code.h"
#include "trace/source.h"

enum { QTR_READ_SLACK = 64 };

struct qtr_reader {
	struct trace_file file;
	size_t buf_pos, buf_len; /* of file.buf: the beginning that was read to recognise it */
	uint64_t at;             /* place in the file of what is read next */
	struct qtr_file start;
	struct qtr_head head;    /* of the block being decoded; its pid and tid follow what a seek skips */
	bool in_block, ended, closed;
	bool tell_owner;         /* after a seek: EV_SWITCH comes first */
	uint64_t skip_to;        /* and references before this one are left out */
	uint64_t refs;           /* number of the reference that comes next */
	struct qtr_decoder *decoder;
	uint8_t *body;
	size_t body_room;
	struct trace_block *scratch; /* for what is skipped */
	char *facts;
	struct qtr_index_entry *index; /* NULL: not looked for yet */
	struct qtr_counts counts;      /* found with it */
	bool index_closed;
	struct trace_error damage; /* told at the next read */
};

int qtr_damaged(struct qtr_reader *r, uint64_t place, const char *what);
bool is_valid_qtr_head(const struct qtr_head *h, uint64_t place);

#endif
