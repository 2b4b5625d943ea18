/* SPDX-License-Identifier: MIT */
/*
 * A guest's memory as the manuals describe it and no more: a flat array, a
 * walk from the root at every access. Intel SDM vol. 3, 4.3 to 4.7; RISC-V
 * Priv., "Virtual Address Translation Process".
 */
#include "equivalence.h"

enum {
	X_P = 1, X_W = 2, X_U = 4, X_A = 0x20, X_D = 0x40, X_PS = 0x80,
	V_V = 1, V_R = 2, V_W = 4, V_X = 8, V_U = 16, V_A = 64, V_D = 128,
};
#define X_NX (UINT64_C(1) << 63)

static const struct eq_format formats[] = {
	{ .name = "x86-32", .levels = 2, .bits = 10, .esize = 4, .va_bits = 32 },
	{ .name = "x86-pae", .levels = 3, .bits = 9, .esize = 8, .va_bits = 32, .pae = true, .has_nx = true },
	{ .name = "x86-64", .levels = 4, .bits = 9, .esize = 8, .va_bits = 48, .sext = true, .has_nx = true },
	{ .name = "x86-64-5l", .levels = 5, .bits = 9, .esize = 8, .va_bits = 57, .sext = true, .has_nx = true },
	{ .name = "sv39", .levels = 3, .bits = 9, .esize = 8, .va_bits = 39, .sext = true, .riscv = true },
	{ .name = "sv48", .levels = 4, .bits = 9, .esize = 8, .va_bits = 48, .sext = true, .riscv = true },
	{ .name = "sv57", .levels = 5, .bits = 9, .esize = 8, .va_bits = 57, .sext = true, .riscv = true },
};

const struct eq_format *eq_format(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(formats); i++)
		if (!strcmp(formats[i].name, name))
			return &formats[i];
	return NULL;
}

void oracle_init(struct oracle *o, const struct eq_format *f, uint8_t *mem)
{
	memset(o, 0, sizeof(*o));
	o->f = f;
	o->mem = mem;
}

uint64_t oracle_peek(const struct oracle *o, uint64_t gpa, unsigned size)
{
	uint64_t v = 0;

	memcpy(&v, o->mem + gpa, size);
	return v;
}

void oracle_poke(struct oracle *o, uint64_t gpa, const void *in, unsigned size)
{
	if (o->logging)
		o->dirty[gpa >> 12] = 1;
	memcpy(o->mem + gpa, in, size);
}

static bool is_memory(uint64_t gpa)
{
	return gpa < (uint64_t)EQ_PAGES << 12;
}

static bool fault(const struct oracle *o, struct eq_result *r, uint64_t va, enum acc_kind kind, bool user,
		  enum walk_why why)
{
	bool present = why == WALK_WHY_RIGHTS || why == WALK_WHY_PRIVILEGE || why == WALK_WHY_RESERVED ||
		       why == WALK_WHY_ACCESSED;
	bool tells_fetch = o->f->riscv || (o->ctl & CTL_SMEP) || (o->f->has_nx && (o->ctl & CTL_NXE));

	*r = (struct eq_result){
		.gva = va, .kind = kind, .why = why,
		.error_code = (present ? 1u : 0) | (kind == ACC_WRITE ? 2u : 0) | (user ? 4u : 0) |
			      (why == WALK_WHY_RESERVED ? 8u : 0) | (kind == ACC_EXEC && tells_fetch ? 16u : 0),
	};
	return false;
}

static unsigned shift_of(const struct eq_format *f, unsigned level)
{
	return 12 + f->bits * level;
}

static unsigned index_of(const struct eq_format *f, unsigned level, uint64_t va)
{
	unsigned bits = f->pae && level == 2 ? 2 : f->bits;

	return (unsigned)(va >> shift_of(f, level)) & ((1u << bits) - 1);
}

static bool range(uint64_t pte, unsigned hi, unsigned lo)
{
	return pte >> lo & ((UINT64_C(1) << (hi - lo + 1)) - 1);
}

/* A path walked: where each entry stands. */
struct path {
	uint64_t addr[5];
	unsigned top, level;
	uint64_t pte;
	bool w, u, nx; /* x86: of all levels */
};

static bool x86_is_leaf(const struct oracle *o, unsigned level, uint64_t pte)
{
	bool ps = (pte & X_PS) && (o->f->bits == 9 || (o->ctl & CTL_PSE));

	return !level || (ps && (o->f->pae ? level == 1 : o->f->bits == 10 ? level == 1 : level <= 2));
}

