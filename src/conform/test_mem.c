/* SPDX-License-Identifier: MIT */
#include "conform/test_mem.h"

#include <stdlib.h>

#include "base/bug.h"

enum { FRAME_FREE = -1, FRAME_IN_BLOCK = -2, POISON = 0xa5 };

static struct test_mem *mem_of(struct pt_mem *m)
{
	return container_of(m, struct test_mem, m);
}

/* The bytes at addr, or NULL (and a mark against the caller). */
static uint8_t *at(struct test_mem *t, uint64_t addr, unsigned size)
{
	uint64_t offset = addr - TEST_MEM_BASE;

	if (addr < TEST_MEM_BASE || offset + size > t->nframes * PAGE_SIZE || size == 0 ||
	    (addr & (LINE_SIZE - 1)) + size > LINE_SIZE || t->order[offset >> PAGE_SHIFT] == FRAME_FREE) {
		t->bad++;
		return NULL;
	}
	return t->bytes + offset;
}

static void remember(struct test_mem *t, enum test_event kind, uint64_t addr, unsigned size, const void *bytes)
{
	if (!t->recording)
		return;
	if (t->nhistory == t->history_room) {
		t->history_room = t->history_room ? 2 * t->history_room : 256;
		t->history = realloc(t->history, t->history_room * sizeof(*t->history));
		BUG_ON(!t->history);
	}
	struct test_history *h = &t->history[t->nhistory++];

	*h = (struct test_history){ .kind = kind, .addr = addr, .size = size };
	if (bytes)
		memcpy(h->bytes, bytes, size);
}

static uint64_t first_word(const void *bytes, unsigned size)
{
	uint64_t v = 0;

	memcpy(&v, bytes, size < 8 ? size : 8);
	return v;
}

static int test_load(struct pt_mem *m, uint64_t addr, unsigned size, void *out)
{
	struct test_mem *t = mem_of(m);
	const uint8_t *p = at(t, addr, size);

	if (!p)
		return -EFAULT;
	if (faultinj_hit(m->inj, FAULT_TABLE_LOAD))
		return -EAGAIN;
	m->counts.refs++;
	m->counts.depth++;
	memcpy(out, p, size);
	ptm_log_ref(m, addr, HPA(addr), first_word(p, size), 1);
	return 0;
}

static bool store_fails(struct test_mem *t)
{
	return t->stores_seen++ == t->fail_store_at;
}

static int test_store(struct pt_mem *m, uint64_t addr, unsigned size, const void *in)
{
	struct test_mem *t = mem_of(m);
	uint8_t *p = at(t, addr, size);

	if (!p)
		return -EFAULT;
	if (store_fails(t))
		return -EAGAIN;
	m->counts.stores++;
	remember(t, EVENT_STORE, addr, size, in);
	memcpy(p, in, size);
	return 0;
}

static int test_cas(struct pt_mem *m, uint64_t addr, unsigned size, uint64_t expect, uint64_t value)
{
	struct test_mem *t = mem_of(m);
	uint8_t *p = at(t, addr, size);

	if (!p || !is_aligned(addr, size))
		return -EFAULT;
	if (store_fails(t))
		return -EAGAIN;
	if (first_word(p, size) != expect)
		return 0;
	remember(t, EVENT_STORE, addr, size, &value);
	memcpy(p, &value, size);
	return 1;
}

static void take(struct test_mem *t, uint64_t frame, unsigned order)
{
	memset(t->order + frame, FRAME_IN_BLOCK, BIT(order));
	t->order[frame] = (int8_t)order;
	t->frames_used += BIT(order);
	t->m.table_bytes += PAGE_SIZE << order;
	memset(t->bytes + frame * PAGE_SIZE, 0, PAGE_SIZE << order);
}

static void give(struct test_mem *t, uint64_t frame, unsigned order)
{
	memset(t->order + frame, FRAME_FREE, BIT(order));
	t->frames_used -= BIT(order);
	t->m.table_bytes -= PAGE_SIZE << order;
	memset(t->bytes + frame * PAGE_SIZE, POISON, PAGE_SIZE << order);
}

static bool is_free_block(const struct test_mem *t, uint64_t frame, unsigned order)
{
	for (uint64_t i = 0; i < BIT(order); i++)
		if (t->order[frame + i] != FRAME_FREE)
			return false;
	return true;
}

