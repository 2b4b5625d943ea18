/* SPDX-License-Identifier: MIT */
/*
 * zip (APPNOTE.TXT 6.3, section 4.3): the members of an archive one after
 * another, as if it were one file.
 *
 * Members are found by the headers that stand before them, not by the
 * directory at the archive's end: so a pipe can be read, and an archive that
 * was cut short gives what it has. The directory is then stepped through, and
 * its count of members compared.
 */
#include <string.h>
#include <zlib.h>

#include "trace/input.h"

enum {
	SIG_MEMBER = 0x04034b50, SIG_DIRECTORY = 0x02014b50, SIG_END = 0x06054b50,
	SIG_END64 = 0x06064b50, SIG_END64_PLACE = 0x07064b50, SIG_SIZES = 0x08074b50,
	FLAG_ENCRYPTED = 1 << 0, FLAG_SIZES_FOLLOW = 1 << 3,
	METHOD_STORED = 0, METHOD_DEFLATED = 8,
	EXTRA_ZIP64 = 1, EXTRA_MAX = 1024,
	SIZE_IN_EXTRA = -1, /* as u32: the size stands in the extra field */
};

/* What follows the signature SIG_MEMBER. */
struct zip_member {
	uint16_t version, flags, method, time, date;
	uint32_t crc, packed, unpacked;
	uint16_t name_len, extra_len;
} __attribute__((packed));

struct zip_state {
	z_stream z;
	bool is_inflating;  /* z is set up */
	bool is_inside;     /* a member */
	bool at_end;        /* the directory was read: nothing more follows */
	struct zip_member m;
	uint64_t packed, unpacked; /* sizes the header gives; unless FLAG_SIZES_FOLLOW */
	uint64_t in, out;   /* done so far */
	uint32_t crc;
	uint32_t members;
};

static int zip_begin(struct trace_input *in)
{
	struct zip_state *s = in->state;

	memset(s, 0, sizeof(*s));
	s->is_inflating = inflateInit2(&s->z, -MAX_WBITS) == Z_OK;
	return s->is_inflating ? 0 : -1;
}

static void zip_end(struct trace_input *in)
{
	struct zip_state *s = in->state;

	if (s->is_inflating)
		inflateEnd(&s->z);
}

/* -1, with why set: the file ends, or cannot be read. */
static int ends(struct trace_input *in, const char *where)
{
	return in->why[0] ? -1 : (int)input_fail(in, 0, "it ends inside %s", where);
}

/* Sizes of 64 bits (4.5.3): there where the header's own are all ones, unpacked first. */
static void take_zip64(struct zip_state *s, const uint8_t *extra, size_t n)
{
	uint16_t id, len;

	for (; n >= 4; extra += 4 + len, n -= 4u + len) {
		const uint8_t *p = extra + 4;

		memcpy(&id, extra, sizeof(id));
		memcpy(&len, extra + 2, sizeof(len));
		if (len > n - 4)
			return;
		if (id != EXTRA_ZIP64)
			continue;
		if (s->m.unpacked == (uint32_t)SIZE_IN_EXTRA && len >= 8) {
			memcpy(&s->unpacked, p, 8);
			p += 8;
			len -= 8;
		}
		if (s->m.packed == (uint32_t)SIZE_IN_EXTRA && len >= 8)
			memcpy(&s->packed, p, 8);
		return;
	}
}

static int begin_member(struct trace_input *in, struct zip_state *s)
{
	uint8_t extra[EXTRA_MAX];

	if (!input_take(in, &s->m, sizeof(s->m)))
		return ends(in, "a member's header");
	if (s->m.flags & FLAG_ENCRYPTED)
		return (int)input_fail(in, 0, "the member is encrypted; unpack it with unzip");
	if (s->m.method != METHOD_STORED && s->m.method != METHOD_DEFLATED)
		return (int)input_fail(in, 0, "the member is packed by method %u, which is not read here; unpack it with unzip",
				       s->m.method);
	if (s->m.method == METHOD_STORED && s->m.flags & FLAG_SIZES_FOLLOW)
		return (int)input_fail(in, 0, "the member's size cannot be known; unpack it with unzip");
	if (s->m.extra_len > EXTRA_MAX)
		return (int)input_fail(in, 0, "damaged (a header longer than any)");
	if (!input_take(in, NULL, s->m.name_len) || !input_take(in, extra, s->m.extra_len))
		return ends(in, "a member's header");
	s->packed = s->m.packed;
	s->unpacked = s->m.unpacked;
	take_zip64(s, extra, s->m.extra_len);
	s->in = s->out = 0;
	s->crc = (uint32_t)crc32(0, NULL, 0);
	inflateReset(&s->z);
	s->is_inside = true;
	s->members++;
	return 0;
}

/*
 * Sizes and sum after the data (4.3.9): with or without a signature, sizes of
 * four or eight bytes, and nothing says which. The sum must be ours; then the
 * reading is taken in which the sizes are ours too.
 */
