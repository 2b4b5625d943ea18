/* SPDX-License-Identifier: MIT */
/* What a comparison shows, said from its numbers alone. */
#include <string.h>

#include "report/report.h"

static size_t mode_length(const char *scheme)
{
	return strcspn(scheme, "/+");
}

static bool is_same_mode(const struct run_result *a, const struct run_result *b)
{
	size_t len = mode_length(a->scheme);

	return len == mode_length(b->scheme) && memcmp(a->scheme, b->scheme, len) == 0;
}

static bool is_native(const struct run_result *r)
{
	return strcmp(r->scheme, "native") == 0;
}

/* The cheapest finished run but native; with `unlike`, of another mode than that. */
static const struct run_result *cheapest(const struct run_result *runs, unsigned n, const struct run_result *unlike)
{
	const struct run_result *best = NULL;

	for (unsigned i = 0; i < n; i++) {
		const struct run_result *r = &runs[i];

		if (!report_finished(r) || is_native(r) || (unlike && is_same_mode(r, unlike)))
			continue;
		if (!best || r->cycles.total < best->cycles.total)
			best = r;
	}
	return best;
}

/* The cheapest after `best`, of any mode. */
static const struct run_result *runner_up(const struct run_result *runs, unsigned n, const struct run_result *best)
{
	const struct run_result *next = NULL;

	for (unsigned i = 0; i < n; i++) {
		const struct run_result *r = &runs[i];

		if (r == best || !report_finished(r) || is_native(r))
			continue;
		if (!next || r->cycles.total < next->cycles.total)
			next = r;
	}
	return next;
}

static const struct run_result *find_native(const struct run_result *runs, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (is_native(&runs[i]) && report_finished(&runs[i]))
			return &runs[i];
	return NULL;
}

static double per_walk(const struct run_result *r)
{
	return r->sum.stats.walks ? (double)r->sum.stats.walk_refs / (double)r->sum.stats.walks : 0;
}

/* Why `best` beats `other`: the two parts of the cost in which schemes differ. */
static void reason(const struct run_result *best, const struct run_result *other, char *out, size_t size)
{
	int64_t walks = (int64_t)other->cycles.translation - (int64_t)best->cycles.translation;
	int64_t exits = (int64_t)other->cycles.exits - (int64_t)best->cycles.exits;
	char a[HUMAN_MAX], b[HUMAN_MAX], c[HUMAN_MAX], d[HUMAN_MAX];

	if (best->cycles.total == other->cycles.total)
		snprintf(out, size, "%s costs the same here.", other->scheme);
	else if (walks > 0 && exits < 0)
		snprintf(out, size, "Against %s (%.1f references a walk where it makes %.1f) it saves %s cycles of translation and spends %s more on exits.",
			 other->scheme, per_walk(other), per_walk(best), human_short(a, (uint64_t)walks),
			 human_short(b, (uint64_t)-exits));
	else if (exits > 0 && walks < 0)
		snprintf(out, size, "Against %s (%s exits where it makes %s) it saves %s cycles of exits and spends %s more on translation.",
			 other->scheme, human_count(c, other->sum.stats.exits),
			 human_count(d, best->sum.stats.exits), human_short(a, (uint64_t)exits),
			 human_short(b, (uint64_t)-walks));
	else if (walks > 0 || exits > 0)
		snprintf(out, size, "Against %s it saves %s cycles of translation and %s of exits.", other->scheme,
			 human_short(a, walks > 0 ? (uint64_t)walks : 0), human_short(b, exits > 0 ? (uint64_t)exits : 0));
	else
		snprintf(out, size, "Against %s the difference lies in the guest's own work.", other->scheme);
}

void verdict_write(const struct run_result *runs, unsigned n, FILE *f)
{
	const struct run_result *best = cheapest(runs, n, NULL), *native = find_native(runs, n), *other;
	char text[512], why[320] = "";
	int len;

	if (!best)
		return;
	other = cheapest(runs, n, best);
	if (!other)
		other = runner_up(runs, n, best);
	if (!other && !native)
		return;
	if (other)
		reason(best, other, why, sizeof(why));
	if (native && native->cycles.total)
		len = snprintf(text, sizeof(text), "%s costs least here%s: %.3f times native's cycles.", best->scheme,
			       other ? "" : " beside native", (double)best->cycles.total / (double)native->cycles.total);
	else
		len = snprintf(text, sizeof(text), "%s costs least here.", best->scheme);
	if (len > 0 && (size_t)len < sizeof(text))
		snprintf(text + len, sizeof(text) - (size_t)len, " %s", why);
	human_wrap(f, text);
}

bool verdict_digests(const struct run_result *runs, unsigned n, FILE *f)
{
	const struct run_result *first = NULL;
	bool same = true;

	for (unsigned i = 0; i < n; i++) {
		const struct run_result *r = &runs[i];

		if (!report_finished(r))
			continue;
		if (!first) {
			first = r;
			continue;
		}
		if (r->sum.digest != first->sum.digest) {
			fprintf(f, "quire: digest of %s is %016llx, of %s %016llx: the guest could tell them apart, a bug in Quire; please report this command\n",
				r->scheme, (unsigned long long)r->sum.digest, first->scheme,
				(unsigned long long)first->sum.digest);
			same = false;
		}
		if (r->sum.work_digest != first->sum.work_digest) {
			fprintf(f, "quire: work_digest of %s is %016llx, of %s %016llx: the programs loaded other values, a bug in Quire; please report this command\n",
				r->scheme, (unsigned long long)r->sum.work_digest, first->scheme,
				(unsigned long long)first->sum.work_digest);
			same = false;
		}
	}
	return same;
}
