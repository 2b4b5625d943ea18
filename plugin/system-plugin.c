/* SPDX-License-Identifier: MIT */
/*
 * Records what a whole x86-64 machine does to its RAM while QEMU emulates it
 * (one processor): every load and store, a fetch for each block executed and
 * each further page it reaches, of programs and kernel alike, and where each
 * page stands in the machine's RAM: EV_PHYS when it is first used, and when it
 * is found elsewhere.
 *
 *   data access ─▶ QEMU tells its gpa ─────────────┐
 *   fetch ─▶ place in QEMU's mapping of the RAM ───┴▶ cache of pages ─▶ spool
 *
 * A page's place is asked for again once the machine has executed something that makes
 * translations void (a load of CR0, CR3 or CR4, INVLPG, INVPCID); before that
 * even a processor could go by what it had.
 *
 * Which address space runs: see the part on spaces below. What no plugin of
 * this interface sees, and so no recording has: the walker's own references,
 * and the frames that interrupts push between two instructions.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "guest-ram.h"
#include "page-map.h"
#include "qemu-plugin-decl.h"
#include "trace/qtr.h"
#include "trace/source.h"
#include "trace/system_control.h"

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_API_VERSION;

enum { USER, KERNEL, HALVES };
enum {
	CACHE_PAGES = 4096,
	RECENT_LOADS = 32,
	RELOAD_LOADS = 2, /* between reading CR3 and writing the same back, at most */
	SPACES_MAX = 4096,
	SPACE_UNKNOWN = 1,
};

/* A page as it was last seen; of no use once its half's epoch has moved on. */
struct cached_page {
	uint64_t vpn;
	uint32_t epoch;
	bool is_ram;
	uint64_t gpa; /* of its first byte */
};

/* A block or its further page, as it was translated: QEMU runs it wherever the same bytes stand. */
struct fetch {
	uint64_t gva, gpa;
	uint64_t moved_to; /* where the space at hand has it, if not at gva */
	uint32_t epoch;    /* for which that holds */
};

static struct system_control *ctl;
static struct qtr_writer *writer; /* NULL: nothing is recorded now */
static struct trace_block block;
static uint64_t refs_left;
static struct guest_ram ram;
static struct page_map told;
static struct cached_page cache[CACHE_PAGES];
static uint32_t epoch[HALVES] = {1, 1};

static uint64_t roots[SPACES_MAX]; /* of space i + 1; of SPACE_UNKNOWN: NOT_RAM */
static uint32_t nspaces = 1, space = SPACE_UNKNOWN;
static uint64_t recent[RECENT_LOADS]; /* gpa of the last loads of 8 bytes */
static uint64_t nrecent, cr3_read_at; /* loads when CR3 was read last */
static struct guest_pair pc;   /* where the processor last was */
static bool is_space_in_doubt; /* no user page of it was seen yet */
static bool is_cr3_read;

static unsigned half_of(uint64_t vpn)
{
	return vpn >> (63 - PAGE_SHIFT) & 1 ? KERNEL : USER;
}

/* ---- the trace ---- */

static void close_trace(void)
{
	struct trace_error err = {0};
	int rc;

	if (!writer)
		return;
	rc = block.nrefs ? qtr_write(writer, &block, &err) : 0;
	/* The first error is the one to tell. */
	if (rc)
		qtr_abandon(writer);
	else
		rc = qtr_close(writer, &err);
	writer = NULL;
	if (rc) {
		memcpy(ctl->what, err.what, sizeof(ctl->what));
		ctl->exit_code = err.exit_code;
	}
	atomic_store(&ctl->done, true);
}

/* True while there is a trace to write to. */
static NOINLINE bool flush(void)
{
	struct trace_error err;

	if (!refs_left || qtr_write(writer, &block, &err)) {
		close_trace();
		return false;
	}
	block.nrefs = block.nevents = 0;
	return true;
}

