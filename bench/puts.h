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

/* Puts of one side, over its turns. */
struct tally {
	uint64_t n;
	int64_t ns, cpu;
};

static void tally_add(struct tally *t, uint64_t n, struct start since)
{
	t->n += n;
	t->ns += weir_now() - since.at;
	t->cpu += cpu_ns() - since.cpu;
}

static void tally_report(const char *name, const char *who, const struct tally *t)
{
	printf("%s %s %.0f\n", name, who, (double)t->ns / (double)t->n);
	printf("%s-cpu %s %.0f\n", name, who, (double)t->cpu / (double)t->n);
	fflush(stdout);
}

static inline void report(const char *name, const char *who, uint64_t n, struct start since)
{
	struct tally t = { 0 };

	tally_add(&t, n, since);
	tally_report(name, who, &t);
}

static inline void weir_turn(const weir_ctx *ctx, weir_store *s, size_t batch, int64_t ns,
                             struct tally *t)
{
	weir_job_spec specs[BATCH];
	struct start since = begin();
	char ids[BATCH][27];
	int each[BATCH];
	uint64_t n = 0;

	for (size_t i = 0; i < batch; i++)
		specs[i] = (weir_job_spec){ .data = payload, .len = PAYLOAD };
	for (; weir_now() < since.at + ns; n += batch) {
		MUST(weir_job_put_many(ctx, s, "bench", specs, batch, ids, each));
		for (size_t i = 0; i < batch; i++)
			MUST(each[i]);
	}
	tally_add(t, n, since);
}

static inline weir_store *weir_open(const weir_ctx *ctx)
{
	const weir_store_options opt = { .queue_max = 100000000,
		                         .queue_bytes = (size_t)1 << 30,
		                         .idempotency_ns = WEIR_SEC(120) };
	weir_store *s;

	MUST(weir_store_open(ctx, url, &opt, &s));
	return s;
}

/* All in one turn, with a main of its own. */
static inline int through_weir(const weir_ctx *ctx, void *arg)
{
	struct tally one = { 0 }, many = { 0 };
	weir_store *s = weir_open(ctx);

	(void)arg;
	weir_turn(ctx, s, 1, TIME, &one);
	tally_report("put-one-at-a-time", "weir", &one);
	weir_turn(ctx, s, BATCH, TIME, &many);
	tally_report("put-256-in-flight", "weir", &many);
	MUST(weir_store_close(ctx, s, NULL));
	return 0;
}

#endif
