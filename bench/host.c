/* SPDX-License-Identifier: MIT */
#include "host.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "base/host_ops.h"

void bench_die(const char *what)
{
	fprintf(stderr, "bench: %s\n", what);
	exit(1);
}

static void panic(void *ctx, const char *file, int line, const char *what)
{
	fprintf(stderr, "bench: %s:%d: %s\n", file, line, what);
	abort();
}

double bench_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* As frames are after use: written, so that giving them out again means zeroing them. */
static void touch_ram(struct bench_host *h)
{
	for (uint64_t i = 1; i < h->m.nframes; i++) {
		struct frame *f = machine_frame(&h->m, MFN(i));

		if (f->type != FRAME_FREE || i >= h->m.first_table)
			continue;
		memset(machine_ptr(&h->m, mfn_to_hpa(MFN(i))), 0x5a, PAGE_SIZE);
		f->flags |= FRAME_TOUCHED;
	}
}

struct bench_host *bench_host_create(const struct bench_host_config *c)
{
	static const struct host_ops ops = { .panic = panic };
	struct bench_host *h = calloc(1, sizeof(*h));
	const struct tlb_config *tlb = tlb_preset_find(c->preset);
	struct scheme scheme;
	struct memslot *slot;
	const char *why = "out of memory";

	host_ops_set(&ops);
	if (!h || !tlb)
		bench_die(why);
	h->bytes = c->ram;
	h->ram = mmap(NULL, h->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	h->caches = aligned_alloc(LINE_SIZE, align_up(mmu_cpu_bytes(tlb), LINE_SIZE));
	h->cpu = calloc(1, sizeof(*h->cpu));
	if (h->ram == MAP_FAILED || !h->caches || !h->cpu)
		bench_die(why);
	memset(h->caches, 0, mmu_cpu_bytes(tlb));
	/* As the program does it (exp/exp.c): the host's own TLB misses are not what is measured. */
	madvise(h->ram, h->bytes, MADV_HUGEPAGE);
	if (machine_init(&h->m, h->ram, h->bytes, &(struct machine_config){ 0 }))
		bench_die("machine_init");
	if (c->touch_ram)
		touch_ram(h);
	struct mmu_config config = { .guest_fmt = gpt_find("x86-64"), .host_fmt = gpt_find("x86-64") };

	if (hv_init(&h->hv, &h->m) || vm_create(&h->hv, "bench", &h->vm) ||
	    memslot_add(h->vm, GFN(0), c->guest >> PAGE_SHIFT, 0, &slot) ||
	    mmu_cpu_init(h->cpu, &h->hv, tlb, BIT(0) | BIT(9) | BIT(18), 1, h->caches) ||
	    scheme_parse(c->scheme, &scheme, &why) || mmu_create(h->vm, h->cpu, &scheme, &config, &h->mmu, &why) ||
	    vcpu_init(&h->vcpu, h->mmu))
		bench_die(why);
	return h;
}

void bench_host_destroy(struct bench_host *h)
{
	mmu_destroy(h->mmu);
	vm_destroy(h->vm);
	hv_fini(&h->hv);
	munmap(h->ram, h->bytes);
	free(h->caches);
	free(h->cpu);
	free(h);
}
