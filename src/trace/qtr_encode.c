/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/hash.h"
#include "trace/qtr_code.h"

/*
 * A level of zstd. Columns are small and repeat themselves: higher levels take
 * twice the time for a tenth of the size.
 */
enum { ZSTD_LEVEL = 1 };

enum {
	REFS_ROOM = QTR_BLOCK_REFS + TRACE_BLOCK_REFS,
	BUCKETS = 1 << 16,
	EVENT_BYTES_MAX = 96,
	TEMPLATE_BYTES_MAX = 12, /* of one reference: its bits, a varint; a template's own byte */
	LOW_BITS = REF_SIZE_SHIFT + 3, /* of a reference: kind and size */
};

struct template {
	uint64_t fetch;   /* its address; templates without one: 0 */
	uint32_t first;   /* slot */
	uint16_t next;    /* of the same bucket, + 1 */
	uint8_t nrefs;    /* the fetch included */
	uint8_t has_fetch;
};

struct column {
	uint8_t *bytes;
	size_t n, room;
};

struct qtr_encoder {
	uint32_t nrefs, nevents, nruns, ntemplates, nslots, nlengths, slots_room;
	bool failed;            /* no memory for what is under way */
	uint32_t event_run;     /* runs before the last event */
	uint64_t defined_fetch, defined_address; /* of the last template and slot defined */
	struct column column[QTR_COLUMNS];
	struct template *templates;
	uint64_t *last;         /* of each slot: its last address */
	uint8_t *bits;          /* and its kind and size */
	uint16_t buckets[BUCKETS]; /* template + 1 */
	uint16_t successor[QTR_TEMPLATES_MAX]; /* of each template: which came after it last time, + 1 */
	uint32_t previous;         /* template */
	uint8_t *body;
	size_t body_room;
	ZSTD_CCtx *zstd;
};

/* Room for n more bytes. */
static bool reserve(struct column *c, size_t n)
{
	size_t room = MAX(c->room, (size_t)4096);
	uint8_t *grown;

	if (c->n + n <= c->room)
		return true;
	while (room < c->n + n)
		room *= 2;
	grown = realloc(c->bytes, room);
	if (!grown)
		return false;
	c->bytes = grown;
	c->room = room;
	return true;
}

static bool reserve_slots(struct qtr_encoder *e, uint32_t n)
{
	uint32_t room = MAX(e->slots_room, 4096u);
	uint64_t *last;
	uint8_t *bits;

	if (e->nslots + n <= e->slots_room)
		return true;
	while (room < e->nslots + n)
		room *= 2;
	last = realloc(e->last, room * sizeof(*last));
	if (last)
		e->last = last;
	bits = realloc(e->bits, room);
	if (bits)
		e->bits = bits;
	if (!last || !bits)
		return false;
	e->slots_room = room;
	return true;
}

/* For n items of whatever kind: each may be a template of its own. */
static bool reserve_items(struct qtr_encoder *e, uint32_t n)
{
	e->column[QTR_LENGTHS].n = (e->nlengths + 1) / 2;
	return reserve(&e->column[QTR_RUNS], (size_t)n * 2) &&
	       reserve(&e->column[QTR_TEMPLATES], (size_t)n * TEMPLATE_BYTES_MAX) &&
	       reserve(&e->column[QTR_LENGTHS], (size_t)n + 1) &&
	       reserve(&e->column[QTR_DIFFERENCES], (size_t)n * QTR_LENGTH_MAX + sizeof(uint64_t)) && reserve_slots(e, n);
}

static void begin_block(struct qtr_encoder *e)
{
	e->nrefs = e->nevents = e->nruns = e->ntemplates = e->nslots = e->nlengths = 0;
	e->event_run = 0;
	e->failed = false;
	e->defined_fetch = e->defined_address = 0;
	e->previous = 0;
	memset(e->buckets, 0, sizeof(e->buckets));
	memset(e->successor, 0, sizeof(e->successor));
	for (unsigned i = 0; i < QTR_COLUMNS; i++)
		e->column[i].n = 0;
}

struct qtr_encoder *qtr_encoder_new(void)
{
	struct qtr_encoder *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->templates = malloc(QTR_TEMPLATES_MAX * sizeof(*e->templates));
	e->zstd = ZSTD_createCCtx();
	if (e->templates && e->zstd)
		return e;
	qtr_encoder_free(e);
	return NULL;
}

