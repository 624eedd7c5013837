/* SPDX-License-Identifier: MIT */
/* Puts into a queue in an engine by one producer through Weir: one at a time, and 256 in flight,
 * beside what the engine's own client does. */
#ifndef BENCH_PUTS_H
#define BENCH_PUTS_H

#include <time.h>
#include <weir/offload.h>
#include <weir/queue.h>

#include "bench.h"

enum { PAYLOAD = 128, BATCH = 256, TURNS = 8 };
#define TURN WEIR_MS(500)

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

static void weir_turn(const weir_ctx *ctx, weir_store *s, size_t batch, int64_t ns, struct tally *t)
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

static weir_store *weir_open(const weir_ctx *ctx)
{
	const weir_store_options opt = { .queue_max = 100000000,
		                         .queue_bytes = (size_t)1 << 30,
		                         .idempotency_ns = WEIR_SEC(120) };
	weir_store *s;

	MUST(weir_store_open(ctx, url, &opt, &s));
	return s;
}

/* The engine's own client, on a thread that it may block. */
struct peer {
	const char *name;
	int (*open)(void *); /* the queue is there */
	int (*turn)(void *); /* puts for as long as TURN */
	void (*close)(void *);
	uint64_t last; /* message */
	size_t batch;  /* of the turn */
	struct tally tally;
};

static void compare(const weir_ctx *ctx, weir_store *s, struct peer *p, const char *name,
                    size_t batch)
{
	struct tally weir = { 0 };

	p->batch = batch;
	p->tally = (struct tally){ 0 };
	for (int i = 0; i < TURNS; i++)
		if (i % 4 == 0 || i % 4 == 3)
			weir_turn(ctx, s, batch, TURN, &weir);
		else
			MUST(weir_offload(ctx, p->turn, p, NULL));
	tally_report(name, "weir", &weir);
	tally_report(name, p->name, &p->tally);
}

/* Weir and the peer in turns, ABBA, in one run and one queue, so that neither has it when it is
 * shorter. */
static int side_by_side(const weir_ctx *ctx, void *peer)
{
	struct tally warm = { 0 };
	struct peer *p = peer;
	weir_store *s = weir_open(ctx);

	weir_turn(ctx, s, 1, WEIR_MS(50), &warm); /* Makes the queue, too. */
	MUST(weir_offload(ctx, p->open, p, NULL));
	compare(ctx, s, p, "put-one-at-a-time", 1);
	compare(ctx, s, p, "put-256-in-flight", BATCH);
	MUST(weir_store_close(ctx, s, NULL));
	p->close(p);
	return 0;
}

#endif
