/* SPDX-License-Identifier: MIT */
/* The body of a block of references: from and to struct trace_block. */
#ifndef QUIRE_TRACE_QTR_CODE_H
#define QUIRE_TRACE_QTR_CODE_H

#include "trace/qtr_format.h"
#include "trace/trace.h"

/*
 * References come in runs: an instruction fetch and the data references up to
 * the next (or, where there are no fetches, single references). Runs that
 * begin at the same address with the same kinds and sizes are the same
 * template; each reference of a template is a slot, which knows its last
 * address. So a run is its template's number, and a reference the difference
 * to its slot's last address, mostly of no or one byte.
 */

struct qtr_encoder;
struct qtr_decoder;

struct qtr_encoder *qtr_encoder_new(void);
void qtr_encoder_free(struct qtr_encoder *e);
/* Appends at most TRACE_BLOCK_REFS items to the block under way. There must be room: see qtr_encoder_has_room. */
void qtr_encode(struct qtr_encoder *e, const ref_t *items, uint32_t n, const struct trace_event *events);
/* Room for what a trace_block may hold? */
bool qtr_encoder_has_room(const struct qtr_encoder *e);
/* References and events under way. */
uint32_t qtr_encoder_refs(const struct qtr_encoder *e);
uint32_t qtr_encoder_events(const struct qtr_encoder *e);
/* The body, valid until the next call, QTR_SUM_BYTES free at its beginning; begins a new block. NULL: no memory. */
uint8_t *qtr_encode_finish(struct qtr_encoder *e, size_t *len);

struct qtr_decoder *qtr_decoder_new(void);
void qtr_decoder_free(struct qtr_decoder *d);
/* Takes a body past its sum. False: its bytes make no sense. body[len …] must be readable for 16 bytes more. */
bool qtr_decode_begin(struct qtr_decoder *d, const struct qtr_head *h, const uint8_t *body, size_t len);
/* Appends items to b until it is full, max_refs references were appended, or the block is done. False: damaged. */
bool qtr_decode(struct qtr_decoder *d, struct trace_block *b, uint32_t max_refs);
/* Is anything left of the block? */
bool qtr_decode_more(const struct qtr_decoder *d);

#endif
