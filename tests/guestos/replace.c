/* SPDX-License-Identifier: MIT */
/*
 * Page replacement through the real guest: it has memory for its tables and
 * exactly so many pages, and its misses are those of the textbook.
 */
#include "harness.h"

#include <string.h>

/* Frame 0 is the kernel's; pages near one another take one table a level. */
enum { KERNEL_FRAMES = 1, TABLES_X86_64 = 4, TABLES_SV39 = 3 };

static struct rig_config config_for(unsigned frames, enum guest_replace policy)
{
	return (struct rig_config){
		.scheme = "native",
		.guest = { .mem_pages = KERNEL_FRAMES + TABLES_X86_64 + frames, .replace = policy },
	};
}

static uint64_t misses(const struct rig_config *c, const struct script *s)
{
	struct outcome o = run_script(c, s, NULL);

	assert_true(o.possible);
	assert_int_equal(o.end, GUEST_DONE);
	assert_int_equal(o.refs, s->n);
	return o.stats.minor + o.stats.major;
}

static void script_pages(struct script *s, const uint8_t *pages, size_t n)
{
	script_init(s);
	for (size_t i = 0; i < n; i++)
		script_write(s, (uint64_t)pages[i] << PAGE_SHIFT);
}

static const uint8_t belady[] = { 1, 2, 3, 4, 1, 2, 5, 1, 2, 3, 4, 5 };

/* Case 9. */
static void case_9_belady_under_every_scheme(void **state)
{
	struct script s;
	unsigned i = 0;

	script_pages(&s, belady, sizeof(belady));
	for_each_scheme(name, i) {
		for (unsigned frames = 3; frames <= 4; frames++) {
			struct rig_config c = config_for(frames, REPLACE_FIFO);
			struct outcome o;

			c.scheme = name;
			o = run_script(&c, &s, NULL);
			if (!o.possible)
				continue;
			assert_int_equal(o.end, GUEST_DONE);
			assert_int_equal(o.stats.minor + o.stats.major, frames == 3 ? 9 : 10);
		}
	}
	script_fini(&s);
	(void)state;
}

static void textbook_counts_of_that_string(void **state)
{
	static const struct { enum guest_replace policy; unsigned misses[2]; } expect[] = {
		{ REPLACE_FIFO, { 9, 10 } }, { REPLACE_LRU, { 10, 8 } },
		{ REPLACE_OPT, { 7, 6 } }, { REPLACE_CLOCK, { 9, 10 } },
	};
	struct script s;

	script_pages(&s, belady, sizeof(belady));
	for (unsigned i = 0; i < ARRAY_SIZE(expect); i++)
		for (unsigned frames = 3; frames <= 4; frames++) {
			struct rig_config c = config_for(frames, expect[i].policy);

			assert_int_equal(misses(&c, &s), expect[i].misses[frames - 3]);
		}
	script_fini(&s);
	(void)state;
}

/* ---- the textbook's own procedures, on pages in an array ---- */

struct book {
	uint8_t page[8];
	uint64_t since[8], used[8];
	bool bit[8];
	unsigned n, hand;
};

static unsigned book_victim(struct book *b, enum guest_replace policy, const uint8_t *pages, size_t n, size_t at)
{
	unsigned best = 0;
	size_t next[8];

	switch (policy) {
	case REPLACE_FIFO:
		for (unsigned i = 1; i < b->n; i++)
			best = b->since[i] < b->since[best] ? i : best;
		return best;
	case REPLACE_LRU:
		for (unsigned i = 1; i < b->n; i++)
			best = b->used[i] < b->used[best] ? i : best;
		return best;
	case REPLACE_CLOCK:
		for (;; b->hand = (b->hand + 1) % b->n) {
			if (!b->bit[b->hand])
				break;
			b->bit[b->hand] = false;
		}
		best = b->hand;
		b->hand = (b->hand + 1) % b->n;
		return best;
	default:
		for (unsigned i = 0; i < b->n; i++) {
			for (next[i] = at; next[i] < n && pages[next[i]] != b->page[i]; next[i]++)
				;
			best = next[i] > next[best] ? i : best;
		}
		return best;
	}
}

static uint64_t book_misses(enum guest_replace policy, unsigned frames, const uint8_t *pages, size_t n)
{
	struct book b = { .n = 0 };
	uint64_t count = 0;

	for (size_t at = 0; at < n; at++) {
		unsigned i = 0;

		while (i < b.n && b.page[i] != pages[at])
			i++;
		if (i == b.n) {
			count++;
			i = b.n < frames ? b.n++ : book_victim(&b, policy, pages, n, at);
			b.page[i] = pages[at];
			b.since[i] = at;
		}
		b.used[i] = at;
		b.bit[i] = true;
	}
	return count;
}

