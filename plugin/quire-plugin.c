/* SPDX-License-Identifier: MIT */
/*
 * Records what a program does to memory while QEMU runs it in user mode:
 * every load and store, an instruction fetch for each block executed (and for
 * each further page the block reaches), and the calls that change mappings,
 * processes and threads, through the relay (src/trace/relay.h).
 *
 * QEMU runs vfork as fork, so that is what is recorded: EV_FORK, two memories.
 * What a child does waits for its parent's EV_FORK; a thread's first slot says
 * EV_THREAD itself. Nothing here may be seen by the program: no descriptor is
 * kept, nothing is printed, errno is QEMU's own.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "quire-plugin.h"

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_API_VERSION;

/* Instructions between two looks at the window where other threads count too. */
enum { QUANTUM = 16384 };

/* Of this process. */
static struct relay_control *ctl;
static struct qemu_setup setup;
static char *binary; /* the program now running, absolute */
static uint32_t pid;
static uint64_t guest_base;
static bool image_started, stack_told;
static atomic_uint threads; /* of this process, that have recorded */
static struct marks marks;

/* Of this thread. Callbacks of a vCPU run in its own thread, so no vCPU number is needed. */
#define PER_THREAD static __thread __attribute__((tls_model("initial-exec")))
PER_THREAD struct relay_slot *self;
PER_THREAD struct relay_slot *out; /* self while the window is open, else NULL */
PER_THREAD bool closed;            /* the window is */
PER_THREAD int64_t granted, left;  /* instructions until the window is looked at again: when it was, and now */
PER_THREAD struct syscall_args call_now;
/* After a fork: the slot that must be handed over first, for it holds the parent's EV_FORK. */
PER_THREAD struct {
	struct relay_slot *slot;
	uint64_t serial;
} parent;

/* The parent tells the fork as soon as QEMU runs it again; if it was killed before, nothing will come. */
static void await_parent(void)
{
	struct relay_slot *s = parent.slot;
	struct timespec nap = {.tv_nsec = 50 * 1000};

	parent.slot = NULL;
	for (int i = 0; s && i < 20000; i++) {
		if (atomic_load(&s->state) != SLOT_OWNED || s->serial != parent.serial || atomic_load(&ctl->stop))
			return;
		nanosleep(&nap, NULL);
	}
}

static void flush_self(void)
{
	int saved = errno;

	if (self && (self->nitems || self->insns)) {
		await_parent();
		self = relay_flush(ctl, self);
		out = closed ? NULL : self;
	}
	errno = saved;
}

static void put_event(const struct trace_event *what)
{
	struct trace_event ev = *what;

	if (self && !relay_has_room(self))
		flush_self();
	if (!self)
		return;
	ev.pid = self->pid;
	ev.tid = self->tid;
	relay_put_event(self, &ev);
}

/* Says what was executed, and whether what follows is recorded. */
static void look_at_window(void)
{
	uint64_t ran = (uint64_t)(granted - left), next;
	bool open = relay_window_open(ctl, atomic_fetch_add(&ctl->insns, ran) + ran, &next);

	/* What follows begins at its own moment. */
	if (open && closed)
		flush_self();
	/* Stopped: the slot stays as it is, for the recorder's last sweep. */
	if (atomic_load(&ctl->stop))
		self = NULL;
	closed = !open;
	out = open ? self : NULL;
	granted = (int64_t)MIN(next, atomic_load(&ctl->threads) > 1 ? (uint64_t)QUANTUM : (uint64_t)1 << 40);
	left = granted;
}

static void put_part(const struct file_part *part)
{
	flush_self();
	contents_of_mapping(ctl, pid, part);
}

/* The first thing a new program does: its memory is new, what the last one left in slots is handed over. */
static void start_image(void)
{
	image_started = true;
	pid = (uint32_t)getpid();
	relay_salvage(ctl, pid, false);
	self = relay_slot_take(ctl, pid, pid, 0);
	put_event(&(struct trace_event){.kind = EV_EXEC});
	const char *path = qemu_plugin_path_to_binary();

	if (path) {
		binary = realpath(path, NULL);
		free((void *)path);
	}
	if (!binary)
		return;
	memory_of_program(binary, guest_base, put_event, ctl->window.contents ? put_part : NULL);
	marks.start = find_place(binary, guest_base, ctl->window.start_at);
	marks.stop = find_place(binary, guest_base, ctl->window.stop_at);
}

static void take_slot(uint32_t flags)
{
	atomic_fetch_add(&ctl->threads, 1);
	self = relay_slot_take(ctl, pid, (uint32_t)gettid(), flags);
}

/* This thread's slot with room for one more item; NULL if nothing is to be recorded now. */
static NOINLINE struct relay_slot *make_room(void)
{
	int saved = errno;

	if (atomic_load_explicit(&ctl->stop, memory_order_relaxed)) {
		out = NULL;
		return NULL;
	}
	if (self) {
		if (!relay_has_room(self))
			flush_self();
	} else {
		if (!image_started) {
			start_image();
		} else {
			take_slot((uint32_t)gettid() == pid ? 0 : RELAY_THREAD);
		}
		atomic_fetch_add(&threads, 1);
		look_at_window();
	}
	out = closed ? NULL : self;
	errno = saved;
	return out;
}

