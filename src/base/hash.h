/* SPDX-License-Identifier: MIT */
/* Mixing functions of integers. Bulk data is hashed with XXH3 (base/digest.h). */
#ifndef QUIRE_BASE_HASH_H
#define QUIRE_BASE_HASH_H

#include <stdint.h>

/* A bijective mixer of 64 bits (the finaliser of splitmix64, Steele et al. 2014). */
static inline uint64_t hash_u64(uint64_t x)
{
	x ^= x >> 30;
	x *= UINT64_C(0xbf58476d1ce4e5b9);
	x ^= x >> 27;
	x *= UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

static inline uint64_t hash_2u64(uint64_t a, uint64_t b)
{
	return hash_u64(a ^ hash_u64(b + UINT64_C(0x9e3779b97f4a7c15)));
}

#endif