static void random_strings_as_the_textbook_counts(void **state)
{
	static const enum guest_replace policies[] = { REPLACE_FIFO, REPLACE_LRU, REPLACE_CLOCK, REPLACE_OPT };
	uint8_t pages[400];
	struct rng rng;

	rng_init(&rng, 19);
	for (unsigned round = 0; round < 24; round++) {
		unsigned frames = 2 + (unsigned)rng_below(&rng, 6), span = frames + 1 + (unsigned)rng_below(&rng, 8);
		enum guest_replace policy = policies[round % ARRAY_SIZE(policies)];
		struct rig_config c = config_for(frames, policy);
		struct script s;

		for (size_t i = 0; i < sizeof(pages); i++)
			pages[i] = (uint8_t)rng_below(&rng, span);
		script_pages(&s, pages, sizeof(pages));
		s.block = round % 3 ? 7 : 0;
		c.guest.ad = round % 2 ? WALK_AD_FAULT : WALK_AD_SET;
		assert_int_equal(misses(&c, &s), book_misses(policy, frames, pages, sizeof(pages)));
		script_fini(&s);
	}
	(void)state;
}

static void clean_pages_are_not_written_again(void **state)
{
	struct rig_config c = config_for(2, REPLACE_FIFO);
	struct script s;
	struct outcome o;

	script_init(&s);
	/* Written once, then only read in turn: each goes to the disk once. */
	for (unsigned page = 0; page < 3; page++)
		script_write(&s, page << PAGE_SHIFT);
	for (unsigned i = 0; i < 30; i++)
		script_read(&s, (i % 3) << PAGE_SHIFT);
	o = run_script(&c, &s, NULL);
	assert_int_equal(o.end, GUEST_DONE);
	assert_int_equal(o.stats.disk_writes, 3);
	assert_int_equal(o.stats.disk_reads, 30);
	assert_int_equal(o.stats.evictions, 31);
	script_fini(&s);

	/* Never written: zero again at no cost to the disk. */
	script_init(&s);
	for (unsigned i = 0; i < 30; i++)
		script_read(&s, (i % 3) << PAGE_SHIFT);
	o = run_script(&c, &s, NULL);
	assert_int_equal(o.stats.disk_writes + o.stats.disk_reads, 0);
	assert_int_equal(o.stats.minor, 30);
	script_fini(&s);
	(void)state;
}

static void out_of_memory_is_said(void **state)
{
	struct rig_config c = config_for(1, REPLACE_FIFO);
	struct script s;
	struct outcome o;

	/* One page is enough for all but a reference over two. */
	script_init(&s);
	script_write(&s, 0x1000);
	script_write(&s, 0x5000);
	script_read(&s, 0x1000);
	assert_int_equal(misses(&c, &s), 3);
	script_ref(&s, 0x1ffc, ACC_READ, 8);
	o = run_script(&c, &s, NULL);
	assert_int_equal(o.end, GUEST_OOM);
	assert_int_equal(o.refs, 3);
	/* None: the page gets its frame, its tables do not. */
	c.guest.mem_pages--;
	o = run_script(&c, &s, NULL);
	assert_int_equal(o.end, GUEST_OOM);
	assert_int_equal(o.refs, 0);
	script_fini(&s);
	(void)state;
}

static void opt_refuses_what_cannot_be_read_twice(void **state)
{
	struct rig_config c = config_for(3, REPLACE_OPT);
	struct script s;
	struct outcome o;

	script_pages(&s, belady, sizeof(belady));
	s.no_rewind = true;
	o = run_script(&c, &s, NULL);
	assert_int_equal(o.end, GUEST_BAD_INPUT);
	assert_int_equal(o.err.exit_code, 2);
	assert_non_null(strstr(o.err.what, "opt"));
	script_fini(&s);
	(void)state;
}

/* Several processes, forks, two sources by turns: OPT is never worse than the others. */
static void opt_is_least_over_several_sources(void **state)
{
	struct script a, b;
	const struct script *both[] = { &a, &b };
	uint64_t opt = 0;

	script_init(&a);
	script_init(&b);
	script_random(&a, &(struct random_work){ .seed = 31, .refs = 4000, .base = 0x10000, .pages = 40, .processes = 2 });
	script_random(&b, &(struct random_work){ .seed = 32, .refs = 3000, .base = 0x10000, .pages = 40, .processes = 1 });
	for (int policy = REPLACE_OPT; policy >= REPLACE_FIFO; policy--) {
		struct rig_config c = config_for(60, (enum guest_replace)policy);
		struct outcome o;

		c.guest.quantum = 50;
		o = run_scripts(&c, both, 2, NULL);
		assert_int_equal(o.end, GUEST_DONE);
		assert_int_equal(o.refs, 7000);
		if (policy == REPLACE_OPT)
			opt = o.stats.minor + o.stats.major;
		assert_true(opt <= o.stats.minor + o.stats.major);
	}
	script_fini(&a);
	script_fini(&b);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(case_9_belady_under_every_scheme),
		cmocka_unit_test(textbook_counts_of_that_string),
		cmocka_unit_test(random_strings_as_the_textbook_counts),
		cmocka_unit_test(clean_pages_are_not_written_again),
		cmocka_unit_test(out_of_memory_is_said),
		cmocka_unit_test(opt_refuses_what_cannot_be_read_twice),
		cmocka_unit_test(opt_is_least_over_several_sources),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
