/* SPDX-License-Identifier: MIT */
#include "trace/trace.h"

enum { FRACTION_DIGITS = 6 };

static int exponent_of(char c)
{
	switch (c | 0x20) {
	case 'k':
		return 1;
	case 'm':
		return 2;
	case 'g':
		return 3;
	case 't':
		return 4;
	}
	return -1;
}

/* Digits up to `max`; *p moves behind them. False if there are none or the value overflows. */
static bool digits(const char **p, unsigned max, uint64_t *out, unsigned *n)
{
	uint64_t v = 0;

	for (*n = 0; **p >= '0' && **p <= '9' && *n < max; ++*p, ++*n)
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(**p - '0'), &v))
			return false;
	*out = v;
	return *n > 0;
}

int parse_scaled(const char *s, unsigned unit, uint64_t *out)
{
	uint64_t whole, part = 0, scale = 1, value;
	unsigned n, places = 0;

	if (!digits(&s, 40, &whole, &n))
		return -1;
	if (*s == '.') {
		s++;
		if (!digits(&s, FRACTION_DIGITS, &part, &places))
			return -1;
	}
	int exponent = *s ? exponent_of(*s) : 0;

	if (exponent < 0 || (exponent && s[1]) || (!exponent && places))
		return -1;
	for (int i = 0; i < exponent; i++)
		scale *= unit;
	if (__builtin_mul_overflow(whole, scale, &value))
		return -1;
	/* part < 10^6 and scale <= 2^40: no overflow. A fraction of a byte or of one is dropped. */
	part *= scale;
	while (places--)
		part /= 10;
	if (__builtin_add_overflow(value, part, &value))
		return -1;
	*out = value;
	return 0;
}
