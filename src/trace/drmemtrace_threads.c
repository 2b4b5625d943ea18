/* SPDX-License-Identifier: MIT */
#include "trace/drmemtrace.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

/* Room for one more element: arrays double whenever their count is a power of two. */
static bool grow(void **array, uint32_t n, size_t size)
{
	void *p;

	if (n & (n - 1))
		return true;
	p = realloc(*array, (n ? 2 * (size_t)n : 1) * size);
	if (p)
		*array = p;
	return p != NULL;
}

static uint32_t *bucket(uint32_t *buckets, uint32_t key)
{
	return &buckets[hash_u64(key) % DR_BUCKETS];
}

struct dr_thread *dr_thread(struct dr_threads *all, uint32_t tid)
{
	uint32_t *first = bucket(all->thread_bucket, tid);

	for (uint32_t i = *first; i; i = all->thread[i - 1].next)
		if (all->thread[i - 1].tid == tid)
			return &all->thread[i - 1];
	if (all->nthreads == DR_THREADS_MAX || !grow((void **)&all->thread, all->nthreads, sizeof(*all->thread)))
		return NULL;
	all->thread[all->nthreads] = (struct dr_thread){ .tid = tid, .next = *first };
	*first = ++all->nthreads;
	return &all->thread[all->nthreads - 1];
}

static struct dr_process *find_process(struct dr_threads *all, uint32_t pid)
{
	for (uint32_t i = *bucket(all->process_bucket, pid); i; i = all->process[i - 1].next)
		if (all->process[i - 1].pid == pid)
			return &all->process[i - 1];
	return NULL;
}

enum dr_joined dr_join(struct dr_threads *all, struct dr_thread *t, uint32_t pid)
{
	struct dr_process *p = find_process(all, pid);

	/* A number used again is another thread. */
	if (t->pid && !t->has_exited)
		dr_exit(all, t);
	t->pid = pid;
	t->has_exited = false;
	if (p) {
		p->running++;
		return DR_JOINED_MORE;
	}
	uint32_t *first = bucket(all->process_bucket, pid);

	if (!grow((void **)&all->process, all->nprocesses, sizeof(*all->process)))
		return DR_JOINED_NONE;
	all->process[all->nprocesses] = (struct dr_process){ .pid = pid, .running = 1, .next = *first };
	*first = ++all->nprocesses;
	return DR_JOINED_FIRST;
}

void dr_exit(struct dr_threads *all, struct dr_thread *t)
{
	struct dr_process *p = find_process(all, t->pid);

	if (p && !t->has_exited)
		p->running--;
	t->has_exited = true;
}

void dr_threads_fini(struct dr_threads *all)
{
	free(all->thread);
	free(all->process);
	memset(all, 0, sizeof(*all));
}
