/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_BASE_BITS_H
#define QUIRE_BASE_BITS_H

#include <stdint.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define NOINLINE __attribute__((noinline))
#define COLD __attribute__((cold, noinline))

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define container_of(p, type, member) ((type *)((char *)(p) - offsetof(type, member)))

#define BIT(n) (UINT64_C(1) << (n))

/* Bits set; not the builtin, which gcc may turn into a call of its library. */
static inline unsigned popcount64(uint64_t x)
{
	x -= (x >> 1) & UINT64_C(0x5555555555555555);
	x = (x & UINT64_C(0x3333333333333333)) + ((x >> 2) & UINT64_C(0x3333333333333333));
	x = (x + (x >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
	return (unsigned)((x * UINT64_C(0x0101010101010101)) >> 56);
}

/* The low n bits set, n in [0, 64]. */
static inline uint64_t low_bits(unsigned n)
{
	return n >= 64 ? UINT64_MAX : BIT(n) - 1;
}

/* Bits [lo, hi] set, both inclusive. */
static inline uint64_t bit_range(unsigned hi, unsigned lo)
{
	return low_bits(hi + 1) & ~low_bits(lo);
}

/* align is a power of two. */
static inline uint64_t align_down(uint64_t x, uint64_t align) { return x & ~(align - 1); }
static inline uint64_t align_up(uint64_t x, uint64_t align) { return (x + align - 1) & ~(align - 1); }
static inline int is_aligned(uint64_t x, uint64_t align) { return (x & (align - 1)) == 0; }
static inline int is_pow2(uint64_t x) { return x && !(x & (x - 1)); }

/* Floor and ceiling of the binary logarithm; x is not zero. */
static inline unsigned log2_floor(uint64_t x) { return 63u - (unsigned)__builtin_clzll(x); }
static inline unsigned log2_ceil(uint64_t x) { return x <= 1 ? 0 : log2_floor(x - 1) + 1; }

#endif