static ALWAYS_INLINE struct relay_slot *room(void)
{
	struct relay_slot *s = out;

	return likely(s && relay_has_room(s)) ? s : make_room();
}

/*
 * What QEMU says of an access, as the low bits of a reference. QEMU gives it
 * by calls; the same words come again and again, so answers are kept: word in
 * the high half, answer in the low, one store each.
 */
static unsigned access_bits(qemu_plugin_meminfo_t info)
{
	static _Atomic uint64_t known[256];
	_Atomic uint64_t *slot = &known[(info ^ info >> 8 ^ info >> 16) % ARRAY_SIZE(known)];
	uint64_t entry = atomic_load_explicit(slot, memory_order_relaxed);

	if (unlikely(entry >> 32 != info || !entry)) {
		entry = (uint64_t)info << 32 | 1u << 31 | qemu_plugin_mem_size_shift(info) << REF_SIZE_SHIFT |
			(qemu_plugin_mem_is_store(info) ? ACC_WRITE : ACC_READ);
		atomic_store_explicit(slot, entry, memory_order_relaxed);
	}
	return entry & 0x1f;
}

/* A block's beginning and the number of its instructions, as one pointer; of a further page's: 0 instructions. */
static void *make_fetch(uint64_t gva, uint64_t insns)
{
	return (void *)(insns << 48 | (gva & (BIT(48) - 1)));
}

static void on_fetch(unsigned vcpu, void *fetch)
{
	uint64_t insns = (uint64_t)fetch >> 48;

	left -= (int64_t)insns;
	if (unlikely(left < 0) && self)
		look_at_window();
	struct relay_slot *s = room();

	if (self)
		self->insns += insns;
	if (s)
		relay_put_ref(s, make_ref((uint64_t)((int64_t)((uint64_t)fetch << 16) >> 16), ACC_EXEC, 1));
}

static void on_access(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t gva, void *unused)
{
	struct relay_slot *s = room();
	unsigned bits = access_bits(info);
	uint64_t crosses = (gva & PAGE_MASK) + (1u << (bits >> REF_SIZE_SHIFT)) > PAGE_SIZE;

	if (s)
		relay_put_ref(s, gva << REF_GVA_SHIFT | crosses << 5 | bits);
}

/* A program's first data access is to its stack (it finds its arguments there). */
static void on_first_access(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t gva, void *unused)
{
	room();
	if (!stack_told && self) {
		stack_told = true;
		memory_of_stack(gva, guest_base, put_event);
	}
	on_access(vcpu, info, gva, unused);
}

static void pass_mark(bool start)
{
	atomic_fetch_add(&ctl->marks, 1);
	atomic_store(&ctl->marked, start);
	if (self)
		look_at_window();
}

static void on_start_mark(unsigned vcpu, void *unused)
{
	room();
	pass_mark(true);
}

static void on_stop_mark(unsigned vcpu, void *unused)
{
	pass_mark(false);
}

/* A mark comes before the block's own fetch or access where it stands at its beginning. */
static void watch_for_marks(struct qemu_plugin_tb *tb, struct qemu_plugin_insn *insn)
{
	uint64_t gva = qemu_plugin_insn_vaddr(insn);

	if (marks.start && gva == marks.start)
		qemu_plugin_register_vcpu_insn_exec_cb(insn, on_start_mark, QEMU_PLUGIN_CB_NO_REGS, NULL);
	if (marks.stop && gva == marks.stop)
		qemu_plugin_register_vcpu_insn_exec_cb(insn, on_stop_mark, QEMU_PLUGIN_CB_NO_REGS, NULL);
}

/* QEMU ends a block at a page's end, but its last instruction may reach over it. */
static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	uint64_t gva = qemu_plugin_tb_vaddr(tb), page = gva >> PAGE_SHIFT;
	size_t n = qemu_plugin_tb_n_insns(tb);

	if (!image_started)
		guest_base = (uint64_t)qemu_plugin_insn_haddr(qemu_plugin_tb_get_insn(tb, 0)) - gva;
	qemu_plugin_register_vcpu_tb_exec_cb(tb, on_fetch, QEMU_PLUGIN_CB_NO_REGS, make_fetch(gva, n));
	for (size_t i = 0; i < n; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint64_t first = qemu_plugin_insn_vaddr(insn), last = first + qemu_plugin_insn_size(insn) - 1;

		watch_for_marks(tb, insn);
		if (last >> PAGE_SHIFT != page) {
			page = last >> PAGE_SHIFT;
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_fetch, QEMU_PLUGIN_CB_NO_REGS,
							       make_fetch(MAX(first, page << PAGE_SHIFT), 0));
		}
		qemu_plugin_register_vcpu_mem_cb(insn, stack_told ? on_access : on_first_access,
						 QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW, NULL);
	}
}

