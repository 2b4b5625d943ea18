/* SPDX-License-Identifier: MIT */
/* Who runs in a DynamoRIO trace: threads by their numbers, and the processes they belong to. */
#ifndef QUIRE_TRACE_DRMEMTRACE_H
#define QUIRE_TRACE_DRMEMTRACE_H

#include "base/types.h"

/* More than Linux lets one machine have; a file that names more is not believed. */
enum { DR_THREADS_MAX = 4 << 20, DR_BUCKETS = 4096 };

struct dr_thread {
	uint32_t tid, pid; /* pid 0: not told yet */
	uint32_t next;     /* in its bucket, plus one; 0: the last */
	bool has_exited;
};

struct dr_process {
	uint32_t pid, running; /* threads seen that have not exited */
	uint32_t next;
};

struct dr_threads {
	struct dr_thread *thread;
	struct dr_process *process;
	uint32_t nthreads, nprocesses;
	uint32_t thread_bucket[DR_BUCKETS], process_bucket[DR_BUCKETS];
};

/* The thread of that number, made if it is new. NULL: too many, or no memory. Valid until the next call. */
struct dr_thread *dr_thread(struct dr_threads *all, uint32_t tid);
enum dr_joined { DR_JOINED_NONE = -1, DR_JOINED_FIRST, DR_JOINED_MORE };
/* Counts the thread to process pid: is it the process's first? DR_JOINED_NONE: no memory. */
enum dr_joined dr_join(struct dr_threads *all, struct dr_thread *t, uint32_t pid);
/* The thread has ended. */
void dr_exit(struct dr_threads *all, struct dr_thread *t);
void dr_threads_fini(struct dr_threads *all);

#endif
