/* SPDX-License-Identifier: MIT */
/*
 * The memory that tables live in.
 *
 *     organisation ── load/store/cas/alloc/free/scan ──▶ struct pt_mem
 *                                                         │
 *              ┌──────────────────┬───────────────────────┤
 *        machine frames     guest frames, each       test memories (history,
 *        (address = hpa)    load itself translated   faults, stores logged)
 *                           (address = gpa)
 *
 * An organisation never knows which. References, bytes and fault injection
 * come from here and nowhere else: one load of at most 64 bytes within an
 * aligned 64-byte line is one reference.
 *
 * All loads and stores return 0 or
 *   -EAGAIN  a violation: the address has no translation now. The owner of
 *            the pt_mem knows what to mend; the operation has no side effect
 *            and starts anew.
 *   -EFAULT  no memory stands at this address and none ever will.
 */
#ifndef QUIRE_MACHINE_PT_MEM_H
#define QUIRE_MACHINE_PT_MEM_H

#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "base/faultinj.h"
#include "base/types.h"

struct pt_mem;

/* What a load was for; set by a walker just before it, read by the log. */
struct pt_note {
	const char *table; /* "guest", "p2m", "shadow", "anchor", "chain"… */
	uint8_t level;     /* 0 is the leaf */
	uint64_t index;    /* of the entry in its table */
	uint8_t index_hi, index_lo; /* the bits of the key that index came from; hi < lo: none */
};

/* One logged load; addr is of the pt_mem's own space. */
struct pt_ref {
	const struct pt_mem *mem;
	struct pt_note note;
	uint64_t addr;
	hpa_t hpa;
	uint64_t value;  /* the first 8 bytes loaded (fewer: zero-extended) */
	uint64_t repeat; /* 1, or the n of a scan */
	uint64_t stride; /* of a scan, between its loads, here and in the machine; else 0 */
};

/* Receives each reference in the order it is made. */
struct pt_log {
	void (*ref)(struct pt_log *log, const struct pt_ref *ref);
};

struct pt_mem_counts {
	uint64_t refs;  /* loads charged */
	uint64_t depth; /* of those, the ones that had to follow one another */
	uint64_t stores;
};

struct pt_mem_ops {
	/* size is 1..64 and the bytes lie within one aligned line. */
	int (*load)(struct pt_mem *m, uint64_t addr, unsigned size, void *out);
	int (*store)(struct pt_mem *m, uint64_t addr, unsigned size, const void *in);
	/* Atomic 4- or 8-byte compare and swap: 1 swapped, 0 it held another value. */
	int (*cas)(struct pt_mem *m, uint64_t addr, unsigned size, uint64_t expect, uint64_t value);
	/* 2^order zeroed frames, aligned to their size; -ENOMEM when there are none. */
	int (*alloc)(struct pt_mem *m, unsigned order, uint64_t *addr);
	void (*free)(struct pt_mem *m, uint64_t addr, unsigned order);
	/* Charges n loads at first, first + stride, … without doing them. */
	int (*scan)(struct pt_mem *m, uint64_t first, uint64_t n, uint64_t stride);
	/* Where addr stands in the machine, for the log; INVALID_FRAME-based if nowhere. */
	hpa_t (*hpa)(struct pt_mem *m, uint64_t addr);
};

struct pt_mem {
	const struct pt_mem_ops *ops;
	/*
	 * Where [0, direct_bytes) of this space stands, if it can be read
	 * without asking anyone; NULL while a log, a fault or ops must see
	 * each load.
	 */
	uint8_t *direct;
	uint64_t direct_bytes;
	struct pt_mem_counts counts;
	struct pt_log *log;
	struct pt_note note; /* kept only while log is set */
	/*
	 * Loads now are not the walker's: what a register holds already, or the
	 * short way to what a scan is charged for. They count nowhere, are not
	 * logged, and move nothing in any cache.
	 */
	bool quiet;
	struct faultinj *inj;
	uint64_t table_bytes; /* allocated through it and not freed */
	/* Where each load here is itself translated, and counted for that; NULL: nowhere. */
	struct pt_mem *behind;
};

static ALWAYS_INLINE int ptm_load(struct pt_mem *m, uint64_t addr, unsigned size, void *out)
{
	if (likely(m->direct && addr < m->direct_bytes)) {
		m->counts.refs++;
		m->counts.depth++;
		memcpy(out, m->direct + addr, size);
		return 0;
	}
	return m->ops->load(m, addr, size, out);
}

static ALWAYS_INLINE int ptm_load64(struct pt_mem *m, uint64_t addr, uint64_t *out)
{
	return ptm_load(m, addr, 8, out);
}

/*
 * An entry of 2, 4 or 8 bytes, little-endian, zero-extended. The slow way has
 * a variable of its own, so that the fast way's value never leaves its register.
 */
