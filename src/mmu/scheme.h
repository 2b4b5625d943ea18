/* SPDX-License-Identifier: MIT */
/* "nested/inverted+linear", "shadow+lazy": MODE[/ORG][+option…]. */
#ifndef QUIRE_MMU_SCHEME_H
#define QUIRE_MMU_SCHEME_H

#include "pt/pt.h"

enum { SCHEME_NAME_MAX = 64 };

struct mode_ops;

enum scheme_flag {
	SCHEME_LAZY = 1 << 0,    /* shadow+lazy */
	SCHEME_DISCARD = 1 << 1, /* shadow+discard */
};

struct scheme {
	char name[SCHEME_NAME_MAX]; /* as results spell it */
	const struct mode_ops *mode;
	const struct pt_org *org; /* NULL where the mode takes none */
	uint32_t org_flags;
	uint32_t flags; /* enum scheme_flag */
	uint32_t roots; /* shadow+roots=N; 0: as many as fit */
	uint32_t groups; /* inverted-shadow+groups=N, of its table; 0: by the size of the VM */
};

/* 0, or -EINVAL with *why (a constant sentence). */
int scheme_parse(const char *s, struct scheme *out, const char **why);
/* The i-th scheme that `--schemes all` means, in design order; NULL past the end. */
const char *scheme_name_at(unsigned i);
/* For `quire list modes`: i-th mode's name and one line about it; NULL past the end. */
const char *mode_name_at(unsigned i, const char **summary);
/*
 * One more mode while the program runs (a plug-in's), before any thread looks
 * names up; mode stays. -EEXIST: the name is taken; -ENOSPC.
 */
enum { MODES_ADDED_MAX = 16 };
int mode_add(const struct mode_ops *mode);

#endif
