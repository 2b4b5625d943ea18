/* SPDX-License-Identifier: MIT */
/*
 * The registry of organisations, and what is the same for all of them.
 *
 * QUIRE_PT_ORG puts one pointer per organisation into a section of its own;
 * the linker names its two ends. Archives must be linked whole, else an
 * organisation nobody names is left out: a test counts them.
 */
#include "pt/leaf.h"
#include "pt/pt.h"

#define PAGES_END BIT(64 - PAGE_SHIFT)

extern const struct pt_org *const __start_quire_pt_orgs[];
extern const struct pt_org *const __stop_quire_pt_orgs[];

/* Those that came while the program ran, from plug-ins. */
static const struct pt_org *added[PT_ORGS_ADDED_MAX];
static unsigned nadded;

const struct pt_org *pt_org_at(unsigned i)
{
	size_t n = (size_t)(__stop_quire_pt_orgs - __start_quire_pt_orgs);

	if (i < n)
		return __start_quire_pt_orgs[i];
	return i - n < nadded ? added[i - n] : NULL;
}

/* Is the name exactly these len characters? */
static bool name_is(const char *name, const char *s, size_t len)
{
	size_t i = 0;

	while (i < len && name[i] && name[i] == s[i])
		i++;
	return i == len && !name[i];
}

static bool is_same_name(const char *a, const char *b)
{
	for (; *a && *a == *b; a++)
		b++;
	return *a == *b;
}

const struct pt_org *pt_org_find(const char *name, size_t len)
{
	const struct pt_org *org;

	for (unsigned i = 0; (org = pt_org_at(i)) != NULL; i++)
		if (name_is(org->name, name, len))
			return org;
	return NULL;
}

int pt_org_add(const struct pt_org *org)
{
	const struct pt_org *other;

	for (unsigned i = 0; (other = pt_org_at(i)) != NULL; i++)
		if (is_same_name(other->name, org->name))
			return -EEXIST;
	if (nadded == PT_ORGS_ADDED_MAX)
		return -ENOSPC;
	added[nadded++] = org;
	return 0;
}

/* Up to the next '+' or the end. */
static size_t word_length(const char *s)
{
	size_t n = 0;

	while (s[n] && s[n] != '+')
		n++;
	return n;
}

static int option_index(const struct pt_org *org, const char *s, size_t len)
{
	for (int i = 0; i < PT_OPTIONS_MAX && org->options[i]; i++)
		if (name_is(org->options[i], s, len))
			return i;
	return -EINVAL;
}

int pt_org_parse(const char *spec, const struct pt_org **org, uint32_t *flags)
{
	size_t len = word_length(spec);
	const struct pt_org *found = pt_org_find(spec, len);
	uint32_t f = 0;

	if (!found)
		return -ENOENT;
	for (spec += len; *spec == '+'; spec += len) {
		spec++;
		len = word_length(spec);
		int i = option_index(found, spec, len);
		if (i < 0)
			return i;
		f |= (uint32_t)BIT(i);
	}
	*org = found;
	*flags = f;
	return 0;
}

static uint32_t known_flags(const struct pt_org *org)
{
	uint32_t f = 0;

	for (int i = 0; i < PT_OPTIONS_MAX && org->options[i]; i++)
		f |= (uint32_t)BIT(i);
	return f;
}

static int set_up(struct pt *pt, const struct pt_org *org, uint32_t flags,
		  const struct pt_params *params, struct pt_mem *mem)
{
	if (!params->fmt || (flags & ~known_flags(org)))
		return -EINVAL;
	if (!org->sparse_keys && !params->npages)
		return -EINVAL;
	memset(pt, 0, sizeof(*pt));
	pt->org = org;
	pt->flags = flags;
	pt->params = *params;
	pt->mem = mem;
	pt->orders = gpt_leaf_orders(params->fmt);
	return 0;
}

