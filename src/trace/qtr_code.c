/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "trace/qtr_code.h"
#include "trace/source.h"

enum { ITEM_MAX = 96, LEVEL = 1 };

struct qtr_encoder {
	uint32_t nrefs, nevents;
	size_t n, room;
	uint64_t last[3];
	uint8_t *raw, *body;
	ZSTD_CCtx *zstd;
};

struct qtr_decoder {
	uint32_t refs_left, events_left;
	uint64_t last[3];
	uint8_t *raw;
	const uint8_t *p, *end;
	size_t room;
	ZSTD_DCtx *zstd;
};

struct qtr_encoder *qtr_encoder_new(void)
{
	struct qtr_encoder *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->room = (size_t)(QTR_BLOCK_REFS + TRACE_BLOCK_REFS) * 10 + (size_t)QTR_BLOCK_EVENTS_MAX * ITEM_MAX;
	e->raw = malloc(e->room);
	e->body = malloc(16 + ZSTD_compressBound(e->room));
	e->zstd = ZSTD_createCCtx();
	if (e->raw && e->body && e->zstd)
		return e;
	qtr_encoder_free(e);
	return NULL;
}

void qtr_encoder_free(struct qtr_encoder *e)
{
	if (!e)
		return;
	free(e->raw);
	free(e->body);
	ZSTD_freeCCtx(e->zstd);
	free(e);
}

bool qtr_encoder_has_room(const struct qtr_encoder *e)
{
	return e->nevents + TRACE_BLOCK_EVENTS <= QTR_BLOCK_EVENTS_MAX;
}

uint32_t qtr_encoder_refs(const struct qtr_encoder *e) { return e->nrefs; }
uint32_t qtr_encoder_events(const struct qtr_encoder *e) { return e->nevents; }

static uint8_t *put_varint(uint8_t *p, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		*p++ = (uint8_t)(v | 0x80);
	*p++ = (uint8_t)v;
	return p;
}

static uint8_t *put_event(uint8_t *p, const struct trace_event *ev)
{
	*p++ = (uint8_t)(ev->kind << 2 | REF_EVENT);
	p = put_varint(p, ev->prot);
	p = put_varint(p, ev->flags);
	p = put_varint(p, ev->pid);
	p = put_varint(p, ev->child);
	p = put_varint(p, ev->tid);
	p = put_varint(p, ev->addr);
	p = put_varint(p, ev->len);
	p = put_varint(p, ev->addr2);
	return put_varint(p, ev->len2);
}

void qtr_encode(struct qtr_encoder *e, const ref_t *items, uint32_t n, const struct trace_event *events)
{
	uint8_t *p = e->raw + e->n;

	for (uint32_t i = 0; i < n; i++) {
		ref_t r = items[i];

		if (ref_is_event(r)) {
			p = put_event(p, &events[ref_event(r)]);
			e->nevents++;
			continue;
		}
		unsigned kind = ref_kind(r);
		uint64_t d = ref_gva(r) - e->last[kind], z = d << 1 ^ (uint64_t)((int64_t)d >> 63);
		unsigned bytes = (63u - (unsigned)__builtin_clzll(z << 1 | 1) + 7) >> 3;

		bytes = MIN(bytes, 7u);
		p[0] = (uint8_t)(bytes << 5 | ((unsigned)r & 0x1c) | kind);
		memcpy(p + 1, &z, sizeof(z));
		e->last[kind] = ref_gva(r);
		p += 1 + bytes + (bytes == 7);
		e->nrefs++;
	}
	e->n = (size_t)(p - e->raw);
}

uint8_t *qtr_encode_finish(struct qtr_encoder *e, size_t *len)
{
	size_t n = ZSTD_compressCCtx(e->zstd, e->body + 16, ZSTD_compressBound(e->room), e->raw, e->n, LEVEL);
	uint64_t raw = e->n;

	e->n = 0;
	e->nrefs = e->nevents = 0;
	memset(e->last, 0, sizeof(e->last));
	if (ZSTD_isError(n))
		return NULL;
	memcpy(e->body + 8, &raw, sizeof(raw));
	*len = 16 + n;
	return e->body;
}

