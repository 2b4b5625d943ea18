/* SPDX-License-Identifier: MIT */
/*
 * A memory for tests of the walker: a small array, every load and update
 * counted and remembered, with a violation or a lost race on demand.
 */
#ifndef QUIRE_TESTS_GPT_TESTMEM_H
#define QUIRE_TESTS_GPT_TESTMEM_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "gpt/format.h"
#include "gpt/walk.h"

enum { TM_FRAMES = 64, TM_BYTES = TM_FRAMES * 4096, TM_LOADS_MAX = 256 };

struct testmem {
	struct pt_mem m;
	uint8_t bytes[TM_BYTES];
	unsigned nloads, ncas;
	uint64_t load_addr[TM_LOADS_MAX];
	unsigned eagain_at;  /* the load that meets a violation, from 1; 0: none */
	unsigned eagain_cas; /* the update that does */
	/* Before update number race_at (from 1) somebody ors race_or into its entry, race_times times. */
	unsigned race_at, race_times;
	uint64_t race_or;
};

static struct testmem tm;

static int tm_load(struct pt_mem *m, uint64_t addr, unsigned size, void *out)
{
	assert_true(size == 2 || size == 4 || size == 8);
	assert_int_equal(addr % size, 0);
	if (tm.nloads < TM_LOADS_MAX)
		tm.load_addr[tm.nloads] = addr;
	tm.nloads++;
	if (tm.nloads == tm.eagain_at)
		return -EAGAIN;
	if (addr > TM_BYTES - size)
		return -EFAULT;
	m->counts.refs++;
	m->counts.depth++;
	memcpy(out, tm.bytes + addr, size);

	uint64_t value = 0;

	memcpy(&value, out, size);
	ptm_log_ref(m, addr, HPA(addr), value, 1);
	return 0;
}

static int tm_cas(struct pt_mem *m, uint64_t addr, unsigned size, uint64_t expect, uint64_t value)
{
	uint64_t now = 0;

	assert_true(size == 4 || size == 8);
	assert_true(addr % size == 0 && addr <= TM_BYTES - size);
	tm.ncas++;
	if (tm.ncas == tm.eagain_cas)
		return -EAGAIN;
	memcpy(&now, tm.bytes + addr, size);
	if (tm.race_at && tm.ncas >= tm.race_at && tm.ncas < tm.race_at + tm.race_times) {
		now = tm.race_or ? now | tm.race_or : now ^ 1ull << 11;
		memcpy(tm.bytes + addr, &now, size);
	}
	if (now != expect)
		return 0;
	memcpy(tm.bytes + addr, &value, size);
	m->counts.stores++;
	return 1;
}

static const struct pt_mem_ops tm_ops = { .load = tm_load, .cas = tm_cas };

static inline void tm_reset_counts(void)
{
	tm.nloads = tm.ncas = tm.eagain_at = tm.eagain_cas = tm.race_at = tm.race_times = 0;
	tm.race_or = 0;
	tm.m = (struct pt_mem){ .ops = &tm_ops };
}

static inline void tm_reset(void)
{
	memset(tm.bytes, 0, sizeof(tm.bytes));
	tm_reset_counts();
}

static inline void tm_put(uint64_t addr, unsigned size, uint64_t value)
{
	assert_true(addr <= TM_BYTES - size);
	memcpy(tm.bytes + addr, &value, size);
}

static inline uint64_t tm_get(uint64_t addr, unsigned size)
{
	uint64_t value = 0;

	memcpy(&value, tm.bytes + addr, size);
	return value;
}

static inline struct walk_req make_req(uint64_t va, enum acc_kind kind, bool user, uint32_t ctl)
{
	return (struct walk_req){ .va = va, .kind = kind, .user = user, .ctl = ctl, .start_level = -1 };
}

enum { ROOT = 4 * 4096, LEAF_FRAME = 0x123 };

/* A path for va down to a leaf at `leaf`; root at frame 4, other tables from frame 8. Returns the leaf's address. */
static inline uint64_t build(const struct gpt_format *fmt, uint64_t va, unsigned leaf, uint64_t frame,
		      uint8_t rights, bool second_stage)
{
	uint64_t table = ROOT, next = 8;

	for (unsigned level = fmt->levels - 1u;; level--) {
		uint64_t addr = table + gpt_index(fmt, level, va, second_stage) * fmt->entry_size;

		if (level == leaf) {
			tm_put(addr, fmt->entry_size, gpt_make_leaf(fmt, level, frame, rights));
			return addr;
		}
		tm_put(addr, fmt->entry_size, gpt_make_table(fmt, level, next));
		table = next * 4096;
		next += BIT(gpt_table_order(fmt, level - 1, false));
	}
}

static inline struct walk walk_from(const struct gpt_format *fmt, const struct walk_req *q)
{
	struct walk w;

	gpt_walk(fmt, &tm.m, ROOT, q, &w);
	return w;
}

#endif
