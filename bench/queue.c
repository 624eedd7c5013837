/* SPDX-License-Identifier: MIT */
/* What a job costs in the memory engine: accepted, handed out and acknowledged. */
#include <weir/queue.h>
#include <weir/sync.h>

#include "bench.h"

enum { PAYLOAD = 200, PRODUCERS = 4, WORKERS = 4, BACKLOG = 100000 };

static weir_store *open_store(const weir_ctx *ctx)
{
	weir_store *s;

	MUST(weir_store_open(ctx, "mem:", &(weir_store_options){ .queue_max = 2 * BACKLOG }, &s));
	return s;
}

static void put(const weir_ctx *ctx, weir_store *s)
{
	static const char payload[PAYLOAD];
	char id[27];

	MUST(weir_job_put(ctx, s, "q", &(weir_job_spec){ .data = payload, .len = PAYLOAD }, id));
}

static void cycles(const weir_ctx *ctx, weir_store *s, int64_t n)
{
	weir_job *j;

	for (int64_t i = 0; i < n; i++) {
		put(ctx, s);
		MUST(weir_job_take(ctx, s, "q", NULL, &j));
		MUST(weir_job_ack(ctx, j, NULL, 0));
	}
}

static void one_task(const weir_ctx *ctx, int64_t n)
{
	weir_store *s = open_store(ctx);

	cycles(ctx, s, n);
	MUST(weir_store_close(ctx, s, NULL));
}

static void behind_a_backlog(const weir_ctx *ctx, int64_t n)
{
	weir_store *s = open_store(ctx);

	for (int i = 0; i < BACKLOG; i++)
		put(ctx, s);
	cycles(ctx, s, n);
	MUST(weir_store_close(ctx, s, NULL));
}

struct share {
	weir_store *store;
	weir_latch done;
	int64_t each;
};

static int produce(const weir_ctx *ctx, void *arg)
{
	struct share *sh = arg;

	for (int64_t i = 0; i < sh->each; i++) {
		put(ctx, sh->store);
		if (i % 64 == 0)
			MUST(weir_yield(ctx));
	}
	return 0;
}

static int run(const weir_ctx *ctx, weir_job *job, void *arg)
{
	struct share *sh = arg;

	(void)ctx;
	(void)job;
	weir_latch_down(&sh->done);
	return 0;
}

/* Producers and weir_workers_start() on all threads at once, with all that guards a run. */
static void workers(const weir_ctx *ctx, int64_t n)
{
	struct share sh = { .store = open_store(ctx), .each = n / PRODUCERS };
	weir_group g, crew;

	MUST(weir_queue_configure(
		ctx, sh.store, "q",
		&(weir_queue_settings){ .max = (size_t)n + 1, .max_bytes = SIZE_MAX / 2 }));
	weir_latch_init(&sh.done, (unsigned)(sh.each * PRODUCERS));
	weir_group_init(&crew, ctx);
	weir_group_init(&g, ctx);
	MUST(weir_workers_start(&crew, sh.store, "q", WORKERS, run, &sh));
	for (int i = 0; i < PRODUCERS; i++)
		MUST(weir_group_go(&g, produce, &sh));
	MUST(weir_group_wait(&g));
	MUST(weir_latch_wait(ctx, &sh.done));
	weir_group_drain(&crew);
	MUST(weir_group_wait(&crew));
	MUST(weir_store_close(ctx, sh.store, NULL));
}

static int app(const weir_ctx *ctx, void *arg)
{
	(void)arg;
	bench(ctx, "queue-put-take-ack", one_task, 500000);
	bench(ctx, "queue-put-take-ack-100k-backlog", behind_a_backlog, 500000);
	bench(ctx, "queue-workers", workers, 400000);
	return 0;
}

BENCH_MAIN(app)
