/* SPDX-License-Identifier: MIT */
/* What a select costs, and what a limit on a wait adds. */
#include <weir/select.h>

#include "bench.h"

struct two {
	weir_chan *a, *b;
	int64_t n;
};

static int alternate(const weir_ctx *ctx, void *arg)
{
	struct two *t = arg;

	for (int64_t i = 0; i < t->n; i++)
		MUST(weir_chan_send(ctx, i & 1 ? t->b : t->a, &i));
	return 0;
}

static void blocked(const weir_ctx *ctx, int64_t n)
{
	struct two t = { weir_chan_new(8, 0), weir_chan_new(8, 0), n };
	int64_t x = 0, y = 0;
	weir_group g;

	weir_group_init(&g, ctx);
	MUST(weir_group_go(&g, alternate, &t));
	for (int64_t i = 0; i < n; i++) {
		weir_case cs[] = { WEIR_RECV(t.a, &x), WEIR_RECV(t.b, &y) };

		MUST(weir_select(ctx, cs));
	}
	MUST(weir_group_wait(&g));
	weir_chan_free(t.a);
	weir_chan_free(t.b);
}

static void none_ready(const weir_ctx *ctx, int64_t n)
{
	struct two t = { weir_chan_new(8, 0), weir_chan_new(8, 0), n };
	int64_t x = 0, y = 0;

	(void)ctx;
	for (int64_t i = 0; i < n; i++) {
		weir_case cs[] = { WEIR_RECV(t.a, &x), WEIR_RECV(t.b, &y) };

		keep(weir_try_select(cs));
	}
	weir_chan_free(t.a);
	weir_chan_free(t.b);
}

static void ready_under_a_limit(const weir_ctx *ctx, int64_t n)
{
	weir_chan *c = weir_chan_new(8, 1);
	int64_t v = 0;

	for (int64_t i = 0; i < n; i++) {
		weir_ctx soon = weir_ctx_timeout(ctx, WEIR_SEC(1));

		MUST(weir_chan_send(ctx, c, &i));
		MUST(weir_chan_recv(&soon, c, &v));
	}
	weir_chan_free(c);
}

static int all(const weir_ctx *ctx, void *arg)
{
	(void)arg;
	bench(ctx, "select-2-blocked", blocked, 2000000);
	bench(ctx, "select-2-none-ready", none_ready, 10000000);
	bench(ctx, "recv-ready-under-1s-limit", ready_under_a_limit, 5000000);
	return 0;
}

BENCH_MAIN(all)