int pt_create(struct pt *pt, const struct pt_org *org, uint32_t flags,
	      const struct pt_params *params, struct pt_mem *mem)
{
	int rc = set_up(pt, org, flags, params, mem);

	return rc ? rc : org->create(pt);
}

int pt_open(struct pt *pt, const struct pt_org *org, uint32_t flags,
	    const struct pt_params *params, struct pt_mem *mem, uint64_t root)
{
	int rc = set_up(pt, org, flags, params, mem);

	if (rc)
		return rc;
	pt->root = root;
	return org->open(pt);
}

void pt_destroy(struct pt *pt)
{
	pt->org->destroy(pt);
	pt->root = 0;
	pt->entries = 0;
}

static int walk_to_entry(struct pt_key key, const struct walk *w, struct pt_entry *e)
{
	uint64_t within = low_bits(w->order);

	e->key.space = key.space;
	e->key.page = key.page & ~within;
	e->order = w->order;
	e->rights = w->rights;
	e->frame = w->frame - (key.page & within);
	return 0;
}

/* A mapping that grants nothing can only be met by going through them. */
static int find_by_next(struct pt *pt, struct pt_key key, struct pt_entry *e)
{
	struct pt_entry n;
	int rc = pt->org->next(pt, key, &n);

	if (rc)
		return rc;
	if (n.key.page > key.page)
		return -ENOENT;
	*e = n;
	return 0;
}

/*
 * A lookup answers only an access that is allowed. A supervisor without SMEP,
 * SMAP and WP, with MXR, may do nearly anything: one of the three kinds of
 * access gets through unless the mapping grants nothing at all.
 */
int pt_find(struct pt *pt, struct pt_key key, struct pt_entry *e)
{
	struct walk_req req = {
		.va = key.page << PAGE_SHIFT, .space = key.space,
		.user = pt->params.second_stage, .ctl = CTL_MXR | CTL_NXE | CTL_PSE | CTL_PGE,
		.ad = WALK_AD_PEEK, .second_stage = pt->params.second_stage, .start_level = -1,
	};
	struct walk w;

	if (key.page >= PAGES_END)
		return -ENOENT;
	for (int kind = 0; kind < ACC_KINDS; kind++) {
		req.kind = (enum acc_kind)kind;
		pt->org->lookup(pt, &req, &w);
		if (w.status == WALK_OK)
			return walk_to_entry(key, &w, e);
		if (w.status == WALK_VIOLATION)
			return -EAGAIN;
		if (w.why == WALK_WHY_BUS)
			return -EFAULT;
		if (w.why != WALK_WHY_RIGHTS && w.why != WALK_WHY_PRIVILEGE)
			return -ENOENT;
	}
	return find_by_next(pt, key, e);
}

/*
 * In some organisations `next` may have to read the whole table; a short range
 * is asked page by page instead.
 */
enum { ASK_EACH_PAGE = 64 };

static int first_in_range(struct pt *pt, struct pt_key from, uint64_t end, struct pt_entry *e)
{
	int rc = -ENOENT;

	if (end - from.page > ASK_EACH_PAGE) {
		rc = pt->org->next(pt, from, e);
		return rc == 0 && e->key.page >= end ? -ENOENT : rc;
	}
	for (; from.page < end && rc == -ENOENT; from.page++)
		rc = pt_find(pt, from, e);
	return rc;
}

int64_t pt_unmap_range(struct pt *pt, uint32_t space, uint64_t start, uint64_t end)
{
	struct pt_key from = { space, start };
	struct pt_entry e;
	int64_t removed = 0;

	while (from.page < end) {
		int rc = first_in_range(pt, from, end, &e);

		if (rc == -ENOENT)
			break;
		if (!rc)
			rc = pt->org->unmap(pt, e.key, e.order, NULL);
		if (rc)
			return rc;
		removed++;
		from.page = e.key.page + BIT(e.order);
	}
	return removed;
}
