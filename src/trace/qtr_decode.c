/* SPDX-License-Identifier: MIT */
/*
 * Two passes over a few thousand references at a time. The first goes through
 * runs: it writes their fixed fetches, and for each other reference its slot
 * and its place, eight at a time whether the run has them or not. The second
 * turns those into references, one like the other. Neither branches on what
 * the data are. What a forged body could make them read past its columns is
 * slack; the checks at the end of a pass find it.
 */
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/wide.h"
#include "trace/qtr_code.h"
#include "trace/source.h"

enum {
	CHUNK = 4096, /* references in a pass */
	STEP = 8,     /* written at once */
	SLOT_BITS = 20, /* of an item of a pass; its place stands above */
	SLACK = CHUNK * 16 + 64, /* what a pass may read past its columns: a length is at most 15 */
};

/* STEP items at once, wherever they stand. */
typedef uint32_t item_step __attribute__((vector_size(STEP * sizeof(uint32_t)), aligned(4), may_alias));

struct slot {
	uint64_t last;
	uint8_t bits; /* of a reference: kind and size */
	uint8_t size_less_1;
};
static_assert(QTR_BLOCK_REFS_MAX <= 1 << SLOT_BITS && CHUNK <= 1 << (32 - SLOT_BITS), "a slot and a place in one word");

struct template {
	uint32_t first;   /* slot of its first reference that is no fixed fetch */
	uint16_t nrefs;
	uint16_t nfetch;  /* of those: 1 if it begins with a fixed fetch */
	ref_t fetch;
};

struct qtr_decoder {
	uint32_t refs_left, events_left;
	uint32_t nruns, ntemplates, run; /* run: the one under way */
	uint32_t run_done;               /* references of it that were handed out */
	uint32_t event_run;              /* the next event stands before this run */
	uint32_t nlengths, length;       /* there are; the next to be used */
	struct {
		uint8_t *bytes;
		size_t n, room;
	} column[QTR_COLUMNS];
	const uint8_t *event, *difference;
	struct template *templates;
	struct slot *slots;
	size_t slots_room;
	uint32_t items[CHUNK + QTR_RUN_MAX + STEP]; /* of a pass: slot, and place << SLOT_BITS */
	uint8_t *lengths; /* a byte each */
	size_t lengths_room;
	bool wide;        /* this processor takes the wide form of the passes */
	ZSTD_DCtx *zstd;
};

struct qtr_decoder *qtr_decoder_new(void)
{
	struct qtr_decoder *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->wide = host_is_wide();
	d->templates = malloc(QTR_TEMPLATES_MAX * sizeof(*d->templates));
	d->zstd = ZSTD_createDCtx();
	if (d->templates && d->zstd)
		return d;
	qtr_decoder_free(d);
	return NULL;
}

void qtr_decoder_free(struct qtr_decoder *d)
{
	if (!d)
		return;
	for (unsigned i = 0; i < QTR_COLUMNS; i++)
		free(d->column[i].bytes);
	free(d->templates);
	free(d->slots);
	free(d->lengths);
	ZSTD_freeDCtx(d->zstd);
	free(d);
}

static bool read_column(struct qtr_decoder *d, unsigned i, const uint8_t *p, uint32_t stored, uint32_t raw)
{
	size_t room = (size_t)raw + SLACK;

	if (raw > QTR_BODY_MAX)
		return false;
	if (d->column[i].room < room) {
		free(d->column[i].bytes);
		d->column[i].bytes = malloc(room);
		d->column[i].room = d->column[i].bytes ? room : 0;
		if (!d->column[i].bytes)
			return false;
	}
	d->column[i].n = raw;
	memset(d->column[i].bytes + raw, 0, SLACK);
	if (stored == raw) {
		if (raw)
			memcpy(d->column[i].bytes, p, raw);
		return true;
	}
	return ZSTD_decompressDCtx(d->zstd, d->column[i].bytes, raw, p, stored) == raw;
}

static bool get_varint(const uint8_t **p, const uint8_t *end, uint64_t max, uint64_t *v)
{
	*v = 0;
	for (unsigned shift = 0; shift < 64 && *p < end; shift += 7) {
		uint8_t byte = *(*p)++;

		*v |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return *v <= max;
	}
	return false;
}

