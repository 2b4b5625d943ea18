/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/digest.h"
#include "exp/internal.h"
#include "exp/names.h"
#include "mmu/guest_entry.h"

/* A TLB entry has five bits for its order. */
enum { TLB_ORDERS = 32 };

struct exp_vm {
	struct vm *vm;
	struct mmu *mmu;
	struct vcpu vcpu;
	struct guest *guest;
	struct trace **traces; /* of all its work */
	unsigned ntraces;
	const struct workload *work;
	struct scheme scheme;
	struct guest_config guest_config;
	bool begun, finished;
	uint64_t start, started, ended; /* virtual time: when it may run, when it did, after its last reference */
};

struct exp {
	struct run_config c;
	uint8_t *ram;
	uint64_t bytes;
	struct machine machine;
	struct hv hv;
	bool hv_up;
	void *cpu_memory;
	struct mmu_cpu cpu;
	void *cache_memory;
	struct cache cache;
	struct cache_feed cache_feed;
	unsigned nvms;
	struct exp_vm *vm;
	struct guest_hooks hooks; /* the caller's, told of all VMs together */
	unsigned running;
	uint64_t refs_of_others; /* references of all VMs but the running one; while none runs, of all */
	struct exp_vm **order;   /* as they start; those before next_start have */
	unsigned next_start;
	uint64_t idle;           /* virtual time during which no VM had anything to do */
};

/* ---- checks: all that can be said before memory is taken ---- */

static int parse_schemes(struct exp *e, struct trace_error *err)
{
	for (unsigned i = 0; i < e->nvms; i++) {
		const char *name = e->c.vm[i].scheme[0] ? e->c.vm[i].scheme : e->c.scheme;
		const char *why;

		if (scheme_parse(name, &e->vm[i].scheme, &why))
			return scheme_unknown(name, why, err);
	}
	return 0;
}

/* The narrowest built-in format that reaches gva, of the family in use if one does. NULL: none. */
static const struct gpt_format *format_reaching(enum gpt_family family, uint64_t gva)
{
	const struct gpt_format *best = NULL;

	for (const struct gpt_format *const *f = gpt_builtin; *f; f++) {
		uint64_t limit = gpt_va_limit(*f, false);

		if (gva >= limit)
			continue;
		if (!best || ((*f)->family == family && best->family != family) ||
		    ((*f)->family == best->family && limit < gpt_va_limit(best, false)))
			best = *f;
	}
	return best;
}

static int reach_error(const struct run_config *c, const struct workload *w, struct trace_error *err)
{
	const struct gpt_format *wider = format_reaching(c->guest_fmt->family, w->gva_max);
	char advice[160] = "no built-in format reaches it";

	/* H of --format G:H is G where none was given. */
	if (wider && strcmp(c->host_fmt->name, c->guest_fmt->name) == 0)
		snprintf(advice, sizeof(advice), "use --format %s", wider->name);
	else if (wider)
		snprintf(advice, sizeof(advice), "use --format %s:%.100s", wider->name, c->host_fmt->name);
	return error_set(err, EXIT_USAGE, "%.60s reaches address 0x%llx, and format %.30s ends at 0x%llx; %s", w->shown,
			 (unsigned long long)w->gva_max, c->guest_fmt->name,
			 (unsigned long long)gpt_va_limit(c->guest_fmt, false), advice);
}

/* A recorded machine's pages stand where they stood; the tables need room above. */
static int check_recorded_ram(const struct exp *e, const struct vm_spec *vm, struct trace_error *err)
{
	const struct workload *w = workloads_machine(vm->work);
	uint64_t bytes = vm->mem ? vm->mem : e->c.guest_mem, ram = w ? w->phys_pages << PAGE_SHIFT : 0;

	if (w && workloads_machine(w->next))
		return error_set(err, EXIT_USAGE, "%.60s and %.60s are both of whole machines, whose pages stand at addresses of their own: give each a --vm",
				 w->shown, workloads_machine(w->next)->shown);
	if (!ram || !bytes || bytes > ram + (ram >> 6))
		return 0;
	return error_set(err, EXIT_USAGE, "%.60s is of a machine with %llu MiB of RAM, and the guest's tables stand above it: --guest-mem must be more than %llu MiB, or left out",
			 w->shown, (unsigned long long)(ram >> 20), (unsigned long long)((ram + (ram >> 6)) >> 20));
}

