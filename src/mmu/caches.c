/* SPDX-License-Identifier: MIT */
#include "mmu/caches.h"

/*
 * A scan names its first load. Those of one line follow one another: the line
 * is looked for once, and then it is in L1D.
 */
static void on_scan(struct cache_feed *feed, const struct pt_ref *ref)
{
	uint64_t in_line;

	for (uint64_t i = 0; i < ref->repeat; i += in_line) {
		uint64_t at = ref->hpa.v + i * ref->stride;

		in_line = (LINE_SIZE - (at & (LINE_SIZE - 1)) + ref->stride - 1) / ref->stride;
		in_line = MIN(in_line, ref->repeat - i);
		feed->table[cache_access(feed->cache, HPA(at))]++;
		feed->table[CACHE_L1D] += in_line - 1;
	}
}

static void on_ref(struct pt_log *log, const struct pt_ref *ref)
{
	struct cache_feed *feed = container_of(log, struct cache_feed, log);

	if (!feed->walking)
		return;
	if (ref->stride)
		on_scan(feed, ref);
	else
		feed->table[cache_access(feed->cache, ref->hpa)]++;
}

void cache_feed_init(struct cache_feed *feed, struct cache *cache)
{
	*feed = (struct cache_feed){ .log.ref = on_ref, .cache = cache };
}

void cache_feed_data(struct cache_feed *feed, struct vm_stats *s, hpa_t hpa, unsigned n)
{
	uint64_t last = (hpa.v + n - 1) >> LINE_SHIFT;

	for (uint64_t line = hpa.v >> LINE_SHIFT; line <= last; line++)
		s->cache_data[cache_access(feed->cache, HPA(line << LINE_SHIFT))]++;
}

void cache_feed_walk_begin(struct cache_feed *feed)
{
	memset(feed->table, 0, sizeof(feed->table));
	feed->walking = true;
}

void cache_feed_walk_end(struct cache_feed *feed, struct vm_stats *s)
{
	feed->walking = false;
	for (unsigned i = 0; i < CACHE_PLACES; i++)
		s->cache_table[i] += feed->table[i];
}
