/* SPDX-License-Identifier: MIT */
/*
 * Aliases of the inverted table: the second and further mappings of a frame.
 *
 *   header.partial ─▶ chunk ⇄ chunk …     some entry is free
 *   header.full    ─▶ chunk ⇄ chunk …     none is
 *
 *   chunk, a frame:  │ next prev used used │ alias 1 │ alias 2 │ … │ alias 127 │
 *                      32 bytes; bit i of used: alias i is taken (bit 0 always)
 *
 * An alias costs 32 bytes in a chunk of 4 KiB that it may have to itself; a
 * chunk that empties is freed. In the chains an alias is an entry like any
 * other, so chained lookups pay nothing extra; the linear search goes on
 * through the chunks, 128 loads each (its first 32 bytes lead to the next).
 */
#include "pt/inverted.h"

enum { CHUNK_NEXT = 0, CHUNK_PREV = 8, CHUNK_USED = 16, CHUNK_ENTRIES = PAGE_SIZE / INV_BYTES };

struct chunk_head {
	uint64_t next, prev, used[2];
};

static uint64_t chunk_of(uint64_t addr)
{
	return align_down(addr, PAGE_SIZE);
}

static void list_push(struct txn *t, uint64_t listp, uint64_t chunk)
{
	uint64_t first = txn_get(t, listp);

	txn_put(t, chunk + CHUNK_NEXT, first);
	txn_put(t, chunk + CHUNK_PREV, 0);
	if (first)
		txn_put(t, first + CHUNK_PREV, chunk);
	txn_put(t, listp, chunk);
}

static void list_remove(struct txn *t, uint64_t listp, uint64_t chunk)
{
	uint64_t next = txn_get(t, chunk + CHUNK_NEXT);
	uint64_t prev = txn_get(t, chunk + CHUNK_PREV);

	txn_put(t, prev ? prev + CHUNK_NEXT : listp, next);
	if (next)
		txn_put(t, next + CHUNK_PREV, prev);
}

static bool is_full(const uint64_t used[2]) { return used[0] == UINT64_MAX && used[1] == UINT64_MAX; }
static bool is_empty(const uint64_t used[2]) { return used[0] == 1 && used[1] == 0; }

static void get_used(struct txn *t, uint64_t chunk, uint64_t used[2])
{
	used[0] = txn_get(t, chunk + CHUNK_USED);
	used[1] = txn_get(t, chunk + CHUNK_USED + 8);
}

static void put_used(struct txn *t, uint64_t chunk, const uint64_t used[2])
{
	txn_put(t, chunk + CHUNK_USED, used[0]);
	txn_put(t, chunk + CHUNK_USED + 8, used[1]);
}

int inv_alias_take(struct pt *pt, struct inv_op *op, uint64_t *addr)
{
	struct txn *t = &op->t;
	uint64_t chunk = txn_get(t, pt->root + HDR_PARTIAL), used[2] = { 1, 0 };
	unsigned i;

	if (t->err)
		return t->err;
	if (chunk) {
		get_used(t, chunk, used);
	} else {
		int rc = ptm_alloc(pt->mem, 0, &chunk);

		if (rc)
			return rc;
		op->fresh = chunk;
		list_push(t, pt->root + HDR_PARTIAL, chunk);
	}
	if (t->err || is_full(used))
		return t->err ? t->err : -EINVAL;
	i = ~used[0] ? (unsigned)__builtin_ctzll(~used[0]) : 64 + (unsigned)__builtin_ctzll(~used[1]);
	used[i / 64] |= BIT(i % 64);
	put_used(t, chunk, used);
	if (is_full(used)) {
		list_remove(t, pt->root + HDR_PARTIAL, chunk);
		list_push(t, pt->root + HDR_FULL, chunk);
	}
	txn_put(t, pt->root + HDR_ALIASES, txn_get(t, pt->root + HDR_ALIASES) + 1);
	*addr = chunk + i * INV_BYTES;
	return t->err;
}

void inv_alias_give(struct pt *pt, struct inv_op *op, uint64_t addr)
{
	struct txn *t = &op->t;
	uint64_t chunk = chunk_of(addr), used[2];
	unsigned i = (unsigned)((addr - chunk) / INV_BYTES);

	get_used(t, chunk, used);
	bool was_full = is_full(used);
	used[i / 64] &= ~BIT(i % 64);
	put_used(t, chunk, used);
	if (was_full) {
		list_remove(t, pt->root + HDR_FULL, chunk);
		list_push(t, pt->root + HDR_PARTIAL, chunk);
	} else if (is_empty(used)) {
		list_remove(t, pt->root + HDR_PARTIAL, chunk);
		op->dead = chunk;
	}
	txn_put(t, pt->root + HDR_ALIASES, txn_get(t, pt->root + HDR_ALIASES) - 1);
}

/* Calls f for each chunk of both lists, with its head as loaded before; f may free it. */
typedef int chunk_visit(struct pt *pt, uint64_t chunk, const struct chunk_head *h, void *ctx);

static int for_each_chunk(struct pt *pt, uint64_t listp, chunk_visit *f, void *ctx)
{
	struct chunk_head h;
	uint64_t chunk;
	int rc = ptm_load64(pt->mem, listp, &chunk);

	for (; !rc && chunk; chunk = h.next) {
		rc = ptm_load(pt->mem, chunk, sizeof(h), &h);
		if (!rc)
			rc = f(pt, chunk, &h, ctx);
	}
	return rc;
}

