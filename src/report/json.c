/* SPDX-License-Identifier: MIT */
/* JSON results. Keys stand in one fixed order; 64-bit words that are not counts are hexadecimal strings. */
#include <errno.h>
#include <sys/utsname.h>

#include "report/caches.h"

static void put(json_t *o, const char *key, uint64_t v)
{
	/* JSON integers here are signed; no counter comes near. */
	json_object_set_new(o, key, json_integer((json_int_t)v));
}

json_t *json_hex(uint64_t v)
{
	return json_sprintf("0x%llx", (unsigned long long)v);
}

static json_t *digest_text(uint64_t v)
{
	return json_sprintf("%016llx", (unsigned long long)v);
}

static json_t *ratio(uint64_t a, uint64_t b)
{
	return json_real(b ? (double)a / (double)b : 0);
}

static json_t *hidden_faults(const struct vm_stats *s)
{
	json_t *o = json_object();

	put(o, "total", s->hidden_total);
	put(o, "no_backing", s->hidden_no_backing);
	put(o, "swap_in", s->hidden_swap_in);
	put(o, "unshare", s->hidden_unshare);
	put(o, "decompress", s->hidden_decompress);
	return o;
}

static json_t *shadow_faults(const struct vm_stats *s)
{
	json_t *o = json_object();

	put(o, "total", s->shadow_total);
	put(o, "fill", s->shadow_fill);
	put(o, "table_write", s->shadow_table_write);
	put(o, "resync", s->shadow_resync);
	return o;
}

static json_t *tlb_part(const struct vm_stats *s)
{
	json_t *o = json_object();

	put(o, "l1_misses", s->l1_misses);
	put(o, "l2_misses", s->l2_misses);
	put(o, "l1i_misses", s->l1i_misses);
	put(o, "l1d_misses", s->l1d_misses);
	put(o, "l2_hits", s->l2_hits);
	put(o, "nested_hits", s->nested_tlb_hits);
	put(o, "nested_misses", s->nested_tlb_misses);
	put(o, "walk_cache_hits", s->walk_cache_hits);
	put(o, "host_walk_cache_hits", s->host_walk_cache_hits);
	put(o, "world_switch_flushes", s->world_flushes);
	put(o, "software_misses", s->soft_misses);
	put(o, "software_p2m_refs", s->soft_p2m_refs);
	return o;
}

static json_t *histograms(const struct vm_stats *s)
{
	json_t *o = json_object(), *h = json_object();
	char key[HUMAN_MAX];

	/* A bucket's key is the smallest value in it; below 64 each value has its own. */
	for (unsigned b = 0; b < HIST_BUCKETS; b++)
		if (s->walk_refs_hist.bucket[b]) {
			snprintf(key, sizeof(key), "%llu", (unsigned long long)hist_bucket_low(b));
			put(h, key, s->walk_refs_hist.bucket[b]);
		}
	json_object_set_new(o, "walk_refs", h);
	return o;
}

static json_t *exits(const struct vm_stats *s)
{
	json_t *o = json_object(), *by = json_object();

	put(o, "total", s->exits);
	for (unsigned i = 0; i < EXIT_COUNT; i++)
		put(by, exit_reason_name((enum exit_reason)i), s->exit_by[i]);
	json_object_set_new(o, "by_reason", by);
	return o;
}

static json_t *memory(const struct vm_result *v, uint64_t machine_bytes)
{
	json_t *o = json_object();

	put(o, "machine_bytes", machine_bytes);
	put(o, "guest_bytes", v->guest_bytes);
	put(o, "guest_table_bytes", v->guest_table_bytes);
	put(o, "vmm_table_bytes", v->vmm_table_bytes);
	put(o, "metadata_bytes", v->metadata_bytes);
	put(o, "resident_bytes", v->resident_bytes);
	put(o, "shared_saved_bytes", 0);
	put(o, "swapped_bytes", 0);
	put(o, "ballooned_bytes", 0);
	put(o, "compressed_bytes", 0);
	return o;
}

static json_t *cycles(const struct run_result *r)
{
	json_t *o = json_object();

	put(o, "total", r->cycles.total);
	put(o, "translation", r->cycles.translation);
	put(o, "exits", r->cycles.exits);
	put(o, "io", r->cycles.io);
	return o;
}

