/* SPDX-License-Identifier: MIT */
/*
 * DynamoRIO's drmemtrace, after its post-processing ("sec_drcachesim_format"
 * and trace_entry.h of its documentation): entries without gaps,
 *
 *     64-bit programs  │ type u16 │ size u16 │ addr u64 │  12 bytes
 *     32-bit programs  │ type u16 │ size u16 │ addr u32 │   8 bytes
 *
 * the first of type HEADER with the version, the last of type FOOTER. In a zip
 * file each member is a chunk of them, in order. Becomes of them here:
 *
 *     instructions, bundles of them       a fetch each
 *     READ, WRITE                         a load, a store
 *     THREAD, PID                         EV_SWITCH before the next reference; EV_THREAD for
 *                                         a process's second thread and those after it
 *     THREAD_EXIT                         EV_EXIT at the end, once all threads seen of a process ended
 *     marker SYSCALL                      EV_SYSCALL
 *     prefetches, flushes, kernel halves  left out, counted (dr_describe)
 *     other markers, encodings            left out
 *
 * References to the upper half are the recorded kernel's, or the vsyscall
 * page: the model guest's kernel is not theirs.
 */
#include <stdlib.h>
#include <string.h>

#include "trace/drmemtrace.h"
#include "trace/source.h"

enum dr_type {
	DR_READ = 0, DR_WRITE = 1, DR_PREFETCH = 2, DR_PREFETCH_INSTR = 9,
	DR_INSTR = 10, DR_INSTR_RETURN = 16, DR_BUNDLE = 17, DR_FLUSH = 18, DR_FLUSH_END = 21,
	DR_THREAD = 22, DR_THREAD_EXIT = 23, DR_PID = 24, DR_HEADER = 25, DR_FOOTER = 26, DR_HARDWARE_PREFETCH = 27,
	DR_MARKER = 28, DR_NO_FETCH = 29, DR_MAYBE_FETCH = 30, DR_SYSENTER = 31, DR_PREFETCH_2 = 32,
	DR_PREFETCH_2_LAST = 46, DR_ENCODING = 47, DR_TAKEN_JUMP = 48, DR_UNTAKEN_JUMP = 49,
};

enum dr_marker { DR_MARKER_FILETYPE = 9, DR_MARKER_VERSION = 12, DR_MARKER_SYSCALL = 25 };

enum dr_filetype {
	DR_FILE_FILTERED = 0x01, DR_FILE_AARCH64 = 0x08, DR_FILE_ARM32 = 0x10, DR_FILE_X86_32 = 0x20, DR_FILE_X86_64 = 0x40,
	DR_FILE_IFILTERED = 0x80, DR_FILE_DFILTERED = 0x100, DR_FILE_SYSCALLS = 0x400,
};

enum {
	DR_VERSION_MAX = 64, /* six so far; larger numbers are no drmemtrace */
	DR_ENTRY_32 = 8, DR_ENTRY_64 = 12,
	DR_ENTRY_REFS_MAX = 2 + ACCESS_REFS_MAX, /* EV_THREAD, EV_SWITCH, and the largest access */
};

struct dr_entry {
	uint16_t type, size;
	uint64_t addr;
};

struct dr_reader {
	struct record_reader r;
	size_t entry;            /* DR_ENTRY_* */
	uint64_t version, filetype;
	uint64_t first_version, first_filetype; /* by the file's first entries */
	uint64_t prefetches, flushes, kernel;
	uint32_t tid, pid;       /* of what follows; pid 0: not told */
	uint32_t shown_tid, shown_pid; /* of the last EV_SWITCH */
	uint32_t exits_told;     /* processes looked at after the footer */
	uint64_t last_pc, next_pc;
	bool has_ended;          /* the footer was read */
	struct dr_threads threads;
};

static struct dr_entry entry_at(const uint8_t *p, size_t size)
{
	struct dr_entry e = { 0 };

	memcpy(&e.type, p, 2);
	memcpy(&e.size, p + 2, 2);
	memcpy(&e.addr, p + 4, size - 4);
	return e;
}

