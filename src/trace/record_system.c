/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "trace/parts.h"
#include "trace/record_system.h"
#include "trace/source.h"

enum { POLL_US = 5000, GRACE_POLLS = 1000 };

struct machine_files {
	char qemu[PATH_MAX], plugin[PATH_MAX], image[PATH_MAX], mark[PATH_MAX]; /* found */
	char cache[PATH_MAX], kernel[PATH_MAX];
	char dir[PATH_MAX]; /* of this run; removed at its end */
	char control[PATH_MAX], initramfs[PATH_MAX], status[PATH_MAX];
};

static int find_tools(struct machine_files *m, struct trace_error *err)
{
	const char *env = getenv("QUIRE_QEMU_SYSTEM");

	if (!find_in_path(env && *env ? env : "qemu-system-x86_64", m->qemu) || access(m->qemu, X_OK))
		return trace_fail(err, TRACE_EXIT_INPUT,
				  "recording a machine needs qemu-system-x86_64; install the package qemu-system-x86 (tools/deps system)");
	if (!find_part("QUIRE_SYSTEM_PLUGIN", "quire-system-plugin.so", m->plugin) ||
	    !find_part("QUIRE_SYSTEM_IMAGE", "quire-system-image", m->image) ||
	    !find_part("QUIRE_GUEST_MARK", "quire-guest-mark", m->mark))
		return trace_fail(err, TRACE_EXIT_INPUT,
				  "quire-system-plugin.so, quire-system-image and quire-guest-mark were not found together; build or install Quire wholly");
	return 0;
}

/* $XDG_CACHE_HOME, else ~/.cache, as the XDG Base Directory Specification has it. */
static int find_cache(struct machine_files *m, struct trace_error *err)
{
	const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	int n = -1;

	if (xdg && *xdg == '/')
		n = snprintf(m->cache, PATH_MAX, "%s/quire/system", xdg);
	else if (home && *home == '/')
		n = snprintf(m->cache, PATH_MAX, "%s/.cache/quire/system", home);
	if (n < 0 || n >= PATH_MAX)
		return trace_fail(err, TRACE_EXIT_INPUT, "no folder for downloads: set HOME or XDG_CACHE_HOME");
	return 0;
}

/* snprintf into a path; the shorter names below dir always fit. */
static bool name_file(char out[PATH_MAX], const char *dir, const char *name)
{
	return snprintf(out, PATH_MAX, "%s/%s", dir, name) < PATH_MAX;
}

static int make_dir(struct machine_files *m, struct trace_error *err)
{
	const char *tmp = getenv("TMPDIR");

	if (!name_file(m->dir, tmp && *tmp ? tmp : "/tmp", "quire-system-XXXXXX") || !mkdtemp(m->dir)) {
		m->dir[0] = '\0';
		return trace_fail(err, TRACE_EXIT_INPUT, "no folder for the machine's files can be made: %s; set TMPDIR",
				  strerror(errno));
	}
	/* QEMU splits options at commas. */
	if (strchr(m->dir, ',') || strchr(m->plugin, ','))
		return trace_fail(err, TRACE_EXIT_USAGE, "%s: a comma in this path cannot be told to QEMU",
				  strchr(m->dir, ',') ? m->dir : m->plugin);
	if (!name_file(m->control, m->dir, "control") || !name_file(m->initramfs, m->dir, "initramfs") ||
	    !name_file(m->status, m->dir, "status"))
		return trace_fail(err, TRACE_EXIT_USAGE, "TMPDIR is too long");
	return 0;
}

static void remove_dir(const struct machine_files *m)
{
	if (!m->dir[0])
		return;
	unlink(m->control);
	unlink(m->initramfs);
	unlink(m->status);
	rmdir(m->dir);
}

/* ---- children ---- */

/* Starts argv; out: where its standard output goes, -1 as ours. -1 with *err. */
static pid_t start(char *const argv[], int out, struct trace_error *err)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return trace_fail(err, TRACE_EXIT_INPUT, "no new process: %s", strerror(errno));
	if (pid > 0)
		return pid;
	int null = open("/dev/null", O_RDONLY);

	dup2(null, STDIN_FILENO);
	if (out >= 0)
		dup2(out, STDOUT_FILENO);
	execv(argv[0], argv);
	fprintf(stderr, "quire: %s cannot be run: %s\n", argv[0], strerror(errno));
	_exit(127);
}

