/* SPDX-License-Identifier: MIT */
/*
 * A pt_mem for tests: one malloc-backed block of frames that checks every
 * access, remembers what was done to it, and fails on demand.
 *
 *   - an access outside allocated frames, or across a line, is counted in
 *     `bad` and returns -EFAULT: tests assert that bad stays 0;
 *   - stores, swaps, allocations and frees since history_begin are kept in
 *     order: history_replay builds the bytes as they were after any of them;
 *   - faultinj fails the Nth load (-EAGAIN) or allocation (-ENOMEM);
 *     fail_store_at fails the Nth store or swap (-EAGAIN).
 */
#ifndef QUIRE_CONFORM_TEST_MEM_H
#define QUIRE_CONFORM_TEST_MEM_H

#include "machine/pt_mem.h"

enum test_event { EVENT_STORE, EVENT_ALLOC, EVENT_FREE };

struct test_history {
	enum test_event kind;
	uint64_t addr;
	unsigned size; /* of a store: bytes; else: order */
	uint8_t bytes[LINE_SIZE];
};

struct test_mem {
	struct pt_mem m;
	struct faultinj inj;
	uint8_t *bytes;
	int8_t *order;      /* per frame: of the block that starts there, IN_BLOCK or FREE */
	uint64_t nframes, frames_used, limit; /* limit: most frames that may be in use */
	uint64_t bad;
	uint64_t stores_seen, fail_store_at;
	bool recording;
	struct test_history *history;
	size_t nhistory, history_room;
};

/* Addresses start at this one, so that 0 is never a table. */
#define TEST_MEM_BASE UINT64_C(0x100000)

void test_mem_init(struct test_mem *t, uint64_t nframes);
void test_mem_fini(struct test_mem *t);
/* The same bytes and allocations in a memory of its own. */
void test_mem_copy(struct test_mem *to, const struct test_mem *from);
/* Direct reads, as of ordinary memory; everything is still within bounds of the block. */
void test_mem_set_direct(struct test_mem *t, bool on);

void history_begin(struct test_mem *t);
void history_end(struct test_mem *t);
/* Does the i-th thing remembered in `from` to `to`. */
void history_replay(struct test_mem *to, const struct test_mem *from, size_t i);

/* A log that keeps the first references it hears. */
enum { TEST_LOG_MAX = 4096 };
struct test_log {
	struct pt_log log;
	size_t n;
	struct pt_ref ref[TEST_LOG_MAX];
};
void test_log_init(struct test_log *l);

#endif
