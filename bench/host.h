/* SPDX-License-Identifier: MIT */
/* A machine with one VM for benchmarks. Any failure ends the program: there is nothing to measure then. */
#ifndef QUIRE_BENCH_HOST_H
#define QUIRE_BENCH_HOST_H

#include "mmu/mmu.h"

struct bench_host {
	struct machine m;
	struct hv hv;
	struct mmu_cpu *cpu;
	struct vm *vm;
	struct mmu *mmu;
	struct vcpu vcpu;
	void *ram, *caches;
	uint64_t bytes;
};

struct bench_host_config {
	const char *scheme, *preset;
	uint64_t ram, guest; /* bytes */
	bool touch_ram;      /* every frame is written first: the host's own page faults stay out */
};

struct bench_host *bench_host_create(const struct bench_host_config *c);
void bench_host_destroy(struct bench_host *h);
double bench_seconds(void);
/* The program cannot go on. */
void bench_die(const char *what) __attribute__((noreturn));

#endif
