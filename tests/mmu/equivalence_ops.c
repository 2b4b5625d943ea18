/* SPDX-License-Identifier: MIT */
/*
 * Sequences from a seed. Frames and indices are few, so that tables are met
 * again as other tables, as data, at two levels and through themselves. An
 * operation does not depend on those before it: any may be left out.
 */
#include "equivalence.h"

struct maker {
	struct rng rng;
	struct sequence *s;
	uint64_t va[12]; /* pages that come again and again */
};

enum { PER_BLOCK = 9, HOT = 3 * PER_BLOCK };

unsigned eq_hot_count(void)
{
	return HOT;
}

uint64_t eq_hot(unsigned i)
{
	unsigned in = i % PER_BLOCK;

	return i / PER_BLOCK * 512 + (in == PER_BLOCK - 1 ? 511 : in);
}

static uint64_t below(struct maker *m, uint64_t n)
{
	return rng_below(&m->rng, n);
}

static bool percent(struct maker *m, unsigned p)
{
	return below(m, 100) < p;
}

static uint64_t any_frame(struct maker *m)
{
	return eq_hot((unsigned)below(m, HOT));
}

/* Frames that begin as tables, by level: roots are 1 to 3. */
static uint64_t table_frame(struct maker *m, unsigned level)
{
	unsigned top = m->s->f->levels - 1;

	if (level == top)
		return 1 + below(m, 3);
	if (level == 0)
		return 512 + below(m, 3);
	if (level + 1 == top)
		return 4 + below(m, 2);
	return level == 1 ? 6 + below(m, 2) : 515 + level;
}

static uint64_t any_table(struct maker *m)
{
	return percent(m, 90) ? table_frame(m, (unsigned)below(m, m->s->f->levels)) : any_frame(m);
}

static unsigned bits_at(const struct eq_format *f, unsigned level)
{
	return f->pae && level == 2 ? 2 : f->bits;
}

static uint64_t any_index(struct maker *m, unsigned level)
{
	uint64_t last = (UINT64_C(1) << bits_at(m->s->f, level)) - 1;
	uint64_t choice[] = { 0, 0, 1, 2, last, last - 1 };

	return choice[below(m, ARRAY_SIZE(choice))];
}

static uint64_t any_page(struct maker *m)
{
	const struct eq_format *f = m->s->f;
	uint64_t va = 0;

	for (unsigned l = 0; l < f->levels; l++)
		va |= any_index(m, l) << (12 + f->bits * l);
	if (f->sext && va >> (f->va_bits - 1) & 1)
		va |= ~low_bits(f->va_bits);
	return percent(m, 1) ? va ^ BIT(f->va_bits - 1u) : va;
}

static uint64_t known_page(struct maker *m)
{
	return percent(m, 85) ? m->va[below(m, ARRAY_SIZE(m->va))] : any_page(m);
}

static unsigned any_size(struct maker *m)
{
	return 1u << below(m, 4);
}

/* An address for an access: aligned, anywhere, or across the end of its page. */
static uint64_t any_va(struct maker *m, unsigned size)
{
	uint64_t page = known_page(m);

	if (percent(m, 12))
		return page + 4096 - 1 - below(m, size > 1 ? size - 1 : 1);
	if (percent(m, 40))
		return page + any_index(m, 0) * m->s->f->esize;
	return page + align_down(below(m, 4096), size);
}

static uint64_t x86_pte(struct maker *m, uint64_t frame, bool leaf)
{
	const struct eq_format *f = m->s->f;
	uint64_t pte = frame << 12 | 1;

	pte |= percent(m, 90) ? 2 : 0;
	pte |= percent(m, 90) ? 4 : 0;
	pte |= percent(m, 50) ? 0x20 : 0;
	pte |= percent(m, 40) ? 0x40 : 0;
	pte |= m->s->global && percent(m, 20) ? 0x100 : 0;
	if (leaf && percent(m, 15))
		pte |= f->has_nx ? BIT(63) : 0;
	if (percent(m, 2))
		pte &= ~UINT64_C(1);
	return percent(m, 1) ? pte | 0x80 : pte;
}

