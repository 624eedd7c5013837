/* SPDX-License-Identifier: MIT */
/* Offload: both ways out of a blocking call. */
#include "test.h"

#include <semaphore.h>
#include <weir/weir.h>

static int answer(void *arg)
{
	return *(int *)arg + 1;
}

TASK(offload_gives_the_functions_result)
{
	int v = 41;

	CHECK_EQ(weir_offload(ctx, answer, &v, NULL), 42);
	CHECK_EQ(weir_offload_interruptible(ctx, answer, &v, NULL), 42);
}

struct blocked {
	sem_t go, dropped;
};

static int block(void *arg)
{
	struct blocked *b = arg;

	while (sem_wait(&b->go) < 0)
		;
	return 7;
}

static void drop(void *arg)
{
	struct blocked *b = arg;
	sem_post(&b->dropped);
}

TASK(offload_left_early_drops_the_argument_after_its_end)
{
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_MS(5));
	struct blocked b;

	sem_init(&b.go, 0, 0);
	sem_init(&b.dropped, 0, 0);
	CHECK_EQ(weir_offload(&soon, block, &b, drop), -ETIMEDOUT);
	CHECK(sem_trywait(&b.dropped) < 0);
	sem_post(&b.go);
	sem_wait(&b.dropped);
}

static void interrupt(void *arg)
{
	struct blocked *b = arg;
	sem_post(&b->go);
}

TASK(offload_interrupted_returns_only_when_the_function_has)
{
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_MS(5));
	struct blocked b;

	sem_init(&b.go, 0, 0);
	CHECK_EQ(weir_offload_interruptible(&soon, block, &b, interrupt), 7);
}

static int many(const weir_ctx *ctx, void *arg)
{
	int *v = malloc(sizeof *v);

	(void)arg;
	*v = 1;
	weir_ctx soon =
		weir_ctx_timeout(ctx, weir_random(3) ? WEIR_SEC(10) : WEIR_US(weir_random(1000)));
	int r = weir_offload(&soon, answer, v, free);
	if (r == 2)
		free(v);
	else
		CHECK(r == -ETIMEDOUT || r == -ECANCELED);
	return 0;
}

SIM(offload_ends_and_leaves_race, 3000)
{
	weir_group g;

	weir_group_init(&g, ctx);
	for (int i = 0; i < 5; i++)
		CHECK_EQ(weir_group_go(&g, many, NULL), 0);
	if (weir_random(2)) {
		weir_sleep(ctx, WEIR_US(weir_random(1000)));
		weir_group_cancel(&g);
	}
	CHECK_EQ(weir_group_wait(&g), 0);
	/* Those left behind end by themselves. */
	weir_sleep(ctx, WEIR_MS(10));
}

TASK(offload_many_at_a_time)
{
	weir_group g;

	weir_group_init(&g, ctx);
	for (int i = 0; i < 500; i++)
		CHECK_EQ(weir_group_go(&g, many, NULL), 0);
	CHECK_EQ(weir_group_wait(&g), 0);
}
