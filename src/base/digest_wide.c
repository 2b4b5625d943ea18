/* SPDX-License-Identifier: MIT */
/* Compiled for wide vectors. */
#include "base/digest.h"

void digest_stream_add_wide(digest_stream *s, const void *p, size_t n)
{
	XXH3_64bits_update(s, p, n);
}
