/* SPDX-License-Identifier: MIT */
/* Reference streams for benchmarks: the engine and the bare loop read the very same records. */
#ifndef QUIRE_BENCH_STREAMS_H
#define QUIRE_BENCH_STREAMS_H

#include <stddef.h>

#include "trace/ref.h"

enum stream_kind {
	STREAM_HOT,    /* 48 pages at random: all in L1 */
	STREAM_MIXED,  /* like a program: 44 % on another page than the one before, 96 % L1 hits */
	STREAM_L2,     /* 1,000 pages at random: L2 hits */
	STREAM_RANDOM, /* uniform over 4 GiB: L2 misses */
	STREAMS
};

struct stream {
	enum stream_kind kind;
	const char *name;
	uint64_t base, bytes; /* all addresses are in [base, base + bytes) */
	size_t n;
	ref_t *refs;
};

/* n references, the same for the same seed. False if there is no memory. */
bool stream_init(struct stream *s, enum stream_kind kind, size_t n, uint64_t seed);
void stream_fini(struct stream *s);
/* The kind of that name, or -1. */
int stream_kind_find(const char *name);

#endif