static uint64_t riscv_pte(struct maker *m, uint64_t frame, bool leaf)
{
	static const uint8_t kinds[] = { 0xf, 0xf, 0xf, 0x7, 0x7, 0x3, 0xb, 0x9, 0x5, 0xd };
	uint64_t pte = frame << 10 | 1;

	if (!leaf)
		return percent(m, 1) ? pte | 0x40 : pte;
	pte |= kinds[below(m, ARRAY_SIZE(kinds))];
	pte |= percent(m, 75) ? 0x10 : 0;
	pte |= percent(m, 50) ? 0x40 : 0;
	pte |= m->s->global && percent(m, 20) ? 0x20 : 0;
	return pte | (percent(m, 40) ? 0x80 : 0);
}

static uint64_t make_pte(struct maker *m, uint64_t frame, bool leaf, bool huge)
{
	const struct eq_format *f = m->s->f;
	uint64_t pte = f->riscv ? riscv_pte(m, frame, leaf || huge) : x86_pte(m, frame, leaf || huge);

	return huge && !f->riscv ? pte | 0x80 : pte;
}

/* The four pointers of PAE take nothing but presence. */
static uint64_t pae_pointer(struct maker *m, uint64_t frame)
{
	return frame << 12 | (percent(m, 98) ? 1 : 3);
}

/* An entry fit for this level, most of the time. */
static uint64_t any_pte(struct maker *m, unsigned level)
{
	const struct eq_format *f = m->s->f;

	if (percent(m, 4))
		return 0;
	if (percent(m, 1))
		return rng_next(&m->rng); /* anything at all */
	if (f->pae && level == 2)
		return pae_pointer(m, level ? table_frame(m, level - 1) : any_frame(m));
	if (level && percent(m, 10)) {
		uint64_t frame = percent(m, 92) ? below(m, 3) * 512 : any_frame(m);

		return make_pte(m, f->bits == 10 && percent(m, 90) ? 0 : level == 1 ? frame : 0, true, true);
	}
	if (!level || percent(m, 8))
		return make_pte(m, any_frame(m), !level || percent(m, 50), false);
	return make_pte(m, table_frame(m, level - 1), false, false);
}

/* Bit 5 of a RISC-V entry, wherever in the value it may come to stand. */
#define RISCV_G_ANYWHERE UINT64_C(0x2020202020202020)

static void add(struct maker *m, struct eq_op op)
{
	if (!m->s->global && m->s->f->riscv && op.kind <= EQ_TWEAK)
		op.value &= ~RISCV_G_ANYWHERE;
	if (m->s->n < EQ_OPS_MAX)
		m->s->op[m->s->n++] = op;
}

static uint64_t entry_gpa(struct maker *m, unsigned level)
{
	return table_frame(m, level) << 12 | any_index(m, level) * m->s->f->esize;
}

static void add_root(struct maker *m)
{
	const struct eq_format *f = m->s->f;
	uint64_t root = table_frame(m, f->levels - 1) << 12;

	/* Low bits of the register are not the table's address. */
	if (!f->riscv && !f->pae && percent(m, 20))
		root |= 0x18;
	if (percent(m, 3))
		root = any_frame(m) << 12;
	add(m, (struct eq_op){ .kind = EQ_ROOT, .gpa = root, .asid = (uint32_t)below(m, 3) + 1, .how = percent(m, 20) });
}

/* Every entry that sequences look at, first at its place. */
static void add_tables(struct maker *m)
{
	const struct eq_format *f = m->s->f;

	for (unsigned level = f->levels; level-- > 0;)
		for (unsigned i = 0; i < (level == f->levels - 1 ? 12u : 8u); i++)
			add(m, (struct eq_op){ .kind = EQ_POKE, .size = (uint8_t)f->esize,
					       .gpa = entry_gpa(m, level), .value = any_pte(m, level) });
}

