/* SPDX-License-Identifier: MIT */
/* The built-in formats, one file of data a family; listed in format.c. */
#ifndef QUIRE_GPT_BUILTIN_H
#define QUIRE_GPT_BUILTIN_H

#include "gpt/format.h"

extern const struct gpt_format gpt_x86_32, gpt_x86_pae, gpt_x86_pae_mem, gpt_x86_64, gpt_x86_64_5l;
extern const struct gpt_format gpt_sv39, gpt_sv48, gpt_sv57;
extern const struct gpt_format gpt_classroom;

#endif
