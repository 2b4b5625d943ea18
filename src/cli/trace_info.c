/* SPDX-License-Identifier: MIT */
/* quire trace info and check: a trace read whole, and what was met. */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "cli/trace_command.h"
#include "exp/pageset.h"
#include "trace/qtr.h"

enum { PROCESSES_SHOWN = 12, TEXT_MAX = 200 };

static const char *const event_names[EV_KINDS] = {
	[EV_SWITCH] = "switch", [EV_MMAP] = "mmap", [EV_MUNMAP] = "munmap", [EV_BRK] = "brk", [EV_MPROTECT] = "mprotect",
	[EV_MREMAP] = "mremap", [EV_MADVISE_FREE] = "madvise", [EV_FORK] = "fork", [EV_VFORK_SHARED] = "vfork",
	[EV_EXEC] = "exec", [EV_EXIT] = "exit", [EV_THREAD] = "thread", [EV_SYSCALL] = "syscall",
	[EV_CONTENT] = "content",
};

struct process_count {
	uint32_t pid;
	uint64_t refs;
};

struct summary {
	uint64_t kind[3], events[EV_KINDS], nevents, refs;
	uint64_t first, last;      /* gva: lowest, and highest with its size; lower half first */
	struct pageset pages, threads;
	struct process_count *process;
	uint32_t nprocesses, room, current; /* of process[] */
	uint32_t pid;
	struct trace_error damage;
	bool interrupted;
	struct trace_block block;
};

/* The process that runs now, by its place in process[]. */
static int use_process(struct summary *s, uint32_t pid)
{
	struct process_count *more;

	s->pid = pid;
	for (s->current = 0; s->current < s->nprocesses; s->current++)
		if (s->process[s->current].pid == pid)
			return 0;
	if (s->nprocesses == s->room) {
		s->room = s->room ? 2 * s->room : 16;
		more = realloc(s->process, s->room * sizeof(*more));
		if (!more)
			return -1;
		s->process = more;
	}
	s->process[s->nprocesses++] = (struct process_count){ .pid = pid };
	return 0;
}

static int add_page(struct summary *s, uint64_t page)
{
	uint64_t key = hash_u64((uint64_t)s->pid << 52 ^ page) | 1, *recent = &s->pages.recent[key >> 1 & (PAGESET_RECENT - 1)];

	if (*recent == key)
		return 0;
	*recent = key;
	return pageset_add_slow(&s->pages, key);
}

static int take_ref(struct summary *s, ref_t r)
{
	uint64_t gva = ref_gva(r), last = gva + ref_size(r) - 1;

	/* Who has not been named yet is 1. */
	if (!s->nprocesses && use_process(s, 1))
		return -1;
	s->kind[ref_kind(r)]++;
	s->refs++;
	s->process[s->current].refs++;
	s->first = MIN(s->first, gva);
	s->last = MAX(s->last, last);
	if (gva >> PAGE_SHIFT != last >> PAGE_SHIFT && add_page(s, last >> PAGE_SHIFT))
		return -1;
	return add_page(s, gva >> PAGE_SHIFT);
}

static int take_event(struct summary *s, const struct trace_event *ev)
{
	s->nevents++;
	s->events[ev->kind]++;
	if (ev->kind != EV_SWITCH)
		return 0;
	if (use_process(s, ev->pid))
		return -1;
	return pageset_add_slow(&s->threads, hash_u64((uint64_t)ev->pid << 32 | (ev->tid ? ev->tid : ev->pid)) | 1);
}

static int take_block(struct summary *s)
{
	const struct trace_block *b = &s->block;

	for (uint32_t i = 0; i < b->nrefs; i++)
		if (ref_is_event(b->refs[i]) ? take_event(s, &b->events[ref_event(b->refs[i])]) : take_ref(s, b->refs[i]))
			return -1;
	return 0;
}

