/* SPDX-License-Identifier: MIT */
/*
 * Writing the spool: used by the recorder and, inside the recorded processes,
 * by the plugin. There it must leave no trace a program could see: it holds no
 * file descriptor between calls, writes to no standard stream and allocates
 * nothing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/digest.h"
#include "trace/spool.h"

static uint8_t *put_varint(uint8_t *p, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		*p++ = (uint8_t)(v | 0x80);
	*p++ = (uint8_t)v;
	return p;
}

void spool_put_event(struct spool_slot *s, const struct trace_event *ev)
{
	uint8_t *start = s->data + s->pos, *p = start;

	*p++ = (uint8_t)(ev->kind << 2 | REF_EVENT);
	p = put_varint(p, ev->prot);
	p = put_varint(p, ev->flags);
	p = put_varint(p, ev->pid);
	p = put_varint(p, ev->child);
	p = put_varint(p, ev->tid);
	p = put_varint(p, ev->addr);
	p = put_varint(p, ev->len);
	p = put_varint(p, ev->addr2);
	p = put_varint(p, ev->len2);
	s->pos += (uint32_t)(p - start);
	s->nevents++;
	atomic_signal_fence(memory_order_release);
	s->nitems++;
}

static void note_error(struct spool_control *c, int err)
{
	uint32_t none = 0;

	atomic_compare_exchange_strong(&c->error, &none, (uint32_t)err);
	atomic_store(&c->stop, 1);
}

static int write_at(int fd, const void *p, size_t n, uint64_t at)
{
	while (n) {
		ssize_t done = pwrite(fd, p, n, (off_t)at);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done < 0 ? -errno : -EIO;
		p = (const char *)p + done;
		n -= (size_t)done;
		at += (uint64_t)done;
	}
	return 0;
}

/*
 * Body first, head last (see spool.h). The descriptor lives only here: a
 * recorded program may close or count any descriptor it finds.
 */
static void write_block(struct spool_control *c, struct spool_head *head, const uint8_t *body)
{
	uint64_t whole = align_up(sizeof(*head) + head->body_len, SPOOL_ALIGN);
	int saved = errno, rc;
	int fd = open(c->path, O_WRONLY | O_CLOEXEC);

	if (fd < 0) {
		note_error(c, errno);
		errno = saved;
		return;
	}
	head->magic = SPOOL_HEAD_MAGIC;
	head->place = atomic_fetch_add(&c->next, whole);
	head->body_sum = digest_bytes(body, head->body_len);
	head->head_sum = digest_bytes(head, offsetof(struct spool_head, head_sum));
	rc = write_at(fd, body, whole - sizeof(*head), head->place + sizeof(*head));
	if (!rc)
		rc = write_at(fd, head, sizeof(*head), head->place);
	if (rc)
		note_error(c, -rc);
	close(fd);
	errno = saved;
}

static void slot_empty(struct spool_slot *s)
{
	s->pos = s->nitems = s->nevents = 0;
	memset(s->last, 0, sizeof(s->last));
}

/* How many items may be written so that the whole recording keeps its limit. */
static uint32_t items_within_limit(struct spool_control *c, const struct spool_slot *s, uint64_t *nrefs)
{
	uint64_t refs = s->nitems - s->nevents;
	uint64_t before = atomic_fetch_add(&c->refs, refs);

	*nrefs = refs;
	if (!c->limit || before + refs < c->limit)
		return s->nitems;
	atomic_store(&c->stop, 1);
	if (before + refs == c->limit)
		return s->nitems;
	atomic_fetch_sub(&c->refs, before >= c->limit ? refs : before + refs - c->limit);
	*nrefs = before >= c->limit ? 0 : c->limit - before;
	/* Events among the first items count as items too: find where the references run out. */
	uint32_t items = 0;
	const uint8_t *p = s->data;

	for (uint64_t left = *nrefs; left; items++) {
		unsigned bytes = *p >> 5;

		if ((*p & REF_KIND) != REF_EVENT) {
			p += 1 + bytes + (bytes == 7);
			left--;
			continue;
		}
		p++;
		for (int field = 0; field < 9; field++)
			while (*p++ & 0x80)
				;
	}
	return items;
}

void spool_flush(struct spool_control *c, struct spool_slot *s)
{
	struct spool_head head = {.flags = s->flags, .body_len = s->pos, .pid = s->pid, .tid = s->tid};

	if (!s->nitems || atomic_load(&c->stop)) {
		slot_empty(s);
		return;
	}
	/* The padding is written with the body: let it be zero. */
	memset(s->data + s->pos, 0, SPOOL_SLACK);
	head.nitems = items_within_limit(c, s, &head.nrefs);
	if (head.nitems)
		write_block(c, &head, s->data);
	s->flags = 0;
	slot_empty(s);
}

