/* SPDX-License-Identifier: MIT */
/*
 * The walker of every format.
 *
 *     gpt_walk ─▶ walk_tree: from the root or a walk cache's table
 *                   │  load_entry    one reference
 *                   │  judge_entry   present? reserved? leaf?
 *                   │  rights_below  what this pointer leaves of the rights
 *                   ▼
 *                 finish_leaf: rights of the whole path, walk_check, A and D
 *                   │ some bit is clear
 *                   ▼
 *                 update_path: cas, root first; lost a race: walk_tree again
 *
 * One loop, compiled twice: `riscv` is a constant in each.
 * Rights so far speak R W X U, and G where a RISC-V pointer was global.
 */
#include "gpt/walk.h"

#include "gpt/entry.h"
#include "gpt/format.h"

_Static_assert(RIGHT_R == 1 << ACC_READ && RIGHT_W == 1 << ACC_WRITE && RIGHT_X == 1 << ACC_EXEC,
	       "the right an access needs is 1 << kind");

/* What one walk knows besides its result. */
struct path {
	uint64_t pte[GPT_LEVELS_MAX]; /* as loaded, by level */
	uint64_t accessed;            /* the pointers' accessed bits, anded (x86) */
	uint64_t page_size;           /* the bit, or 0 where it is ignored */
	uint64_t gated;
	uint64_t grants, grants_all; /* bits of an x86 pointer that say what it allows; their values when it is all */
	unsigned top, start; /* level of the root; of the first table */
	unsigned bare;       /* level whose entries carry no rights; none: GPT_LEVELS_MAX */
};

enum attempt { ATTEMPT_DONE, ATTEMPT_AGAIN };

static ALWAYS_INLINE enum walk_why check_access(uint8_t rights, enum acc_kind kind, bool user, uint32_t ctl,
						const bool riscv)
{
	if (user) {
		if (!(rights & RIGHT_U))
			return WALK_WHY_PRIVILEGE;
	} else if (rights & RIGHT_U) {
		/* RISC-V: a supervisor never executes a user page, whatever SUM says. */
		if (kind == ACC_EXEC ? riscv || (ctl & CTL_SMEP) :
				       (ctl & CTL_SMAP) && (riscv || !(ctl & CTL_AC)))
			return WALK_WHY_PRIVILEGE;
	}
	if (likely(rights & (1u << kind)))
		return WALK_WHY_NONE;
	if (riscv)
		return kind == ACC_READ && (ctl & CTL_MXR) && (rights & RIGHT_X) ? WALK_WHY_NONE :
										   WALK_WHY_RIGHTS;
	return kind == ACC_WRITE && !user && !(ctl & CTL_WP) ? WALK_WHY_NONE : WALK_WHY_RIGHTS;
}

enum walk_why walk_check(uint8_t rights, enum acc_kind kind, bool user, uint32_t ctl, bool riscv)
{
	return riscv ? check_access(rights, kind, user, ctl, true) : check_access(rights, kind, user, ctl, false);
}

/* SDM vol. 3, 4.7. */
uint32_t walk_error_code(const struct walk_req *req, enum walk_why why, bool present)
{
	uint32_t code = present ? PF_PRESENT : 0;

	if (why == WALK_WHY_RESERVED)
		code |= PF_PRESENT | PF_RSVD;
	if (req->kind == ACC_WRITE)
		code |= PF_WRITE;
	if (req->user || req->second_stage)
		code |= PF_USER;
	/* A fetch is told from a read only where something can forbid it. */
	if (req->kind == ACC_EXEC && (req->ctl & (CTL_SMEP | CTL_NXE)))
		code |= PF_INSTR;
	return code;
}

const char *walk_why_name(enum walk_why why)
{
	static const char *const name[] = {
		[WALK_WHY_NONE] = "none",
		[WALK_WHY_NOT_PRESENT] = "not present",
		[WALK_WHY_RIGHTS] = "rights",
		[WALK_WHY_PRIVILEGE] = "privilege",
		[WALK_WHY_RESERVED] = "reserved bit",
		[WALK_WHY_CANONICAL] = "address out of range",
		[WALK_WHY_ACCESSED] = "accessed or dirty clear",
		[WALK_WHY_BUS] = "no memory there",
	};

	return (unsigned)why < ARRAY_SIZE(name) ? name[why] : "unknown";
}

static COLD enum attempt fail(const struct gpt_format *fmt, const struct walk_req *req, struct walk *w,
			      enum walk_why why, bool present)
{
	uint32_t code = walk_error_code(req, why, present);

	/* Formats differ in whether NXE means anything: an exec bit forbids by itself, x86-32 knows no NX. */
	if (req->kind == ACC_EXEC && fmt->exec)
		code |= PF_INSTR;
	else if (!fmt->no_exec && !(req->ctl & CTL_SMEP))
		code &= ~PF_INSTR;
	w->status = WALK_FAULT;
	w->why = why;
	w->error_code = code;
	return ATTEMPT_DONE;
}