void qtr_encoder_free(struct qtr_encoder *e)
{
	if (!e)
		return;
	for (unsigned i = 0; i < QTR_COLUMNS; i++)
		free(e->column[i].bytes);
	free(e->templates);
	free(e->last);
	free(e->bits);
	free(e->body);
	ZSTD_freeCCtx(e->zstd);
	free(e);
}

bool qtr_encoder_has_room(const struct qtr_encoder *e)
{
	/* Each reference of a trace_block may be a template of its own. */
	return e->nrefs + TRACE_BLOCK_REFS <= REFS_ROOM && e->nevents + TRACE_BLOCK_REFS <= QTR_BLOCK_EVENTS_MAX &&
	       e->ntemplates + TRACE_BLOCK_REFS < QTR_TEMPLATES_MAX;
}

uint32_t qtr_encoder_refs(const struct qtr_encoder *e)
{
	return e->nrefs;
}

uint32_t qtr_encoder_events(const struct qtr_encoder *e)
{
	return e->nevents;
}

static uint64_t zigzag(uint64_t d)
{
	return d << 1 ^ (uint64_t)((int64_t)d >> 63);
}

static uint8_t *put_varint(uint8_t *p, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		*p++ = (uint8_t)(v | 0x80);
	*p++ = (uint8_t)v;
	return p;
}

static void put_event(struct qtr_encoder *e, const struct trace_event *ev)
{
	struct column *c = &e->column[QTR_EVENTS];
	uint8_t *p;

	if (!reserve(c, EVENT_BYTES_MAX)) {
		e->failed = true;
		return;
	}
	p = put_varint(c->bytes + c->n, e->nruns - e->event_run);
	*p++ = ev->kind;
	p = put_varint(p, ev->prot);
	p = put_varint(p, ev->flags);
	p = put_varint(p, ev->pid);
	p = put_varint(p, ev->child);
	p = put_varint(p, ev->tid);
	p = put_varint(p, ev->addr);
	p = put_varint(p, ev->len);
	p = put_varint(p, ev->addr2);
	p = put_varint(p, ev->len2);
	c->n = (size_t)(p - c->bytes);
	e->event_run = e->nruns;
	e->nevents++;
}

static unsigned shape_bits(ref_t r)
{
	return r & (BIT(LOW_BITS) - 1);
}

/* A new template of these references; its slots begin at the addresses they have here. */
static uint32_t define(struct qtr_encoder *e, const ref_t *run, uint32_t n, bool has_fetch, uint16_t *bucket)
{
	struct column *c = &e->column[QTR_TEMPLATES];
	struct template *t = &e->templates[e->ntemplates];
	uint8_t *p = c->bytes + c->n;

	*t = (struct template){.fetch = has_fetch ? ref_gva(run[0]) : 0, .first = e->nslots, .next = *bucket,
			       .nrefs = (uint8_t)n, .has_fetch = has_fetch};
	*p++ = (uint8_t)(n | (has_fetch ? QTR_TEMPLATE_FETCH : 0));
	for (uint32_t i = 0; i < n; i++) {
		uint64_t gva = ref_gva(run[i]), *from = i == 0 && has_fetch ? &e->defined_fetch : &e->defined_address;

		e->bits[e->nslots] = (uint8_t)shape_bits(run[i]);
		e->last[e->nslots++] = gva;
		*p++ = (uint8_t)shape_bits(run[i]);
		p = put_varint(p, zigzag(gva - *from));
		*from = gva;
	}
	c->n = (size_t)(p - c->bytes);
	*bucket = (uint16_t)(e->ntemplates + 1);
	return e->ntemplates++;
}

static bool has_shape(const struct qtr_encoder *e, const struct template *t, const ref_t *run)
{
	for (uint32_t i = t->has_fetch; i < t->nrefs; i++)
		if (e->bits[t->first + i] != shape_bits(run[i]))
			return false;
	return true;
}

/* By the address of its fetch (0 without one); a new one if there is none. */
static uint32_t search_template(struct qtr_encoder *e, const ref_t *run, uint32_t n, uint64_t fetch, bool has_fetch)
{
	uint16_t *bucket = &e->buckets[hash_u64(fetch + has_fetch) % BUCKETS];

	for (uint16_t i = *bucket; i; i = e->templates[i - 1].next) {
		const struct template *t = &e->templates[i - 1];

		if (t->fetch == fetch && t->nrefs == n && t->has_fetch == has_fetch && has_shape(e, t, run))
			return i - 1u;
	}
	return define(e, run, n, has_fetch, bucket);
}

