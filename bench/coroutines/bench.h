/* SPDX-License-Identifier: MIT */
/* What libdill's and neco's benchmarks share: as ../bench.h, in a program without Weir. */
#ifndef COROUTINES_BENCH_H
#define COROUTINES_BENCH_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static inline void must(int failed, const char *what)
{
	if (failed) {
		perror(what);
		exit(1);
	}
}
#define MUST(call) must((call) < 0, #call)

static inline double nanoseconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static inline void bench(const char *name, void (*fn)(long n), long n)
{
	double from;

	fn(n / 10);
	from = nanoseconds();
	fn(n);
	printf("%s %.2f\n", name, (nanoseconds() - from) / (double)n);
	fflush(stdout);
}

#endif