static ALWAYS_INLINE int ptm_load_pte(struct pt_mem *m, uint64_t addr, unsigned size, uint64_t *out)
{
	if (likely(m->direct && addr < m->direct_bytes)) {
		const uint8_t *p = m->direct + addr;
		uint64_t v8;
		uint32_t v4;
		uint16_t v2;

		m->counts.refs++;
		m->counts.depth++;
		if (size == 8) {
			memcpy(&v8, p, 8);
			*out = v8;
		} else if (size == 4) {
			memcpy(&v4, p, 4);
			*out = v4;
		} else {
			memcpy(&v2, p, 2);
			*out = v2;
		}
		return 0;
	}

	uint64_t slow = 0;
	int err = m->ops->load(m, addr, size, &slow);

	*out = slow;
	return err;
}

static inline int ptm_store(struct pt_mem *m, uint64_t addr, unsigned size, const void *in)
{
	return m->ops->store(m, addr, size, in);
}

static inline int ptm_store64(struct pt_mem *m, uint64_t addr, uint64_t v)
{
	return m->ops->store(m, addr, 8, &v);
}

static inline int ptm_cas(struct pt_mem *m, uint64_t addr, unsigned size, uint64_t expect, uint64_t v)
{
	return m->ops->cas(m, addr, size, expect, v);
}

static inline int ptm_alloc(struct pt_mem *m, unsigned order, uint64_t *addr)
{
	return m->ops->alloc(m, order, addr);
}

static inline void ptm_free(struct pt_mem *m, uint64_t addr, unsigned order)
{
	m->ops->free(m, addr, order);
}

static inline int ptm_scan(struct pt_mem *m, uint64_t first, uint64_t n, uint64_t stride)
{
	return m->ops->scan(m, first, n, stride);
}

/*
 * Loads that a walker makes at the same time. Each is a reference; of their
 * depth, that of the deepest counts: here, and in the memory behind, where
 * their translations are under way at the same time too.
 *
 *   p = ptm_parallel_begin(m);
 *   for each of them: a load; ptm_parallel_loaded(m, &p);
 *   ptm_parallel_end(m, &p);
 */
struct ptm_parallel {
	uint64_t start, deepest;               /* m->counts.depth */
	uint64_t behind_start, behind_deepest; /* and of m->behind */
};

static ALWAYS_INLINE struct ptm_parallel ptm_parallel_begin(const struct pt_mem *m)
{
	uint64_t behind = m->behind ? m->behind->counts.depth : 0;

	return (struct ptm_parallel){ m->counts.depth, m->counts.depth, behind, behind };
}

static ALWAYS_INLINE void ptm_parallel_loaded(struct pt_mem *m, struct ptm_parallel *p)
{
	p->deepest = MAX(p->deepest, m->counts.depth);
	m->counts.depth = p->start;
	if (m->behind) {
		p->behind_deepest = MAX(p->behind_deepest, m->behind->counts.depth);
		m->behind->counts.depth = p->behind_start;
	}
}

static ALWAYS_INLINE void ptm_parallel_end(struct pt_mem *m, const struct ptm_parallel *p)
{
	m->counts.depth = p->deepest;
	if (m->behind)
		m->behind->counts.depth = p->behind_deepest;
}

/* Says what the next load is for. Free unless somebody listens. */
static ALWAYS_INLINE void ptm_note(struct pt_mem *m, const char *table, unsigned level,
				   uint64_t index, unsigned hi, unsigned lo)
{
	if (unlikely(m->log != NULL))
		m->note = (struct pt_note){ table, (uint8_t)level, index, (uint8_t)hi, (uint8_t)lo };
}

/* Hands one reference to the log; for implementations of load and scan. */
static inline void ptm_log_ref(struct pt_mem *m, uint64_t addr, hpa_t hpa, uint64_t value, uint64_t repeat)
{
	if (m->log) {
		struct pt_ref ref = { m, m->note, addr, hpa, value, repeat, 0 };
		m->log->ref(m->log, &ref);
	}
}

/* The same for n loads of a scan, whose machine addresses lie as far apart as their own. */
static inline void ptm_log_scan(struct pt_mem *m, uint64_t addr, hpa_t hpa, uint64_t n, uint64_t stride)
{
	if (m->log) {
		struct pt_ref ref = { m, m->note, addr, hpa, 0, n, stride };
		m->log->ref(m->log, &ref);
	}
}

/*
 * Tables in machine frames; addr is an hpa. Frames come from the machine's
 * buddy allocator as FRAME_TABLE, or from a reserve filled beforehand.
 */
struct machine;
enum { PTM_RESERVE_MAX = 32 };
struct pt_mem_machine {
	struct pt_mem m;
	struct machine *machine;
	unsigned nreserve;
	mfn_t reserve[PTM_RESERVE_MAX]; /* single frames taken ahead, not zeroed */
};

void ptm_machine_init(struct pt_mem_machine *pm, struct machine *machine);
/* Makes sure the next n single-frame allocations cannot fail. -ENOMEM, nothing changed. */
int ptm_machine_reserve(struct pt_mem_machine *pm, unsigned n);
/* Gives the reserve back. The tables must have been freed by their owner. */
void ptm_machine_fini(struct pt_mem_machine *pm);
/* Attaches (NULL: detaches) a log; loads then go the slow way and are all seen. */
void ptm_machine_set_log(struct pt_mem_machine *pm, struct pt_log *log);
void ptm_machine_set_faults(struct pt_mem_machine *pm, struct faultinj *inj);

#endif
