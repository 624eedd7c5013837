/* SPDX-License-Identifier: MIT */
/* A benchmark is a function that does `n` operations; it prints "name
 * nanoseconds-per-operation". */
#ifndef BENCH_H
#define BENCH_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weir/group.h>
#include <weir/task.h>

/* Names given on the command line choose; none means all. */
static int bench_argc;
static char **bench_argv;

static inline void must(int r, const char *what)
{
	if (r < 0) {
		fprintf(stderr, "%s: %s\n", what, strerror(-r));
		exit(1);
	}
}
#define MUST(call) must((call), #call)

/* Keeps a result alive that nobody looks at. */
static inline void keep(int64_t v)
{
	__asm__ volatile("" : : "r"(v) : "memory");
}

static inline void bench(const weir_ctx *ctx, const char *name,
                         void (*fn)(const weir_ctx *, int64_t n), int64_t n)
{
	bool wanted = bench_argc < 2;
	int64_t from;

	for (int i = 1; i < bench_argc; i++)
		wanted = wanted || strstr(name, bench_argv[i]);
	if (!wanted)
		return;
	fn(ctx, n / 10);
	from = weir_now();
	fn(ctx, n);
	printf("%s %.2f\n", name, (double)(weir_now() - from) / (double)n);
	fflush(stdout);
}

#define BENCH_MAIN(fn)                        \
	int main(int argc, char **argv)       \
	{                                     \
		bench_argc = argc;            \
		bench_argv = argv;            \
		return weir_main((fn), NULL); \
	}

#endif
