/* SPDX-License-Identifier: MIT */
/* What starting and joining a task costs, a yield, and an uncontended mutex. */
#include <pthread.h>
#include <weir/sync.h>

#include "bench.h"

static int nothing(const weir_ctx *ctx, void *arg)
{
	(void)ctx;
	(void)arg;
	return 0;
}

static void batches(const weir_ctx *ctx, int64_t n, int64_t size)
{
	for (int64_t done = 0; done < n; done += size) {
		weir_group g;

		weir_group_init(&g, ctx);
		for (int64_t i = 0; i < size; i++)
			MUST(weir_group_go(&g, nothing, NULL));
		MUST(weir_group_wait(&g));
	}
}

static void one(const weir_ctx *ctx, int64_t n)
{
	batches(ctx, n, 1);
}

static void thousand(const weir_ctx *ctx, int64_t n)
{
	batches(ctx, n, 1000);
}

static void yields(const weir_ctx *ctx, int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		MUST(weir_yield(ctx));
}

static void lock_often(const weir_ctx *ctx, weir_mutex *m, int64_t n)
{
	for (int64_t i = 0; i < n; i++) {
		MUST(weir_mutex_lock(ctx, m));
		weir_mutex_unlock(m);
	}
}

static void mutex(const weir_ctx *ctx, int64_t n)
{
	weir_mutex m;

	weir_mutex_init(&m);
	lock_often(ctx, &m, n);
}

static void *stranger(void *m)
{
	MUST(weir_mutex_try_lock(m));
	weir_mutex_unlock(m);
	return NULL;
}

/* As it is for who has it alone for a while, of several threads that use it. */
static void shared_mutex(const weir_ctx *ctx, int64_t n)
{
	weir_mutex m;
	pthread_t thread;

	weir_mutex_init(&m);
	MUST(-pthread_create(&thread, NULL, stranger, &m));
	pthread_join(thread, NULL);
	lock_often(ctx, &m, n);
}

static int all(const weir_ctx *ctx, void *arg)
{
	(void)arg;
	bench(ctx, "spawn-join-1", one, 1000000);
	bench(ctx, "spawn-join-1000", thousand, 2000000);
	bench(ctx, "yield", yields, 5000000);
	bench(ctx, "mutex-uncontended", mutex, 20000000);
	bench(ctx, "mutex-shared-uncontended", shared_mutex, 20000000);
	return 0;
}

BENCH_MAIN(all)
