/* SPDX-License-Identifier: MIT */
/*
 * How a way of the cuckoo table grows and shrinks: step by step, beside the
 * operations that change the table.
 *
 *   cur   │ moved │ … │ moved │ here │ here │ …      bucket h mod n
 *                             ▲ pos
 *   next  │ here  │ … │ here  │  0   │  0   │ …      bucket h mod 2n (or n/2)
 *
 * The larger array's index has one more bit of the same hash. So a step of a
 * way that grows spreads one bucket over two that nobody could use before,
 * and moves nothing else; one that shrinks puts two buckets into one, and what
 * is too much for it into free slots of the other ways (if there are none, the
 * step is left for later, and the other ways can still grow). The entries are copied to where no lookup goes yet;
 * then one store, of pos, makes lookups go there. The old copies are never seen
 * again, and go with their array.
 *
 * Nothing here fails the operation it follows: without memory for a larger
 * array the table fills up further, until a new entry finds no chain.
 */
#include "pt/cuckoo.h"

static int alloc_array(struct pt *pt, unsigned log, uint64_t *array)
{
	int rc = ptm_alloc(pt->mem, log - CUCKOO_LOG_MIN, array);

	if (!rc)
		*array |= log;
	return rc;
}

static void free_array(struct pt *pt, uint64_t array)
{
	if (array)
		ptm_free(pt->mem, array_base(array), array_order(array));
}

int cuckoo_alloc_table(struct pt *pt, unsigned order)
{
	struct cuckoo_way *y = cuckoo_table(pt, order);
	int rc = 0;

	for (unsigned w = 0; w < cuckoo_ways(pt) && !rc; w++)
		rc = alloc_array(pt, CUCKOO_LOG_MIN, &y[w].cur);
	if (rc)
		cuckoo_free_table(pt, order);
	else
		cuckoo_regs_of(pt)->in_use |= BIT(order);
	return rc;
}

void cuckoo_free_table(struct pt *pt, unsigned order)
{
	struct cuckoo_way *y = cuckoo_table(pt, order);

	for (unsigned w = 0; w < cuckoo_ways(pt); w++) {
		free_array(pt, y[w].cur);
		free_array(pt, y[w].next);
		y[w] = (struct cuckoo_way){ 0 };
	}
	cuckoo_regs_of(pt)->in_use &= ~BIT(order);
}

void cuckoo_put_table(struct pt *pt, struct txn *t, unsigned order)
{
	for (unsigned w = 0; w < cuckoo_ways(pt); w++)
		txn_put(t, cuckoo_way_addr(pt, order, w) + WAY_CUR, cuckoo_table(pt, order)[w].cur);
}

/* Without the first way's array there is no table, whatever the other words say. */
void cuckoo_put_no_table(struct pt *pt, struct txn *t, unsigned order)
{
	for (unsigned w = 0; w < cuckoo_ways(pt); w++)
		for (unsigned at = WAY_CUR; at <= WAY_POS; at += 8)
			txn_put(t, cuckoo_way_addr(pt, order, w) + at, 0);
}

/* Of a way that is being resized. */
static bool is_growing(const struct cuckoo_way *y)
{
	return array_log(y->next) > array_log(y->cur);
}

/* Slots when what is under way is done. */
static uint64_t slots_of(struct pt *pt, const struct cuckoo_way *y)
{
	uint64_t n = 0;

	for (unsigned w = 0; w < cuckoo_ways(pt); w++)
		n += CUCKOO_SLOTS * BIT(array_log(y[w].next ? y[w].next : y[w].cur));
	return n;
}

/* A resize begins: pos is 0 before next is there. */
static int start(struct pt *pt, unsigned order, unsigned way, unsigned log)
{
	struct cuckoo_way *y = &cuckoo_table(pt, order)[way];
	uint64_t at = cuckoo_way_addr(pt, order, way), array;
	struct txn t;
	int rc = alloc_array(pt, log, &array);

	if (rc)
		return rc;
	txn_begin(&t, pt->mem);
	txn_put(&t, at + WAY_POS, 0);
	txn_put(&t, at + WAY_NEXT, array);
	rc = txn_commit(&t);
	if (rc) {
		free_array(pt, array);
		return rc;
	}
	y->pos = 0;
	y->next = array;
	return 0;
}

/*
 * All has moved. With cur = next the two are one, wherever pos is; then next
 * goes, and pos means nothing.
 */
static int finish(struct pt *pt, unsigned order, unsigned way)
{
	struct cuckoo_way *y = &cuckoo_table(pt, order)[way];
	uint64_t at = cuckoo_way_addr(pt, order, way), old = y->cur;
	struct txn t;
	int rc;

	txn_begin(&t, pt->mem);
	txn_put(&t, at + WAY_CUR, y->next);
	txn_put(&t, at + WAY_NEXT, 0);
	txn_put(&t, at + WAY_POS, 0);
	rc = txn_commit(&t);
	if (rc)
		return rc;
	*y = (struct cuckoo_way){ .cur = y->next };
	free_array(pt, old);
	return 0;
}

/* A free slot for this page outside one way; 0: none. */
static uint64_t slot_elsewhere(struct pt *pt, struct txn *t, unsigned order, unsigned way, uint64_t page)
{
	for (unsigned w = 0; w < cuckoo_ways(pt); w++) {
		uint64_t bucket = cuckoo_bucket_at(&cuckoo_table(pt, order)[w], cuckoo_hash(w, page, order));

		for (unsigned i = 0; w != way && i < CUCKOO_SLOTS; i++)
			if (!(txn_get(t, slot_at(bucket, i) + CUCKOO_TAG) & CUCKOO_VALID))
				return slot_at(bucket, i);
	}
	return 0;
}