/* Reads all. 0, or an exit code after complaining for want of memory; damage stands in s. */
static int read_whole(struct summary *s, struct trace *t)
{
	s->first = UINT64_MAX;
	while (!s->interrupted && trace_read(t, &s->block, &s->damage) == 1) {
		if (take_block(s))
			return complain_usage("no memory on this host for all pages of the trace");
		s->interrupted = interrupted();
	}
	return 0;
}

static struct summary *summary_new(void)
{
	struct summary *s = calloc(1, sizeof(*s));

	if (s && !pageset_init(&s->pages) && !pageset_init(&s->threads))
		return s;
	free(s);
	return NULL;
}

static void summary_free(struct summary *s)
{
	pageset_fini(&s->pages);
	pageset_fini(&s->threads);
	free(s->process);
	free(s);
}

static int by_refs(const void *a, const void *b)
{
	const struct process_count *x = a, *y = b;

	if (x->refs != y->refs)
		return x->refs < y->refs ? 1 : -1;
	return x->pid < y->pid ? -1 : x->pid > y->pid;
}

static uint64_t thread_count(const struct summary *s)
{
	return MAX(s->threads.used, (uint64_t)s->nprocesses);
}

static void facts_text(struct trace *t)
{
	struct qtr_info info;
	struct trace_error err;

	if (!is_qtr(t) || qtr_info(t, &info, &err))
		return;
	for (const char *p = info.facts; *p;) {
		int n = (int)strcspn(p, "\n"), key = (int)MIN(strcspn(p, ":"), (size_t)n);
		const char *value = p + key + strspn(p + key, ": ");

		printf("  %-11.*s %.*s\n", key, p, MAX((int)(p + n - value), 0), value);
		p += n + (p[n] == '\n');
	}
	if (!info.closed)
		puts("  has no end mark: its recorder was killed, or is still at work");
}

static void text(struct summary *s, struct trace *t)
{
	char a[HUMAN_MAX], b[HUMAN_MAX], c[HUMAN_MAX], d[HUMAN_MAX], line[TEXT_MAX];
	const char *between = "";

	printf("%s\n  format      %s%s%s\n", t->name, t->format, t->packing ? ", packed with " : "", t->packing ? t->packing : "");
	if (*trace_describe(t, TRACE_ORIGIN, line, sizeof(line)))
		printf("  recorded    %s\n", line);
	facts_text(t);
	printf("  references  %s: %s fetches, %s loads, %s stores\n", human_count(a, s->refs), human_count(b, s->kind[ACC_EXEC]),
	       human_count(c, s->kind[ACC_READ]), human_count(d, s->kind[ACC_WRITE]));
	printf("  events      ");
	for (unsigned i = 0; i < EV_KINDS; i++) {
		if (!s->events[i])
			continue;
		printf("%s%s %s", between, human_count(a, s->events[i]), event_names[i]);
		between = ", ";
	}
	printf("%s\n", *between ? "" : "none");
	if (s->refs) {
		printf("  footprint   %s in %s pages of 4 KiB\n", human_bytes(a, s->pages.used << PAGE_SHIFT),
		       human_count(b, s->pages.used));
		printf("  span        0x%llx to 0x%llx\n", (unsigned long long)s->first, (unsigned long long)s->last);
	}
	printf("  processes   %s, with %s threads\n", human_count(a, s->nprocesses), human_count(b, thread_count(s)));
	for (unsigned i = 0; i < MIN(s->nprocesses, (uint32_t)PROCESSES_SHOWN); i++)
		printf("    %-9u %s references\n", s->process[i].pid, human_count(a, s->process[i].refs));
	if (s->nprocesses > PROCESSES_SHOWN)
		printf("    and %u more with fewer\n", s->nprocesses - PROCESSES_SHOWN);
	if (*trace_describe(t, TRACE_LEFT_OUT, line, sizeof(line)))
		printf("  left out    %s\n", line);
}

