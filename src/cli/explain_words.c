/* SPDX-License-Identifier: MIT */
/* Entries in words, and what would have cached them. */
#include <string.h>

#include "cli/explain.h"
#include "pt/leaf.h"

const char *explain_table(const struct explanation *x, const struct explain_step *s)
{
	const char *table = s->ref.note.table ? s->ref.note.table : "table";

	/* The format walker knows one stage from the other, not whose table the first is. */
	if (strcmp(table, "guest") == 0 && !s->guest_memory)
		return "shadow";
	return table;
}

static bool is_table(const struct explanation *x, const struct explain_step *s, const char *name)
{
	return strcmp(explain_table(x, s), name) == 0;
}

/* A shadow table has the second stage's format if that covers the guest's addresses. */
static const struct gpt_format *format_of(const struct explanation *x, const struct explain_step *s)
{
	const struct run_config *c = &x->options->config;

	if (s->guest_memory)
		return c->guest_fmt;
	if (is_table(x, s, "shadow") && gpt_va_limit(c->host_fmt, false) < gpt_va_limit(c->guest_fmt, false))
		return c->guest_fmt;
	return c->host_fmt;
}

static const struct pt_org *org_of(const struct explanation *x, const struct explain_step *s)
{
	return s->guest_memory ? x->vcpu->paging.org : mmu_scheme(x->vcpu->mmu)->org;
}

static const char *rights_words(uint8_t rights, char *buf)
{
	snprintf(buf, EXPLAIN_TEXT, "%s%s%s, %s%s%s%s", rights & RIGHT_R ? "r" : "-", rights & RIGHT_W ? "w" : "-",
		 rights & RIGHT_X ? "x" : "-", rights & RIGHT_U ? "user" : "supervisor",
		 rights & RIGHT_A ? ", accessed" : "", rights & RIGHT_D ? ", dirty" : "",
		 rights & RIGHT_G ? ", global" : "");
	return buf;
}

static const char *page_words(uint64_t frame, unsigned order, uint8_t rights, const char *space, char *buf)
{
	char r[EXPLAIN_TEXT], size[HUMAN_MAX];

	snprintf(buf, EXPLAIN_TEXT, "page of %s at %s 0x%llx: %.60s", human_bytes(size, PAGE_SIZE << order), space,
		 (unsigned long long)(frame << PAGE_SHIFT), rights_words(rights, r));
	return buf;
}

/* An entry of a tree in one of the formats. */
static const char *format_words(const struct gpt_format *fmt, const struct explain_step *s, const char *space, char *buf)
{
	unsigned level = s->ref.note.level;
	uint64_t pte = s->ref.value & low_bits(8u * fmt->entry_size);

	/* Agile: not present, but it leads on. */
	if (level < fmt->levels && !gpt_is_present(fmt, pte) && !s->guest_memory && gpt_frame(fmt, pte))
		snprintf(buf, EXPLAIN_TEXT, "switch: the guest's own table at %s 0x%llx", space,
			 (unsigned long long)(gpt_frame(fmt, pte) << PAGE_SHIFT));
	else if (level >= fmt->levels || !gpt_is_present(fmt, pte))
		snprintf(buf, EXPLAIN_TEXT, "not present");
	else if (gpt_is_leaf(fmt, level, pte))
		return page_words(gpt_frame(fmt, pte), gpt_level_order(fmt, level), gpt_rights(fmt, level, pte), space, buf);
	else
		snprintf(buf, EXPLAIN_TEXT, "level-%u table at %s 0x%llx", level - 1, space,
			 (unsigned long long)(gpt_frame(fmt, pte) << PAGE_SHIFT));
	return buf;
}

const char *explain_meaning(const struct explanation *x, const struct explain_step *s, char *buf)
{
	const struct pt_org *org = org_of(x, s);
	/* A guest's entries name its own memory, unless it is paravirtualised; the p2m's and a shadow's the machine's. */
	const char *space = s->guest_memory && !vcpu_is_paravirt(x->vcpu) ? "gpa" : "hpa";
	bool radix = is_table(x, s, "shadow") || (org && org->hierarchical) || (!org && !s->guest_memory);

	if (s->ref.repeat > 1)
		snprintf(buf, EXPLAIN_TEXT, "%llu entries compared in frame order", (unsigned long long)s->ref.repeat);
	else if (is_table(x, s, "anchor"))
		snprintf(buf, EXPLAIN_TEXT, s->ref.value ? "chain begins at 0x%llx" : "no chain: nothing here",
			 (unsigned long long)s->ref.value);
	else if (is_table(x, s, "chain") || is_table(x, s, "alias") || is_table(x, s, "frames"))
		snprintf(buf, EXPLAIN_TEXT, s->ref.value ? "entry of page 0x%llx" : "entry not in use",
			 (unsigned long long)(s->ref.value >> PAGE_SHIFT));
	else if (is_table(x, s, "cache") || is_table(x, s, "global cache"))
		snprintf(buf, EXPLAIN_TEXT, "a group of four entries, compared at once");
	else if (radix)
		return format_words(format_of(x, s), s, space, buf);
	else if (!is_valid_leaf(s->ref.value))
		snprintf(buf, EXPLAIN_TEXT, "not present");
	else
		return page_words(leaf_frame(s->ref.value), leaf_order(s->ref.value), leaf_rights(s->ref.value), space, buf);
	return buf;
}

static bool has_tlb(const struct tlb_config *t)
{
	for (int i = 0; i < TLB_CLASSES; i++)
		if (t->l1d[i].sets || t->l2[i].sets)
			return true;
	return false;
}

static const char *walk_cache(const struct tlb_array_config *levels, const char *name, unsigned level, char *buf)
{
	/* A load at level k finds the table of level k-1: the cache of those makes it needless. */
	for (int k = (int)level - 1; k >= 0; k--)
		if (k < 4 && levels[k].sets) {
			snprintf(buf, EXPLAIN_TEXT, "%swalk cache, level %d", name, k);
			return buf;
		}
	return NULL;
}

const char *explain_cached_by(const struct explanation *x, unsigned i, char *buf)
{
	const struct explain_step *s = &x->step[i];
	const struct tlb_config *t = x->options->config.tlb;
	const struct pt_org *org = org_of(x, s);
	bool second = !s->guest_memory && !is_table(x, s, "shadow") && org;
	bool tree = is_table(x, s, "shadow") || (org && org->hierarchical);
	const char *by = NULL;

	if (second) {
		if (tree)
			by = walk_cache(t->host_walk, "second-stage ", s->ref.note.level, buf);
		if (!by && t->nested.sets)
			by = "nested TLB";
	} else if (tree) {
		by = walk_cache(t->walk, "", s->ref.note.level, buf);
	}
	if (!by && has_tlb(t))
		by = "TLB";
	return by;
}

const char *explain_outcome(const struct explanation *x)
{
	switch (x->mmu.status) {
	case ACCESS_OK:
		return "mapped";
	case ACCESS_FAULT:
		return "true-fault";
	case ACCESS_NOMEM:
		return "no-memory";
	case ACCESS_CRASH:
		break;
	}
	return "stopped";
}