struct qtr_decoder *qtr_decoder_new(void)
{
	struct qtr_decoder *d = calloc(1, sizeof(*d));

	if (d && !(d->zstd = ZSTD_createDCtx())) {
		free(d);
		return NULL;
	}
	return d;
}

void qtr_decoder_free(struct qtr_decoder *d)
{
	if (!d)
		return;
	ZSTD_freeDCtx(d->zstd);
	free(d->raw);
	free(d);
}

bool qtr_decode_begin(struct qtr_decoder *d, const struct qtr_head *h, const uint8_t *body, size_t len)
{
	uint64_t raw;

	if (len < sizeof(raw))
		return false;
	memcpy(&raw, body, sizeof(raw));
	if (raw > QTR_BODY_MAX)
		return false;
	if (d->room < raw + 16) {
		free(d->raw);
		d->room = raw + 16;
		d->raw = malloc(d->room);
		if (!d->raw) {
			d->room = 0;
			return false;
		}
	}
	if (ZSTD_decompressDCtx(d->zstd, d->raw, raw, body + 8, len - 8) != raw)
		return false;
	memset(d->raw + raw, 0, 16);
	d->p = d->raw;
	d->end = d->raw + raw;
	d->refs_left = h->nrefs;
	d->events_left = h->nevents;
	memset(d->last, 0, sizeof(d->last));
	return true;
}

bool qtr_decode_more(const struct qtr_decoder *d)
{
	return d->refs_left + d->events_left > 0;
}

static bool get_varint(struct qtr_decoder *d, uint64_t max, uint64_t *v)
{
	*v = 0;
	for (unsigned shift = 0; shift < 64 && d->p < d->end; shift += 7) {
		uint8_t byte = *d->p++;

		*v |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return *v <= max;
	}
	return false;
}

static bool get_event(struct qtr_decoder *d, struct trace_block *b)
{
	static const uint64_t max[9] = {UINT8_MAX, UINT16_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX,
					UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};
	struct trace_event ev = {.kind = *d->p++ >> 2};
	uint64_t f[9];

	for (unsigned i = 0; i < ARRAY_SIZE(f); i++)
		if (!get_varint(d, max[i], &f[i]))
			return false;
	ev.prot = (uint8_t)f[0];
	ev.flags = (uint16_t)f[1];
	ev.pid = (uint32_t)f[2];
	ev.child = (uint32_t)f[3];
	ev.tid = (uint32_t)f[4];
	ev.addr = f[5];
	ev.len = f[6];
	ev.addr2 = f[7];
	ev.len2 = f[8];
	block_put_event(b, &ev);
	return ev.kind < EV_KINDS;
}

bool qtr_decode(struct qtr_decoder *d, struct trace_block *b, uint32_t max_refs)
{
	uint32_t stop = d->refs_left > max_refs ? d->refs_left - max_refs : 0;

	static const uint64_t mask[8] = {0, 0xff, 0xffff, 0xffffff, 0xffffffff, 0xffffffffff,
					 0xffffffffffff, UINT64_MAX};

	while (b->nrefs < TRACE_BLOCK_REFS && b->nevents < TRACE_BLOCK_EVENTS && qtr_decode_more(d) &&
	       (!stop || d->refs_left > stop)) {
		if (d->p >= d->end)
			return false;
		unsigned control = *d->p, kind = control & REF_KIND, bytes = control >> 5;
		uint64_t z;

		if (kind == REF_EVENT) {
			if (!d->events_left-- || !get_event(d, b))
				return false;
			continue;
		}
		memcpy(&z, d->p + 1, sizeof(z));
		z &= mask[bytes];
		d->last[kind] += z >> 1 ^ -(z & 1);
		d->p += 1 + bytes + (bytes == 7);
		if (!d->refs_left-- || d->p > d->end || !ref_gva_ok(d->last[kind]))
			return false;
		block_put_ref(b, d->last[kind], (enum acc_kind)kind, 1u << (control >> REF_SIZE_SHIFT & 7));
	}
	return qtr_decode_more(d) || d->p == d->end;
}
