/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "base/bug.h"
#include "machine/internal.h"
#include "machine/machine.h"

enum { FRAMES_2M = 1 << ORDER_2M, MIN_BYTES = 64 << 10 };

static bool is_ram_ok(const void *ram, uint64_t bytes)
{
	return ram && is_aligned((uintptr_t)ram, PAGE_SIZE) && is_aligned(bytes, PAGE_SIZE) &&
	       bytes >= MIN_BYTES && bytes >> PAGE_SHIFT < NO_FRAME;
}

static void pin_at_boot(struct machine *m, uint64_t mfn)
{
	m->frames[mfn].type = FRAME_BOOT;
	m->frames[mfn].flags = FRAME_PINNED;
	m->ntype[FRAME_BOOT]++;
}

/*
 * Frees all but frame 0, the frame table, and one frame in exactly
 * frag_percent of the whole 2 MiB blocks: which ones is selection sampling
 * (Knuth, TAOCP vol. 2, 3.4.2, algorithm S), where in the block is uniform.
 *
 * From the top down, so that the lists, last in first out, begin by handing
 * out the lowest addresses.
 */
static void free_at_boot(struct machine *m, const struct machine_config *config)
{
	uint64_t blocks = m->first_table / FRAMES_2M;
	uint64_t wanted = config ? blocks * config->frag_percent / 100 : 0;
	uint64_t end = m->first_table;
	struct rng rng;

	rng_init(&rng, config ? config->seed : 0);
	pin_at_boot(m, 0);
	for (uint64_t left = blocks; wanted; left--) {
		if (rng_below(&rng, left) >= wanted)
			continue;
		uint64_t victim = (left - 1) * FRAMES_2M + rng_below(&rng, FRAMES_2M);

		victim += !victim;
		pin_at_boot(m, victim);
		buddy_add_range(m, victim + 1, end);
		end = victim;
		wanted--;
	}
	buddy_add_range(m, 1, end);
}

int machine_init(struct machine *m, void *ram, uint64_t bytes, const struct machine_config *config)
{
	if (!is_ram_ok(ram, bytes) || (config && config->frag_percent > 100))
		return -EINVAL;

	uint64_t nframes = bytes >> PAGE_SHIFT;
	uint64_t table_frames = align_up(nframes * sizeof(struct frame), PAGE_SIZE) >> PAGE_SHIFT;

	memset(m, 0, sizeof(*m));
	m->ram = ram;
	m->bytes = bytes;
	m->nframes = nframes;
	m->first_table = nframes - table_frames;
	m->frames = (struct frame *)(m->ram + (m->first_table << PAGE_SHIFT));
	m->ntype[FRAME_BOOT] = table_frames;
	buddy_init(m);
	free_at_boot(m, config);
	return 0;
}

void machine_touch(struct machine *m, mfn_t mfn, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		m->frames[mfn.v + i].flags |= FRAME_TOUCHED;
}

static __attribute__((unused)) bool is_zero_frame(const uint8_t *p)
{
	return p[0] == 0 && memcmp(p, p + 1, PAGE_SIZE - 1) == 0;
}

/*
 * A frame that is not FRAME_TOUCHED is zero already; leaving it alone keeps a
 * sparse mapping sparse. Debug builds look whether somebody forgot the flag,
 * short of reading all of a large object.
 */
/*
 * Past the caches where the processor can: a frame that is given out stands
 * in none of them, and reading 64 lines only to overwrite them takes longer
 * than the rest of a fault. This thread's own loads see such stores in order;
 * another's do after the next locked instruction.
 */
static void zero_page(uint8_t *p)
{
#if defined(__SSE2__)
	typedef long long v2di __attribute__((vector_size(16)));

	for (unsigned i = 0; i < PAGE_SIZE; i += sizeof(v2di))
#if defined(__clang__)
		__builtin_nontemporal_store((v2di){0}, (v2di *)(void *)(p + i));
#else
		__builtin_ia32_movntdq((v2di *)(void *)(p + i), (v2di){0});
#endif
#else
	memset(p, 0, PAGE_SIZE);
#endif
}

void machine_zero_run(struct machine *m, mfn_t mfn, uint64_t n)
{
	struct frame *f = machine_frame(m, mfn);
	uint8_t *p = machine_ptr(m, mfn_to_hpa(mfn));

	for (uint64_t i = 0; i < n; i++, p += PAGE_SIZE) {
		if (f[i].flags & FRAME_TOUCHED) {
			zero_page(p);
			f[i].flags &= (uint16_t)~FRAME_TOUCHED;
		} else {
			ASSERT(n >= FRAMES_2M || is_zero_frame(p));
		}
	}
}

void machine_zero(struct machine *m, mfn_t mfn, unsigned order)
{
	machine_zero_run(m, mfn, BIT(order));
}