static int check_reach(const struct exp *e, struct trace_error *err)
{
	uint64_t limit = gpt_va_limit(e->c.guest_fmt, false);

	for (unsigned i = 0; i < e->nvms; i++) {
		for (const struct workload *w = e->c.vm[i].work; w; w = w->next)
			if (w->gva_max >= limit)
				return reach_error(&e->c, w, err);
		if (check_recorded_ram(e, &e->c.vm[i], err))
			return err->exit_code;
	}
	return 0;
}

/* ---- building ---- */

/*
 * Huge pages of the host make the simulation faster. But RAM that the host
 * could not hold can only be used here and there, and then a touched frame, or
 * frame-table entry, must cost the host one small page, not 512.
 */
static bool is_sparse(uint64_t bytes)
{
	static const uint64_t large = UINT64_C(256) << 30;
	uint64_t host = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);

	return bytes > MIN(host / 2, large);
}

static int build_machine(struct exp *e, struct trace_error *err)
{
	const struct machine_config mc = { .frag_percent = (uint8_t)e->c.frag_percent, .seed = e->c.seed };
	uint64_t pages = 0;
	void *ram;
	int rc;

	for (unsigned i = 0; i < e->nvms; i++) {
		e->vm[i].guest_config = sizes_guest(&e->c, &e->c.vm[i]);
		pages += e->vm[i].guest_config.mem_pages;
	}
	e->bytes = sizes_machine(&e->c, pages);
	ram = mmap(NULL, e->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (ram == MAP_FAILED)
		return error_set(err, EXIT_RESOURCES, "this host cannot map %llu bytes for the machine's RAM (%s); lower --mem",
				 (unsigned long long)e->bytes, strerror(errno));
	e->ram = ram;
	madvise(ram, e->bytes, is_sparse(e->bytes) ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
	rc = machine_init(&e->machine, ram, e->bytes, &mc);
	if (rc)
		return error_set(err, rc == -ENOMEM ? EXIT_RESOURCES : EXIT_USAGE,
				 "a machine of %llu bytes cannot be; give --mem more (at least 64K)",
				 (unsigned long long)e->bytes);
	if (hv_init(&e->hv, &e->machine))
		return error_set(err, EXIT_RESOURCES, "the machine's RAM is too small for the hypervisor; raise --mem");
	e->hv_up = true;
	return 0;
}

static int build_cpu(struct exp *e, struct trace_error *err)
{
	/* Pages that no memory here could hold (Sv57's of 256 TiB) need no place in a TLB. */
	uint64_t orders = ((gpt_leaf_orders(e->c.guest_fmt) | gpt_leaf_orders(e->c.host_fmt)) & low_bits(TLB_ORDERS)) |
			  BIT(ORDER_4K) | BIT(ORDER_2M) | BIT(ORDER_1G);
	size_t bytes = mmu_cpu_bytes(e->c.tlb);

	bytes = (bytes + 63) & ~(size_t)63;
	e->cpu_memory = aligned_alloc(64, bytes ? bytes : 64);
	if (!e->cpu_memory)
		return error_set(err, EXIT_RESOURCES, "no memory for the TLBs of %s", e->c.machine_name);
	memset(e->cpu_memory, 0, bytes);
	if (mmu_cpu_init(&e->cpu, &e->hv, e->c.tlb, orders, e->c.seed, e->cpu_memory))
		return error_set(err, EXIT_USAGE, "formats %s and %s together have more page sizes than a TLB can tell apart; choose another --format",
				 e->c.guest_fmt->name, e->c.host_fmt->name);
	e->cpu.untagged = e->c.tlb_untagged;
	return 0;
}

bool vm_cpu_traps(const struct run_config *c, const struct vm_spec *vm)
{
	return (vm->cpu_setting == CPU_AS_RUN ? c->cpu_setting : vm->cpu_setting) == CPU_TRAP;
}

bool vm_tlb_is_software(const struct run_config *c, const struct vm_spec *vm)
{
	return (vm->tlb_setting == TLB_AS_RUN ? c->tlb_setting : vm->tlb_setting) == TLB_SOFTWARE;
}

static int build_caches(struct exp *e, struct trace_error *err)
{
	size_t bytes;

	if (!e->c.caches)
		return 0;
	bytes = (cache_bytes(e->c.caches) + 63) & ~(size_t)63;
	e->cache_memory = aligned_alloc(64, bytes);
	if (!e->cache_memory)
		return error_set(err, EXIT_RESOURCES, "no memory for the caches of %s", e->c.caches->name);
	memset(e->cache_memory, 0, bytes);
	cache_init(&e->cache, e->c.caches, e->c.seed, e->cache_memory);
	cache_feed_init(&e->cache_feed, &e->cache);
	mmu_cpu_set_caches(&e->cpu, &e->cache_feed);
	return 0;
}

static int build_mmu(struct exp *e, struct exp_vm *v, struct run_result *r, struct trace_error *err)
{
	const struct vm_spec *spec = &e->c.vm[v - e->vm];
	const struct mmu_config mc = {
		.guest_fmt = e->c.guest_fmt,
		.cost = e->c.cost,
		.host_fmt = e->c.host_fmt,
		.visibility = e->c.visibility,
		.check = e->c.check,
		.p2m_eager = e->c.p2m_eager,
		.shadow_budget = e->c.shadow_budget,
		.cpu_trap = vm_cpu_traps(&e->c, spec),
		.tlb_software = vm_tlb_is_software(&e->c, spec),
		.paravirt = guest_paravirt(&v->guest_config),
	};
	const char *why = "no reason given";
	int rc = mmu_create(v->vm, &e->cpu, &v->scheme, &mc, &v->mmu, &why);

	if (rc == -ENOTSUP) {
		v->mmu = NULL;
		r->not_possible = why;
		return 0;
	}
	if (rc || vcpu_init(&v->vcpu, v->mmu))
		return error_set(err, EXIT_RESOURCES, "the machine's RAM is too small for this guest under %s; raise --mem", v->scheme.name);
	return 0;
}

static int add_work(struct exp *e, struct exp_vm *v, const struct workload *w, struct trace_error *err)
{
	struct trace **traces = realloc(v->traces, (v->ntraces + 1) * sizeof(*traces));
	struct trace *t;

	if (!traces)
		return error_set(err, EXIT_RESOURCES, "no memory for the work of %s", v->vm->name);
	v->traces = traces;
	t = workload_open(w, e->c.seed, err);
	if (!t)
		return err->exit_code ? err->exit_code : EXIT_INPUT;
	v->traces[v->ntraces++] = t;
	if (guest_add_work_roi(v->guest, t, &w->roi))
		return error_set(err, EXIT_RESOURCES, "no memory for the guest of %s", v->vm->name);
	return 0;
}

static int build_guest(struct exp *e, struct exp_vm *v, const struct workload *work,
		       struct run_result *r, struct trace_error *err)
{
	const char *why = "no reason given";
	int rc = guest_create(&v->vcpu, &v->guest_config, &v->guest, &why), code = 0;

	if (rc == -EINVAL) {
		v->guest = NULL;
		r->not_possible = why;
		return 0;
	}
	if (rc)
		return error_set(err, EXIT_RESOURCES, "no memory for the guest of %s; raise --mem", v->vm->name);
	v->work = work;
	for (const struct workload *w = work; !code && w; w = w->next)
		code = add_work(e, v, w, err);
	return code;
}

static int build_vm(struct exp *e, unsigned i, struct run_result *r, struct trace_error *err)
{
	struct exp_vm *v = &e->vm[i];
	uint64_t pages = v->guest_config.mem_pages;
	struct memslot *slot;
	int rc, code;

	if (vm_create(&e->hv, e->c.vm[i].name, &v->vm))
		return error_set(err, EXIT_RESOURCES, "the machine's RAM is too small for another VM; raise --mem");
	v->vm->host_thp = e->c.host_thp;
	v->vm->host_thp_1g = e->c.host_thp_1g;
	rc = memslot_add(v->vm, GFN(0), pages, 0, &slot);
	if (rc == -EINVAL)
		return error_set(err, EXIT_USAGE, "a guest cannot have %llu pages of memory; change --guest-mem",
				 (unsigned long long)pages);
	if (rc)
		return error_set(err, EXIT_RESOURCES, "the machine's RAM is too small for a guest of %llu pages; raise --mem",
				 (unsigned long long)pages);
	code = build_mmu(e, v, r, err);
	if (code || r->not_possible)
		return code;
	return build_guest(e, v, e->c.vm[i].work, r, err);
}

static int build(struct exp *e, struct run_result *r, struct trace_error *err)
{
	int code = parse_schemes(e, err);

	if (!code) {
		snprintf(r->scheme, sizeof(r->scheme), "%s", e->vm[0].scheme.name);
		code = check_reach(e, err);
	}
	if (!code)
		code = build_machine(e, err);
	if (!code)
		code = build_cpu(e, err);
	if (!code)
		code = build_caches(e, err);
	r->machine_bytes = e->bytes;
	for (unsigned i = 0; !code && !r->not_possible && i < e->nvms; i++)
		code = build_vm(e, i, r, err);
	return code;
}

int exp_create(const struct run_config *c, struct exp **out, struct run_result *r, struct trace_error *err)
{
	struct exp *e = calloc(1, sizeof(*e));
	int code;

	memset(r, 0, sizeof(*r));
	*out = NULL;
	r->vm = calloc(c->nvms, sizeof(*r->vm));
	if (!e || !r->vm) {
		free(e);
		return error_set(err, EXIT_RESOURCES, "no memory on this host");
	}
	e->c = *c;
	r->nvms = c->nvms;
	e->vm = calloc(c->nvms, sizeof(*e->vm));
	e->order = calloc(c->nvms, sizeof(*e->order));
	e->nvms = e->vm && e->order ? c->nvms : 0;
	code = e->nvms ? build(e, r, err) : error_set(err, EXIT_RESOURCES, "no memory on this host");
	if (code || r->not_possible)
		exp_destroy(e);
	else
		*out = e;
	return code;
}

void exp_destroy(struct exp *e)
{
	for (unsigned i = 0; i < e->nvms; i++) {
		struct exp_vm *v = &e->vm[i];

		if (v->guest)
			guest_destroy(v->guest);
		for (unsigned k = 0; k < v->ntraces; k++)
			trace_close(v->traces[k]);
		free(v->traces);
		if (v->mmu)
			mmu_destroy(v->mmu);
		if (v->vm)
			vm_destroy(v->vm);
	}
	if (e->hv_up)
		hv_fini(&e->hv);
	free(e->cpu_memory);
	free(e->cache_memory);
	if (e->ram)
		munmap(e->ram, e->bytes);
	free(e->order);
	free(e->vm);
	free(e);
}

void run_result_fini(struct run_result *r)
{
	free(r->vm);
	r->vm = NULL;
	r->nvms = 0;
}

/* ---- running ---- */

static bool poll_all(void *ctx, uint64_t refs_done)
{
	struct exp *e = ctx;

	return e->c.hooks->poll(e->c.hooks->ctx, refs_done + e->refs_of_others);
}

static void step_all(void *ctx, uint64_t refs_done)
{
	struct exp *e = ctx;

	e->c.hooks->step(e->c.hooks->ctx, refs_done + e->refs_of_others);
}

static const struct guest_hooks *hooks_of(struct exp *e)
{
	const struct guest_hooks *h = e->c.hooks;

	if (!h)
		return NULL;
	e->hooks = (struct guest_hooks){
		.poll = h->poll ? poll_all : NULL,
		.step = h->step ? step_all : NULL,
		.step_refs = h->step_refs,
		.ctx = e,
	};
	return &e->hooks;
}

/* Virtual time while no VM runs: all references done, and the pauses. */
static uint64_t now(const struct exp *e)
{
	return e->refs_of_others + e->idle;
}

static int by_start(const void *a, const void *b)
{
	const struct exp_vm *x = *(struct exp_vm *const *)a, *y = *(struct exp_vm *const *)b;

	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return x < y ? -1 : x > y;
}

static void order_starts(struct exp *e)
{
	for (unsigned i = 0; i < e->nvms; i++) {
		e->vm[i].start = e->c.vm[i].start;
		e->order[i] = &e->vm[i];
	}
	qsort(e->order, e->nvms, sizeof(*e->order), by_start);
}

/* When the next VM starts. */
static uint64_t next_start(const struct exp *e)
{
	return e->next_start < e->nvms ? e->order[e->next_start]->start : UINT64_MAX;
}

/*
 * Who has the processor next. A VM whose time has come goes first, at that very
 * reference; otherwise round robin. Where none has anything to do, time passes.
 */
static struct exp_vm *pick_vm(struct exp *e)
{
	if (next_start(e) <= now(e)) {
		struct exp_vm *v = e->order[e->next_start++];

		v->begun = true;
		v->started = now(e);
		return v;
	}
	for (unsigned k = 1; k <= e->nvms; k++) {
		struct exp_vm *v = &e->vm[(e->running + k) % e->nvms];

		if (v->begun && !v->finished)
			return v;
	}
	e->idle += next_start(e) - now(e);
	return pick_vm(e);
}

/* One processor: a VM's entries stay in the TLBs under its VMID while others run. */
static enum guest_end run_slices(struct exp *e, struct trace_error *err)
{
	const struct guest_hooks *hooks = hooks_of(e);
	uint64_t slice = e->c.quantum ? e->c.quantum : QUANTUM_USUAL;

	order_starts(e);
	for (unsigned left = e->nvms; left;) {
		struct exp_vm *v = pick_vm(e);
		uint64_t next = next_start(e), before = guest_refs(v->guest);
		/* Of several that start together each has a whole slice. */
		uint64_t n = next > now(e) ? MIN(slice, next - now(e)) : slice;
		enum guest_end end;

		if (e->running != v - e->vm)
			vcpu_switch_vm(&v->vcpu);
		e->running = (unsigned)(v - e->vm);
		e->refs_of_others -= before;
		end = guest_run_slice(v->guest, n, hooks, err, &v->finished);
		e->refs_of_others += guest_refs(v->guest);
		if (guest_refs(v->guest) != before)
			v->ended = now(e);
		if (end != GUEST_DONE)
			return end;
		left -= v->finished;
	}
	return GUEST_DONE;
}

/* ---- results ---- */

static void collect_vm(struct exp *e, unsigned i, struct vm_result *r)
{
	struct exp_vm *v = &e->vm[i];

	snprintf(r->name, sizeof(r->name), "%s", v->vm->name);
	snprintf(r->scheme, sizeof(r->scheme), "%s", v->scheme.name);
	/* What the work did, before the digest's own reading of memory is counted. */
	guest_counted(v->guest, &r->stats, &r->guest);
	/* Fetches, as the trace has them: of a recorded program one a block. A run cut short has no count. */
	if (!r->stats.instructions && r->stats.refs == workloads_refs(v->work))
		for (const struct workload *w = v->work; w; w = w->next)
			r->stats.instructions += w->instructions;
	r->started = v->started;
	r->ended = v->ended;
	r->guest_bytes = vm_pages(v->vm) << PAGE_SHIFT;
	r->guest_table_bytes = guest_table_bytes(v->guest);
	mmu_bytes(v->mmu, &r->vmm_table_bytes, &r->metadata_bytes);
	r->resident_bytes = v->vm->resident << PAGE_SHIFT;
	r->digest = guest_digest(v->guest);
	r->work_digest = guest_work_digest(v->guest);
}

/* Both structs are nothing but counters of 64 bits. */
static void add_words(void *to, const void *from, size_t bytes)
{
	uint64_t *t = to;
	const uint64_t *f = from;

	for (size_t i = 0; i < bytes / sizeof(*t); i++)
		t[i] += f[i];
}
static_assert(sizeof(struct vm_stats) % sizeof(uint64_t) == 0, "added word by word");
static_assert(sizeof(struct guest_stats) % sizeof(uint64_t) == 0, "added word by word");

static void add_result(struct vm_result *sum, const struct vm_result *r, bool alone)
{
	add_words(&sum->stats, &r->stats, sizeof(r->stats));
	add_words(&sum->guest, &r->guest, sizeof(r->guest));
	sum->guest_bytes += r->guest_bytes;
	sum->guest_table_bytes += r->guest_table_bytes;
	sum->vmm_table_bytes += r->vmm_table_bytes;
	sum->metadata_bytes += r->metadata_bytes;
	sum->resident_bytes += r->resident_bytes;
	sum->ended = MAX(sum->ended, r->ended);
	sum->digest = alone ? r->digest : digest_fold(sum->digest, r->digest);
	sum->work_digest = alone ? r->work_digest : digest_fold(sum->work_digest, r->work_digest);
}

/* Why the run is wrong or short, in words, for one that did not end by itself. */
static void say_end(const struct exp *e, struct run_result *r)
{
	const struct vm *vm = e->vm[e->running].vm;

	switch (r->end) {
	case GUEST_NOMEM:
		error_set(&r->error, EXIT_RESOURCES, "%s: the machine's %llu MiB are used up; raise --mem", r->scheme,
			  (unsigned long long)(e->bytes >> 20));
		break;
	case GUEST_OOM:
		error_set(&r->error, EXIT_RESOURCES, "%s: the guest's %llu KiB are too few even with its disk; raise --guest-mem",
			  r->scheme, (unsigned long long)(vm_pages(vm) * (PAGE_SIZE >> 10)));
		break;
	case GUEST_CRASHED:
		error_set(&r->error, EXIT_WRONG, "%s: VM %s was stopped: %s", r->scheme, vm->name,
			  vm->crashed ? vm->crashed : "no reason given");
		break;
	case GUEST_STOPPED:
		r->error.exit_code = EXIT_INTERRUPTED;
		break;
	case GUEST_BAD_INPUT:
		if (!r->error.exit_code)
			r->error.exit_code = EXIT_INPUT;
		break;
	case GUEST_DONE:
		break;
	}
}

static double seconds_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int exp_run(struct exp *e, struct run_result *r)
{
	double start = seconds_now();

	if (e->nvms == 1) {
		r->end = guest_run(e->vm[0].guest, hooks_of(e), &r->error);
		e->vm[0].ended = guest_refs(e->vm[0].guest);
	} else {
		r->end = run_slices(e, &r->error);
	}
	r->seconds = seconds_now() - start;
	memset(&r->sum, 0, sizeof(r->sum));
	for (unsigned i = 0; i < e->nvms; i++) {
		collect_vm(e, i, &r->vm[i]);
		add_result(&r->sum, &r->vm[i], e->nvms == 1);
	}
	cost_sum(e->c.cost, r);
	say_end(e, r);
	return r->error.exit_code;
}

struct vcpu *exp_vcpu(struct exp *e, unsigned vm) { return &e->vm[vm].vcpu; }
struct guest *exp_guest(struct exp *e, unsigned vm) { return e->vm[vm].guest; }
struct mmu *exp_mmu(struct exp *e, unsigned vm) { return e->vm[vm].mmu; }
struct hv *exp_hv(struct exp *e) { return &e->hv; }

int run_one(const struct run_config *c, struct run_result *r, struct trace_error *err)
{
	struct exp *e;
	int code = exp_create(c, &e, r, err);

	if (code || r->not_possible)
		return code;
	code = exp_run(e, r);
	if (code)
		*err = r->error;
	exp_destroy(e);
	return code;
}
