/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>

#include "base/digest.h"
#include "exp/error.h"
#include "exp/exp.h"
#include "exp/pageset.h"
#include "trace/qtr.h"

static struct trace *open_once(const struct workload *w, uint64_t seed, struct trace_error *err)
{
	if (w->kept) {
		struct trace *t = trace_kept_open(w->kept);

		if (!t)
			error_set(err, EXIT_RESOURCES, "no memory to read %s", w->shown);
		return t;
	}
	switch (w->kind) {
	case WORK_TRACE:
		return trace_open(w->spec, err);
	case WORK_SYNTH:
		return synth_open(w->spec, seed, err);
	case WORK_RECORDED:
		return qtr_open(w->spec, err);
	}
	error_set(err, EXIT_USAGE, "unknown kind of workload");
	return NULL;
}

/* Takes t; NULL with *err. */
static struct trace *repeated(const struct workload *w, struct trace *t, struct trace_error *err)
{
	struct trace *all;

	if (!t || w->repeat < 2)
		return t;
	all = trace_repeat(t, w->repeat);
	if (!all) {
		trace_close(t);
		error_set(err, EXIT_RESOURCES, "no memory to read %s", w->shown);
	}
	return all;
}

struct trace *workload_open(const struct workload *w, uint64_t seed, struct trace_error *err)
{
	return repeated(w, open_once(w, seed, err), err);
}

/* The same for the scan. *keeper: what keeps it; NULL: nothing does. */
static struct trace *open_keeping(const struct workload *w, uint64_t seed, struct trace **keeper, struct trace_error *err)
{
	struct trace *t = open_once(w, seed, err);

	/* Synthetic work is made anew as fast as it could be read. */
	*keeper = t && w->keep && w->kind != WORK_SYNTH ? trace_keep(t, w->keep) : NULL;
	return repeated(w, *keeper ? *keeper : t, err);
}

uint64_t workloads_refs(const struct workload *w)
{
	uint64_t refs = 0;

	for (; w; w = w->next)
		refs += w->refs;
	return refs;
}

const struct workload *workloads_machine(const struct workload *w)
{
	while (w && !w->phys_pages)
		w = w->next;
	return w;
}

struct scan {
	struct workload *w;
	uint64_t limit; /* references; 0: none */
	uint64_t at;    /* references before the next, run or skipped */
	uint64_t end;   /* reference before which it ends; UINT64_MAX: it does not */
	uint32_t pid;
	struct pageset pages, processes;
	struct trace_block block;
};

/*
 * A linear key of (page, process): odd multipliers of 64 random bits, so no
 * two small pairs share one. Mixed only where a page is not a recent one.
 */
static int add_page(struct scan *s, uint64_t page)
{
	uint64_t key = page * UINT64_C(0x9e3779b97f4a7c15) + s->pid * UINT64_C(0xd1342543de82ef95);
	uint64_t *recent = &s->pages.recent[(page ^ s->pid) % PAGESET_RECENT];

	if (*recent == key)
		return 0;
	*recent = key;
	return pageset_add_slow(&s->pages, hash_u64(key) | 1);
}

/* A guest numbers its frames in 32 bits. */
#define RECORDED_RAM_MAX (UINT64_C(1) << (31 + PAGE_SHIFT))

static int use_process(struct scan *s, uint32_t pid)
{
	s->pid = pid;
	return pageset_add_slow(&s->processes, hash_u64(pid) | 1);
}

static void fold(struct workload *w, uint64_t word)
{
	w->checksum = digest_fold(w->checksum, word);
}

static int scan_event(struct scan *s, const struct trace_event *ev)
{
	struct workload *w = s->w;

	w->events++;
	fold(w, (uint64_t)ev->kind << 56 | (uint64_t)ev->prot << 48 | (uint64_t)ev->flags << 32 | ev->pid);
	fold(w, (uint64_t)ev->child << 32 | ev->tid);
	fold(w, ev->addr);
	fold(w, ev->len);
	fold(w, ev->addr2);
	fold(w, ev->len2);
	/* Others are told to be wrong where they stand, by the guest. */
	if (ev->kind == EV_RAM && ev->len <= RECORDED_RAM_MAX && !w->phys_pages)
		w->phys_pages = ev->len >> PAGE_SHIFT;
	if (ev->kind == EV_SWITCH)
		return use_process(s, ev->pid);
	return 0;
}