static bool x86_is_reserved(const struct oracle *o, unsigned level, uint64_t pte)
{
	const struct eq_format *f = o->f;
	bool leaf = x86_is_leaf(o, level, pte);

	if (f->bits == 10)
		return level && leaf && range(pte, 21, 13);
	if (f->pae && level == 2)
		return range(pte, 63, 52) || range(pte, 8, 5) || range(pte, 2, 1);
	if ((pte & X_NX) && !(o->ctl & CTL_NXE))
		return true;
	if (f->pae && range(pte, 62, 52))
		return true;
	if (level >= 3 && (pte & X_PS))
		return true;
	return leaf && ((level == 1 && range(pte, 20, 13)) || (level == 2 && range(pte, 29, 13)));
}

static enum walk_why x86_allows(const struct oracle *o, const struct path *p, enum acc_kind kind, bool user)
{
	if (user && !p->u)
		return WALK_WHY_PRIVILEGE;
	if (!user && p->u && kind == ACC_EXEC && (o->ctl & CTL_SMEP))
		return WALK_WHY_PRIVILEGE;
	if (!user && p->u && kind != ACC_EXEC && (o->ctl & CTL_SMAP) && !(o->ctl & CTL_AC))
		return WALK_WHY_PRIVILEGE;
	if (kind == ACC_EXEC)
		return p->nx ? WALK_WHY_RIGHTS : WALK_WHY_NONE;
	if (kind == ACC_WRITE && !p->w && (user || (o->ctl & CTL_WP)))
		return WALK_WHY_RIGHTS;
	return WALK_WHY_NONE;
}

static enum walk_why riscv_allows(const struct oracle *o, uint64_t pte, enum acc_kind kind, bool user)
{
	bool u = pte & V_U;

	if (user != u && (user || kind == ACC_EXEC || (o->ctl & CTL_SMAP)))
		return WALK_WHY_PRIVILEGE;
	if (kind == ACC_READ)
		return (pte & V_R) || ((pte & V_X) && (o->ctl & CTL_MXR)) ? WALK_WHY_NONE : WALK_WHY_RIGHTS;
	return pte & (kind == ACC_WRITE ? V_W : V_X) ? WALK_WHY_NONE : WALK_WHY_RIGHTS;
}

/* One level down: true: a leaf, or no way on (*why). */
static bool x86_step(const struct oracle *o, struct path *p, uint64_t *table, enum walk_why *why)
{
	if (!(p->pte & X_P)) {
		*why = WALK_WHY_NOT_PRESENT;
		return true;
	}
	if (x86_is_reserved(o, p->level, p->pte)) {
		*why = WALK_WHY_RESERVED;
		return true;
	}
	if (!(o->f->pae && p->level == 2)) {
		p->w &= (p->pte & X_W) != 0;
		p->u &= (p->pte & X_U) != 0;
		p->nx |= o->f->has_nx && (p->pte & X_NX);
	}
	*table = p->pte & UINT64_C(0x000ffffffffff000);
	return x86_is_leaf(o, p->level, p->pte);
}

static bool riscv_step(struct path *p, uint64_t *table, enum walk_why *why)
{
	bool leaf = p->pte & (V_R | V_X);
	bool low = p->level && range(p->pte, 9 + 9 * p->level, 10);

	*why = WALK_WHY_NONE;
	if (!(p->pte & V_V))
		*why = WALK_WHY_NOT_PRESENT;
	else if (range(p->pte, 63, 54) || ((p->pte & V_W) && !(p->pte & V_R)) ||
		 (leaf ? low : !p->level || (p->pte & (V_A | V_D | V_U))))
		*why = WALK_WHY_RESERVED;
	*table = (p->pte >> 10 & ((UINT64_C(1) << 44) - 1)) << 12;
	return leaf || *why;
}

static void set_bits(struct oracle *o, uint64_t addr, uint64_t bits)
{
	uint64_t pte = oracle_peek(o, addr, o->f->esize), now = pte | bits;

	o->undefined |= now != pte && o->f->pae && addr - (o->root & ~UINT64_C(31)) < 32;
	if (now != pte)
		oracle_poke(o, addr, &now, o->f->esize);
}

static void set_ad(struct oracle *o, const struct path *p, enum acc_kind kind)
{
	const struct eq_format *f = o->f;
	uint64_t dirty = kind == ACC_WRITE ? (f->riscv ? V_D : X_D) : 0;

	for (unsigned l = p->top + 1; !f->riscv && l-- > p->level + 1u;)
		if (!(f->pae && l == 2))
			set_bits(o, p->addr[l], X_A);
	set_bits(o, p->addr[p->level], (f->riscv ? V_A : X_A) | dirty);
}

static bool is_canonical(const struct eq_format *f, uint64_t va)
{
	if (!f->sext)
		return !(va >> f->va_bits);
	uint64_t high = va >> (f->va_bits - 1);

	return !high || high == UINT64_MAX >> (f->va_bits - 1);
}

