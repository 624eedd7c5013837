/* SPDX-License-Identifier: MIT */
#include <weir/group.h>
#include <weir/sync.h>

#include <pthread.h>

#include "test.h"

static int down(const weir_ctx *ctx, void *arg)
{
	(void)ctx;
	weir_latch_down(arg);
	return 0;
}

TASK(a_latch_opens_when_it_has_been_counted_down)
{
	weir_ctx late = weir_ctx_deadline(ctx, weir_now());
	weir_latch l;

	weir_latch_init(&l, 2);
	CHECK_EQ(weir_latch_wait(&late, &l), -ETIMEDOUT);
	weir_latch_down(&l);
	CHECK_EQ(weir_latch_wait(&late, &l), -ETIMEDOUT);
	weir_latch_down(&l);
	CHECK_EQ(weir_latch_wait(&late, &l), 0);
	CHECK_EQ(weir_latch_wait(ctx, &l), 0);
}

TASK(a_latch_of_zero_is_open)
{
	weir_latch l;

	weir_latch_init(&l, 0);
	CHECK_EQ(weir_latch_wait(ctx, &l), 0);
}

static int waits(const weir_ctx *ctx, void *arg)
{
	return weir_latch_wait(ctx, arg);
}

SIM(all_who_wait_are_woken, 100)
{
	weir_latch l;
	weir_group g;

	weir_latch_init(&l, 1);
	weir_group_init(&g, ctx);
	for (int i = 0; i < 5; i++)
		CHECK_EQ(weir_group_go(&g, waits, &l), 0);
	CHECK_EQ(weir_sleep(ctx, WEIR_US(weir_random(2))), 0);
	weir_latch_down(&l);
	CHECK_EQ(weir_group_wait(&g), 0);
}

TASK(stop_comes_before_an_open_latch)
{
	weir_latch l;
	weir_ctx sub;

	weir_latch_init(&l, 0);
	CHECK_EQ(weir_scope_open(ctx, &sub), 0);
	weir_scope_cancel(sub.scope, -ECANCELED, "test");
	CHECK_EQ(weir_latch_wait(&sub, &l), -ECANCELED);
	weir_scope_close(sub.scope);
}

/* The latch is overwritten right after the wait, while those who counted it down may still run. */
static void on_the_stack(const weir_ctx *ctx)
{
	weir_group g;
	weir_latch l;

	weir_latch_init(&l, 3);
	weir_group_init(&g, ctx);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(weir_group_go_on(&g, (int)weir_random((uint32_t)weir_worker_count()), down,
		                          &l),
		         0);
	CHECK_EQ(weir_latch_wait(ctx, &l), 0);
	memset(&l, 0x5a, sizeof l);
	CHECK_EQ(weir_group_wait(&g), 0);
	for (size_t i = 0; i < sizeof l; i++)
		CHECK_EQ(((unsigned char *)&l)[i], 0x5a);
}

SIM(a_latch_may_be_destroyed_right_after_the_wait_over_seeds, 10000)
{
	on_the_stack(ctx);
}

TASK(a_latch_may_be_destroyed_right_after_the_wait_on_workers)
{
	for (int n = 0; n < 2000; n++)
		on_the_stack(ctx);
}

static void *foreign_down(void *arg)
{
	weir_latch_down(arg);
	return NULL;
}

TASK(a_foreign_thread_counts_down)
{
	pthread_t thread;
	weir_latch l;

	weir_latch_init(&l, 1);
	CHECK_EQ(pthread_create(&thread, NULL, foreign_down, &l), 0);
	CHECK_EQ(weir_latch_wait(ctx, &l), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

static void down_open(void)
{
	weir_latch l;

	weir_latch_init(&l, 0);
	weir_latch_down(&l);
}

TEST(counting_below_zero_aborts)
{
	CHECK_DIES(down_open, "weir_latch_down: the latch is open already");
}
