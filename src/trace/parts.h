/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TRACE_PARTS_H
#define QUIRE_TRACE_PARTS_H

#include <limits.h>
#include <stdbool.h>

/* A program's path by PATH (as execvp); an empty element is the current directory. */
bool find_in_path(const char *name, char out[PATH_MAX]);
/* A part of Quire that QEMU uses: $env names it, else it is in plugin/ beside the running program or beside its folder, else installed. */
bool find_part(const char *env, const char *name, char out[PATH_MAX]);

#endif
