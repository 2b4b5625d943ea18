/* SPDX-License-Identifier: MIT */
#include "ref_tlb.h"

#include <string.h>

static void array_from(struct ref_array *a, const struct tlb_array_config *c)
{
	a->sets = c->sets;
	a->ways = c->ways;
	a->policy = c->policy;
}

void ref_init(struct ref_tlb *r, const struct tlb_config *config, uint64_t orders, uint64_t seed)
{
	memset(r, 0, sizeof(*r));
	r->config = config;
	r->orders = orders;
	rng_init(&r->rng, seed);
	for (int c = 0; c < TLB_CLASSES; c++) {
		array_from(&r->l1[0][c], &config->l1d[c]);
		array_from(&r->l1[1][c], &config->l1i[c]);
		array_from(&r->l2[c], &config->l2[c]);
	}
}

static struct ref_array *l1_for(struct ref_tlb *r, bool exec, unsigned order)
{
	return &r->l1[exec][r->config->l1_shared ? 0 : tlb_class_of_order(order)];
}

static struct ref_array *l2_for(struct ref_tlb *r, unsigned order)
{
	unsigned class = tlb_class_of_order(order);

	if ((class == 1 && r->config->l2_shared_large) || (class == 2 && r->config->l2_shared_huge))
		class = 0;
	return &r->l2[class];
}

static unsigned set_of(const struct ref_array *a, uint64_t vpn, unsigned order)
{
	return (unsigned)((vpn >> order) % a->sets);
}

static struct ref_slot *find(struct ref_array *a, uint32_t space, unsigned order, uint64_t vpn)
{
	if (!a->sets)
		return NULL;
	for (unsigned w = 0; w < a->ways; w++) {
		struct ref_slot *s = &a->slot[set_of(a, vpn, order) * a->ways + w];

		if (s->valid && s->e.space == space && s->e.order == order && s->e.vpn >> order == vpn >> order)
			return s;
	}
	return NULL;
}

/* PLRU by recursion over [first, first + span): on the way to `way`, each node points at the other half. */
static void plru_point_away(bool *right, unsigned node, unsigned first, unsigned span, unsigned way)
{
	bool in_right;

	if (span == 1)
		return;
	in_right = way >= first + span / 2;
	right[node] = !in_right;
	plru_point_away(right, 2 * node + in_right, first + (in_right ? span / 2 : 0), span / 2, way);
}

static unsigned plru_oldest(const bool *right, unsigned node, unsigned first, unsigned span, unsigned ways)
{
	if (span == 1)
		return first;
	if (right[node] && first + span / 2 < ways)
		return plru_oldest(right, 2 * node + 1, first + span / 2, span / 2, ways);
	return plru_oldest(right, 2 * node, first, span / 2, ways);
}

static unsigned span_of(unsigned ways)
{
	unsigned span = 1;

	while (span < ways)
		span *= 2;
	return span;
}

static void use(struct ref_tlb *r, struct ref_array *a, struct ref_slot *s)
{
	unsigned i = (unsigned)(s - a->slot);

	s->used = ++r->clock;
	plru_point_away(a->right[i / a->ways], 1, 0, span_of(a->ways), i % a->ways);
}

static struct ref_slot *victim(struct ref_tlb *r, struct ref_array *a, unsigned set)
{
	struct ref_slot *s = &a->slot[set * a->ways], *old = s;

	for (unsigned w = 0; w < a->ways; w++)
		if (!s[w].valid)
			return &s[w];
	if (a->policy == TLB_RANDOM)
		return &s[rng_below(&r->rng, a->ways)];
	if (a->policy == TLB_PLRU)
		return &s[plru_oldest(a->right[set], 1, 0, span_of(a->ways), a->ways)];
	for (unsigned w = 1; w < a->ways; w++)
		if (a->policy == TLB_LRU ? s[w].used < old->used : s[w].arrived < old->arrived)
			old = &s[w];
	return old;
}

static void put(struct ref_tlb *r, struct ref_array *a, const struct tlb_entry *e)
{
	struct ref_slot *s;

	if (!a->sets)
		return;
	s = find(a, e->space, e->order, e->vpn);
	if (s) {
		s->e = *e;
		return;
	}
	s = victim(r, a, set_of(a, e->vpn, e->order));
	r->counts.evictions += s->valid;
	s->valid = true;
	s->e = *e;
	s->arrived = ++r->clock;
	use(r, a, s);
}

