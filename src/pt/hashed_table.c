/* SPDX-License-Identifier: MIT */
/* Lines of the hashed table: finding, adding and removing units, building a table anew. See hashed.c. */
#include "base/bug.h"
#include "pt/hashed.h"

static int load_line(struct pt *pt, const struct hashed_table *t, uint64_t line, uint64_t word[LINE_WORDS])
{
	return ptm_load(pt->mem, line_addr(t, line), LINE_SIZE, word);
}

static int store_unit(struct pt *pt, uint64_t addr, const uint64_t *unit)
{
	return ptm_store(pt->mem, addr, 8 * unit_words(pt), unit);
}

static bool has_leaf(const struct pt *pt, const uint64_t *unit)
{
	for (unsigned i = is_ppc(pt); i < unit_words(pt); i++)
		if (is_valid_leaf(unit[i]))
			return true;
	return false;
}

static void note_line(struct pt *pt, unsigned order, uint64_t line)
{
	const struct pt_params *p = &pt->params;

	ptm_note(pt->mem, p->role ? p->role : "hashed", 0, line, p->fmt->va_bits - 1,
		 PAGE_SHIFT + order + unit_shift(pt));
}

/* Among the units of the line just loaded. True: the search ends here, found or not. */
static ALWAYS_INLINE bool look_in_line(const struct pt *pt, uint64_t addr, uint64_t tag, struct hashed_spot *s)
{
	for (unsigned i = 0; i < LINE_WORDS; i += unit_words(pt)) {
		uint64_t there = unit_tag(pt, &s->word[i]);

		if (there == tag) {
			s->unit = &s->word[i];
			s->addr = addr + 8 * i;
			return true;
		}
		if (!there && !s->room)
			s->room = addr + 8 * i;
	}
	return s->room && !is_ppc(pt);
}

int hashed_find(struct pt *pt, unsigned order, const struct hashed_table *t, uint64_t number,
		struct walk *w, struct hashed_spot *s)
{
	uint64_t tag = make_tag(pt, number), hash = tag_hash(pt, tag);
	unsigned probes = is_ppc(pt) ? PPC_PROBES : CLUSTER_PROBES;

	s->room = 0;
	s->unit = NULL;
	for (unsigned i = 0; i < probes; i++) {
		uint64_t addr = line_addr(t, s->line = way_line(pt, t, hash, i));

		note_line(pt, order, s->line);
		if (w)
			walk_add_line(w, addr);
		int rc = ptm_load(pt->mem, addr, LINE_SIZE, s->word);
		if (unlikely(rc))
			return rc;
		if (look_in_line(pt, addr, tag, s))
			break;
	}
	return s->unit ? 0 : -ENOENT;
}

int hashed_find_leaf(struct pt *pt, unsigned order, uint64_t number, struct hashed_spot *s,
		     uint64_t *addr, uint64_t *leaf)
{
	int rc = hashed_in_use(pt, order) ?
		 hashed_find(pt, order, hashed_table_of(pt, order), number, NULL, s) : -ENOENT;

	if (rc)
		return rc;
	*addr = s->addr + 8 * leaf_word(pt, number);
	*leaf = s->unit[leaf_word(pt, number)];
	return is_valid_leaf(*leaf) ? 0 : -ENOENT;
}

/* The lowest number in [from, last] that this unit maps becomes *best, unless that is lower. */
static void keep_lowest(struct pt *pt, const uint64_t *unit, uint64_t from, uint64_t last,
			uint64_t *best, uint64_t *leaf)
{
	uint64_t first = tag_number(pt, unit_tag(pt, unit));

	for (uint64_t n = first; n < first + BIT(unit_shift(pt)); n++) {
		uint64_t there = unit[leaf_word(pt, n)];

		if (n >= from && n <= last && n < *best && is_valid_leaf(there)) {
			*best = n;
			*leaf = there;
		}
	}
}

static int lowest_by_reading_all(struct pt *pt, const struct hashed_table *t, uint64_t from, uint64_t last,
				 uint64_t *best, uint64_t *leaf)
{
	uint64_t word[LINE_WORDS];

	for (uint64_t line = 0; line < table_lines(t); line++) {
		int rc = load_line(pt, t, line, word);

		if (rc)
			return rc;
		for (unsigned i = 0; i < LINE_WORDS; i += unit_words(pt))
			if (unit_tag(pt, &word[i]))
				keep_lowest(pt, &word[i], from, last, best, leaf);
	}
	return 0;
}