static uint64_t unzigzag(uint64_t z)
{
	return z >> 1 ^ -(z & 1);
}

/* One reference of a template: its bits and its address. */
static bool read_slot(const uint8_t **p, const uint8_t *end, uint64_t *from, uint8_t *bits)
{
	uint64_t z;

	if (*p >= end)
		return false;
	*bits = *(*p)++;
	if ((*bits & REF_KIND) == REF_EVENT || *bits >= REF_SPECIAL || !get_varint(p, end, UINT64_MAX, &z))
		return false;
	*from += unzigzag(z);
	return ref_gva_ok(*from);
}

static bool read_template(struct qtr_decoder *d, const uint8_t **p, const uint8_t *end, uint64_t from[2],
			  struct template *t)
{
	uint32_t slot = t->first;
	uint8_t bits;

	for (uint32_t j = 0; j < t->nrefs; j++) {
		bool is_fetch = j < t->nfetch;

		if (!read_slot(p, end, &from[is_fetch], &bits))
			return false;
		if (is_fetch)
			t->fetch = make_ref(from[1], (enum acc_kind)(bits & REF_KIND), 1u << (bits >> REF_SIZE_SHIFT));
		else
			d->slots[slot++] = (struct slot){.last = from[0], .bits = bits,
							 .size_less_1 = (uint8_t)((1u << (bits >> REF_SIZE_SHIFT)) - 1)};
	}
	return true;
}

static bool read_templates(struct qtr_decoder *d, uint32_t nslots)
{
	const uint8_t *p = d->column[QTR_TEMPLATES].bytes, *end = p + d->column[QTR_TEMPLATES].n;
	uint64_t from[2] = {0}; /* where the last reference was; where the last fixed fetch was */
	uint32_t slot = 0;

	for (uint32_t i = 0; i < d->ntemplates; i++) {
		struct template *t = &d->templates[i];

		if (p >= end)
			return false;
		*t = (struct template){.first = slot, .nrefs = *p & (QTR_TEMPLATE_FETCH - 1), .nfetch = *p >> 7};
		p++;
		if (!t->nrefs || t->nrefs > QTR_RUN_MAX || t->nrefs > nslots)
			return false;
		nslots -= t->nrefs;
		slot += t->nrefs - t->nfetch;
		if (!read_template(d, &p, end, from, t))
			return false;
	}
	return p == end && !nslots;
}

/* Where the next event stands. */
static bool read_event_run(struct qtr_decoder *d)
{
	uint64_t gap;

	if (!d->events_left) {
		d->event_run = UINT32_MAX;
		return d->event == d->column[QTR_EVENTS].bytes + d->column[QTR_EVENTS].n;
	}
	if (!get_varint(&d->event, d->column[QTR_EVENTS].bytes + d->column[QTR_EVENTS].n, d->nruns - d->event_run, &gap))
		return false;
	d->event_run += (uint32_t)gap;
	return true;
}

static bool room_for_slots(struct qtr_decoder *d, size_t n)
{
	if (d->slots_room >= n)
		return true;
	free(d->slots);
	d->slots = malloc(n * sizeof(*d->slots));
	d->slots_room = d->slots ? n : 0;
	return d->slots;
}

static bool unpack_lengths(struct qtr_decoder *d)
{
	size_t n = d->column[QTR_LENGTHS].n, room = 2 * (n + CHUNK);
	const uint8_t *packed = d->column[QTR_LENGTHS].bytes;

	if (d->lengths_room < room) {
		free(d->lengths);
		d->lengths = malloc(room);
		d->lengths_room = d->lengths ? room : 0;
		if (!d->lengths)
			return false;
	}
	uint8_t *lengths = d->lengths;

	for (size_t i = 0; i < n; i++) {
		lengths[2 * i] = packed[i] & 15;
		lengths[2 * i + 1] = packed[i] >> 4;
	}
	memset(lengths + 2 * n, 0, 2 * CHUNK);
	d->nlengths = (uint32_t)(2 * n);
	return true;
}

