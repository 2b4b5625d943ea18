/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "report/caches.h"

/* Quoted where the text would break the line apart (RFC 4180). */
static void field(FILE *f, const char *s)
{
	if (!strpbrk(s, ",\"\r\n")) {
		fputs(s, f);
		return;
	}
	fputc('"', f);
	for (; *s; s++) {
		if (*s == '"')
			fputc('"', f);
		fputc(*s, f);
	}
	fputc('"', f);
}

static void number(FILE *f, uint64_t v)
{
	fprintf(f, ",%llu", (unsigned long long)v);
}

static const char header[] =
	"scheme,workload,seed,end,digest,work_digest,refs,instructions,guest_faults,"
	"hidden_faults,hidden_no_backing,hidden_swap_in,hidden_unshare,hidden_decompress,"
	"shadow_faults,shadow_fill,shadow_table_write,shadow_resync,"
	"l1_misses,l2_misses,walks,walk_refs,walk_depth,fault_walk_refs,ad_updates,exits,"
	"machine_bytes,guest_bytes,guest_table_bytes,vmm_table_bytes,metadata_bytes,resident_bytes,"
	"cycles,cycles_translation,cycles_exits,cycles_io,not_possible";

static void row(const struct report *rep, const struct run_result *r, FILE *f)
{
	const struct vm_result *v = &r->sum;
	const struct vm_stats *s = &v->stats;
	const uint64_t counts[] = {
		s->refs, s->instructions, s->true_faults,
		s->hidden_total, s->hidden_no_backing, s->hidden_swap_in, s->hidden_unshare, s->hidden_decompress,
		s->shadow_total, s->shadow_fill, s->shadow_table_write, s->shadow_resync,
		s->l1_misses, s->l2_misses, s->walks, s->walk_refs, s->walk_depth, s->fault_walk_refs,
		s->ad_updates, s->exits,
		r->machine_bytes, v->guest_bytes, v->guest_table_bytes, v->vmm_table_bytes, v->metadata_bytes,
		v->resident_bytes,
		r->cycles.total, r->cycles.translation, r->cycles.exits, r->cycles.io,
	};

	field(f, r->scheme);
	fputc(',', f);
	field(f, rep->workload);
	number(f, rep->config->seed);
	if (r->not_possible) {
		/* end, both digests and all counts stay empty. */
		for (size_t i = 0; i < 3 + sizeof(counts) / sizeof(*counts); i++)
			fputc(',', f);
		fputc(',', f);
		field(f, r->not_possible);
		for (int i = 0; rep->config->caches && i < 2 * CACHE_PLACES; i++)
			fputc(',', f);
		fputc('\n', f);
		return;
	}
	fprintf(f, ",%s,%016llx,%016llx", report_end_name(r->end), (unsigned long long)v->digest,
		(unsigned long long)v->work_digest);
	for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++)
		number(f, counts[i]);
	fputc(',', f);
	if (rep->config->caches)
		caches_csv_row(s, f);
	fputc('\n', f);
}

int csv_write(const struct report *rep, const struct run_result *runs, unsigned n, FILE *f)
{
	fputs(header, f);
	if (rep->config->caches)
		caches_csv_names(f);
	fputc('\n', f);
	for (unsigned i = 0; i < n; i++)
		if (runs[i].not_possible || report_measured(&runs[i]))
			row(rep, &runs[i], f);
	return fflush(f) || ferror(f) ? -EIO : 0;
}
