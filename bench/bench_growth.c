/* SPDX-License-Identifier: MIT */
/*
 * bench-growth [AXIS]: how time and host memory grow, along one axis at a time:
 *
 *   ram         RAM of the machine, the work the same and spread over it
 *   vms         VMs of one machine, each created, used and destroyed
 *   processes   processes of one guest
 *
 * Each point is a process of its own, so that its memory is its own. The last
 * column is the time of one more unit on the way from the point before, over
 * what it was on the way to that one: near 1 or below, growth is no worse than
 * linear there. (Of times under a hundredth of a second it says nothing.)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "exp/exp.h"
#include "host.h"

enum { POINTS_MAX = 4, VM_PAGES = 256, VM_STEP = 4 };

/* ---- whole runs: RAM, processes ---- */

static void run_work(const char *scheme, const char *spec, uint64_t mem, uint64_t guest_mem)
{
	static struct machine_file machine;
	static struct run_result r;
	struct workload w = { .kind = WORK_SYNTH, .spec = (char *)spec, .shown = (char *)spec };
	struct vm_spec vm = { .name = "vm1", .work = &w };
	struct trace_error err = { 0 };
	struct run_config c = {
		.guest_fmt = gpt_find("x86-64"), .host_fmt = gpt_find("x86-64"), .tlb = &machine.tlb,
		.cost = &machine.cost, .machine_name = "generic", .mem = mem, .guest_mem = guest_mem,
		.seed = 1, .asids = true, .nvms = 1, .vm = &vm,
	};

	if (machine_load("generic", &machine, &err) || pt_org_parse("radix", &c.guest_org, &c.guest_org_flags) ||
	    workload_scan(&w, c.seed, 0, &err))
		bench_die(err.what);
	snprintf(c.scheme, sizeof(c.scheme), "%s", scheme);
	if (run_one(&c, &r, &err) || r.not_possible)
		bench_die(r.not_possible ? r.not_possible : err.what);
	run_result_fini(&r);
}

static void ram(const char *scheme, uint64_t gib)
{
	char spec[64];

	snprintf(spec, sizeof(spec), "gups,refs=100K,footprint=%lluM", (unsigned long long)gib * 512);
	run_work(scheme, spec, gib << 30, gib * 768 << 20);
}

static void processes(const char *scheme, uint64_t n)
{
	char spec[64];

	snprintf(spec, sizeof(spec), "switchstorm,procs=%llu,refs=%llu,quantum=100,pages=64", (unsigned long long)n,
		 (unsigned long long)n * 2000);
	run_work(scheme, spec, 0, 0);
}

/* ---- many VMs ---- */

struct many {
	struct machine m;
	struct hv hv;
	struct mmu_cpu cpu;
	struct mmu_config config;
	struct scheme scheme;
	struct mmu *mmu[VMS_MAX];
	struct vcpu vcpu[VMS_MAX];
};

/* Some pages of each 64, so that what is mapped has gaps. */
static void use_vm(struct vcpu *v, struct mmu *mmu)
{
	if (vcpu_init(v, mmu))
		bench_die("vcpu_init");
	for (uint64_t i = 0; i < VM_PAGES; i++)
		if (vcpu_touch(v, SEG_BARE, i * VM_STEP * 16 << PAGE_SHIFT, ACC_WRITE, NULL))
			bench_die("an access failed");
}

static struct mmu *make_vm(struct many *h)
{
	struct memslot *slot;
	struct mmu *mmu;
	struct vm *vm;
	const char *why = "out of memory";

	if (vm_create(&h->hv, "vm", &vm) || memslot_add(vm, GFN(0), VM_PAGES * VM_STEP * 16, 0, &slot) ||
	    mmu_create(vm, &h->cpu, &h->scheme, &h->config, &mmu, &why))
		bench_die(why);
	return mmu;
}

