/* SPDX-License-Identifier: MIT */
/* --cpu, --tlb, --tlb-tags and the same keys of --vm. */
#include <string.h>

#include "cli/cli.h"

/* The index of s among two words, counted from 1; 0: neither. */
static int which(const char *s, const char *first, const char *second)
{
	return strcmp(s, first) == 0 ? 1 : strcmp(s, second) == 0 ? 2 : 0;
}

int cpu_setting_parse(const char *s, enum cpu_setting *out)
{
	*out = (enum cpu_setting)which(s, "assisted", "trap");
	return *out == CPU_AS_RUN ? -1 : 0;
}

int tlb_setting_parse(const char *s, enum tlb_setting *out)
{
	*out = (enum tlb_setting)which(s, "hardware", "software");
	return *out == TLB_AS_RUN ? -1 : 0;
}

static_assert(CPU_ASSISTED == 1 && CPU_TRAP == 2 && TLB_HARDWARE == 1 && TLB_SOFTWARE == 2, "as which() counts");

static int check_native(const struct run_config *c, const struct vm_spec *vm)
{
	if (vm_cpu_traps(c, vm))
		return complain_usage("%s: --cpu trap means nothing under native, where no hypervisor is trapped to; leave it out",
				      vm->name);
	if (c->tlb_untagged)
		return complain_usage("%s: --tlb-tags off means nothing under native, which has one world; leave it out",
				      vm->name);
	return 0;
}

/* compare's native row is the baseline, and stays as it is: nothing there traps or switches worlds. */
int vcpu_settings_check(const struct options *o)
{
	const struct run_config *c = &o->config;
	int code = 0;

	for (unsigned i = 0; !code && i < c->nvms; i++) {
		const struct vm_spec *vm = &c->vm[i];
		const char *scheme = vm->scheme[0] ? vm->scheme : c->scheme;

		if (o->command == CMD_EXPLAIN && vm_tlb_is_software(c, vm))
			return complain_usage("explain shows what hardware reads, and with --tlb software it reads nothing; leave that out");
		if (o->command != CMD_COMPARE && strcmp(scheme, "native") == 0)
			code = check_native(c, vm);
	}
	return code;
}