static void put_event(const struct trace_event *what)
{
	if (!writer)
		return;
	if ((block.nrefs == TRACE_BLOCK_REFS || block.nevents == TRACE_BLOCK_EVENTS) && !flush())
		return;
	block_put_event(&block, what);
}

static void put_switch(void)
{
	put_event(&(struct trace_event){.kind = EV_SWITCH, .pid = space, .tid = space});
}

static ALWAYS_INLINE void put_ref(uint64_t gva, enum acc_kind kind, unsigned log2_size)
{
	if (unlikely(block.nrefs == TRACE_BLOCK_REFS || !refs_left) && !flush())
		return;
	block_put_ref(&block, gva, kind, 1u << log2_size);
	ctl->refs[half_of(gva >> PAGE_SHIFT)]++;
	refs_left--;
}

/* ---- spaces ----
 *
 * A load of CR3 is seen, its value is not. A kernel that has just read CR3
 * writes the same back: a flush. Else, what it puts there it has
 * just read from its own records, so the value is looked for among the last
 * loads: a number, or the address of a page, that is a root of page tables by
 * which the processor stands where it is known to stand. Where that fails, the
 * first user page used afterwards tells: the only root in all of the RAM that
 * has both is the one. Where that fails too, the space stays as it was, and
 * pages that differ are pages that moved.
 */

static uint64_t root(void)
{
	return roots[space - 1];
}

static void enter_space(uint64_t new_root)
{
	uint32_t s = 1;

	while (s < nspaces && roots[s] != new_root)
		s++;
	if (s == nspaces) {
		if (nspaces == SPACES_MAX) {
			ctl->unknown_switches++;
			return;
		}
		roots[nspaces++] = new_root;
		ctl->spaces = nspaces;
	}
	if (space == s + 1)
		return;
	space = s + 1;
	put_switch();
}

/* A root that knows the kernel's half: only that is asked of it. */
static uint64_t any_root(void)
{
	static uint64_t last = NOT_RAM;

	if (root() != NOT_RAM)
		return root();
	if (last == NOT_RAM || !guest_ram_is_root(&ram, last, &pc, 1))
		last = guest_ram_next_root(&ram, 0, &pc, 1);
	return last;
}

/* What the processor may be about to load, by its last loads; NOT_RAM: nothing fits. */
static uint64_t root_from_loads(void)
{
	uint64_t known = any_root();

	for (unsigned i = 1; i <= MIN(nrecent, (uint64_t)RECENT_LOADS); i++) {
		uint64_t v = guest_ram_word(&ram, recent[(nrecent - i) % RECENT_LOADS]), at;

		if (!v || v & PAGE_MASK)
			continue;
		if (guest_ram_is_root(&ram, v, &pc, 1))
			return v;
		at = known == NOT_RAM ? NOT_RAM : guest_ram_walk(&ram, known, v);
		if (at != NOT_RAM && guest_ram_is_root(&ram, at, &pc, 1))
			return at;
	}
	return NOT_RAM;
}

/* The only root that has both where the processor is and this page; NOT_RAM: none, or several. */
static uint64_t root_by_page(uint64_t vpn, uint64_t gpa)
{
	const struct guest_pair pairs[2] = {pc, {vpn << PAGE_SHIFT, gpa}};
	uint64_t found = guest_ram_next_root(&ram, 0, pairs, 2);

	if (found == NOT_RAM || guest_ram_next_root(&ram, found + PAGE_SIZE, pairs, 2) != NOT_RAM)
		return NOT_RAM;
	return found;
}

/* The first pages of the lower half that are used confirm the space, or tell which it is. */
static void check_space(uint64_t vpn, uint64_t gpa)
{
	uint64_t found;

	if (root() != NOT_RAM && guest_ram_walk(&ram, root(), vpn << PAGE_SHIFT) == gpa) {
		ctl->pages_agree++;
		is_space_in_doubt = false;
		return;
	}
	if (root() != NOT_RAM)
		ctl->pages_differ++;
	if (!is_space_in_doubt)
		return;
	is_space_in_doubt = false;
	found = root_by_page(vpn, gpa);
	if (found == NOT_RAM)
		return;
	ctl->by_page++;
	enter_space(found);
}