static int take_trailer(struct trace_input *in, struct zip_state *s)
{
	uint32_t word[2];

	if (!input_take(in, word, 4))
		return ends(in, "a member's sum");
	if (word[0] == SIG_SIZES && s->crc != SIG_SIZES && !input_take(in, word, 4))
		return ends(in, "a member's sum");
	if (!input_take(in, word + 1, 4))
		return ends(in, "a member's sum");
	s->m.crc = word[0];
	s->packed = word[1];
	if (!input_take(in, word, 4))
		return ends(in, "a member's sum");
	/* Four bytes each: this is the size. Eight each: it is the upper half of the first. */
	s->unpacked = word[0];
	if (word[0] == (uint32_t)s->out)
		return 0;
	s->packed |= (uint64_t)word[0] << 32;
	if (!input_take(in, &s->unpacked, 8))
		return ends(in, "a member's sum");
	return 0;
}

static int end_member(struct trace_input *in, struct zip_state *s)
{
	s->is_inside = false;
	if (s->m.flags & FLAG_SIZES_FOLLOW && take_trailer(in, s))
		return -1;
	if (s->crc != s->m.crc)
		return (int)input_fail(in, 0, "member %u is damaged (its sum is another)", s->members);
	if (s->in != s->packed || s->out != s->unpacked)
		return (int)input_fail(in, 0, "member %u is damaged (its size is another)", s->members);
	return 0;
}

/* Lengths of what varies behind the directory's fixed parts. */
static int step_directory(struct trace_input *in, struct zip_state *s)
{
	uint32_t listed = 0;
	uint8_t b[42];
	uint16_t n[3];
	uint64_t len;

	for (uint32_t sig = SIG_DIRECTORY;;) {
		if (sig == SIG_DIRECTORY) {
			if (!input_take(in, b, 42))
				return ends(in, "its directory");
			memcpy(n, b + 24, sizeof(n));
			listed++;
			if (!input_take(in, NULL, (size_t)n[0] + n[1] + n[2]))
				return ends(in, "its directory");
		} else if (sig == SIG_END64) {
			if (!input_take(in, &len, 8) || len > EXTRA_MAX || !input_take(in, NULL, len))
				return ends(in, "its directory");
		} else if (sig == SIG_END64_PLACE) {
			if (!input_take(in, NULL, 16))
				return ends(in, "its directory");
		} else if (sig == SIG_END) {
			if (!input_take(in, b, 18))
				return ends(in, "its directory");
			memcpy(n, b + 16, sizeof(n[0]));
			if (!input_take(in, NULL, n[0]))
				return ends(in, "its directory");
			break;
		} else {
			return (int)input_fail(in, 0, "damaged (not a part of its directory)");
		}
		if (!input_take(in, &sig, 4))
			return ends(in, "its directory");
	}
	if (listed != s->members)
		return (int)input_fail(in, 0, "it lists %u members, but %u stand before the list", listed, s->members);
	s->at_end = true;
	return 0;
}

static int next_member(struct trace_input *in, struct zip_state *s)
{
	uint32_t sig;

	if (!input_take(in, &sig, 4))
		return ends(in, "the space between members");
	if (sig == SIG_MEMBER)
		return begin_member(in, s);
	if (sig == SIG_DIRECTORY)
		return step_directory(in, s);
	return (int)input_fail(in, 0, "damaged (neither a member nor the directory)");
}

/* Copies or inflates into out; sets *ended at the member's end. -1 with why. */
static ssize_t unpack_some(struct trace_input *in, struct zip_state *s, uint8_t *out, size_t n, bool *ended)
{
	size_t before = in->pos, made;
	int rc;

	if (s->m.method == METHOD_STORED) {
		made = MIN(n, in->len - in->pos);
		made = (size_t)MIN((uint64_t)made, s->packed - s->in);
		memcpy(out, in->raw + in->pos, made);
		in->pos += made;
		*ended = s->in + made == s->packed;
	} else {
		s->z.next_in = in->raw + in->pos;
		s->z.avail_in = (uInt)(in->len - in->pos);
		s->z.next_out = out;
		s->z.avail_out = (uInt)n;
		rc = inflate(&s->z, Z_NO_FLUSH);
		in->pos = in->len - s->z.avail_in;
		made = n - s->z.avail_out;
		*ended = rc == Z_STREAM_END;
		if (rc != Z_STREAM_END && rc != Z_OK && rc != Z_BUF_ERROR)
			return input_fail(in, made, "member %u is damaged (%s)", s->members, s->z.msg ? s->z.msg : zError(rc));
	}
	s->in += in->pos - before;
	s->out += made;
	s->crc = (uint32_t)crc32(s->crc, out, (uInt)made);
	return (ssize_t)made;
}

static ssize_t zip_unpack(struct trace_input *in, uint8_t *out, size_t n)
{
	struct zip_state *s = in->state;
	size_t made = 0;

	while (made < n && !s->at_end && !in->why[0]) {
		bool ended = false;
		ssize_t some;

		if (!s->is_inside) {
			if (next_member(in, s))
				break;
			ended = s->is_inside && s->m.method == METHOD_STORED && s->packed == 0;
		} else {
			if (in->pos == in->len && !input_fill(in)) {
				ends(in, "a member");
				break;
			}
			some = unpack_some(in, s, out + made, n - made, &ended);
			made += some > 0 ? (size_t)some : 0;
		}
		if (ended && !in->why[0])
			end_member(in, s);
	}
	return made || !in->why[0] ? (ssize_t)made : -1;
}

const struct input_packing zip_packing = {
	.name = "zip", .suffix = ".zip", .magic = { 'P', 'K', 3, 4 }, .magic_len = 4,
	.state_bytes = sizeof(struct zip_state),
	.begin = zip_begin, .unpack = zip_unpack, .end = zip_end,
};