static void vms(const char *scheme, uint64_t n)
{
	static struct many h;
	const struct tlb_config *tlb = tlb_preset_find("generic");
	uint64_t bytes = UINT64_C(4) << 30;
	const char *why = NULL;
	void *mapped = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	void *caches = calloc(1, mmu_cpu_bytes(tlb) + LINE_SIZE);

	if (mapped == MAP_FAILED || !caches || machine_init(&h.m, mapped, bytes, NULL) || hv_init(&h.hv, &h.m) ||
	    mmu_cpu_init(&h.cpu, &h.hv, tlb, BIT(0) | BIT(9) | BIT(18), 1,
			 (void *)align_up((uintptr_t)caches, LINE_SIZE)) ||
	    scheme_parse(scheme, &h.scheme, &why))
		bench_die(why ? why : "out of memory");
	h.config.guest_fmt = h.config.host_fmt = gpt_find("x86-64");
	for (uint64_t i = 0; i < n; i++) {
		h.mmu[i] = make_vm(&h);
		use_vm(&h.vcpu[i], h.mmu[i]);
	}
	for (uint64_t i = 0; i < n; i++) {
		struct vm *vm = mmu_vm(h.mmu[i]);

		mmu_destroy(h.mmu[i]);
		vm_destroy(vm);
	}
	hv_fini(&h.hv);
	munmap(mapped, bytes);
	free(caches);
}

/* ---- points ---- */

static const struct axis {
	const char *name, *unit, *scheme;
	void (*run)(const char *scheme, uint64_t n);
	uint64_t n[POINTS_MAX];
} axes[] = {
	{ "ram", "GiB", "nested/radix", ram, { 1, 16, 256, 1024 } },
	{ "ram", "GiB", "nested/flat", ram, { 1, 16, 256, 1024 } },
	{ "ram", "GiB", "nested/inverted", ram, { 1, 16, 256, 1024 } },
	{ "ram", "GiB", "shadow", ram, { 1, 16, 256, 1024 } },
	{ "vms", "VMs", "nested/radix", vms, { 1, 10, 100, 1000 } },
	{ "vms", "VMs", "nested/inverted", vms, { 1, 10, 100, 1000 } },
	{ "vms", "VMs", "shadow", vms, { 1, 10, 100, 1000 } },
	{ "processes", "processes", "nested/radix", processes, { 1, 10, 100, 1000 } },
	{ "processes", "processes", "nested/inverted", processes, { 1, 10, 100, 1000 } },
	{ "processes", "processes", "shadow", processes, { 1, 10, 100, 1000 } },
};

/* Seconds of processor time and peak memory of one point. */
static void measure(const struct axis *a, uint64_t n, double *seconds, double *mib)
{
	struct rusage use;
	int status;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child < 0)
		bench_die("fork");
	if (!child) {
		a->run(a->scheme, n);
		_exit(0);
	}
	if (wait4(child, &status, 0, &use) != child || status)
		bench_die("a point failed");
	*seconds = (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
		   1e-6 * (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
	*mib = (double)use.ru_maxrss / 1024;
}

static void report(const struct axis *a)
{
	double last = 0, before = 0;

	printf("\n%-10s %-18s %9s %9s %10s\n", a->unit, a->scheme, "CPU s", "host MiB", "growth");
	for (unsigned i = 0; i < POINTS_MAX; i++) {
		double seconds, mib, each;

		measure(a, a->n[i], &seconds, &mib);
		each = i ? (seconds - before) / (double)(a->n[i] - a->n[i - 1]) : 0;
		if (i > 1 && last > 0)
			printf("%-10llu %-18s %9.2f %9.0f %10.2f\n", (unsigned long long)a->n[i], "", seconds, mib, each / last);
		else
			printf("%-10llu %-18s %9.2f %9.0f %10s\n", (unsigned long long)a->n[i], "", seconds, mib, "-");
		before = seconds;
		last = each;
	}
}

int main(int argc, char **argv)
{
	for (size_t i = 0; i < ARRAY_SIZE(axes); i++)
		if (argc < 2 || strcmp(argv[1], axes[i].name) == 0)
			report(&axes[i]);
	return 0;
}
