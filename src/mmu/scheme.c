/* SPDX-License-Identifier: MIT */
#include "mmu/internal.h"

extern const struct mode_ops *const __start_quire_modes[];
extern const struct mode_ops *const __stop_quire_modes[];

/* At most SCHEME_NAME_MAX: longer is no name of ours. (Unbounded, gcc would call strlen.) */
static size_t name_len(const char *s)
{
	size_t n = 0;

	while (n < SCHEME_NAME_MAX && s[n])
		n++;
	return n;
}

static bool same(const char *name, const char *s, size_t len)
{
	return name_len(name) == len && !memcmp(name, s, len);
}

/* Those that came while the program ran, from plug-ins. */
static const struct mode_ops *added[MODES_ADDED_MAX];
static unsigned nadded;

static const struct mode_ops *mode_at(unsigned i)
{
	unsigned n = (unsigned)(__stop_quire_modes - __start_quire_modes);

	if (i < n)
		return __start_quire_modes[i];
	return i - n < nadded ? added[i - n] : NULL;
}

const struct mode_ops *mode_find(const char *name, size_t len)
{
	const struct mode_ops *m;

	for (unsigned i = 0; (m = mode_at(i)) != NULL; i++)
		if (same(m->name, name, len))
			return m;
	return NULL;
}

int mode_add(const struct mode_ops *mode)
{
	if (mode_find(mode->name, name_len(mode->name)))
		return -EEXIST;
	if (nadded == MODES_ADDED_MAX)
		return -ENOSPC;
	added[nadded++] = mode;
	return 0;
}

const char *mode_name_at(unsigned i, const char **summary)
{
	const struct mode_ops *m = mode_at(i);

	if (!m)
		return NULL;
	*summary = m->summary;
	return m->name;
}

const char *scheme_name_at(unsigned i)
{
	static const char *const all[] = {
		"native", "nested/radix", "nested/flat", "nested/inverted", "nested/inverted+linear",
		"nested/hashed", "nested/cuckoo", "nested/segment", "shadow", "shadow+lazy", "shadow+discard",
		"inverted-shadow", "agile", "adaptive", "paravirt",
	};

	return i < ARRAY_SIZE(all) ? all[i] : NULL;
}

static size_t until(const char *s, const char *stops)
{
	size_t n = 0;

	for (; s[n]; n++)
		for (const char *c = stops; *c; c++)
			if (s[n] == *c)
				return n;
	return n;
}

static int bad(const char **why, const char *what)
{
	*why = what;
	return -EINVAL;
}

static int parse_number(const char *s, size_t len, uint32_t *out)
{
	uint32_t n = 0;

	if (!len || len > 6)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return -EINVAL;
		n = n * 10 + (uint32_t)(s[i] - '0');
	}
	*out = n;
	return n ? 0 : -EINVAL;
}

static bool starts_with(const char *o, size_t len, const char *head)
{
	size_t n = name_len(head);

	return len > n && !memcmp(o, head, n);
}

static int parse_option(struct scheme *out, const char *o, size_t len, const char **why)
{
	static const char roots[] = "roots=", groups[] = "groups=";

	if (same("lazy", o, len) && (out->mode->options & SCHEME_LAZY))
		out->flags |= SCHEME_LAZY;
	else if (same("discard", o, len) && (out->mode->options & SCHEME_DISCARD))
		out->flags |= SCHEME_DISCARD;
	else if (out->mode->takes_roots && starts_with(o, len, roots))
		return parse_number(o + sizeof(roots) - 1, len - (sizeof(roots) - 1), &out->roots) ?
		       bad(why, "+roots= takes a number from 1 to 999999") : 0;
	else if (out->mode->takes_groups && starts_with(o, len, groups))
		return parse_number(o + sizeof(groups) - 1, len - (sizeof(groups) - 1), &out->groups) ?
		       bad(why, "+groups= takes a number from 1 to 999999") : 0;
	else {
		for (unsigned i = 0; out->org && i < PT_OPTIONS_MAX && out->org->options[i]; i++)
			if (same(out->org->options[i], o, len)) {
				out->org_flags |= BIT(i);
				return 0;
			}
		return bad(why, "this mode and organisation have no such option");
	}
	return 0;
}

struct speller {
	char *out;
	size_t n;
};

static void spell(struct speller *s, const char *text)
{
	while (*text && s->n < SCHEME_NAME_MAX - 1)
		s->out[s->n++] = *text++;
	s->out[s->n] = 0;
}

static void spell_number(struct speller *s, uint32_t v)
{
	char digits[12];
	size_t i = sizeof(digits) - 1;

	for (digits[i] = 0; v; v /= 10)
		digits[--i] = (char)('0' + v % 10);
	spell(s, digits + i);
}

/* One spelling for each scheme, whatever order the user gave the options in. */
static void spell_scheme(struct scheme *sc)
{
	struct speller s = { sc->name, 0 };

	spell(&s, sc->mode->name);
	if (sc->org && !(sc->mode->hides_default && sc->mode->default_org &&
			 same(sc->mode->default_org, sc->org->name, name_len(sc->org->name)))) {
		spell(&s, "/");
		spell(&s, sc->org->name);
	}
	for (unsigned i = 0; sc->org && i < PT_OPTIONS_MAX && sc->org->options[i]; i++)
		if (sc->org_flags & BIT(i)) {
			spell(&s, "+");
			spell(&s, sc->org->options[i]);
		}
	if (sc->flags & SCHEME_LAZY)
		spell(&s, "+lazy");
	if (sc->flags & SCHEME_DISCARD)
		spell(&s, "+discard");
	if (sc->roots) {
		spell(&s, "+roots=");
		spell_number(&s, sc->roots);
	}
	if (sc->groups) {
		spell(&s, "+groups=");
		spell_number(&s, sc->groups);
	}
}

static int parse_org(struct scheme *out, const char **s, const char **why)
{
	const char *name = out->mode->default_org;
	size_t len = name ? name_len(name) : 0;

	if (**s == '/') {
		name = *s + 1;
		len = until(name, "+");
		*s = name + len;
		if (!out->mode->takes_org)
			return bad(why, "this mode takes no organisation");
	}
	if (!name)
		return out->mode->takes_org ? bad(why, "this mode needs an organisation: MODE/ORG") : 0;
	out->org = pt_org_find(name, len);
	return out->org ? 0 : bad(why, "no such organisation; `quire list organisations` names them");
}

int scheme_parse(const char *s, struct scheme *out, const char **why)
{
	size_t len = until(s, "/+");

	memset(out, 0, sizeof(*out));
	if (name_len(s) >= SCHEME_NAME_MAX)
		return bad(why, "the name is too long");
	out->mode = mode_find(s, len);
	if (!out->mode)
		return bad(why, "no such mode; `quire list modes` names them");
	s += len;
	int err = parse_org(out, &s, why);

	while (!err && *s == '+') {
		len = until(s + 1, "+");
		err = parse_option(out, s + 1, len, why);
		s += 1 + len;
	}
	if (!err && *s)
		err = bad(why, "write it MODE[/ORG][+option...]");
	if (!err && (out->flags & SCHEME_DISCARD) && out->roots)
		err = bad(why, "+discard keeps no root: it cannot go with +roots=");
	if (!err)
		spell_scheme(out);
	return err;
}
