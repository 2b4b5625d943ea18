/* SPDX-License-Identifier: MIT */
#include "base/bug.h"
#include "pt/txn.h"

uint64_t txn_get(struct txn *t, uint64_t addr)
{
	uint64_t value = 0;

	for (unsigned i = t->n; i-- > 0;)
		if (t->word[i].addr == addr)
			return t->word[i].value;
	if (!t->err)
		t->err = ptm_load64(t->m, addr, &value);
	return t->err ? 0 : value;
}

void txn_put(struct txn *t, uint64_t addr, uint64_t value)
{
	uint64_t old = txn_get(t, addr);

	if (t->err || old == value)
		return;
	BUG_ON(t->n == TXN_MAX);
	t->word[t->n++] = (struct txn_word){ addr, value, old };
}

/* Words from i on that are one store. */
static unsigned run_length(const struct txn *t, unsigned i)
{
	unsigned n = 1;

	while (i + n < t->n && t->word[i + n].addr == t->word[i].addr + 8 * n &&
	       !is_aligned(t->word[i + n].addr, LINE_SIZE))
		n++;
	return n;
}

static void undo(struct txn *t, unsigned n)
{
	while (n-- > 0)
		if (ptm_store64(t->m, t->word[n].addr, t->word[n].old))
			t->err = -EFAULT; /* memory that comes and goes by itself */
}

int txn_commit(struct txn *t)
{
	uint64_t line[LINE_SIZE / 8];

	for (unsigned i = 0, n; !t->err && i < t->n; i += n) {
		n = run_length(t, i);
		for (unsigned k = 0; k < n; k++)
			line[k] = t->word[i + k].value;
		t->err = ptm_store(t->m, t->word[i].addr, 8 * n, line);
		if (t->err)
			undo(t, i);
	}
	return t->err;
}
