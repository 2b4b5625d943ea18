/* SPDX-License-Identifier: MIT */
/*
 * The spool: what a recording writes and spool_open() reads.
 *
 *   file:   struct spool_file (64 bytes), then blocks at 64-byte boundaries
 *   block:  struct spool_head (64 bytes), then its body, padded to 64
 *
 * A block belongs to one thread and decodes on its own. A writer reserves its
 * place by adding to `next` of the control mapping, writes the body, and the
 * head last: so a place left by a writer killed in between begins with zeros,
 * and the reader steps over it. Place order is the order of events: whoever
 * lets another process act (fork, wait, exit) writes its block first.
 *
 * The block being filled stands in a slot of the control mapping, which all
 * recorded processes and the recorder share, so a killed program loses
 * nothing: its parent or the recorder writes the slot out (spool_salvage).
 *
 * Body: one item a reference or event, beginning with a control byte
 *
 *     7    5 4    2 1  0
 *    │ bytes │ log2 │kind│   kind 0 R, 1 W, 2 X: `bytes` (7 means 8) bytes follow, the
 *             size            zigzag difference to the thread's last address of that kind
 *    │ event kind   │ 3  │   kind 3: an event; its fields follow as LEB128
 */
#ifndef QUIRE_TRACE_SPOOL_H
#define QUIRE_TRACE_SPOOL_H

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

#include "trace/trace.h"

#define SPOOL_FILE_MAGIC UINT64_C(0x314c4f4f50535130) /* "0QSPOOL1" */
#define SPOOL_HEAD_MAGIC 0x4b425351u                  /* "QSBK" */

enum {
	SPOOL_ALIGN = 64,
	SPOOL_BODY_MAX = 128 * 1024,
	SPOOL_ITEM_MAX = 96,  /* an event's longest form */
	SPOOL_SLACK = 64,     /* readable past a body, for whole-word loads */
	SPOOL_SLOTS = 1024,   /* threads alive at once, in all recorded processes */
	SPOOL_PATH_MAX = 1024,
};

enum spool_head_flags {
	SPOOL_THREAD = 1, /* the thread's first block: the reader says EV_THREAD before it */
	SPOOL_END = 2,    /* the recorder's last word: nothing is missing */
};

struct spool_file {
	uint64_t magic;
	uint32_t version, reserved;
	uint8_t pad[48];
};

struct spool_head {
	uint32_t magic, flags;
	uint32_t body_len;
	uint32_t nitems; /* references and events to take from the body; the rest is past the limit */
	uint32_t pid, tid;
	uint64_t place;    /* of this head in the file */
	uint64_t nrefs;    /* of nitems, those that are references; of SPOOL_END: of the whole file */
	uint64_t body_sum; /* XXH3 */
	uint64_t reserved;
	uint64_t head_sum; /* XXH3 of the head up to here; last, so that a zero magic means unwritten */
};
static_assert(sizeof(struct spool_file) == SPOOL_ALIGN && sizeof(struct spool_head) == SPOOL_ALIGN,
	      "heads fill one alignment unit");

enum spool_slot_state { SLOT_FREE, SLOT_OWNED, SLOT_BUSY };

/* One thread's block under way. Only its owner writes it; a salvager first makes state BUSY. */
struct spool_slot {
	_Atomic uint32_t state;
	uint32_t pid, tid, flags;
	uint32_t pos;    /* bytes in data */
	uint32_t nitems, nevents;
	_Atomic uint32_t forks_done; /* forks by this thread whose EV_FORK stands in the spool */
	uint64_t last[3];
	uint8_t data[SPOOL_BODY_MAX + SPOOL_SLACK] __attribute__((aligned(64)));
};

/* Shared by the recorder and everything recorded. */
struct spool_control {
	uint64_t magic;
	_Atomic uint64_t next;  /* first free place in the spool */
	_Atomic uint64_t refs;  /* written so far */
	uint64_t limit;         /* of references; 0: none */
	_Atomic uint32_t stop;  /* nothing more is to be recorded */
	_Atomic uint32_t error; /* errno of the first write that failed */
	_Atomic uint32_t processes, threads;
	char path[SPOOL_PATH_MAX]; /* the spool, absolute */
	struct spool_slot slots[SPOOL_SLOTS];
};

/* Room for one more item of any kind? */
static ALWAYS_INLINE bool spool_has_room(const struct spool_slot *s)
{
	return s->pos <= SPOOL_BODY_MAX - SPOOL_ITEM_MAX;
}

/* Appends a reference; there must be room. */
static ALWAYS_INLINE void spool_put_ref(struct spool_slot *s, uint64_t gva, unsigned kind, unsigned log2_size)
{
	uint8_t *p = s->data + s->pos;
	uint64_t d = gva - s->last[kind];
	uint64_t z = d << 1 ^ (uint64_t)((int64_t)d >> 63);
	/* Bytes of z; the shift in keeps clz defined at 0 and loses no bit of a 59-bit z. */
	unsigned bytes = (63u - (unsigned)__builtin_clzll(z << 1 | 1) + 7) >> 3;

	bytes = MIN(bytes, 7u);
	p[0] = (uint8_t)(bytes << 5 | log2_size << 2 | kind);
	memcpy(p + 1, &z, sizeof(z));
	s->last[kind] = gva;
	s->pos += 1 + bytes + (bytes == 7);
	/* A thread may be killed anywhere here: nitems never counts what is not yet written. */
	atomic_signal_fence(memory_order_release);
	s->nitems++;
}

void spool_put_event(struct spool_slot *s, const struct trace_event *ev);

/*
 * Creates the spool at path (replaced if it exists) and its control mapping,
 * in a file whose name goes to ctl_path (SPOOL_PATH_MAX bytes). NULL with errno.
 */
struct spool_control *spool_create(const char *path, uint64_t limit, char *ctl_path);
/* Maps the control file of a recording under way; NULL with errno. */
struct spool_control *spool_attach(const char *ctl_path);
/* Takes a slot for a thread; NULL if none is free or recording has stopped. */
struct spool_slot *spool_slot_take(struct spool_control *c, uint32_t pid, uint32_t tid, uint32_t flags);
/* Writes the slot's block and empties it; a failure goes to c->error and stops the recording. */
void spool_flush(struct spool_control *c, struct spool_slot *s);
/* Writes the slot's block and gives the slot back. */
void spool_slot_release(struct spool_control *c, struct spool_slot *s);
/* Writes out and frees what pid left; true if it left anything. With ends, an EV_EXIT closes it. */
bool spool_salvage(struct spool_control *c, uint32_t pid, bool ends);
/* Writes the end mark and unmaps. Returns 0 or c->error as -errno. */
int spool_finish(struct spool_control *c);

#endif
