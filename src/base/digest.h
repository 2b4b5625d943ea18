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
#include "base/wide.h"

static inline uint64_t digest_bytes(const void *p, size_t n)
{
	return XXH3_64bits(p, n);
}

/* A digest of what comes piece by piece; 64-byte aligned. Equal to digest_bytes() of it all. */
typedef XXH3_state_t digest_stream;

static inline void digest_stream_start(digest_stream *s)
{
	XXH3_64bits_reset(s);
}

/* The same by wide vectors (digest_wide.c). */
void digest_stream_add_wide(digest_stream *s, const void *p, size_t n);

static inline void digest_stream_add(digest_stream *s, const void *p, size_t n)
{
	if (host_is_wide())
		digest_stream_add_wide(s, p, n);
	else
		XXH3_64bits_update(s, p, n);
}

static inline uint64_t digest_stream_end(const digest_stream *s)
{
	return XXH3_64bits_digest(s);
}

/* Folds one word into a running digest. */
static inline uint64_t digest_fold(uint64_t digest, uint64_t word)
{
	return hash_2u64(word, digest);
}

#endif
