/* SPDX-License-Identifier: MIT */
/* Every option once: its name, who takes it, what it sets. `quire COMMAND --help` is made from this. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "exp/names.h"
#include "exp/plugin.h"

static int bad_value(const char *option, const char *arg, const char *wanted)
{
	return complain_usage("--%s '%.60s': give %s", option, arg, wanted);
}

static int set_scaled(const char *option, const char *arg, unsigned unit, uint64_t *out)
{
	if (parse_scaled(arg, unit, out))
		return bad_value(option, arg, unit == 1024 ? "a size such as 64K, 512M or 2G" :
							     "a number such as 1000, 100K or 2M");
	return 0;
}

static int set_on_off(const char *option, const char *arg, bool *out)
{
	if (strcmp(arg, "on") == 0)
		*out = true;
	else if (strcmp(arg, "off") == 0)
		*out = false;
	else
		return bad_value(option, arg, "on or off");
	return 0;
}

/* One of two words; *out: was it the second? */
static int set_either(const char *option, const char *arg, const char *first, const char *second, bool *out)
{
	char wanted[64];

	if (strcmp(arg, first) == 0)
		*out = false;
	else if (strcmp(arg, second) == 0)
		*out = true;
	else {
		snprintf(wanted, sizeof(wanted), "%s or %s", first, second);
		return bad_value(option, arg, wanted);
	}
	return 0;
}

static int add_scheme(struct options *o, const char *name, size_t len)
{
	char text[SCHEME_NAME_MAX];
	struct trace_error err;
	struct scheme s;
	const char *why;

	if (len >= sizeof(text))
		return complain_usage("scheme '%.60s…' is too long for a name; see 'quire list schemes'", name);
	memcpy(text, name, len);
	text[len] = '\0';
	if (scheme_parse(text, &s, &why)) {
		scheme_unknown(text, why, &err);
		return complain(&err);
	}
	for (unsigned i = 0; i < o->nschemes; i++)
		if (strcmp(o->schemes[i], s.name) == 0)
			return 0;
	if (o->nschemes == SCHEMES_MAX)
		return complain_usage("more than %d schemes; leave some out", SCHEMES_MAX);
	memcpy(o->schemes[o->nschemes++], s.name, sizeof(s.name));
	return 0;
}

static int set_scheme(struct options *o, const char *arg)
{
	if (o->command != CMD_COMPARE)
		o->nschemes = 0;
	return add_scheme(o, arg, strlen(arg));
}

static int set_schemes(struct options *o, const char *arg)
{
	const char *name;

	while (*arg) {
		size_t len = strcspn(arg, ",");
		int code = 0;

		if (len == 3 && memcmp(arg, "all", 3) == 0) {
			for (unsigned i = 0; !code && (name = names_scheme(i)) != NULL; i++)
				code = add_scheme(o, name, strlen(name));
		} else if (len) {
			code = add_scheme(o, arg, len);
		}
		if (code)
			return code;
		arg += len;
		arg += *arg == ',';
	}
	return o->nschemes ? 0 : complain_usage("--schemes is empty; give names with commas between, or all");
}

static int set_seed(struct options *o, const char *arg)
{
	char *end;

	o->seed_given = true;
	o->config.seed = strtoull(arg, &end, 0);
	return arg[0] < '0' || arg[0] > '9' || *end ? bad_value("seed", arg, "a number") : 0;
}

static int set_seeds(struct options *o, const char *arg)
{
	return seeds_parse(o, arg);
}

static int set_machine(struct options *o, const char *arg)
{
	struct trace_error err = { 0 };

	if (machine_load(arg, &o->machine, &err))
		return complain(&err);
	snprintf(o->machine_name, sizeof(o->machine_name), "%s", o->machine.name);
	return 0;
}

static int set_caches(struct options *o, const char *arg)
{
	o->caches = arg;
	return 0;
}

static int set_mem(struct options *o, const char *arg)
{
	int code = set_scaled("mem", arg, 1024, &o->config.mem);

	if (!code && (o->config.mem < UINT64_C(64) << 10 || o->config.mem >> 52))
		return bad_value("mem", arg, "between 64K and 4095T");
	return code;
}

static int set_guest_mem(struct options *o, const char *arg)
{
	int code = set_scaled("guest-mem", arg, 1024, &o->config.guest_mem);

	if (!code && (o->config.guest_mem < PAGE_SIZE || o->config.guest_mem >> 52))
		return bad_value("guest-mem", arg, "between 4K and 4095T");
	return code;
}

