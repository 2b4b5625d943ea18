/* SPDX-License-Identifier: MIT */
/*
 * Loading a plug-in: look at the file, load it, hold its one symbol against
 * what this Quire means by it, check every list; only then add.
 */
#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "exp/plugin.h"
#include "plug/table.h"

enum { NAME_MAX_LENGTH = 23, SCHEMES_OF_PLUGINS_MAX = 2 * PT_ORGS_ADDED_MAX + MODES_ADDED_MAX };

static struct plugin loaded[PLUGINS_MAX];
static unsigned nloaded;
static char schemes[SCHEMES_OF_PLUGINS_MAX][SCHEME_NAME_MAX];
static unsigned nschemes;

const char *plugin_scheme_at(unsigned i)
{
	return i < nschemes ? schemes[i] : NULL;
}

/* ---- the file ---- */

static int look_at_file(const char *file, struct trace_error *err)
{
	static const char elf[4] = { 0x7f, 'E', 'L', 'F' };
	char head[sizeof(elf)];
	FILE *f = fopen(file, "rb");
	size_t n;

	if (!f)
		return error_set(err, EXIT_INPUT, "%.120s: %s; --plugin takes the path of a shared object", file, strerror(errno));
	n = fread(head, 1, sizeof(head), f);
	fclose(f);
	if (n < sizeof(head) || memcmp(head, elf, sizeof(elf)) != 0)
		return error_set(err, EXIT_INPUT, "%.120s: no shared object; build the plug-in with cc -shared -fPIC", file);
	return 0;
}

/* What dlopen says, without the path that is said already. */
static const char *load_error(const char *path)
{
	const char *said = dlerror();
	size_t len = strlen(path);

	if (!said)
		return "no reason given";
	return strncmp(said, path, len) == 0 && said[len] == ':' ? said + len + 2 : said;
}

static int open_file(const char *file, const struct quire_plugin **out, struct trace_error *err)
{
	/* Without a slash the loader would search its own directories. */
	const char *here = strchr(file, '/') ? "" : "./";
	char *path = malloc(strlen(here) + strlen(file) + 1);
	int code = look_at_file(file, err);
	void *handle;

	if (!path)
		return error_set(err, EXIT_RESOURCES, "no memory on this host");
	strcpy(path, here);
	strcat(path, file);
	handle = code ? NULL : dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!code && !handle)
		code = error_set(err, EXIT_INPUT, "%.100s: cannot be loaded: %.120s", file, load_error(path));
	if (!code) {
		*out = dlsym(handle, "quire_plugin");
		if (!*out)
			code = error_set(err, EXIT_INPUT, "%.100s: no plug-in of Quire's: it exports no quire_plugin; QUIRE_PLUGIN makes one (plug/plugin.h)",
					 file);
	}
	free(path);
	return code;
}

/* ---- is it what we mean by a plug-in? ---- */

static int check_version(const char *file, const struct quire_plugin *p, struct trace_error *err)
{
	static const struct quire_plugin_sizes ours = QUIRE_PLUGIN_SIZES;

	if (p->abi != QUIRE_PLUGIN_ABI)
		return error_set(err, EXIT_INPUT, "%.100s: made for version %u of the interface, and this Quire has version %d; build it again with this Quire's headers",
				 file, p->abi, QUIRE_PLUGIN_ABI);
	if (memcmp(&p->sizes, &ours, sizeof(ours)) != 0)
		return error_set(err, EXIT_INPUT, "%.100s: built with the headers of another Quire, whose structs have other sizes; build it again with this one's",
				 file);
	if (!p->services || !p->name || (!p->orgs && !p->modes && !p->policies && !p->presets))
		return error_set(err, EXIT_INPUT, "%.100s: quire_plugin is incomplete or brings nothing; make it with QUIRE_PLUGIN(\"name\", QUIRE_PLUGIN_ORGS(…))",
				 file);
	return 0;
}

/* What schemes and files can spell: letters, digits and '-'. */
static bool is_name(const char *name)
{
	size_t len = name ? strlen(name) : 0;

	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)name[i]) && name[i] != '-')
			return false;
	return len > 0 && len <= NAME_MAX_LENGTH;
}

/* One thing that a plug-in brings, as the checks below see it. */
struct item {
	const char *kind, *name, *summary;
	bool taken;
	const char *missing; /* a function it must have and has not; NULL: none */
	const char *wrong;   /* what else is wrong; NULL: nothing */
};

static const char *missing_in_org(const struct pt_org *o)
{
	return !o->create ? "create" : !o->destroy ? "destroy" : !o->open ? "open" : !o->map ? "map" :
	       !o->unmap ? "unmap" : !o->protect ? "protect" : !o->lookup ? "lookup" : !o->next ? "next" :
	       !o->audit ? "audit" : !o->drop_space ? "drop_space" : NULL;
}

