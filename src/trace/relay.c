/* SPDX-License-Identifier: MIT */
/*
 * Used by the recorder and, inside the recorded processes, by the plugin.
 * There it must leave no trace a program could see: it keeps no file
 * descriptor, writes to no standard stream and allocates nothing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "trace/relay.h"

enum { WAIT_US = 20000, HOLE_US = 1000000 };

static void futex_wait(_Atomic uint32_t *word, uint32_t value, unsigned us)
{
	struct timespec t = {.tv_sec = us / 1000000, .tv_nsec = (long)(us % 1000000) * 1000};

	syscall(SYS_futex, word, FUTEX_WAIT, value, &t, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word, int n)
{
	syscall(SYS_futex, word, FUTEX_WAKE, n, NULL, NULL, 0);
}

void relay_put_event(struct relay_slot *s, const struct trace_event *ev)
{
	s->events[s->nevents] = *ev;
	s->items[s->nitems] = make_event_ref(s->nevents);
	s->nevents++;
	atomic_signal_fence(memory_order_release);
	s->nitems++;
}

static struct relay_control *map_control(int fd)
{
	void *p = mmap(NULL, sizeof(struct relay_control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

struct relay_control *relay_create(const struct relay_window *w, char *path)
{
	int fd = memfd_create("quire-relay", MFD_CLOEXEC);
	struct relay_control *c = NULL;

	if (fd < 0)
		return NULL;
	if (!ftruncate(fd, sizeof(*c)))
		c = map_control(fd);
	if (!c) {
		int err = errno;

		close(fd);
		errno = err;
		return NULL;
	}
	c->magic = RELAY_MAGIC;
	c->window = *w;
	c->recorder = getpid();
	/* The descriptor stays open: it is the path. Nothing is left behind, whatever ends this process. */
	snprintf(path, RELAY_PATH_MAX, "/proc/%d/fd/%d", (int)getpid(), fd);
	return c;
}

struct relay_control *relay_attach(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	struct relay_control *c;

	if (fd < 0)
		return NULL;
	c = map_control(fd);
	close(fd);
	if (c && c->magic != RELAY_MAGIC) {
		relay_destroy(c, NULL);
		errno = EINVAL;
		return NULL;
	}
	return c;
}

void relay_destroy(struct relay_control *c, const char *path)
{
	int pid, fd;

	munmap(c, sizeof(*c));
	if (path && sscanf(path, "/proc/%d/fd/%d", &pid, &fd) == 2)
		close(fd);
}

static void stop_with(struct relay_control *c, int error)
{
	uint32_t none = 0;

	atomic_compare_exchange_strong(&c->error, &none, (uint32_t)error);
	atomic_store(&c->stop, 1);
}

/* Until the recorder is near enough; false: recording has stopped. */
static bool await_recorder(struct relay_control *c)
{
	for (;;) {
		uint32_t done = atomic_load(&c->done);

		if (atomic_load(&c->stop))
			return false;
		if (atomic_load(&c->tickets) - done < RELAY_AHEAD)
			return true;
		atomic_fetch_add(&c->waiting, 1);
		futex_wait(&c->done, done, WAIT_US);
		atomic_fetch_sub(&c->waiting, 1);
		if (atomic_load(&c->done) == done && kill(c->recorder, 0) && errno == ESRCH)
			stop_with(c, ECHILD);
	}
}

struct relay_slot *relay_slot_take(struct relay_control *c, uint32_t pid, uint32_t tid, uint32_t flags)
{
	if (!await_recorder(c))
		return NULL;
	for (unsigned i = 0; i < RELAY_SLOTS; i++) {
		struct relay_slot *s = &c->slots[i];
		uint32_t expected = SLOT_FREE;

		if (atomic_load_explicit(&s->state, memory_order_relaxed) != SLOT_FREE ||
		    !atomic_compare_exchange_strong(&s->state, &expected, SLOT_BUSY))
			continue;
		s->pid = pid;
		s->tid = tid;
		s->flags = flags;
		s->nitems = s->nevents = 0;
		s->insns = 0;
		s->serial = atomic_fetch_add(&c->serials, 1);
		atomic_store(&s->state, SLOT_OWNED);
		return s;
	}
	stop_with(c, EAGAIN);
	return NULL;
}

