/* SPDX-License-Identifier: MIT */
/*
 * Records what a program does to memory while QEMU runs it in user mode:
 * every load and store, an instruction fetch for each block executed (and for
 * each further page the block reaches), and the calls that change mappings,
 * processes and threads, into the spool (src/trace/spool.h).
 *
 * QEMU runs vfork as fork, so that is what is recorded: EV_FORK, two memories.
 * A child's blocks wait for its parent's EV_FORK; a thread's first block says
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
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "quire-plugin.h"

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_API_VERSION;

/* Of this process. */
static struct spool_control *ctl;
static struct qemu_setup setup;
static char *binary; /* the program now running, absolute */
static uint32_t pid;
static uint64_t guest_base;
static bool image_started, stack_told;
static atomic_uint threads; /* of this process, that have recorded */

/* Of this thread. Callbacks of a vCPU run in its own thread, so no vCPU number is needed. */
#define PER_THREAD static __thread __attribute__((tls_model("initial-exec")))
PER_THREAD struct spool_slot *self;
PER_THREAD struct syscall_args call_now;
PER_THREAD uint32_t forks; /* begun by this thread since it has its slot */
/* After a fork: whose EV_FORK must stand in the spool first. */
PER_THREAD struct {
	struct spool_slot *slot;
	uint32_t pid, tid, number;
} parent;

/* The parent tells the fork as soon as QEMU runs it again; if it was killed before, nothing will come. */
static void await_parent(void)
{
	struct spool_slot *s = parent.slot;
	struct timespec nap = {.tv_nsec = 50 * 1000};

	parent.slot = NULL;
	for (int i = 0; s && i < 20000; i++) {
		if (atomic_load(&s->state) == SLOT_FREE || s->pid != parent.pid || s->tid != parent.tid ||
		    atomic_load(&s->forks_done) >= parent.number || atomic_load(&ctl->stop))
			return;
		nanosleep(&nap, NULL);
	}
}

static void flush_self(void)
{
	int saved = errno;

	if (self && self->nitems) {
		await_parent();
		spool_flush(ctl, self);
	}
	errno = saved;
}

static void put_event(const struct trace_event *what)
{
	struct trace_event ev = *what;

	if (!self)
		return;
	if (!spool_has_room(self))
		flush_self();
	ev.pid = self->pid;
	ev.tid = self->tid;
	spool_put_event(self, &ev);
}

/* The first thing a new program does: its memory is new, what the last one left in slots is written out. */
static void start_image(void)
{
	image_started = true;
	pid = (uint32_t)getpid();
	spool_salvage(ctl, pid, false);
	self = spool_slot_take(ctl, pid, pid, 0);
	put_event(&(struct trace_event){.kind = EV_EXEC});
	const char *path = qemu_plugin_path_to_binary();

	if (path) {
		binary = realpath(path, NULL);
		free((void *)path);
	}
	if (binary)
		memory_of_program(binary, guest_base, put_event);
}

/* This thread's slot with room for one more item; NULL if nothing is to be recorded. */
static NOINLINE struct spool_slot *make_room(void)
{
	int saved = errno;

	if (self) {
		flush_self();
	} else if (!atomic_load_explicit(&ctl->stop, memory_order_relaxed)) {
		if (!image_started) {
			start_image();
		} else {
			uint32_t tid = (uint32_t)gettid();

			self = spool_slot_take(ctl, pid, tid, tid == pid ? 0 : SPOOL_THREAD);
		}
		forks = 0;
		atomic_fetch_add(&threads, 1);
	}
	errno = saved;
	return self;
}

static ALWAYS_INLINE struct spool_slot *room(void)
{
	struct spool_slot *s = self;

	return likely(s && spool_has_room(s)) ? s : make_room();
}

static void on_fetch(unsigned vcpu, void *gva)
{
	struct spool_slot *s = room();

	if (s)
		spool_put_ref(s, (uint64_t)gva, ACC_EXEC, 0);
}