static struct item item_of_org(const struct pt_org *o)
{
	struct item it = { "organisation", o->name, o->summary, .missing = missing_in_org(o) };

	it.taken = o->name && pt_org_find(o->name, strlen(o->name));
	for (int i = 0; i < PT_OPTIONS_MAX && o->options[i]; i++)
		if (!is_name(o->options[i]))
			it.wrong = "an option's name has more than letters, digits and '-'";
	return it;
}

static struct item item_of_mode(const struct mode_ops *m)
{
	struct item it = { "mode", m->name, m->summary };

	it.missing = !m->possible ? "possible" : !m->attach ? "attach" : !m->walk ? "walk" : !m->fault ? "fault" : NULL;
	it.taken = m->name && mode_find(m->name, strlen(m->name));
	if (m->quick != QUICK_NONE)
		it.wrong = ".quick is for Quire's own modes; leave it out";
	return it;
}

static struct item item_of_policy(const struct tlb_policy_ops *o)
{
	struct item it = { "TLB policy", o->name, o->summary };

	it.missing = !o->hit ? "hit" : !o->victim ? "victim" : !o->fill ? "fill" : NULL;
	for (unsigned p = 0; o->name && tlb_policy_is_known(p); p++)
		it.taken |= strcmp(tlb_policy_name((enum tlb_policy)p), o->name) == 0;
	if (o->words < 1 || o->words > TLB_POLICY_WORDS_MAX)
		it.wrong = "words is not 1 to 8";
	return it;
}

static struct item item_of_preset(const struct tlb_config *c)
{
	return (struct item){ "preset", c->name, c->source, .taken = tlb_preset_find(c->name) != NULL };
}

/* ---- all that it brings, one after another ---- */

enum { ITEMS_MAX = 64 };
struct items {
	unsigned n;
	struct item item[ITEMS_MAX];
	unsigned orgs, modes, policies, presets;
};

/* Those of all plug-ins loaded so far. */
static struct { unsigned orgs, modes, policies, presets; } total;

static bool has_room(const struct items *s)
{
	return total.orgs + s->orgs <= PT_ORGS_ADDED_MAX && total.modes + s->modes <= MODES_ADDED_MAX &&
	       total.policies + s->policies <= TLB_POLICIES_ADDED_MAX &&
	       total.presets + s->presets <= TLB_PRESETS_ADDED_MAX;
}

static void add_item(struct items *s, struct item it)
{
	if (s->n < ITEMS_MAX)
		s->item[s->n++] = it;
}

static void collect(struct items *s, const struct quire_plugin *p)
{
	for (; p->orgs && p->orgs[s->orgs]; s->orgs++)
		add_item(s, item_of_org(p->orgs[s->orgs]));
	for (; p->modes && p->modes[s->modes]; s->modes++)
		add_item(s, item_of_mode(p->modes[s->modes]));
	for (; p->policies && p->policies[s->policies]; s->policies++)
		add_item(s, item_of_policy(p->policies[s->policies]));
	for (; p->presets && p->presets[s->presets]; s->presets++)
		add_item(s, item_of_preset(p->presets[s->presets]));
	for (unsigned i = 0; i < s->n; i++)
		for (unsigned k = 0; k < i && s->item[i].name; k++)
			s->item[i].taken |= s->item[k].name && strcmp(s->item[k].kind, s->item[i].kind) == 0 &&
					    strcmp(s->item[k].name, s->item[i].name) == 0;
}

static int check_item(const char *file, const struct item *it, struct trace_error *err)
{
	if (!is_name(it->name))
		return error_set(err, EXIT_INPUT, "%.100s: %s '%.30s': a name is letters, digits and '-', at most %d",
				 file, it->kind, it->name ? it->name : "", NAME_MAX_LENGTH);
	if (!it->summary)
		return error_set(err, EXIT_INPUT, "%.100s: %s %s says nothing about itself; give it a %s", file, it->kind,
				 it->name, strcmp(it->kind, "preset") == 0 ? "source" : "summary");
	if (it->missing)
		return error_set(err, EXIT_INPUT, "%.100s: %s %s has no function '%s'", file, it->kind, it->name, it->missing);
	if (it->wrong)
		return error_set(err, EXIT_INPUT, "%.100s: %s %s: %s", file, it->kind, it->name, it->wrong);
	if (it->taken)
		return error_set(err, EXIT_USAGE, "%.100s: the name of %s %s is taken; give it another", file, it->kind, it->name);
	return 0;
}

/* ---- presets: policies of the plug-in's own have numbers only now ---- */

struct policies {
	unsigned n; /* that the plug-in brings */
	unsigned first, step; /* its i-th has number first + i * step */
};

