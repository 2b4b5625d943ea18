/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "cli/explain.h"

static bool is_known(uint64_t address)
{
	return address != INVALID_FRAME && address >> PAGE_SHIFT != INVALID_FRAME >> PAGE_SHIFT;
}

static bool has_index_bits(const struct pt_note *n)
{
	return n->index_hi >= n->index_lo;
}

/* ---- text ---- */

static void step_line(const struct explanation *x, unsigned i, FILE *f)
{
	const struct explain_step *s = &x->step[i];
	const struct pt_note *n = &s->ref.note;
	char meaning[EXPLAIN_TEXT], cached[EXPLAIN_TEXT], bits[48] = "", gpa[48] = "";
	const char *by = explain_cached_by(x, i, cached);

	if (has_index_bits(n))
		snprintf(bits, sizeof(bits), " (%s bits %u-%u)",
			 s->guest_memory || strcmp(explain_table(x, s), "shadow") == 0 ||
			 !mmu_scheme(x->vcpu->mmu)->org ? "gva" : "gpa", n->index_hi, n->index_lo);
	if (s->guest_memory)
		snprintf(gpa, sizeof(gpa), " gpa 0x%llx", (unsigned long long)s->ref.addr);
	fprintf(f, "%3u  %s level %u index %llu%s,%s hpa 0x%llx: 0x%llx, %s%s%s\n", i + 1, explain_table(x, s),
		n->level, (unsigned long long)n->index, bits, gpa, (unsigned long long)s->ref.hpa.v,
		(unsigned long long)s->ref.value, explain_meaning(x, s, meaning), by ? "; cached by " : "", by ? by : "");
}

static void fault_line(const struct vm_fault_step *s, FILE *f)
{
	fprintf(f, "     %-12s %s; gva 0x%llx", s->step, s->action, (unsigned long long)s->gva.v);
	if (s->error_code || strcmp(s->step, "error code") == 0)
		fprintf(f, ", error code 0x%x", s->error_code);
	if (s->gfn.v != INVALID_FRAME)
		fprintf(f, ", gfn 0x%llx", (unsigned long long)s->gfn.v);
	if (s->hva)
		fprintf(f, ", hva 0x%llx", (unsigned long long)s->hva);
	if (s->mfn.v != INVALID_FRAME)
		fprintf(f, ", mfn 0x%llx", (unsigned long long)s->mfn.v);
	fputc('\n', f);
}

static void outcome_line(const struct explanation *x, FILE *f)
{
	const struct mmu_explain *e = &x->mmu;

	fprintf(f, "\noutcome: %s", explain_outcome(x));
	if (e->status == ACCESS_OK) {
		if (is_known(e->gpa.v))
			fprintf(f, ", gpa 0x%llx", (unsigned long long)e->gpa.v);
		if (e->hva)
			fprintf(f, ", hva 0x%llx", (unsigned long long)e->hva);
		if (is_known(e->hpa.v))
			fprintf(f, ", hpa 0x%llx", (unsigned long long)e->hpa.v);
	} else if (e->status == ACCESS_FAULT) {
		fprintf(f, " (%s, error code 0x%x): the guest's own handler takes it",
			walk_why_name(x->vcpu->fault.why), x->vcpu->fault.error_code);
	}
	fprintf(f, "\nreferences %llu, depth %llu%s\n", (unsigned long long)e->references,
		(unsigned long long)e->depth, e->warm ? "" : " (TLBs and walk caches cold)");
}

void explain_text(const struct explanation *x, FILE *f)
{
	static const char *const kinds[] = { "read", "write", "execute" };
	const struct options *o = x->options;

	fprintf(f, "%s of gva 0x%llx under %s, format %s on %s, machine %.24s\n\n", kinds[o->access],
		(unsigned long long)o->gva, mmu_scheme(x->vcpu->mmu)->name, o->config.guest_fmt->name,
		o->config.host_fmt->name, o->config.machine_name);
	if (x->nfaults) {
		fputs("faults on the way\n", f);
		for (unsigned i = 0; i < x->nfaults; i++)
			fault_line(&x->fault[i], f);
		fputc('\n', f);
	}
	if (x->mmu.cached_by)
		fprintf(f, "the %s holds the translation: no walk\n", x->mmu.cached_by);
	for (unsigned i = 0; i < x->nsteps; i++)
		step_line(x, i, f);
	if (x->left_out)
		fprintf(f, "     and %llu more\n", (unsigned long long)x->left_out);
	outcome_line(x, f);
}