/* A load or a cas said no. */
static COLD enum attempt fail_memory(const struct gpt_format *fmt, const struct walk_req *req, struct walk *w,
				     int err)
{
	if (err != -EAGAIN)
		return fail(fmt, req, w, WALK_WHY_BUS, false);
	w->status = WALK_VIOLATION;
	w->why = WALK_WHY_NONE;
	w->error_code = 0;
	return ATTEMPT_DONE;
}

/* The CPU copied these entries when its root was set: nothing is charged, nobody listens. */
static NOINLINE int load_register(struct pt_mem *m, uint64_t addr, unsigned size, uint64_t *pte)
{
	struct pt_mem_counts counts = m->counts;
	struct pt_log *log = m->log;

	m->log = NULL;
	m->quiet = true;
	int err = ptm_load_pte(m, addr, size, pte);
	m->quiet = false;
	m->log = log;
	m->counts = counts;
	return err;
}

static ALWAYS_INLINE int load_entry(const struct gpt_format *fmt, struct pt_mem *m, unsigned level,
				    const struct path *p, const struct walk_req *req, uint64_t addr,
				    uint64_t *pte)
{
	if (unlikely(level == p->top && fmt->root_in_registers))
		return load_register(m, addr, fmt->entry_size, pte);
	if (unlikely(m->log != NULL)) {
		unsigned lo = fmt->level[level].shift;
		unsigned bits = index_bits(fmt, level, req->second_stage);

		ptm_note(m, req->second_stage ? "p2m" : "guest", level,
			 gpt_index(fmt, level, req->va, req->second_stage), lo + bits - 1, lo);
	}
	return ptm_load_pte(m, addr, fmt->entry_size, pte);
}

static ALWAYS_INLINE enum walk_why judge_entry(const struct gpt_format *fmt, const struct path *p,
					       unsigned level, uint64_t pte, bool leaf, const bool riscv)
{
	if (unlikely(!(pte & fmt->valid)))
		return WALK_WHY_NOT_PRESENT;
	if (unlikely(entry_is_reserved(fmt, level, pte, leaf, p->gated, riscv)))
		return WALK_WHY_RESERVED;
	return WALK_WHY_NONE;
}

/* x86 ands the rights of all levels; RISC-V pointers only hand down that they are global. */
static ALWAYS_INLINE uint8_t rights_below(const struct gpt_format *fmt, const struct path *p, unsigned level,
					  uint64_t pte, uint8_t rights, const bool riscv)
{
	if (riscv)
		return rights | (pte & fmt->global ? RIGHT_G : 0);
	if (likely((pte & p->grants) == p->grants_all) || level == p->bare)
		return rights;
	return rights & entry_rwxu(fmt, pte, false);
}

/* Rights of the whole path, A and D as they stand in memory. */
static ALWAYS_INLINE uint8_t leaf_rights(const struct gpt_format *fmt, const struct walk_req *req,
					 uint64_t pte, uint8_t above, const bool riscv)
{
	uint8_t rights = entry_rwxu(fmt, pte, riscv);
	uint8_t global = pte & fmt->global ? RIGHT_G : 0;

	if (riscv) {
		global |= above & RIGHT_G;
	} else {
		rights &= above;
		if (!(req->ctl & CTL_PGE))
			global = 0;
		if (unlikely(req->own_table && (pte & fmt->no_read)))
			rights &= ~RIGHT_R;
	}
	/* Nothing is global at a second stage: RISC-V ignores G there, and one VM's gpas are one space. */
	return rights | entry_ad(fmt, pte) | (req->second_stage ? 0 : global);
}

/* Sets A in every entry of the path, and D in the leaf for a store. */
static COLD enum attempt update_path(const struct gpt_format *fmt, struct pt_mem *m, const struct path *p,
				     const struct walk_req *req, struct walk *w, bool riscv)
{
	unsigned leaf = w->level;

	for (unsigned i = 0; i < w->ntables; i++) {
		unsigned level = w->table[i].level;
		uint64_t old = p->pte[level], new = old;

		if (level == leaf)
			new |= fmt->accessed | (req->kind == ACC_WRITE ? fmt->dirty : 0);
		else if (!riscv && level != p->bare)
			new |= fmt->accessed;
		if (new == old)
			continue;

		uint64_t addr = w->table[i].addr +
				gpt_index(fmt, level, req->va, req->second_stage) * fmt->entry_size;
		int done = ptm_cas(m, addr, fmt->entry_size, old, new);

		if (done < 0)
			return fail_memory(fmt, req, w, done);
		if (!done)
			return ATTEMPT_AGAIN;
		w->ad_updated = true;
		if (level == leaf)
			w->leaf = new;
	}
	w->rights |= RIGHT_A | (req->kind == ACC_WRITE ? RIGHT_D : 0);
	return ATTEMPT_DONE;
}

