/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "helper.h"

#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[256];

const char *scratch_dir(void)
{
	if (!dir[0]) {
		const char *tmp = getenv("TMPDIR");

		snprintf(dir, sizeof(dir), "%s/quire-test-XXXXXX", tmp ? tmp : "/tmp");
		assert_non_null(mkdtemp(dir));
	}
	return dir;
}

const char *scratch_path(const char *name)
{
	static char paths[8][512];
	static unsigned next;
	char *p = paths[next++ % 8];

	snprintf(p, sizeof(paths[0]), "%s/%s", scratch_dir(), name);
	return p;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

int remove_scratch(void **state)
{
	if (dir[0])
		nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	dir[0] = '\0';
	return 0;
}

void write_file(const char *path, const void *data, size_t n)
{
	/* Truncating instead would make ext4 write the old file out at each close. */
	unlink(path);
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

char *slurp(const char *path, size_t *n)
{
	FILE *f = fopen(path, "r");
	char *p;

	assert_non_null(f);
	fseek(f, 0, SEEK_END);
	*n = (size_t)ftell(f);
	rewind(f);
	p = malloc(*n + 1);
	assert_int_equal(fread(p, 1, *n, f), *n);
	p[*n] = '\0';
	fclose(f);
	return p;
}

struct items read_all(struct trace *t)
{
	static struct trace_block b;
	struct items all = {0};
	size_t room = 0;

	while ((all.end = trace_read(t, &b, &all.err)) == 1) {
		assert_in_range(b.nrefs, 1, TRACE_BLOCK_REFS);
		assert_in_range(b.nevents, 0, TRACE_BLOCK_EVENTS);
		if (all.n + b.nrefs > room) {
			room = 2 * room + b.nrefs;
			all.v = realloc(all.v, room * sizeof(*all.v));
			assert_non_null(all.v);
		}
		for (uint32_t i = 0; i < b.nrefs; i++) {
			struct item *it = &all.v[all.n++];

			memset(it, 0, sizeof(*it));
			it->ref = b.refs[i];
			if (!ref_is_event(b.refs[i])) {
				all.refs++;
				continue;
			}
			assert_true(ref_event(b.refs[i]) < b.nevents);
			it->ref = REF_EVENT;
			it->ev = b.events[ref_event(b.refs[i])];
		}
	}
	/* The end is the end, however often one asks. */
	struct trace_error again = {0};
	int end = trace_read(t, &b, &again);

	assert_int_equal(end, all.end);
	assert_string_equal(again.what, all.err.what);
	return all;
}

void items_free(struct items *i)
{
	free(i->v);
	i->v = NULL;
}

bool items_equal(const struct items *a, const struct items *b, size_t n)
{
	return n <= a->n && n <= b->n && (!n || !memcmp(a->v, b->v, n * sizeof(*a->v)));
}

uint64_t items_count_events(const struct items *i, enum trace_event_kind kind)
{
	uint64_t n = 0;

	for (size_t k = 0; k < i->n; k++)
		n += i->v[k].ref == REF_EVENT && i->v[k].ev.kind == kind;
	return n;
}