static void add_table_op(struct maker *m)
{
	const struct eq_format *f = m->s->f;
	unsigned level = (unsigned)below(m, f->levels);
	struct eq_op op = {
		.kind = EQ_POKE, .size = (uint8_t)f->esize, .gpa = entry_gpa(m, level), .value = any_pte(m, level),
		.user = percent(m, 50),
	};

	switch (below(m, 6)) {
	case 0:
		op.kind = EQ_DOOR;
		break;
	case 1: /* through its own mapping, if it has one */
		op.kind = percent(m, 70) ? EQ_STORE : EQ_CAS;
		op.va = known_page(m) + any_index(m, 0) * f->esize;
		op.how = percent(m, 70);
		break;
	case 2:
	case 3:
		op.kind = EQ_TWEAK;
		op.value = BIT(below(m, 9));
		if (f->has_nx && percent(m, 10))
			op.value = BIT(63);
		op.how = (uint8_t)below(m, 3);
		break;
	default:
		if (percent(m, 10))
			op.gpa = any_table(m) << 12 | (op.gpa & 4095);
		break;
	}
	add(m, op);
}

static void add_access(struct maker *m)
{
	struct eq_op op = {
		.kind = (uint8_t)below(m, EQ_RUN + 1), .user = percent(m, 60), .size = (uint8_t)any_size(m),
		.value = rng_next(&m->rng),
	};

	if (percent(m, 50))
		op.kind = percent(m, 50) ? EQ_LOAD : EQ_STORE;
	op.va = any_va(m, op.size);
	op.va2 = known_page(m);
	op.how = (uint8_t)percent(m, 60);
	switch (op.kind) {
	case EQ_CAS:
		op.size = percent(m, 50) ? 4 : 8;
		op.va = align_down(op.va, op.size);
		break;
	case EQ_COPY:
		op.gpa = 1 + below(m, 64);
		op.va = align_down(op.va, 64);
		op.va2 += align_down(below(m, 4096), 64);
		break;
	case EQ_ZERO:
		op.gpa = percent(m, 10) ? 4096 : 64;
		op.va = align_down(op.va, op.gpa);
		break;
	}
	add(m, op);
}

static void add_host(struct maker *m)
{
	static const uint8_t kinds[] = {
		EQ_ZAP, EQ_ZAP, EQ_ZAP, EQ_ZAP_ALL, EQ_MOVE, EQ_MOVE, EQ_MOVE, EQ_SHARE, EQ_SHARE, EQ_COLLAPSE,
		EQ_CHANGE, EQ_DIRTY_START, EQ_DIRTY_STOP, EQ_DIRTY_READ, EQ_DIRTY_READ,
	};
	struct eq_op op = {
		.kind = kinds[below(m, ARRAY_SIZE(kinds))], .gpa = any_frame(m), .va = any_frame(m),
		.value = percent(m, 30) ? 512 : 1 + below(m, 4), .how = (uint8_t)below(m, 64),
	};

	add(m, op);
}

void sequence_make(struct sequence *s, uint64_t seed, const struct eq_format *f, unsigned n, unsigned host)
{
	static const uint32_t x86_ctl[] = {
		CTL_DEFAULT, CTL_DEFAULT, CTL_DEFAULT & ~CTL_WP, CTL_DEFAULT | CTL_SMAP, CTL_DEFAULT & ~CTL_NXE,
		CTL_DEFAULT & ~CTL_SMEP, CTL_DEFAULT & ~CTL_PSE, CTL_DEFAULT | CTL_SMAP | CTL_AC,
	};
	static const uint32_t riscv_ctl[] = { CTL_DEFAULT, CTL_DEFAULT, CTL_DEFAULT | CTL_SMAP, CTL_DEFAULT | CTL_MXR };
	struct maker m = { .s = s };

	memset(s, 0, sizeof(*s));
	s->seed = seed;
	s->f = f;
	rng_init(&m.rng, seed);
	s->global = percent(&m, 30);
	s->ctl = f->riscv ? riscv_ctl[below(&m, ARRAY_SIZE(riscv_ctl))] : x86_ctl[below(&m, ARRAY_SIZE(x86_ctl))];
	if (!s->global)
		s->ctl &= ~(uint32_t)CTL_PGE;
	for (unsigned i = 0; i < ARRAY_SIZE(m.va); i++)
		m.va[i] = any_page(&m);
	add_tables(&m);
	add_root(&m);
	while (s->n < n) {
		unsigned what = (unsigned)below(&m, 100);

		if (what < host)
			add_host(&m);
		else if (what < host + 4)
			add_root(&m);
		else if (what < host + 8)
			add(&m, (struct eq_op){ .kind = EQ_FENCE, .how = (uint8_t)below(&m, 3),
						.asid = (uint32_t)below(&m, 3) + 1, .va = known_page(&m) });
		else if (what < host + 30)
			add_table_op(&m);
		else
			add_access(&m);
	}
}