static ALWAYS_INLINE enum attempt finish_leaf(const struct gpt_format *fmt, struct pt_mem *m, struct path *p,
					      const struct walk_req *req, struct walk *w, uint8_t above,
					      const bool riscv)
{
	unsigned level = w->level, shift = fmt->level[level].shift;
	uint64_t pte = p->pte[level], inside = BIT(shift - PAGE_SHIFT) - 1;
	uint8_t rights = leaf_rights(fmt, req, pte, above, riscv);
	enum walk_why why =
		check_access(rights, req->kind, req->user || req->second_stage, req->ctl, riscv);

	if (unlikely(why))
		return fail(fmt, req, w, why, true);
	w->order = (uint8_t)(shift - PAGE_SHIFT);
	w->frame = (entry_frame(fmt, pte) & ~inside) | ((req->va >> PAGE_SHIFT) & inside);
	w->rights = rights;
	w->leaf = pte;
	w->status = WALK_OK;
	w->why = WALK_WHY_NONE;
	w->error_code = 0;

	uint64_t unset = ~(p->accessed & pte) & fmt->accessed;

	if (req->kind == ACC_WRITE)
		unset |= ~pte & fmt->dirty;
	if (likely(!unset) || req->ad == WALK_AD_PEEK)
		return ATTEMPT_DONE;
	if (req->ad == WALK_AD_FAULT)
		return fail(fmt, req, w, WALK_WHY_ACCESSED, true);
	return update_path(fmt, m, p, req, w, riscv);
}

/*
 * The loop keeps its state in locals and writes the result once, after it:
 * this is the way of every TLB miss.
 */
static ALWAYS_INLINE enum attempt walk_tree(const struct gpt_format *restrict fmt, struct pt_mem *m,
					    uint64_t table, struct path *restrict p,
					    const struct walk_req *restrict req, struct walk *restrict w,
					    const bool riscv)
{
	unsigned level = p->start, n = 0;
	unsigned width = fmt->level[level].shift + index_bits(fmt, level, req->second_stage);
	uint64_t left = req->va & (BIT(width) - 1); /* the bits that no level has used yet */
	uint8_t rights = RIGHT_RWX | RIGHT_U;
	uint64_t pte, addr, accessed = UINT64_MAX;
	enum walk_why why = WALK_WHY_NONE;
	int err;

	if (unlikely(req->start_level >= 0))
		rights = req->start_rights & (RIGHT_RWX | RIGHT_U | RIGHT_G);
	for (;; level--) {
		unsigned shift = fmt->level[level].shift;

		addr = table + (left >> shift) * fmt->entry_size;
		left &= BIT(shift) - 1;
		w->table[n++] = (struct walk_table){
			.addr = table, .level = (uint8_t)level, .rights = rights, .positional = true,
		};
		err = load_entry(fmt, m, level, p, req, addr, &pte);
		if (unlikely(err))
			break;

		bool leaf = entry_is_leaf(fmt, level, pte, p->page_size, riscv);

		why = judge_entry(fmt, p, level, pte, leaf, riscv);
		p->pte[level] = pte;
		if (leaf || unlikely(why))
			break;
		rights = rights_below(fmt, p, level, pte, rights, riscv);
		if (!riscv && level != p->bare)
			accessed &= pte;
		table = entry_frame(fmt, pte) << PAGE_SHIFT;
	}
	w->ntables = (uint8_t)n;
	w->level = (uint8_t)level;
	w->leaf_addr = addr;
	p->accessed = accessed;
	if (unlikely(err))
		return fail_memory(fmt, req, w, err);
	if (unlikely(why))
		return fail(fmt, req, w, why, why != WALK_WHY_NOT_PRESENT);
	return finish_leaf(fmt, m, p, req, w, rights, riscv);
}

void gpt_walk(const struct gpt_format *fmt, struct pt_mem *m, uint64_t root, const struct walk_req *req,
	      struct walk *w)
{
	unsigned top = fmt->levels - 1u;
	bool from_root = req->start_level < 0;
	struct path p;

	p.top = top;
	p.start = from_root ? top : (unsigned)req->start_level;
	p.bare = fmt->top_no_rights ? top : GPT_LEVELS_MAX;
	p.page_size = unlikely(fmt->pse_gate) && !(req->ctl & CTL_PSE) ? 0 : fmt->page_size;
	p.gated = gated_bits(fmt, req->ctl);
	p.grants_all = fmt->write | fmt->user | fmt->exec;
	p.grants = p.grants_all | fmt->no_exec;

	uint64_t align = p.start == top ? (uint64_t)fmt->entry_size << index_bits(fmt, top, req->second_stage) :
					  PAGE_SIZE;
	uint64_t table = align_down(from_root ? root : req->start_table, align);

	w->ntables = 0;
	w->overflow = false;
	w->ad_updated = false;
	w->level = (uint8_t)p.start;
	if (unlikely(!va_is_ok(fmt, req->va, req->second_stage))) {
		fail(fmt, req, w, WALK_WHY_CANONICAL, false);
		return;
	}
	for (int i = 0; i < WALK_TRIES; i++) {
		enum attempt a = fmt->family == GPT_RISCV ? walk_tree(fmt, m, table, &p, req, w, true) :
							    walk_tree(fmt, m, table, &p, req, w, false);

		if (likely(a == ATTEMPT_DONE))
			return;
	}
	fail_memory(fmt, req, w, -EAGAIN);
}