/* Asks for the units that follow, one by one, as long as that is less than reading the table. */
int hashed_first(struct pt *pt, unsigned order, uint64_t page, uint64_t end, struct pt_entry *e)
{
	enum { ASK_AT_LEAST = 16 };
	const struct hashed_table *t = hashed_table_of(pt, order);
	uint64_t from = page >> order, last = (end - 1) >> order, step = BIT(unit_shift(pt));
	uint64_t units = (last >> unit_shift(pt)) - (from >> unit_shift(pt)) + 1;
	uint64_t ask = units <= MAX(table_lines(t), (uint64_t)ASK_AT_LEAST) ? units : ASK_AT_LEAST;
	uint64_t best = UINT64_MAX, leaf = 0, n = align_down(from, step);
	struct hashed_spot s;
	int rc;

	for (uint64_t i = 0; i < ask && best == UINT64_MAX; i++, n += step) {
		rc = hashed_find(pt, order, t, n, NULL, &s);
		if (rc == 0)
			keep_lowest(pt, s.unit, from, last, &best, &leaf);
		else if (rc != -ENOENT)
			return rc;
	}
	if (best == UINT64_MAX && ask < units) {
		rc = lowest_by_reading_all(pt, t, from, last, &best, &leaf);
		if (rc)
			return rc;
	}
	if (best == UINT64_MAX)
		return -ENOENT;
	leaf_to_entry((struct pt_key){ 0, best << order }, leaf, e);
	return 0;
}

static unsigned segment_order(unsigned log2)
{
	return log2 - segments_log2(log2) - FRAME_LINES_LOG2;
}

static void free_segments(struct pt *pt, const struct hashed_table *t, unsigned n)
{
	while (n-- > 0)
		ptm_free(pt->mem, t->base[n], segment_order(table_log2(t)));
}

static int alloc_table(struct pt *pt, struct hashed_table *t)
{
	for (unsigned i = 0; i < BIT(segments_log2(table_log2(t))); i++) {
		int rc = ptm_alloc(pt->mem, segment_order(table_log2(t)), &t->base[i]);

		if (rc) {
			free_segments(pt, t, i);
			return rc;
		}
	}
	return 0;
}

void hashed_free_table(struct pt *pt, struct hashed_table *t)
{
	if (t->shape)
		free_segments(pt, t, (unsigned)BIT(segments_log2(table_log2(t))));
	*t = (struct hashed_table){ 0 };
}

/*
 * Lines that leave the table without being stored to: whoever keeps what was
 * read from them hears of it by a store. Best effort, they are free already.
 */
static void wipe(struct pt *pt, const struct hashed_table *t)
{
	uint64_t word[LINE_WORDS];

	for (uint64_t line = 0; t->shape && line < table_lines(t); line++)
		if (!load_line(pt, t, line, word))
			for (unsigned i = 0; i < LINE_WORDS; i++)
				if (word[i]) {
					(void)ptm_store64(pt->mem, line_addr(t, line) + 8 * i, 0);
					break;
				}
}

/* Into a table that nobody sees yet. -ENOSPC: no room on its way. */
static int insert(struct pt *pt, unsigned order, const struct hashed_table *t, const uint64_t *unit)
{
	struct hashed_spot s;
	int rc = hashed_find(pt, order, t, tag_number(pt, unit_tag(pt, unit)), NULL, &s);

	if (rc == 0)
		return -EFAULT; /* one key twice: damage */
	if (rc != -ENOENT)
		return rc;
	return s.room ? store_unit(pt, s.room, unit) : -ENOSPC;
}

static int copy_units(struct pt *pt, unsigned order, const struct hashed_table *from,
		      const struct hashed_table *to, uint64_t *n)
{
	uint64_t word[LINE_WORDS];

	for (uint64_t line = 0; from->shape && line < table_lines(from); line++) {
		int rc = load_line(pt, from, line, word);

		for (unsigned i = 0; i < LINE_WORDS && !rc; i += unit_words(pt)) {
			if (!unit_tag(pt, &word[i]) || !has_leaf(pt, &word[i]))
				continue;
			rc = insert(pt, order, to, &word[i]);
			++*n;
		}
		if (rc)
			return rc;
	}
	return 0;
}

/* The header's words for a table that takes the place of the order's; its shape comes last. */
static int publish(struct pt *pt, unsigned order, const struct hashed_table *t, uint64_t used, unsigned more)
{
	uint64_t bases = header_bases(pt, hashed_rank(pt, order), t->shape), at = header_word(pt, HDR_COUNT, order);
	struct txn txn;

	txn_begin(&txn, pt->mem);
	for (unsigned i = 0; i < BIT(segments_log2(table_log2(t))); i++)
		txn_put(&txn, bases + 8 * i, t->base[i]);
	txn_put(&txn, at, txn_get(&txn, at) + more);
	txn_put(&txn, header_word(pt, HDR_USED, order), used);
	txn_put(&txn, header_word(pt, HDR_SHAPE, order), t->shape);
	return txn_commit(&txn);
}