bool qtr_decode_begin(struct qtr_decoder *d, const struct qtr_head *head, const uint8_t *body, size_t len)
{
	struct qtr_refs h;
	size_t at = sizeof(h);

	if (len < sizeof(h))
		return false;
	memcpy(&h, body, sizeof(h));
	/* Every template is used, every run has a reference, every slot is of a run. */
	if (h.nruns > head->nrefs || h.ntemplates > h.nruns || h.ntemplates > QTR_TEMPLATES_MAX ||
	    h.nslots > head->nrefs || h.column[QTR_RUNS].raw != 2 * h.nruns)
		return false;
	for (unsigned i = 0; i < QTR_COLUMNS; i++) {
		if (h.column[i].stored > len - at || !read_column(d, i, body + at, h.column[i].stored, h.column[i].raw))
			return false;
		at += h.column[i].stored;
	}
	d->refs_left = head->nrefs;
	d->events_left = head->nevents;
	d->nruns = h.nruns;
	d->ntemplates = h.ntemplates;
	d->run = d->run_done = d->event_run = d->length = 0;
	d->event = d->column[QTR_EVENTS].bytes;
	d->difference = d->column[QTR_DIFFERENCES].bytes;
	return at == len && unpack_lengths(d) && room_for_slots(d, h.nslots) && read_templates(d, h.nslots) && read_event_run(d);
}

bool qtr_decode_more(const struct qtr_decoder *d)
{
	return d->refs_left + d->events_left > 0;
}

static bool decode_event(struct qtr_decoder *d, struct trace_block *b)
{
	static const uint64_t max[] = {UINT8_MAX, UINT16_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX,
				       UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};
	const uint8_t *end = d->column[QTR_EVENTS].bytes + d->column[QTR_EVENTS].n;
	uint64_t f[ARRAY_SIZE(max)];
	unsigned kind;

	if (d->event >= end || (kind = *d->event++) >= EV_KINDS)
		return false;
	for (unsigned i = 0; i < ARRAY_SIZE(max); i++)
		if (!get_varint(&d->event, end, max[i], &f[i]))
			return false;
	block_put_event(b, &(struct trace_event){
		.kind = (uint8_t)kind, .prot = (uint8_t)f[0], .flags = (uint16_t)f[1], .pid = (uint32_t)f[2],
		.child = (uint32_t)f[3], .tid = (uint32_t)f[4], .addr = f[5], .len = f[6], .addr2 = f[7], .len2 = f[8]});
	d->events_left--;
	return read_event_run(d);
}

/* Part of the run under way: from run_done on, max references at most. */
static uint32_t expand_part(struct qtr_decoder *d, const struct template *t, ref_t *out, uint32_t max, uint32_t *nitems)
{
	uint32_t n = MIN(t->nrefs - d->run_done, max), done = d->run_done, k = 0;

	for (uint32_t i = 0; i < n; i++)
		if (done + i < t->nfetch)
			out[i] = t->fetch;
		else
			d->items[k++] = (t->first + done + i - t->nfetch) | i << SLOT_BITS;
	*nitems = k;
	d->run_done += n;
	if (d->run_done == t->nrefs) {
		d->run_done = 0;
		d->run++;
	}
	return n;
}

/* Pass one: runs up to the next event, max references at most. Their number; 0: the bytes make no sense. */
static ALWAYS_INLINE uint32_t expand_runs(struct qtr_decoder *d, ref_t *restrict out, uint32_t max, uint32_t *nitems)
{
	const uint8_t *ids = d->column[QTR_RUNS].bytes;
	const struct template *templates = d->templates;
	uint32_t stop = MIN(d->nruns, d->event_run), ntemplates = d->ntemplates, run = d->run, n = 0, k = 0;
	uint32_t *restrict items = d->items;
	const uint32_t next = 1 + (1u << SLOT_BITS);
	const item_step follow = {0, next, 2 * next, 3 * next, 4 * next, 5 * next, 6 * next, 7 * next};

	while (run < stop) {
		uint16_t id;

		memcpy(&id, ids + (size_t)run * 2, sizeof(id));
		if (id >= ntemplates)
			return 0;
		const struct template *t = &templates[id];
		uint32_t nrefs = t->nrefs, nfetch = t->nfetch, item = t->first | (n + nfetch) << SLOT_BITS;

		if (n + nrefs > max || d->run_done)
			break;
		/* Without a fetch, the second pass writes this place. */
		out[n] = t->fetch;
		for (uint32_t done = 0; done < nrefs; done += STEP)
			*(item_step *)(void *)(items + k + done) = follow + (item + done * next);
		k += nrefs - nfetch;
		n += nrefs;
		run++;
	}
	d->run = run;
	*nitems = k;
	if (n || run == stop)
		return n;
	/* The first does not fit, or was begun before. */
	uint16_t id;

	memcpy(&id, ids + (size_t)run * 2, sizeof(id));
	return expand_part(d, &templates[id], out, max, nitems);
}