static bool is_instr(unsigned type)
{
	return (type >= DR_INSTR && type <= DR_INSTR_RETURN) || type == DR_MAYBE_FETCH || type == DR_SYSENTER ||
	       type == DR_TAKEN_JUMP || type == DR_UNTAKEN_JUMP;
}

static bool is_prefetch(unsigned type)
{
	return (type >= DR_PREFETCH && type <= DR_PREFETCH_INSTR) || type == DR_HARDWARE_PREFETCH ||
	       (type >= DR_PREFETCH_2 && type <= DR_PREFETCH_2_LAST);
}

static void put_switch(struct dr_reader *d, struct trace_block *b)
{
	if (d->pid == 0 || (d->pid == d->shown_pid && d->tid == d->shown_tid))
		return;
	block_put_event(b, &(struct trace_event){ .kind = EV_SWITCH, .pid = d->pid, .tid = d->tid });
	d->shown_pid = d->pid;
	d->shown_tid = d->tid;
}

/* NULL, or what is wrong. size 0 is an access whose extent the tracer did not know. */
static const char *put_access(struct dr_reader *d, struct trace_block *b, uint64_t gva, enum acc_kind kind, unsigned size)
{
	/* AArch64 ignores the top byte of data addresses (Arm ARM, D8.8); programs keep tags there. */
	if (d->filetype & DR_FILE_AARCH64)
		gva = (uint64_t)((int64_t)(gva << 8) >> 8);
	if ((int64_t)gva < 0) {
		d->kernel++;
		return NULL;
	}
	size = MAX(size, 1u);
	if (unlikely(!ref_gva_ok(gva) || !ref_gva_ok(gva + size - 1)))
		return "the address does not fit in 58 bits";
	put_switch(d, b);
	block_put_access(b, gva, kind, size);
	return NULL;
}

static const char *put_instr(struct dr_reader *d, struct trace_block *b, const struct dr_entry *e)
{
	/* An instruction that repeats itself is fetched once. */
	bool is_repeated = e->type == DR_MAYBE_FETCH && e->addr == d->last_pc;

	d->next_pc = e->addr + e->size;
	d->last_pc = e->addr;
	/* Size 0 only says whose the accesses are that follow. */
	return is_repeated || !e->size ? NULL : put_access(d, b, e->addr, ACC_EXEC, e->size);
}

/* Lengths of the instructions behind the last one, a byte each. */
static const char *put_bundle(struct dr_reader *d, struct trace_block *b, const struct dr_entry *e)
{
	const char *wrong = NULL;

	if (e->size > d->entry - 4)
		return "a bundle of more instructions than it has room for";
	for (unsigned i = 0; !wrong && i < e->size; i++) {
		unsigned length = (e->addr >> 8 * i) & 0xff;

		if (length)
			wrong = put_access(d, b, d->next_pc, ACC_EXEC, length);
		d->next_pc += length;
	}
	return wrong;
}

static const char *take_thread(struct dr_reader *d, uint64_t tid)
{
	struct dr_thread *t;

	if (tid == 0 || tid > UINT32_MAX)
		return "no thread has such a number";
	t = dr_thread(&d->threads, (uint32_t)tid);
	if (!t)
		return "it names more threads than can be";
	d->tid = t->tid;
	d->pid = t->pid;
	return NULL;
}

static const char *take_pid(struct dr_reader *d, struct trace_block *b, uint64_t pid)
{
	struct dr_thread *t;

	if (pid == 0 || pid > UINT32_MAX)
		return "no process has such a number";
	if (d->tid == 0)
		return "a process is named before any of its threads";
	t = dr_thread(&d->threads, d->tid);
	d->pid = (uint32_t)pid;
	if (t->pid == pid && !t->has_exited)
		return NULL;
	switch (dr_join(&d->threads, t, d->pid)) {
	case DR_JOINED_NONE:
		return "out of memory";
	case DR_JOINED_MORE:
		block_put_event(b, &(struct trace_event){ .kind = EV_THREAD, .pid = d->pid, .tid = d->tid });
		return NULL;
	case DR_JOINED_FIRST:
		break;
	}
	return NULL;
}

