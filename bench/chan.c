/* SPDX-License-Identifier: MIT */
/* What a message over a channel costs. */
#include <weir/chan.h>

#include "bench.h"

enum { APART = 1000 };

struct end {
	weir_chan *in, *out;
	int64_t n;
};

static int echo(const weir_ctx *ctx, void *arg)
{
	struct end *e = arg;
	int64_t v;

	while (weir_chan_recv(ctx, e->in, &v) > 0)
		MUST(weir_chan_send(ctx, e->out, &v));
	return 0;
}

/* apart: a millisecond between two turns, in which the other's worker falls asleep, is not
 * counted. */
static int64_t ping(const weir_ctx *ctx, int64_t n, int worker, bool apart)
{
	struct end e = { weir_chan_new(8, 0), weir_chan_new(8, 0), n };
	weir_group g;
	int64_t v, took = 0, from = 0;

	weir_group_init(&g, ctx);
	MUST(weir_group_go_on(&g, worker, echo, &e));
	for (int64_t i = 0; i < n; i++) {
		if (apart) {
			MUST(weir_sleep(ctx, WEIR_MS(1)));
			from = weir_now();
		}
		MUST(weir_chan_send(ctx, e.in, &i));
		MUST(weir_chan_recv(ctx, e.out, &v));
		if (apart)
			took += weir_now() - from;
	}
	weir_chan_close(e.in);
	MUST(weir_group_wait(&g));
	weir_chan_free(e.in);
	weir_chan_free(e.out);
	return took;
}

static void pingpong(const weir_ctx *ctx, int64_t n)
{
	ping(ctx, n, -1, false);
}

static void pingpong_across(const weir_ctx *ctx, int64_t n)
{
	ping(ctx, n, (weir_worker() + 1) % weir_worker_count(), false);
}

static void pingpong_asleep(const weir_ctx *ctx)
{
	const char *name = "chan-pingpong-asleep";
	bool wanted = bench_argc < 2;
	int64_t took;

	for (int i = 1; i < bench_argc; i++)
		wanted = wanted || strstr(name, bench_argv[i]);
	if (!wanted)
		return;
	took = ping(ctx, APART, (weir_worker() + 1) % weir_worker_count(), true);
	printf("%s %.2f\n", name, (double)took / APART);
	fflush(stdout);
}

static int produce(const weir_ctx *ctx, void *arg)
{
	struct end *e = arg;

	for (int64_t i = 0; i < e->n; i++)
		MUST(weir_chan_send(ctx, e->out, &i));
	return 0;
}

static int consume(const weir_ctx *ctx, void *arg)
{
	struct end *e = arg;
	int64_t v;

	while (weir_chan_recv(ctx, e->in, &v) > 0)
		keep(v);
	return 0;
}

static void many(const weir_ctx *ctx, int64_t n, int tasks, size_t cap, int from, int to)
{
	weir_chan *c = weir_chan_new(8, cap);
	struct end e = { c, c, n / tasks };
	weir_group producers, consumers;

	weir_group_init(&producers, ctx);
	weir_group_init(&consumers, ctx);
	for (int i = 0; i < tasks; i++) {
		MUST(weir_group_go_on(&producers, from, produce, &e));
		MUST(weir_group_go_on(&consumers, to, consume, &e));
	}
	MUST(weir_group_wait(&producers));
	weir_chan_close(c);
	MUST(weir_group_wait(&consumers));
	weir_chan_free(c);
}

static void unbuffered_1to1(const weir_ctx *ctx, int64_t n)
{
	many(ctx, n, 1, 0, -1, -1);
}

static void buffered_1to1(const weir_ctx *ctx, int64_t n)
{
	many(ctx, n, 1, 128, -1, -1);
}

static void buffered_4to4(const weir_ctx *ctx, int64_t n)
{
	many(ctx, n, 4, 128, -1, -1);
}

static void buffered_across(const weir_ctx *ctx, int64_t n)
{
	many(ctx, n, 4, 128, 0, 1);
}

static int all(const weir_ctx *ctx, void *arg)
{
	(void)arg;
	bench(ctx, "chan-pingpong-unbuffered", pingpong, 1000000);
	bench(ctx, "chan-1to1-unbuffered", unbuffered_1to1, 2000000);
	bench(ctx, "chan-1to1-buffered-128", buffered_1to1, 5000000);
	bench(ctx, "chan-4to4-buffered-128", buffered_4to4, 5000000);
	if (weir_worker_count() > 1) {
		bench(ctx, "chan-4to4-buffered-128-across", buffered_across, 2000000);
		bench(ctx, "chan-pingpong-across", pingpong_across, 50000);
		pingpong_asleep(ctx);
	}
	return 0;
}

BENCH_MAIN(all)
