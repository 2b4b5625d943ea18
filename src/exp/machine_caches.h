/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_EXP_MACHINE_CACHES_H
#define QUIRE_EXP_MACHINE_CACHES_H

#include "exp/yaml_doc.h"

/* "caches:" of a machine file, into a struct cache_config. */
int machine_set_caches(struct yaml_doc *doc, const yaml_node_t *node, const struct yaml_field *f, void *to);

#endif
