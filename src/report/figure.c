/* SPDX-License-Identifier: MIT */
#include "report/figure.h"

#define STAT(name, text, group, field) { name, text, group, offsetof(struct run_result, sum.stats.field) }
#define BYTES(name, text, field) { name, text, FIGURE_MEMORY, offsetof(struct run_result, field) }
#define CYCLES(name, text, field) { name, text, FIGURE_CYCLES, offsetof(struct run_result, cycles.field) }

const struct figure figures[] = {
	STAT("refs", "references", FIGURE_WORK, refs),
	STAT("instructions", "instructions", FIGURE_WORK, instructions),
	STAT("guest_faults", "guest faults", FIGURE_WORK, true_faults),
	STAT("hidden_faults", "hidden faults", FIGURE_HYPERVISOR, hidden_total),
	STAT("hidden_no_backing", "  no backing", FIGURE_HYPERVISOR, hidden_no_backing),
	STAT("hidden_swap_in", "  swapped", FIGURE_HYPERVISOR, hidden_swap_in),
	STAT("hidden_unshare", "  shared", FIGURE_HYPERVISOR, hidden_unshare),
	STAT("hidden_decompress", "  compressed", FIGURE_HYPERVISOR, hidden_decompress),
	STAT("shadow_faults", "shadow faults", FIGURE_HYPERVISOR, shadow_total),
	STAT("shadow_fill", "  fill", FIGURE_HYPERVISOR, shadow_fill),
	STAT("shadow_table_write", "  table write", FIGURE_HYPERVISOR, shadow_table_write),
	STAT("shadow_resync", "  resync", FIGURE_HYPERVISOR, shadow_resync),
	STAT("l1_misses", "L1 TLB misses", FIGURE_TRANSLATION, l1_misses),
	STAT("l2_misses", "L2 TLB misses", FIGURE_TRANSLATION, l2_misses),
	STAT("walks", "walks", FIGURE_TRANSLATION, walks),
	STAT("walk_refs", "walk references", FIGURE_TRANSLATION, walk_refs),
	STAT("walk_depth", "walk depth", FIGURE_TRANSLATION, walk_depth),
	STAT("fault_walk_refs", "references of walks that failed", FIGURE_TRANSLATION, fault_walk_refs),
	STAT("ad_updates", "accessed and dirty updates", FIGURE_TRANSLATION, ad_updates),
	STAT("exits", "exits", FIGURE_HYPERVISOR, exits),
	BYTES("machine_bytes", "machine", machine_bytes),
	BYTES("guest_bytes", "guest", sum.guest_bytes),
	BYTES("guest_table_bytes", "guest's tables", sum.guest_table_bytes),
	BYTES("vmm_table_bytes", "hypervisor's tables", sum.vmm_table_bytes),
	BYTES("metadata_bytes", "hypervisor's metadata", sum.metadata_bytes),
	BYTES("resident_bytes", "resident", sum.resident_bytes),
	CYCLES("cycles", "total", total),
	CYCLES("cycles_translation", "translation", translation),
	CYCLES("cycles_exits", "exits", exits),
	CYCLES("cycles_io", "disk", io),
};
const unsigned figure_count = sizeof(figures) / sizeof(*figures);

const char *figure_group_name(enum figure_group g)
{
	static const char *const names[FIGURE_GROUPS] = {
		"work", "translation", "hypervisor", "memory", "cycles (modelled)",
	};

	return names[g];
}

/*
 * Square root by Newton's steps from above, ended when they stop falling: the
 * nearest value or its neighbour, the same on every machine, without libm.
 */
static double root(double x)
{
	double r = x > 1 ? x : 1, next;

	if (!(x > 0))
		return 0;
	while ((next = (r + x / r) / 2) < r)
		r = next;
	return r;
}

double student_t95(unsigned freedom)
{
	static const double t[] = {
		12.7062047, 4.3026527, 3.1824463, 2.7764451, 2.5705818, 2.4469119, 2.3646243, 2.3060041, 2.2621572,
		2.2281389, 2.2009852, 2.1788128, 2.1603687, 2.1447867, 2.1314495, 2.1199053, 2.1098156, 2.1009220,
		2.0930241, 2.0859634, 2.0796138, 2.0738731, 2.0686576, 2.0638986, 2.0595386, 2.0555294, 2.0518305,
		2.0484071, 2.0452296, 2.0422725,
	};
	/* Above, the expansion by 1/freedom around the normal quantile (Abramowitz and Stegun, 26.7.5): 2e-6 off at most. */
	const double z = 1.959963984540054, z2 = z * z, n = freedom;

	if (freedom <= sizeof(t) / sizeof(*t))
		return t[freedom - 1];
	return z * (1 + (z2 + 1) / (4 * n) + ((5 * z2 + 16) * z2 + 3) / (96 * n * n) +
		    (((3 * z2 + 19) * z2 + 17) * z2 - 15) / (384 * n * n * n));
}

struct spread spread_of(const double *value, unsigned n)
{
	struct spread s = { .mean = n ? value[0] : 0 };
	double sum = 0, squares = 0;

	for (unsigned i = 0; i < n; i++)
		sum += value[i] - value[0];
	if (n < 2)
		return s;
	/* About the first value, so that what does not vary has its own value for a mean, not one beside it. */
	s.mean = value[0] + sum / n;
	for (unsigned i = 0; i < n; i++)
		squares += (value[i] - s.mean) * (value[i] - s.mean);
	s.sd = root(squares / (n - 1));
	s.half = student_t95(n - 1) * s.sd / root(n);
	return s;
}

struct spread spread_of_runs(const struct figure *f, const struct run_result *runs, unsigned *n)
{
	double value[REPORT_SEEDS_MAX];
	unsigned used = 0;

	for (unsigned i = 0; i < *n; i++)
		if (report_finished(&runs[i]))
			value[used++] = (double)figure_value(f, &runs[i]);
	*n = used;
	return spread_of(value, used);
}