static int scan_ref(struct scan *s, ref_t r)
{
	struct workload *w = s->w;
	uint64_t gva = ref_gva(r);
	int rc;

	if (s->at++ < w->roi.from && w->roi.skip)
		return 0;

	if (unlikely(s->processes.used == 0)) {
		rc = use_process(s, s->pid);
		if (rc)
			return rc;
	}
	w->refs++;
	w->instructions += ref_kind(r) == ACC_EXEC;
	w->checksum = (w->checksum << 7 | w->checksum >> 57) ^ r * UINT64_C(0x9e3779b97f4a7c15);
	if ((int64_t)gva > 0 && gva > w->gva_max)
		w->gva_max = gva;
	if (unlikely(r & REF_SPECIAL)) {
		uint64_t last = gva + ref_size(r) - 1;

		if ((int64_t)last > 0 && last > w->gva_max)
			w->gva_max = last;
		rc = add_page(s, last >> PAGE_SHIFT);
		if (rc)
			return rc;
	}
	return add_page(s, gva >> PAGE_SHIFT);
}

/* 0; 1: the limit was reached; -ENOMEM, -EINTR. */
static int scan_block(struct scan *s)
{
	const struct trace_block *b = &s->block;

	if (s->w->stop && s->w->stop())
		return -EINTR;
	for (uint32_t i = 0; i < b->nrefs; i++) {
		ref_t r = b->refs[i];
		int rc;

		if (ref_is_event(r)) {
			rc = scan_event(s, &b->events[ref_event(r)]);
		} else {
			if ((s->limit && s->w->refs == s->limit) || s->at == s->end)
				return 1;
			rc = scan_ref(s, r);
		}
		if (rc)
			return rc;
	}
	return 0;
}

static int scan_all(struct scan *s, struct trace *t)
{
	int rc;

	while ((rc = trace_read(t, &s->block, &s->w->error)) == 1) {
		int stop = scan_block(s);

		if (stop)
			return stop < 0 ? stop : 0;
	}
	s->w->damaged = rc < 0;
	return 0;
}

static int scan_with(struct scan *s, uint64_t seed, struct trace_error *err)
{
	struct workload *w = s->w;
	struct trace *keeper, *t = open_keeping(w, seed, &keeper, err);
	int rc;

	if (!t)
		return err->exit_code ? err->exit_code : EXIT_INPUT;
	/* Before anything is read: what cannot be read twice says so. */
	if (w->repeat > 1 && trace_rewind(t, err)) {
		trace_close(t);
		return err->exit_code;
	}
	rc = scan_all(s, t);
	if (keeper)
		w->kept = trace_keep_take(keeper);
	trace_close(t);
	if (rc == -EINTR)
		return error_set(err, EXIT_INTERRUPTED, "interrupted while %.80s was read; nothing was measured yet", w->shown);
	if (rc)
		return error_set(err, EXIT_RESOURCES, "%s: no memory to count its pages; use --limit", w->shown);
	w->distinct_pages = s->pages.used;
	w->processes = s->processes.used;
	w->scanned = true;
	if (w->damaged && w->refs + w->events == 0) {
		*err = w->error;
		return err->exit_code ? err->exit_code : EXIT_INPUT;
	}
	return 0;
}

int workload_scan(struct workload *w, uint64_t seed, uint64_t limit, struct trace_error *err)
{
	struct scan *s = calloc(1, sizeof(*s));
	int code;

	if (!s)
		return error_set(err, EXIT_RESOURCES, "no memory to read %s", w->shown);
	s->w = w;
	s->limit = limit;
	s->pid = 1;
	s->end = w->roi.skip && w->roi.to ? w->roi.to : UINT64_MAX;
	w->refs = w->instructions = w->events = w->checksum = w->gva_max = w->phys_pages = 0;
	w->damaged = false;
	if (pageset_init(&s->pages) || pageset_init(&s->processes))
		code = error_set(err, EXIT_RESOURCES, "no memory to read %s", w->shown);
	else
		code = scan_with(s, seed, err);
	pageset_fini(&s->pages);
	pageset_fini(&s->processes);
	free(s);
	return code;
}