static void on_read_cr3(unsigned vcpu, void *unused)
{
	is_cr3_read = true;
	cr3_read_at = nrecent;
}

static void on_load_cr3(unsigned vcpu, void *where)
{
	const struct fetch *f = where;
	uint64_t found;

	epoch[USER]++;
	if (!writer)
		return;
	ctl->cr3_loads++;
	if (is_cr3_read && nrecent - cr3_read_at <= RELOAD_LOADS) {
		is_cr3_read = false;
		ctl->reloads++;
		return;
	}
	pc = (struct guest_pair){f->gva, f->gpa};
	found = f->gpa == NOT_RAM ? NOT_RAM : root_from_loads();
	is_space_in_doubt = true;
	if (found == NOT_RAM) {
		ctl->unknown_switches++;
		return;
	}
	ctl->by_load++;
	enter_space(found);
}

static void on_flush(unsigned vcpu, void *unused)
{
	epoch[USER]++;
	epoch[KERNEL]++;
}

/* ---- pages ---- */

static struct cached_page *cached(uint64_t vpn)
{
	return &cache[vpn % CACHE_PAGES];
}

static bool is_current(const struct cached_page *p, uint64_t vpn)
{
	return p->vpn == vpn && p->epoch == epoch[half_of(vpn)];
}

/* The page stands at gpa: tells it if that is new. */
static struct cached_page *see_page(uint64_t vpn, uint64_t gpa)
{
	struct cached_page *p = cached(vpn);
	bool upper = half_of(vpn) == KERNEL;

	if (gpa != NOT_RAM && !upper)
		check_space(vpn, gpa);
	*p = (struct cached_page){vpn, epoch[half_of(vpn)], gpa != NOT_RAM, gpa};
	if (gpa == NOT_RAM)
		return p;

	uint32_t *frame = page_map_at(&told, upper ? 0 : space, vpn), now = (uint32_t)(gpa >> PAGE_SHIFT) + 1;

	if (!frame)
		abort(); /* a recording that forgets is wrong; QEMU itself ends so when memory is short */
	if (*frame == now)
		return p;
	ctl->pages++;
	ctl->moved += *frame != 0;
	*frame = now;
	put_event(&(struct trace_event){.kind = EV_PHYS, .pid = space, .tid = space, .addr = vpn << PAGE_SHIFT,
					.len = PAGE_SIZE, .addr2 = gpa, .prot = PROT_BIT_R | PROT_BIT_W | PROT_BIT_X});
	return p;
}

/* Where a data access goes, as QEMU has translated it. */
static NOINLINE struct cached_page *ask_qemu(qemu_plugin_meminfo_t info, uint64_t gva)
{
	const struct qemu_plugin_hwaddr *where = qemu_plugin_get_hwaddr(info, gva);
	uint64_t gpa = NOT_RAM;

	if (where && !qemu_plugin_hwaddr_is_io(where))
		gpa = qemu_plugin_hwaddr_phys_addr(where) & ~(uint64_t)PAGE_MASK;
	return see_page(gva >> PAGE_SHIFT, gpa < ram.bytes ? gpa : NOT_RAM);
}

static void on_access(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t gva, void *unused)
{
	unsigned log2_size = qemu_plugin_mem_size_shift(info);
	uint64_t vpn = gva >> PAGE_SHIFT, last = (gva + BIT(log2_size) - 1) >> PAGE_SHIFT;
	bool is_store = qemu_plugin_mem_is_store(info);
	struct cached_page *p = cached(vpn);

	if (!writer)
		return;
	if (unlikely(!is_current(p, vpn)))
		p = ask_qemu(info, gva);
	if (unlikely(!p->is_ram)) {
		ctl->devices++;
		return;
	}
	if (log2_size == 3 && !is_store)
		recent[nrecent++ % RECENT_LOADS] = p->gpa | (gva & PAGE_MASK);
	if (unlikely(last != vpn) && !is_current(cached(last), last))
		ask_qemu(info, last << PAGE_SHIFT);
	if (likely(writer))
		put_ref(gva, is_store ? ACC_WRITE : ACC_READ, log2_size);
}

