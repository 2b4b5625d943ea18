/* SPDX-License-Identifier: MIT */
/*
 * Failure on demand: the Nth call at a site fails, once, or every call from
 * the Nth on. Tests run an operation with N = 0, 1, 2… until it succeeds.
 */
#ifndef QUIRE_BASE_FAULTINJ_H
#define QUIRE_BASE_FAULTINJ_H

#include <stdbool.h>
#include <stdint.h>

enum faultinj_site {
	FAULT_FRAME_ALLOC, /* buddy */
	FAULT_META_ALLOC,  /* hypervisor metadata (kmem) */
	FAULT_TABLE_LOAD,  /* pt_mem load: returns a violation */
	FAULT_TABLE_ALLOC, /* pt_mem alloc */
	FAULT_IO,          /* block I/O */
	FAULT_SITES
};

struct faultinj {
	struct {
		uint64_t calls;   /* since armed */
		uint64_t fail_at; /* the call number that fails; UINT64_MAX: none */
		bool sticky;      /* every later one too */
		uint64_t failed;
	} site[FAULT_SITES];
};

static inline void faultinj_init(struct faultinj *f)
{
	for (int i = 0; i < FAULT_SITES; i++) {
		f->site[i].calls = f->site[i].failed = 0;
		f->site[i].fail_at = UINT64_MAX;
		f->site[i].sticky = false;
	}
}

static inline void faultinj_arm(struct faultinj *f, enum faultinj_site s, uint64_t nth, bool sticky)
{
	f->site[s].calls = 0;
	f->site[s].failed = 0;
	f->site[s].fail_at = nth;
	f->site[s].sticky = sticky;
}

/* True if this call must fail. f may be NULL. */
static inline bool faultinj_hit(struct faultinj *f, enum faultinj_site s)
{
	if (!f)
		return false;
	uint64_t n = f->site[s].calls++;
	bool hit = n == f->site[s].fail_at || (f->site[s].sticky && n > f->site[s].fail_at);
	f->site[s].failed += hit;
	return hit;
}

#endif
