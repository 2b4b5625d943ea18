/* SPDX-License-Identifier: MIT */
/*
 * Pages by popularity: the k-th most popular is chosen with probability
 * proportional to 1/k^theta, by rejection-inversion (Hörmann and Derflinger,
 * "Rejection-inversion to generate variates from monotone discrete
 * distributions", ACM TOMACS 6(3), 1996), which needs no table. Which page has
 * which rank is shuffled.
 */
#include <string.h>

#include "trace/synth.h"

struct state {
	struct synth_shuffle order;
	double theta, h_first, h_last, shortcut;
};

/* ln x for x > 0: exponent and mantissa apart, then the series of artanh. */
static double log_of(double x)
{
	static const double ln2 = 0.6931471805599453;
	/* 1/1, 1/3, …, 1/21: z is at most 0.172, so the next term is below 1e-18. */
	static const double odd[] = {1, 1 / 3., 1 / 5., 1 / 7., 1 / 9., 1 / 11., 1 / 13., 1 / 15., 1 / 17., 1 / 19., 1 / 21.};
	uint64_t bits;
	double m, z, sum = 0;

	memcpy(&bits, &x, sizeof(bits));
	int exponent = (int)(bits >> 52) - 1023;

	bits = (bits & low_bits(52)) | UINT64_C(1023) << 52;
	memcpy(&m, &bits, sizeof(m));
	if (m > 1.4142135623730951) {
		m *= 0.5;
		exponent++;
	}
	z = (m - 1) / (m + 1);
	for (int i = (int)ARRAY_SIZE(odd) - 1; i >= 0; i--)
		sum = sum * (z * z) + odd[i];
	return 2 * z * sum + exponent * ln2;
}

/* e^x for |x| < 700: 2^n times the series of the rest, which is at most ln 2 / 2. */
static double exp_of(double x)
{
	static const double ln2 = 0.6931471805599453, per_ln2 = 1.4426950408889634;
	/* 1/k!, k = 0…13: the next term is below 1e-17. */
	static const double factorial[] = {1, 1, 1 / 2., 1 / 6., 1 / 24., 1 / 120., 1 / 720., 1 / 5040., 1 / 40320.,
					   1 / 362880., 1 / 3628800., 1 / 39916800., 1 / 479001600., 1 / 6227020800.};
	int n = (int)(x * per_ln2 + (x < 0 ? -0.5 : 0.5));
	double r = x - n * ln2, sum = 0, scale;
	uint64_t bits = (uint64_t)(n + 1023) << 52;

	for (int i = (int)ARRAY_SIZE(factorial) - 1; i >= 0; i--)
		sum = sum * r + factorial[i];
	memcpy(&scale, &bits, sizeof(scale));
	return sum * scale;
}

/* The integral of x^-theta and its inverse; near theta = 1 it is the logarithm. */
static double integral(double theta, double x)
{
	double q = 1 - theta;

	return q > -1e-9 && q < 1e-9 ? log_of(x) : (exp_of(q * log_of(x)) - 1) / q;
}

static double inverse(double theta, double u)
{
	double q = 1 - theta, v = 1 + q * u;

	if (q > -1e-9 && q < 1e-9)
		return exp_of(u);
	return v <= 0 ? 1 : exp_of(log_of(v) / q);
}

static uint64_t next_rank(struct synth *s)
{
	struct state *st = s->state;

	for (;;) {
		double u = st->h_last + rng_unit(&s->rng) * (st->h_first - st->h_last);
		double x = inverse(st->theta, u);
		uint64_t k = x < 1 ? 1 : (uint64_t)(x + 0.5);

		k = MIN(MAX(k, UINT64_C(1)), st->order.n);
		if ((double)k - x <= st->shortcut ||
		    u >= integral(st->theta, (double)k + 0.5) - exp_of(-st->theta * log_of((double)k)))
			return k - 1;
	}
}

static const char *start(struct synth *s, struct trace_block *b)
{
	struct state *st = s->state;
	double theta = st->theta = s->real[KEY_THETA];

	synth_one_process(s, b);
	shuffle_init(&st->order, synth_pages(s), rng_next(&s->rng));
	st->h_first = integral(theta, 1.5) - 1;
	st->h_last = integral(theta, (double)st->order.n + 0.5);
	st->shortcut = 2 - inverse(theta, integral(theta, 2.5) - exp_of(-theta * log_of(2)));
	return NULL;
}

static void step(struct synth *s, struct trace_block *b)
{
	struct state *st = s->state;

	for (int i = 0; i < SYNTH_STEP_MAX; i++) {
		uint64_t page = shuffle_of(&st->order, next_rank(s)) << PAGE_SHIFT;
		uint64_t bytes = MIN(PAGE_SIZE, synth_footprint(s) - page);

		synth_ref(s, b, page + rng_below(&s->rng, MAX(bytes / 8, UINT64_C(1))) * 8, synth_read_or_write(s));
	}
}

const struct synth_kind synth_zipf = {
	.name = "zipf",
	.summary = "pages by popularity, as caches and databases see them: theta=, writes=",
	.keys = BIT(KEY_THETA) | BIT(KEY_WRITES),
	.state_bytes = sizeof(struct state),
	.start = start,
	.step = step,
};