/* Where the space at hand has the bytes of a block that was translated elsewhere. */
static uint64_t gva_of_fetch(struct fetch *f)
{
	uint64_t at;

	if (root() == NOT_RAM || f->gva >> 63 || guest_ram_walk(&ram, root(), f->gva) == f->gpa)
		return f->gva;
	at = guest_ram_gva_of(&ram, root(), f->gpa & ~(uint64_t)PAGE_MASK);
	if (at == NOT_RAM)
		return f->gva;
	ctl->fetches_moved++;
	return at | (f->gva & PAGE_MASK);
}

static NOINLINE void see_fetch(struct fetch *f)
{
	if (is_space_in_doubt && !(f->gva >> 63))
		check_space(f->gva >> PAGE_SHIFT, f->gpa & ~(uint64_t)PAGE_MASK);
	f->moved_to = gva_of_fetch(f);
	f->epoch = epoch[USER];
	see_page(f->moved_to >> PAGE_SHIFT, f->gpa & ~(uint64_t)PAGE_MASK);
}

static void on_fetch(unsigned vcpu, void *where)
{
	struct fetch *f = where;
	uint64_t vpn = f->gva >> PAGE_SHIFT, gva = f->gva;
	struct cached_page *p = cached(vpn);

	if (!writer)
		return;
	if (unlikely(f->gpa == NOT_RAM)) {
		ctl->roms++;
		return;
	}
	if (unlikely(!is_current(p, vpn) || p->gpa != (f->gpa & ~(uint64_t)PAGE_MASK))) {
		if (f->epoch != epoch[USER])
			see_fetch(f);
		gva = f->moved_to;
	}
	if (likely(writer))
		put_ref(gva, ACC_EXEC, 0);
}

/* ---- marks ---- */

static void start_recording(const struct fetch *f)
{
	struct trace_error err;

	if (writer || atomic_load(&ctl->done))
		return;
	writer = qtr_create(ctl->trace, &(struct qtr_options){.facts = ctl->facts, .tells_calls = true}, &err);
	if (!writer) {
		memcpy(ctl->what, err.what, sizeof(ctl->what));
		ctl->exit_code = err.exit_code;
		atomic_store(&ctl->done, true);
		return;
	}
	refs_left = ctl->limit ? ctl->limit : UINT64_MAX;
	on_flush(0, NULL);
	put_event(&(struct trace_event){.kind = EV_RAM, .len = ram.bytes});
	put_switch();
	if (!f)
		return;
	/* Its page was loaded for this process alone, so there is one root that has it. */
	pc = (struct guest_pair){f->gva, f->gpa};
	is_space_in_doubt = true;
	check_space(f->gva >> PAGE_SHIFT, f->gpa & ~(uint64_t)PAGE_MASK);
}

static void on_start_mark(unsigned vcpu, void *where)
{
	ctl->start_marks++;
	if (ctl->at_command)
		start_recording(where);
}

static void on_end_mark(unsigned vcpu, void *unused)
{
	ctl->end_marks++;
	if (ctl->at_command)
		close_trace();
}

/* ---- translation ---- */

enum insn_kind { INSN_OTHER, INSN_CR3, INSN_READ_CR3, INSN_FLUSH, INSN_START, INSN_END };

/* Intel SDM 2: MOV from CR 0F 20 /r, to CR 0F 22 /r, INVLPG 0F 01 /7 of memory, INVPCID 66 0F 38 82. */
static enum insn_kind kind_of(const uint8_t *p, size_t n)
{
	static const uint8_t mark[4] = {0x0f, 0x1f, 0x84, 0x00};