static const char *take_exit(struct dr_reader *d, uint64_t tid)
{
	const char *wrong = take_thread(d, tid);

	if (!wrong)
		dr_exit(&d->threads, dr_thread(&d->threads, d->tid));
	return wrong;
}

static const char *take_marker(struct dr_reader *d, struct trace_block *b, const struct dr_entry *e)
{
	switch (e->size) {
	case DR_MARKER_VERSION:
		d->version = e->addr;
		break;
	case DR_MARKER_FILETYPE:
		d->filetype = e->addr;
		break;
	case DR_MARKER_SYSCALL:
		put_switch(d, b);
		block_put_event(b, &(struct trace_event){ .kind = EV_SYSCALL, .pid = d->pid, .tid = d->tid, .len = e->addr });
		break;
	}
	return NULL;
}

/* NULL, or what is wrong. */
static const char *take_entry(struct dr_reader *d, struct trace_block *b, const struct dr_entry *e)
{
	if (e->type == DR_READ || e->type == DR_WRITE)
		return put_access(d, b, e->addr, e->type == DR_READ ? ACC_READ : ACC_WRITE, e->size);
	if (is_instr(e->type))
		return put_instr(d, b, e);
	if (is_prefetch(e->type)) {
		d->prefetches++;
		return NULL;
	}
	switch (e->type) {
	case DR_BUNDLE:
		return put_bundle(d, b, e);
	case DR_THREAD:
		return take_thread(d, e->addr);
	case DR_PID:
		return take_pid(d, b, e->addr);
	case DR_THREAD_EXIT:
		return take_exit(d, e->addr);
	case DR_MARKER:
		return take_marker(d, b, e);
	case DR_HEADER:
		return e->addr > DR_VERSION_MAX ? "a header of no known version" : NULL;
	case DR_FOOTER:
		d->has_ended = true;
		return NULL;
	case DR_NO_FETCH:
	case DR_ENCODING:
		return NULL;
	}
	if (e->type >= DR_FLUSH && e->type <= DR_FLUSH_END) {
		d->flushes++;
		return NULL;
	}
	return "an entry of no known type";
}

/* After the footer: the processes that have ended do so now, as far as the block has room. */
static void put_exits(struct dr_reader *d, struct trace_block *b)
{
	for (; d->exits_told < d->threads.nprocesses && b->nevents < TRACE_BLOCK_EVENTS; d->exits_told++) {
		const struct dr_process *p = &d->threads.process[d->exits_told];

		if (!p->running)
			block_put_event(b, &(struct trace_event){ .kind = EV_EXIT, .pid = p->pid });
	}
}

static int dr_read(struct trace *t, struct trace_block *b, struct trace_error *err)
{
	struct dr_reader *d = container_of(t, struct dr_reader, r.file.t);
	struct dr_entry e;
	const uint8_t *p = NULL;
	const char *wrong;

	b->nrefs = b->nevents = 0;
	while (!d->r.damage.exit_code && b->nrefs <= TRACE_BLOCK_REFS - DR_ENTRY_REFS_MAX &&
	       b->nevents < TRACE_BLOCK_EVENTS - 2 && (p = record_next(&d->r, d->entry)) != NULL) {
		e = entry_at(p, d->entry);
		wrong = d->has_ended && e.type != DR_HEADER ? "something follows the footer" : NULL;
		d->has_ended = false;
		if (!wrong)
			wrong = take_entry(d, b, &e);
		if (unlikely(wrong))
			record_damaged(&d->r, d->entry, wrong);
	}
	if (!p && !d->r.damage.exit_code && !d->has_ended)
		record_damaged(&d->r, 0, "the trace was cut short here (no footer)");
	if (!p && d->has_ended)
		put_exits(d, b);
	if (b->nrefs)
		d->r.file.barren = 0;
	return record_result(&d->r, b, err);
}

static void begin(struct dr_reader *d)
{
	dr_threads_fini(&d->threads);
	d->version = d->first_version;
	d->filetype = d->first_filetype;
	d->prefetches = d->flushes = d->kernel = 0;
	d->tid = d->pid = d->shown_tid = d->shown_pid = d->exits_told = 0;
	d->last_pc = d->next_pc = 0;
	d->has_ended = false;
}

