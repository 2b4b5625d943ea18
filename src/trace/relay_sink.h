/* SPDX-License-Identifier: MIT */
/* The recorder's end of the relay: from its queue into a .qtr file. */
#ifndef QUIRE_TRACE_RELAY_SINK_H
#define QUIRE_TRACE_RELAY_SINK_H

#include "trace/qtr.h"
#include "trace/relay.h"

struct relay_sink {
	struct qtr_writer *out;
	uint64_t limit;      /* of references; 0: none */
	uint64_t insns;      /* executed before what comes next */
	uint32_t pid, tid;   /* whose references came last; 0: nobody's */
	bool full;           /* the limit is reached: what comes is dropped */
	struct trace_error err; /* of the first write that failed */
};

/* Takes all that stands in the queue now. False: the recording must end (the limit, or sink->err). */
bool relay_sink_drain(struct relay_sink *sink, struct relay_control *c);

#endif
