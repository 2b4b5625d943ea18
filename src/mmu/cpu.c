/* SPDX-License-Identifier: MIT */
/* One processor's caches. */
#include "mmu/internal.h"

size_t mmu_cpu_bytes(const struct tlb_config *c)
{
	return tlb_bytes(c) + align_up(wc_bytes(c->walk), LINE_SIZE) + align_up(wc_bytes(c->host_walk), LINE_SIZE) +
	       align_up(tlb_array_bytes(&c->nested), LINE_SIZE) + 4 * LINE_SIZE;
}

void walk_shape(uint8_t shift[WC_LEVELS], const struct gpt_format *fmt)
{
	for (unsigned k = 0; k < WC_LEVELS; k++)
		shift[k] = fmt && k + 1u < fmt->levels ? (uint8_t)(fmt->level[k].shift + fmt->level[k].bits) : 64;
}

static void set_shape(struct walk_cache *wc, const uint8_t shift[WC_LEVELS])
{
	if (memcmp(shift, wc->shift, sizeof(wc->shift)))
		wc_set_shifts(wc, shift);
}

void cpu_shape(struct mmu *mmu)
{
	set_shape(&mmu->cpu->guest_wc, mmu->guest_shape);
	set_shape(&mmu->cpu->host_wc, mmu->host_shape);
	mmu->cpu->shaped_for = mmu;
}

static const uint8_t unused_shifts[WC_LEVELS] = { 64, 64, 64, 64 };

int mmu_cpu_init(struct mmu_cpu *cpu, struct hv *hv, const struct tlb_config *c, uint64_t orders,
		 uint64_t seed, void *memory)
{
	char *p = memory;

	memset(cpu, 0, sizeof(*cpu));
	cpu->hv = hv;
	cpu->config = c;
	cpu->next_space = 1;
	rng_init(&cpu->rng, seed ^ UINT64_C(0x6e657374));
	int err = tlb_init(&cpu->tlb, c, orders, seed, p);
	if (err)
		return err;
	p += align_up(tlb_bytes(c), LINE_SIZE);
	wc_init(&cpu->guest_wc, c->walk, unused_shifts, seed, p);
	p += align_up(wc_bytes(c->walk), LINE_SIZE);
	wc_init(&cpu->host_wc, c->host_walk, unused_shifts, seed, p);
	p += align_up(wc_bytes(c->host_walk), LINE_SIZE);
	tlb_array_init(&cpu->nested, &c->nested, &p);
	return 0;
}