/* level 1 or 2: the slot that answers, own space before globals, small before large. */
static struct ref_slot *level_find(struct ref_tlb *r, int level, bool exec, uint32_t space, uint32_t gspace,
				   uint64_t vpn, struct ref_array **where)
{
	for (int global = 0; global <= (gspace != 0); global++) {
		for (unsigned order = 0; order < 64; order++) {
			struct ref_slot *s;

			if (!(r->orders >> order & 1))
				continue;
			*where = level == 1 ? l1_for(r, exec, order) : l2_for(r, order);
			s = find(*where, global ? gspace : space, order, vpn);
			if (s)
				return s;
		}
	}
	return NULL;
}

const struct tlb_entry *ref_lookup(struct ref_tlb *r, bool exec, uint32_t space, uint32_t gspace, uint64_t vpn)
{
	struct ref_array *a;
	struct ref_slot *s = level_find(r, 1, exec, space, gspace, vpn, &a);

	if (s) {
		use(r, a, s);
		return &s->e;
	}
	*(exec ? &r->counts.l1i_misses : &r->counts.l1d_misses) += 1;
	s = level_find(r, 2, exec, space, gspace, vpn, &a);
	if (!s) {
		r->counts.l2_misses++;
		return NULL;
	}
	r->counts.l2_hits++;
	use(r, a, s);
	put(r, l1_for(r, exec, s->e.order), &s->e);
	return &s->e;
}

const struct tlb_entry *ref_peek(struct ref_tlb *r, bool exec, uint32_t space, uint32_t gspace, uint64_t vpn,
				 int *level)
{
	struct ref_array *a;

	for (*level = 1; *level <= 2; ++*level) {
		struct ref_slot *s = level_find(r, *level, exec, space, gspace, vpn, &a);

		if (s)
			return &s->e;
	}
	return NULL;
}

void ref_fill(struct ref_tlb *r, bool exec, const struct tlb_entry *e)
{
	struct ref_slot *other = find(l1_for(r, !exec, e->order), e->space, e->order, e->vpn);

	r->counts.fills++;
	put(r, l1_for(r, exec, e->order), e);
	put(r, l2_for(r, e->order), e);
	if (other)
		other->e = *e;
}

static struct ref_array *array_of_level(struct ref_tlb *r, unsigned i)
{
	return i < TLB_CLASSES ? &r->l1[0][i] : i < 2 * TLB_CLASSES ? &r->l1[1][i - TLB_CLASSES] : &r->l2[i - 2 * TLB_CLASSES];
}

static bool overlaps(uint64_t a, uint64_t an, uint64_t b, uint64_t bn)
{
	return a < b + bn && b < a + an;
}

unsigned ref_drop(struct ref_tlb *r, const struct ref_drop *d)
{
	unsigned dropped = 0;

	for (unsigned i = 0; i < 3 * TLB_CLASSES; i++) {
		struct ref_array *a = array_of_level(r, i);

		for (unsigned k = 0; k < a->sets * a->ways; k++) {
			struct ref_slot *s = &a->slot[k];

			if (!s->valid || (d->by_space && s->e.space != d->space) || (d->by_vm && s->e.vmid != d->vmid) ||
			    (d->by_vpn && !overlaps(s->e.vpn, BIT(s->e.order), d->vpn, d->vpns)) ||
			    (d->by_mfn && !overlaps(s->e.mfn, BIT(s->e.order), d->mfn, d->mfns)))
				continue;
			s->valid = false;
			dropped++;
		}
	}
	r->counts.dropped += dropped;
	return dropped;
}

const struct tlb_entry *ref_find(const struct ref_tlb *r, int level, const struct tlb_entry *e)
{
	struct ref_tlb *rw = (struct ref_tlb *)(uintptr_t)r;
	struct ref_array *a = level == 2 ? l2_for(rw, e->order) : l1_for(rw, level == 11, e->order);
	struct ref_slot *s = find(a, e->space, e->order, e->vpn);

	return s && s->e.vpn == e->vpn && s->e.mfn == e->mfn && s->e.flags == e->flags && s->e.vmid == e->vmid ? &s->e
													      : NULL;
}

unsigned ref_size(const struct ref_tlb *r)
{
	unsigned n = 0;

	for (unsigned i = 0; i < 3 * TLB_CLASSES; i++) {
		const struct ref_array *a = array_of_level((struct ref_tlb *)(uintptr_t)r, i);

		for (unsigned k = 0; k < a->sets * a->ways; k++)
			n += a->slot[k].valid;
	}
	return n;
}
