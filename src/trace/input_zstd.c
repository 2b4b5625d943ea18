/* SPDX-License-Identifier: MIT */
/* Zstandard (RFC 8878): frames one after another. */
#include <zstd.h>

#include "trace/input.h"

enum { ZSTD_WINDOW_LOG_MAX = 27 }; /* 128 MiB: what zstd takes without --long=31 */

struct zstd_state {
	ZSTD_DStream *z;
	bool is_inside; /* a frame */
};

static int zstd_begin(struct trace_input *in)
{
	struct zstd_state *s = in->state;

	s->z = ZSTD_createDStream();
	s->is_inside = false;
	return s->z && !ZSTD_isError(ZSTD_DCtx_setParameter(s->z, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX)) ? 0 : -1;
}

static void zstd_end(struct trace_input *in)
{
	struct zstd_state *s = in->state;

	ZSTD_freeDStream(s->z);
	s->z = NULL;
}

static ssize_t zstd_unpack(struct trace_input *in, uint8_t *out, size_t n)
{
	struct zstd_state *s = in->state;
	ZSTD_outBuffer made = { .dst = out, .size = n };

	while (made.pos < n) {
		ZSTD_inBuffer from;
		size_t before = made.pos, rc;

		if (in->pos == in->len && !input_fill(in) && in->why[0])
			return made.pos ? (ssize_t)made.pos : -1;
		from = (ZSTD_inBuffer){ .src = in->raw + in->pos, .size = in->len - in->pos };
		if (!from.size && !s->is_inside)
			break;
		rc = ZSTD_decompressStream(s->z, &made, &from);
		in->pos += from.pos;
		if (ZSTD_isError(rc))
			return input_fail(in, made.pos, "damaged, or wants more than 128 MiB (%s)", ZSTD_getErrorName(rc));
		s->is_inside = rc != 0;
		/* At the file's end a frame may still hold back bytes; when none come it is cut short. */
		if (!from.size && made.pos == before)
			return input_fail(in, made.pos, "it ends inside its data");
	}
	return (ssize_t)made.pos;
}

const struct input_packing zstd_packing = {
	.name = "zstd", .suffix = ".zst", .magic = { 0x28, 0xb5, 0x2f, 0xfd }, .magic_len = 4,
	.state_bytes = sizeof(struct zstd_state),
	.begin = zstd_begin, .unpack = zstd_unpack, .end = zstd_end,
};