static void on_access(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t gva, void *unused)
{
	struct spool_slot *s = room();

	if (s)
		spool_put_ref(s, gva, qemu_plugin_mem_is_store(info) ? ACC_WRITE : ACC_READ,
			      qemu_plugin_mem_size_shift(info));
}

/* A program's first data access is to its stack (it finds its arguments there). */
static void on_first_access(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t gva, void *unused)
{
	if (!stack_told && room()) {
		stack_told = true;
		memory_of_stack(gva, guest_base, put_event);
	}
	on_access(vcpu, info, gva, unused);
}

/* QEMU ends a block at a page's end, but its last instruction may reach over it. */
static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	uint64_t gva = qemu_plugin_tb_vaddr(tb), page = gva >> PAGE_SHIFT;
	size_t n = qemu_plugin_tb_n_insns(tb);

	if (!image_started)
		guest_base = (uint64_t)qemu_plugin_insn_haddr(qemu_plugin_tb_get_insn(tb, 0)) - gva;
	qemu_plugin_register_vcpu_tb_exec_cb(tb, on_fetch, QEMU_PLUGIN_CB_NO_REGS, (void *)gva);
	for (size_t i = 0; i < n; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint64_t first = qemu_plugin_insn_vaddr(insn), last = first + qemu_plugin_insn_size(insn) - 1;

		if (last >> PAGE_SHIFT != page) {
			page = last >> PAGE_SHIFT;
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_fetch, QEMU_PLUGIN_CB_NO_REGS,
							       (void *)MAX(first, page << PAGE_SHIFT));
		}
		qemu_plugin_register_vcpu_mem_cb(insn, stack_told ? on_access : on_first_access,
						 QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW, NULL);
	}
}

static void on_syscall(qemu_plugin_id_t id, unsigned vcpu, int64_t num, uint64_t a1, uint64_t a2, uint64_t a3,
		       uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
	call_now = (struct syscall_args){.num = num, .a = {a1, a2, a3, a4, a5, a6}};
	if (!room())
		return;
	put_event(&(struct trace_event){.kind = EV_SYSCALL, .len = (uint64_t)num});
	switch (num) {
	case SYS_fork:
	case SYS_vfork:
	case SYS_clone:
		forks++;
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
			spool_slot_release(ctl, self);
			self = NULL;
		}
		break;
	}
}

static void start_child(void)
{
	parent.slot = self;
	parent.pid = self ? self->pid : 0;
	parent.tid = self ? self->tid : 0;
	parent.number = forks;
	pid = (uint32_t)getpid();
	self = spool_slot_take(ctl, pid, pid, 0);
	forks = 0;
	atomic_store(&threads, 1);
	atomic_fetch_add(&ctl->processes, 1);
}

static void on_fork_return(int64_t ret)
{
	bool is_thread = call_now.num == SYS_clone && call_now.a[0] & CLONE_THREAD;

	if (ret == 0) {
		start_child();
		return;
	}
	if (!self)
		return;
	if (ret > 0 && !is_thread)
		put_event(&(struct trace_event){.kind = EV_FORK, .child = (uint32_t)ret});
	flush_self();
	atomic_store(&self->forks_done, forks);
}

/* A child reaped is gone: what it could not write itself (a signal ended it) is written now. */
static void salvage_child(int64_t child)
{
	if (child > 0 && kill((pid_t)child, 0) && errno == ESRCH)
		spool_salvage(ctl, (uint32_t)child, true);
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
		if (memory_event(&call_now, ret, &ev) && room()) {
			put_event(&ev);
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
	self = NULL;
	spool_salvage(ctl, pid, true);
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
	ctl = spool_attach(ctl_path);
	if (!ctl)
		return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
	qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
	qemu_plugin_register_vcpu_syscall_ret_cb(id, on_syscall_return);
	qemu_plugin_register_atexit_cb(id, on_exit_process, NULL);
	return 0;
}
