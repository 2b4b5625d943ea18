/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "report/report.h"

const char *human_count(char *buf, uint64_t n)
{
	char digits[HUMAN_MAX];
	int len = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)n);
	char *out = buf;

	for (int i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0)
			*out++ = ',';
		*out++ = digits[i];
	}
	*out = '\0';
	return buf;
}

static bool is_whole(double x)
{
	return x == (double)(uint64_t)x;
}

/* Three significant digits and a unit; below 10,000 the number itself. */
static const char *scaled(char *buf, double x, double unit, const char *const *names, const char *gap)
{
	unsigned i = 0;

	/* 999.5 and more would print as four digits. */
	while (x >= unit * 0.9995 && names[i + 1]) {
		x /= unit;
		i++;
	}
	snprintf(buf, HUMAN_MAX, "%.*f%s%s", is_whole(x) ? 0 : x < 9.995 ? 2 : x < 99.95 ? 1 : 0, x, gap, names[i]);
	return buf;
}

static const char *const thousands[] = { "", "k", "M", "G", "T", "P", "E", NULL };

const char *human_short(char *buf, uint64_t n)
{
	if (n < 10000) {
		snprintf(buf, HUMAN_MAX, "%llu", (unsigned long long)n);
		return buf;
	}
	return scaled(buf, (double)n, 1000, thousands, "");
}

const char *human_real(char *buf, double x)
{
	if (x >= 10000)
		return scaled(buf, x, 1000, thousands, "");
	if (x > 0 && x < 0.01)
		snprintf(buf, HUMAN_MAX, "<0.01");
	else
		snprintf(buf, HUMAN_MAX, "%.*f", is_whole(x) ? 0 : x < 9.995 ? 2 : x < 999.5 ? 1 : 0, x);
	return buf;
}

const char *human_bytes(char *buf, uint64_t n)
{
	static const char *const names[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", NULL };

	if (n < 1024) {
		snprintf(buf, HUMAN_MAX, "%llu B", (unsigned long long)n);
		return buf;
	}
	return scaled(buf, (double)n, 1024, names, " ");
}

/* Columns of a UTF-8 word: continuation bytes take none. */
static size_t columns(const char *s, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += ((unsigned char)s[i] & 0xc0) != 0x80;
	return n;
}

void human_wrap(FILE *f, const char *text)
{
	size_t at = 0;

	while (*text) {
		size_t len = strcspn(text, " "), width = columns(text, len);

		if (at && at + 1 + width > REPORT_COLUMNS) {
			fputc('\n', f);
			at = 0;
		}
		at += (size_t)fprintf(f, "%s", at ? " " : "") + width;
		fwrite(text, 1, len, f);
		text += len;
		text += strspn(text, " ");
	}
	fputc('\n', f);
}

const char *report_end_name(enum guest_end end)
{
	switch (end) {
	case GUEST_DONE:
		return "done";
	case GUEST_STOPPED:
		return "interrupted";
	case GUEST_BAD_INPUT:
		return "damaged input";
	case GUEST_NOMEM:
		return "out of machine memory";
	case GUEST_OOM:
		return "out of guest memory";
	case GUEST_CRASHED:
		return "guest stopped";
	}
	return "unknown";
}
