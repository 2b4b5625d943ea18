/* SPDX-License-Identifier: MIT */
/*
 * Synthetic work: one `struct synth_kind` in one file a family. All of a
 * family's randomness comes from s->rng, and none of its arithmetic from
 * libm, whose last bit differs between machines.
 */
#ifndef QUIRE_TRACE_SYNTH_H
#define QUIRE_TRACE_SYNTH_H

#include "base/rng.h"
#include "trace/source.h"

enum synth_key {
	KEY_REFS, KEY_FOOTPRINT, KEY_BASE, KEY_WRITES, KEY_STRIDE, KEY_THETA, KEY_STACK, KEY_PROCS, KEY_QUANTUM,
	KEY_PAGES, KEY_PROTECT, KEY_MISS, KEY_CHANGES, KEY_PHASE, SYNTH_KEYS
};

/* One step may append so many items (references and events). */
enum { SYNTH_STEP_MAX = 256 };

struct synth;

struct synth_kind {
	const char *name, *summary;
	uint32_t keys;        /* BIT(KEY_…) it takes, besides refs, footprint and base */
	size_t state_bytes;
	uint64_t footprint_min;
	/* Values where it differs from the common default; 0: the common one. */
	double defaults[SYNTH_KEYS];
	/* Sets the state up, and appends what stands before the first reference. NULL, or what is wrong with the values. */
	const char *(*start)(struct synth *s, struct trace_block *b);
	void (*step)(struct synth *s, struct trace_block *b);
};

struct synth {
	struct trace t;
	const struct synth_kind *kind;
	uint64_t seed;
	struct rng rng;
	uint64_t count[SYNTH_KEYS]; /* values of counts and sizes */
	double real[SYNTH_KEYS];    /* values of fractions */
	uint64_t refs_left;
	bool started;
	void *state;
};

static inline uint64_t synth_base(const struct synth *s) { return s->count[KEY_BASE]; }
static inline uint64_t synth_footprint(const struct synth *s) { return s->count[KEY_FOOTPRINT]; }
static inline uint64_t synth_pages(const struct synth *s) { return (synth_footprint(s) + PAGE_MASK) >> PAGE_SHIFT; }

/* An aligned access of 8 bytes at an offset into the footprint; nothing once refs= are done. */
static inline void synth_ref(struct synth *s, struct trace_block *b, uint64_t offset, enum acc_kind kind)
{
	if (!s->refs_left)
		return;
	s->refs_left--;
	block_put_ref(b, synth_base(s) + (offset & ~UINT64_C(7)), kind, 8);
}

/* True with probability p. */
static inline bool synth_chance(struct synth *s, double p) { return rng_unit(&s->rng) < p; }

static inline enum acc_kind synth_read_or_write(struct synth *s)
{
	return synth_chance(s, s->real[KEY_WRITES]) ? ACC_WRITE : ACC_READ;
}

/* Events of the processes, numbered from 1. */
static inline void synth_switch(struct trace_block *b, uint32_t pid)
{
	block_put_event(b, &(struct trace_event){.kind = EV_SWITCH, .pid = pid, .tid = pid});
}

static inline void synth_mmap(struct trace_block *b, uint32_t pid, uint64_t addr, uint64_t len, uint16_t flags)
{
	block_put_event(b, &(struct trace_event){.kind = EV_MMAP, .pid = pid, .tid = pid, .addr = addr, .len = len,
						 .prot = PROT_BIT_R | PROT_BIT_W, .flags = flags});
}

/* Process 1 with the whole footprint mapped: how most families begin. */
void synth_one_process(struct synth *s, struct trace_block *b);

/* A permutation of [0, n), n > 0, that looks random and needs no memory. */
struct synth_shuffle {
	uint64_t n, mask, key;
	unsigned shift;
};
void shuffle_init(struct synth_shuffle *p, uint64_t n, uint64_t key);
uint64_t shuffle_of(const struct synth_shuffle *p, uint64_t i);

extern const struct synth_kind synth_stream, synth_gups, synth_chase, synth_zipf, synth_stackheap, synth_forkstorm,
	synth_switchstorm, synth_tablestorm, synth_churn;

#endif
