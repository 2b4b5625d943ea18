/* SPDX-License-Identifier: MIT */
/* xz: streams one after another, with whatever check each carries. */
#include <lzma.h>

#include "trace/input.h"

/* xz -9 wants 65 MiB; a file that wants more than this was made to hurt, or on a very large machine. */
#define XZ_MEMORY_MAX (UINT64_C(256) << 20)

static int xz_begin(struct trace_input *in)
{
	lzma_stream *s = in->state;

	*s = (lzma_stream)LZMA_STREAM_INIT;
	return lzma_stream_decoder(s, XZ_MEMORY_MAX, LZMA_CONCATENATED) == LZMA_OK ? 0 : -1;
}

static void xz_end(struct trace_input *in)
{
	lzma_end(in->state);
}

static const char *meaning(lzma_ret rc)
{
	switch (rc) {
	case LZMA_BUF_ERROR:
		return "it ends inside its data";
	case LZMA_FORMAT_ERROR:
		return "damaged (what follows is no xz data)";
	case LZMA_OPTIONS_ERROR:
		return "it uses features this library does not know; unpack it with xz -d";
	case LZMA_MEMLIMIT_ERROR:
		return "unpacking it takes more than 256 MiB; unpack it with xz -d";
	case LZMA_MEM_ERROR:
		return "out of memory";
	default:
		return "damaged (its bytes have changed since they were written)";
	}
}

static ssize_t xz_unpack(struct trace_input *in, uint8_t *out, size_t n)
{
	lzma_stream *s = in->state;
	lzma_ret rc = LZMA_OK;

	s->next_out = out;
	s->avail_out = n;
	while (s->avail_out && rc == LZMA_OK) {
		bool at_end = in->pos == in->len && !input_fill(in);

		if (in->why[0])
			return n > s->avail_out ? (ssize_t)(n - s->avail_out) : -1;
		s->next_in = in->raw + in->pos;
		s->avail_in = in->len - in->pos;
		rc = lzma_code(s, at_end ? LZMA_FINISH : LZMA_RUN);
		in->pos = in->len - s->avail_in;
	}
	if (rc != LZMA_OK && rc != LZMA_STREAM_END)
		return input_fail(in, n - s->avail_out, "%s", meaning(rc));
	return (ssize_t)(n - s->avail_out);
}

const struct input_packing xz_packing = {
	.name = "xz", .suffix = ".xz", .magic = { 0xfd, '7', 'z', 'X', 'Z', 0 }, .magic_len = 6,
	.state_bytes = sizeof(lzma_stream),
	.begin = xz_begin, .unpack = xz_unpack, .end = xz_end,
};
