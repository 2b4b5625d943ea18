/* SPDX-License-Identifier: MIT */
/*
 * Sources of work. A source yields blocks of decoded references and the
 * events between them, in one fixed order: reading it twice gives the same.
 * Readers of files, synthetic generators and recordings of programs are each
 * one `struct trace_format` or `struct synth_kind` in one file.
 */
#ifndef QUIRE_TRACE_TRACE_H
#define QUIRE_TRACE_TRACE_H

#include <stdio.h>

#include "trace/ref.h"

enum trace_event_kind {
	EV_SWITCH,   /* what follows is by process .pid (thread .tid) */
	EV_MMAP,     /* [addr, addr+len) with .prot; .flags; replaces what was there */
	EV_MUNMAP,
	EV_BRK,      /* the break is now addr */
	EV_MPROTECT,
	EV_MREMAP,   /* [addr, addr+len) moved to addr2, now len2 bytes */
	EV_MADVISE_FREE, /* MADV_DONTNEED: the contents may go */
	EV_FORK,     /* .pid makes .child, a copy of itself */
	EV_VFORK_SHARED, /* .child shares .pid's memory (CLONE_VM, not a thread) */
	EV_EXEC,     /* .pid has a new, empty address space */
	EV_EXIT,     /* .pid ends; its memory goes */
	EV_THREAD,   /* .pid has one more thread, .tid */
	EV_SYSCALL,  /* .len is its number; only counted */
	EV_CONTENT,  /* the page of a file at addr has the bytes whose XXH3 is addr2 (trace/qtr.h) */
	EV_RAM,      /* a whole machine was recorded: its memory is guest-physical [0, len). Before any EV_PHYS */
	EV_PHYS,     /* from here on [addr, addr+len) of .pid stands at guest-physical addr2, with .prot; upper half: of all */
	EV_KINDS
};

enum { PROT_BIT_R = 1, PROT_BIT_W = 2, PROT_BIT_X = 4 };
enum { EVF_SHARED = 1, EVF_FILE = 2, EVF_STACK = 4, EVF_GUESS = 8 };

struct trace_event {
	uint8_t kind; /* enum trace_event_kind */
	uint8_t prot; /* PROT_BIT_* */
	uint16_t flags; /* EVF_* */
	uint32_t pid, child, tid;
	uint64_t addr, len, addr2, len2;
};

enum { TRACE_BLOCK_REFS = 32768, TRACE_BLOCK_EVENTS = 4096 };

/* Events stand in refs[] as make_event_ref(i), i into events[]. Owned by the caller. */
struct trace_block {
	uint32_t nrefs, nevents;
	ref_t refs[TRACE_BLOCK_REFS];
	struct trace_event events[TRACE_BLOCK_EVENTS];
};

/* Where and what went wrong; what came before stays valid. */
struct trace_error {
	char what[256]; /* "FILE:LINE: what is wrong, what to do" without the program's name; "" if nothing */
	int exit_code;  /* 2 or 3 as design.md section 6 */
};

enum trace_text {
	TRACE_ORIGIN,   /* what was recorded, and by what */
	TRACE_LEFT_OUT, /* what of the file became neither reference nor event, so far */
};

struct trace;
struct trace_ops {
	/* 1: block filled (nrefs > 0); 0: the end; -1: damaged, *err set, nothing more follows. */
	int (*read)(struct trace *t, struct trace_block *b, struct trace_error *err);
	/* Back to the start; -1 with *err where that cannot be (a pipe). */
	int (*rewind)(struct trace *t, struct trace_error *err);
	void (*close)(struct trace *t);
	/* Text of one line, "" if there is nothing to say. May be NULL. */
	void (*describe)(const struct trace *t, enum trace_text which, char *out, size_t n);
};

struct trace {
	const struct trace_ops *ops;
	char *name; /* as the user gave it */
	const char *format;
	const char *packing; /* how the file is packed ("xz"); NULL: it is not */
	bool tells_calls; /* EV_SYSCALL stands for each system call, other events are what calls did */
};

/*
 * "trace:[FORMAT:]FILE" without its prefix; "-" is standard input. NULL with
 * *err set on failure.
 */
struct trace *trace_open(const char *spec, struct trace_error *err);
/* "NAME[,key=value…]"; seed drives all randomness. Keys at least refs=, footprint=, base=. */
struct trace *synth_open(const char *spec, uint64_t seed, struct trace_error *err);

static inline int trace_read(struct trace *t, struct trace_block *b, struct trace_error *err)
{
	return t->ops->read(t, b, err);
}
int trace_rewind(struct trace *t, struct trace_error *err);
/* `source` so many times over, rewound in between; takes it unless it returns NULL (no memory). */
struct trace *trace_repeat(struct trace *source, uint64_t times);
/* As ops->describe, "" where there is none. Returns out. */
const char *trace_describe(const struct trace *t, enum trace_text which, char *out, size_t n);
void trace_close(struct trace *t);

/* For `quire list`: i-th, NULL past the end. */
const char *trace_format_name(unsigned i, const char **summary);
const char *synth_name(unsigned i, const char **summary);

/* "64K", "1.5G": sizes are powers of 1024 (unit 1024) or counts of 1000. -1 if it is none or too large. */
int parse_scaled(const char *s, unsigned unit, uint64_t *out);

#endif