/* Runs a task of quire-system-image, which says itself what is wrong. Its first line goes to out[PATH_MAX]. */
static int run_image(char *const argv[], char *out, struct trace_error *err)
{
	int pipes[2], status;
	ssize_t n = 0, got;

	if (pipe2(pipes, O_CLOEXEC))
		return trace_fail(err, TRACE_EXIT_INPUT, "no pipe: %s", strerror(errno));
	pid_t pid = start(argv, pipes[1], err);

	close(pipes[1]);
	while (pid > 0 && n < PATH_MAX - 1 && (got = read(pipes[0], out + n, (size_t)(PATH_MAX - 1 - n))) > 0)
		n += got;
	close(pipes[0]);
	if (pid < 0)
		return -1;
	out[n] = '\0';
	out[strcspn(out, "\n")] = '\0';
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return trace_fail(err, TRACE_EXIT_INPUT, "the machine's %s could not be had; the reason stands above",
			  strcmp(argv[1], "kernel") == 0 ? "kernel" : "initramfs");
}

static int get_kernel(struct machine_files *m, const struct system_options *o, struct trace_error *err)
{
	char *const argv[] = {m->image, "kernel", m->cache, NULL};

	if (!o->kernel)
		return run_image(argv, m->kernel, err);
	if (!realpath(o->kernel, m->kernel))
		return trace_fail(err, TRACE_EXIT_INPUT, "%s: %s", o->kernel, strerror(errno));
	return 0;
}

static int set_files(char *const *files, struct trace_error *err)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	int rc;

	for (; f && files && *files; files++)
		fprintf(f, "%s\n", *files);
	rc = !f || fclose(f) || setenv("QUIRE_SYSTEM_FILES", text, 1);
	free(text);
	return rc ? trace_fail(err, TRACE_EXIT_INPUT, "out of memory") : 0;
}

static int make_initramfs(struct machine_files *m, char *const command[], const struct system_options *o,
			  struct trace_error *err)
{
	char *head[] = {m->image, "initramfs", m->cache, m->initramfs, m->mark, "--"}, none[PATH_MAX];
	size_t n = 0;
	char **argv;
	int rc;

	while (command[n])
		n++;
	argv = calloc(ARRAY_SIZE(head) + n + 1, sizeof(*argv));
	if (!argv || set_files(o->files, err)) {
		free(argv);
		return trace_fail(err, TRACE_EXIT_INPUT, "out of memory");
	}
	memcpy(argv, head, sizeof(head));
	memcpy(argv + ARRAY_SIZE(head), command, n * sizeof(*argv));
	rc = run_image(argv, none, err);
	free(argv);
	unsetenv("QUIRE_SYSTEM_FILES");
	return rc;
}

/* ---- the machine ---- */

static const char facts[] =
	"recorder: QEMU system emulation, one processor\n"
	"memory: guest-physical addresses of all pages, by EV_PHYS; accesses to devices and ROM are left out\n"
	"rights: not recorded; every page is told readable, writable and executable\n"
	"spaces: QEMU's plugin interface does not show CR3. A process number stands for one root of page tables; "
	"which root a load of CR3 brought was found among the kernel's last loads, else by the first page used, "
	"and held against the tables in the recorded memory. Process 1: before any root was known\n"
	"upper half: the kernel; it runs with the processor's user rights in replay\n";

/* No date: the same command makes the same bytes. */
static void put_facts(char *out, size_t bytes, char *const command[], const struct machine_files *m)
{
	FILE *f = fmemopen(out, bytes, "w");

	if (!f)
		return;
	fputs(facts, f);
	fprintf(f, "kernel: %s\ncommand:", strrchr(m->kernel, '/') + 1);
	for (; *command; command++)
		fprintf(f, " %s", *command);
	fputc('\n', f);
	fclose(f);
	/* A command too long for this is cut. */
	out[bytes - 1] = '\0';
}

static struct system_control *make_control(const struct machine_files *m, const struct system_options *o,
					   struct trace_error *err)
{
	int fd = open(m->control, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	struct system_control *c = MAP_FAILED;

	if (fd >= 0 && !ftruncate(fd, sizeof(*c)))
		c = mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd >= 0)
		close(fd);
	if (c == MAP_FAILED) {
		trace_fail(err, TRACE_EXIT_INPUT, "%s: %s", m->control, strerror(errno));
		return NULL;
	}
	c->magic = SYSTEM_CONTROL_MAGIC;
	c->ram_bytes = o->ram_bytes ? o->ram_bytes : SYSTEM_RAM_USUAL;
	c->limit = o->limit;
	c->at_command = o->at_command;
	if (snprintf(c->trace, sizeof(c->trace), "%s", o->out) >= (int)sizeof(c->trace)) {
		trace_fail(err, TRACE_EXIT_USAGE, "the trace's name is too long");
		munmap(c, sizeof(*c));
		return NULL;
	}
	return c;
}

/*
 * One virtual nanosecond an instruction (-icount shift=0), a clock that begins
 * on a fixed day, and seeded random numbers: the same command makes the same
 * machine do the same.
 */