static int set_format(struct options *o, const char *arg)
{
	const char *colon = strchr(arg, ':');
	struct trace_error err = { 0 };
	char guest[PATH_MAX];
	size_t len = colon ? (size_t)(colon - arg) : strlen(arg);

	if (len >= sizeof(guest))
		return bad_value("format", arg, "a name or a file");
	memcpy(guest, arg, len);
	guest[len] = '\0';
	if (format_load(guest, &o->guest_format, &err) ||
	    format_load(colon ? colon + 1 : guest, &o->host_format, &err))
		return complain(&err);
	return 0;
}

static int set_guest_pt(struct options *o, const char *arg)
{
	struct trace_error err = { 0 };

	if (pt_org_parse(arg, &o->config.guest_org, &o->config.guest_org_flags) == 0)
		return 0;
	names_unknown(&err, "", "organisation", arg, names_org);
	return complain(&err);
}

static int set_thp(struct options *o, const char *arg)
{
	o->config.thp = true;
	return 0;
}

static int set_host_thp(struct options *o, const char *arg)
{
	o->config.host_thp = true;
	return arg ? set_either("host-thp", arg, "2M", "1G", &o->config.host_thp_1g) : 0;
}

static int set_p2m(struct options *o, const char *arg)
{
	return set_either("p2m", arg, "lazy", "eager", &o->config.p2m_eager);
}

static int set_limit(struct options *o, const char *arg)
{
	return set_scaled("limit", arg, 1000, &o->config.limit);
}

static int set_warmup(struct options *o, const char *arg)
{
	return set_scaled("warmup", arg, 1000, &o->config.warmup);
}

int repeat_parse(const char *s, uint64_t *out)
{
	return parse_scaled(s, 1000, out) || *out < 1 || *out > REPEAT_MAX ? -1 : 0;
}

static int set_repeat(struct options *o, const char *arg)
{
	return repeat_parse(arg, &o->repeat) ? bad_value("repeat", arg, "a number from 1 to 1000000") : 0;
}

/* FROM..TO, either of which may be left out. */
static int set_roi(struct options *o, const char *arg)
{
	const char *dots = strstr(arg, "..");
	char from[32];

	o->roi.from = o->roi.to = 0;
	if (dots && (size_t)(dots - arg) < sizeof(from)) {
		memcpy(from, arg, (size_t)(dots - arg));
		from[dots - arg] = '\0';
		if ((!from[0] || !parse_scaled(from, 1000, &o->roi.from)) &&
		    (!dots[2] || (!parse_scaled(dots + 2, 1000, &o->roi.to) && o->roi.to > o->roi.from)) &&
		    (o->roi.from || o->roi.to))
			return 0;
	}
	return bad_value("roi", arg, "FROM..TO, references of the work, such as 1M..2M, 1M.. or ..2M");
}

static int set_outside_roi(struct options *o, const char *arg)
{
	o->outside_given = true;
	return set_either("outside-roi", arg, "run", "skip", &o->roi.skip);
}

static int set_quantum(struct options *o, const char *arg)
{
	int code = set_scaled("quantum", arg, 1000, &o->config.quantum);

	return !code && !o->config.quantum ? bad_value("quantum", arg, "at least 1 reference") : code;
}

static int set_json(struct options *o, const char *arg)
{
	o->json = arg;
	return 0;
}

static int set_csv(struct options *o, const char *arg)
{
	o->csv = arg;
	return 0;
}

static int set_quiet(struct options *o, const char *arg)
{
	o->quiet = true;
	return 0;
}

static int set_digest(struct options *o, const char *arg)
{
	return set_either("digest", arg, "state", "data", &o->config.data);
}

static int set_visibility(struct options *o, const char *arg)
{
	bool second = false;
	int code = set_either("visibility", arg, "coherent", "architectural", &second);

	o->config.visibility = second ? VISIBLE_ARCHITECTURAL : VISIBLE_COHERENT;
	return code;
}

static int set_check(struct options *o, const char *arg)
{
	bool second = false;
	int code = set_either("check", arg, "truth", "walk", &second);

	o->config.check = second ? CHECK_WALK : CHECK_TRUTH;
	return code;
}

static int set_ad(struct options *o, const char *arg)
{
	bool second = false;
	int code = set_either("ad", arg, "set", "fault", &second);

	o->config.ad = second ? WALK_AD_FAULT : WALK_AD_SET;
	return code;
}

static int set_replace(struct options *o, const char *arg)
{
	static const char *const names[] = { "fifo", "lru", "clock", "opt" }; /* as enum guest_replace */

	for (unsigned i = 0; i < 4; i++)
		if (strcmp(arg, names[i]) == 0) {
			o->config.replace = (enum guest_replace)i;
			return 0;
		}
	return bad_value("replace", arg, "fifo, lru, clock or opt");
}

