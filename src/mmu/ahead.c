/* SPDX-License-Identifier: MIT */
/*
 * Looking ahead: a reference that missed the TLB tells that those after it may
 * miss too, so the host lines that their walks will want are asked for now.
 * Nothing is decided, counted or moved here; every look is a guess that may be
 * wrong for free.
 *
 *   refs[i + AHEAD_TABLE]   its leaf guest entry
 *   refs[i + AHEAD_DATA]    what that entry leads to: the gfn's state, the p2m's leaf
 */
#include "gpt/entry.h"
#include "mmu/access.h"

/* Where a guest-physical address stands now; NULL: nowhere. */
static const uint8_t *guest_ptr(const struct mmu *mmu, uint64_t gpa)
{
	struct vm *vm = mmu->vm;
	struct gfn_mapping map;

	if (gpa >> PAGE_SHIFT < vm->contiguous_pages && vm->contiguous_base != INVALID_FRAME)
		return machine_ptr(vm->hv->m, HPA((vm->contiguous_base << PAGE_SHIFT) + gpa));
	if (gfn_peek(vm, GFN(gpa >> PAGE_SHIFT), &map))
		return NULL;
	return machine_ptr(vm->hv->m, mfn_to_hpa(map.mfn)) + (gpa & PAGE_MASK);
}

static uint64_t read_entry(const uint8_t *p, unsigned size)
{
	uint64_t pte = 0;

	if (size == 8)
		memcpy(&pte, p, 8);
	else if (size == 4)
		memcpy(&pte, p, 4);
	return pte;
}

static uint64_t entry_at(const struct gpt_format *f, unsigned level, uint64_t table, uint64_t va, bool second)
{
	return table + ((va >> f->level[level].shift) & low_bits(index_bits(f, level, second))) * f->entry_size;
}

/* Where the table of a level stands for gva, those above read as they are; NULL: there is none. */
static const uint8_t *find_table(const struct vcpu *v, uint64_t gva, unsigned level)
{
	const struct gpt_format *f = v->paging.params.fmt;
	uint64_t table = v->paging.root;

	for (unsigned l = f->levels - 1u; l > level; l--) {
		const uint8_t *p = guest_ptr(v->mmu, entry_at(f, l, table, gva, false));
		uint64_t pte = p ? read_entry(p, f->entry_size) : 0;

		if (!(pte & f->valid) || entry_is_leaf(f, l, pte, f->page_size, f->family == GPT_RISCV))
			return NULL;
		table = entry_frame(f, pte) << PAGE_SHIFT;
	}
	return guest_ptr(v->mmu, table);
}

static const uint8_t *known_table(const struct vcpu *v, struct ahead_tables *known, uint64_t gva)
{
	const struct gpt_level *l = &v->paging.params.fmt->level[1];
	uint64_t key = 1 + (gva >> (l->shift + l->bits));
	unsigned i = key % ARRAY_SIZE(known->key);

	if (known->key[i] != key) {
		known->key[i] = key;
		known->at[i] = find_table(v, gva, 1);
	}
	return known->at[i];
}

/* The guest's lowest-level entry for gva; NULL: there is none. Tables larger than a frame are not worth guessing. */
static const uint8_t *guest_leaf(const struct vcpu *v, struct ahead_tables *known, uint64_t gva)
{
	const struct gpt_format *f = v->paging.params.fmt;

	if (!v->paging.org->hierarchical || f->levels < 2 || f->entry_size << f->level[0].bits > (int)PAGE_SIZE ||
	    f->entry_size << f->level[1].bits > (int)PAGE_SIZE)
		return NULL;
	const uint8_t *table = known_table(v, known, gva);

	if (!table)
		return NULL;
	uint64_t pte = read_entry(table + entry_at(f, 1, 0, gva, false), f->entry_size);

	if (!(pte & f->valid) || entry_is_leaf(f, 1, pte, f->page_size, f->family == GPT_RISCV))
		return NULL;
	return guest_ptr(v->mmu, entry_at(f, 0, entry_frame(f, pte) << PAGE_SHIFT, gva, false));
}

static void fetch_p2m(const struct mmu *mmu, uint64_t gpa)
{
	const struct pt *p2m = mmu->p2m;

	if (!p2m || !p2m->org->hierarchical || !p2m->mem->direct)
		return;
	const struct gpt_format *f = p2m->params.fmt;
	uint64_t table = p2m->root;

	for (unsigned level = f->levels - 1u;; level--) {
		const uint8_t *p = p2m->mem->direct + entry_at(f, level, table, gpa, true);

		if (level == 0) {
			__builtin_prefetch(p);
			return;
		}
		uint64_t pte = read_entry(p, f->entry_size);

		if (!(pte & f->valid) || entry_is_leaf(f, level, pte, f->page_size, f->family == GPT_RISCV))
			return;
		table = entry_frame(f, pte) << PAGE_SHIFT;
	}
}

const uint8_t *ahead_table(const struct vcpu *v, struct ahead_tables *known, uint64_t gva)
{
	const uint8_t *p = guest_leaf(v, known, gva);

	if (p)
		__builtin_prefetch(p);
	return p;
}

void ahead_data(const struct vcpu *v, const uint8_t *entry)
{
	const struct gpt_format *f = v->paging.params.fmt;
	uint64_t pte = read_entry(entry, f->entry_size);
	gfn_t gfn = GFN(entry_frame(f, pte));

	if (!(pte & f->valid))
		return;
	gfn_prefetch(v->mmu->vm, gfn);
	fetch_p2m(v->mmu, gfn.v << PAGE_SHIFT);
}