/* Pass two. Addresses are modulo 2^58, as a reference holds them. */
static ALWAYS_INLINE bool decode_items(struct qtr_decoder *d, ref_t *restrict out, uint32_t n)
{
	static const uint64_t mask[16] = {0, 0xff, 0xffff, 0xffffff, 0xffffffff, 0xffffffffff, 0xffffffffffff,
					  0xffffffffffffff, UINT64_MAX};
	const uint32_t *restrict items = d->items;
	const uint8_t *restrict length = d->lengths + d->length, *restrict p = d->difference;
	struct slot *restrict slots = d->slots;

	for (uint32_t i = 0; i < n; i++) {
		struct slot *s = &slots[items[i] & ((1u << SLOT_BITS) - 1)];
		uint32_t len = length[i];
		uint64_t z, gva, crosses;

		memcpy(&z, p, sizeof(z));
		z &= mask[len];
		p += len;
		gva = s->last + (z >> 1 ^ -(z & 1));
		s->last = gva;
		crosses = ((gva & PAGE_MASK) + s->size_less_1) >> PAGE_SHIFT;
		out[items[i] >> SLOT_BITS] = gva << REF_GVA_SHIFT | crosses << 5 | s->bits;
	}
	d->length += n;
	d->difference = p;
	return d->length <= d->nlengths && p <= d->column[QTR_DIFFERENCES].bytes + d->column[QTR_DIFFERENCES].n;
}

/* Both. The number of references; 0: damaged. */
static ALWAYS_INLINE uint32_t decode_chunk(struct qtr_decoder *d, ref_t *out, uint32_t max)
{
	uint32_t nitems, n = expand_runs(d, out, max, &nitems);

	return n && decode_items(d, out, nitems) ? n : 0;
}

#ifdef __x86_64__
#define WIDE_FORM __attribute__((target("avx2,bmi,bmi2")))
#else
#define WIDE_FORM
#endif

static uint32_t decode_chunk_plain(struct qtr_decoder *d, ref_t *out, uint32_t max)
{
	return decode_chunk(d, out, max);
}

static WIDE_FORM uint32_t decode_chunk_wide(struct qtr_decoder *d, ref_t *out, uint32_t max)
{
	return decode_chunk(d, out, max);
}

static bool all_used(const struct qtr_decoder *d)
{
	return d->run == d->nruns && (d->length + 1) / 2 == d->nlengths / 2 &&
	       d->difference == d->column[QTR_DIFFERENCES].bytes + d->column[QTR_DIFFERENCES].n;
}

bool qtr_decode(struct qtr_decoder *d, struct trace_block *b, uint32_t max_refs)
{
	while (b->nrefs < TRACE_BLOCK_REFS && b->nevents < TRACE_BLOCK_EVENTS && qtr_decode_more(d)) {
		if (d->run == d->event_run) {
			if (!decode_event(d, b))
				return false;
			continue;
		}
		uint32_t max = MIN(MIN(TRACE_BLOCK_REFS - b->nrefs, max_refs), (uint32_t)CHUNK), n;

		if (!max)
			return true;
		n = (d->wide ? decode_chunk_wide : decode_chunk_plain)(d, b->refs + b->nrefs, max);
		if (!n || n > d->refs_left)
			return false;
		b->nrefs += n;
		d->refs_left -= n;
		max_refs -= n;
	}
	return qtr_decode_more(d) || all_used(d);
}