bool oracle_translate(struct oracle *o, uint64_t va, enum acc_kind kind, bool user, uint64_t *gpa, struct eq_result *r)
{
	const struct eq_format *f = o->f;
	struct path p = { .top = f->levels - 1, .w = true, .u = true };
	uint64_t table = o->root & ~(f->pae ? UINT64_C(31) : UINT64_C(4095));
	enum walk_why why = WALK_WHY_NONE;

	if (!is_canonical(f, va))
		return fault(o, r, va, kind, user, WALK_WHY_CANONICAL);
	for (p.level = p.top;; p.level--) {
		p.addr[p.level] = table + (uint64_t)index_of(f, p.level, va) * f->esize;
		if (!is_memory(p.addr[p.level]))
			return fault(o, r, va, kind, user, WALK_WHY_BUS);
		p.pte = oracle_peek(o, p.addr[p.level], f->esize);
		if (f->riscv ? riscv_step(&p, &table, &why) : x86_step(o, &p, &table, &why))
			break;
	}
	if (!why)
		why = f->riscv ? riscv_allows(o, p.pte, kind, user) : x86_allows(o, &p, kind, user);
	if (why)
		return fault(o, r, va, kind, user, why);
	set_ad(o, &p, kind);
	uint64_t inside = (UINT64_C(1) << shift_of(f, p.level)) - 1;

	*gpa = (table & ~inside) | (va & inside);
	if (!is_memory(*gpa))
		return fault(o, r, va, kind, user, WALK_WHY_BUS);
	if (kind == ACC_WRITE && o->logging)
		o->dirty[*gpa >> 12] = 1;
	r->ok = true;
	return true;
}

static bool place(struct oracle *o, bool bare, bool user, uint64_t va, enum acc_kind kind, uint64_t *gpa,
		  struct eq_result *r)
{
	if (!bare)
		return oracle_translate(o, va, kind, user, gpa, r);
	if (kind == ACC_WRITE && o->logging)
		o->dirty[va >> 12] = 1;
	*gpa = va;
	r->ok = true;
	return true;
}

static unsigned first_piece(uint64_t va, unsigned size)
{
	return (unsigned)MIN(size, 4096 - (va & 4095));
}

/* Both pages of an access before either is used. */
static bool place_both(struct oracle *o, bool bare, bool user, uint64_t va, unsigned size, enum acc_kind kind,
		       uint64_t gpa[2], struct eq_result *r)
{
	unsigned n = first_piece(va, size);

	return place(o, bare, user, va, kind, &gpa[0], r) &&
	       (n == size || place(o, bare, user, va + n, kind, &gpa[1], r));
}

void oracle_load(struct oracle *o, bool bare, bool user, uint64_t va, unsigned size, struct eq_result *r)
{
	unsigned n = first_piece(va, size);
	uint64_t gpa[2];

	if (!place_both(o, bare, user, va, size, ACC_READ, gpa, r))
		return;
	r->value = oracle_peek(o, gpa[0], n);
	if (n < size)
		r->value |= oracle_peek(o, gpa[1], size - n) << (n * 8);
}

void oracle_store(struct oracle *o, bool bare, bool user, uint64_t va, unsigned size, uint64_t value, struct eq_result *r)
{
	unsigned n = first_piece(va, size);
	uint64_t gpa[2];

	if (!place_both(o, bare, user, va, size, ACC_WRITE, gpa, r))
		return;
	oracle_poke(o, gpa[0], &value, n);
	/* Where both were before the first piece, which may lie in a table, changed anything. */
	if (n < size)
		oracle_poke(o, gpa[1], (uint8_t *)&value + n, size - n);
}

void oracle_cas(struct oracle *o, bool bare, bool user, uint64_t va, unsigned size, uint64_t expect, uint64_t value,
		struct eq_result *r)
{
	uint64_t gpa;

	if (!place(o, bare, user, va, ACC_WRITE, &gpa, r))
		return;
	r->value = oracle_peek(o, gpa, size) == expect;
	if (r->value)
		oracle_poke(o, gpa, &value, size);
}

void oracle_copy(struct oracle *o, bool user, uint64_t dst, uint64_t src, unsigned len, struct eq_result *r)
{
	uint8_t buf[4096];
	uint64_t from, to;

	if (!oracle_translate(o, src, ACC_READ, user, &from, r))
		return;
	memcpy(buf, o->mem + from, len);
	if (!oracle_translate(o, dst, ACC_WRITE, user, &to, r))
		return;
	oracle_poke(o, to, buf, len);
}

void oracle_touch(struct oracle *o, bool user, uint64_t va, enum acc_kind kind, struct eq_result *r)
{
	uint64_t gpa;

	oracle_translate(o, va, kind, user, &gpa, r);
}