static int dr_rewind(struct trace *t, struct trace_error *err)
{
	struct dr_reader *d = container_of(t, struct dr_reader, r.file.t);

	begin(d);
	return record_rewind(&d->r, err);
}

static void dr_close(struct trace *t)
{
	dr_threads_fini(&container_of(t, struct dr_reader, r.file.t)->threads);
	trace_file_close(t);
}

static const char *machine(uint64_t filetype)
{
	return filetype & DR_FILE_X86_64 ? "x86-64" : filetype & DR_FILE_X86_32 ? "x86-32" :
	       filetype & DR_FILE_AARCH64 ? "AArch64" : filetype & DR_FILE_ARM32 ? "Arm" : "unnamed processor";
}

static void dr_describe(const struct trace *t, enum trace_text which, char *out, size_t n)
{
	const struct dr_reader *d = container_of(t, struct dr_reader, r.file.t);

	if (which == TRACE_ORIGIN)
		snprintf(out, n, "DynamoRIO on %s, version %llu of its format%s", machine(d->filetype),
			 (unsigned long long)d->version,
			 d->filetype & (DR_FILE_FILTERED | DR_FILE_IFILTERED | DR_FILE_DFILTERED) ?
				 ", filtered by a cache as it was recorded" : "");
	else if (d->prefetches || d->flushes || d->kernel)
		snprintf(out, n, "%llu prefetches, %llu flushes, %llu references of the kernel",
			 (unsigned long long)d->prefetches, (unsigned long long)d->flushes, (unsigned long long)d->kernel);
}

static const struct trace_ops dr_ops = {
	.read = dr_read, .rewind = dr_rewind, .close = dr_close, .describe = dr_describe,
};

/* The header's entry: version in its address, which has eight bytes or, when another entry follows at once, four. */
static size_t entry_size(const struct trace_head *head)
{
	struct dr_entry e;

	if (head->n < DR_ENTRY_64)
		return 0;
	e = entry_at((const uint8_t *)head->bytes, DR_ENTRY_32);
	if (e.type != DR_HEADER || e.size || e.addr > DR_VERSION_MAX)
		return 0;
	e = entry_at((const uint8_t *)head->bytes, DR_ENTRY_64);
	return e.addr <= DR_VERSION_MAX ? DR_ENTRY_64 : DR_ENTRY_32;
}

static bool dr_recognises(const struct trace_format *f, const struct trace_head *head)
{
	return entry_size(head) != 0;
}

/* The file's type stands among its first entries, and is wanted before the first block is. */
static void look_ahead(struct dr_reader *d, const struct trace_head *head)
{
	for (size_t at = 0; at + d->entry <= head->n; at += d->entry) {
		struct dr_entry e = entry_at((const uint8_t *)head->bytes + at, d->entry);

		if (is_instr(e.type))
			return;
		if (e.type == DR_MARKER && e.size == DR_MARKER_FILETYPE)
			d->first_filetype = e.addr;
		if (e.type == DR_HEADER)
			d->first_version = e.addr;
	}
}

static struct trace *dr_open(const struct trace_format *f, const struct trace_head *head, struct trace_error *err)
{
	size_t entry = entry_size(head);
	struct dr_reader *d;

	if (!entry) {
		trace_fail(err, TRACE_EXIT_INPUT, "%s: byte 0: no drmemtrace begins so; raw files of -offline must go through DynamoRIO's raw2trace first",
			   head->name);
		input_close(head->in);
		return NULL;
	}
	d = record_open(f, &dr_ops, sizeof(*d), head, err);
	if (!d)
		return NULL;
	d->entry = entry;
	look_ahead(d, head);
	begin(d);
	d->r.file.t.tells_calls = d->filetype & DR_FILE_SYSCALLS;
	return &d->r.file.t;
}

const struct trace_format drmemtrace_format = {
	.name = "drmemtrace",
	.alias = "dynamorio",
	.summary = "DynamoRIO's drmemtrace, .trace.zip or .trace.gz: processes, threads, system calls",
	.recognises = dr_recognises,
	.open = dr_open,
};
