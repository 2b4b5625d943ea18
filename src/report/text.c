/* SPDX-License-Identifier: MIT */
/* One run, grouped as its counters belong together. */
#include "report/caches.h"

static void line(FILE *f, const char *name, uint64_t v)
{
	char buf[HUMAN_MAX];

	fprintf(f, "  %-34s %18s\n", name, human_count(buf, v));
}

/* Left out where nothing of the kind happened. */
static void line_if(FILE *f, const char *name, uint64_t v)
{
	if (v)
		line(f, name, v);
}

static void bytes(FILE *f, const char *name, uint64_t v)
{
	char buf[HUMAN_MAX];

	fprintf(f, "  %-34s %18s\n", name, human_bytes(buf, v));
}

static void work(const struct run_result *r, FILE *f)
{
	const struct vm_stats *s = &r->sum.stats;
	const struct guest_stats *g = &r->sum.guest;

	fputs("\nwork\n", f);
	line(f, "references", s->refs);
	line_if(f, "instructions", s->instructions);
	line(f, "the guest kernel's references", s->kernel_refs);
	line(f, "guest faults", s->true_faults);
	line_if(f, "  first touches", g->minor);
	line_if(f, "  copies on write", g->cow);
	line_if(f, "  from the guest's disk", g->major);
	line_if(f, "  outside any mapping", g->segv);
	line(f, "processes", g->processes);
	line_if(f, "address-space switches", g->switches);
	line_if(f, "stores to page tables", g->pte_stores);
	line_if(f, "fences", g->fences);
	line_if(f, "pages evicted", g->evictions);
}

static void translation(const struct run_result *r, FILE *f)
{
	const struct vm_stats *s = &r->sum.stats;

	fputs("\ntranslation\n", f);
	line(f, "L1 TLB misses", s->l1_misses);
	line(f, "L2 TLB misses", s->l2_misses);
	line(f, "walks", s->walks);
	line(f, "walk references", s->walk_refs);
	if (s->walks) {
		fprintf(f, "  %-34s %18.3f\n", "references a walk", (double)s->walk_refs / (double)s->walks);
		fprintf(f, "  %-34s %18.3f\n", "depth a walk", (double)s->walk_depth / (double)s->walks);
	}
	line_if(f, "references of walks that failed", s->fault_walk_refs);
	line_if(f, "accessed and dirty updates", s->ad_updates);
	line_if(f, "walk cache hits", s->walk_cache_hits);
	line_if(f, "second-stage walk cache hits", s->host_walk_cache_hits);
	line_if(f, "nested TLB hits", s->nested_tlb_hits);
	line_if(f, "nested TLB misses", s->nested_tlb_misses);
	line_if(f, "misses the guest's handler took", s->soft_misses);
	line_if(f, "  loads of its tables by it", r->sum.guest.tlb_refill_refs);
	line_if(f, "  loads of the p2m for its writes", s->soft_p2m_refs);
	line_if(f, "TLB flushes by world switches", s->world_flushes);
}

static void hypervisor(const struct run_result *r, FILE *f)
{
	const struct vm_stats *s = &r->sum.stats;

	fputs("\nhypervisor\n", f);
	line(f, "exits", s->exits);
	for (unsigned i = 0; i < EXIT_COUNT; i++) {
		char name[40];

		snprintf(name, sizeof(name), "  %s", exit_reason_name((enum exit_reason)i));
		line_if(f, name, s->exit_by[i]);
	}
	line(f, "hidden faults", s->hidden_total);
	line_if(f, "  no backing", s->hidden_no_backing);
	line(f, "shadow faults", s->shadow_total);
	line_if(f, "  fill", s->shadow_fill);
	line_if(f, "  table write", s->shadow_table_write);
	line_if(f, "  resync", s->shadow_resync);
	line_if(f, "refills without an exit", s->coherent_refills);
	line_if(f, "shadow pages recycled", s->mmu_recycled);
	line_if(f, "entries by hypercall", s->pv_updates);
}

static void memory(const struct run_result *r, FILE *f)
{
	fputs("\nmemory\n", f);
	bytes(f, "machine", r->machine_bytes);
	bytes(f, "guest", r->sum.guest_bytes);
	bytes(f, "resident", r->sum.resident_bytes);
	bytes(f, "guest's tables", r->sum.guest_table_bytes);
	bytes(f, "hypervisor's tables", r->sum.vmm_table_bytes);
	bytes(f, "hypervisor's metadata", r->sum.metadata_bytes);
}

static void cycles(const struct run_result *r, FILE *f)
{
	fputs("\ncycles (modelled)\n", f);
	line(f, "total", r->cycles.total);
	line(f, "translation", r->cycles.translation);
	line(f, "exits", r->cycles.exits);
	line(f, "disk", r->cycles.io);
}

static void each_vm(const struct run_result *r, FILE *f)
{
	fprintf(f, "\n%-16s %-22s %8s %8s %8s %8s %8s %11s\n", "vm", "scheme", "start", "refs", "walks", "exits",
		"faults", "resident");
	for (unsigned i = 0; i < r->nvms; i++) {
		const struct vm_result *v = &r->vm[i];
		char b[6][HUMAN_MAX];

		fprintf(f, "%-16.16s %-22.22s %8s %8s %8s %8s %8s %11s\n", v->name, v->scheme,
			human_short(b[0], v->started), human_short(b[1], v->stats.refs),
			human_short(b[2], v->stats.walks), human_short(b[3], v->stats.exits),
			human_short(b[4], v->stats.true_faults), human_bytes(b[5], v->resident_bytes));
	}
}

void text_run(const struct report *rep, const struct run_result *r, FILE *f)
{
	const struct run_config *c = rep->config;

	fprintf(f, "%.99s\n", rep->workload);
	fprintf(f, "%s, format %s on %s, guest tables %s, machine %.24s, seed %llu\n",
		r->nvms > 1 ? "several VMs" : r->scheme, c->guest_fmt->name, c->host_fmt->name, c->guest_org->name,
		c->machine_name, (unsigned long long)c->seed);
	if (r->end != GUEST_DONE)
		fprintf(f, "%s: the figures are of the work before\n", report_end_name(r->end));
	if (r->nvms > 1)
		each_vm(r, f);
	work(r, f);
	translation(r, f);
	if (c->caches)
		caches_text(c, &r->sum.stats, f);
	hypervisor(r, f);
	memory(r, f);
	cycles(r, f);
	fprintf(f, "\ndigest %016llx  work_digest %016llx\n", (unsigned long long)r->sum.digest,
		(unsigned long long)r->sum.work_digest);
}
