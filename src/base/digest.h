/* SPDX-License-Identifier: MIT */
/*
 * Digests of bulk data: XXH3, inlined from its header, nothing linked.
 * A digest is a fold: the order of what goes in matters.
 */
#ifndef QUIRE_BASE_DIGEST_H
#define QUIRE_BASE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#define XXH_NO_STDLIB
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/hash.h"

static inline uint64_t digest_bytes(const void *p, size_t n)
{
	return XXH3_64bits(p, n);
}

/* Folds one word into a running digest. */
static inline uint64_t digest_fold(uint64_t digest, uint64_t word)
{
	return hash_2u64(word, digest);
}

#endif