static int set_frag(struct options *o, const char *arg)
{
	char *end;
	unsigned long v = strtoul(arg, &end, 10);

	if (arg[0] < '0' || arg[0] > '9' || *end || v > 100)
		return bad_value("frag", arg, "a percentage from 0 to 100");
	o->config.frag_percent = (unsigned)v;
	return 0;
}

static int set_shadow_pages(struct options *o, const char *arg)
{
	uint64_t v;
	int code = set_scaled("shadow-pages", arg, 1000, &v);

	if (!code && (v < 1 || v > UINT32_MAX))
		return bad_value("shadow-pages", arg, "at least 1 page");
	o->config.shadow_budget = (unsigned)v;
	return code;
}

static int set_asids(struct options *o, const char *arg)
{
	o->asids_given = true;
	return set_on_off("asids", arg, &o->config.asids);
}

static int set_jobs(struct options *o, const char *arg)
{
	char *end;
	unsigned long v = strtoul(arg, &end, 10);

	if (arg[0] < '0' || arg[0] > '9' || *end || v < 1 || v > 256)
		return bad_value("jobs", arg, "a number from 1 to 256");
	o->jobs = (unsigned)v;
	return 0;
}

static int set_pid(struct options *o, const char *arg)
{
	char *end;
	unsigned long v = strtoul(arg, &end, 0);

	if (arg[0] < '0' || arg[0] > '9' || *end || v > UINT32_MAX)
		return bad_value("pid", arg, "a process number of the trace");
	o->pid = (uint32_t)v;
	return 0;
}

static int set_gva(struct options *o, const char *arg)
{
	char *end;

	o->gva = strtoull(arg, &end, 0);
	o->gva_given = true;
	return arg[0] < '0' || arg[0] > '9' || *end ? bad_value("gva", arg, "an address such as 0x400000") : 0;
}

static int set_access(struct options *o, const char *arg)
{
	static const char *const names[] = { "read", "write", "exec" }; /* as enum acc_kind */

	for (unsigned i = 0; i < 3; i++)
		if (strcmp(arg, names[i]) == 0) {
			o->access = (enum acc_kind)i;
			return 0;
		}
	return bad_value("access", arg, "read, write or exec");
}

static int set_warm(struct options *o, const char *arg)
{
	o->warm = true;
	return 0;
}

/* All of them are loaded before any other option is looked at; here it was said once more, or shortened. */
static int set_plugin(struct options *o, const char *arg)
{
	struct trace_error err = { 0 };

	return plugin_load(arg, NULL, &err) ? complain(&err) : 0;
}

static int set_vm(struct options *o, const char *arg)
{
	const char **args = realloc(o->vm_args, (o->nvm_args + 1) * sizeof(*args));

	if (!args)
		return complain_usage("no memory on this host");
	o->vm_args = args;
	o->vm_args[o->nvm_args++] = arg;
	return 0;
}

static int set_cpu(struct options *o, const char *arg)
{
	return cpu_setting_parse(arg, &o->config.cpu_setting) ? bad_value("cpu", arg, "assisted or trap") : 0;
}

static int set_tlb(struct options *o, const char *arg)
{
	return tlb_setting_parse(arg, &o->config.tlb_setting) ? bad_value("tlb", arg, "hardware or software") : 0;
}

static int set_tlb_tags(struct options *o, const char *arg)
{
	bool on = true;
	int code = set_on_off("tlb-tags", arg, &on);

	o->config.tlb_untagged = !on;
	return code;
}

#define BOTH (CMD_COMPARE | CMD_RUN)