static void hand_over(struct relay_control *c, struct relay_slot *s)
{
	uint32_t ticket = atomic_fetch_add(&c->tickets, 1);

	atomic_store(&s->state, SLOT_QUEUED);
	atomic_store(&c->queue[ticket % RELAY_SLOTS], (uint32_t)(s - c->slots) + 1);
	futex_wake(&c->tickets, 1);
}

void relay_slot_release(struct relay_control *c, struct relay_slot *s)
{
	if (s->nitems || s->insns || s->flags & RELAY_THREAD)
		hand_over(c, s);
	else
		atomic_store(&s->state, SLOT_FREE);
}

struct relay_slot *relay_flush(struct relay_control *c, struct relay_slot *s)
{
	struct relay_slot *next;

	if (!s->nitems && !s->insns)
		return s;
	next = relay_slot_take(c, s->pid, s->tid, 0);
	/* Stopped: s stays as it is, for the recorder's last sweep. */
	if (next)
		hand_over(c, s);
	return next;
}

void relay_salvage(struct relay_control *c, uint32_t pid, bool ends)
{
	struct relay_slot *last = NULL;

	for (unsigned i = 0; i < RELAY_SLOTS; i++) {
		struct relay_slot *s = &c->slots[i];
		uint32_t expected = SLOT_OWNED;

		if (atomic_load(&s->state) != SLOT_OWNED || s->pid != pid)
			continue;
		if (!atomic_compare_exchange_strong(&s->state, &expected, SLOT_BUSY))
			continue;
		if (s->flags & RELAY_CONTENTS) {
			relay_slot_release(c, s);
			continue;
		}
		if (last)
			relay_slot_release(c, last);
		last = s;
	}
	if (!last)
		return;
	if (ends)
		relay_put_event(last, &(struct trace_event){.kind = EV_EXIT, .pid = pid});
	relay_slot_release(c, last);
}

bool relay_window_open(struct relay_control *c, uint64_t insns, uint64_t *left)
{
	const struct relay_window *w = &c->window;
	bool open = !w->by_mark || atomic_load(&c->marked);

	if (insns < w->start_after) {
		*left = w->start_after - insns;
		return false;
	}
	insns -= w->start_after;
	*left = UINT64_MAX;
	if (w->stop_after) {
		if (insns >= w->stop_after) {
			stop_with(c, 0);
			return false;
		}
		*left = w->stop_after - insns;
	}
	if (w->sample_period) {
		uint64_t in = insns % w->sample_period;
		bool on = in < w->sample_on;

		*left = MIN(*left, (on ? w->sample_on : w->sample_period) - in);
		open = open && on;
	}
	return open;
}

static struct relay_slot *take_queued(struct relay_control *c, uint32_t at)
{
	uint32_t i = atomic_exchange(&c->queue[at % RELAY_SLOTS], 0);
	struct relay_slot *s = i ? &c->slots[i - 1] : NULL;

	return s && atomic_load(&s->state) == SLOT_QUEUED ? s : NULL;
}

struct relay_slot *relay_next(struct relay_control *c)
{
	uint32_t at = atomic_load(&c->done);
	unsigned waited = 0;

	while (at != atomic_load(&c->tickets)) {
		struct relay_slot *s = take_queued(c, at);

		if (s)
			return s;
		/* A place given out but not filled: its writer is about to, or was killed just there. */
		if (waited < HOLE_US) {
			usleep(100);
			waited += 100;
			continue;
		}
		waited = 0;
		atomic_store(&c->done, ++at);
	}
	return NULL;
}

void relay_slot_free(struct relay_control *c, struct relay_slot *s)
{
	atomic_store(&s->state, SLOT_FREE);
	atomic_fetch_add(&c->done, 1);
	if (atomic_load(&c->waiting))
		futex_wake(&c->done, RELAY_THREADS);
}

void relay_wait(struct relay_control *c, unsigned us)
{
	uint32_t at = atomic_load(&c->done);

	futex_wait(&c->tickets, at, us);
}

void relay_sweep(struct relay_control *c)
{
	atomic_store(&c->stop, 1);
	for (unsigned i = 0; i < RELAY_SLOTS; i++) {
		struct relay_slot *s = &c->slots[i];
		uint32_t expected = SLOT_OWNED;

		if (atomic_compare_exchange_strong(&s->state, &expected, SLOT_BUSY))
			relay_slot_release(c, s);
	}
}
