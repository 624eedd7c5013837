/* SPDX-License-Identifier: MIT */
/*
 * Very many waits: a million tasks parked and woken, from fresh stacks and from recycled ones; a
 * limit armed and stopped beside 100,000 pending ones; 10,000 tasks that wait under one scope, and
 * its cancel.
 */
#include <weir/chan.h>
#include <weir/sync.h>

#include "bench.h"
#include "rt/timer.h"

enum { MILLION = 1000000, PENDING = 100000, CROWD = 10000 };

/* In bytes, page tables included. */
static double memory(void)
{
	char line[256];
	double kb = 0, v;
	FILE *f = fopen("/proc/self/status", "r");

	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "VmRSS: %lf", &v) == 1 || sscanf(line, "VmPTE: %lf", &v) == 1)
			kb += v;
	if (f)
		fclose(f);
	return kb * 1024;
}

static bool wanted(const char *name)
{
	for (int i = 1; i < bench_argc; i++)
		if (strstr(name, bench_argv[i]))
			return true;
	return bench_argc < 2;
}

struct gate {
	weir_chan *c;
	weir_latch parked;
};

static int through_gate(const weir_ctx *ctx, void *arg)
{
	struct gate *gate = arg;
	int64_t v;

	weir_latch_down(&gate->parked);
	return weir_chan_recv(ctx, gate->c, &v);
}

static void million(const weir_ctx *ctx, const char *how)
{
	struct gate gate = { .c = weir_chan_new(sizeof(int64_t), 0) };
	double before = memory();
	weir_group g;
	int64_t t;

	weir_latch_init(&gate.parked, MILLION);
	weir_group_init(&g, ctx);
	t = weir_now();
	for (int i = 0; i < MILLION; i++)
		MUST(weir_group_go(&g, through_gate, &gate));
	MUST(weir_latch_wait(ctx, &gate.parked));
	printf("park-1M-%s %.2f\n", how, (double)(weir_now() - t) / MILLION);
	if (!strcmp(how, "fresh"))
		printf("park-1M-bytes %.0f\n", (memory() - before) / MILLION);
	t = weir_now();
	weir_chan_close(gate.c);
	MUST(weir_group_wait(&g));
	printf("wake-and-end-1M-%s %.2f\n", how, (double)(weir_now() - t) / MILLION);
	fflush(stdout);
	weir_chan_free(gate.c);
}

static void never(struct weir__timer *t)
{
	(void)t;
	abort();
}

/* A limit of half an hour beside those of an hour and more, as the Go peer does it. */
static void limits(const weir_ctx *ctx, int64_t n)
{
	struct weir__timer *pending = calloc(PENDING, sizeof *pending), one = { 0 };
	int64_t from, now = weir_now();

	(void)ctx;
	for (int64_t i = 0; i < PENDING; i++)
		weir__timer_start(&pending[i], now + WEIR_SEC(3600) + i * WEIR_MS(1), never);
	from = weir_now();
	for (int64_t i = 0; i < n; i++) {
		weir__timer_start(&one, weir__now_coarse() + WEIR_SEC(1800), never);
		weir__timer_stop(&one);
	}
	printf("timer-start-stop-beside-100k %.2f\n", (double)(weir_now() - from) / (double)n);
	/* The same where each is later than half of the others, and a thousand are armed at
	 * once. */
	from = weir_now();
	for (int64_t i = 0; i < n; i++) {
		struct weir__timer *t = &pending[(i * 7919) % 1000];
		weir__timer_start(t, now + WEIR_SEC(3650), never);
	}
	printf("timer-restart-among-100k %.2f\n", (double)(weir_now() - from) / (double)n);
	fflush(stdout);
	for (int64_t i = 0; i < PENDING; i++)
		weir__timer_stop(&pending[i]);
	free(pending);
}

struct pair {
	weir_chan *there, *back;
	int64_t turns;
};

static int first(const weir_ctx *ctx, void *arg)
{
	struct pair *p = arg;
	int64_t v = 0;

	for (int64_t i = 0; i < p->turns; i++) {
		MUST(weir_chan_send(ctx, p->there, &v));
		MUST(weir_chan_recv(ctx, p->back, &v));
	}
	return 0;
}

static int second(const weir_ctx *ctx, void *arg)
{
	struct pair *p = arg;
	int64_t v = 0;

	for (int64_t i = 0; i < p->turns; i++) {
		MUST(weir_chan_recv(ctx, p->there, &v));
		MUST(weir_chan_send(ctx, p->back, &v));
	}
	return 0;
}

/* 5000 pairs, all in one group, each pair on one worker. */
static void crowd(const weir_ctx *ctx, int64_t n)
{
	struct pair *pairs = calloc(CROWD / 2, sizeof *pairs);
	weir_group g;

	weir_group_init(&g, ctx);
	for (int i = 0; i < CROWD / 2; i++) {
		int w = i % weir_worker_count();

		pairs[i] = (struct pair){ weir_chan_new(sizeof(int64_t), 0),
			                  weir_chan_new(sizeof(int64_t), 0), n / (CROWD / 2) };
		MUST(weir_group_go_on(&g, w, first, &pairs[i]));
		MUST(weir_group_go_on(&g, w, second, &pairs[i]));
	}
	MUST(weir_group_wait(&g));
	for (int i = 0; i < CROWD / 2; i++) {
		weir_chan_free(pairs[i].there);
		weir_chan_free(pairs[i].back);
	}
	free(pairs);
}

static int wait_for_stop(const weir_ctx *ctx, void *arg)
{
	weir_latch_down(arg);
	return weir_sleep(ctx, WEIR_NEVER);
}

/* How long a cancel takes to wake and end them all. */
static void stop_crowd(const weir_ctx *ctx)
{
	weir_latch parked;
	weir_group g;
	int64_t from;

	weir_latch_init(&parked, CROWD);
	weir_group_init(&g, ctx);
	for (int i = 0; i < CROWD; i++)
		MUST(weir_group_go_on(&g, i % weir_worker_count(), wait_for_stop, &parked));
	MUST(weir_latch_wait(ctx, &parked));
	from = weir_now();
	weir_group_cancel(&g);
	MUST(weir_group_wait(&g));
	printf("cancel-of-10k-waiters %.2f\n", (double)(weir_now() - from));
	fflush(stdout);
}

static int all(const weir_ctx *ctx, void *arg)
{
	(void)arg;
	if (wanted("timer"))
		limits(ctx, 2000000);
	bench(ctx, "crowd-10k-round-trip", crowd, 5000000);
	if (wanted("cancel-of-10k-waiters"))
		for (int i = 0; i < 2; i++)
			stop_crowd(ctx);
	if (wanted("park-1M")) {
		million(ctx, "fresh");
		million(ctx, "recycled");
	}
	return 0;
}

BENCH_MAIN(all)