/* Under KVM's names where KVM counts the event. */
static json_t *kvm_counters(const struct vm_stats *s)
{
	json_t *o = json_object();
	const struct { const char *name; uint64_t v; } of[] = {
		{ "pf_taken", s->pf_taken }, { "pf_fixed", s->pf_fixed }, { "pf_emulate", s->pf_emulate },
		{ "pf_spurious", s->pf_spurious }, { "pf_guest", s->pf_guest }, { "tlb_flush", s->tlb_flush },
		{ "invlpg", s->invlpg }, { "remote_tlb_flush", s->remote_tlb_flush },
		{ "mmu_shadow_zapped", s->mmu_shadow_zapped }, { "mmu_pte_write", s->mmu_pte_write },
		{ "mmu_flooded", s->mmu_flooded }, { "mmu_recycled", s->mmu_recycled },
		{ "mmu_cache_miss", s->mmu_cache_miss }, { "mmu_unsync", s->mmu_unsync },
		{ "mmu_resync_pages", s->mmu_resync_pages }, { "mmu_resync_entries", s->mmu_resync_entries },
		{ "coherent_refills", s->coherent_refills }, { "root_switches", s->root_switches },
		{ "guest_fences", s->guest_fences }, { "pages_4k", s->pages_4k }, { "pages_2m", s->pages_2m },
		{ "pages_1g", s->pages_1g }, { "pv_updates", s->pv_updates },
	};

	for (size_t i = 0; i < sizeof(of) / sizeof(*of); i++)
		put(o, of[i].name, of[i].v);
	return o;
}

static json_t *guest_counters(const struct guest_stats *g)
{
	json_t *o = json_object();
	const struct { const char *name; uint64_t v; } of[] = {
		{ "processes", g->processes }, { "faults", g->faults }, { "minor", g->minor }, { "cow", g->cow },
		{ "major", g->major }, { "segv", g->segv }, { "auto_mapped", g->auto_mapped },
		{ "pages_mapped", g->pages_mapped }, { "superpages_mapped", g->superpages_mapped },
		{ "pages_unmapped", g->pages_unmapped }, { "pte_stores", g->pte_stores }, { "fences", g->fences },
		{ "switches", g->switches }, { "forks", g->forks }, { "execs", g->execs }, { "exits", g->exits },
		{ "syscalls", g->syscalls }, { "threads", g->threads }, { "disk_reads", g->disk_reads },
		{ "disk_writes", g->disk_writes }, { "evictions", g->evictions }, { "frames_used", g->frames_used },
		{ "frames_peak", g->frames_peak }, { "table_frames", g->table_frames },
		{ "phys_mapped", g->phys_mapped }, { "phys_moved", g->phys_moved },
		{ "tlb_refills", g->tlb_refills }, { "tlb_refill_refs", g->tlb_refill_refs },
	};

	for (size_t i = 0; i < sizeof(of) / sizeof(*of); i++)
		put(o, of[i].name, of[i].v);
	return o;
}

/* The keys that a whole run and each of its VMs share. */
static void put_counts(json_t *o, const struct vm_result *v, uint64_t machine_bytes)
{
	const struct vm_stats *s = &v->stats;

	json_object_set_new(o, "digest", digest_text(v->digest));
	json_object_set_new(o, "work_digest", digest_text(v->work_digest));
	put(o, "refs", s->refs);
	put(o, "instructions", s->instructions);
	put(o, "kernel_refs", s->kernel_refs);
	put(o, "guest_faults", s->true_faults);
	json_object_set_new(o, "hidden_faults", hidden_faults(s));
	json_object_set_new(o, "shadow_faults", shadow_faults(s));
	json_object_set_new(o, "tlb", tlb_part(s));
	put(o, "walks", s->walks);
	put(o, "walk_refs", s->walk_refs);
	put(o, "walk_depth", s->walk_depth);
	json_object_set_new(o, "walk_refs_per_walk", ratio(s->walk_refs, s->walks));
	json_object_set_new(o, "walk_depth_per_walk", ratio(s->walk_depth, s->walks));
	json_object_set_new(o, "histograms", histograms(s));
	put(o, "fault_walks", s->fault_walks);
	put(o, "fault_walk_refs", s->fault_walk_refs);
	put(o, "ad_updates", s->ad_updates);
	json_object_set_new(o, "exits", exits(s));
	json_object_set_new(o, "memory", memory(v, machine_bytes));
	json_object_set_new(o, "hypervisor", kvm_counters(s));
	json_object_set_new(o, "guest", guest_counters(&v->guest));
}

json_t *json_provenance(const struct report *rep)
{
	json_t *o = json_object();
	struct utsname u;

	json_object_set_new(o, "version", json_string(rep->version));
	json_object_set_new(o, "command", json_string(rep->command));
	json_object_set_new(o, "machine", json_string(rep->config->machine_name));
	json_object_set_new(o, "workload_checksum", digest_text(rep->checksum));
	/* Not the host's name: results are passed around. */
	json_object_set_new(o, "host", uname(&u) == 0 ? json_sprintf("%s %s %s", u.sysname, u.release, u.machine) :
							json_string("unknown"));
	return o;
}