/* A frame number that is inside, just outside, or as far as an entry can say. */
static uint64_t wild_frame(struct maker *m)
{
	uint64_t last = m->s->f->bits == 10 ? low_bits(20) : m->s->f->riscv ? low_bits(44) : low_bits(40);

	switch (below(m, 8)) {
	case 0:
		return EQ_PAGES - 2 + below(m, 4);
	case 1:
		return rng_next(&m->rng) & last;
	case 2:
		return last - below(m, 3);
	default:
		return any_frame(m);
	}
}

static uint64_t wild_value(struct maker *m)
{
	unsigned shift = m->s->f->riscv ? 10 : 12;

	if (percent(m, 25))
		return rng_next(&m->rng);
	return wild_frame(m) << shift | (rng_next(&m->rng) & low_bits(shift)) | 1;
}

static void add_wild_root(struct maker *m)
{
	uint64_t root = wild_frame(m) << 12;

	if (percent(m, 30))
		root |= below(m, 4096);
	add(m, (struct eq_op){ .kind = EQ_ROOT, .gpa = root, .asid = (uint32_t)below(m, 3) + 1, .how = percent(m, 20) });
}

void sequence_make_hostile(struct sequence *s, uint64_t seed, const struct eq_format *f, unsigned n)
{
	struct maker m = { .s = s };

	memset(s, 0, sizeof(*s));
	s->seed = seed;
	s->f = f;
	s->global = true;
	s->ctl = CTL_DEFAULT;
	rng_init(&m.rng, seed);
	for (unsigned i = 0; i < ARRAY_SIZE(m.va); i++)
		m.va[i] = any_page(&m);
	add_wild_root(&m);
	while (s->n < n) {
		unsigned what = (unsigned)below(&m, 100);

		if (what < 35)
			add(&m, (struct eq_op){ .kind = percent(&m, 20) ? EQ_DOOR : EQ_POKE, .size = 8,
						.gpa = any_frame(&m) << 12 | align_down(any_index(&m, 0) * f->esize, 8),
						.value = wild_value(&m) });
		else if (what < 45)
			add_wild_root(&m);
		else if (what < 50)
			add_host(&m);
		else
			add_access(&m);
		s->op[s->n - 1].va ^= what == 99 ? rng_next(&m.rng) : 0;
	}
}

void sequence_print(const struct sequence *s)
{
	static const char *const name[EQ_KINDS] = {
		"load", "store", "fetch", "cas", "copy", "zero", "run", "poke", "door", "tweak", "root", "fence",
		"zap", "zap_all", "move", "share", "collapse", "change", "dirty_start", "dirty_stop", "dirty_read",
	};

	fprintf(stderr, "  seed %llu, %s, ctl 0x%x, %sglobal, %u operations:\n", (unsigned long long)s->seed,
		s->f->name, s->ctl, s->global ? "" : "not ", s->n);
	for (unsigned i = 0; i < s->n; i++) {
		const struct eq_op *o = &s->op[i];

		fprintf(stderr, "  %3u %-11s size %u user %u how %u asid %u va %llx va2 %llx gpa %llx value %llx\n", i,
			name[o->kind], o->size, o->user, o->how, o->asid, (unsigned long long)o->va,
			(unsigned long long)o->va2, (unsigned long long)o->gpa, (unsigned long long)o->value);
	}
}
