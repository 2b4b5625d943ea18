/* SPDX-License-Identifier: MIT */
/* What counts: all, or what comes after the warm-up and within regions of interest. */
#include "guestos/guest_internal.h"

static_assert(sizeof(struct vm_stats) % sizeof(uint64_t) == 0, "nothing but words of 64 bits");
static_assert(sizeof(struct guest_stats) % sizeof(uint64_t) == 0, "nothing but words of 64 bits");

/* to += now - then, counter by counter. */
static void add_growth(void *to, const void *now, const void *then, size_t bytes)
{
	uint64_t *t = to;
	const uint64_t *n = now, *h = then;

	for (size_t i = 0; i < bytes / sizeof(*t); i++)
		t[i] += n[i] - h[i];
}

static void start(struct guest *g)
{
	struct tally *t = &g->tally;

	add_growth(&t->vm_out, &g->vm->stats, &t->vm_stop, sizeof(t->vm_out));
	add_growth(&t->own_out, &g->stats, &t->own_stop, sizeof(t->own_out));
}

static void stop(struct guest *g)
{
	g->tally.vm_stop = g->vm->stats;
	g->tally.own_stop = g->stats;
}

void tally_set(struct guest *g, bool on)
{
	struct tally *t = &g->tally;

	if (!t->gated)
		return;
	/* Work that does not count at its beginning takes with it what stood before it: the guest's own start. */
	if (!t->begun) {
		t->begun = true;
		t->on = t->counted = on;
		return;
	}
	if (t->on == on)
		return;
	if (on) {
		if (!t->counted) {
			t->counted = true;
			t->gone = g->stats.processes - g->alive;
			g->stats.frames_peak = g->stats.frames_used;
		}
		start(g);
	} else {
		stop(g);
	}
	t->on = on;
}

void tally_refs(struct guest *g, const ref_t *refs, size_t n)
{
	uint64_t fetches = 0;

	/* Where all counts, whoever knows the work knows their number. */
	if (!g->tally.gated)
		return;
	for (size_t i = 0; i < n; i++)
		fetches += ref_kind(refs[i]) == ACC_EXEC;
	g->vm->stats.instructions += fetches;
}

void guest_counted(const struct guest *g, struct vm_stats *vm, struct guest_stats *own)
{
	const struct tally *t = &g->tally;
	const struct vm_stats vm_now = g->vm->stats;
	const struct guest_stats own_now = g->stats;

	*vm = vm_now;
	*own = own_now;
	if (!t->begun)
		return;
	*vm = (struct vm_stats){ 0 };
	*own = (struct guest_stats){ 0 };
	add_growth(vm, t->on ? &vm_now : &t->vm_stop, &t->vm_out, sizeof(*vm));
	add_growth(own, t->on ? &own_now : &t->own_stop, &t->own_out, sizeof(*own));
	vm->pages_4k = vm_now.pages_4k;
	vm->pages_2m = vm_now.pages_2m;
	vm->pages_1g = vm_now.pages_1g;
	own->frames_used = own_now.frames_used;
	own->frames_peak = own_now.frames_peak;
	own->table_frames = own_now.table_frames;
	own->processes = t->counted ? own_now.processes - t->gone : 0;
}