static void put_vm(json_t *o, const struct run_config *c, const struct vm_spec *vm)
{
	json_object_set_new(o, "cpu", json_string(vm_cpu_traps(c, vm) ? "trap" : "assisted"));
	json_object_set_new(o, "tlb", json_string(vm_tlb_is_software(c, vm) ? "software" : "hardware"));
	if (vm->work->repeat > 1)
		put(o, "repeat", vm->work->repeat);
}

/* Every work of a run has the same. */
static void put_region(json_t *o, const struct guest_roi *roi)
{
	json_t *region;

	if (!roi->from && !roi->to)
		return;
	region = json_object();
	put(region, "from", roi->from);
	if (roi->to)
		put(region, "to", roi->to);
	json_object_set_new(region, "outside", json_string(roi->skip ? "skip" : "run"));
	json_object_set_new(o, "roi", region);
}

static json_t *configuration(const struct run_config *c)
{
	json_t *o = json_object();

	json_object_set_new(o, "guest_format", json_string(c->guest_fmt->name));
	json_object_set_new(o, "host_format", json_string(c->host_fmt->name));
	json_object_set_new(o, "guest_pt", json_string(c->guest_org->name));
	json_object_set_new(o, "thp", json_boolean(c->thp));
	json_object_set_new(o, "host_thp", json_boolean(c->host_thp));
	put(o, "limit", c->limit);
	put(o, "warmup", c->warmup);
	put_region(o, &c->vm[0].work->roi);
	if (c->nvms == 1)
		put_vm(o, c, &c->vm[0]);
	json_object_set_new(o, "tlb_tags", json_string(c->tlb_untagged ? "off" : "on"));
	json_object_set_new(o, "digest_of", json_string(c->data ? "data" : "state"));
	return o;
}

static json_t *vms(const struct run_config *c, const struct run_result *r)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < r->nvms; i++) {
		json_t *o = json_object();

		json_object_set_new(o, "name", json_string(r->vm[i].name));
		json_object_set_new(o, "scheme", json_string(r->vm[i].scheme));
		json_object_set_new(o, "configuration", json_object());
		put_vm(json_object_get(o, "configuration"), c, &c->vm[i]);
		put(o, "started", r->vm[i].started);
		put(o, "ended", r->vm[i].ended);
		put_counts(o, &r->vm[i], r->machine_bytes);
		if (c->caches)
			json_object_set_new(o, "caches", caches_json(c, &r->vm[i].stats));
		json_array_append_new(list, o);
	}
	return list;
}

static void put_run(json_t *o, const struct report *rep, const struct run_result *r)
{
	json_object_set_new(o, "scheme", json_string(r->scheme));
	json_object_set_new(o, "workload", json_string(rep->workload));
	put(o, "seed", rep->config->seed);
	json_object_set_new(o, "end", json_string(report_end_name(r->end)));
	if (r->error.what[0])
		json_object_set_new(o, "error", json_string(r->error.what));
	put_counts(o, &r->sum, r->machine_bytes);
	if (rep->config->caches)
		json_object_set_new(o, "caches", caches_json(rep->config, &r->sum.stats));
	json_object_set_new(o, "cycles", cycles(r));
	json_object_set_new(o, "configuration", configuration(rep->config));
	if (r->nvms > 1)
		json_object_set_new(o, "vms", vms(rep->config, r));
	json_object_set_new(o, "provenance", json_provenance(rep));
}

json_t *json_run(const struct report *rep, const struct run_result *r)
{
	json_t *o = json_object();

	put_run(o, rep, r);
	return o;
}

json_t *json_run_document(const struct report *rep, const struct run_result *r)
{
	json_t *o = json_object();

	json_object_set_new(o, "schema", json_string("quire.run/1"));
	put_run(o, rep, r);
	return o;
}

json_t *json_compare_document(const struct report *rep, const struct run_result *runs, unsigned n)
{
	json_t *o = json_object(), *list = json_array(), *cannot = json_array();

	for (unsigned i = 0; i < n; i++) {
		if (runs[i].not_possible)
			json_array_append_new(cannot, json_pack("{s:s, s:s}", "scheme", runs[i].scheme,
								"why", runs[i].not_possible));
		else if (report_measured(&runs[i]))
			json_array_append_new(list, json_run(rep, &runs[i]));
	}
	json_object_set_new(o, "schema", json_string("quire.compare/1"));
	json_object_set_new(o, "workload", json_string(rep->workload));
	put(o, "seed", rep->config->seed);
	json_object_set_new(o, "runs", list);
	json_object_set_new(o, "not_possible", cannot);
	json_object_set_new(o, "provenance", json_provenance(rep));
	return o;
}

int json_write(json_t *document, FILE *f)
{
	int rc = document ? json_dumpf(document, f, JSON_INDENT(2) | JSON_REAL_PRECISION(10)) : -1;

	json_decref(document);
	if (rc || fputc('\n', f) == EOF || fflush(f))
		return -EIO;
	return 0;
}