static json_t *document(const struct summary *s, struct trace *t)
{
	json_t *events = json_object(), *processes = json_array();
	char line[TEXT_MAX];

	for (unsigned i = 0; i < EV_KINDS; i++)
		if (s->events[i])
			json_object_set_new(events, event_names[i], json_integer((json_int_t)s->events[i]));
	for (unsigned i = 0; i < s->nprocesses; i++)
		json_array_append_new(processes, json_pack("{s:I, s:I}", "pid", (json_int_t)s->process[i].pid, "refs",
							   (json_int_t)s->process[i].refs));
	return json_pack("{s:s, s:s, s:s, s:s?, s:s, s:I, s:I, s:I, s:I, s:I, s:o, s:I, s:o, s:o, s:o, s:s}",
			 "schema", "quire.trace/1", "file", t->name, "format", t->format, "packing", t->packing,
			 "recorded", trace_describe(t, TRACE_ORIGIN, line, sizeof(line)),
			 "refs", (json_int_t)s->refs, "fetches", (json_int_t)s->kind[ACC_EXEC],
			 "loads", (json_int_t)s->kind[ACC_READ], "stores", (json_int_t)s->kind[ACC_WRITE],
			 "footprint_bytes", (json_int_t)(s->pages.used << PAGE_SHIFT), "processes", processes,
			 "threads", (json_int_t)thread_count(s), "events", events,
			 "first_gva", json_hex(s->refs ? s->first : 0), "last_gva", json_hex(s->last), "damage", s->damage.what);
}

static int write_document(const struct summary *s, struct trace *t, const char *path)
{
	FILE *f = strcmp(path, "-") ? fopen(path, "w") : stdout;
	bool bad;

	if (!f)
		return complain_usage("%s: cannot be written; give another path", path);
	bad = json_write(document(s, t), f) != 0;
	bad |= f == stdout ? fflush(f) != 0 : fclose(f) != 0;
	return bad ? complain_usage("%s: cannot be written; the result there is not whole", path) : 0;
}

static int verdict(const struct summary *s)
{
	return s->interrupted ? EXIT_INTERRUPTED : s->damage.exit_code ? complain(&s->damage) : 0;
}

static int with_summary(const char *arg, int (*show)(struct summary *s, struct trace *t, const struct trace_args *a),
			const struct trace_args *a)
{
	int code = 0, shown;
	struct trace *t = trace_command_open(arg, &code);
	struct summary *s = t ? summary_new() : NULL;

	if (t && !s)
		code = complain_usage("no memory on this host");
	if (s) {
		code = read_whole(s, t);
		qsort(s->process, s->nprocesses, sizeof(*s->process), by_refs);
		shown = code ? 0 : show(s, t, a);
		if (!code)
			code = verdict(s);
		code = code ? code : shown;
		summary_free(s);
	}
	trace_close(t);
	return code;
}

static int show_info(struct summary *s, struct trace *t, const struct trace_args *a)
{
	if (!a->json || strcmp(a->json, "-"))
		text(s, t);
	return a->json ? write_document(s, t, a->json) : 0;
}

int trace_info(const struct trace_args *a)
{
	int code = 0, worst = 0;

	for (unsigned i = 0; i < a->nfiles && code != EXIT_INTERRUPTED; i++) {
		code = with_summary(a->file[i], show_info, a);
		worst = worst ? worst : code;
	}
	return worst;
}

static int show_check(struct summary *s, struct trace *t, const struct trace_args *a)
{
	char refs[HUMAN_MAX], events[HUMAN_MAX];
	struct qtr_info info;
	struct trace_error err;
	bool is_open = is_qtr(t) && !qtr_info(t, &info, &err) && !info.closed;

	if (!a->quiet)
		printf("%s: %s references and %s events%s\n", t->name, human_count(refs, s->refs), human_count(events, s->nevents),
		       s->damage.exit_code ? " before the damage" : is_open ? ", good, but without an end mark" : ", good");
	return 0;
}

int trace_check(const struct trace_args *a)
{
	int code = 0, worst = 0;

	for (unsigned i = 0; i < a->nfiles && code != EXIT_INTERRUPTED; i++) {
		code = with_summary(a->file[i], show_check, a);
		worst = worst ? worst : code;
	}
	return worst;
}
