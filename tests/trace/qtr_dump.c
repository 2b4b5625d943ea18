/* SPDX-License-Identifier: MIT */
/* Prints a trace one item a line, for comparison with another decoder's: qtr_dump FILE [FROM]. */
#include <inttypes.h>
#include <stdlib.h>

#include "trace/qtr.h"

static struct trace_block b;

int main(int argc, char **argv)
{
	struct trace_error err = {0};
	struct trace *t = argc > 1 ? trace_open(argv[1], &err) : NULL;
	int rc = -1;

	if (t && (argc < 3 || !qtr_seek(t, strtoull(argv[2], NULL, 0), &err)))
		while ((rc = trace_read(t, &b, &err)) == 1)
			for (uint32_t i = 0; i < b.nrefs; i++) {
				ref_t r = b.refs[i];

				if (!ref_is_event(r)) {
					printf("%c %" PRIx64 " %u\n", "RWX"[ref_kind(r)], ref_gva(r), ref_size(r));
					continue;
				}
				const struct trace_event *e = &b.events[ref_event(r)];

				printf("E %u %u %u %u %u %u %" PRIx64 " %" PRIx64 " %" PRIx64 " %" PRIx64 "\n", e->kind, e->prot,
				       e->flags, e->pid, e->child, e->tid, e->addr, e->len, e->addr2, e->len2);
			}
	if (rc)
		fprintf(stderr, "qtr_dump: %s\n", err.what);
	if (t)
		trace_close(t);
	return rc ? 1 : 0;
}