/* Programs mark what is of interest by a call that the kernel refuses without harm (trace/record.h). */
static void marking_call(const struct syscall_args *call)
{
	if (call->num == SYS_prctl && call->a[0] == RECORD_MARK_CALL && ctl->window.by_mark && call->a[1] <= 1)
		pass_mark(call->a[1]);
}

static void on_syscall(qemu_plugin_id_t id, unsigned vcpu, int64_t num, uint64_t a1, uint64_t a2, uint64_t a3,
		       uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
	call_now = (struct syscall_args){.num = num, .a = {a1, a2, a3, a4, a5, a6}};
	room();
	if (!self)
		return;
	put_event(&(struct trace_event){.kind = EV_SYSCALL, .len = (uint64_t)num});
	marking_call(&call_now);
	switch (num) {
	case SYS_fork:
	case SYS_vfork:
	case SYS_clone:
		look_at_window();
		flush_self();
		break;
	case SYS_wait4:
	case SYS_waitid:
	case SYS_kill:
	case SYS_tgkill:
		flush_self();
		break;
	case SYS_execve:
	case SYS_execveat:
		flush_self();
		exec_under_qemu(&setup, guest_base, binary ? binary : "", &call_now);
		break;
	case SYS_exit:
		/* The last thread's exit is the process's: on_exit follows and finds the slot. */
		if (atomic_load(&threads) > 1) {
			atomic_fetch_sub(&threads, 1);
			await_parent();
			look_at_window();
			relay_slot_release(ctl, self);
			self = out = NULL;
		}
		break;
	}
}

static void start_child(void)
{
	parent.slot = self;
	parent.serial = self ? self->serial : 0;
	pid = (uint32_t)getpid();
	granted = left = 0;
	take_slot(0);
	atomic_store(&threads, 1);
	atomic_fetch_add(&ctl->processes, 1);
	look_at_window();
}

static void on_fork_return(int64_t ret)
{
	bool is_thread = call_now.num == SYS_clone && call_now.a[0] & CLONE_THREAD;

	if (ret == 0) {
		start_child();
		return;
	}
	if (ret > 0 && !is_thread)
		put_event(&(struct trace_event){.kind = EV_FORK, .child = (uint32_t)ret});
	flush_self();
}

/* A child reaped is gone: what it could not write itself (a signal ended it) is written now. */
static void salvage_child(int64_t child)
{
	if (child > 0 && kill((pid_t)child, 0) && errno == ESRCH)
		relay_salvage(ctl, (uint32_t)child, true);
}

static void on_syscall_return(qemu_plugin_id_t id, unsigned vcpu, int64_t num, int64_t ret)
{
	struct trace_event ev = {0};
	int saved = errno;

	switch (num) {
	case SYS_fork:
	case SYS_vfork:
	case SYS_clone:
		on_fork_return(ret);
		break;
	case SYS_wait4:
		salvage_child(ret);
		break;
	default:
		room();
		if (self && memory_event(&call_now, ret, &ev)) {
			put_event(&ev);
			if (ctl->window.contents && ev.kind == EV_MMAP && ev.flags & EVF_FILE)
				put_part(&(struct file_part){.fd = (int)call_now.a[4], .offset = call_now.a[5],
							     .gva = ev.addr, .len = call_now.a[1]});
			/* Other threads may use the mapping at once: let it stand before what they do. */
			if (atomic_load(&threads) > 1)
				flush_self();
		}
	}
	errno = saved;
}

/* QEMU has stopped calling the other threads' callbacks: their slots are ours. */
static void on_exit_process(qemu_plugin_id_t id, void *unused)
{
	if (!image_started || (uint32_t)getpid() != pid)
		return;
	await_parent();
	if (self)
		look_at_window();
	self = out = NULL;
	relay_salvage(ctl, pid, true);
}

static const char *argument(int argc, char **argv, const char *key)
{
	size_t n = strlen(key);

	for (int i = 0; i < argc; i++)
		if (!strncmp(argv[i], key, n) && argv[i][n] == '=')
			return argv[i] + n + 1;
	return NULL;
}

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
	static char exe[PATH_MAX];
	const char *ctl_path = argument(argc, argv, "ctl");
	Dl_info here;

	if (info->system_emulation || !ctl_path || !(setup.ctl = strdup(ctl_path)))
		return -1;
	if (readlink("/proc/self/exe", exe, sizeof(exe) - 1) < 0 || !dladdr(&qemu_plugin_version, &here))
		return -1;
	setup.qemu = exe;
	setup.plugin = here.dli_fname;
	ctl = relay_attach(ctl_path);
	/* The recorder was killed: the program runs on, unrecorded. */
	if (!ctl)
		return errno == ENOENT ? 0 : -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
	qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
	qemu_plugin_register_vcpu_syscall_ret_cb(id, on_syscall_return);
	qemu_plugin_register_atexit_cb(id, on_exit_process, NULL);
	return 0;
}