/*
 * All units of an order, and one more if not NULL, in a table of 2^log2 lines;
 * it becomes the order's by the store of its shape. -ENOSPC: some way is full.
 */
static int rebuild(struct pt *pt, unsigned order, unsigned log2, const uint64_t *more)
{
	struct hashed_table *t = hashed_table_of(pt, order), old = *t;
	struct hashed_table new = { .shape = log2 | (~old.shape & SHAPE_SIDE) };
	uint64_t used = 0;
	int rc = alloc_table(pt, &new);

	if (rc)
		return rc;
	rc = copy_units(pt, order, &old, &new, &used);
	if (!rc && more) {
		rc = insert(pt, order, &new, more);
		used++;
	}
	if (!rc)
		rc = publish(pt, order, &new, used, more != NULL);
	if (rc) {
		hashed_free_table(pt, &new);
		return rc;
	}
	*t = new;
	hashed_regs_of(pt)->in_use |= BIT(order);
	wipe(pt, &old);
	hashed_free_table(pt, &old);
	return 0;
}

static unsigned first_log2(const struct pt *pt, unsigned order)
{
	uint64_t groups = pt->params.nframes >> order >> 1;
	unsigned lines = groups ? log2_ceil(groups) + 1 : 0;

	return is_ppc(pt) ? MIN(MAX(lines, (unsigned)HASHED_LOG2_MIN), (unsigned)HASHED_LOG2_MAX) : HASHED_LOG2_MIN;
}

int hashed_make_table(struct pt *pt, unsigned order)
{
	return rebuild(pt, order, first_log2(pt, order), NULL);
}

/*
 * A full way in a table that is nearly empty is no reason to double it for
 * ever: keys chosen to collide would take all memory. Tables of less than
 * SPARSE_LOG2 may grow at any load.
 */
static bool may_have(struct pt *pt, unsigned log2, uint64_t used)
{
	enum { SPARSE_LOG2 = 17, SPARSEST = 64 };

	return log2 <= HASHED_LOG2_MAX &&
	       (log2 <= SPARSE_LOG2 || BIT(log2) * (LINE_WORDS / unit_words(pt)) <= SPARSEST * (used + 1));
}

static int grow(struct pt *pt, unsigned order, uint64_t used, const uint64_t *more)
{
	const struct hashed_table *t = hashed_table_of(pt, order);
	unsigned log2 = t->shape ? table_log2(t) + 1 : first_log2(pt, order);
	int rc = -ENOSPC;

	for (; rc == -ENOSPC && (!t->shape || may_have(pt, log2, used)); log2++)
		rc = rebuild(pt, order, log2, more);
	return rc == -ENOSPC ? -ENOMEM : rc;
}

/* The unit first, as a whole, then the counts; both or neither. */
static int put_unit(struct pt *pt, unsigned order, const uint64_t *unit, uint64_t room, struct txn *t)
{
	static const uint64_t empty[LINE_WORDS];
	uint64_t count = header_word(pt, HDR_COUNT, order), used = header_word(pt, HDR_USED, order);
	int rc;

	txn_put(t, count, txn_get(t, count) + 1);
	txn_put(t, used, txn_get(t, used) + 1);
	rc = t->err ? t->err : store_unit(pt, room, unit);
	if (rc)
		return rc;
	rc = txn_commit(t);
	if (rc)
		(void)store_unit(pt, room, empty);
	return rc;
}

int hashed_add_unit(struct pt *pt, unsigned order, uint64_t number, uint64_t leaf, uint64_t room)
{
	uint64_t lines = hashed_in_use(pt, order) ? table_lines(hashed_table_of(pt, order)) : 0;
	uint64_t unit[LINE_WORDS] = { 0 }, tag = make_tag(pt, number), used;
	struct txn t;

	for (unsigned i = 0; i < LINE_WORDS && !is_ppc(pt); i++)
		unit[i] = tag_piece(tag, i);
	unit[0] |= is_ppc(pt) ? tag : 0;
	unit[leaf_word(pt, number)] |= leaf;
	txn_begin(&t, pt->mem);
	used = txn_get(&t, header_word(pt, HDR_USED, order)) + 1;
	if (t.err)
		return t.err;
	if (room && (is_ppc(pt) || used * 2 <= lines))
		return put_unit(pt, order, unit, room, &t);
	int rc = grow(pt, order, used, unit);

	/* Without memory for more lines, the ones there are must do as long as ways are short. */
	if (rc == -ENOMEM && room && used * 8 <= lines * 7)
		return put_unit(pt, order, unit, room, &t);
	return rc;
}

