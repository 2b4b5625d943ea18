/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_TRACE_HELPER_H
#define QUIRE_TESTS_TRACE_HELPER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "trace/trace.h"

/* All of a source: references and events in one list, events by value. */
struct item {
	ref_t ref; /* of an event: REF_EVENT */
	struct trace_event ev;
};

struct items {
	struct item *v;
	size_t n;
	uint64_t refs;
	int end; /* what the last trace_read returned */
	struct trace_error err;
};

/* Reads to the end; t stays open. */
struct items read_all(struct trace *t);
void items_free(struct items *i);
/* Are the first n items the same? */
bool items_equal(const struct items *a, const struct items *b, size_t n);
uint64_t items_count_events(const struct items *i, enum trace_event_kind kind);

/* A folder of this test's own, made once, and files in it. */
const char *scratch_dir(void);
const char *scratch_path(const char *name);
void write_file(const char *path, const void *data, size_t n);
/* The whole file; *n its length. To be freed. */
char *slurp(const char *path, size_t *n);
int remove_scratch(void **state);

#endif
