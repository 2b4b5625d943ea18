/* SPDX-License-Identifier: MIT */
/*
 * Geometries of published processors, and what makes a geometry valid.
 *
 * Vendors publish TLB sizes, seldom walk-cache sizes and almost never
 * replacement policies. Where a figure is not published, `note` says so and
 * what stands in for it.
 */
#include <errno.h>

#include "tlb/policy.h"

#define LRU(s, w) {.sets = (s), .ways = (w), .policy = TLB_LRU}
#define PLRU(s, w) {.sets = (s), .ways = (w), .policy = TLB_PLRU}

/*
 * Intel's paging-structure caches hold the PDE, PDPTE and PML4E of recent
 * walks (SDM vol. 3, 4.10.3); under EPT they hold host addresses, "combined
 * mappings" (SDM vol. 3, 29.4.1). Sizes are not published.
 */
#define INTEL_WALK_CACHES                                           \
	.walk = {LRU(8, 4), LRU(1, 4), LRU(1, 2)},                  \
	.host_walk = {LRU(8, 4), LRU(1, 4), LRU(1, 2)},             \
	.nested = LRU(16, 4), .walk_combined = true
#define INTEL_NOTE                                                                                    \
	"PDE, PDPTE and PML4 caches; a hit on the PDE cache leaves one load. Under nested paging "    \
	"their entries are combined: they lead to a guest table's machine address. Their sizes "      \
	"(32, 4, 2), the nested TLB's (64) and LRU are assumptions; Intel publishes none."

/*
 * Since family 17h, AMD's page-directory cache has 64 entries, PDPEs and PML4Es;
 * PDEs stand in the L2 data TLB, among the translations. A nested TLB
 * gpa -> hpa serves the second dimension (Bhargava et al., ASPLOS 2008).
 */
#define AMD_WALK_CACHES                                             \
	.walk = {LRU(16, 8), LRU(8, 6), LRU(4, 4)},                 \
	.host_walk = {LRU(8, 4), LRU(1, 4), LRU(1, 4)},             \
	.nested = LRU(16, 4)
#define AMD_NOTE                                                                                      \
	"one 64-entry page-directory cache of PDPEs and PML4Es, split here 48 and 16; PDEs, which "    \
	"silicon keeps in the L2 data TLB, have 128 entries of their own here. Under nested paging "  \
	"guest addresses of tables go through the nested TLB. L2 is the data side's, used for "       \
	"instructions too (silicon: 512 entries of their own); 1G pages, which silicon keeps there "  \
	"as 2M pieces, stay in L1. The split, the PDEs' 128, the nested TLB's 64 and LRU are "        \
	"assumptions."

static const struct tlb_config generic = {
	.name = "generic",
	.source = "none: a middle-sized x86-64 server core, after Intel Skylake",
	.note = "walk caches 32 PDE, 4 PDPTE, 2 PML4E for guest and for host tables; combined: a hit in "
		"the guest's gives the table's machine address. Nested TLB 64, 4-way. Exact LRU throughout.",
	.l1i = {LRU(16, 8), LRU(1, 8), LRU(1, 4)},
	.l1d = {LRU(16, 4), LRU(8, 4), LRU(1, 4)},
	.l2 = {LRU(128, 12), {0}, LRU(4, 4)},
	.l2_shared_large = true,
	INTEL_WALK_CACHES,
};

static const struct tlb_config haswell = {
	.name = "haswell",
	.source = "Intel 64 and IA-32 Architectures Optimization Reference Manual (248966), section on the "
		  "Haswell microarchitecture, table of TLB parameters; WikiChip, Haswell (client)",
	.note = INTEL_NOTE,
	.l1i = {LRU(32, 4), LRU(1, 8)},
	.l1d = {LRU(16, 4), LRU(8, 4), LRU(1, 4)},
	.l2 = {LRU(128, 8)},
	.l2_shared_large = true,
	INTEL_WALK_CACHES,
};

