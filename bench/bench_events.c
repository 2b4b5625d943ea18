/* SPDX-License-Identifier: MIT */
/*
 * bench-events [WORD]: what one hypervisor event costs in wall-clock time. Each round
 * takes the 262,144 pages of 1 GiB in random order; host RAM was touched
 * beforehand.
 *
 *   zeroing        4 KiB of the machine's RAM alone: the part of a hidden fault
 *                  that is the host's memory and not Quire
 *   hidden fault   nested/radix: first touch of a guest frame, which gets one that was
 *                  used before and is zeroed now, or one known to be zero
 *   shadow fault   shadow: first use of a page whose frame is there
 *   table write    shadow: a store to a write-protected leaf table, emulated
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/rng.h"
#include "host.h"

enum { PAGES = 262144, ROUNDS = 5 };
#define GVA_BASE UINT64_C(0x40000000)
/* Guest layout: page i of the data at gfn DATA + i, tables below. */
enum { ROOT = 1, L2_TABLE = 2, L1_TABLE = 3, L0_TABLES = 4, DATA = 1024 };

static uint32_t order[PAGES];
static ref_t refs[PAGES];

static void shuffle(struct rng *r)
{
	for (uint32_t i = 0; i < PAGES; i++)
		order[i] = i;
	for (uint32_t i = PAGES - 1; i; i--) {
		uint32_t j = (uint32_t)rng_below(r, i + 1), t = order[i];

		order[i] = order[j];
		order[j] = t;
	}
}

static void put(struct bench_host *h, uint64_t gfn, uint64_t index, uint64_t pte)
{
	if (vcpu_store(&h->vcpu, SEG_BARE, (gfn << PAGE_SHIFT) + 8 * index, 8, pte))
		bench_die("a store of the guest's failed");
}

static uint64_t leaf(uint32_t page, uint8_t rights)
{
	return gpt_make_leaf(gpt_find("x86-64"), 0, DATA + page, rights);
}

static const uint8_t FULL = RIGHT_RWX | RIGHT_U | RIGHT_A | RIGHT_D;

static void build_tables(struct bench_host *h)
{
	const struct gpt_format *f = gpt_find("x86-64");

	put(h, ROOT, 0, gpt_make_table(f, 3, L2_TABLE));
	put(h, L2_TABLE, GVA_BASE >> 30, gpt_make_table(f, 2, L1_TABLE));
	for (uint64_t i = 0; i < PAGES / 512; i++)
		put(h, L1_TABLE, i, gpt_make_table(f, 1, L0_TABLES + i));
	for (uint32_t i = 0; i < PAGES; i++)
		put(h, L0_TABLES + i / 512, i % 512, leaf(i, FULL));
	struct guest_paging p = {
		.org = pt_org_find("radix", 5), .params = { .fmt = f, .role = "guest" }, .root = ROOT << PAGE_SHIFT,
		.asid = 1, .ctl = CTL_DEFAULT, .ad = WALK_AD_SET,
	};

	if (vcpu_set_paging(&h->vcpu, &p, ROOT_KEEP))
		bench_die("the guest could not set its root");
}

static struct bench_host *host(const char *scheme)
{
	struct bench_host_config c = { scheme, "generic", UINT64_C(2) << 30, (DATA + PAGES) * PAGE_SIZE, true };
	struct bench_host *h = bench_host_create(&c);

	build_tables(h);
	return h;
}

/* Time for a store to every page, in random order, as a program's references are run. */
static NOINLINE double touch_all(struct bench_host *h)
{
	size_t done = 0;

	for (uint32_t i = 0; i < PAGES; i++)
		refs[i] = make_ref(GVA_BASE + (uint64_t)order[i] * PAGE_SIZE, ACC_WRITE, 8);
	double start = bench_seconds();

	if (vcpu_run(&h->vcpu, refs, PAGES, &done) || done != PAGES)
		bench_die("an access failed");
	return bench_seconds() - start;
}

enum frames { FRAMES_ZERO, FRAMES_USED };

/* Free frames as they are after use, to be zeroed; or as the allocator knows them to be zero. */
static void make_frames(struct bench_host *h, enum frames frames)
{
	for (uint64_t i = 1; i < h->m.first_table; i++) {
		struct frame *f = machine_frame(&h->m, MFN(i));

		if (f->type != FRAME_FREE)
			continue;
		if (frames == FRAMES_USED) {
			f->flags |= FRAME_TOUCHED;
		} else {
			memset(machine_ptr(&h->m, mfn_to_hpa(MFN(i))), 0, PAGE_SIZE);
			f->flags &= ~FRAME_TOUCHED;
		}
	}
}