static struct spool_control *map_control(int fd)
{
	void *p = mmap(NULL, sizeof(struct spool_control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* In memory where the system offers that: dirty pages of a disk file would be written back again and again. */
static int create_control_file(const char *spool, char *ctl_path)
{
	int fd;

	snprintf(ctl_path, SPOOL_PATH_MAX, "/dev/shm/quire-ctl-XXXXXX");
	fd = mkostemp(ctl_path, O_CLOEXEC);
	if (fd >= 0)
		return fd;
	if (snprintf(ctl_path, SPOOL_PATH_MAX, "%s.ctl-XXXXXX", spool) >= SPOOL_PATH_MAX) {
		errno = ENAMETOOLONG;
		return -1;
	}
	return mkostemp(ctl_path, O_CLOEXEC);
}

static int create_spool_file(const char *path)
{
	struct spool_file file = {.magic = SPOOL_FILE_MAGIC, .version = 1};
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int rc;

	if (fd < 0)
		return -1;
	rc = write_at(fd, &file, sizeof(file), 0);
	if (close(fd) && !rc)
		rc = -errno;
	errno = -rc;
	return rc ? -1 : 0;
}

struct spool_control *spool_create(const char *path, uint64_t limit, char *ctl_path)
{
	struct spool_control *c = NULL;
	char absolute[4096];
	int fd, err;

	if (create_spool_file(path))
		return NULL;
	if (!realpath(path, absolute))
		return NULL;
	if (strlen(absolute) >= SPOOL_PATH_MAX) {
		errno = ENAMETOOLONG;
		return NULL;
	}
	fd = create_control_file(absolute, ctl_path);
	if (fd < 0)
		return NULL;
	if (!ftruncate(fd, sizeof(*c)))
		c = map_control(fd);
	err = errno;
	close(fd);
	if (!c) {
		unlink(ctl_path);
		errno = err;
		return NULL;
	}
	c->magic = SPOOL_FILE_MAGIC;
	c->next = sizeof(struct spool_file);
	c->limit = limit;
	memcpy(c->path, absolute, strlen(absolute) + 1);
	return c;
}

struct spool_control *spool_attach(const char *ctl_path)
{
	int fd = open(ctl_path, O_RDWR | O_CLOEXEC);
	struct spool_control *c;

	if (fd < 0)
		return NULL;
	c = map_control(fd);
	close(fd);
	if (c && c->magic != SPOOL_FILE_MAGIC) {
		munmap(c, sizeof(*c));
		errno = EINVAL;
		return NULL;
	}
	return c;
}

struct spool_slot *spool_slot_take(struct spool_control *c, uint32_t pid, uint32_t tid, uint32_t flags)
{
	if (atomic_load(&c->stop))
		return NULL;
	for (unsigned i = 0; i < SPOOL_SLOTS; i++) {
		struct spool_slot *s = &c->slots[i];
		uint32_t expected = SLOT_FREE;

		if (!atomic_compare_exchange_strong(&s->state, &expected, SLOT_BUSY))
			continue;
		s->pid = pid;
		s->tid = tid;
		s->flags = flags;
		atomic_store(&s->forks_done, 0);
		slot_empty(s);
		atomic_store(&s->state, SLOT_OWNED);
		atomic_fetch_add(&c->threads, 1);
		return s;
	}
	note_error(c, EAGAIN);
	return NULL;
}

void spool_slot_release(struct spool_control *c, struct spool_slot *s)
{
	spool_flush(c, s);
	atomic_store(&s->state, SLOT_FREE);
}

bool spool_salvage(struct spool_control *c, uint32_t pid, bool ends)
{
	struct spool_slot *last = NULL;

	for (unsigned i = 0; i < SPOOL_SLOTS; i++) {
		struct spool_slot *s = &c->slots[i];
		uint32_t expected = SLOT_OWNED;

		if (atomic_load(&s->state) != SLOT_OWNED || s->pid != pid)
			continue;
		if (!atomic_compare_exchange_strong(&s->state, &expected, SLOT_BUSY))
			continue;
		if (last)
			spool_slot_release(c, last);
		last = s;
	}
	if (!last)
		return false;
	if (ends) {
		spool_flush(c, last);
		spool_put_event(last, &(struct trace_event){.kind = EV_EXIT, .pid = pid});
	}
	spool_slot_release(c, last);
	return true;
}

int spool_finish(struct spool_control *c)
{
	struct spool_head head = {.flags = SPOOL_END, .nrefs = atomic_load(&c->refs)};
	int error = (int)atomic_load(&c->error);

	/* Without room for the rest, no mark: the reader then says that the end is missing. */
	if (!error)
		write_block(c, &head, (const uint8_t *)"");
	if (!error)
		error = (int)atomic_load(&c->error);
	munmap(c, sizeof(*c));
	return -error;
}