	if (n >= 8 && !memcmp(p, mark, sizeof(mark)) && !memcmp(p + 4, SYSTEM_MARK, 3))
		return p[7] == SYSTEM_MARK_START ? INSN_START : p[7] == SYSTEM_MARK_END ? INSN_END : INSN_OTHER;
	/* Prefixes: sizes, repeats, segments, and REX. */
	while (n && (*p == 0x66 || *p == 0x67 || *p == 0xf2 || *p == 0xf3 || *p == 0x2e || *p == 0x3e ||
		     (*p & 0xf0) == 0x40)) {
		p++;
		n--;
	}
	if (n < 3 || p[0] != 0x0f)
		return INSN_OTHER;
	unsigned reg = p[2] >> 3 & 7;

	if (p[1] == 0x20)
		return reg == 3 ? INSN_READ_CR3 : INSN_OTHER;
	if (p[1] == 0x22)
		return reg == 3 ? INSN_CR3 : INSN_FLUSH;
	if (p[1] == 0x01 && reg == 7 && p[2] >> 6 != 3)
		return INSN_FLUSH;
	return p[1] == 0x38 && p[2] == 0x82 ? INSN_FLUSH : INSN_OTHER;
}

/* Blocks are translated seldom, and QEMU keeps their callbacks' data for good. */
static struct fetch *make_fetch(const struct qemu_plugin_insn *insn)
{
	struct fetch *f = malloc(sizeof(*f));

	if (!f)
		abort();
	*f = (struct fetch){.gva = qemu_plugin_insn_vaddr(insn), .gpa = guest_ram_gpa(&ram, qemu_plugin_insn_haddr(insn))};
	f->moved_to = f->gva;
	return f;
}

static void watch_insn(struct qemu_plugin_insn *insn)
{
	enum insn_kind kind = kind_of(qemu_plugin_insn_data(insn), qemu_plugin_insn_size(insn));
	static const qemu_plugin_vcpu_udata_cb_t on[] = {
		[INSN_CR3] = on_load_cr3, [INSN_READ_CR3] = on_read_cr3, [INSN_FLUSH] = on_flush, [INSN_START] = on_start_mark, [INSN_END] = on_end_mark,
	};

	if (kind != INSN_OTHER)
		qemu_plugin_register_vcpu_insn_exec_cb(insn, on[kind], QEMU_PLUGIN_CB_NO_REGS,
						       make_fetch(insn));
}

/* The second page of an instruction that reaches over a page's end is told by the instruction after it. */
static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t n = qemu_plugin_tb_n_insns(tb);
	uint64_t page = qemu_plugin_tb_vaddr(tb) >> PAGE_SHIFT;
	struct qemu_plugin_insn *first = qemu_plugin_tb_get_insn(tb, 0);

	if (!ram.base && guest_ram_find(&ram, ctl->ram_bytes) && !ctl->at_command)
		start_recording(NULL);
	qemu_plugin_register_vcpu_tb_exec_cb(tb, on_fetch, QEMU_PLUGIN_CB_NO_REGS, make_fetch(first));
	for (size_t i = 0; i < n; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint64_t at = qemu_plugin_insn_vaddr(insn) >> PAGE_SHIFT;

		if (at != page) {
			page = at;
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_fetch, QEMU_PLUGIN_CB_NO_REGS,
							       make_fetch(insn));
		}
		watch_insn(insn);
		qemu_plugin_register_vcpu_mem_cb(insn, on_access, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW, NULL);
	}
}

static void on_exit_machine(qemu_plugin_id_t id, void *unused)
{
	close_trace();
}

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
	if (!info->system_emulation || info->max_vcpus > 1 || argc != 1 || strncmp(argv[0], "ctl=", 4))
		return -1;
	ctl = system_control_attach(argv[0] + 4);
	if (!ctl)
		return -1;
	roots[0] = NOT_RAM;
	ctl->spaces = nspaces;
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
	qemu_plugin_register_atexit_cb(id, on_exit_machine, NULL);
	return 0;
}