/* The template of a run: mostly the one that came after the last run's before. */
static uint32_t find_template(struct qtr_encoder *e, const ref_t *run, uint32_t n, bool has_fetch)
{
	uint64_t fetch = has_fetch ? ref_gva(run[0]) : 0;
	uint16_t *guess = &e->successor[e->previous];

	if (*guess) {
		const struct template *t = &e->templates[*guess - 1];

		if (t->fetch == fetch && t->nrefs == n && t->has_fetch == has_fetch && has_shape(e, t, run))
			return e->previous = *guess - 1u;
	}
	e->previous = search_template(e, run, n, fetch, has_fetch);
	*guess = (uint16_t)(e->previous + 1);
	return e->previous;
}

/* The number of bytes of z: 0 to 8. */
static unsigned byte_length(uint64_t z)
{
	return (71u - (unsigned)__builtin_clzll(z | 1) - !z) >> 3;
}

static void put_run(struct qtr_encoder *e, const ref_t *run, uint32_t n, bool has_fetch)
{
	uint32_t id = find_template(e, run, n, has_fetch);
	struct column *runs = &e->column[QTR_RUNS], *lengths = &e->column[QTR_LENGTHS];
	uint64_t *last = e->last + e->templates[id].first;
	uint8_t *p = e->column[QTR_DIFFERENCES].bytes + e->column[QTR_DIFFERENCES].n;
	uint16_t id16 = (uint16_t)id;

	memcpy(runs->bytes + runs->n, &id16, sizeof(id16));
	runs->n += sizeof(id16);
	for (uint32_t i = has_fetch; i < n; i++) {
		uint64_t gva = ref_gva(run[i]), z = zigzag(gva - last[i]);
		unsigned len = byte_length(z);
		uint8_t *byte = &lengths->bytes[e->nlengths / 2];

		*byte = (uint8_t)(e->nlengths & 1 ? *byte | len << 4 : len);
		e->nlengths++;
		memcpy(p, &z, sizeof(z));
		p += len;
		last[i] = gva;
	}
	e->column[QTR_DIFFERENCES].n = (size_t)(p - e->column[QTR_DIFFERENCES].bytes);
	e->nruns++;
	e->nrefs += n;
}

void qtr_encode(struct qtr_encoder *e, const ref_t *items, uint32_t n, const struct trace_event *events)
{
	/* Told at the block's end: until then nothing more is taken. */
	e->failed = e->failed || !reserve_items(e, n);
	for (uint32_t i = 0; !e->failed && i < n;) {
		uint32_t end = i + 1;
		bool has_fetch = ref_kind(items[i]) == ACC_EXEC && shape_bits(items[i]) == ACC_EXEC;

		if (ref_is_event(items[i])) {
			put_event(e, &events[ref_event(items[i])]);
			i++;
			continue;
		}
		while (has_fetch && end < n && end - i < QTR_RUN_MAX && ref_kind(items[end]) < ACC_EXEC)
			end++;
		put_run(e, items + i, end - i, has_fetch);
		i = end;
	}
}

uint8_t *qtr_encode_finish(struct qtr_encoder *e, size_t *len)
{
	struct qtr_refs h = {.nruns = e->nruns, .ntemplates = e->ntemplates, .nslots = e->nslots};
	size_t room = QTR_SUM_BYTES + sizeof(h);
	bool good = !e->failed;
	uint8_t *p;

	e->column[QTR_LENGTHS].n = (e->nlengths + 1) / 2;
	for (unsigned i = 0; i < QTR_COLUMNS; i++)
		room += ZSTD_compressBound(e->column[i].n);
	if (room > e->body_room) {
		free(e->body);
		e->body = malloc(room);
		e->body_room = e->body ? room : 0;
	}
	if (!e->body)
		good = false;
	p = e->body + QTR_SUM_BYTES + sizeof(h);
	for (unsigned i = 0; good && i < QTR_COLUMNS; i++) {
		const struct column *c = &e->column[i];
		size_t n = ZSTD_compressCCtx(e->zstd, p, ZSTD_compressBound(c->n), c->bytes, c->n, ZSTD_LEVEL);

		if (ZSTD_isError(n))
			return NULL;
		if (n >= c->n) {
			n = c->n;
			if (n)
				memcpy(p, c->bytes, n);
		}
		h.column[i].raw = (uint32_t)c->n;
		h.column[i].stored = (uint32_t)n;
		p += n;
	}
	begin_block(e);
	if (!good)
		return NULL;
	memcpy(e->body + QTR_SUM_BYTES, &h, sizeof(h));
	*len = (size_t)(p - e->body);
	return e->body;
}
