/* SPDX-License-Identifier: MIT */
/* What it means to flush: TLBs, walk caches and nested TLB of the processor, for one VM. */
#include "mmu/internal.h"

void flush_range(struct mmu *mmu, uint32_t space, uint64_t va, uint64_t bytes, enum flush_walks walks)
{
	struct mmu_cpu *cpu = mmu->cpu;
	uint64_t vpn = va >> PAGE_SHIFT;

	if (bytes <= PAGE_SIZE) {
		tlb_inval_page(&cpu->tlb, space, mmu->has_global ? mmu->gspace : 0, vpn);
	} else {
		tlb_inval_range(&cpu->tlb, space, vpn, bytes >> PAGE_SHIFT);
		if (mmu->has_global)
			tlb_inval_range(&cpu->tlb, mmu->gspace, vpn, bytes >> PAGE_SHIFT);
	}
	if (walks == DROP_WALKS && cpu->guest_wc.any)
		wc_inval_range(&cpu->guest_wc, space, va, bytes);
}

void flush_space(struct mmu *mmu, uint32_t space)
{
	tlb_inval_space(&mmu->cpu->tlb, space);
	if (mmu->cpu->guest_wc.any)
		wc_inval_space(&mmu->cpu->guest_wc, space);
}

static bool is_gpa_space(const void *ctx, uint64_t tag, uint64_t data)
{
	(void)data;
	return tag >> 48 == *(const uint32_t *)ctx;
}

void flush_walks(struct mmu *mmu)
{
	struct walk_cache *wc = &mmu->cpu->guest_wc;

	if (!wc->any)
		return;
	wc_inval_space(wc, mmu->bare.number);
	list_for_each(l, &mmu->spaces)
		wc_inval_space(wc, list_entry(l, struct space, lru)->number);
}

void flush_vm(struct mmu *mmu)
{
	struct mmu_cpu *cpu = mmu->cpu;

	tlb_inval_vm(&cpu->tlb, mmu->vm->vmid);
	if (cpu->nested.present)
		tlb_array_remove_if(&cpu->nested, is_gpa_space, &mmu->gpa_space);
	wc_inval_space(&cpu->host_wc, mmu->gpa_space);
	flush_walks(mmu);
}

struct frame_range {
	uint64_t mfn, n;
};

static bool leads_to(const void *ctx, uint64_t tag, uint64_t data)
{
	const struct frame_range *r = ctx;
	uint64_t first = tlb_data_mfn(data), n = BIT(tlb_data_order(data));

	(void)tag;
	return first < r->mfn + r->n && r->mfn < first + n;
}

void flush_frames(struct mmu *mmu, mfn_t mfn, uint64_t n)
{
	struct mmu_cpu *cpu = mmu->cpu;
	struct frame_range r = { mfn.v, n };

	if (MUTATE(SKIP_FLUSH))
		return;
	tlb_inval_frames(&cpu->tlb, mfn.v, n);
	if (cpu->nested.present)
		tlb_array_remove_if(&cpu->nested, leads_to, &r);
	if (cpu->guest_wc.any)
		wc_inval_frames(&cpu->guest_wc, mfn.v, n);
	if (cpu->host_wc.any)
		wc_inval_frames(&cpu->host_wc, mfn.v, n);
}