static int test_alloc(struct pt_mem *m, unsigned order, uint64_t *addr)
{
	struct test_mem *t = mem_of(m);
	uint64_t base = TEST_MEM_BASE >> PAGE_SHIFT;

	if (faultinj_hit(m->inj, FAULT_TABLE_ALLOC) || t->frames_used + BIT(order) > t->limit)
		return -ENOMEM;
	for (uint64_t f = align_up(base, BIT(order)) - base; f + BIT(order) <= t->nframes; f += BIT(order)) {
		if (!is_free_block(t, f, order))
			continue;
		take(t, f, order);
		*addr = TEST_MEM_BASE + f * PAGE_SIZE;
		remember(t, EVENT_ALLOC, *addr, order, NULL);
		return 0;
	}
	return -ENOMEM;
}

static void test_free(struct pt_mem *m, uint64_t addr, unsigned order)
{
	struct test_mem *t = mem_of(m);
	uint64_t frame = (addr - TEST_MEM_BASE) >> PAGE_SHIFT;

	if (addr < TEST_MEM_BASE || frame >= t->nframes || t->order[frame] != (int8_t)order) {
		t->bad++;
		return;
	}
	remember(t, EVENT_FREE, addr, order, NULL);
	give(t, frame, order);
}

static int test_scan(struct pt_mem *m, uint64_t first, uint64_t n, uint64_t stride)
{
	struct test_mem *t = mem_of(m);

	if (n && (!at(t, first, 1) || !at(t, first + (n - 1) * stride, 1)))
		return -EFAULT;
	if (n && faultinj_hit(m->inj, FAULT_TABLE_LOAD))
		return -EAGAIN;
	m->counts.refs += n;
	m->counts.depth += n;
	ptm_log_ref(m, first, HPA(first), 0, n);
	return 0;
}

static hpa_t test_hpa(struct pt_mem *m, uint64_t addr)
{
	return HPA(addr);
}

static const struct pt_mem_ops test_mem_ops = {
	.load = test_load,
	.store = test_store,
	.cas = test_cas,
	.alloc = test_alloc,
	.free = test_free,
	.scan = test_scan,
	.hpa = test_hpa,
};

void test_mem_init(struct test_mem *t, uint64_t nframes)
{
	*t = (struct test_mem){ .m.ops = &test_mem_ops, .nframes = nframes, .limit = nframes };
	t->fail_store_at = UINT64_MAX;
	faultinj_init(&t->inj);
	t->m.inj = &t->inj;
	t->bytes = malloc(nframes * PAGE_SIZE);
	t->order = malloc(nframes);
	BUG_ON(!t->bytes || !t->order);
	memset(t->order, FRAME_FREE, nframes);
}

void test_mem_fini(struct test_mem *t)
{
	free(t->bytes);
	free(t->order);
	free(t->history);
}

/* Frames in use only: what is free was never written, or is poison nobody may read. */
void test_mem_copy(struct test_mem *to, const struct test_mem *from)
{
	test_mem_init(to, from->nframes);
	for (uint64_t f = 0; f < from->nframes; f++) {
		to->order[f] = from->order[f];
		if (from->order[f] != FRAME_FREE)
			memcpy(to->bytes + f * PAGE_SIZE, from->bytes + f * PAGE_SIZE, PAGE_SIZE);
	}
	to->frames_used = from->frames_used;
	to->m.table_bytes = from->m.table_bytes;
}

void test_mem_set_direct(struct test_mem *t, bool on)
{
	/* direct is read at addr itself: it points below the block by the base. */
	t->m.direct = on ? (uint8_t *)((uintptr_t)t->bytes - TEST_MEM_BASE) : NULL;
	t->m.direct_bytes = on ? TEST_MEM_BASE + t->nframes * PAGE_SIZE : 0;
}

void history_begin(struct test_mem *t)
{
	t->nhistory = 0;
	t->recording = true;
}

void history_end(struct test_mem *t)
{
	t->recording = false;
}

void history_replay(struct test_mem *to, const struct test_mem *from, size_t i)
{
	const struct test_history *h = &from->history[i];
	uint64_t offset = h->addr - TEST_MEM_BASE;

	switch (h->kind) {
	case EVENT_STORE:
		memcpy(to->bytes + offset, h->bytes, h->size);
		break;
	case EVENT_ALLOC:
		take(to, offset >> PAGE_SHIFT, h->size);
		break;
	case EVENT_FREE:
		give(to, offset >> PAGE_SHIFT, h->size);
		break;
	}
}

static void log_ref(struct pt_log *log, const struct pt_ref *ref)
{
	struct test_log *l = container_of(log, struct test_log, log);

	if (l->n < TEST_LOG_MAX)
		l->ref[l->n] = *ref;
	l->n++;
}

void test_log_init(struct test_log *l)
{
	l->log.ref = log_ref;
	l->n = 0;
}
