/* SPDX-License-Identifier: MIT */
/* gzip (RFC 1952): members one after another, as gzip and its parallel kin write them. */
#include <string.h>
#include <zlib.h>

#include "trace/input.h"

enum { GZIP_WINDOW = 16 + MAX_WBITS }; /* zlib.h: 16 more asks for gzip's own header and sum */

struct gzip_state {
	z_stream z;
	bool is_between; /* members: another may begin, or zeros fill the file up, or it ends */
};

static int gzip_begin(struct trace_input *in)
{
	struct gzip_state *s = in->state;

	memset(s, 0, sizeof(*s));
	return inflateInit2(&s->z, GZIP_WINDOW) == Z_OK ? 0 : -1;
}

static void gzip_end(struct trace_input *in)
{
	struct gzip_state *s = in->state;

	inflateEnd(&s->z);
}

/* Tapes and disks fill the last block with zeros: gzip ignores them, so they are no damage. */
static bool is_padding(struct trace_input *in)
{
	if (in->raw[in->pos] != 0)
		return false;
	while (in->pos < in->len && in->raw[in->pos] == 0)
		in->pos++;
	return true;
}

static ssize_t gzip_unpack(struct trace_input *in, uint8_t *out, size_t n)
{
	struct gzip_state *s = in->state;
	int rc;

	s->z.next_out = out;
	s->z.avail_out = (uInt)n;
	while (s->z.avail_out) {
		size_t made = n - s->z.avail_out;

		if (in->pos == in->len && !input_fill(in)) {
			if (in->why[0] || s->is_between)
				return in->why[0] && !made ? -1 : (ssize_t)made;
			return input_fail(in, made, "it ends inside its data");
		}
		if (s->is_between) {
			if (is_padding(in))
				continue;
			inflateReset(&s->z);
			s->is_between = false;
		}
		s->z.next_in = in->raw + in->pos;
		s->z.avail_in = (uInt)(in->len - in->pos);
		rc = inflate(&s->z, Z_NO_FLUSH);
		in->pos = in->len - s->z.avail_in;
		if (rc == Z_STREAM_END)
			s->is_between = true;
		else if (rc != Z_OK && rc != Z_BUF_ERROR)
			return input_fail(in, n - s->z.avail_out, "damaged (%s)", s->z.msg ? s->z.msg : zError(rc));
	}
	return (ssize_t)n;
}

const struct input_packing gzip_packing = {
	.name = "gzip", .suffix = ".gz", .magic = { 0x1f, 0x8b }, .magic_len = 2,
	.state_bytes = sizeof(struct gzip_state),
	.begin = gzip_begin, .unpack = gzip_unpack, .end = gzip_end,
};