static const struct tlb_config skylake = {
	.name = "skylake",
	.source = "Intel 64 and IA-32 Architectures Optimization Reference Manual (248966), section on the "
		  "Skylake client microarchitecture, table of TLB parameters; WikiChip, Skylake (client)",
	.note = INTEL_NOTE,
	.l1i = {LRU(16, 8), LRU(1, 8)},
	.l1d = {LRU(16, 4), LRU(8, 4), LRU(1, 4)},
	.l2 = {LRU(128, 12), {0}, LRU(4, 4)},
	.l2_shared_large = true,
	INTEL_WALK_CACHES,
};

static const struct tlb_config zen2 = {
	.name = "zen2",
	.source = "AMD Software Optimization Guide for Family 17h models 30h and later (56305), section on "
		  "memory address translation; WikiChip, Zen 2; page-directory cache: Chips and Cheese on Zen 5",
	.note = AMD_NOTE " L2's 2048 entries are taken as 16-way; WikiChip's 12 ways cannot hold so many in "
		"whole sets.",
	.l1i = {LRU(1, 64)},
	.l1d = {LRU(1, 64)},
	.l1_shared = true,
	.l2 = {LRU(128, 16)},
	.l2_shared_large = true,
	AMD_WALK_CACHES,
};

static const struct tlb_config zen4 = {
	.name = "zen4",
	.source = "AMD Software Optimization Guide for the AMD Zen4 Microarchitecture (57647), section on "
		  "memory address translation; WikiChip, Zen 4",
	.note = AMD_NOTE " The data L1 has 72 entries in silicon; 64 are modelled. That and L2's "
		"3072 entries, 24-way, are not confirmed: no copy of the guide could be read.",
	.l1i = {LRU(1, 64)},
	.l1d = {LRU(1, 64)},
	.l1_shared = true,
	.l2 = {LRU(128, 24)},
	.l2_shared_large = true,
	AMD_WALK_CACHES,
};

static const struct tlb_config u74 = {
	.name = "u74",
	.source = "SiFive U74 Core Complex Manual (21G1), chapter 3, memory management unit; L1: also Linux, "
		  "arch/riscv/boot/dts, sifive/fu740-c000.dtsi and starfive/jh7110.dtsi (i-tlb-size, d-tlb-size)",
	.note = "no walk cache is documented and none is modelled: each miss walks from the root. L1 is fully "
		"associative for all page sizes; L2 (512 entries, direct-mapped, 4K pages only) is not confirmed: "
		"that chapter of the manual could not be read. Pseudo-LRU is an assumption.",
	.l1i = {PLRU(1, 40)},
	.l1d = {PLRU(1, 40)},
	.l1_shared = true,
	.l2 = {PLRU(512, 1)},
};

static const struct tlb_config rocket = {
	.name = "rocket",
	.source = "chipsalliance/rocket-chip, src/main/scala/rocket: TLB.scala, PTW.scala and the defaults of "
		  "DCacheParams, ICacheParams and RocketCoreParams",
	.note = "the walker keeps 8 recent non-leaf entries of all levels for each stage, pseudo-LRU; split here 6 "
		"for leaf tables and 2 for those above. L1's 32 entries are 8 tags of 4 neighbouring pages each "
		"in silicon, 32 single ones here: scattered pages miss less than there. 4 superpage entries "
		"serve 2M and larger pages; 4 are modelled for each. No L2 by default.",
	.l1i = {PLRU(1, 32), PLRU(1, 4), PLRU(1, 4)},
	.l1d = {PLRU(1, 32), PLRU(1, 4), PLRU(1, 4)},
	.walk = {PLRU(1, 6), PLRU(1, 2)},
	.host_walk = {PLRU(1, 6), PLRU(1, 2)},
};

static const struct tlb_config none = {
	.name = "none",
	.source = "no processor: every access walks",
	.note = "no walk cache",
};

