/* SPDX-License-Identifier: MIT */
/* Puts into a queue in an engine by one producer through Weir: one at a time, and 256 in flight; and
 * how what an engine's own client does is told beside it. */
#ifndef BENCH_PUTS_H
#define BENCH_PUTS_H

#include <time.h>
#include <weir/queue.h>

#include "bench.h"

enum { PAYLOAD = 128, BATCH = 256 };
#define TIME WEIR_SEC(2)

static char payload[PAYLOAD];
static const char *url;

/* What a measurement began with: the clock, and this process's CPU time. */
struct start {
	int64_t at, cpu;
};

static int64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static struct start begin(void)
{
	return (struct start){ weir_now(), cpu_ns() };
}

static void report(const char *name, const char *who, uint64_t n, struct start since)
{
	printf("%s %s %.0f\n", name, who, (double)(weir_now() - since.at) / (double)n);
	printf("%s-cpu %s %.0f\n", name, who, (double)(cpu_ns() - since.cpu) / (double)n);
	fflush(stdout);
}

static void weir_puts(const weir_ctx *ctx, weir_store *s, const char *name, size_t batch)
{
	weir_job_spec specs[BATCH];
	struct start since = begin();
	char ids[BATCH][27];
	int each[BATCH];
	uint64_t n = 0;

	for (size_t i = 0; i < batch; i++)
		specs[i] = (weir_job_spec){ .data = payload, .len = PAYLOAD };
	for (; weir_now() < since.at + TIME; n += batch) {
		MUST(weir_job_put_many(ctx, s, "bench", specs, batch, ids, each));
		for (size_t i = 0; i < batch; i++)
			MUST(each[i]);
	}
	report(name, "weir", n, since);
}

static int through_weir(const weir_ctx *ctx, void *arg)
{
	const weir_store_options opt = { .queue_max = 100000000,
		                         .queue_bytes = (size_t)1 << 30,
		                         .idempotency_ns = WEIR_SEC(120) };
	weir_store *s;

	(void)arg;
	MUST(weir_store_open(ctx, url, &opt, &s));
	weir_puts(ctx, s, "put-one-at-a-time", 1);
	weir_puts(ctx, s, "put-256-in-flight", BATCH);
	MUST(weir_store_close(ctx, s, NULL));
	return 0;
}

#endif
