/* SPDX-License-Identifier: MIT */
/*
 * Runs a fuzz target without libFuzzer: every file of a corpus folder, then
 * pseudo-random inputs and random changes of those files.
 *
 *     fuzz-NAME [-n INPUTS] [-s SEED] [CORPUS-FOLDER]
 *
 * The seed and the number of the input at hand are printed when one fails, so
 * that the same command finds it again.
 */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/rng.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 1 << 16, CORPUS_MAX = 1024 };

static struct { uint8_t *bytes; size_t size; char name[256]; } corpus[CORPUS_MAX];
static unsigned ncorpus;
static unsigned long long seed = 1, current;

/* Also the way out of sanitizers' aborts: says which input it was. */
static void on_abort(int sig)
{
	char line[384];
	int n = snprintf(line, sizeof(line), "failed at input %llu of seed %llu %s\n", current, seed,
			 current < ncorpus ? corpus[current].name : "");

	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		_exit(2);
	signal(sig, SIG_DFL);
	raise(sig);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void read_file(const char *folder, const char *name)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	FILE *f = fopen(path, "rb");
	if (!f)
		return;

	uint8_t *bytes = malloc(INPUT_MAX);

	if (!bytes)
		exit(4);
	corpus[ncorpus].bytes = bytes;
	corpus[ncorpus].size = fread(bytes, 1, INPUT_MAX, f);
	snprintf(corpus[ncorpus].name, sizeof(corpus[ncorpus].name), "%s", name);
	ncorpus++;
	fclose(f);
}

static void read_corpus(const char *folder)
{
	struct dirent **entry;
	int n = scandir(folder, &entry, NULL, by_name);

	if (n < 0) {
		fprintf(stderr, "%s: no such corpus folder\n", folder);
		exit(3);
	}
	for (int i = 0; i < n; i++) {
		if (entry[i]->d_name[0] != '.' && ncorpus < CORPUS_MAX)
			read_file(folder, entry[i]->d_name);
		free(entry[i]);
	}
	free(entry);
}

/* An input of its own allocation, so that AddressSanitizer sees each byte beyond it. */
static void run_one(const uint8_t *bytes, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	if (!copy)
		exit(4);
	memcpy(copy, bytes, size);
	LLVMFuzzerTestOneInput(copy, size);
	free(copy);
	current++;
}

/* Fresh bytes, or a file of the corpus with some bytes changed. */
static size_t make_input(struct rng *r, uint8_t *buf)
{
	size_t size;

	if (ncorpus == 0 || rng_below(r, 4) == 0) {
		size = rng_below(r, rng_below(r, 8) ? 256 : 8192);
		for (size_t i = 0; i < size; i++)
			buf[i] = (uint8_t)rng_next(r);
		return size;
	}

	unsigned from = (unsigned)rng_below(r, ncorpus);

	size = corpus[from].size;
	memcpy(buf, corpus[from].bytes, size);
	for (uint64_t n = rng_below(r, 8); size && n; n--) {
		uint8_t *p = &buf[rng_below(r, rng_below(r, 2) ? size : size < 64 ? size : 64)];

		*p = rng_below(r, 2) ? (uint8_t)rng_next(r) : *p ^ (uint8_t)(1u << rng_below(r, 8));
	}
	return rng_below(r, 8) ? size : rng_below(r, size + 1);
}

int main(int argc, char **argv)
{
	static uint8_t buf[INPUT_MAX];
	unsigned long long inputs = 20000;
	struct rng r;
	int opt;

	while ((opt = getopt(argc, argv, "n:s:")) != -1) {
		if (opt == 'n')
			inputs = strtoull(optarg, NULL, 0);
		else if (opt == 's')
			seed = strtoull(optarg, NULL, 0);
		else
			return 2;
	}
	if (optind < argc)
		read_corpus(argv[optind]);
	signal(SIGABRT, on_abort);
	signal(SIGSEGV, on_abort);
	for (unsigned i = 0; i < ncorpus; i++)
		run_one(corpus[i].bytes, corpus[i].size);
	rng_init(&r, seed);
	while (inputs--)
		run_one(buf, make_input(&r, buf));
	printf("%u files of the corpus, %llu inputs in all, seed %llu\n", ncorpus, current, seed);
	for (unsigned i = 0; i < ncorpus; i++)
		free(corpus[i].bytes);
	return 0;
}