static double hidden_faults(struct rng *r, enum frames frames)
{
	struct bench_host *h = host("nested/radix");
	double total = 0;

	for (int round = 0; round < ROUNDS; round++) {
		uint64_t before = h->vm->stats.hidden_total;

		for (uint64_t g = DATA; g < DATA + PAGES; g += 512)
			gfn_update(h->vm, GFN(g), 512, &(struct gfn_change){ .op = GFN_OP_RELEASE });
		make_frames(h, frames);
		shuffle(r);
		total += touch_all(h);
		if (h->vm->stats.hidden_total - before != PAGES)
			bench_die("not every access was a hidden fault");
	}
	bench_host_destroy(h);
	return total;
}

static double hidden_of_used(struct rng *r) { return hidden_faults(r, FRAMES_USED); }
static double hidden_of_zero(struct rng *r) { return hidden_faults(r, FRAMES_ZERO); }

static double zeroing(struct rng *r)
{
	struct bench_host *h = host("nested/radix");
	uint64_t frames = h->m.first_table - PAGES - 1;
	double total = 0;

	for (int round = 0; round < ROUNDS; round++) {
		uint64_t first = 1 + rng_below(r, frames);

		shuffle(r);
		double start = bench_seconds();

		/* In order, as freed frames are given out again. The guest is not run any more: its memory may go. */
		for (uint32_t i = 0; i < PAGES; i++)
			memset(machine_ptr(&h->m, mfn_to_hpa(MFN(first + i))), 0, PAGE_SIZE);
		total += bench_seconds() - start;
	}
	munmap(h->ram, h->bytes);
	return total;
}

static double shadow_faults(struct rng *r)
{
	struct bench_host *h = host("shadow");
	double total = 0;

	shuffle(r);
	touch_all(h);
	for (int round = 0; round < ROUNDS; round++) {
		uint64_t before = h->vm->stats.exit_by[EXIT_SHADOW_FAULT];

		mmu_zap_gfns(h->mmu, GFN(DATA), PAGES);
		shuffle(r);
		total += touch_all(h);
		if (h->vm->stats.exit_by[EXIT_SHADOW_FAULT] - before != PAGES)
			bench_die("not every access was a shadow fault");
	}
	bench_host_destroy(h);
	return total;
}

/* Two stores to each leaf table, in random order, then a use of what they changed: never a flood. Returns the time of the stores. */
static double write_tables(struct bench_host *h, const uint32_t *page, uint32_t n)
{
	double start = bench_seconds(), total;

	for (uint32_t i = 0; i < n; i++)
		put(h, L0_TABLES + page[i] / 512, page[i] % 512, leaf(page[i], FULL));
	total = bench_seconds() - start;
	for (uint32_t i = 0; i < n; i++)
		vcpu_touch(&h->vcpu, SEG_PAGED, GVA_BASE + (uint64_t)page[i] * PAGE_SIZE, ACC_WRITE, NULL);
	return total;
}

static double table_writes(struct rng *r)
{
	enum { TABLES = PAGES / 512, TURN = 2 * TABLES };
	struct bench_host *h = host("shadow");
	static uint32_t page[TURN];
	double total = 0;

	for (int round = 0; round < ROUNDS; round++) {
		uint64_t before = h->vm->stats.mmu_pte_write;

		shuffle(r);
		touch_all(h);
		for (uint32_t turn = 0; turn < PAGES / TURN; turn++) {
			for (uint32_t i = 0; i < TURN; i++)
				page[i] = i % TABLES * 512 + turn * 2 + i / TABLES;
			for (uint32_t i = TURN - 1; i; i--) {
				uint32_t j = (uint32_t)rng_below(r, i + 1), t = page[i];

				page[i] = page[j];
				page[j] = t;
			}
			total += write_tables(h, page, TURN);
		}
		if (h->vm->stats.mmu_pte_write - before != PAGES)
			bench_die("not every store was trapped");
	}
	bench_host_destroy(h);
	return total;
}

static const char *only; /* events with this word in their name; NULL: all */

static void report(const char *what, double (*f)(struct rng *), double limit)
{
	struct rng r;

	if (only && !strstr(what, only))
		return;
	rng_init(&r, 7);
	double ns = f(&r) / ((double)PAGES * ROUNDS) * 1e9;

	if (limit > 0)
		printf("%-34s %8.0f %10.0f\n", what, ns, limit);
	else
		printf("%-34s %8.0f %10s\n", what, ns, "-");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	only = argc > 1 ? argv[1] : NULL;
	printf("mean of %d rounds of %d random pages\n", ROUNDS, PAGES);
	printf("%-34s %8s %10s\n", "event", "ns", "bound, ns");
	report("zeroing 4 KiB alone", zeroing, 0);
	report("hidden fault, a used frame zeroed", hidden_of_used, 600);
	report("hidden fault, a frame of zeros", hidden_of_zero, 300);
	report("shadow fault", shadow_faults, 300);
	report("protected-table write", table_writes, 300);
	return 0;
}
