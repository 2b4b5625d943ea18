/* SPDX-License-Identifier: MIT */
/*
 * What a plug-in is: a shared object that exports one symbol, quire_plugin.
 *
 *     #include "plug/plugin.h"
 *     #include "pt/leaf.h"
 *
 *     static const struct pt_org sorted_org = { .name = "sorted", … };
 *     QUIRE_PLUGIN("sorted", QUIRE_PLUGIN_ORGS(&sorted_org));
 *
 *     cc -shared -fPIC $(pkg-config --cflags quire) sorted.c -o sorted.so $(pkg-config --libs quire)
 *     quire compare --plugin ./sorted.so --schemes native,nested/sorted …
 *
 * The program loads it, holds sizes and version against its own, and adds what
 * it brings to the registries. None of its functions is called before that, and
 * it is never unloaded. docs/adding-a-page-table.md goes through it step by step.
 */
#ifndef QUIRE_PLUG_PLUGIN_H
#define QUIRE_PLUG_PLUGIN_H

#include "plug/services.h"
#include "tlb/policy.h"

/* Raised whenever a plug-in built before would not work any more. */
enum { QUIRE_PLUGIN_ABI = 1 };

/* Both sides must mean the same structs: those that a plug-in fills, and those it reads. */
struct quire_plugin_sizes {
	uint32_t pt_org, pt, pt_mem, walk, walk_req, gpt_format;
	uint32_t tlb_policy_ops, tlb_config, mode_ops, mmu, mmu_fault, vm, vcpu, services;
};
#define QUIRE_PLUGIN_SIZES                                                                                       \
	{ sizeof(struct pt_org), sizeof(struct pt), sizeof(struct pt_mem), sizeof(struct walk),                  \
	  sizeof(struct walk_req), sizeof(struct gpt_format), sizeof(struct tlb_policy_ops),                     \
	  sizeof(struct tlb_config), sizeof(struct mode_ops), sizeof(struct mmu), sizeof(struct mmu_fault),      \
	  sizeof(struct vm), sizeof(struct vcpu), sizeof(struct quire_services) }

struct quire_plugin {
	uint32_t abi; /* first in every version */
	struct quire_plugin_sizes sizes;
	const char *name;
	const struct quire_services **services; /* where the plug-in wants the table's address */
	/* Each a list that ends in NULL, or NULL itself. */
	const struct pt_org *const *orgs;
	const struct mode_ops *const *modes;
	const struct tlb_policy_ops *const *policies;
	const struct tlb_config *const *presets;
};

/* In a preset of a plug-in: the i-th policy that the same plug-in brings. */
#define QUIRE_PLUGIN_POLICY(i) (TLB_POLICIES + (i))

#define QUIRE_PLUGIN_ORGS(...) .orgs = (const struct pt_org *const[]){ __VA_ARGS__, NULL }
#define QUIRE_PLUGIN_MODES(...) .modes = (const struct mode_ops *const[]){ __VA_ARGS__, NULL }
#define QUIRE_PLUGIN_POLICIES(...) .policies = (const struct tlb_policy_ops *const[]){ __VA_ARGS__, NULL }
#define QUIRE_PLUGIN_PRESETS(...) .presets = (const struct tlb_config *const[]){ __VA_ARGS__, NULL }

/* QUIRE_PLUGIN("name", QUIRE_PLUGIN_…(…), …): once in a plug-in. */
#define QUIRE_PLUGIN(plugin_name, ...)                                                      \
	const struct quire_plugin quire_plugin __attribute__((visibility("default"))) = {   \
		.abi = QUIRE_PLUGIN_ABI, .sizes = QUIRE_PLUGIN_SIZES, .name = (plugin_name), \
		.services = &quire_services, __VA_ARGS__                                    \
	}

extern const struct quire_plugin quire_plugin;
/* Of libquire-plug: the table, once the program has filled it in. */
extern const struct quire_services *quire_services;

#endif