static pid_t start_qemu(struct machine_files *m, const struct system_control *c, struct trace_error *err)
{
	char ram[64], size[32], plugin[2 * PATH_MAX + 8], status[PATH_MAX + 32];
	char *const argv[] = {
		m->qemu, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-vga", "none",
		"-M", "pc,memory-backend=ram", "-cpu", "qemu64", "-smp", "1", "-accel", "tcg,thread=single",
		"-object", ram, "-m", size,
		"-icount", "shift=0,sleep=off", "-rtc", "base=2024-01-01T00:00:00,clock=vm", "-seed", "1",
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-chardev", status, "-serial", "chardev:status",
		"-kernel", m->kernel, "-initrd", m->initramfs,
		"-append", "console=ttyS0 quiet panic=-1 nokaslr norandmaps nopti tsc=reliable",
		"-plugin", plugin, NULL,
	};

	snprintf(ram, sizeof(ram), "memory-backend-memfd,id=ram,size=%llu", (unsigned long long)c->ram_bytes);
	snprintf(size, sizeof(size), "%lluM", (unsigned long long)(c->ram_bytes >> 20));
	snprintf(status, sizeof(status), "file,id=status,path=%s", m->status);
	snprintf(plugin, sizeof(plugin), "%s,ctl=%s", m->plugin, m->control);
	return start(argv, -1, err);
}

/* Waits for QEMU's end; ends it when nothing more is wanted. False: it failed. */
static bool wait_for_end(pid_t pid, const struct system_control *c, const struct system_options *o)
{
	unsigned asked = 0;
	int status;

	for (;;) {
		pid_t got = waitpid(pid, &status, WNOHANG);

		if (got == pid)
			return asked || (WIFEXITED(status) && WEXITSTATUS(status) == 0);
		if (got < 0 && errno != EINTR)
			return false;
		/* Its trace is closed, and not by the command's end: nothing of the machine is wanted any more. */
		bool over = atomic_load(&c->done) && !c->end_marks;

		if (asked || over || (o->poll && o->poll(o->ctx))) {
			if (asked == 0 && !over)
				kill(pid, SIGTERM);
			if (over || asked == GRACE_POLLS)
				kill(pid, SIGKILL);
			asked++;
		}
		nanosleep(&(struct timespec){.tv_nsec = POLL_US * 1000}, NULL);
	}
}

static int read_status(const struct machine_files *m)
{
	FILE *f = fopen(m->status, "re");
	int status = -1;

	if (!f)
		return -1;
	if (fscanf(f, "%d", &status) != 1)
		status = -1;
	fclose(f);
	return status;
}

static double seconds_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int run(struct machine_files *m, struct system_control *c, const struct system_options *o,
	       struct system_result *res, struct trace_error *err)
{
	double begin = seconds_now();
	struct stat st;
	pid_t pid = start_qemu(m, c, err);

	if (pid < 0)
		return -1;
	bool ok = wait_for_end(pid, c, o);

	res->seconds = seconds_now() - begin;
	res->c = *c;
	res->bytes = (c->refs[0] || c->refs[1]) && !stat(o->out, &st) ? (uint64_t)st.st_size : 0;
	res->exit_status = read_status(m);
	if (c->exit_code)
		return trace_fail(err, c->exit_code, "%s", c->what);
	if (!ok)
		return trace_fail(err, TRACE_EXIT_INPUT, "QEMU failed; what it said stands above");
	if (o->at_command && !c->start_marks)
		return trace_fail(err, TRACE_EXIT_INPUT,
				  "the machine ended before the command began; its console, above, may say why (more RAM: --memory)");
	if (!c->refs[0] && !c->refs[1])
		return trace_fail(err, TRACE_EXIT_INPUT, "nothing was recorded: the machine's memory was not found in QEMU");
	return 0;
}

static int prepare(struct machine_files *m, char *const argv[], const struct system_options *o, struct trace_error *err)
{
	if (o->ram_bytes && (o->ram_bytes < SYSTEM_RAM_MIN || o->ram_bytes > SYSTEM_RAM_MAX || o->ram_bytes & low_bits(20)))
		return trace_fail(err, TRACE_EXIT_USAGE, "a recorded machine has from 96M to 2G of memory, whole MiB");
	if (find_tools(m, err) || find_cache(m, err) || make_dir(m, err) || get_kernel(m, o, err))
		return -1;
	return make_initramfs(m, argv, o, err);
}

int record_system(char *const argv[], const struct system_options *o, struct system_result *res,
		  struct trace_error *err)
{
	struct machine_files *m = calloc(1, sizeof(*m));
	struct system_control *c = NULL;
	int rc;

	memset(res, 0, sizeof(*res));
	if (!m)
		return trace_fail(err, TRACE_EXIT_INPUT, "out of memory");
	rc = prepare(m, argv, o, err);
	if (!rc)
		c = make_control(m, o, err);
	if (c)
		put_facts(c->facts, sizeof(c->facts), argv, m);
	rc = c ? run(m, c, o, res, err) : -1;
	if (c)
		munmap(c, sizeof(*c));
	remove_dir(m);
	free(m);
	return rc;
}
