/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "cli/cli.h"
#include "exp/names.h"
#include "tlb/policy.h"

enum { NAME_COLUMNS = 24 };

/* The text stands beside the name, in as many lines as it takes. */
static void row(const char *name, const char *text)
{
	int width = REPORT_COLUMNS - NAME_COLUMNS - 2;

	printf("  %-*s", NAME_COLUMNS - 1, name);
	while (text && (int)strlen(text) > width) {
		int len = width;

		while (len > 1 && text[len] != ' ')
			len--;
		printf(" %.*s\n  %-*s", len, text, NAME_COLUMNS - 1, "");
		text += len + 1;
	}
	printf("%s%s\n", text ? " " : "", text ? text : "");
}

static void list_schemes(void)
{
	for (unsigned i = 0; names_scheme(i); i++)
		row(names_scheme(i), NULL);
}

static void list_organisations(void)
{
	const struct pt_org *org;

	for (unsigned i = 0; (org = pt_org_at(i)) != NULL; i++) {
		char name[64];

		row(org->name, org->summary);
		for (int k = 0; k < PT_OPTIONS_MAX && org->options[k]; k++) {
			snprintf(name, sizeof(name), "%s+%s", org->name, org->options[k]);
			row(name, "the same with this option");
		}
	}
}

static void list_modes(void)
{
	const char *name, *summary = NULL;

	for (unsigned i = 0; (name = mode_name_at(i, &summary)) != NULL; i++)
		row(name, summary);
}

static void format_row(const struct gpt_format *f)
{
	char text[160], bits[48] = "";
	size_t len = 0;

	for (int level = f->levels - 1; level >= 0; level--)
		len += (size_t)snprintf(bits + len, sizeof(bits) - len, "%u+", f->level[level].bits);
	snprintf(bits + len, sizeof(bits) - len, "12");
	len = (size_t)snprintf(text, sizeof(text), "%-18s %u-byte entries, %u-bit physical addresses; pages", bits,
			       f->entry_size, f->pa_bits);
	for (unsigned level = 0; level < f->levels; level++)
		if (f->level[level].leaf_ok)
			len += (size_t)snprintf(text + len, sizeof(text) - len, " %.0f %s",
						(double)(UINT64_C(1) << f->level[level].shift % 10),
						f->level[level].shift < 20 ? "KiB" :
						f->level[level].shift < 30 ? "MiB" :
						f->level[level].shift < 40 ? "GiB" : "TiB");
	row(f->name, text);
}

static void list_formats(void)
{
	for (unsigned i = 0; gpt_builtin[i]; i++)
		format_row(gpt_builtin[i]);
	for (unsigned i = 0; gpt_variant[i]; i++)
		format_row(gpt_variant[i]);
	row("FILE.yaml", "a format of your own: formats/ has examples");
}

static void list_machines(void)
{
	const struct tlb_config *preset;

	for (unsigned i = 0; (preset = tlb_preset_at(i)) != NULL; i++) {
		row(preset->name, preset->source);
		row("", preset->note);
	}
	row("FILE.yaml", "a processor of your own: machines/ has examples");
}

static void list_caches(void)
{
	for (unsigned i = 0; cache_presets[i]; i++) {
		const struct cache_config *c = cache_presets[i];
		char text[400];

		row(c->name, c->note);
		row("", c->source);
		snprintf(text, sizeof(text), "%llu, %llu, %llu, %llu cycles (%s)", (unsigned long long)c->cycles[CACHE_L1D],
			 (unsigned long long)c->cycles[CACHE_L2], (unsigned long long)c->cycles[CACHE_LLC],
			 (unsigned long long)c->cycles[CACHE_MEMORY], c->cycles_source);
		row("", text);
	}
	row("machine", "what the machine file of --machine has under 'caches:'");
}

static void list_traces(void)
{
	const char *name, *summary = NULL;

	for (unsigned i = 0; (name = trace_format_name(i, &summary)) != NULL; i++)
		row(name, summary);
	row(".gz .xz .zst .zip", "any of them packed: unpacked as it is read");
}

static void list_guests(void)
{
	row("model", "the model guest: gives the processes of a trace their address spaces");
}

static void list_workloads(void)
{
	const char *name, *summary = NULL;

	row("trace:[FORMAT:]FILE", "a trace; 'quire list traces' has the formats");
	row("-- PROGRAM ARGS", "a program, recorded and replayed in one step");
	for (unsigned i = 0; (name = synth_name(i, &summary)) != NULL; i++) {
		char text[80];

		snprintf(text, sizeof(text), "synth:%s", name);
		row(text, summary);
	}
}

static void list_policies(void)
{
	row("fifo", "--replace: the guest gives up the page it mapped first");
	row("lru", "--replace: the page not used for the longest time");
	row("clock", "--replace: the first page round that was not used since it was last looked at");
	row("opt", "--replace: the page used again latest of all; needs to know the future");
	for (unsigned i = 0; tlb_policy_is_known(i); i++) {
		const struct tlb_policy_ops *ops = tlb_policy_ops(i);
		char text[40];

		snprintf(text, sizeof(text), "%s (TLB)", tlb_policy_name((enum tlb_policy)i));
		row(text, ops ? ops->summary : "policy: of a TLB array in a machine file");
	}
}

static const struct topic {
	const char *name;
	void (*list)(void);
} topics[] = {
	{ "schemes", list_schemes }, { "organisations", list_organisations }, { "modes", list_modes },
	{ "formats", list_formats }, { "machines", list_machines }, { "caches", list_caches }, { "traces", list_traces },
	{ "guests", list_guests }, { "workloads", list_workloads }, { "policies", list_policies },
};

enum { TOPICS = sizeof(topics) / sizeof(*topics) };

static const char *topic_name(unsigned i)
{
	return i < TOPICS ? topics[i].name : NULL;
}

int command_list(int argc, char **argv)
{
	struct trace_error err = { 0 };
	const char *topic = NULL;
	int code = plugins_load(argc, argv);

	if (code)
		return code;
	for (int i = 1; i < argc;) {
		if (plugins_skip(argc, argv, &i))
			continue;
		if (topic)
			return complain_usage("list takes one topic at most, not '%.60s' too", argv[i]);
		topic = argv[i++];
	}
	if (topic && strcmp(topic, "--help") == 0) {
		puts("usage: quire list [--plugin FILE.so] [schemes|organisations|modes|formats|machines|caches|traces|guests|workloads|policies]");
		return 0;
	}
	for (unsigned i = 0; i < TOPICS; i++) {
		if (topic && strcmp(topic, topics[i].name) != 0)
			continue;
		if (!topic)
			printf("%s%s\n", i ? "\n" : "", topics[i].name);
		topics[i].list();
		if (topic)
			return 0;
	}
	if (!topic)
		return 0;
	names_unknown(&err, "", "topic", topic, topic_name);
	return complain(&err);
}