/* Copies the entries of one bucket of cur; taken: slots used of the one or two buckets they go to. */
static int copy_bucket(struct pt *pt, struct txn *t, unsigned order, unsigned way, uint64_t bucket,
		       unsigned taken[2])
{
	const struct cuckoo_way *y = &cuckoo_table(pt, order)[way];
	struct cuckoo_bucket b;
	int rc = ptm_load(pt->mem, bucket, LINE_SIZE, &b);

	for (unsigned i = 0; i < CUCKOO_SLOTS && !rc; i++) {
		if (!is_valid_slot(&b.slot[i]))
			continue;
		uint64_t page = slot_page(&b.slot[i]), hash = cuckoo_hash(way, page, order);
		uint64_t to = bucket_in(y->next, hash);
		unsigned *n = &taken[is_growing(y) && (hash >> array_log(y->cur) & 1)];

		to = *n < CUCKOO_SLOTS ? slot_at(to, (*n)++) : slot_elsewhere(pt, t, order, way, page);
		if (!to)
			return -ENOSPC;
		cuckoo_put_slot(t, to, b.slot[i].leaf, b.slot[i].tag);
	}
	return rc;
}

/* One step of the rehash pointer. */
static int step_way(struct pt *pt, unsigned order, unsigned way)
{
	struct cuckoo_way *y = &cuckoo_table(pt, order)[way];
	uint64_t first = array_base(y->cur), n = BIT(resize_log(y));
	unsigned taken[2] = { 0, 0 };
	struct txn t;
	int rc = 0;

	if (y->pos < n) {
		txn_begin(&t, pt->mem);
		for (uint64_t i = y->pos; i < BIT(array_log(y->cur)) && !rc; i += n)
			rc = copy_bucket(pt, &t, order, way, first + i * LINE_SIZE, taken);
		if (rc)
			return rc;
		txn_put(&t, cuckoo_way_addr(pt, order, way) + WAY_POS, y->pos + 1);
		rc = txn_commit(&t);
		if (rc)
			return rc;
		y->pos++;
	}
	return y->pos == n ? finish(pt, order, way) : 0;
}

/* The smallest way that is not being resized, or -1. */
static int way_to_grow(struct pt *pt, const struct cuckoo_way *y)
{
	int best = -1;

	for (int w = 0; w < (int)cuckoo_ways(pt); w++)
		if (!y[w].next && array_log(y[w].cur) < CUCKOO_LOG_MAX &&
		    (best < 0 || array_log(y[w].cur) < array_log(y[best].cur)))
			best = w;
	return best;
}

/* The largest way, if it can become smaller and none is being resized, or -1. */
static int way_to_shrink(struct pt *pt, const struct cuckoo_way *y)
{
	int best = 0;

	for (int w = 0; w < (int)cuckoo_ways(pt); w++) {
		if (y[w].next)
			return -1;
		if (array_log(y[w].cur) >= array_log(y[best].cur))
			best = w;
	}
	return array_log(y[best].cur) > CUCKOO_LOG_MIN ? best : -1;
}

static void grow(struct pt *pt, unsigned order)
{
	const struct cuckoo_way *y = cuckoo_table(pt, order);
	int w = way_to_grow(pt, y);

	if (w >= 0)
		(void)start(pt, order, (unsigned)w, array_log(y[w].cur) + 1);
}

static void shrink(struct pt *pt, unsigned order)
{
	const struct cuckoo_way *y = cuckoo_table(pt, order);
	int w = way_to_shrink(pt, y);

	if (w >= 0)
		(void)start(pt, order, (unsigned)w, array_log(y[w].cur) - 1);
}

void cuckoo_step(struct pt *pt, unsigned order)
{
	struct cuckoo_way *y = cuckoo_table(pt, order);
	uint64_t count, slots;

	if (ptm_load64(pt->mem, cuckoo_block(pt, order) + BLOCK_COUNT, &count))
		return;
	slots = slots_of(pt, y);
	if (count * CUCKOO_LOAD_UNIT > slots * CUCKOO_GROW_ABOVE)
		grow(pt, order);
	else if (count * CUCKOO_LOAD_UNIT < slots * CUCKOO_SHRINK_BELOW)
		shrink(pt, order);
	for (unsigned w = 0; w < cuckoo_ways(pt); w++) {
		int steps = is_growing(&y[w]) ? CUCKOO_GROW_STEPS : CUCKOO_SHRINK_STEPS;

		while (y[w].next && steps-- > 0)
			if (step_way(pt, order, w))
				break;
	}
}

/* The way that grows; if none does, one begins to. -1: there is no memory for it. */
static int growing_way(struct pt *pt, unsigned order)
{
	const struct cuckoo_way *y = cuckoo_table(pt, order);

	for (int again = 0; again < 2; again++) {
		for (int w = 0; w < (int)cuckoo_ways(pt); w++)
			if (y[w].next && is_growing(&y[w]))
				return w;
		grow(pt, order);
	}
	return -1;
}

void cuckoo_make_room(struct pt *pt, unsigned order)
{
	const struct cuckoo_way *y = cuckoo_table(pt, order);
	int w = growing_way(pt, order);

	for (int i = 0; w >= 0 && i < CUCKOO_CATCH_UP && y[w].next; i++)
		if (step_way(pt, order, (unsigned)w))
			return;
}