/* False: one is named that the plug-in does not bring. */
static bool renumber(struct tlb_array_config *c, unsigned n, const struct policies *own)
{
	for (unsigned i = 0; i < n; i++) {
		if (c[i].policy < TLB_POLICIES)
			continue;
		if (c[i].policy >= QUIRE_PLUGIN_POLICY(own->n))
			return false;
		c[i].policy = (uint8_t)(own->first + (c[i].policy - TLB_POLICIES) * own->step);
	}
	return true;
}

static bool renumber_all(struct tlb_config *c, const struct policies *own)
{
	return renumber(c->l1i, TLB_CLASSES, own) && renumber(c->l1d, TLB_CLASSES, own) &&
	       renumber(c->l2, TLB_CLASSES, own) && renumber(&c->nested, 1, own) &&
	       renumber(c->walk, ARRAY_SIZE(c->walk), own) && renumber(c->host_walk, ARRAY_SIZE(c->host_walk), own);
}

/* Is the geometry right? Policies that are not added yet stand in as LRU. */
static int check_preset(const char *file, const struct tlb_config *preset, unsigned npolicies, struct trace_error *err)
{
	const struct policies stand_in = { npolicies, TLB_LRU, 0 };
	const char *why = "it names a policy that the plug-in does not bring";
	struct tlb_config c = *preset;

	if (renumber_all(&c, &stand_in) && tlb_config_validate(&c, &why) == 0)
		return 0;
	return error_set(err, EXIT_INPUT, "%.100s: preset %s: %s", file, preset->name, why);
}

static void add_preset(const struct tlb_config *preset, const struct policies *own)
{
	struct tlb_config *c = malloc(sizeof(*c));

	BUG_ON(!c);
	*c = *preset;
	BUG_ON(!renumber_all(c, own));
	BUG_ON(tlb_preset_add(c) != 0);
}

/* ---- adding ---- */

static void add_scheme(const char *mode, const char *org)
{
	char *name = schemes[nschemes++];

	snprintf(name, SCHEME_NAME_MAX, "%s%s%s", mode, org ? "/" : "", org ? org : "");
}

static void add_all(struct plugin *l, const struct items *s)
{
	const struct quire_plugin *p = l->p;

	*p->services = &quire_services_table;
	for (unsigned i = 0; i < s->orgs; i++) {
		BUG_ON(pt_org_add(p->orgs[i]) != 0);
		add_scheme("nested", p->orgs[i]->name);
		if (p->orgs[i]->sparse_keys)
			add_scheme("shadow", p->orgs[i]->name);
	}
	for (unsigned i = 0; i < s->modes; i++) {
		const struct mode_ops *m = p->modes[i];

		BUG_ON(mode_add(m) != 0);
		add_scheme(m->name, m->takes_org && !m->hides_default ? m->default_org ? m->default_org : "radix" : NULL);
	}
	l->first_policy = TLB_POLICIES + total.policies;
	for (unsigned i = 0; i < s->policies; i++)
		BUG_ON(tlb_policy_add(p->policies[i]) != (int)(l->first_policy + i));
	for (unsigned i = 0; i < s->presets; i++)
		add_preset(p->presets[i], &(struct policies){ s->policies, l->first_policy, 1 });
	total.orgs += s->orgs;
	total.modes += s->modes;
	total.policies += s->policies;
	total.presets += s->presets;
}

static const struct plugin *find_loaded(const struct quire_plugin *p)
{
	for (unsigned i = 0; i < nloaded; i++)
		if (loaded[i].p == p)
			return &loaded[i];
	return NULL;
}

static int check_all(const char *file, const struct quire_plugin *p, struct items *s, struct trace_error *err)
{
	int code = check_version(file, p, err);

	if (code)
		return code;
	collect(s, p);
	for (unsigned i = 0; !code && i < s->n; i++)
		code = check_item(file, &s->item[i], err);
	for (unsigned i = 0; !code && i < s->presets; i++)
		code = check_preset(file, p->presets[i], s->policies, err);
	if (!code && (nloaded == PLUGINS_MAX || !has_room(s)))
		code = error_set(err, EXIT_USAGE, "%.100s: no room for so many plug-ins; load fewer", file);
	return code;
}

int plugin_load(const char *file, const struct plugin **out, struct trace_error *err)
{
	const struct quire_plugin *p = NULL;
	const struct plugin *known;
	struct items s = { 0 };
	int code = open_file(file, &p, err);

	if (code)
		return code;
	known = find_loaded(p);
	if (!known) {
		code = check_all(file, p, &s, err);
		if (code)
			return code;
		loaded[nloaded] = (struct plugin){ file, p };
		known = &loaded[nloaded];
		add_all(&loaded[nloaded++], &s);
	}
	if (out)
		*out = known;
	return 0;
}
