/* SPDX-License-Identifier: MIT */
/* --vm name=,mem=,…,work=: one VM of a run, or count= alike. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "exp/names.h"

struct vm_arg {
	struct vm_spec spec;
	uint64_t count;
	uint64_t stagger; /* references between two starts */
	bool staggered;
	uint64_t repeat;
	char *work;
};

static const char *vm_key(unsigned i)
{
	static const char *const keys[] = { "name", "mem", "scheme", "cpu", "tlb", "count", "stagger", "repeat",
					    "work", "min", "max", "startup", "shares" };

	return i < sizeof(keys) / sizeof(*keys) ? keys[i] : NULL;
}

static int set_key(struct vm_arg *v, const char *key, const char *value)
{
	struct trace_error err;
	struct scheme scheme;
	const char *why;

	if (strcmp(key, "name") == 0) {
		if (!*value || strlen(value) >= VM_NAME_MAX)
			return complain_usage("--vm name='%.60s': give 1 to %d characters", value, VM_NAME_MAX - 1);
		strcpy(v->spec.name, value);
		return 0;
	}
	if (strcmp(key, "mem") == 0)
		return parse_scaled(value, 1024, &v->spec.mem) || v->spec.mem < PAGE_SIZE || v->spec.mem >> 52 ?
		       complain_usage("--vm mem='%.60s': give a size such as 512M", value) : 0;
	if (strcmp(key, "count") == 0)
		return parse_scaled(value, 1000, &v->count) || v->count < 1 || v->count > VMS_MAX ?
		       complain_usage("--vm count='%.60s': give a number from 1 to %d", value, VMS_MAX) : 0;
	if (strcmp(key, "stagger") == 0) {
		v->staggered = true;
		return parse_scaled(value, 1000, &v->stagger) || v->stagger > TIME_MAX ?
		       complain_usage("--vm stagger='%.60s': give references between two starts, such as 100K", value) : 0;
	}
	if (strcmp(key, "repeat") == 0)
		return repeat_parse(value, &v->repeat) ?
		       complain_usage("--vm repeat='%.60s': give a number from 1 to %d", value, REPEAT_MAX) : 0;
	if (strcmp(key, "scheme") == 0) {
		if (scheme_parse(value, &scheme, &why)) {
			scheme_unknown(value, why, &err);
			return complain(&err);
		}
		memcpy(v->spec.scheme, scheme.name, sizeof(scheme.name));
		return 0;
	}
	if (strcmp(key, "cpu") == 0)
		return cpu_setting_parse(value, &v->spec.cpu_setting) ?
		       complain_usage("--vm cpu='%.60s': give assisted or trap", value) : 0;
	if (strcmp(key, "tlb") == 0)
		return tlb_setting_parse(value, &v->spec.tlb_setting) ?
		       complain_usage("--vm tlb='%.60s': give hardware or software", value) : 0;
	for (unsigned i = 0; vm_key(i); i++)
		if (strcmp(vm_key(i), key) == 0)
			return complain_usage("--vm %s=%.40s is not built yet; leave it out", key, value);
	names_unknown(&err, "--vm: ", "key", key, vm_key);
	return complain(&err);
}

/* Keys up to work=, which takes the rest. */
static int parse_vm(struct vm_arg *v, char *arg)
{
	while (*arg) {
		char *equals = strchr(arg, '='), *end;
		int code;

		if (!equals)
			return complain_usage("--vm '%.60s': give key=value pairs with commas between", arg);
		*equals = '\0';
		if (strcmp(arg, "work") == 0) {
			v->work = equals + 1;
			return 0;
		}
		end = equals + 1 + strcspn(equals + 1, ",");
		if (*end)
			*end++ = '\0';
		code = set_key(v, arg, equals + 1);
		if (code)
			return code;
		arg = end;
	}
	return complain_usage("--vm has no work=; give it last: work=trace:FILE, work=synth:NAME,… or work=-- PROGRAM ARGS");
}

static int add_vms(struct options *o, const struct vm_arg *v)
{
	struct run_config *c = &o->config;
	struct workload *first = NULL;
	struct vm_spec *specs;
	int code;

	if (v->staggered && v->count < 2)
		return complain_usage("--vm stagger= is the time between the starts of count= VMs; give count=2 or more");
	code = work_add_text(o, &first, v->work, v->repeat ? v->repeat : o->repeat);

	if (code)
		return code;
	if (c->nvms + v->count > VMS_MAX)
		return complain_usage("more than %d VMs; lower count=", VMS_MAX);
	specs = realloc(c->vm, (c->nvms + v->count) * sizeof(*specs));
	if (!specs)
		return complain_usage("no memory on this host");
	c->vm = specs;
	for (uint64_t i = 0; i < v->count; i++) {
		struct vm_spec *spec = &c->vm[c->nvms++];

		*spec = v->spec;
		spec->work = first;
		spec->start = i * v->stagger;
		if (!v->spec.name[0])
			snprintf(spec->name, sizeof(spec->name), "vm%u", c->nvms);
		else if (v->count > 1)
			snprintf(spec->name, sizeof(spec->name), "%.24s-%u", v->spec.name, (unsigned)i + 1);
	}
	return 0;
}

int vm_options_apply(struct options *o)
{
	for (unsigned i = 0; i < o->nvm_args; i++) {
		struct vm_arg v = { .count = 1 };
		char *copy = strdup(o->vm_args[i]);
		int code;

		if (!copy)
			return complain_usage("no memory on this host");
		code = parse_vm(&v, copy);
		if (!code)
			code = add_vms(o, &v);
		free(copy);
		if (code)
			return code;
	}
	return 0;
}