const struct option_entry option_table[] = {
	{ "scheme", 's', "S", false, CMD_WORK, "how VMs are translated: MODE[/ORG][+option…] (nested/radix; compare: all)", set_scheme },
	{ "schemes", 'S', "LIST", false, CMD_COMPARE, "schemes to compare, commas between, or all", set_schemes },
	{ "plugin", 0, "FILE.so", false, CMD_WORK, "organisations, modes, TLB policies and presets of your own; may be repeated", set_plugin },
	{ "seed", 0, "N", false, CMD_WORK, "of all randomness (1)", set_seed },
	{ "seeds", 0, "N|LIST", false, BOTH, "run under N seeds, or those listed: means with 95 % intervals", set_seeds },
	{ "machine", 'm', "NAME|FILE", false, CMD_WORK, "TLBs, walk caches and costs (generic)", set_machine },
	{ "caches", 0, "MODEL", false, BOTH, "data caches: generic, skylake-server, zen2, rocket, or machine (none)", set_caches },
	{ "mem", 0, "SIZE", false, CMD_WORK, "the machine's RAM (what the VMs need)", set_mem },
	{ "guest-mem", 0, "SIZE", false, CMD_WORK, "each guest's memory (what its work needs)", set_guest_mem },
	{ "format", 'f', "G[:H]", false, CMD_WORK, "table format of guest and second stage (x86-64)", set_format },
	{ "guest-pt", 0, "ORG", false, CMD_WORK, "organisation of the guest's own tables (radix)", set_guest_pt },
	{ "thp", 0, NULL, false, CMD_WORK, "huge pages in the guest", set_thp },
	{ "host-thp", 0, "2M|1G", true, CMD_WORK, "huge backing by the hypervisor", set_host_thp },
	{ "p2m", 0, "lazy|eager", false, CMD_WORK, "fill the second stage on demand or at the start (lazy)", set_p2m },
	{ "limit", 'n', "N", false, CMD_WORK, "stop each VM after N references", set_limit },
	{ "warmup", 0, "N", false, CMD_WORK, "start counting after N references of each VM", set_warmup },
	{ "roi", 0, "FROM..TO", false, CMD_WORK, "count only these references of each work", set_roi },
	{ "outside-roi", 0, "run|skip", false, CMD_WORK, "what becomes of the others (run, without being counted)", set_outside_roi },
	{ "repeat", 0, "N", false, CMD_WORK, "run each work N times over (1)", set_repeat },
	{ "quantum", 0, "N", false, CMD_WORK, "references before another process or VM runs", set_quantum },
	{ "digest", 0, "state|data", false, CMD_WORK, "data: references move real bytes (state)", set_digest },
	{ "visibility", 0, "coherent|architectural", false, CMD_WORK, "when stores to tables are seen (coherent)", set_visibility },
	{ "check", 0, "truth|walk", false, CMD_WORK, "what each TLB fill is checked against (truth)", set_check },
	{ "replace", 0, "fifo|lru|clock|opt", false, CMD_WORK, "which page a full guest gives up (fifo)", set_replace },
	{ "ad", 0, "set|fault", false, CMD_WORK, "who sets accessed and dirty: walker or guest (set)", set_ad },
	{ "asids", 0, "on|off", false, CMD_WORK, "the guest tags its address spaces (on where the format has tags)", set_asids },
	{ "frag", 0, "PERCENT", false, CMD_WORK, "2 MiB blocks of RAM broken by a pinned frame (0)", set_frag },
	{ "shadow-pages", 0, "N", false, CMD_WORK, "shadow pages at most (a quarter of the machine)", set_shadow_pages },
	{ "jobs", 'j', "N", false, BOTH, "schemes and seeds run at a time (number of processors)", set_jobs },
	{ "vm", 0, "name=,mem=,scheme=,cpu=,tlb=,count=,stagger=,repeat=,work=", false, CMD_RUN, "one VM, or count= of them, stagger= references apart; repeat it for more. work= comes last; work=A + B: two processes", set_vm },
	{ "gva", 'a', "ADDR", false, CMD_EXPLAIN, "the address to translate", set_gva },
	{ "pid", 'p', "N", false, CMD_EXPLAIN, "whose address (the process that ran last)", set_pid },
	{ "access", 0, "read|write|exec", false, CMD_EXPLAIN, "kind of access (read)", set_access },
	{ "warm", 0, NULL, false, CMD_EXPLAIN, "leave TLBs and walk caches as the work left them", set_warm },
	{ "json", 0, "FILE", false, CMD_WORK, "result as JSON; - is standard output", set_json },
	{ "csv", 0, "FILE", false, BOTH, "result as CSV; - is standard output", set_csv },
	{ "quiet", 'q', NULL, false, CMD_WORK, "no progress, no remarks", set_quiet },
	{ "cpu", 0, "assisted|trap", false, CMD_WORK, "trap: the guest's kernel runs deprivileged (assisted)", set_cpu },
	{ "tlb", 0, "hardware|software", false, CMD_WORK, "software: the guest's handler fills the TLB (hardware)", set_tlb },
	{ "tlb-tags", 0, "on|off", false, CMD_WORK, "off: every world switch flushes the TLB (on)", set_tlb_tags },
	{ "reclaim", 0, "LIST", false, CMD_WORK, NULL, NULL },
	{ "overcommit", 0, "X", false, CMD_WORK, NULL, NULL },
	{ "contents", 0, NULL, false, CMD_WORK, NULL, NULL },
	{ "advise", 0, NULL, false, CMD_WORK, NULL, NULL },
};
const unsigned option_count = sizeof(option_table) / sizeof(*option_table);