/* Full ones first: a chunk that gets room while they are visited comes again among the partial ones. */
static int for_all_chunks(struct pt *pt, chunk_visit *f, void *ctx)
{
	int rc = for_each_chunk(pt, pt->root + HDR_FULL, f, ctx);

	return rc ? rc : for_each_chunk(pt, pt->root + HDR_PARTIAL, f, ctx);
}

struct entry_visit {
	inv_visit *f;
	void *ctx;
};

static int visit_entries(struct pt *pt, uint64_t chunk, const struct chunk_head *h, void *ctx)
{
	struct entry_visit *v = ctx;
	struct inv_entry e;

	for (unsigned i = 1; i < CHUNK_ENTRIES; i++) {
		uint64_t addr = chunk + i * INV_BYTES;

		if (!(h->used[i / 64] & BIT(i % 64)))
			continue;
		int rc = ptm_load(pt->mem, addr, INV_BYTES, &e);
		if (!rc)
			rc = v->f(pt, addr, &e, v->ctx);
		if (rc)
			return rc;
	}
	return 0;
}

int inv_alias_for_each(struct pt *pt, inv_visit *f, void *ctx)
{
	struct entry_visit v = { f, ctx };

	return for_all_chunks(pt, visit_entries, &v);
}

enum { SCAN_DONE = 1 };

/* The chunks' heads are among the loads charged, so reading them to find the way is not. */
static int scan_list(struct pt *pt, uint64_t listp, uint64_t until)
{
	struct chunk_head h;
	uint64_t chunk;
	int rc = pt_peek(pt->mem, listp, sizeof(chunk), &chunk);

	for (unsigned n_chunks = 0; !rc && chunk; chunk = h.next) {
		if (!is_aligned(chunk, PAGE_SIZE) || n_chunks++ == CHAIN_MAX)
			return -EFAULT; /* a guest may have written anything here */
		bool here = until && chunk_of(until) == chunk;
		uint64_t n = here ? (until - chunk) / INV_BYTES + 1 : CHUNK_ENTRIES;

		rc = pt_peek(pt->mem, chunk, sizeof(h), &h);
		ptm_note(pt->mem, "alias", 0, 0, 0, 1);
		if (!rc)
			rc = ptm_scan(pt->mem, chunk, n, INV_BYTES);
		if (!rc && here)
			rc = SCAN_DONE;
	}
	return rc;
}

int inv_alias_scan(struct pt *pt, uint64_t until)
{
	int rc = scan_list(pt, pt->root + HDR_FULL, until);

	if (!rc)
		rc = scan_list(pt, pt->root + HDR_PARTIAL, until);
	return rc == SCAN_DONE ? 0 : rc;
}

static int free_chunk(struct pt *pt, uint64_t chunk, const struct chunk_head *h, void *ctx)
{
	ptm_free(pt->mem, chunk, 0);
	return 0;
}

void inv_alias_destroy(struct pt *pt)
{
	(void)for_all_chunks(pt, free_chunk, NULL);
}

struct alias_audit {
	uint64_t chunks, aliases, prev;
	bool full;
	const char *why;
};

static int audit_chunk(struct pt *pt, uint64_t chunk, const struct chunk_head *h, void *ctx)
{
	struct alias_audit *a = ctx;
	struct inv_entry e;

	a->chunks++;
	if (h->prev != a->prev || !(h->used[0] & 1) || is_empty(h->used) || is_full(h->used) != a->full) {
		a->why = "an alias chunk is on the wrong list or linked wrongly";
		return -EINVAL;
	}
	a->prev = chunk;
	for (unsigned i = 1; i < CHUNK_ENTRIES; i++) {
		bool used = h->used[i / 64] & BIT(i % 64);
		int rc = ptm_load(pt->mem, chunk + i * INV_BYTES, INV_BYTES, &e);

		if (rc)
			return rc;
		if (used != is_valid_entry(&e)) {
			a->why = "an alias is taken but free, or free but taken";
			return -EINVAL;
		}
		a->aliases += used;
	}
	return 0;
}

int inv_alias_audit(struct pt *pt, const char **why)
{
	struct alias_audit a = { .full = true };
	uint64_t n;
	int rc = for_each_chunk(pt, pt->root + HDR_FULL, audit_chunk, &a);

	a.full = false;
	a.prev = 0;
	if (!rc)
		rc = for_each_chunk(pt, pt->root + HDR_PARTIAL, audit_chunk, &a);
	if (!rc)
		rc = ptm_load64(pt->mem, pt->root + HDR_ALIASES, &n);
	if (!rc && n != a.aliases) {
		a.why = "the number of aliases is not the header's";
		rc = -EINVAL;
	}
	*why = a.why;
	return rc;
}

static int count_chunk(struct pt *pt, uint64_t chunk, const struct chunk_head *h, void *ctx)
{
	++*(uint64_t *)ctx;
	return 0;
}

int inv_alias_chunks(struct pt *pt, uint64_t *n)
{
	*n = 0;
	return for_all_chunks(pt, count_chunk, n);
}