/* ---- JSON ---- */

static json_t *address(uint64_t a)
{
	return is_known(a) ? json_hex(a) : json_null();
}

static json_t *step_json(const struct explanation *x, unsigned i)
{
	const struct explain_step *s = &x->step[i];
	const struct pt_note *n = &s->ref.note;
	char meaning[EXPLAIN_TEXT], cached[EXPLAIN_TEXT];
	const char *by = explain_cached_by(x, i, cached);
	json_t *o = json_object();

	json_object_set_new(o, "table", json_string(explain_table(x, s)));
	json_object_set_new(o, "level", json_integer(n->level));
	json_object_set_new(o, "index", json_integer((json_int_t)n->index));
	json_object_set_new(o, "index_bits", has_index_bits(n) ? json_pack("[i,i]", n->index_hi, n->index_lo) : json_null());
	json_object_set_new(o, "gpa", s->guest_memory ? json_hex(s->ref.addr) : json_null());
	json_object_set_new(o, "hpa", address(s->ref.hpa.v));
	json_object_set_new(o, "entry", json_hex(s->ref.value));
	json_object_set_new(o, "meaning", json_string(explain_meaning(x, s, meaning)));
	json_object_set_new(o, "cached_by", by ? json_string(by) : json_null());
	json_object_set_new(o, "references", json_integer((json_int_t)s->ref.repeat));
	return o;
}

static json_t *fault_json(const struct vm_fault_step *s)
{
	json_t *o = json_object();

	json_object_set_new(o, "step", json_string(s->step));
	json_object_set_new(o, "error_code", json_integer(s->error_code));
	json_object_set_new(o, "gva", json_hex(s->gva.v));
	json_object_set_new(o, "gfn", address(s->gfn.v));
	json_object_set_new(o, "hva", s->hva ? json_hex(s->hva) : json_null());
	json_object_set_new(o, "mfn", address(s->mfn.v));
	json_object_set_new(o, "action", json_string(s->action));
	return o;
}

json_t *explain_json(const struct explanation *x)
{
	const struct options *o = x->options;
	const struct mmu_explain *e = &x->mmu;
	struct report rep = options_report(o);
	json_t *doc = json_object(), *steps = json_array(), *faults = json_array();
	bool mapped = e->status == ACCESS_OK;

	for (unsigned i = 0; i < x->nsteps; i++)
		json_array_append_new(steps, step_json(x, i));
	for (unsigned i = 0; i < x->nfaults; i++)
		json_array_append_new(faults, fault_json(&x->fault[i]));
	json_object_set_new(doc, "schema", json_string("quire.explain/1"));
	json_object_set_new(doc, "scheme", json_string(mmu_scheme(x->vcpu->mmu)->name));
	json_object_set_new(doc, "workload", json_string(rep.workload));
	json_object_set_new(doc, "seed", json_integer((json_int_t)o->config.seed));
	json_object_set_new(doc, "outcome", json_string(explain_outcome(x)));
	json_object_set_new(doc, "why", e->status == ACCESS_FAULT ? json_string(walk_why_name(x->vcpu->fault.why)) : json_null());
	json_object_set_new(doc, "gva", json_hex(o->gva));
	json_object_set_new(doc, "gpa", mapped ? address(e->gpa.v) : json_null());
	json_object_set_new(doc, "hva", mapped && e->hva ? json_hex(e->hva) : json_null());
	json_object_set_new(doc, "hpa", mapped ? address(e->hpa.v) : json_null());
	json_object_set_new(doc, "references", json_integer((json_int_t)e->references));
	json_object_set_new(doc, "depth", json_integer((json_int_t)e->depth));
	json_object_set_new(doc, "cached_by", e->cached_by ? json_string(e->cached_by) : json_null());
	json_object_set_new(doc, "steps", steps);
	json_object_set_new(doc, "faults", faults);
	json_object_set_new(doc, "provenance", json_provenance(&rep));
	return doc;
}