/* Lines that move one place back on their ways, each to where the one before it stood; the last is emptied. */
enum { MOVES_MAX = 16 };
struct moves {
	unsigned n;
	struct {
		uint64_t addr, word[LINE_WORDS];
	} at[MOVES_MAX];
};

static void add_move(struct moves *m, uint64_t addr, const uint64_t *word, unsigned n)
{
	m->at[m->n].addr = addr;
	memcpy(m->at[m->n++].word, word, 8 * n);
}

/*
 * A line past the hole moves into it if its home is not after the hole; it
 * leaves the next one. No line is CLUSTER_PROBES or more past its home, so
 * none beyond that can. -E2BIG: more moves than one operation makes.
 */
static int plan_moves(struct pt *pt, const struct hashed_table *t, uint64_t hole, struct moves *m)
{
	uint64_t mask = table_lines(t) - 1, word[LINE_WORDS];

	for (uint64_t past = 1; past < CLUSTER_PROBES; past++) {
		uint64_t line = (hole + past) & mask;
		int rc = load_line(pt, t, line, word);

		if (rc)
			return rc;
		uint64_t tag = unit_tag(pt, word);
		if (!tag)
			return 0;
		if (((line - tag_hash(pt, tag)) & mask) < past)
			continue;
		if (m->n == MOVES_MAX)
			return -E2BIG;
		add_move(m, line_addr(t, line), word, LINE_WORDS);
		hole = line;
		past = 0;
	}
	return 0;
}

/*
 * At each step the line that moved stands twice, the nearer one found first;
 * so it does on the way back, when a store fails.
 */
static int make_moves(struct pt *pt, const struct moves *m, struct txn *counts)
{
	static const uint64_t empty[LINE_WORDS];
	unsigned i;
	int rc = counts->err;

	for (i = 0; i < m->n && !rc; i++)
		rc = store_unit(pt, m->at[i].addr, i + 1 < m->n ? m->at[i + 1].word : empty);
	if (rc)
		i -= i > 0;
	else
		rc = txn_commit(counts);
	while (rc && i-- > 0)
		(void)store_unit(pt, m->at[i].addr, m->at[i].word);
	return rc;
}

/* An emptied line costs nobody: only when hardly any is in use, a smaller table. It may fail. */
static void shrink(struct pt *pt, unsigned order, uint64_t used)
{
	unsigned log2 = table_log2(hashed_table_of(pt, order));

	if (!is_ppc(pt) && log2 > HASHED_LOG2_MIN && used * 16 < BIT(log2))
		(void)rebuild(pt, order, MAX(log2 - 2, (unsigned)HASHED_LOG2_MIN), NULL);
}

int hashed_remove_unit(struct pt *pt, unsigned order, uint64_t number, const struct hashed_spot *s)
{
	uint64_t count = header_word(pt, HDR_COUNT, order), used = header_word(pt, HDR_USED, order), left;
	struct moves m = { .n = 0 };
	struct txn t;
	int rc = 0;

	txn_begin(&t, pt->mem);
	add_move(&m, s->addr, s->unit, unit_words(pt));
	if (!is_ppc(pt))
		rc = plan_moves(pt, hashed_table_of(pt, order), s->line, &m);
	txn_put(&t, count, txn_get(&t, count) - 1);
	if (rc == -E2BIG) {
		/* The cluster stays, empty and counted as used, until the table is built anew. */
		txn_put(&t, s->addr + 8 * leaf_word(pt, number), tag_piece(make_tag(pt, number), leaf_word(pt, number)));
		return txn_commit(&t);
	}
	if (rc)
		return rc;
	left = txn_get(&t, used) - 1;
	txn_put(&t, used, left);
	rc = make_moves(pt, &m, &t);
	if (!rc)
		shrink(pt, order, left);
	return rc;
}

int hashed_drop_table(struct pt *pt, unsigned order)
{
	struct hashed_table *t = hashed_table_of(pt, order);
	struct txn txn;
	int rc;

	txn_begin(&txn, pt->mem);
	txn_put(&txn, header_word(pt, HDR_SHAPE, order), 0);
	txn_put(&txn, header_word(pt, HDR_COUNT, order), 0);
	txn_put(&txn, header_word(pt, HDR_USED, order), 0);
	rc = txn_commit(&txn);
	if (rc)
		return rc;
	hashed_regs_of(pt)->in_use &= ~BIT(order);
	wipe(pt, t);
	hashed_free_table(pt, t);
	return 0;
}