const struct tlb_config *const tlb_presets[] = {
	&generic, &haswell, &skylake, &zen2, &zen4, &u74, &rocket, &none, NULL,
};

static bool is_same_name(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

/* Those that came while the program ran, from plug-ins. */
static const struct tlb_config *added[TLB_PRESETS_ADDED_MAX];
static unsigned nadded;

const struct tlb_config *tlb_preset_at(unsigned i)
{
	const unsigned n = ARRAY_SIZE(tlb_presets) - 1;

	if (i < n)
		return tlb_presets[i];
	return i - n < nadded ? added[i - n] : NULL;
}

const struct tlb_config *tlb_preset_find(const char *name)
{
	const struct tlb_config *p;

	for (unsigned i = 0; (p = tlb_preset_at(i)) != NULL; i++)
		if (is_same_name(p->name, name))
			return p;
	return NULL;
}

int tlb_preset_add(const struct tlb_config *config)
{
	if (tlb_preset_find(config->name))
		return -EEXIST;
	if (nadded == TLB_PRESETS_ADDED_MAX)
		return -ENOSPC;
	added[nadded++] = config;
	return 0;
}

static const char *array_fault(const struct tlb_array_config *c)
{
	if (!c->sets)
		return c->ways ? "an array has ways but no sets" : NULL;
	if (!is_pow2(c->sets))
		return "the number of sets must be a power of two";
	if (!c->ways || c->ways > TLB_WAYS_MAX)
		return "the number of ways must be 1 to 64";
	if (!tlb_policy_is_known(c->policy))
		return "the replacement policy is unknown";
	return NULL;
}

static const char *arrays_fault(const struct tlb_array_config *c, unsigned n)
{
	const char *why = NULL;

	for (unsigned i = 0; i < n && !why; i++)
		why = array_fault(&c[i]);
	return why;
}

/* Sharing needs the array that is shared and forbids one of the class's own. */
static const char *sharing_fault(const struct tlb_config *c)
{
	if (c->l1_shared && (!c->l1i[0].sets || !c->l1d[0].sets))
		return "l1_shared needs the 4 KiB L1 arrays";
	if (c->l1_shared && (c->l1i[1].sets || c->l1i[2].sets || c->l1d[1].sets || c->l1d[2].sets))
		return "l1_shared leaves no L1 arrays for larger pages";
	if ((c->l2_shared_large || c->l2_shared_huge) && !c->l2[0].sets)
		return "l2_shared_large and l2_shared_huge need the 4 KiB L2 array";
	if (c->l2_shared_large && c->l2[1].sets)
		return "l2_shared_large leaves no L2 array for large pages";
	if (c->l2_shared_huge && c->l2[2].sets)
		return "l2_shared_huge leaves no L2 array for huge pages";
	return NULL;
}

static bool has_any(const struct tlb_array_config *c, unsigned n)
{
	bool any = false;

	for (unsigned i = 0; i < n; i++)
		any |= c[i].sets != 0;
	return any;
}

int tlb_config_validate(const struct tlb_config *c, const char **why)
{
	*why = arrays_fault(c->l1i, TLB_CLASSES);
	if (!*why)
		*why = arrays_fault(c->l1d, TLB_CLASSES);
	if (!*why)
		*why = arrays_fault(c->l2, TLB_CLASSES);
	if (!*why)
		*why = arrays_fault(c->walk, ARRAY_SIZE(c->walk));
	if (!*why)
		*why = arrays_fault(c->host_walk, ARRAY_SIZE(c->host_walk));
	if (!*why)
		*why = array_fault(&c->nested);
	if (!*why)
		*why = sharing_fault(c);
	if (!*why && c->walk_combined && !has_any(c->walk, ARRAY_SIZE(c->walk)))
		*why = "walk_combined needs a walk cache";
	if (!*why && !c->name[0])
		*why = "a configuration needs a name";
	return *why ? -EINVAL : 0;
}
